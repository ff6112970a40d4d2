"""A made-up shop that speaks Saleor's wire format over HTTP: GraphQL, JWKS, install, signed webhooks.

State is kept in plain dicts shaped like GraphQL types; a value that is computed is a function, as
graphql-core's default resolver calls it. Webhooks behave as observed on a live Saleor: deferred ones
are rendered when sent, 5xx is retried, 3xx and 4xx never are, and a deactivated app gets nothing.
"""

from __future__ import annotations

import base64
import copy
import functools
import json
import logging
import queue
import ssl
import threading
import uuid
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
from graphql import DocumentNode, ExecutionResult, GraphQLError, execute, parse, validate

from saleor_personalize.testing.keys import SigningKey
from saleor_personalize.testing.saleor import catalogue
from saleor_personalize.testing.saleor.pictures import picture
from saleor_personalize.testing.saleor.sdl import schema
from saleor_personalize.testing.saleor.vouchers import Vouchers

logger = logging.getLogger(__name__)

VERSION = "3.24.0"
Node = dict[str, Any]


#: Of shops that are closed, for those that come: making one takes a while.
_keys: list[SigningKey] = []


@functools.cache
def _ssl_context() -> ssl.SSLContext:
    # To load the certificates takes a while, too.
    return httpx.create_ssl_context()


def global_id(kind: str, key: object) -> str:
    return base64.b64encode(f"{kind}:{key}".encode()).decode()


def _iso(moment: datetime) -> str:
    return moment.isoformat()


def _money(amount: float, currency: str) -> Node:
    return {"amount": round(amount, 2), "currency": currency}


def _in_german(id_: str, **texts: str) -> Callable[..., Node | None]:
    """Return a resolver of `translation`: in German there is one."""
    return lambda info, languageCode: {"id": f"{id_}-DE", **texts} if languageCode == "DE" else None


def _taxed(amount: float, currency: str) -> Node:
    money = _money(amount, currency)
    return {"currency": currency, "gross": money, "net": money}


@dataclass
class Webhook:
    event: str
    url: str
    document: DocumentNode
    name: str = ""

    def node(self) -> Node:
        return {
            "id": global_id("Webhook", self.event),
            "name": self.name,
            "isActive": True,
            "targetUrl": self.url,
        }


@dataclass
class InstalledApp:
    id: str
    identifier: str
    token: str
    permissions: list[str]
    webhooks: list[Webhook]
    is_active: bool = True

    def node(self) -> Node:
        return {
            "__typename": "App",
            "id": self.id,
            "identifier": self.identifier,
            "isActive": self.is_active,
            "permissions": [{"code": code, "name": code} for code in self.permissions],
            "webhooks": [webhook.node() for webhook in self.webhooks],
        }


@dataclass
class Caller:
    """Who sent a GraphQL request: an app, a customer, or nobody."""

    app: InstalledApp | None = None
    user: Node | None = None


@dataclass
class Delivery:
    """One webhook on its way; `answers` are the status codes received, 0 for no answer."""

    webhook: Webhook
    headers: dict[str, str]
    body: bytes
    answers: list[int] = field(default_factory=list)


