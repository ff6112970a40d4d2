"""Readers: a node of Saleor, as `queries/fragments.graphql` asks for it, to a frozen data class.

Webhooks, back-fills and live checks all read through here. A reader raises MalformedPayload with
the path of what is missing or of the wrong kind; it never guesses.
"""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from django.utils.dateparse import parse_datetime

from saleor_personalize.exceptions import MalformedPayload
from saleor_personalize.saleor_api.documents import TRANSLATION

Node = Mapping[str, Any]

#: States of a fulfillment whose pieces came back. One that is replaced came back too.
_SENT_BACK = frozenset({"RETURNED", "REFUNDED_AND_RETURNED", "REPLACED"})


@dataclass(frozen=True)
class ChannelData:
    id: str
    slug: str
    currency: str
    is_active: bool
    warehouse_ids: tuple[str, ...]


@dataclass(frozen=True)
class CategoryData:
    id: str
    name: str
    slug: str
    parent_id: str
    updated_at: datetime | None
    # As in ProductData.
    translations: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class CollectionData:
    id: str
    name: str
    slug: str


@dataclass(frozen=True)
class StockData:
    warehouse_id: str
    quantity: int
    quantity_allocated: int


@dataclass(frozen=True)
class VariantPriceData:
    channel_slug: str
    currency: str
    price: Decimal | None
    # What it costs the shop; None where that is not told.
    cost_price: Decimal | None = None


@dataclass(frozen=True)
class VariantData:
    id: str
    product_id: str
    name: str
    sku: str
    is_stock_tracked: bool
    updated_at: datetime | None
    stocks: tuple[StockData, ...]
    prices: tuple[VariantPriceData, ...]


@dataclass(frozen=True)
class ShopperPriceData:
    """What a variant costs in one sales channel, as it was entered in Saleor (with or without tax)."""

    variant_id: str
    product_id: str
    channel_slug: str
    currency: str
    # Without promotions.
    price: Decimal
    # What a shopper pays, promotions included; the same where none runs.
    discounted_price: Decimal


@dataclass(frozen=True)
class ListingData:
    channel_slug: str
    currency: str
    is_published: bool
    published_at: datetime | None
    is_visible_in_listings: bool
    available_for_purchase_at: datetime | None
    # The cheapest variant's price, discounts included.
    price: Decimal | None


@dataclass(frozen=True)
class ProductData:
    id: str
    name: str
    slug: str
    description: str
    product_type: str
    category_id: str
    collection_ids: tuple[str, ...]
    attributes: tuple[tuple[str, tuple[str, ...]], ...]
    thumbnail_url: str
    created_at: datetime | None
    updated_at: datetime | None
    listings: tuple[ListingData, ...]
    variants: tuple[VariantData, ...]
    # language, such as "de" or "pt-br" -> name; empty where the shop has no translation.
    translations: Mapping[str, str] = field(default_factory=dict)
    # slug of an attribute -> global ids of the products that it refers to
    references: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    # slug of an attribute -> global ids of the pages that it refers to
    pages: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class TranslationData:
    """A name, or the title of a page, in a language; empty when it was taken back."""

    # A key of TRANSLATABLE.
    kind: str
    owner_id: str
    language_code: str
    name: str


@dataclass(frozen=True)
class PageAttributeData:
    slug: str
    # Names of its values, where they are choices that other pages can share.
    tags: tuple[str, ...]
    # Global ids of what it refers to.
    references: tuple[str, ...]


@dataclass(frozen=True)
class PageData:
    id: str
    title: str
    slug: str
    page_type: str
    is_published: bool
    published_at: datetime | None
    # None where they were not asked for.
    attributes: tuple[PageAttributeData, ...] | None = None
    translations: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class CheckoutLineData:
    id: str
    variant_id: str
    product_id: str
    quantity: int
    unit_price: Decimal


