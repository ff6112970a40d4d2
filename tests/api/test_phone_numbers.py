"""B70: the number for text messages is given with a yes to them, proved by a code, and kept with both alone."""

import re
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
import time_machine

from saleor_personalize.enums import ConsentState, DeliveryChannel, SuppressionReason
from saleor_personalize.messaging import phone_codes, texts
from saleor_personalize.models import (
    Consent,
    Identity,
    Installation,
    Message,
    PhoneClaim,
    Profile,
)
from saleor_personalize.profiles import consent, phones
from saleor_personalize.profiles.privacy import erase, export
from tests.api.conftest import ALICE, ANONYMOUS, BOB, Ask
from tests.texting import ANA, set_to, twilio_for, with_number

UPDATE = """mutation($phone: String, $country: String, $channel: ConsentDeliveryChannel = SMS,
  $allowed: Boolean = true, $topic: String, $language: String) {
  consentUpdate(purpose: MARKETING, deliveryChannel: $channel, isAllowed: $allowed, phone: $phone, topic: $topic,
                countryCode: $country, languageCode: $language) { state awaitsCode } }"""
RECORD = """mutation($phone: String, $country: String, $user: ID, $confirmed: Boolean = false) {
  consentRecord(userId: $user, purpose: MARKETING, deliveryChannel: SMS, isAllowed: true, phone: $phone,
                countryCode: $country, isConfirmed: $confirmed) { isRecorded state } }"""
CONFIRM = """mutation($code: String!, $user: ID, $visitor: String, $email: String) {
  phoneConfirm(code: $code, userId: $user, anonymousId: $visitor, email: $email) { isConfirmed } }"""
OTHER = "+48512345678"
WAITS = {"consentUpdate": {"state": "PENDING", "awaitsCode": True}}
CONFIRMED = {"phoneConfirm": {"isConfirmed": True}}
MINUTE = timedelta(minutes=1)


@pytest.fixture
def twilio(settings: Any) -> Iterator[Any]:
    with twilio_for(settings) as server:
        yield server


def send(now: datetime) -> None:
    phone_codes.send_due(now=now)


def code_of(twilio: Any) -> str:
    """Read the newest text message."""
    (code,) = re.findall(r"\b\d{6}\b", twilio.messages[-1]["Body"])
    return str(code)


def another(code: str) -> str:
    return f"{(int(code) + 1) % 10**6:06d}"


def claims() -> list[tuple[int, str]]:
    return [(row.profile_id, row.number) for row in PhoneClaim.objects.order_by("pk")]


def reasons() -> list[str]:
    rows = Message.objects.filter(template="confirm_phone").order_by("pk")
    return [row.reason or row.status for row in rows]


def numbers() -> list[tuple[int, str]]:
    rows = Identity.objects.filter(kind="phone").order_by("pk")
    return [(row.profile_id, row.address) for row in rows]


def lines() -> list[str]:
    return list(Consent.objects.filter(delivery_channel="sms").values_list("state", flat=True))


@pytest.mark.parametrize(
    ("phone", "country"),
    [("0171 1234567", "DE"), ("+49 171 1234567", None), ("0171/1234567", "de")],
)
def test_b70_who_is_signed_in_gives_a_number_with_the_yes_and_proves_it_by_the_code(
    gql: Ask,
    token_of: Callable[..., str],
    alice: Profile,
    twilio: Any,
    now: datetime,
    phone: str,
    country: str | None,
) -> None:
    given, token = {"phone": phone, "country": country, "language": "DE"}, token_of(ALICE)
    assert gql(UPDATE, given, token=token).data == WAITS
    assert (numbers(), claims(), lines()) == ([], [(alice.pk, ANA)], ["pending"])
    send(now)
    send(now)
    (form,) = twilio.messages
    code = code_of(twilio)
    assert form["To"] == ANA
    assert f"{code} ist Ihr Code. Er gilt 10 Minuten." in form["Body"]
    row = Message.objects.get()
    assert (row.purpose, row.status, row.content, row.address_hash) == (
        "transactional", "sent", {}, phones.number_hash(ANA),
    )  # fmt: skip
    assert code not in str(PhoneClaim.objects.values().get())
    assert gql(CONFIRM, {"code": f" {code[:3]} {code[3:]}"}, token=token).data == CONFIRMED
    assert (numbers(), claims(), lines()) == ([(alice.pk, ANA)], [], ["pending", "granted"])
    line = Consent.objects.latest("pk")
    assert (line.source, line.language_code) == ("phone_code", "DE")
    assert Identity.objects.get(kind="phone").confirmed_at == now
    # The code is used up, and the number needs no other one.
    assert gql(CONFIRM, {"code": code}, token=token).refusal == (200, "CODE_EXPIRED")
    again = {"consentUpdate": {"state": "GRANTED", "awaitsCode": False}}
    assert gql(UPDATE, given, token=token).data == again


