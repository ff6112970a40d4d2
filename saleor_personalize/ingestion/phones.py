"""Phone numbers from Saleor: of those alone who said yes to text messages, asked when they did.

No webhook of ours brings a number, and nothing keeps one of somebody who never said yes. What the account
says is the shop's own record and needs no code, but takes no number from somebody else: anybody may type
another's into their address. Of addresses that are a parcel's and not the account's, one is taken only if it
bears the account's name: a present goes to somebody else's number.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from saleor_personalize.conf import settings
from saleor_personalize.enums import DeliveryChannel
from saleor_personalize.exceptions import MalformedPayload, PersonErased, SaleorApiError
from saleor_personalize.models import Installation, Profile
from saleor_personalize.profiles import consent, phones
from saleor_personalize.saleor_api.client import SaleorClient

logger = logging.getLogger(__name__)

#: People that one run asks for.
LIMIT = 100


def learn(*, installation: Installation, now: datetime) -> int:
    """Ask Saleor for the numbers of those who said yes since; return how many were learned.

    Raises SaleorApiError when the shop cannot be asked; then it is asked again.
    """
    if DeliveryChannel.SMS not in settings.CHANNELS:
        return 0
    people = phones.wanted(installation=installation, limit=LIMIT)
    count = 0
    if not people:
        return count
    with SaleorClient(installation) as client:
        for profile, user_id in people:
            if user_id and _allows(profile):
                number = _number_of(client, profile, user_id, now)
                # They may have said no while Saleor was asked.
                if number is not None and _allows(profile):
                    try:
                        kept = phones.record(
                            profile=profile, number=number, now=now, takes_over=False
                        )
                    except PersonErased:
                        continue
                    count += kept is not None
            phones.sought(profile=profile)
    return count


def _number_of(client: SaleorClient, profile: Profile, user_id: str, now: datetime) -> str | None:
    try:
        answer = client.execute("PhonesOfCustomer", {"id": user_id})
    except SaleorApiError:
        # It may be about this one account: next time the others come first.
        phones.postpone(profile=profile, now=now)
        raise
    try:
        return next(_numbers(answer), None)
    except MalformedPayload as error:
        logger.warning("The number of profile %s cannot be read: %s", profile.pk, error)
        return None


def _allows(profile: Profile) -> bool:
    return consent.allows_any(profile=profile, delivery_channel=DeliveryChannel.SMS)


def _numbers(answer: Mapping[str, Any]) -> Iterator[str]:
    """Yield the numbers of a customer that can get text messages, that of the billing address first."""
    user = answer.get("user")
    if user is None:
        return
    try:
        billing, name = user["defaultBillingAddress"], _name(user)
        others = [user["defaultShippingAddress"], *user["addresses"]]
        own = [one for one in others if one and name and _name(one) == name]
        told = [
            (str(one["phone"] or ""), str(one["country"]["code"])) for one in [billing, *own] if one
        ]
    except (KeyError, TypeError):
        raise MalformedPayload(
            "Saleor's answer about a customer's addresses says too little."
        ) from None
    for text, country in told:
        number = phones.read(text, country_code=country)
        if number is not None:
            yield number


def _name(named: Mapping[str, Any]) -> str:
    """Return how an account or an address calls somebody, whatever case and spaces."""
    return " ".join(f"{named['firstName']} {named['lastName']}".casefold().split())
