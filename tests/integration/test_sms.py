"""B70: text messages by a plug-in: decided as every message, by the provider's real wire format."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import time_machine
from django.core import mail
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client

from saleor_personalize.enums import (
    ConsentState,
    DeliveryChannel,
    IdentityKind,
    MessageEventKind,
    MessageStatus,
    NotSentReason,
    Purpose,
    SuppressionReason,
)
from saleor_personalize.ingestion import deliveries
from saleor_personalize.ingestion import phones as learning
from saleor_personalize.journeys import operations as journeys
from saleor_personalize.management import doctor
from saleor_personalize.messaging import destinations, reach, texts
from saleor_personalize.messaging.channels.sms import Answer, TextMessageChannel
from saleor_personalize.models import (
    Consent,
    Enrollment,
    Identity,
    Installation,
    Message,
    Pace,
    Profile,
    Suppression,
)
from saleor_personalize.profiles import consent, phones
from saleor_personalize.profiles.privacy import erase, export
from saleor_personalize.tasks.phones import learn_phones
from tests import texting
from tests.conftest import NOW
from tests.integration.phones import Phones, give_phone
from tests.integration.reminders import Saleor
from tests.integration.signal_trigger import Signal, come_in, message, publish
from tests.loopback import LoopbackShop, loopback_shop, with_loopback
from tests.texting import ANA, allow, set_to, twilio_for, with_number

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)


@pytest.fixture(autouse=True)
def _shop(settings: Any) -> Iterator[None]:
    set_to(
        settings,
        TRIGGERS={"signal": "tests.integration.signal_trigger.Signal"},
        FREQUENCY_CAPS={"*": None},
    )
    Signal.over, Signal.entries = set(), []
    Phones.reset()
    mail.outbox = []
    with time_machine.travel(NOW, tick=False):
        yield


@pytest.fixture
def twilio(settings: Any) -> Iterator[Any]:
    with twilio_for(settings) as server:
        yield server


def advance(at: Any = NOW) -> None:
    with time_machine.travel(at, tick=False):
        journeys.advance_due(now=at, ask=Saleor())


def texted(id_: str = "first", **more: Any) -> dict[str, Any]:
    return message(id_, delivery_channel="sms", **more)


def told() -> list[tuple[str, str, str]]:
    return [
        (
            ":".join(row.idempotency_key.split(":")[2:]),
            row.delivery_channel,
            row.reason or row.status,
        )
        for row in Message.objects.order_by("pk")
    ]


def report(callback_url: str, form: dict[str, str]) -> int:
    """Twilio calls the address that it was given, signed; the workers look."""
    status = _post(callback_url, form)
    deliveries.process_waiting(now=NOW + HOUR)
    return status


def _post(url: str, form: dict[str, str]) -> int:
    answer = Client(enforce_csrf_checks=True).post(
        url.removeprefix("https://personalize.test"),
        urlencode(form),
        content_type="application/x-www-form-urlencoded",
        headers={"X-Twilio-Signature": texting.fake.signature(url, form)},
    )
    return int(answer.status_code)


# -- decided and handed over ---------------------------------------------------------------------------


def test_b70_a_text_message_goes_with_a_yes_and_says_how_it_ends(
    installation: Installation, alice: Profile, twilio: Any
) -> None:
    with_number(alice)
    come_in(publish(installation, texted()), alice)
    advance()
    (form,) = twilio.messages
    row = Message.objects.get()
    assert (row.status, row.provider_message_id) == ("sent", "SM" + "0" * 31 + "1")
    assert (form["To"], form["From"]) == (ANA, texting.SHOP)
    assert form["Body"] == (
        "Your cart is waiting for you - You left something in your cart. We kept it for you. "
        "https://store.test/ Reply STOP to end."
    )
    assert form["StatusCallback"].endswith(f"/?message={row.public_id.hex}")
    assert row.address_hash == phones.number_hash(ANA)
    assert mail.outbox == []


@pytest.mark.parametrize(
    ("is_yes", "has_number", "suppressed", "reason"),
    [
        (False, True, None, NotSentReason.NO_CONSENT),
        (True, False, None, NotSentReason.NO_ADDRESS),
        (True, True, SuppressionReason.HARD_BOUNCE, NotSentReason.SUPPRESSED),
        (True, True, SuppressionReason.UNSUBSCRIBED, NotSentReason.SUPPRESSED),
    ],
)
def test_b70_nothing_goes_without_a_yes_a_number_or_to_one_that_is_stopped(
    installation: Installation,
    alice: Profile,
    twilio: Any,
    is_yes: bool,
    has_number: bool,
    suppressed: SuppressionReason | None,
    reason: NotSentReason,
) -> None:
    if has_number:
        phones.record(profile=alice, number=ANA, now=NOW)
    if is_yes:
        allow(alice)
    if suppressed:
        consent.suppress(
            installation=installation,
            delivery_channel=DeliveryChannel.SMS,
            address_hash=phones.number_hash(ANA),
            reason=suppressed,
            now=NOW,
        )
    come_in(publish(installation, texted()), alice)
    advance()
    assert twilio.messages == []
    assert told() == [("first", "sms", reason)]


def test_b70_a_yes_is_kept_by_purpose_and_that_to_mail_is_none_to_text_messages(
    installation: Installation, alice: Profile, twilio: Any
) -> None:
    phones.record(profile=alice, number=ANA, now=NOW)
    allow(alice, purpose=Purpose.TRANSACTIONAL)
    come_in(publish(installation, texted()), alice)
    advance()
    assert told() == [("first", "sms", "no_consent")]
    needed = publish(installation, texted(), key="needed", topic="orders", goals=[])
    come_in(needed, alice)
    advance()
    assert told()[1:] == [("first", "sms", "sent")]
    assert "STOP" not in twilio.messages[0]["Body"]


def test_b70_an_answer_that_was_lost_is_not_asked_for_again_and_the_report_settles_it(
    installation: Installation, alice: Profile, settings: Any
) -> None:
    with twilio_for(settings, timeout=0.4) as twilio:
        twilio.errors = ["hang"]
        with_number(alice)
        come_in(publish(installation, texted()), alice)
        advance()
        assert Message.objects.get().status == MessageStatus.UNCERTAIN
        for minutes in (1, 10, 60, 600):
            advance(NOW + minutes * MINUTE)
        (form,) = twilio.messages
        sid = {"MessageSid": "SM7", "To": ANA, "From": texting.SHOP}
        assert report(form["StatusCallback"], {**sid, "MessageStatus": "sent"}) == 200
        assert Message.objects.get().status == MessageStatus.UNCERTAIN
        assert report(form["StatusCallback"], {**sid, "MessageStatus": "delivered"}) == 200
    row = Message.objects.get()
    assert (row.status, row.provider_message_id) == (MessageStatus.SENT, "SM7")
    assert [event.kind for event in row.events.all()] == [MessageEventKind.DELIVERED]


@pytest.mark.parametrize("planned", [20429, "down"])
def test_b70_what_certainly_did_not_go_goes_later(
    installation: Installation, alice: Profile, settings: Any, twilio: Any, planned: Any
) -> None:
    with_number(alice)
    if planned == "down":
        set_to(settings, CHANNELS={"sms": texting.channel("http://127.0.0.1:9")})
    else:
        twilio.errors = [planned]
    come_in(publish(installation, texted()), alice)
    advance()
    assert (Message.objects.get().status, twilio.messages) == (MessageStatus.FAILED, [])
    set_to(settings, CHANNELS={"sms": texting.channel(twilio.url)})
    advance(NOW + 10 * MINUTE)
    assert Message.objects.get().status == MessageStatus.SENT
    assert len(twilio.messages) == 1


def test_b80_a_provider_that_wants_to_rest_for_ever_is_asked_again_within_the_hour(
    installation: Installation, alice: Profile, twilio: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever it asks for, nobody is forgotten over it."""
    headers = {"retry-after": "Fri, 31 Dec 9999 23:59:59 GMT"}
    monkeypatch.setattr(TextMessageChannel, "_post", lambda *_, **__: Answer(429, headers, {}))
    with_number(alice)
    come_in(publish(installation, texted()), alice)
    advance()
    row = Message.objects.get()
    assert (row.status, row.reason) == (MessageStatus.FAILED, NotSentReason.CHANNEL_ERROR)
    assert row.retry_at == row.decided_at + HOUR
    assert Enrollment.objects.get().due_at == row.decided_at + HOUR
    assert Pace.objects.get(key="sms").paused_until == row.decided_at + HOUR


