"""Tasks of training."""

from celery import shared_task
from django.utils import timezone

from saleor_personalize.enums import InstallationStatus
from saleor_personalize.models import Installation
from saleor_personalize.recommendations import training


@shared_task(name="personalize.train")  # type: ignore[untyped-decorator,unused-ignore]
def train(installation_id: int | None = None) -> int:
    """Train one shop, or every active one; return how many models were published."""
    rows = Installation.objects.filter(status=InstallationStatus.ACTIVE)
    if installation_id is not None:
        rows = rows.filter(pk=installation_id)
    return sum(training.train(installation=row, now=timezone.now()) for row in rows)
