"""Every built-in trigger keeps the contract that is shipped for triggers of others; so does the example."""

import importlib.util
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from saleor_personalize.journeys import operations as journeys
from saleor_personalize.journeys.triggers import CheckoutChanged, known_triggers
from saleor_personalize.journeys.triggers.abandoned_checkout import AbandonedCheckout
from saleor_personalize.journeys.triggers.back_in_stock import BackInStock
from saleor_personalize.journeys.triggers.base import Fact, StockChanged
from saleor_personalize.journeys.triggers.low_stock import LowStock
from saleor_personalize.journeys.triggers.price_drop import PriceDrop
from saleor_personalize.models import (
    Checkout,
    Consent,
    Event,
    Identity,
    PriceChange,
    Product,
    ProductListing,
    ProductVariant,
    SalesChannel,
    Stock,
    StockAlert,
    VariantPrice,
    email_hash,
)
from saleor_personalize.testing.contracts import NOW, TriggerCase, TriggerTests
from tests.contracts import test_person_triggers

_ROOT = Path(__file__).parents[2]
_BUILT_IN = _ROOT / "saleor_personalize" / "journeys" / "builtin"


def test_b60_every_built_in_trigger_is_under_contract() -> None:
    assert test_person_triggers.TestWelcome in TriggerTests.__subclasses__()
    assert set(known_triggers().values()) <= {
        case.trigger for case in TriggerTests.__subclasses__()
    }


class TestAbandonedCheckout(TriggerTests):
    trigger = AbandonedCheckout
    definition = str(_BUILT_IN / "abandoned_checkout.yaml")

    def come_in(self, case: TriggerCase) -> None:
        Identity.objects.create(
            installation=case.installation,
            profile=case.profile,
            kind="email",
            value=email_hash("alice@example.com"),
            address="alice@example.com",
            first_seen_at=NOW,
        )
        checkout = Checkout.objects.create(
            installation=case.installation,
            saleor_id="checkout-1",
            profile=case.profile,
            token="token",
            email_hash=email_hash("alice@example.com"),
            channel_slug="default-channel",
            currency="EUR",
            total=20,
            lines=[{"variant_id": "v", "product_id": "p", "quantity": 1, "unit_price": "20"}],
            last_changed_at=NOW,
            saleor_updated_at=NOW,
        )
        case.observe(CheckoutChanged(checkout), now=NOW)


def _known_by_mail(case: TriggerCase) -> None:
    Identity.objects.create(
        installation=case.installation,
        profile=case.profile,
        kind="email",
        value=email_hash("alice@example.com"),
        address="alice@example.com",
        first_seen_at=NOW,
    )
    Consent.objects.create(
        installation=case.installation,
        profile=case.profile,
        purpose="marketing",
        delivery_channel="email",
        state="granted",
        source="test",
        recorded_at=NOW,
    )


def _socks(case: TriggerCase, *, pieces: int) -> None:
    """One variant of one product in one sales channel, with so many pieces."""
    shop = {"installation": case.installation}
    SalesChannel.objects.create(**shop, saleor_id="channel", slug="eu", currency="EUR")
    Product.objects.create(**shop, saleor_id="socks", name="Socks")
    ProductVariant.objects.create(**shop, saleor_id="large", product_saleor_id="socks")
    ProductListing.objects.create(
        **shop,
        product_saleor_id="socks",
        channel_slug="eu",
        is_published=True,
        available_for_purchase_at=NOW - timedelta(days=9),
    )
    Stock.objects.create(
        **shop,
        variant_saleor_id="large",
        warehouse_saleor_id="w",
        quantity=pieces,
        recorded_at=NOW,
    )


def _looked(case: TriggerCase, times: int) -> None:
    for number in range(times):
        Event.objects.create(
            installation=case.installation,
            profile=case.profile,
            event_id=f"view-{number}",
            type="product_viewed",
            occurred_at=NOW - timedelta(hours=2),
            received_at=NOW,
            source="storefront",
            channel_slug="eu",
            product_saleor_id="socks",
        )


class TestBackInStock(TriggerTests):
    trigger = BackInStock
    definition = str(_BUILT_IN / "back_in_stock.yaml")

    def come_in(self, case: TriggerCase) -> None:
        _known_by_mail(case)
        _socks(case, pieces=2)
        StockAlert.objects.create(
            installation=case.installation,
            profile=case.profile,
            variant_saleor_id="large",
            product_saleor_id="socks",
            channel_slug="eu",
            created_at=NOW - timedelta(hours=1),
            expires_at=NOW + timedelta(days=9),
        )
        case.observe(StockChanged(case.installation, "large", NOW), now=NOW)

    def facts_again(self, case: TriggerCase) -> list[Fact]:
        return [StockChanged(case.installation, "large", NOW + timedelta(days=1))]


class TestPriceDrop(TriggerTests):
    trigger = PriceDrop
    definition = str(_BUILT_IN / "price_drop.yaml")

    def come_in(self, case: TriggerCase) -> None:
        _known_by_mail(case)
        _socks(case, pieces=2)
        _looked(case, 1)
        where = {
            "installation": case.installation,
            "variant_saleor_id": "large",
            "channel_slug": "eu",
            "currency": "EUR",
        }
        VariantPrice.objects.create(**where, price=10, discounted_price=8, recorded_at=NOW)
        for days, price in ((5, 10), (0, 8)):
            PriceChange.objects.create(**where, price=price, changed_at=NOW - timedelta(days=days))
        journeys.enter_due(now=NOW)
        journeys.enter_due(now=NOW + timedelta(minutes=15))


class TestLowStock(TriggerTests):
    trigger = LowStock
    definition = str(_BUILT_IN / "low_stock.yaml")

    def come_in(self, case: TriggerCase) -> None:
        _known_by_mail(case)
        _socks(case, pieces=2)
        _looked(case, 3)
        journeys.enter_due(now=NOW)
        journeys.enter_due(now=NOW + timedelta(minutes=15))


def _example(name: str) -> Any:
    path = _ROOT / "examples" / "custom_trigger" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


_example("review_request")
_TESTS = _example("test_review_request")


class TestExample(_TESTS.TestReviewRequest):  # type: ignore[misc, name-defined]
    definition = str(_ROOT / "examples" / "custom_trigger" / "review_request.yaml")


for _case in (TestAbandonedCheckout, TestExample, TestBackInStock, TestPriceDrop, TestLowStock):
    pytest.mark.django_db(_case)
