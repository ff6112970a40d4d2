"""What every subscription is: the events it takes, what it asks of them, and what they change."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar

from saleor_personalize.models import Installation
from saleor_personalize.saleor_api import documents

Payload = Mapping[str, Any]


@dataclass(frozen=True)
class Envelope:
    """What a delivery says about itself. `issued_at` is when it was rendered, not when it happened."""

    event: str
    issued_at: datetime | None


class Subscription(ABC):
    """One family of Saleor's events with one reading and one effect.

    The manifest lists one webhook per event, generated from here; its URL ends in the event's name.
    """

    #: Saleor's event names, lower case ("checkout_updated").
    events: ClassVar[tuple[str, ...]]
    #: The permission without which Saleor delivers nothing, or None.
    permission: ClassVar[str | None]
    #: The first Saleor (major, minor) that knows these events; older manifests leave them out.
    since: ClassVar[tuple[int, int]] = (3, 20)
    #: What is asked of each event, as GraphQL fields with fragment spreads.
    selection: ClassVar[str]

    @classmethod
    def query(cls, event: str) -> str:
        """Return the subscription document of one event."""
        return documents.subscription(documents.typename(event), cls.selection)

    @classmethod
    @abstractmethod
    def normalise(cls, payload: Payload) -> Any:
        """Read the facts out of a payload. Pure; raises MalformedPayload."""

    @classmethod
    @abstractmethod
    def apply(
        cls, *, installation: Installation, facts: Any, envelope: Envelope, now: datetime
    ) -> bool:
        """Record the facts; return whether anything changed."""

    @classmethod
    def is_of_erased(cls, *, installation: Installation, facts: Any) -> bool:
        """Tell whether the facts name somebody who was erased: then the delivery is not kept."""
        return False
