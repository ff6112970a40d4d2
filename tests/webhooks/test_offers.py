"""B65: what an order says of the voucher it was placed with, as Saleor delivers it."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from saleor_personalize.enums import OfferKind, OfferStatus
from saleor_personalize.models import Installation, Offer, Order
from tests import payloads
from tests.webhooks.deliver import deliver


@pytest.fixture
def recorded() -> payloads.Recorded:
    return payloads.one("order_with_voucher", "order_created")


def offer_of(installation: Installation, code: str, now: datetime, **changes: Any) -> Offer:
    return Offer.objects.create(
        **{
            "installation": installation,
            "key": "welcome:1",
            "code": code,
            "kind": OfferKind.PERCENT,
            "status": OfferStatus.MADE,
            "reserved_at": now,
            "expires_at": now + timedelta(days=7),
            **changes,
        }
    )


def test_b65_an_order_tells_the_code_it_was_placed_with(
    installation: Installation,
    other_installation: Installation,
    recorded: payloads.Recorded,
    now: datetime,
) -> None:
    code = recorded.payload["order"]["voucherCode"]
    mine, theirs = (offer_of(each, code, now) for each in (installation, other_installation))
    assert deliver(installation, [recorded], now=now) == 1
    order = Order.objects.get()
    assert (order.voucher_code, order.undiscounted_total, order.total) == (
        code,
        Decimal("1.99"),
        Decimal("1.79"),
    )
    mine.refresh_from_db()
    theirs.refresh_from_db()
    assert (mine.status, mine.order, mine.used_at) == (OfferStatus.USED, order, order.placed_at)
    assert (theirs.status, theirs.order) == (OfferStatus.MADE, None)
    # Saleor repeats itself; nothing is used twice.
    deliver(installation, [recorded.changed(number="63")], now=now + timedelta(hours=1))
    assert Offer.objects.filter(status=OfferStatus.USED).count() == 1


def test_b66_an_order_of_before_that_does_not_tell_counts_as_full_price(
    installation: Installation, now: datetime
) -> None:
    """Webhooks that were registered by an older version ask for less."""
    recorded = payloads.one("order", "order_created")
    payload = recorded.payload
    for field in ("voucherCode", "undiscountedTotal", "totalRefunded", "fulfillments"):
        del payload["order"][field]
    before = payloads.Recorded(recorded.event, json.dumps(payload).encode())
    assert deliver(installation, [before], now=now) == 1
    order = Order.objects.get()
    assert (order.voucher_code, order.undiscounted_total) == ("", None)
