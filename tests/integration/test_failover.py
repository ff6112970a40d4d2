"""B67: a second provider takes over when the first certainly has not got a mail, and never otherwise."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import time_machine

from saleor_personalize.conf import build_backend
from saleor_personalize.exceptions import ChannelError
from saleor_personalize.messaging.channels.base import OutgoingMessage
from saleor_personalize.models import Installation, Message, Pace, Profile
from saleor_personalize.testing.stack import free_port
from tests.conftest import NOW
from tests.integration.reminders import HOUR, SMTP, MoodyMailbox, World, mailbox

EMAIL = "saleor_personalize.messaging.channels.email.EmailChannel"


@pytest.fixture
def second() -> Iterator[MoodyMailbox]:
    with mailbox() as box:
        yield box


@pytest.fixture
def world(
    installation: Installation, alice: Profile, second: MoodyMailbox, settings: Any
) -> Iterator[World]:
    """Two real SMTP servers; `world.box` is the first choice."""
    with mailbox() as first:
        use(settings, first.port, second.port)
        made = World(installation, first)
        made.go_live()
        yield made


def use(settings: Any, *ports: int) -> None:
    providers = [
        {"BACKEND": SMTP, "OPTIONS": {"host": "127.0.0.1", "port": port, "timeout": 5}}
        for port in ports
    ]
    settings.SALEOR_PERSONALIZE = {
        **settings.SALEOR_PERSONALIZE,
        "CHANNELS": {"email": {"BACKEND": EMAIL, "OPTIONS": {"providers": providers}}},
    }


def outcome(world: World) -> tuple[str, str]:
    world.checkout()
    world.advance()
    message = Message.objects.exclude(idempotency_key__endswith=":second").get()
    return message.status, message.reason


def test_b67_the_first_provider_is_used_while_it_works(world: World, second: MoodyMailbox) -> None:
    assert outcome(world) == ("sent", "")
    assert (len(world.mails()), len(second.messages)) == (1, 0)


def test_b67_the_second_takes_over_when_nobody_listens(
    world: World, second: MoodyMailbox, settings: Any
) -> None:
    use(settings, free_port(), second.port)
    assert outcome(world) == ("sent", "")
    assert (len(world.mails()), len(second.messages)) == (0, 1)
    assert second.messages[0]["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"


@pytest.mark.parametrize("answer", ["451 greylisted", "421 too busy"])
def test_b67_the_second_takes_over_when_the_first_is_busy(
    world: World, second: MoodyMailbox, answer: str
) -> None:
    world.box.recipient_answer = answer
    assert outcome(world) == ("sent", "")
    assert (len(world.mails()), len(second.messages)) == (0, 1)


def test_b67_what_the_first_may_have_is_never_given_to_the_second(
    world: World, second: MoodyMailbox
) -> None:
    world.box.hangs_up_after_data = True
    assert outcome(world) == ("uncertain", "")
    assert (len(world.mails()), len(second.messages)) == (1, 0)
    world.advance(NOW + 5 * HOUR)
    assert (len(world.mails()), len(second.messages)) == (1, 0)


@contextmanager
def api(status: int, body: bytes) -> Iterator[list[int]]:
    """An ESP whose API answers so; the list has its port, and a further entry for each call."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            told.append(status)
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    told = [server.server_port]
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield told
    server.shutdown()
    server.server_close()


def use_api(settings: Any, port: int, *others: dict[str, Any]) -> None:
    options = {"server_token": "t", "api_url": f"http://127.0.0.1:{port}/"}
    esp = {"BACKEND": "anymail.backends.postmark.EmailBackend", "OPTIONS": options}
    settings.SALEOR_PERSONALIZE = {
        **settings.SALEOR_PERSONALIZE,
        "CHANNELS": {"email": {"BACKEND": EMAIL, "OPTIONS": {"providers": [esp, *others]}}},
    }


def test_b67_an_answer_that_nobody_can_read_may_be_a_yes(
    world: World, second: MoodyMailbox, settings: Any
) -> None:
    smtp = {"BACKEND": SMTP, "OPTIONS": {"host": "127.0.0.1", "port": second.port}}
    with api(200, b"<html>It is on its way.</html>") as calls:
        use_api(settings, calls[0], smtp)
        assert outcome(world) == ("uncertain", "")
        world.advance(NOW + 5 * HOUR)
    assert (calls[1:], len(second.messages)) == ([200], 0)


def mail_of(installation: Installation, key: str) -> OutgoingMessage:
    return OutgoingMessage(
        key=key,
        recipient="alice@example.com",
        sender="shop@example.com",
        subject="Hello",
        text="Text",
        html="<p>Text</p>",
        installation_id=installation.pk,
    )


def test_b67_an_api_that_breaks_keeps_one_mail_and_the_next_goes_by_the_second(
    world: World, installation: Installation, second: MoodyMailbox, settings: Any
) -> None:
    """What it got may have been taken; of the others none has to be risked."""
    smtp = {"BACKEND": SMTP, "OPTIONS": {"host": "127.0.0.1", "port": second.port}}
    with api(503, b"") as calls, time_machine.travel(NOW, tick=False) as clock:
        use_api(settings, calls[0], smtp)
        channel = build_backend("CHANNELS", "email")
        with pytest.raises(ChannelError) as caught:
            channel.send(mail_of(installation, "a"))
        assert (caught.value.is_ambiguous, caught.value.retry_after) == (True, None)
        channel.send(mail_of(installation, "b"))
        assert (calls[1:], len(second.messages)) == ([503], 1)
        clock.shift(16)
        with pytest.raises(ChannelError):
            channel.send(mail_of(installation, "c"))
    assert (calls[1:], len(second.messages)) == ([503, 503], 1)


def test_b67_with_one_provider_that_breaks_the_others_wait_for_it(
    world: World, installation: Installation, settings: Any
) -> None:
    with api(503, b"") as calls:
        use_api(settings, calls[0])
        assert outcome(world) == ("uncertain", "")
    rests = Pace.objects.get(installation=None, key="email").paused_until
    assert rests == Message.objects.get().decided_at + timedelta(seconds=15)
    assert calls[1:] == [503]


def test_b67_what_the_first_refuses_for_good_is_not_tried_elsewhere(
    world: World, second: MoodyMailbox
) -> None:
    world.box.recipient_answer = "550 no such user"
    assert outcome(world) == ("failed", "channel_error")
    assert (len(world.mails()), len(second.messages)) == (0, 0)


def test_b67_when_both_are_down_it_is_tried_again_and_goes_once(
    world: World, second: MoodyMailbox, settings: Any
) -> None:
    use(settings, free_port(), free_port())
    with time_machine.travel(NOW, tick=False) as clock:
        assert outcome(world) == ("failed", "channel_error")
        use(settings, free_port(), second.port)
        for hours in range(3, 7):
            clock.move_to(NOW + hours * HOUR)
            world.advance(NOW + hours * HOUR)
    assert (len(world.mails()), len(second.messages)) == (0, 1)
    assert Message.objects.filter(status="sent").count() == 1
