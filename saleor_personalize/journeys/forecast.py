"""A dry run: what a journey would have sent lately, and will send in the next days. Nothing is sent.

How it is estimated. The real entering, scheduler, arbitration, guards and offers run on copies
(`journeys.apart`) with a moved clock (`journeys.time_machine`); where they would ask Saleor, our own
tables answer.

The last days: the journey is taken to have gone live at their beginning, alone, with nobody inside. Carts
and orders are told to it when they changed last; orders, events, consent, unsubscribing and messages of
other journeys count from their moment. What our tables keep no history of (traits, segments, stock,
favourites, carts before their last change) is as it is now.

The next days: whoever is inside goes on, and whom time alone brings in comes in, beside all other live
journeys, as if nobody did anything new. What is new in such a journey is added as it came in the last
seven days, unless time alone brings people in (`Trigger.is_foreseeable`).

Of more than `most` people a random share is looked at, and numbers are multiplied.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.db import connection
from django.db.models import Avg, Q, QuerySet
from psycopg.sql import SQL, Identifier, Literal

from saleor_personalize.enums import (
    ConsentState,
    EnrollmentStatus,
    InstallationStatus,
    JourneySource,
    MessageStatus,
    NotSentReason,
    OfferKind,
    OfferStatus,
    Purpose,
)
from saleor_personalize.journeys import operations, our_word
from saleor_personalize.journeys.apart import FIRST_KEY, LATER, apart, show_until
from saleor_personalize.journeys.definitions import Definition
from saleor_personalize.journeys.outside import Outside
from saleor_personalize.journeys.time_machine import TimeMachine
from saleor_personalize.journeys.triggers import (
    CheckoutChanged,
    OrderChanged,
    StockChanged,
    Trigger,
)
from saleor_personalize.journeys.versions import trigger_for
from saleor_personalize.messaging.channels.base import Channel, OutgoingMessage, SendResult
from saleor_personalize.messaging.queries import REACHED
from saleor_personalize.models import (
    Checkout,
    Consent,
    Enrollment,
    Installation,
    Journey,
    Message,
    Offer,
    Order,
    Stock,
)
from saleor_personalize.offers.paper import Paper

DAY = timedelta(days=1)
#: How many days are foretold.
COMING = 7
#: Most people who are looked at.
MOST = 10_000
#: Whose orders say what an offer of a percentage costs.
_ORDERS_OF = timedelta(days=90)
_NEVER = timedelta(days=36_500)


@dataclass(frozen=True)
class Day:
    """24 hours from `begin`. `sent`: step -> messages; `not_sent`: reason -> messages."""

    begin: datetime
    entered: int = 0
    sent: Mapping[str, int] = field(default_factory=dict)
    not_sent: Mapping[str, int] = field(default_factory=dict)
    offers: int = 0

    def to_json(self) -> dict[str, Any]:
        return {
            "begin": self.begin.isoformat(),
            "entered": self.entered,
            "sent": dict(self.sent),
            "not_sent": dict(self.not_sent),
            "offers": self.offers,
        }


@dataclass(frozen=True)
class Forecast:
    """`one_in`: every how manieth person was looked at; numbers are multiplied by it.

    `worst_cost`: what the offers of the coming days cost at most, if all are used: currency -> amount; a
    percentage is taken of the average order of the last 90 days. `free_deliveries` come on top.
    `is_foreseen`: all of the coming days is known today; else what is new is as in the last seven days.
    """

    journey: str
    is_live: bool
    waiting: int
    is_foreseen: bool
    one_in: int
    past: tuple[Day, ...]
    coming: tuple[Day, ...]
    worst_cost: Mapping[str, Decimal]
    free_deliveries: int

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON values: times in ISO 8601, amounts as texts."""
        return {
            "journey": self.journey,
            "is_live": self.is_live,
            "waiting": self.waiting,
            "is_foreseen": self.is_foreseen,
            "one_in": self.one_in,
            "past": [day.to_json() for day in self.past],
            "coming": [day.to_json() for day in self.coming],
            "worst_cost": {key: str(value) for key, value in self.worst_cost.items()},
            "free_deliveries": self.free_deliveries,
        }


