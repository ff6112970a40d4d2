"""Writes to the catalogue. Newest wins; every function says whether anything changed.

Objects are ordered by their own `updatedAt`, and two views of the same `updatedAt` by `seen_at`, as
are stock and prices, which carry no time of their own. `seen_at` is when Saleor rendered the payload that shows them (a webhook's `issuedAt`,
the moment of a back-fill's request).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db import connection, transaction
from django.db.models import QuerySet

from saleor_personalize.catalog.pages import tag_key
from saleor_personalize.models import (
    Category,
    CategoryTranslation,
    Collection,
    Installation,
    Page,
    PageTranslation,
    PriceChange,
    Product,
    ProductListing,
    ProductTranslation,
    ProductVariant,
    SalesChannel,
    Stock,
    VariantPrice,
    bulk,
)
from saleor_personalize.models.catalog import SaleorObject
from saleor_personalize.models.locks import lock
from saleor_personalize.saleor_api.nodes import (
    CategoryData,
    ChannelData,
    CollectionData,
    PageData,
    ProductData,
    ShopperPriceData,
    StockData,
    TranslationData,
    VariantData,
    kind_of,
)

_LOCK = "catalog"

_Translation = type[ProductTranslation] | type[CategoryTranslation] | type[PageTranslation]
#: kind -> the objects, their names in further languages, and there the columns of owner and name
_TRANSLATED: Mapping[str, tuple[type[SaleorObject], _Translation, str, str]] = {
    "Product": (Product, ProductTranslation, "product_saleor_id", "name"),
    "Category": (Category, CategoryTranslation, "category_saleor_id", "name"),
    "Page": (Page, PageTranslation, "page_saleor_id", "title"),
}


def record_channels(
    *, installation: Installation, data: Sequence[ChannelData], now: datetime, seen_at: datetime
) -> int:
    """Record sales channels; a change of its warehouses changes what is in stock there."""
    with transaction.atomic():
        lock(installation, [_LOCK])
        taken = _merge(
            SalesChannel,
            installation,
            [
                {
                    "saleor_id": c.id,
                    "slug": c.slug,
                    "currency": c.currency,
                    "is_active": c.is_active,
                    "warehouse_ids": sorted(c.warehouse_ids),
                }
                for c in data
            ],
            seen_at=seen_at,
        )
        _refresh_listings(
            installation,
            ProductListing.objects.of(installation)
            .filter(channel_slug__in=[c.slug for c in data if taken.get(c.id)])
            .values_list("product_saleor_id", flat=True)
            .distinct(),
        )
    return sum(taken.values())


def record_categories(
    *, installation: Installation, data: Sequence[CategoryData], now: datetime, seen_at: datetime
) -> int:
    """Record categories with their names in further languages; return how many changed."""
    with transaction.atomic():
        lock(installation, [_LOCK])
        taken = _merge(
            Category,
            installation,
            [
                {
                    "saleor_id": c.id,
                    "saleor_updated_at": c.updated_at,
                    "name": c.name,
                    "slug": c.slug,
                    "parent_saleor_id": c.parent_id,
                }
                for c in data
            ],
            seen_at=seen_at,
        )
        changed = {id_ for id_, is_changed in taken.items() if is_changed}
        changed |= _record_translations(
            installation, _names("Category", [c for c in data if c.id in taken]), seen_at=seen_at
        )
    return len(changed)


def record_collections(
    *, installation: Installation, data: Sequence[CollectionData], now: datetime, seen_at: datetime
) -> int:
    """Record collections. Saleor gives them no `updatedAt`: `seen_at` orders them."""
    with transaction.atomic():
        lock(installation, [_LOCK])
        taken = _merge(
            Collection,
            installation,
            [{"saleor_id": c.id, "name": c.name, "slug": c.slug} for c in data],
            seen_at=seen_at,
        )
    return sum(taken.values())


def record_products(
    *, installation: Installation, data: Sequence[ProductData], now: datetime, seen_at: datetime
) -> int:
    """Record products with their listings, variants, stock and prices; return how many changed."""
    with transaction.atomic():
        lock(installation, [_LOCK])
        taken = _merge(
            Product,
            installation,
            [
                {
                    "saleor_id": p.id,
                    "saleor_updated_at": p.updated_at,
                    "name": p.name[:255],
                    "slug": p.slug,
                    "description": p.description,
                    "product_type": p.product_type,
                    "category_saleor_id": p.category_id,
                    "collection_saleor_ids": p.collection_ids,
                    "attributes": [
                        {
                            "attribute": slug,
                            "values": values,
                            **({"references": p.references[slug]} if slug in p.references else {}),
                            **({"pages": p.pages[slug]} if slug in p.pages else {}),
                        }
                        for slug, values in p.attributes
                    ],
                    "thumbnail_url": p.thumbnail_url,
                    "saleor_created_at": p.created_at,
                }
                for p in data
            ],
            seen_at=seen_at,
        )
        newest = [p for p in data if p.id in taken]
        changed = {id_ for id_, is_changed in taken.items() if is_changed}
        changed |= _record_listings(installation, newest)
        changed |= _record_translations(installation, _names("Product", newest), seen_at=seen_at)
        changed |= _record_variants(
            installation, [v for p in newest for v in p.variants], seen_at=seen_at
        )
        _refresh_listings(installation, changed)
    return len(changed)


def record_pages(
    *, installation: Installation, data: Sequence[PageData], now: datetime, seen_at: datetime
) -> int:
    """Record pages; return how many changed or became stale. `seen_at` orders them, as Saleor gives them no `updatedAt`.

    A page whose attributes were not asked for keeps those it has, and is stale from `now` on; one that
    was read with them is no longer stale, unless it became so after `seen_at`.
    """
    with transaction.atomic():
        lock(installation, [_LOCK])
        whole = [page for page in data if page.attributes is not None]
        taken = _merge(
            Page,
            installation,
            _with_subjects(installation, whole),
            seen_at=seen_at,
        )
        rows = Page.objects.of(installation)
        rows.filter(saleor_id__in=taken, stale_since__lte=seen_at).update(stale_since=None)
        parts = [page for page in data if page.attributes is None]
        taken |= _merge(Page, installation, [_page_row(page) for page in parts], seen_at=seen_at)
        # Also one that came late: what it brings may be old, and still there was a change.
        stale = rows.filter(saleor_id__in=[page.id for page in parts], deleted_at=None)
        stale.update(stale_since=now)
        changed = {id_ for id_, is_changed in taken.items() if is_changed}
        changed |= set(stale.values_list("saleor_id", flat=True))
        changed |= _record_translations(
            installation, _names("Page", [p for p in data if p.id in taken]), seen_at=seen_at
        )
    return len(changed)


def _page_row(page: PageData) -> dict[str, Any]:
    return {
        "saleor_id": page.id,
        "title": page.title[:255],
        "slug": page.slug,
        "page_type": page.page_type,
        "is_published": page.is_published,
        "published_at": page.published_at,
    }


def _with_subjects(installation: Installation, pages: Sequence[PageData]) -> list[dict[str, Any]]:
    """Return the rows of pages with what they are about; a variant stands for its product."""
    referred = {id_ for page in pages for each in page.attributes or () for id_ in each.references}
    variants = ProductVariant.objects.of(installation).filter(
        saleor_id__in=[id_ for id_ in referred if kind_of(id_) == "ProductVariant"]
    )
    products = dict(variants.values_list("saleor_id", "product_saleor_id"))
    rows = []
    for page in pages:
        attributes = [
            {
                "attribute": each.slug,
                "tags": each.tags,
                "references": [products.get(id_, id_) for id_ in each.references],
            }
            for each in page.attributes or ()
        ]
        keys = [page.id]
        for row in attributes:
            keys += [*row["references"], *(tag_key(tag) for tag in row["tags"])]
        subjects = list(dict.fromkeys(keys))
        rows.append({**_page_row(page), "attributes": attributes, "subjects": subjects})
    return rows


def mark_stale_pages(*, installation: Installation, ids: Iterable[str], now: datetime) -> int:
    """Have pages read again, also those that we never saw; return how many were marked.

    One that is deleted stays so.
    """
    with transaction.atomic():
        lock(installation, [_LOCK])
        marked = bulk.merge(
            Page,
            installation,
            [{"saleor_id": id_, "title": "", "stale_since": now} for id_ in ids],
            key=["saleor_id"],
            silent=[],
            when="FALSE",
        )
        known = Page.objects.of(installation).filter(saleor_id__in=ids, deleted_at=None)
        return known.exclude(pk__in=[row.pk for row in marked]).update(stale_since=now) + len(
            marked
        )


def hide_pages(*, installation: Installation, ids: Iterable[str], seen_at: datetime) -> int:
    """Take for unpublished what Saleor did not show us at `seen_at`; return how many were shown."""
    with transaction.atomic():
        lock(installation, [_LOCK])
        rows = Page.objects.of(installation).filter(saleor_id__in=ids)
        rows.filter(stale_since__lte=seen_at).update(stale_since=None)
        return rows.filter(is_published=True).update(is_published=False, seen_at=seen_at)


def record_translations(
    *,
    installation: Installation,
    data: Sequence[TranslationData],
    now: datetime,
    seen_at: datetime,
) -> int:
    """Record names in further languages; return how many objects changed. A deleted one has none."""
    with transaction.atomic():
        lock(installation, [_LOCK])
        ids = {seen.owner_id for seen in data}
        gone: set[str] = set()
        for kind in {seen.kind for seen in data}:
            rows = _TRANSLATED[kind][0].objects.of(installation).filter(saleor_id__in=ids)
            gone.update(rows.exclude(deleted_at=None).values_list("saleor_id", flat=True))
        alive = [seen for seen in data if seen.owner_id not in gone]
        return len(_record_translations(installation, alive, seen_at=seen_at))


def record_variants(
    *, installation: Installation, data: Sequence[VariantData], now: datetime, seen_at: datetime
) -> int:
    """Record variants with their stock and prices; return how many of their products changed."""
    with transaction.atomic():
        lock(installation, [_LOCK])
        changed = _record_variants(installation, data, seen_at=seen_at)
        _refresh_listings(installation, changed)
    return len(changed)


def record_stocks(
    *,
    installation: Installation,
    variant_id: str,
    product_id: str,
    stocks: Sequence[StockData],
    seen_at: datetime,
) -> int:
    """Record what a stock event shows. The event's name is not believed, only its quantities are."""
    with transaction.atomic():
        lock(installation, [_LOCK])
        if not _record_stocks(installation, {variant_id: stocks}, seen_at=seen_at):
            return 0
        _refresh_listings(installation, [product_id])
    return 1


