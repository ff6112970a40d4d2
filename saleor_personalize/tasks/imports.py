"""Tasks of imports."""

from celery import shared_task
from django.utils import timezone

from saleor_personalize.ingestion.imports import operations


@shared_task(name="personalize.run_imports")  # type: ignore[untyped-decorator,unused-ignore]
def run_imports() -> int:
    """Work on every uploaded file that nobody works on; return how many were worked on."""
    count = 0
    while run := operations.claim_next(now=timezone.now()):
        operations.work(run)
        count += 1
    return count


@shared_task(name="personalize.purge_imports")  # type: ignore[untyped-decorator,unused-ignore]
def purge_imports() -> int:
    """Delete refused rows and forgotten uploads past their retention."""
    return operations.purge(now=timezone.now())
