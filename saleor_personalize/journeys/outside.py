"""What is beyond our tables: the shop's Saleor and the providers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from saleor_personalize.journeys import offering
from saleor_personalize.journeys.triggers import Question
from saleor_personalize.messaging.channels.base import Channel

#: Returns what the shop says to a question.
Ask = Callable[[Question], Any]


def ask_saleor(question: Question) -> Any:
    return question.ask()


@dataclass(frozen=True)
class Outside:
    """What is beyond our tables. Tests and simulations put something of their own in its place."""

    ask: Ask = ask_saleor
    #: Opens a shop's Saleor to put the codes of offers in and to take them out.
    connect: offering.Connect = offering.connect
    #: What takes messages; None: what CHANNELS names.
    channel: Channel | None = None
