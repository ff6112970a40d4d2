"""What a person should need again: from how often they buy it, or how often others do (B29)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from statistics import median
from typing import NamedTuple

from django.db import connection

from saleor_personalize.events.queries import NOT_CARRIED_OUT
from saleor_personalize.ml import Candidate, ReasonCode
from saleor_personalize.models import Installation, Order, OrderLine, Profile, prepared
from saleor_personalize.recommendations.history import Purchase
from saleor_personalize.recommendations.remembered import Remembered

_DAY = 86_400.0
#: Due is what is this near to its interval, and no later than this many intervals.
_FROM, _TO = 0.8, 4.0
#: People must have come back for a product so often before it has an interval of its own.
_RETURNS = 3
_MOST_PRODUCTS, _MOST_LINES = 200, 20_000

_intervals: Remembered[float | None] = Remembered(seconds=3600, most=50_000)

# The gap before each purchase of a product by the same person, on different days.
_GAPS = f"""
SELECT product_id, percentile_cont(0.5) WITHIN GROUP (ORDER BY gap), count(*) FROM (
  SELECT product_id, EXTRACT(EPOCH FROM day - lag(day) OVER (
    PARTITION BY profile_id, product_id ORDER BY day
  )) / {_DAY} AS gap FROM (
    SELECT DISTINCT purchase.profile_id, line.product_saleor_id AS product_id,
      date_trunc('day', purchase.placed_at) AS day
    FROM (
      SELECT order_id, product_saleor_id FROM {OrderLine._meta.db_table}
      WHERE installation_id = %(installation)s
        AND product_saleor_id = ANY (string_to_array(%(products)s, ' '))
      ORDER BY id DESC LIMIT {_MOST_LINES}
    ) AS line
    JOIN {Order._meta.db_table} AS purchase ON purchase.id = line.order_id
    WHERE purchase.profile_id IS NOT NULL AND purchase.deleted_at IS NULL
  ) AS bought
) AS gaps
WHERE gap IS NOT NULL GROUP BY product_id
"""  # noqa: S608 (the names of the tables are ours)


def due(
    *,
    purchases: Sequence[Purchase],
    now: datetime,
    intervals: Callable[[Sequence[str]], Mapping[str, float]],
) -> list[Candidate]:
    """Return what is due again, the most overdue share of its interval first.

    The interval is the median of the person's own gaps between purchases of the product; who bought it
    once is held to that of the product among all people (`intervals`: as `intervals_of` gives them).
    """
    bought: dict[str, set[float]] = {}
    for each in purchases:
        bought.setdefault(each.product_id, set()).add(each.at.timestamp() // _DAY)
    bought = dict(list(bought.items())[:_MOST_PRODUCTS])
    own = {
        product_id: median(late - early for early, late in pairwise(days))
        for product_id, found in bought.items()
        if len(days := sorted(found)) > 1
    }
    others = intervals([id_ for id_ in bought if id_ not in own])
    today = now.timestamp() // _DAY
    candidates = []
    for product_id, found in bought.items():
        interval = own.get(product_id) or others.get(product_id)
        if interval and _FROM <= (passed := (today - max(found)) / interval) <= _TO:
            candidates.append(
                Candidate(product_id, passed, ReasonCode.BUY_AGAIN, product_id, "due_again")
            )
    return sorted(candidates, key=lambda each: (-each.score, each.item_id))


def intervals_of(installation: Installation, ids: Sequence[str]) -> dict[str, float]:
    """Return the usual interval of products in days, where at least three gaps of people are known."""

    def read(keys: list[tuple[int, str]]) -> dict[tuple[int, str], float | None]:
        fresh = _read(installation, [id_ for _, id_ in keys])
        return {key: fresh.get(key[1]) for key in keys}

    known = _intervals.get_many([(installation.pk, id_) for id_ in ids], read)
    return {id_: interval for (_, id_), interval in known.items() if interval}


def _read(installation: Installation, ids: Sequence[str]) -> dict[str, float]:
    with prepared.cursor() as cursor:
        cursor.execute(_GAPS, {"installation": installation.pk, "products": " ".join(ids)})
        return {
            product_id: float(gap)
            for product_id, gap, count in cursor.fetchall()
            if count >= _RETURNS
        }


class Due(NamedTuple):
    """A product that a person should need again; `buyer_ids` are the profiles that bought it."""

    person_id: int
    product_id: str
    bought_at: datetime
    buyer_ids: set[int]


# As `due`, for everybody at once: each person's own median gap, else that of the product.
_BECAME_DUE = f"""
WITH bought AS (
  SELECT COALESCE(profile.merged_into_id, profile.id) AS person_id,
    line.product_saleor_id AS product_id, date_trunc('day', purchase.placed_at) AS day,
    max(purchase.placed_at) AS at, array_agg(DISTINCT profile.id) AS buyers
  FROM {Order._meta.db_table} AS purchase
  JOIN {Profile._meta.db_table} AS profile ON profile.id = purchase.profile_id
  JOIN {OrderLine._meta.db_table} AS line ON line.order_id = purchase.id
  WHERE purchase.installation_id = %(installation)s AND purchase.deleted_at IS NULL
    AND purchase.status <> ALL (string_to_array(%(not_carried_out)s, ' '))
    AND purchase.placed_at <= %(until)s AND line.product_saleor_id <> ''
  GROUP BY 1, 2, 3
), gaps AS (
  SELECT *, EXTRACT(EPOCH FROM day - lag(day) OVER (
    PARTITION BY person_id, product_id ORDER BY day
  )) AS gap FROM bought
), own AS (
  SELECT person_id, product_id, max(at) AS at, percentile_cont(0.5) WITHIN GROUP (ORDER BY gap) AS gap
  FROM gaps GROUP BY 1, 2
), usual AS (
  SELECT product_id, percentile_cont(0.5) WITHIN GROUP (ORDER BY gap) AS gap
  FROM gaps WHERE gap IS NOT NULL GROUP BY 1 HAVING count(*) >= {_RETURNS}
), expected AS (
  SELECT own.person_id, own.product_id, own.at, COALESCE(own.gap, usual.gap) AS gap
  FROM own LEFT JOIN usual USING (product_id)
)
SELECT person_id, product_id, at, (
  SELECT array_agg(DISTINCT buyer) FROM bought, unnest(buyers) AS buyer
  WHERE bought.person_id = expected.person_id AND bought.product_id = expected.product_id
) FROM expected
WHERE gap BETWEEN %(shortest)s AND %(longest)s
  AND at + gap * %(share)s * interval '1 second' > %(since)s
  AND at + gap * %(share)s * interval '1 second' <= %(until)s
ORDER BY person_id, at, product_id
"""  # noqa: S608 (the names of the tables are ours)


def became_due(
    *,
    installation: Installation,
    since: datetime,
    until: datetime,
    share: Decimal,
    shortest: timedelta,
    longest: timedelta,
) -> list[Due]:
    """Return what became due again after `since`, up to `until`, for every person of a shop.

    That is when `share` of the interval (as in `due`) has passed since the last purchase. Intervals
    outside `shortest` and `longest` count as none. Reads all order lines of the shop: once a day.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            _BECAME_DUE,
            {
                "installation": installation.pk,
                "since": since,
                "until": until,
                "share": float(share),
                "shortest": shortest.total_seconds(),
                "longest": longest.total_seconds(),
                "not_carried_out": " ".join(NOT_CARRIED_OUT),
            },
        )
        return [
            Due(person_id, product_id, at, set(buyers))
            for person_id, product_id, at, buyers in cursor.fetchall()
        ]
