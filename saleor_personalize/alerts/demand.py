"""What people want and cannot buy: who waits for which variant, what is kept, and what that may be worth.

Counts only, never who. Each is read from an index made for it: it costs as much as there are sign-ups and
favourites, however many people the shop knows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.db.models import Count, Min, Q, QuerySet

from saleor_personalize.alerts.operations import waiting
from saleor_personalize.catalog import prices
from saleor_personalize.models import (
    Favourite,
    Installation,
    Product,
    ProductVariant,
    StockAlert,
    VariantPrice,
)

#: How far back is counted who was told.
TOLD_WITHIN = timedelta(days=30)
_PLACE = ("variant_saleor_id", "channel_slug")


@dataclass(frozen=True)
class Wanted:
    """A variant that people wait for in one sales channel.

    `waiting` confirmed that they wait, `unconfirmed` did not yet, `told` were told in the last TOLD_WITHIN.
    `since`: when the first of those who wait signed up. `pieces` that can be bought now; None: they are not
    counted. `sold_out_since` is None where pieces are left, or none were ever seen. `price` of one piece, in
    `currency`; None where it is not known.
    """

    product_id: str
    variant_id: str
    channel_slug: str
    product_name: str
    variant_name: str
    sku: str
    waiting: int
    unconfirmed: int
    told: int
    kept: int
    since: datetime
    pieces: int | None
    sold_out_since: datetime | None
    price: Decimal | None
    currency: str

    @property
    def value(self) -> Decimal | None:
        """What it comes to if everybody who confirmed buys one piece."""
        return None if self.price is None else self.price * self.waiting


@dataclass(frozen=True)
class Potential:
    """What all who wait in a sales channel may spend; `unpriced` of its variants have no known price."""

    channel_slug: str
    currency: str
    waiting: int
    value: Decimal
    unpriced: int


@dataclass(frozen=True)
class Kept:
    """A product that people keep for later."""

    product_id: str
    name: str
    count: int


def wanted(
    *,
    installation: Installation,
    now: datetime,
    channel_slug: str = "",
    offset: int = 0,
    limit: int | None = None,
) -> list[Wanted]:
    """Return what people wait for, what most wait for first; of one sales channel, or of all."""
    ranked = _ranked(installation, now, channel_slug)
    end = None if limit is None else offset + limit
    return _described(installation, list(ranked[offset:end]), now)


def all_wanted(
    *, installation: Installation, now: datetime, channel_slug: str = "", batch: int
) -> Iterator[Wanted]:
    """Yield what `wanted` returns, whole: it is counted once and described `batch` at a time."""
    rows = list(_ranked(installation, now, channel_slug))
    for start in range(0, len(rows), batch):
        yield from _described(installation, rows[start : start + batch], now)


def _ranked(installation: Installation, now: datetime, channel_slug: str) -> Any:
    rows = _counted(installation, now)
    if channel_slug:
        rows = rows.filter(channel_slug=channel_slug)
    return rows.order_by("-confirmed", "-asked", *_PLACE)


def of_product(*, installation: Installation, product_id: str, now: datetime) -> list[Wanted]:
    """Return which variants of a product people wait for, what most wait for first."""
    variants = ProductVariant.objects.of(installation).filter(product_saleor_id=product_id)
    ids = list(variants.values_list("saleor_id", flat=True))
    rows = _counted(installation, now).filter(variant_saleor_id__in=ids)
    return _described(installation, list(rows.order_by("-confirmed", "-asked", *_PLACE)), now)


def potential(*, installation: Installation, now: datetime) -> list[Potential]:
    """Return what all who wait may spend, by sales channel and currency."""
    places = _counted(installation, now)
    # Not by their ids: there may be as many as the shop has variants.
    costs = _costs(installation, places.values("variant_saleor_id"))
    waiting_in, unpriced = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
    values: dict[tuple[str, str], Decimal] = {}
    for variant, channel, count in places.values_list(*_PLACE, "confirmed"):
        price, currency = costs.get((variant, channel), (None, ""))
        key = (channel, currency)
        waiting_in[key] += count
        if price is None:
            unpriced[key] += 1
        elif count:
            values[key] = values.get(key, Decimal(0)) + price * count
    return [
        Potential(*key, waiting_in[key], values.get(key, Decimal(0)), unpriced[key])
        for key in sorted(waiting_in)
    ]


def most_kept(*, installation: Installation, limit: int) -> list[Kept]:
    """Return what most people keep for later."""
    rows = (
        Favourite.objects.of(installation)
        .filter(removed_at=None)
        .order_by()
        .values("product_saleor_id")
        .annotate(count=Count("profile", distinct=True))
        .order_by("-count", "product_saleor_id")
    )
    shown = list(rows.values_list("product_saleor_id", "count")[:limit])
    names = _named(Product.objects.of(installation), [id_ for id_, _count in shown])
    return [Kept(id_, names.get(id_, ("",))[0], count) for id_, count in shown]


def kept(*, installation: Installation, product_ids: Collection[str]) -> dict[str, int]:
    """Return how many keep each of these products for later; those that nobody keeps are left out."""
    rows = Favourite.objects.of(installation).filter(
        removed_at=None, product_saleor_id__in=product_ids
    )
    counted = (
        rows.order_by().values("product_saleor_id").annotate(c=Count("profile", distinct=True))
    )
    return dict(counted.values_list("product_saleor_id", "c"))


def _counted(installation: Installation, now: datetime) -> Any:
    """Return the places that people wait in, with how many do."""
    is_confirmed = Q(confirmed_at__isnull=False)
    return (
        waiting(installation)
        .filter(expires_at__gt=now)
        .order_by()
        .values(*_PLACE)
        .annotate(
            confirmed=Count("profile", filter=is_confirmed, distinct=True),
            asked=Count("profile", filter=~is_confirmed, distinct=True),
            since=Min("created_at"),
        )
    )


def _described(
    installation: Installation, rows: list[dict[str, Any]], now: datetime
) -> list[Wanted]:
    """Add names, prices and stock to counted places, by a few queries for all of them."""
    variant_ids = {row["variant_saleor_id"] for row in rows}
    variants = _named(
        ProductVariant.objects.of(installation), variant_ids, "sku", "product_saleor_id"
    )
    product_ids = {product_id for _name, _sku, product_id in variants.values()}
    products = _named(Product.objects.of(installation), product_ids)
    costs = _costs(installation, variant_ids)
    told = _told(installation, variant_ids, now - TOLD_WITHIN)
    keeping = kept(installation=installation, product_ids=product_ids)
    pieces, sold_out = _in_stock(installation, rows)
    found = []
    for row in rows:
        place = variant_id, channel = row["variant_saleor_id"], row["channel_slug"]
        name, sku, product_id = variants.get(variant_id, ("", "", ""))
        price, currency = costs.get(place, (None, ""))
        found.append(
            Wanted(
                product_id=product_id,
                variant_id=variant_id,
                channel_slug=channel,
                product_name=products.get(product_id, ("",))[0],
                variant_name=name,
                sku=sku,
                waiting=row["confirmed"],
                unconfirmed=row["asked"],
                told=told.get(place, 0),
                kept=keeping.get(product_id, 0),
                since=row["since"],
                pieces=pieces.get(place),
                sold_out_since=sold_out.get(place),
                price=price,
                currency=currency,
            )
        )
    return found


def _named(rows: QuerySet[Any], ids: Iterable[str], *more: str) -> dict[str, tuple[str, ...]]:
    """Return id -> (name, and `more`)."""
    found = rows.filter(saleor_id__in=list(ids)).values_list("saleor_id", "name", *more)
    return {id_: tuple(rest) for id_, *rest in found}


def _costs(
    installation: Installation, variants: Any
) -> dict[tuple[str, str], tuple[Decimal | None, str]]:
    """Return what one piece of these variants costs a shopper in each place, and in which currency.

    `variants`: their ids, or a query of them.
    """
    stored = VariantPrice.objects.of(installation).filter(variant_saleor_id__in=variants)
    return {
        (variant, channel): (price if discounted is None else discounted, currency)
        for variant, channel, price, discounted, currency in stored.values_list(
            *_PLACE, "price", "discounted_price", "currency"
        )
    }


def _told(
    installation: Installation, variants: Iterable[str], since: datetime
) -> dict[tuple[str, str], int]:
    rows = StockAlert.objects.of(installation).filter(
        variant_saleor_id__in=list(variants), told_at__gt=since
    )
    counted = rows.order_by().values(*_PLACE).annotate(c=Count("profile", distinct=True))
    return {(variant, channel): c for variant, channel, c in counted.values_list(*_PLACE, "c")}


def _in_stock(
    installation: Installation, rows: Iterable[dict[str, Any]]
) -> tuple[dict[tuple[str, str], int | None], dict[tuple[str, str], datetime]]:
    """Return the pieces of each place, and since when there are none; by some queries per sales channel."""
    by_channel: dict[str, list[str]] = {}
    for row in rows:
        by_channel.setdefault(row["channel_slug"], []).append(row["variant_saleor_id"])
    pieces: dict[tuple[str, str], int | None] = {}
    since: dict[tuple[str, str], datetime] = {}
    for channel, variants in by_channel.items():
        here: dict[str, Any] = {
            "installation": installation,
            "variant_ids": variants,
            "channel_slug": channel,
        }
        pieces |= {(id_, channel): count for id_, count in prices.pieces_of_each(**here).items()}
        since |= {(id_, channel): at for id_, at in prices.sold_out_since(**here).items()}
    return pieces, since
