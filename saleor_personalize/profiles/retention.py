"""How long each kind of data is kept, and the purge that ends it: small batches, each its own commit.

Events and their visits go by month (`events.partitions`), raw deliveries and refused rows with the room that
stores them; they are listed here, so that one page tells of all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.db import OperationalError, connection, transaction
from django.db.models import Exists, Min, OuterRef, Q, QuerySet
from django.db.models.functions import Coalesce

from saleor_personalize.conf import settings
from saleor_personalize.enums import (
    ConsentState,
    DeliveryStatus,
    EnrollmentStatus,
    IdentityKind,
    MessageStatus,
    OutgoingStatus,
)
from saleor_personalize.models import (
    AuditEntry,
    Checkout,
    Consent,
    Device,
    Enrollment,
    Erasure,
    Event,
    Exposure,
    Favourite,
    Identity,
    ImportReject,
    InboxItem,
    Installation,
    KeptData,
    Message,
    MessageCopy,
    Offer,
    Order,
    OutgoingDelivery,
    Profile,
    RefusedEvent,
    SegmentMembership,
    Session,
    SharedFavourites,
    ShownHint,
    StockAlert,
    WebhookDelivery,
)
from saleor_personalize.profiles import identity, merging, tombstones

#: Rows of one commit, and of one kind in one run; beat wakes the next run.
BATCH = 1_000
MOST = 200_000
#: A purge that is this late does not run at all.
LATE = timedelta(days=3)
#: Rows that are counted; more is "more than that". And seconds that one look may take.
COUNTED = 100_000
_SECONDS = 30

_DONE = (MessageStatus.SENT, MessageStatus.NOT_SENT, MessageStatus.FAILED, MessageStatus.UNCERTAIN)


@dataclass(frozen=True)
class Kind:
    """One kind of data: rows, the moment that they are as old as, and the setting that ends them."""

    key: str
    setting: str
    model: type[Any]
    moment: str
    which: Q = field(default_factory=Q)
    #: What is done to a batch of primary keys; empty: another room does it.
    end: Callable[[Installation, list[int], datetime], int] | None = None

    @property
    def is_told_by_end(self) -> bool:
        """Tell whether its rows are as old as when they expire, which may be to come."""
        return self.moment == "expires_at"

    @property
    def kept(self) -> timedelta | None:
        """How long it is kept; None: as long as the person or the shop."""
        if self.setting == "RETENTION":
            found: timedelta | None = settings.RETENTION.get(self.key)
            return found
        return getattr(settings, self.setting) if self.setting else None

    def rows(self, installation: Installation) -> QuerySet[Any]:
        found: QuerySet[Any] = self.model.objects.of(installation).filter(self.which)
        return found

    def due(self, installation: Installation, now: datetime) -> QuerySet[Any]:
        """Return the rows past their time."""
        if self.kept is None:
            return self.rows(installation).none()
        return self.rows(installation).filter(**{f"{self.moment}__lt": now - self.kept})


def _delete(model: type[Any]) -> Callable[[Installation, list[int], datetime], int]:
    def end(installation: Installation, pks: list[int], now: datetime) -> int:
        rows = model.objects.of(installation).filter(pk__in=pks)
        count = len(pks)
        rows.delete()
        return count

    return end


def _empty_messages(installation: Installation, pks: list[int], now: datetime) -> int:
    """Keep that and when something was sent, and no longer what."""
    rows = Message.objects.of(installation).filter(pk__in=pks)
    return rows.update(content={}, error="", provider_message_id="")


def _delete_unknown(installation: Installation, pks: list[int], now: datetime) -> int:
    """Delete people of whom nothing is known but ids; whoever shows one meanwhile keeps them."""
    tombstones.hold(installation)
    merging.lock_graph(installation)
    ids = Identity.objects.of(installation).filter(profile__in=pks)
    identity.lock_identities(installation, ids.values_list("kind", "value"))
    people = Profile.objects.of(installation)
    gone = set(_unknown(people.filter(pk__in=pks), installation).values_list("pk", flat=True))
    persons = {
        person or pk for pk, person in people.filter(pk__in=gone).values_list("pk", "merged_into")
    }
    parts = people.filter(Q(pk__in=persons) | Q(merged_into__in=persons))
    left = set(parts.values_list("pk", flat=True)) - gone
    people.filter(pk__in=gone).delete()
    merging.regroup(installation=installation, profile_ids=left, now=now)
    return len(gone)


def _unknown(people: QuerySet[Profile], installation: Installation) -> QuerySet[Profile]:
    """Leave those without any fact, on whichever profile of the person."""
    parts = Profile.objects.of(installation)
    return people.alias(speaker=Coalesce("merged_into_id", "pk")).filter(
        ~_has_facts(installation),
        ~Exists(parts.filter(_has_facts(installation), pk=OuterRef("merged_into_id"))),
        ~Exists(parts.filter(_has_facts(installation), merged_into=OuterRef("speaker"))),
    )


def _has_facts(installation: Installation) -> Q:
    """Say that a profile has a fact. A customer of the shop, or a card, is one by itself."""
    own = {"profile": OuterRef("pk")}
    named = Identity.objects.of(installation).filter(
        **own, kind__in=(IdentityKind.SALEOR_USER, IdentityKind.EXTERNAL_ID)
    )
    found = Q(Exists(named))
    for model in (
        Event, Session, Order, Checkout, Consent, Favourite, SharedFavourites, Message, Enrollment,
        Exposure, Offer, StockAlert, Device,
    ):  # fmt: skip
        found |= Q(Exists(model.objects.of(installation).filter(**own)))
    return found


#: Every kind of data about people, in the order of the page.
KINDS: tuple[Kind, ...] = (
    Kind("events", "EVENT_RETENTION", Event, "occurred_at"),
    Kind("sessions", "EVENT_RETENTION", Session, "last_seen_at"),
    Kind(
        "deliveries",
        "WEBHOOK_RAW_RETENTION",
        WebhookDelivery,
        "received_at",
        ~Q(status=DeliveryStatus.FAILED),
    ),
    Kind(
        "failed_deliveries",
        "RETENTION",
        WebhookDelivery,
        "received_at",
        Q(status=DeliveryStatus.FAILED),
        _delete(WebhookDelivery),
    ),
    Kind("import_rejects", "IMPORT_RETENTION", ImportReject, "source__created_at"),
    Kind("checkouts", "RETENTION", Checkout, "last_changed_at", end=_delete(Checkout)),
    Kind(
        "enrollments",
        "RETENTION",
        Enrollment,
        "finished_at",
        ~Q(status=EnrollmentStatus.WAITING),
        _delete(Enrollment),
    ),
    Kind(
        "message_content",
        "RETENTION",
        Message,
        "decided_at",
        Q(status__in=_DONE) & ~Q(content={}, error="", provider_message_id=""),
        _empty_messages,
    ),
    Kind("message_copies", "VIEW_IN_BROWSER", MessageCopy, "made_at", end=_delete(MessageCopy)),
    Kind("messages", "RETENTION", Message, "decided_at", Q(status__in=_DONE), _delete(Message)),
    Kind(
        "unconfirmed_consents",
        "RETENTION",
        Consent,
        "recorded_at",
        Q(state=ConsentState.PENDING),
        _delete(Consent),
    ),
    Kind(
        "memberships",
        "RETENTION",
        SegmentMembership,
        "left_at",
        Q(left_at__isnull=False),
        _delete(SegmentMembership),
    ),
    Kind(
        "removed_favourites",
        "RETENTION",
        Favourite,
        "removed_at",
        Q(removed_at__isnull=False),
        _delete(Favourite),
    ),
    Kind(
        "outgoing_deliveries",
        "RETENTION",
        OutgoingDelivery,
        "created_at",
        ~Q(status=OutgoingStatus.WAITING),
        _delete(OutgoingDelivery),
    ),
    Kind(
        "offers",
        "RETENTION",
        Offer,
        "reserved_at",
        Q(due_at__isnull=True),
        _delete(Offer),
    ),
    Kind("hints", "RETENTION", ShownHint, "changed_at", end=_delete(ShownHint)),
    Kind("devices", "RETENTION", Device, "last_seen_at", end=_delete(Device)),
    Kind("inbox", "RETENTION", InboxItem, "expires_at", end=_delete(InboxItem)),
    Kind("stock_alerts", "RETENTION", StockAlert, "expires_at", end=_delete(StockAlert)),
    Kind("exposures", "RETENTION", Exposure, "last_shown_at", end=_delete(Exposure)),
    Kind("unknown_people", "RETENTION", Profile, "first_seen_at", end=_delete_unknown),
    Kind("refused_events", "RETENTION", RefusedEvent, "at", end=_delete(RefusedEvent)),
    Kind("audit", "RETENTION", AuditEntry, "at", end=_delete(AuditEntry)),
    Kind("orders", "", Order, "placed_at"),
    Kind("person", "", Profile, "first_seen_at"),
    Kind("erasures", "", Erasure, "erased_at"),
)


def purge(*, now: datetime, most: int = MOST) -> dict[str, int]:
    """End what is past its time, in every shop; return how many rows of each kind.

    At most `most` rows of a kind and shop: the next run goes on.
    """
    ended: dict[str, int] = {}
    for installation in Installation.objects.order_by("pk"):
        for kind in KINDS:
            if kind.end is not None:
                count = sum(_purge(kind, installation, now, most))
                ended[kind.key] = ended.get(kind.key, 0) + count
    return ended


def _purge(kind: Kind, installation: Installation, now: datetime, most: int) -> Iterator[int]:
    assert kind.end is not None  # noqa: S101 (asked by the caller)
    last, seen = 0, 0
    while seen < most:
        due = _due(kind, installation, now).filter(pk__gt=last).order_by("pk")
        pks = list(due.values_list("pk", flat=True)[: min(BATCH, most - seen)])
        if not pks:
            return
        with transaction.atomic():
            ended = kind.end(installation, pks, now)
        yield ended
        last, seen = pks[-1], seen + len(pks)


def _due(kind: Kind, installation: Installation, now: datetime) -> QuerySet[Any]:
    due = kind.due(installation, now)
    return _unknown(due, installation) if kind.key == "unknown_people" else due


def figures(*, installation: Installation) -> list[tuple[Kind, KeptData | None]]:
    """Return each kind with what was last counted of it; None: nothing was yet."""
    rows = {row.kind: row for row in KeptData.objects.of(installation)}
    return [(kind, rows.get(kind.key)) for kind in KINDS]


def count(*, installation: Installation, now: datetime) -> int:
    """Count what is kept of each kind, and see whether its purge is late; return of how many kinds."""
    for kind in KINDS:
        KeptData.objects.update_or_create(
            installation=installation, kind=kind.key, defaults=_counted(kind, installation, now)
        )
    return len(KINDS)


def late(*, installation: Installation, now: datetime) -> list[Kind]:
    """Return the kinds with rows that should have gone `LATE` ago."""
    return [kind for kind in KINDS if _is_late(kind, installation, now)]


def _is_late(kind: Kind, installation: Installation, now: datetime) -> bool:
    # Events go by whole months.
    patience = LATE + (timedelta(days=31) if kind.model in (Event,) else timedelta())
    due = _due(kind, installation, now - patience)
    return bool(_in_time(due.exists, default=False))


def _counted(kind: Kind, installation: Installation, now: datetime) -> dict[str, Any]:
    rows = kind.rows(installation)
    if kind.key == "unknown_people":
        rows = _unknown(rows, installation)
    counted = _in_time(lambda: rows.order_by()[: COUNTED + 1].count(), default=None)
    oldest = _in_time(lambda: rows.aggregate(oldest=Min(kind.moment))["oldest"], default=None)
    return {
        "count": counted if counted is not None and counted <= COUNTED else None,
        "oldest": oldest,
        "is_late": _is_late(kind, installation, now),
        "counted_at": now,
    }


def _in_time(read: Callable[[], Any], *, default: Any) -> Any:
    """Return what a read finds, or the default when it takes too long."""
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(f"SET LOCAL statement_timeout = '{_SECONDS}s'")
            found = read()
            cursor.execute("SET LOCAL statement_timeout TO DEFAULT")
            return found
    except OperationalError as error:
        if "statement timeout" not in str(error):
            raise
        return default
