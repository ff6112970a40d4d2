"""Reads of the catalogue."""

from __future__ import annotations

import json
from collections.abc import Collection as AnyCollection
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from django.db.models import Q, QuerySet

from saleor_personalize.conf import settings
from saleor_personalize.models import (
    Category,
    Installation,
    Product,
    ProductListing,
    ProductVariant,
    SalesChannel,
    Stock,
    VariantPrice,
    prepared,
)

_SOLD = f"""
  listing.installation_id = %(installation)s AND listing.channel_slug = %(channel)s
  AND listing.is_published AND listing.is_visible_in_listings AND listing.is_in_stock
  AND (listing.published_at IS NULL OR listing.published_at <= %(now)s)
  AND listing.available_for_purchase_at <= %(now)s
  AND NOT EXISTS (
    SELECT FROM {SalesChannel._meta.db_table}
    WHERE installation_id = %(installation)s AND slug = %(channel)s
      AND NOT is_active AND deleted_at IS NULL
  )
"""
# The ids go as one text: Saleor's have no spaces, and psycopg writes an array item by item in Python.
_AMONG = "listing.product_saleor_id = ANY (string_to_array(%(ids)s, ' '))"
_RECOMMENDABLE = f"""
SELECT product_saleor_id FROM {ProductListing._meta.db_table} AS listing
WHERE {_AMONG} AND {_SOLD}
"""  # noqa: S608 (the names of the tables are ours)
# What is never a price (NaN) must not become one.
_COLUMNS = """
  listing.product_saleor_id, COALESCE(product.category_saleor_id, ''),
  COALESCE(product.product_type, ''), NULLIF(listing.price, 'NaN')::float8,
  COALESCE(jsonb_path_query_first(
    product.attributes, '$[*] ? (@.attribute == $slug).values[0]',
    jsonb_build_object('slug', %(brand)s::text)
  ) #>> '{}', '')
"""
_OFFERS = f"""
SELECT {_COLUMNS} FROM {ProductListing._meta.db_table} AS listing
LEFT JOIN {Product._meta.db_table} AS product
  ON product.installation_id = %(installation)s AND product.saleor_id = listing.product_saleor_id
WHERE {_AMONG} AND {_SOLD}
"""  # noqa: S608 (the names of the tables are ours)
_SHELF = f"""
SELECT {_COLUMNS} FROM {ProductListing._meta.db_table} AS listing
JOIN {Product._meta.db_table} AS product
  ON product.installation_id = %(installation)s AND product.saleor_id = listing.product_saleor_id
  AND product.deleted_at IS NULL
WHERE {_SOLD} AND product.saleor_id <> ALL (string_to_array(%(hidden)s, ' '))
  AND (%(until)s::timestamptz IS NULL OR product.saleor_created_at IS NULL
    OR product.saleor_created_at <= %(until)s)
  {{conditions}}
ORDER BY product.saleor_created_at DESC NULLS LAST, product.saleor_id LIMIT %(count)s
"""  # noqa: S608 (the names of the tables are ours)
_CONDITIONS = {
    "ids": "AND product.saleor_id = ANY (string_to_array(%(ids)s, ' '))",
    "categories": "AND product.category_saleor_id = ANY (string_to_array(%(categories)s, ' '))",
    "other_than": "AND product.category_saleor_id <> %(other_than)s",
    "product_type": "AND product.product_type = %(product_type)s",
    "price_from": "AND listing.price >= %(price_from)s",
    "price_to": "AND listing.price <= %(price_to)s",
    "words": "AND to_tsvector('simple'::regconfig, product.name) @@ to_tsquery('simple', %(words)s)",
}


class Offer(NamedTuple):
    """A product as it can be bought now. `price` is None where none is known."""

    product_id: str
    category_id: str
    product_type: str
    price: float | None
    brand: str


def recommendable(
    *, installation: Installation, channel_slug: str, now: datetime
) -> QuerySet[ProductListing]:
    """Return the listings of products that a shopper of the sales channel can see and buy now."""
    closed = SalesChannel.objects.of(installation).filter(is_active=False, deleted_at=None)
    return (
        ProductListing.objects.of(installation)
        .filter(
            Q(published_at=None) | Q(published_at__lte=now),
            channel_slug=channel_slug,
            is_published=True,
            is_visible_in_listings=True,
            is_in_stock=True,
            available_for_purchase_at__lte=now,
        )
        .exclude(channel_slug__in=closed.values("slug"))
    )


