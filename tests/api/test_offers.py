"""B65: the codes that a shopper was sent, for the storefront to show and to apply."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from saleor_personalize.enums import MergeProof, MessageStatus, OfferKind, OfferStatus, Purpose
from saleor_personalize.models import Installation, Message, Offer, Profile
from saleor_personalize.profiles import merging
from tests.api.conftest import ALICE, ANONYMOUS, BOB, Ask
from tests.conftest import make_profile

QUERY = """query Mine($channel: String, $language: String, $user: ID, $anonymous: String) {
  myOffers(channel: $channel, languageCode: $language, userId: $user, anonymousId: $anonymous) {
    code text kind percent amount { amount currency } minimumSpend { amount currency } channels
    isFirstOrderOnly expiresAt
  }
}"""


def listing(slug: str, currency: str, value: str, minimum: str | None = None) -> dict[str, Any]:
    return {
        "channel_id": slug,
        "slug": slug,
        "currency": currency,
        "value": value,
        "minimum_spend": minimum,
    }


def give(profile: Profile, code: str, now: datetime, **changes: Any) -> Offer:
    message = Message.objects.create(
        installation=profile.installation,
        idempotency_key=code,
        profile=profile,
        template="welcome",
        purpose=Purpose.MARKETING,
        delivery_channel="email",
        status=changes.pop("message_status", MessageStatus.SENT),
        handed_over_at=changes.pop("handed_over_at", now),
        decided_at=now,
    )
    return Offer.objects.create(
        **{
            "installation": profile.installation,
            "profile": profile,
            "message": message,
            "key": code,
            "code": code,
            "kind": OfferKind.PERCENT,
            "terms": {"percent": "10"},
            "listings": [listing("us", "USD", "10"), listing("eu", "EUR", "10")],
            "status": OfferStatus.MADE,
            "reserved_at": now,
            "expires_at": now + timedelta(days=7),
            **changes,
        }
    )


def codes(gql: Ask, variables: dict[str, Any] | None = None, **caller: Any) -> list[str]:
    return [row["code"] for row in gql(QUERY, variables, **caller).data["myOffers"]]


def test_b65_a_customer_sees_what_they_can_use(
    gql: Ask, alice: Profile, token_of: Callable[..., str], now: datetime
) -> None:
    give(
        alice,
        "FIXED",
        now,
        kind=OfferKind.FIXED,
        listings=[listing("us", "USD", "5.5", "40"), listing("eu", "EUR", "5")],
        is_first_order_only=True,
        expires_at=now + timedelta(days=1),
    )
    give(alice, "PERCENT", now)
    first, second = gql(QUERY, {"channel": "us", "language": "DE"}, token=token_of(ALICE)).data[
        "myOffers"
    ]
    assert first == {
        "code": "FIXED",
        "text": "5,50\xa0USD",
        "kind": "FIXED",
        "percent": None,
        "amount": {"amount": 5.5, "currency": "USD"},
        "minimumSpend": {"amount": 40.0, "currency": "USD"},
        "channels": ["us", "eu"],
        "isFirstOrderOnly": True,
        "expiresAt": (now + timedelta(days=1)).isoformat(),
    }
    assert (second["code"], second["text"], second["percent"], second["amount"]) == (
        "PERCENT",
        "10\xa0%",
        10.0,
        None,
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"status": OfferStatus.RESERVED},
        {"status": OfferStatus.WITHDRAWN},
        {"status": OfferStatus.USED},
        {"expires_at": datetime.fromisoformat("2026-03-02T11:59:00+00:00")},
        {"message_status": MessageStatus.FAILED},
        {"message_status": MessageStatus.HANDING_OVER},
        {"message_status": MessageStatus.UNCERTAIN, "handed_over_at": None},
    ],
)
def test_b65_what_was_not_sent_or_cannot_be_used_is_not_shown(
    gql: Ask,
    alice: Profile,
    token_of: Callable[..., str],
    now: datetime,
    changes: dict[str, Any],
) -> None:
    give(alice, "HIDDEN", now, **changes)
    give(alice, "SHOWN", now)
    assert codes(gql, token=token_of(ALICE)) == ["SHOWN"]


def test_b65_a_sales_channel_shows_only_what_it_takes(
    gql: Ask, alice: Profile, token_of: Callable[..., str], now: datetime
) -> None:
    give(alice, "EVERYWHERE", now)
    give(alice, "US", now, listings=[listing("us", "USD", "10")])
    assert codes(gql, {"channel": "eu"}, token=token_of(ALICE)) == ["EVERYWHERE"]


def test_b65_nobody_sees_the_codes_of_others(
    gql: Ask,
    alice: Profile,
    bob: Profile,
    other_installation: Installation,
    token_of: Callable[..., str],
    now: datetime,
) -> None:
    give(alice, "ALICES", now)
    assert codes(gql, token=token_of(BOB)) == []
    assert codes(gql, anonymous_id=ANONYMOUS) == []
    assert codes(gql) == []
    assert gql(QUERY, {"user": ALICE}, token=token_of(BOB)).refusal[1] == "FORBIDDEN"
    # A cart joined the two: good enough not to remind, not good enough to read.
    guest = make_profile(alice.installation, email="guest@example.com")
    give(guest, "GUESTS", now)
    merging.prove(
        installation=alice.installation,
        first=alice,
        second=guest,
        proof=MergeProof.CHECKOUT_COMPLETED,
        evidence=[],
        now=now,
    )
    assert codes(gql, token=token_of(ALICE)) == ["ALICES"]


def test_b65_a_browser_that_was_signed_in_once_shows_no_codes(
    gql: Ask, alice: Profile, now: datetime
) -> None:
    visitor = make_profile(alice.installation, anonymous_id=ANONYMOUS)
    give(alice, "ALICES", now)
    merging.prove(
        installation=alice.installation,
        first=alice,
        second=visitor,
        proof=MergeProof.LOGIN,
        evidence=[],
        now=now,
    )
    assert codes(gql, anonymous_id=ANONYMOUS) == []
