"""What Saleor must allow this app, no wider than it is used."""

from __future__ import annotations

from saleor_personalize.conf import settings
from saleor_personalize.ingestion.subscriptions import SUBSCRIPTIONS
from saleor_personalize.offers.operations import PERMISSION as OFFER_PERMISSION

#: What the queries of `saleor_api/queries` cannot be asked without: stocks, orders, checkouts, and
#: customers with the checkouts that belong to them.
QUERY_PERMISSIONS = frozenset(
    {"MANAGE_PRODUCTS", "MANAGE_ORDERS", "MANAGE_CHECKOUTS", "MANAGE_USERS"}
)


def needed_permissions() -> list[str]:
    """Return the permissions that the queries, the subscriptions and offers need, and no other.

    Vouchers of offers are made and withdrawn with MANAGE_DISCOUNTS; without OFFERS nobody asks for it.
    """
    asked = {s.permission for s in SUBSCRIPTIONS if s.permission} | QUERY_PERMISSIONS
    return sorted(asked | {OFFER_PERMISSION} if settings.OFFERS else asked)


def events_of(saleor_version: tuple[int, int]) -> list[str]:
    """Return the events that this version of Saleor knows and we subscribe to."""
    return [
        event
        for subscription in SUBSCRIPTIONS
        if subscription.since <= saleor_version
        for event in subscription.events
    ]