def recommendable_ids(
    *, installation: Installation, channel_slug: str, ids: AnyCollection[str], now: datetime
) -> set[str]:
    """Return those of `ids` (product global ids) that may be recommended now.

    The rule of `recommendable`, as SQL: every recommendation asks this, and building the query would
    take longer than running it.
    """
    with prepared.cursor() as cursor:
        cursor.execute(
            _RECOMMENDABLE,
            {
                "installation": installation.pk,
                "channel": channel_slug,
                "now": now,
                "ids": " ".join(ids),
            },
        )
        return {row[0] for row in cursor.fetchall()}


def offers(
    *, installation: Installation, channel_slug: str, ids: AnyCollection[str], now: datetime
) -> dict[str, Offer]:
    """Return those of `ids` that may be recommended now (`recommendable_ids`), with what they are."""
    with prepared.cursor() as cursor:
        cursor.execute(
            _OFFERS,
            {
                "installation": installation.pk,
                "channel": channel_slug,
                "now": now,
                "ids": " ".join(ids),
                "brand": settings.BRAND_ATTRIBUTE,
            },
        )
        return {row[0]: Offer(*row) for row in cursor.fetchall()}


def newest_offers(
    *,
    installation: Installation,
    channel_slug: str,
    now: datetime,
    count: int,
    hidden: AnyCollection[str] = (),
    until: datetime | None = None,
    **conditions: Any,
) -> list[Offer]:
    """Return what may be recommended now straight from the catalogue, the newest first.

    `hidden`: leave these out. `until`: nothing made later. Conditions, each of which must hold:
    `ids`, `categories` (ids), `other_than` (not this category), `product_type`, `price_from`, `price_to`
    (inclusive), `words` (a `tsquery` over the name).
    """
    given = {name: value for name, value in conditions.items() if value is not None}
    for name in ("categories", "ids"):
        if name in given:
            given[name] = " ".join(given[name])
    with prepared.cursor() as cursor:
        cursor.execute(
            _SHELF.replace("{conditions}", " ".join(_CONDITIONS[name] for name in sorted(given))),
            {
                "installation": installation.pk,
                "channel": channel_slug,
                "now": now,
                "hidden": " ".join(hidden),
                "until": until,
                "count": count,
                "brand": settings.BRAND_ATTRIBUTE,
                **given,
            },
        )
        return [Offer(*row) for row in cursor.fetchall()]


_REFERENCES = f"""
SELECT saleor_id, attribute ->> 'attribute', attribute -> 'references'
FROM {Product._meta.db_table}, jsonb_array_elements(attributes) WITH ORDINALITY AS row(attribute, place)
WHERE installation_id = %(installation)s AND saleor_id = ANY (string_to_array(%(ids)s, ' '))
  AND attribute ? 'references'
ORDER BY saleor_id, place
"""  # noqa: S608 (the name of the table is ours)


def references(
    *, installation: Installation, ids: AnyCollection[str]
) -> dict[str, list[dict[str, Any]]]:
    """Return the attributes of products that refer to products: {"attribute": slug, "references": ids}."""
    found: dict[str, list[dict[str, Any]]] = {}
    with prepared.cursor() as cursor:
        cursor.execute(_REFERENCES, {"installation": installation.pk, "ids": " ".join(ids)})
        for id_, slug, to in cursor.fetchall():
            row = {"attribute": slug, "references": json.loads(to)}
            found.setdefault(id_, []).append(row)
    return found


@dataclass(frozen=True)
class Facts:
    """What merchandising rules ask about a product. `margin` in percent, where a cost is known."""

    collections: Sequence[str] = ()
    attributes: Mapping[str, Sequence[str]] = field(default_factory=dict)
    stock: float | None = None
    margin: float | None = None


NO_FACTS = Facts()