def forecast(
    *,
    installation: Installation,
    definition: Definition,
    now: datetime,
    days: int = 7,
    most: int = MOST,
) -> Forecast:
    """Return what a journey of this definition would have sent in the last `days`, and will in the next seven.

    The module says how it is estimated. Nothing is written, locked or sent; integrators hear of nothing.
    May take minutes. Raises UnknownAlias for a trigger that is not there, OnlySaleorKnows for one that
    asks what our tables cannot tell.
    """
    trigger = trigger_for(definition)
    is_foreseen = trigger.is_foreseeable
    rows = Journey.objects.of(installation).filter(key=definition.journey)
    is_live = rows.filter(is_live=True).exists()
    inside = Enrollment.objects.of(installation).filter(
        journey__key=definition.journey, status=EnrollmentStatus.WAITING
    )
    waiting = inside.count() if is_live else 0
    back = days if is_foreseen else max(days, COMING)
    start = now - back * DAY
    one_in = _one_in(installation, start, most)
    with apart(installation=installation, now=now, as_of=start, one_in=one_in):
        lately = _lately(installation, definition, trigger, start, now)
    with apart(installation=installation, now=now, one_in=one_in):
        known = _from_now_on(installation, definition, now)
    again = _Run() if is_foreseen else lately.since(now - COMING * DAY).later(COMING * DAY)
    coming = known.plus(again)
    return Forecast(
        journey=definition.journey,
        is_live=is_live,
        waiting=waiting,
        is_foreseen=is_foreseen,
        one_in=one_in,
        past=lately.days(now - days * DAY, days, one_in),
        coming=coming.days(now, COMING, one_in),
        worst_cost=coming.worst_cost(now, now + COMING * DAY, one_in),
        free_deliveries=coming.free_deliveries(now, now + COMING * DAY, one_in),
    )


def _one_in(installation: Installation, start: datetime, most: int) -> int:
    """Return every how manieth person is looked at, so that about `most` are."""
    agreed = Consent.objects.of(installation).filter(
        purpose=Purpose.MARKETING, state=ConsentState.GRANTED
    )
    waiting = Enrollment.objects.of(installation).filter(status=EnrollmentStatus.WAITING)
    carts = Checkout.objects.of(installation).filter(last_changed_at__gt=start)
    people = max(rows.values("profile").distinct().count() for rows in (agreed, waiting, carts))
    return max(1, math.ceil(people / most))


# -- what came of a run -------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Sent:
    at: datetime
    #: When that happened which it is about.
    occurred_at: datetime
    step: str
    reason: str


@dataclass(frozen=True)
class _Given:
    """An offer that was made; `cost` None: free delivery."""

    at: datetime
    occurred_at: datetime
    currency: str
    cost: Decimal | None


@dataclass(frozen=True)
class _Run:
    """What came of one run; `entered`: (came in, occurred at)."""

    entered: tuple[tuple[datetime, datetime], ...] = ()
    messages: tuple[_Sent, ...] = ()
    offers: tuple[_Given, ...] = ()

    def since(self, moment: datetime) -> _Run:
        """Keep what came of occasions after a moment."""
        return _Run(
            tuple(pair for pair in self.entered if pair[1] > moment),
            tuple(each for each in self.messages if each.occurred_at > moment),
            tuple(each for each in self.offers if each.occurred_at > moment),
        )

    def later(self, by: timedelta) -> _Run:
        """Return the same so much later."""
        return _Run(
            tuple((at + by, occurred + by) for at, occurred in self.entered),
            tuple(
                _Sent(each.at + by, each.occurred_at + by, each.step, each.reason)
                for each in self.messages
            ),
            tuple(
                _Given(each.at + by, each.occurred_at + by, each.currency, each.cost)
                for each in self.offers
            ),
        )

    def plus(self, other: _Run) -> _Run:
        return _Run(
            self.entered + other.entered,
            self.messages + other.messages,
            self.offers + other.offers,
        )

    def days(self, begin: datetime, count: int, one_in: int) -> tuple[Day, ...]:
        return tuple(self._day(begin + index * DAY, one_in) for index in range(count))

    def _day(self, begin: datetime, one_in: int) -> Day:
        end = begin + DAY
        messages = [each for each in self.messages if begin <= each.at < end]
        return Day(
            begin=begin,
            entered=one_in * sum(begin <= at < end for at, _occurred in self.entered),
            sent=_counted((each.step for each in messages if not each.reason), one_in),
            not_sent=_counted((each.reason for each in messages if each.reason), one_in),
            offers=one_in * sum(begin <= each.at < end for each in self.offers),
        )

    def worst_cost(self, begin: datetime, end: datetime, one_in: int) -> dict[str, Decimal]:
        total: dict[str, Decimal] = {}
        for each in self.offers:
            if each.cost is not None and begin <= each.at < end:
                total[each.currency] = total.get(each.currency, Decimal(0)) + each.cost * one_in
        return {key: value.quantize(Decimal("0.01")) for key, value in sorted(total.items())}

    def free_deliveries(self, begin: datetime, end: datetime, one_in: int) -> int:
        return one_in * sum(each.cost is None and begin <= each.at < end for each in self.offers)


