"""Tasks of on-site hints."""

from datetime import datetime

from celery import shared_task

from saleor_personalize.hints import lingering
from saleor_personalize.models import Installation
from saleor_personalize.tasks.shops import for_each_active


@shared_task(name="personalize.measure_drop_off")  # type: ignore[untyped-decorator,unused-ignore]
def measure_drop_off() -> int:
    """Measure when visitors leave, shop by shop; return how many kinds of pages were measured."""
    return for_each_active(_measure, what="Measuring of drop-offs")


def _measure(*, installation: Installation, now: datetime) -> int:
    return len(lingering.measure(installation=installation, now=now))
