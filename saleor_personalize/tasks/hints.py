"""Tasks of on-site hints."""

from celery import shared_task
from django.utils import timezone

from saleor_personalize.enums import InstallationStatus
from saleor_personalize.hints import lingering
from saleor_personalize.models import Installation


@shared_task(name="personalize.measure_drop_off")  # type: ignore[untyped-decorator,unused-ignore]
def measure_drop_off() -> int:
    """Measure when visitors leave, shop by shop; return how many kinds of pages were measured."""
    shops = Installation.objects.filter(status=InstallationStatus.ACTIVE)
    now = timezone.now()
    return sum(len(lingering.measure(installation=shop, now=now)) for shop in shops.order_by("pk"))