@pytest.mark.parametrize(("status", "is_left_alone"), [(500, True), (503, True), (200, False)])
def test_b87_what_a_provider_may_have_is_never_given_to_it_again(
    installation: Installation,
    alice: Profile,
    twilio: Any,
    monkeypatch: pytest.MonkeyPatch,
    status: int,
    is_left_alone: bool,
) -> None:
    """One that breaks is left alone for a moment: it shall not get all the others as well."""
    monkeypatch.setattr(TextMessageChannel, "_post", lambda *_, **__: Answer(status, {}, {}))
    with_number(alice)
    come_in(publish(installation, texted()), alice)
    advance()
    row = Message.objects.get()
    assert (row.status, row.retry_at) == (MessageStatus.UNCERTAIN, None)
    rests = list(Pace.objects.filter(key="sms").values_list("paused_until", flat=True))
    assert rests == ([row.decided_at + timedelta(seconds=15)] if is_left_alone else [])


def test_b70_who_told_the_provider_to_stop_has_said_no_to_us(
    installation: Installation, alice: Profile, twilio: Any
) -> None:
    with_number(alice)
    twilio.errors = [21610]
    journey = publish(installation, texted())
    come_in(journey, alice)
    advance()
    row = Message.objects.get()
    assert (row.status, row.reason) == (MessageStatus.FAILED, NotSentReason.CHANNEL_ERROR)
    assert ANA not in row.error
    state = consent.state(
        profile=alice, purpose=Purpose.MARKETING, delivery_channel=DeliveryChannel.SMS
    )
    assert state == ConsentState.DENIED
    assert Suppression.objects.get().reason == SuppressionReason.UNSUBSCRIBED
    # Mail is another matter.
    assert consent.is_granted(profile=alice, purpose=Purpose.MARKETING, delivery_channel="email")
    come_in(journey, alice, "object-2", at=NOW + HOUR)
    advance(NOW + HOUR)
    assert (told()[-1][2], twilio.messages) == ("suppressed", [])


