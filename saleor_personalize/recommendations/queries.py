"""Which versions answer at the moment, and how trainings go: for pages, health and `doctor`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Count, Min, Q

from saleor_personalize.enums import TrainingStatus
from saleor_personalize.models import Installation, TrainedModel, Training
from saleor_personalize.recommendations.reports import used_aliases


@dataclass(frozen=True)
class PublishedModel:
    """The version that answers in a sales channel. `recommenders` are the aliases that it may use."""

    channel_slug: str
    version: str
    path: str
    trained_at: datetime
    recommenders: list[str]
    #: What the last server said that could not load it; "" when all can.
    fault: str = ""


def published_models(*, installation: Installation) -> list[PublishedModel]:
    """Return the versions in use, by sales channel."""
    rows = TrainedModel.objects.of(installation).filter(is_published=True).order_by("channel_slug")
    return [
        PublishedModel(
            channel_slug=row.channel_slug,
            version=row.version,
            path=row.path,
            trained_at=row.trained_at,
            recommenders=used_aliases(row.metrics),
            fault=row.fault,
        )
        for row in rows
    ]


def busiest_first(*, installation: Installation, slugs: Iterable[str]) -> list[str]:
    """Order sales channels for a page: where most was learned first, then by slug."""
    rows = TrainedModel.objects.of(installation).filter(is_published=True)
    learned = dict(rows.values_list("channel_slug", "interaction_count"))
    return sorted(set(slugs), key=lambda slug: (-learned.get(slug, 0), slug))


def latest_training(*, installation: Installation) -> Training | None:
    """Return the open training of a shop, else the newest."""
    return Training.objects.of(installation).order_by("-pk").first()


def held_back(*, installation: Installation) -> list[TrainedModel]:
    """Return, of each sales channel, the newest version if it was held back."""
    newest = (
        TrainedModel.objects.of(installation)
        .order_by("channel_slug", "-pk")
        .distinct("channel_slug")
    )
    return [row for row in newest if row.held_back and not row.is_published]


@dataclass(frozen=True)
class ModelsHealth:
    """Of all shops together: versions that answer, those of them that a server cannot load, trainings."""

    published: int
    damaged: int
    oldest_trained_at: datetime | None
    trainings_waiting: int
    trainings_running: int


def overall_models_health() -> ModelsHealth:
    """Return how the models of all shops are."""
    found = TrainedModel.objects.filter(is_published=True).aggregate(
        published=Count("pk"),
        damaged=Count("pk", filter=Q(fault_at__isnull=False)),
        oldest_trained_at=Min("trained_at"),
    )
    trainings = Training.objects.aggregate(
        trainings_waiting=Count("pk", filter=Q(status=TrainingStatus.PENDING)),
        trainings_running=Count("pk", filter=Q(status=TrainingStatus.RUNNING)),
    )
    return ModelsHealth(**found, **trainings)


def is_waiting_long(training: Training | None, now: datetime) -> bool:
    """Tell whether a training waits for a worker that does not come."""
    return (
        training is not None
        and training.status == TrainingStatus.PENDING
        and now - training.asked_at > timedelta(minutes=15)
    )
