"""Keeping attribution and figures up with what is recorded: at once for orders, soon for the rest, and nightly."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from saleor_personalize.analytics import attribution, figures
from saleor_personalize.conf import settings
from saleor_personalize.models import AttributedOrder, Checkout, Installation, Order

#: How far a run looks back: several times as long as until the next one, for transactions that took long.
LOOKS_BACK = timedelta(minutes=20)


def follow_orders(*, installation: Installation, ids: Iterable[int], now: datetime) -> None:
    """Attribute new or changed orders (row ids), in the transaction that recorded them."""
    orders = set(ids)
    attribution.attribute(installation=installation, orders=orders, now=now)
    _reopen(installation, orders, now)


def catch_up(*, installation: Installation, now: datetime) -> int:
    """Attribute orders anew whose touches came late, or whose people became one or two.

    Return of how many the touch changed. What a longer break left out, `review` finds at night.
    """
    late = attribution.late(installation=installation, since=now - LOOKS_BACK, now=now)
    changed = attribution.attribute(installation=installation, orders=late, now=now)
    _reopen(installation, changed, now)
    return len(changed)


def review(*, installation: Installation, now: datetime) -> int:
    """Attribute all orders of the last window anew; return of how many the touch changed.

    The days of that window are counted again, with what was told of them late.
    """
    orders = attribution.recent(installation=installation, now=now).values_list("pk", flat=True)
    changed = attribution.attribute(installation=installation, orders=orders, now=now)
    window = max(settings.ATTRIBUTION_WINDOW, settings.TRACK_MAX_AGE)
    days = {figures.Day.at(now - timedelta(days=ago)).on for ago in range(window.days + 1)}
    figures.reopen(installation=installation, days=days, now=now)
    return len(changed)


def refresh(*, installation: Installation, now: datetime) -> int:
    """Count what happened today, and on days before that are not counted finally; return how many days."""
    return figures.refresh(installation=installation, now=now)


def _reopen(installation: Installation, orders: Iterable[int], now: datetime) -> None:
    """Have the days be counted again of these orders, of their carts and of the messages that led to them."""
    rows = Order.objects.of(installation).filter(pk__in=orders)
    moments = list(rows.values_list("placed_at", flat=True))
    carts = Checkout.objects.of(installation).filter(
        saleor_id__in=rows.exclude(checkout_saleor_id="").values("checkout_saleor_id")
    )
    moments += carts.values_list("last_changed_at", flat=True)
    led = AttributedOrder.objects.of(installation).filter(order__in=rows, message__isnull=False)
    moments += led.values_list("message__decided_at", flat=True)
    figures.reopen(
        installation=installation, days={figures.Day.at(at).on for at in moments}, now=now
    )
