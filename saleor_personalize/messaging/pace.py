"""How fast messages leave: per account at a provider, per group of recipients' domains, and per shop and day.

Shops that share an account share its rate, and what receivers think of who sends by it: those rows belong to
no shop (ADR 18).

Asked last, in the transaction that decides a send, by one statement: two workers can never let more go than
is allowed, and what is rolled back was never taken. Whoever has to wait gets a place in a queue, as far apart
as messages may leave, so that a hundred thousand who wait are not decided about again and again.

A provider that says "too many" is left alone by everybody for as long as it asks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Any, NamedTuple

from django.db import connection

from saleor_personalize.conf import settings
from saleor_personalize.enums import DeliveryChannel, Purpose
from saleor_personalize.messaging import clocks
from saleor_personalize.models import Installation, Pace
from saleor_personalize.models.fields import keyed_hash

#: A provider that says nothing of how long is left alone for so long.
PAUSE = timedelta(minutes=1)
#: One that breaks is left alone so long: whatever it gets meanwhile may be lost.
REST = timedelta(seconds=15)
#: Whatever a provider asks for, so much later it is tried again.
LONGEST_PAUSE = timedelta(hours=1)
#: Those whom a full day turned away come back in so much of the next one.
_MORNING = timedelta(hours=1)
#: A queue is forgotten so long after the next one should have come out of it: they may have bought, or their shop
#: stopped.
_PATIENCE = timedelta(minutes=2)
#: Whoever comes out of a queue so much before there is room waits for it, and not once more behind everybody:
#: clocks of workers differ, and one reads its own a moment earlier. No more than that of a place, or many who are
#: late would be asked again and again.
_JITTER, _OF_A_PLACE = timedelta(seconds=1), 0.1
#: Channels by which every shop sends through an account of its own.
_OWN_ACCOUNT = (DeliveryChannel.PUSH,)
#: What stays inside the service: nobody is there to be pressed.
_INSIDE = (DeliveryChannel.IN_APP,)
_ALL = "*"
_DAY = "day"


class Turn(NamedTuple):
    """When somebody who was turned away looks again, and in whose queue they stand; "": in none."""

    at: datetime
    queue: str


@dataclass(frozen=True)
class Limit:
    """What may leave under one key: a message every `step`, up to `slack` ahead of time; `most` in a day.

    `shop`: whose messages it counts; None: those of all shops.
    """

    shop: int | None
    key: str
    step: timedelta = timedelta(0)
    slack: timedelta = timedelta(0)
    most: int | None = None

    @property
    def spread(self) -> timedelta:
        """How far apart those stand who wait."""
        return self.step or (_MORNING / self.most if self.most else timedelta(0))


def take(
    *,
    installation: Installation,
    delivery_channel: str,
    recipient: str,
    purpose: str,
    queue: str,
    now: datetime,
) -> Turn | None:
    """Take one message's share of what may leave now; None: it may go, else when to look again.

    Must run in the transaction that decides, after everything else: its rows stay locked until then.
    `recipient` is the address. `queue` is the one in which it has waited for this turn, "" for a newcomer. What
    an order needs waits for the provider alone, and for nobody who waits.
    """
    if delivery_channel in _INSIDE:
        return None
    today = now.astimezone(clocks.shop_zone()).date()
    is_marketing = purpose == Purpose.MARKETING
    account = _account(installation.pk, delivery_channel)
    limits = [
        *_rates(account, delivery_channel, recipient, is_marketing=is_marketing),
        *_days(installation, delivery_channel, today),
    ]
    if not limits:
        until = _paused_until(account, delivery_channel, now)
        return None if until is None else Turn(until, queue)
    is_queued = queue in {limit.key for limit in limits}
    given = {
        "account": account,
        "channel": delivery_channel,
        "now": now,
        "before": now - _PATIENCE,
        "today": today,
        "tomorrow": _begin_of(today + timedelta(days=1)),
        "is_first": is_queued or not is_marketing,
        "is_marketing": is_marketing,
        # Of another delivery channel it is not, nor one that is set no more.
        "queue": queue if is_marketing and is_queued else "",
        "patience": _PATIENCE,
        "count": len(limits),
        "shops": [limit.shop for limit in limits],
        "keys": [limit.key for limit in limits],
        "steps": [limit.step for limit in limits],
        "slacks": [limit.slack for limit in limits],
        "spreads": [limit.spread for limit in limits],
        "jitters": [min(_JITTER, _OF_A_PLACE * limit.spread) for limit in limits],
        "mosts": [limit.most if is_marketing else None for limit in limits],
    }
    found, goes, until, stands_in = _fetch(_TAKE, given)
    if found < len(limits):
        # The first message under a key.
        _fetch(_OPEN, given)
        found, goes, until, stands_in = _fetch(_TAKE, given)
    return None if goes else Turn(max(until, now), stands_in or queue)


def pause(
    *,
    installation_id: int,
    delivery_channel: str,
    until: datetime,
    now: datetime,
    part: str = "",
) -> None:
    """Leave a provider alone until then, whoever's messages it is about.

    `part` names one of several providers of a delivery channel. Must run outside a deciding transaction.
    """
    account = _account(installation_id, delivery_channel)
    _fetch(
        _PAUSE_OF_ALL if account is None else _PAUSE_OF_SHOP,
        {
            "account": account,
            "key": f"{delivery_channel}{part and '/'}{part}",
            "until": min(until, now + LONGEST_PAUSE),
            "now": now,
            "before": now - _PATIENCE,
            "today": now.date(),
        },
    )


def resting(*, delivery_channel: str, now: datetime) -> dict[str, datetime]:
    """Return which of several providers that all shops share are to be left alone, and until when."""
    rows = Pace.objects.filter(
        installation=None, key__startswith=f"{delivery_channel}/", paused_until__gt=now
    )
    found = rows.values_list("key", "paused_until")
    return {key.partition("/")[2]: until for key, until in found if until is not None}


def most_today(*, delivery_channel: str, today: date) -> int | None:
    """Return how many messages a shop may send in a day: DAILY_MAXIMUM, or less while it warms up."""
    found = [settings.DAILY_MAXIMUM.get(delivery_channel)]
    plan = settings.WARM_UP.get(delivery_channel)
    if plan:
        found.append(_warm(plan, today))
    return min((most for most in found if most is not None), default=None)


def purge(*, now: datetime) -> int:
    """Forget domains to which nothing went for two days; return how many rows."""
    rows = Pace.objects.filter(
        key__contains=":", free_at__lt=now - timedelta(days=2), queue_at__lt=now
    )
    return rows.delete()[0]


# -- the limits that are set ------------------------------------------------------------------------------


def _account(installation_id: int, delivery_channel: str) -> int | None:
    """Return the shop whose account it is; None: all shops share it."""
    return installation_id if delivery_channel in _OWN_ACCOUNT else None


def _rates(
    account: int | None, delivery_channel: str, recipient: str, *, is_marketing: bool
) -> Iterator[Limit]:
    if rate := settings.PACE.get(delivery_channel):
        yield _rate(account, delivery_channel, rate)
    if is_marketing and delivery_channel == DeliveryChannel.EMAIL and settings.DOMAIN_PACE:
        domain = recipient.rpartition("@")[2].lower()
        group = next(
            (name for name, domains in settings.DOMAIN_GROUPS.items() if domain in domains), domain
        )
        rate = settings.DOMAIN_PACE.get(group, settings.DOMAIN_PACE.get(_ALL))
        if rate:
            is_named = group in settings.DOMAIN_PACE or group in settings.DOMAIN_GROUPS
            # The domain of a single person says who it is.
            name = group if is_named else keyed_hash("pace", group)[:32]
            yield _rate(account, f"{delivery_channel}:{name}", rate)


def _days(installation: Installation, delivery_channel: str, today: date) -> Iterator[Limit]:
    most = most_today(delivery_channel=delivery_channel, today=today)
    if most is not None:
        yield Limit(installation.pk, f"{delivery_channel}/{_DAY}", most=most)


def _rate(shop: int | None, key: str, rate: tuple[int, timedelta]) -> Limit:
    """A tenth of what may leave in the period may leave at once; in no such period more than all of it."""
    count, period = rate
    at_once = max(1, count // 10)
    step = period / (count - at_once + 1)
    return Limit(shop, key, step=step, slack=step * (at_once - 1))


def check_plan(plan: Mapping[str, Any]) -> None:
    """Raise KeyError, TypeError or ValueError with what is wrong in an entry of WARM_UP."""
    if unknown := set(plan) - {"START", "FIRST", "GROWTH", "LAST"}:
        raise ValueError(f"unknown: {', '.join(sorted(unknown))}")
    _start_of(plan)
    if not (plan["FIRST"] >= 1 and plan["GROWTH"] > 1 and plan["LAST"] >= plan["FIRST"]):
        raise ValueError("FIRST is 1 or more, GROWTH above 1, LAST not below FIRST")


def _start_of(plan: Mapping[str, Any]) -> date:
    begin = plan["START"]
    return begin if isinstance(begin, date) else date.fromisoformat(begin)


def _warm(plan: Mapping[str, Any], today: date) -> int | None:
    """Return the maximum of a day of a warm-up; None once it is over. Before it begins, that of its first day."""
    days = (today - _start_of(plan)).days
    last, most = plan["LAST"], float(plan["FIRST"])
    for _ in range(days):
        most *= plan["GROWTH"]
        if most >= last:
            return None
    return int(most)


def _begin_of(day: date) -> datetime:
    return datetime.combine(day, time(), tzinfo=clocks.shop_zone())


# -- rows -------------------------------------------------------------------------------------------------


def _paused_until(account: int | None, key: str, now: datetime) -> datetime | None:
    rows = Pace.objects.filter(installation=account, key=key, paused_until__gt=now)
    return rows.values_list("paused_until", flat=True).first()


def _fetch(statement: str, given: dict[str, Any]) -> tuple[Any, ...]:
    with connection.cursor() as cursor:
        cursor.execute(statement, given)
        return cursor.fetchone() if cursor.description else ()


_TABLE = Pace._meta.db_table
#: All rows or none: `open_at` is when each of them lets a message through again, `rests_until` when the provider
#: does. Rows are locked in one order, and none before all are there: whoever opens the others may wait for
#: somebody who wants the first. A row that turns somebody away gives them a place in its queue; they stand in
#: the one with the last place, and keep it from being forgotten when they come out of it.
_TAKE = f"""
WITH wanted AS (
  SELECT * FROM unnest(%(shops)s::bigint[], %(keys)s::text[], %(steps)s::interval[], %(slacks)s::interval[],
                       %(spreads)s::interval[], %(jitters)s::interval[], %(mosts)s::int[])
           AS w (shop, key, step, slack, spread, jitter, most)
), known AS (
  SELECT count(*) AS found FROM {_TABLE} AS pace
  JOIN wanted ON wanted.key = pace.key AND wanted.shop IS NOT DISTINCT FROM pace.installation_id
), held AS (
  SELECT pace.id, pace.key, wanted.step, wanted.slack, wanted.spread, wanted.jitter, wanted.most, pace.free_at, pace.paused_until,
         CASE WHEN pace.queue_ends_at > %(now)s THEN pace.queue_at END AS queue_at,
         -- A worker whose clock was read before midnight counts with the others.
         GREATEST(pace.day, %(today)s::date) AS day,
         CASE WHEN pace.day < %(today)s::date THEN 0 ELSE pace.taken END AS taken
  FROM {_TABLE} AS pace
  JOIN wanted ON wanted.key = pace.key AND wanted.shop IS NOT DISTINCT FROM pace.installation_id
  WHERE (SELECT found FROM known) = %(count)s
  ORDER BY pace.installation_id NULLS FIRST, pace.key FOR UPDATE OF pace
), rest AS (
  SELECT GREATEST(max(paused_until), (SELECT max(held.paused_until) FROM held)) AS until FROM {_TABLE}
  WHERE key = %(channel)s AND installation_id IS NOT DISTINCT FROM %(account)s::bigint
), asked AS (
  SELECT held.*, rest.until AS rests_until,
         GREATEST(CASE WHEN held.most IS NULL THEN held.free_at - held.slack ELSE %(now)s END,
                  CASE WHEN held.taken >= held.most THEN %(tomorrow)s::timestamptz END,
                  CASE WHEN NOT %(is_first)s THEN held.queue_at END,
                  -- They leave as far apart after a rest as before it; a day is not used up by one.
                  CASE WHEN held.most IS NULL THEN rest.until END) AS open_at
  FROM held, rest
), ruling AS (
  SELECT count(*) AS found, bool_and(GREATEST(open_at, rests_until) <= %(now)s) AS goes FROM asked
), told AS (
  SELECT asked.*, goes, NOT goes AND %(is_marketing)s
           AND open_at > %(now)s + CASE WHEN %(queue)s = '' THEN interval '0' ELSE jitter END
           AS is_turned_away,
         GREATEST(asked.queue_at, open_at) + spread AS place
  FROM asked, ruling WHERE ruling.found = %(count)s
), moved AS (
  UPDATE {_TABLE} AS pace SET
    free_at = CASE WHEN goes THEN GREATEST(told.free_at, %(now)s) + step ELSE told.free_at END,
    taken = CASE WHEN goes THEN told.taken + 1 ELSE told.taken END,
    day = told.day,
    queue_at = CASE WHEN is_turned_away THEN place ELSE COALESCE(told.queue_at, %(now)s) END,
    queue_ends_at = GREATEST(
      pace.queue_ends_at,
      CASE WHEN told.key = %(queue)s THEN %(now)s + spread + %(patience)s::interval END,
      CASE WHEN is_turned_away AND told.queue_at IS NULL THEN place + %(patience)s::interval END)
  FROM told WHERE pace.id = told.id
  RETURNING goes, told.key, CASE WHEN is_turned_away THEN place END AS own_place, open_at, rests_until
)
SELECT count(*), bool_and(goes), max(GREATEST(open_at, rests_until, own_place)),
       (array_agg(key ORDER BY own_place DESC) FILTER (WHERE own_place IS NOT NULL))[1]
