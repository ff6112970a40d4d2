"""What storefronts tell us: views, searches, carts and favourites, answered row by row."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from django.db import connection, transaction

from saleor_personalize.conf import settings
from saleor_personalize.enums import EventSource, EventType, IdentityKind
from saleor_personalize.events import attribution, exposures, favourites, sessions
from saleor_personalize.models import Event, Installation, Placement, Profile, SalesChannel
from saleor_personalize.models.fields import month_of
from saleor_personalize.profiles import consent, identity, tombstones
from saleor_personalize.profiles.changes import mark_changed

#: What a row says beside its own columns: name in the doors -> name in `Event.properties`.
PROPERTIES = {
    "variantId": "variant_id",
    "categoryId": "category_id",
    "query": "query",
    "listId": "list_id",
    "pageId": "page_id",
    "placement": "placement",
    "slot": "slot",
    "attributionId": "attribution_id",
    "name": "name",
    "properties": "properties",
}
#: Types that storefronts tell; orders come from Saleor itself.
TOLD = tuple(type_ for type_ in EventType if type_ is not EventType.ORDER_PLACED)
#: type -> what it cannot do without, besides a product: (code, field, property)
_NEEDED = {
    EventType.SEARCHED: (("QUERY_REQUIRED", "query"),),
    EventType.CATEGORY_VIEWED: (("CATEGORY_REQUIRED", "categoryId"),),
    EventType.LIST_VIEWED: (("LIST_REQUIRED", "listId"),),
    EventType.RECOMMENDATION_SHOWN: (
        ("PLACEMENT_REQUIRED", "placement"),
        ("SLOT_REQUIRED", "slot"),
    ),
    EventType.RECOMMENDATION_CLICKED: (
        ("PLACEMENT_REQUIRED", "placement"),
        ("SLOT_REQUIRED", "slot"),
    ),
    EventType.CUSTOM: (("NAME_REQUIRED", "name"),),
}
#: Types that speak of a product.
_OF_PRODUCT = frozenset(
    {
        EventType.PRODUCT_VIEWED,
        EventType.CART_ADDED,
        EventType.CART_REMOVED,
        EventType.FAVOURITE_ADDED,
        EventType.FAVOURITE_REMOVED,
        EventType.RECOMMENDATION_SHOWN,
        EventType.RECOMMENDATION_CLICKED,
    }
)
_OF_EXPOSURE = frozenset({EventType.RECOMMENDATION_SHOWN, EventType.RECOMMENDATION_CLICKED})
_OF_FAVOURITES = frozenset({EventType.FAVOURITE_ADDED, EventType.FAVOURITE_REMOVED})
_MAX_ID = 100
_MAX_TEXT = 200
_MAX_CUSTOM = 30
#: Whole numbers that every reader of JSON takes for the same number.
_MAX_NUMBER = 2**53
#: A global id of Saleor is base64. Anything longer or stranger would go into the training as it is.
_GLOBAL_ID = re.compile(r"[A-Za-z0-9+/=_-]{1,100}")
_NAME = re.compile(r"[A-Za-z0-9_.:-]{1,60}")
#: What PostgreSQL cannot hold: NUL, and half of a surrogate pair.
_UNSTORABLE = re.compile(r"[\x00\ud800-\udfff]")


class RowStatus(StrEnum):
    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    REJECTED = "rejected"
    IGNORED = "ignored"


@dataclass(frozen=True, slots=True)
class Row:
    """One event as a storefront sends it; `properties` as named by PROPERTIES."""

    event_id: str
    type: EventType
    occurred_at: datetime | None = None
    channel_slug: str = ""
    session_id: str = ""
    product_id: str = ""
    properties: Mapping[str, Any] = field(default_factory=dict)
    #: The answer of ours that led to it, taken out of the properties.
    answer: str = ""


@dataclass(frozen=True, slots=True)
class RowResult:
    """What became of one event. Rejected: `code`, a `message`, and the `field` to mend, as sent."""

    event_id: str
    status: RowStatus
    code: str = ""
    message: str = ""
    field: str = ""


Fault = tuple[str, str, str]


def rejected(event_id: str, fault: Fault) -> RowResult:
    """Return the answer to a bad row: `fault` is (code, field, message)."""
    code, name, message = fault
    return RowResult(event_id[:_MAX_ID], RowStatus.REJECTED, code, message, name)


def track(
    *,
    installation: Installation,
    shown: identity.Shown,
    rows: Sequence[Row],
    source: EventSource,
    now: datetime,
    context: sessions.Context | None = None,
) -> list[RowResult]:
    """Record events of one caller; return one result per row, in order.

    The same `event_id` of a person is recorded once, however often it comes. A bad row is rejected with a reason
    and does not hold up the others. A clock that is ahead counts as ours; one event too old for
    TRACK_MAX_AGE is rejected. Several ids shown at once say that they are one person's, also without
    any event. Of a person who refused profiling nothing is recorded. `context` is that
    of the visit: a row without a session or a sales channel takes them from there.
    """
    channels = set(
        SalesChannel.objects.of(installation).filter(deleted_at=None).values_list("slug", flat=True)
    )
    context = (context or sessions.Context()).known_to(channels)
    check = _Check(installation, channels, now)
    results: list[RowResult] = []
    good: dict[str, Row] = {}
    for given in rows:
        row, fault = _attributed(given, installation)
        if fault := fault or check(row):
            results.append(rejected(row.event_id, fault))
        elif row.event_id in good:
            results.append(RowResult(row.event_id, RowStatus.DUPLICATE))
        else:
            good[row.event_id] = row
            results.append(RowResult(row.event_id, RowStatus.ACCEPTED))
    if not good and len(shown) < 2:
        return results
    with transaction.atomic():
        ids = identity.stored(shown)
        gone = tombstones.among(installation, ids)
        old = {
            event_id
            for event_id, row in good.items()
            if gone.covers_any(ids, row.occurred_at or now)
        }
        # What a browser kept from before its person was erased, and late tokens of deleted accounts.
        results = [_ignored(result) if result.event_id in old else result for result in results]
        good = {event_id: row for event_id, row in good.items() if event_id not in old}
        # A cart that was erased stays so, whoever shows it.
        shown = {
            kind: value
            for kind, value in shown.items()
            if kind != IdentityKind.CHECKOUT or (kind, value) not in gone.until
        }
        if gone.accounts or not shown or (not good and (old or len(shown) < 2)):
            return [_ignored_if_accepted(result) for result in results]
        # Holds the person's ids until the commit: two batches of one person never run side by side.
        profile = identity.show(installation=installation, shown=shown, now=now)
        if not consent.may_profile(profile=profile):
            return [_ignored_if_accepted(result) for result in results]
        fresh = good.keys() - _known_elsewhere(profile, good, now)
        # In one order everywhere: two batches that share rows then wait, and never for each other.
        new = [_Event.of(good[event_id], context, now) for event_id in sorted(fresh)]
        recorded = _insert(profile, new, source, now)
        sessions.record(
            profile=profile,
            context=context,
            seen=[(row.session_id, row.occurred_at) for row in new if row.event_id in recorded],
        )
        favourites.record(
            profile=profile,
            said=[
                _said(good[row.event_id], row, context)
                for row in new
                if _is_said(row, recorded, good)
            ],
            now=now,
        )
        exposures.record(
            profile=profile,
            seen=[
                exposures.Seen(
                    good[row.event_id].product_id,
                    row.occurred_at,
                    good[row.event_id].type is EventType.RECOMMENDATION_CLICKED,
                )
                for row in new
                if row.event_id in recorded
                and good[row.event_id].type in _OF_EXPOSURE
                and good[row.event_id].product_id
            ],
        )
        if recorded:
            mark_changed(installation=installation, profiles=[profile], now=now)
    return [
        RowResult(result.event_id, RowStatus.DUPLICATE)
        if result.status == RowStatus.ACCEPTED and result.event_id not in recorded
        else result
        for result in results
    ]


def _attributed(row: Row, installation: Installation) -> tuple[Row, Fault | None]:
    """Put what an attribution id says in the place of what the row says itself."""
    if not (attribution_id := row.properties.get("attribution_id")):
        return row, None
    found = attribution.read(installation=installation, attribution_id=attribution_id)
    if found is None:
        message = "`attributionId` is none of this shop: send it as the recommendation had it."
        return row, ("INVALID_ATTRIBUTION", "attributionId", message)
    said = {name: value for name, value in row.properties.items() if name != "attribution_id"}
    known = {"placement": found.placement, "strategy": found.strategy}
    return replace(
        row, properties=said | known, channel_slug=found.channel_slug, answer=found.answer
    ), None


def _is_said(event: _Event, recorded: set[str], rows: Mapping[str, Row]) -> bool:
    return event.event_id in recorded and rows[event.event_id].type in _OF_FAVOURITES


def _said(row: Row, event: _Event, context: sessions.Context) -> favourites.Said:
    return favourites.Said(
        is_added=row.type is EventType.FAVOURITE_ADDED,
        product_id=row.product_id,
        variant_id=str(row.properties.get("variant_id", ""))[:_MAX_ID],
        channel_slug=row.channel_slug or context.channel_slug,
        at=event.occurred_at,
    )


def _ignored(result: RowResult) -> RowResult:
    return RowResult(result.event_id, RowStatus.IGNORED)


def _ignored_if_accepted(result: RowResult) -> RowResult:
    is_bad = result.status == RowStatus.REJECTED
    return result if is_bad else _ignored(result)


def is_storable(text: str) -> bool:
    """Tell whether PostgreSQL can hold a text."""
    return not _UNSTORABLE.search(text)


def anonymous(anonymous_id: str) -> dict[IdentityKind, str]:
    return {IdentityKind.ANONYMOUS_ID: anonymous_id}


@dataclass(frozen=True, slots=True)
class _Event:
    """A row with all that it leaves open filled in."""

    event_id: str
    occurred_at: datetime
    session_id: str
    document: dict[str, Any]

    @classmethod
    def of(cls, row: Row, context: sessions.Context, now: datetime) -> _Event:
        at = row.occurred_at
        # A clock that is ahead is not believed.
        occurred_at = now if at is None or at > now else at
        session_id = row.session_id or context.session_id
        return cls(
            row.event_id,
            occurred_at,
            session_id,
            {
                "e": row.event_id,
                "t": row.type.value,
                "o": occurred_at.isoformat(),
                "m": month_of(occurred_at).isoformat(),
                "c": row.channel_slug or context.channel_slug,
                "s": session_id,
                "p": row.product_id,
                "a": row.answer,
                "x": row.properties,
            },
        )


def _known_elsewhere(profile: Profile, rows: Mapping[str, Row], now: datetime) -> set[str]:
    """Return those ids that the person has in another month or on another profile of theirs.

    `event_once` guards one profile and one month: whoever guesses the ids of somebody else takes nothing
    from them. What was sent before signing in may come again after it. A row sent again carries its
    time, and lies within TRACK_MAX_AGE or is refused; one without a time may come again at any time.
    """
    this_month, reach = month_of(now), month_of(now - settings.TRACK_MAX_AGE)
    undated = [event_id for event_id, row in rows.items() if row.occurred_at is None]
    known: set[str] = set()
    person = list(profile.person().values_list("pk", flat=True))
    events = Event.objects.of(profile.installation).filter(profile__in=person)
    if undated:
        earlier = events.filter(month__lt=this_month, event_id__in=undated)
        known.update(earlier.values_list("event_id", flat=True))
    if len(person) > 1 or (reach < this_month and len(undated) < len(rows)):
        near = events.filter(month__gte=reach, event_id__in=list(rows))
        known.update(near.values_list("event_id", flat=True))
    return known


def _insert(
    profile: Profile, rows: Sequence[_Event], source: EventSource, now: datetime
) -> set[str]:
    """Write all rows by one statement; return the ids of those that were not there yet.

    Somebody else may bring the same event at the same moment: the constraint decides, after a wait for
    the other's commit.
    """
    if not rows:
        return set()
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO saleor_personalize_event (
                installation_id, profile_id, received_at, source, event_id, type, occurred_at, month,
                channel_slug, session_id, product_saleor_id, attribution_id, properties
            )
            SELECT %s, %s, %s, %s, e, t, o, m, c, s, p, a, x
            FROM json_to_recordset(%s::json)
                AS r(e text, t text, o timestamptz, m date, c text, s text, p text, a text, x jsonb)
            ON CONFLICT (installation_id, event_id, profile_id, month) DO NOTHING
            RETURNING event_id
            """,
            [
                profile.installation_id,
                profile.pk,
                now,
                source.value,
                json.dumps([row.document for row in rows]),
            ],
        )
        return {event_id for (event_id,) in cursor.fetchall()}


