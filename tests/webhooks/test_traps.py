"""The traps of Saleor's webhooks, each with the payloads of a live shop that set it."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from saleor_personalize.catalog import queries as catalog
from saleor_personalize.enums import (
    CheckoutCloseReason,
    DeliveryStatus,
    IdentityKind,
    InstallationStatus,
)
from saleor_personalize.ingestion import backfill
from saleor_personalize.journeys import operations as journeys
from saleor_personalize.models import (
    Backfill,
    Checkout,
    Consent,
    Enrollment,
    Identity,
    Installation,
    Journey,
    Message,
    Order,
    PriceChange,
    Product,
    ProductListing,
    ProductVariant,
    Profile,
    Stock,
    VariantPrice,
    WebhookDelivery,
    email_hash,
)
from tests.payloads import one, scenario
from tests.webhooks.deliver import deliver

pytestmark = pytest.mark.django_db

NOW = datetime.now(UTC)


def listing(recorded_product: dict[str, Any]) -> ProductListing:
    return ProductListing.objects.get(
        product_saleor_id=recorded_product["id"], channel_slug="default-channel"
    )


def go_live(installation: Installation) -> Journey:
    return Journey.objects.create(
        installation=installation,
        key="abandoned_checkout",
        is_live=True,
        live_at=NOW - timedelta(days=365),
    )


def test_trap_1_back_in_stock_lies_when_the_last_piece_is_fulfilled(
    installation: Installation,
) -> None:
    """The event says "back in stock"; the quantities in it say there is nothing."""
    rows = scenario("last_unit")
    lie = [row for row in rows if row.event == "product_variant_back_in_stock"][-1]
    variant = lie.payload["productVariant"]
    assert [(s["quantity"], s["quantityAllocated"]) for s in variant["stocks"]] == [(0, 0)]
    told = rows.index(lie)

    deliver(installation, rows[:told], now=NOW)
    assert not listing(variant["product"]).is_in_stock
    deliver(installation, [lie], now=NOW)

    assert not listing(variant["product"]).is_in_stock
    assert (
        catalog.recommendable_ids(
            installation=installation,
            channel_slug="default-channel",
            ids=[variant["product"]["id"]],
            now=NOW,
        )
        == set()
    )
    deliver(installation, rows[told + 1 :], now=NOW)
    assert not listing(variant["product"]).is_in_stock


def test_trap_2_every_warehouse_speaks_for_itself(installation: Installation) -> None:
    """Sold out in two of three warehouses is not sold out."""
    rows = scenario("per_warehouse")
    events = [row.event for row in rows]
    assert events.count("product_variant_back_in_stock") == 3
    assert events.count("product_variant_out_of_stock") == 2

    deliver(installation, rows, now=NOW)

    product = one("per_warehouse", "product_variant_out_of_stock").payload["productVariant"]
    assert listing(product["product"]).is_in_stock
    stocks = Stock.objects.of(installation).filter(variant_saleor_id=product["id"])
    assert sorted(stocks.values_list("quantity", flat=True)) == [0, 0, 2]


def test_trap_3_events_of_a_channel_come_only_in_the_newer_mode(
    installation: Installation,
) -> None:
    """Both kinds read the same, so a shop in either mode is followed."""
    rows = scenario("in_channel")
    newer = [row for row in rows if row.event.endswith("_in_channel")]
    assert {row.event for row in newer} == {
        "product_variant_back_in_stock_in_channel",
        "product_variant_out_of_stock_in_channel",
    }
    saved = [row for row in rows if row.event.startswith("product_") and "stock" not in row.event]
    variant = newer[0].payload["productVariant"]

    for only in (newer, [row for row in rows if "stock" in row.event and row not in newer]):
        Product.objects.all().delete()
        ProductListing.objects.all().delete()
        ProductVariant.objects.all().delete()
        Stock.objects.all().delete()
        VariantPrice.objects.all().delete()
        WebhookDelivery.objects.all().delete()
        deliver(installation, saved, now=NOW)
        seen = []
        for row in only:
            deliver(installation, [row], now=NOW)
            seen.append(listing(variant["product"]).is_in_stock)
        assert seen[0] is True
        assert seen[-1] is False


def test_trap_4_a_price_change_without_a_price_event(installation: Installation) -> None:
    rows = scenario("price_change")
    assert "product_variant_discounted_price_updated" not in [row.event for row in rows]

    deliver(installation, rows, now=NOW)

    variant = rows[-1].payload["productVariant"]
    price = VariantPrice.objects.get(variant_saleor_id=variant["id"])
    assert price.price == Decimal(30)
    history = PriceChange.objects.filter(variant_saleor_id=variant["id"]).order_by("pk")
    assert [row.price for row in history] == [Decimal(20), Decimal(30)]
    assert listing(variant["product"]).price == Decimal(30)


def test_trap_4_previous_price_is_wrong_under_a_promotion(installation: Installation) -> None:
    """The customer's price went 18 -> 27; Saleor's event says 30 -> 27. Our history is right."""
    rows = scenario("price_under_promotion")
    events = [row for row in rows if row.event == "product_variant_discounted_price_updated"]
    variant = events[0].payload["productVariant"]
    assert [Decimal(str(row.payload["newPrice"]["amount"])) for row in events][:2] == [18, 27]

    deliver(installation, rows[: rows.index(events[1]) + 1], now=NOW)

    history = PriceChange.objects.filter(variant_saleor_id=variant["id"]).order_by("pk")
    paid = [key for key, _ in itertools.groupby(row.price for row in history)]
    assert paid[0] == 20
    assert paid[-1] == 27
    assert 18 in paid
    assert all("previousPrice" not in row.payload for row in events)


@pytest.mark.parametrize("event", ["customer_deleted", "account_deleted"])
def test_trap_5_both_deletion_events_erase_the_person(
    installation: Installation, other_installation: Installation, event: str
) -> None:
    """Staff's deletion and the shopper's own come as different events with the same content."""
    rows = scenario("customer_deleted_by_staff")
    created, deleted = rows[0], rows[-1]
    assert deleted.event == "customer_deleted"
    user = created.payload["user"]
    for shop in (installation, other_installation):
        deliver(shop, [created], now=NOW)
    assert Identity.objects.of(installation).count() == 2

    body = deleted.body.replace(b"CustomerDeleted", event.title().replace("_", "").encode())
    deliver(installation, [type(deleted)(event, body)], now=NOW)

    assert Profile.objects.of(installation).count() == 0
    assert Identity.objects.of(installation).count() == 0
    # Another shop's customer of the same address is another person.
    assert (
        Identity.objects.of(other_installation)
        .filter(kind=IdentityKind.EMAIL, value=email_hash(user["email"]))
        .exists()
    )


def test_trap_6_arrival_is_not_order_of_events(installation: Installation) -> None:
    """An older view of the order that arrives last changes nothing."""
    rows = scenario("order_cancelled")
    orders = [row for row in rows if row.event.startswith("order_")]
    newest = orders[-1].payload["order"]
    assert newest["status"] == "CANCELED"

    deliver(installation, [*reversed(orders)], now=NOW)

    order = Order.objects.get()
    assert order.status == "CANCELED"
    assert order.saleor_updated_at == datetime.fromisoformat(newest["updatedAt"])
    assert order.lines.count() == 1


def test_trap_7_a_deferred_checkout_carries_what_came_later(installation: Installation) -> None:
    rows = scenario("deferred")
    created = next(row for row in rows if row.event == "checkout_created")
    assert created.payload["checkout"]["email"], "set after the creation, rendered before it left"

    deliver(installation, rows, now=NOW)

    checkout = Checkout.objects.get()
    assert checkout.email_hash == email_hash(created.payload["checkout"]["email"])
    assert checkout.last_changed_at == min(
        datetime.fromisoformat(row.payload["checkout"]["updatedAt"]) for row in rows
    )


def test_trap_7_a_checkout_that_was_never_announced_is_closed_by_its_order(
    installation: Installation,
) -> None:
    """No CHECKOUT webhook came at all; one that strays in later finds the cart ordered."""
    go_live(installation)
    rows = scenario("deferred_completed")
    assert not [row for row in rows if row.event.startswith("checkout_")]
    deliver(installation, rows, now=NOW)
    order = Order.objects.get()
    assert order.checkout_saleor_id

    stray = one("checkout", "checkout_updated", -1).changed(id=order.checkout_saleor_id)
    deliver(installation, [stray], now=NOW)

    checkout = Checkout.objects.get()
    assert checkout.close_reason == CheckoutCloseReason.ORDERED
    assert Enrollment.objects.count() == 0


def test_trap_8_no_channel_filter_keeps_a_channel_out(installation: Installation) -> None:
    """Carts of every sales channel arrive, each under its own slug."""
    deliver(installation, scenario("other_channel"), now=NOW)
    assert sorted(Checkout.objects.values_list("channel_slug", "currency").distinct()) == [
        ("channel-pln", "PLN"),
        ("default-channel", "USD"),
    ]


def test_trap_9_our_own_metadata_change_starts_nothing(installation: Installation) -> None:
    """Writing metadata comes back as X_UPDATED with us as its author: nothing changes twice."""
    rows = scenario("metadata_loop")
    echo = next(row for row in rows if row.event == "product_updated")
    principal = echo.payload["issuingPrincipal"]
    assert principal["__typename"] == "App"
    installation.app_id = principal["id"]
    installation.save()
    deliver(installation, [echo], now=NOW)
    before = Product.objects.values().get()

    again = echo.changed(updatedAt=(NOW + timedelta(minutes=1)).isoformat())
    deliver(installation, [again], now=NOW + timedelta(minutes=1))

    newest = WebhookDelivery.objects.order_by("-pk")[0]
    assert newest.status == DeliveryStatus.IGNORED
    after = Product.objects.values().get()
    assert {**after, "saleor_updated_at": before["saleor_updated_at"]} == before


def test_trap_9_an_opt_in_is_heard_in_a_shop_that_announces_metadata_apart(
    installation: Installation,
) -> None:
    """`useLegacyUpdateWebhookEmission` off: no CHECKOUT_UPDATED, and `updatedAt` stays as it was."""
    go_live(installation)
    cart = one("checkout", "checkout_updated", -1).changed(metadata=[])
    deliver(installation, [cart], now=NOW)
    assert not Consent.objects.exists()
    ticked = cart.changed(metadata=[{"key": "marketing_opt_in", "value": "true"}])
    body = ticked.body.replace(b"CheckoutUpdated", b"CheckoutMetadataUpdated")

    deliver(installation, [type(cart)("checkout_metadata_updated", body)], now=NOW)

    assert WebhookDelivery.objects.order_by("-pk")[0].status == DeliveryStatus.PROCESSED
    assert list(Consent.objects.values_list("state", "source")) == [("granted", "checkout")]


def test_trap_10_what_was_lost_while_deactivated_is_asked_for(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Off, an order that nobody tells us of, on: a run over what changed since then is requested."""
    rows = scenario("deactivated")
    assert {row.event for row in rows} == {"app_status_changed"}
    off, on = rows
    assert [row.payload["app"]["isActive"] for row in rows] == [False, True]
    installation.app_id = off.payload["app"]["id"]
    installation.save()
    whole = backfill.request(installation=installation, now=NOW)
    Backfill.objects.filter(pk=whole.pk).update(status="done", finished_at=NOW)

    saleor = "saleor_personalize.saleor_api.installations"
    monkeypatch.setattr(f"{saleor}.works", lambda *, installation: False)
    deliver(installation, [off], now=NOW)
    installation.refresh_from_db()
    assert installation.status == InstallationStatus.INACTIVE

    def confirm(*, installation: Installation, now: datetime) -> InstallationStatus:
        installation.status = InstallationStatus.ACTIVE
        installation.save()
        return InstallationStatus.ACTIVE

    monkeypatch.setattr(f"{saleor}.confirm", confirm)
    later = NOW + timedelta(hours=2)
    deliver(installation, [on], now=later)

    run = Backfill.objects.exclude(pk=whole.pk).get()
    assert run.changed_since == NOW
    assert run.created_at == later


