"""Events that were turned down, kept for a while so that whoever builds a storefront sees what to mend.

Kept is what was wrong and which fields were sent with which kind of value, and no value.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from saleor_personalize.enums import EventSource, IdentityKind
from saleor_personalize.events import rates
from saleor_personalize.models import Installation, RefusedEvent
from saleor_personalize.profiles import tombstones

#: Kept of a shop: the newest, and so many of a minute. A page that sends nonsense by the thousand shows it by some.
KEPT, PER_MINUTE = 1_000, 100
#: Fields of one event that are told.
_FIELDS = 40
_MESSAGE = 500
#: How fields are called. Anything else may be a value in the wrong place.
_FIELD_NAME = re.compile(r"[A-Za-z][A-Za-z_.]{0,59}")
_KINDS = {str: "text", bool: "true/false", int: "number", float: "number", type(None): "null"}


@dataclass(frozen=True)
class Refusal:
    """One event that was turned down: why, and `sent`, the event as it came. No `type`: the whole batch was."""

    code: str
    message: str
    sent: Mapping[str, Any]
    field: str = ""
    type: str = ""


def note(
    *,
    installation: Installation,
    source: EventSource,
    shown: Mapping[IdentityKind, str],
    refusals: Sequence[Refusal],
    now: datetime,
) -> None:
    """Keep what was turned down of one batch; not more than PER_MINUTE of a shop."""
    refusals = refusals[:PER_MINUTE]
    if not refusals or not rates.fits(
        installation=installation,
        counters={"refused": PER_MINUTE},
        now=now,
        count=len(refusals),
    ):
        return
    anonymous_id = shown.get(IdentityKind.ANONYMOUS_ID, "")
    fingerprint = fingerprint_of(installation, anonymous_id) if anonymous_id else ""
    RefusedEvent.objects.bulk_create(
        RefusedEvent(
            installation=installation,
            at=now,
            source=source,
            type=each.type,
            code=each.code,
            message=each.message[:_MESSAGE],
            field=_name(each.field),
            shape=shape_of(each.sent),
            fingerprint=fingerprint,
        )
        for each in refusals
    )


def fingerprint_of(installation: Installation, anonymous_id: str) -> str:
    """Return the keyed hash by which the refused events of one browser are found."""
    return tombstones.fingerprint(installation, (IdentityKind.ANONYMOUS_ID, anonymous_id))


def shape_of(sent: Mapping[str, Any]) -> dict[str, str]:
    """Return which fields came, each with the kind of its value: {"productId": "text of 12"}."""
    return {_name(name): _kind(value) for name, value in list(sent.items())[:_FIELDS]}


def _name(name: str) -> str:
    return name if not name or _FIELD_NAME.fullmatch(name) else "?"


def _kind(value: Any) -> str:
    if isinstance(value, str):
        return f"text of {len(value)}"
    if isinstance(value, list | tuple):
        return f"list of {len(value)}"
    if isinstance(value, Mapping):
        return "object"
    return _KINDS.get(type(value), type(value).__name__)


def trim() -> int:
    """Delete all but the newest `KEPT` of each shop; return how many went."""
    deleted = 0
    for installation in Installation.objects.order_by("pk"):
        rows = RefusedEvent.objects.of(installation)
        oldest = rows.order_by("-pk").values_list("pk", flat=True)[KEPT - 1 : KEPT].first()
        if oldest is not None:
            deleted += rows.filter(pk__lt=oldest).delete()[0]
    return deleted