@dataclass(frozen=True)
class CheckoutData:
    id: str
    token: str
    created_at: datetime
    updated_at: datetime
    email: str
    user_id: str
    user_email: str
    language_code: str
    channel_slug: str
    currency: str
    total: Decimal
    lines: tuple[CheckoutLineData, ...]
    metadata: Mapping[str, str]
    country_code: str = ""


@dataclass(frozen=True)
class OrderLineData:
    id: str
    variant_id: str
    product_id: str
    name: str
    quantity: int
    unit_price: Decimal
    quantity_returned: int = 0


@dataclass(frozen=True)
class OrderData:
    id: str
    number: str
    placed_at: datetime
    updated_at: datetime
    status: str
    email: str
    user_id: str
    user_email: str
    checkout_id: str
    channel_slug: str
    currency: str
    total: Decimal
    language_code: str
    lines: tuple[OrderLineData, ...]
    metadata: Mapping[str, str] = field(default_factory=dict)
    country_code: str = ""
    # Before every discount; None in deliveries of old, and where Saleor does not tell.
    undiscounted_total: Decimal | None = None
    voucher_code: str = ""
    # Paid back so far; deliveries of old tell nothing of it.
    total_refunded: Decimal = Decimal(0)


@dataclass(frozen=True)
class CustomerData:
    id: str
    email: str
    first_name: str
    is_active: bool
    is_confirmed: bool
    language_code: str
    country_code: str
    joined_at: datetime
    updated_at: datetime


@contextmanager
def _reading(what: str, node: Any) -> Iterator[None]:
    """Turn a missing or odd field into MalformedPayload; the text names the field, not its value."""
    try:
        yield
    except KeyError as error:
        raise MalformedPayload(f"{what} has no field {error.args[0]!r}.") from None
    except (TypeError, ValueError, ArithmeticError, AttributeError) as error:
        kind = type(node).__name__
        raise MalformedPayload(
            f"{what} ({kind}) cannot be read: {type(error).__name__} in one of its fields."
        ) from None


def moment_of(value: object) -> datetime | None:
    """Return a date and time with a zone in UTC; None for anything else.

    PostgreSQL holds moments that Python cannot read back, such as the year 0: one row with such a
    moment would fail every read of its table.
    """
    try:
        moment = parse_datetime(value) if isinstance(value, str) else None
        return moment.astimezone(UTC) if moment is not None and moment.tzinfo is not None else None
    except (ValueError, OverflowError):
        return None


def _time(value: Any) -> datetime:
    moment = moment_of(value)
    if moment is None:
        raise ValueError("not a date and time with a zone")
    return moment


def _time_or_none(value: Any) -> datetime | None:
    return None if value is None else _time(value)


def _amount(money: Node) -> Decimal:
    amount = Decimal(str(money["amount"]))
    if not amount.is_finite():
        raise ValueError("not a finite amount")
    return amount


def _id_of(node: Node | None) -> str:
    return "" if node is None else str(node["id"])


def _country_of(node: Node) -> str:
    """Return where a cart or an order goes, else who pays for it; deliveries of old lack both."""
    for name in ("shippingAddress", "billingAddress"):
        if node.get(name) is not None:
            return str(node[name]["country"]["code"])[:2]
    return ""


def plain_text(editor_js: str | None) -> str:
    """Return the words of a Saleor rich text (EditorJS JSON), without marks or structure."""
    if not editor_js:
        return ""
    try:
        blocks = json.loads(editor_js)["blocks"]
        found: list[str] = []
        waiting = [block.get("data", {}) for block in reversed(blocks)]
        while waiting:
            part = waiting.pop()
            if isinstance(part, str):
                found.append(part)
            elif isinstance(part, Mapping):
                waiting += [
                    part[key] for key in ("items", "text", "caption", "content") if key in part
                ]
            elif isinstance(part, list):
                waiting += reversed(part)
    except (ValueError, KeyError, TypeError, AttributeError):
        return ""
    from django.utils.html import strip_tags

    return " ".join(strip_tags(text) for text in found).strip()