def test_relations_of_a_deleted_product_arrive_empty(installation: Installation) -> None:
    rows = scenario("product_deleted")
    deleted = rows[-1]
    assert [row.event for row in rows].count("product_variant_deleted") == 0
    deliver(installation, rows[:-1], now=NOW)
    name = Product.objects.get().name
    assert name
    assert ProductListing.objects.count() == 1

    deliver(installation, [deleted], now=NOW)

    product = Product.objects.get()
    assert product.deleted_at == NOW
    assert product.name == name, "a tombstone keeps what was known"
    assert ProductListing.objects.count() == 0

    # A late update cannot bring it back.
    late = one("product_deleted", "product_updated").changed(
        updatedAt=(NOW + timedelta(days=1)).isoformat()
    )
    deliver(installation, [late], now=NOW)
    assert Product.objects.get().deleted_at == NOW
    assert ProductListing.objects.count() == 0


def test_d2_an_order_under_another_email_ends_the_wait(installation: Installation) -> None:
    """B4, B45: the same cart, completed under another address."""
    go_live(installation)
    rows = scenario("order_other_email")
    carts = [row for row in rows if row.event.startswith("checkout_")]
    orders = [row for row in rows if row.event.startswith("order_")]
    first, last = carts[0].payload["checkout"], orders[0].payload["order"]
    assert first["email"] != last["userEmail"]

    deliver(installation, carts[:2], now=NOW)
    assert Enrollment.objects.get().status == "waiting"
    deliver(installation, orders, now=NOW)

    assert Enrollment.objects.get().status == "reached"
    assert list(Message.objects.values_list("status", "reason")) == [("not_sent", "ordered")]
    assert Checkout.objects.get().close_reason == CheckoutCloseReason.ORDERED


