"""Tasks of the bus."""

import logging

from celery import shared_task
from django.utils import timezone

from saleor_personalize.bus import delivery
from saleor_personalize.events import abandoned
from saleor_personalize.exceptions import kind_and_place
from saleor_personalize.messaging.outgoing import described

logger = logging.getLogger(__name__)

#: Deliveries that one run tries; beat wakes the next run.
LIMIT = 200


@shared_task(name="personalize.deliver_outgoing")  # type: ignore[untyped-decorator,unused-ignore]
def deliver_outgoing() -> int:
    """Try what is due. Each try looks at the clock anew: a run may take minutes."""
    tried = 0
    for _ in range(LIMIT):
        try:
            if not delivery.deliver_due(now=timezone.now(), describe=described, limit=1):
                break
        except Exception as error:
            # One that cannot even be tried must not hold up the others: its claim runs out later.
            logger.warning(
                "An outgoing delivery could not be tried; again in %s. %s",
                delivery.CLAIM,
                kind_and_place(error),
            )
        tried += 1
    return tried


@shared_task(name="personalize.tell_abandoned")  # type: ignore[untyped-decorator,unused-ignore]
def tell_abandoned() -> int:
    """Tell other apps of carts that were left; return how many were told of."""
    return abandoned.publish_abandoned(now=timezone.now())
