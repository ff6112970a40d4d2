"""What a delivery channel is given and what it must answer.

Write your own by subclassing `Channel` and naming it in `SALEOR_PERSONALIZE["CHANNELS"]`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class OutgoingMessage:
    """A rendered message on its way out. `key` names it for good: the same key is the same message."""

    key: str
    recipient: str = field(repr=False)
    sender: str
    subject: str
    text: str = field(repr=False)
    html: str = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class SendResult:
    """The provider took the message; `provider_message_id` is what it calls it."""

    provider_message_id: str


class Channel(ABC):
    """A way for a message to travel."""

    @abstractmethod
    def send(self, message: OutgoingMessage) -> SendResult:
        """Hand one message to the provider.

        Raise ChannelError otherwise: `is_permanent` when another try cannot help, `is_ambiguous`
        when the provider may have taken it, neither when it certainly did not and may later. The
        text of the error names no address.
        """
