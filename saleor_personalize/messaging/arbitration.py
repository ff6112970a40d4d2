"""May this message go to this person now, beside everything else that goes, or wants to go, to them?

Asked once, inside the transaction that decides and under the person's locks, for every journey alike.
Consent, suppression and what the person wishes are asked before (`guards`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo

from django.db.models import QuerySet

from saleor_personalize.conf import settings
from saleor_personalize.enums import NotSentReason, Purpose
from saleor_personalize.messaging import clocks
from saleor_personalize.messaging.queries import REACHED
from saleor_personalize.models import Enrollment, Installation, Message, Profile

#: How long after another's moment a message that gave way is looked at again.
_AFTER = timedelta(minutes=1)


@dataclass(frozen=True)
class Rival:
    """Somebody else's message to the same person, due at `due_at`."""

    priority: int
    due_at: datetime


@dataclass(frozen=True)
class Delay:
    """Not now: ask again at `until`."""

    until: datetime
    reason: NotSentReason


@dataclass(frozen=True)
class Drop:
    """Not at all."""

    reason: NotSentReason


def decide(
    *,
    profile: Profile,
    enrollment: Enrollment | None,
    delivery_channel: str,
    priority: int,
    rivals: Iterable[Rival],
    gives_way: bool,
    now: datetime,
    purpose: Purpose = Purpose.MARKETING,
) -> Delay | Drop | None:
    """Return what is to become of a message that may be sent; None: it goes.

    What an order needs is held by the switch that stops all sends, and by nothing else.

    `rivals` are other messages that wait for this person. `gives_way`: a message that is outranked is
    dropped instead of delayed.
    """
    if are_sends_stopped(profile.installation):
        return Delay(now, NotSentReason.SENDS_STOPPED)
    if purpose == Purpose.TRANSACTIONAL:
        return None
    outranked = _outranked(rivals, priority, now)
    if outranked is not None and gives_way:
        return Drop(outranked.reason)
    return (
        outranked
        or _too_close(profile, enrollment, now)
        or _capped(profile, delivery_channel, now)
        or _quiet(profile, delivery_channel, now)
    )


def are_sends_stopped(installation: Installation) -> bool:
    """Tell whether the shop has stopped all sends, asked of the database."""
    return Installation.objects.filter(pk=installation.pk, sends_stopped_at__isnull=False).exists()


def _outranked(rivals: Iterable[Rival], priority: int, now: datetime) -> Delay | None:
    horizon = now + settings.ARBITRATION_WINDOW
    ahead = [r.due_at for r in rivals if r.priority > priority and r.due_at <= horizon]
    if not ahead:
        return None
    return Delay(max(*ahead, now) + _AFTER, NotSentReason.OUTRANKED)


def _too_close(profile: Profile, enrollment: Enrollment | None, now: datetime) -> Delay | None:
    """Keep the distance to the last message of another journey or occasion."""
    window: timedelta = settings.ARBITRATION_WINDOW
    others = _sent(profile, now - window)
    if enrollment is not None:
        # How far apart its own messages are is for the journey to say.
        others = others.exclude(enrollment=enrollment)
    last = others.order_by("-decided_at").values_list("decided_at", flat=True).first()
    return None if last is None else Delay(last + window, NotSentReason.OUTRANKED)


def _capped(profile: Profile, delivery_channel: str, now: datetime) -> Delay | None:
    caps = [
        (scope, most, period)
        for scope in ("*", delivery_channel)
        for most, period in settings.FREQUENCY_CAPS.get(scope, ())
    ]
    if not caps:
        return None
    # One look for all caps: whoever has them gets few messages.
    sent = _sent(profile, now - max(period for _scope, _most, period in caps))
    rows = list(sent.order_by("-decided_at").values_list("decided_at", "delivery_channel"))
    until: list[datetime] = []
    for scope, most, period in caps:
        times = [at for at, over in rows if at > now - period and scope in ("*", over)]
        # When the oldest of them no longer counts, there is room for one more.
        until += [at + period for at in times[most - 1 : most]]
    return Delay(max(until), NotSentReason.FREQUENCY_CAP) if until else None


def _quiet(profile: Profile, delivery_channel: str, now: datetime) -> Delay | None:
    if not _quiet_hours(delivery_channel):
        return None
    until = quiet_until(delivery_channel=delivery_channel, at=now, zone=clocks.zone_of(profile))
    return None if until is None else Delay(until, NotSentReason.QUIET_HOURS)


def quiet_until(*, delivery_channel: str, at: datetime, zone: tzinfo) -> datetime | None:
    """Return when the quiet hours of a delivery channel that hold at a moment are over; None: they do not."""
    hours = _quiet_hours(delivery_channel)
    return clocks.quiet_until(at, zone, *map(clocks.clock_time, hours)) if hours else None


def _quiet_hours(delivery_channel: str) -> tuple[str, str] | None:
    hours = settings.QUIET_HOURS.get(delivery_channel) or settings.QUIET_HOURS.get("*")
    return (hours[0], hours[1]) if hours else None


def _sent(profile: Profile, since: datetime) -> QuerySet[Message]:
    return Message.objects.of(profile.installation_id).filter(
        profile__in=profile.members(),
        purpose=Purpose.MARKETING,
        status__in=REACHED,
        decided_at__gt=since,
    )
