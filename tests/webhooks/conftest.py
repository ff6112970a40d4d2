"""A shop on loopback that answers what the doors ask, and deliveries signed with its key."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.core.cache import cache
from django.test import Client

from saleor_personalize.models import Installation
from saleor_personalize.saleor_api import auth
from saleor_personalize.tasks import broker
from saleor_personalize.testing.keys import TEST_KEY, SigningKey
from saleor_personalize.webhooks import providers, saleor, wake, wsgi
from tests.loopback import APP_ID, LoopbackShop, loopback_shop, with_loopback

ISSUED_AT = "2026-03-02T11:59:58.042518+00:00"


@pytest.fixture
def shop(settings: Any) -> Iterator[LoopbackShop]:
    """A shop that answers at http://127.0.0.1:<port>/graphql/, and that may install the app."""
    settings.SALEOR_PERSONALIZE = with_loopback(settings.SALEOR_PERSONALIZE)
    with loopback_shop() as shop:
        yield shop


@pytest.fixture(autouse=True)
def _forget() -> None:
    """Nothing a process remembers may pass from test to test."""
    cache.clear()
    saleor.known_installations.clear()
    auth.refresh_limit.clear()


class DirectBell(wake.Bell):
    """Asks the broker on each ring, before the door answers."""

    def ring(self) -> None:
        broker.send(self._task_name)


@pytest.fixture(autouse=True)
def sent_tasks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the tasks that the doors asked for."""
    sent: list[str] = []

    class Broker:
        def send_task(self, name: str, **_: object) -> None:
            sent.append(name)

    monkeypatch.setattr(broker, "current_app", Broker())
    for door in (providers, saleor, wsgi):
        monkeypatch.setattr(door, "bell", DirectBell("personalize.process_deliveries"))
    return sent


def payload_of(
    typename: str = "ProductUpdated", app_id: str = APP_ID, **changes: Any
) -> dict[str, Any]:
    return {
        "__typename": typename,
        "issuedAt": ISSUED_AT,
        "version": "3.24.1",
        "issuingPrincipal": None,
        "recipient": {"id": app_id, "identifier": "saleor.personalize"},
        "product": {"id": "UHJvZHVjdDox", "name": "Café"},
        **changes,
    }


Deliver = Callable[..., Any]


@pytest.fixture
def deliver(client: Client) -> Deliver:
    """Send a signed delivery: `deliver(installation, "product_updated", payload)`."""

    def send(
        installation: Installation | str,
        event: str = "product_updated",
        payload: Any = None,
        *,
        key: SigningKey = TEST_KEY,
        body: bytes | None = None,
        method: str = "POST",
        headers: dict[str, str | None] | None = None,
    ) -> Any:
        url = installation if isinstance(installation, str) else installation.saleor_api_url
        if body is None:
            body = json.dumps(payload if payload is not None else payload_of()).encode()
        sent = {
            "Saleor-Api-Url": url,
            "Saleor-Event": event,
            "Saleor-Signature": key.sign_webhook(body),
            **(headers or {}),
        }
        return client.generic(
            method,
            f"/webhooks/saleor/{event}/",
            data=body,
            content_type="application/json",
            headers={name: value for name, value in sent.items() if value is not None},
        )

    return send
