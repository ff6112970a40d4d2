"""What a storefront shows of a product: name, picture, price and variant in one sales channel and language."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from decimal import Decimal
from typing import NamedTuple

from saleor_personalize.catalog.queries import TRANSLATED, spoken
from saleor_personalize.models import (
    Installation,
    Product,
    ProductListing,
    ProductVariant,
    SalesChannel,
    VariantPrice,
    prepared,
)


class Money(NamedTuple):
    amount: Decimal
    currency: str


class Card(NamedTuple):
    """One card per product: its cheapest variant that can be bought, else its cheapest one.

    `price` is what a shopper pays, `undiscounted_price` what it was before a promotion, and None where
    that is the same.
    """

    product_id: str
    name: str
    slug: str
    thumbnail_url: str
    variant_id: str
    variant_name: str
    sku: str
    price: Money | None
    undiscounted_price: Money | None
    is_available: bool


# The offer of a listing (price, variant, stock) is kept up to date by `catalog.operations`.
_CARDS = f"""
SELECT product.saleor_id, COALESCE(translated.name, product.name), product.slug,
    product.thumbnail_url, COALESCE(listing.best_variant_saleor_id, ''),
    COALESCE(variant.name, ''), COALESCE(variant.sku, ''),
    NULLIF(listing.price, 'NaN'), NULLIF(paid.price, 'NaN'), COALESCE(NULLIF(paid.currency, ''), listing.currency, ''),
    COALESCE(
        listing.is_published AND listing.is_visible_in_listings AND listing.is_in_stock
        AND (listing.published_at IS NULL OR listing.published_at <= %(now)s)
        AND listing.available_for_purchase_at <= %(now)s
        AND NOT EXISTS (
            SELECT FROM {SalesChannel._meta.db_table}
            WHERE installation_id = %(installation)s AND slug = %(channel)s
                AND NOT is_active AND deleted_at IS NULL
        ),
        FALSE
    )
FROM {Product._meta.db_table} AS product
LEFT JOIN {ProductListing._meta.db_table} AS listing
ON listing.installation_id = product.installation_id AND listing.channel_slug = %(channel)s
    AND listing.product_saleor_id = product.saleor_id
LEFT JOIN {ProductVariant._meta.db_table} AS variant
ON variant.installation_id = product.installation_id
    AND variant.saleor_id = listing.best_variant_saleor_id AND variant.deleted_at IS NULL
LEFT JOIN {VariantPrice._meta.db_table} AS paid
ON paid.installation_id = product.installation_id AND paid.channel_slug = %(channel)s
    AND paid.variant_saleor_id = listing.best_variant_saleor_id
{TRANSLATED}WHERE product.installation_id = %(installation)s AND product.deleted_at IS NULL
    AND product.saleor_id = ANY (string_to_array(%(ids)s, ' '))
"""  # noqa: S608 (the names of the tables are ours)


def cards(
    *,
    installation: Installation,
    channel_slug: str,
    ids: Collection[str],
    language_code: str = "",
    now: datetime,
) -> dict[str, Card]:
    """Return the cards of products by their global ids; products that we do not have are left out.

    Names are in `language_code` ("de", "pt-BR"), else in the language without its region, else as the
    shop wrote them.
    """
    with prepared.cursor() as cursor:
        cursor.execute(
            _CARDS,
            {
                "installation": installation.pk,
                "channel": channel_slug,
                "now": now,
                "ids": " ".join(ids),
                **spoken(language_code),
            },
        )
        return {row[0]: _card(*row) for row in cursor.fetchall()}


def _card(
    product_id: str,
    name: str,
    slug: str,
    thumbnail_url: str,
    variant_id: str,
    variant_name: str,
    sku: str,
    price: Decimal | None,
    before: Decimal | None,
    currency: str,
    is_available: bool,
) -> Card:
    is_reduced = price is not None and before is not None and before > price
    return Card(
        product_id,
        name,
        slug,
        thumbnail_url,
        variant_id,
        variant_name,
        sku,
        Money(price, currency) if price is not None else None,
        Money(before, currency) if is_reduced and before is not None else None,
        is_available,
    )