def record_discounted_price(
    *,
    installation: Installation,
    variant_id: str,
    product_id: str,
    channel_slug: str,
    currency: str,
    amount: Decimal,
    seen_at: datetime,
) -> int:
    """Record the price a shopper pays now. What it was before comes from our own history."""
    with transaction.atomic():
        lock(installation, [_LOCK])
        row, created = VariantPrice.objects.get_or_create(
            installation=installation,
            variant_saleor_id=variant_id,
            channel_slug=channel_slug,
            defaults={
                "currency": currency,
                "discounted_price": amount,
                "recorded_at": seen_at,
            },
        )
        if not created:
            if seen_at < row.recorded_at or row.discounted_price == amount:
                return 0
            row.discounted_price = amount
            row.recorded_at = seen_at
            row.save(update_fields=["discounted_price", "recorded_at"])
        _remember_prices(installation, [row])
        _refresh_listings(installation, [product_id])
    return 1


def record_shopper_prices(
    *, installation: Installation, data: Sequence[ShopperPriceData], seen_at: datetime
) -> int:
    """Record what shoppers pay and what they would pay without promotions; return how many prices changed."""
    with transaction.atomic():
        lock(installation, [_LOCK])
        stored = VariantPrice.objects.of(installation).filter(
            variant_saleor_id__in=[seen.variant_id for seen in data]
        )
        known = {(row.variant_saleor_id, row.channel_slug): row for row in stored}
        moments = [
            _moment(known.get((seen.variant_id, seen.channel_slug)), seen, seen_at) for seen in data
        ]
        for seen, moment in zip(data, moments, strict=True):
            row = known.get((seen.variant_id, seen.channel_slug))
            if row is not None and row.recorded_at <= moment:
                _forget_guesses(installation, row, seen)
        merged = bulk.merge(
            VariantPrice,
            installation,
            [
                {
                    "variant_saleor_id": seen.variant_id,
                    "channel_slug": seen.channel_slug,
                    "currency": seen.currency,
                    "price": seen.price,
                    "discounted_price": seen.discounted_price,
                    "recorded_at": moment,
                }
                for seen, moment in zip(data, moments, strict=True)
            ],
            key=["variant_saleor_id", "channel_slug"],
            silent=["recorded_at"],
            when="stored.recorded_at <= seen.recorded_at",
        )
        changed = {row.key: row.pk for row in merged if row.is_changed}
        _remember_prices(
            installation, VariantPrice.objects.of(installation).filter(pk__in=changed.values())
        )
        _refresh_listings(
            installation,
            {seen.product_id for seen in data if (seen.variant_id, seen.channel_slug) in changed},
        )
    return len(changed)