def test_b70_a_number_that_nobody_has_is_not_written_to_again(
    installation: Installation, alice: Profile, twilio: Any
) -> None:
    with_number(alice)
    twilio.errors = [21211]
    journey = publish(installation, texted())
    come_in(journey, alice)
    advance()
    (row,) = Suppression.objects.all()
    assert (row.delivery_channel, row.reason) == ("sms", SuppressionReason.HARD_BOUNCE)
    assert row.address_hash == phones.number_hash(ANA)
    come_in(journey, alice, "object-2", at=NOW + HOUR)
    advance(NOW + HOUR)
    assert (told()[-1][2], twilio.messages) == ("suppressed", [])
    assert not Consent.objects.filter(state=ConsentState.DENIED).exists()


def test_b70_a_text_that_is_too_dear_is_not_sent(
    installation: Installation, alice: Profile, settings: Any, twilio: Any
) -> None:
    with_number(alice)
    set_to(settings, SMS_MAX_SEGMENTS=1)
    Installation.objects.update(sender=f"{'Shop ' * 10}<shop@example.com>")
    come_in(publish(installation, texted()), alice)
    advance()
    assert twilio.messages == []
    row = Message.objects.get()
    assert (row.status, row.reason) == ("not_sent", NotSentReason.TEXT_TOO_LONG)
    assert row.error == ("The text takes 2 segments; SMS_MAX_SEGMENTS allows 1. Say it shorter.")


# -- another way ----------------------------------------------------------------------------------------


