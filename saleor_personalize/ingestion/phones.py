"""Phone numbers from Saleor: of those alone who said yes to text messages, asked when they did.

No webhook of ours brings a number, and nothing keeps one of somebody who never said yes.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

from saleor_personalize.conf import settings
from saleor_personalize.enums import ConsentState, DeliveryChannel, Purpose
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
                        phones.record(profile=profile, number=number, now=now)
                    except PersonErased:
                        continue
                    count += 1
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
    standing = consent.Standing(profile)
    topics = ("", *settings.TOPICS)
    return (
        any(
            standing.state(Purpose.MARKETING, DeliveryChannel.SMS, topic) == ConsentState.GRANTED
            for topic in topics
        )
        or standing.state(Purpose.TRANSACTIONAL, DeliveryChannel.SMS) == ConsentState.GRANTED
    )


def _numbers(answer: Mapping[str, Any]) -> Iterator[str]:
    """Yield the numbers of a customer that can get text messages, that of the default address first."""
    user = answer.get("user")
    if user is None:
        return
    try:
        addresses = [
            user["defaultShippingAddress"], user["defaultBillingAddress"], *user["addresses"]
        ]  # fmt: skip
        told = [(str(one["phone"] or ""), str(one["country"]["code"])) for one in addresses if one]
    except (KeyError, TypeError):
        raise MalformedPayload(
            "Saleor's answer about a customer's addresses says too little."
        ) from None
    for text, country in told:
        number = phones.read(text, country_code=country)
        if number is not None:
            yield number
