"""What happened on one day, counted once and kept: pages and reports add up days, never people.

A day begins and ends by the clock of TIME_ZONE. Everything counts on the day on which it began: a message
with all that became of it on that of its decision, an order (with what was paid back since) on that when
it was placed, a cart on that when it was last touched. So no share is above 100 %.

Figures of a sales channel and its currency:

    visits      sessions, seconds, pages, with_cart, with_recommendation
    carts       ordered, abandoned, recovered (ordered after they had been abandoned)
    orders      count, revenue; after_message, revenue_after_message; after_recommendation,
                revenue_after_recommendation; recovered, revenue_recovered (after a message about a cart);
                after_message_view, after_recommendation_view, recovered_view (of these: after a view only);
                with_visit, revenue_with_visit (a visit of the buyer was told of in the day before)
    pieces      recommended, recommended_returned, other, other_returned
    journeys    key -> orders, revenue, after_view (of the orders: after a view only)
    placements  key -> shown, clicked, added (answers), orders, revenue, after_view

Figures of the shop as a whole:

    journeys    key -> entered, sent, failed, not_sent {reason: count}, delivered, opened,
                opened_by_machine, clicked (messages), sent_over and clicked_over {delivery channel:
                count} of these, earned {currency: revenue} by whenever it came
    standing    how the shop stood that day, counted once: stages {stage: people}, buyers and
                lifetime_revenue {currency: ...}, shoppers and shoppers_with_recommendation {days: people}

The key of a message that belongs to no journey is empty.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from django.db import connection, transaction
from django.db.models import Count

from saleor_personalize.conf import settings
from saleor_personalize.enums import (
    CheckoutCloseReason,
    EventType,
    MessageEventKind,
    MessageStatus,
    Touch,
    TouchKind,
)
from saleor_personalize.events.queries import NET, NOT_CARRIED_OUT, SENT_BACK
from saleor_personalize.messaging.clocks import shop_zone
from saleor_personalize.models import (
    AttributedOrder,
    Checkout,
    ComputedTraits,
    DailyFigures,
    Enrollment,
    Event,
    Installation,
    Journey,
    Message,
    MessageEvent,
    Order,
    OrderLine,
    Profile,
    SalesChannel,
    Session,
)
from saleor_personalize.models.fields import month_of
from saleor_personalize.models.locks import try_lock

#: Periods that can be looked at, in days.
PERIODS = (7, 30, 90)
#: Days that are kept up to now; older ones stay as they were counted.
KEPT = timedelta(days=max(PERIODS) + 7)
#: Days that one run counts: the first run of a shop with a history goes on in the next ones.
MOST = 15
#: What belongs to a day may be told a little later.
_GRACE = timedelta(hours=1)
#: A transaction that was open while a day was counted is over by then.
_SLACK = timedelta(minutes=20)
#: Where nobody was but the shop.
WHOLE = ("", "")

_PAGES = (
    EventType.PRODUCT_VIEWED,
    EventType.CATEGORY_VIEWED,
    EventType.LIST_VIEWED,
    EventType.SEARCHED,
)
_TABLES = {
    model.__name__.lower(): f'"{model._meta.db_table}"'
    for model in (
        AttributedOrder,
        Checkout,
        Enrollment,
        Event,
        Journey,
        Message,
        MessageEvent,
        Order,
        OrderLine,
        Profile,
        Session,
    )
}
_CARRIED_OUT = """
  purchase.installation_id = %(installation)s AND purchase.deleted_at IS NULL
  AND purchase.status <> ALL(%(not_carried_out)s)
