"""Tasks of experiments."""

from celery import shared_task
from django.utils import timezone

from saleor_personalize.enums import InstallationStatus
from saleor_personalize.experiments import results
from saleor_personalize.models import Installation


@shared_task(name="personalize.measure_experiments")  # type: ignore[untyped-decorator,unused-ignore]
def measure_experiments() -> int:
    """Measure what came of experiments, shop by shop; return how many were measured."""
    shops = Installation.objects.filter(status=InstallationStatus.ACTIVE)
    now = timezone.now()
    return sum(results.measure_all(installation=shop, now=now) for shop in shops.order_by("pk"))
