"""Tasks of attribution and figures."""

from celery import shared_task

from saleor_personalize.analytics import operations
from saleor_personalize.tasks.shops import for_each_active


@shared_task(name="personalize.attribute_orders")  # type: ignore[untyped-decorator,unused-ignore]
def attribute_orders() -> int:
    """Look at orders whose touches came late, in every active shop; return of how many one changed."""
    return for_each_active(operations.catch_up, what="Attribution of late touches")


@shared_task(name="personalize.count_days")  # type: ignore[untyped-decorator,unused-ignore]
def count_days() -> int:
    """Count what happened today, and before that where it is not final, in every active shop; return how many days."""
    return for_each_active(operations.refresh, what="Figures of days")


@shared_task(name="personalize.review_attributions")  # type: ignore[untyped-decorator,unused-ignore]
def review_attributions() -> int:
    """Look at all orders of the last window again, in every active shop; return of how many one changed."""
    return for_each_active(operations.review, what="Review of attribution")
