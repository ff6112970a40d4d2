"""B67: what a provider says, sorted into taken, refused for good, refused for now, and unknown."""

import http.client
import smtplib
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import requests
import urllib3
from anymail.exceptions import AnymailAPIError, AnymailRecipientsRefused, AnymailRequestsAPIError
from django.core import mail

from saleor_personalize.exceptions import ChannelError
from saleor_personalize.messaging.channels.base import OutgoingMessage
from saleor_personalize.messaging.channels.console import ConsoleChannel
from saleor_personalize.messaging.channels.email import EmailChannel

MESSAGE = OutgoingMessage(
    key="5f18b6a8",
    recipient="ann@example.com",
    sender="Shop <shop@b\N{LATIN SMALL LETTER U WITH DIAERESIS}cher.example>",
    subject="Hello",
    text="Text",
    html="<p>Text</p>",
    headers={"List-Unsubscribe": "<https://personalize.test/u/x>"},
)


def test_b67_a_mail_of_two_bodies_with_our_headers() -> None:
    result = EmailChannel().send(MESSAGE)
    (sent,) = mail.outbox
    assert sent.to == ["ann@example.com"]
    assert sent.body == "Text"
    assert sent.alternatives[0] == ("<p>Text</p>", "text/html")
    assert sent.extra_headers == {
        "Message-ID": "<5f18b6a8@xn--bcher-kva.example>",
        "List-Unsubscribe": "<https://personalize.test/u/x>",
    }
    assert result.provider_message_id == "<5f18b6a8@xn--bcher-kva.example>"


@pytest.mark.parametrize(
    "recipient",
    [
        "ann@example.com, ben@example.com",
        "ann@example.com\nBcc: ben@example.com",
        "Ann <ann@x.y>",
        "",
    ],
)
@pytest.mark.parametrize(
    "provider",
    ["anymail.backends.test.EmailBackend", "django.core.mail.backends.locmem.EmailBackend"],
)
def test_d6_a_message_goes_to_one_mailbox_or_nowhere(recipient: str, provider: str) -> None:
    """Providers take a list where we mean an address: a second person would read the message."""
    with pytest.raises(ChannelError) as caught:
        EmailChannel(providers=[provider]).send(replace(MESSAGE, recipient=recipient))
    assert caught.value.is_permanent
    assert "ann" not in str(caught.value)
    assert mail.outbox == []


def test_nothing_personal_in_what_is_printed() -> None:
    assert "ann@" not in repr(MESSAGE)
    assert "Text" not in repr(MESSAGE)


def api_error(status: int) -> AnymailAPIError:
    response = requests.Response()
    response.status_code = status
    return AnymailRequestsAPIError("ann@example.com", response=response)


def unreachable() -> AnymailRequestsAPIError:
    """What Anymail raises when its HTTP library could not connect (here: nobody listens)."""
    try:
        requests.post("http://127.0.0.1:9/", timeout=2)
    except requests.RequestException as cause:
        error = AnymailRequestsAPIError("ann@example.com")
        error.__cause__ = cause
        return error
    raise AssertionError("somebody listens on the discard port")


def broken_off() -> AnymailRequestsAPIError:
    error = AnymailRequestsAPIError("ann@example.com")
    error.__cause__ = requests.ReadTimeout("read timed out")
    return error


def by_proxy(cause: Exception) -> AnymailRequestsAPIError:
    """What urllib3 makes of everything that breaks while it goes by a proxy."""
    pool = urllib3.HTTPSConnectionPool("api.example.com")
    reason = urllib3.exceptions.ProxyError("Unable to connect to proxy", cause)
    error = AnymailRequestsAPIError("ann@example.com")
    error.__cause__ = requests.exceptions.ProxyError(
        urllib3.exceptions.MaxRetryError(pool, "/email", reason)
    )
    return error


PERMANENT, LATER, UNKNOWN = "permanent", "later", "unknown"
FAULTS: list[tuple[Any, str]] = [
    (smtplib.SMTPRecipientsRefused({"ann@example.com": (550, b"no ann@example.com")}), PERMANENT),
    (smtplib.SMTPRecipientsRefused({"ann@example.com": (451, b"greylisted")}), LATER),
    # Whose account it is about, nobody who gets it can help.
    (smtplib.SMTPSenderRefused(553, b"not yours", "shop@example.com"), LATER),
    (smtplib.SMTPSenderRefused(421, b"busy", "shop@example.com"), LATER),
    (smtplib.SMTPDataError(554, b"spam from <ann@example.com>"), PERMANENT),
    (smtplib.SMTPDataError(452, b"mailbox full"), LATER),
    (smtplib.SMTPNotSupportedError("SMTPUTF8"), PERMANENT),
    (smtplib.SMTPServerDisconnected("closed"), UNKNOWN),
    (TimeoutError("timed out"), UNKNOWN),
    (ConnectionResetError("reset"), UNKNOWN),
    (AnymailRecipientsRefused("ann@example.com"), PERMANENT),
    # It has the mail, and its answer cannot be read.
    (api_error(200), UNKNOWN),
    (api_error(302), UNKNOWN),
    (api_error(400), PERMANENT),
    (api_error(401), LATER),
    (api_error(402), LATER),
    (api_error(403), LATER),
    (api_error(404), LATER),
    (api_error(422), PERMANENT),
    (api_error(429), LATER),
    (api_error(500), UNKNOWN),
    (api_error(503), UNKNOWN),
    (unreachable, LATER),
    (broken_off(), UNKNOWN),
    (by_proxy(OSError("Tunnel connection failed: 403 Forbidden")), LATER),
    (by_proxy(ConnectionRefusedError(111, "Connection refused")), LATER),
    (by_proxy(http.client.RemoteDisconnected("Remote end closed connection")), UNKNOWN),
    (by_proxy(ConnectionResetError(104, "Connection reset by peer")), UNKNOWN),
    (mail.BadHeaderError("a newline in ann@example.com"), PERMANENT),
]