def _moment(row: VariantPrice | None, seen: ShopperPriceData, seen_at: datetime) -> datetime:
    """Return when it cost what was seen.

    A webhook that came while Saleor answered and told the same full price, but of no promotion, says nothing
    against it.
    """
    if row is None or row.discounted_price is not None or row.price != seen.price:
        return seen_at
    return max(row.recorded_at, seen_at)


def _forget_guesses(installation: Installation, row: VariantPrice, seen: ShopperPriceData) -> None:
    """Forget higher prices of a variant where we cannot say that shoppers paid them until now.

    Before Saleor told of promotions its full price was taken for them; and while the app was not active, nobody
    told when a price changed. A price that fell long ago would look like one that falls now. Lower ones stay,
    or the price would look like the lowest one in a while.
    """
    is_guess = row.discounted_price is None
    was_away = row.recorded_at < installation.status_changed_at
    if (is_guess or was_away) and price_now(row) != seen.discounted_price:
        PriceChange.objects.of(installation).filter(
            variant_saleor_id=row.variant_saleor_id,
            channel_slug=row.channel_slug,
            price__gt=seen.discounted_price,
        ).delete()


def record_deletion(
    *, installation: Installation, model: type[SaleorObject], saleor_id: str, now: datetime
) -> int:
    """Leave a tombstone, so that a late webhook cannot bring the object back; return 1 when new."""
    with transaction.atomic():
        lock(installation, [_LOCK])
        row, created = model.objects.get_or_create(
            installation=installation,
            saleor_id=saleor_id,
            defaults={"deleted_at": now, **_blank(model)},
        )
        if not created:
            if row.deleted_at is not None:
                return 0
            row.deleted_at = now
            row.save(update_fields=["deleted_at"])
        for translated, names, owner, _ in _TRANSLATED.values():
            if model is translated:
                names.objects.of(installation).filter(**{owner: saleor_id}).delete()
        if model is Product:
            ProductListing.objects.of(installation).filter(product_saleor_id=saleor_id).delete()
        elif model is Page:
            Page.objects.of(installation).filter(saleor_id=saleor_id).update(stale_since=None)
        elif isinstance(row, ProductVariant):
            Stock.objects.of(installation).filter(variant_saleor_id=saleor_id).delete()
            VariantPrice.objects.of(installation).filter(variant_saleor_id=saleor_id).delete()
            _refresh_listings(installation, [row.product_saleor_id])
        elif isinstance(row, SalesChannel) and row.slug:
            ProductListing.objects.of(installation).filter(channel_slug=row.slug).delete()
    return 1


