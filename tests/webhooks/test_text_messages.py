"""B70: what comes back of text messages: signed, stored before it is believed, and STOP counts at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlencode

import pytest
import time_machine
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client
from django.utils import timezone

from saleor_personalize.enums import (
    ConsentState,
    DeliveryChannel,
    DeliveryStatus,
    Lane,
    MessageEventKind,
    MessageStatus,
    Purpose,
    SuppressionReason,
)
from saleor_personalize.ingestion import deliveries, erasure
from saleor_personalize.messaging import feedback
from saleor_personalize.messaging.channels.sms import Callback, Report, Written
from saleor_personalize.models import (
    Consent,
    Installation,
    Message,
    MessageEvent,
    Profile,
    Suppression,
    WebhookDelivery,
)
from saleor_personalize.profiles import consent, phones, privacy
from tests import texting
from tests.conftest import NOW, make_profile
from tests.texting import ANA, SHOP, allow, set_to, with_number

Call = Callable[..., int]
STOP = {"MessageSid": "SM100", "From": ANA, "To": SHOP, "Body": "STOP"}


@pytest.fixture(autouse=True)
def _shop(settings: Any) -> Iterator[None]:
    set_to(settings, CHANNELS={"sms": texting.channel("http://127.0.0.1:9")})
    with time_machine.travel(NOW.replace(hour=13), tick=False):
        yield


@pytest.fixture
def call(installation: Installation) -> Call:
    """Let Twilio call the shop's address: `call({...})`."""

    def post(
        form: dict[str, str],
        *,
        of: Installation = installation,
        query: str = "",
        token: str = texting.fake.TOKEN,
        signature: str | None = None,
    ) -> int:
        webhook = feedback.webhook_of(installation=of, now=NOW)
        url = feedback.webhook_url(webhook=webhook, provider="sms") + query
        signed = texting.fake.signature(url, form, token) if signature is None else signature
        answer = Client(enforce_csrf_checks=True).post(
            url.removeprefix("https://personalize.test"),
            urlencode(form),
            content_type="application/x-www-form-urlencoded",
            headers={"X-Twilio-Signature": signed},
        )
        return int(answer.status_code)

    return post


def process() -> int:
    return deliveries.process_waiting(now=timezone.now())


def texted(profile: Profile, number: int = 1, to: str = ANA) -> Message:
    return Message.objects.create(
        installation=profile.installation,
        idempotency_key=f"test:{number}:{profile.pk}",
        profile=profile,
        template="abandoned_checkout",
        purpose=Purpose.MARKETING,
        delivery_channel=DeliveryChannel.SMS,
        address_hash=phones.number_hash(to),
        status=MessageStatus.SENT,
        decided_at=NOW.replace(minute=number),
        handed_over_at=NOW.replace(minute=number),
        provider_message_id=f"SM{number}",
    )


def state(profile: Profile, purpose: Purpose = Purpose.MARKETING, topic: str = "") -> str | None:
    return consent.state(
        profile=profile, purpose=purpose, delivery_channel=DeliveryChannel.SMS, topic=topic
    )


def events() -> list[tuple[str, str]]:
    return list(MessageEvent.objects.order_by("pk").values_list("kind", "detail"))


def reasons() -> list[str]:
    return [row.reason for row in Suppression.objects.order_by("pk")]


def nothing_changed() -> bool:
    return not (
        Suppression.objects.exists()
        or MessageEvent.objects.exists()
        or Consent.objects.filter(state=ConsentState.DENIED).exists()
    )


# -- stored before it is believed ---------------------------------------------------------------------------


def test_b70_stop_is_stored_then_a_no_to_everything_over_this_way(
    alice: Profile, call: Call, sent_tasks: list[str], run_on_commit: Any
) -> None:
    with_number(alice)
    texted(alice)
    last = texted(alice, 2)
    with run_on_commit():
        assert call(STOP) == 200
    assert sent_tasks == ["personalize.process_deliveries"]
    assert nothing_changed()
    assert WebhookDelivery.objects.get().event == "provider_sms"
    assert process() == 1
    assert WebhookDelivery.objects.get().status == DeliveryStatus.PROCESSED
    assert state(alice) == ConsentState.DENIED
    assert state(alice, Purpose.TRANSACTIONAL) == ConsentState.DENIED
    assert reasons() == [SuppressionReason.UNSUBSCRIBED]
    assert consent.is_granted(profile=alice, purpose=Purpose.MARKETING, delivery_channel="email")
    lines = Consent.objects.filter(profile=alice, state=ConsentState.DENIED)
    assert {line.source for line in lines} == {"text_message"}
    event = MessageEvent.objects.get()
    assert (event.message, event.kind) == (last, MessageEventKind.UNSUBSCRIBED)