def read_channel(node: Node) -> ChannelData:
    with _reading("A channel", node):
        return ChannelData(
            id=str(node["id"]),
            slug=str(node["slug"]),
            currency=str(node["currencyCode"]),
            is_active=bool(node["isActive"]),
            warehouse_ids=tuple(_id_of(w) for w in node["warehouses"] or ()),
        )


def read_category(node: Node) -> CategoryData:
    with _reading("A category", node):
        return CategoryData(
            id=str(node["id"]),
            name=str(node["name"]),
            slug=str(node["slug"]),
            parent_id=_id_of(node["parent"]),
            updated_at=_time_or_none(node["updatedAt"]),
            translations=_translations(node, "name"),
        )


def read_collection(node: Node) -> CollectionData:
    with _reading("A collection", node):
        return CollectionData(id=str(node["id"]), name=str(node["name"]), slug=str(node["slug"]))


def read_stocks(nodes: Any) -> tuple[StockData, ...]:
    with _reading("The stocks of a variant", nodes):
        return tuple(
            StockData(
                warehouse_id=_id_of(stock["warehouse"]),
                quantity=int(stock["quantity"]),
                quantity_allocated=int(stock["quantityAllocated"]),
            )
            for stock in nodes or ()
        )


def read_variant(node: Node) -> VariantData:
    stocks = read_stocks(node.get("stocks"))
    with _reading("A product variant", node):
        return VariantData(
            id=str(node["id"]),
            product_id=_id_of(node["product"]),
            name=str(node["name"] or ""),
            sku=str(node["sku"] or ""),
            is_stock_tracked=bool(node["trackInventory"]),
            updated_at=_time_or_none(node["updatedAt"]),
            stocks=stocks,
            prices=tuple(
                VariantPriceData(
                    channel_slug=str(listing["channel"]["slug"]),
                    currency=str(listing["channel"]["currencyCode"]),
                    price=None if listing["price"] is None else _amount(listing["price"]),
                    cost_price=_amount(listing["costPrice"]) if listing.get("costPrice") else None,
                )
                for listing in node["channelListings"] or ()
            ),
        )


def entered_side(channel: Node) -> str:
    """Return the side of a TaxedMoney that staff enter in a sales channel: "gross" or "net"."""
    return "gross" if channel["taxConfiguration"]["pricesEnteredWithTax"] else "net"


def read_shopper_price(node: Node) -> ShopperPriceData:
    """Read a variant that is sold in a sales channel, given beside its fields as `channel`."""
    with _reading("The price of a product variant", node):
        side = entered_side(node["channel"])
        paid, full = (node["pricing"][name][side] for name in ("price", "priceUndiscounted"))
        return ShopperPriceData(
            variant_id=str(node["id"]),
            product_id=_id_of(node["product"]),
            channel_slug=str(node["channel"]["slug"]),
            currency=str(paid["currency"]),
            price=_amount(full),
            discounted_price=_amount(paid),
        )


def _referred(row: Node, kind: str) -> tuple[str, ...]:
    """Return the objects of a kind that an attribute refers to; older deliveries tell none."""
    ids = [str(value.get("reference") or "") for value in row["values"]]
    return tuple(id_ for id_ in ids if kind_of(id_) == kind)


def kind_of(global_id: str) -> str:
    """Return the type in a global id: "Product" of "UHJvZHVjdDox"; empty where there is none."""
    try:
        kind, colon, _ = base64.b64decode(global_id, validate=True).partition(b":")
        return kind.decode("ascii") if colon else ""
    except ValueError:
        return ""


