"""What a delivery channel is given and what it must answer.

Write your own by subclassing `Channel` and naming it in `SALEOR_PERSONALIZE["CHANNELS"]`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import ClassVar


@dataclass(frozen=True)
class OutgoingMessage:
    """A rendered message on its way out. `key` names it for good: the same key is the same message.

    `subject` and `html` are an e-mail's, `title` is a push's or an inbox item's; `text` is what every
    message says. `recipient` is the address, of a push the first of `recipients` (all tokens of the
    person), in the app empty.
    """

    key: str
    recipient: str = field(repr=False)
    sender: str
    subject: str
    text: str = field(repr=False)
    html: str = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    title: str = ""
    #: Where a tap on it leads.
    link: str = field(default="", repr=False)
    image_url: str = ""
    #: What an app reads of a push: message_id, deep_link, promo_code.
    data: Mapping[str, str] = field(default_factory=dict, repr=False)
    recipients: tuple[str, ...] = field(default=(), repr=False)
    #: Where the provider of a text message shall report what became of it.
    callback_url: str = field(default="", repr=False)
    #: Whose account with the provider it goes by, where each installation has its own.
    installation_id: int = 0


@dataclass(frozen=True)
class SendResult:
    """The provider took the message; `provider_message_id` is what it calls it.

    Of several recipients it took `accepted`; `dead` are those (as given) that it says are gone for good.
    """

    provider_message_id: str
    dead: tuple[str, ...] = field(default=(), repr=False)
    accepted: int = 1


@dataclass(frozen=True)
class Sending:
    """A message that a provider is being called with.

    `outcome` waits for the answer and returns or raises what `Channel.send` does; it is called once, by
    the thread that began. `is_over` tells whether it would not have to wait.
    """

    is_over: Callable[[], bool]
    outcome: Callable[[], SendResult]


@dataclass(frozen=True)
class Capabilities:
    """What a delivery channel can do beyond handing over one message."""

    #: Keeps its connection to the provider from one message to the next.
    is_pooled: bool = False
    #: Recipients of one message that travel in one call.
    batch_size: int = 1
    #: The provider takes a message of the same `key` once, so a try again cannot be a second message.
    is_exactly_once: bool = False


class Channel(ABC):
    """A way for a message to travel."""

    capabilities: ClassVar[Capabilities] = Capabilities()

    def can_send(self, installation_id: int) -> bool:
        """Tell whether this installation has what it takes, such as an account with the provider."""
        return True

    @abstractmethod
    def send(self, message: OutgoingMessage) -> SendResult:
        """Hand one message to the provider.

        Raise ChannelError otherwise: `is_permanent` when another try cannot help, `is_ambiguous`
        when the provider may have taken it, neither when it certainly did not and may later. The
        text of the error names no address.
        """

    def begin(self, message: OutgoingMessage) -> Sending:
        """Begin to hand one message to the provider; raise ChannelError as `send` does.

        By default it is sent before this returns. A channel over which several messages can be on their
        way at once does not wait for the answer here. What it leaves to other threads must not touch
        the database.
        """
        result = self.send(message)
        return Sending(is_over=lambda: True, outcome=lambda: result)
