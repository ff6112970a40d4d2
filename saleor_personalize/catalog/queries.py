"""Reads of the catalogue."""

from __future__ import annotations

import json
import re
from collections.abc import Collection as AnyCollection
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from django.db.models import Q, QuerySet

from saleor_personalize.conf import settings
from saleor_personalize.exceptions import UnknownAlias
from saleor_personalize.models import (
    Category,
    CategoryTranslation,
    Installation,
    Product,
    ProductListing,
    ProductTranslation,
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
  ) #>> '{}', ''), product.saleor_created_at
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
#: Conditions that are lists of ids.
_OF_IDS = ("categories", "ids")


class Offer(NamedTuple):
    """A product as it can be bought now. `price` is None where none is known."""

    product_id: str
    category_id: str
    product_type: str
    price: float | None
    brand: str
    created_at: datetime | None = None


def check_channel(*, installation: Installation, slug: str) -> None:
    """Raise UnknownAlias where the shop has sales channels and none of that slug; those are not told.

    Of a shop whose catalogue was not read yet nobody can say.
    """
    channels = SalesChannel.objects.of(installation).filter(deleted_at=None)
    slugs = set(channels.values_list("slug", flat=True))
    if slugs and slug not in slugs:
        raise UnknownAlias(
            f"There is no sales channel {slug!r} in this shop. `channel` takes its slug, as Saleor's "
            "Dashboard shows it under Configuration, Channels."
        )


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
    for name in _OF_IDS:
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


class Shelf(NamedTuple):
    """A question to `newest_offers`: its first `depth` products."""

    depth: int
    until: datetime
    conditions: Mapping[str, Any]


_SHELVES = """
SELECT asked.place, shelf.*
FROM jsonb_to_recordset(%(asked)s::jsonb) AS asked(
  place int, "count" int, "until" timestamptz, ids text, categories text, other_than text,
  product_type text, price_from float8, price_to float8, words text
)
CROSS JOIN LATERAL ({shelf}) AS shelf
ORDER BY asked.place, shelf.created DESC NULLS LAST, shelf.product_saleor_id
"""
#: What differs from one shelf to the other; the rest is the same for all.
_OF_SHELVES = re.compile(
    r"%\((count|until|ids|categories|other_than|product_type|price_from|price_to|words)\)s"
)


def newest_offers_each(
    *, installation: Installation, channel_slug: str, now: datetime, asked: Sequence[Shelf]
) -> list[list[Offer]]:
    """Return what `newest_offers` returns for each question, by one read for all of the same conditions."""
    alike: dict[tuple[str, ...], list[int]] = {}
    for place, shelf in enumerate(asked):
        alike.setdefault(tuple(sorted(shelf.conditions)), []).append(place)
    found: list[list[Offer]] = [[] for _ in asked]
    for names_, places in alike.items():
        if len(places) == 1:
            (place,) = places
            found[place] = newest_offers(
                installation=installation,
                channel_slug=channel_slug,
                now=now,
                count=asked[place].depth,
                until=asked[place].until,
                **asked[place].conditions,
            )
            continue
        one = _SHELF.replace("{conditions}", " ".join(_CONDITIONS[name] for name in names_))
        one = one.replace("SELECT", "SELECT product.saleor_created_at AS created,", 1)
        rows = [
            {
                "place": place,
                "count": asked[place].depth,
                "until": asked[place].until.isoformat(),
                **{
                    name: " ".join(value) if name in _OF_IDS else value
                    for name, value in asked[place].conditions.items()
                },
            }
            for place in places
        ]
        with prepared.cursor() as cursor:
            cursor.execute(
                _SHELVES.replace("{shelf}", _OF_SHELVES.sub(r'asked."\1"', one)),
                {
                    "installation": installation.pk,
                    "channel": channel_slug,
                    "now": now,
                    "hidden": "",
                    "brand": settings.BRAND_ATTRIBUTE,
                    "asked": json.dumps(rows),
                },
            )
            for place, _created, *row in cursor.fetchall():
                found[place].append(Offer(*row))
    return found


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


def translated(kind: str, table: str, text: str = "name") -> str:
    """Return the SQL that joins the `translated` name of a `product`, `category` or `page`, as the query calls it.

    In the language of `spoken`, else in it without its region; NULL for neither.
    """
    return f"""
LEFT JOIN LATERAL (
    SELECT {text} FROM {table} AS translation
    WHERE translation.installation_id = {kind}.installation_id
        AND translation.{kind}_saleor_id = {kind}.saleor_id
        AND translation.language_code IN (%(language)s, %(base)s)
    ORDER BY translation.language_code = %(language)s DESC
    LIMIT 1
) AS translated ON TRUE
"""  # noqa: S608 (the names of the tables are ours)


