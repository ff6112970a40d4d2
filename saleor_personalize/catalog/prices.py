"""What variants cost, then and now, and how many pieces there are: from our own tables, in one sales channel.

A price is what a shopper pays without a voucher, promotions included, as it was entered in Saleor (with or
without tax). Prices of two currencies are never compared.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from django.db.models import F, Max, Q, QuerySet, Sum

from saleor_personalize.catalog.operations import price_now
from saleor_personalize.conf import settings
from saleor_personalize.models import (
    Installation,
    PriceChange,
    Product,
    ProductListing,
    ProductVariant,
    SalesChannel,
    Stock,
    VariantPrice,
)
from saleor_personalize.models.installation import ScopedQuerySet

#: How far back the lowest price before a reduction is looked for (directive 98/6/EC, article 6a).
LOOK_BACK = timedelta(days=30)


@dataclass(frozen=True)
class Price:
    """What a variant costs now. `lowest_before` is the lowest price of the 30 days before it came to cost
    that, None where we know of none; `since` is when it came to cost that."""

    amount: Decimal
    currency: str
    since: datetime | None = None
    lowest_before: Decimal | None = None


@dataclass(frozen=True)
class History:
    """Changes of one variant's price in one sales channel and currency, oldest first."""

    changes: Sequence[tuple[datetime, Decimal]]

    def at(self, moment: datetime) -> Decimal | None:
        """Return what it cost then; None before the first price that we know."""
        known = [price for changed_at, price in self.changes if changed_at <= moment]
        return known[-1] if known else None

    def lowest(self, since: datetime, until: datetime) -> Decimal | None:
        """Return the lowest price that held at some time from `since` until just before `until`."""
        held = [price for changed_at, price in self.changes if since < changed_at < until]
        before = self.at(since)
        return min([*held, *([] if before is None else [before])], default=None)


def history(
    *, installation: Installation, variant_id: str, channel_slug: str, currency: str
) -> History:
    rows = PriceChange.objects.of(installation).filter(
        variant_saleor_id=variant_id, channel_slug=channel_slug, currency=currency
    )
    return History(list(rows.order_by("changed_at", "pk").values_list("changed_at", "price")))


def price_of(*, installation: Installation, variant_id: str, channel_slug: str) -> Price | None:
    """Return what a variant costs now, with the lowest price before; None when it has no price."""
    row = (
        VariantPrice.objects.of(installation)
        .filter(variant_saleor_id=variant_id, channel_slug=channel_slug)
        .first()
    )
    amount = None if row is None else price_now(row)
    if row is None or amount is None:
        return None
    past = history(
        installation=installation,
        variant_id=variant_id,
        channel_slug=channel_slug,
        currency=row.currency,
    )
    return told(past, amount, row.currency)


def told(past: History, amount: Decimal, currency: str) -> Price:
    """Return a price with what may truthfully be said of the time before it."""
    since = past.changes[-1][0] if past.changes and past.changes[-1][1] == amount else None
    if since is None:
        return Price(amount, currency)
    return Price(amount, currency, since, past.lowest(since - LOOK_BACK, since))


def purge(*, now: datetime) -> int:
    """Forget old changes; what has held since before then stays, or nobody knew what it cost."""
    count = 0
    for installation in Installation.objects.order_by("pk"):
        old = PriceChange.objects.of(installation).filter(
            changed_at__lt=now - settings.PRICE_HISTORY_RETENTION
        )
        last = old.order_by(
            "variant_saleor_id", "channel_slug", "currency", "-changed_at", "-pk"
        ).distinct("variant_saleor_id", "channel_slug", "currency")
        count += old.exclude(pk__in=list(last.values_list("pk", flat=True))).delete()[0]
    return count


