"""The event debugger: what a storefront sends is seen as it arrives, also what was turned down and why."""

from __future__ import annotations

import html
import json
import re
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone

from saleor_personalize.enums import DeliveryStatus, ErasureSource
from saleor_personalize.events import arrivals, refused
from saleor_personalize.models import Event, Identity, Installation, RefusedEvent
from saleor_personalize.profiles import privacy, retention
from saleor_personalize.tasks.events import trim_refused
from tests.api.conftest import ANONYMOUS, Ask
from tests.api.test_track import MUTATION
from tests.catalogue import Phones
from tests.integration.test_dashboard import headers, make_delivery

OTHER = "another-browser-of-somebody"
SECRET = "alice@example.com"


@pytest.fixture
def signed(installation: Installation) -> dict[str, str]:
    return headers(installation)


def collect(client: Client, installation: Installation, *events: Any, **changes: Any) -> Any:
    body = {
        "saleorApiUrl": installation.saleor_api_url,
        "anonymousId": ANONYMOUS,
        "events": list(events),
        **changes.pop("body", {}),
    }
    return client.post("/collect", json.dumps(body), content_type="text/plain", **changes)


def lines(client: Client, signed: dict[str, str], **asked: str) -> list[str]:
    """The words of each line, newest first."""
    response = client.post("/dashboard/debugger/lines/", asked, headers=signed)
    assert response.status_code == 200
    found = re.findall(r'<li id="[\w-]+">(.*?)</li>', response.content.decode(), re.DOTALL)
    return [" ".join(html.unescape(re.sub(r"<[^>]+>", " ", each)).split()) for each in found]


def test_b100_what_was_turned_down_shows_its_field_and_no_value(
    client: Client, shop: Phones, signed: dict[str, str]
) -> None:
    answer = collect(
        client,
        shop.installation,
        {"id": "a", "type": "PRODUCT_VIEWED", "productId": SECRET},
        {"id": "b", "type": "SEARCHED", "query": "lamp"},
        {"id": "c", "type": "SEARCHED", "qeury": SECRET},
        {"id": "d", "type": "VIEWED", SECRET: 1},
        "nothing",
    )
    assert [row["status"] for row in answer.json()["results"]] == [
        "REJECTED", "ACCEPTED", "REJECTED", "REJECTED", "REJECTED",
    ]  # fmt: skip
    rows = RefusedEvent.objects.of(shop.installation).order_by("pk")
    assert [(row.type, row.code, row.field) for row in rows] == [
        ("product_viewed", "INVALID_PRODUCT", "productId"),
        ("searched", "UNKNOWN_FIELD", "qeury"),
        ("", "UNKNOWN_FIELD", "?"),
        ("", "MALFORMED", ""),
    ]
    assert rows[0].shape == {"id": "text of 1", "type": "text of 14", "productId": "text of 17"}
    assert rows[2].shape == {"id": "text of 1", "type": "text of 6", "?": "number"}
    stored = str(list(rows.values()))
    assert SECRET not in stored
    assert ANONYMOUS not in stored
    shown = lines(client, signed)
    assert len(shown) == 5
    assert any(
        "INVALID_PRODUCT productId : `productId` takes a global id" in line for line in shown
    )
    assert any("Did you mean `query`?" in line for line in shown)
    assert any(line.startswith("searched · Storefront") and "query lamp" in line for line in shown)


def test_b100_a_batch_that_was_turned_down_whole_is_told(
    client: Client, shop: Phones, signed: dict[str, str]
) -> None:
    event = {"id": "a", "type": "SEARCHED", "query": "lamp"}
    assert collect(client, shop.installation, event, headers={"Origin": "https://evil.test"}).status_code == 403  # fmt: skip
    assert Event.objects.count() == 0
    [line] = lines(client, signed, refused="1")
    assert "FOREIGN_ORIGIN" in line
    assert "Add it on the app's page" in line


@pytest.mark.parametrize(
    ("body", "sent"),
    [
        ({"consent": "denied"}, {}),
        ({}, {"HTTP_SEC_GPC": "1"}),
        ({"anonymousId": "\ud800-is-no-text-at-all"}, {}),
        ({"anonymousId": SECRET}, {}),
    ],
)
def test_b100_of_who_said_no_and_of_what_is_no_id_no_browser_is_kept(
    client: Client, shop: Phones, body: dict[str, Any], sent: dict[str, str]
) -> None:
    # `userId` is somebody else than a token proves: the batch is turned down whole.
    answer = collect(client, shop.installation, body={"userId": "VXNlcjox", **body}, **sent)
    assert answer.status_code in {401, 403}
    row = RefusedEvent.objects.get()
    assert (row.type, row.fingerprint) == ("", "")


