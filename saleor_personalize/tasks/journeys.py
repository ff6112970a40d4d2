"""Tasks of journeys."""

from celery import shared_task
from django.utils import timezone

from saleor_personalize.journeys import operations as journeys
from saleor_personalize.messaging import operations as messaging

#: How many people one run of the task decides about; beat wakes the next run.
LIMIT = 200


@shared_task(name="personalize.advance_journeys")  # type: ignore[untyped-decorator,unused-ignore]
def advance_journeys() -> None:
    """Decide about who is due. Each decision looks at the clock anew: a run may take minutes."""
    messaging.settle_interrupted(now=timezone.now())
    for _ in range(LIMIT):
        if not journeys.advance_due(now=timezone.now(), limit=1):
            break