class _Check:
    """Finds what is wrong with a row: (code, field, message), or None. Made once for a batch."""

    def __init__(self, installation: Installation, channels: set[str], now: datetime) -> None:
        self._channels = channels
        self._placements = settings.PLACEMENTS
        self._installation = installation
        #: Those that the shop made itself, read when one is asked for.
        self._own_placements: set[str] | None = None
        self._oldest = now - settings.TRACK_MAX_AGE
        self._newest = now + settings.TRACK_MAX_CLOCK_SKEW

    def __call__(self, row: Row) -> Fault | None:
        return (
            self._id(row)
            or self._texts(row)
            or self._product(row)
            or self._properties(row)
            or self._where_and_when(row)
        )

    @staticmethod
    def _id(row: Row) -> Fault | None:
        if not 1 <= len(row.event_id) <= _MAX_ID:
            return "INVALID_ID", "id", f"`id` takes 1 to {_MAX_ID} characters, unique per event."
        return _unstorable("id", row.event_id)

    @staticmethod
    def _texts(row: Row) -> Fault | None:
        if len(row.session_id) > _MAX_ID:
            return "TOO_LONG", "sessionId", f"`sessionId` takes at most {_MAX_ID} characters."
        if fault := _unstorable("sessionId", row.session_id):
            return fault
        for name, value in row.properties.items():
            if type(value) is str:
                if len(value) > _MAX_TEXT:
                    name = _DOOR_NAMES[name]
                    return "TOO_LONG", name, f"`{name}` takes at most {_MAX_TEXT} characters."
                if _UNSTORABLE.search(value):
                    return _unstorable(_DOOR_NAMES[name], value)
        return None

    @staticmethod
    def _product(row: Row) -> Fault | None:
        if not row.product_id:
            if row.type in _OF_EXPOSURE and (page_id := row.properties.get("page_id")):
                # What was recommended is a content page.
                if not _GLOBAL_ID.fullmatch(page_id):
                    return "INVALID_PAGE_ID", "pageId", "`pageId` takes a global id of Saleor."
            elif row.type in _OF_PRODUCT:
                return "PRODUCT_REQUIRED", "productId", f"{row.type.name} needs `productId`."
        elif not _GLOBAL_ID.fullmatch(row.product_id):
            return "INVALID_PRODUCT", "productId", "`productId` takes a global id of Saleor."
        return None

    def _properties(self, row: Row) -> Fault | None:
        given = row.properties
        if row.type is EventType.ORDER_PLACED:
            return "UNKNOWN_TYPE", "type", "Orders come from Saleor itself."
        for code, name in _NEEDED.get(row.type, ()):
            if not given.get(PROPERTIES[name]):
                return code, name, f"{row.type.name} needs `{name}`."
        # A placement of ours may have gone since its answer.
        is_told = "placement" in given and not row.answer
        if is_told and not self._is_placement(given["placement"]):
            return "UNKNOWN_PLACEMENT", "placement", "No placement of that key is configured."
        if "slot" in given and not 1 <= given["slot"] <= settings.MAX_RECOMMENDATIONS:
            most = settings.MAX_RECOMMENDATIONS
            return "INVALID_SLOT", "slot", f"`slot` takes 1 to {most}, the first place being 1."
        if "name" in given and not _NAME.fullmatch(given["name"]):
            return (
                "INVALID_NAME",
                "name",
                "`name` takes 1 to 60 letters, digits, '_', '.', ':' or '-'.",
            )
        return _fault_of_custom(given["properties"]) if "properties" in given else None

    def _is_placement(self, key: str) -> bool:
        if key in self._placements:
            return True
        if self._own_placements is None:
            rows = Placement.objects.of(self._installation)
            self._own_placements = set(rows.values_list("key", flat=True))
        return key in self._own_placements

    def _where_and_when(self, row: Row) -> Fault | None:
        if row.channel_slug and row.channel_slug not in self._channels:
            return "UNKNOWN_CHANNEL", "channel", "The shop has no sales channel of that slug."
        at = row.occurred_at
        if at is not None:
            if at < self._oldest:
                age = settings.TRACK_MAX_AGE
                return "TOO_OLD", "occurredAt", f"`occurredAt` is more than {age} ago."
            if at > self._newest:
                return (
                    "IN_THE_FUTURE",
                    "occurredAt",
                    "`occurredAt` lies in the future: check the clock.",
                )
        return None


