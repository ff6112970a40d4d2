"""Is the service well? For load balancers, containers and monitors: no shop, no person, no secret."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.db import DatabaseError, connection
from django.http import HttpRequest, JsonResponse
from django.utils import timezone
from django.views.decorators.http import require_safe

from saleor_personalize.ingestion.queries import WebhookHealth, overall_webhook_health
from saleor_personalize.recommendations.queries import ModelsHealth, overall_models_health
from saleor_personalize.segments import queries
from saleor_personalize.tasks.broker import broker_fault


@require_safe
def health(request: HttpRequest) -> JsonResponse:
    """Answer 200 when database and broker answer, else 503; lags are in seconds, over a day."""
    webhooks: dict[str, Any] | None = None
    segments: dict[str, Any] | None = None
    models: dict[str, Any] | None = None
    database = "ok"
    try:
        webhooks = _figures(overall_webhook_health(now=timezone.now()))
        lag = queries.lag(now=timezone.now())
        models = _models(overall_models_health())
        segments = {"waiting": lag.waiting, "lag_seconds": round(lag.behind.total_seconds(), 3)}
    except DatabaseError as error:
        database = type(error).__name__
    broker = broker_fault() or "ok"
    is_well = database == broker == "ok"
    return JsonResponse(
        {
            "status": "ok" if is_well else "down",
            "database": database,
            "broker": broker,
            "webhooks": webhooks,
            "segments": segments,
            "models": models,
        },
        status=200 if is_well else 503,
        headers={"Cache-Control": "no-store"},
    )


@require_safe
def ready(request: HttpRequest) -> JsonResponse:
    """Answer 200 when webhooks can be taken, else 503: for whatever decides where requests go.

    That needs the database only. A broker that is down must not turn deliveries away: Saleor gives
    up after five minutes, while what is stored waits.
    """
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError as error:
        return JsonResponse({"status": "down", "database": type(error).__name__}, status=503)
    return JsonResponse({"status": "ok", "database": "ok"})


def _models(health: ModelsHealth) -> dict[str, Any]:
    oldest = health.oldest_trained_at
    return {
        "status": "damaged" if health.damaged else "ok",
        "published": health.published,
        # The version before each of them answers; `saleor-personalize doctor` says what to do.
        "damaged": health.damaged,
        "oldest_trained_at": oldest.isoformat() if oldest else None,
        "trainings_waiting": health.trainings_waiting,
        "trainings_running": health.trainings_running,
    }


def _figures(health: WebhookHealth) -> dict[str, Any]:
    def seconds(value: timedelta | None) -> float | None:
        return None if value is None else round(value.total_seconds(), 3)

    at = health.last_received_at
    return {
        "last_received_at": at.isoformat() if at else None,
        "received_last_day": health.received,
        "waiting": health.waiting,
        "failed": health.failed,
        "lag_p50_seconds": seconds(health.lag_p50),
        "lag_p95_seconds": seconds(health.lag_p95),
    }
