"""B59: hints for the storefront, each true, with a reason, and no more of them than a person can bear."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
import time_machine

from saleor_personalize.enums import (
    ConsentState,
    EventSource,
    EventType,
    Purpose,
)
from saleor_personalize.hints import free_delivery, lingering
from saleor_personalize.models import (
    Checkout,
    Consent,
    Event,
    Installation,
    Order,
    PageDropOff,
    ProductListing,
    ProductVariant,
    Profile,
    ShownHint,
)
from saleor_personalize.profiles import privacy, retention
from saleor_personalize.tasks.hints import measure_drop_off
from saleor_personalize.testing.saleor import FakeSaleor
from tests.api.conftest import ALICE, BOB, Ask
from tests.catalogue import Phones
from tests.conftest import NOW, make_profile
from tests.integration.test_backfill import installed
from tests.loopback import LoopbackShop, loopback_shop

DAY, HOUR, MINUTE = timedelta(days=1), timedelta(hours=1), timedelta(minutes=1)
VISITOR = "3f0d6e0e-4b1c-visitor"

HINTS = """
query Hints($channel: String = "us", $page: HintPage = HOME, $checkoutId: ID, $countryCode: String,
            $languageCode: String, $userId: ID) {
  hints(channel: $channel, page: $page, checkoutId: $checkoutId, countryCode: $countryCode,
        languageCode: $languageCode, userId: $userId) {
    id kind text reason { code text } showAfterSeconds showOnExit checkoutId
    lines { productId variantId quantity } remaining { amount currency } threshold { amount currency }
    placement voucherCode deadline
  }
}"""
REPORT = """
mutation Report($id: ID!, $action: HintAction = SEEN) {
  hintReport(id: $id, action: $action, channel: "us") {
    isRecorded hint { voucherCode deadline text }
  }
}"""


def cart(
    installation: Installation, profile: Profile, products: list[str], **changes: Any
) -> Checkout:
    return Checkout.objects.create(
        **{
            "installation": installation,
            "saleor_id": "Q2hlY2tvdXQ6MQ==",
            "profile": profile,
            "token": "t",
            "user_saleor_id": ALICE,
            "channel_slug": "us",
            "currency": "USD",
            "total": Decimal(40),
            "lines": [
                {"id": f"l{n}", "variant_id": f"v{n}", "product_id": p, "quantity": n + 1}
                for n, p in enumerate(products)
            ],
            "last_changed_at": NOW - 2 * HOUR,
            **changes,
        }
    )


@pytest.fixture
def phones(shop: Phones) -> list[str]:
    return list(
        ProductListing.objects.filter(channel_slug="us", is_in_stock=True)
        .order_by("pk")
        .values_list("product_saleor_id", flat=True)[:3]
    )


@pytest.fixture
def visitor(installation: Installation) -> Profile:
    return make_profile(installation, anonymous_id=VISITOR)


def kinds(answer: Any) -> list[str]:
    return [hint["kind"] for hint in answer.data["hints"]]


# -- the cart waits ------------------------------------------------------------------------------------


def test_b59_a_cart_left_on_another_device_is_told_of_with_what_can_still_be_bought(
    gql: Ask,
    token_of: Callable[..., str],
    alice: Profile,
    installation: Installation,
    phones: list[str],
    django_assert_max_num_queries: Any,
) -> None:
    cart(installation, alice, phones[:2])
    ProductListing.objects.filter(product_saleor_id=phones[0]).update(is_in_stock=False)
    with django_assert_max_num_queries(19):
        (hint,) = gql(HINTS, token=token_of(ALICE)).data["hints"]
    assert hint == {
        "id": "cart_waiting.Q2hlY2tvdXQ6MQ==",
        "kind": "CART_WAITING",
        "text": "2 things are still in your cart.",
        "reason": {"code": "CART_LEFT", "text": "You put it there and have not ordered it yet."},
        "showAfterSeconds": 0,
        "showOnExit": False,
        "checkoutId": "Q2hlY2tvdXQ6MQ==",
        "lines": [{"productId": phones[1], "variantId": "v1", "quantity": 2}],
        "remaining": None,
        "threshold": None,
        "placement": None,
        "voucherCode": None,
        "deadline": None,
    }


def test_b59_a_sold_out_size_of_a_product_in_stock_is_not_named(
    gql: Ask,
    token_of: Callable[..., str],
    alice: Profile,
    installation: Installation,
    phones: list[str],
) -> None:
    cart(installation, alice, phones[:2])
    ProductVariant.objects.create(
        installation=installation, saleor_id="v0", product_saleor_id=phones[0]
    )
    (hint,) = gql(HINTS, token=token_of(ALICE)).data["hints"]
    assert [line["variantId"] for line in hint["lines"]] == ["v1"]
    ProductVariant.objects.filter(saleor_id="v0").update(is_stock_tracked=False)
    (hint,) = gql(HINTS, token=token_of(ALICE)).data["hints"]
    assert [line["variantId"] for line in hint["lines"]] == ["v0", "v1"]


@pytest.mark.parametrize(
    "changes",
    [
        {"last_changed_at": NOW - 10 * MINUTE},
        {"last_changed_at": NOW - 31 * DAY},
        {"closed_at": NOW},
        {"deleted_at": NOW},
        {"channel_slug": "eu"},
        {"lines": []},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_b59_a_cart_that_does_not_wait_is_not_spoken_of(
    gql: Ask,
    token_of: Callable[..., str],
    alice: Profile,
    installation: Installation,
    phones: list[str],
    changes: dict[str, Any],
) -> None:
    cart(installation, alice, phones, **changes)
    assert "CART_WAITING" not in kinds(gql(HINTS, token=token_of(ALICE)))


def test_b59_nothing_of_a_cart_that_was_ordered_sold_out_or_changed_a_moment_ago(
    gql: Ask,
    token_of: Callable[..., str],
    alice: Profile,
    installation: Installation,
    phones: list[str],
) -> None:
    cart(installation, alice, phones)
    cart(
        installation,
        alice,
        phones,
        saleor_id="Q2hlY2tvdXQ6Mg==",
        last_changed_at=NOW - MINUTE,
    )
    assert "CART_WAITING" not in kinds(gql(HINTS, token=token_of(ALICE)))
    Checkout.objects.filter(saleor_id="Q2hlY2tvdXQ6Mg==").delete()
    assert "CART_WAITING" in kinds(gql(HINTS, token=token_of(ALICE)))
    ProductListing.objects.filter(product_saleor_id__in=phones).update(is_in_stock=False)
    assert "CART_WAITING" not in kinds(gql(HINTS, token=token_of(ALICE)))
    ProductListing.objects.filter(product_saleor_id__in=phones).update(is_in_stock=True)
    Order.objects.create(
        installation=installation,
        saleor_id="T3JkZXI6MQ==",
        status="UNFULFILLED",
        user_saleor_id=ALICE,
        channel_slug="eu",
        currency="EUR",
        total=1,
        placed_at=NOW - HOUR,
    )
    assert "CART_WAITING" not in kinds(gql(HINTS, token=token_of(ALICE)))


def test_b59_b97_a_cart_is_told_of_to_its_account_and_to_who_shows_it_alone(
    gql: Ask,
    token_of: Callable[..., str],
    alice: Profile,
    bob: Profile,
    visitor: Profile,
    installation: Installation,
    phones: list[str],
) -> None:
    row = cart(installation, alice, phones)
    assert kinds(gql(HINTS, token=token_of(BOB))) == ["LINGERING"]
    assert kinds(gql(HINTS, anonymous_id=VISITOR)) == ["LINGERING"]
    shown = gql(HINTS, {"checkoutId": row.saleor_id}, anonymous_id=VISITOR)
    assert kinds(shown) == ["CART_WAITING"]
    named = gql(HINTS, {"userId": ALICE}, token=token_of(BOB))
    assert named.body["errors"]
    server = gql(HINTS, {"userId": ALICE}, token=installation.auth_token)
    assert kinds(server) == ["CART_WAITING"]


def test_b59_nothing_sensitive_is_named(
    gql: Ask,
    token_of: Callable[..., str],
    alice: Profile,
    installation: Installation,
    phones: list[str],
) -> None:
    from saleor_personalize.models import Product

    cart(installation, alice, phones[:1])
    Product.objects.filter(saleor_id=phones[0]).update(category_saleor_id="Q2F0ZWdvcnk6OTk=")
    Installation.objects.update(sensitive_ids=["Q2F0ZWdvcnk6OTk="])
    assert kinds(gql(HINTS, token=token_of(ALICE))) == ["LINGERING"]


# -- who may be told, and how often --------------------------------------------------------------------


def test_b59_of_whom_nothing_may_be_kept_nothing_is_asked_and_nothing_interrupts(
    gql: Ask, visitor: Profile, installation: Installation, shop: Phones
) -> None:
    assert kinds(gql(HINTS)) == []
    assert kinds(gql(HINTS, anonymous_id="somebody-quite-unknown")) == []
    assert kinds(gql(HINTS, anonymous_id=VISITOR, headers={"Sec-GPC": "1"})) == []
    unknown = gql(REPORT, {"id": "lingering.home"}, anonymous_id="somebody-quite-unknown")
    assert unknown.data["hintReport"] == {"isRecorded": False, "hint": None}
    Consent.objects.create(
        installation=installation,
        profile=visitor,
        purpose=Purpose.PROFILING,
        delivery_channel="",
        state=ConsentState.DENIED,
        source="test",
        recorded_at=NOW,
    )
    assert kinds(gql(HINTS, anonymous_id=VISITOR)) == []
    refused = gql(REPORT, {"id": "lingering.home"}, anonymous_id=VISITOR)
    assert not refused.data["hintReport"]["isRecorded"]
    assert not ShownHint.objects.exists()


def test_b59_what_was_seen_rests_and_what_was_waved_away_stays_away(
    gql: Ask, visitor: Profile, shop: Phones
) -> None:
    def at(moment: datetime, page: str = "PRODUCT") -> list[str]:
        with time_machine.travel(moment, tick=False):
            return kinds(gql(HINTS, {"page": page}, anonymous_id=VISITOR))

    assert at(NOW) == ["LINGERING"]
    told = gql(REPORT, {"id": "lingering.product"}, anonymous_id=VISITOR)
    assert told.data["hintReport"] == {"isRecorded": True, "hint": None}
    assert at(NOW + 23 * HOUR) == []
    assert at(NOW, "SEARCH") == ["LINGERING"]
    assert at(NOW + DAY) == ["LINGERING"]
    gql(REPORT, {"id": "lingering.product", "action": "DISMISSED"}, anonymous_id=VISITOR)
    assert at(NOW + 29 * DAY) == []
    assert at(NOW + 30 * DAY) == ["LINGERING"]
    row = ShownHint.objects.get()
    assert (row.shown_count, row.first_shown_at, row.dismissed_at) == (1, NOW, NOW)


def test_b59_at_most_three_interruptions_a_day_over_all_devices_of_a_person(
    gql: Ask, token_of: Callable[..., str], alice: Profile, installation: Installation, shop: Phones
) -> None:
    phone = make_profile(installation, anonymous_id=VISITOR)
    Profile.objects.filter(pk=phone.pk).update(merged_into=alice)
    for page in ("home", "product"):
        gql(REPORT, {"id": f"lingering.{page}"}, token=token_of(ALICE))
    assert kinds(gql(HINTS, {"page": "LIST"}, token=token_of(ALICE))) == ["LINGERING"]
    ShownHint.objects.create(
        installation=installation,
        profile=phone,
        kind="lingering",
        subject="search",
        last_shown_at=NOW - HOUR,
        changed_at=NOW,
    )
    assert kinds(gql(HINTS, {"page": "LIST"}, token=token_of(ALICE))) == []
    late = token_of(ALICE, exp=int((NOW + DAY + HOUR).timestamp()))
    with time_machine.travel(NOW + DAY, tick=False):
        assert kinds(gql(HINTS, {"page": "LIST"}, token=late)) == ["LINGERING"]


@pytest.mark.parametrize(
    "hint_id", ["", "lingering", "nonsense.home", "lingering.", "lingering.a b", "x" * 200]
)
def test_b59_what_names_no_hint_is_not_kept(
    gql: Ask, visitor: Profile, shop: Phones, hint_id: str
) -> None:
    answer = gql(REPORT, {"id": hint_id}, anonymous_id=VISITOR)
    assert answer.data["hintReport"]["isRecorded"] is False
    assert not ShownHint.objects.exists()


def test_b59_nobody_fills_the_table_with_made_up_hints(
    gql: Ask, visitor: Profile, shop: Phones, monkeypatch: pytest.MonkeyPatch
) -> None:
    from saleor_personalize.hints import records

    monkeypatch.setattr(records, "MAX_OF_PERSON", 2)
    said = [
        gql(REPORT, {"id": f"cart_waiting.x{n}"}, anonymous_id=VISITOR).data["hintReport"]
        for n in range(4)
    ]
    assert [each["isRecorded"] for each in said] == [True, True, False, False]
    assert ShownHint.objects.count() == 2


def test_b59_a_hint_speaks_the_shoppers_language(gql: Ask, visitor: Profile, shop: Phones) -> None:
    spoken = {
        code: gql(HINTS, {"languageCode": code}, anonymous_id=VISITOR).data["hints"][0]["text"]
        for code in ("EN", "DE", "FR", "ES", "PL")
    }
    assert len(set(spoken.values())) == 5


# -- the moment ----------------------------------------------------------------------------------------


def visits(
    installation: Installation, profile: Profile, count: int, *, went_on: int, seconds: int
) -> None:
    """`count` looks at a product, of which `went_on` are followed after `seconds` (and as many more)."""
    rows = []
    for number in range(count):
        at = NOW - 2 * DAY + timedelta(seconds=number)
        common = {
            "installation": installation,
            "profile": profile,
            "received_at": at,
            "source": EventSource.STOREFRONT,
            "session_id": f"visit-{number}",
        }
        rows.append(
            Event(event_id=f"a{number}", type=EventType.PRODUCT_VIEWED, occurred_at=at, **common)
        )
        rows.append(
            Event(
                event_id=f"s{number}",
                type=EventType.RECOMMENDATION_SHOWN,
                occurred_at=at + timedelta(seconds=1),
                **common,
            )
        )
        if number < went_on:
            rows.append(
                Event(
                    event_id=f"b{number}",
                    type=EventType.CART_ADDED,
                    occurred_at=at + timedelta(seconds=seconds + number % seconds),
                    **common,
                )
            )
    Event.objects.bulk_create(rows)


def test_b59_the_moment_is_learned_from_the_shops_own_drop_off(
    gql: Ask, visitor: Profile, installation: Installation, shop: Phones
) -> None:
    before = gql(HINTS, {"page": "PRODUCT"}, anonymous_id=VISITOR).data["hints"][0]
    assert (before["showAfterSeconds"], before["reason"]["code"]) == (30, "LINGER_DEFAULT")
    visits(installation, visitor, 1_000, went_on=600, seconds=20)
    assert measure_drop_off() == 1
    row = PageDropOff.objects.get()
    assert (row.page, row.view_count, row.went_on_count) == ("product", 1_000, 600)
    # 400 leave: when 400 of those who go on are left (a third is gone) the odds turn, but half comes first.
    assert row.seconds == 29
    after = gql(HINTS, {"page": "PRODUCT"}, anonymous_id=VISITOR).data["hints"][0]
    assert (after["showAfterSeconds"], after["showOnExit"]) == (29, True)
    assert after["reason"]["code"] == "LINGER_LEARNED"
    assert after["placement"] == "product_page_similar"
    other = gql(HINTS, {"page": "SEARCH"}, anonymous_id=VISITOR).data["hints"][0]
    assert (other["showAfterSeconds"], other["reason"]["code"]) == (30, "LINGER_DEFAULT")


def test_b59_too_few_visits_teach_nothing_and_other_shops_neither(
    installation: Installation, other_installation: Installation, visitor: Profile
) -> None:
    visits(installation, visitor, 499, went_on=200, seconds=10)
    assert [row.seconds for row in lingering.measure(installation=installation, now=NOW)] == [None]
    assert lingering.measure(installation=other_installation, now=NOW) == []
    # Visits that may still go on are no drop-off.
    at = NOW - 2 * DAY
    assert lingering.measure(installation=installation, now=at + timedelta(minutes=29)) == []


@pytest.mark.parametrize(
    ("views", "went_on", "expected"),
    [(1000, 500, 50), (1000, 800, 75), (1000, 990, 95), (1000, 99, None), (499, 499, None)],
)
def test_b59_the_odds_turn_where_as_many_are_left_to_go_on_as_leave(
    views: int, went_on: int, expected: int | None
) -> None:
    waits = [share * 100 for share in lingering._SHARES]
    assert lingering.moment(views=views, went_on=went_on, waits=waits) == expected


def test_b59_the_moment_has_bounds() -> None:
    for wait, expected in ((0.2, lingering.SHORTEST), (9_999.0, lingering.LONGEST)):
        waits = [wait] * len(lingering._SHARES)
        assert lingering.moment(views=1_000, went_on=500, waits=waits) == expected


# -- free delivery -------------------------------------------------------------------------------------


@pytest.fixture
def saleor(settings: Any) -> Iterator[LoopbackShop]:
    settings.SALEOR_PERSONALIZE = {**settings.SALEOR_PERSONALIZE, "ALLOW_PRIVATE_ADDRESSES": True}
    with loopback_shop() as found:
        yield found


def method(price: float, minimum: float | None, maximum: float | None = None, **also: Any) -> Any:
    return {
        "active": True,
        "type": "PRICE",
        "price": {"amount": price, "currency": "USD"},
        "minimumOrderPrice": None if minimum is None else {"amount": minimum},
        "maximumOrderPrice": None if maximum is None else {"amount": maximum},
        **also,
    }


def in_saleor(saleor: LoopbackShop, methods: list[Any], **changes: Any) -> None:
    subtotal = changes.pop("subtotal", 40.5)
    net = changes.pop("net", subtotal)
    node = {
        "isShippingRequired": True,
        "voucherCode": None,
        "discount": None,
        "subtotalPrice": {
            "gross": {"amount": subtotal, "currency": "USD"},
            "net": {"amount": net},
        },
        "shippingAddress": {"country": {"code": "US"}, "postalCode": "10001"},
        "channel": {"taxConfiguration": {"pricesEnteredWithTax": changes.pop("with_tax", True)}},
        **changes,
    }
    saleor.answers["CheckoutForHints"] = [{"data": {"checkout": node}}]
    saleor.answers["ShippingMethods"] = [{"data": {"shop": {"availableShippingMethods": methods}}}]


@pytest.fixture
def asked(gql: Ask, saleor: LoopbackShop, installation: Installation, shop: Phones) -> Any:
    installation.saleor_api_url = saleor.api_url
    installation.save()
    owner = make_profile(installation, checkout="Q2hlY2tvdXQ6MQ==")
    cart(installation, owner, ["p"], user_saleor_id="", saleor_updated_at=NOW)

    def ask(**variables: Any) -> Any:
        given = {"page": "CART", "checkoutId": "Q2hlY2tvdXQ6MQ==", **variables}
        return gql(HINTS, given, shop=installation).data["hints"]

    return ask


def test_b59_the_gap_to_free_delivery_is_saleors_own(asked: Any, saleor: LoopbackShop) -> None:
    in_saleor(saleor, [method(5, None), method(0, 75), method(0, 60)])
    (hint,) = asked()
    assert (hint["kind"], hint["reason"]["code"]) == ("FREE_DELIVERY", "FREE_DELIVERY_GAP")
    assert hint["remaining"] == {"amount": 19.5, "currency": "USD"}
    assert hint["threshold"] == {"amount": 60.0, "currency": "USD"}
    assert (
        hint["text"].replace("\N{NO-BREAK SPACE}", " ") == "19.50 USD more, and delivery is free."
    )
    assert saleor.variables[-1] == {
        "channel": "us",
        "address": {"country": "US", "postalCode": "10001"},
    }
    assert saleor.requests == ["CheckoutForHints", "ShippingMethods"]
    asked()
    assert len(saleor.requests) == 2  # remembered until the cart changes
    Checkout.objects.update(saleor_updated_at=NOW + MINUTE)
    in_saleor(saleor, [], subtotal=50)
    assert asked()[0]["remaining"]["amount"] == 10.0
    assert saleor.requests[2:] == ["CheckoutForHints"]


NOT_KNOWABLE: dict[str, tuple[list[Any], dict[str, Any]]] = {
    "free already": ([method(0, 40), method(0, 75)], {}),
    "free without a minimum": ([method(0, None)], {}),
    "never free": ([method(5, None), method(3, 75)], {}),
    "free by weight": ([method(0, None, type="WEIGHT"), method(0, 75)], {}),
    "another currency": ([{**method(0, 75), "price": {"amount": 0, "currency": "EUR"}}], {}),
    "not active": ([method(0, 75, active=False)], {}),
    "a range that nobody can reach": ([method(0, 75, 70)], {}),
    "no methods": ([], {}),
    "a voucher": ([method(0, 75)], {"voucherCode": "X"}),
    "a discount": ([method(0, 75)], {"discount": {"amount": 3}}),
    "nothing to ship": ([method(0, 75)], {"isShippingRequired": False}),
    "prices before tax": ([method(0, 75)], {"net": 35, "with_tax": False}),
    "no country": ([method(0, 75)], {"shippingAddress": None}),
}


@pytest.mark.parametrize("kind", NOT_KNOWABLE)
def test_b59_where_it_is_not_knowable_no_gap_is_claimed(
    asked: Any, saleor: LoopbackShop, kind: str
) -> None:
    methods, changes = NOT_KNOWABLE[kind]
    in_saleor(saleor, methods, **changes)
    assert asked() == []


def test_b59_the_storefront_can_say_where_to_and_the_cart_knows_better(
    asked: Any, saleor: LoopbackShop
) -> None:
    in_saleor(saleor, [method(0, 75)], shippingAddress=None)
    assert asked(countryCode="fr")[0]["threshold"]["amount"] == 75.0
    assert saleor.variables[-1]["address"] == {"country": "FR", "postalCode": ""}
    Checkout.objects.update(saleor_updated_at=NOW + MINUTE)
    in_saleor(saleor, [method(0, 90)])
    assert asked(countryCode="fr")[0]["threshold"]["amount"] == 90.0
    assert saleor.variables[-1]["address"]["country"] == "US"


@pytest.mark.parametrize(
    "answer", [503, {"data": {"checkout": None}}, {"errors": [{"message": "x"}]}]
)
def test_b59_a_shop_that_does_not_answer_costs_the_hint_and_is_left_in_peace(
    asked: Any, saleor: LoopbackShop, answer: Any
) -> None:
    saleor.answers["CheckoutForHints"] = [answer]
    assert asked() == []
    assert asked() == []
    assert saleor.requests == ["CheckoutForHints"]


def test_b59_the_questions_run_as_saleor_writes_its_schema(
    gql: Ask, settings: Any, db: None
) -> None:
    settings.SALEOR_PERSONALIZE = {**settings.SALEOR_PERSONALIZE, "ALLOW_PRIVATE_ADDRESSES": True}
    with FakeSaleor() as saleor:
        saleor.fill(products=1, customers=0, orders=0, checkouts=0)
        slug = saleor.channels[0]["slug"]
        saleor.shipping_methods.append(
            {"id": "U2hpcHBpbmdNZXRob2Q6MQ==", "name": "Free", **method(0, 9_999)}
        )
        free = saleor.shipping_methods[0]
        free["minimumOrderPrice"]["currency"] = saleor.channels[0]["currencyCode"]
        free["price"]["currency"] = saleor.channels[0]["currencyCode"]
        node = saleor.create_checkout(
            channel=slug, lines=[(next(iter(saleor.variants)), 1)], email=None
        )
        shop = installed(saleor)
        owner = make_profile(shop, checkout=node["id"])
        cart(shop, owner, ["p"], saleor_id=node["id"], user_saleor_id="", channel_slug=slug)
        asked = {"channel": slug, "page": "CART", "checkoutId": node["id"], "countryCode": "US"}
        (hint,) = gql(HINTS, asked, shop=shop).data["hints"]
        paid = sum(line["quantity"] * line["amount"] for line in node["lines"])
    assert hint["threshold"]["amount"] == 9_999.0
    assert hint["remaining"]["amount"] == pytest.approx(9_999.0 - float(paid))


def test_b59_a_cart_that_we_do_not_know_is_not_asked_about(
    asked: Any, saleor: LoopbackShop
) -> None:
    assert asked(checkoutId="Q2hlY2tvdXQ6OTk=") == []
    assert asked(channel="eu") == []
    assert saleor.requests == []


def test_b59_free_from_takes_the_nearest_method_that_counts() -> None:
    methods = [method(0, 100), method(0, 50, 60), method(4, 10)]
    assert free_delivery.free_from(methods, Decimal(20), "USD") == Decimal(50)
    assert free_delivery.free_from(methods, Decimal(70), "USD") == Decimal(100)
    assert free_delivery.free_from(methods, Decimal(55), "USD") is None


# -- people's rights -----------------------------------------------------------------------------------


def test_b59_hints_of_a_person_are_exported_erased_and_forgotten_in_time(
    gql: Ask, visitor: Profile, shop: Phones
) -> None:
    gql(REPORT, {"id": "lingering.home", "action": "FOLLOWED"}, anonymous_id=VISITOR)
    (told,) = privacy.export(profile=visitor, now=NOW)["hints"]
    assert (told["kind"], told["subject"]) == ("lingering", "home")
    assert told["followed_at"] == NOW.isoformat()
    assert retention.purge(now=NOW + 89 * DAY)["hints"] == 0
    assert retention.purge(now=NOW + 91 * DAY)["hints"] == 1
    gql(REPORT, {"id": "lingering.home"}, anonymous_id=VISITOR)
    privacy.erase(profile=visitor, requested_by="staff", now=NOW)  # type: ignore[arg-type]
    assert not ShownHint.objects.exists()