def test_b100_events_of_the_graph_are_told_as_well(
    client: Client, gql: Ask, shop: Phones, signed: dict[str, str]
) -> None:
    gql(
        MUTATION,
        {"events": [{"id": "a", "type": "SEARCHED"}, {"id": "b", "type": "SEARCHED", "query": "x"}]},
        anonymous_id=ANONYMOUS,
    )  # fmt: skip
    [line] = lines(client, signed, refused="1")
    assert "searched · Storefront" in line
    assert "QUERY_REQUIRED query" in line
    assert len(lines(client, signed)) == 2


def test_b100_one_browser_is_followed_by_whoever_may_see_people(
    client: Client, shop: Phones, installation: Installation, signed: dict[str, str]
) -> None:
    bad = {"id": "a", "type": "SEARCHED"}
    good = {"id": "b", "type": "SEARCHED", "query": "very secret"}
    collect(client, installation, bad, good)
    collect(client, installation, bad, good, body={"anonymousId": OTHER})
    make_delivery(installation, 1, status=DeliveryStatus.FAILED, error="broken")
    assert len(lines(client, signed)) == 5
    assert len(lines(client, signed, anonymous_id=OTHER)) == 2
    assert len(lines(client, signed, anonymous_id="nobody-is-known-by-this")) == 0
    assert len(lines(client, signed, source="webhook")) == 1
    assert len(lines(client, signed, source="storefront")) == 4
    assert len(lines(client, signed, type="product_viewed")) == 0
    looker = headers(installation, permissions=["MANAGE_ORDERS"])
    shown = lines(client, looker, anonymous_id=OTHER)
    assert len(shown) == 5, "who may not see people cannot look for one"
    assert not any("very secret" in line for line in shown)
    page = client.get("/dashboard/debugger/", headers=looker).content.decode()
    assert "it needs the permission to manage customers" in html.unescape(page)


def test_b100_the_page_looks_less_often_while_nothing_comes(
    client: Client, shop: Phones, installation: Installation, signed: dict[str, str]
) -> None:
    def interval(query: str = "") -> tuple[int, str]:
        text = client.post(f"/dashboard/debugger/lines/{query}", headers=signed).content.decode()
        [(seen, times)] = re.findall(r"\?seen=(\w+)&amp;times=(\d+)", text)
        [seconds] = re.findall(r'hx-trigger="every (\d+)s"', text)
        return int(seconds), f"?seen={seen}&times={times}"

    first, query = interval()
    second, query = interval(query)
    third, query = interval(query)
    assert first < second < third
    collect(client, installation, {"id": "a", "type": "SEARCHED", "query": "x"})
    assert interval(query)[0] == first


@pytest.mark.parametrize(("enough", "count"), [(100, 1), (3, 0)])
def test_b100_what_is_rare_in_a_busy_shop_is_not_looked_for_in_all_of_it(
    client: Client,
    shop: Phones,
    signed: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    enough: int,
    count: int,
) -> None:
    monkeypatch.setattr(arrivals, "ENOUGH", enough)
    words = [{"id": f"s-{n}", "type": "SEARCHED", "query": "lamp"} for n in range(3)]
    seen = {"id": "p", "type": "PRODUCT_VIEWED", "productId": shop.phone}
    collect(client, shop.installation, *words, seen)
    Event.objects.filter(event_id="p").update(received_at=timezone.now() - timedelta(minutes=10))
    assert len(lines(client, signed, type="product_viewed")) == count


def test_b100_what_is_kept_of_nonsense_is_bounded(
    client: Client, installation: Installation, shop: Phones, monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = {"id": "a", "type": "SEARCHED"}
    for _ in range(3):
        collect(client, installation, *[bad] * 60)
    assert RefusedEvent.objects.count() == 60
    monkeypatch.setattr(refused, "KEPT", 25)
    newest = RefusedEvent.objects.latest("pk").pk
    assert trim_refused() == 35
    assert RefusedEvent.objects.count() == 25
    assert RefusedEvent.objects.latest("pk").pk == newest


def test_b123_refused_events_go_with_their_person_and_with_their_time(
    client: Client, installation: Installation, shop: Phones, now: datetime
) -> None:
    bad = {"id": "a", "type": "SEARCHED"}
    collect(client, installation, bad, {"id": "b", "type": "SEARCHED", "query": "x"})
    collect(client, installation, bad, body={"anonymousId": OTHER})
    profile = Identity.objects.get(value=ANONYMOUS).profile
    privacy.erase(profile=profile, requested_by=ErasureSource.STAFF, now=now)
    [left] = RefusedEvent.objects.of(installation)
    assert left.fingerprint == refused.fingerprint_of(installation, OTHER)
    assert retention.purge(now=now + timedelta(days=6))["refused_events"] == 0
    assert retention.purge(now=now + timedelta(days=8))["refused_events"] == 1


def test_b100_one_shop_sees_nothing_of_another(
    client: Client, installation: Installation, other_installation: Installation, shop: Phones
) -> None:
    collect(client, installation, {"id": "a", "type": "SEARCHED"})
    make_delivery(installation, 1)
    assert lines(client, headers(other_installation)) == []
