"""What sells most and what is on the rise: counted in the database, remembered for a minute."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from saleor_personalize.enums import EventType
from saleor_personalize.events.queries import NOT_CARRIED_OUT
from saleor_personalize.models import (
    Event,
    Installation,
    Order,
    OrderLine,
    Product,
    Profile,
    prepared,
)
from saleor_personalize.models.fields import month_of
from saleor_personalize.recommendations.remembered import Remembered

Counted = list[tuple[str, float]]

SECONDS = 60.0
#: Places of a list, and how many of the newest rows are counted: a shop with more has enough in those.
_PLACES, _ROWS = 500, 100_000
#: What an event counts for beside a view.
_WEIGHTS = {
    EventType.PRODUCT_VIEWED.value: 1.0,
    EventType.CART_ADDED.value: 3.0,
    EventType.FAVOURITE_ADDED.value: 3.0,
}
_PURCHASE = 5.0
#: Seen before the rise so often, a product needs that much more to stand out: few events prove nothing.
_SMOOTHING = 5.0
#: The time before the rise is so many times as long as the window.
_BEFORE = 4

_remembered: Remembered[Counted] = Remembered(seconds=SECONDS)

_OF_CATEGORIES = f"""
JOIN {Product._meta.db_table} AS product
  ON product.installation_id = %(installation)s AND product.saleor_id = product_id
  AND product.category_saleor_id = ANY (string_to_array(%(categories)s, ' '))
"""
_OF_COUNTRY = f"""
JOIN {Profile._meta.db_table} AS person
  ON person.id = purchase.profile_id AND person.country_code = %(country)s
"""
_SOLD = f"""
SELECT purchase.id AS order_id, line.product_saleor_id AS product_id, purchase.placed_at AS at
FROM (
  SELECT id, profile_id, placed_at FROM {Order._meta.db_table}
  WHERE installation_id = %(installation)s AND channel_slug = %(channel)s
    AND placed_at > %(since)s AND placed_at <= %(until)s AND deleted_at IS NULL
    AND status <> ALL (string_to_array(%(not_carried_out)s, ' '))
  ORDER BY placed_at DESC LIMIT {_ROWS}
) AS purchase
{{of_country}}
JOIN {OrderLine._meta.db_table} AS line ON line.order_id = purchase.id
WHERE line.product_saleor_id <> ''
"""  # noqa: S608 (the names of the tables are ours)
_BEST = f"""
SELECT product_id, count(DISTINCT order_id)::float8 AS orders FROM ({_SOLD}) AS sold
{{of_categories}}
GROUP BY product_id ORDER BY orders DESC, product_id LIMIT {_PLACES}
"""  # noqa: S608
_BEST_EACH = f"""
SELECT place, product_id, orders FROM (
  SELECT asked.place, product_id, orders,
    row_number() OVER (PARTITION BY asked.place ORDER BY orders DESC, product_id) AS rank
  FROM (
    SELECT product_id, count(DISTINCT order_id)::float8 AS orders FROM ({_SOLD}) AS sold
    GROUP BY product_id
  ) AS counted
  JOIN {Product._meta.db_table} AS product
    ON product.installation_id = %(installation)s AND product.saleor_id = product_id
  JOIN jsonb_to_recordset(%(asked)s::jsonb) AS asked(place int, category text)
    ON asked.category = product.category_saleor_id
) AS ranked
WHERE rank <= {_PLACES} ORDER BY place, rank
"""  # noqa: S608
_RISING = f"""
SELECT product_id,
  COALESCE(sum(weight) FILTER (WHERE at > %(recent)s), 0)
    / (COALESCE(sum(weight) FILTER (WHERE at <= %(recent)s), 0) / {_BEFORE} + {_SMOOTHING}) AS rise
