"""Where the next page of a list begins: a place in it, and the moment of which all its pages are."""

from __future__ import annotations

import base64
import binascii
from datetime import UTC, datetime, timedelta

from saleor_personalize.exceptions import InvalidCursor

#: Pages of an answer that is older than this are not continued.
LASTS = timedelta(days=7)


def cursor(until: datetime, position: int) -> str:
    """Name a place in a list, and the moment of which all its pages are."""
    text = f"{until.timestamp():.6f}:{position}"
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def read(text: str, now: datetime) -> tuple[datetime, int]:
    """Return the moment and the place that a cursor names. Raises InvalidCursor."""
    try:
        padded = text + "=" * (-len(text) % 4)
        moment, _, position = base64.urlsafe_b64decode(padded.encode()).decode().partition(":")
        until = datetime.fromtimestamp(float(moment), tz=UTC)
        place = int(position)
    except (ValueError, OverflowError, OSError, binascii.Error):
        raise InvalidCursor(
            "`after` is no cursor of ours: send that of the last product of the page before."
        ) from None
    if place < 0 or until > now:
        raise InvalidCursor("`after` lies in the future: send it as the recommendation had it.")
    if until < now - LASTS:
        raise InvalidCursor(
            f"`after` is of a list of more than {LASTS.days} days ago: begin with its first page again."
        )
    return until, place
