"""Our own delivery channels, and the example, keep the contract that we ask of others (B67-B70, B87)."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any
from uuid import UUID

import pytest
from aiosmtpd.controller import Controller
from django.utils import timezone

from saleor_personalize.enums import DeliveryChannel, MessageStatus, Purpose
from saleor_personalize.messaging import push_accounts
from saleor_personalize.messaging.channels.console import ConsoleChannel
from saleor_personalize.messaging.channels.email import EmailChannel
from saleor_personalize.messaging.channels.in_app import InAppChannel
from saleor_personalize.messaging.channels.push import PushChannel
from saleor_personalize.models import InboxItem, Installation, Message, Profile
from saleor_personalize.testing import fcm as fake
from saleor_personalize.testing.contracts import ChannelTests, Mood, ProviderCase
from saleor_personalize.testing.fcm import serving


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


class _Mailbox:
    """What a mail server does with what it is handed."""

    def __init__(self, mood: Mood) -> None:
        self.mood = mood
        self.mails: list[str] = []

    async def handle_RCPT(  # noqa: N802 (named by aiosmtpd)
        self, server: Any, session: Any, envelope: Any, address: str, options: list[str]
    ) -> str:
        if self.mood == Mood.REFUSES_ADDRESS:
            return f"550 5.1.1 <{address}>: user unknown"
        if self.mood == Mood.IS_BUSY:
            return f"451 4.7.1 <{address}>: try again later"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
        self.mails.append(envelope.content.decode())
        if self.mood == Mood.NEVER_ANSWERS:
            await asyncio.Event().wait()
        return "250 Message accepted"


class TestEmailChannel(ChannelTests):
    loggers_of_provider = ("mail.log",)

    @contextmanager
    def provider(self, mood: Mood) -> Iterator[ProviderCase]:
        mailbox, port = _Mailbox(mood), free_port()
        smtp = {
            "BACKEND": "django.core.mail.backends.smtp.EmailBackend",
            "OPTIONS": {"host": "127.0.0.1", "port": port, "timeout": 0.3},
        }
        case = ProviderCase(EmailChannel(providers=[smtp]), lambda: mailbox.mails)
        if mood == Mood.IS_DOWN:
            yield case
            return
        if mood == Mood.TAKES:
            smtp["OPTIONS"]["timeout"] = 10  # type: ignore[index]
        controller = Controller(mailbox, hostname="127.0.0.1", port=port)
        controller.start()
        try:
            yield case
        finally:
            controller.stop()


class TestPushChannel(ChannelTests):
    recipient = "c1Fz-8dZTq2yH3:APA91b" + "x" * 134

    @pytest.fixture(autouse=True)
    def _shop(self, installation: Installation, now: datetime) -> None:
        self.installation, self.now = installation, now

    @contextmanager
    def provider(self, mood: Mood) -> Iterator[ProviderCase]:
        with serving() as fcm:
            push_accounts.save(
                installation=self.installation, text=fcm.service_account(), now=self.now
            )
            fcm.device("android", self.recipient)
            timeout = 10.0
            if mood == Mood.REFUSES_ADDRESS:
                fcm.uninstall(self.recipient)
            elif mood == Mood.IS_BUSY:
                fcm.answer("", fake.quota_exceeded("30"))
            elif mood == Mood.NEVER_ANSWERS:
                fcm.hang()
                timeout = 0.5
            url = f"http://127.0.0.1:{free_port()}" if mood == Mood.IS_DOWN else fcm.url

            def received() -> Sequence[str]:
                return [str(message) for message in fcm.sent]

            channel = PushChannel(api_url=url, timeout=timeout)
            yield ProviderCase(channel, received, self.installation.pk)


class TestInAppChannel(ChannelTests):
    """There is no provider between us and the inbox: what it takes is there."""

    recipient = "nobody's address"
    moods = frozenset({Mood.TAKES})

    @pytest.fixture(autouse=True)
    def _row(self, alice: Profile) -> None:
        self.row = Message.objects.create(
            installation=alice.installation,
            profile=alice,
            idempotency_key="test:in_app",
            public_id=UUID(hex="8a4c3b6de17f4f0a9d2b5c6e7f809112"),
            template="abandoned_checkout",
            purpose=Purpose.MARKETING,
            delivery_channel=DeliveryChannel.IN_APP,
            status=MessageStatus.HANDING_OVER,
            decided_at=timezone.now(),
        )

    @contextmanager
    def provider(self, mood: Mood) -> Iterator[ProviderCase]:
        def received() -> Sequence[str]:
            items = InboxItem.objects.select_related("message")
            return [f"{item.message.public_id.hex} {item.text}" for item in items]

        yield ProviderCase(InAppChannel(), received, self.row.installation_id)


class TestConsoleChannel(ChannelTests):
    moods = frozenset({Mood.TAKES})

    @pytest.fixture(autouse=True)
    def _screen(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.screen, self.seen = capsys, ""

    @contextmanager
    def provider(self, mood: Mood) -> Iterator[ProviderCase]:
        def received() -> Sequence[str]:
            self.seen += self.screen.readouterr().out
            return [part for part in self.seen.split("\n---\n") if part.strip()]

        yield ProviderCase(ConsoleChannel(), received)
