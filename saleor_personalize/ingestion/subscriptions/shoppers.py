"""Events of carts, orders and customers."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from saleor_personalize.analytics import operations as analytics
from saleor_personalize.enums import ErasureSource
from saleor_personalize.events import operations as events
from saleor_personalize.events.facts import is_of_erased
from saleor_personalize.ingestion.subscriptions.base import Envelope, Payload, Subscription
from saleor_personalize.ingestion.subscriptions.catalog import node_of
from saleor_personalize.journeys import operations as journeys
from saleor_personalize.models import Installation, Order
from saleor_personalize.offers import operations as offers
from saleor_personalize.profiles import consent
from saleor_personalize.saleor_api import nodes


class CheckoutSaved(Subscription):
    """A cart, rendered from its row as it is when Saleor's worker gets to it, which may be late."""

    # Shops may announce metadata apart, and the opt-in is metadata.
    events = ("checkout_created", "checkout_updated", "checkout_metadata_updated")
    permission = "MANAGE_CHECKOUTS"
    selection = "checkout { ...CheckoutFields }"

    @classmethod
    def normalise(cls, payload: Payload) -> nodes.CheckoutData:
        return nodes.read_checkout(node_of(payload, "checkout"))

    @classmethod
    def apply(
        cls,
        *,
        installation: Installation,
        facts: nodes.CheckoutData,
        envelope: Envelope,
        now: datetime,
    ) -> bool:
        recorded = events.record_checkouts(
            installation=installation, data=[facts], now=now, seen_at=envelope.issued_at
        )
        for one in recorded:
            # Also when nothing is new: a back-fill, which enrolls nobody, may have been faster.
            journeys.follow_checkout(checkout=one.row, now=now)
        return any(one.changed for one in recorded)

    @classmethod
    def is_of_erased(cls, *, installation: Installation, facts: nodes.CheckoutData) -> bool:
        return is_of_erased(installation=installation, data=facts)


class OrderSaved(Subscription):
    """Any event of an order carries the whole order; which one arrives first does not matter."""

    events = (
        "order_created",
        "order_updated",
        "order_confirmed",
        "order_fully_paid",
        "order_cancelled",
    )
    permission = "MANAGE_ORDERS"
    selection = "order { ...OrderFields }"

    @classmethod
    def normalise(cls, payload: Payload) -> nodes.OrderData:
        return nodes.read_order(node_of(payload, "order"))

    @classmethod
    def apply(
        cls,
        *,
        installation: Installation,
        facts: nodes.OrderData,
        envelope: Envelope,
        now: datetime,
    ) -> bool:
        changed = events.record_orders(
            installation=installation, data=[facts], now=now, seen_at=envelope.issued_at
        )
        analytics.follow_orders(installation=installation, ids=changed, now=now)
        journeys.follow_orders(installation=installation, ids=changed, now=now)
        for order in Order.objects.of(installation).filter(pk__in=changed):
            offers.follow_order(order=order, now=now)
            consent.follow_order(
                order=order,
                metadata=facts.metadata,
                country_code=facts.country_code,
                language_code=facts.language_code,
                now=now,
            )
        return bool(changed)

    @classmethod
    def is_of_erased(cls, *, installation: Installation, facts: nodes.OrderData) -> bool:
        return is_of_erased(installation=installation, data=facts)


class CustomerSaved(Subscription):
    events = ("customer_created", "customer_updated", "account_confirmed")
    permission = "MANAGE_USERS"
    selection = "user { ...CustomerFields }"

    @classmethod
    def normalise(cls, payload: Payload) -> nodes.CustomerData:
        return nodes.read_customer(node_of(payload, "user"))

    @classmethod
    def apply(
        cls,
        *,
        installation: Installation,
        facts: nodes.CustomerData,
        envelope: Envelope,
        now: datetime,
    ) -> bool:
        return bool(events.record_customers(installation=installation, data=[facts], now=now))

    @classmethod
    def is_of_erased(cls, *, installation: Installation, facts: nodes.CustomerData) -> bool:
        return is_of_erased(installation=installation, data=facts)


@dataclass(frozen=True)
class DeletedCustomer:
    user_id: str
    email: str


class CustomerDeleted(Subscription):
    """Two events, one meaning: a shopper deletes the account, or staff delete the customer."""

    events = ("customer_deleted", "account_deleted")
    permission = "MANAGE_USERS"
    selection = "user { id email }"

    @classmethod
    def normalise(cls, payload: Payload) -> DeletedCustomer:
        node = node_of(payload, "user")
        return DeletedCustomer(user_id=str(node["id"]), email=str(node.get("email") or ""))

    @classmethod
    def apply(
        cls,
        *,
        installation: Installation,
        facts: DeletedCustomer,
        envelope: Envelope,
        now: datetime,
    ) -> bool:
        return events.forget_customer(
            installation=installation,
            user_id=facts.user_id,
            email=facts.email,
            requested_by=ErasureSource(envelope.event),
            deleted_at=envelope.issued_at or now,
            now=now,
        )

    @classmethod
    def is_of_erased(cls, *, installation: Installation, facts: DeletedCustomer) -> bool:
        return True
