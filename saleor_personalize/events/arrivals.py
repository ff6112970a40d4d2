"""What came just now from storefronts and servers: for whoever builds one and wants to see it arrive."""

from __future__ import annotations

from datetime import datetime, timedelta

from saleor_personalize.conf import settings
from saleor_personalize.enums import EventSource, IdentityKind
from saleor_personalize.events import refused
from saleor_personalize.models import Event, Identity, Installation, RefusedEvent
from saleor_personalize.models.fields import month_of

#: How far back it is looked, step by step: a busy shop fills the page from the last minute.
_WINDOWS = (
    timedelta(minutes=1),
    timedelta(minutes=15),
    timedelta(hours=6),
    timedelta(days=7),
)
#: A step that so much came in is the last one: what is rare is looked for in no hundred million events.
ENOUGH = 20_000


def latest_events(
    *,
    installation: Installation,
    now: datetime,
    limit: int,
    type_: str = "",
    source: str = "",
    anonymous_id: str = "",
) -> list[Event]:
    """Return the events that were received last, newest first.

    Of the last seven days at most; of a busy shop of the last hours or minutes.
    """
    came = Event.objects.of(installation).filter(
        month__gte=month_of(now - _WINDOWS[-1] - settings.TRACK_MAX_AGE)
    )
    # What a back-fill or a file brought did not happen now.
    came = came.exclude(source__in=(EventSource.BACKFILL, EventSource.IMPORT))
    rows = came
    if type_:
        rows = rows.filter(type=type_)
    if source:
        rows = rows.filter(source=source)
    if anonymous_id:
        known = Identity.objects.of(installation).filter(
            kind=IdentityKind.ANONYMOUS_ID, value=anonymous_id
        )
        rows = rows.filter(profile__in=known.values("profile"))
    found: list[Event] = []
    for window in _WINDOWS:
        recent = rows.filter(received_at__gte=now - window)
        found = list(recent.order_by("-received_at", "-pk")[:limit])
        # Of one person an index tells; of nothing in particular a busy shop has filled the page by now.
        is_unindexed = bool(type_ or source) and not anonymous_id
        lately = came.filter(received_at__gte=now - window)
        if len(found) == limit or (is_unindexed and lately[:ENOUGH].count() == ENOUGH):
            break
    return found


def latest_refused(
    *,
    installation: Installation,
    limit: int,
    type_: str = "",
    source: str = "",
    anonymous_id: str = "",
) -> list[RefusedEvent]:
    """Return what was turned down last, newest first."""
    rows = RefusedEvent.objects.of(installation)
    if type_:
        rows = rows.filter(type=type_)
    if source:
        rows = rows.filter(source=source)
    if anonymous_id:
        rows = rows.filter(fingerprint=refused.fingerprint_of(installation, anonymous_id))
    return list(rows.order_by("-pk")[:limit])
