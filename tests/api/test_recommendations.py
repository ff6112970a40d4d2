"""Recommendations through the public graph: what is shown, and above all what never is."""

import random
import shutil
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import translation

from saleor_personalize.catalog import operations as catalog
from saleor_personalize.catalog import queries as catalog_queries
from saleor_personalize.conf import settings as ours
from saleor_personalize.ml import Candidate
from saleor_personalize.ml.recommenders.content import Similar
from saleor_personalize.ml.recommenders.covisitation import BoughtTogether
from saleor_personalize.models import (
    Installation,
    Product,
    ProductListing,
    Profile,
    SalesChannel,
    TrainedModel,
)
from saleor_personalize.recommendations import models_store, reasons, service, training
from tests.api.conftest import ALICE, ANONYMOUS, Ask
from tests.catalogue import Catalogue, Phones, gid, product_id

QUERY = """
query Recs($placement: String!, $channel: String = "us", $product: ID, $checkout: ID, $first: Int,
           $language: String, $user: ID, $anonymous: String) {
  recommendations(placement: $placement, channel: $channel, productId: $product,
                  checkoutId: $checkout, first: $first, languageCode: $language,
                  userId: $user, anonymousId: $anonymous) {
    productId slot score strategy reason { code text }
  }
}"""


@pytest.fixture
def recs(gql: Ask) -> Callable[..., list[dict[str, Any]]]:
    """`recs(placement, product=, checkout=, first=, ..., **caller) -> rows`."""

    def ask(placement: str, **given: Any) -> list[dict[str, Any]]:
        names = ("channel", "product", "checkout", "first", "language", "user", "anonymous")
        variables = {name: given.pop(name) for name in names if name in given}
        given = given or {"anonymous_id": ANONYMOUS}
        rows: list[dict[str, Any]] = gql(QUERY, {"placement": placement, **variables}, **given).data
        rows = rows["recommendations"]  # type: ignore[call-overload]
        assert [row["slot"] for row in rows] == list(range(1, len(rows) + 1))
        return rows

    return ask


@pytest.fixture
def trained(shop: Phones, now: datetime) -> Phones:
    shop.sell()
    training.train(installation=shop.installation, now=now)
    return shop


def ids(rows: list[dict[str, Any]]) -> list[str]:
    return [row["productId"] for row in rows]


# -- who asks --------------------------------------------------------------------------------------


def test_b104_four_kinds_of_client_get_answers_of_their_own_shop(
    recs: Any, trained: Phones, token_of: Any, other_installation: Installation, now: datetime
) -> None:
    other = Catalogue(other_installation, now)
    other.channel("us")
    theirs = other.product(91, "Their lamp")
    installation = trained.installation
    mine = ids(recs("home"))
    assert set(mine) == set(trained.products)
    assert ids(recs("home", token=token_of(ALICE))) == mine
    assert ids(recs("home", token=installation.auth_token)) == mine
    assert ids(recs("home", token=installation.auth_token, user=ALICE)) == mine
    assert ids(recs("home", anonymous_id=ANONYMOUS, shop=other_installation)) == [theirs]


def test_b104_without_any_id_the_shop_still_answers(recs: Any, trained: Phones) -> None:
    assert set(ids(recs("home", anonymous_id=""))) == set(trained.products)


@pytest.mark.parametrize("url", ["", "https://nobody.saleor.test/graphql/"])
def test_b104_an_unknown_shop_is_forbidden(gql: Ask, trained: Phones, url: str) -> None:
    headers = {"Saleor-Api-Url": url} if url else {}
    answer = gql(QUERY, {"placement": "home"}, shop=None, headers=headers)
    assert answer.refusal == (403, "FORBIDDEN")


def test_b104_an_app_token_of_another_shop_opens_nothing(
    gql: Ask, trained: Phones, other_installation: Installation
) -> None:
    answer = gql(QUERY, {"placement": "home"}, token=other_installation.auth_token)
    assert answer.refusal == (401, "INVALID_TOKEN")


# -- what is shown ---------------------------------------------------------------------------------


def test_b18_similar_products_by_their_words(recs: Any, trained: Phones) -> None:
    first = recs("product_page_similar", product=trained.phone)[0]
    assert (first["productId"], first["strategy"]) == (trained.mini, "similar")
    assert first["reason"] == {"code": "SIMILAR", "text": "Similar to Aurora phone"}


