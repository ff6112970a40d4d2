"""B13: what shoppers keep for later, on all their devices, and show to others if they like."""

import itertools
import uuid
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
import time_machine
from django.test import Client
from django.utils import timezone
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase

from saleor_personalize.enums import EventType, MergeProof
from saleor_personalize.events import favourites
from saleor_personalize.models import (
    Event,
    Favourite,
    Installation,
    Product,
    ProductListing,
    Profile,
    SharedFavourites,
)
from saleor_personalize.profiles import merging
from tests.api.conftest import ALICE, ANONYMOUS, BOB, Ask
from tests.api.test_track import MUTATION as TRACK
from tests.catalogue import Catalogue, Phones, gid, product_id
from tests.conftest import NOW, make_installation, make_profile

ADD = """mutation Add($product: ID!, $variant: ID, $channel: String, $user: ID, $anonymous: String) {
  favouriteAdd(productId: $product, variantId: $variant, channel: $channel, userId: $user,
               anonymousId: $anonymous) {
    favourite { productId variantId channel addedAt isAvailable } errors { code field message }
  }
}"""
REMOVE = """mutation Remove($product: ID!, $variant: ID, $user: ID, $anonymous: String) {
  favouriteRemove(productId: $product, variantId: $variant, userId: $user, anonymousId: $anonymous) {
    errors { code field }
  }
}"""
MINE = """query Mine($first: Int = 10, $channel: String, $user: ID, $anonymous: String) {
  profile(userId: $user, anonymousId: $anonymous) {
    favourites(first: $first, channel: $channel) { productId variantId channel isAvailable }
  }
}"""
SHARE = """mutation Share($user: ID, $anonymous: String) {
  favouritesShare(userId: $user, anonymousId: $anonymous) { token url errors { code } }
}"""
WITHDRAW = "mutation { favouritesWithdraw { count errors { code } } }"
SHARED = """query Shared($token: String!, $channel: String) {
  sharedFavourites(token: $token, channel: $channel) { productId variantId isAvailable }
}"""


def keep(gql: Ask, product: str, *, on: datetime | None = None, **given: Any) -> Any:
    caller = {k: given.pop(k) for k in ("token", "anonymous_id", "headers", "shop") if k in given}
    with time_machine.travel(on or timezone.now(), tick=False):
        return gql(ADD, {"product": product, **given}, **caller).data["favouriteAdd"]


def mine(gql: Ask, *, variables: dict[str, Any] | None = None, **caller: Any) -> list[str] | None:
    found = gql(MINE, variables, **caller).data["profile"]
    return found and [row["productId"] for row in found["favourites"]]


# -- one's own list ------------------------------------------------------------------------------------


def test_b13_a_customer_keeps_and_drops_products(
    gql: Ask, shop: Phones, token_of: Callable[..., str], now: datetime
) -> None:
    token = token_of(ALICE)
    answer = keep(gql, shop.phone, token=token, channel="us")
    assert answer == {
        "favourite": {
            "productId": shop.phone,
            "variantId": None,
            "channel": "us",
            "addedAt": now.isoformat(),
            "isAvailable": True,
        },
        "errors": [],
    }
    keep(
        gql, shop.case, token=token, variant=gid("ProductVariant", 3), on=now + timedelta(minutes=1)
    )
    assert gql(MINE, token=token).data["profile"]["favourites"] == [
        {
            "productId": shop.case,
            "variantId": gid("ProductVariant", 3),
            "channel": None,
            "isAvailable": True,
        },
        {"productId": shop.phone, "variantId": None, "channel": "us", "isAvailable": True},
    ]
    assert mine(gql, token=token, variables={"first": 1}) == [shop.case]
    with time_machine.travel(now + timedelta(minutes=2), tick=False):
        removed = gql(REMOVE, {"product": shop.phone}, token=token).data["favouriteRemove"]
    assert removed == {"errors": []}
    assert mine(gql, token=token) == [shop.case]


def test_b13_keeping_twice_is_keeping_once(gql: Ask, shop: Phones) -> None:
    for _ in range(2):
        assert keep(gql, shop.phone, anonymous_id=ANONYMOUS)["errors"] == []
    assert mine(gql, anonymous_id=ANONYMOUS) == [shop.phone]
    assert Favourite.objects.count() == 1
    # Recommenders and segments hear of it once.
    assert [event.type for event in Event.objects.all()] == [EventType.FAVOURITE_ADDED]