def pieces(
    *, installation: Installation, variant_ids: Iterable[str], channel_slug: str
) -> int | None:
    """Return how many pieces of variants can be bought in a sales channel, as far as our tables know.

    None: the stock of one of them is not counted, so that there is no end of it.
    """
    return together(
        pieces_of_each(
            installation=installation, variant_ids=variant_ids, channel_slug=channel_slug
        ).values()
    )


def together(counts: Iterable[int | None]) -> int | None:
    """Add pieces; None as soon as there is no end of one."""
    total = 0
    for count in counts:
        if count is None:
            return None
        total += count
    return total


def pieces_of_each(
    *, installation: Installation, variant_ids: Iterable[str], channel_slug: str
) -> dict[str, int | None]:
    """Return variant -> pieces, as `pieces` counts them, for those that were not deleted; in three queries."""
    variants = ProductVariant.objects.of(installation).filter(
        saleor_id__in=list(variant_ids), deleted_at=None
    )
    found: dict[str, int | None] = {
        id_: 0 if is_tracked else None
        for id_, is_tracked in variants.values_list("saleor_id", "is_stock_tracked")
    }
    counted = [id_ for id_, count in found.items() if count is not None]
    rows = _stocks(installation, counted, channel_slug).filter(quantity__gt=F("quantity_allocated"))
    free = rows.values("variant_saleor_id").annotate(
        free=Sum(F("quantity") - F("quantity_allocated"))
    )
    found.update(free.values_list("variant_saleor_id", "free"))
    return found


def sold_out_since(
    *, installation: Installation, variant_ids: Iterable[str], channel_slug: str
) -> dict[str, datetime]:
    """Return since when those of the variants that are sold out are so; not where it is not known."""
    pieces_ = pieces_of_each(
        installation=installation, variant_ids=variant_ids, channel_slug=channel_slug
    )
    gone = [id_ for id_, count in pieces_.items() if count == 0]
    rows = _stocks(installation, gone, channel_slug).exclude(emptied_at=None)
    last = rows.order_by().values("variant_saleor_id").annotate(last=Max("emptied_at"))
    return dict(last.values_list("variant_saleor_id", "last"))


def _stocks(
    installation: Installation, variant_ids: Iterable[str], channel_slug: str
) -> ScopedQuerySet[Stock]:
    """Return the stock of variants in the warehouses that supply a sales channel: if it names none, in all."""
    rows = Stock.objects.of(installation).filter(variant_saleor_id__in=list(variant_ids))
    channel = (
        SalesChannel.objects.of(installation).filter(slug=channel_slug, deleted_at=None).first()
    )
    if channel is None or not channel.warehouse_ids:
        return rows
    return rows.filter(warehouse_saleor_id__in=channel.warehouse_ids)


def with_pieces(
    *, installation: Installation
) -> tuple[QuerySet[Stock, str], QuerySet[ProductVariant, str]]:
    """Return, as subqueries, the variants of which a warehouse has pieces, and those that are not counted."""
    there = Stock.objects.of(installation).filter(quantity__gt=F("quantity_allocated"))
    uncounted = ProductVariant.objects.of(installation).filter(
        is_stock_tracked=False, deleted_at=None
    )
    return (
        there.values_list("variant_saleor_id", flat=True),
        uncounted.values_list("saleor_id", flat=True),
    )


def is_on_sale(
    *, installation: Installation, product_id: str, channel_slug: str, now: datetime
) -> bool:
    """Tell whether a product can be seen and bought in a sales channel, apart from its stock."""
    closed = SalesChannel.objects.of(installation).filter(
        slug=channel_slug, is_active=False, deleted_at=None
    )
    alive = Product.objects.of(installation).filter(saleor_id=product_id, deleted_at=None)
    listed = ProductListing.objects.of(installation).filter(
        Q(published_at=None) | Q(published_at__lte=now),
        product_saleor_id=product_id,
        channel_slug=channel_slug,
        is_published=True,
        available_for_purchase_at__lte=now,
    )
    return alive.exists() and listed.exists() and not closed.exists()