def _counted(names: Iterable[str], one_in: int) -> dict[str, int]:
    return {name: count * one_in for name, count in Counter(names).most_common()}


# -- runs, on copies ----------------------------------------------------------------------------------


class _Nobody(Channel):
    """A delivery channel that takes everything and does nothing."""

    def send(self, message: OutgoingMessage) -> SendResult:
        return SendResult(provider_message_id="dry-run")


def _machine(**hooks: Callable[[datetime], None]) -> TimeMachine:
    outside = Outside(ask=our_word.answer, connect=Paper().connect, channel=_Nobody())
    return TimeMachine(outside=outside, **hooks)


def _published(
    installation: Installation, definition: Definition, live_at: datetime, *, anew: bool
) -> Journey:
    """Let the journey of the copy follow a definition, and be live; `anew`: from then on only."""
    operations.publish(
        installation=installation,
        definition=definition,
        source=JourneySource.FILE,
        now=live_at,
    )
    journey = operations.ensure_journey(installation=installation, key=definition.journey)
    if anew or not journey.is_live:
        Journey.objects.of(installation).filter(pk=journey.pk).update(
            is_live=True, live_at=live_at, looked_at=live_at
        )
        journey.refresh_from_db()
    # A shop that is switched off, or stopped all sends, asks what would be sent otherwise.
    Installation.objects.filter(pk=installation.pk).update(
        sends_stopped_at=None, status=InstallationStatus.ACTIVE
    )
    return journey


def _from_now_on(installation: Installation, definition: Definition, now: datetime) -> _Run:
    """Let time pass for whoever is inside, and bring in whom it brings in."""
    journey = _published(installation, definition, now, anew=False)
    _machine().run(now, now + COMING * DAY)
    return _outcome(journey, now)


def _lately(
    installation: Installation,
    definition: Definition,
    trigger: Trigger,
    start: datetime,
    now: datetime,
) -> _Run:
    """Play the last days once more."""
    Journey.objects.of(installation).update(is_live=False)
    journey = _published(installation, definition, start, anew=True)
    _forget(journey, start)
    machine = _machine(before=show_until, before_look=show_until)
    for at, do in (
        *_carts(installation, start, now),
        *_orders(installation, trigger, start, now),
        *_stock(installation, trigger, start, now),
    ):
        machine.plan(at, do)
    machine.run(start, now)
    return _outcome(journey, now)


def _forget(journey: Journey, start: datetime) -> None:
    """Take the journey's own doing since then out of the copy; whoever is inside since before stays so."""
    mine = Enrollment.objects.of(journey.installation_id).filter(journey=journey)
    ids = list(mine.filter(created_at__gt=start).values_list("pk", flat=True))
    Offer.objects.of(journey.installation_id).filter(enrollment__in=ids).delete()
    Message.objects.of(journey.installation_id).filter(enrollment__in=ids).delete()
    with connection.cursor() as cursor:
        statement = SQL("DELETE FROM {} WHERE enrollment_id = ANY({})").format(
            Identifier("pg_temp", LATER), Literal(ids)
        )
        cursor.execute(statement.as_string(cursor.connection))
    mine.filter(pk__in=ids).delete()
    mine.filter(status=EnrollmentStatus.WAITING).update(due_at=start + _NEVER)


Planned = Iterable[tuple[datetime, Callable[[datetime], None]]]


def _carts(installation: Installation, start: datetime, now: datetime) -> Planned:
    """Yield when carts changed last, and when they were closed."""
    rows = Checkout.objects.of(installation)
    closed = list(
        rows.filter(closed_at__gt=start, closed_at__lte=now).values_list(
            "pk", "closed_at", "close_reason"
        )
    )
    rows.filter(pk__in=[pk for pk, _at, _reason in closed]).update(closed_at=None, close_reason="")
    changed = rows.filter(last_changed_at__gt=start, last_changed_at__lte=now)
    for pk, at in changed.values_list("pk", "last_changed_at"):
        yield at, _cart_changes(rows, pk)
    for pk, closed_at, reason in closed:
        if closed_at is not None:
            yield closed_at, _cart_closes(rows, pk, closed_at, reason)


