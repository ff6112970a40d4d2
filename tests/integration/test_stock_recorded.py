"""Stock and prices as a live Saleor told them: webhooks (B51, B52) and answers at the moment of a decision."""

import json
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.core import mail
from django.utils.dateparse import parse_datetime

from saleor_personalize.exceptions import MalformedPayload
from saleor_personalize.ingestion.deliveries import issued_at_of
from saleor_personalize.journeys import operations as journeys
from saleor_personalize.journeys.live_variants import LiveVariant, read_answer
from saleor_personalize.models import Enrollment, Installation, Product, ProductVariant, StockAlert
from tests.conftest import NOW, make_consent, make_profile
from tests.payloads import FOLDER, scenario
from tests.webhooks.deliver import deliver

CHANNEL = "default-channel"


def recorded(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FOLDER / "live" / f"{name}.json").read_text())
    return found


def read(name: str, **changes: Any) -> LiveVariant:
    row = {**recorded(name), **changes}
    since = parse_datetime(row["since"])
    assert since is not None
    return read_answer(row["data"], variant_id=row["variant"], since=since, address=row["address"])


@pytest.mark.parametrize(
    ("name", "exists", "sellable", "pieces", "bought"),
    [
        ("variant_sold_out", True, False, 0, False),
        # More than one may order at once (10): the number is that of the warehouse.
        ("variant_back", True, True, 13, False),
        ("variant_bought", True, True, 12, True),
        ("variant_gone", False, False, 0, False),
    ],
)
def test_d7_what_saleor_said_at_the_moment_of_a_decision(
    name: str, exists: bool, sellable: bool, pieces: int, bought: bool
) -> None:
    found = read(name)
    assert (found.exists, found.is_sellable, found.pieces, found.is_bought) == (
        exists,
        sellable,
        pieces,
        bought,
    )
    if exists:
        # Saleor names a variant without a name by its id.
        assert (found.price, found.currency, found.variant_name) == (Decimal(20), "USD", "")
        assert found.product_name.startswith("Recorded lamp")


def test_d7_an_order_of_somebody_else_or_from_before_is_not_theirs() -> None:
    assert not read("variant_bought", address="somebody.else@example.com").is_bought
    assert not read("variant_bought", since="2099-01-01T00:00:00+00:00").is_bought
    assert not read("variant_bought", variant="another").is_bought


def test_d7_an_answer_that_says_too_little_is_refused() -> None:
    data = recorded("variant_back")["data"]
    for missing in ("productVariant", "channel", "ordersOfAddress"):
        cut = {key: value for key, value in data.items() if key != missing}
        with pytest.raises(MalformedPayload):
            read("variant_back", data=cut)


def _await(installation: Installation, address: str) -> StockAlert:
    """Somebody waits for the product that the recorded webhooks are about."""
    variant = ProductVariant.objects.get()
    profile = make_profile(installation, email=address)
    make_consent(profile, "granted")  # type: ignore[arg-type]
    return StockAlert.objects.create(
        installation=installation,
        profile=profile,
        variant_saleor_id=variant.saleor_id,
        product_saleor_id=Product.objects.get().saleor_id,
        channel_slug=CHANNEL,
        created_at=NOW,
        expires_at=NOW + timedelta(days=9_000),
    )


@pytest.mark.parametrize(
    ("name", "told"),
    [
        # It comes back (4 pieces in three warehouses, an event each), and nobody hears of it three times.
        ("per_warehouse", 1),
        ("in_channel", 1),
    ],
)
def test_b52_every_warehouse_speaks_and_each_person_comes_in_once(
    installation: Installation, name: str, told: int
) -> None:
    journey = journeys.ensure_journey(installation=installation, key="back_in_stock")
    journeys.go_live(journey=journey, now=NOW - timedelta(days=1))
    rows = scenario(name)
    first = next(i for i, row in enumerate(rows) if "back_in_stock" in row.event)
    deliver(installation, rows[:first], now=NOW)
    _await(installation, "alice@example.com")
    out = next(i for i, row in enumerate(rows) if "out_of_stock" in row.event)
    deliver(installation, rows[first:out], now=NOW)
    assert Enrollment.objects.of(installation).count() == told
    deliver(installation, rows[out:], now=NOW)
    assert Enrollment.objects.of(installation).count() == told


def test_d7_the_last_piece_that_is_fulfilled_says_back_in_stock_and_nobody_hears_it(
    installation: Installation,
) -> None:
    """Trap 1: BACK_IN_STOCK comes with nothing available, and OUT_OF_STOCK after it."""
    journey = journeys.ensure_journey(installation=installation, key="back_in_stock")
    journeys.go_live(journey=journey, now=NOW - timedelta(days=1))
    rows = scenario("last_unit")
    sold = next(i for i, row in enumerate(rows) if row.event == "product_variant_out_of_stock")
    deliver(installation, rows[: sold + 1], now=NOW)
    _await(installation, "alice@example.com")
    mail.outbox = []
    lie = [row for row in rows[sold + 1 :] if row.event == "product_variant_back_in_stock"]
    assert lie
    deliver(installation, rows[sold + 1 :], now=NOW)
    journeys.enter_due(now=NOW + timedelta(minutes=15))
    assert not Enrollment.objects.of(installation).exists()


def test_b53_a_promotion_is_a_lower_price_and_its_end_is_none(installation: Installation) -> None:
    """20, then 18 by a promotion of 10 %: told to who saw 20. Then 30, which is 27 (trap 4): to nobody."""
    rows = scenario("price_under_promotion")
    first = next(i for i, row in enumerate(rows) if "discounted" in row.event)
    began = issued_at_of(rows[first].payload)
    assert began is not None
    journey = journeys.ensure_journey(installation=installation, key="price_drop")
    journeys.go_live(journey=journey, now=began - timedelta(days=1))
    deliver(installation, rows[:first], now=began)
    alert = _await(installation, "alice@example.com")
    StockAlert.objects.update(created_at=began - timedelta(milliseconds=1))
    deliver(installation, rows[first : first + 1], now=began)
    journeys.enter_due(now=began + timedelta(minutes=15))
    (row,) = Enrollment.objects.of(installation)
    assert (row.profile, row.subject_saleor_id) == (alert.profile, alert.variant_saleor_id)
    assert Decimal(row.context["known"]) == 20
    deliver(installation, rows[first + 1 :], now=began)
    journeys.advance_due(now=began + timedelta(hours=2))
    row.refresh_from_db()
    assert (row.status, row.exit_reason) == ("exited", "price_rose")
