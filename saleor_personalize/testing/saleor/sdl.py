"""The made-up shop's schema: Saleor's names, written out where Saleor repeats a pattern."""

from __future__ import annotations

import functools
from pathlib import Path

from graphql import GraphQLSchema, build_schema

#: family of events -> (field of the payload, its type, the events)
_EVENTS = {
    "product": ("Product", ("ProductCreated", "ProductUpdated", "ProductDeleted")),
    "productVariant": (
        "ProductVariant",
        (
            "ProductVariantCreated",
            "ProductVariantUpdated",
            "ProductVariantDeleted",
            "ProductVariantStockUpdated",
            "ProductVariantBackInStock",
            "ProductVariantOutOfStock",
            "ProductVariantBackInStockInChannel",
            "ProductVariantOutOfStockInChannel",
        ),
    ),
    "category": ("Category", ("CategoryCreated", "CategoryUpdated", "CategoryDeleted")),
    "collection": ("Collection", ("CollectionCreated", "CollectionUpdated", "CollectionDeleted")),
    "page": ("Page", ("PageCreated", "PageUpdated", "PageDeleted")),
    "channel": (
        "Channel",
        ("ChannelCreated", "ChannelUpdated", "ChannelStatusChanged", "ChannelDeleted"),
    ),
    "checkout": ("Checkout", ("CheckoutCreated", "CheckoutUpdated", "CheckoutMetadataUpdated")),
    "order": (
        "Order",
        (
            "OrderCreated",
            "OrderUpdated",
            "OrderConfirmed",
            "OrderFullyPaid",
            "OrderPaid",
            "OrderCancelled",
            "OrderFulfilled",
        ),
    ),
    "user": (
        "User",
        (
            "CustomerCreated",
            "CustomerUpdated",
            "CustomerDeleted",
            "AccountConfirmed",
            "AccountDeleted",
        ),
    ),
    "translation": ("TranslationTypes", ("TranslationCreated", "TranslationUpdated")),
    "app": ("App", ("AppStatusChanged", "AppDeleted")),
}
_CONNECTIONS = (
    "Category",
    "Collection",
    "Voucher",
    "VoucherCode",
    "Product",
    "ProductVariant",
    "Page",
    "User",
    "Order",
    "Checkout",
)
_ENVELOPE = "issuedAt: DateTime version: String issuingPrincipal: IssuingPrincipal recipient: App"


def text() -> str:
    """Return the whole schema in SDL."""
    events = [
        f"type {name} implements Event {{ {_ENVELOPE} {field}: {type_} }}"
        for field, (type_, names) in _EVENTS.items()
        for name in names
    ]
    events.append(
        f"type ProductVariantDiscountedPriceUpdated implements Event {{ {_ENVELOPE}"
        " productVariant: ProductVariant channel: Channel newPrice: Money }"
    )
    connections = [
        f"type {name}CountableConnection {{ totalCount: Int pageInfo: PageInfo!"
        f" edges: [{name}CountableEdge!]! }}\ntype {name}CountableEdge {{ node: {name}! }}"
        for name in _CONNECTIONS
    ]
    source = Path(__file__).with_name("schema.graphql").read_text()
    return source.replace("\nEVENTS\n", "\n".join(events)).replace(
        "\nCONNECTIONS\n", "\n".join(connections)
    )


@functools.cache
def schema() -> GraphQLSchema:
    return build_schema(text())