def read_product(node: Node) -> ProductData:
    with _reading("A product", node):
        variants = tuple(read_variant(variant) for variant in node["variants"] or ())
        return ProductData(
            id=str(node["id"]),
            name=str(node["name"]),
            slug=str(node["slug"]),
            description=plain_text(node["description"]),
            product_type=str(node["productType"]["name"]),
            category_id=_id_of(node["category"]),
            collection_ids=tuple(sorted(_id_of(c) for c in node["collections"] or ())),
            attributes=tuple(
                (
                    str(row["attribute"]["slug"] or ""),
                    tuple(str(value["name"] or "") for value in row["values"]),
                )
                for row in node["attributes"]
            ),
            thumbnail_url=str((node["thumbnail"] or {}).get("url", "")),
            created_at=_time_or_none(node["created"]),
            updated_at=_time_or_none(node["updatedAt"]),
            listings=tuple(
                ListingData(
                    channel_slug=str(listing["channel"]["slug"]),
                    currency=str(listing["channel"]["currencyCode"]),
                    is_published=bool(listing["isPublished"]),
                    published_at=_time_or_none(listing["publishedAt"]),
                    is_visible_in_listings=bool(listing["visibleInListings"]),
                    available_for_purchase_at=_time_or_none(listing["availableForPurchaseAt"]),
                    price=None
                    if listing["discountedPrice"] is None
                    else _amount(listing["discountedPrice"]),
                )
                for listing in node["channelListings"] or ()
            ),
            variants=variants,
            references={
                str(row["attribute"]["slug"] or ""): found
                for row in node["attributes"]
                if (found := _referred(row, "Product"))
            },
            pages={
                str(row["attribute"]["slug"] or ""): found
                for row in node["attributes"]
                if (found := _referred(row, "Page"))
            },
            translations=_translations(node, "name"),
        )


#: What has a name in further languages -> where its translation has the id of its owner, and the name.
TRANSLATABLE = {
    "Product": ("productId", "name"),
    "Category": ("categoryId", "name"),
    "Page": ("pageId", "title"),
}


def read_translation(kind: str, node: Node) -> TranslationData:
    with _reading(f"A translation of a {kind.lower()}", node):
        id_field, name_field = TRANSLATABLE[kind]
        return TranslationData(
            kind=kind,
            owner_id=str(node["translatableContent"][id_field]),
            language_code=_language_of(str(node["language"]["code"])),
            name=_name_of(node, name_field),
        )


def read_page(node: Node) -> PageData:
    with _reading("A page", node):
        rows = node.get("attributes")
        return PageData(
            id=str(node["id"]),
            title=str(node["title"]),
            slug=str(node["slug"]),
            page_type=str(node["pageType"]["slug"]),
            is_published=bool(node["isPublished"]),
            published_at=_time_or_none(node["publishedAt"]),
            attributes=None if rows is None else tuple(_page_attribute(row) for row in rows),
            translations=_translations(node, "title"),
        )


def read_page_state(node: Node) -> tuple[str, tuple[bool, datetime | None]]:
    """Return the id of a page, and whether and since when it is published."""
    with _reading("A page", node):
        return str(node["id"]), (bool(node["isPublished"]), _time_or_none(node["publishedAt"]))


#: Input types whose values are choices. All others are written for one page, such as a text or a date.
_CHOICES = frozenset({"DROPDOWN", "MULTISELECT", "SWATCH"})


def _page_attribute(row: Node) -> PageAttributeData:
    has_choices = row["attribute"]["inputType"] in _CHOICES
    references = [str(value["reference"] or "") for value in row["values"]]
    return PageAttributeData(
        slug=str(row["attribute"]["slug"] or ""),
        tags=tuple(str(value["name"] or "") for value in row["values"] if has_choices),
        references=tuple(id_ for id_ in references if id_),
    )


def _translations(node: Node, name: str) -> dict[str, str]:
    return {
        _language_of(key.removeprefix(TRANSLATION)): _name_of(translation, name)
        for key, translation in node.items()
        if key.startswith(TRANSLATION)
    }


def _language_of(code: str) -> str:
    """Return a language of Saleor ("PT_BR") as browsers write it, in lower case ("pt-br")."""
    return code.lower().replace("_", "-")


def _name_of(translation: Node | None, field_name: str) -> str:
    return str((translation or {}).get(field_name) or "")