def test_b70_stop_twice_and_told_twice_is_one_no(alice: Profile, call: Call) -> None:
    with_number(alice)
    texted(alice)
    assert [call(STOP), call(STOP), call({**STOP, "MessageSid": "SM101"})] == [200] * 3
    # In one moment: it is the same call, made again.
    assert process() == 2
    with time_machine.travel(NOW.replace(hour=13, minute=1), tick=False):
        assert call(STOP) == 200
        assert process() == 1
    assert MessageEvent.objects.count() == 2
    assert Consent.objects.filter(state=ConsentState.DENIED).count() == 2
    assert Suppression.objects.count() == 1


def test_b70_a_second_stop_counts_where_a_provider_gives_no_ids(
    alice: Profile, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing tells it from the first, but that there was a START in between."""

    def read(_self: Any, callback: Callback) -> list[Written]:
        return [Written(event_id="", number=callback.form["From"], text=callback.form["Body"])]

    monkeypatch.setattr("twilio_messages.TwilioChannel.read", read)
    with_number(alice)
    stop, start = ({"From": ANA, "To": SHOP, "Body": word} for word in ("STOP", "START"))
    for minute, form in enumerate((stop, start, stop)):
        with time_machine.travel(NOW.replace(hour=13, minute=minute), tick=False):
            assert call(form) == 200
            assert process() == 1
    assert state(alice) == ConsentState.DENIED
    assert reasons() == [SuppressionReason.UNSUBSCRIBED]
    # What only looks like a START said again takes nothing back.
    with time_machine.travel(NOW.replace(hour=14), tick=False):
        assert call(start) == 200
        assert process() == 0
    assert state(alice) == ConsentState.DENIED


@pytest.mark.parametrize(
    ("form", "lane"),
    [
        (STOP, Lane.URGENT),
        ({**STOP, "Body": "Thank you"}, Lane.URGENT),
        ({"MessageSid": "SM1", "MessageStatus": "delivered", "To": ANA}, Lane.PATIENT),
        ({"MessageSid": "SM1", "MessageStatus": "sent", "To": ANA}, Lane.PATIENT),
        ({"nothing": "of this"}, Lane.URGENT),
    ],
)
def test_b70_what_people_write_waits_behind_no_report(
    alice: Profile, call: Call, form: dict[str, str], lane: Lane
) -> None:
    assert call(form) == 200
    assert WebhookDelivery.objects.get().lane == lane


@pytest.mark.parametrize(
    "changes",
    [
        {"token": "0" * 32},
        {"signature": ""},
        {"signature": "Zm9yZ2Vk"},
    ],
)
def test_b70_nobody_but_the_provider_stops_anybody(
    alice: Profile, call: Call, changes: dict[str, str]
) -> None:
    with_number(alice)
    assert call(STOP, **changes) == 401
    assert not WebhookDelivery.objects.exists()
    assert process() == 0
    assert nothing_changed()


def test_b70_without_a_channel_that_reports_there_is_no_such_address(
    alice: Profile, call: Call, settings: Any
) -> None:
    for channels in ({}, {"sms": "tests.integration.phones.Phones"}):
        set_to(settings, CHANNELS={"sms": None, **channels})
        assert call(STOP) == 404
    assert not WebhookDelivery.objects.exists()


def test_b70_what_cannot_be_read_waits_for_a_replay(
    alice: Profile, call: Call, settings: Any
) -> None:
    with_number(alice)
    assert call({"CallSid": "CA1"}) == 200
    assert call(STOP) == 200
    channels = dict(settings.SALEOR_PERSONALIZE["CHANNELS"])
    set_to(settings, CHANNELS={"sms": "tests.integration.phones.Phones"})
    assert process() == 2
    assert nothing_changed()
    dead = WebhookDelivery.objects.filter(status=DeliveryStatus.FAILED)
    assert ANA not in " ".join(row.error for row in dead)
    assert dead.count() == 2
    set_to(settings, CHANNELS=channels)
    with pytest.raises(CommandError):
        call_command("personalize_webhooks", "replay")
    assert state(alice) == ConsentState.DENIED
    (odd,) = WebhookDelivery.objects.filter(status=DeliveryStatus.FAILED)
    assert odd.error == "Neither a status of a message nor an answer, as Twilio sends them."


def test_b70_an_address_of_one_shop_speaks_for_that_shop(
    alice: Profile, dave: Profile, call: Call, other_installation: Installation
) -> None:
    with_number(alice)
    with_number(dave)
    assert call(STOP, of=other_installation) == 200
    process()
    assert (state(alice), state(dave)) == (ConsentState.GRANTED, ConsentState.DENIED)


def test_b70_stop_of_a_number_that_nobody_has_stays(
    installation: Installation, alice: Profile, call: Call
) -> None:
    with_number(alice)
    privacy.erase(profile=alice, requested_by="staff", now=NOW.replace(hour=14))  # type: ignore[arg-type]
    assert call(STOP) == 200
    process()
    assert reasons() == [SuppressionReason.UNSUBSCRIBED]
    # A body that names somebody who was erased is not kept.
    assert not WebhookDelivery.objects.exists()


# -- what people answer -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "more", "stops"),
    [
        ("stop", {}, True),
        (" STOP! ", {}, True),
        ("Arrêt", {}, True),
        ("Stopp.", {}, True),
        ("KONIEC", {}, True),
        ("Baja", {}, True),
        ("stop all", {}, True),
        # Words of the provider's own list, which we do not know.
        ("ungern", {"OptOutType": "STOP"}, True),
        ("Please do not stop", {}, False),
        ("Thank you", {}, False),
        ("", {}, False),
        ("help", {"OptOutType": "HELP"}, False),
    ],
)
def test_b70_stop_is_heard_as_people_write_it(
    alice: Profile, call: Call, text: str, more: dict[str, str], stops: bool
) -> None:
    with_number(alice)
    assert call({**STOP, "Body": text, **more}) == 200
    process()
    assert (state(alice) == ConsentState.DENIED) == stops
    assert nothing_changed() != stops
    wanted = DeliveryStatus.PROCESSED if stops else DeliveryStatus.IGNORED
    assert WebhookDelivery.objects.get().status == wanted


def test_b70_a_shop_says_which_words_end_messages(
    alice: Profile, call: Call, settings: Any
) -> None:
    with_number(alice)
    set_to(settings, SMS_STOP_WORDS=["stop", "Nie więcej"])
    call({**STOP, "Body": "nie więcej!"})
    process()
    assert state(alice) == ConsentState.DENIED


def test_b70_start_takes_back_what_stop_said(alice: Profile, call: Call) -> None:
    with_number(alice)
    call(STOP)
    process()
    assert call({**STOP, "MessageSid": "SM102", "Body": "Start"}) == 200
    process()
    assert state(alice) == ConsentState.GRANTED
    assert state(alice, Purpose.TRANSACTIONAL) == ConsentState.GRANTED
    assert reasons() == []


def test_b70_start_brings_back_the_topics_that_there_were(alice: Profile, call: Call) -> None:
    phones.record(profile=alice, number=ANA, now=NOW)
    allow(alice, topic="offers")
    call(STOP)
    process()
    assert state(alice, topic="offers") == ConsentState.DENIED
    call({**STOP, "MessageSid": "SM102", "Body": "START"})
    process()
    assert state(alice, topic="offers") == ConsentState.GRANTED
    assert state(alice, topic="news") == ConsentState.DENIED


@pytest.mark.parametrize("said", ["nothing", "no before", "no after", "no number"])
def test_b70_start_is_no_yes_of_its_own_and_ends_no_other_no(
    alice: Profile, call: Call, said: str
) -> None:
    if said != "no number":
        phones.record(profile=alice, number=ANA, now=NOW)
    if said == "no before":
        allow(alice)
        allow(alice, ConsentState.DENIED, source="preferences")
    call(STOP)
    process()
    if said == "no after":
        allow(alice)
        allow(alice, ConsentState.DENIED, source="preferences")
    call({**STOP, "MessageSid": "SM102", "Body": "START"})
    process()
    wanted = None if said == "no number" else ConsentState.DENIED
    assert state(alice) == wanted


def test_b70_a_start_that_waited_does_not_overrule_the_stop_after_it(
    alice: Profile, call: Call, settings: Any
) -> None:
    with_number(alice)
    channels = dict(settings.SALEOR_PERSONALIZE["CHANNELS"])
    call({**STOP, "MessageSid": "SM102", "Body": "START"})
    set_to(settings, CHANNELS={"sms": "tests.integration.phones.Phones"})
    process()
    assert WebhookDelivery.objects.get().status == DeliveryStatus.FAILED
    set_to(settings, CHANNELS=channels)
    with time_machine.travel(NOW.replace(hour=14), tick=False):
        call(STOP)
        process()
        call_command("personalize_webhooks", "replay")
        process()
    assert not WebhookDelivery.objects.filter(status=DeliveryStatus.FAILED).exists()
    assert state(alice) == ConsentState.DENIED
    assert reasons() == [SuppressionReason.UNSUBSCRIBED]


def test_b70_a_stop_that_waited_holds_until_the_start_after_it(alice: Profile, call: Call) -> None:
    with_number(alice)
    call(STOP)
    with time_machine.travel(NOW.replace(hour=13, minute=1), tick=False):
        call({**STOP, "MessageSid": "SM102", "Body": "START"})
    with time_machine.travel(NOW.replace(hour=14), tick=False):
        assert process() == 2
    assert state(alice) == ConsentState.GRANTED
    assert reasons() == []


def test_b70_no_number_of_somebody_erased_stays_in_what_was_stored(
    installation: Installation, alice: Profile, call: Call
) -> None:
    with_number(alice)
    with_number(make_profile(installation, saleor_user="VXNlcjo5"), "+48512345678")
    call({**STOP, "Body": "Thank you, Alice"})
    call(status("delivered"))
    call({**STOP, "MessageSid": "SM103", "From": f"whatsapp:{ANA}", "Body": "Hello"})
    call({**STOP, "MessageSid": "SM104", "From": "+48512345678", "Body": "Hello"})
    process()
    privacy.erase(profile=alice, requested_by="staff", now=NOW.replace(hour=14))  # type: ignore[arg-type]
    erasure.sweep(installation=installation, now=NOW.replace(hour=14))
    (kept,) = WebhookDelivery.objects.all()
    assert b"48512345678" in bytes(kept.body)


@pytest.mark.parametrize("refused", ["signature", "body"])
def test_b70_the_secret_of_the_address_is_in_no_log(
    installation: Installation,
    alice: Profile,
    call: Call,
    caplog: pytest.LogCaptureFixture,
    refused: str,
) -> None:
    if refused == "signature":
        assert call(STOP, signature="Zm9yZ2Vk") == 401
    else:
        assert call({}) == 400
    secret = feedback.webhook_of(installation=installation, now=NOW).secret
    assert "was refused" in caplog.text
    assert secret not in caplog.text


def test_b70_a_dead_number_is_not_brought_back_by_start(alice: Profile, call: Call) -> None:
    with_number(alice)
    consent.suppress(
        installation=alice.installation,
        delivery_channel=DeliveryChannel.SMS,
        address_hash=phones.number_hash(ANA),
        reason=SuppressionReason.HARD_BOUNCE,
        now=NOW,
    )
    call(STOP)
    call({**STOP, "MessageSid": "SM102", "Body": "START"})
    process()
    assert reasons() == [SuppressionReason.HARD_BOUNCE]


# -- what became of a message -----------------------------------------------------------------------------


def status(word: str, sid: str = "SM1", **more: str) -> dict[str, str]:
    return {"MessageSid": sid, "MessageStatus": word, "To": ANA, "From": SHOP, **more}


@pytest.mark.parametrize(
    ("form", "event", "suppressed"),
    [
        (status("delivered"), ("delivered", ""), []),
        (status("read"), ("read", ""), []),
        (status("undelivered", ErrorCode="30003"), ("bounced", "30003"), []),
        (status("undelivered", ErrorCode="30005"), ("bounced", "30005"), ["hard_bounce"]),
        (status("failed", ErrorCode="21610"), ("unsubscribed", "21610"), ["unsubscribed"]),
    ],
)
def test_b70_what_became_of_a_text_message_is_kept_once(
    alice: Profile,
    call: Call,
    form: dict[str, str],
    event: tuple[str, str],
    suppressed: list[str],
) -> None:
    with_number(alice)
    texted(alice)
    assert [call(form), call(form), call({**form, "ApiVersion": "2010-04-01"})] == [200] * 3
    process()
    assert events() == [event]
    assert reasons() == suppressed
    assert (state(alice) == ConsentState.DENIED) == (event[0] == "unsubscribed")


def test_b79_whoever_calls_a_text_message_spam_gets_no_more(
    alice: Profile, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(_self: Any, callback: Callback) -> list[Report]:
        return [Report(MessageEventKind.COMPLAINED, event_id="1", number=callback.form["To"])]

    monkeypatch.setattr("twilio_messages.TwilioChannel.read", read)
    with_number(alice)
    texted(alice)
    assert call(status("delivered")) == 200
    process()
    assert reasons() == [SuppressionReason.COMPLAINT]
    row = Suppression.objects.get()
    assert (row.delivery_channel, row.address_hash) == ("sms", phones.number_hash(ANA))


def test_b70_a_report_is_understood_by_our_own_key(alice: Profile, call: Call) -> None:
    with_number(alice)
    row = texted(alice)
    Message.objects.update(provider_message_id="", status=MessageStatus.UNCERTAIN)
    assert call(status("delivered", "SM77"), query=f"?message={row.public_id.hex}") == 200
    process()
    row.refresh_from_db()
    assert (row.status, row.provider_message_id) == (MessageStatus.SENT, "SM77")
    assert events() == [("delivered", "")]


@pytest.mark.parametrize("query", ["", "?message=", "?message=nonsense", "?message=" + "0" * 32])
def test_b70_a_report_of_a_message_that_is_not_ours_changes_nothing(
    alice: Profile, call: Call, query: str
) -> None:
    with_number(alice)
    assert call(status("delivered", "SM404"), query=query) == 200
    process()
    assert nothing_changed()
    assert WebhookDelivery.objects.get().status == DeliveryStatus.IGNORED


def test_b70_the_key_of_another_shops_message_says_nothing(
    alice: Profile, dave: Profile, call: Call
) -> None:
    row = texted(dave)
    assert call(status("delivered", "SM9"), query=f"?message={row.public_id.hex}") == 200
    process()
    assert nothing_changed()


def test_b70_the_address_is_heard_of_in_the_go_live_check(
    alice: Profile, call: Call, capsys: pytest.CaptureFixture[str]
) -> None:
    call_command("personalize_go_live_check", "--webhook", "sms")
    assert "/sms/" in capsys.readouterr().out

    def told() -> str:
        with pytest.raises(SystemExit):
            call_command("personalize_go_live_check")
        found = [row for row in capsys.readouterr().out.splitlines() if "text messages" in row]
        return found[0]

    assert "was never heard: nobody could end them by STOP" in told()
    call(STOP)
    assert "last heard 2026-03-02 13:00 UTC" in told()


def test_b70_stop_holds_all_ids_of_the_person_at_once_as_a_decision_does(
    alice: Profile, call: Call
) -> None:
    with_number(alice)
    assert call(STOP) == 200
    held: list[int] = []

    def note(execute: Any, sql: str, params: Any, many: bool, context: Any) -> Any:
        if "pg_advisory_xact_lock(key)" in sql:
            held.append(len(params[0]))
        return execute(sql, params, many, context)

    with connection.execute_wrapper(note):
        process()
    assert state(alice) == ConsentState.DENIED
    # Account, address and number: were the number alone first, two could wait for each other.
    assert held[0] == 3