def test_b70_b71_what_a_push_does_not_reach_is_said_by_text_message(
    installation: Installation, alice: Profile, settings: Any, twilio: Any
) -> None:
    set_to(
        settings,
        CHANNELS={
            **settings.SALEOR_PERSONALIZE["CHANNELS"],
            "push": "tests.integration.phones.Phones",
        },
        QUIET_HOURS={"push": None, "sms": None},
    )
    give_phone(alice)
    consent.record(
        profile=alice, purpose=Purpose.MARKETING, delivery_channel=DeliveryChannel.PUSH,
        state=ConsentState.GRANTED, source="test", now=NOW,
    )  # fmt: skip
    with_number(alice)
    pushed = message("first", delivery_channel="push", fallback={"to": "sms", "after": "4 hours"})
    then = texted("second", fallback={"to": "email", "after": "2 hours", "unless": "delivered"})
    come_in(publish(installation, pushed, {"wait": {"for": "1 day"}}, then), alice)
    advance()
    assert (len(Phones.taken), len(twilio.messages)) == (1, 0)
    advance(NOW + 4 * HOUR)
    assert [form["To"] for form in twilio.messages] == [ANA]
    advance(NOW + 28 * HOUR)
    assert len(twilio.messages) == 2
    advance(NOW + 30 * HOUR)
    assert told() == [
        ("first", "push", "sent"),
        ("first:fallback", "sms", "sent"),
        ("second", "sms", "sent"),
        ("second:fallback", "email", "sent"),
    ]
    assert len({form["StatusCallback"] for form in twilio.messages}) == 2


def test_b70_b71_a_text_message_that_arrived_needs_no_mail(
    installation: Installation, alice: Profile, twilio: Any
) -> None:
    with_number(alice)
    step = texted(fallback={"to": "email", "after": "2 hours", "unless": "delivered"})
    come_in(publish(installation, step), alice)
    advance()
    (form,) = twilio.messages
    report(form["StatusCallback"], {"MessageSid": "SM1", "MessageStatus": "delivered", "To": ANA})
    advance(NOW + 2 * HOUR)
    assert (told(), mail.outbox) == ([("first", "sms", "sent")], [])


def test_b70_b71_without_devices_and_without_a_number_the_mail_goes_at_once(
    installation: Installation, alice: Profile, twilio: Any
) -> None:
    allow(alice)
    step = texted(fallback={"to": "email", "after": "2 hours"})
    come_in(publish(installation, step), alice)
    advance()
    assert told() == [("first", "sms", "no_address"), ("first:fallback", "email", "sent")]
    assert twilio.messages == []


# -- numbers ---------------------------------------------------------------------------------------------


ALICE, GERMANY = {"firstName": "Alice", "lastName": "Able"}, {"code": "DE"}


def address(phone: str, **name: str) -> dict[str, Any]:
    return {**ALICE, **name, "phone": phone, "country": GERMANY}


CUSTOMER = {
    "user": {
        **ALICE,
        "defaultBillingAddress": {"phone": "030 123456", "country": GERMANY},
        "defaultShippingAddress": address("0160 1234567", firstName="Aunt"),
        "addresses": [address(""), address("0171 1234567", firstName="ALICE ")],
    }
}


@pytest.fixture
def shop(settings: Any, installation: Installation) -> Iterator[LoopbackShop]:
    settings.SALEOR_PERSONALIZE = with_loopback(settings.SALEOR_PERSONALIZE)
    with loopback_shop() as found:
        found.accept(installation.auth_token)
        found.answers["PhonesOfCustomer"] = [{"data": CUSTOMER}]
        installation.saleor_api_url = found.api_url
        installation.save()
        yield found


def numbers() -> list[str]:
    rows = Identity.objects.filter(kind=IdentityKind.PHONE).order_by("pk")
    return [row.address for row in rows]


def test_b70_saleor_is_asked_for_a_number_after_a_yes_and_never_before(
    installation: Installation, alice: Profile, bob: Profile, shop: LoopbackShop, twilio: Any
) -> None:
    assert learning.learn(installation=installation, now=NOW) == 0
    assert shop.requests == []
    allow(alice)
    allow(bob, ConsentState.DENIED)
    assert learning.learn(installation=installation, now=NOW) == 1
    assert shop.variables == [{"id": "VXNlcjox"}]
    # The line at the wall gets no text messages; the other has the country of its address.
    assert numbers() == [ANA]
    assert Identity.objects.get(kind="phone").profile == alice
    assert learning.learn(installation=installation, now=NOW) == 0
    assert len(shop.requests) == 1


