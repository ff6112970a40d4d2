"""What a shop's Saleor says about a checkout this very moment. Webhooks may still be under way."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.utils.dateparse import parse_datetime

from saleor_personalize.exceptions import MalformedPayload
from saleor_personalize.models import Checkout
from saleor_personalize.saleor_api.client import SaleorClient


@dataclass(frozen=True)
class LiveLine:
    """One line as Saleor shows it now; prices are gross, per piece, discounts included."""

    product_id: str
    variant_id: str
    product_name: str
    variant_name: str
    quantity: int
    unit_price: Decimal
    currency: str
    image_url: str
    is_sellable: bool


@dataclass(frozen=True)
class LiveCheckout:
    """`is_ordered`: this checkout, this address or this customer has an order since."""

    exists: bool
    is_ordered: bool
    changed_at: datetime | None = None
    channel_slug: str = ""
    language_code: str = ""
    lines: tuple[LiveLine, ...] = ()

    def differs_from(self, checkout: Checkout) -> bool:
        """Tell whether the lines are others than those we know: a change has not reached us yet."""
        mine = sorted((line["variant_id"], line["quantity"]) for line in checkout.lines)
        return mine != sorted((line.variant_id, line.quantity) for line in self.lines)


def ask_saleor(checkout: Checkout, address: str) -> LiveCheckout:
    """Ask the shop about a checkout and about orders of its person since it last changed.

    `address` is the e-mail that would be written to. Raises SaleorApiError, or MalformedPayload when
    the answer lacks what a decision needs: then nothing may be sent.
    """
    with SaleorClient(checkout.installation) as client:
        answer = client.execute(
            "CheckoutNow",
            {
                "id": checkout.saleor_id,
                "checkoutIds": [checkout.saleor_id],
                "country": checkout.profile.country_code or None,
                "address": address,
                # Saleor filters by day, in a time zone of its own.
                "since": (checkout.last_changed_at - timedelta(days=1)).date().isoformat(),
                "userId": checkout.user_saleor_id,
                "isCustomer": bool(checkout.user_saleor_id),
            },
        )
    return read_answer(answer, since=checkout.last_changed_at)


def read_answer(answer: Mapping[str, Any], *, since: datetime) -> LiveCheckout:
    """Read the `data` of CheckoutNow; orders by address or customer count from `since` on."""
    try:
        node = answer["checkout"]
        customer = answer.get("customer") or {"orders": {"edges": []}}
        is_ordered = bool(answer["orders"]["edges"]) or any(
            placed_at >= since
            for placed_at in _placed(answer["ordersOfAddress"], customer["orders"])
        )
        if node is None:
            return LiveCheckout(exists=False, is_ordered=is_ordered)
        return LiveCheckout(
            exists=True,
            is_ordered=is_ordered,
            changed_at=_time(node["updatedAt"]),
            channel_slug=node["channel"]["slug"],
            language_code=node["languageCode"] or "",
            lines=tuple(_line(line) for line in node["lines"]),
        )
    except (KeyError, TypeError, ValueError, ArithmeticError) as error:
        raise MalformedPayload(
            f"Saleor's answer to CheckoutNow cannot be read: {error!r}."
        ) from error


def _placed(*connections: Mapping[str, Any]) -> Iterable[datetime]:
    for connection in connections:
        for edge in connection["edges"]:
            yield _time(edge["node"]["created"])


def _line(node: Mapping[str, Any]) -> LiveLine:
    variant, price = node["variant"], node["unitPrice"]["gross"]
    product = variant["product"]
    return LiveLine(
        product_id=product["id"],
        variant_id=variant["id"],
        product_name=product["name"],
        # Saleor names a variant without a name by its id.
        variant_name="" if variant["name"] in {None, variant["id"]} else variant["name"],
        quantity=int(node["quantity"]),
        unit_price=Decimal(str(price["amount"])),
        currency=price["currency"],
        image_url=(product["thumbnail"] or {}).get("url") or "",
        is_sellable=bool(product["isAvailable"]) and (variant["quantityAvailable"] or 0) >= 1,
    )


def _time(text: str) -> datetime:
    moment = parse_datetime(text)
    if moment is None or moment.tzinfo is None:
        raise ValueError("a time without a time zone")
    return moment