def test_b19_bought_together_has_a_direction(recs: Any, trained: Phones) -> None:
    to_phone = recs("product_page_related", product=trained.phone)
    to_case = recs("product_page_related", product=trained.case)
    assert to_phone[0]["productId"] == trained.case
    assert to_phone[0]["strategy"] == "bought_together"
    assert to_phone[0]["reason"] == {
        "code": "BOUGHT_TOGETHER",
        "text": "Often bought together with Aurora phone",
    }
    # The case goes with the phone; with the case goes the charger, the phone only after it.
    assert ids(to_case)[:2] == [trained.charger, trained.phone]


def test_b19_complements_and_alternatives_in_one_request(gql: Ask, trained: Phones) -> None:
    answer = gql(
        """query($id: ID!) {
          with: recommendations(placement: "product_page_related", channel: "us", productId: $id, first: 1) { productId strategy }
          instead: recommendations(placement: "product_page_similar", channel: "us", productId: $id, first: 1) { productId strategy }
        }""",
        {"id": trained.phone},
        anonymous_id=ANONYMOUS,
    ).data
    assert answer == {
        "with": [{"productId": trained.case, "strategy": "bought_together"}],
        "instead": [{"productId": trained.mini, "strategy": "similar"}],
    }


def test_b20_a_cart_is_complemented_and_never_repeated(
    recs: Any, trained: Phones, carol: Profile
) -> None:
    cart = trained.checkout(trained.phone, trained.case, profile=carol)
    rows = recs("cart", checkout=cart.saleor_id)
    assert (rows[0]["productId"], rows[0]["strategy"]) == (trained.charger, "bought_together")
    assert set(ids(rows)) == set(trained.products) - {trained.phone, trained.case}


def test_b20_a_cart_of_another_shop_is_unknown(
    recs: Any, trained: Phones, dave: Profile, other_installation: Installation, now: datetime
) -> None:
    cart = Catalogue(other_installation, now).checkout(trained.phone, profile=dave)
    assert set(ids(recs("cart", checkout=cart.saleor_id))) == set(trained.products)


def test_d8_what_a_customer_just_bought_is_not_shown_to_them(
    recs: Any, trained: Phones, token_of: Any, alice: Profile
) -> None:
    trained.order(trained.lamp, profile=alice, user_id=ALICE, days_ago=29)
    trained.order(trained.bulb, profile=alice, user_id=ALICE, days_ago=31)
    expected = set(trained.products) - {trained.lamp}
    assert set(ids(recs("home", token=token_of(ALICE)))) == expected
    assert set(ids(recs("home", token=trained.installation.auth_token, user=ALICE))) == expected
    assert set(ids(recs("home"))) == set(trained.products)


@pytest.mark.parametrize("is_trained", [False, True], ids=["untrained", "trained on nothing"])
def test_b30_every_placement_fills_in_a_shop_without_events(
    recs: Any, shop: Phones, now: datetime, is_trained: bool
) -> None:
    if is_trained:
        training.train(installation=shop.installation, now=now)
    for placement in ours.PLACEMENTS:
        rows = recs(placement, product=shop.phone, first=5)
        assert len(set(ids(rows))) == 5
        assert shop.phone not in ids(rows)
        assert {row["strategy"] for row in rows} <= {"similar", "newest", "catalogue"}
    similar = recs("product_page_similar", product=shop.phone, first=1)
    assert similar[0]["strategy"] == ("similar" if is_trained else "newest")
    assert similar[0]["productId"] == (shop.mini if is_trained else shop.stand)


def test_b30_a_shop_without_products_answers_with_nothing(
    recs: Any, installation: Installation, now: datetime
) -> None:
    Catalogue(installation, now).channel("us")
    training.train(installation=installation, now=now)
    for placement in ours.PLACEMENTS:
        assert recs(placement) == []


# -- what is never shown ---------------------------------------------------------------------------

HIDDEN: dict[str, dict[str, Any]] = {
    "unpublished": {"is_published": False},
    "published tomorrow": {"published_at": timedelta(days=1)},
    "not in listings": {"is_visible_in_listings": False},
    "not for sale": {"available_for_purchase_at": None},
    "for sale tomorrow": {"available_for_purchase_at": timedelta(days=1)},
    "out of stock": {"is_in_stock": False},
}