@pytest.mark.parametrize(
    ("changes", "found"),
    [
        ({"defaultBillingAddress": address("0171 1234567", lastName="Other")}, ANA),
        ({"defaultShippingAddress": address("0151 12345678")}, "+4915112345678"),
        ({"addresses": []}, None),
        ({"firstName": "", "lastName": ""}, None),
    ],
)
def test_b70_the_billing_address_comes_first_and_a_parcels_counts_by_its_name(
    installation: Installation,
    alice: Profile,
    shop: LoopbackShop,
    twilio: Any,
    changes: dict[str, Any],
    found: str | None,
) -> None:
    shop.answers["PhonesOfCustomer"] = [{"data": {"user": {**CUSTOMER["user"], **changes}}}]
    allow(alice)
    assert learning.learn(installation=installation, now=NOW) == (found is not None)
    assert numbers() == ([found] if found else [])


def test_b70_an_address_in_saleor_takes_no_number_from_who_has_it(
    installation: Installation, alice: Profile, bob: Profile, shop: LoopbackShop, twilio: Any
) -> None:
    with_number(bob)
    allow(alice)
    assert learning.learn(installation=installation, now=NOW) == 0
    assert Identity.objects.get(kind="phone").profile == bob


def test_b70_a_number_that_nobody_proved_is_no_way_to_anybody(
    installation: Installation, alice: Profile, twilio: Any
) -> None:
    with_number(alice)
    Identity.objects.filter(kind="phone").update(confirmed_at=None)
    asked: dict[str, Any] = {"people": [alice.pk], "delivery_channels": ["sms"], "agreed": True}
    assert reach.reachable(installation=installation, **asked) == set()
    assert destinations.destination_of(profile=alice, delivery_channel="sms") is None
    come_in(publish(installation, texted()), alice)
    advance()
    assert (told(), twilio.messages) == ([("first", "sms", "no_address")], [])
    phones.record(profile=alice, number=ANA, now=NOW)
    assert reach.reachable(installation=installation, **asked) == {alice.pk}


def test_b70_a_no_while_saleor_is_asked_keeps_the_number_out(
    installation: Installation, alice: Profile, shop: LoopbackShop, twilio: Any
) -> None:
    allow(alice)
    allow(alice, ConsentState.DENIED)
    assert learning.learn(installation=installation, now=NOW) == 0
    assert (shop.requests, numbers()) == ([], [])


def test_b70_a_shop_that_does_not_answer_is_asked_again(
    installation: Installation, alice: Profile, shop: LoopbackShop, twilio: Any
) -> None:
    allow(alice)
    shop.apps.clear()
    shop.answers["PhonesOfCustomer"] = [
        {"errors": [{"message": "no", "path": ["user"]}], "data": {"user": None}},
        {"data": CUSTOMER},
    ]
    learn_phones()
    assert numbers() == []
    learn_phones()
    assert numbers() == [ANA]


@pytest.mark.parametrize(
    "answer",
    [
        {"data": {"user": {"addresses": None}}},
        {"errors": [{"message": "no", "path": ["user"]}], "data": {"user": None}},
    ],
)
def test_b70_one_account_that_cannot_be_read_does_not_hold_up_the_others(
    installation: Installation,
    alice: Profile,
    bob: Profile,
    shop: LoopbackShop,
    twilio: Any,
    answer: dict[str, Any],
) -> None:
    allow(alice)
    allow(bob)
    shop.apps.clear()
    shop.answers["PhonesOfCustomer"] = [answer, {"data": CUSTOMER}, {"data": {"user": None}}]
    for minutes in (1, 2):
        with time_machine.travel(NOW + minutes * MINUTE, tick=False):
            learn_phones()
    assert Identity.objects.get(kind="phone").profile == bob


def test_b70_without_text_messages_nobody_asks_for_numbers(
    installation: Installation, alice: Profile, shop: LoopbackShop
) -> None:
    allow(alice)
    assert learning.learn(installation=installation, now=NOW) == 0
    assert shop.requests == []


