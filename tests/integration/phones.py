"""A delivery channel for tests: what it is given is kept, and what it answers is set by a test."""

from __future__ import annotations

from typing import ClassVar

from saleor_personalize.enums import DevicePlatform
from saleor_personalize.exceptions import ChannelError
from saleor_personalize.messaging.channels.base import Channel, OutgoingMessage, SendResult
from saleor_personalize.models import Device, Profile
from saleor_personalize.profiles.devices import token_hash
from tests.conftest import NOW


class Phones(Channel):
    taken: ClassVar[list[OutgoingMessage]] = []
    #: Raised once each, first to last.
    errors: ClassVar[list[ChannelError]] = []
    #: Tokens that are gone.
    dead: ClassVar[tuple[str, ...]] = ()

    def send(self, message: OutgoingMessage) -> SendResult:
        if self.errors:
            raise self.errors.pop(0)
        self.taken.append(message)
        dead = tuple(one for one in message.recipients if one in self.dead)
        return SendResult(f"push-{len(self.taken)}", dead, len(message.recipients) - len(dead))

    @classmethod
    def reset(cls) -> None:
        cls.taken, cls.errors, cls.dead = [], [], ()


def give_phone(profile: Profile, token: str = "token-of-a-phone") -> Device:
    return Device.objects.create(
        installation=profile.installation,
        profile=profile,
        token=token,
        token_hash=token_hash(token),
        platform=DevicePlatform.ANDROID,
        is_proven=True,
        registered_at=NOW,
        last_seen_at=NOW,
    )
