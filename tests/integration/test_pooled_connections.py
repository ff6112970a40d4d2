"""B80, B87: connections to mail servers stay open from mail to mail, and what breaks one is told for what it is."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
import time_machine

from saleor_personalize.exceptions import ChannelError
from saleor_personalize.messaging import pace
from saleor_personalize.messaging.channels import connections
from saleor_personalize.messaging.channels.base import OutgoingMessage
from saleor_personalize.messaging.channels.email import EmailChannel
from saleor_personalize.models import Installation, Pace
from tests.conftest import NOW
from tests.integration.reminders import SMTP, MoodyMailbox


class CountingMailbox(MoodyMailbox):
    """A mail server that counts who connects, and can be told to hang up at a command."""

    def __init__(self) -> None:
        super().__init__()
        self.peers: list[int] = []
        self.servers: list[Any] = []
        self.hangs_up_at = ""

    async def handle_EHLO(  # noqa: N802 (aiosmtpd's name)
        self, server: Any, session: Any, envelope: Any, hostname: str, answers: list[str]
    ) -> list[str]:
        session.host_name = hostname
        self.peers.append(session.peer[1])
        self.servers.append(server)
        return answers

    async def handle_RCPT(  # noqa: N802
        self, server: Any, session: Any, envelope: Any, address: str, options: list[str]
    ) -> str:
        if self.hangs_up_at == "RCPT":
            server.transport.abort()
        return await super().handle_RCPT(server, session, envelope, address, options)

    def hang_up(self) -> None:
        """Close every connection, as a server does with one that was idle."""
        done = threading.Event()
        loop = self._controller.loop

        def close() -> None:
            for server in self.servers:
                if server.transport is not None:
                    server.transport.abort()
            done.set()

        loop.call_soon_threadsafe(close)
        assert done.wait(10)


@pytest.fixture
def box() -> Iterator[CountingMailbox]:
    made = CountingMailbox()
    made.start()
    try:
        yield made
    finally:
        connections.close_all()
        made.stop()


def channel(*boxes: MoodyMailbox) -> EmailChannel:
    options = [{"host": "127.0.0.1", "port": box.port, "timeout": 5} for box in boxes]
    return EmailChannel(providers=[{"BACKEND": SMTP, "OPTIONS": each} for each in options])


def mail(number: int = 1, installation_id: int = 0) -> OutgoingMessage:
    return OutgoingMessage(
        key=f"{number:032x}",
        recipient=f"p{number}@example.com",
        sender="Shop <shop@example.com>",
        subject="Hello",
        text="Hello\n.\n",
        html="<p>Hello</p>",
        installation_id=installation_id,
    )


def test_b80_mails_of_a_batch_go_over_one_connection(box: CountingMailbox) -> None:
    for number in range(5):
        channel(box).send(mail(number))
    assert len(box.messages) == 5
    assert len(box.peers) == 1
    connections.close_all()
    channel(box).send(mail(6))
    assert len(box.peers) == 2


def test_b80_a_connection_carries_a_hundred_and_rests_no_longer_than_ten_seconds(
    box: CountingMailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "_MOST", 2)
    for number in range(5):
        channel(box).send(mail(number))
    assert len(box.peers) == 3
    monkeypatch.setattr(connections, "_IDLE", -1.0)
    channel(box).send(mail(6))
    assert len(box.peers) == 4
    assert len(box.messages) == 6


def test_b80_threads_do_not_share_a_connection(box: CountingMailbox) -> None:
    channel(box).send(mail(1))

    def work() -> None:
        channel(box).send(mail(2))
        connections.close_all()

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(10)
    channel(box).send(mail(3))
    assert len(box.messages) == 3
    assert len(set(box.peers)) == 2


def test_b80_a_fork_opens_its_own(box: CountingMailbox) -> None:
    channel(box).send(mail(1))
    child = os.fork()
    if child == 0:
        code = 1
        try:
            channel(box).send(mail(2))
            connections.close_all()
            code = 0
        finally:
            os._exit(code)
    assert os.waitpid(child, 0)[1] == 0
    # The parent's still works: the child has not said goodbye over it.
    channel(box).send(mail(3))
    assert len(box.messages) == 3
    assert len(set(box.peers)) == 2


def test_b87_a_connection_that_died_while_it_rested_costs_nothing(box: CountingMailbox) -> None:
    channel(box).send(mail(1))
    box.hang_up()
    channel(box).send(mail(2))
    assert [one["To"] for one in box.messages] == ["p1@example.com", "p2@example.com"]
    assert len(box.peers) == 2


def test_b87_what_breaks_before_the_body_leaves_has_surely_not_gone(box: CountingMailbox) -> None:
    box.hangs_up_at = "RCPT"
    with pytest.raises(ChannelError) as raised:
        channel(box).send(mail(1))
    assert (raised.value.is_ambiguous, raised.value.is_permanent) == (False, False)
    assert box.messages == []
    box.hangs_up_at = ""
    channel(box).send(mail(1))
    assert len(box.messages) == 1


@pytest.mark.parametrize("has_carried", [False, True])
def test_b87_what_breaks_once_the_body_left_is_uncertain_and_not_sent_again(
    box: CountingMailbox, has_carried: bool
) -> None:
    if has_carried:
        channel(box).send(mail(0))
    box.hangs_up_after_data = True
    with pytest.raises(ChannelError) as raised:
        channel(box).send(mail(1))
    assert raised.value.is_ambiguous
    assert [one["To"] for one in box.messages].count("p1@example.com") == 1


def test_b80_a_refused_recipient_does_not_spoil_the_next_mail(box: CountingMailbox) -> None:
    channel(box).send(mail(0))
    box.recipient_answer = "550 no such user"
    with pytest.raises(ChannelError) as raised:
        channel(box).send(mail(1))
    assert raised.value.is_permanent
    box.recipient_answer = None
    channel(box).send(mail(2))
    assert [one["To"] for one in box.messages] == ["p0@example.com", "p2@example.com"]


@pytest.mark.django_db
def test_b80_a_busy_provider_rests_while_the_other_works(
    box: CountingMailbox, installation: Installation
) -> None:
    second = CountingMailbox()
    second.start()
    try:
        with time_machine.travel(NOW, tick=False):
            box.recipient_answer = "421 4.7.0 too many"
            for number in range(3):
                channel(box, second).send(mail(number, installation.pk))
            assert len(second.messages) == 3
            # It was asked once, and then left alone.
            assert len(box.peers) == 1
            assert Pace.objects.get(key="email/1").paused_until == NOW + pace.PAUSE
            assert not Pace.objects.filter(key="email").exists()
        box.recipient_answer = None
        with time_machine.travel(NOW + timedelta(minutes=2), tick=False):
            channel(box, second).send(mail(9, installation.pk))
        assert [one["To"] for one in box.messages] == ["p9@example.com"]
    finally:
        connections.close_all()
        second.stop()


@pytest.mark.django_db
def test_b80_when_all_are_busy_e_mail_waits_for_the_first_that_is_not(
    box: CountingMailbox, installation: Installation
) -> None:
    box.recipient_answer = "451 4.7.1 slow down"
    with time_machine.travel(NOW, tick=False):
        with pytest.raises(ChannelError) as raised:
            channel(box, box).send(mail(1, installation.pk))
        assert raised.value.retry_after == pace.PAUSE
        assert box.messages == []


@pytest.mark.parametrize("given", [{}, {"timeout": 2}], ids=["by us", "by the shop"])
def test_b87_a_silent_mail_server_is_not_waited_for_for_ever(
    settings: Any, monkeypatch: pytest.MonkeyPatch, given: dict[str, int]
) -> None:
    settings.EMAIL_TIMEOUT = None
    monkeypatch.setattr(connections, "_PATIENCE", 1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        options = {"host": "127.0.0.1", "port": silent.getsockname()[1], **given}
        provider = {"BACKEND": SMTP, "OPTIONS": options}
        sender = EmailChannel(providers=[provider])
        with pytest.raises(ChannelError, match="No connection to the mail server") as raised:
            sender.send(mail(1))
        assert not raised.value.is_ambiguous
        assert connections.get(provider).backend.timeout == given.get("timeout", 1)
        connections.close_all()
