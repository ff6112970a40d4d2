"""Tasks of traits."""

from celery import shared_task

from saleor_personalize.tasks.shops import for_each_active
from saleor_personalize.traits import operations, predictions


@shared_task(name="personalize.compute_traits")  # type: ignore[untyped-decorator,unused-ignore]
def compute_traits() -> int:
    """Work out traits that are a day old or missing in every active shop; return of how many people."""
    return for_each_active(operations.compute_due, what="Computed traits")


@shared_task(name="personalize.train_predictors")  # type: ignore[untyped-decorator,unused-ignore]
def train_predictors() -> int:
    """Fit and measure what foretells in every active shop; return how many formulas were published."""
    return for_each_active(predictions.train, what="Training of predictors")
