"""Run with pytest beside your own tests: the contract of every delivery channel, and what is Twilio's alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import pytest
import twilio_server as fake
from twilio_messages import TwilioChannel

from saleor_personalize.enums import MessageEventKind, Reply
from saleor_personalize.exceptions import (
    ChannelError,
    MalformedPayload,
    WebhookRejected,
)
from saleor_personalize.messaging.channels.base import OutgoingMessage
from saleor_personalize.messaging.channels.sms import Callback, Report, Written
from saleor_personalize.testing.contracts import (
    Mood,
    ProviderCase,
    TextMessageChannelTests,
)

ANA = "+491711234567"
SHOP = "+15005550006"
CALLBACK = "https://personalize.test/webhooks/providers/sms/secret/"


def channel(twilio: fake.Twilio, **options: Any) -> TwilioChannel:
    values = {
        "account_sid": fake.ACCOUNT, "auth_token": fake.TOKEN, "sender": SHOP, "api_url": twilio.url
    }  # fmt: skip
    return TwilioChannel(**{**values, **options})


def a_message(**changes: Any) -> OutgoingMessage:
    values = {
        "key": "8a4c3b6de17f4f0a9d2b5c6e7f809112",
        "recipient": ANA,
        "sender": "",
        "subject": "",
        "text": "Your lamp waits for you. Reply STOP to end.",
        "html": "",
        "callback_url": CALLBACK,
    }
    return OutgoingMessage(**{**values, **changes})


class TestTwilioChannel(TextMessageChannelTests):
    sender = SHOP

    @contextmanager
    def provider(self, mood: Mood) -> Iterator[ProviderCase]:
        moods: dict[Mood, list[int | str]] = {
            Mood.REFUSES_ADDRESS: [21211],
            Mood.HAS_UNSUBSCRIBED: [21610],
            Mood.IS_BUSY: [20429],
            Mood.NEVER_ANSWERS: ["hang"],
        }
        with fake.serving() as twilio:
            twilio.errors = moods.get(mood, [])
            url = "http://127.0.0.1:9" if mood == Mood.IS_DOWN else twilio.url
            timeout = 0.4 if mood == Mood.NEVER_ANSWERS else 10.0

            def received() -> Sequence[str]:
                return [str(form) for form in twilio.messages]

            yield ProviderCase(
                channel(twilio, sender=self.sender, api_url=url, timeout=timeout, **self.options()),
                received,
            )

    def options(self) -> dict[str, str]:
        return {}

    def stop_callback(self) -> Callback:
        form = {"MessageSid": "SM9", "From": self.address(ANA), "To": SHOP, "Body": "STOP"}
        return signed(form)

    def address(self, number: str) -> str:
        return number


class TestWhatsApp(TestTwilioChannel):
    sender = f"whatsapp:{SHOP}"

    def options(self) -> dict[str, str]:
        return {"content_sid": "HX" + "2b" * 16}

    def address(self, number: str) -> str:
        return f"whatsapp:{number}"


def signed(form: dict[str, str], url: str = CALLBACK, token: str = fake.TOKEN) -> Callback:
    query = dict([url.partition("?")[2].split("=")]) if "?" in url else {}
    return Callback(
        url,
        urlencode(form).encode(),
        "application/x-www-form-urlencoded",
        query,
        {"x-twilio-signature": fake.signature(url, form, token)},
    )


def test_a_text_message_is_one_form_of_twilios() -> None:
    with fake.serving() as twilio:
        result = channel(twilio).send(a_message())
    assert twilio.messages == [
        {
            "To": ANA,
            "From": SHOP,
            "Body": "Your lamp waits for you. Reply STOP to end.",
            "StatusCallback": f"{CALLBACK}?message=8a4c3b6de17f4f0a9d2b5c6e7f809112",
        }
    ]
    assert result.provider_message_id == "SM" + "0" * 31 + "1"


def test_a_messaging_service_sends_under_its_own_name() -> None:
    with fake.serving() as twilio:
        channel(twilio, sender="MG" + "3c" * 16).send(a_message(callback_url=""))
    (form,) = twilio.messages
    assert form["MessagingServiceSid"] == "MG" + "3c" * 16
    assert "From" not in form
    assert "StatusCallback" not in form


def test_whatsapp_fills_an_approved_template() -> None:
    with fake.serving() as twilio:
        channel(twilio, sender=f"whatsapp:{SHOP}", content_sid="HX1").send(
            a_message(text='Hi "you"')
        )
    (form,) = twilio.messages
    assert (form["To"], form["From"]) == (f"whatsapp:{ANA}", f"whatsapp:{SHOP}")
    assert (form["ContentSid"], form["ContentVariables"]) == ("HX1", '{"1": "Hi \\"you\\""}')
    assert "Body" not in form


@pytest.mark.parametrize(
    ("planned", "is_permanent", "is_ambiguous", "is_dead", "has_unsubscribed", "retry_after"),
    [
        (21211, True, False, True, False, None),
        (21614, True, False, True, False, None),
        (21610, True, False, False, True, None),
        (21617, True, False, False, False, None),
        (20003, False, False, False, False, None),
        (20429, False, False, False, False, timedelta(seconds=7)),
        (21611, False, False, False, False, timedelta(seconds=7)),
        # It may have the message, and shall not get all the others as well.
        ("fail", False, True, False, False, timedelta(seconds=15)),
        ("break", False, True, False, False, timedelta(seconds=15)),
    ],
)
def test_each_answer_of_twilio_has_its_meaning(
    planned: int | str,
    is_permanent: bool,
    is_ambiguous: bool,
    is_dead: bool,
    has_unsubscribed: bool,
    retry_after: timedelta | None,
) -> None:
    with fake.serving() as twilio:
        twilio.errors = [planned]
        with pytest.raises(ChannelError) as caught:
            channel(twilio).send(a_message())
    error = caught.value
    assert (error.is_permanent, error.is_ambiguous) == (is_permanent, is_ambiguous)
    assert (error.is_address_dead, error.has_unsubscribed) == (is_dead, has_unsubscribed)
    assert error.retry_after == retry_after
    assert "1711234567" not in str(error)


def test_what_is_no_number_never_leaves() -> None:
    with fake.serving() as twilio:
        with pytest.raises(ChannelError, match="no phone number") as caught:
            channel(twilio).send(a_message(recipient="0171 1234567"))
        assert caught.value.is_permanent
    assert twilio.messages == []


@pytest.mark.parametrize(
    ("options", "fault"),
    [
        ({"api_url": "http://api.twilio.test"}, "in the clear"),
        ({"account_sid": "AC1"}, "account_sid"),
        ({"auth_token": ""}, "auth_token"),
        ({"sender": "Shop"}, "sender"),
        ({"sender": f"whatsapp:{SHOP}"}, "content_sid"),
        ({"timeout": 0}, "timeout"),
    ],
)
def test_settings_that_cannot_be_used_are_told_at_the_start(
    options: dict[str, Any], fault: str
) -> None:
    with pytest.raises(ValueError, match=fault):
        channel(fake.Twilio(url="http://127.0.0.1:9"), **options)


def the_channel() -> TwilioChannel:
    return channel(fake.Twilio(url="http://127.0.0.1:9"))


@pytest.mark.parametrize(
    ("url", "token", "change"),
    [
        (CALLBACK, "another", {}),
        (CALLBACK.replace("sms", "smS"), fake.TOKEN, {}),
        (CALLBACK, fake.TOKEN, {"Body": "START"}),
    ],
)
def test_nobody_else_signs_as_twilio(url: str, token: str, change: dict[str, str]) -> None:
    form = {"MessageSid": "SM1", "From": ANA, "Body": "STOP"}
    callback = signed(form, url, token)
    forged = Callback(CALLBACK, urlencode({**form, **change}).encode(), headers=callback.headers)
    with pytest.raises(WebhookRejected):
        the_channel().check(forged)
    the_channel().check(signed(form))


def test_the_signature_is_that_of_twilios_documentation() -> None:
    """The example of https://www.twilio.com/docs/usage/security, with its token 12345."""
    form = {
        "CallSid": "CA1234567890ABCDE",
        "Caller": "+14158675309",
        "Digits": "1234",
        "From": "+14158675309",
        "To": "+18005551212",
    }
    url = "https://mycompany.com/myapp.php?foo=1&bar=2"
    assert fake.signature(url, form, "12345") == "RSOYDt4T1cUTdK1PDd93/VVr8B8="


