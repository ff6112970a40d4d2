"""The task that shows that the service runs."""

from celery import shared_task
from django.utils import timezone

from saleor_personalize.health import operations, problems


@shared_task(name="personalize.beat_heart")  # type: ignore[untyped-decorator,unused-ignore]
def beat_heart() -> None:
    """Note that beat woke a worker."""
    operations.beat(now=timezone.now())


@shared_task(name="personalize.show_problems")  # type: ignore[untyped-decorator,unused-ignore]
def show_problems() -> int:
    """Make each shop's Dashboard list what is wrong with the app there."""
    return problems.show(now=timezone.now())