def test_b70_a_typed_number_takes_nothing_from_whoever_has_it(
    gql: Ask, token_of: Callable[..., str], alice: Profile, bob: Profile, twilio: Any, now: datetime
) -> None:
    with_number(alice)
    free, taken = (
        gql(UPDATE, {"phone": phone}, token=token_of(BOB)).body for phone in (OTHER, ANA)
    )
    # What comes back does not tell whose it is.
    assert free == taken == {**free, "data": WAITS}
    send(now)
    assert (numbers(), claims()) == ([(alice.pk, ANA)], [(bob.pk, ANA)])
    for guess in ("", "12345", another(code_of(twilio)), "x" * 60):
        assert gql(CONFIRM, {"code": guess}, token=token_of(BOB)).refusal == (200, "INVALID_CODE")
    assert numbers() == [(alice.pk, ANA)]
    state = consent.state(profile=bob, purpose="marketing", delivery_channel="sms")  # type: ignore[arg-type]
    assert state == ConsentState.PENDING
    # Numbers are passed on: who reads the code has it.
    assert gql(CONFIRM, {"code": code_of(twilio)}, token=token_of(BOB)).data == CONFIRMED
    assert numbers() == [(bob.pk, ANA)]


def test_b70_another_number_takes_the_place_of_the_former_once_it_is_proved(
    gql: Ask, token_of: Callable[..., str], alice: Profile, twilio: Any, now: datetime
) -> None:
    with_number(alice)
    answer = gql(UPDATE, {"phone": OTHER}, token=token_of(ALICE))
    assert answer.data == {"consentUpdate": {"state": "GRANTED", "awaitsCode": True}}
    send(now)
    assert (twilio.messages[0]["To"], numbers()) == (OTHER, [(alice.pk, ANA)])
    assert gql(CONFIRM, {"code": code_of(twilio)}, token=token_of(ALICE)).data == CONFIRMED
    assert (numbers(), lines()) == ([(alice.pk, OTHER)], ["granted"])


def test_b70_the_fifth_wrong_code_is_the_last(
    gql: Ask, token_of: Callable[..., str], alice: Profile, twilio: Any, now: datetime
) -> None:
    gql(UPDATE, {"phone": ANA}, token=token_of(ALICE))
    send(now)
    code = code_of(twilio)
    codes = [
        gql(CONFIRM, {"code": guess}, token=token_of(ALICE)).codes[0]
        for guess in [another(code)] * 5 + [code]
    ]
    assert codes == ["INVALID_CODE"] * 4 + ["CODE_EXPIRED"] * 2
    assert (numbers(), lines()) == ([], ["pending"])


def test_b70_a_code_works_for_ten_minutes_and_a_number_is_forgotten_after_an_hour(
    gql: Ask, token_of: Callable[..., str], alice: Profile, twilio: Any, now: datetime
) -> None:
    gql(UPDATE, {"phone": ANA}, token=token_of(ALICE))
    send(now)
    later = token_of(ALICE, exp=int((now + timedelta(hours=2)).timestamp()))
    with time_machine.travel(now + 10 * MINUTE, tick=False):
        answer = gql(CONFIRM, {"code": code_of(twilio)}, token=later)
        assert answer.refusal == (200, "CODE_EXPIRED")
    with time_machine.travel(now + 9 * MINUTE, tick=False):
        assert len(claims()) == 1
        assert gql(CONFIRM, {"code": code_of(twilio)}, token=later).data == CONFIRMED
    gql(UPDATE, {"phone": OTHER}, token=token_of(ALICE))
    send(now + 60 * MINUTE)
    assert (claims(), len(twilio.messages)) == ([], 1)