def test_b13_a_visitor_who_refuses_tracking_keeps_favourites_and_tells_no_event(
    gql: Ask, shop: Phones
) -> None:
    keep(gql, shop.phone, anonymous_id=ANONYMOUS, headers={"Sec-GPC": "1"})
    assert mine(gql, anonymous_id=ANONYMOUS) == [shop.phone]
    assert Event.objects.count() == 0


def test_b13_what_cannot_be_bought_now_stays_with_a_flag(
    gql: Ask, shop: Phones, installation: Installation
) -> None:
    for product in (shop.phone, shop.case, shop.lamp):
        keep(gql, product, anonymous_id=ANONYMOUS)
    ProductListing.objects.of(installation).filter(product_saleor_id=shop.case).update(
        is_in_stock=False
    )
    Product.objects.of(installation).filter(saleor_id=shop.lamp).update(deleted_at=NOW)

    def flags(**variables: Any) -> dict[str, bool]:
        rows = gql(MINE, variables, anonymous_id=ANONYMOUS).data["profile"]["favourites"]
        return {row["productId"]: row["isAvailable"] for row in rows}

    assert flags() == {shop.phone: True, shop.case: False}
    assert flags(channel="pl") == {shop.phone: True, shop.case: False}
    keep(gql, shop.mini, anonymous_id=ANONYMOUS)  # sells in "us" only
    assert flags(channel="pl")[shop.mini] is False


@pytest.mark.parametrize(
    ("given", "code", "field"),
    [
        ({"product": gid("Product", 99)}, "UNKNOWN_PRODUCT", "productId"),
        ({"product": "nonsense"}, "UNKNOWN_PRODUCT", "productId"),
        ({"variant": gid("ProductVariant", 4)}, "UNKNOWN_VARIANT", "variantId"),
        ({"channel": "pluto"}, "UNKNOWN_CHANNEL", "channel"),
    ],
)
def test_b13_what_is_wrong_comes_as_data(
    gql: Ask, shop: Phones, given: dict[str, str], code: str, field: str
) -> None:
    answer = gql(ADD, {"product": shop.phone, **given}, anonymous_id=ANONYMOUS).data["favouriteAdd"]
    assert answer["favourite"] is None
    assert [(e["code"], e["field"]) for e in answer["errors"]] == [(code, field)]
    assert answer["errors"][0]["message"]
    assert (Favourite.objects.count(), Profile.objects.count()) == (0, 0)


def test_b13_too_many_changes_in_a_minute_are_refused(
    gql: Ask, shop: Phones, settings: Any
) -> None:
    settings.SALEOR_PERSONALIZE = {**settings.SALEOR_PERSONALIZE, "TRACK_MAX_EVENTS_PER_MINUTE": 1}
    keep(gql, shop.phone, anonymous_id=ANONYMOUS)
    answer = keep(gql, shop.case, anonymous_id=ANONYMOUS)
    assert [error["code"] for error in answer["errors"]] == ["RATE_LIMITED"]
    assert Favourite.objects.count() == 1


# -- who may ---------------------------------------------------------------------------------------------


def test_b13_four_kinds_of_callers(
    gql: Ask,
    shop: Phones,
    alice: Profile,
    token_of: Callable[..., str],
    installation: Installation,
) -> None:
    app = installation.auth_token
    keep(gql, shop.phone, token=token_of(ALICE))
    keep(gql, shop.case, token=token_of(BOB))
    keep(gql, shop.lamp, anonymous_id=ANONYMOUS)
    keep(gql, shop.bulb, token=app, user=ALICE, on=NOW + timedelta(minutes=1))
    # Each reads what is theirs.
    assert mine(gql, token=token_of(ALICE)) == [shop.bulb, shop.phone]
    assert mine(gql, token=token_of(BOB)) == [shop.case]
    assert mine(gql, anonymous_id=ANONYMOUS) == [shop.lamp]
    assert mine(gql, token=app, variables={"user": BOB}) == [shop.case]
    # Nobody but a server names somebody else, and nobody at all has no list.
    before = Favourite.objects.count()
    for caller in ({"token": token_of(BOB)}, {"anonymous_id": ANONYMOUS}, {}):
        for query in (ADD, REMOVE):
            variables = {"product": shop.stand, "user": ALICE}
            assert gql(query, variables, **caller).codes == ["FORBIDDEN"]
    for query, name in ((ADD, "favouriteAdd"), (REMOVE, "favouriteRemove")):
        for caller in ({}, {"token": app}):
            answer = gql(query, {"product": shop.stand}, **caller).data[name]
            assert [error["code"] for error in answer["errors"]] == ["UNAUTHENTICATED"]
    assert Favourite.objects.count() == before


