"""The task that shows that the service runs."""

from celery import shared_task
from django.utils import timezone

from saleor_personalize.health import operations


@shared_task(name="personalize.beat_heart")  # type: ignore[untyped-decorator,unused-ignore]
def beat_heart() -> None:
    """Note that beat woke a worker."""
    operations.beat(now=timezone.now())
