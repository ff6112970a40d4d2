"""Tasks of journeys."""

import logging

from celery import shared_task
from django.utils import timezone

from saleor_personalize.exceptions import kind_and_place
from saleor_personalize.journeys import operations as journeys
from saleor_personalize.messaging import operations as messaging

logger = logging.getLogger(__name__)

#: How many people one run of the task decides about; beat wakes the next run.
LIMIT = 200


@shared_task(name="personalize.advance_journeys")  # type: ignore[untyped-decorator,unused-ignore]
def advance_journeys() -> None:
    """Decide about who is due. Each decision looks at the clock anew: a run may take minutes."""
    messaging.settle_interrupted(now=timezone.now())
    for _ in range(LIMIT):
        try:
            if not journeys.advance_due(now=timezone.now(), limit=1):
                break
        except Exception as error:
            # One case that cannot be decided must not hold up the others: its claim runs out later.
            logger.warning(
                "A decision failed; it is tried again in %s. %s",
                journeys.CLAIM,
                kind_and_place(error),
            )


@shared_task(name="personalize.enter_journeys")  # type: ignore[untyped-decorator,unused-ignore]
def enter_journeys() -> int:
    """Bring in whom time alone brings into journeys; return how many."""
    return journeys.enter_due(now=timezone.now())
