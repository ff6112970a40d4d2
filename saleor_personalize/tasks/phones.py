"""Tasks of phone numbers."""

from celery import shared_task

from saleor_personalize.ingestion import phones
from saleor_personalize.tasks.shops import for_each_active


@shared_task(name="personalize.learn_phones")  # type: ignore[untyped-decorator,unused-ignore]
def learn_phones() -> int:
    """Ask Saleor for the numbers of those who said yes to text messages; return how many were learned."""
    return for_each_active(phones.learn, what="Reading of phone numbers")