def test_b13_another_shop_has_lists_of_its_own(
    gql: Ask, shop: Phones, other_installation: Installation, token_of: Callable[..., str]
) -> None:
    Phones(other_installation, NOW)
    keep(gql, shop.phone, token=token_of(ALICE))
    theirs = {"token": token_of(ALICE, shop=other_installation), "shop": other_installation}
    keep(gql, product_id(2), **theirs)
    assert mine(gql, token=token_of(ALICE)) == [shop.phone]
    assert mine(gql, **theirs) == [product_id(2)]
    token = gql(SHARE, token=token_of(ALICE)).data["favouritesShare"]["token"]
    assert gql(SHARED, {"token": token}, **theirs).data["sharedFavourites"] is None
    assert gql(SHARED, {"token": token}).data["sharedFavourites"] is not None


def test_b13_signing_in_makes_one_list(
    gql: Ask, shop: Phones, token_of: Callable[..., str], now: datetime
) -> None:
    keep(gql, shop.phone, anonymous_id=ANONYMOUS)
    keep(gql, shop.case, token=token_of(ALICE))
    keep(gql, shop.lamp, anonymous_id="another-browser-of-hers")
    # She signs in on the browser: both ids come together.
    with time_machine.travel(now + timedelta(minutes=1), tick=False):
        signed_in = {"token": token_of(ALICE), "anonymous_id": ANONYMOUS}
        keep(gql, shop.phone, on=now + timedelta(minutes=1), **signed_in)
        assert mine(gql, token=token_of(ALICE)) == [shop.phone, shop.case]
        # What was kept on one device is dropped on the other.
        gql(REMOVE, {"product": shop.phone}, token=token_of(ALICE)).data  # noqa: B018
        assert mine(gql, token=token_of(ALICE)) == [shop.case]
        # The browser's id alone opens nothing any more, and shares nothing.
        assert mine(gql, anonymous_id=ANONYMOUS) is None
        answer = gql(SHARE, anonymous_id=ANONYMOUS).data["favouritesShare"]
        assert (answer["token"], answer["errors"]) == (None, [{"code": "NOTHING_KEPT"}])
    assert SharedFavourites.objects.count() == 0


def test_b13_a_forwarded_cart_opens_nobodys_list(
    gql: Ask, shop: Phones, alice: Profile, token_of: Callable[..., str]
) -> None:
    """A cart joins two people for our care, not for their eyes."""
    keep(gql, shop.phone, token=token_of(ALICE))
    stranger = make_profile(shop.installation, anonymous_id=ANONYMOUS)
    merging.prove(
        installation=shop.installation, first=alice, second=stranger, proof=MergeProof.CHECKOUT, now=NOW
    )  # fmt: skip
    keep(gql, shop.case, anonymous_id=ANONYMOUS)
    assert mine(gql, token=token_of(ALICE)) == [shop.phone]


# -- told as events --------------------------------------------------------------------------------------


def told(id_: str, type_: str, product: str, at: datetime) -> dict[str, Any]:
    return {"id": id_, "type": type_, "productId": product, "occurredAt": at.isoformat()}


def test_b13_events_of_a_storefront_change_the_list_too(
    gql: Ask, shop: Phones, now: datetime
) -> None:
    hour = timedelta(hours=1)
    events = [
        told("1", "FAVOURITE_ADDED", shop.phone, now - 3 * hour),
        told("2", "FAVOURITE_REMOVED", shop.phone, now - hour),
        told("3", "FAVOURITE_ADDED", shop.case, now - hour),
        told("4", "FAVOURITE_REMOVED", shop.case, now - 2 * hour),  # late
        told("5", "FAVOURITE_ADDED", shop.lamp, now - hour)
        | {"variantId": gid("ProductVariant", 6)},
        told("5", "FAVOURITE_REMOVED", shop.lamp, now),  # an id that was there before
    ]
    for batch in (events, events[::-1]):
        gql(TRACK, {"events": batch}, anonymous_id=ANONYMOUS).data  # noqa: B018
        kept = gql(MINE, anonymous_id=ANONYMOUS).data["profile"]["favourites"]
        assert [(row["productId"], row["variantId"]) for row in kept] == [
            (shop.lamp, gid("ProductVariant", 6)),
            (shop.case, None),
        ]


