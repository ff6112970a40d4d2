"""What sells most and what is on the rise: counted in the database, remembered for a minute."""

from __future__ import annotations

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


def best_sellers(
    *,
    installation: Installation,
    channel_slug: str,
    now: datetime,
    window: timedelta,
    categories: frozenset[str] | None = None,
    country_code: str = "",
) -> Counted:
    """Return (product, orders) of what most orders of a window hold, the most first.

    `categories`: of these alone. `country_code`: of the people of that country alone.
    """
    return _remembered.get(
        ("best", installation.pk, channel_slug, window, categories, country_code),
        lambda: _read(_BEST, installation, channel_slug, now, window, categories, country_code),
    )


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
    if categories is not None:
        parameters["categories"] = " ".join(categories)
    if country_code:
        parameters["country"] = country_code
    text = sql.replace("{of_country}", _OF_COUNTRY if country_code else "").replace(
        "{of_categories}", "" if categories is None else _OF_CATEGORIES
    )
    with prepared.cursor() as cursor:
        cursor.execute(text, parameters)
        return [(product_id, float(figure)) for product_id, figure in cursor.fetchall()]