@pytest.mark.parametrize("change", HIDDEN.values(), ids=HIDDEN)
def test_b32_what_cannot_be_bought_is_gone_at_the_next_call(
    recs: Any, trained: Phones, now: datetime, change: dict[str, Any]
) -> None:
    listing = ProductListing.objects.of(trained.installation).filter(
        product_saleor_id=trained.case, channel_slug="us"
    )
    before = listing.values().get()
    change = {k: now + v if isinstance(v, timedelta) else v for k, v in change.items()}
    assert ids(recs("product_page_related", product=trained.phone))[0] == trained.case
    listing.update(**change)
    for placement in ours.PLACEMENTS:
        found = ids(recs(placement, product=trained.phone))
        assert set(found) == set(trained.products) - {trained.phone, trained.case}
    listing.update(**{name: before[name] for name in change})
    assert ids(recs("product_page_related", product=trained.phone))[0] == trained.case


def test_b32_a_deleted_product_is_gone_at_the_next_call(
    recs: Any, trained: Phones, now: datetime
) -> None:
    assert trained.case in ids(recs("home"))
    catalog.record_deletion(
        installation=trained.installation, model=Product, saleor_id=trained.case, now=now
    )
    assert trained.case not in ids(recs("home"))
    assert ids(recs("product_page_related", product=trained.phone))[0] != trained.case


def test_b32_a_deleted_channel_sells_nothing(gql: Ask, trained: Phones, now: datetime) -> None:
    catalog.record_deletion(
        installation=trained.installation,
        model=SalesChannel,
        saleor_id=gid("Channel", "us"),
        now=now,
    )
    answer = gql(QUERY, {"placement": "home"}, anonymous_id=ANONYMOUS)
    assert answer.refusal == (200, "NOT_FOUND")


@pytest.mark.parametrize("change", [{}, *HIDDEN.values()], ids=["sold", *HIDDEN])
@pytest.mark.parametrize("is_active", [True, False])
def test_b32_both_ways_to_ask_what_sells_agree(
    trained: Phones, now: datetime, change: dict[str, Any], is_active: bool
) -> None:
    """The rule is written twice, once as SQL: neither may know more than the other."""
    installation = trained.installation
    SalesChannel.objects.of(installation).filter(slug="us").update(is_active=is_active)
    ProductListing.objects.of(installation).filter(product_saleor_id=trained.case).update(
        **{k: now + v if isinstance(v, timedelta) else v for k, v in change.items()}
    )
    asked = {"installation": installation, "channel_slug": "us", "now": now}
    listings = catalog_queries.recommendable(**asked)
    expected = set(trained.products) - ({trained.case} if change else set()) if is_active else set()
    assert set(listings.values_list("product_saleor_id", flat=True)) == expected
    assert catalog_queries.recommendable_ids(ids=trained.products, **asked) == expected


def test_b32_a_channel_that_is_switched_off_sells_nothing(recs: Any, trained: Phones) -> None:
    channel = SalesChannel.objects.of(trained.installation).filter(slug="us")
    channel.update(is_active=False)
    assert recs("home") == []
    assert set(ids(recs("home", channel="pl"))) == {trained.phone, trained.charger}
    channel.update(is_active=True)
    assert set(ids(recs("home"))) == set(trained.products)


def test_b32_only_products_of_the_channel(recs: Any, trained: Phones) -> None:
    assert set(ids(recs("home", channel="pl"))) == {trained.phone, trained.charger}
    assert ids(recs("product_page_related", channel="pl", product=trained.phone)) == [
        trained.charger
    ]


def test_b32_a_product_younger_than_the_training_is_shown(recs: Any, trained: Phones) -> None:
    new = trained.product(40, "Brand new globe")
    assert new in ids(recs("home"))