_DOOR_NAMES = {inside: outside for outside, inside in PROPERTIES.items()}


def _unstorable(name: str, value: str) -> Fault | None:
    if _UNSTORABLE.search(value):
        return "INVALID_TEXT", name, f"`{name}` holds NUL or half of a surrogate pair."
    return None


def _fault_of_custom(given: Any) -> Fault | None:
    """Find what is wrong with the shop's own properties: they are flat, few and short."""

    def fault(what: str) -> Fault:
        return "INVALID_PROPERTIES", "properties", f"`properties` {what}."

    if not isinstance(given, dict):
        return fault("takes an object")
    if len(given) > _MAX_CUSTOM:
        return fault(f"takes at most {_MAX_CUSTOM} values")
    for key, value in given.items():
        if not _NAME.fullmatch(key):
            return fault("has names of 1 to 60 letters, digits, '_', '.', ':' or '-'")
        if isinstance(value, str):
            if len(value) > _MAX_TEXT or _UNSTORABLE.search(value):
                return fault(
                    f"takes texts of at most {_MAX_TEXT} characters, without NUL or half of a "
                    f"surrogate pair: see {key}"
                )
        elif isinstance(value, int | float):
            if not abs(value) <= _MAX_NUMBER:  # NaN is not either
                return fault(f"takes numbers up to 2^53: see {key}")
        elif value is not None:
            return fault(f"takes texts, numbers, true, false and null, nothing nested: see {key}")
    return None
