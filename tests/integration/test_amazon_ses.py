"""B67, B87: Amazon SES by Anymail and the real boto3, against a loopback server that speaks SES v2."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from saleor_personalize.exceptions import ChannelError
from saleor_personalize.messaging import pace
from saleor_personalize.messaging.channels import connections
from saleor_personalize.messaging.channels.base import OutgoingMessage
from saleor_personalize.messaging.channels.email import EmailChannel
from saleor_personalize.testing.stack import free_port
from tests.integration.reminders import SMTP, mailbox

KEYS = {"aws_access_key_id": "AKIDEXAMPLE", "aws_secret_access_key": "not-a-secret"}
MAIL = OutgoingMessage(
    key="1" * 32,
    recipient="ann@example.com",
    sender="Shop <shop@example.com>",
    subject="Hello",
    text="Hello\n",
    html="<p>Hello</p>",
    installation_id=0,
)


@dataclass
class Ses:
    """`status` None: it reads the call and hangs up."""

    port: int = 0
    status: int | None = 200
    error: str = ""
    message: str = "No."
    calls: list[str] = field(default_factory=list)


@pytest.fixture
def ses() -> Iterator[Ses]:
    made = Ses()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            made.calls.append(self.path)
            if made.status is None:
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)
                return
            body = (
                {"message": made.message} if made.error else {"MessageId": f"ses-{len(made.calls)}"}
            )
            self.send_response(made.status)
            if made.error:
                self.send_header("x-amzn-ErrorType", made.error)
            text = json.dumps(body).encode()
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    made.port = server.server_port
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield made
    connections.close_all()
    server.shutdown()
    server.server_close()


def channel(port: int, keys: dict[str, str] = KEYS, **params: Any) -> EmailChannel:
    at = {"endpoint_url": f"http://127.0.0.1:{port}", "region_name": "eu-central-1", **params}
    options = {"session_params": keys, "client_params": at}
    ses = {"BACKEND": "anymail.backends.amazon_ses.EmailBackend", "OPTIONS": options}
    return EmailChannel(providers=[ses])


def test_b67_a_mail_goes_by_amazon_and_has_its_id(ses: Ses) -> None:
    assert channel(ses.port).send(MAIL).provider_message_id == "ses-1"
    assert ses.calls == ["/v2/email/outbound-emails"]


@pytest.mark.parametrize(
    ("status", "error", "is_permanent", "is_ambiguous", "wait"),
    [
        (429, "TooManyRequestsException", False, False, pace.PAUSE),
        (400, "ThrottlingException", False, False, pace.PAUSE),
        (400, "LimitExceededException", False, False, pace.PAUSE),
        (400, "SendingPausedException", False, False, None),
        (400, "AccountSuspendedException", False, False, None),
        (400, "MailFromDomainNotVerifiedException", False, False, None),
        (403, "SignatureDoesNotMatch", False, False, None),
        (400, "MessageRejected", True, False, None),
        (400, "RequestExpired", False, False, None),
        (400, "ExpiredTokenException", False, False, None),
        (404, "NotFoundException", False, False, None),
        (400, "BadRequestException", True, False, None),
        (500, "InternalFailure", False, True, pace.REST),
        (None, "", False, True, pace.REST),
    ],
)
@pytest.mark.parametrize("given", [{}, {"config": {"retries": {"max_attempts": 4}}}])
def test_b67_b87_what_amazon_says_is_sorted_and_nothing_is_asked_twice(
    ses: Ses,
    status: int | None,
    error: str,
    is_permanent: bool,
    is_ambiguous: bool,
    wait: timedelta | None,
    given: dict[str, Any],
) -> None:
    ses.status, ses.error = status, error
    with pytest.raises(ChannelError) as caught:
        channel(ses.port, **given).send(MAIL)
    told = caught.value
    assert (told.is_permanent, told.is_ambiguous, told.retry_after) == (
        is_permanent,
        is_ambiguous,
        wait,
    )
    assert len(ses.calls) == 1


@pytest.mark.parametrize(
    "said",
    [
        "Email address is not verified. The following identities failed the check in region "
        "EU-CENTRAL-1: shop@example.com",
        "Sending paused for this account. For more information, please check the inbox.",
    ],
)
def test_b67_what_amazon_says_of_the_account_ends_nobodys_journey(ses: Ses, said: str) -> None:
    ses.status, ses.error, ses.message = 400, "MessageRejected", said
    with pytest.raises(ChannelError) as caught:
        channel(ses.port).send(MAIL)
    assert (caught.value.is_permanent, caught.value.is_ambiguous) == (False, False)
    assert str(caught.value) == "The provider's API answered MessageRejected."
    # Its mail servers say it in the same words.
    with mailbox() as box:
        box.data_answer = f"554 Message rejected: {said}"
        server = {"host": "127.0.0.1", "port": box.port}
        with pytest.raises(ChannelError) as caught:
            EmailChannel(providers=[{"BACKEND": SMTP, "OPTIONS": server}]).send(MAIL)
    assert (caught.value.is_permanent, caught.value.is_ambiguous) == (False, False)
    assert "shop@example.com" not in str(caught.value)


def test_b67_who_cannot_call_amazon_has_sent_nothing(
    ses: Ses, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_DEFAULT_REGION", "AWS_REGION"):
        monkeypatch.delenv(name, raising=False)
    for broken in (
        channel(free_port()),
        channel(ses.port, keys={}),
        channel(ses.port, region_name=None),
    ):
        with pytest.raises(ChannelError) as caught:
            broken.send(MAIL)
        assert (caught.value.is_permanent, caught.value.is_ambiguous) == (False, False)
    assert ses.calls == []
