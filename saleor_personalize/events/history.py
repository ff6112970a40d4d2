"""Everything that happened around a person, on whichever of their ids, as one timeline."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from django.db.models import OuterRef, Q, QuerySet, Subquery

from saleor_personalize.enums import MessageEventKind
from saleor_personalize.models import (
    Checkout,
    Consent,
    Enrollment,
    Event,
    Merge,
    Message,
    MessageEvent,
    Order,
    Profile,
    SegmentMembership,
    Session,
)
from saleor_personalize.models.fields import month_of


class EntryKind(StrEnum):
    """What a line of the timeline tells of."""

    EVENT = "event"
    VISIT = "visit"
    CART = "cart"
    CART_CLOSED = "cart_closed"
    ORDER = "order"
    CONSENT = "consent"
    MESSAGE = "message"
    MESSAGE_CLICKED = "message_clicked"
    JOURNEY_BEGUN = "journey_begun"
    JOURNEY_ENDED = "journey_ended"
    SEGMENT_ENTERED = "segment_entered"
    SEGMENT_LEFT = "segment_left"
    MERGE = "merge"
    SPLIT = "split"


@dataclass(frozen=True)
class Entry:
    """One line. No address and no name; `about` holds plain values by kind."""

    at: datetime
    kind: EntryKind
    #: Event type, device, state of the cart, origin of the order, answer, status of the message or journey,
    #: name of the link, key of the segment, or proof.
    what: str
    #: Row of the profile that it happened on; a merge has two and names the first.
    profile_id: int
    about: Mapping[str, Any]
    #: Row that tells it, among those of its kind.
    pk: int = 0

    @property
    def place(self) -> tuple[datetime, str, int]:
        """Where it stands in the timeline: of two at one moment the order is always the same."""
        return self.at, self.kind.value, self.pk

    @property
    def cursor(self) -> str:
        return f"{self.at.isoformat()},{self.kind.value},{self.pk}"


@dataclass(frozen=True)
class Cursor:
    """A place in the timeline to go on from."""

    at: datetime
    kind: str
    pk: int

    @classmethod
    def parse(cls, text: str) -> Cursor | None:
        """Read what `Entry.cursor` wrote; None for anything else."""
        at, _, rest = text.partition(",")
        kind, _, pk = rest.partition(",")
        try:
            moment = datetime.fromisoformat(at)
        except ValueError:
            return None
        is_known = moment.tzinfo is not None and kind in set(EntryKind) and pk.isdecimal()
        return cls(moment, kind, int(pk)) if is_known and len(pk) < 19 else None

    def earlier(self, kind: EntryKind, time: str) -> Q:
        """Say which rows of a kind stand before this place."""
        before = Q(**{f"{time}__lt": self.at})
        if kind.value < self.kind:
            return before | Q(**{time: self.at})
        return before | Q(**{time: self.at, "pk__lt": self.pk}) if kind == self.kind else before


@dataclass(frozen=True)
class _Source:
    """Where the lines of one kind come from, and how a row is told."""

    rows: Callable[[Profile], QuerySet[Any]]
    time: str
    told: Callable[[Any], tuple[str, int, dict[str, Any]]]


def _of(model: Any, *related: str, **wanted: Any) -> Callable[[Profile], QuerySet[Any]]:
    def rows(profile: Profile) -> QuerySet[Any]:
        found: QuerySet[Any] = model.objects.of(profile.installation_id).filter(
            profile__in=profile.person(), **wanted
        )
        return found.select_related(*related) if related else found

    return rows


def _merges(profile: Profile) -> QuerySet[Merge]:
    members = profile.person()
    return Merge.objects.of(profile.installation_id).filter(
        Q(first__in=members) | Q(second__in=members)
    )


def _events(profile: Profile) -> QuerySet[Event]:
    visit = Session.objects.of(profile.installation_id).filter(
        profile=OuterRef("profile"), session_id=OuterRef("session_id")
    )
    events: QuerySet[Event] = _of(Event)(profile)
    return events.annotate(device=Subquery(visit.values("device_type")[:1]))


def _event(row: Event) -> tuple[str, int, dict[str, Any]]:
    about = {
        "source": row.source,
        "device": row.device or "",  # type: ignore[attr-defined]
        "channel": row.channel_slug,
        "product_id": row.product_saleor_id,
    }
    return row.type, row.profile_id, about


def _visit(row: Session) -> tuple[str, int, dict[str, Any]]:
    about = {
        "device": row.device_type,
        "channel": row.channel_slug,
        "country": row.country_code,
        "referrer": row.referrer_host,
        "campaign": row.utm.get("campaign", ""),
    }
    return row.device_type, row.profile_id, about


def _cart(row: Checkout) -> tuple[str, int, dict[str, Any]]:
    about = {
        "checkout_id": row.saleor_id,
        "channel": row.channel_slug,
        "total": str(row.total),
        "currency": row.currency,
    }
    return row.close_reason or "open", row.profile_id, about


def _order(row: Order) -> tuple[str, int, dict[str, Any]]:
    about = {
        "number": row.number,
        "status": row.status,
        "channel": row.channel_slug,
        "total": str(row.total),
        "currency": row.currency,
    }
    return row.origin, row.profile_id or 0, about


def _consent(row: Consent) -> tuple[str, int, dict[str, Any]]:
    about = {
        "purpose": row.purpose,
        "delivery_channel": row.delivery_channel,
        "topic": row.topic,
        "source": row.source,
    }
    return row.state, row.profile_id, about


def _message(row: Message) -> tuple[str, int, dict[str, Any]]:
    about = {
        "template": row.template,
        "delivery_channel": row.delivery_channel,
        "reason": row.reason,
        "checkout_id": row.content.get("checkout_id", ""),
    }
    return row.status, row.profile_id, about


def _clicks(profile: Profile) -> QuerySet[MessageEvent]:
    """Return the clicks of people; those of scanners and mail programs tell nothing of the person."""
    return (
        MessageEvent.objects.of(profile.installation_id)
        .filter(
            message__profile__in=profile.person(), kind=MessageEventKind.CLICKED, is_machine=False
        )
        .select_related("message")
    )


def _click(row: MessageEvent) -> tuple[str, int, dict[str, Any]]:
    about = {"template": row.message.template, "delivery_channel": row.message.delivery_channel}
    return row.detail, row.message.profile_id, about


def _journey(row: Enrollment) -> tuple[str, int, dict[str, Any]]:
    about = {"journey": row.journey.key, "due_at": row.due_at, "reason": row.exit_reason}
    return row.status, row.profile_id, about


def _segment(row: SegmentMembership) -> tuple[str, int, dict[str, Any]]:
    return row.segment.key, row.profile_id, {"name": row.segment.name}


def _merge(row: Merge) -> tuple[str, int, dict[str, Any]]:
    about = {
        "shown": [one["kind"] for one in row.evidence],
        "merge": row.pk,
        "decided_by": row.decided_by,
    }
    return row.proof, row.first_id, about


_SOURCES: dict[EntryKind, _Source] = {
    EntryKind.EVENT: _Source(_events, "occurred_at", _event),
    EntryKind.VISIT: _Source(_of(Session), "started_at", _visit),
    EntryKind.CART: _Source(_of(Checkout), "last_changed_at", _cart),
    EntryKind.CART_CLOSED: _Source(_of(Checkout, closed_at__isnull=False), "closed_at", _cart),
    EntryKind.ORDER: _Source(_of(Order, deleted_at=None), "placed_at", _order),
    EntryKind.CONSENT: _Source(_of(Consent), "recorded_at", _consent),
    EntryKind.MESSAGE: _Source(_of(Message), "decided_at", _message),
    EntryKind.MESSAGE_CLICKED: _Source(_clicks, "at", _click),
    EntryKind.JOURNEY_BEGUN: _Source(_of(Enrollment, "journey"), "created_at", _journey),
    EntryKind.JOURNEY_ENDED: _Source(
        _of(Enrollment, "journey", finished_at__isnull=False), "finished_at", _journey
    ),
    EntryKind.SEGMENT_ENTERED: _Source(_of(SegmentMembership, "segment"), "entered_at", _segment),
    EntryKind.SEGMENT_LEFT: _Source(
        _of(SegmentMembership, "segment", left_at__isnull=False), "left_at", _segment
    ),
    EntryKind.MERGE: _Source(
        lambda profile: _merges(profile).filter(proved_at__isnull=False), "proved_at", _merge
    ),
    EntryKind.SPLIT: _Source(
        lambda profile: _merges(profile).filter(undone_at__isnull=False), "undone_at", _merge
    ),
}


def history_of(profile: Profile, *, first: int, before: Cursor | None = None) -> list[Entry]:
    """Return the newest `first` lines of the whole person, oldest first; or those before a place.

    For staff and whoever runs the service; a shopper reads what `merging.readable` allows.
    """
    entries = [
        entry
        for kind, source in _SOURCES.items()
        for entry in _entries(profile, kind, source, first, before)
    ]
    return sorted(entries, key=lambda entry: entry.place)[-first:]


def _entries(
    profile: Profile, kind: EntryKind, source: _Source, first: int, before: Cursor | None
) -> Iterator[Entry]:
    rows = source.rows(profile)
    if before is not None:
        rows = rows.filter(before.earlier(kind, source.time))
        if kind == EntryKind.EVENT:
            # Spares the database the partitions of later months.
            rows = rows.filter(month__lte=month_of(before.at))
    for row in rows.order_by(f"-{source.time}", "-pk")[:first]:
        what, owner, about = source.told(row)
        yield Entry(getattr(row, source.time), kind, what, owner or profile.pk, about, row.pk)
