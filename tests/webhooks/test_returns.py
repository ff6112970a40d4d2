"""What Saleor tells of pieces that were sent back and of money that was paid back, in whatever order it comes."""

from __future__ import annotations

import random
from datetime import datetime
from decimal import Decimal

import pytest

from saleor_personalize.models import Installation, Order, OrderLine
from tests.payloads import scenario
from tests.webhooks.deliver import deliver


def known() -> tuple[str, Decimal, Decimal, int, int]:
    order, line = Order.objects.get(), OrderLine.objects.get()
    return order.status, order.total, order.total_refunded, line.quantity, line.quantity_returned


def test_b91_a_return_and_its_payment_are_told_by_updates_of_the_order(
    installation: Installation, now: datetime
) -> None:
    """Saleor renders them when it sends them: two changes that are close together show the later state twice."""
    seen = []
    for row in scenario("order_returned"):
        if row.event == "order_updated":
            assert deliver(installation, [row], now=now) == 1
            status, total, refunded, quantity, returned = known()
            assert (total, quantity) == (60, 3)
            seen.append((refunded, returned, status))
    assert seen == sorted(seen, key=lambda each: each[:2])
    assert seen[0] == (0, 0, "UNFULFILLED")
    assert (0, 1, "PARTIALLY_RETURNED") in seen
    assert (20, 1, "PARTIALLY_RETURNED") in seen
    assert seen[-1] == (40, 2, "PARTIALLY_RETURNED")


@pytest.mark.parametrize("seed", range(5))
def test_b91_the_order_of_arrival_makes_no_difference(
    installation: Installation, now: datetime, seed: int
) -> None:
    rows = scenario("order_returned")
    random.Random(seed).shuffle(rows)  # noqa: S311 (an order of arrival, no secret)
    deliver(installation, [*rows, *rows], now=now)
    assert known() == ("PARTIALLY_RETURNED", Decimal(60), Decimal(40), 3, 2)
