"""What a shop's Saleor says about a checkout this very moment. Webhooks may still be under way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, ClassVar

from django.utils.dateparse import parse_datetime

from saleor_personalize.exceptions import MalformedPayload
from saleor_personalize.models import Checkout, Installation, email_hash
from saleor_personalize.saleor_api.client import SaleorClient

#: What Saleor says of a line whose variant the sales channel no longer offers.
_NOT_AVAILABLE = "CheckoutLineProblemVariantNotAvailable"


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
    email_hash: str = ""
    user_id: str = ""
    lines: tuple[LiveLine, ...] = ()

    def differs_from(self, checkout: Checkout) -> bool:
        """Tell whether lines or contact are others than we know: a change has not reached us yet."""
        mine = sorted((line["variant_id"], line["quantity"]) for line in checkout.lines)
        theirs = sorted((line.variant_id, line.quantity) for line in self.lines)
        return mine != theirs or not self.is_of_same_person(checkout)

    def is_of_same_person(self, checkout: Checkout) -> bool:
        """Tell whether the cart shows the address and the customer that we know it by."""
        mine = (checkout.email_hash, checkout.user_saleor_id)
        return mine == (self.email_hash, self.user_id)


@dataclass(frozen=True)
class AboutCheckout:
    """The question of a cart: does it still exist, what can be bought, has its person ordered?

    `address` is the person's e-mail; "" if none is known.
    """

    checkout: Checkout
    address: str

    @property
    def key(self) -> str:
        return self.checkout.saleor_id

    def ask(self) -> LiveCheckout:
        return ask_saleor(self.checkout, self.address)


@dataclass(frozen=True)
class AboutOrders:
    """The question whether a person has ordered since; asked by the scheduler, whatever the trigger.

    `address` is the person's e-mail, `user_id` their Saleor user; one of them may be empty. `others` are
    pairs of the same for whoever is known under more than one.
    """

    #: Where the answer is: True or False.
    KEY: ClassVar[str] = "orders"

    installation: Installation
    address: str
    user_id: str
    since: datetime
    others: tuple[tuple[str, str], ...] = ()

    @property
    def key(self) -> str:
        return self.KEY

    def ask(self) -> bool:
        """Ask the shop. Raises SaleorApiError, or MalformedPayload for an answer that says too little."""
        with SaleorClient(self.installation) as client:
            return any(
                self._has_ordered(client, address, user_id)
                for address, user_id in ((self.address, self.user_id), *self.others)
            )

    def _has_ordered(self, client: SaleorClient, address: str, user_id: str) -> bool:
        answer = client.execute(
            "OrdersNow",
            {
                "address": address,
                "hasAddress": bool(address),
                "since": self.since.isoformat(),
                "userId": user_id,
                "isCustomer": bool(user_id),
            },
        )
        return read_orders(answer, since=self.since, address=address)


@dataclass(frozen=True)
class AboutOrdersBefore(AboutOrders):
    """The same for the time before the stay began, which decides about a code: may the person have one?"""

    KEY: ClassVar[str] = "orders before"


def read_orders(answer: Mapping[str, Any], *, since: datetime, address: str) -> bool:
    """Read the `data` of OrdersNow: whether one by the address or the customer came after `since`."""
    try:
        customer = answer.get("customer") or {"orders": {"edges": []}}
        found = orders_of_address(answer, address)
        mine = [order for order in found if is_of(order, address)]
        return any(counts(order, since) for order in [*mine, *nodes_of(customer["orders"])])
    except (KeyError, TypeError, ValueError) as error:
        raise MalformedPayload(
            f"Saleor's answer to OrdersNow cannot be read: {error!r}."
        ) from error


def ask_saleor(checkout: Checkout, address: str) -> LiveCheckout:
    """Ask the shop about a checkout and about orders of its person since it last changed.

    `address` is the person's e-mail, if one is known. Raises SaleorApiError, or MalformedPayload when
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
                "hasAddress": bool(address),
                "since": checkout.orders_count_from.isoformat(),
                "userId": checkout.user_saleor_id,
                "isCustomer": bool(checkout.user_saleor_id),
            },
        )
    return read_answer(answer, since=checkout.orders_count_from, address=address)


def read_answer(answer: Mapping[str, Any], *, since: datetime, address: str) -> LiveCheckout:
    """Read the `data` of CheckoutNow; orders by `address` or customer count from `since` on."""
    try:
        node = answer["checkout"]
        customer = answer.get("customer") or {"orders": {"edges": []}}
        is_ordered = (
            bool(answer["orders"]["edges"])
            or any(
                counts(order, since) and is_of(order, address)
                for order in orders_of_address(answer, address)
            )
            or any(counts(order, since) for order in nodes_of(customer["orders"]))
        )
        if node is None:
            return LiveCheckout(exists=False, is_ordered=is_ordered)
        user = node["user"] or {"id": "", "email": ""}
        contact = node["email"] or user["email"]
        is_open = bool(node["channel"]["isActive"])
        return LiveCheckout(
            exists=True,
            is_ordered=is_ordered,
            changed_at=_time(node["updatedAt"]),
            email_hash=email_hash(contact) if contact else "",
            user_id=user["id"],
            lines=tuple(_line(line, is_open=is_open) for line in node["lines"]),
        )
    except (KeyError, TypeError, ValueError, ArithmeticError) as error:
        raise MalformedPayload(
            f"Saleor's answer to CheckoutNow cannot be read: {error!r}."
        ) from error


def orders_of_address(answer: Mapping[str, Any], address: str) -> list[Mapping[str, Any]]:
    """Return the orders by an address; without one the shop was asked about the customer alone."""
    return nodes_of(answer["ordersOfAddress"]) if address else []


def nodes_of(connection: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [edge["node"] for edge in connection["edges"]]


def counts(order: Mapping[str, Any], since: datetime) -> bool:
    """Tell whether an order was placed since then.

    One that staff made without a cart is dated by its draft: its last change has to do.
    """
    moment = order["created"] if order["checkoutId"] else order["updatedAt"]
    return order["status"] != "DRAFT" and _time(moment) >= since


def is_of(order: Mapping[str, Any], address: str) -> bool:
    """Tell whether an order shows the address. Older Saleors also find similar ones."""
    shown = (order["userEmail"], (order["user"] or {}).get("email"))
    return email_hash(address) in {email_hash(text) for text in shown if text}


def _line(node: Mapping[str, Any], *, is_open: bool) -> LiveLine:
    variant, price = node["variant"], node["unitPrice"]["gross"]
    product, available = variant["product"], variant["quantityAvailable"]
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
        is_sellable=is_open
        and bool(product["isAvailable"])
        # None: the shop keeps no stock of it, and sets no limit.
        and (available is None or available >= 1)
        # `isAvailable` is about the product, and for apps says nothing of its publication.
        and _NOT_AVAILABLE not in {problem["__typename"] for problem in node["problems"] or ()},
    )


def _time(text: str) -> datetime:
    moment = parse_datetime(text)
    if moment is None or moment.tzinfo is None:
        raise ValueError("a time without a time zone")
    return moment
