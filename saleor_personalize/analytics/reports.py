"""What came of it over some days, from the figures of each day. What has no denominator is not known: None."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from saleor_personalize.analytics.figures import PERIODS, WHOLE, Day, total
from saleor_personalize.conf import settings
from saleor_personalize.enums import DeliveryChannel, LifecycleStage
from saleor_personalize.models import DailyFigures, Installation

_NOTHING = Decimal(0)
#: Who shows these messages tells of each click. A link in an e-mail must go through this service for that, or the
#: provider must tell.
_TELLS_OF_CLICKS = frozenset({DeliveryChannel.PUSH.value, DeliveryChannel.IN_APP.value})


def ratio(part: Decimal | int, whole: Decimal | int) -> float | None:
    """Return a share or a mean; None where there is nothing to divide by."""
    return float(part / whole) if whole else None


def _mean(amount: Decimal, count: int) -> Decimal | None:
    return amount / count if count else None


@dataclass(frozen=True)
class Led:
    """Orders that followed something, and what they brought, in one currency."""

    orders: int = 0
    revenue: Decimal = _NOTHING
    #: Of the orders: those before which it was only seen.
    after_view: int = 0


@dataclass(frozen=True)
class JourneyReport:
    """What became of the messages of one journey; an empty key: of those that belong to none.

    People opened `opened` messages; `opened_by_machine` were opened by a mail program or a scanner, some of
    them by people as well. `not_sent` counts by reason, `sent_over` and `clicked_over` by delivery channel. By
    currency: `led` is of the orders of these days, `earned` what the messages of these days have brought so
    far, whenever it was ordered.
    """

    key: str
    entered: int
    sent: int
    failed: int
    delivered: int
    opened: int
    opened_by_machine: int
    clicked: int
    sent_over: Mapping[str, int]
    clicked_over: Mapping[str, int]
    not_sent: Mapping[str, int]
    led: Mapping[str, Led]
    earned: Mapping[str, Decimal]

    @property
    def orders(self) -> int:
        return sum(led.orders for led in self.led.values())

    @property
    def not_sent_count(self) -> int:
        return sum(self.not_sent.values())

    @property
    def delivered_share(self) -> float | None:
        """None while the provider told of no delivery: that is no news, and not zero."""
        return ratio(self.delivered, self.sent) if self.delivered else None

    @property
    def opened_share(self) -> float | None:
        """None while nothing at all was heard of the messages."""
        is_told = self.delivered or self.opened or self.opened_by_machine or self.clicked
        return ratio(self.opened, self.sent) if is_told else None

    @property
    def clicked_share(self) -> float | None:
        """Of the messages whose clicks are known: over each delivery channel that told of one or always does."""
        known = _TELLS_OF_CLICKS | set(self.clicked_over)
        if settings.CLICK_TRACKING:
            known |= {DeliveryChannel.EMAIL}
        return ratio(
            sum(self.clicked_over.get(channel, 0) for channel in known),
            sum(self.sent_over.get(channel, 0) for channel in known),
        )

    def revenue_per_recipient(self, currency: str) -> Decimal | None:
        return _mean(self.earned.get(currency, _NOTHING), self.sent)


@dataclass(frozen=True)
class PlacementReport:
    """What became of the answers of one placement: of one answer and one person a hundred clicks are one."""

    key: str
    shown: int
    clicked: int
    added: int
    led: Mapping[str, Led]

    @property
    def orders(self) -> int:
        return sum(led.orders for led in self.led.values())

    @property
    def click_share(self) -> float | None:
        return ratio(self.clicked, self.shown)

    @property
    def added_share(self) -> float | None:
        return ratio(self.added, self.shown)


@dataclass(frozen=True)
class Money:
    """Orders and what they brought in one currency; what was cancelled or paid back is taken off."""

    currency: str
    orders: int
    revenue: Decimal
    after_message: Led
    after_recommendation: Led
    #: After a message about a cart.
    recovered: Led
    #: Visits in sales channels of this currency; the orders before which one of the buyer was told of.
    sessions: int
    with_visit: Led
    buyers: int
    lifetime_revenue: Decimal

    @property
    def others(self) -> Led:
        """Orders that followed no recommendation."""
        led = self.after_recommendation
        return Led(self.orders - led.orders, self.revenue - led.revenue)

    @property
    def message_share(self) -> float | None:
        return ratio(self.after_message.revenue, self.revenue)

    @property
    def recommendation_share(self) -> float | None:
        return ratio(self.after_recommendation.revenue, self.revenue)

    @property
    def recommendation_order_share(self) -> float | None:
        return ratio(self.after_recommendation.orders, self.orders)

    @property
    def mean_after_recommendation(self) -> Decimal | None:
        return _mean(self.after_recommendation.revenue, self.after_recommendation.orders)

    @property
    def mean_of_others(self) -> Decimal | None:
        return _mean(self.others.revenue, self.others.orders)

    @property
    def per_session(self) -> Decimal | None:
        """What a visit that was told of brings. Not known while orders come from visits that were not."""
        if self.orders and not self.with_visit.orders:
            return None
        return _mean(self.with_visit.revenue, self.sessions)

    @property
    def lifetime_value(self) -> Decimal | None:
        """What a buyer has brought so far, over all time."""
        return _mean(self.lifetime_revenue, self.buyers)


@dataclass(frozen=True)
class Shop:
    """How the shop as a whole does. Shares lie in 0..1; None: not known yet."""

    sessions: int
    recommendation_share: float | None
    cart_share: float | None
    pages_per_session: float | None
    time_per_session: timedelta | None
    #: Of the people who came in the period: those who used a recommendation.
    shopper_share: float | None
    #: Of the carts that were filled.
    abandonment_share: float | None
    #: Of the carts that were abandoned: ordered after all.
    recovery_share: float | None
    #: Of the buyers: those who have not come back for long.
    churn_share: float | None
    recommended_return_share: float | None
    other_return_share: float | None


@dataclass(frozen=True)
class Point:
    """One day of one currency."""

    day: date
    revenue: Decimal
    led: Decimal


@dataclass(frozen=True)
class Report:
    """Some days up to and with today. `counted_at` None: nothing was counted yet."""

    days: int
    since: date
    until: date
    counted_at: datetime | None
    shop: Shop
    #: The currency with most orders first.
    money: Sequence[Money] = ()
    journeys: Sequence[JourneyReport] = ()
    placements: Sequence[PlacementReport] = ()
    #: currency -> each day, oldest first.
    by_day: Mapping[str, Sequence[Point]] = field(default_factory=dict)


def report(*, installation: Installation, days: int, now: datetime) -> Report:
    """Return what the last `days` days brought, today included; `days` is one of PERIODS."""
    if days not in PERIODS:
        raise ValueError(f"days is {days}: it takes one of {', '.join(map(str, PERIODS))}.")
    until = Day.at(now).on
    since = until - timedelta(days=days - 1)
    rows = list(
        DailyFigures.objects.of(installation)
        .filter(day__gte=since, day__lte=until)
        .order_by("day", "channel_slug", "currency")
        .values_list("day", "channel_slug", "currency", "figures", "counted_at")
    )
    whole = [figures for _, *key, figures, _ in rows if tuple(key) == WHOLE]
    # Not added up: how the shop stood when it was looked at last.
    standing: Mapping[str, Any] = next(
        (each["standing"] for each in reversed(whole) if "standing" in each), {}
    )
    everything = total(
        {name: part for name, part in figures.items() if name != "standing"}
        for *_, figures, _ in rows
    )
    by_currency: dict[str, list[tuple[date, Mapping[str, Any]]]] = {}
    for day, _, currency, figures, _ in rows:
        by_currency.setdefault(currency, []).append((day, figures))
    by_currency.pop("", None)
    summed = {
        currency: total(figures for _, figures in parts) for currency, parts in by_currency.items()
    }
    money = sorted(
        (money_of(currency, figures, standing) for currency, figures in summed.items()),
        key=lambda each: (-each.orders, each.currency),
    )
    return Report(
        days=days,
        since=since,
        until=until,
        counted_at=max((at for *_, at in rows), default=None),
        shop=_shop(everything, standing, days),
        money=money,
        journeys=_journeys(everything, summed),
        placements=_placements(everything, summed),
        by_day={each.currency: _points(since, days, by_currency[each.currency]) for each in money},
    )


def _led(figures: Mapping[str, Any]) -> Led:
    return Led(
        figures.get("orders", 0), figures.get("revenue", _NOTHING), figures.get("after_view", 0)
    )


def money_of(currency: str, figures: Mapping[str, Any], standing: Mapping[str, Any]) -> Money:
    orders = figures.get("orders", {})

    def led(what: str) -> Led:
        return Led(
            orders.get(what, 0),
            orders.get(f"revenue_{what}", _NOTHING),
            orders.get(f"{what}_view", 0),
        )

    lifetime = standing.get("lifetime_revenue", {}).get(currency, "0")
    return Money(
        currency=currency,
        orders=orders.get("count", 0),
        revenue=orders.get("revenue", _NOTHING),
        after_message=led("after_message"),
        after_recommendation=led("after_recommendation"),
        recovered=led("recovered"),
        sessions=figures.get("visits", {}).get("sessions", 0),
        with_visit=led("with_visit"),
        buyers=standing.get("buyers", {}).get(currency, 0),
        lifetime_revenue=Decimal(lifetime),
    )


def _shop(figures: Mapping[str, Any], standing: Mapping[str, Any], days: int) -> Shop:
    visits, carts, pieces = (figures.get(name, {}) for name in ("visits", "carts", "pieces"))
    sessions = visits.get("sessions", 0)
    abandoned, recovered = carts.get("abandoned", 0), carts.get("recovered", 0)
    # Who was recovered is in both.
    filled = carts.get("ordered", 0) + abandoned - recovered
    stages = standing.get("stages", {})
    buyers = sum(count for stage, count in stages.items() if stage != LifecycleStage.PROSPECT)
    shoppers = standing.get("shoppers", {}).get(str(days), 0)
    used = standing.get("shoppers_with_recommendation", {}).get(str(days), 0)
    pages = ratio(visits.get("pages", 0), sessions) if visits.get("pages") else None
    seconds = ratio(visits.get("seconds", 0), sessions) if visits.get("seconds") else None
    return Shop(
        sessions=sessions,
        recommendation_share=ratio(visits.get("with_recommendation", 0), sessions),
        cart_share=ratio(visits.get("with_cart", 0), sessions),
        pages_per_session=pages,
        time_per_session=None if seconds is None else timedelta(seconds=round(seconds)),
        shopper_share=ratio(used, shoppers),
        abandonment_share=ratio(abandoned, filled),
        recovery_share=ratio(recovered, abandoned),
        churn_share=ratio(stages.get(LifecycleStage.LAPSED, 0), buyers),
        recommended_return_share=ratio(
            pieces.get("recommended_returned", 0), pieces.get("recommended", 0)
        ),
        other_return_share=ratio(pieces.get("other_returned", 0), pieces.get("other", 0)),
    )


def _led_by_currency(
    summed: Mapping[str, Mapping[str, Any]], kind: str, key: str
) -> dict[str, Led]:
    found = {currency: figures.get(kind, {}).get(key) for currency, figures in summed.items()}
    return {
        currency: _led(figures)
        for currency, figures in sorted(found.items())
        if figures and figures.get("orders")
    }


def _journeys(
    everything: Mapping[str, Any], summed: Mapping[str, Mapping[str, Any]]
) -> list[JourneyReport]:
    rows = [
        journey_of(key, figures, _led_by_currency(summed, "journeys", key))
        for key, figures in everything.get("journeys", {}).items()
    ]
    return sorted(rows, key=lambda row: (-row.orders, -row.sent, row.key))


def journey_of(key: str, figures: Mapping[str, Any], led: Mapping[str, Led]) -> JourneyReport:
    """Return the report of one journey; without figures that of one in which nothing happened."""
    counts = (
        "entered",
        "sent",
        "failed",
        "delivered",
        "opened",
        "opened_by_machine",
        "clicked",
    )
    not_sent = figures.get("not_sent", {}).items()
    return JourneyReport(
        key=key,
        **{name: figures.get(name, 0) for name in counts},
        sent_over=figures.get("sent_over", {}),
        clicked_over=figures.get("clicked_over", {}),
        not_sent=dict(sorted(not_sent, key=lambda each: (-each[1], each[0]))),
        led=led,
        earned=dict(sorted(figures.get("earned", {}).items())),
    )


def _placements(
    everything: Mapping[str, Any], summed: Mapping[str, Mapping[str, Any]]
) -> list[PlacementReport]:
    rows = [
        PlacementReport(
            key=key,
            shown=figures.get("shown", 0),
            clicked=figures.get("clicked", 0),
            added=figures.get("added", 0),
            led=_led_by_currency(summed, "placements", key),
        )
        for key, figures in everything.get("placements", {}).items()
    ]
    return sorted(rows, key=lambda row: (-row.orders, -row.shown, row.key))


def _points(since: date, days: int, parts: Sequence[tuple[date, Mapping[str, Any]]]) -> list[Point]:
    """Return each day, those without an order included."""
    found: dict[date, list[Mapping[str, Any]]] = {}
    for day, figures in parts:
        found.setdefault(day, []).append(figures.get("orders", {}))
    return [
        Point(
            day=day,
            revenue=orders.get("revenue", _NOTHING),
            led=orders.get("revenue_after_message", _NOTHING)
            + orders.get("revenue_after_recommendation", _NOTHING),
        )
        for day in (since + timedelta(days=after) for after in range(days))
        for orders in (total(found.get(day, [])),)
    ]