FROM moved
"""  # noqa: S608 (the name of the table is ours)
_OPEN = f"""
INSERT INTO {_TABLE} (installation_id, key, free_at, queue_at, queue_ends_at, day, taken)
SELECT shop, key, %(now)s, %(now)s, %(before)s, %(today)s, 0
FROM unnest(%(shops)s::bigint[], %(keys)s::text[]) AS w (shop, key)
ORDER BY shop NULLS FIRST, key ON CONFLICT DO NOTHING
"""  # noqa: S608
_PAUSE = f"""
INSERT INTO {_TABLE} AS pace (installation_id, key, free_at, queue_at, queue_ends_at, day, taken, paused_until)
SELECT {{account}}, %(key)s, %(now)s, %(now)s, %(before)s, %(today)s, 0, %(until)s {{if_any}}
ON CONFLICT {{which}} DO UPDATE SET paused_until = GREATEST(pace.paused_until, excluded.paused_until)
"""
_PAUSE_OF_ALL = _PAUSE.format(
    account="NULL", if_any="", which="(key) WHERE installation_id IS NULL"
)
#: The shop may be gone meanwhile.
_PAUSE_OF_SHOP = _PAUSE.format(
    account="shop.id",
    if_any=f"FROM {Installation._meta.db_table} AS shop WHERE shop.id = %(account)s",
    which="(installation_id, key)",
)
