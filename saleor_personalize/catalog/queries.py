"""Reads of the catalogue."""

from __future__ import annotations

from collections.abc import Collection as AnyCollection
from datetime import datetime

from django.db.models import Q, QuerySet

from saleor_personalize.models import Installation, Product, ProductListing


def recommendable(
    *, installation: Installation, channel_slug: str, now: datetime
) -> QuerySet[ProductListing]:
    """Return the listings of products that a shopper of the sales channel can see and buy now."""
    return ProductListing.objects.of(installation).filter(
        Q(published_at=None) | Q(published_at__lte=now),
        channel_slug=channel_slug,
        is_published=True,
        is_visible_in_listings=True,
        is_in_stock=True,
        available_for_purchase_at__lte=now,
    )


def recommendable_ids(
    *, installation: Installation, channel_slug: str, ids: AnyCollection[str], now: datetime
) -> set[str]:
    """Return those of `ids` (product global ids) that may be recommended now."""
    return set(
        recommendable(installation=installation, channel_slug=channel_slug, now=now)
        .filter(product_saleor_id__in=ids)
        .values_list("product_saleor_id", flat=True)
    )


def names(*, installation: Installation, ids: AnyCollection[str]) -> dict[str, str]:
    """Return product names by global id; deleted products are left out."""
    return dict(
        Product.objects.of(installation)
        .filter(saleor_id__in=ids, deleted_at=None)
        .values_list("saleor_id", "name")
    )
