"""Tracking: every event is answered, counted once, and never kept against the visitor's will."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
import time_machine

from saleor_personalize.enums import EventSource, IdentityKind
from saleor_personalize.models import Event, Identity, Installation, Profile, Session
from saleor_personalize.recommendations import training
from tests.api.conftest import ALICE, ANONYMOUS, BOB, Ask
from tests.catalogue import Phones

MUTATION = """mutation Track($events: [TrackEventInput!]!, $consent: Boolean = true, $user: ID,
                             $anonymous: String, $session: TrackSessionInput) {
  track(events: $events, consent: $consent, userId: $user, anonymousId: $anonymous,
        session: $session) {
    results { index id status error { code field message } }
  }
}"""


def viewed(id_: str = "e1", **changes: Any) -> dict[str, Any]:
    return {"id": id_, "type": "PRODUCT_VIEWED", "productId": "UHJvZHVjdDox", **changes}


@pytest.fixture
def track(gql: Ask, shop: Phones) -> Callable[..., list[tuple[str, str | None]]]:
    """`track(event, ..., consent=, user=, **caller) -> [(status, code), ...]`."""

    def send(*events: dict[str, Any], **given: Any) -> list[tuple[str, str | None]]:
        names = ("consent", "user", "anonymous", "session")
        variables = {name: given.pop(name) for name in names if name in given}
        answer = gql(
            MUTATION,
            {"events": list(events), **variables},
            **(given or {"anonymous_id": ANONYMOUS}),
        )
        results = answer.data["track"]["results"]
        assert [row["index"] for row in results] == list(range(len(events)))
        assert [row["id"] for row in results] == [event["id"][:100] for event in events]
        for row in results:
            assert row["error"] is None or row["error"]["message"]
        return [(row["status"], row["error"] and row["error"]["code"]) for row in results]

    return send


Track = Callable[..., list[tuple[str, str | None]]]
ACCEPTED = ("ACCEPTED", None)
DUPLICATE = ("DUPLICATE", None)
IGNORED = ("IGNORED", None)


def nothing_is_stored() -> bool:
    return not any(model.objects.exists() for model in (Event, Identity, Profile))


def test_b104_an_event_is_kept_as_it_was_told(track: Track, shop: Phones, now: datetime) -> None:
    at = now - timedelta(minutes=5)
    event = viewed(
        occurredAt=at.isoformat(),
        channel="us",
        sessionId="s1",
        variantId="UHJvZHVjdFZhcmlhbnQ6MQ==",
    )
    assert track(event) == [ACCEPTED]
    stored = Event.objects.of(shop.installation).get()
    assert (stored.event_id, stored.type, stored.product_saleor_id) == (
        "e1",
        "product_viewed",
        shop.phone,
    )
    assert (stored.occurred_at, stored.received_at) == (at, now)
    assert (stored.channel_slug, stored.session_id) == ("us", "s1")
    assert (stored.source, stored.properties) == (
        EventSource.STOREFRONT,
        {"variant_id": "UHJvZHVjdFZhcmlhbnQ6MQ=="},
    )
    identity = stored.profile.identities.get()
    assert (identity.kind, identity.value) == (IdentityKind.ANONYMOUS_ID, ANONYMOUS)


def test_every_type_of_event_can_be_told(track: Track, shop: Phones) -> None:
    product = {"productId": shop.phone}
    events = [
        {"id": "1", "type": "PRODUCT_VIEWED", **product},
        {"id": "2", "type": "CART_ADDED", **product},
        {"id": "3", "type": "CART_REMOVED", **product},
        {"id": "4", "type": "FAVOURITE_ADDED", **product},
        {"id": "5", "type": "FAVOURITE_REMOVED", **product},
        {"id": "6", "type": "SEARCHED", "query": "Lämp \U0001f4a1"},
        {"id": "7", "type": "CATEGORY_VIEWED", "categoryId": "Q2F0ZWdvcnk6MQ=="},
        {"id": "8", "type": "LIST_VIEWED", "listId": "new"},
        {"id": "9", "type": "RECOMMENDATION_SHOWN", **product, "placement": "home", "slot": 2},
        {"id": "10", "type": "RECOMMENDATION_CLICKED", **product, "placement": "home", "slot": 2},
        {"id": "11", "type": "CUSTOM", "name": "opened", "properties": '{"size": "M", "n": 2.5}'},
    ]
    assert track(*events) == [ACCEPTED] * 11
    assert Event.objects.get(event_id="9").properties == {"placement": "home", "slot": 2}
    assert Event.objects.get(event_id="11").properties == {
        "name": "opened",
        "properties": {"size": "M", "n": 2.5},
    }
    assert Event.objects.get(event_id="6").properties == {"query": "Lämp \U0001f4a1"}


def test_orders_cannot_be_told(gql: Ask, shop: Phones) -> None:
    event = {"id": "1", "type": "ORDER_PLACED", "productId": shop.phone}
    answer = gql(MUTATION, {"events": [event]}, anonymous_id=ANONYMOUS)
    assert "does not exist in 'TrackEventType'" in answer.body["errors"][0]["message"]
    assert nothing_is_stored()


def test_whoever_tracks_is_who_they_show_to_be(
    track: Track, shop: Phones, token_of: Callable[..., str], alice: Profile
) -> None:
    assert track(viewed("a"), token=token_of(ALICE)) == [ACCEPTED]
    assert track(viewed("b"), token=token_of(BOB), anonymous_id=ANONYMOUS) == [ACCEPTED]
    assert track(viewed("c"), token=shop.installation.auth_token, user=ALICE) == [ACCEPTED]
    rows = {event.event_id: event for event in Event.objects.select_related("profile")}
    assert rows["a"].profile == rows["c"].profile == alice
    assert rows["b"].profile != alice
    assert [rows[id_].source for id_ in "abc"] == ["storefront", "storefront", "server"]
    browser = Identity.objects.get(kind=IdentityKind.ANONYMOUS_ID).profile
    assert browser.person_id == rows["b"].profile.person_id


# -- counted once ----------------------------------------------------------------------------------


def test_an_event_sent_twice_counts_once(track: Track) -> None:
    assert track(viewed("a"), viewed("b"), viewed("a")) == [ACCEPTED, ACCEPTED, DUPLICATE]
    assert track(viewed("b"), viewed("c")) == [DUPLICATE, ACCEPTED]
    assert sorted(Event.objects.values_list("event_id", flat=True)) == ["a", "b", "c"]
    # Whoever else uses the same id takes nothing away.
    assert track(viewed("c"), anonymous_id="another-browser-1") == [ACCEPTED]
    assert Profile.objects.filter(events__event_id="c").count() == 2


def test_two_shops_with_one_event_id_have_two_events(
    track: Track, shop: Phones, other_installation: Installation
) -> None:
    assert track(viewed("a"), anonymous_id=ANONYMOUS) == [ACCEPTED]
    assert track(viewed("a"), anonymous_id=ANONYMOUS, shop=other_installation) == [ACCEPTED]
    assert Event.objects.of(shop.installation).count() == 1
    assert Event.objects.of(other_installation).count() == 1
    assert Profile.objects.count() == 2


# -- refused row by row ----------------------------------------------------------------------------

REJECTED: dict[str, tuple[dict[str, Any], str]] = {
    "no id": (viewed(""), "INVALID_ID"),
    "a long id": (viewed("x" * 101), "INVALID_ID"),
    "NUL in the id": (viewed("a\x00b"), "INVALID_TEXT"),
    "no product": ({"id": "e", "type": "PRODUCT_VIEWED"}, "PRODUCT_REQUIRED"),
    "no product added": ({"id": "e", "type": "CART_ADDED"}, "PRODUCT_REQUIRED"),
    "a long product": (viewed(productId="x" * 101), "INVALID_PRODUCT"),
    "NUL as product": (viewed(productId="\x00"), "INVALID_PRODUCT"),
    "no id of Saleor's": (viewed(productId="\U0001f4f1" * 90), "INVALID_PRODUCT"),
    "a long session": (viewed(sessionId="x" * 101), "TOO_LONG"),
    "NUL as session": (viewed(sessionId="\x00"), "INVALID_TEXT"),
    "no query": ({"id": "e", "type": "SEARCHED"}, "QUERY_REQUIRED"),
    "a long query": ({"id": "e", "type": "SEARCHED", "query": "x" * 201}, "TOO_LONG"),
    "NUL in the query": ({"id": "e", "type": "SEARCHED", "query": "a\x00"}, "INVALID_TEXT"),
    "half a letter": ({"id": "e", "type": "SEARCHED", "query": "\ud83d"}, "INVALID_TEXT"),
    "no category": ({"id": "e", "type": "CATEGORY_VIEWED"}, "CATEGORY_REQUIRED"),
    "a long variant": (viewed(variantId="x" * 201), "TOO_LONG"),
    "unknown channel": (viewed(channel="nowhere"), "UNKNOWN_CHANNEL"),
    "too old": (viewed(occurredAt="2026-02-23T11:59:59+00:00"), "TOO_OLD"),
    "year 1": (viewed(occurredAt="0001-01-01T00:00:00+00:00"), "TOO_OLD"),
    "in the future": (viewed(occurredAt="2026-03-02T12:10:01+00:00"), "IN_THE_FUTURE"),
    "no list": ({"id": "e", "type": "LIST_VIEWED"}, "LIST_REQUIRED"),
    "nowhere": (
        viewed(type="RECOMMENDATION_SHOWN", placement="roof", slot=1),
        "UNKNOWN_PLACEMENT",
    ),
    "slot 0": (viewed(type="RECOMMENDATION_CLICKED", placement="home", slot=0), "SLOT_REQUIRED"),
    "no name": ({"id": "e", "type": "CUSTOM"}, "NAME_REQUIRED"),
    "no JSON": (
        {"id": "e", "type": "CUSTOM", "name": "n", "properties": "{"},
        "INVALID_PROPERTIES",
    ),
    "NaN": (
        {"id": "e", "type": "CUSTOM", "name": "n", "properties": '{"a": NaN}'},
        "INVALID_PROPERTIES",
    ),
    "a list": (
        {"id": "e", "type": "CUSTOM", "name": "n", "properties": "[1]"},
        "INVALID_PROPERTIES",
    ),
    "year 9999": (viewed(occurredAt="9999-12-31T23:59:59-12:00"), "IN_THE_FUTURE"),
}


@pytest.mark.parametrize(("event", "code"), REJECTED.values(), ids=REJECTED)
def test_a_bad_event_is_rejected_and_the_others_are_kept(
    track: Track, event: dict[str, Any], code: str
) -> None:
    assert track(viewed("a"), event, viewed("b")) == [ACCEPTED, ("REJECTED", code), ACCEPTED]
    assert sorted(Event.objects.values_list("event_id", flat=True)) == ["a", "b"]


def test_only_bad_events_make_no_profile(track: Track) -> None:
    assert track(viewed(channel="nowhere"), viewed("")) == [
        ("REJECTED", "UNKNOWN_CHANNEL"),
        ("REJECTED", "INVALID_ID"),
    ]
    assert nothing_is_stored()


def test_a_moment_that_is_none_is_refused(gql: Ask, shop: Phones) -> None:
    answer = gql(MUTATION, {"events": [viewed(occurredAt="yesterday")]}, anonymous_id=ANONYMOUS)
    assert "occurredAt" in answer.body["errors"][0]["message"]
    assert answer.codes != ["INTERNAL"]
    assert nothing_is_stored()


# -- clocks ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("skew", "stored"),
    [
        (timedelta(days=-7), timedelta(days=-7)),
        (timedelta(minutes=-30), timedelta(minutes=-30)),
        (timedelta(0), timedelta(0)),
        (timedelta(minutes=10), timedelta(0)),  # ahead of us: dated by our clock
    ],
)
def test_a_wrong_clock_is_borne_with(
    track: Track, now: datetime, skew: timedelta, stored: timedelta
) -> None:
    assert track(viewed(occurredAt=(now + skew).isoformat())) == [ACCEPTED]
    assert Event.objects.get().occurred_at == now + stored


def test_a_moment_without_a_zone_is_utc(track: Track, now: datetime) -> None:
    assert track(viewed(occurredAt="2026-03-02T11:00:00")) == [ACCEPTED]
    assert Event.objects.get().occurred_at == now - timedelta(hours=1)


# -- consent ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "refusal",
    [
        {"consent": False},
        {"consent": None},
        {"headers": {"Sec-GPC": "1"}},
        {"headers": {"DNT": "1"}},
    ],
    ids=["consent false", "consent null", "Sec-GPC", "DNT"],
)
def test_who_refuses_tracking_leaves_no_trace(
    track: Track, token_of: Callable[..., str], refusal: dict[str, Any]
) -> None:
    assert track(viewed("a"), viewed(""), anonymous_id=ANONYMOUS, **refusal) == [IGNORED] * 2
    assert track(viewed("a"), token=token_of(ALICE), **refusal) == [IGNORED]
    assert nothing_is_stored()


def test_headers_that_refuse_nothing(track: Track) -> None:
    headers = {"Sec-GPC": "0", "DNT": "0"}
    assert track(viewed(), anonymous_id=ANONYMOUS, headers=headers) == [ACCEPTED]


# -- the visit ---------------------------------------------------------------------------------------


def test_b14_the_context_of_a_visit_is_kept_once(track: Track, now: datetime) -> None:
    told = {
        "id": "s1",
        "deviceType": "tablet",
        "referrerHost": "https://search.example/?q=name",
        "utm": {"source": "news", "campaign": "spring"},
        "countryCode": "AT",
        "languageCode": "de-AT",
        "channel": "us",
        "currency": "USD",
        "localHour": 13,
    }
    assert track(viewed("a"), viewed("b", sessionId="s2"), session=told) == [ACCEPTED] * 2
    kept = Session.objects.get(session_id="s1")
    assert (kept.device_type, kept.referrer_host) == ("tablet", "search.example")
    assert kept.utm == {"source": "news", "campaign": "spring"}
    assert (kept.country_code, kept.language_code) == ("AT", "de-AT")
    assert (kept.channel_slug, kept.currency, kept.local_hour) == ("us", "USD", 13)
    assert (kept.started_at, kept.last_seen_at) == (now, now)
    assert Session.objects.get(session_id="s2").device_type == ""
    assert dict(Event.objects.values_list("event_id", "session_id")) == {"a": "s1", "b": "s2"}
    assert set(Event.objects.values_list("channel_slug", flat=True)) == {"us"}


def test_a_rejected_event_names_its_field(gql: Ask, shop: Phones) -> None:
    answer = gql(MUTATION, {"events": [viewed(channel="nowhere")]}, anonymous_id=ANONYMOUS)
    (result,) = answer.data["track"]["results"]
    assert result["error"] == {
        "code": "UNKNOWN_CHANNEL",
        "field": "channel",
        "message": "The shop has no sales channel of that slug.",
    }


# -- limits ----------------------------------------------------------------------------------------


def test_too_many_events_at_once_are_refused_whole(gql: Ask, shop: Phones) -> None:
    events = [viewed(str(number)) for number in range(101)]
    answer = gql(MUTATION, {"events": events}, anonymous_id=ANONYMOUS)
    assert answer.refusal == (200, "TOO_MANY_EVENTS")
    assert nothing_is_stored()
    assert gql(MUTATION, {"events": events[:100]}, anonymous_id=ANONYMOUS).data
    assert Event.objects.count() == 100


def test_no_events_are_no_fault(track: Track) -> None:
    assert track() == []
    assert nothing_is_stored()


def test_a_caller_may_send_so_many_events_a_minute(
    gql: Ask, shop: Phones, settings: Any, now: datetime
) -> None:
    settings.SALEOR_PERSONALIZE = {
        **settings.SALEOR_PERSONALIZE,
        "TRACK_MAX_EVENTS_PER_MINUTE": 3,
    }

    def send(*ids: str, **caller: Any) -> Any:
        caller = caller or {"anonymous_id": ANONYMOUS}
        return gql(MUTATION, {"events": [viewed(id_) for id_ in ids]}, **caller)

    assert send("a", "b").data
    assert send("c", "d").refusal == (200, "RATE_LIMITED")
    assert send("c").refusal == (200, "RATE_LIMITED")
    assert Event.objects.count() == 2
    # Nobody else waits for it, and servers speak for many.
    assert send("c", anonymous_id="another-browser-1").data
    token = shop.installation.auth_token
    events = [viewed(f"s{number}") for number in range(5)]
    assert gql(MUTATION, {"events": events, "user": ALICE}, token=token).data
    with time_machine.travel(now + timedelta(minutes=1), tick=False):
        assert send("d").data


def test_a_cache_that_is_away_costs_no_event(
    track: Track, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Away:
        def add(self, *_: object, **__: object) -> None:
            raise ConnectionError(f"no route for {ANONYMOUS}")

    monkeypatch.setattr("saleor_personalize.events.rates.cache", Away())
    assert track(viewed()) == [ACCEPTED]
    assert Event.objects.count() == 1
    (record,) = [r for r in caplog.records if r.name.endswith("events.rates")]
    assert (
        record.getMessage()
        == "The cache does not count (ConnectionError): nobody is limited. Check CACHES."
    )


def test_events_of_nobody_are_refused(gql: Ask, shop: Phones) -> None:
    for token in ("", shop.installation.auth_token):
        answer = gql(MUTATION, {"events": [viewed()]}, token=token)
        assert answer.refusal == (200, "UNAUTHENTICATED")
    assert nothing_is_stored()


def test_b106_nobody_tracks_for_another(
    gql: Ask, shop: Phones, token_of: Callable[..., str]
) -> None:
    for named in ({"user": ALICE}, {"anonymous": "another-browser-1"}):
        for caller in ({"token": token_of(BOB)}, {"anonymous_id": ANONYMOUS}):
            answer = gql(MUTATION, {"events": [viewed()], **named}, **caller)
            assert answer.refusal == (200, "FORBIDDEN")
    assert nothing_is_stored()


# -- what becomes of it ----------------------------------------------------------------------------


def test_no_event_that_was_accepted_can_stop_the_training(
    track: Track, shop: Phones, now: datetime
) -> None:
    odd = ["UHJvZHVjdDox", "x" * 100, "unknown", "=", "_-+/"]
    events = [viewed(str(at), productId=id_, channel="us") for at, id_ in enumerate(odd)]
    assert track(*events) == [ACCEPTED] * 5
    assert training.train(installation=shop.installation, now=now) == 2
