"""What was sent and what was not. No address, no name."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Count, Q, QuerySet

from saleor_personalize.enums import MessageStatus, Purpose
from saleor_personalize.models import Enrollment, Installation, Message, Order, Profile

#: What no index tells is looked for among so many of the newest messages.
LOOKED_THROUGH = 20_000
#: The person has it, or may have it.
REACHED = (MessageStatus.HANDING_OVER, MessageStatus.SENT, MessageStatus.UNCERTAIN)


def newest_messages(*, installation: Installation, limit: int) -> list[Message]:
    """Return the newest messages, sent or not, newest first; `reason` says why not."""
    rows = Message.objects.of(installation).select_related("journey", "enrollment__journey")
    return list(rows.order_by("-decided_at", "-pk")[:limit])


def uncertain_messages(*, installation: Installation, limit: int) -> list[Message]:
    """Return the messages that may have gone, longest ago first."""
    rows = Message.objects.of(installation).filter(status=MessageStatus.UNCERTAIN)
    return list(rows.select_related("installation", "journey").order_by("decided_at", "pk")[:limit])


def reached_by(*, enrollment: Enrollment, since: datetime) -> bool:
    """Tell whether the same journey reached this person since then, over whatever other occasion."""
    return (
        Message.objects.of(enrollment.installation_id)
        .filter(
            profile__in=enrollment.profile.members(),
            journey=enrollment.journey_id,
            status__in=REACHED,
            decided_at__gte=since,
        )
        .exclude(enrollment=enrollment)
        .exists()
    )


def told_before(*, order: Order, window: timedelta) -> QuerySet[Message]:
    """Return what whoever ordered was told within `window` before they did, the last first."""
    rows = Message.objects.of(order.installation_id)
    if order.profile is None:
        return rows.none()
    return rows.filter(
        profile__in=order.profile.person(),
        status__in=REACHED,
        decided_at__gt=order.placed_at - window,
        decided_at__lte=order.placed_at,
    ).order_by("-decided_at", "-pk")


def marketing_since(*, profile: Profile, since: datetime) -> int:
    """Count the marketing messages that went, or may have gone, to a person since then."""
    return (
        Message.objects.of(profile.installation)
        .filter(
            profile__in=profile.members(),
            purpose=Purpose.MARKETING,
            status__in=REACHED,
            decided_at__gt=since,
        )
        .count()
    )


@dataclass(frozen=True)
class Wanted:
    """Which messages are looked for, since when; "" and None: whatever."""

    since: datetime
    journey_id: int | None = None
    status: str = ""
    reason: str = ""
    delivery_channel: str = ""
    template: str = ""

    @property
    def unindexed(self) -> dict[str, str]:
        """Return what no index tells, by field. Of a status one tells where it is rare."""
        asked = {"delivery_channel": self.delivery_channel, "template": self.template}
        if not self.reason and self.status not in (MessageStatus.FAILED, MessageStatus.UNCERTAIN):
            asked["status"] = self.status
        return {name: value for name, value in asked.items() if value}


@dataclass(frozen=True)
class Place:
    """A place in the list of messages, newest first, to go on from."""

    at: datetime
    pk: int

    @classmethod
    def parse(cls, text: str) -> Place | None:
        """Read what `str` wrote; None for anything else."""
        at, _comma, pk = text.partition(",")
        try:
            moment = datetime.fromisoformat(at)
        except ValueError:
            return None
        is_known = moment.tzinfo is not None and pk.isdecimal() and len(pk) < 19
        return cls(moment, int(pk)) if is_known else None

    def __str__(self) -> str:
        return f"{self.at.isoformat()},{self.pk}"


@dataclass(frozen=True)
class Found:
    """Messages that were looked for, newest first, and from where to go on; None: there are no older ones.

    `is_cut`: not all of them were looked at; the older ones are, from there.
    """

    messages: list[Message]
    older: Place | None
    is_cut: bool = False


def search(
    *, installation: Installation, wanted: Wanted, before: Place | None, limit: int
) -> Found:
    """Return the newest messages that are looked for, or those before a place.

    What is `unindexed` is looked for among `LOOKED_THROUGH` messages at a time, so that it takes no longer in a
    large shop; whoever goes on comes to all of them.
    """
    rows = Message.objects.of(installation).filter(decided_at__gte=wanted.since)
    if wanted.journey_id is not None:
        rows = rows.filter(journey=wanted.journey_id)
    if wanted.status and "status" not in wanted.unindexed:
        rows = rows.filter(status=wanted.status)
    if wanted.reason:
        rows = rows.filter(reason=wanted.reason)
    if before is not None:
        rows = rows.filter(decided_at__lte=before.at).filter(
            Q(decided_at__lt=before.at) | Q(pk__lt=before.pk)
        )
    newest = rows.order_by("-decided_at", "-pk")
    end = _last_looked_at(newest) if wanted.unindexed else None
    among = newest.filter(**wanted.unindexed)
    if end is not None:
        among = among.filter(decided_at__gte=end.at).filter(
            Q(decided_at__gt=end.at) | Q(pk__gte=end.pk)
        )
    shown = list(among.select_related("journey")[: limit + 1])
    if len(shown) > limit:
        last = shown[limit - 1]
        return Found(shown[:limit], Place(last.decided_at, last.pk))
    return Found(shown, end, is_cut=end is not None)


def _last_looked_at(newest: QuerySet[Message]) -> Place | None:
    """Return where those that were looked through end; None where there are no more."""
    places = newest.values_list("decided_at", "pk")[LOOKED_THROUGH - 1 : LOOKED_THROUGH + 1]
    found = [Place(at, pk) for at, pk in places]
    return found[0] if len(found) > 1 else None


def tally(*, profile: Profile) -> dict[str, int]:
    """Count the messages of a person, of all their ids, by status."""
    rows = Message.objects.of(profile.installation).filter(profile__in=profile.person())
    counts = rows.order_by().values("status").annotate(count=Count("pk"))
    return {each["status"]: each["count"] for each in counts}
