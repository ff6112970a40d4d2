"""B59: the offer of the checkout, made in Saleor when it is seen, with a deadline that no reload moves."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
import time_machine
from django.test import Client

from saleor_personalize.enums import OfferStatus
from saleor_personalize.events import callers
from saleor_personalize.models import Checkout, Installation, Offer, Order, Profile, ShownHint
from saleor_personalize.offers import operations as offers
from saleor_personalize.testing.saleor import FakeSaleor
from tests.api.test_hints import HINTS, REPORT
from tests.conftest import NOW, make_profile
from tests.integration.offering import installed

DAY, HOUR, MINUTE = timedelta(days=1), timedelta(hours=1), timedelta(minutes=1)
CART = "Q2hlY2tvdXQ6MQ=="
VISITOR = "3f0d6e0e-4b1c-visitor"
OTHER = "3f0d6e0e-4b1c-another"

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def shop(settings: Any) -> Iterator[FakeSaleor]:
    settings.SALEOR_PERSONALIZE = {
        **settings.SALEOR_PERSONALIZE,
        "ALLOW_PRIVATE_ADDRESSES": True,
        "HINT_OFFER": {"percent": 10, "expires": timedelta(hours=2)},
    }
    with FakeSaleor() as shop:
        shop.fill(products=3, customers=0, orders=0, checkouts=0)
        yield shop


@pytest.fixture
def installation(shop: FakeSaleor, db: None) -> Installation:
    callers.active.clear()
    return installed(shop)


@pytest.fixture
def visitor(installation: Installation) -> Profile:
    return make_profile(installation, anonymous_id=VISITOR)


@pytest.fixture
def cart(installation: Installation, visitor: Profile) -> Checkout:
    owner = make_profile(installation, checkout=CART)
    slug = installation_channel(installation)
    return Checkout.objects.create(
        installation=installation,
        saleor_id=CART,
        profile=owner,
        token="t",
        channel_slug=slug,
        currency="USD",
        total=Decimal(40),
        lines=[{"id": "l", "variant_id": "v", "product_id": "p", "quantity": 1}],
        last_changed_at=NOW,
    )


def installation_channel(installation: Installation) -> str:
    from saleor_personalize.models import SalesChannel

    return SalesChannel.objects.of(installation).order_by("pk")[0].slug


@pytest.fixture
def ask(client: Client, installation: Installation, cart: Checkout) -> Callable[..., Any]:
    def ask(query: str, at: datetime = NOW, who: str = VISITOR, **variables: Any) -> Any:
        text = query.replace('"us"', f'"{cart.channel_slug}"')
        with time_machine.travel(at, tick=False):
            response = client.post(
                "/graphql/",
                json.dumps({"query": text, "variables": variables}),
                content_type="application/json",
                headers={"Saleor-Api-Url": installation.saleor_api_url, "X-Anonymous-Id": who},
            )
        body = response.json()
        assert "errors" not in body, body
        return body["data"]

    return ask


def offered(ask: Callable[..., Any], **given: Any) -> Any:
    found = ask(HINTS, page="CHECKOUT", checkoutId=CART, **given)["hints"]
    return next((hint for hint in found if hint["kind"] == "CHECKOUT_OFFER"), None)


def seen(ask: Callable[..., Any], **given: Any) -> Any:
    return ask(REPORT, id=f"checkout_offer.{CART}", **given)["hintReport"]


def test_b59_the_offer_begins_when_it_is_seen_and_a_reload_moves_nothing(
    ask: Callable[..., Any], shop: FakeSaleor
) -> None:
    before = offered(ask)
    assert before["text"] == "Order now and get this: 10%."
    assert (before["voucherCode"], before["deadline"]) == (None, None)
    assert shop.vouchers.codes == {}
    assert not Offer.objects.exists()

    begun = seen(ask)
    assert begun["isRecorded"]
    code, deadline = begun["hint"]["voucherCode"], begun["hint"]["deadline"]
    assert shop.vouchers.codes == {code: True}
    assert datetime.fromisoformat(deadline) >= NOW + 2 * HOUR
    for later in (NOW, NOW + MINUTE, NOW + HOUR):
        again = seen(ask, at=later)["hint"]
        shown = offered(ask, at=later)
        assert (again["voucherCode"], again["deadline"]) == (code, deadline)
        assert (shown["voucherCode"], shown["deadline"]) == (code, deadline)
    assert Offer.objects.count() == len(shop.vouchers.codes) == 1

    over = datetime.fromisoformat(deadline) + MINUTE
    assert offered(ask, at=over) is None
    assert seen(ask, at=over) == {"isRecorded": False, "hint": None}
    assert Offer.objects.count() == 1
    offers.sweep(now=over)
    assert Offer.objects.get().status == OfferStatus.EXPIRED
    assert offered(ask, at=over + DAY) is None


def test_b59_the_checkout_alone_makes_the_offer(ask: Callable[..., Any]) -> None:
    for page in ("HOME", "PRODUCT", "CART", "OTHER"):
        found = ask(HINTS, page=page, checkoutId=CART)["hints"]
        assert "CHECKOUT_OFFER" not in [hint["kind"] for hint in found]
    assert all(hint["kind"] != "CHECKOUT_OFFER" for hint in ask(HINTS, page="CHECKOUT")["hints"])


def test_b59_without_the_setting_or_the_permission_there_is_no_such_hint(
    ask: Callable[..., Any], installation: Installation, settings: Any
) -> None:
    kept = installation.permissions
    installation.permissions = [p for p in kept if p != offers.PERMISSION]
    installation.save()
    callers.active.clear()
    assert offered(ask) is None
    assert seen(ask) == {"isRecorded": False, "hint": None}
    installation.permissions = kept
    installation.save()
    callers.active.clear()
    assert offered(ask) is not None
    settings.SALEOR_PERSONALIZE = {**settings.SALEOR_PERSONALIZE, "HINT_OFFER": {}}
    assert offered(ask) is None
    assert seen(ask) == {"isRecorded": False, "hint": None}
    assert not Offer.objects.exists()


def test_b59_who_has_just_paid_full_price_gets_none(
    ask: Callable[..., Any], installation: Installation, visitor: Profile, cart: Checkout
) -> None:
    Order.objects.create(
        installation=installation,
        saleor_id="T3JkZXI6MQ==",
        profile=visitor,
        status="UNFULFILLED",
        channel_slug=cart.channel_slug,
        currency="USD",
        total=40,
        placed_at=NOW - DAY,
    )
    assert offered(ask) is None
    assert seen(ask) == {"isRecorded": False, "hint": None}
    assert not Offer.objects.exists()


def test_b59_a_cart_that_became_an_order_is_offered_nothing(
    ask: Callable[..., Any], cart: Checkout
) -> None:
    Checkout.objects.update(closed_at=NOW)
    assert offered(ask) is None
    assert seen(ask) == {"isRecorded": False, "hint": None}


def test_b59_the_code_of_one_is_never_shown_to_another(
    ask: Callable[..., Any], installation: Installation, shop: FakeSaleor
) -> None:
    make_profile(installation, anonymous_id=OTHER)
    code = seen(ask)["hint"]["voucherCode"]
    theirs = offered(ask, who=OTHER)
    assert theirs is None or theirs["voucherCode"] is None
    begun = seen(ask, who=OTHER)["hint"]
    assert begun is None or begun["voucherCode"] != code
    assert offered(ask)["voucherCode"] == code


def test_b59_where_saleor_cannot_make_it_nothing_is_promised_and_nothing_is_left(
    ask: Callable[..., Any], shop: FakeSaleor, installation: Installation
) -> None:
    app = next(iter(shop.apps.values()))
    permissions, app.permissions = app.permissions, []
    assert seen(ask) == {"isRecorded": False, "hint": None}
    assert shop.vouchers.codes == {}
    assert not ShownHint.objects.exists()
    assert Offer.objects.get().status == OfferStatus.WITHDRAWN
    app.permissions = permissions
    assert seen(ask, at=NOW + MINUTE)["hint"]["voucherCode"]


def test_b59_an_offer_that_was_waved_away_stays_away(ask: Callable[..., Any]) -> None:
    seen(ask)
    ask(REPORT, id=f"checkout_offer.{CART}", action="DISMISSED")
    assert offered(ask, at=NOW + MINUTE) is None
