"""Figures for whoever shows what came of it in passing, and the orders behind them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db.models import Case, DecimalField, F, QuerySet, Value, When
from django.db.models.functions import Greatest

from saleor_personalize.analytics.figures import total
from saleor_personalize.analytics.reports import Led, Money, money_of, report
from saleor_personalize.events.queries import SENT_BACK, carried_out
from saleor_personalize.models import AttributedOrder, DailyFigures, Installation, Order

_MONEY = DecimalField(max_digits=20, decimal_places=3)
_NOTHING = Value(Decimal(0), output_field=_MONEY)


@dataclass(frozen=True)
class Headline:
    """What followed messages, today and in the last 30 days, by currency."""

    today: Mapping[str, Led]
    month: Mapping[str, Led]
    #: Orders after a message about a cart.
    recovered_today: int
    recovered_month: int
    counted_at: datetime | None


def headline(*, installation: Installation, now: datetime) -> Headline:
    """Return what the Overview tells first."""
    month = report(installation=installation, days=30, now=now)
    rows = (
        DailyFigures.objects.of(installation)
        .filter(day=month.until)
        .exclude(currency="")
        .values_list("currency", "figures")
    )
    today: dict[str, list[Mapping[str, Any]]] = {}
    for currency, figures in rows:
        today.setdefault(currency, []).append(figures)
    of_today = [money_of(currency, total(parts), {}) for currency, parts in today.items()]

    def following(money: Sequence[Money]) -> dict[str, Led]:
        return {each.currency: each.after_message for each in money if each.after_message.orders}

    return Headline(
        today=following(of_today),
        month=following(month.money),
        recovered_today=sum(each.recovered.orders for each in of_today),
        recovered_month=sum(each.recovered.orders for each in month.money),
        counted_at=month.counted_at,
    )


def led_orders(
    *, installation: Installation, since: datetime, until: datetime
) -> QuerySet[AttributedOrder]:
    """Return what the orders of a period followed, of those that count.

    Each has `net`: what its order brought, less what was paid back, in the order's currency.
    """
    left = F("order__total") - F("order__total_refunded")
    return (
        AttributedOrder.objects.of(installation)
        .filter(
            order__in=carried_out(Order.objects.of(installation)),
            # Of the order that is joined: whoever wants the last ones reads only these days.
            order__placed_at__gte=since,
            order__placed_at__lt=until,
        )
        .annotate(
            net=Case(
                When(order__status=SENT_BACK, then=_NOTHING),
                default=Greatest(left, _NOTHING, output_field=_MONEY),
            )
        )
    )