def _blank(model: type[SaleorObject]) -> dict[str, Any]:
    """Values for the columns that a tombstone of a never-seen object cannot know."""
    if model is SalesChannel:
        return {"slug": "", "currency": "", "is_active": False}
    if model is ProductVariant:
        return {"product_saleor_id": ""}
    return {"title" if model is Page else "name": ""}


def _merge(
    model: type[SaleorObject],
    installation: Installation,
    rows: Sequence[Mapping[str, Any]],
    *,
    seen_at: datetime,
) -> dict[str, bool]:
    """Insert or update the objects that are not older than ours nor deleted.

    Returns the ids whose view was taken, each with whether anything changed.
    """
    merged = bulk.merge(
        model,
        installation,
        [{"saleor_updated_at": None, "seen_at": seen_at, **row} for row in rows],
        key=["saleor_id"],
        silent=["saleor_updated_at", "seen_at"],
        when=model.GIVES_WAY,
    )
    return {row.key[0]: row.is_changed for row in merged}


def _record_variants(
    installation: Installation, variants: Sequence[VariantData], *, seen_at: datetime
) -> set[str]:
    """Record variants; return the ids of the products that changed by it."""
    taken = _merge(
        ProductVariant,
        installation,
        [
            {
                "saleor_id": v.id,
                "saleor_updated_at": v.updated_at,
                "product_saleor_id": v.product_id,
                "name": v.name[:255],
                "sku": v.sku,
                "is_stock_tracked": v.is_stock_tracked,
            }
            for v in variants
        ],
        seen_at=seen_at,
    )
    alive = [v for v in variants if v.id in taken]
    changed = {id_ for id_, is_changed in taken.items() if is_changed}
    changed |= _record_stocks(installation, {v.id: v.stocks for v in alive}, seen_at=seen_at)
    changed |= _record_prices(installation, alive, seen_at=seen_at)
    return {v.product_id for v in variants if v.id in changed}