@pytest.mark.parametrize("seed", range(20))
def test_d8_no_call_ever_shows_what_must_not_be_shown(
    installation: Installation, alice: Profile, now: datetime, seed: int
) -> None:
    """100 calls on each of 20 random shops, with the catalogue changing between the calls."""
    dice = random.Random(seed)  # noqa: S311
    catalogue = Catalogue(installation, now)
    channels = ["us", "pl"]
    for slug in channels:
        catalogue.channel(slug)
    words = ["oak", "desk", "lamp", "phone", "case", "blue", "mini", "bright"]
    everything = [
        catalogue.product(
            number,
            " ".join(dice.sample(words, 3)),
            channels=tuple(dice.sample(channels, dice.randint(0, 2))),
        )
        for number in range(dice.randint(1, 15))
    ]
    carts = [
        catalogue.checkout(
            *dice.sample(everything, dice.randint(0, min(3, len(everything)))), profile=alice
        )
        for _ in range(3)
    ]
    for _ in range(dice.randint(0, 20)):
        catalogue.order(
            *dice.sample(everything, min(len(everything), dice.randint(1, 4))),
            profile=dice.choice([alice, None, None]),
            channel=dice.choice(channels),
            days_ago=dice.choice([1, 29, 40, 300]),
        )
    if dice.random() < 0.7:
        training.train(installation=installation, now=now)
    bought = {
        line.product_saleor_id
        for order in alice.orders.filter(placed_at__gt=now - timedelta(days=30))
        for line in order.lines.all()
    }
    listings = list(ProductListing.objects.of(installation))
    for _ in range(100):
        if listings and dice.random() < 0.5:
            listing = dice.choice(listings)
            for name, value in dice.choice(list(HIDDEN.values())).items():
                hidden = now + value if isinstance(value, timedelta) else value
                shown = True if isinstance(value, bool) else now
                setattr(listing, name, dice.choice([hidden, shown]))
            listing.save()
        channel, first = dice.choice(channels), dice.choice([1, 3, 10, 100])
        product = dice.choice([None, *everything, "unknown"])
        cart = dice.choice([None, *carts])
        profile = dice.choice([None, alice])
        found = service.recommend(
            installation=installation,
            placement=dice.choice(list(ours.PLACEMENTS)),
            channel_slug=channel,
            product_id=product,
            checkout_id=cart and cart.saleor_id,
            profile=profile,
            first=first,
            now=now,
        )
        sold = {
            row.product_saleor_id
            for row in listings
            if row.channel_slug == channel
            and row.is_published
            and row.published_at <= now
            and row.is_visible_in_listings
            and row.available_for_purchase_at is not None
            and row.available_for_purchase_at <= now
            and row.is_in_stock
        }
        shown_ids = [row.product_id for row in found]
        allowed = sold - {product} - (bought if profile else set())
        allowed -= {line["product_id"] for line in cart.lines} if cart else set()
        assert len(shown_ids) == len(set(shown_ids))
        assert set(shown_ids) <= allowed
        assert len(shown_ids) == min(first, len(allowed))


# -- the chain -------------------------------------------------------------------------------------


def test_b40_every_item_names_the_strategy_that_gave_it(recs: Any, trained: Phones) -> None:
    rows = recs("product_page_related", product=trained.phone)
    strategies = [row["strategy"] for row in rows]
    order = ["bought_together", "similar", "popular", "newest"]
    assert strategies == sorted(strategies, key=order.index)
    assert strategies[0] == "bought_together"
    assert set(strategies) == set(order)


def damage_metadata(folder: Path) -> None:
    (folder / "engine.json").write_text("{")


def damage_array(folder: Path) -> None:
    for array in folder.rglob("*.npy"):
        array.write_bytes(array.read_bytes()[:-8])


def damage_values(folder: Path) -> None:
    """Arrays of the right shape that point nowhere."""
    import numpy as np

    for path in folder.rglob("*.npy"):
        array = np.load(path)
        if array.dtype.kind in "iu":
            np.save(path, np.full_like(array, np.iinfo(array.dtype).max))


@pytest.mark.parametrize("damage", [damage_metadata, damage_array, damage_values, shutil.rmtree])
def test_b40_a_damaged_model_is_left_out_and_the_catalogue_answers(
    recs: Any, trained: Phones, damage: Callable[[Path], None]
) -> None:
    """With no version before it; with one, that answers: tests/integration/test_training.py."""
    row = TrainedModel.objects.of(trained.installation).get(channel_slug="us", is_published=True)
    damage(Path(ours.MODEL_DIRECTORY) / row.path)
    service.forget()
    rows = recs("product_page_related", product=trained.phone)
    assert {row["strategy"] for row in rows} == {"newest"}
    assert ids(rows) == [id_ for id_ in reversed(trained.products) if id_ != trained.phone]
    assert ids(recs("home")) == trained.products[::-1]