@pytest.mark.parametrize(("fault", "outcome"), FAULTS)
def test_b67_every_fault_is_sorted_and_names_nobody(
    fault: Any, outcome: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise fault() if callable(fault) else fault

    monkeypatch.setattr("django.core.mail.backends.locmem.EmailBackend.send_messages", fail)
    with pytest.raises(ChannelError) as caught:
        EmailChannel().send(MESSAGE)
    error = caught.value
    kinds = {(True, False): PERMANENT, (False, False): LATER, (False, True): UNKNOWN}
    assert kinds[error.is_permanent, error.is_ambiguous] == outcome
    assert "@" not in str(error)
    assert error.__cause__ is None
    assert error.__suppress_context__


@pytest.mark.parametrize(
    "fault", [ConnectionRefusedError(), smtplib.SMTPAuthenticationError(535, b"no"), TimeoutError()]
)
def test_b67_no_connection_is_certain_and_tried_again(
    fault: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise fault

    monkeypatch.setattr("django.core.mail.backends.locmem.EmailBackend.open", fail)
    with pytest.raises(ChannelError, match="No connection to the mail server") as caught:
        EmailChannel().send(MESSAGE)
    assert (caught.value.is_permanent, caught.value.is_ambiguous) == (False, False)
    assert mail.outbox == []


def test_b67_a_server_that_says_no_goodbye_has_the_message(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise smtplib.SMTPServerDisconnected

    monkeypatch.setattr("django.core.mail.backends.locmem.EmailBackend.close", fail)
    assert EmailChannel().send(MESSAGE).provider_message_id
    assert len(mail.outbox) == 1


@pytest.fixture(autouse=True)
def _empty_outbox() -> Iterator[None]:
    mail.outbox = []
    yield
    mail.outbox = []


def test_console_prints_the_message_and_no_address(capsys: pytest.CaptureFixture[str]) -> None:
    result = ConsoleChannel().send(MESSAGE)
    printed = capsys.readouterr().out
    assert "Subject: Hello\n\nText" in printed
    assert "ann@" not in printed
    assert result.provider_message_id == "console-5f18b6a8"


LOCMEM = "django.core.mail.backends.locmem.EmailBackend"
SMTP = "django.core.mail.backends.smtp.EmailBackend"
NOBODY_LISTENS = {"BACKEND": SMTP, "OPTIONS": {"host": "127.0.0.1", "port": 9}}


@pytest.mark.django_db
def test_b67_a_second_provider_takes_over() -> None:
    result = EmailChannel(providers=[NOBODY_LISTENS, LOCMEM]).send(MESSAGE)
    assert len(mail.outbox) == 1
    assert mail.outbox[0].extra_headers["Message-ID"] == result.provider_message_id


@pytest.mark.django_db
def test_b67_the_second_provider_is_left_alone_while_the_first_works() -> None:
    EmailChannel(providers=[LOCMEM, NOBODY_LISTENS]).send(MESSAGE)
    assert len(mail.outbox) == 1


@pytest.mark.django_db
@pytest.mark.parametrize(
    "fault",
    [
        smtplib.SMTPServerDisconnected("perhaps it has the message"),
        smtplib.SMTPRecipientsRefused({"ann@example.com": (550, b"no such user")}),
    ],
    ids=["nobody knows", "refused for good"],
)
def test_b67_no_second_provider_after_doubt_or_a_plain_no(
    fault: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise fault

    monkeypatch.setattr("django.core.mail.backends.dummy.EmailBackend.send_messages", fail)
    channel = EmailChannel(providers=["django.core.mail.backends.dummy.EmailBackend", LOCMEM])
    with pytest.raises(ChannelError):
        channel.send(MESSAGE)
    assert mail.outbox == []


@pytest.mark.django_db
def test_b67_a_provider_that_does_not_exist_is_said_and_the_next_is_tried() -> None:
    with pytest.raises(ChannelError, match="settings are wrong"):
        EmailChannel(providers=["no.such.Backend"]).send(MESSAGE)
    EmailChannel(providers=["no.such.Backend", LOCMEM]).send(MESSAGE)
    assert len(mail.outbox) == 1
