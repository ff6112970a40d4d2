"""Rules over what people did: events, visits, orders, favourites and open carts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from django.db.models import Count, F, Func, Q, QuerySet, Sum, TextField, Value
from django.db.models.functions import Coalesce
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext_lazy

from saleor_personalize.catalog.queries import category_and_below
from saleor_personalize.events import favourites
from saleor_personalize.events.queries import NOT_CARRIED_OUT, SENT_BACK, carried_out
from saleor_personalize.models import (
    Checkout,
    Event,
    Favourite,
    Order,
    OrderLine,
    Product,
    Profile,
    Session,
)
from saleor_personalize.models.fields import month_of
from saleor_personalize.segments import words
from saleor_personalize.segments.rules import base
from saleor_personalize.segments.rules.base import (
    CountRule,
    FactRule,
    Kind,
    People,
    Rule,
    parameter,
)


def text_of(column: str, *path: str) -> Func:
    """Return the value under a path of keys in a JSON column as text, NULL when there is none."""
    keys = [Value(key) for key in path]
    return Func(F(column), *keys, function="jsonb_extract_path_text", output_field=TextField())


def _of_category(people: People, category: str, column: str) -> Q:
    ids = category_and_below(installation=people.installation, category_id=category)
    products = Product.objects.of(people.installation).filter(category_saleor_id__in=ids)
    return Q(**{f"{column}__in": products.values("saleor_id")})


def _limited(rows: QuerySet[Any], **wanted: Any) -> QuerySet[Any]:
    """Keep the rows whose columns equal the values that are given."""
    return rows.filter(**{name: value for name, value in wanted.items() if value})


@dataclass(frozen=True)
class EventCount(CountRule):
    """Events of one kind."""

    key = "event"
    title = gettext_lazy("Events")

    type: str = parameter(
        gettext_lazy("What happened"), Kind.CHOICE, choices=words.EVENTS, is_required=True
    )
    at_least: int | None = base.at_least()
    at_most: int | None = base.at_most()
    days: int | None = base.days()
    product: str = base.product()
    category: str = base.category()
    channel: str = base.channel()
    property: str = parameter(gettext_lazy("Property"), phrase=gettext_lazy("property “%(value)s”"))
    value: str = parameter(gettext_lazy("Its value"), phrase=gettext_lazy("is “%(value)s”"))

    def faults(self) -> Iterator[tuple[str, str]]:
        yield from super().faults()
        if self.value and not self.property:
            yield "property", _("say which property has this value")

    def times(self, *, after: datetime, until: datetime | None = None) -> Q:
        # Spares the database the partitions of other months.
        q = super().times(after=after, until=until) & Q(month__gte=month_of(after))
        return q if until is None else q & Q(month__lte=month_of(until))

    def facts(self, people: People) -> QuerySet[Any]:
        rows = _limited(
            people.facts(Event),
            type=self.type,
            product_saleor_id=self.product,
            channel_slug=self.channel,
        )
        if self.category:
            ids = category_and_below(installation=people.installation, category_id=self.category)
            rows = rows.filter(
                _of_category(people, self.category, "product_saleor_id")
                | Q(properties__category_id__in=sorted(ids))
            )
        if self.property:
            # Those of the shop's own events lie one deeper.
            given = [
                text_of("properties", *above, self.property) for above in ((), ("properties",))
            ]
            rows = rows.alias(given=Coalesce(*given))
            rows = rows.filter(given=self.value) if self.value else rows.exclude(given=None)
        return rows


@dataclass(frozen=True)
class Visits(CountRule):
    """Visits and their context."""

    key = "visit"
    title = gettext_lazy("Visits")
    time = "started_at"

    at_least: int | None = base.at_least()
    at_most: int | None = base.at_most()
    days: int | None = base.days()
    device: str = parameter(gettext_lazy("Device"), Kind.CHOICE, choices=words.DEVICES)
    utm_source: str = parameter(
        gettext_lazy("Source (utm_source)"), phrase=gettext_lazy("from “%(value)s”")
    )
    utm_campaign: str = parameter(
        gettext_lazy("Campaign (utm_campaign)"), phrase=gettext_lazy("campaign “%(value)s”")
    )
    country: str = parameter(
        gettext_lazy("Country, two letters"), phrase=gettext_lazy("in %(value)s"), upper=True
    )
    channel: str = base.channel()
    hour_from: int | None = parameter(
        gettext_lazy("From hour of the day"),
        Kind.INTEGER,
        gettext_lazy("from %(value)s:00"),
        maximum=23,
    )
    hour_to: int | None = parameter(
        gettext_lazy("To hour of the day, included"),
        Kind.INTEGER,
        gettext_lazy("to %(value)s:59"),
        maximum=23,
    )

    def faults(self) -> Iterator[tuple[str, str]]:
        yield from super().faults()
        if (self.hour_from is None) != (self.hour_to is None):
            yield "hour_to", _("give both hours, or none")

    def facts(self, people: People) -> QuerySet[Any]:
        rows = _limited(
            people.facts(Session),
            device_type=self.device,
            utm__source=self.utm_source,
            utm__campaign=self.utm_campaign,
            country_code=self.country,
            channel_slug=self.channel,
        )
        if self.hour_from is None or self.hour_to is None:
            return rows
        late, early = Q(local_hour__gte=self.hour_from), Q(local_hour__lte=self.hour_to)
        return rows.filter(late & early if self.hour_from <= self.hour_to else late | early)


def _orders(people: People, *, channel: str = "", origin: str = "") -> QuerySet[Any]:
    rows = carried_out(people.facts(Order))
    return _limited(rows, channel_slug=channel, origin=origin)


def _origin() -> Any:
    return parameter(gettext_lazy("Where bought"), Kind.CHOICE, choices=words.ORIGINS)


@dataclass(frozen=True)
class OrderCount(CountRule):
    """How often somebody ordered."""

    key = "order_count"
    title = gettext_lazy("Orders")
    time = "placed_at"

    at_least: int | None = base.at_least()
    at_most: int | None = base.at_most()
    days: int | None = base.days()
    channel: str = base.channel()
    origin: str = _origin()

    def facts(self, people: People) -> QuerySet[Any]:
        return _orders(people, channel=self.channel, origin=self.origin)


@dataclass(frozen=True)
class TotalSpent(FactRule):
    """What somebody spent in one currency; nothing without an order."""

    key = "total_spent"
    title = gettext_lazy("Spent in all")
    time = "placed_at"

    currency: str = base.currency(is_required=True)
    at_least: Decimal | None = parameter(
        gettext_lazy("At least"), Kind.AMOUNT, gettext_lazy("at least %(value)s")
    )
    at_most: Decimal | None = parameter(
        gettext_lazy("At most"), Kind.AMOUNT, gettext_lazy("at most %(value)s")
    )
    days: int | None = base.days()
    channel: str = base.channel()
    origin: str = _origin()

    def faults(self) -> Iterator[tuple[str, str]]:
        if self.at_least is None and self.at_most is None:
            yield "at_least", _("say how much: at least, at most, or both")
        yield from base.range_faults(self.at_least, self.at_most, "at_least", "at_most")

    def facts(self, people: People) -> QuerySet[Any]:
        rows = _orders(people, channel=self.channel, origin=self.origin)
        return rows.filter(currency=self.currency).exclude(status=SENT_BACK)

    def measure(self) -> Any:
        return Sum("total")

    def limits(self) -> tuple[Any, Any]:
        return self.at_least, self.at_most


@dataclass(frozen=True)
class LastOrder(FactRule):
    """When somebody ordered last; who never ordered does not match."""

    key = "last_order"
    title = gettext_lazy("Last order")
    time = "placed_at"
    days = None

    before: date | None = parameter(
        gettext_lazy("Before the day"), Kind.DATE, gettext_lazy("before %(value)s")
    )
    after: date | None = parameter(
        gettext_lazy("On the day or later"), Kind.DATE, gettext_lazy("on %(value)s or later")
    )
    days_ago_at_least: int | None = parameter(
        gettext_lazy("At least so many days ago"),
        Kind.INTEGER,
        ngettext_lazy("at least %(value)s day ago", "at least %(value)s days ago", "value"),
        minimum=1,
        maximum=base.MAX_DAYS,
    )
    days_ago_at_most: int | None = parameter(
        gettext_lazy("Fewer days ago than"),
        Kind.INTEGER,
        ngettext_lazy("less than %(value)s day ago", "less than %(value)s days ago", "value"),
        minimum=1,
        maximum=base.MAX_DAYS,
    )
    channel: str = base.channel()
    origin: str = _origin()

    def faults(self) -> Iterator[tuple[str, str]]:
        names = ("before", "after", "days_ago_at_least", "days_ago_at_most")
        if all(getattr(self, name) is None for name in names):
            yield "days_ago_at_least", _("say when: give a day or a number of days")

    def facts(self, people: People) -> QuerySet[Any]:
        return _orders(people, channel=self.channel, origin=self.origin)

    def _not_since(self, now: datetime) -> list[datetime]:
        """Return the moments since which there must be no order (inclusive)."""
        found = [_midnight(self.before)] if self.before else []
        if self.days_ago_at_least:
            # Exactly so many days ago is far enough.
            found.append(now - timedelta(days=self.days_ago_at_least) + timedelta(microseconds=1))
        return found

    def _since(self, now: datetime) -> list[datetime]:
        """Return the moments since which there must be an order (inclusive)."""
        found = [_midnight(self.after)] if self.after else []
        if self.days_ago_at_most:
            found.append(now - timedelta(days=self.days_ago_at_most) + timedelta(microseconds=1))
        return found

    def as_q(self, people: People) -> Q:
        orders = self.facts(people)
        q = people.with_any(orders)
        for moment in self._not_since(people.now):
            q &= ~people.with_any(orders.filter(placed_at__gte=moment))
        for moment in self._since(people.now):
            q &= people.with_any(orders.filter(placed_at__gte=moment))
        return q

    def matches(self, profile: Profile, now: datetime) -> bool:
        orders = self.facts(base.people_of(profile, now))
        last = orders.order_by("-placed_at").values_list("placed_at", flat=True).first()
        return (
            last is not None
            and all(last < moment for moment in self._not_since(now))
            and all(last >= moment for moment in self._since(now))
        )

    def moved(self, people: People, since: datetime) -> list[QuerySet[Any]]:
        return [
            self.left_window(people, since, timedelta(days=days))
            for days in (self.days_ago_at_least, self.days_ago_at_most)
            if days
        ]


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), tzinfo=UTC)


@dataclass(frozen=True)
class Bought(CountRule):
    """Orders that hold a certain product, category or price."""

    key = "bought"
    title = gettext_lazy("Bought")
    owner = "order__profile"
    time = "order__placed_at"

    at_least: int | None = base.at_least()
    at_most: int | None = base.at_most()
    days: int | None = base.days()
    product: str = base.product()
    category: str = base.category()
    currency: str = base.currency()
    price_from: Decimal | None = parameter(
        gettext_lazy("Price of one from"), Kind.AMOUNT, gettext_lazy("for %(value)s or more")
    )
    price_to: Decimal | None = parameter(
        gettext_lazy("Price of one to"), Kind.AMOUNT, gettext_lazy("for %(value)s or less")
    )
    channel: str = base.channel()
    origin: str = _origin()

    def faults(self) -> Iterator[tuple[str, str]]:
        yield from super().faults()
        if (self.price_from is not None or self.price_to is not None) and not self.currency:
            yield "currency", _("a price needs its currency")
        yield from base.range_faults(self.price_from, self.price_to, "price_from", "price_to")

    def facts(self, people: People) -> QuerySet[Any]:
        rows = (
            people.facts(OrderLine, "order__profile")
            .filter(order__deleted_at=None)
            .exclude(order__status__in=NOT_CARRIED_OUT)
        )
        rows = _limited(
            rows,
            product_saleor_id=self.product,
            order__currency=self.currency,
            order__channel_slug=self.channel,
            order__origin=self.origin,
        )
        if self.category:
            rows = rows.filter(_of_category(people, self.category, "product_saleor_id"))
        if self.price_from is not None:
            rows = rows.filter(unit_price__gte=self.price_from)
        if self.price_to is not None:
            rows = rows.filter(unit_price__lte=self.price_to)
        return rows

    def measure(self) -> Any:
        return Count("order", distinct=True)


@dataclass(frozen=True)
class Favourites(CountRule):
    """Products that somebody keeps as favourites."""

    key = "favourites"
    title = gettext_lazy("Favourites")
    time = "added_at"

    at_least: int | None = parameter(
        gettext_lazy("At least"),
        Kind.INTEGER,
        ngettext_lazy("at least %(value)s product", "at least %(value)s products", "value"),
    )
    at_most: int | None = parameter(
        gettext_lazy("At most (0: none)"),
        Kind.INTEGER,
        ngettext_lazy("at most %(value)s product", "at most %(value)s products", "value"),
    )
    days: int | None = base.days()
    product: str = base.product()
    category: str = base.category()

    def facts(self, people: People) -> QuerySet[Any]:
        kept = favourites.kept(people.facts(Favourite), installation=people.installation)
        rows = _limited(kept, product_saleor_id=self.product)
        if self.category:
            rows = rows.filter(_of_category(people, self.category, "product_saleor_id"))
        return rows

    def measure(self) -> Any:
        return Count("product_saleor_id", distinct=True)


@dataclass(frozen=True)
class OpenCheckout(FactRule):
    """A cart with something in it that has not become an order."""

    key = "open_checkout"
    title = gettext_lazy("Open cart")
    time = "last_changed_at"
    days = None

    idle_hours: int | None = parameter(
        gettext_lazy("Left alone for so many hours"),
        Kind.INTEGER,
        ngettext_lazy("left alone for %(value)s hour", "left alone for %(value)s hours", "value"),
        minimum=1,
        maximum=24 * 365,
    )
    currency: str = base.currency()
    total_at_least: Decimal | None = parameter(
        gettext_lazy("Worth at least"), Kind.AMOUNT, gettext_lazy("worth at least %(value)s")
    )
    product: str = base.product()
    channel: str = base.channel()

    def faults(self) -> Iterator[tuple[str, str]]:
        if self.total_at_least is not None and not self.currency:
            yield "currency", _("an amount needs its currency")

    def facts(self, people: People) -> QuerySet[Any]:
        rows = people.facts(Checkout).filter(closed_at=None, deleted_at=None).exclude(lines=[])
        rows = _limited(rows, currency=self.currency, channel_slug=self.channel)
        if self.total_at_least is not None:
            rows = rows.filter(total__gte=self.total_at_least)
        if self.product:
            rows = rows.filter(lines__contains=[{"product_id": self.product}])
        return rows

    def _in_window(self, people: People) -> QuerySet[Any]:
        facts = self.facts(people)
        if not self.idle_hours:
            return facts
        return facts.filter(last_changed_at__lte=people.now - timedelta(hours=self.idle_hours))

    def moved(self, people: People, since: datetime) -> list[QuerySet[Any]]:
        if not self.idle_hours:
            return []
        return [self.left_window(people, since, timedelta(hours=self.idle_hours))]


RULES: list[type[Rule]] = [
    EventCount,
    Visits,
    OrderCount,
    TotalSpent,
    LastOrder,
    Bought,
    Favourites,
    OpenCheckout,
]
