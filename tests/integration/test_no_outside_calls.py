"""Nothing is called but what the operator named: the shop, the mail server, the database, the broker."""

import json
import re
import socket
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.cache import cache
from django.test import Client
from django.utils import timezone

import saleor_personalize
from saleor_personalize.ingestion import deliveries
from saleor_personalize.models import Installation, SalesChannel
from saleor_personalize.recommendations import service, training
from saleor_personalize.saleor_api import auth
from tests.conftest import NOW
from tests.integration.reminders import HOUR, MoodyMailbox, World, mailbox, use_smtp
from tests.integration.test_dashboard import headers
from tests.integration.test_no_personal_data_in_logs import post
from tests.loopback import LoopbackShop, loopback_shop, with_loopback
from tests.payloads import scenario

PACKAGE = Path(saleor_personalize.__file__).parent
#: What a browser or a mail program fetches by itself.
LOADED = re.compile(
    r"""(?:\bsrc\s*=\s*["']?|<link\b[^>]*\bhref\s*=\s*["']?|url\(\s*["']?|@import\s+["'])((?:https?:)?//[^"'\s)>]+)""",
    re.IGNORECASE,
)


@pytest.fixture
def box() -> Iterator[MoodyMailbox]:
    with mailbox() as started:
        yield started


@pytest.fixture
def shop() -> Iterator[LoopbackShop]:
    with loopback_shop() as served:
        yield served


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> set[tuple[str, int]]:
    """Every host and port that a name was looked up for or a connection made to."""
    found: set[tuple[str, int]] = set()
    look_up, connect = socket.getaddrinfo, socket.socket.connect

    def looked_up(host: Any, port: Any, *rest: Any, **options: Any) -> Any:
        found.add((str(host), int(port or 0)))
        return look_up(host, port, *rest, **options)

    def connected(self: socket.socket, address: Any) -> None:
        if isinstance(address, tuple):
            found.add((str(address[0]), int(address[1])))
        connect(self, address)

    monkeypatch.setattr(socket, "getaddrinfo", looked_up)
    monkeypatch.setattr(socket.socket, "connect", connected)
    return found


@pytest.mark.django_db
def test_b125_a_day_of_the_service_calls_nobody_but_the_shop_and_the_mail_server(
    client: Client,
    settings: Any,
    shop: LoopbackShop,
    box: MoodyMailbox,
    asked: set[tuple[str, int]],
) -> None:
    cache.clear()
    auth.refresh_limit.clear()
    settings.SALEOR_PERSONALIZE = with_loopback(settings.SALEOR_PERSONALIZE)
    use_smtp(settings, box.port)
    now = timezone.now()

    assert client.get("/api/manifest").status_code == 200
    shop.accept("a-token")
    answer = client.post(
        "/api/register",
        json.dumps({"auth_token": "a-token"}),
        content_type="application/json",
        headers={"Saleor-Api-Url": shop.api_url, "Saleor-Schema-Version": "3.24"},
    )
    assert answer.status_code == 200
    installation = Installation.objects.get()

    for recorded in [*scenario("last_unit"), *scenario("order")]:
        payload = recorded.payload
        payload["recipient"]["id"] = installation.app_id
        assert post(client, installation, recorded.event, json.dumps(payload).encode()) == 200
    assert deliveries.process_waiting(now=now) > 10

    SalesChannel.objects.get_or_create(
        installation=installation,
        saleor_id="Q2hhbm5lbDox",
        defaults={"slug": "default-channel", "currency": "USD"},
    )
    assert training.train(installation=installation, now=now) > 0
    service.recommend(
        installation=installation, placement="home", channel_slug="default-channel", now=now
    )

    world = World(installation, box)
    world.go_live(NOW - timedelta(days=1))
    world.checkout()
    world.allow("alice@example.com")
    assert world.advance(NOW + 2 * HOUR) == 1
    assert [mail["To"] for mail in box.messages] == ["alice@example.com"]

    assert client.get("/dashboard/overview/", headers=headers(installation)).status_code == 200
    assert client.get("/health/").status_code == 200

    shop_port = int(shop.url.rpartition(":")[2])
    assert asked - {("127.0.0.1", shop_port), ("127.0.0.1", box.port)} == set()
    assert ("127.0.0.1", shop_port) in asked
    assert ("127.0.0.1", box.port) in asked


def test_b125_no_page_mail_or_style_loads_anything_from_elsewhere() -> None:
    files = [
        path
        for folder in ("static", "templates")
        for path in (PACKAGE / folder).rglob("*")
        if path.suffix in {".html", ".css", ".js", ".txt"}
    ]
    assert len(files) > 15
    loaded = {path.name: LOADED.findall(path.read_text()) for path in files}
    assert {name: urls for name, urls in loaded.items() if urls} == {}
