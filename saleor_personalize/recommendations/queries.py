"""Which versions answer at the moment, and how trainings go: for pages, health and `doctor`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from saleor_personalize.enums import TrainingStatus
from saleor_personalize.models import Installation, TrainedModel, Training
from saleor_personalize.recommendations.reports import used_aliases

#: A server that cannot load a version says so again within this time.
FAULT_IS_FRESH = timedelta(minutes=5)


@dataclass(frozen=True)
class PublishedModel:
    """The version that answers in a sales channel. `recommenders` are the aliases that it may use."""

    channel_slug: str
    version: str
    trained_at: datetime
    recommenders: list[str]
    #: What a server said lately that could not load it; "" when all can.
    fault: str = ""


def published_models(*, installation: Installation, now: datetime) -> list[PublishedModel]:
    """Return the versions in use, by sales channel."""
    rows = TrainedModel.objects.of(installation).filter(is_published=True).order_by("channel_slug")
    return [
        PublishedModel(
            channel_slug=row.channel_slug,
            version=row.version,
            trained_at=row.trained_at,
            recommenders=used_aliases(row.metrics),
            fault=row.fault if row.fault_at and now - row.fault_at < FAULT_IS_FRESH else "",
        )
        for row in rows
    ]


def latest_training(*, installation: Installation) -> Training | None:
    """Return the open training of a shop, else the newest."""
    return Training.objects.of(installation).order_by("-pk").first()


def is_waiting_long(training: Training | None, now: datetime) -> bool:
    """Tell whether a training waits for a worker that does not come."""
    return (
        training is not None
        and training.status == TrainingStatus.PENDING
        and now - training.asked_at > timedelta(minutes=15)
    )
