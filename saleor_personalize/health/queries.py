"""Figures of health. Each read is held to what is due or newest, so that it costs the same in a large shop."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Count, Max, Min, Q, QuerySet, Window
from django.db.models.functions import RowNumber

from saleor_personalize.enums import (
    BackfillStatus,
    DeliveryChannel,
    DryRunStatus,
    EnrollmentStatus,
    MessageStatus,
    NotSentReason,
    OutgoingStatus,
    TrainingStatus,
)
from saleor_personalize.events import partitions
from saleor_personalize.models import (
    Backfill,
    DryRun,
    Enrollment,
    Erasure,
    Heartbeat,
    Installation,
    Journey,
    Message,
    Offer,
    OutgoingDelivery,
    Training,
)
from saleor_personalize.models.fields import month_of

#: Beat wakes a worker every half minute; with this much silence one of them is gone.
SILENT = timedelta(minutes=3)
#: Rows that are counted; more is "more than that".
COUNTED = 1_000
#: The newest messages, by which a provider is judged.
JUDGED = 2_000
#: Of the last so many over a delivery channel, so many refused ones are no chance: a dead address now and
#: then says nothing of the provider.
LAST_TRIED, MANY_REFUSED = 5, 3
#: The nightly look at what webhooks missed is this late when a night was left out.
RECONCILED = timedelta(hours=36)


@dataclass(frozen=True)
class Pulse:
    """When beat and a worker were last there together; None: never."""

    at: datetime | None

    def is_silent(self, now: datetime) -> bool:
        return self.at is None or self.at < now - SILENT


@dataclass(frozen=True)
class Work:
    """One kind of work that is due. `count` stops at COUNTED + 1; `oldest_at`: since when the first one is due."""

    kind: str
    count: int
    oldest_at: datetime | None
    patience: timedelta

    def is_late(self, now: datetime) -> bool:
        return self.oldest_at is not None and self.oldest_at < now - self.patience


@dataclass(frozen=True)
class Provider:
    """What became of the newest messages over one delivery channel; of the last `JUDGED` of the shop.

    `refused_lately`: how many of the `LAST_TRIED` were refused.
    """

    delivery_channel: DeliveryChannel
    sent: int
    refused: int
    refused_lately: int
    last_sent_at: datetime | None
    last_refused_at: datetime | None

    @property
    def is_refusing(self) -> bool:
        """Tell whether what is handed over now would most likely be refused."""
        return self.refused_lately >= MANY_REFUSED

    @property
    def refuses_many(self) -> bool:
        """Tell whether it refused more than it took, and more than chance would have it."""
        return self.refused >= MANY_REFUSED and self.refused > self.sent


def pulse(*, installation: Installation) -> Pulse:
    """Return when the service last showed that it runs."""
    return Pulse(
        Heartbeat.objects.of(installation).values_list("at", flat=True).order_by("-at").first()
    )


def work(*, installation: Installation, now: datetime) -> list[Work]:
    """Return each kind of work that workers do for a shop, with what is due of it now."""
    return list(_work(installation, now))


def _work(installation: Installation, now: datetime) -> Iterator[Work]:
    live = Journey.objects.of(installation).filter(is_live=True).values("pk")
    due = Enrollment.objects.of(installation).filter(
        journey__in=live, status=EnrollmentStatus.WAITING, due_at__lte=now
    )
    # Whoever stopped all sends knows that people wait.
    is_stopped = installation.sends_stopped_at is not None
    yield _of("journeys", due.none() if is_stopped else due, "due_at", timedelta(minutes=5))
    told = OutgoingDelivery.objects.of(installation).filter(
        Q(webhook__rests_until=None) | Q(webhook__rests_until__lte=now),
        webhook__is_active=True,
        status=OutgoingStatus.WAITING,
        due_at__lte=now,
    )
    yield _of("outgoing", told, "due_at", timedelta(minutes=5))
    codes = Offer.objects.of(installation).filter(due_at__lte=now)
    yield _of("offers", codes, "due_at", timedelta(minutes=15))
    trainings = Training.objects.of(installation).filter(status=TrainingStatus.PENDING)
    yield _of("trainings", trainings, "asked_at", timedelta(minutes=15))
    forecasts = DryRun.objects.of(installation).filter(status=DryRunStatus.PENDING)
    yield _of("dry_runs", forecasts, "asked_at", timedelta(minutes=5))
    erasures = Erasure.objects.of(installation).filter(swept_at=None)
    yield _of("erasures", erasures, "erased_at", timedelta(hours=12))


def _of(kind: str, rows: QuerySet[Any], moment: str, patience: timedelta) -> Work:
    found = rows.order_by(moment)[: COUNTED + 1].aggregate(count=Count("pk"), oldest=Min(moment))
    return Work(kind, found["count"], found["oldest"], patience)


def providers(*, installation: Installation) -> list[Provider]:
    """Return the delivery channels over which something was tried lately."""
    newest = Message.objects.of(installation).order_by("-decided_at").values("pk")[:JUDGED]
    sent = Q(status=MessageStatus.SENT)
    # A message that was given up here before it was handed over tells nothing of its provider.
    refused = Q(status=MessageStatus.FAILED, reason=NotSentReason.CHANNEL_ERROR)
    tried = Message.objects.of(installation).filter(sent | refused, pk__in=newest)
    place = Window(RowNumber(), partition_by="delivery_channel", order_by=("-decided_at", "-pk"))
    lately = tried.annotate(place=place).filter(place__lte=LAST_TRIED).values("pk")
    rows = (
        tried.values("delivery_channel")
        .annotate(
            sent=Count("pk", filter=sent),
            refused=Count("pk", filter=refused),
            refused_lately=Count("pk", filter=refused & Q(pk__in=lately)),
            last_sent_at=Max("decided_at", filter=sent),
            last_refused_at=Max("decided_at", filter=refused),
        )
        .order_by("delivery_channel")
    )
    return [
        Provider(
            delivery_channel=DeliveryChannel(row["delivery_channel"]),
            sent=row["sent"],
            refused=row["refused"],
            refused_lately=row["refused_lately"],
            last_sent_at=row["last_sent_at"],
            last_refused_at=row["last_refused_at"],
        )
        for row in rows
    ]


def reconciled_at(*, installation: Installation) -> datetime | None:
    """Return when Saleor was last asked for what webhooks may have missed."""
    done = Backfill.objects.of(installation).filter(status=BackfillStatus.DONE)
    return done.order_by("-finished_at").values_list("finished_at", flat=True).first()


def is_next_month_ready(*, now: datetime) -> bool:
    """Tell whether the events of this month and the next have their place."""
    next_month = month_of(now.replace(day=1) + timedelta(days=32))
    known = {each.month for each in partitions.partitions()}
    return {month_of(now), next_month} <= known