def test_a_draft_order_has_no_checkout_and_still_counts(installation: Installation) -> None:
    deliver(installation, scenario("draft_order"), now=NOW)
    order = Order.objects.get()
    assert order.checkout_saleor_id == ""
    assert order.email_hash


@pytest.mark.parametrize("comes_first", ["the order", "the cart"])
def test_d2_b45_a_cart_that_comes_to_its_person_after_their_order(
    installation: Installation, comes_first: str
) -> None:
    """Filled by nobody, then its customer orders elsewhere under another e-mail, then signs in: in both orders of arrival."""
    go_live(installation)
    rows = [row for row in scenario("cart_changes_hands") if row.event != "product_deleted"]
    *before, attached = rows
    assert attached.event == "checkout_updated"
    cart_id = attached.payload["checkout"]["id"]
    at = next(i for i, row in enumerate(before) if row.event == "order_created")
    arrived = rows if comes_first == "the order" else [*before[:at], attached, *before[at:]]
    deliver(installation, arrived, now=NOW)
    cart = Checkout.objects.get(saleor_id=cart_id)
    order = Order.objects.get()
    assert cart.user_saleor_id == order.user_saleor_id != ""
    assert cart.email_hash != order.email_hash
    assert cart.filled_at is not None
    assert cart.filled_at < order.placed_at < cart.last_changed_at
    journeys.advance_due(now=cart.last_changed_at + timedelta(hours=2), ask=pytest.fail)
    decisions = Message.objects.filter(enrollment__subject_saleor_id=cart_id)
    assert list(decisions.values_list("template", "status", "reason")) == [
        ("abandoned_checkout", "not_sent", "ordered")
    ]
