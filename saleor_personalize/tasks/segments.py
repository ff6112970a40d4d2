"""Tasks of segments."""

from celery import shared_task
from django.utils import timezone

from saleor_personalize.segments import operations

#: Changes that one transaction takes per shop.
LIMIT = 1_000


@shared_task(name="personalize.evaluate_segments")  # type: ignore[untyped-decorator,unused-ignore]
def evaluate_segments() -> int:
    """Bring all memberships up to now; return how many changes of people were taken.

    Each part looks at the clock anew: a full evaluation may take a while.
    """
    operations.evaluate_due(now=timezone.now())
    operations.evaluate_clock(now=timezone.now())
    taken = 0
    while count := operations.evaluate_changed(now=timezone.now(), limit=LIMIT):
        taken += count
    return taken