def test_b70_a_person_gets_few_codes_in_an_hour(
    gql: Ask, token_of: Callable[..., str], alice: Profile, twilio: Any, now: datetime
) -> None:
    token = token_of(ALICE)
    for phone in (ANA, OTHER, "+33612345678"):
        # Two topics, or a second press, are one request.
        for topic in ("offers", "reminders"):
            assert gql(UPDATE, {"phone": phone, "topic": topic}, token=token).data == WAITS
            send(now)
    assert len(twilio.messages) == 3
    assert gql(UPDATE, {"phone": "+34612345678"}, token=token).refusal == (200, "RATE_LIMITED")
    # By the shop's server as well, where nobody is told.
    phones.claim(profile=alice, number="+34612345678", now=now)
    send(now)
    assert (len(twilio.messages), reasons()[-1]) == (3, "throttled")


@pytest.mark.parametrize("limited", ["number", "shop"])
def test_b70_a_number_and_a_shop_get_few_codes_in_an_hour_and_nobody_is_told(
    gql: Ask,
    token_of: Callable[..., str],
    alice: Profile,
    bob: Profile,
    twilio: Any,
    now: datetime,
    settings: Any,
    limited: str,
) -> None:
    set_to(settings, PHONE_CODES_PER_HOUR={limited: 1})
    for user in (ALICE, BOB):
        assert gql(UPDATE, {"phone": ANA}, token=token_of(user)).data == WAITS
        send(now)
    assert (len(twilio.messages), reasons()) == (1, ["sent", "throttled"])


def test_b70_a_stopped_number_gets_no_code_and_proves_nothing(
    gql: Ask,
    token_of: Callable[..., str],
    installation: Installation,
    alice: Profile,
    bob: Profile,
    twilio: Any,
    now: datetime,
) -> None:
    consent.suppress(
        installation=installation, delivery_channel=DeliveryChannel.SMS,
        address_hash=phones.number_hash(ANA), reason=SuppressionReason.UNSUBSCRIBED, now=now,
    )  # fmt: skip
    assert gql(UPDATE, {"phone": ANA}, token=token_of(ALICE)).data == WAITS
    send(now)
    assert (twilio.messages, reasons()) == ([], ["suppressed"])
    # As after a code that went.
    answer = gql(CONFIRM, {"code": "123456"}, token=token_of(ALICE))
    assert answer.refusal == (200, "INVALID_CODE")
    # STOP in answer to the code.
    gql(UPDATE, {"phone": OTHER}, token=token_of(BOB))
    send(now)
    texts.stop(installation=installation, hashed=phones.number_hash(OTHER), now=now)
    answer = gql(CONFIRM, {"code": code_of(twilio)}, token=token_of(BOB))
    assert (answer.refusal, numbers()) == ((200, "INVALID_CODE"), [])


def test_b70_a_no_ends_what_waits_for_the_code(
    gql: Ask, token_of: Callable[..., str], alice: Profile, twilio: Any, now: datetime
) -> None:
    token = token_of(ALICE)
    gql(UPDATE, {"phone": ANA}, token=token)
    send(now)
    gql(UPDATE, {"allowed": False}, token=token)
    assert gql(CONFIRM, {"code": code_of(twilio)}, token=token).refusal == (200, "CODE_EXPIRED")
    assert (numbers(), lines()[-1]) == ([], "denied")
    # Who thinks better of it is asked anew.
    assert gql(UPDATE, {"phone": OTHER}, token=token).data == WAITS
    send(now)
    assert gql(CONFIRM, {"code": code_of(twilio)}, token=token).data == CONFIRMED
    assert (numbers(), lines()[-1]) == ([(alice.pk, OTHER)], "granted")


def test_b70_a_code_that_did_not_go_goes_once_and_one_that_may_have_gone_does_not_again(
    gql: Ask, token_of: Callable[..., str], alice: Profile, settings: Any, now: datetime
) -> None:
    with twilio_for(settings, timeout=0.4) as twilio:
        twilio.errors = [20429, "hang"]
        gql(UPDATE, {"phone": ANA}, token=token_of(ALICE))
        for minutes in (0, 2, 4, 6):
            send(now + minutes * MINUTE)
        assert reasons() == ["uncertain"]
        assert Message.objects.get().attempts == 2
        # It may have arrived: then its code is good.
        if twilio.messages:
            assert gql(CONFIRM, {"code": code_of(twilio)}, token=token_of(ALICE)).data == CONFIRMED


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
    assert (numbers(), claims(), lines()) == ([], [], [])


