"""What messages are about: topics of marketing, which people choose, and those that an order needs."""

from __future__ import annotations

from saleor_personalize.conf import settings
from saleor_personalize.enums import Purpose


def purpose_of(topic: str) -> Purpose:
    """Return what a message about this topic is for."""
    is_needed = topic in settings.TRANSACTIONAL_TOPICS
    return Purpose.TRANSACTIONAL if is_needed else Purpose.MARKETING


def known() -> tuple[str, ...]:
    """Return the keys of all topics that a journey may be about."""
    return (*settings.TOPICS, *settings.TRANSACTIONAL_TOPICS)