def _cart_changes(rows: QuerySet[Checkout], pk: int) -> Callable[[datetime], None]:
    def do(now: datetime) -> None:
        row = rows.select_related("installation", "profile__installation")
        found = row.filter(pk=pk).first()
        if found is not None:
            operations.observe(fact=CheckoutChanged(found), now=now)

    return do


def _cart_closes(
    rows: QuerySet[Checkout], pk: int, at: datetime, reason: str
) -> Callable[[datetime], None]:
    def do(now: datetime) -> None:
        rows.filter(pk=pk).update(closed_at=at, close_reason=reason)

    return do


def _orders(
    installation: Installation, trigger: Trigger, start: datetime, now: datetime
) -> Planned:
    """Yield when orders were placed and, for who follows them, when they changed last."""
    show_until(now)
    window = {"gt": start, "lte": now}
    placed = Q(**{f"placed_at__{name}": moment for name, moment in window.items()})
    changed = Q(**{f"saleor_updated_at__{name}": moment for name, moment in window.items()})
    wanted = placed | changed if OrderChanged in trigger.facts else placed
    rows = list(
        Order.objects.of(installation)
        .filter(wanted)
        .values_list("pk", "placed_at", "saleor_updated_at")
    )
    show_until(start)
    for pk, placed_at, changed_at in rows:
        for at in {placed_at, changed_at}:
            if at is not None and start < at <= now:
                yield at, _order_changes(installation, pk)


def _order_changes(installation: Installation, pk: int) -> Callable[[datetime], None]:
    return lambda now: operations.follow_orders(installation=installation, ids=[pk], now=now)


def _stock(installation: Installation, trigger: Trigger, start: datetime, now: datetime) -> Planned:
    if StockChanged not in trigger.facts:
        return
    rows = Stock.objects.of(installation).filter(recorded_at__gt=start, recorded_at__lte=now)
    for variant_id, at in rows.values_list("variant_saleor_id", "recorded_at"):
        yield at, _stock_changes(installation, variant_id)


def _stock_changes(installation: Installation, variant_id: str) -> Callable[[datetime], None]:
    def do(now: datetime) -> None:
        operations.observe(fact=StockChanged(installation, variant_id, now), now=now)

    return do


def _outcome(journey: Journey, now: datetime) -> _Run:
    shop = journey.installation_id
    mine = Enrollment.objects.of(shop).filter(journey=journey)
    messages = (
        Message.objects.of(shop)
        .filter(pk__gte=FIRST_KEY, enrollment__journey=journey)
        .select_related("enrollment")
        .order_by("decided_at", "pk")
    )
    offers = Offer.objects.of(shop).filter(
        pk__gte=FIRST_KEY, enrollment__journey=journey, status=OfferStatus.MADE
    )
    averages = _average_orders(journey.installation, now)
    return _Run(
        entered=tuple(mine.filter(pk__gte=FIRST_KEY).values_list("created_at", "occurred_at")),
        messages=tuple(_sent(row, journey.key) for row in messages),
        offers=tuple(
            _given(offer, averages) for offer in offers.select_related("enrollment").order_by("pk")
        ),
    )


def _sent(message: Message, key: str) -> _Sent:
    row = message.enrollment
    if row is None:
        raise TypeError("a message of no journey")
    prefix = f"{key}:{row.entry_key}:"
    is_sent = message.status in REACHED or message.reason == NotSentReason.DRY_RUN
    return _Sent(
        at=message.decided_at,
        occurred_at=row.occurred_at,
        step=message.idempotency_key.removeprefix(prefix).partition(":")[0],
        reason="" if is_sent else message.reason or MessageStatus(message.status).value,
    )


def _given(offer: Offer, averages: Mapping[str, Decimal]) -> _Given:
    rows = [row for row in offer.listings if row["slug"] == offer.channel_slug] or offer.listings
    row = max(rows, key=lambda each: Decimal(each["value"]))
    cost: Decimal | None = Decimal(row["value"])
    if offer.kind == OfferKind.PERCENT:
        cost = averages.get(row["currency"], Decimal(0)) * Decimal(row["value"]) / 100
    elif offer.kind == OfferKind.FREE_SHIPPING:
        cost = None
    occurred = offer.enrollment.occurred_at if offer.enrollment else offer.reserved_at
    return _Given(offer.reserved_at, occurred, row["currency"], cost)


def _average_orders(installation: Installation, now: datetime) -> dict[str, Decimal]:
    rows = Order.objects.of(installation).filter(placed_at__gt=now - _ORDERS_OF, deleted_at=None)
    found = rows.values("currency").annotate(average=Avg("total"))
    return dict(found.values_list("currency", "average"))
