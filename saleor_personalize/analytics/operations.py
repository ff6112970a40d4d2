"""Keeping attribution up with what is recorded: at once for orders, soon for what comes late, and nightly."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from saleor_personalize.analytics import attribution
from saleor_personalize.models import Installation

#: How far a run looks back: several times as long as until the next one, for transactions that took long.
LOOKS_BACK = timedelta(minutes=20)


def follow_orders(*, installation: Installation, ids: Iterable[int], now: datetime) -> None:
    """Attribute new or changed orders (row ids), in the transaction that recorded them."""
    attribution.attribute(installation=installation, orders=ids, now=now)


def catch_up(*, installation: Installation, now: datetime) -> int:
    """Attribute orders anew whose touches came late, or whose people became one or two.

    Return of how many the touch changed. What a longer break left out, `review` finds at night.
    """
    late = attribution.late(installation=installation, since=now - LOOKS_BACK, now=now)
    return len(attribution.attribute(installation=installation, orders=late, now=now))


def review(*, installation: Installation, now: datetime) -> int:
    """Attribute all orders of the last window anew; return of how many the touch changed."""
    orders = attribution.recent(installation=installation, now=now).values_list("pk", flat=True)
    return len(attribution.attribute(installation=installation, orders=orders, now=now))
