"""The phones and browsers of the demo, and what Firebase put on their screens."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from saleor_personalize.testing.fcm import FakeFcm


@dataclass
class Phone:
    """`platform` is android, ios or web. `is_gone`: the app was taken off it."""

    name: str
    platform: str
    token: str
    is_gone: bool = False


@dataclass
class Phones:
    """Every device that was added, oldest first."""

    fcm: FakeFcm = field(default_factory=FakeFcm)
    all: list[Phone] = field(default_factory=list)
    #: ids of the messages that somebody pressed
    pressed: set[str] = field(default_factory=set)

    def add(self, name: str, platform: str) -> Phone:
        """Put the shop's app on a phone; registering it with the shop is the app's to do."""
        phone = Phone(name, platform, self.fcm.device(platform))
        self.all.append(phone)
        return phone

    def uninstall(self, token: str) -> None:
        """Take the app off a phone. The shop is not told: it learns it when it writes there again."""
        for phone in self.all:
            if phone.token == token:
                phone.is_gone = True
        self.fcm.uninstall(token)

    def pushes(self, phone: Phone) -> list[dict[str, Any]]:
        """Return what a phone shows, newest first."""
        return [self._shown(message) for message in reversed(self.fcm.got(phone.token))]

    def told(self) -> list[dict[str, Any]]:
        """Return all phones for the page that draws them, newest first."""
        return [
            {
                "name": phone.name,
                "platform": phone.platform,
                "token": phone.token,
                "isGone": phone.is_gone,
                "pushes": self.pushes(phone),
            }
            for phone in reversed(self.all)
        ]

    def _shown(self, message: dict[str, Any]) -> dict[str, Any]:
        words, data = message.get("notification", {}), message.get("data", {})
        return {
            "title": words.get("title", ""),
            "text": words.get("body", ""),
            "image": words.get("image", ""),
            "link": data.get("deep_link", ""),
            "promoCode": data.get("promo_code", ""),
            "messageId": data.get("message_id", ""),
            "isPressed": data.get("message_id") in self.pressed,
        }
