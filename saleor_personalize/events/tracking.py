"""What storefronts tell us: views, searches, carts and favourites, answered row by row."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from django.db import IntegrityError, transaction

from saleor_personalize.conf import settings
from saleor_personalize.enums import EventSource, EventType, IdentityKind
from saleor_personalize.models import Event, Installation, SalesChannel
from saleor_personalize.profiles import identity

#: Types that speak of a product.
_OF_PRODUCT = frozenset(
    {
        EventType.PRODUCT_VIEWED,
        EventType.CART_ADDED,
        EventType.CART_REMOVED,
        EventType.FAVOURITE_ADDED,
        EventType.FAVOURITE_REMOVED,
    }
)
_MAX_TEXT = 200
#: A global id of Saleor is base64. Anything longer or stranger would go into the training as it is.
_GLOBAL_ID = re.compile(r"[A-Za-z0-9+/=_-]{1,100}")
#: What PostgreSQL cannot hold: NUL, and half of a surrogate pair.
_UNSTORABLE = re.compile(r"[\x00\ud800-\udfff]")


class RowStatus(StrEnum):
    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    REJECTED = "rejected"
    IGNORED = "ignored"


@dataclass(frozen=True)
class Row:
    """One event as a storefront sends it."""

    event_id: str
    type: EventType
    occurred_at: datetime | None = None
    channel_slug: str = ""
    session_id: str = ""
    product_id: str = ""
    properties: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class RowResult:
    """What became of one event; `code` and `message` are empty unless it was rejected."""

    event_id: str
    status: RowStatus
    code: str = ""
    message: str = ""


def track(
    *,
    installation: Installation,
    shown: identity.Shown,
    rows: Sequence[Row],
    source: EventSource,
    now: datetime,
) -> list[RowResult]:
    """Record events of one caller; return one result per row, in order.

    The same `event_id` is recorded once, however often it comes. A bad row is rejected with a reason
    and does not hold up the others. A clock that is ahead counts as ours; one event too old for
    TRACK_MAX_AGE is rejected.
    """
    channels = set(
        SalesChannel.objects.of(installation).filter(deleted_at=None).values_list("slug", flat=True)
    )
    results: list[RowResult] = [_check(row, channels, now) for row in rows]
    good = [
        (index, row)
        for index, (row, result) in enumerate(zip(rows, results, strict=True))
        if result.status == RowStatus.ACCEPTED
    ]
    if not good:
        return results
    with transaction.atomic():
        profile = identity.resolve_profile(installation=installation, shown=shown, now=now)
        told: dict[str, int] = {}
        events: list[Event] = []
        for index, row in good:
            if told.setdefault(row.event_id, index) != index:
                results[index] = RowResult(row.event_id, RowStatus.DUPLICATE)
                continue
            events.append(
                Event(
                    installation=installation,
                    event_id=row.event_id,
                    type=row.type,
                    profile=profile,
                    occurred_at=min(row.occurred_at or now, now),
                    received_at=now,
                    source=source,
                    channel_slug=row.channel_slug,
                    session_id=row.session_id,
                    product_saleor_id=row.product_id,
                    properties=dict(row.properties),
                )
            )
        for event_id in _insert(installation, events):
            results[told[event_id]] = RowResult(event_id, RowStatus.DUPLICATE)
    return results


def _insert(installation: Installation, events: Sequence[Event]) -> set[str]:
    """Insert events, each id once, and return the ids that were here before.

    Another request may bring the same event at the same moment: then the database refuses the
    insert once the other one is committed, and a second look finds it.
    """
    # In one order, so that two requests cannot wait for each other.
    events = sorted(events, key=lambda event: event.event_id)
    before: set[str] | None = None
    while True:
        known = set(
            Event.objects.of(installation)
            .filter(event_id__in=[event.event_id for event in events])
            .values_list("event_id", flat=True)
        )
        try:
            with transaction.atomic():
                Event.objects.bulk_create([e for e in events if e.event_id not in known])
        except IntegrityError:
            if known == before:
                raise
            before = known
        else:
            return known


def anonymous(anonymous_id: str) -> dict[IdentityKind, str]:
    return {IdentityKind.ANONYMOUS_ID: anonymous_id}


def _check(row: Row, channels: set[str], now: datetime) -> RowResult:
    def rejected(code: str, message: str) -> RowResult:
        return RowResult(row.event_id[:100], RowStatus.REJECTED, code, message)

    if not 1 <= len(row.event_id) <= 100:
        return rejected("INVALID_ID", "`id` takes 1 to 100 characters, unique per event.")
    texts = [row.session_id, *(str(value) for value in row.properties.values())]
    if any(_UNSTORABLE.search(text) for text in (row.event_id, *texts)):
        return rejected("INVALID_TEXT", "A text holds NUL or half of a surrogate pair.")
    if row.type in _OF_PRODUCT and not row.product_id:
        return rejected("PRODUCT_REQUIRED", f"{row.type.name} needs `productId`.")
    if row.product_id and not _GLOBAL_ID.fullmatch(row.product_id):
        return rejected("INVALID_PRODUCT", "`productId` takes a global id of Saleor.")
    if len(row.session_id) > 100:
        return rejected("TOO_LONG", "`sessionId` takes at most 100 characters.")
    if row.type == EventType.SEARCHED and not row.properties.get("query"):
        return rejected("QUERY_REQUIRED", "SEARCHED needs `query`.")
    if row.type == EventType.CATEGORY_VIEWED and not row.properties.get("category_id"):
        return rejected("CATEGORY_REQUIRED", "CATEGORY_VIEWED needs `categoryId`.")
    if any(len(text) > _MAX_TEXT for text in texts):
        return rejected("TOO_LONG", f"A text takes at most {_MAX_TEXT} characters.")
    if row.channel_slug and row.channel_slug not in channels:
        return rejected("UNKNOWN_CHANNEL", "The shop has no sales channel of that slug.")
    if row.occurred_at is not None:
        if row.occurred_at < now - settings.TRACK_MAX_AGE:
            return rejected("TOO_OLD", f"`occurredAt` is more than {settings.TRACK_MAX_AGE} ago.")
        if row.occurred_at > now + settings.TRACK_MAX_CLOCK_SKEW:
            return rejected("IN_THE_FUTURE", "`occurredAt` lies in the future: check the clock.")
    return RowResult(row.event_id, RowStatus.ACCEPTED)
