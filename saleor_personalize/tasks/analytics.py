"""Tasks of attribution and figures."""

from celery import shared_task
from django.utils import timezone

from saleor_personalize.analytics import operations
from saleor_personalize.enums import InstallationStatus
from saleor_personalize.models import Installation


@shared_task(name="personalize.attribute_orders")  # type: ignore[untyped-decorator,unused-ignore]
def attribute_orders() -> int:
    """Look at orders whose touches came late, in every active shop; return of how many one changed."""
    return sum(
        operations.catch_up(installation=row, now=timezone.now())
        for row in Installation.objects.filter(status=InstallationStatus.ACTIVE)
    )


@shared_task(name="personalize.count_days")  # type: ignore[untyped-decorator,unused-ignore]
def count_days() -> int:
    """Count what happened today, and before that where it is not final, in every active shop; return how many days."""
    return sum(
        operations.refresh(installation=row, now=timezone.now())
        for row in Installation.objects.filter(status=InstallationStatus.ACTIVE)
    )


@shared_task(name="personalize.review_attributions")  # type: ignore[untyped-decorator,unused-ignore]
def review_attributions() -> int:
    """Look at all orders of the last window again, in every active shop; return of how many one changed."""
    return sum(
        operations.review(installation=row, now=timezone.now())
        for row in Installation.objects.filter(status=InstallationStatus.ACTIVE)
    )
