"""A shop that makes vouchers, a person, and workers that can be killed at any step."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.db import transaction

from saleor_personalize.enums import (
    IdentityKind,
    MessageStatus,
    NotSentReason,
    OfferReason,
    Purpose,
)
from saleor_personalize.events import operations as events
from saleor_personalize.exceptions import OfferNotMade
from saleor_personalize.messaging import operations as messaging
from saleor_personalize.messaging.channels.base import OutgoingMessage
from saleor_personalize.models import (
    Identity,
    Installation,
    Message,
    Offer,
    Order,
    Profile,
    SalesChannel,
)
from saleor_personalize.offers import operations as offers
from saleor_personalize.offers import vouchers
from saleor_personalize.offers.terms import Terms, read
from saleor_personalize.profiles import identity
from saleor_personalize.saleor_api.nodes import OrderData
from saleor_personalize.testing.saleor import FakeSaleor, InstalledApp
from tests.conftest import NOW, make_installation

PERMISSIONS = [
    "MANAGE_PRODUCTS",
    "MANAGE_ORDERS",
    "MANAGE_CHECKOUTS",
    "MANAGE_USERS",
    "MANAGE_DISCOUNTS",
]
TEN_PERCENT = read({"percent": 10, "expires": timedelta(days=7), "name": "Ten"})
FIRST_ORDER = read({"percent": 15, "expires": timedelta(days=30), "first_order": True})


class Killed(BaseException):
    """SIGKILL, as far as a test can: nothing catches it."""


def installed(shop: FakeSaleor, permissions: list[str] = PERMISSIONS) -> Installation:
    """Put the app into a shop, with the sales channels that it would have read."""
    app = InstalledApp("QXBwOjE=", "saleor.personalize", "a-working-token", permissions, [])
    shop.apps[app.id] = app
    installation = make_installation(
        saleor_api_url=shop.api_url,
        auth_token=app.token,
        jwks=shop.key.jwks(),
        permissions=permissions,
    )
    for channel in shop.channels:
        SalesChannel.objects.create(
            installation=installation,
            saleor_id=channel["id"],
            slug=channel["slug"],
            currency=channel["currencyCode"],
            seen_at=NOW,
        )
    return installation


class Dying:
    """A connection that ends with its worker: before or after an operation reached Saleor."""

    def __init__(self, saleor: vouchers.Saleor, when: str, operation: str) -> None:
        self.saleor, self.when, self.operation = saleor, when, operation

    def execute(
        self, operation_name: str, variables: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        if (self.when, self.operation) == ("before", operation_name):
            raise Killed
        answer = self.saleor.execute(operation_name, variables)
        if (self.when, self.operation) == ("after", operation_name):
            raise Killed
        return answer


@contextmanager
def dying(installation: Installation, *, when: str, operation: str) -> Iterator[vouchers.Saleor]:
    with vouchers.connect(installation) as saleor:
        yield Dying(saleor, when, operation)


def dies(when: str, operation: str) -> vouchers.Connect:
    return functools.partial(dying, when=when, operation=operation)


@dataclass
class Decision:
    """What the deciding transaction left: what is to be handed over now."""

    offer: Offer
    message: Message
    outgoing: OutgoingMessage


def decide(
    profile: Profile,
    terms: Terms = TEN_PERCENT,
    *,
    key: str = "journey:1",
    now: datetime = NOW,
    channel_slug: str = "default-channel",
) -> Decision | NotSentReason:
    """Decide as the scheduler does: lock the person, reserve, write the message, commit."""
    ids = Identity.objects.filter(profile__in=profile.person()).values_list("kind", "value")
    with transaction.atomic():
        identity.lock_identities(profile.installation, list(ids))
        offer = offers.reserve(
            profile=profile, terms=terms, key=key, channel_slug=channel_slug, now=now
        )
        if isinstance(offer, NotSentReason):
            return offer
        draft = messaging.Draft(
            key=key, profile=profile, template="welcome", purpose=Purpose.MARKETING
        )
        message = messaging.prepare(draft=draft)
        messaging.begin_hand_over(message=message, content={}, now=now)
    outgoing = OutgoingMessage(
        key=message.public_id.hex,
        recipient="alice@example.com",
        sender="Shop <shop@example.com>",
        subject="A present",
        text=f"Your code: {offer.code}",
        html=f"<p>{offer.code}</p>",
    )
    return Decision(offer, message, outgoing)


def decided(profile: Profile, terms: Terms = TEN_PERCENT, **changes: Any) -> Decision:
    found = decide(profile, terms, **changes)
    assert isinstance(found, Decision), found
    return found


def send(
    decision: Decision, *, now: datetime = NOW, connect: vouchers.Connect = vouchers.connect
) -> bool:
    """Make the code, hand the message over and take the code back, as the scheduler does."""
    offer, message = decision.offer, decision.message
    try:
        offers.make(offer=offer, now=now, connect=connect)
    except OfferNotMade as error:
        reason = NotSentReason.OFFER_NOT_FIRST if error.is_void else NotSentReason.OFFER_NOT_MADE
        wants_retry = messaging.give_up(
            message=message,
            reason=reason,
            error=str(error),
            is_retryable=error.is_retryable,
            now=now,
        )
    else:
        wants_retry = messaging.hand_over(message=message, outgoing=decision.outgoing, now=now)
    if message.status == MessageStatus.FAILED:
        offers.withdraw(offer=offer, reason=OfferReason.MESSAGE_FAILED, now=now, connect=connect)
    return wants_retry


def order(
    installation: Installation, number: int = 1, *, at: datetime = NOW, **changes: Any
) -> Order:
    """A shopper buys, and Saleor tells us."""
    data = OrderData(
        **{
            "id": f"order-{number}",
            "number": str(number),
            "placed_at": at,
            "updated_at": at,
            "status": "UNFULFILLED",
            "email": "alice@example.com",
            "user_id": "",
            "user_email": "",
            "checkout_id": f"cart-of-{number}",
            "channel_slug": "default-channel",
            "currency": "USD",
            "total": Decimal(20),
            "undiscounted_total": Decimal(20),
            "language_code": "EN",
            "lines": (),
            **changes,
        }
    )
    (pk,) = events.record_orders(installation=installation, data=[data], now=at)
    row = Order.objects.get(pk=pk)
    offers.follow_order(order=row, now=at)
    return row


def person(installation: Installation, email: str) -> Profile:
    found = Identity.objects.filter(installation=installation, kind=IdentityKind.EMAIL)
    return next(row.profile for row in found.select_related("profile") if row.address == email)
