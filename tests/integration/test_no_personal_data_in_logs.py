"""A whole day of a shop at the loudest log level: no address, no name, no secret is written down."""

import json
import logging
import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.core.cache import cache
from django.test import Client
from django.utils import timezone

from saleor_personalize.enums import DeliveryStatus, MessageStatus, NotSentReason
from saleor_personalize.ingestion import deliveries
from saleor_personalize.journeys import operations as journeys
from saleor_personalize.models import Identity, Installation, Message, WebhookDelivery
from saleor_personalize.saleor_api import auth
from saleor_personalize.testing.keys import TEST_KEY
from tests.integration.reminders import MoodyMailbox, Saleor, World, mailbox, use_smtp
from tests.integration.test_dashboard import headers
from tests.payloads import FOLDER, Recorded, scenario

ADDRESS = re.compile(r"[\w.+-]+@[\w-]+\.[\w.]+")
#: Fields of a payload whose values are about a person.
PERSONAL = {"email", "firstName", "lastName", "phone", "streetAddress1", "userEmail"}
#: Senders of the shop itself.
NOT_PERSONAL = {"shop@example.com"}


@pytest.fixture
def box(settings: Any) -> Iterator[MoodyMailbox]:
    with mailbox() as started:
        use_smtp(settings, started.port)
        yield started


@pytest.fixture
def log() -> Iterator[list[str]]:
    """Everything that any logger writes, as the service would format it."""
    lines: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            # The made-up mail server of this test runs in the same process.
            if record.name != "mail.log":
                lines.append(self.format(record))

    handler = Keep(logging.DEBUG)
    handler.setFormatter(logging.Formatter("%(name)s %(message)s"))
    root, levels = logging.getLogger(), {}
    for name in ("", "httpx", "httpcore", "saleor_personalize", "django.request"):
        levels[name] = logging.getLogger(name).level
        logging.getLogger(name).setLevel(logging.DEBUG)
    # SQL is logged in DEBUG only, where addresses are made up.
    logging.getLogger("django.db.backends").setLevel(logging.INFO)
    root.addHandler(handler)
    yield lines
    root.removeHandler(handler)
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


def every_recording() -> list[Recorded]:
    names = sorted({path.name.partition("__")[0] for path in FOLDER.glob("*.json")})
    return [recorded for name in names for recorded in scenario(name)]


def personal_values(value: Any, key: str = "") -> Iterator[str]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from personal_values(inner, name)
    elif isinstance(value, list):
        for inner in value:
            yield from personal_values(inner, key)
    elif isinstance(value, str):
        yield from ADDRESS.findall(value)
        if key in PERSONAL and len(value) > 3:
            yield value


def post(client: Client, installation: Installation, event: str, body: bytes) -> int:
    response = client.generic(
        "POST",
        f"/webhooks/saleor/{event}/",
        data=body,
        content_type="application/json",
        headers={
            "Saleor-Api-Url": installation.saleor_api_url,
            "Saleor-Event": event,
            "Saleor-Signature": TEST_KEY.sign_webhook(body),
        },
    )
    return int(response.status_code)


def test_b119_no_personal_data_in_logs(
    client: Client, installation: Installation, box: MoodyMailbox, log: list[str]
) -> None:
    cache.clear()
    auth.refresh_limit.clear()
    journey = journeys.ensure_journey(installation=installation, key="abandoned_checkout")
    journeys.go_live(journey=journey, now=timezone.now() - timedelta(days=3650))
    secrets = {installation.auth_token}
    latest = timezone.now()

    # Webhooks in: all that a live Saleor sent, some that cannot be read, one that is not signed.
    for recorded in every_recording():
        payload = recorded.payload
        if recorded.event.startswith("app_"):
            continue  # they would switch the shop off
        payload["recipient"]["id"] = installation.app_id
        latest = datetime.fromisoformat(payload["issuedAt"])
        secrets |= set(personal_values(payload))
        assert post(client, installation, recorded.event, json.dumps(payload).encode()) == 200
        deliveries.process_waiting(now=latest)
    poison = {
        "__typename": "CheckoutUpdated",
        "issuedAt": latest.isoformat(),
        "recipient": {"id": installation.app_id},
        "checkout": {"id": "Q2hlY2tvdXQ6MQ==", "email": "poison@example.com", "lines": "x"},
    }
    secrets.add("poison@example.com")
    assert post(client, installation, "checkout_updated", json.dumps(poison).encode()) == 200
    deliveries.process_waiting(now=latest)
    client.post(
        "/webhooks/saleor/checkout_updated/",
        b'{"email": "unsigned@example.com"}',
        content_type="application/json",
        headers={"Saleor-Api-Url": installation.saleor_api_url, "Saleor-Signature": "x..y"},
    )
    secrets.add("unsigned@example.com")
    failed = WebhookDelivery.objects.filter(status=DeliveryStatus.FAILED)
    assert "checkout_updated" in {delivery.event for delivery in failed}

    # Messages out: one mail server that names the address it refuses, then one that takes them.
    victim = Identity.objects.exclude(address="").earliest("pk").address
    box.recipient_answer = f"550 5.1.1 <{victim}>: no such person"
    journeys.advance_due(now=latest + timedelta(hours=2), ask=Saleor(), limit=1)
    box.recipient_answer = None
    world = World(installation, box)
    world.checkout(at=latest)
    world.allow("alice@example.com")
    secrets.add("alice@example.com")
    journeys.advance_due(now=latest + timedelta(hours=2), ask=Saleor())
    stati = set(Message.objects.values_list("status", flat=True))
    assert {MessageStatus.SENT, MessageStatus.FAILED} <= stati
    assert Message.objects.filter(reason=NotSentReason.CHANNEL_ERROR).exists()
    assert [mail["To"] for mail in box.messages] == ["alice@example.com"]

    # The other doors, with tokens that carry an address.
    signed = headers(installation, email="staff@example.com")
    secrets |= {"staff@example.com", signed["authorization-bearer"]}
    assert client.get("/dashboard/overview/", headers=signed).status_code == 200
    client.post("/dashboard/settings/", {"sender": "nobody@@example.com"}, headers=signed)
    expired = headers(installation, email="staff@example.com", exp=1)
    assert client.get("/dashboard/overview/", headers=expired).status_code == 401
    client.post(
        "/graphql/",
        json.dumps({"query": '{ profile { id } recommendations(placement: "x") { score } }'}),
        content_type="application/json",
        headers={
            "authorization": f"Bearer {expired['authorization-bearer']}",
            "saleor-api-url": installation.saleor_api_url,
            "x-anonymous-id": "3f0d6e0e-secret-id",
        },
    )
    secrets |= {"3f0d6e0e-secret-id", expired["authorization-bearer"]}

    kept = [d.error for d in WebhookDelivery.objects.all()] + [
        m.error for m in Message.objects.all()
    ]
    secrets -= NOT_PERSONAL
    assert len(secrets) > 10
    for room in ("ingestion.deliveries", "messaging.operations", "django.request"):
        assert any(room in line for line in log), f"{room} was heard"
    for text in [*log, *kept]:
        assert not [secret for secret in secrets if secret in text], text
        assert not set(ADDRESS.findall(text)) - NOT_PERSONAL, text
