"""Events of the catalogue."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, ClassVar

from saleor_personalize.catalog import operations as catalog
from saleor_personalize.exceptions import MalformedPayload
from saleor_personalize.ingestion.subscriptions.base import Envelope, Payload, Subscription
from saleor_personalize.journeys import operations as journeys
from saleor_personalize.journeys import triggers
from saleor_personalize.models import (
    Category,
    Collection,
    Installation,
    Page,
    Product,
    ProductVariant,
    SalesChannel,
)
from saleor_personalize.models.catalog import SaleorObject
from saleor_personalize.saleor_api import nodes


def node_of(payload: Payload, name: str) -> Any:
    """Return an object of the payload; MalformedPayload when it is missing or null."""
    node = payload.get(name)
    if not isinstance(node, dict) or not node.get("id"):
        raise MalformedPayload(f"The payload has no {name!r} with an id.")
    return node


class _Deletion(Subscription):
    """Only the id is read: the relations of a deleted object arrive empty and mean nothing."""

    node: ClassVar[str]
    model: ClassVar[type[SaleorObject]]

    @classmethod
    def normalise(cls, payload: Payload) -> str:
        return str(node_of(payload, cls.node)["id"])

    @classmethod
    def apply(
        cls, *, installation: Installation, facts: str, envelope: Envelope, now: datetime
    ) -> bool:
        return bool(
            catalog.record_deletion(
                installation=installation, model=cls.model, saleor_id=facts, now=now
            )
        )


class _Saved(Subscription):
    """An object as it is now; what decides whether it is news is `catalog.operations`."""

    node: ClassVar[str]
    read: ClassVar[Callable[..., Any]]
    record: ClassVar[Callable[..., int]]

    @classmethod
    def normalise(cls, payload: Payload) -> Any:
        return cls.read(node_of(payload, cls.node))

    @classmethod
    def apply(
        cls, *, installation: Installation, facts: Any, envelope: Envelope, now: datetime
    ) -> bool:
        return bool(
            cls.record(
                installation=installation,
                data=[facts],
                now=now,
                seen_at=envelope.issued_at or now,
            )
        )


class ProductSaved(_Saved):
    events = ("product_created", "product_updated")
    permission = "MANAGE_PRODUCTS"
    selection = "product { ...ProductFields }"
    node = "product"
    read = staticmethod(nodes.read_product)
    record = staticmethod(catalog.record_products)


class ProductDeleted(_Deletion):
    events = ("product_deleted",)
    permission = "MANAGE_PRODUCTS"
    selection = "product { id }"
    node = "product"
    model = Product


class Translated(Subscription):
    """Translating something announces only this. Saleor sends it for all that can be translated."""

    events = ("translation_created", "translation_updated")
    permission = "MANAGE_TRANSLATIONS"
    selection = (
        "translation { __typename ... on ProductTranslation {"
        " id name language { code } translatableContent { productId } }"
        " ... on CategoryTranslation {"
        " id name language { code } translatableContent { categoryId } }"
        " ... on PageTranslation { id title language { code } translatableContent { pageId } } }"
    )

    @classmethod
    def normalise(cls, payload: Payload) -> nodes.TranslationData | None:
        node = payload.get("translation")
        if not isinstance(node, dict):
            raise MalformedPayload("The payload has no 'translation'.")
        kind = str(node.get("__typename")).removesuffix("Translation")
        # Of these, apps that were installed before we took them never asked for more than the type.
        if kind not in nodes.TRANSLATABLE or (kind != "Product" and len(node) == 1):
            return None
        return nodes.read_translation(kind, node)

    @classmethod
    def apply(
        cls,
        *,
        installation: Installation,
        facts: nodes.TranslationData | None,
        envelope: Envelope,
        now: datetime,
    ) -> bool:
        return facts is not None and bool(
            catalog.record_translations(
                installation=installation,
                data=[facts],
                now=now,
                seen_at=envelope.issued_at or now,
            )
        )


class VariantSaved(_Saved):
    events = ("product_variant_created", "product_variant_updated")
    permission = "MANAGE_PRODUCTS"
    selection = "productVariant { ...VariantFields }"
    node = "productVariant"
    read = staticmethod(nodes.read_variant)
    record = staticmethod(catalog.record_variants)


class VariantDeleted(_Deletion):
    events = ("product_variant_deleted",)
    permission = "MANAGE_PRODUCTS"
    selection = "productVariant { id }"
    node = "productVariant"
    model = ProductVariant


@dataclass(frozen=True)
class StockFacts:
    variant_id: str
    product_id: str
    stocks: tuple[nodes.StockData, ...]


class StockChanged(Subscription):
    """All stock events read the same: what they are called can be wrong, the quantities are not.

    Fulfilling the last piece announces "back in stock" with nothing available, and each warehouse
    speaks for itself. So the variant's whole stock is asked for and counted.
    """

    events: ClassVar[tuple[str, ...]] = (
        "product_variant_stock_updated",
        "product_variant_back_in_stock",
        "product_variant_out_of_stock",
    )
    permission = "MANAGE_PRODUCTS"
    selection = "productVariant { id product { id } stocks { ...StockFields } }"

    @classmethod
    def normalise(cls, payload: Payload) -> StockFacts:
        node = node_of(payload, "productVariant")
        return StockFacts(
            variant_id=str(node["id"]),
            product_id=str(node_of(node, "product")["id"]),
            stocks=nodes.read_stocks(node.get("stocks")),
        )

    @classmethod
    def apply(
        cls, *, installation: Installation, facts: StockFacts, envelope: Envelope, now: datetime
    ) -> bool:
        changed = catalog.record_stocks(
            installation=installation,
            variant_id=facts.variant_id,
            product_id=facts.product_id,
            stocks=facts.stocks,
            seen_at=envelope.issued_at or now,
        )
        if changed:
            fact = triggers.StockChanged(installation, facts.variant_id, now)
            journeys.observe(fact=fact, now=now)
        return bool(changed)


class StockChangedInChannel(StockChanged):
    """Sent only while the shop computes availability by channel.

    Saleor 3.23 learned these events in a patch release, and names only "3.23" when it asks for the
    manifest: they are taken from 3.24 on, so that no 3.23 refuses the whole manifest.
    """

    events = (
        "product_variant_back_in_stock_in_channel",
        "product_variant_out_of_stock_in_channel",
    )
    since = (3, 24)


@dataclass(frozen=True)
class PriceFacts:
    variant_id: str
    product_id: str
    channel_slug: str
    currency: str
    amount: Decimal


class DiscountedPriceChanged(Subscription):
    """The new price is taken; `previousPrice` is not asked for, since a promotion makes it wrong."""

    events = ("product_variant_discounted_price_updated",)
    permission = "MANAGE_PRODUCTS"
    since = (3, 22)
    selection = "productVariant { id product { id } } channel { slug } newPrice { amount currency }"

    @classmethod
    def normalise(cls, payload: Payload) -> PriceFacts:
        node = node_of(payload, "productVariant")
        try:
            return PriceFacts(
                variant_id=str(node["id"]),
                product_id=str(node_of(node, "product")["id"]),
                channel_slug=str(payload["channel"]["slug"]),
                currency=str(payload["newPrice"]["currency"]),
                amount=Decimal(str(payload["newPrice"]["amount"])),
            )
        except (KeyError, TypeError, ArithmeticError):
            raise MalformedPayload("The payload has no channel or new price.") from None

    @classmethod
    def apply(
        cls, *, installation: Installation, facts: PriceFacts, envelope: Envelope, now: datetime
    ) -> bool:
        return bool(
            catalog.record_discounted_price(
                installation=installation,
                variant_id=facts.variant_id,
                product_id=facts.product_id,
                channel_slug=facts.channel_slug,
                currency=facts.currency,
                amount=facts.amount,
                seen_at=envelope.issued_at or now,
            )
        )


class CategorySaved(_Saved):
    events = ("category_created", "category_updated")
    permission = "MANAGE_PRODUCTS"
    selection = "category { ...CategoryFields }"
    node = "category"
    read = staticmethod(nodes.read_category)
    record = staticmethod(catalog.record_categories)


class CategoryDeleted(_Deletion):
    events = ("category_deleted",)
    permission = "MANAGE_PRODUCTS"
    selection = "category { id }"
    node = "category"
    model = Category


class CollectionSaved(_Saved):
    events = ("collection_created", "collection_updated")
    permission = "MANAGE_PRODUCTS"
    selection = "collection { ...CollectionFields }"
    node = "collection"
    read = staticmethod(nodes.read_collection)
    record = staticmethod(catalog.record_collections)


class CollectionDeleted(_Deletion):
    events = ("collection_deleted",)
    permission = "MANAGE_PRODUCTS"
    selection = "collection { id }"
    node = "collection"
    model = Collection


class PageSaved(_Saved):
    """What a page is about is asked afterwards (`ingestion.pages`).

    Saleor renders these events before it stores the page's attributes: a new page has none in them, a
    changed one its old ones.
    """

    events = ("page_created", "page_updated")
    permission = "MANAGE_PAGES"
    selection = "page { ...PageFields }"
    node = "page"
    read = staticmethod(nodes.read_page)
    record = staticmethod(catalog.record_pages)


class PageDeleted(_Deletion):
    events = ("page_deleted",)
    permission = "MANAGE_PAGES"
    selection = "page { id }"
    node = "page"
    model = Page


class ChannelSaved(_Saved):
    events = ("channel_created", "channel_updated", "channel_status_changed")
    permission = "MANAGE_CHANNELS"
    selection = "channel { ...ChannelFields }"
    node = "channel"
    read = staticmethod(nodes.read_channel)
    record = staticmethod(catalog.record_channels)


class ChannelDeleted(_Deletion):
    events = ("channel_deleted",)
    permission = "MANAGE_CHANNELS"
    selection = "channel { id }"
    node = "channel"
    model = SalesChannel
