"""`POST /collect`: a page tells what happened, also while it is being left."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import time_machine
from django.core.cache import cache
from django.db import connection
from django.test import Client

from saleor_personalize.enums import (
    ConsentState,
    EventSource,
    EventType,
    IdentityKind,
    Purpose,
)
from saleor_personalize.events import timeline
from saleor_personalize.models import Event, Identity, Installation, Profile, Session
from saleor_personalize.profiles import consent
from tests.api.conftest import ALICE, ANONYMOUS, BOB
from tests.catalogue import Phones
from tests.conftest import make_profile

STORE = "https://store.test"
PHONE = "iPhone; CPU iPhone OS 17_0 like Mac OS X) AppleWebKit/605.1.15 Mobile/15E148"


def viewed(id_: str = "e1", **changes: Any) -> dict[str, Any]:
    return {"id": id_, "type": "PRODUCT_VIEWED", "productId": "UHJvZHVjdDox", **changes}


Collect = Callable[..., Any]


@pytest.fixture
def collect(client: Client, shop: Phones) -> Collect:
    """`collect([event, ...], type=, origin=, headers=, address=, **body) -> response`."""
    shop.installation.storefront_origins = [STORE]
    shop.installation.save()

    def send(events: Any, **given: Any) -> Any:
        sent = {**given.pop("headers", {})}
        if origin := given.pop("origin", STORE):
            sent["Origin"] = origin
        content_type = given.pop("type", "text/plain;charset=UTF-8")
        address = given.pop("address", "203.0.113.7")
        body = {
            "saleorApiUrl": shop.installation.saleor_api_url,
            "anonymousId": ANONYMOUS,
            "events": events,
            **given,
        }
        return client.post(
            "/collect",
            json.dumps({name: value for name, value in body.items() if value is not ...}),
            content_type=content_type,
            headers=sent,
            REMOTE_ADDR=address,
        )

    return send


def answers(response: Any) -> list[tuple[str, str | None, str | None]]:
    """(status, code, field) of each row."""
    assert response.status_code == 200, response.content
    results = response.json()["results"]
    assert [row["index"] for row in results] == list(range(len(results)))
    for row in results:
        assert row["error"] is None or row["error"]["message"].endswith((".", "?"))
    return [
        (
            row["status"],
            row["error"] and row["error"]["code"],
            row["error"] and row["error"]["field"],
        )
        for row in results
    ]


ACCEPTED = ("ACCEPTED", None, None)
DUPLICATE = ("DUPLICATE", None, None)
IGNORED = ("IGNORED", None, None)


def nothing_is_stored() -> bool:
    return not any(model.objects.exists() for model in (Event, Identity, Profile, Session))


def refusal(response: Any) -> tuple[int, str]:
    assert set(response.json()) == {"error"}
    assert response.json()["error"]["message"]
    return response.status_code, response.json()["error"]["code"]


# -- every kind of event -----------------------------------------------------------------------------


def test_b7_one_batch_takes_every_kind_of_event(collect: Collect, shop: Phones) -> None:
    product = {"productId": shop.phone}
    recommended = {**product, "placement": "home", "slot": 3}
    events = [
        {"id": "1", "type": "PRODUCT_VIEWED", **product, "variantId": "VjE="},
        {"id": "2", "type": "CATEGORY_VIEWED", "categoryId": "Q2F0ZWdvcnk6MQ=="},
        {"id": "3", "type": "LIST_VIEWED", "listId": "new-arrivals"},
        {"id": "4", "type": "SEARCHED", "query": "Lämp \U0001f4a1"},
        {"id": "5", "type": "CART_ADDED", **product},
        {"id": "6", "type": "CART_REMOVED", **product},
        {"id": "7", "type": "FAVOURITE_ADDED", **product},
        {"id": "8", "type": "FAVOURITE_REMOVED", **product},
        {"id": "9", "type": "RECOMMENDATION_SHOWN", **recommended},
        {"id": "10", "type": "RECOMMENDATION_CLICKED", **recommended},
        {
            "id": "11",
            "type": "CUSTOM",
            "name": "size_guide.opened",
            "properties": {"size": "M", "seconds": 2.5, "helped": True, "from": None},
        },
    ]
    assert answers(collect(events)) == [ACCEPTED] * 11
    stored = {event.event_id: event for event in Event.objects.of(shop.installation)}
    assert {stored[id_].type for id_ in stored} == {type_.value for type_ in EventType} - {
        "order_placed"
    }
    assert stored["1"].product_saleor_id == shop.phone
    assert stored["1"].properties == {"variant_id": "VjE="}
    assert stored["2"].properties == {"category_id": "Q2F0ZWdvcnk6MQ=="}
    assert stored["3"].properties == {"list_id": "new-arrivals"}
    assert stored["4"].properties == {"query": "Lämp \U0001f4a1"}
    assert stored["9"].properties == stored["10"].properties == {"placement": "home", "slot": 3}
    assert stored["11"].properties == {
        "name": "size_guide.opened",
        "properties": {"size": "M", "seconds": 2.5, "helped": True, "from": None},
    }
    owner = Identity.objects.get()
    assert (owner.kind, owner.value) == (IdentityKind.ANONYMOUS_ID, ANONYMOUS)
    assert {event.profile_id for event in stored.values()} == {owner.profile_id}


@pytest.mark.parametrize("type_", ["text/plain;charset=UTF-8", "application/json"])
def test_b7_a_thousand_events_at_once(collect: Collect, now: datetime, type_: str) -> None:
    events = [
        viewed(str(number), occurredAt=(now - timedelta(seconds=number)).isoformat())
        for number in range(1_000)
    ]
    assert answers(collect(events, type=type_)) == [ACCEPTED] * 1_000
    assert Event.objects.count() == 1_000
    assert set(Event.objects.values_list("received_at", "source")) == {(now, "storefront")}


def test_b7_rows_past_the_thousandth_are_named_and_the_others_kept(collect: Collect) -> None:
    found = answers(collect([viewed(str(number)) for number in range(1_002)]))
    assert found[:1_000] == [ACCEPTED] * 1_000
    assert found[1_000:] == [("REJECTED", "TOO_MANY_EVENTS", "events")] * 2
    assert Event.objects.count() == 1_000


def test_a_batch_of_very_many_rows_is_refused_and_not_answered_row_by_row(
    collect: Collect,
) -> None:
    """An answer is far longer than a row of one character."""
    assert len(answers(collect([0] * 10_000))) == 10_000
    assert refusal(collect([0] * 10_001)) == (413, "TOO_LARGE")
    assert refusal(collect([0] * 10_001, consent=False)) == (413, "TOO_LARGE")
    assert nothing_is_stored()


def test_no_events_are_no_fault(collect: Collect) -> None:
    assert answers(collect([])) == []
    assert nothing_is_stored()


# -- bad rows ----------------------------------------------------------------------------------------

SHOWN = {
    "type": "RECOMMENDATION_SHOWN",
    "productId": "UHJvZHVjdDox",
    "placement": "home",
    "slot": 1,
}
CUSTOM = {"type": "CUSTOM", "name": "opened"}
BAD: dict[str, tuple[Any, str, str]] = {
    "no object": (7, "MALFORMED", ""),
    "a list": ([viewed()], "MALFORMED", ""),
    "null": (None, "MALFORMED", ""),
    "no id": (viewed(""), "INVALID_ID", "id"),
    "a number as id": (viewed(5), "INVALID_TYPE", "id"),  # type: ignore[arg-type]
    "a long id": (viewed("x" * 101), "INVALID_ID", "id"),
    "NUL in the id": (viewed("a\x00"), "INVALID_TEXT", "id"),
    "an unknown kind": (viewed(type="TELEPORTED"), "UNKNOWN_TYPE", "type"),
    "a stored name as kind": (viewed(type="product_viewed"), "UNKNOWN_TYPE", "type"),
    "no kind": ({"id": "e"}, "UNKNOWN_TYPE", "type"),
    "an order": (viewed(type="ORDER_PLACED"), "UNKNOWN_TYPE", "type"),
    "an unknown field": (viewed(productid="x"), "UNKNOWN_FIELD", "productid"),
    "a list as product": (viewed(productId=["x"]), "INVALID_TYPE", "productId"),
    "a truth as slot": ({"id": "e", **SHOWN, "slot": True}, "INVALID_TYPE", "slot"),
    "a text as slot": ({"id": "e", **SHOWN, "slot": "1"}, "INVALID_TYPE", "slot"),
    "no product": ({"id": "e", "type": "PRODUCT_VIEWED"}, "PRODUCT_REQUIRED", "productId"),
    "a strange product": (viewed(productId="a b"), "INVALID_PRODUCT", "productId"),
    "oversized": ({"id": "e", "type": "SEARCHED", "query": "x" * 201}, "TOO_LONG", "query"),
    "a long session": (viewed(sessionId="x" * 101), "TOO_LONG", "sessionId"),
    "half a letter": ({"id": "e", "type": "SEARCHED", "query": "\ud83d"}, "INVALID_TEXT", "query"),
    "no query": ({"id": "e", "type": "SEARCHED"}, "QUERY_REQUIRED", "query"),
    "no category": ({"id": "e", "type": "CATEGORY_VIEWED"}, "CATEGORY_REQUIRED", "categoryId"),
    "no list": ({"id": "e", "type": "LIST_VIEWED"}, "LIST_REQUIRED", "listId"),
    "no placement": ({"id": "e", **SHOWN, "placement": None}, "PLACEMENT_REQUIRED", "placement"),
    "nowhere": ({"id": "e", **SHOWN, "placement": "roof"}, "UNKNOWN_PLACEMENT", "placement"),
    "no slot": ({"id": "e", **SHOWN, "slot": None}, "SLOT_REQUIRED", "slot"),
    "slot 101": ({"id": "e", **SHOWN, "slot": 101}, "INVALID_SLOT", "slot"),
    "slot -1": ({"id": "e", **SHOWN, "slot": -1}, "INVALID_SLOT", "slot"),
    "shown nothing": ({"id": "e", **SHOWN, "productId": None}, "PRODUCT_REQUIRED", "productId"),
    "no name": ({"id": "e", "type": "CUSTOM"}, "NAME_REQUIRED", "name"),
    "a strange name": ({"id": "e", "type": "CUSTOM", "name": "a b"}, "INVALID_NAME", "name"),
    "nested": (
        {"id": "e", **CUSTOM, "properties": {"a": {"b": 1}}},
        "INVALID_PROPERTIES",
        "properties",
    ),
    "a strange key": (
        {"id": "e", **CUSTOM, "properties": {"": 1}},
        "INVALID_PROPERTIES",
        "properties",
    ),
    "31 values": (
        {"id": "e", **CUSTOM, "properties": {f"k{n}": n for n in range(31)}},
        "INVALID_PROPERTIES",
        "properties",
    ),
    "a long value": (
        {"id": "e", **CUSTOM, "properties": {"a": "x" * 201}},
        "INVALID_PROPERTIES",
        "properties",
    ),
    "no number": (
        {"id": "e", **CUSTOM, "properties": {"a": float("nan")}},
        "INVALID_PROPERTIES",
        "properties",
    ),
    "a huge number": (
        {"id": "e", **CUSTOM, "properties": {"a": 10**400}},
        "INVALID_PROPERTIES",
        "properties",
    ),
    "a list of properties": (
        {"id": "e", **CUSTOM, "properties": [1]},
        "INVALID_TYPE",
        "properties",
    ),
    "an unknown channel": (viewed(channel="nowhere"), "UNKNOWN_CHANNEL", "channel"),
    "of another shop": (
        viewed(saleorApiUrl="https://other.saleor.test/graphql/"),
        "FOREIGN_SHOP",
        "saleorApiUrl",
    ),
    "unsigned": (viewed(userId=ALICE), "UNSIGNED", "userId"),
    "no moment": (viewed(occurredAt="yesterday"), "INVALID_TIME", "occurredAt"),
    "a number as moment": (viewed(occurredAt=1_772_452_800), "INVALID_TYPE", "occurredAt"),
    "replayed long after": (
        viewed(occurredAt="2026-02-23T11:59:59Z"),
        "TOO_OLD",
        "occurredAt",
    ),
    "in the future": (viewed(occurredAt="2026-03-02T12:10:01Z"), "IN_THE_FUTURE", "occurredAt"),
    "past the end of time": (
        viewed(occurredAt="9999-12-31T23:59:59-12:00"),
        "INVALID_TIME",
        "occurredAt",
    ),
}


@pytest.mark.parametrize(("event", "code", "field"), BAD.values(), ids=BAD)
def test_b7_a_bad_row_is_named_with_its_field_and_the_others_are_kept(
    collect: Collect, event: Any, code: str, field: str
) -> None:
    found = answers(collect([viewed("a"), event, viewed("b")]))
    assert found == [ACCEPTED, ("REJECTED", code, field), ACCEPTED]
    assert sorted(Event.objects.values_list("event_id", flat=True)) == ["a", "b"]


def test_b7_all_bad_rows_at_once_leave_the_good_one(collect: Collect) -> None:
    found = answers(collect([*(event for event, _, _ in BAD.values()), viewed("good")]))
    assert found == [*(("REJECTED", code, field) for _, code, field in BAD.values()), ACCEPTED]
    assert [event.event_id for event in Event.objects.all()] == ["good"]


def test_only_bad_rows_make_no_profile(collect: Collect) -> None:
    collect([event for event, _, _ in BAD.values()])
    assert nothing_is_stored()


def test_a_replayed_batch_is_answered_row_by_row_and_counts_once(collect: Collect) -> None:
    batch = [viewed("a"), viewed("b"), viewed("a")]
    assert answers(collect(batch)) == [ACCEPTED, ACCEPTED, DUPLICATE]
    assert answers(collect(batch)) == [DUPLICATE] * 3
    assert Event.objects.count() == 2


# -- bad batches -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    ["", "{", "[]", "7", '{"events": {}}', '{"events": "x"}', "\xff", "[" * 100_000, '{"events":'],
)
def test_a_body_that_is_none_is_refused(client: Client, shop: Phones, body: str) -> None:
    response = client.post("/collect", body.encode("latin-1"), content_type="text/plain")
    assert refusal(response) == (400, "BAD_REQUEST")
    assert nothing_is_stored()


@pytest.mark.parametrize(
    "changes",
    [
        {"saleorApiUrl": 5},
        {"anonymousId": ["x"]},
        {"session": "s1"},
        {"token": {}},
        {"userId": 1},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_a_field_of_the_batch_of_the_wrong_type_is_refused(
    collect: Collect, changes: dict[str, Any]
) -> None:
    response = collect([viewed()], **changes)
    assert refusal(response) == (400, "BAD_REQUEST")
    assert f"`{next(iter(changes))}`" in response.json()["error"]["message"]
    assert nothing_is_stored()


def test_a_body_that_is_too_large_is_refused(collect: Collect, settings: Any) -> None:
    settings.SALEOR_PERSONALIZE = {**settings.SALEOR_PERSONALIZE, "COLLECT_MAX_BYTES": 300}
    assert refusal(collect([viewed(str(n)) for n in range(10)])) == (413, "TOO_LARGE")
    assert nothing_is_stored()
    assert answers(collect([viewed()])) == [ACCEPTED]


def test_a_body_past_djangos_own_limit_is_refused(collect: Collect, settings: Any) -> None:
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 100
    assert refusal(collect([viewed()])) == (413, "TOO_LARGE")


@pytest.mark.parametrize(
    "url",
    ["https://nobody.saleor.test/graphql/", "", "x" * 501, "https://a\x00", ...],
    ids=["unknown", "empty", "long", "NUL", "none"],
)
def test_a_shop_that_is_none_is_refused(collect: Collect, url: Any) -> None:
    assert refusal(collect([viewed()], saleorApiUrl=url)) == (403, "FORBIDDEN")
    assert nothing_is_stored()


def test_the_shop_may_be_named_in_the_address(client: Client, shop: Phones) -> None:
    body = json.dumps({"anonymousId": ANONYMOUS, "events": [viewed()]})
    url = f"/collect/?saleorApiUrl={shop.installation.saleor_api_url}"
    assert answers(client.post(url, body, content_type="text/plain")) == [ACCEPTED]


def test_one_shops_events_are_not_anothers(
    collect: Collect, shop: Phones, other_installation: Installation
) -> None:
    other_installation.storefront_origins = [STORE]
    other_installation.save()
    assert answers(collect([viewed("a")])) == [ACCEPTED]
    other = {"saleorApiUrl": other_installation.saleor_api_url}
    assert answers(collect([viewed("a")], **other)) == [ACCEPTED]
    assert Event.objects.of(shop.installation).count() == 1
    assert Event.objects.of(other_installation).count() == 1


@pytest.mark.parametrize("id_", ["", "short", "x" * 65, "with space and more"])
def test_an_anonymous_id_that_is_none_is_refused(collect: Collect, id_: str) -> None:
    code = "INVALID_TOKEN" if id_ else "UNAUTHENTICATED"
    assert refusal(collect([viewed()], anonymousId=id_)) == (401, code)
    assert nothing_is_stored()


def test_only_post_is_taken(client: Client) -> None:
    for method in ("get", "put", "delete"):
        response = getattr(client, method)("/collect")
        assert refusal(response) == (405, "BAD_REQUEST")
        assert response["Allow"] == "POST, OPTIONS"


# -- whose they are ----------------------------------------------------------------------------------


def test_a_beacon_may_carry_the_shoppers_token(
    collect: Collect, token_of: Callable[..., str], alice: Profile
) -> None:
    found = collect([viewed("a", userId=ALICE), viewed("b", userId=BOB)], token=token_of(ALICE))
    assert answers(found) == [ACCEPTED, ("REJECTED", "UNSIGNED", "userId")]
    event = Event.objects.get()
    assert (event.profile.person_id, event.source) == (alice.person_id, EventSource.STOREFRONT)


def test_a_token_that_proves_nothing_is_refused(
    collect: Collect, token_of: Callable[..., str], now: datetime
) -> None:
    late = token_of(ALICE, exp=int((now - timedelta(hours=1)).timestamp()))
    for token in ("x", late):
        assert refusal(collect([viewed()], token=token)) == (401, "INVALID_TOKEN")
    assert nothing_is_stored()


def test_nobody_sends_for_another(collect: Collect, token_of: Callable[..., str]) -> None:
    assert refusal(collect([viewed()], userId=ALICE)) == (403, "FORBIDDEN")
    assert refusal(collect([viewed()], userId=ALICE, token=token_of(BOB))) == (403, "FORBIDDEN")
    assert nothing_is_stored()


def test_a_server_sends_for_those_it_names(collect: Collect, shop: Phones, alice: Profile) -> None:
    headers = {"Authorization": f"Bearer {shop.installation.auth_token}", "User-Agent": "okhttp/4"}
    sent = collect(
        [viewed()],
        origin="",
        headers=headers,
        userId=ALICE,
        anonymousId=...,
        session={"id": "s1"},
    )
    assert answers(sent) == [ACCEPTED]
    event = Event.objects.get()
    assert (event.profile, event.source) == (alice, EventSource.SERVER)
    assert Session.objects.get().device_type == ""  # that of the server says nothing of the person


@pytest.mark.parametrize("user", ["a\x00b", "x" * 101, "\ud800", "User 1"])
def test_a_user_that_is_none_is_refused(collect: Collect, shop: Phones, user: str) -> None:
    server = {"Authorization": f"Bearer {shop.installation.auth_token}"}
    assert refusal(collect([viewed()], userId=user, headers=server)) == (401, "INVALID_TOKEN")
    assert nothing_is_stored()


def test_b1_a_server_says_whose_a_browser_is_also_without_an_event(
    collect: Collect, shop: Phones, alice: Profile
) -> None:
    assert answers(collect([viewed("before")])) == [ACCEPTED]
    headers = {"Authorization": f"Bearer {shop.installation.auth_token}"}
    assert answers(collect([], origin="", headers=headers, userId=ALICE)) == []
    alice.refresh_from_db()
    browser = Identity.objects.get(kind=IdentityKind.ANONYMOUS_ID).profile
    assert browser.person_id == alice.person_id
    (event,) = timeline.events_of(alice, first=10)
    assert event.event_id == "before"


# -- which pages may send ------------------------------------------------------------------------------


def test_a_page_of_the_shop_may_send_and_read_the_answer(collect: Collect) -> None:
    response = collect([viewed()])
    assert answers(response) == [ACCEPTED]
    assert response["Access-Control-Allow-Origin"] == STORE
    assert response["Access-Control-Allow-Credentials"] == "true"
    assert "Origin" in response["Vary"]
    assert not response.cookies


@pytest.mark.parametrize(
    "origin", ["https://evil.test", "http://store.test", "https://store.test.evil.test", "null"]
)
def test_a_page_of_somebody_else_stores_nothing(collect: Collect, origin: str) -> None:
    response = collect([viewed()], origin=origin)
    assert refusal(response) == (403, "FOREIGN_ORIGIN")
    assert "Access-Control-Allow-Origin" not in response
    assert nothing_is_stored()


def test_origins_are_those_of_one_installation(
    collect: Collect, shop: Phones, other_installation: Installation
) -> None:
    other = {"saleorApiUrl": other_installation.saleor_api_url}
    assert refusal(collect([viewed()], **other)) == (403, "FOREIGN_ORIGIN")
    assert nothing_is_stored()


def test_the_setting_allows_origins_for_every_installation(collect: Collect, settings: Any) -> None:
    settings.SALEOR_PERSONALIZE = {
        **settings.SALEOR_PERSONALIZE,
        "STOREFRONT_ORIGINS": ["https://all.test"],
    }
    response = collect([viewed()], origin="https://all.test")
    assert answers(response) == [ACCEPTED]
    assert response["Access-Control-Allow-Origin"] == "https://all.test"


def test_a_page_of_our_own_host_needs_no_permission(collect: Collect) -> None:
    assert answers(collect([viewed()], origin="http://testserver")) == [ACCEPTED]


@pytest.mark.parametrize("query", ["", "?saleorApiUrl=https://main.saleor.test/graphql/"])
def test_a_browser_that_asks_first_is_answered(
    collect: Collect, client: Client, query: str
) -> None:
    asked = {"Access-Control-Request-Method": "POST"}
    response = client.options(f"/collect{query}", headers={"Origin": STORE, **asked})
    assert response.status_code == 204
    assert response["Access-Control-Allow-Origin"] == STORE
    assert response["Access-Control-Allow-Methods"] == "POST"
    assert "content-type" in response["Access-Control-Allow-Headers"]
    refused = client.options(f"/collect{query}", headers={"Origin": "https://evil.test", **asked})
    assert "Access-Control-Allow-Origin" not in refused
    assert "Access-Control-Allow-Methods" not in refused


# -- how many ----------------------------------------------------------------------------------------


@pytest.fixture
def limits(settings: Any) -> None:
    settings.SALEOR_PERSONALIZE = {
        **settings.SALEOR_PERSONALIZE,
        "TRACK_MAX_EVENTS_PER_MINUTE": 3,
        "TRACK_MAX_EVENTS_PER_MINUTE_AND_ADDRESS": 5,
    }


@pytest.mark.usefixtures("limits")
def test_a_caller_may_send_so_many_events_a_minute(collect: Collect, now: datetime) -> None:
    assert answers(collect([viewed("a"), viewed("b")])) == [ACCEPTED] * 2
    response = collect([viewed("c"), viewed("d")])
    assert refusal(response) == (429, "RATE_LIMITED")
    assert response["Retry-After"] == "60"
    assert response["Access-Control-Allow-Origin"] == STORE
    assert Event.objects.count() == 2
    assert answers(collect([viewed("c")], anonymousId="another-browser-1")) == [ACCEPTED]
    with time_machine.travel(now + timedelta(minutes=1), tick=False):
        assert answers(collect([viewed("d")])) == [ACCEPTED]


@pytest.mark.usefixtures("limits")
@pytest.mark.parametrize(
    ("first", "again", "elsewhere"),
    [
        ("203.0.113.7", "203.0.113.7", "203.0.113.8"),
        ("2001:db8::1", "2001:db8::ffff:2", "2001:db8:0:1::1"),
        ("::ffff:203.0.113.7", "203.0.113.7", "::ffff:203.0.113.8"),
    ],
)
def test_ids_made_up_by_one_address_share_its_limit(
    collect: Collect, first: str, again: str, elsewhere: str
) -> None:
    def send(number: int, address: str) -> Any:
        ids = [f"{number}-{n}" for n in range(2)]
        return collect(
            [viewed(id_) for id_ in ids], address=address, anonymousId=f"made-up-browser-{number}"
        )

    assert answers(send(1, first)) == [ACCEPTED] * 2
    assert answers(send(2, again)) == [ACCEPTED] * 2
    assert refusal(send(3, again)) == (429, "RATE_LIMITED")
    assert answers(send(4, elsewhere)) == [ACCEPTED] * 2
    assert Event.objects.count() == 6


@pytest.mark.usefixtures("limits")
def test_batches_without_an_event_are_limited_as_well(collect: Collect) -> None:
    """Each tells of a cart, and makes a profile."""

    def send(number: int) -> Any:
        return collect(
            [], anonymousId=f"made-up-browser-{number}", checkoutId=f"Q2hlY2tvdXQ{number}"
        )

    assert [send(number).status_code for number in range(7)] == [200] * 5 + [429] * 2
    assert Profile.objects.count() == 5


@pytest.mark.usefixtures("limits")
def test_behind_a_proxy_its_word_counts_and_not_the_callers(
    collect: Collect, settings: Any
) -> None:
    settings.SALEOR_PERSONALIZE = {**settings.SALEOR_PERSONALIZE, "TRUSTED_PROXIES": 1}

    def send(number: int, forwarded: str) -> Any:
        return collect(
            [viewed(f"{number}-{n}") for n in range(3)],
            address="10.0.0.1",
            anonymousId=f"made-up-browser-{number}",
            headers={"X-Forwarded-For": forwarded},
        )

    assert answers(send(1, "203.0.113.7")) == [ACCEPTED] * 3
    assert refusal(send(2, "198.51.100.1, 203.0.113.7")) == (429, "RATE_LIMITED")
    assert answers(send(3, "203.0.113.8")) == [ACCEPTED] * 3


@pytest.mark.usefixtures("limits")
def test_without_a_proxy_a_forged_header_helps_nobody(collect: Collect) -> None:
    def send(number: int) -> Any:
        return collect(
            [viewed(f"{number}-{n}") for n in range(3)],
            anonymousId=f"made-up-browser-{number}",
            headers={"X-Forwarded-For": f"198.51.100.{number}"},
        )

    assert answers(send(1)) == [ACCEPTED] * 3
    assert refusal(send(2)) == (429, "RATE_LIMITED")


def test_a_cache_that_is_away_loses_no_events(
    collect: Collect, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def add(*_: Any, **__: Any) -> None:
        raise ConnectionError("secret-host:6379")

    monkeypatch.setattr(cache, "add", add)
    assert answers(collect([viewed()])) == [ACCEPTED]
    assert "ConnectionError" in caplog.text
    assert "secret-host" not in caplog.text


def test_what_is_counted_names_nobody(collect: Collect, monkeypatch: pytest.MonkeyPatch) -> None:
    keys: list[str] = []
    real = cache.add
    monkeypatch.setattr(cache, "add", lambda key, *a, **k: keys.append(key) or real(key, *a, **k))
    collect([viewed()])
    assert len(keys) == 2
    assert not any(ANONYMOUS in key or "203.0.113" in key for key in keys)


# -- consent -----------------------------------------------------------------------------------------


def dump() -> str:
    """Everything in every table of the database, as text."""
    rows: list[str] = []
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            cursor.execute(f'SELECT t::text FROM "{table}" AS t')  # noqa: S608
            rows += [f"{table}: {row}" for (row,) in cursor.fetchall()]
    return "\n".join(rows)


@pytest.mark.parametrize(
    "refusal_",
    [
        {"consent": False},
        {"consent": None},
        {"consent": "denied"},
        {"consent": "maybe"},
        {"consent": 0},
        {"headers": {"Sec-GPC": "1"}},
        {"headers": {"DNT": "1"}},
    ],
    ids=repr,
)
def test_b16_without_consent_a_dump_of_the_database_knows_nothing_of_the_person(
    collect: Collect,
    shop: Phones,
    token_of: Callable[..., str],
    refusal_: dict[str, Any],
    caplog: pytest.LogCaptureFixture,
) -> None:
    anonymous_id, address = "visitor-who-says-no-1", "203.0.113.99"
    headers = {"User-Agent": PHONE, "Accept-Language": "de-AT", **refusal_.get("headers", {})}
    batch = [
        viewed("event-of-no", sessionId="session-of-no"),
        {"id": "search-of-no", "type": "SEARCHED", "query": "words-of-no"},
    ]
    before = dump()
    assert "main.saleor.test" in before  # the dump does see what is there
    for who in ({}, {"token": token_of("VXNlcjo5OTk=")}):
        sent = {
            **refusal_,
            "headers": headers,
            "anonymousId": anonymous_id,
            "address": address,
            "session": {"id": "session-of-no", "referrerHost": "friend.example"},
            **who,
        }
        assert answers(collect(batch, **sent)) == [IGNORED] * 2
    after = dump()
    assert after == before
    for trace in (anonymous_id, address, "of-no", "VXNlcjo5OTk=", "friend.example"):
        assert trace not in after
        assert trace not in caplog.text
    assert not getattr(cache, "_cache", {})  # not even counted


@pytest.mark.parametrize("consent", [..., True, "granted"])
def test_b16_with_consent_the_same_dump_finds_the_person(collect: Collect, consent: object) -> None:
    assert answers(collect([viewed("event-of-yes")], consent=consent)) == [ACCEPTED]
    assert "event-of-yes" in dump()
    assert ANONYMOUS in dump()


def test_b16_nothing_is_recorded_of_a_person_who_refused_profiling(
    collect: Collect, token_of: Callable[..., str], alice: Profile, now: datetime
) -> None:
    """The refusal of one profile holds for the whole person, until that one allows it again."""
    browser = make_profile(alice.installation, anonymous_id=ANONYMOUS)
    Profile.objects.filter(pk=browser.pk).update(merged_into=alice)

    def say(state: ConsentState, minutes: int) -> None:
        consent.record(
            profile=browser,
            purpose=Purpose.PROFILING,
            delivery_channel="",  # type: ignore[arg-type]
            state=state,
            source="preference_centre",
            now=now - timedelta(minutes=minutes),
        )

    say(ConsentState.DENIED, 5)
    batch = [viewed("a"), viewed("b", channel="nowhere")]
    refused = [IGNORED, ("REJECTED", "UNKNOWN_CHANNEL", "channel")]
    assert answers(collect(batch, session={"id": "s1"})) == refused
    assert answers(collect(batch, token=token_of(ALICE), anonymousId=...)) == refused
    assert not Event.objects.exists()
    assert not Session.objects.exists()
    assert answers(collect([viewed("a")], anonymousId="somebody-else-0001")) == [ACCEPTED]
    say(ConsentState.GRANTED, 1)
    assert answers(collect([viewed("b")])) == [ACCEPTED]


def test_b16_a_refusal_counts_from_the_moment_that_it_is_known_to_be_theirs(
    collect: Collect, shop: Phones, now: datetime
) -> None:
    """The browser that refused, and the account that signs in on it, meet in this very batch."""
    headers = {"Authorization": f"Bearer {shop.installation.auth_token}"}
    browser = make_profile(shop.installation, anonymous_id=ANONYMOUS)
    make_profile(shop.installation, saleor_user=ALICE)
    consent.record(
        profile=browser,
        purpose=Purpose.PROFILING,
        delivery_channel="",  # type: ignore[arg-type]
        state=ConsentState.DENIED,
        source="preference_centre",
        now=now,
    )
    sent = collect([viewed()], origin="", headers=headers, userId=ALICE)
    assert answers(sent) == [IGNORED]
    assert not Event.objects.exists()


def test_a_visitor_who_says_no_needs_no_id(collect: Collect) -> None:
    assert answers(collect([viewed()], consent=False, anonymousId=...)) == [IGNORED]


# -- the visit ---------------------------------------------------------------------------------------


def test_b14_the_context_is_kept_once_per_visit(collect: Collect, now: datetime) -> None:
    told = {
        "id": "s1",
        "deviceType": "tablet",
        "referrerHost": "https://search.example/?q=my+own+name",
        "utm": {"source": "news", "medium": "mail", "campaign": "spring", "other": "x"},
        "countryCode": "at",
        "languageCode": "de-AT",
        "channel": "us",
        "currency": "usd",
        "localHour": 0,
        "timeZone": "Europe/Vienna",
    }
    early, late = (now - timedelta(minutes=m) for m in (9, 2))
    response = collect(
        [viewed("a", occurredAt=late.isoformat()), viewed("b", occurredAt=early.isoformat())],
        session=told,
        headers={"User-Agent": PHONE, "Accept-Language": "fr"},
    )
    assert answers(response) == [ACCEPTED] * 2
    assert response.json()["unread"] == []
    session = Session.objects.get()
    assert (session.session_id, session.started_at, session.last_seen_at) == ("s1", early, late)
    assert (session.device_type, session.referrer_host) == ("tablet", "search.example")
    assert session.utm == {"source": "news", "medium": "mail", "campaign": "spring"}
    assert (session.country_code, session.language_code) == ("AT", "de-AT")
    assert (session.channel_slug, session.currency, session.local_hour) == ("us", "USD", 0)
    assert session.profile == Event.objects.first().profile  # type: ignore[union-attr]
    assert (session.time_zone, session.profile.time_zone) == ("Europe/Vienna", "Europe/Vienna")
    # Events without their own take session and sales channel from it.
    assert set(Event.objects.values_list("session_id", "channel_slug")) == {("s1", "us")}


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_b77_the_clock_of_the_latest_visit_that_told_one_counts(
    collect: Collect, now: datetime, order: tuple[int, ...]
) -> None:
    visits: list[tuple[dict[str, str], timedelta]] = [
        ({"id": "home", "timeZone": "America/New_York"}, timedelta(hours=50)),
        ({"id": "away", "timeZone": "Asia/Tokyo"}, timedelta(hours=20)),
        ({"id": "says nothing"}, timedelta(hours=1)),
    ]
    for number in order:
        session, ago = visits[number]
        collect([viewed(str(number), occurredAt=(now - ago).isoformat())], session=session)
    profile = Profile.objects.get()
    assert profile.time_zone == "Asia/Tokyo"
    assert profile.time_zone_told_at == now - timedelta(hours=20)


@pytest.mark.parametrize(
    "zone", ["UTC", "Etc/UTC", "Etc/GMT+5", "GMT", "localtime", "Factory", "Atlantic/Reykjavik"]
)
def test_b77_what_is_no_place_is_no_clock(collect: Collect, zone: str) -> None:
    response = collect([viewed()], session={"id": "s1", "timeZone": zone})
    assert response.json()["unread"] == ["session.timeZone"]
    assert Profile.objects.get().time_zone == ""


def test_b14_headers_fill_in_device_and_language_and_are_not_kept(collect: Collect) -> None:
    headers = {"User-Agent": PHONE, "Accept-Language": "pl-PL,pl;q=0.9,en;q=0.8"}
    collect([viewed()], session={"id": "s1"}, headers=headers)
    session = Session.objects.get()
    assert (session.device_type, session.language_code) == ("mobile", "pl-PL")
    assert "AppleWebKit" not in dump()
    assert "203.0.113.7" not in dump()


@pytest.mark.parametrize(
    ("user_agent", "device"),
    [
        ("Mozilla/5.0 (Windows NT 10.0; Win64; x64) Chrome/140 Safari/537.36", "desktop"),
        ("Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) Safari/605.1.15", "desktop"),
        ("Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0", "desktop"),
        ("Mozilla/5.0 (Linux; Android 14; Pixel 8) Chrome/140 Mobile Safari/537.36", "mobile"),
        ("Mozilla/5.0 (Linux; Android 14; SM-X710) Chrome/140 Safari/537.36", "tablet"),
        ("Mozilla/5.0 (iPad; CPU OS 16_0 like Mac OS X) Mobile/15E148", "tablet"),
        ("Dart/3.5 (dart:io)", "app"),
        ("okhttp/4.12.0", "app"),
        ("Shop/1 CFNetwork/1490 Darwin/23.2.0", "app"),
        ("curl/8.5", "other"),
        ("", ""),
    ],
)
def test_b14_a_device_is_known_by_its_kind_only(
    collect: Collect, user_agent: str, device: str
) -> None:
    collect([viewed()], session={"id": "s1"}, headers={"User-Agent": user_agent})
    assert Session.objects.get().device_type == device


def test_b14_what_means_nothing_is_named_and_left_out(collect: Collect) -> None:
    told = {
        "id": "s1",
        "deviceType": "fridge",
        "referrerHost": "https://[",
        "utm": {"source": 5},
        "countryCode": "Austria",
        "languageCode": "\x00",
        "currency": "euro",
        "localHour": 24,
        "timeZone": "Mars/Base",
        "colour": "red",
        "channel": None,
    }
    response = collect([viewed()], session=told)
    assert answers(response) == [ACCEPTED]
    assert sorted(response.json()["unread"]) == [
        "session.colour",
        "session.countryCode",
        "session.currency",
        "session.deviceType",
        "session.languageCode",
        "session.localHour",
        "session.referrerHost",
        "session.timeZone",
        "session.utm",
    ]
    session = Session.objects.get()
    assert (session.time_zone, session.profile.time_zone) == ("", "")
    assert (session.device_type, session.referrer_host, session.utm) == ("", "", {})
    assert (session.country_code, session.language_code, session.currency) == ("", "", "")
    assert session.local_hour is None


def test_a_sales_channel_of_a_visit_that_the_shop_lacks_is_left_out(collect: Collect) -> None:
    collect([viewed()], session={"id": "s1", "channel": "nowhere"})
    assert Session.objects.get().channel_slug == ""
    assert Event.objects.get().channel_slug == ""


def test_b14_an_earlier_context_counts_more_and_a_later_one_fills_gaps(
    collect: Collect, now: datetime
) -> None:
    def send(minute: int, **told: Any) -> None:
        at = (now - timedelta(minutes=10 - minute)).isoformat()
        sent = collect([viewed(f"e{minute}", occurredAt=at)], session={"id": "s1", **told})
        assert answers(sent) == [ACCEPTED]

    send(5, referrerHost="later.example", countryCode="DE")
    send(1, referrerHost="first.example")  # late on the way, but earlier
    send(8, referrerHost="last.example", countryCode="FR", currency="EUR")
    session = Session.objects.get()
    assert session.started_at == now - timedelta(minutes=9)
    assert session.last_seen_at == now - timedelta(minutes=2)
    assert (session.referrer_host, session.country_code) == ("first.example", "DE")
    assert session.currency == "EUR"


def test_a_replay_extends_no_visit(collect: Collect, now: datetime) -> None:
    event = viewed("a", occurredAt=(now - timedelta(minutes=5)).isoformat())
    collect([event], session={"id": "s1", "countryCode": "DE"})
    before = dump()
    again = {**event, "occurredAt": now.isoformat()}
    found = collect([again], session={"id": "s1", "countryCode": "FR", "currency": "EUR"})
    assert answers(found) == [DUPLICATE]
    assert dump() == before


def test_each_event_may_name_its_own_visit(collect: Collect) -> None:
    collect(
        [viewed("a"), viewed("b", sessionId="s0"), viewed("c", sessionId="s1")],
        session={"id": "s1", "countryCode": "DE"},
    )
    visits = dict(Session.objects.values_list("session_id", "country_code"))
    assert visits == {"s1": "DE", "s0": ""}


def test_without_a_session_id_there_is_no_visit(collect: Collect) -> None:
    assert answers(collect([viewed()], session={"countryCode": "DE"})) == [ACCEPTED]
    assert not Session.objects.exists()


# -- clocks and months -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sent", "stored"),
    [
        ("2026-03-02T11:30:00Z", datetime(2026, 3, 2, 11, 30, tzinfo=UTC)),
        ("2026-03-02T12:30:00+01:00", datetime(2026, 3, 2, 11, 30, tzinfo=UTC)),
        ("2026-03-02T11:30:00", datetime(2026, 3, 2, 11, 30, tzinfo=UTC)),
        ("2026-03-02T12:10:00Z", datetime(2026, 3, 2, 12, 0, tzinfo=UTC)),  # ahead: our clock
        ("2026-02-28T23:59:59.5Z", datetime(2026, 2, 28, 23, 59, 59, 500_000, tzinfo=UTC)),
        (None, datetime(2026, 3, 2, 12, 0, tzinfo=UTC)),
    ],
)
def test_a_wrong_clock_is_borne_with(collect: Collect, sent: str | None, stored: datetime) -> None:
    assert answers(collect([viewed(occurredAt=sent)])) == [ACCEPTED]
    event = Event.objects.get()
    assert event.occurred_at == stored
    assert event.month == stored.date().replace(day=1)


def test_b8_nobody_takes_an_event_from_somebody_else_by_its_id(collect: Collect) -> None:
    assert answers(collect([viewed("order-7")], anonymousId="somebody-else-0001")) == [ACCEPTED]
    assert answers(collect([viewed("order-7")])) == [ACCEPTED]
    assert answers(collect([viewed("order-7")])) == [DUPLICATE]
    assert Event.objects.count() == 2


def test_b8_what_is_sent_again_after_signing_in_counts_once(
    collect: Collect, token_of: Callable[..., str], now: datetime
) -> None:
    events = [viewed("a", occurredAt=now.isoformat()), viewed("b")]
    assert answers(collect(events)) == [ACCEPTED] * 2
    assert answers(collect(events, token=token_of(ALICE))) == [DUPLICATE] * 2
    assert answers(collect([viewed("c")], token=token_of(ALICE))) == [ACCEPTED]
    # The token ran out: now the id speaks.
    assert answers(collect([viewed("c")])) == [DUPLICATE]
    assert Event.objects.count() == 3


@pytest.mark.parametrize("first", ["2026-02-28T23:00:00Z", None])
def test_b8_one_id_is_one_event_across_the_end_of_a_month(
    collect: Collect, first: str | None
) -> None:
    with time_machine.travel(datetime(2026, 2, 28, 23, 30, tzinfo=UTC), tick=False):
        assert answers(collect([viewed("a", occurredAt=first)])) == [ACCEPTED]
    with time_machine.travel(datetime(2026, 3, 1, 0, 30, tzinfo=UTC), tick=False):
        # Whatever time the second copy claims, and with none.
        for again in (first, None, "2026-03-01T00:10:00Z"):
            assert answers(collect([viewed("a", occurredAt=again)])) == [DUPLICATE]
    assert Event.objects.count() == 1


def test_b8_an_event_without_a_time_is_known_for_as_long_as_it_is_kept(collect: Collect) -> None:
    for month in (2, 5, 11):
        with time_machine.travel(datetime(2026, month, 15, tzinfo=UTC), tick=False):
            collect([viewed("a")])
    assert [event.month.month for event in Event.objects.all()] == [2]


@pytest.mark.parametrize("odd", ["\ud800", "a\0b", "é", "\ud83d\ude00", "x" * 5_000])
@pytest.mark.parametrize(
    ("name", "status"),
    [("token", 401), ("anonymousId", 401), ("saleorApiUrl", 403), ("userId", 403)],
)
def test_b7_an_identity_in_odd_characters_is_refused(
    collect: Collect, shop: Phones, name: str, status: int, odd: str
) -> None:
    response = collect([viewed()], **{name: odd})
    assert (response.status_code, bool(response.json()["error"]["code"])) == (status, True)
    assert not Event.objects.exists()
