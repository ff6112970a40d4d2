"""Tasks of segments."""

from celery import shared_task
from django.utils import timezone

from saleor_personalize.segments import operations

#: Changes that one transaction takes per shop.
LIMIT = 1_000


@shared_task(name="personalize.evaluate_segments")  # type: ignore[untyped-decorator,unused-ignore]
def evaluate_segments() -> int:
    """Bring all memberships up to now; return how many changes of people were taken.

    Looking at everybody may take a while, so between two segments those who wait have their turn. Each
    part looks at the clock anew.
    """
    taken, due = 0, 1
    while due:
        due = operations.evaluate_due(now=timezone.now(), limit=1)
        operations.evaluate_clock(now=timezone.now())
        while count := operations.evaluate_changed(now=timezone.now(), limit=LIMIT):
            taken += count
    return taken