def read_checkout(node: Node) -> CheckoutData:
    with _reading("A checkout", node):
        user = node["user"]
        total = node["totalPrice"]["gross"]
        return CheckoutData(
            id=str(node["id"]),
            token=str(node["token"]),
            created_at=_time(node["created"]),
            updated_at=_time(node["updatedAt"]),
            email=str(node["email"] or ""),
            user_id=_id_of(user),
            user_email="" if user is None else str(user["email"] or ""),
            language_code=str(node["languageCode"] or ""),
            channel_slug=str(node["channel"]["slug"]),
            currency=str(total["currency"]),
            total=_amount(total),
            lines=tuple(
                CheckoutLineData(
                    id=str(line["id"]),
                    variant_id=str(line["variant"]["id"]),
                    product_id=_id_of(line["variant"]["product"]),
                    quantity=int(line["quantity"]),
                    unit_price=_amount(line["unitPrice"]["gross"]),
                )
                for line in node["lines"]
            ),
            metadata={str(item["key"]): str(item["value"]) for item in node["metadata"] or ()},
            country_code=_country_of(node),
        )


def read_order(node: Node) -> OrderData:
    with _reading("An order", node):
        user = node["user"]
        total = node["total"]["gross"]
        returned = _returned(node)
        return OrderData(
            id=str(node["id"]),
            number=str(node["number"] or ""),
            placed_at=_time(node["created"]),
            updated_at=_time(node["updatedAt"]),
            status=str(node["status"]),
            email=str(node["userEmail"] or ""),
            user_id=_id_of(user),
            user_email="" if user is None else str(user["email"] or ""),
            checkout_id=str(node["checkoutId"] or ""),
            channel_slug=str(node["channel"]["slug"]),
            currency=str(total["currency"]),
            total=_amount(total),
            language_code=str(node["languageCodeEnum"] or ""),
            lines=tuple(
                OrderLineData(
                    id=str(line["id"]),
                    variant_id=str(line["productVariantId"] or ""),
                    # The variant may be gone; the line stays.
                    product_id=""
                    if line["variant"] is None
                    else _id_of(line["variant"]["product"]),
                    name=" ".join(filter(None, (line["productName"], line["variantName"]))),
                    quantity=int(line["quantity"]),
                    unit_price=_amount(line["unitPrice"]["gross"]),
                    quantity_returned=min(returned[str(line["id"])], int(line["quantity"])),
                )
                for line in node["lines"]
            ),
            metadata={str(item["key"]): str(item["value"]) for item in node.get("metadata") or ()},
            country_code=_country_of(node),
            undiscounted_total=_amount(node["undiscountedTotal"]["gross"])
            if node.get("undiscountedTotal")
            else None,
            voucher_code=str(node.get("voucherCode") or ""),
            total_refunded=_amount(node["totalRefunded"])
            if node.get("totalRefunded")
            else Decimal(0),
        )


def _returned(node: Node) -> Counter[str]:
    """Count the pieces that were sent back, by the id of their line."""
    pieces: Counter[str] = Counter()
    for fulfillment in node.get("fulfillments") or ():
        if fulfillment["status"] in _SENT_BACK:
            for line in fulfillment.get("lines") or ():
                # The line may be gone.
                if line["orderLine"] is not None:
                    pieces[str(line["orderLine"]["id"])] += int(line["quantity"])
    return pieces


def read_customer(node: Node) -> CustomerData:
    with _reading("A customer", node):
        address = node["defaultShippingAddress"]
        return CustomerData(
            id=str(node["id"]),
            email=str(node["email"] or ""),
            first_name=str(node["firstName"] or ""),
            is_active=bool(node["isActive"]),
            is_confirmed=bool(node["isConfirmed"]),
            language_code=str(node["languageCode"] or ""),
            country_code="" if address is None else str(address["country"]["code"]),
            joined_at=_time(node["dateJoined"]),
            updated_at=_time(node["updatedAt"]),
        )