"""
_PLACED = f"{_CARRIED_OUT} AND purchase.placed_at >= %(since)s AND purchase.placed_at < %(until)s"

_ORDERS = f"""
SELECT purchase.channel_slug, purchase.currency, COALESCE(followed.kind, ''),
  COALESCE(journey.key, ''), COALESCE(followed.placement, ''), COALESCE(followed.touch, ''),
  COALESCE(stay.subject_kind, '') = 'checkout', EXISTS (
    SELECT 1 FROM {{profile}} AS member JOIN {{session}} AS visit ON visit.profile_id = member.id
    WHERE (member.id = COALESCE(buyer.merged_into_id, buyer.id)
        OR member.merged_into_id = COALESCE(buyer.merged_into_id, buyer.id))
      AND visit.channel_slug = purchase.channel_slug AND visit.started_at <= purchase.placed_at
      AND visit.started_at > purchase.placed_at - interval '1 day'
  ) AS has_visit, count(*), sum({NET})
FROM {{order}} AS purchase
LEFT JOIN {{profile}} AS buyer ON buyer.id = purchase.profile_id
LEFT JOIN {{attributedorder}} AS followed ON followed.order_id = purchase.id
LEFT JOIN {{journey}} AS journey ON journey.id = followed.journey_id
LEFT JOIN {{message}} AS message ON message.id = followed.message_id
LEFT JOIN {{enrollment}} AS stay ON stay.id = message.enrollment_id
WHERE {_PLACED}
GROUP BY 1, 2, 3, 4, 5, 6, 7, 8
"""  # noqa: S608 (the names of the tables are ours)
# Whether the person had clicked a recommendation of the product, or put it into the cart from one.
_PIECES = f"""
WITH bought AS (
  SELECT purchase.id, purchase.channel_slug, purchase.currency, purchase.placed_at, purchase.status,
    COALESCE(buyer.merged_into_id, buyer.id) AS person
  FROM {{order}} AS purchase LEFT JOIN {{profile}} AS buyer ON buyer.id = purchase.profile_id
  WHERE {_PLACED}
), piece AS (
  SELECT bought.channel_slug, bought.currency, line.quantity,
    CASE WHEN bought.status = %(sent_back)s THEN line.quantity ELSE line.quantity_returned END
      AS returned,
    EXISTS (
      SELECT 1 FROM {{profile}} AS member JOIN {{event}} AS event ON event.profile_id = member.id
      WHERE (member.id = bought.person OR member.merged_into_id = bought.person)
        AND event.product_saleor_id = line.product_saleor_id AND event.attribution_id <> ''
        AND event.type = ANY(%(used)s) AND event.occurred_at <= bought.placed_at
        AND event.occurred_at > bought.placed_at - %(window)s
    ) AS is_recommended
  FROM bought JOIN {{orderline}} AS line ON line.order_id = bought.id
)
SELECT channel_slug, currency, is_recommended, sum(quantity), sum(returned) FROM piece
GROUP BY 1, 2, 3
"""  # noqa: S608
_VISITS = """
WITH visit AS (
  SELECT profile_id, session_id, channel_slug, last_seen_at - started_at AS lasted FROM {session}
  WHERE installation_id = %(installation)s AND started_at >= %(since)s AND started_at < %(until)s
), did AS (
  SELECT profile_id, session_id, count(*) FILTER (WHERE type = ANY(%(pages)s)) AS pages,
    bool_or(type = %(added)s) AS has_cart,
    bool_or(attribution_id <> '' AND type = ANY(%(used)s)) AS has_used
  FROM {event}
  WHERE installation_id = %(installation)s AND session_id <> '' AND month = ANY(%(months)s)
    AND occurred_at >= %(since)s AND occurred_at < %(until)s + interval '1 day'
    -- Rows lie in the order in which they came.
    AND received_at >= %(since)s AND received_at < %(heard_until)s
  GROUP BY 1, 2
)
SELECT channel_slug, count(*), round(COALESCE(sum(extract(epoch FROM lasted)), 0)),
  COALESCE(sum(pages), 0), count(*) FILTER (WHERE has_cart), count(*) FILTER (WHERE has_used)