def test_b70_nobody_gives_a_number_or_a_code_who_is_not_signed_in_or_for_somebody_else(
    gql: Ask, token_of: Callable[..., str], alice: Profile, bob: Profile
) -> None:
    assert gql(UPDATE, {"phone": ANA}).refusal == (200, "FORBIDDEN")
    assert gql(CONFIRM, {"code": "123456"}).refusal == (200, "FORBIDDEN")
    assert gql(CONFIRM, {"code": "123456"}, anonymous_id=ANONYMOUS).refusal == (200, "FORBIDDEN")
    for named in ({"user": ALICE}, {"visitor": ANONYMOUS}, {"email": "a@example.com"}):
        answer = gql(CONFIRM, {"code": "123456", **named}, token=token_of(BOB))
        assert answer.refusal == (200, "FORBIDDEN")
    assert (numbers(), claims(), lines()) == ([], [], [])


def test_b70_the_shops_server_gives_a_number_with_a_yes_and_a_no_keeps_none(
    gql: Ask, installation: Installation, alice: Profile, bob: Profile, twilio: Any, now: datetime
) -> None:
    token = str(installation.auth_token)
    given = {"user": ALICE, "phone": "512 345 678", "country": "PL"}
    answer = gql(RECORD, given, token=token).data["consentRecord"]
    assert answer == {"isRecorded": True, "state": "PENDING"}
    assert (numbers(), claims()) == ([], [(alice.pk, OTHER)])
    send(now)
    # It may bring the code as well.
    assert gql(CONFIRM, {"code": code_of(twilio)}, token=token).refusal == (200, "BAD_REQUEST")
    given = {"code": code_of(twilio), "user": ALICE}
    assert gql(CONFIRM, given, token=token).data == CONFIRMED
    assert (numbers(), lines()) == ([(alice.pk, OTHER)], ["pending", "granted"])
    Consent.objects.create(
        installation=installation, profile=bob, purpose="marketing", delivery_channel="sms",
        state="denied", source="test", recorded_at=alice.first_seen_at,
    )  # fmt: skip
    for confirmed in (False, True):
        more: dict[str, Any] = {"user": BOB, "phone": ANA, "confirmed": confirmed}
        answer = gql(RECORD, more, token=token).data["consentRecord"]
        assert answer == {"isRecorded": False, "state": "DENIED"}
    assert (numbers(), claims()) == ([(alice.pk, OTHER)], [])


def test_b70_what_the_owner_proved_to_the_shops_server_needs_no_code(
    gql: Ask, installation: Installation, alice: Profile, bob: Profile, twilio: Any, now: datetime
) -> None:
    with_number(bob)
    given = {"user": ALICE, "phone": ANA, "confirmed": True}
    answer = gql(RECORD, given, token=str(installation.auth_token)).data["consentRecord"]
    assert answer == {"isRecorded": True, "state": "GRANTED"}
    send(now)
    assert (numbers(), claims(), twilio.messages) == ([(alice.pk, ANA)], [], [])
    assert Identity.objects.get(kind="phone").confirmed_at == now


def test_b70_a_claim_stays_in_its_shop_is_encrypted_exported_and_erased(
    gql: Ask,
    token_of: Callable[..., str],
    alice: Profile,
    dave: Profile,
    other_installation: Installation,
    twilio: Any,
    now: datetime,
) -> None:
    gql(UPDATE, {"phone": ANA}, token=token_of(ALICE))
    send(now)
    # The same id of a user, in another shop.
    there = token_of(ALICE, shop=other_installation)
    answer = gql(CONFIRM, {"code": code_of(twilio)}, token=there, shop=other_installation)
    assert answer.refusal == (200, "CODE_EXPIRED")
    document = export(profile=alice, now=now)
    assert [each["number"] for each in document["phone_claims"]] == [ANA]
    assert ANA not in str(Message.objects.values())
    erase(profile=alice, requested_by="staff", now=now)  # type: ignore[arg-type]
    assert claims() == []
