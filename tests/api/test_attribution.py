"""B41: what a recommendation led to is known by its id, and counted once."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.test import Client

from saleor_personalize.events import attribution
from saleor_personalize.models import Event, Installation, Profile
from tests.api.conftest import ALICE, ANONYMOUS, Ask
from tests.catalogue import Phones

OTHER = "9a1d6e0e-4b1c-another-one"
TRACK = """mutation($events: [TrackEventInput!]!) {
  track(events: $events) { results { status error { code field } } }
}"""
TOUCHPOINTS = """query($since: DateTime!, $until: DateTime) {
  recommendationTouchpoints(since: $since, until: $until) {
    placement strategy channel shown clicked added ordered
  }
}"""


@pytest.fixture
def ids_of(gql: Ask, shop: Phones) -> Callable[..., dict[str, str]]:
    """`ids_of(placement, **caller) -> {product id: attribution id}` of one answer."""

    def ask(placement: str = "home", **caller: Any) -> dict[str, str]:
        rows = gql(
            'query($p: String!) { recommendations(placement: $p, channel: "us")'
            " { productId attributionId strategy } }",
            {"p": placement},
            **(caller or {"anonymous_id": ANONYMOUS}),
        ).data["recommendations"]
        assert rows
        return {row["productId"]: row["attributionId"] for row in rows}

    return ask


@pytest.fixture
def tell(gql: Ask, shop: Phones) -> Callable[..., list[Any]]:
    """`tell((type, product, attribution id), ..., **caller) -> [(status, error), ...]`."""
    numbers = iter(range(10_000))

    def send(*said: tuple[str, str, str], **caller: Any) -> list[Any]:
        at = caller.pop("at", None)
        events = [
            {
                "id": f"e{next(numbers)}",
                "type": type_,
                "productId": product,
                "attributionId": id_,
                "slot": 1,
                **({"occurredAt": at.isoformat()} if at else {}),
            }
            for type_, product, id_ in said
        ]
        answer = gql(TRACK, {"events": events}, **(caller or {"anonymous_id": ANONYMOUS}))
        return [(row["status"], row["error"]) for row in answer.data["track"]["results"]]

    return send


@pytest.fixture
def counted(gql: Ask, installation: Installation, now: datetime) -> Callable[..., list[Any]]:
    def ask(
        since: datetime = now - timedelta(days=30), until: datetime = now + timedelta(seconds=1)
    ) -> Any:
        variables = {"since": since.isoformat(), "until": until.isoformat()}
        answer = gql(TOUCHPOINTS, variables, token=installation.auth_token)
        return answer.data["recommendationTouchpoints"]

    return ask


def row(shop: Phones, strategy: str, **figures: int) -> dict[str, Any]:
    none = {"shown": 0, "clicked": 0, "added": 0, "ordered": 0}
    return {"placement": "home", "strategy": strategy, "channel": "us", **none, **figures}


def test_b41_an_answer_has_an_id_of_its_own_that_tells_where_and_when(
    ids_of: Any, shop: Phones, now: datetime
) -> None:
    first, second = ids_of(), ids_of()
    read = [
        attribution.read(installation=shop.installation, attribution_id=id_)
        for id_ in [*first.values(), *second.values()]
    ]
    assert all(each is not None for each in read)
    assert {(each.placement, each.channel_slug, each.answered_at) for each in read if each} == {
        ("home", "us", now)
    }
    answers = [
        {each.answer for each in part if each} for part in (read[: len(first)], read[len(first) :])
    ]
    assert [len(each) for each in answers] == [1, 1]
    assert answers[0] != answers[1]


def test_b41_an_event_keeps_what_the_id_says_and_not_what_the_caller_says(
    gql: Ask, ids_of: Any, shop: Phones
) -> None:
    product, id_ = next(iter(ids_of().items()))
    said = attribution.read(installation=shop.installation, attribution_id=id_)
    assert said is not None
    event = {
        "id": "e",
        "type": "RECOMMENDATION_CLICKED",
        "productId": product,
        "slot": 2,
        "placement": "cart",
        "channel": "pl",
        "attributionId": id_,
    }
    answer = gql(TRACK, {"events": [event]}, anonymous_id=ANONYMOUS)
    assert answer.data["track"]["results"] == [{"status": "ACCEPTED", "error": None}]
    stored = Event.objects.of(shop.installation).get()
    assert (stored.attribution_id, stored.channel_slug) == (said.answer, "us")
    assert stored.properties == {"placement": "home", "strategy": said.strategy, "slot": 2}


@pytest.mark.parametrize("kind", ["forged", "cut", "of another shop", "junk", "long", "NUL"])
def test_b41_an_id_that_is_not_ours_is_refused_and_nothing_is_stored(
    tell: Any,
    ids_of: Any,
    shop: Phones,
    other_installation: Installation,
    now: datetime,
    kind: str,
) -> None:
    id_ = next(iter(ids_of().values()))
    foreign = attribution.Signer(
        installation=other_installation, placement="home", channel_slug="us", now=now
    )
    wrong = {
        "forged": "A" + id_[1:] if id_[0] != "A" else "B" + id_[1:],
        "cut": id_[:-1],
        "of another shop": foreign("popular"),
        "junk": "junk",
        "long": "a" * 5_000,
        "NUL": "a\x00:b",
    }[kind]
    said = ("CART_ADDED", shop.phone, wrong)
    assert tell(said) == [("REJECTED", {"code": "INVALID_ATTRIBUTION", "field": "attributionId"})]
    assert not Event.objects.exists()


def test_b41_collect_takes_the_id_too(client: Client, ids_of: Any, shop: Phones) -> None:
    product, id_ = next(iter(ids_of().items()))
    body = {
        "saleorApiUrl": shop.installation.saleor_api_url,
        "anonymousId": ANONYMOUS,
        "events": [{"id": "e", "type": "CART_ADDED", "productId": product, "attributionId": id_}],
    }
    answer = client.post("/collect", json.dumps(body), content_type="text/plain").json()
    assert [each["status"] for each in answer["results"]] == ["ACCEPTED"]
    stored = Event.objects.of(shop.installation).get()
    assert stored.properties["placement"] == "home"
    assert stored.attribution_id


def test_b41_of_one_answer_and_one_person_a_hundred_clicks_are_one(
    ids_of: Any, tell: Any, counted: Any, shop: Phones
) -> None:
    answer = ids_of()
    strategy = "newest"
    some = list(answer)[:3]
    tell(*(("RECOMMENDATION_SHOWN", product, answer[product]) for product in some))
    for _ in range(5):
        tell(*(("RECOMMENDATION_CLICKED", product, answer[product]) for product in some))
    tell(("CART_ADDED", some[0], answer[some[0]]))
    assert counted() == [row(shop, strategy, shown=1, clicked=1, added=1)]
    # The same page seen by somebody else, and another answer for the same person: each counts.
    tell(("RECOMMENDATION_CLICKED", some[0], answer[some[0]]), anonymous_id=OTHER)
    again = ids_of(anonymous_id="7c2d6e0e-4b1c-nobody-yet")
    tell(("RECOMMENDATION_CLICKED", some[0], again[some[0]]))
    assert counted() == [row(shop, strategy, shown=1, clicked=3, added=1)]


def test_b41_one_person_over_two_profiles_is_counted_once(
    ids_of: Any, tell: Any, counted: Any, shop: Phones, token_of: Any
) -> None:
    answer = ids_of()
    product = next(iter(answer))
    said = ("RECOMMENDATION_CLICKED", product, answer[product])
    tell(said)
    tell(said, token=token_of(ALICE), anonymous_id=ANONYMOUS)
    assert Profile.objects.of(shop.installation).exclude(merged_into=None).exists() or (
        Profile.objects.of(shop.installation).count() == 1
    )
    assert counted() == [row(shop, "newest", clicked=1)]


def test_b41_an_order_counts_once_at_the_last_answer_that_led_to_it(
    ids_of: Any, tell: Any, counted: Any, shop: Phones, token_of: Any, alice: Profile, now: datetime
) -> None:
    home = ids_of()
    cart = ids_of("cart")
    caller = {"token": token_of(ALICE)}
    both = [shop.lamp, shop.bulb]
    assert all(product in home and product in cart for product in both)
    early, late = now - timedelta(days=3), now - timedelta(days=2)
    tell(("RECOMMENDATION_CLICKED", shop.lamp, home[shop.lamp]), at=early, **caller)
    tell(("RECOMMENDATION_CLICKED", shop.bulb, cart[shop.bulb]), at=late, **caller)
    # Clicked after the order, shown only, and never ordered: none of them led to it.
    tell(("RECOMMENDATION_CLICKED", shop.lamp, home[shop.lamp]), at=now, **caller)
    tell(("RECOMMENDATION_SHOWN", shop.lamp, home[shop.lamp]), at=late, **caller)
    tell(("RECOMMENDATION_CLICKED", shop.case, home[shop.case]), at=late, **caller)
    shop.order(*both, profile=alice, user_id=ALICE, days_ago=1)
    shop.order(shop.stand, profile=alice, user_id=ALICE, days_ago=1)
    found = {each["placement"]: each["ordered"] for each in counted()}
    assert found == {"home": 0, "cart": 1}


def test_b41_an_order_counts_within_the_window_and_when_it_was_carried_out(
    ids_of: Any,
    tell: Any,
    counted: Any,
    shop: Phones,
    token_of: Any,
    alice: Profile,
    now: datetime,
    settings: Any,
) -> None:
    home = ids_of()
    clicked = ("RECOMMENDATION_CLICKED", shop.lamp, home[shop.lamp])
    tell(clicked, at=now - timedelta(days=5), token=token_of(ALICE))
    order = shop.order(shop.lamp, profile=alice, user_id=ALICE, days_ago=1)
    assert [each["ordered"] for each in counted()] == [1]
    # Orders of the time before, of a click of the time before.
    assert [each["ordered"] for each in counted(now - timedelta(days=2))] == [1]
    assert counted(until=now - timedelta(days=6)) == []
    settings.SALEOR_PERSONALIZE = {
        **settings.SALEOR_PERSONALIZE,
        "ATTRIBUTION_WINDOW": timedelta(days=4),
    }
    assert [each["ordered"] for each in counted()] == [0]
    settings.SALEOR_PERSONALIZE = {
        **settings.SALEOR_PERSONALIZE,
        "ATTRIBUTION_WINDOW": timedelta(days=7),
    }
    order.status = "CANCELED"
    order.save()
    assert [each["ordered"] for each in counted()] == [0]


def test_b41_only_a_server_of_the_shop_reads_the_counts(
    gql: Ask, shop: Phones, token_of: Any, other_installation: Installation, tell: Any, ids_of: Any
) -> None:
    answer = ids_of()
    product = next(iter(answer))
    tell(("RECOMMENDATION_CLICKED", product, answer[product]))
    variables = {"since": "2020-01-01T00:00:00Z"}
    for caller in ({"anonymous_id": ANONYMOUS}, {"token": token_of(ALICE)}):
        assert gql(TOUCHPOINTS, variables, **caller).refusal == (200, "FORBIDDEN")
    theirs = gql(
        TOUCHPOINTS, variables, token=other_installation.auth_token, shop=other_installation
    )
    assert theirs.data == {"recommendationTouchpoints": []}
