"""How well the shop's facts reach us: figures for the health page, `/health/` and `doctor`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import (
    Aggregate,
    Count,
    DurationField,
    ExpressionWrapper,
    F,
    Min,
    Q,
    QuerySet,
)

from saleor_personalize.enums import BackfillStatus, DeliveryStatus, Lane
from saleor_personalize.models import Backfill, BackfillStage, Installation, WebhookDelivery

#: Lags and counts speak of this long ago at most.
RECENT = timedelta(hours=24)
#: A delivery that waits longer than this has no worker to take it: beat looks every few seconds.
WAITING_TOO_LONG = timedelta(minutes=1)
#: What became of a large campaign takes its time, behind what is urgent.
PATIENT_TOO_LONG = timedelta(hours=1)


class _Percentile(Aggregate):
    """PostgreSQL's `percentile_cont`: the value below which that fraction of the rows lies."""

    function = "percentile_cont"
    template = "%(function)s(%(fraction)s) WITHIN GROUP (ORDER BY %(expressions)s)"
    output_field = DurationField()

    def __init__(self, expression: Any, *, fraction: float, **extra: Any) -> None:
        super().__init__(expression, fraction=float(fraction), **extra)


@dataclass(frozen=True)
class WebhookHealth:
    """Figures over the last `RECENT`, except `waiting` and `failed`, which count all that are kept.

    `lag_p50` and `lag_p95` are from arrival to recorded, of what is urgent; None when nothing was processed.
    So is `oldest_waiting_at`; that of the patient lane is `oldest_patient_at`.
    """

    last_received_at: datetime | None
    received: int
    waiting: int
    oldest_waiting_at: datetime | None
    failed: int
    lag_p50: timedelta | None
    lag_p95: timedelta | None
    oldest_patient_at: datetime | None = None

    def is_stuck(self, now: datetime) -> bool:
        """Tell whether deliveries wait so long that no worker can be running."""
        oldest = (
            (self.oldest_waiting_at, WAITING_TOO_LONG),
            (self.oldest_patient_at, PATIENT_TOO_LONG),
        )
        return any(at is not None and at < now - most for at, most in oldest)


def webhook_health(*, installation: Installation, now: datetime) -> WebhookHealth:
    """Return the figures of one installation."""
    return _health(WebhookDelivery.objects.of(installation), now)


def overall_webhook_health(*, now: datetime) -> WebhookHealth:
    """Return the figures over all installations: for the operator, never for a shop."""
    return _health(WebhookDelivery.objects.all(), now)


def _health(deliveries: QuerySet[WebhookDelivery], now: datetime) -> WebhookHealth:
    """Look at the recent ones and at those that are not done; the bulk of the table is neither."""
    since = now - RECENT
    lag = ExpressionWrapper(F("processed_at") - F("received_at"), output_field=DurationField())
    urgent = Q(lane=Lane.URGENT)
    done = urgent & Q(
        status__in=[DeliveryStatus.PROCESSED, DeliveryStatus.IGNORED], processed_at__isnull=False
    )
    recent = deliveries.filter(received_at__gte=since).aggregate(
        received=Count("pk"),
        lag_p50=_Percentile(lag, fraction=0.5, filter=done),
        lag_p95=_Percentile(lag, fraction=0.95, filter=done),
    )
    waiting = deliveries.filter(status=DeliveryStatus.RECEIVED).aggregate(
        waiting=Count("pk"),
        oldest_waiting_at=Min("received_at", filter=urgent),
        oldest_patient_at=Min("received_at", filter=~urgent),
    )
    newest = deliveries.order_by("-received_at").values_list("received_at", flat=True).first()
    return WebhookHealth(
        last_received_at=newest,
        failed=deliveries.filter(status=DeliveryStatus.FAILED).count(),
        **recent,
        **waiting,
    )


def failed_deliveries(*, installation: Installation, limit: int) -> list[WebhookDelivery]:
    """Return the newest failed deliveries, without their bodies."""
    return latest_deliveries(installation=installation, limit=limit, is_failed=True)


def latest_deliveries(
    *, installation: Installation, limit: int, is_failed: bool = False
) -> list[WebhookDelivery]:
    """Return the newest deliveries, or those that failed, without their bodies."""
    rows = WebhookDelivery.objects.of(installation)
    if is_failed:
        rows = rows.filter(status=DeliveryStatus.FAILED)
    return list(
        rows.only(
            "id", "event", "received_at", "status", "attempts", "error", "installation_id"
        ).order_by("-received_at")[:limit]
    )


@dataclass(frozen=True)
class StageProgress:
    name: str
    row_count: int
    total_count: int | None
    is_done: bool


@dataclass(frozen=True)
class BackfillProgress:
    id: int
    status: BackfillStatus
    is_pause_requested: bool
    started_at: datetime | None
    finished_at: datetime | None
    error: str
    stages: list[StageProgress]

    @property
    def row_count(self) -> int:
        return sum(stage.row_count for stage in self.stages)


def latest_backfill(*, installation: Installation) -> BackfillProgress | None:
    """Return the newest full back-fill and its stages in order; None when there was none.

    Daily reconciliations are left out: they ask for changes only.
    """
    backfill = (
        Backfill.objects.of(installation)
        .filter(changed_since=None)
        .order_by("-created_at", "-pk")
        .first()
    )
    if backfill is None:
        return None
    stages = BackfillStage.objects.of(installation).filter(backfill=backfill)
    return BackfillProgress(
        id=backfill.pk,
        status=BackfillStatus(backfill.status),
        is_pause_requested=backfill.is_pause_requested,
        started_at=backfill.started_at,
        finished_at=backfill.finished_at,
        error=backfill.error,
        stages=[
            StageProgress(stage.name, stage.row_count, stage.total_count, stage.is_done)
            for stage in stages
        ],
    )
