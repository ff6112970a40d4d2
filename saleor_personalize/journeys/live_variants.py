"""What a shop's Saleor says about a variant in a sales channel this very moment. Webhooks may be under way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from saleor_personalize.catalog.queries import translations
from saleor_personalize.enums import IdentityKind
from saleor_personalize.exceptions import MalformedPayload
from saleor_personalize.journeys.live import counts, is_of, nodes_of, orders_of_address
from saleor_personalize.messaging import links
from saleor_personalize.messaging.rendering import format_money
from saleor_personalize.models import Identity, Installation, Profile
from saleor_personalize.saleor_api.client import SaleorClient
from saleor_personalize.saleor_api.nodes import entered_side


@dataclass(frozen=True)
class LiveVariant:
    """`pieces`: how many can be bought in the sales channel, None when stock is not counted.

    `price` is what a shopper pays now, promotions included, `undiscounted_price` without them; both as they are
    entered in Saleor (with or without tax). `is_bought`: the person ordered this variant since they were asked
    about.
    """

    exists: bool
    is_bought: bool
    is_sellable: bool = False
    pieces: int | None = 0
    price: Decimal | None = None
    undiscounted_price: Decimal | None = None
    gross_price: Decimal | None = None
    currency: str = ""
    product_id: str = ""
    product_name: str = ""
    product_slug: str = ""
    variant_name: str = ""
    image_url: str = ""


@dataclass(frozen=True)
class AboutVariant:
    """The question of a variant: how many pieces are there in the channel, at what price; has the person bought it?

    `address` is the person's e-mail or empty, `user_id` the person's Saleor user or empty; what they
    bought counts from `since` on.
    """

    installation: Installation
    variant_id: str
    channel_slug: str
    address: str
    user_id: str
    country_code: str
    since: datetime

    @classmethod
    def of(
        cls, *, profile: Profile, variant_id: str, channel_slug: str, address: str, since: datetime
    ) -> AboutVariant:
        """Return the question on behalf of a person."""
        users = Identity.objects.of(profile.installation_id).filter(
            profile__in=profile.person(), kind=IdentityKind.SALEOR_USER
        )
        return cls(
            installation=profile.installation,
            variant_id=variant_id,
            channel_slug=channel_slug,
            address=address,
            user_id=users.order_by("pk").values_list("value", flat=True).first() or "",
            country_code=profile.country_code,
            since=since,
        )

    @property
    def key(self) -> str:
        return f"{self.variant_id}/{self.channel_slug}"

    def ask(self) -> LiveVariant:
        """Ask the shop. Raises SaleorApiError, or MalformedPayload for an answer that says too little."""
        with SaleorClient(self.installation) as client:
            answer = client.execute(
                "VariantNow",
                {
                    "id": self.variant_id,
                    "channel": self.channel_slug,
                    "country": self.country_code or None,
                    "address": self.address,
                    "hasAddress": bool(self.address),
                    "since": self.since.isoformat(),
                    "userId": self.user_id,
                    "isCustomer": bool(self.user_id),
                },
            )
        return read_answer(
            answer, variant_id=self.variant_id, since=self.since, address=self.address
        )


def read_answer(
    answer: Mapping[str, Any], *, variant_id: str, since: datetime, address: str
) -> LiveVariant:
    """Read the `data` of VariantNow; orders by `address` or customer count from `since` on."""
    try:
        customer = answer.get("customer") or {"orders": {"edges": []}}
        orders = [
            *(order for order in orders_of_address(answer, address) if is_of(order, address)),
            *nodes_of(customer["orders"]),
        ]
        is_bought = any(counts(order, since) and _holds(order, variant_id) for order in orders)
        node, channel = answer["productVariant"], answer["channel"]
        if node is None or channel is None:
            return LiveVariant(exists=False, is_bought=is_bought)
        return _variant(node, channel, is_bought=is_bought)
    except (KeyError, TypeError, ValueError, ArithmeticError) as error:
        raise MalformedPayload(
            f"Saleor's answer to VariantNow cannot be read: {error!r}."
        ) from error


def _holds(order: Mapping[str, Any], variant_id: str) -> bool:
    return any((line["variant"] or {}).get("id") == variant_id for line in order["lines"])


def _variant(
    node: Mapping[str, Any], channel: Mapping[str, Any], *, is_bought: bool
) -> LiveVariant:
    product = node["product"]
    pieces = _pieces(node, channel)
    prices = node["pricing"] or {}
    side = entered_side(channel)
    paid, full = prices.get("price"), prices.get("priceUndiscounted")
    return LiveVariant(
        exists=True,
        is_bought=is_bought,
        is_sellable=bool(channel["isActive"])
        and bool(product["isAvailable"])
        and paid is not None
        and (pieces is None or pieces > 0),
        pieces=pieces,
        price=None if paid is None else Decimal(str(paid[side]["amount"])),
        undiscounted_price=None if full is None else Decimal(str(full[side]["amount"])),
        gross_price=None if paid is None else Decimal(str(paid["gross"]["amount"])),
        currency=channel["currencyCode"],
        product_id=product["id"],
        product_name=product["name"],
        product_slug=product["slug"],
        # Saleor names a variant without a name by its id.
        variant_name="" if node["name"] in {None, node["id"]} else node["name"],
        image_url=(product["thumbnail"] or {}).get("url") or "",
    )


def _pieces(node: Mapping[str, Any], channel: Mapping[str, Any]) -> int | None:
    """Count the pieces in the channel's warehouses. `quantityAvailable` is cut off at what one may order."""
    if not node["trackInventory"]:
        return None
    if node["quantityAvailable"] == 0:
        return 0
    warehouses = {warehouse["id"] for warehouse in channel["warehouses"]}
    counts = (
        max(int(stock["quantity"] - stock["quantityAllocated"] - stock["quantityReserved"]), 0)
        for stock in node["stocks"] or ()
        if stock["warehouse"]["id"] in warehouses
    )
    return sum(counts)


def shown(
    installation: Installation, live: LiveVariant, channel_slug: str, language_code: str
) -> dict[str, str]:
    """Return a variant as templates see it: `name` (translated), `variant_name`, `image_url`, `url`, `price`."""
    price = live.gross_price
    names = translations(
        installation=installation, ids=[live.product_id], language_code=language_code
    )
    return {
        "name": names.get(live.product_id, live.product_name),
        "variant_name": live.variant_name,
        "image_url": live.image_url,
        "url": links.product_url(
            slug=live.product_slug, product_id=live.product_id, channel_slug=channel_slug
        ),
        "price": "" if price is None else format_money(price, live.currency, language_code),
    }
