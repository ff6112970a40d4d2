"""Every placement through the public graph: what each is there for, for whom, and what it never shows."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db.models.expressions import RawSQL

from saleor_personalize.conf import settings as ours
from saleor_personalize.enums import ConsentState, EventSource, EventType, IdentityKind, Purpose
from saleor_personalize.events import tracking
from saleor_personalize.models import (
    Category,
    Consent,
    Exposure,
    Installation,
    Placement,
    Product,
    ProductListing,
    ProductTranslation,
    Profile,
)
from saleor_personalize.recommendations import merchandising, service, shelves, training
from saleor_personalize.recommendations.last_good import last_good
from tests.api.conftest import ALICE, ANONYMOUS, BOB, Ask
from tests.catalogue import Phones, gid

ARGUMENTS = """$channel: String = "us", $product: ID, $products: [ID!], $checkout: ID, $category: ID,
    $query: String, $country: String, $situation: [SituationInput!], $hidden: [ID!], $first: Int,
    $language: String, $user: ID, $anonymous: String"""
ABOUT = """channel: $channel, productId: $product, productIds: $products, checkoutId: $checkout,
    categoryId: $category, query: $query, countryCode: $country, situation: $situation,
    hidden: $hidden, first: $first, languageCode: $language, userId: $user, anonymousId: $anonymous"""
ITEM = "productId slot strategy cursor reason { code text }"
ONE = f"""query($placement: String!, $after: String, {ARGUMENTS}) {{
  recommendations(placement: $placement, after: $after, {ABOUT}) {{ {ITEM} }}
}}"""
PAGE = f"""query($placements: [String!]!, {ARGUMENTS}) {{
  recommendationPage(placements: $placements, {ABOUT}) {{ placement items {{ {ITEM} }} }}
}}"""

Row = dict[str, Any]
Recs = Callable[..., list[Row]]


@pytest.fixture
def recs(gql: Ask) -> Recs:
    return asker(gql)


def asker(gql: Ask) -> Recs:
    """Return `recs(placement, token=, anonymous_id=, **arguments) -> rows`."""

    def ask(placement: str, *, token: str = "", anonymous_id: str = ANONYMOUS, **given: Any) -> Any:
        answer = gql(ONE, {"placement": placement, **given}, token=token, anonymous_id=anonymous_id)
        rows = answer.data["recommendations"]
        assert [row["slot"] for row in rows] == list(range(1, len(rows) + 1))
        assert len(set(ids(rows))) == len(rows)
        return rows

    return ask


@pytest.fixture
def trained(shop: Phones, now: datetime) -> Phones:
    shop.sell()
    training.train(installation=shop.installation, now=now)
    service.forget()
    return shop


def ids(rows: list[Row]) -> list[str]:
    return [row["productId"] for row in rows]


def happen(
    installation: Installation,
    now: datetime,
    *events: tuple[EventType, str],
    anonymous_id: str = ANONYMOUS,
    user_id: str = "",
    seconds_ago: float = 2,
    **properties: Any,
) -> None:
    """Things done one after the other, the last of them so long ago."""
    shown = {IdentityKind.SALEOR_USER: user_id} if user_id else tracking.anonymous(anonymous_id)
    count = len(events)
    results = tracking.track(
        installation=installation,
        shown=shown,
        rows=[
            tracking.Row(
                event_id=f"{anonymous_id}{user_id}-{seconds_ago}-{place}-{type_}-{product}",
                type=type_,
                occurred_at=now - timedelta(seconds=seconds_ago + count - place),
                channel_slug="us",
                session_id="visit",
                product_id=product,
                properties=properties,
            )
            for place, (type_, product) in enumerate(events, start=1)
        ],
        source=EventSource.STOREFRONT,
        now=now,
    )
    assert {result.status for result in results} == {"accepted"}, results


def looked(*products: str) -> list[tuple[EventType, str]]:
    return [(EventType.PRODUCT_VIEWED, product) for product in products]


# -- home ------------------------------------------------------------------------------------------


def test_b17_home_differs_for_two_people_and_is_never_empty(
    recs: Recs, trained: Phones, now: datetime, token_of: Any, alice: Profile, bob: Profile
) -> None:
    happen(trained.installation, now, *looked(trained.phone), user_id=ALICE)
    happen(trained.installation, now, *looked(trained.lamp), user_id=BOB)
    of_alice = recs("home", token=token_of(ALICE), anonymous_id="")
    of_bob = recs("home", token=token_of(BOB), anonymous_id="")
    assert {trained.case, trained.mini} & set(ids(of_alice)[:3])
    assert ids(of_alice)[:3] != ids(of_bob)[:3]
    assert ids(recs("home", anonymous_id="")) != ids(of_alice)
    assert len(recs("home", anonymous_id="")) == 8


def test_b37_an_event_two_seconds_old_changes_the_next_answer(
    recs: Recs, trained: Phones, now: datetime
) -> None:
    before = ids(recs("home"))
    happen(trained.installation, now, *looked(trained.phone), seconds_ago=2)
    after = recs("home")
    assert ids(after) != before
    assert after[0]["reason"] == {
        "code": "BECAUSE_VIEWED",
        "text": "Because you looked at Aurora phone",
    }


def test_b17_home_is_not_about_what_the_visitor_looks_at_or_has_in_the_cart(
    recs: Recs, trained: Phones, now: datetime
) -> None:
    """They were there a moment ago: it comes when nothing else is left. What they saw before may come back."""
    happen(trained.installation, now, *looked(trained.lamp, trained.phone))
    for placement in ("home", "product_page_related", "content_page"):
        rows = recs(placement)
        assert ids(rows)[-1] == trained.phone, placement
        assert ids(recs(placement, first=7)) == ids(rows)[:-1]
    happen(trained.installation, now, (EventType.CART_ADDED, trained.case), seconds_ago=1)
    assert set(ids(recs("home"))[-2:]) == {trained.phone, trained.case}
    assert ids(recs("search", query="leather", first=1)) == [trained.case]
    assert ids(recs("recently_viewed", first=1)) == [trained.phone]
    # After the visit it is one of many again.
    happen(
        trained.installation, now, *looked(trained.bulb), anonymous_id="b" * 20, seconds_ago=3600
    )
    rested = recs("home", anonymous_id="b" * 20)
    assert ids(rested)[-1] != trained.bulb


def test_b36_nothing_is_shown_because_of_itself(recs: Recs, trained: Phones, now: datetime) -> None:
    happen(trained.installation, now, *looked(*trained.products))
    names = dict(Product.objects.of(trained.installation).values_list("saleor_id", "name"))
    for placement in ours.PLACEMENTS:
        for row in recs(placement):
            assert names[row["productId"]] not in row["reason"]["text"], placement


def test_b37_who_refused_profiling_is_answered_as_nobody(
    recs: Recs, trained: Phones, now: datetime, token_of: Any, alice: Profile
) -> None:
    happen(trained.installation, now, *looked(trained.phone), user_id=ALICE)
    asked = {"token": token_of(ALICE), "anonymous_id": ""}
    assert recs("home", **asked)[0]["reason"]["code"] == "BECAUSE_VIEWED"
    Consent.objects.create(
        installation=trained.installation,
        profile=alice,
        purpose=Purpose.PROFILING,
        state=ConsentState.DENIED,
        source="test",
        recorded_at=now,
    )
    for placement in ours.PLACEMENTS:
        assert recs(placement, **asked) == recs(placement, anonymous_id=""), placement


def test_b37_an_anonymous_id_shows_nobody_what_a_recognised_person_did(
    recs: Recs, trained: Phones, now: datetime, token_of: Any
) -> None:
    shown = {IdentityKind.SALEOR_USER: ALICE, IdentityKind.ANONYMOUS_ID: ANONYMOUS}
    tracking.track(
        installation=trained.installation,
        shown=shown,
        rows=[tracking.Row("e1", EventType.PRODUCT_VIEWED, now, "us", "s", trained.stand)],
        source=EventSource.STOREFRONT,
        now=now,
    )
    mine = recs("recently_viewed", token=token_of(ALICE), anonymous_id="")
    assert mine[0]["productId"] == trained.stand
    assert mine[0]["strategy"] == "viewed"
    assert "viewed" not in {row["strategy"] for row in recs("recently_viewed")}


# -- the page of a product -------------------------------------------------------------------------


def test_b18_alternatives_of_a_product(recs: Recs, trained: Phones) -> None:
    first = recs("product_page_similar", product=trained.phone)[0]
    assert (first["productId"], first["strategy"]) == (trained.mini, "similar")


def test_b19_alternatives_and_complements_in_one_request_without_overlap(
    gql: Ask, trained: Phones
) -> None:
    asked = {
        "placements": ["product_page_similar", "product_page_complements"],
        "product": trained.phone,
        "first": 3,
    }
    blocks = gql(PAGE, asked, anonymous_id=ANONYMOUS).data["recommendationPage"]
    assert [block["placement"] for block in blocks] == asked["placements"]
    instead, beside = (ids(block["items"]) for block in blocks)
    assert (len(instead), len(beside)) == (3, 3)
    assert not set(instead) & set(beside)
    # The case is a complement, though alternatives come first and could fill up with it.
    assert (instead[0], beside[0]) == (trained.mini, trained.case)
    assert trained.phone not in {*instead, *beside}


def test_b19_two_fields_of_one_request_do_not_overlap_either(gql: Ask, trained: Phones) -> None:
    answer = gql(
        """query($id: ID!) {
          with: recommendations(placement: "product_page_complements", channel: "us", productId: $id, first: 3) { productId }
          instead: recommendations(placement: "product_page_similar", channel: "us", productId: $id, first: 3) { productId }
        }""",
        {"id": trained.phone},
        anonymous_id=ANONYMOUS,
    ).data
    both = ids(answer["with"]) + ids(answer["instead"])
    assert len(set(both)) == len(both) == 6


def test_b19_a_complement_has_a_direction(recs: Recs, trained: Phones) -> None:
    to_phone = recs("product_page_complements", product=trained.phone, first=1)
    to_case = recs("product_page_complements", product=trained.case, first=1)
    assert ids(to_phone) == [trained.case]
    assert ids(to_case) == [trained.charger]


def test_b25_what_is_sold_out_has_alternatives_of_its_type_that_are_not(
    recs: Recs, trained: Phones
) -> None:
    of_type(trained, "Phone", trained.phone, trained.mini)
    listings = ProductListing.objects.of(trained.installation)
    listings.filter(product_saleor_id=trained.phone).update(is_in_stock=False)
    rows = recs("out_of_stock_alternatives", product=trained.phone)
    assert rows[0]["productId"] == trained.mini
    listings.filter(product_saleor_id=trained.mini).update(is_in_stock=False)
    rows = recs("out_of_stock_alternatives", product=trained.phone)
    assert {trained.phone, trained.mini}.isdisjoint(ids(rows))
    assert len(rows) == 6, "the declared fallback fills it"


def of_type(shop: Phones, name: str, *products: str) -> None:
    Product.objects.of(shop.installation).filter(saleor_id__in=products).update(product_type=name)


def price(shop: Phones, **prices: Any) -> None:
    for name, amount in prices.items():
        listing = ProductListing.objects.of(shop.installation).filter(
            product_saleor_id=getattr(shop, name), channel_slug="us"
        )
        # PostgreSQL knows a NaN, Django does not.
        listing.update(price=RawSQL("'NaN'::numeric", []) if amount == "NaN" else amount)


def test_b28_a_step_up_and_a_step_down_in_the_same_type(recs: Recs, trained: Phones) -> None:
    of_type(trained, "Lamp", trained.lamp, trained.bulb, trained.stand, trained.cable)
    price(trained, lamp=100, bulb=110, stand=140, cable=141, phone=120)
    up = recs("up_sell", product=trained.lamp, first=2)
    assert set(ids(up)) == {trained.bulb, trained.stand}
    assert {row["reason"]["code"] for row in up} == {"UP_SELL"}
    assert up[0]["reason"]["text"] == "A step up from Desk lamp"
    # Only two lie between 110 and 140; the fallback says that it is another thing.
    more = recs("up_sell", product=trained.lamp, first=4)
    assert set(ids(more)[:2]) == {trained.bulb, trained.stand}
    assert "UP_SELL" not in {row["reason"]["code"] for row in more[2:]}
    price(trained, bulb=60, stand=90, cable=91)
    down = recs("down_sell", product=trained.lamp, first=2)
    assert set(ids(down)) == {trained.bulb, trained.stand}
    assert {row["reason"]["code"] for row in down} == {"DOWN_SELL"}


@pytest.mark.parametrize("amount", ["NaN", None])
def test_b28_without_a_price_there_is_no_band_but_a_full_list(
    recs: Recs, trained: Phones, amount: Any
) -> None:
    of_type(trained, "Lamp", *trained.products)
    price(trained, lamp=amount)
    rows = recs("up_sell", product=trained.lamp, first=3)
    assert len(rows) == 3
    assert "UP_SELL" not in {row["reason"]["code"] for row in rows}
    price(trained, lamp=100, bulb=amount, stand=120)
    assert ids(recs("up_sell", product=trained.lamp, first=1)) == [trained.stand]


def refer(shop: Phones, product: str, slug: str, *to: str) -> None:
    row = Product.objects.of(shop.installation).get(saleor_id=product)
    row.attributes = [*row.attributes, {"attribute": slug, "values": [], "references": list(to)}]
    row.save()


def test_b27_a_look_is_what_the_shop_chose_and_then_what_goes_with_it(
    recs: Recs, trained: Phones
) -> None:
    refer(trained, trained.case, "complete-the-look", trained.stand, trained.bulb)
    refer(trained, trained.case, "alternatives", trained.lamp)
    rows = recs("complete_the_look", product=trained.case)
    assert ids(rows)[:3] == [trained.stand, trained.bulb, trained.charger]
    assert [row["strategy"] for row in rows[:3]] == ["curated", "curated", "bought_together"]
    assert rows[0]["reason"]["text"] == "Chosen by us to go with Leather case"
    assert ids(recs("product_page_similar", product=trained.case))[0] == trained.lamp


def test_b34_what_the_shop_chose_by_hand_wins(recs: Recs, trained: Phones) -> None:
    assert ids(recs("product_page_related", product=trained.phone))[0] == trained.case
    refer(trained, trained.phone, "goes-with", trained.stand)
    rows = recs("product_page_related", product=trained.phone)
    assert ids(rows)[:2] == [trained.stand, trained.case]
    # And is left out all the same when it cannot be bought.
    ProductListing.objects.of(trained.installation).filter(product_saleor_id=trained.stand).update(
        is_in_stock=False
    )
    assert ids(recs("product_page_related", product=trained.phone))[0] == trained.case


# -- lists -----------------------------------------------------------------------------------------


def test_b21_best_sellers_by_channel_category_and_country(
    recs: Recs, shop: Phones, now: datetime, alice: Profile, bob: Profile
) -> None:
    Profile.objects.filter(pk=alice.pk).update(country_code="FR")
    for _ in range(3):
        shop.order(shop.lamp, profile=bob, days_ago=3)
    shop.order(shop.bulb, profile=bob, days_ago=3)
    for _ in range(2):
        shop.order(shop.stand, profile=alice, days_ago=3)
        shop.order(shop.phone, profile=alice, channel="pl", days_ago=3)
    shop.order(shop.cable, shop.cable, profile=bob, days_ago=40)
    rows = recs("best_sellers", first=3)
    assert ids(rows) == [shop.lamp, shop.stand, shop.bulb]
    assert {row["strategy"] for row in rows} == {"best_sellers"}
    assert ids(recs("best_sellers", channel="pl", first=1)) == [shop.phone]
    assert ids(recs("best_sellers", country="FR", first=2)) == [shop.stand, shop.lamp]
    lamps = recs("best_sellers", category=gid("Category", "Lamps"))
    assert ids(lamps)[:3] == [shop.lamp, shop.stand, shop.bulb]
    assert lamps[0]["reason"]["text"] == "Best seller in Lamps"
    chargers = recs("best_sellers", category=gid("Category", "Chargers"), first=2)
    assert set(ids(chargers)) == {shop.charger, shop.cable}, (
        "nothing was sold of late: what is there"
    )


def test_b21_a_category_holds_what_is_below_it(recs: Recs, shop: Phones) -> None:
    Category.objects.of(shop.installation).filter(saleor_id=gid("Category", "Lamps")).update(
        parent_saleor_id=gid("Category", "Phones")
    )
    rows = recs("category_page", category=gid("Category", "Phones"), first=5)
    assert set(ids(rows)) == {shop.phone, shop.mini, shop.lamp, shop.bulb, shop.stand}


def test_b21_trending_is_what_rises_not_what_is_big(
    recs: Recs, shop: Phones, now: datetime
) -> None:
    steady = [(EventType.PRODUCT_VIEWED, shop.lamp)] * 20
    for day in (6, 13, 20, 27):
        happen_often(shop, now, steady, days_ago=day - 3)
    happen_often(shop, now, [(EventType.PRODUCT_VIEWED, shop.bulb)] * 10, days_ago=2)
    rows = recs("trending", first=2)
    assert ids(rows)[0] == shop.bulb
    assert rows[0]["strategy"] == "trending"


def happen_often(
    shop: Phones, now: datetime, events: list[tuple[EventType, str]], *, days_ago: float
) -> None:
    from saleor_personalize.models import Event
    from tests.conftest import make_profile

    profile = make_profile(shop.installation, anonymous_id=f"visitor-of-day-{days_ago}")
    for place, (type_, product) in enumerate(events):
        Event.objects.create(
            installation=shop.installation,
            profile=profile,
            event_id=f"{days_ago}-{place}-{product}",
            type=type_,
            occurred_at=now - timedelta(days=days_ago, minutes=place),
            received_at=now,
            source=EventSource.STOREFRONT,
            channel_slug="us",
            product_saleor_id=product,
        )


def test_b21_new_arrivals_are_the_newest_of_a_category(recs: Recs, shop: Phones) -> None:
    rows = recs("new_arrivals", category=gid("Category", "Lamps"), first=3)
    assert ids(rows) == [shop.stand, shop.bulb, shop.lamp]
    # Three months old: the newest, and new no more.
    assert rows[0]["reason"] == {"code": "CATALOGUE", "text": "From our range"}
    new = shop.product(11, "Globe lamp", category="Lamps")
    rows = recs("new_arrivals", category=gid("Category", "Lamps"), first=2)
    assert ids(rows) == [new, shop.stand]
    assert rows[0]["reason"] == {"code": "NEWEST", "text": "New in the shop"}


def test_b21_top_sellers_of_the_category_you_like(recs: Recs, shop: Phones, now: datetime) -> None:
    shop.order(shop.bulb, days_ago=3)
    shop.order(shop.phone, days_ago=3)
    shop.order(shop.phone, days_ago=3)
    happen(shop.installation, now, *looked(shop.phone, shop.lamp, shop.stand))
    rows = recs("top_in_your_category", first=1)
    assert ids(rows) == [shop.bulb]
    assert rows[0]["reason"] == {
        "code": "SAME_CATEGORY",
        "text": "Popular in Lamps, which you like",
    }


def test_b22_recently_viewed_is_the_same_on_every_device(
    recs: Recs, trained: Phones, now: datetime, token_of: Any
) -> None:
    shown = {IdentityKind.SALEOR_USER: ALICE}
    for device, product, ago in (("phone", trained.lamp, 90), ("laptop", trained.case, 30)):
        tracking.track(
            installation=trained.installation,
            shown={**shown, IdentityKind.ANONYMOUS_ID: f"{device}-0123456789abcdef"},
            rows=[
                tracking.Row(
                    f"e-{device}", EventType.PRODUCT_VIEWED, now - timedelta(minutes=ago), "us",
                    device, product,
                )
            ],
            source=EventSource.STOREFRONT,
            now=now,
        )  # fmt: skip
    rows = recs("recently_viewed", token=token_of(ALICE), anonymous_id="")
    assert ids(rows)[:2] == [trained.case, trained.lamp]
    assert [row["strategy"] for row in rows[:2]] == ["viewed", "viewed"]
    assert rows[0]["reason"]["text"] == "You looked at this"
    on_page = recs("recently_viewed", token=token_of(ALICE), anonymous_id="", product=trained.case)
    assert ids(on_page)[0] == trained.lamp, "never the product of the page"


def test_b22_continue_where_you_left(
    recs: Recs, trained: Phones, now: datetime, token_of: Any, alice: Profile
) -> None:
    trained.checkout(trained.stand, profile=alice, user_id=ALICE)
    happen(
        trained.installation,
        now,
        (EventType.CART_ADDED, trained.lamp),
        (EventType.CART_ADDED, trained.cable),
        (EventType.PRODUCT_VIEWED, trained.mini),
        user_id=ALICE,
        seconds_ago=3600,
    )
    trained.order(trained.cable, profile=alice, user_id=ALICE, days_ago=0)
    rows = recs("continue_shopping", token=token_of(ALICE), anonymous_id="")
    assert ids(rows)[:3] == [trained.stand, trained.lamp, trained.mini]
    assert trained.cable not in ids(rows), "bought since"
    assert rows[0]["reason"]["text"] == "You wanted this"


def test_b22_what_was_taken_out_again_is_wanted_no_more(
    recs: Recs, trained: Phones, now: datetime
) -> None:
    happen(
        trained.installation, now,
        (EventType.FAVOURITE_ADDED, trained.lamp), (EventType.CART_ADDED, trained.bulb),
        (EventType.FAVOURITE_REMOVED, trained.lamp), (EventType.CART_REMOVED, trained.bulb),
        (EventType.CART_ADDED, trained.stand), (EventType.CART_REMOVED, trained.stand),
        (EventType.CART_ADDED, trained.stand),
    )  # fmt: skip
    rows = recs("continue_shopping")
    wanted = [row["productId"] for row in rows if row["reason"]["code"] == "LEFT_BEHIND"]
    assert wanted == [trained.stand]
    assert ids(recs("home"))[-1] == trained.stand, "it is in the cart, the bulb is not"


@pytest.mark.parametrize("country", ["N", "NOR", "nö", "1", "x" * 255, "N\u00d8"])
def test_b21_what_is_no_country_makes_no_list_of_its_own(
    recs: Recs, trained: Phones, country: str
) -> None:
    expected = recs("best_sellers")
    remembered = dict(shelves._remembered._known)
    assert recs("best_sellers", country=country) == expected
    assert shelves._remembered._known.keys() == remembered.keys()


def test_b40_lists_of_many_products_are_not_kept(recs: Recs, trained: Phones) -> None:
    """Anybody may ask for any thousand ids: that must not fill the memory."""
    recs("cart", products=[gid("Product", number) for number in range(100, 1_000)], anonymous_id="")
    recs("cart", products=trained.products[:2], anonymous_id="")
    kept = {key[3] for key in last_good._lists}
    assert tuple(trained.products[:2]) in kept
    assert max(len(seeds) for seeds in kept) <= 5


@pytest.mark.parametrize(
    ("query", "expected"),
    [("aurora mini", "mini"), ("LAMP", "lamp"), ("lampp", "lamp"), ("desk unicorn", "lamp")],
)
def test_b23_products_for_the_words_of_a_search(
    recs: Recs, shop: Phones, query: str, expected: str
) -> None:
    rows = recs("search", query=query, first=1)
    assert ids(rows) == [getattr(shop, expected)]
    assert rows[0]["reason"]["text"] == "Matches your search"


@pytest.mark.parametrize("query", ["", "  ", "!&|():*'\\", "qqqqqq", "x" * 200, "ünïcode 商品"])
@pytest.mark.parametrize("placement", ["search", "search_empty"])
def test_b23_no_results_and_odd_words_still_show_something(
    recs: Recs, trained: Phones, query: str, placement: str
) -> None:
    assert len(recs(placement, query=query)) == 8


def test_b20_cart_added_checkout_and_order_confirmation(
    recs: Recs, trained: Phones, carol: Profile
) -> None:
    cart = trained.checkout(trained.phone, trained.case, profile=carol)
    for placement in ("cart", "added_to_cart", "checkout"):
        rows = recs(placement, checkout=cart.saleor_id)
        assert rows[0]["productId"] == trained.charger
        assert set(ids(rows)) == set(trained.products) - {trained.phone, trained.case}
    rows = recs("order_confirmation", products=[trained.phone, trained.case])
    assert rows[0]["productId"] == trained.charger
    assert {trained.phone, trained.case}.isdisjoint(ids(rows))


# -- buying again ------------------------------------------------------------------------------------


def test_b29_what_is_due_again_by_the_persons_own_interval(
    recs: Recs, shop: Phones, token_of: Any, alice: Profile
) -> None:
    for days in (62, 42, 22):
        shop.order(shop.cable, profile=alice, user_id=ALICE, days_ago=days)
    for days in (40, 10):
        shop.order(shop.lamp, profile=alice, user_id=ALICE, days_ago=days)
    rows = recs("buy_again", token=token_of(ALICE), anonymous_id="")
    assert (rows[0]["productId"], rows[0]["strategy"]) == (shop.cable, "due_again")
    assert rows[0]["reason"]["text"] == "Time to buy this again"
    assert shop.lamp not in ids(rows), "bought every 30 days, and ten days ago"
    # Elsewhere what was bought lately is left out.
    assert shop.cable not in ids(recs("home", token=token_of(ALICE), anonymous_id=""))


def test_b29_who_bought_once_is_held_to_what_others_do(
    recs: Recs, shop: Phones, token_of: Any, alice: Profile, installation: Installation
) -> None:
    from tests.conftest import make_profile

    for number in range(3):
        other = make_profile(installation, anonymous_id=f"other-{number}")
        for days in (100, 60):
            shop.order(shop.charger, profile=other, days_ago=days)
    shop.order(shop.charger, profile=alice, user_id=ALICE, days_ago=41)
    shop.order(shop.lamp, profile=alice, user_id=ALICE, days_ago=41)
    rows = recs("buy_again", token=token_of(ALICE), anonymous_id="")
    assert [row["productId"] for row in rows if row["strategy"] == "due_again"] == [shop.charger]


def test_b29_an_order_that_only_carries_my_address_is_not_told(
    recs: Recs, shop: Phones, token_of: Any, alice: Profile
) -> None:
    for days in (62, 42, 22):
        shop.order(shop.cable, profile=alice, user_id="", days_ago=days)
    rows = recs("buy_again", token=token_of(ALICE), anonymous_id="")
    assert "due_again" not in {row["strategy"] for row in rows}


def test_b33_repeatable_types_come_back_after_their_days(
    recs: Recs, shop: Phones, token_of: Any, alice: Profile, settings: Any
) -> None:
    of_type(shop, "Coffee", shop.cable)
    of_type(shop, "Sofa", shop.lamp)
    settings.SALEOR_PERSONALIZE = {
        **settings.SALEOR_PERSONALIZE,
        "HIDE_BOUGHT": {"Coffee": timedelta(days=14), "Sofa": None, "*": timedelta(days=90)},
    }
    shop.order(shop.cable, shop.bulb, profile=alice, user_id=ALICE, days_ago=15)
    shop.order(shop.lamp, profile=alice, user_id=ALICE, days_ago=700)
    found = ids(recs("home", token=token_of(ALICE), anonymous_id=""))
    assert shop.cable in found
    assert {shop.bulb, shop.lamp}.isdisjoint(found)


# -- pages and given lists -----------------------------------------------------------------------------


def test_b24_the_boutique_has_pages_without_gap_or_repetition(
    recs: Recs, gql: Ask, trained: Phones, now: datetime, time_machine_at: Any
) -> None:
    for number in range(20, 40):
        trained.product(number, f"Extra {number}")
    happen(trained.installation, now, *looked(trained.phone))
    everything = ids(recs("personal_boutique", first=100))
    assert len(everything) == 28
    first = recs("personal_boutique", first=10)
    assert ids(first) == everything[:10]
    # Meanwhile things happen: the person goes on, something new comes, and something sells out.
    time_machine_at(now + timedelta(minutes=5))
    happen(trained.installation, now + timedelta(minutes=5), *looked(trained.stand, trained.lamp))
    trained.now = now + timedelta(days=101)
    trained.product(99, "Newest of all")
    ProductListing.objects.of(trained.installation).filter(product_saleor_id=everything[3]).update(
        is_in_stock=False
    )
    shown, last = ids(first), first[-1]["cursor"]
    while page := recs("personal_boutique", first=10, after=last):
        shown += ids(page)
        last = page[-1]["cursor"]
    assert shown == everything


@pytest.fixture
def time_machine_at() -> Any:
    import contextlib

    import time_machine

    with contextlib.ExitStack() as stack:
        yield lambda moment: stack.enter_context(time_machine.travel(moment, tick=False))


def test_b24_pages_have_no_gap_and_no_repetition_under_rules(
    recs: Recs, trained: Phones, now: datetime
) -> None:
    """A rule moves products within their page; the next page begins after all of it."""
    for number in range(20, 40):
        trained.product(number, f"Extra {number}")
    everything = ids(recs("personal_boutique", first=100))
    for effect, place in (("bury", 2), ("boost", 19), ("bury", 9), ("boost", 5)):
        merchandising.create_rule(
            installation=trained.installation, now=now, name=effect, effect=effect,
            conditions={"product_ids": [everything[place]]}, factor=50,
        )  # fmt: skip
    page = recs("personal_boutique", first=10)
    shown = ids(page)
    assert shown != everything[:10]
    while page := recs("personal_boutique", first=10, after=page[-1]["cursor"]):
        shown += ids(page)
    assert sorted(shown) == sorted(everything)


def test_b24_what_is_bought_between_two_pages_is_not_on_the_second(
    recs: Recs, trained: Phones, alice: Profile, token_of: Any, now: datetime, time_machine_at: Any
) -> None:
    token = token_of(ALICE)
    everything = ids(recs("personal_boutique", token=token))
    first = recs("personal_boutique", token=token, first=2)
    time_machine_at(now + timedelta(minutes=2))
    bought = [everything[0], everything[3]]
    trained.order(*bought, profile=alice, user_id=ALICE, days_ago=-1 / 1440)
    rest = recs("personal_boutique", token=token, first=8, after=first[-1]["cursor"])
    assert ids(rest) == [id_ for id_ in everything[2:] if id_ not in bought]


@pytest.mark.parametrize("who", ["stranger", "customer"])
@pytest.mark.parametrize(
    "after",
    [
        "x", "bm9uc2Vuc2U", "OTk5OTk5OTk5OTk5OjE", "é",
        "MTox",  # 1:1, of the year 1970
        "LTYyMTM1NTk2ODAwOjE",  # -62135596800:1, of the year 1
        "bmFuOjE",  # nan:1
    ],
)  # fmt: skip
def test_b24_a_cursor_that_is_none_of_ours_is_refused(
    gql: Ask, trained: Phones, alice: Profile, token_of: Any, after: str, who: str
) -> None:
    caller = {"token": token_of(ALICE)} if who == "customer" else {"anonymous_id": ANONYMOUS}
    answer = gql(ONE, {"placement": "personal_boutique", "after": after}, **caller)
    assert answer.refusal == (200, "INVALID_CURSOR")


def test_b24_a_given_list_is_ranked_for_the_person(
    gql: Ask, trained: Phones, now: datetime
) -> None:
    given = [trained.stand, trained.bulb, trained.case, trained.mini, "unknown"]
    query = """query($ids: [ID!]!) { recommendationRanking(productIds: $ids, channel: "us") {
        productId strategy } }"""
    happen(trained.installation, now, *looked(trained.phone))
    rows = gql(query, {"ids": given}, anonymous_id=ANONYMOUS).data["recommendationRanking"]
    assert set(ids(rows)[:2]) == {trained.case, trained.mini}
    assert sorted(ids(rows)) == sorted(given[:4])
    ProductListing.objects.of(trained.installation).filter(product_saleor_id=trained.case).update(
        is_published=False
    )
    rows = gql(query, {"ids": given}, anonymous_id=ANONYMOUS).data["recommendationRanking"]
    assert trained.case not in ids(rows)


# -- variety -------------------------------------------------------------------------------------------


def test_b35_at_most_so_many_of_a_category_brand_and_type(
    recs: Recs, shop: Phones, settings: Any
) -> None:
    settings.SALEOR_PERSONALIZE = {
        **settings.SALEOR_PERSONALIZE,
        "PLACEMENTS": {
            "by_category": {"RECOMMENDERS": ["catalogue"], "OPTIONS": {"max_per_category": 1}},
            "by_brand": {"RECOMMENDERS": ["catalogue"], "OPTIONS": {"max_per_brand": 1}},
            "by_type": {"RECOMMENDERS": ["catalogue"], "OPTIONS": {"max_per_product_type": 2}},
        },
    }
    assert ids(recs("by_category", first=4)) == [shop.stand, shop.cable, shop.case, shop.mini]
    # Only when nothing else is left, more of a kind fills up.
    assert len(recs("by_category", first=8)) == 8
    products = Product.objects.of(shop.installation)
    products.filter(saleor_id__in=[shop.stand, shop.bulb, shop.lamp]).update(
        attributes=[{"attribute": "brand", "values": ["Acme"]}]
    )
    assert ids(recs("by_brand", first=3)) == [shop.stand, shop.cable, shop.charger]
    products.exclude(saleor_id=shop.phone).update(product_type="Thing")
    products.filter(saleor_id=shop.phone).update(product_type="Phone")
    assert ids(recs("by_type", first=3)) == [shop.stand, shop.bulb, shop.phone]


def test_b35_no_product_twice_on_a_page_of_many_blocks(gql: Ask, trained: Phones) -> None:
    placements = ["home", "trending", "best_sellers", "new_arrivals"]
    blocks = gql(PAGE, {"placements": placements, "first": 2}, anonymous_id=ANONYMOUS).data
    shown = [id_ for block in blocks["recommendationPage"] for id_ in ids(block["items"])]
    assert len(shown) == len(set(shown)) == 8


def test_b35_what_one_person_is_shown_takes_nothing_from_another(
    gql: Ask, trained: Phones, alice: Profile, bob: Profile
) -> None:
    """A server asks for two people in one request."""
    query = """query($a: ID!, $b: ID!) {
      a: recommendations(placement: "home", channel: "us", userId: $a, first: 3) { productId }
      b: recommendations(placement: "best_sellers", channel: "us", userId: $b, first: 3) { productId }
    }"""
    alone = "query($b: ID!) {" + query.split("\n")[2] + "}"
    token = trained.installation.auth_token
    both = gql(query, {"a": ALICE, "b": BOB}, token=token).data
    assert both["b"] == gql(alone, {"b": BOB}, token=token).data["b"]
    assert set(ids(both["a"])) & set(ids(both["b"]))


def test_b35_what_the_page_shows_already_is_hidden(recs: Recs, trained: Phones) -> None:
    first = ids(recs("home", first=3))
    assert not set(first) & set(ids(recs("home", hidden=first)))


def test_b35_shown_five_times_and_not_clicked_sinks(
    recs: Recs, trained: Phones, now: datetime
) -> None:
    first = recs("home", first=1)[0]["productId"]
    shown = [(EventType.RECOMMENDATION_SHOWN, first)]
    for time in range(4):
        happen(trained.installation, now, *shown, seconds_ago=50 - time, placement="home", slot=1)
    assert ids(recs("home"))[0] == first
    happen(trained.installation, now, *shown, seconds_ago=9, placement="home", slot=1)
    rows = ids(recs("home"))
    assert rows[-1] == first
    # Others still see it first, and a click brings it back.
    assert ids(recs("home", anonymous_id="another-visitor-0123"))[0] == first
    clicked = [(EventType.RECOMMENDATION_CLICKED, first)]
    happen(trained.installation, now, *clicked, seconds_ago=1, placement="home", slot=8)
    assert ids(recs("home"))[-1] != first


def test_b35_what_was_shown_before_a_click_does_not_count_when_it_is_told_late(
    recs: Recs, trained: Phones, now: datetime
) -> None:
    """A browser that was offline tells in the evening what it showed in the morning."""
    first = recs("home", first=1)[0]["productId"]
    clicked = (EventType.RECOMMENDATION_CLICKED, first)
    happen(trained.installation, now, clicked, seconds_ago=10, placement="home", slot=1)
    shown = (EventType.RECOMMENDATION_SHOWN, first)
    for time in range(6):
        happen(trained.installation, now, shown, seconds_ago=50 - time, placement="home", slot=1)
    assert Exposure.objects.get().shown_count == 0
    happen(trained.installation, now, shown, seconds_ago=2, placement="home", slot=1)
    assert Exposure.objects.get().shown_count == 1


def test_b35_rotation_is_a_setting(
    recs: Recs, trained: Phones, now: datetime, settings: Any
) -> None:
    first = recs("home", first=1)[0]["productId"]
    for time in range(6):
        shown = (EventType.RECOMMENDATION_SHOWN, first)
        happen(trained.installation, now, shown, seconds_ago=50 - time, placement="home", slot=1)
    assert ids(recs("home"))[-1] == first
    settings.SALEOR_PERSONALIZE = {**settings.SALEOR_PERSONALIZE, "ROTATE_AFTER": 0}
    assert ids(recs("home"))[0] == first


# -- what is true --------------------------------------------------------------------------------------


def test_b36_because_you_viewed_only_if_you_did(recs: Recs, trained: Phones, now: datetime) -> None:
    happen(trained.installation, now, *looked(trained.phone, trained.lamp))
    done = {"Aurora phone", "Desk lamp"}
    for placement in ours.PLACEMENTS:
        for row in recs(placement, product=trained.case):
            text = row["reason"]["text"]
            if row["reason"]["code"] == "BECAUSE_VIEWED":
                assert text.removeprefix("Because you looked at ") in done
        for row in recs(placement, product=trained.case, anonymous_id=""):
            assert row["reason"]["code"] not in {
                "BECAUSE_VIEWED", "BECAUSE_BOUGHT", "BUY_AGAIN", "RECENT", "LEFT_BEHIND", "FOR_YOU",
            }  # fmt: skip


def test_b36_popular_in_a_category_is_said_of_what_sells_there(
    recs: Recs, shop: Phones, now: datetime
) -> None:
    shop.order(shop.bulb, shop.phone, days_ago=5)
    happen(shop.installation, now, *looked(shop.lamp))
    found = {row["productId"]: row["reason"]["code"] for row in recs("top_in_your_category")}
    assert found[shop.bulb] == "SAME_CATEGORY"
    assert found[shop.stand] == "CATALOGUE", "of the same category, and nobody bought it"


def test_b36_a_ranked_list_tells_strangers_nothing_of_themselves(gql: Ask, trained: Phones) -> None:
    query = """query($ids: [ID!]!) { recommendationRanking(productIds: $ids, channel: "us") {
        productId reason { code text } } }"""
    rows = gql(query, {"ids": trained.products}, anonymous_id=ANONYMOUS).data
    assert {row["reason"]["code"] for row in rows["recommendationRanking"]}.isdisjoint(
        {"FOR_YOU", "BECAUSE_VIEWED", "RECENT"}
    )


@pytest.mark.parametrize(
    ("language", "expected"),
    [
        ("DE", "Weil Sie sich Morgenrot angesehen haben"),
        ("DE_AT", "Weil Sie sich Morgenrot angesehen haben"),
        ("EN", "Because you looked at Aurora phone"),
        # Not one of our languages: the sentence in that of the request, the name in that asked for.
        ("PT-BR", "Because you looked at Aurora brasileira"),
        (None, "Because you looked at Aurora phone"),
    ],
)
def test_b36_names_in_reasons_are_in_the_language_asked_for(
    recs: Recs, trained: Phones, now: datetime, language: str | None, expected: str
) -> None:
    for code, name in (("de", "Morgenrot"), ("pt-br", "Aurora brasileira")):
        ProductTranslation.objects.create(
            installation=trained.installation, product_saleor_id=trained.phone,
            language_code=code, name=name, recorded_at=now,
        )  # fmt: skip
    happen(trained.installation, now, *looked(trained.phone))
    for _ in range(2):  # and what is remembered in one language is not told in another
        assert recs("home", language="FR", first=1)[0]["reason"]["text"].endswith("Aurora phone")
        assert recs("home", language=language, first=1)[0]["reason"]["text"] == expected


@pytest.mark.parametrize(
    ("language", "best", "liked"),
    [
        ("DE", "Bestseller in Leuchten", "Beliebt in Leuchten, was Sie mögen"),
        ("DE_AT", "Bestseller in Leuchten", "Beliebt in Leuchten, was Sie mögen"),
        ("EN", "Best seller in Lamps", "Popular in Lamps, which you like"),
        # The name in the language asked for, the sentence in that of the request.
        ("PT-BR", "Best seller in Luminárias", "Popular in Luminárias, which you like"),
        (None, "Best seller in Lamps", "Popular in Lamps, which you like"),
    ],
)
def test_b36_b38_categories_in_reasons_are_in_the_language_asked_for(
    recs: Recs, shop: Phones, now: datetime, language: str | None, best: str, liked: str
) -> None:
    shop.order(shop.bulb, days_ago=3)
    happen(shop.installation, now, *looked(shop.lamp, shop.stand))
    shop.translate_category("Lamps", de="Leuchten", pt_br="Luminárias", fr="")
    category = gid("Category", "Lamps")
    for _ in range(2):  # and what is remembered in one language is not told in another
        french = recs("best_sellers", category=category, language="FR", first=1)
        assert french[0]["reason"]["text"].endswith("Lamps")
        rows = recs("best_sellers", category=category, language=language, first=1)
        assert rows[0]["reason"]["text"] == best
        rows = recs("top_in_your_category", language=language, first=1)
        assert rows[0]["reason"]["text"] == liked


@pytest.mark.parametrize(
    ("language", "expected"),
    [
        ("EN", "Because you looked at Aurora phone"),
        ("DE", "Weil Sie sich Aurora phone angesehen haben"),
        ("FR", "Parce que vous avez regardé Aurora phone"),
        ("ES", "Porque has visto Aurora phone"),
        ("PL", "Bo oglądasz Aurora phone"),
    ],
)
def test_b36_the_reason_speaks_five_languages(
    recs: Recs, trained: Phones, now: datetime, language: str, expected: str
) -> None:
    happen(trained.installation, now, *looked(trained.phone))
    assert recs("home", language=language, first=1)[0]["reason"]["text"] == expected


# -- new things and bad input ----------------------------------------------------------------------------


def test_b31_a_product_is_recommended_as_soon_as_it_is_recorded(
    recs: Recs, trained: Phones
) -> None:
    """The webhook records it within a minute; nothing has to be trained."""
    new = trained.product(60, "Brand new globe", category="Lamps")
    for placement in ours.PLACEMENTS:
        assert new in ids(recs(placement, product=trained.phone, first=100)), placement
    assert ids(recs("new_arrivals", category=gid("Category", "Lamps"), first=1)) == [new]


def test_b26_an_unknown_placement_comes_with_a_suggestion(gql: Ask, trained: Phones) -> None:
    answer = gql(ONE, {"placement": "product_page_relatd"}, anonymous_id=ANONYMOUS)
    assert answer.refusal == (200, "NOT_FOUND")
    assert "Did you mean 'product_page_related'?" in answer.body["errors"][0]["message"]


@pytest.mark.parametrize(
    "query",
    [
        '{ recommendations(placement: "home", channel: "nowhere") { productId } }',
        '{ recommendationPage(placements: ["home"], channel: "nowhere") { placement } }',
        '{ recommendationRanking(productIds: ["UHJvZHVjdDox"], channel: "nowhere") { productId } }',
        '{ recommendedCategories(channel: "nowhere") { name } }',
        '{ recommendedBrands(channel: "nowhere") { name } }',
        '{ recommendedPages(channel: "nowhere") { title } }',
    ],
)
def test_a_sales_channel_that_the_shop_has_not_is_no_empty_block(
    gql: Ask, trained: Phones, query: str
) -> None:
    answer = gql(query, anonymous_id=ANONYMOUS)
    assert answer.refusal == (200, "NOT_FOUND")
    assert "no sales channel 'nowhere'" in answer.body["errors"][0]["message"]
    assert "'us'" not in answer.body["errors"][0]["message"], "channels are not told"


def test_an_empty_answer_of_a_sales_channel_that_is_there_is_no_error(
    gql: Ask, trained: Phones
) -> None:
    query = '{ recommendationRanking(productIds: [], channel: "us") { productId } }'
    assert gql(query, anonymous_id=ANONYMOUS).data == {"recommendationRanking": []}


def test_a_placement_of_the_shop_overrides_the_setting(
    recs: Recs, shop: Phones, now: datetime, other_installation: Installation, gql: Ask
) -> None:
    assert ids(recs("home", category=gid("Category", "Cases"), first=1)) == [shop.stand]
    for key in ("home", "my_own"):
        Placement.objects.create(
            installation=shop.installation,
            key=key,
            recommenders=["catalogue"],
            options={"in_category": True},
            updated_at=now,
        )
    service.forget()
    cases = gid("Category", "Cases")
    assert ids(recs("home", category=cases, first=1)) == [shop.case]
    assert ids(recs("my_own", category=cases, first=1)) == [shop.case]
    theirs = gql(ONE, {"placement": "my_own"}, anonymous_id=ANONYMOUS, shop=other_installation)
    assert theirs.refusal == (200, "NOT_FOUND")
    happen(
        shop.installation,
        now,
        (EventType.RECOMMENDATION_SHOWN, shop.case),
        placement="my_own",
        slot=1,
    )


@pytest.mark.parametrize("first", [0, 10_000])
def test_the_service_itself_bounds_the_size(shop: Phones, now: datetime, first: int) -> None:
    found = service.recommend(
        installation=shop.installation, placement="home", channel_slug="us", now=now, first=first
    )
    assert len(found) == (1 if first == 0 else 8)


def test_unknown_things_lead_to_the_declared_fallback(recs: Recs, trained: Phones) -> None:
    for placement in ours.PLACEMENTS:
        rows = recs(
            placement,
            product="UHJvZHVjdDo5OTk5",
            products=["nonsense"],
            checkout="Q2hlY2tvdXQ6eA==",
            category="Q2F0ZWdvcnk6OTk5",
            query="nothing like it",
            country="XX",
            situation=[{"name": "weather", "value": "rain"}],
            hidden=["unknown"],
        )
        assert len(rows) == 8, placement


def looks(ids_: list[str]) -> Any:
    """Descriptors in which the stand looks like the phone, and nothing else like anything."""
    import numpy as np

    found = np.eye(len(ids_))
    stand, phone = (ids_.index(gid("Product", number)) for number in (8, 1))
    found[stand] = found[phone]
    return found


def test_b42_visual_likeness_is_a_plug_in(
    recs: Recs, shop: Phones, now: datetime, settings: Any
) -> None:
    settings.SALEOR_PERSONALIZE = {
        **settings.SALEOR_PERSONALIZE,
        "RECOMMENDERS": {
            "visual": {
                "BACKEND": "saleor_personalize.ml.recommenders.visual.Visual",
                "OPTIONS": {"descriptors": f"{__name__}.looks"},
            }
        },
    }
    for id_ in [each for each in shop.products if each not in (shop.phone, shop.charger)]:
        ProductListing.objects.create(
            installation=shop.installation, product_saleor_id=id_, channel_slug="pl",
            is_published=True, is_in_stock=True, available_for_purchase_at=now, currency="PLN",
        )  # fmt: skip
    training.train(installation=shop.installation, now=now)
    service.forget()
    row = recs("product_page_similar", product=shop.phone, first=1)[0]
    assert (row["productId"], row["strategy"]) == (shop.stand, "visual")
    assert row["reason"]["text"] == "Looks like Aurora phone"