#: The moment at which the last piece went; what was empty when we saw it first has none.
_EMPTIED = """emptied_at = CASE
    WHEN EXCLUDED.quantity > EXCLUDED.quantity_allocated THEN NULL
    WHEN stored.quantity > stored.quantity_allocated THEN EXCLUDED.recorded_at
    ELSE stored.emptied_at
END"""


def _record_stocks(
    installation: Installation, seen: Mapping[str, Sequence[StockData]], *, seen_at: datetime
) -> set[str]:
    """Make the stock rows of each variant equal to what was seen; return the variants changed."""
    stored = Stock.objects.of(installation)
    # All warehouses of a variant are seen at once: one newer row, and the whole view is old.
    newer = stored.filter(variant_saleor_id__in=seen, recorded_at__gt=seen_at)
    taken = seen.keys() - set(newer.values_list("variant_saleor_id", flat=True))
    merged = bulk.merge(
        Stock,
        installation,
        [
            {
                "variant_saleor_id": variant_id,
                "warehouse_saleor_id": stock.warehouse_id,
                "quantity": stock.quantity,
                "quantity_allocated": stock.quantity_allocated,
                "recorded_at": seen_at,
            }
            for variant_id in taken
            for stock in seen[variant_id]
        ],
        key=["variant_saleor_id", "warehouse_saleor_id"],
        silent=["recorded_at"],
        also=[_EMPTIED],
    )
    return _owners_changed(merged, stored.filter(variant_saleor_id__in=taken), "variant_saleor_id")


