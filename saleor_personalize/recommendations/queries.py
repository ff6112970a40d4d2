"""Which models answer at the moment: for the Dashboard page and `doctor`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from saleor_personalize.models import Installation, TrainedModel


@dataclass(frozen=True)
class PublishedModel:
    channel_slug: str
    recommender: str
    trained_at: datetime


def published_models(*, installation: Installation) -> list[PublishedModel]:
    """Return the models in use, by sales channel and recommender."""
    rows = (
        TrainedModel.objects.of(installation)
        .filter(is_published=True)
        .order_by("channel_slug", "recommender")
        .values_list("channel_slug", "recommender", "trained_at")
    )
    return [PublishedModel(*row) for row in rows]