@pytest.mark.parametrize(
    ("minutes", "is_kept"),
    [
        ({1: True, 5: False, 3: True}, False),
        ({1: True, 3: False, 5: True, 2: False}, True),
        ({2: False, 1: True}, False),
        ({2: True, 1: False}, True),
    ],
)
def test_b13_every_order_of_a_few_events_ends_alike(
    carol: Profile, minutes: dict[int, bool], is_kept: bool
) -> None:
    for number, order in enumerate(itertools.permutations(minutes)):
        product = f"product-{number}"
        for minute in order:
            change = favourites.add if minutes[minute] else favourites.remove
            change(profile=carol, product_id=product, now=NOW + timedelta(minutes=minute))
        kept = {row.product_saleor_id for row in favourites.favourites_of(carol)}
        assert (product in kept) is is_kept, order


SAID = st.lists(
    st.tuples(
        st.booleans(),
        st.sampled_from(["phone", "phone", "phone", "case"]),
        st.sampled_from([0, 0, 1]),
        st.integers(0, 5),
    ),
    max_size=9,
)


class TestB13LastMomentWins(TestCase):
    """In any order, with repeats, over two devices of one person."""

    @hypothesis_settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(said=SAID, order=st.randoms(use_true_random=False))
    def test_b13_whatever_the_order_the_last_moment_wins(self, said: Any, order: Any) -> None:
        installation = Installation.objects.first() or make_installation()
        devices = [make_profile(installation, anonymous_id=str(uuid.uuid4())) for _ in range(2)]
        merging.prove(
            installation=installation, first=devices[0], second=devices[1], proof=MergeProof.STAFF, now=NOW
        )  # fmt: skip
        sent = said + said[::2]
        order.shuffle(sent)
        for is_added, product, device, minute in sent:
            change = favourites.add if is_added else favourites.remove
            change(profile=devices[device], product_id=product, now=NOW + timedelta(minutes=minute))
        expected = set()
        for product in ("phone", "case"):
            moments = [
                (minute, not is_added) for is_added, what, _, minute in said if what == product
            ]
            # At the same moment a removal counts.
            if moments and not max(moments)[1]:
                expected.add(product)
        for device in devices:
            found = favourites.favourites_of(device)
            assert {row.product_saleor_id for row in found} == expected
            assert len(found) == len(expected)
            assert [row.added_at for row in found] == sorted(
                (row.added_at for row in found), reverse=True
            )


# -- shown to others ---------------------------------------------------------------------------------------


def test_b13_a_link_shows_products_and_nobody(
    gql: Ask, shop: Phones, token_of: Callable[..., str], installation: Installation
) -> None:
    token = token_of(ALICE)
    keep(gql, shop.phone, token=token)
    keep(gql, shop.case, token=token, on=NOW + timedelta(minutes=1))
    ProductListing.objects.of(installation).filter(product_saleor_id=shop.case).update(
        is_published=False
    )
    shared = gql(SHARE, token=token).data["favouritesShare"]
    assert shared["url"] == f"https://personalize.test/f/{shared['token']}"
    assert gql(SHARE, token=token).data["favouritesShare"]["token"] == shared["token"]
    # Anybody with the link: only what can be bought now.
    assert gql(SHARED, {"token": shared["token"]}).data["sharedFavourites"] == [
        {"productId": shop.phone, "variantId": None, "isAvailable": True}
    ]
    assert gql(SHARED, {"token": str(uuid.uuid4())}).data["sharedFavourites"] is None
    assert gql(SHARED, {"token": "nonsense"}).data["sharedFavourites"] is None
    # Others withdraw nothing.
    assert gql(WITHDRAW, token=token_of(BOB)).data["favouritesWithdraw"]["count"] == 0
    assert gql(WITHDRAW, token=token).data["favouritesWithdraw"] == {"count": 1, "errors": []}
    assert gql(SHARED, {"token": shared["token"]}).data["sharedFavourites"] is None
    # The next link is another one.
    assert gql(SHARE, token=token).data["favouritesShare"]["token"] != shared["token"]