def _record_prices(
    installation: Installation, variants: Sequence[VariantData], *, seen_at: datetime
) -> set[str]:
    """Make the prices of each variant equal to what was seen; return the variants changed."""
    stored = VariantPrice.objects.of(installation)
    merged = bulk.merge(
        VariantPrice,
        installation,
        [
            {
                "variant_saleor_id": variant.id,
                "channel_slug": seen.channel_slug,
                "currency": seen.currency,
                "price": seen.price,
                "cost_price": seen.cost_price,
                "recorded_at": seen_at,
            }
            for variant in variants
            for seen in variant.prices
        ],
        key=["variant_saleor_id", "channel_slug"],
        silent=["recorded_at"],
        when="stored.recorded_at <= seen.recorded_at",
        # Without a promotion Saleor keeps both prices equal, and says so in no event.
        also=[
            "discounted_price = CASE WHEN stored.discounted_price IS NOT DISTINCT FROM stored.price"
            " THEN EXCLUDED.price ELSE stored.discounted_price END"
        ],
    )
    _remember_prices(
        installation, stored.filter(pk__in=[row.pk for row in merged if row.is_changed])
    )
    return _owners_changed(
        merged,
        stored.filter(variant_saleor_id__in=[v.id for v in variants], recorded_at__lte=seen_at),
        "variant_saleor_id",
    )


def _record_listings(installation: Installation, products: Sequence[ProductData]) -> set[str]:
    """Make the listings of each product equal to what was seen; return the products changed."""
    merged = bulk.merge(
        ProductListing,
        installation,
        [
            {
                "product_saleor_id": product.id,
                "channel_slug": listing.channel_slug,
                "is_published": listing.is_published,
                "published_at": listing.published_at,
                "is_visible_in_listings": listing.is_visible_in_listings,
                "available_for_purchase_at": listing.available_for_purchase_at,
                "currency": listing.currency,
            }
            for product in products
            for listing in product.listings
        ],
        key=["product_saleor_id", "channel_slug"],
        silent=[],
    )
    stored = ProductListing.objects.of(installation)
    return _owners_changed(
        merged,
        stored.filter(product_saleor_id__in=[p.id for p in products]),
        "product_saleor_id",
    )


def _names(
    kind: str, objects: Iterable[CategoryData | PageData | ProductData]
) -> list[TranslationData]:
    """Return the names that objects bring with them."""
    return [
        TranslationData(kind, each.id, language_code, name)
        for each in objects
        for language_code, name in each.translations.items()
    ]


def _record_translations(
    installation: Installation, data: Iterable[TranslationData], *, seen_at: datetime
) -> set[str]:
    """Record names, or that there is none any more; return the ids of the objects that changed.

    Names of languages that were not looked at stay as they are.
    """
    by_kind: dict[str, list[TranslationData]] = {}
    for each in data:
        by_kind.setdefault(each.kind, []).append(each)
    changed: set[str] = set()
    for kind, names in by_kind.items():
        _, model, owner, text = _TRANSLATED[kind]
        stored = model.objects.of(installation)
        merged = bulk.merge(
            model,
            installation,
            [
                {
                    owner: seen.owner_id,
                    "language_code": seen.language_code,
                    text: seen.name[:255],
                    "recorded_at": seen_at,
                }
                for seen in names
                if seen.name
            ],
            key=[owner, "language_code"],
            silent=["recorded_at"],
            when="stored.recorded_at <= seen.recorded_at",
        )
        changed |= {row.key[0] for row in merged if row.is_changed}
        without: dict[str, list[str]] = {}
        for seen in names:
            if not seen.name:
                without.setdefault(seen.language_code, []).append(seen.owner_id)
        for language, ids in without.items():
            taken_back = stored.filter(
                language_code=language, recorded_at__lte=seen_at, **{f"{owner}__in": ids}
            )
            if found := set(taken_back.values_list(owner, flat=True)):
                taken_back.delete()
                changed |= found
    return changed


def _owners_changed(merged: Sequence[bulk.Merged], stored: QuerySet[Any], owner: str) -> set[str]:
    """Delete the `stored` rows that were not seen; return the owners of rows that changed or went."""
    gone = stored.exclude(pk__in=[row.pk for row in merged])
    owners = set(gone.values_list(owner, flat=True))
    if owners:
        gone.delete()
    return owners | {row.key[0] for row in merged if row.is_changed}


