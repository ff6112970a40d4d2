"""Tasks of the webhook deliveries."""

from celery import shared_task
from django.utils import timezone

from saleor_personalize.ingestion import deliveries


@shared_task(name="personalize.process_deliveries")  # type: ignore[untyped-decorator,unused-ignore]
def process_deliveries() -> int:
    """Process what waits until nothing does; return how many deliveries were taken."""
    taken = 0
    while count := deliveries.process_waiting(now=timezone.now()):
        taken += count
    return taken


@shared_task(name="personalize.purge_deliveries")  # type: ignore[untyped-decorator,unused-ignore]
def purge_deliveries() -> int:
    """Delete raw deliveries past their retention."""
    return deliveries.purge(now=timezone.now())