@pytest.mark.parametrize(
    ("status", "code", "kind", "is_hard"),
    [
        ("delivered", "", MessageEventKind.DELIVERED, False),
        ("read", "", MessageEventKind.READ, False),
        ("undelivered", "30005", MessageEventKind.BOUNCED, True),
        ("undelivered", "30003", MessageEventKind.BOUNCED, False),
        ("failed", "21610", MessageEventKind.UNSUBSCRIBED, False),
    ],
)
def test_what_twilio_reports_is_read(
    status: str, code: str, kind: MessageEventKind, is_hard: bool
) -> None:
    form = {"MessageSid": "SM1", "MessageStatus": status, "To": ANA, "From": SHOP}
    (told,) = the_channel().read(
        signed({**form, **({"ErrorCode": code} if code else {})}, f"{CALLBACK}?message=abc")
    )
    assert isinstance(told, Report)
    assert (told.kind, told.is_hard, told.detail) == (kind, is_hard, code)
    assert (told.number, told.message_id, told.key) == (ANA, "SM1", "abc")
    assert told.event_id == f"SM1:{status}"


@pytest.mark.parametrize("status", ["queued", "sending", "sent", "accepted"])
def test_what_is_on_its_way_says_nothing(status: str) -> None:
    assert (
        the_channel().read(signed({"MessageSid": "SM1", "MessageStatus": status, "To": ANA})) == []
    )


def test_an_answer_is_read_with_what_twilio_makes_of_it() -> None:
    form = {"MessageSid": "SM2", "From": f"whatsapp:{ANA}", "Body": "Arrêt"}
    (told,) = the_channel().read(signed(form))
    assert told == Written("SM2", ANA, "Arrêt")
    (told,) = the_channel().read(signed({**form, "OptOutType": "STOP"}))
    assert isinstance(told, Written)
    assert told.reply == Reply.STOP


def test_what_twilio_does_not_send_is_malformed() -> None:
    with pytest.raises(MalformedPayload):
        the_channel().read(signed({"CallSid": "CA1"}))