def test_b13_a_link_made_on_a_browser_shows_nobody_who_signs_in_there_later(
    gql: Ask, shop: Phones, token_of: Callable[..., str]
) -> None:
    """Whoever made the link may be somebody else than who signs in: a shared computer."""
    keep(gql, shop.phone, anonymous_id=ANONYMOUS)
    of_browser = gql(SHARE, anonymous_id=ANONYMOUS).data["favouritesShare"]["token"]
    signed_in = {"token": token_of(ALICE), "anonymous_id": ANONYMOUS}
    keep(gql, shop.case, on=NOW + timedelta(minutes=1), **signed_in)
    assert mine(gql, token=token_of(ALICE)) == [shop.case, shop.phone]

    def under(token: str) -> list[str]:
        found = gql(SHARED, {"token": token}).data["sharedFavourites"]
        return [row["productId"] for row in found]

    assert under(of_browser) == [shop.phone]
    # Hers is another one, shows all of it, and she can withdraw both.
    hers = gql(SHARE, token=token_of(ALICE)).data["favouritesShare"]["token"]
    assert under(hers) == [shop.case, shop.phone]
    assert gql(WITHDRAW, token=token_of(ALICE)).data["favouritesWithdraw"]["count"] == 2


def test_b13_a_browsers_id_opens_no_list_of_a_loyalty_card(
    gql: Ask, shop: Phones, installation: Installation
) -> None:
    card = make_profile(installation, external_id="C-7")
    browser = make_profile(installation, anonymous_id=ANONYMOUS)
    assert merging.prove(
        installation=installation,
        first=card,
        second=browser,
        proof=MergeProof.EXTERNAL_ID,
        now=NOW,
    )
    Favourite.objects.create(
        installation=installation, profile=card, product_saleor_id=shop.phone, added_at=NOW
    )
    assert mine(gql, anonymous_id=ANONYMOUS) is None


def test_b13_the_page_under_a_link(
    gql: Ask,
    shop: Phones,
    token_of: Callable[..., str],
    client: Client,
    settings: Any,
    installation: Installation,
) -> None:
    settings.SALEOR_PERSONALIZE = {
        **settings.SALEOR_PERSONALIZE,
        "PRODUCT_URL": "https://store.test/{channel}/{slug}?id={product_id}",
        "DEFAULT_SENDER": "Phones & more <shop@example.com>",
    }
    Product.objects.of(installation).filter(saleor_id=shop.phone).update(
        slug="aurora", name="Aurora <phone>", thumbnail_url="https://img.test/a.png"
    )
    keep(gql, shop.phone, token=token_of(ALICE), channel="us")
    keep(gql, shop.lamp, token=token_of(ALICE))
    ProductListing.objects.of(installation).filter(product_saleor_id=shop.lamp).update(
        is_published=False
    )
    token = gql(SHARE, token=token_of(ALICE)).data["favouritesShare"]["token"]
    response = client.get(f"/f/{token}")
    html = response.content.decode()
    assert response.status_code == 200
    assert "Aurora &lt;phone&gt;" in html
    assert 'src="https://img.test/a.png"' in html
    assert 'href="https://store.test/us/aurora?id=' in html
    assert "Phones &amp; more" in html
    assert "Desk lamp" not in html
    assert "buyer@example.com" not in html
    assert response["Referrer-Policy"] == "no-referrer"
    assert response["X-Robots-Tag"] == "noindex"
    assert "default-src 'none'" in response["Content-Security-Policy"]
    german = client.get(f"/f/{token}", headers={"Accept-Language": "de"}).content.decode()
    assert '<html lang="de"' in german
    gql(WITHDRAW, token=token_of(ALICE)).data  # noqa: B018
    for gone in (token, str(uuid.uuid4()), "x"):
        assert client.get(f"/f/{gone}").status_code == 404
    assert client.post(f"/f/{token}").status_code == 405


def test_b13_a_deleted_customer_leaves_no_link(
    gql: Ask, shop: Phones, alice: Profile, token_of: Callable[..., str], client: Client
) -> None:
    keep(gql, shop.phone, token=token_of(ALICE))
    token = gql(SHARE, token=token_of(ALICE)).data["favouritesShare"]["token"]
    alice.delete()
    assert client.get(f"/f/{token}").status_code == 404
    assert Favourite.objects.count() == 0


def test_b13_catalogue_of_other_shops_is_not_theirs(
    gql: Ask, shop: Phones, other_installation: Installation
) -> None:
    theirs = Catalogue(other_installation, NOW)
    theirs.channel("us")
    only_there = theirs.product(77, "Only there")
    answer = gql(ADD, {"product": only_there}, anonymous_id=ANONYMOUS).data["favouriteAdd"]
    assert [error["code"] for error in answer["errors"]] == ["UNKNOWN_PRODUCT"]