FROM (
  SELECT product_id, {_PURCHASE} AS weight, at FROM ({_SOLD}) AS sold
  UNION ALL
  (SELECT product_saleor_id, CASE type {" ".join(f"WHEN '{t}' THEN {w}" for t, w in _WEIGHTS.items())} END,
     occurred_at FROM {Event._meta.db_table}
   WHERE installation_id = %(installation)s AND channel_slug = %(channel)s
     AND occurred_at > %(since)s AND occurred_at <= %(until)s AND month >= %(month)s
     AND type = ANY (string_to_array(%(types)s, ' ')) AND product_saleor_id <> ''
   ORDER BY occurred_at DESC LIMIT {_ROWS})
) AS done
{{of_categories}}
GROUP BY product_id
HAVING COALESCE(sum(weight) FILTER (WHERE at > %(recent)s), 0)
  > COALESCE(sum(weight) FILTER (WHERE at <= %(recent)s), 0) / {_BEFORE}
ORDER BY rise DESC, product_id LIMIT {_PLACES}
"""  # noqa: S608


def best_sellers_each(
    *,
    installation: Installation,
    channel_slug: str,
    now: datetime,
    window: timedelta,
    categories: Sequence[frozenset[str] | None],
    country_code: str = "",
) -> dict[frozenset[str] | None, Counted]:
    """Return (product, orders) of what most orders of a window hold, the most first.

    For each of `categories`: of these alone, None for all; orders are counted once for all of them.
    `country_code`: of the people of that country alone.
    """

    def read(keys: list[tuple[Any, ...]]) -> dict[tuple[Any, ...], Counted]:
        found = {key: list[tuple[str, float]]() for key in keys}
        if len(keys) == 1 or None in {key[4] for key in keys}:
            return {
                key: _read(_BEST, installation, channel_slug, now, window, key[4], country_code)
                for key in keys
            }
        asked = [
            {"place": place, "category": id_} for place, key in enumerate(keys) for id_ in key[4]
        ]
        parameters = _parameters(_BEST, installation, channel_slug, now, window)
        for place, product_id, orders in _rows(
            _BEST_EACH, {**parameters, "asked": json.dumps(asked)}, country_code
        ):
            found[keys[place]].append((product_id, float(orders)))
        return found

    keys = {
        each: ("best", installation.pk, channel_slug, window, each, country_code)
        for each in categories
    }
    known = _remembered.get_many(list(keys.values()), read)
    return {each: known[key] for each, key in keys.items()}


def trending(
    *,
    installation: Installation,
    channel_slug: str,
    now: datetime,
    window: timedelta,
    categories: frozenset[str] | None = None,
) -> Counted:
    """Return (product, rise) of what is looked at and bought more than before, the steepest first.

    A view counts 1, a cart or favourite 3, a purchase 5; the window is held against four times as long
    a time before it.
    """
    return _remembered.get(
        ("rising", installation.pk, channel_slug, window, categories),
        lambda: _read(_RISING, installation, channel_slug, now, window, categories, ""),
    )


def _read(
    sql: str,
    installation: Installation,
    channel_slug: str,
    now: datetime,
    window: timedelta,
    categories: frozenset[str] | None,
    country_code: str,
) -> Counted:
    parameters = _parameters(sql, installation, channel_slug, now, window)
    if categories is not None:
        parameters["categories"] = " ".join(categories)
    text = sql.replace("{of_categories}", "" if categories is None else _OF_CATEGORIES)
    return [(id_, float(figure)) for id_, figure in _rows(text, parameters, country_code)]


def _parameters(
    sql: str, installation: Installation, channel_slug: str, now: datetime, window: timedelta
) -> dict[str, Any]:
    since = now - window * (1 if sql is _BEST else _BEFORE + 1)
    parameters: dict[str, Any] = {
        "installation": installation.pk,
        "channel": channel_slug,
        "since": since,
        "until": now,
        "not_carried_out": " ".join(NOT_CARRIED_OUT),
    }
    if sql is _RISING:
        parameters |= {
            "recent": now - window,
            "month": month_of(since),
            "types": " ".join(_WEIGHTS),
        }
    return parameters


def _rows(sql: str, parameters: dict[str, Any], country_code: str) -> list[tuple[Any, ...]]:
    if country_code:
        parameters = {**parameters, "country": country_code}
    with prepared.cursor() as cursor:
        cursor.execute(sql.replace("{of_country}", _OF_COUNTRY if country_code else ""), parameters)
        rows: list[tuple[Any, ...]] = cursor.fetchall()
        return rows
