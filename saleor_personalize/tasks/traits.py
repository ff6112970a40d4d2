"""Tasks of traits."""

from celery import shared_task
from django.utils import timezone

from saleor_personalize.enums import InstallationStatus
from saleor_personalize.models import Installation
from saleor_personalize.traits import operations, predictions


@shared_task(name="personalize.compute_traits")  # type: ignore[untyped-decorator,unused-ignore]
def compute_traits() -> int:
    """Work out traits that are a day old or missing in every active shop; return of how many people."""
    return sum(
        operations.compute_due(installation=row, now=timezone.now())
        for row in Installation.objects.filter(status=InstallationStatus.ACTIVE)
    )


@shared_task(name="personalize.train_predictors")  # type: ignore[untyped-decorator,unused-ignore]
def train_predictors() -> int:
    """Fit and measure what foretells in every active shop; return how many formulas were published."""
    return sum(
        predictions.train(installation=row, now=timezone.now())
        for row in Installation.objects.filter(status=InstallationStatus.ACTIVE)
    )