def test_b70_a_number_is_encrypted_exported_and_erased(
    installation: Installation, alice: Profile
) -> None:
    with_number(alice)
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT value, address FROM saleor_personalize_identity WHERE kind = 'phone'"
        )
        ((value, address),) = cursor.fetchall()
    assert ANA not in value + address
    consent.suppress(
        installation=installation, delivery_channel=DeliveryChannel.SMS, address_hash=value,
        reason=SuppressionReason.UNSUBSCRIBED, now=NOW,
    )  # fmt: skip
    document = export(profile=alice, now=NOW)
    assert ANA in [each.get("address") for each in document["ids"]]
    assert [each["delivery_channel"] for each in document["suppressions"]] == ["sms"]
    erase(profile=alice, requested_by="staff", now=NOW)  # type: ignore[arg-type]
    assert numbers() == []
    # What was stopped stays so, by a hash that says nothing.
    assert Suppression.objects.get().address_hash == value


def test_b70_a_number_belongs_to_who_proved_it_last_and_what_was_stopped_stays(
    installation: Installation,
    alice: Profile,
    bob: Profile,
    other_installation: Installation,
    dave: Profile,
    twilio: Any,
) -> None:
    with_number(alice)
    with_number(dave)
    with_number(bob)
    assert sorted(numbers()) == [ANA, ANA]
    owners = dict(Identity.objects.filter(kind="phone").values_list("profile", "installation"))
    assert owners == {bob.pk: installation.pk, dave.pk: other_installation.pk}
    with_number(bob, "+48512345678")
    assert sorted(numbers()) == ["+48512345678", ANA]
    # Its former holder had stopped it: whoever has it next is not written to either.
    texts.stop(installation=installation, hashed=phones.number_hash("+48512345678"), now=NOW)
    with_number(alice, "+48512345678")
    come_in(publish(installation, texted()), alice)
    advance()
    assert told() == [("first", "sms", "suppressed")]
    # STOP is about all text messages: what an order needs has other ways.
    needed = publish(
        installation, texted("next", template="thanks"), key="needed", topic="orders", goals=[]
    )
    come_in(needed, alice)
    advance()
    assert told()[1:] == [("next", "sms", "suppressed")]
    assert twilio.messages == []


# -- before anybody gets one ------------------------------------------------------------------------------


def checked(path: Path) -> str:
    out = StringIO()
    call_command("personalize_journeys", "check", str(path), stdout=out)
    return out.getvalue()


def test_b70_a_check_of_a_journey_tells_what_its_text_messages_take(
    installation: Installation, settings: Any, twilio: Any, tmp_path: Path
) -> None:
    settings.LANGUAGES = [("en", "English"), ("pl", "Polish")]
    path = tmp_path / "mine.yaml"
    path.write_text(
        "journey: mine\ntopic: reminders\ntrigger: {type: signal}\nsteps:\n"
        "  - message: {id: hello, template: abandoned_checkout, delivery_channel: sms}\n"
    )
    assert "hello (pl): 3 x UCS-2" in checked(path)
    set_to(settings, SMS_MAX_SEGMENTS=2)
    with pytest.raises(
        CommandError, match=r"steps\.hello: sms\.txt of 'abandoned_checkout' takes 3"
    ):
        checked(path)


def test_b70_a_text_message_of_a_journey_needs_a_channel(
    installation: Installation, tmp_path: Path
) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        "journey: mine\ntopic: reminders\ntrigger: {type: signal}\nsteps:\n"
        "  - message: {id: hello, template: abandoned_checkout, delivery_channel: sms}\n"
    )
    with pytest.raises(CommandError, match=r'named as CHANNELS\["sms"\], see docs/howto/sms\.md'):
        checked(path)


def test_b70_doctor_tells_how_many_numbers_there_are_and_when_nothing_writes_to_them(
    installation: Installation, alice: Profile, settings: Any
) -> None:
    def told() -> list[tuple[str, str]]:
        return [(each.level, each.text) for each in doctor._texts(installation)]

    assert told() == []
    with_number(alice)
    missing = "1 numbers are known, and CHANNELS['sms'] is no TextMessageChannel that can be built."
    assert told() == [("warn", missing)]
    set_to(settings, CHANNELS={"sms": "tests.integration.phones.Phones"})
    assert told() == [("warn", missing)]
    set_to(settings, CHANNELS={"sms": texting.channel("http://127.0.0.1:9")})
    assert told() == [("ok", "CHANNELS has a way; 1 numbers.")]