class Shop:
    """The state of the shop and what can be done in it. Thread-safe by one lock."""

    #: Saleor tries again after 10, 20, 40, 80 and 160 seconds; made-up shops are more impatient.
    retry_delays: Sequence[float] = (0.2, 0.4, 0.8, 1.6, 3.2)

    def __init__(self, *, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self.clock = clock
        self.lock = threading.RLock()
        self._key: SigningKey | None = None
        self.api_url = ""
        self.apps: dict[str, InstalledApp] = {}
        self.channels: list[Node] = []
        self.warehouses: list[Node] = []
        self.categories: dict[str, Node] = {}
        self.collections: dict[str, Node] = {}
        self.products: dict[str, Node] = {}
        self.pages: dict[str, Node] = {}
        self.pictures: dict[int, str] = {}
        self.variants: dict[str, Node] = {}
        self.users: dict[str, Node] = {}
        self.checkouts: dict[str, Node] = {}
        #: what carts can be sent by, as Saleor's `ShippingMethod`
        self.shipping_methods: list[Node] = []
        #: (variant, slug of a sales channel) -> what it costs there while a promotion runs
        self.promotions: dict[tuple[str, str], float] = {}
        #: key -> message of what our app reported about itself
        self.problems: dict[str, str] = {}
        self.orders: dict[str, Node] = {}
        self.vouchers = Vouchers()
        self.deliveries: list[Delivery] = []
        self._outbox: queue.Queue[Callable[[], None] | None] = queue.Queue()
        self._sender: threading.Thread | None = None
        self._http = httpx.Client(timeout=18, verify=_ssl_context())

    @property
    def key(self) -> SigningKey:
        """What it signs with; no other open shop does."""
        with self.lock:
            if self._key is None:
                self._key = _keys.pop() if _keys else SigningKey.generate("made-up-shop")
            return self._key

    # -- filling ----------------------------------------------------------------------------------

    @property
    def default_channel(self) -> str:
        return str(self.channels[0]["slug"])

    def fill(
        self, *, products: int = 66, customers: int = 40, orders: int = 300, checkouts: int = 5
    ) -> None:
        """Make a plausible shop; the same numbers make the same shop, but for its random ids."""
        now = self.clock()
        self.warehouses = [
            {"id": global_id("Warehouse", n), "name": n.title(), "slug": n}
            for n in ("quay", "hill")
        ]
        self.channels = [
            self._channel("default-channel", "USD"),
            self._channel("channel-pln", "PLN"),
        ]
        self.vouchers.channels = self.channels
        ideas = catalogue.ideas(products)
        for name in dict.fromkeys(idea.category for idea in ideas):
            self._category(name, now)
        self.collections["c"] = {
            "id": global_id("Collection", 1),
            "name": "For rainy days",
            "slug": "for-rainy-days",
        }
        for i, idea in enumerate(ideas):
            self._product(i, idea, now - timedelta(days=400 - i % 390))
        for i, guide in enumerate(catalogue.GUIDES):
            self._page(i, guide, now - timedelta(days=100 - 10 * i))
        for i in range(customers):
            self.add_customer(f"customer{i}@example.com", first_name=f"Customer {i}")
        people = list(self.users.values())
        ids = list(self.products)
        for i, basket in enumerate(catalogue.baskets(orders, ideas)):
            user = people[i % len(people)] if people and i % 3 else None
            placed = now - timedelta(days=180 * (orders - i) / max(orders, 1), minutes=i % 60 + 1)
            self._order(
                lines=[(self._first_variant(ids[p]), 1) for p in basket],
                channel=self.channels[0],
                email=user["email"] if user else f"guest{i % 50}@example.com",
                user=user,
                checkout_id=None,
                at=placed,
            )
        for i in range(checkouts):
            self.create_checkout(
                channel=self.default_channel,
                lines=[(self._first_variant(ids[i])["id"], 1)],
                email=f"open{i}@example.com",
                at=now - timedelta(days=2),
            )

    def _channel(self, slug: str, currency: str) -> Node:
        return {
            "id": global_id("Channel", slug),
            "slug": slug,
            "name": slug.replace("-", " ").title(),
            "isActive": True,
            "currencyCode": currency,
            "taxConfiguration": {"pricesEnteredWithTax": True},
            "warehouses": self.warehouses,
        }

    def _category(self, name: str, now: datetime) -> None:
        number = len(self.categories) + 1
        self.categories[name] = {
            "id": global_id("Category", number),
            "name": name,
            "slug": name.lower(),
            "updatedAt": _iso(now),
            "parent": None,
            "translation": lambda info, languageCode: (
                {"id": global_id("CategoryTranslation", number), "name": catalogue.GERMAN[name]}
                if languageCode == "DE" and name in catalogue.GERMAN
                else None
            ),
        }

    def _product(self, number: int, idea: catalogue.ProductIdea, created: datetime) -> None:
        id_ = global_id("Product", number + 100)
        variant_id = global_id("ProductVariant", number + 500)
        product: Node = {
            "id": id_,
            "name": idea.name,
            "slug": idea.name.lower().replace(" ", "-").replace(",", ""),
            "description": json.dumps(
                {"blocks": [{"type": "paragraph", "data": {"text": idea.text}}]}
            ),
            "created": _iso(created),
            "updatedAt": _iso(created),
            "productType": {"id": global_id("ProductType", 1), "name": "Goods"},
            "category": self.categories[idea.category],
            "collections": [self.collections["c"]] if idea.material == "stoneware" else [],
            "thumbnail": lambda info, **_: {"url": self._picture(number)},
            "attributes": [
                {
                    "attribute": {
                        "id": global_id("Attribute", 1),
                        "slug": "material",
                        "name": "Material",
                    },
                    "values": [
                        {"id": global_id("AttributeValue", idea.material), "name": idea.material}
                    ],
                },
                {
                    "attribute": {
                        "id": global_id("Attribute", 4),
                        "slug": "brand",
                        "name": "Brand",
                    },
                    "values": [{"id": global_id("AttributeValue", idea.brand), "name": idea.brand}],
                },
            ],
            "translation": _in_german(id_, name=idea.german),
            "channelListings": [],
            "variants": lambda info: [
                v for v in self.variants.values() if v["product_id"] == id_ and not v.get("gone")
            ],
            "isAvailable": lambda info: self.is_available(id_),
            "pricing": lambda info: {
                "priceRange": dict.fromkeys(("start", "stop"), self._price(variant_id))
            },
        }
        for channel, rate in zip(self.channels, (1.0, 4.0), strict=True):
            product["channelListings"].append(
                {
                    "id": global_id("ProductChannelListing", f"{number}-{channel['slug']}"),
                    "channel": channel,
                    "isPublished": True,
                    "publishedAt": _iso(created),
                    "visibleInListings": True,
                    "availableForPurchaseAt": _iso(created),
                    "discountedPrice": _money(idea.price * rate, channel["currencyCode"]),
                }
            )
        self.products[id_] = product
        self.pictures[number] = picture(idea)
        self.variants[variant_id] = {
            "id": variant_id,
            "product_id": id_,
            "name": "",
            "sku": f"TEA-{number:05}",
            "updatedAt": _iso(created),
            "trackInventory": True,
            "product": product,
            "stocks": [
                {
                    "id": global_id("Stock", f"{number}-{w['slug']}"),
                    "warehouse": w,
                    "quantity": 20,
                    "quantityAllocated": 0,
                    "quantityReserved": 0,
                }
                for w in self.warehouses
            ],
            "channelListings": [
                {
                    "id": global_id("ProductVariantChannelListing", f"{number}-{c['slug']}"),
                    "channel": c,
                    "price": _money(idea.price * rate, c["currencyCode"]),
                }
                for c, rate in zip(self.channels, (1.0, 4.0), strict=True)
            ],
            "quantityAvailable": lambda info, **_: self.available(variant_id),
        }

    def _page(self, number: int, guide: catalogue.GuideIdea, created: datetime) -> None:
        id_ = global_id("Page", number + 1)
        products = [
            p
            for p in self.products.values()
            if guide.product and p["name"].startswith(guide.product)
        ]
        self.pages[id_] = {
            "id": id_,
            "title": guide.title,
            "slug": guide.title.lower().replace(" ", "-"),
            "created": _iso(created),
            "isPublished": True,
            "publishedAt": _iso(created),
            "pageType": {"id": global_id("PageType", 1), "name": "Guide", "slug": "guide"},
            "attributes": [
                {
                    "attribute": {
                        "id": global_id("Attribute", 2),
                        "slug": "topics",
                        "name": "Topics",
                        "inputType": "MULTISELECT",
                    },
                    "values": [
                        {"id": global_id("AttributeValue", f"topic-{tag}"), "name": tag}
                        for tag in guide.tags
                    ],
                },
                {
                    "attribute": {
                        "id": global_id("Attribute", 3),
                        "slug": "products",
                        "name": "Products",
                        "inputType": "REFERENCE",
                    },
                    "values": [
                        {
                            "id": global_id("AttributeValue", f"{number}_{p['id']}"),
                            "name": p["name"],
                            "reference": p["id"],
                        }
                        for p in products
                    ],
                },
            ],
            "translation": _in_german(id_, title=guide.german),
        }

    def _picture(self, number: int) -> str:
        return self.api_url.replace("/graphql/", f"/thumbnail/{number}.svg")

    def _first_variant(self, product_id: str) -> Node:
        return next(v for v in self.variants.values() if v["product_id"] == product_id)

    def channel(self, slug: str) -> Node | None:
        return next((channel for channel in self.channels if channel["slug"] == slug), None)

    def variant_in(self, variant_id: str, channel_slug: str | None) -> Node | None:
        """Return a variant as it is sold in a sales channel; without one it has no price."""
        variant = self.variants.get(variant_id)
        if variant is None or channel_slug is None:
            return variant
        full = self._listed(variant, channel_slug)["price"]
        return {
            **variant,
            "pricing": {
                "price": self._price(variant_id, channel_slug),
                "priceUndiscounted": _taxed(full["amount"], full["currency"]),
            },
        }

    def products_in(self, channel_slug: str) -> list[Node]:
        """Return the products as they are sold in a sales channel."""
        return [
            {
                **product,
                "variants": lambda info, of=product: [
                    self.variant_in(variant["id"], channel_slug) for variant in of["variants"](info)
                ],
            }
            for product in self.products.values()
        ]

    def _listed(self, variant: Node, channel_slug: str) -> Node:
        listings: list[Node] = variant["channelListings"]
        return next(each for each in listings if each["channel"]["slug"] == channel_slug)

    def _amount(self, variant: Node, channel_slug: str) -> float:
        """Return what a shopper pays for a variant."""
        full: float = self._listed(variant, channel_slug)["price"]["amount"]
        return self.promotions.get((variant["id"], channel_slug), full)

    def _price(self, variant_id: str, channel_slug: str = "") -> Node:
        slug = channel_slug or self.default_channel
        variant = self.variants[variant_id]
        currency = self._listed(variant, slug)["price"]["currency"]
        return _taxed(self._amount(variant, slug), currency)

    # -- facts ------------------------------------------------------------------------------------

    def available(self, variant_id: str) -> int:
        stocks = self.variants[variant_id]["stocks"]
        return int(sum(s["quantity"] - s["quantityAllocated"] for s in stocks))

    def is_available(self, product_id: str) -> bool:
        product = self.products.get(product_id)
        return bool(
            product
            and product["channelListings"][0]["isPublished"]
            and any(
                self.available(v["id"]) > 0
                for v in self.variants.values()
                if v["product_id"] == product_id
            )
        )

    # -- staff ------------------------------------------------------------------------------------

    def add_customer(self, email: str, *, first_name: str = "") -> Node:
        now = _iso(self.clock())
        id_ = global_id("User", len(self.users) + 1)
        user: Node = {
            "__typename": "User",
            "id": id_,
            "email": email,
            "firstName": first_name,
            "lastName": "",
            "isActive": True,
            "isConfirmed": True,
            "languageCode": "EN",
            "dateJoined": now,
            "updatedAt": now,
            "defaultShippingAddress": None,
            "defaultBillingAddress": None,
            "addresses": [],
            "orders": lambda info, first=20: _connection(
                [o for o in self.orders.values() if (o["user"] or {}).get("id") == id_], first
            ),
        }
        self.users[id_] = user
        self.emit("customer_created", "user", user)
        return user

    def add_past_order(self, user: Node, names: Sequence[str], *, days_ago: int) -> Node:
        """Add what a customer bought before anybody listened: one each of the products called so."""
        bought = [p["id"] for name in names for p in self.products.values() if p["name"] == name]
        return self._order(
            lines=[(self._first_variant(id_), 1) for id_ in bought],
            channel=self.channels[0],
            email=user["email"],
            user=user,
            checkout_id=None,
            at=self.clock() - timedelta(days=days_ago),
        )

    def delete_customer(self, user_id: str) -> None:
        with self.lock:
            user = self.users.pop(user_id)
            for order in self.orders.values():
                if (order["user"] or {}).get("id") == user_id:
                    order["user"] = None
        self.emit("customer_deleted", "user", user)

    def update_product(self, product_id: str, **changes: Any) -> None:
        product = self.products[product_id]
        product.update(changes, updatedAt=_iso(self.clock()))
        self.emit("product_updated", "product", product)

    def set_published(self, product_id: str, published: bool) -> None:
        for listing in self.products[product_id]["channelListings"]:
            listing["isPublished"] = published
        self.update_product(product_id)

    def delete_product(self, product_id: str) -> None:
        product = self.products.pop(product_id)
        for variant_id in [i for i, v in self.variants.items() if v["product_id"] == product_id]:
            del self.variants[variant_id]
        self.emit("product_deleted", "product", {**product, "channelListings": [], "variants": []})

    def update_page(self, page_id: str, **changes: Any) -> None:
        """Change a page. Saleor sends the event before it stores attributes."""
        page = self.pages[page_id]
        self.emit("page_updated", "page", page)
        page.update(changes)

    def delete_page(self, page_id: str) -> None:
        self.emit("page_deleted", "page", self.pages.pop(page_id))

    def delete_pages_in_bulk(self, *page_ids: str) -> None:
        """Saleor tells nobody."""
        for page_id in page_ids:
            del self.pages[page_id]

    def offer_delivery(self, *, price: float, free_from: float) -> None:
        """Let carts of the first channel be sent for a price, or for nothing from an amount on."""
        currency = self.channels[0]["currencyCode"]
        self.shipping_methods = [
            {
                "id": global_id("ShippingMethod", name),
                "name": name,
                "active": True,
                "type": "PRICE",
                "price": _money(amount, currency),
                "minimumOrderPrice": _money(minimum, currency),
                "maximumOrderPrice": None,
            }
            for name, amount, minimum in (("Standard", price, 0), ("Free", 0, free_from))
        ]

    def set_stock(self, variant_id: str, quantity: int) -> None:
        """Put `quantity` pieces into the first warehouse and none into the others."""
        variant = self.variants[variant_id]
        before = self.available(variant_id)
        for stock, pieces in zip(
            variant["stocks"], [quantity] + [0] * len(variant["stocks"]), strict=False
        ):
            stock["quantity"] = pieces
        self.emit("product_variant_stock_updated", "productVariant", variant)
        after = self.available(variant_id)
        if before <= 0 < after:
            self.emit("product_variant_back_in_stock", "productVariant", variant)
        if after <= 0 < before:
            self.emit("product_variant_out_of_stock", "productVariant", variant)

    def set_price(self, variant_id: str, amount: float) -> None:
        """A plain price change: only PRODUCT_VARIANT_UPDATED tells."""
        variant = self.variants[variant_id]
        listing = variant["channelListings"][0]
        listing["price"] = _money(amount, listing["channel"]["currencyCode"])
        variant["updatedAt"] = _iso(self.clock())
        self.emit("product_variant_updated", "productVariant", variant)

    def start_promotion(self, variant_id: str, channel_slug: str, amount: float) -> None:
        """Let a variant cost less: only PRODUCT_VARIANT_DISCOUNTED_PRICE_UPDATED tells."""
        self.promotions[variant_id, channel_slug] = amount
        self._tell_price(variant_id, channel_slug)

    def end_promotion(self, variant_id: str, channel_slug: str) -> None:
        del self.promotions[variant_id, channel_slug]
        self._tell_price(variant_id, channel_slug)

    def _tell_price(self, variant_id: str, channel_slug: str) -> None:
        self.emit(
            "product_variant_discounted_price_updated",
            "productVariant",
            self.variants[variant_id],
            channel=self.channel(channel_slug),
            newPrice=self._price(variant_id, channel_slug)["gross"],
        )

    def cancel_order(self, order_id: str) -> None:
        order = self.orders[order_id]
        order.update(status="CANCELED", updatedAt=_iso(self.clock()))
        self.emit("order_cancelled", "order", order)
        self.emit("order_updated", "order", order)

    # -- shoppers ---------------------------------------------------------------------------------

    def create_checkout(
        self,
        *,
        channel: str,
        lines: Iterable[tuple[str, int]],
        email: str | None,
        at: datetime | None = None,
    ) -> Node:
        now = _iso(at or self.clock())
        token = str(uuid.uuid4())
        node = next(c for c in self.channels if c["slug"] == channel)

        def total() -> Node:
            amount = sum(line["quantity"] * line["amount"] for line in checkout["lines"])
            return _taxed(amount, node["currencyCode"])

        checkout: Node = {
            "id": global_id("Checkout", token),
            "token": token,
            "created": now,
            "updatedAt": now,
            "email": email,
            "languageCode": "EN",
            "channel": node,
            "user": None,
            "lines": [],
            "metadata": [],
            "promoCode": None,
            "totalPrice": lambda info: total(),
            "subtotalPrice": lambda info: total(),
            "discount": None,
            "voucherCode": None,
            "isShippingRequired": True,
        }
        self.checkouts[checkout["id"]] = checkout
        self._add_lines(checkout, lines)
        self.emit("checkout_created", "checkout", checkout)
        return checkout

    def _add_lines(self, checkout: Node, lines: Iterable[tuple[str, int]]) -> None:
        currency = checkout["channel"]["currencyCode"]
        for variant_id, quantity in lines:
            if variant_id not in self.variants:
                raise GraphQLError(f"Could not resolve to a variant: {variant_id}")
            variant = self.variants[variant_id]
            amount = self._amount(variant, checkout["channel"]["slug"])
            checkout["lines"].append(
                {
                    "id": global_id("CheckoutLine", uuid.uuid4()),
                    "variant": variant,
                    "quantity": quantity,
                    "amount": amount,
                    "unitPrice": _taxed(amount, currency),
                }
            )

    def change_checkout(self, checkout_id: str, **changes: Any) -> Node:
        checkout = self.checkouts.get(checkout_id)
        if checkout is None:
            raise GraphQLError("Couldn't resolve to a node.")
        self._add_lines(checkout, changes.pop("add_lines", ()))
        checkout.update(changes, updatedAt=_iso(self.clock()))
        self.emit("checkout_updated", "checkout", checkout)
        return checkout

    def complete_checkout(self, checkout_id: str) -> Node:
        """Turn a cart into an order. The cart vanishes; the order's webhooks come out of order."""
        with self.lock:
            checkout = self.checkouts.pop(checkout_id, None)
            if checkout is None:
                raise GraphQLError("Couldn't resolve to a node.")
            order = self._order(
                lines=[(line["variant"], line["quantity"]) for line in checkout["lines"]],
                channel=checkout["channel"],
                email=checkout["email"] or (checkout["user"] or {}).get("email", ""),
                user=checkout["user"],
                checkout_id=checkout_id,
                at=self.clock(),
                metadata=checkout["metadata"],
                voucher_code=checkout["promoCode"],
            )
            if checkout["promoCode"]:
                self.vouchers.use(checkout["promoCode"])
            sold_out = []
            for line in checkout["lines"]:
                line["variant"]["stocks"][0]["quantityAllocated"] += line["quantity"]
                if self.available(line["variant"]["id"]) <= 0:
                    sold_out.append(line["variant"])
        for event in ("order_created", "order_updated", "order_confirmed", "order_fully_paid"):
            self.emit(event, "order", order)
        for variant in sold_out:
            self.emit("product_variant_out_of_stock", "productVariant", variant)
        return order

    def _order(
        self,
        *,
        lines: list[tuple[Node, int]],
        channel: Node,
        email: str,
        user: Node | None,
        checkout_id: str | None,
        at: datetime,
        metadata: Iterable[Node] = (),
        voucher_code: str | None = None,
    ) -> Node:
        currency = channel["currencyCode"]
        prices = [self._amount(variant, channel["slug"]) for variant, _ in lines]
        total = sum(price * quantity for price, (_, quantity) in zip(prices, lines, strict=True))
        order: Node = {
            "id": global_id("Order", uuid.uuid4()),
            "number": str(len(self.orders) + 1),
            "created": _iso(at),
            "updatedAt": _iso(at),
            "status": "UNFULFILLED",
            "origin": "CHECKOUT" if checkout_id else "DRAFT",
            "userEmail": email,
            "checkoutId": checkout_id,
            "languageCodeEnum": "EN",
            "user": user,
            "channel": channel,
            # Saleor copies what the cart carried.
            "metadata": list(metadata),
            # Every voucher of the made-up shop takes a tenth off.
            "total": _taxed(total * (0.9 if voucher_code else 1), currency),
            "undiscountedTotal": _taxed(total, currency),
            "voucherCode": voucher_code,
            "totalRefunded": {"amount": 0, "currency": currency},
            "fulfillments": [],
            "lines": [
                {
                    "id": global_id("OrderLine", uuid.uuid4()),
                    "productVariantId": variant["id"],
                    "variant": variant,
                    "productName": variant["product"]["name"],
                    "variantName": variant["name"],
                    "quantity": quantity,
                    "unitPrice": _taxed(price, currency),
                }
                for price, (variant, quantity) in zip(prices, lines, strict=True)
            ],
        }
        self.orders[order["id"]] = order
        return order

    # -- apps and webhooks --------------------------------------------------------------------------

    def install(self, manifest_url: str, *, activate: bool = True) -> InstalledApp:
        """Install an app as Saleor does; raise AppRefused with the app's own sentence."""
        headers = {"Saleor-Schema-Version": VERSION.rpartition(".")[0]}
        manifest = self._http.get(manifest_url, headers=headers).raise_for_status().json()
        if any(app.identifier == manifest["id"] for app in self.apps.values()):
            raise AppRefused("App with the same identifier is already installed")
        app = InstalledApp(
            id=global_id("App", len(self.apps) + 1 + int(uuid.uuid4()) % 1000),
            identifier=manifest["id"],
            token=uuid.uuid4().hex[:30],
            permissions=manifest.get("permissions", []),
            webhooks=[],
            is_active=activate,
        )
        for row in manifest.get("webhooks", []):
            document = parse(row["query"])
            errors = validate(schema(), document)
            if errors:
                raise AppRefused(f"webhooks INVALID {row['name']}: {errors[0].message}")
            app.webhooks += [
                Webhook(event.lower(), row["targetUrl"], document, row["name"])
                for event in row["asyncEvents"]
            ]
        self.apps[app.id] = app
        domain = self.api_url.split("/")[2]
        answer = self._http.post(
            manifest["tokenTargetUrl"],
            json={"auth_token": app.token},
            headers={**headers, "Saleor-Api-Url": self.api_url, "Saleor-Domain": domain},
        )
        if answer.status_code >= 400:
            del self.apps[app.id]
            raise AppRefused(answer.json()["error"]["message"])
        return app

    def set_app_active(self, app: InstalledApp, is_active: bool) -> None:
        app.is_active = is_active
        self.emit("app_status_changed", "app", app.node(), only=app)

    def delete_app(self, app: InstalledApp) -> None:
        app.is_active = False
        self.emit("app_deleted", "app", app.node(), only=app)
        del self.apps[app.id]

    def emit(
        self, event: str, name: str, node: Node, *, only: InstalledApp | None = None, **more: Any
    ) -> None:
        """Send an event to every app that listens. CHECKOUT_ and ORDER_ are rendered when sent."""
        for app in [only] if only else list(self.apps.values()):
            for webhook in app.webhooks:
                if webhook.event != event or not (app.is_active or only):
                    continue
                is_deferred = event.startswith(("checkout_", "order_"))
                row = node if is_deferred else _frozen(node)
                if is_deferred:
                    self._outbox.put(functools.partial(self._send, app, webhook, name, row, more))
                else:
                    delivery = self._render(app, webhook, name, row, more)
                    self._outbox.put(functools.partial(self._deliver, delivery))

    def _send(self, app: InstalledApp, webhook: Webhook, name: str, node: Node, more: Node) -> None:
        if name == "checkout" and node["id"] not in self.checkouts:
            return  # its row is gone: Saleor never delivers this one
        self._deliver(self._render(app, webhook, name, node, more))

    def _render(
        self, app: InstalledApp, webhook: Webhook, name: str, node: Node, more: Node
    ) -> Delivery:
        typename = "".join(word.capitalize() for word in webhook.event.split("_"))
        with self.lock:
            result = execute(
                schema(),
                webhook.document,
                root_value={
                    "event": {
                        "__typename": typename,
                        "issuedAt": _iso(self.clock()),
                        "version": VERSION,
                        "issuingPrincipal": None,
                        "recipient": app.node(),
                        name: node,
                        **more,
                    }
                },
            )
        if not isinstance(result, ExecutionResult):
            raise TypeError("a resolver of the made-up shop is a coroutine")
        payload = dict((result.data or {}).get("event") or {})
        if result.errors:
            payload["errors"] = [error.formatted for error in result.errors]
        body = json.dumps(payload).encode()
        domain = self.api_url.split("/")[2]
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "Saleor/3.24",
            "Saleor-Event": webhook.event,
            "Saleor-Domain": domain,
            "Saleor-Api-Url": self.api_url,
            "Saleor-Signature": self.key.sign_webhook(body),
        }
        return Delivery(webhook, headers, body)

    def _deliver(self, delivery: Delivery) -> None:
        self.deliveries.append(delivery)
        self._attempt(delivery)

    def _attempt(self, delivery: Delivery) -> None:
        try:
            answer = self._http.post(
                delivery.webhook.url, content=delivery.body, headers=delivery.headers
            ).status_code
        except httpx.TransportError:
            answer = 0
        delivery.answers.append(answer)
        tries = len(delivery.answers)
        if (answer == 0 or answer >= 500) and tries <= len(self.retry_delays):
            timer = threading.Timer(
                self.retry_delays[tries - 1],
                lambda: self._outbox.put(lambda: self._attempt(delivery)),
            )
            timer.daemon = True
            timer.start()

    def start_sending(self) -> None:
        self._sender = threading.Thread(target=self._run_outbox, name="webhooks", daemon=True)
        self._sender.start()

    def stop_sending(self) -> None:
        self._outbox.put(None)
        if self._sender is not None:
            self._sender.join(timeout=20)
        self._http.close()
        if self._key is not None:
            _keys.append(self._key)
            self._key = None

    def _run_outbox(self) -> None:
        while (job := self._outbox.get()) is not None:
            try:
                job()
            except Exception:
                logger.exception("The made-up shop could not send a webhook")
            finally:
                self._outbox.task_done()

    # -- tokens -----------------------------------------------------------------------------------

    def customer_token(self, user: Node) -> str:
        """Return an access token as `tokenCreate` makes it."""
        return self.key.jwt({**self._claims(user), "type": "access", "is_staff": False})

    def dashboard_token(
        self, app: InstalledApp, *, permissions: Sequence[str] | None = None
    ) -> str:
        """Return the token that the Dashboard hands to the frame of an app."""
        staff = {"id": global_id("User", 999), "email": "staff@example.com"}
        granted = list(app.permissions if permissions is None else permissions)
        return self.key.jwt(
            {
                **self._claims(staff),
                "type": "thirdparty",
                "is_staff": True,
                "app": app.id,
                "permissions": granted,
                "user_permissions": [*granted, "MANAGE_APPS"],
            }
        )

    def _claims(self, user: Node) -> Node:
        now = datetime.now(UTC)
        return {
            "iat": now,
            "exp": now + timedelta(minutes=5),
            "owner": "saleor",
            "iss": self.api_url,
            "token": "abcdefghijkl",
            "email": user["email"],
            "user_id": user["id"],
        }


class AppRefused(RuntimeError):
    """An install failed; the text is what the Dashboard would show."""


def _frozen(node: Node) -> Node:
    """Copy the plain parts of a node, so that the payload shows the moment of the event."""
    return {
        key: copy.deepcopy(value) if key in {"stocks", "channelListings"} else value
        for key, value in node.items()
    }


def _connection(rows: Sequence[Node], first: int | None, after: str | None = None) -> Node:
    start = int(after or 0)
    size = 20 if first is None else first
    found = list(rows)[start : start + size]
    return {
        "totalCount": len(rows),
        "pageInfo": {
            "hasNextPage": start + size < len(rows),
            "endCursor": str(start + len(found)) if found else None,
        },
        "edges": [{"node": row} for row in found],
    }


connection = _connection