def test_b40_a_recommender_that_breaks_is_left_out(
    recs: Any, trained: Phones, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise IndexError("index 1000000 is out of bounds")

    monkeypatch.setattr(Similar, "_candidates", broken)
    rows = recs("product_page_related", product=trained.phone)
    assert {row["strategy"] for row in rows} == {"bought_together", "popular", "newest"}
    assert set(ids(rows)) == set(trained.products) - {trained.phone}


def test_b40_what_a_recommender_of_the_shops_own_says_oddly_is_answered_all_the_same(
    recs: Any, trained: Phones, monkeypatch: pytest.MonkeyPatch
) -> None:
    odd = [
        Candidate(trained.lamp, float("nan"), "because_of_the_moon", trained.phone),
        Candidate(trained.bulb, float("inf"), "similar", trained.phone),
    ]
    monkeypatch.setattr(Similar, "recommend", lambda *_: odd)
    monkeypatch.setattr(BoughtTogether, "recommend", lambda *_: [])
    rows = recs("product_page_related", product=trained.phone, first=2)
    assert [(row["productId"], row["score"], row["reason"]["text"]) for row in rows] == [
        (trained.lamp, 0.0, "From our range"),
        (trained.bulb, 0.0, "Similar to Aurora phone"),
    ]


def test_b40_a_recommender_that_breaks_answers_with_its_last_good_list(
    recs: Any, trained: Phones, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise IndexError("index 1000000 is out of bounds")

    good = recs("product_page_related", product=trained.phone)
    monkeypatch.setattr(BoughtTogether, "_candidates", broken)
    again = recs("product_page_related", product=trained.phone)
    assert again == good
    # What cannot be bought by now is not in it all the same.
    ProductListing.objects.of(trained.installation).filter(product_saleor_id=trained.case).update(
        is_in_stock=False
    )
    later = recs("product_page_related", product=trained.phone)
    assert ids(later) == [id_ for id_ in ids(good) if id_ != trained.case]


# -- the answer ------------------------------------------------------------------------------------


def test_b105_ids_are_saleors_global_ids(recs: Any, trained: Phones) -> None:
    assert set(ids(recs("home"))) == {product_id(number) for number in range(1, 9)}


def test_an_unknown_placement_is_not_found(gql: Ask, trained: Phones) -> None:
    answer = gql(QUERY, {"placement": "nowhere"}, anonymous_id=ANONYMOUS)
    assert answer.refusal == (200, "NOT_FOUND")
    assert "product_page_related" in answer.body["errors"][0]["message"]


@pytest.mark.parametrize("first", [-1, 0, 101])
def test_b104_a_page_has_1_to_100_items(gql: Ask, trained: Phones, first: int) -> None:
    answer = gql(QUERY, {"placement": "home", "first": first}, anonymous_id=ANONYMOUS)
    assert answer.refusal == (200, "INVALID_PAGE")


def test_null_for_the_size_of_a_page_is_the_default(recs: Any, trained: Phones) -> None:
    for number in range(50, 60):
        trained.product(number, f"Extra {number}")
    assert len(recs("home", first=None)) == 10
    assert len(recs("home")) == 10
    assert len(recs("home", first=1)) == 1
    assert len(recs("home", first=100)) == 18


@pytest.mark.parametrize(
    ("language", "accept", "expected"),
    [
        ("DE", "", "de"),
        ("PL", "fr", "pl"),
        ("DE_AT", "", "de"),
        (None, "fr", "fr"),
        (None, "", "en"),
        ("", "", "en"),
        ("XX", "", "en"),
        ("../../etc", "", "en"),
        ("x" * 600, "", "en"),
    ],
)
def test_reasons_speak_the_language_asked_for(
    recs: Any,
    trained: Phones,
    monkeypatch: pytest.MonkeyPatch,
    language: str | None,
    accept: str,
    expected: str,
) -> None:
    monkeypatch.setattr(reasons, "_", lambda text: f"{translation.get_language()}: {text}")
    headers = {"Accept-Language": accept} if accept else {}
    rows = recs(
        "product_page_related",
        product=trained.phone,
        first=1,
        language=language,
        anonymous_id=ANONYMOUS,
        headers=headers,
    )
    assert rows[0]["reason"]["text"] == f"{expected}: Often bought together with Aurora phone"


@pytest.mark.parametrize("text", ["\x00", "\ud800", "x" * 15_000])
@pytest.mark.parametrize("name", ["placement", "channel", "product", "checkout", "language"])
def test_odd_texts_are_refused_or_answered_but_never_a_fault(
    gql: Ask, trained: Phones, name: str, text: str
) -> None:
    answer = gql(QUERY, {"placement": "home", name: text}, anonymous_id=ANONYMOUS)
    assert answer.status == 200
    if answer.body.get("errors"):
        assert answer.codes[0] in {"NOT_FOUND", "INVALID_TEXT"}


# -- what it costs ---------------------------------------------------------------------------------


@pytest.mark.usefixtures("nothing_expires")
def test_a_warm_answer_takes_few_queries(
    recs: Any, trained: Phones, alice: Profile, token_of: Any, django_assert_num_queries: Any
) -> None:
    cart = trained.checkout(trained.phone, profile=alice, user_id=ALICE)
    calls: list[tuple[int, dict[str, Any]]] = [
        # what can be bought of what is suggested, and of the whole small catalogue
        (2, {"placement": "home", "first": 2, "anonymous_id": ""}),
        (3, {"placement": "home", "first": 2}),  # who: nobody that we know
        # what was chosen by hand
        (3, {"placement": "product_page_related", "product": trained.phone, "first": 1}),
        # who, whether we may look and what they did, what can be bought, and the whole catalogue
        (4, {"placement": "home", "first": 2, "token": token_of(ALICE)}),
        (4, {"placement": "cart", "checkout": cart.saleor_id, "first": 1}),  # the cart
    ]
    for expected, call in calls:
        recs(**call)
        with django_assert_num_queries(expected):
            recs(**call)


#: placement -> queries of a warm answer to a signed-in shopper on a page that tells all about itself: who,
#: what they did, the cart, and what the block itself looks up.
QUERIES = {
    "home": 8,
    "personal_boutique": 5,
    "product_page_related": 6,
    "product_page_similar": 6,
    "product_page_complements": 7,
    "out_of_stock_alternatives": 8,
    "complete_the_look": 9,
    "up_sell": 9,
    "down_sell": 9,
    "category_page": 6,
    "best_sellers": 6,
    "trending": 6,
    "new_arrivals": 6,
    "top_in_your_category": 7,
    "search": 8,
    "search_empty": 8,
    "cart": 6,
    "added_to_cart": 7,
    "checkout": 6,
    "order_confirmation": 7,
    "recently_viewed": 5,
    "continue_shopping": 5,
    "buy_again": 6,
    "content_page": 5,
    "email": 5,
    "email_category": 6,
    "email_complements": 7,
    "email_search": 8,
}


@pytest.mark.usefixtures("nothing_expires")
def test_a_warm_answer_takes_few_queries_in_every_placement(
    gql: Ask, trained: Phones, alice: Profile, token_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for where in (
        "recommendations.models_store.SECONDS",
        "recommendations.placements.SECONDS",
        "events.callers._INSTALLATION_SECONDS",
    ):  # what is remembered stays so, however slow the machine
        monkeypatch.setattr(f"saleor_personalize.{where}", 600.0)
    for days in (20, 40, 60):
        trained.order(trained.bulb, profile=alice, user_id=ALICE, days_ago=days)
    cart = trained.checkout(trained.cable, profile=alice, user_id=ALICE)
    query = """query($placement: String!, $product: ID!, $cart: ID!, $category: ID!) {
      recommendations(placement: $placement, channel: "us", productId: $product, checkoutId: $cart,
        categoryId: $category, query: "lamp stand", first: 3) { productId name reason { text } } }"""
    about = {
        "product": trained.phone, "cart": cart.saleor_id, "category": gid("Category", "Lamps"),
    }  # fmt: skip
    counted = {}
    for placement in ours.PLACEMENTS:
        for _ in range(2):
            with CaptureQueriesContext(connection) as captured:
                answer = gql(query, {"placement": placement, **about}, token=token_of(ALICE))
            assert len(answer.data["recommendations"]) == 3
        counted[placement] = len(captured)
    assert counted == QUERIES


def test_what_may_be_shown_is_planned_once_per_connection(recs: Any, trained: Phones) -> None:
    """Planning takes several times as long as running: see `models.prepared`."""
    with connection.cursor() as cursor:
        cursor.execute("DEALLOCATE ALL")
        for _ in range(10):
            assert len(recs("home")) == 8
        cursor.execute("SELECT statement FROM pg_prepared_statements")
        statements = [statement for (statement,) in cursor.fetchall()]
    assert len(statements) == len(set(statements)) == 3
    # Whose id it is; what sells of these, and what is newest.
    assert sum("identity.value" in statement for statement in statements) == 1
    assert sum("listing.product_saleor_id" in statement for statement in statements) == 2


def test_unknown_channels_are_not_remembered(gql: Ask, trained: Phones) -> None:
    """Anybody may ask for any text as a channel: that must not fill the memory."""
    for number in range(20):
        asked = {"placement": "home", "channel": f"made-up-{number}"}
        assert gql(QUERY, asked, anonymous_id=ANONYMOUS).refusal == (200, "NOT_FOUND")
    assert {slug for _, slug in models_store._store._known} <= {"us", "pl"}
