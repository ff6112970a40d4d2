"""B70: the number for text messages is given with a yes to them, and kept with it alone."""

from collections.abc import Callable
from typing import Any

import pytest

from saleor_personalize.models import Consent, Identity, Installation, Profile
from tests.api.conftest import ALICE, Ask

UPDATE = """mutation($phone: String, $country: String, $channel: ConsentDeliveryChannel = SMS,
  $allowed: Boolean = true) {
  consentUpdate(purpose: MARKETING, deliveryChannel: $channel, isAllowed: $allowed, phone: $phone,
                countryCode: $country) { state } }"""
RECORD = """mutation($phone: String, $country: String, $user: ID) {
  consentRecord(userId: $user, purpose: MARKETING, deliveryChannel: SMS, isAllowed: true, phone: $phone,
                countryCode: $country) { isRecorded state } }"""


def numbers() -> list[tuple[int, str]]:
    rows = Identity.objects.filter(kind="phone").order_by("pk")
    return [(row.profile_id, row.address) for row in rows]


def lines() -> list[str]:
    return list(Consent.objects.filter(delivery_channel="sms").values_list("state", flat=True))


@pytest.mark.parametrize(
    ("phone", "country"),
    [("0171 1234567", "DE"), ("+49 171 1234567", None), ("0171/1234567", "de")],
)
def test_b70_who_is_signed_in_gives_a_number_with_the_yes(
    gql: Ask, token_of: Callable[..., str], alice: Profile, phone: str, country: str | None
) -> None:
    given = {"phone": phone, "country": country}
    answer = gql(UPDATE, given, token=token_of(ALICE))
    assert answer.data == {"consentUpdate": {"state": "GRANTED"}}
    assert numbers() == [(alice.pk, "+491711234567")]


def test_b70_another_number_takes_the_place_of_the_former(
    gql: Ask, token_of: Callable[..., str], alice: Profile
) -> None:
    for phone in ("+491711234567", "+48512345678"):
        assert gql(UPDATE, {"phone": phone}, token=token_of(ALICE)).data
    assert numbers() == [(alice.pk, "+48512345678")]


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({"phone": "0171 1234567"}, "INVALID_PHONE"),
        ({"phone": "nonsense", "country": "DE"}, "INVALID_PHONE"),
        ({"phone": "030 123456", "country": "DE"}, "INVALID_PHONE"),
        ({"phone": "+491711234567", "allowed": False}, "BAD_REQUEST"),
        ({"phone": "+491711234567", "channel": "EMAIL"}, "BAD_REQUEST"),
    ],
)
def test_b70_a_number_that_cannot_be_written_to_is_refused_with_the_yes(
    gql: Ask, token_of: Callable[..., str], alice: Profile, given: dict[str, Any], code: str
) -> None:
    assert gql(UPDATE, given, token=token_of(ALICE)).refusal == (200, code)
    assert (numbers(), lines()) == ([], [])


def test_b70_nobody_gives_a_number_who_is_not_signed_in(gql: Ask, alice: Profile) -> None:
    assert gql(UPDATE, {"phone": "+491711234567"}).refusal == (200, "FORBIDDEN")
    assert (numbers(), lines()) == ([], [])


def test_b70_the_shops_server_gives_a_number_with_a_yes_and_a_no_keeps_none(
    gql: Ask, installation: Installation, alice: Profile, bob: Profile
) -> None:
    token = str(installation.auth_token)
    given = {"user": ALICE, "phone": "512 345 678", "country": "PL"}
    answer = gql(RECORD, given, token=token).data["consentRecord"]
    assert answer == {"isRecorded": True, "state": "GRANTED"}
    assert numbers() == [(alice.pk, "+48512345678")]
    Consent.objects.create(
        installation=installation, profile=bob, purpose="marketing", delivery_channel="sms",
        state="denied", source="test", recorded_at=alice.first_seen_at,
    )  # fmt: skip
    given = {"user": "VXNlcjoy", "phone": "+491711234567"}
    answer = gql(RECORD, given, token=token).data["consentRecord"]
    assert answer == {"isRecorded": False, "state": "DENIED"}
    assert numbers() == [(alice.pk, "+48512345678")]
