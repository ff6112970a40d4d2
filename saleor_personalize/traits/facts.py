"""What people did, added up by the database: one statement per question, many people at a time.

A person is known by the profile that speaks for them; facts of all their profiles count together.
Which orders count: `events.queries`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db import connection

from saleor_personalize.catalog.queries import sensitive_marks
from saleor_personalize.conf import settings
from saleor_personalize.enums import DeliveryChannel, MessageStatus
from saleor_personalize.events.queries import NOT_CARRIED_OUT, SENT_BACK
from saleor_personalize.models import (
    Category,
    Installation,
    Message,
    Order,
    OrderLine,
    Product,
    Profile,
    Session,
)

#: How many categories and brands are kept.
TOP = 5

_TABLES = {
    model.__name__.lower(): f'"{model._meta.db_table}"'
    for model in (Category, Message, Order, OrderLine, Product, Profile, Session)
}
# All profiles of the people asked for.
_MEMBERS = """
WITH member AS (
  SELECT id AS profile_id, COALESCE(merged_into_id, id) AS person_id FROM {profile}
  WHERE installation_id = %(installation)s
    AND (id = ANY(%(persons)s) OR merged_into_id = ANY(%(persons)s))
)"""
_ORDERS = """, bought AS (
  SELECT person_id, purchase.id, placed_at, currency, total, status FROM member
  JOIN {order} AS purchase USING (profile_id)
  WHERE purchase.installation_id = %(installation)s AND deleted_at IS NULL
    AND status <> ALL(%(not_carried_out)s)
)"""
_COUNTS = """
SELECT person_id, count(*), min(placed_at), max(placed_at),
  count(DISTINCT (placed_at AT TIME ZONE 'UTC')::date)
FROM bought GROUP BY person_id
"""
_SPENT = """
SELECT person_id, currency, count(*), sum(total) FROM bought
WHERE status <> %(sent_back)s GROUP BY person_id, currency
ORDER BY person_id, count(*) DESC, currency
"""
# The best of each person, by number of orders, then by the last of them.
_BEST = """
SELECT person_id, id, name, orders FROM (
  SELECT person_id, id, name, count(DISTINCT order_id) AS orders, row_number() OVER (
    PARTITION BY person_id ORDER BY count(DISTINCT order_id) DESC, max(placed_at) DESC, name, id
  ) AS place
  FROM ({rows}) AS row GROUP BY person_id, id, name
) AS ranked WHERE place <= %(top)s ORDER BY person_id, place
"""
_LINES = """
  FROM bought JOIN {orderline} AS line ON line.order_id = bought.id
  JOIN {product} AS product ON product.installation_id = %(installation)s
    AND product.saleor_id = line.product_saleor_id
    AND product.category_saleor_id <> ALL(%(sensitive_categories)s)
    AND NOT product.collection_saleor_ids ?| %(sensitive)s
"""
_CATEGORIES = _BEST.replace(
    "{rows}",
    f"""
  SELECT person_id, category.saleor_id AS id, category.name, bought.id AS order_id, placed_at
  {_LINES} JOIN {{category}} AS category ON category.installation_id = %(installation)s
    AND category.saleor_id = product.category_saleor_id
""",
)
_BRANDS = _BEST.replace(
    "{rows}",
    f"""
  SELECT person_id, brand AS id, brand AS name, bought.id AS order_id, placed_at
  {_LINES} CROSS JOIN LATERAL jsonb_array_elements(product.attributes) AS attribute
  CROSS JOIN LATERAL jsonb_array_elements_text(attribute -> 'values') AS brand
  WHERE attribute ->> 'attribute' = %(brand)s
""",
)
# The most frequent value of each person; of equal ones the latest.
_FAVOURITE = """
SELECT DISTINCT ON (person_id) person_id, {value} FROM member JOIN {table} USING (profile_id)
WHERE {table}.installation_id = %(installation)s AND {condition}
GROUP BY person_id, {value}
ORDER BY person_id, count(*) DESC, max({time}) DESC, {value}
"""


@dataclass
class Facts:
    """What one person did. Amounts by currency, the one they ordered in most often first."""

    order_count: int = 0
    first_ordered_at: datetime | None = None
    last_ordered_at: datetime | None = None
    #: Days (UTC) on which they ordered.
    order_days: int = 0
    #: currency -> (number of orders, sum)
    spent: dict[str, tuple[int, Decimal]] = field(default_factory=dict)
    categories: list[dict[str, Any]] = field(default_factory=list)
    brands: list[dict[str, Any]] = field(default_factory=list)
    device: str = ""
    hour: int | None = None
    delivery_channel: str = ""


def facts_of(*, installation: Installation, persons: Sequence[int]) -> dict[int, Facts]:
    """Return the facts of people, by the key of the profile that speaks for each."""
    found: dict[int, Facts] = defaultdict(Facts)
    # What tells of health or the like is no taste to be worked out.
    sensitive, sensitive_categories = sensitive_marks(installation)
    parameters = {
        "installation": installation.pk,
        "persons": list(persons),
        "not_carried_out": list(NOT_CARRIED_OUT),
        "sent_back": SENT_BACK,
        "top": TOP,
        "brand": settings.BRAND_ATTRIBUTE,
        "sensitive": sorted(sensitive),
        "sensitive_categories": sorted(sensitive_categories),
        "delivery_channels": DeliveryChannel.values,
        "sent": MessageStatus.SENT.value,
    }

    def rows(question: str, **parts: str) -> list[tuple[Any, ...]]:
        with connection.cursor() as cursor:
            cursor.execute((_MEMBERS + question).format(**_TABLES, **parts), parameters)
            answer: list[tuple[Any, ...]] = cursor.fetchall()
            return answer

    def favourites(model: str, value: str, condition: str, time: str) -> list[tuple[Any, ...]]:
        return rows(_FAVOURITE, table=_TABLES[model], value=value, condition=condition, time=time)

    for person, count, first, last, days in rows(_ORDERS + _COUNTS):
        one = found[person]
        one.order_count, one.first_ordered_at, one.last_ordered_at = count, first, last
        one.order_days = days
    if found:
        for person, currency, count, total in rows(_ORDERS + _SPENT):
            found[person].spent[currency] = (count, total)
        for person, id_, name, orders in rows(_ORDERS + _CATEGORIES):
            found[person].categories.append({"id": id_, "name": name, "count": orders})
        for person, id_, name, orders in rows(_ORDERS + _BRANDS):
            found[person].brands.append({"id": id_, "name": name, "count": orders})
    for person, device in favourites("session", "device_type", "device_type <> ''", "started_at"):
        found[person].device = device
    for person, hour in favourites("session", "local_hour", "local_hour IS NOT NULL", "started_at"):
        found[person].hour = hour
    # What they used of our messages weighs; without it, where they were written to.
    for person, channel in favourites(
        "message", "delivery_channel", "status = %(sent)s", "decided_at"
    ):
        found[person].delivery_channel = channel
    medium = "lower(utm ->> 'medium')"
    for person, channel in favourites(
        "session", medium, f"{medium} = ANY(%(delivery_channels)s)", "started_at"
    ):
        found[person].delivery_channel = channel
    return {person: found[person] for person in persons}
