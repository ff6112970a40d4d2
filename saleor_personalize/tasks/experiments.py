"""Tasks of experiments."""

from celery import shared_task

from saleor_personalize.experiments import results
from saleor_personalize.tasks.shops import for_each_active


@shared_task(name="personalize.measure_experiments")  # type: ignore[untyped-decorator,unused-ignore]
def measure_experiments() -> int:
    """Measure what came of experiments, shop by shop; return how many were measured."""
    return for_each_active(results.measure_all, what="Measuring of experiments")