#: The name of `product` in the language of `spoken`.
TRANSLATED = translated("product", ProductTranslation._meta.db_table)
#: The same of `category`.
CATEGORY_TRANSLATED = translated("category", CategoryTranslation._meta.db_table)
_NAMES = f"""
SELECT product.saleor_id, COALESCE(translated.name, product.name)
FROM {Product._meta.db_table} AS product {TRANSLATED}
WHERE product.installation_id = %(installation)s AND product.deleted_at IS NULL
    AND product.saleor_id = ANY (string_to_array(%(ids)s, ' '))
"""  # noqa: S608 (the names of the tables are ours)


_CATEGORY_NAMES = f"""
SELECT category.saleor_id, COALESCE(translated.name, category.name), category.slug
FROM {Category._meta.db_table} AS category {CATEGORY_TRANSLATED}
WHERE category.installation_id = %(installation)s AND category.deleted_at IS NULL
    AND category.saleor_id = ANY (string_to_array(%(ids)s, ' '))
"""  # noqa: S608 (the names of the tables are ours)


def spoken(language_code: str) -> dict[str, str]:
    """Return what `TRANSLATED` takes for a language ("de", "pt-BR")."""
    language = language_code.lower().replace("_", "-")
    return {"language": language, "base": language.partition("-")[0]}


def translated_rows(
    query: str, installation: Installation, ids: AnyCollection[str], language_code: str
) -> list[tuple[Any, ...]]:
    """Return the rows of a query that takes an installation, `ids` and a language, as `_NAMES` does."""
    if not ids:
        return []
    with prepared.cursor() as cursor:
        cursor.execute(
            query, {"installation": installation.pk, "ids": " ".join(ids), **spoken(language_code)}
        )
        return list(cursor.fetchall())


def product_types(*, installation: Installation) -> frozenset[str]:
    """Return the names of the product types of all products that are not deleted."""
    rows = Product.objects.of(installation).filter(deleted_at=None).exclude(product_type="")
    return frozenset(rows.order_by().values_list("product_type", flat=True).distinct())


def names(
    *, installation: Installation, ids: AnyCollection[str], language_code: str = ""
) -> dict[str, str]:
    """Return product names by global id; deleted products are left out.

    In `language_code`, else in it without its region, else as the shop wrote them.
    """
    return dict(translated_rows(_NAMES, installation, ids, language_code))


def translations(
    *, installation: Installation, ids: AnyCollection[str], language_code: str
) -> dict[str, str]:
    """Return the names of those products that the shop translated into a language, or into it without its region."""
    spoken_now = spoken(language_code)
    rows = ProductTranslation.objects.of(installation).filter(
        product_saleor_id__in=ids, language_code__in=spoken_now.values()
    )
    # The longer code is the nearer one.
    found = rows.order_by("language_code").values_list("product_saleor_id", "name")
    return dict(found)


def category_names(
    *, installation: Installation, ids: AnyCollection[str], language_code: str = ""
) -> dict[str, tuple[str, str]]:
    """Return name and slug of categories by global id; deleted ones are left out. Names as in `names`."""
    rows = translated_rows(_CATEGORY_NAMES, installation, ids, language_code)
    return {id_: (name, slug) for id_, name, slug in rows}


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
    tree = category_children(installation=installation) if marked else {}
    return marked, {id_ for one in marked for id_ in below(tree, one)}


def category_and_below(*, installation: Installation, category_id: str) -> set[str]:
    """Return the global ids of a category and of all categories below it."""
    return below(category_children(installation=installation), category_id)


def category_children(*, installation: Installation) -> dict[str, list[str]]:
    """Return the tree of categories: global id -> those directly below it."""
    tree: dict[str, list[str]] = {}
    rows = Category.objects.of(installation).filter(deleted_at=None)
    for id_, parent in rows.values_list("saleor_id", "parent_saleor_id"):
        tree.setdefault(parent, []).append(id_)
    return tree


def below(tree: Mapping[str, Sequence[str]], category_id: str) -> set[str]:
    """Return a category and all below it in a tree of `category_children`."""
    found, waiting = set(), [category_id]
    while waiting:
        id_ = waiting.pop()
        if id_ not in found:
            found.add(id_)
            waiting.extend(tree.get(id_, ()))
    return found
