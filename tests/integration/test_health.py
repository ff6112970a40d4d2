"""`/health/` for monitors, `/health/ready/` for load balancers."""

import json
from datetime import timedelta
from typing import Any

import pytest
from django.db import DatabaseError
from django.test import Client
from django.utils import timezone

from saleor_personalize.dashboard import health
from saleor_personalize.enums import DeliveryStatus
from saleor_personalize.models import Installation
from tests.integration.test_dashboard import make_delivery


def test_b119_health_of_a_service_in_good_order(
    client: Client, installation: Installation, other_installation: Installation
) -> None:
    received = timezone.now() - timedelta(minutes=1)
    make_delivery(
        installation, 1, received_at=received, processed_at=received + timedelta(seconds=1)
    )
    make_delivery(
        other_installation, 2, received_at=received, processed_at=received + timedelta(seconds=2)
    )
    make_delivery(installation, 3, status=DeliveryStatus.FAILED, received_at=received)
    response = client.get("/health/")
    assert response.status_code == 200
    assert response.json() == {
        "status": "ok",
        "database": "ok",
        "broker": "ok",
        "webhooks": {
            "last_received_at": received.isoformat(),
            "received_last_day": 3,
            "waiting": 0,
            "failed": 1,
            "lag_p50_seconds": 1.5,
            "lag_p95_seconds": 1.95,
        },
        "segments": {"waiting": 0, "lag_seconds": 0.0},
        "models": {
            "status": "ok",
            "published": 0,
            "damaged": 0,
            "oldest_trained_at": None,
            "trainings_waiting": 0,
            "trainings_running": 0,
        },
    }


@pytest.mark.django_db
def test_b119_a_broker_that_is_down_is_told_and_takes_no_delivery_away(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "broker_fault", lambda: "ConnectionError")
    response = client.get("/health/")
    assert response.status_code == 503
    assert response.json()["broker"] == "ConnectionError"
    assert response.json()["database"] == "ok"
    assert client.get("/health/ready/").status_code == 200


def test_b119_a_database_that_is_down_is_told_without_its_address(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise DatabaseError("connection to db.internal as personalize:secret failed")

    monkeypatch.setattr(health, "overall_webhook_health", refuse)
    monkeypatch.setattr(health.connection, "cursor", refuse)
    for path in ("/health/", "/health/ready/"):
        response = client.get(path)
        assert response.status_code == 503
        assert response.json()["database"] == "DatabaseError"
        assert "secret" not in response.content.decode()


def test_b119_health_names_no_shop_and_no_person(
    client: Client, installation: Installation
) -> None:
    make_delivery(installation, 1, status=DeliveryStatus.FAILED, error="alice@example.com")
    text = json.dumps(client.get("/health/").json())
    assert "saleor.test" not in text
    assert "alice" not in text


@pytest.mark.django_db
def test_health_takes_no_post(client: Client) -> None:
    assert client.post("/health/").status_code == 405