FROM visit LEFT JOIN did USING (profile_id, session_id)
GROUP BY 1
"""
_ANSWERS = """
SELECT event.channel_slug, COALESCE(event.properties ->> 'placement', ''),
  count(DISTINCT (COALESCE(profile.merged_into_id, profile.id), attribution_id))
    FILTER (WHERE type = %(shown)s),
  count(DISTINCT (COALESCE(profile.merged_into_id, profile.id), attribution_id))
    FILTER (WHERE type = %(recommendation_clicked)s),
  count(DISTINCT (COALESCE(profile.merged_into_id, profile.id), attribution_id))
    FILTER (WHERE type = %(added)s)
FROM {event} AS event JOIN {profile} AS profile ON profile.id = event.profile_id
WHERE event.installation_id = %(installation)s AND attribution_id <> ''
  AND month = ANY(%(months)s) AND occurred_at >= %(since)s AND occurred_at < %(until)s
GROUP BY 1, 2
"""
_CARTS = """
WITH cart AS (
  SELECT channel_slug, currency, close_reason = %(ordered)s AS is_ordered,
    CASE WHEN close_reason = %(ordered)s THEN closed_at ELSE %(now)s END
      > last_changed_at + %(delay)s AS is_abandoned
  FROM {checkout}
  WHERE installation_id = %(installation)s AND lines <> '[]'
    AND last_changed_at >= %(since)s AND last_changed_at < %(until)s
)
SELECT channel_slug, currency, count(*) FILTER (WHERE is_ordered),
  count(*) FILTER (WHERE is_abandoned), count(*) FILTER (WHERE is_ordered AND is_abandoned)
FROM cart GROUP BY 1, 2
"""
_ENTERED = """
SELECT journey.key, count(*) FROM {enrollment} AS stay
JOIN {journey} AS journey ON journey.id = stay.journey_id
WHERE stay.installation_id = %(installation)s
  AND stay.created_at >= %(since)s AND stay.created_at < %(until)s
GROUP BY 1
"""
_DECIDED = """
SELECT COALESCE(journey.key, ''), message.status, message.reason, message.delivery_channel, count(*)
FROM {message} AS message LEFT JOIN {journey} AS journey ON journey.id = message.journey_id
WHERE message.installation_id = %(installation)s
  AND message.decided_at >= %(since)s AND message.decided_at < %(until)s
GROUP BY 1, 2, 3, 4
"""
# A message counts once, however often it was opened; who reads it in the inbox, or follows a link, has opened it.
_BECAME = """
WITH became AS (
  SELECT DISTINCT message.id, message.journey_id, message.delivery_channel,
    became.kind,
    event.is_machine AND event.kind <> %(delivered)s AS is_machine
  FROM {message} AS message JOIN {messageevent} AS event ON event.message_id = message.id
  CROSS JOIN LATERAL unnest(
    CASE event.kind WHEN %(read)s THEN ARRAY[%(opened)s] WHEN %(clicked)s THEN ARRAY[%(opened)s, %(clicked)s]
    ELSE ARRAY[event.kind] END
  ) AS became(kind)
  WHERE message.installation_id = %(installation)s
    AND message.decided_at >= %(since)s AND message.decided_at < %(until)s
    AND event.kind = ANY(%(told)s)
)
SELECT COALESCE(journey.key, ''), became.kind, became.is_machine, became.delivery_channel, count(*)
FROM became LEFT JOIN {journey} AS journey ON journey.id = became.journey_id
GROUP BY 1, 2, 3, 4
"""
_EARNED = f"""
SELECT COALESCE(journey.key, ''), purchase.currency, sum({NET}) FROM {{message}} AS message
JOIN {{attributedorder}} AS followed ON followed.message_id = message.id
JOIN {{order}} AS purchase ON purchase.id = followed.order_id
LEFT JOIN {{journey}} AS journey ON journey.id = message.journey_id
WHERE {_CARRIED_OUT} AND message.decided_at >= %(since)s AND message.decided_at < %(until)s
GROUP BY 1, 2
"""  # noqa: S608
_BUYERS = f"""
SELECT purchase.currency, count(DISTINCT COALESCE(buyer.merged_into_id, buyer.id)), sum({NET})
FROM {{order}} AS purchase JOIN {{profile}} AS buyer ON buyer.id = purchase.profile_id
WHERE {_CARRIED_OUT} GROUP BY 1
"""  # noqa: S608
_SHOPPERS = """
WITH seen AS (
  SELECT COALESCE(profile.merged_into_id, profile.id) AS person, max(started_at) AS at
  FROM {session} AS visit JOIN {profile} AS profile ON profile.id = visit.profile_id
  WHERE visit.installation_id = %(installation)s AND started_at >= %(longest)s
  GROUP BY 1
), used AS (
  SELECT COALESCE(profile.merged_into_id, profile.id) AS person, max(occurred_at) AS at
  FROM {event} AS event JOIN {profile} AS profile ON profile.id = event.profile_id
  WHERE event.installation_id = %(installation)s AND attribution_id <> ''
    AND type = ANY(%(used)s) AND occurred_at >= %(longest)s
  GROUP BY 1
)
SELECT period, count(*) FILTER (WHERE seen.at >= %(until)s - period * interval '1 day'),
  count(*) FILTER (WHERE seen.at >= %(until)s - period * interval '1 day'
    AND used.at >= %(until)s - period * interval '1 day')
