"""Offers at a live Saleor: made, used once, refused where they must be, taken out again (B65, C2, B55)."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import httpx
import pytest
from django.core import mail
from django.utils import timezone

from saleor_personalize.catalog import operations as catalog
from saleor_personalize.enums import MessageStatus, OfferReason, OfferStatus
from saleor_personalize.events import operations as events
from saleor_personalize.messaging import operations as messaging
from saleor_personalize.models import Installation, Offer, OfferVoucher, Order, Profile
from saleor_personalize.offers import operations as offers
from saleor_personalize.offers.terms import read
from saleor_personalize.saleor_api import nodes
from saleor_personalize.saleor_api.client import SaleorClient
from tests.conftest import make_installation, make_profile
from tests.integration.offering import PERMISSIONS, Killed, decided, dies, send
from tests.live.shop import LiveShop

pytestmark = [pytest.mark.live, pytest.mark.timeout(600)]

WEEK = timedelta(days=7)
#: What Saleor answers to a code that it has not, or not any more.
UNKNOWN = "INVALID"


@pytest.fixture(scope="session")
def token(shop: LiveShop) -> Iterator[str]:
    """An app with the permissions that the manifest asks for; who it is makes no difference here."""
    made = shop.staff(
        "mutation($i: AppInput!) { appCreate(input: $i) { authToken app { id }"
        " errors { field message } } }",
        {"i": {"name": "Offers", "permissions": [*PERMISSIONS, "MANAGE_CHANNELS"]}},
    )["appCreate"]
    yield made["authToken"]
    shop.app("appDelete", made["app"]["id"])


@pytest.fixture
def installation(db: None, settings: Any, shop: LiveShop, token: str) -> Installation:
    settings.SALEOR_PERSONALIZE = {**settings.SALEOR_PERSONALIZE, "ALLOW_PRIVATE_ADDRESSES": True}
    found = make_installation(
        saleor_api_url=shop.api_url, auth_token=token, permissions=PERMISSIONS
    )
    with SaleorClient(found) as client:
        rows = [nodes.read_channel(row) for row in client.execute("Channels")["channels"]]
    now = timezone.now()
    catalog.record_channels(installation=found, data=rows, now=now, seen_at=now)
    return found


@pytest.fixture
def person(installation: Installation) -> Profile:
    return make_profile(installation, email=address())


def address() -> str:
    return f"{uuid.uuid4().hex[:12]}@example.com"


def offered(person: Profile, **terms: Any) -> Offer:
    """Decide, make and send, as the scheduler does; return the offer."""
    # Terms of its own keep each test in a voucher of its own.
    given = read({"expires": WEEK, **terms}, name=f"test {uuid.uuid4().hex[:8]}")
    now = timezone.now()
    decision = decided(person, given, key=uuid.uuid4().hex, now=now)
    send(decision, now=now)
    decision.offer.refresh_from_db()
    assert decision.offer.status == OfferStatus.MADE, decision.offer.error
    return decision.offer


def use(shop: LiveShop, checkout_id: str, offer: Offer) -> dict[str, Any]:
    """Apply a code as a shopper does; return prices, or what Saleor said against it."""
    answer = httpx.post(
        shop.api_url,
        timeout=30,
        json={
            "query": "mutation($id: ID!, $c: String!) { checkoutAddPromoCode(id: $id, promoCode: $c) {"
            " checkout { discount { amount } subtotalPrice { gross { amount } } voucherCode"
            " shippingPrice { gross { amount } } } errors { field message code } } }",
            "variables": {"id": checkout_id, "c": offer.code},
        },
    ).json()
    return dict(answer["data"]["checkoutAddPromoCode"])


def refusal(answer: dict[str, Any]) -> str:
    (error,) = answer["errors"]
    return str(error["code"])


def full_price(shop: LiveShop, checkout_id: str) -> float:
    """Return what the lines cost without any promotion of the shop, which a code replaces."""
    query = "query($id: ID!) { checkout(id: $id) { lines { quantity undiscountedUnitPrice { amount } } } }"
    lines = shop.gql(query, {"id": checkout_id})["checkout"]["lines"]
    return float(sum(each["quantity"] * each["undiscountedUnitPrice"]["amount"] for each in lines))


def in_saleor(shop: LiveShop, offer: Offer) -> bool:
    found = shop.staff(
        "query($s: String!) { vouchers(first: 5, filter: { search: $s }) { edges { node {"
        " codes(first: 100) { edges { node { code } } } } } } }",
        {"s": offer.code},
    )["vouchers"]["edges"]
    codes = [edge["node"]["code"] for v in found for edge in v["node"]["codes"]["edges"]]
    return offer.code in codes


def paid(shop: LiveShop, order_id: str) -> dict[str, Any]:
    query = (
        "query($id: ID!) { order(id: $id) { voucherCode discounts { type }"
        " lines { discounts { type } } } }"
    )
    order = shop.staff(query, {"id": order_id})["order"]
    rows = [
        *order["discounts"],
        *(row for line in order["lines"] for row in line["discounts"] or ()),
    ]
    return {"code": order["voucherCode"], "by_voucher": "VOUCHER" in {row["type"] for row in rows}}


def category_of(shop: LiveShop, product_id: str) -> str:
    query = "query($id: ID!) { product(id: $id) { category { id } } }"
    return str(shop.staff(query, {"id": product_id})["product"]["category"]["id"])


def follow(installation: Installation) -> None:
    """Read the newest orders as the back-fill does, and see what they mean for offers."""
    with SaleorClient(installation) as client:
        filter_ = {"updatedAt": {"gte": (timezone.now() - timedelta(minutes=5)).isoformat()}}
        page = client.page("Orders", "orders", first=50, after=None, variables={"filter": filter_})
    data = [nodes.read_order(node) for node in page.nodes]
    changed = events.record_orders(installation=installation, data=data, now=timezone.now())
    for order in Order.objects.filter(pk__in=changed):
        offers.follow_order(order=order, now=timezone.now())


def test_b65_a_code_is_taken_once_and_its_order_marks_it_used(
    shop: LiveShop, installation: Installation, person: Profile
) -> None:
    variant = shop.variants(1)[0]["id"]
    offer = offered(person, percent=10)
    assert offer.code in mail.outbox[0].body
    first, second, third = (shop.checkout(address(), [variant]) for _ in range(3))
    price = full_price(shop, first)
    answer = use(shop, first, offer)
    assert answer["errors"] == []
    assert answer["checkout"]["voucherCode"] == offer.code
    assert answer["checkout"]["discount"]["amount"] == pytest.approx(price / 10, abs=0.02)
    # Both carts hold it; who pays first has it.
    assert use(shop, second, offer)["errors"] == []
    order_id = shop.buy(first)
    bought = paid(shop, shop.buy(second))
    assert bought == {"code": None, "by_voucher": False}
    assert refusal(use(shop, third, offer)) == UNKNOWN
    follow(installation)
    offer.refresh_from_db()
    assert offer.status == OfferStatus.USED
    assert offer.order is not None
    assert offer.order.saleor_id == order_id
    assert offer.order.undiscounted_total is not None
    assert offer.order.total < offer.order.undiscounted_total


def test_b65_codes_of_a_day_share_a_voucher_and_one_is_withdrawn_alone(
    shop: LiveShop, installation: Installation, person: Profile
) -> None:
    variant = shop.variants(1)[0]["id"]
    terms = read({"percent": 12, "expires": WEEK}, name=f"test {uuid.uuid4().hex[:8]}")
    now = timezone.now()
    gone, kept = (
        decided(each, terms, key=uuid.uuid4().hex, now=now)
        for each in (person, make_profile(installation, email=address()))
    )
    send(gone, now=now)
    send(kept, now=now)
    assert OfferVoucher.objects.count() == 1
    holding = shop.checkout(address(), [variant])
    assert use(shop, holding, gone.offer)["errors"] == []
    assert offers.withdraw(offer=gone.offer, reason=OfferReason.STAFF, now=now)
    assert not in_saleor(shop, gone.offer)
    other = shop.checkout(address(), [variant])
    assert refusal(use(shop, other, gone.offer)) == UNKNOWN
    # A cart that held it already pays in full.
    bought = paid(shop, shop.buy(holding))
    assert bought == {"code": None, "by_voucher": False}
    assert use(shop, other, kept.offer)["errors"] == []


def test_b65_another_category_is_refused(
    shop: LiveShop, installation: Installation, person: Profile
) -> None:
    wanted, *others = shop.variants(8)
    category = category_of(shop, wanted["product"])
    stranger = next(v for v in others if category_of(shop, v["product"]) != category)
    offer = offered(person, amount={"USD": "1.50"}, categories=[category])
    wrong = shop.checkout(address(), [stranger["id"]])
    assert refusal(use(shop, wrong, offer)) == "VOUCHER_NOT_APPLICABLE"
    right = shop.checkout(address(), [wanted["id"]])
    price = full_price(shop, right)
    answer = use(shop, right, offer)
    assert answer["errors"] == []
    reduced = answer["checkout"]["subtotalPrice"]["gross"]["amount"]
    assert price - reduced == pytest.approx(1.5, abs=0.01)


def test_b65_free_delivery_and_a_minimum(
    shop: LiveShop, installation: Installation, person: Profile
) -> None:
    variant = shop.variants(1)[0]["id"]
    free = offered(person, free_shipping=True)
    high = offered(person, percent=5, minimum_spend={"USD": 100_000})
    cart = shop.checkout(address(), [variant])
    assert refusal(use(shop, cart, high)) == "VOUCHER_NOT_APPLICABLE"
    methods = shop.gql(
        "query($id: ID!) { checkout(id: $id) { shippingMethods { id price { amount } } } }",
        {"id": cart},
    )["checkout"]["shippingMethods"]
    dear = max(methods, key=lambda method: method["price"]["amount"])
    assert dear["price"]["amount"] > 0
    shop.gql(
        "mutation($id: ID!, $m: ID!) { checkoutDeliveryMethodUpdate(id: $id, deliveryMethodId: $m) {"
        " errors { message } } }",
        {"id": cart, "m": dear["id"]},
    )
    answer = use(shop, cart, free)
    assert answer["errors"] == []
    assert answer["checkout"]["shippingPrice"]["gross"]["amount"] == 0


def test_b55_a_first_order_code_dies_with_the_first_order(
    shop: LiveShop, installation: Installation
) -> None:
    email = address()
    person = make_profile(installation, email=email)
    offer = offered(person, percent=15, first_order=True)
    assert in_saleor(shop, offer)
    # Ordered without it.
    shop.buy(shop.checkout(email, [shop.variants(1)[0]["id"]]))
    follow(installation)
    assert offers.sweep(now=timezone.now()) == 1
    offer.refresh_from_db()
    assert (offer.status, offer.reason) == (OfferStatus.WITHDRAWN, OfferReason.ORDERED)
    assert not in_saleor(shop, offer)


@pytest.mark.parametrize(
    ("operation", "is_there"),
    [("OfferVoucherCreate", True), ("OfferVoucherListings", True), ("OfferVoucherByCode", False)],
)
def test_c2_a_worker_killed_in_the_middle_leaves_no_code_in_saleor(
    shop: LiveShop, installation: Installation, person: Profile, operation: str, is_there: bool
) -> None:
    terms = read({"percent": 20, "expires": WEEK}, name=f"test {uuid.uuid4().hex[:8]}")
    now = timezone.now()
    decision = decided(person, terms, key=uuid.uuid4().hex, now=now)
    with pytest.raises(Killed):
        send(decision, now=now, connect=dies("after", operation))
    assert in_saleor(shop, decision.offer) is is_there
    later = now + offers.LEASE + timedelta(minutes=1)
    messaging.settle_interrupted(now=later)
    assert offers.sweep(now=later) == 1
    decision.offer.refresh_from_db()
    decision.message.refresh_from_db()
    assert decision.message.status == MessageStatus.UNCERTAIN
    assert (decision.offer.status, decision.offer.gone_at) == (OfferStatus.WITHDRAWN, later)
    assert not in_saleor(shop, decision.offer)
    assert mail.outbox == []


def test_c2_making_again_makes_no_second_code(
    shop: LiveShop, installation: Installation, person: Profile
) -> None:
    terms = read({"percent": 20, "expires": WEEK}, name=f"test {uuid.uuid4().hex[:8]}")
    now = timezone.now()
    decision = decided(person, terms, key=uuid.uuid4().hex, now=now)
    with pytest.raises(Killed):
        offers.make(offer=decision.offer, now=now, connect=dies("after", "OfferVoucherCreate"))
    send(decision, now=now)
    cart = shop.checkout(address(), [shop.variants(1)[0]["id"]])
    assert use(shop, cart, decision.offer)["errors"] == []
    assert OfferVoucher.objects.count() == 1
