"""What the lines of lists of messages say: on the pages "Overview", "Messages" and of a person."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from saleor_personalize.dashboard import words
from saleor_personalize.dashboard.access import Staff
from saleor_personalize.dashboard.whose import whose
from saleor_personalize.models import Message
from saleor_personalize.segments import words as facts


def rows(staff: Staff, messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Return what the lines of a list say, to those who may see people also whose each message is."""
    people = whose(staff, {message.profile_id for message in messages})
    return [{**row(message), "person": people.get(message.profile_id)} for message in messages]


def row(message: Message) -> dict[str, Any]:
    """Return what a line of a list says of a message."""
    return {
        "id": message.public_id,
        "name": words.template_name(message.template),
        "journey": words.journey_name(message.journey.key) if message.journey is not None else "",
        "over": facts.DELIVERY_CHANNELS.get(message.delivery_channel, ""),
        "at": message.handed_over_at or message.decided_at,
        "state": words.message_state(message),
    }
