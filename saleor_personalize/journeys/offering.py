"""What a journey asks of the offers room: a code for the message that is about to go.

The code is drawn in the deciding transaction (`reserve`), made in Saleor after the commit (`make`) and
taken back if the message certainly did not go (`withdraw`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from saleor_personalize.enums import NotSentReason, OfferReason
from saleor_personalize.models import Enrollment, Installation, Offer, Profile
from saleor_personalize.offers import guard, showing
from saleor_personalize.offers import operations as offers
from saleor_personalize.offers.terms import Terms, of_json
from saleor_personalize.offers.vouchers import Connect, connect

__all__ = [
    "Connect",
    "Reserved",
    "carried",
    "connect",
    "make",
    "objection",
    "release",
    "reserve",
    "withdraw",
]


@dataclass(frozen=True)
class Reserved:
    """An offer whose code is drawn. Nobody can use it yet."""

    offer: Offer
    language_code: str

    @property
    def code(self) -> str:
        return self.offer.code

    def context(self, *, cart_url: str = "") -> dict[str, Any]:
        """Return what templates see: `offer`, and a `cart_url` that carries the code."""
        told = showing.context(
            offer=self.offer, language_code=self.language_code, cart_url=cart_url
        )
        return {"offer": told, "cart_url": told["url"]} if cart_url else {"offer": told}

    @property
    def kept(self) -> dict[str, Any]:
        """What is kept with the message: nothing personal."""
        return showing.content(offer=self.offer)


def reserve(
    *,
    profile: Profile,
    enrollment: Enrollment,
    step_id: str,
    terms: Terms,
    channel_slug: str,
    language_code: str,
    key: str,
    now: datetime,
) -> Reserved | NotSentReason:
    """Draw a code in the caller's transaction, or say why this person gets none.

    `key` is that of the message: by it the offer is found again when its worker was killed.
    """
    found = offers.reserve(
        profile=profile,
        enrollment=enrollment,
        terms=terms,
        channel_slug=channel_slug,
        key=key,
        now=now,
    )
    return found if isinstance(found, NotSentReason) else Reserved(found, language_code)


def carried(*, installation: Installation, key: str, language_code: str) -> Reserved | None:
    """Return the offer that the message of this key told the person of, if it still works."""
    found = offers.working(installation=installation, key=key)
    return None if found is None else Reserved(found, language_code)


def release(*, offer: Reserved) -> None:
    """Forget an offer in the transaction that reserved it."""
    offers.release(offer=offer.offer)


def objection(*, offer: Reserved, now: datetime) -> NotSentReason | None:
    """Return what the orders that we know by now say against a code that was drawn, or None."""
    row = offer.offer
    if row.profile is None:
        return NotSentReason.NO_ADDRESS
    return guard.after_orders(profile=row.profile, terms=of_json(row.terms), now=now)


def make(*, offer: Reserved, now: datetime, connect: Connect = connect) -> None:
    """Make the code in Saleor; again is harmless. Outside any transaction. Raises OfferNotMade."""
    offers.make(offer=offer.offer, now=now, connect=connect)


def withdraw(*, offer: Reserved, now: datetime, connect: Connect = connect) -> None:
    """Take the code back: its message certainly did not go. Outside any transaction."""
    offers.withdraw(offer=offer.offer, reason=OfferReason.MESSAGE_FAILED, now=now, connect=connect)
