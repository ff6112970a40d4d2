"""Leaving the trace of a running service."""

from __future__ import annotations

from datetime import datetime

from saleor_personalize.models import Heartbeat, Installation


def beat(*, now: datetime) -> None:
    """Note for every shop that beat and a worker are there."""
    Heartbeat.objects.bulk_create(
        [Heartbeat(installation=shop, at=now) for shop in Installation.objects.order_by("pk")],
        update_conflicts=True,
        unique_fields=["installation"],
        update_fields=["at"],
    )