def price_now(row: VariantPrice) -> Decimal | None:
    """Return what a shopper pays for the variant, or None when it is not sold."""
    if row.price is None or row.discounted_price is None:
        return row.discounted_price if row.price is None else row.price
    return min(row.price, row.discounted_price)


def _remember_prices(installation: Installation, rows: Iterable[VariantPrice]) -> None:
    """Write down what variants cost from now on; a price that stays the same makes no row."""
    rows = list(rows)
    newest = (
        PriceChange.objects.of(installation)
        .filter(variant_saleor_id__in={row.variant_saleor_id for row in rows})
        .order_by("variant_saleor_id", "channel_slug", "-changed_at", "-pk")
        .distinct("variant_saleor_id", "channel_slug")
    )
    known = {(one.variant_saleor_id, one.channel_slug): (one.currency, one.price) for one in newest}
    bulk.insert(
        PriceChange,
        installation,
        [
            {
                "variant_saleor_id": row.variant_saleor_id,
                "channel_slug": row.channel_slug,
                "currency": row.currency,
                "price": price,
                "changed_at": row.recorded_at,
            }
            for row in rows
            if (price := price_now(row)) is not None
            and known.get((row.variant_saleor_id, row.channel_slug)) != (row.currency, price)
        ],
    )


# The offer of a listing is its cheapest variant in stock, or else its cheapest one. A channel that
# we have not met yet: any warehouse counts until we know better.
_REFRESH = f"""
UPDATE {ProductListing._meta.db_table} AS listing
SET is_in_stock = offer.is_in_stock, price = offer.price, best_variant_saleor_id = offer.variant
FROM (
    SELECT listing.id, COALESCE(best.is_in_stock, FALSE) AS is_in_stock, best.price,
        COALESCE(best.variant, '') AS variant
    FROM {ProductListing._meta.db_table} AS listing
    LEFT JOIN {SalesChannel._meta.db_table} AS channel
    ON channel.installation_id = listing.installation_id
        AND channel.slug = listing.channel_slug AND channel.deleted_at IS NULL
    LEFT JOIN LATERAL (
        SELECT variant.saleor_id AS variant, LEAST(paid.price, paid.discounted_price) AS price,
            NOT variant.is_stock_tracked OR EXISTS (
                SELECT FROM {Stock._meta.db_table} AS stock
                WHERE stock.installation_id = variant.installation_id
                    AND stock.variant_saleor_id = variant.saleor_id
                    AND stock.quantity > stock.quantity_allocated
                    AND (
                        COALESCE(channel.warehouse_ids, '[]') = '[]'
                        OR channel.warehouse_ids ? stock.warehouse_saleor_id
                    )
            ) AS is_in_stock
        FROM {ProductVariant._meta.db_table} AS variant
        JOIN {VariantPrice._meta.db_table} AS paid
        ON paid.installation_id = variant.installation_id
            AND paid.variant_saleor_id = variant.saleor_id
            AND paid.channel_slug = listing.channel_slug
        WHERE variant.installation_id = listing.installation_id
            AND variant.product_saleor_id = listing.product_saleor_id
            AND variant.deleted_at IS NULL
            AND COALESCE(paid.price, paid.discounted_price) IS NOT NULL
        ORDER BY is_in_stock DESC, price, variant.saleor_id COLLATE "C"
        LIMIT 1
    ) AS best ON TRUE
    WHERE listing.installation_id = %s AND listing.product_saleor_id = ANY(%s)
) AS offer
WHERE listing.id = offer.id
    AND (listing.is_in_stock, listing.price, listing.best_variant_saleor_id)
        IS DISTINCT FROM (offer.is_in_stock, offer.price, offer.variant)
"""  # noqa: S608 (the names of the tables are ours)


def _refresh_listings(installation: Installation, product_ids: Iterable[str]) -> None:
    """Derive stock, price and best variant of each listing from variants, stock and prices."""
    with connection.cursor() as cursor:
        cursor.execute(_REFRESH, [installation.pk, list(product_ids)])