_FACTS = f"""
SELECT product.saleor_id, product.collection_saleor_ids, product.attributes,
  CASE WHEN bool_or(variant.is_stock_tracked) THEN (
    SELECT sum(stock.quantity - stock.quantity_allocated) FROM {Stock._meta.db_table} AS stock
    JOIN {ProductVariant._meta.db_table} AS own
      ON own.installation_id = stock.installation_id AND own.saleor_id = stock.variant_saleor_id
    WHERE stock.installation_id = %(installation)s AND own.product_saleor_id = product.saleor_id
      AND own.deleted_at IS NULL
      AND (COALESCE(channel.warehouse_ids, '[]') = '[]' OR channel.warehouse_ids ? stock.warehouse_saleor_id)
  ) END,
  min(100 * (1 - paid.cost_price / NULLIF(LEAST(paid.price, paid.discounted_price), 0)))
FROM {Product._meta.db_table} AS product
LEFT JOIN {SalesChannel._meta.db_table} AS channel
  ON channel.installation_id = product.installation_id AND channel.slug = %(channel)s
  AND channel.deleted_at IS NULL
LEFT JOIN {ProductVariant._meta.db_table} AS variant
  ON variant.installation_id = product.installation_id
  AND variant.product_saleor_id = product.saleor_id AND variant.deleted_at IS NULL
LEFT JOIN {VariantPrice._meta.db_table} AS paid
  ON paid.installation_id = product.installation_id
  AND paid.variant_saleor_id = variant.saleor_id AND paid.channel_slug = %(channel)s
WHERE product.installation_id = %(installation)s
  AND product.saleor_id = ANY (string_to_array(%(ids)s, ' '))
GROUP BY product.id, channel.id
"""  # noqa: S608 (the names of the tables are ours)


def facts(
    *, installation: Installation, channel_slug: str, ids: AnyCollection[str]
) -> dict[str, Facts]:
    """Return what merchandising rules ask about products, by id. Stock that is not counted is None."""
    with prepared.cursor() as cursor:
        cursor.execute(
            _FACTS,
            {"installation": installation.pk, "channel": channel_slug, "ids": " ".join(ids)},
        )
        return {
            id_: Facts(
                # Django's connections leave JSON as text.
                collections=json.loads(collections),
                attributes={row["attribute"]: row["values"] for row in json.loads(attributes)},
                stock=None if stock is None else float(stock),
                margin=None if margin is None else float(margin),
            )
            for id_, collections, attributes, stock, margin in cursor.fetchall()
        }


def names(*, installation: Installation, ids: AnyCollection[str]) -> dict[str, str]:
    """Return product names by global id; deleted products are left out."""
    return dict(
        Product.objects.of(installation)
        .filter(saleor_id__in=ids, deleted_at=None)
        .values_list("saleor_id", "name")
    )


def sensitive_ids(*, installation: Installation, ids: AnyCollection[str]) -> set[str]:
    """Return those of `ids` (product global ids) that no message and no reason may speak of.

    They are in a category that the shop or the service calls sensitive, or below one, or in such a
    collection. Where anything is sensitive, a product that we do not know counts as such.
    """
    marked, categories = sensitive_marks(installation)
    if not marked or not ids:
        return set()
    known = Product.objects.of(installation).filter(saleor_id__in=ids)
    harmless = {
        id_
        for id_, category, collections in known.values_list(
            "saleor_id", "category_saleor_id", "collection_saleor_ids"
        )
        if category not in categories and marked.isdisjoint(collections)
    }
    return set(ids) - harmless


def without_sensitive(
    products: QuerySet[Product], *, installation: Installation
) -> QuerySet[Product]:
    """Leave out of an installation's products those of `sensitive_ids`."""
    marked, categories = sensitive_marks(installation)
    for id_ in marked:
        products = products.exclude(collection_saleor_ids__contains=[id_])
    return products.exclude(category_saleor_id__in=categories)


def sensitive_marks(installation: Installation) -> tuple[set[str], set[str]]:
    """Return what is marked as sensitive, and all categories that are so by it."""
    marked = {*settings.SENSITIVE_CATEGORIES, *installation.sensitive_ids}
    categories = {
        id_
        for one in marked
        for id_ in category_and_below(installation=installation, category_id=one)
    }
    return marked, categories


def category_and_below(*, installation: Installation, category_id: str) -> set[str]:
    """Return the global ids of a category and of all categories below it."""
    below: dict[str, list[str]] = {}
    rows = Category.objects.of(installation).filter(deleted_at=None)
    for id_, parent in rows.values_list("saleor_id", "parent_saleor_id"):
        below.setdefault(parent, []).append(id_)
    found, waiting = set(), [category_id]
    while waiting:
        id_ = waiting.pop()
        if id_ not in found:
            found.add(id_)
            waiting.extend(below.get(id_, ()))
    return found