FROM unnest(%(periods)s) AS period, seen LEFT JOIN used USING (person)
GROUP BY 1
"""

Figures = dict[str, Any]


@dataclass(frozen=True)
class Day:
    """One day by the clock of TIME_ZONE, as moments: from `since` to before `until`."""

    since: datetime
    until: datetime

    @property
    def on(self) -> date:
        return self.since.date()

    @classmethod
    def at(cls, moment: datetime) -> Day:
        return cls.of(moment.astimezone(shop_zone()).date())

    @classmethod
    def of(cls, day: date) -> Day:
        zone = shop_zone()
        since, until = (
            datetime.combine(each, time(), zone) for each in (day, day + timedelta(days=1))
        )
        return cls(since, until)


def refresh(*, installation: Installation, now: datetime) -> int:
    """Count today, and of the days before those that are not, or not finally, counted; return how many.

    Safe beside itself: a day that somebody else counts just now is left out.
    """
    today = Day.at(now).on
    counted = {
        day: (at, reopened_at)
        for day, at, reopened_at in DailyFigures.objects.of(installation)
        .filter(day__gte=today - KEPT, channel_slug="", currency="")
        .values_list("day", "counted_at", "reopened_at")
    }

    def is_due(day: Day) -> bool:
        if day.on not in counted:
            return True
        at, reopened_at = counted[day.on]
        is_final = at >= day.until + _GRACE
        return not is_final or (reopened_at is not None and reopened_at >= at - _SLACK)

    days = [Day.of(today - timedelta(days=ago)) for ago in range(KEPT.days)]
    due = [day for day in days if is_due(day)]
    return sum(_count(installation, day, now) for day in due[:MOST])


def reopen(*, installation: Installation, days: Iterable[date], now: datetime) -> None:
    """Have days that were counted be counted again; today is anyway."""
    today = Day.at(now).on
    past = {day for day in days if day < today}
    DailyFigures.objects.of(installation).filter(day__in=past, channel_slug="", currency="").update(
        reopened_at=now
    )


def _count(installation: Installation, day: Day, now: datetime) -> bool:
    with transaction.atomic():
        if not try_lock(installation, f"figures:{day.on}"):
            return False
        rows = DailyFigures.objects.of(installation).filter(day=day.on)
        whole = rows.filter(channel_slug="", currency="").first()
        standing = whole.figures.get("standing", {}) if whole is not None else {}
        found = _figures(installation, day, now)
        # A shop whose history is still being read has no buyers yet: then it is looked at again.
        if not standing.get("buyers") and day.since <= now < day.until:
            standing = _standing(installation, day)
        if standing:
            found[WHOLE]["standing"] = standing
        DailyFigures.objects.bulk_create(
            [
                DailyFigures(
                    installation=installation,
                    day=day.on,
                    channel_slug=slug,
                    currency=currency,
                    figures=figures,
                    counted_at=now,
                )
                for (slug, currency), figures in sorted(found.items())
            ],
            update_conflicts=True,
            unique_fields=["installation", "day", "channel_slug", "currency"],
            update_fields=["figures", "counted_at"],
        )
        gone = [
            pk
            for pk, *key in rows.values_list("pk", "channel_slug", "currency")
            if tuple(key) not in found
        ]
        rows.filter(pk__in=gone).delete()
    return True


def _figures(installation: Installation, day: Day, now: datetime) -> dict[tuple[str, str], Figures]:
    """Return the figures of a day by (sales channel, currency)."""
    parameters = _parameters(installation, day, now)
    found: dict[tuple[str, str], Figures] = defaultdict(dict)
    currencies = dict(SalesChannel.objects.of(installation).values_list("slug", "currency"))

    def rows(question: str) -> list[tuple[Any, ...]]:
        with connection.cursor() as cursor:
            cursor.execute(question.format(**_TABLES), parameters)
            answer: list[tuple[Any, ...]] = cursor.fetchall()
            return answer

    for row in rows(_ORDERS):
        slug, currency, kind, journey, placement, touch, is_of_cart, has_visit, count, net = row
        figures = found[slug, currency]
        orders = figures.setdefault("orders", {})
        _add(orders, {"count": count, "revenue": net})
        if has_visit:
            _add(orders, {"with_visit": count, "revenue_with_visit": net})
        viewed = count if touch == Touch.VIEW else 0
        led = {"orders": count, "revenue": net, "after_view": viewed}
        if kind == TouchKind.MESSAGE:
            _add(orders, _following("after_message", led))
            if is_of_cart:
                _add(orders, _following("recovered", led))
            _add(_within(figures, "journeys", journey), led)
        elif kind == TouchKind.RECOMMENDATION:
            _add(orders, _following("after_recommendation", led))
            _add(_within(figures, "placements", placement), led)
    for slug, currency, is_recommended, quantity, returned in rows(_PIECES):
        name = "recommended" if is_recommended else "other"
        _add(
            _within(found[slug, currency], "pieces"), {name: quantity, f"{name}_returned": returned}
        )
    for slug, sessions, seconds, pages, with_cart, with_recommendation in rows(_VISITS):
        found[slug, currencies.get(slug, "")]["visits"] = {
            "sessions": sessions,
            "seconds": int(seconds),
            "pages": int(pages),
            "with_cart": with_cart,
            "with_recommendation": with_recommendation,
        }
    for slug, placement, shown, clicked, added in rows(_ANSWERS):
        _add(
            _within(found[slug, currencies.get(slug, "")], "placements", placement),
            {"shown": shown, "clicked": clicked, "added": added},
        )
    for slug, currency, ordered, abandoned, recovered in rows(_CARTS):
        found[slug, currency]["carts"] = {
            "ordered": ordered,
            "abandoned": abandoned,
            "recovered": recovered,
        }
    whole = found[WHOLE]
    for journey, entered in rows(_ENTERED):
        _add(_within(whole, "journeys", journey), {"entered": entered})
    for journey, status, reason, channel, count in rows(_DECIDED):
        figures = _within(whole, "journeys", journey)
        if status == MessageStatus.NOT_SENT:
            _add(_within(figures, "not_sent"), {reason: count})
        elif status == MessageStatus.SENT:
            _add(figures, {"sent": count})
            _add(_within(figures, "sent_over"), {channel: count})
        elif status in (MessageStatus.FAILED, MessageStatus.UNCERTAIN):
            _add(figures, {"failed": count})
    for journey, kind, is_machine, channel, count in rows(_BECAME):
        # What a machine clicked, nobody did.
        if not is_machine or kind == MessageEventKind.OPENED:
            figures = _within(whole, "journeys", journey)
            _add(figures, {f"{kind}_by_machine" if is_machine else kind: count})
            if kind == MessageEventKind.CLICKED:
                _add(_within(figures, "clicked_over"), {channel: count})
    for journey, currency, net in rows(_EARNED):
        _add(_within(whole, "journeys", journey, "earned"), {currency: net})
    return {key: _written(figures) for key, figures in found.items()}


def _standing(installation: Installation, day: Day) -> Figures:
    """Return how the shop stands at the beginning of a day: over all its people, so once a day."""
    longest = day.since - timedelta(days=max(PERIODS))
    parameters = {
        **_parameters(installation, day, day.since),
        "until": day.until,
        "longest": longest,
        "periods": list(PERIODS),
    }
    with connection.cursor() as cursor:
        cursor.execute(_BUYERS.format(**_TABLES), parameters)
        buyers = cursor.fetchall()
        cursor.execute(_SHOPPERS.format(**_TABLES), parameters)
        shoppers = cursor.fetchall()
    stages = ComputedTraits.objects.of(installation).values_list("stage").annotate(Count("pk"))
    standing: Figures = _written(
        {
            "stages": dict(stages.order_by()),
            "buyers": {currency: people for currency, people, _ in buyers},
            "lifetime_revenue": {currency: net for currency, _, net in buyers},
            "shoppers": {str(period): people for period, people, _ in shoppers},
            "shoppers_with_recommendation": {str(period): used for period, _, used in shoppers},
        }
    )
    return standing


def _parameters(installation: Installation, day: Day, now: datetime) -> dict[str, Any]:
    return {
        "installation": installation.pk,
        "now": now,
        "since": day.since,
        "until": day.until,
        "heard_until": day.until + settings.TRACK_MAX_AGE + timedelta(days=1),
        "months": sorted({month_of(day.since), month_of(day.until + timedelta(days=1))}),
        "not_carried_out": list(NOT_CARRIED_OUT),
        "sent_back": SENT_BACK,
        "window": settings.ATTRIBUTION_WINDOW,
        "delay": settings.ABANDONED_CHECKOUT_DELAY,
        "ordered": CheckoutCloseReason.ORDERED.value,
        "pages": [each.value for each in _PAGES],
        "shown": EventType.RECOMMENDATION_SHOWN.value,
        "recommendation_clicked": EventType.RECOMMENDATION_CLICKED.value,
        "added": EventType.CART_ADDED.value,
        "used": [EventType.RECOMMENDATION_CLICKED.value, EventType.CART_ADDED.value],
        "read": MessageEventKind.READ.value,
        "delivered": MessageEventKind.DELIVERED.value,
        "opened": MessageEventKind.OPENED.value,
        "clicked": MessageEventKind.CLICKED.value,
        "told": [
            MessageEventKind.DELIVERED.value,
            MessageEventKind.OPENED.value,
            MessageEventKind.READ.value,
            MessageEventKind.CLICKED.value,
        ],
    }


def _within(figures: Figures, *path: str) -> Figures:
    """Return a part of figures, which is made if it is not there."""
    for name in path:
        figures = figures.setdefault(name, {})
    return figures


def _following(what: str, led: Mapping[str, int | Decimal]) -> dict[str, int | Decimal]:
    return {
        what: led["orders"],
        f"revenue_{what}": led["revenue"],
        f"{what}_view": led["after_view"],
    }


def _add(figures: Figures, numbers: Mapping[str, int | Decimal]) -> None:
    for name, number in numbers.items():
        figures[name] = figures.get(name, 0) + number


def _written(value: Any) -> Any:
    """Return figures as JSON has them: amounts as decimal strings."""
    if isinstance(value, dict):
        return {name: _written(each) for name, each in value.items()}
    return str(value) if isinstance(value, Decimal) else value


def total(figures: Iterable[Mapping[str, Any]]) -> Figures:
    """Add up figures as they are kept; amounts become decimals."""
    found: Figures = {}
    for one in figures:
        for name, value in one.items():
            if isinstance(value, Mapping):
                found[name] = total([found.get(name, {}), value])
            else:
                number = Decimal(value) if isinstance(value, str) else value
                found[name] = found.get(name, 0) + number
    return found
