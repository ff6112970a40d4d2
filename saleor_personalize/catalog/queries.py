"""Reads of the catalogue."""

from __future__ import annotations

from collections.abc import Collection as AnyCollection
from datetime import datetime

from django.db.models import Q, QuerySet

from saleor_personalize.conf import settings
from saleor_personalize.models import (
    Category,
    Installation,
    Product,
    ProductListing,
    SalesChannel,
    prepared,
)

# The ids go as one text: Saleor's have no spaces, and psycopg writes an array item by item in Python.
_RECOMMENDABLE = f"""
SELECT product_saleor_id FROM {ProductListing._meta.db_table}
WHERE installation_id = %(installation)s AND channel_slug = %(channel)s
  AND is_published AND is_visible_in_listings AND is_in_stock
  AND (published_at IS NULL OR published_at <= %(now)s) AND available_for_purchase_at <= %(now)s
  AND product_saleor_id = ANY (string_to_array(%(ids)s, ' '))
  AND NOT EXISTS (
    SELECT FROM {SalesChannel._meta.db_table}
    WHERE installation_id = %(installation)s AND slug = %(channel)s
      AND NOT is_active AND deleted_at IS NULL
  )
"""  # noqa: S608 (the names of the tables are ours)


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
