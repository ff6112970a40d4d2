"""How much and when people react: learnt every week of a whole shop, and read of one person when they are due.

A reaction is what the person did: a message opened or clicked (by no machine), or read in the inbox, and a
visit. Whoever refused profiling teaches nothing and has no hours of their own.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import groupby
from operator import itemgetter
from typing import Any

import numpy as np
from django.db import transaction
from django.db.models import Count, Exists, F, OuterRef, Q, QuerySet
from django.db.models.functions import Coalesce
from numpy.typing import NDArray

from saleor_personalize.conf import settings
from saleor_personalize.enums import (
    DeliveryChannel,
    InstallationStatus,
    MessageEventKind,
    TimeReason,
)
from saleor_personalize.exceptions import kind_and_place
from saleor_personalize.messaging import arbitration, clocks
from saleor_personalize.messaging.queries import REACHED
from saleor_personalize.ml import hours
from saleor_personalize.models import (
    Installation,
    Message,
    MessageEvent,
    Profile,
    Rhythm,
    Session,
)
from saleor_personalize.models.locks import lock
from saleor_personalize.profiles import consent, merging

logger = logging.getLogger(__name__)

#: What is older says nothing of today.
RECENT = timedelta(days=180)
#: So long somebody has to look at a message before it counts as one that they let pass.
PATIENCE = timedelta(days=1)
#: The person took notice. Who puts a message away, ends all of them or calls them spam, did not want it.
REACTED = (MessageEventKind.OPENED, MessageEventKind.CLICKED, MessageEventKind.READ)
#: It is known at once that a message did nothing.
LOST = (
    MessageEventKind.DISMISSED,
    MessageEventKind.DEAD_TOKEN,
    MessageEventKind.BOUNCED,
    MessageEventKind.COMPLAINED,
    MessageEventKind.UNSUBSCRIBED,
)
#: More reactions teach nothing more.
_MOST = 2_000_000
#: So many of them are in memory as rows at once.
_CHUNK = 5_000
#: Of one person.
_MOST_OWN = 300
#: So long before it is too late a message goes at last: its first hand-over may fail.
_MARGIN = timedelta(hours=1)
#: An hour has to be so much better than this one to be waited for.
_WORTH = 1.1
_HOUR = timedelta(hours=1)
#: Messages of one hour are spread over so many minutes.
_SPREAD = 50


@dataclass(frozen=True)
class Moment:
    """When a message goes, and why then."""

    at: datetime
    because: TimeReason


def of_shop(installation: Installation | int) -> dict[DeliveryChannel, Rhythm]:
    """Return what is known of a shop, by delivery channel."""
    rows = Rhythm.objects.of(installation).order_by("delivery_channel")
    return {DeliveryChannel(row.delivery_channel): row for row in rows}


# -- one person ---------------------------------------------------------------------------------------


def best_moment(
    *,
    profile: Profile,
    delivery_channel: DeliveryChannel,
    expires_at: datetime | None,
    now: datetime,
) -> Moment:
    """Return when the person most likely takes notice, within SEND_TIME_WINDOW, before it is too late and
    outside quiet hours; `now` when that is as good as any.

    By their own hours where these are known to foretell better than those of all, else by those of the shop.
    """
    rhythm = Rhythm.objects.of(profile.installation_id).filter(delivery_channel=delivery_channel)
    found = rhythm.first()
    if found is None or not found.curve:
        return Moment(now, TimeReason.UNKNOWN)
    zone = clocks.zone_of(profile)
    weights = np.asarray(found.curve, dtype=float)
    because = TimeReason.SHOP_HOURS
    if found.is_personal and consent.may_profile(profile=profile):
        own = _own_hours(profile, delivery_channel, zone, now)
        if own:
            counts = np.bincount(own, minlength=hours.WEEK).astype(float)
            weights = hours.drawn_to(weights, counts, found.strength)
            because = TimeReason.OWN_HOURS
    until = now + settings.SEND_TIME_WINDOW
    if expires_at is not None:
        until = min(until, expires_at - _MARGIN)

    def weight(at: datetime) -> float:
        return float(weights[hours.hour_of_week(at.astimezone(zone))])

    later = [
        at
        for at in _moments(profile, now, until)
        if arbitration.quiet_until(delivery_channel=delivery_channel, at=at, zone=zone) is None
    ]
    best = max(later, key=lambda at: (weight(at), -at.timestamp()), default=now)
    if weight(best) < _WORTH * weight(now):
        return Moment(now, TimeReason.NO_BETTER)
    return Moment(best, because)


def _moments(profile: Profile, now: datetime, until: datetime) -> Iterator[datetime]:
    """Yield a moment in each hour after this one; not the same for everybody, or all would leave at once."""
    within = timedelta(minutes=profile.pk % _SPREAD)
    at = now.astimezone(UTC).replace(minute=0, second=0, microsecond=0) + _HOUR + within
    while at <= until:
        yield at
        at += _HOUR


def _own_hours(
    profile: Profile, delivery_channel: DeliveryChannel, zone: tzinfo, now: datetime
) -> list[int]:
    """Return in which hours of the week the person reacted; only what they may read themselves."""
    readable = merging.readable(profile)
    visits = Session.objects.of(profile.installation_id).filter(
        profile__in=readable, started_at__gt=now - RECENT, started_at__lte=now
    )
    seen = _reactions(profile.installation_id, delivery_channel, now).filter(
        message__profile__in=readable
    )
    times = [
        *visits.order_by("-started_at").values_list("started_at", flat=True)[:_MOST_OWN],
        *seen.order_by("-at").values_list("at", flat=True)[:_MOST_OWN],
    ]
    return [hours.hour_of_week(at.astimezone(zone)) for at in times]


def _reactions(
    installation: Installation | int, delivery_channel: str, now: datetime
) -> QuerySet[MessageEvent]:
    return MessageEvent.objects.of(installation).filter(
        message__delivery_channel=delivery_channel,
        kind__in=REACTED,
        is_machine=False,
        at__gt=now - RECENT,
        at__lte=now,
    )


# -- a whole shop -------------------------------------------------------------------------------------


#: Whose reaction, in which hour of the week, and when (in days).
_REACTION = np.dtype([("person", np.int64), ("hour", np.int64), ("day", np.float64)])
Reactions = NDArray[np.void]


def learn_all(*, now: datetime) -> int:
    """Learn anew in every active shop; return for how many delivery channels. One shop's fault stops no other."""
    count = 0
    for installation in Installation.objects.filter(status=InstallationStatus.ACTIVE):
        try:
            count += len(learn(installation=installation, now=now))
        except Exception as error:
            # Its text may quote a row.
            logger.error(  # noqa: TRY400
                "The rhythms of installation %s were not learnt: %s",
                installation.pk, kind_and_place(error),
            )  # fmt: skip
    return count


def learn(*, installation: Installation, now: datetime) -> list[Rhythm]:
    """Learn anew how much and when the people of a shop react, for every delivery channel; return the rows.

    A person's own hours are gone by only where they foretold better than those of all. Nothing is locked
    while it works; only what was found is written under a lock.
    """
    refused = consent.refused_profiling(installation=installation)
    zones = _zones(installation)
    counts = _counts(installation, now)
    seen = (
        Session.objects.of(installation)
        .filter(started_at__gt=now - RECENT, started_at__lte=now)
        .order_by("-started_at")
        .values_list(Coalesce("profile__merged_into_id", "profile_id"), "started_at")
    )
    visits = _taken(seen, refused, zones)
    found = {
        channel: _found(installation, channel, visits, refused, zones, counts, now)
        for channel in DeliveryChannel
        if channel.value in settings.CHANNELS
    }
    with transaction.atomic():
        lock(installation, ["rhythms"])
        return [
            Rhythm.objects.update_or_create(
                installation=installation, delivery_channel=channel, defaults=values
            )[0]
            for channel, values in found.items()
        ]


def _found(
    installation: Installation,
    channel: DeliveryChannel,
    visits: Reactions,
    refused: set[int],
    zones: dict[int, tzinfo],
    counts: dict[DeliveryChannel, tuple[int, int]],
    now: datetime,
) -> dict[str, Any]:
    """Return what is found out of a delivery channel."""
    person = Coalesce("message__profile__merged_into_id", "message__profile_id")
    seen = _reactions(installation, channel, now).order_by("-at").values_list(person, "at")
    reactions = np.concatenate([visits, _taken(seen, refused, zones)])
    found = hours.learn(people=reactions["person"], hours=reactions["hour"], days=reactions["day"])
    sent, looked_at = counts.get(channel, (0, 0))
    return {
        "learnt_at": now,
        "sent": sent,
        "seen": looked_at,
        "curve": [] if found is None else [round(float(one), 6) for one in found.curve],
        "is_personal": found is not None and found.is_personal,
        "strength": 0.0 if found is None else found.strength,
        "figures": {"reactions": len(reactions)} if found is None else found.figures,
    }


def _taken(
    rows: QuerySet[Any, tuple[int, datetime]], refused: set[int], zones: dict[int, tzinfo]
) -> Reactions:
    """Return (person, moment) of the newest as numbers; the rows come from the database bit by bit."""
    shop = clocks.shop_zone()
    newest = rows[:_MOST].iterator(chunk_size=_CHUNK)
    return np.fromiter(
        (
            (
                person,
                hours.hour_of_week(at.astimezone(zones.get(person, shop))),
                at.timestamp() / 86_400,
            )
            for person, at in newest
            if person not in refused
        ),
        dtype=_REACTION,
    )


def _zones(installation: Installation) -> dict[int, tzinfo]:
    """Return the time zones of the people who have one of their own, as `clocks.zone_of` finds it."""
    rows = Profile.objects.of(installation).filter(
        Q(traits__has_key=clocks.TRAIT) | ~Q(time_zone="") | ~Q(country_code="")
    )
    person = Coalesce("merged_into_id", "pk")
    told = (
        rows.order_by(person, F("merged_into_id").asc(nulls_first=True), "pk")
        .values_list(person, *clocks.Told._fields)
        .iterator(chunk_size=_CHUNK)
    )
    found: dict[int, tzinfo] = {}
    for pk, members in groupby(told, key=itemgetter(0)):
        clock = clocks.clock_told(clocks.Told(*row[1:]) for row in members)
        if clock is not None:
            found[pk] = clock.zone
    return found


def _counts(installation: Installation, now: datetime) -> dict[DeliveryChannel, tuple[int, int]]:
    """Return how many messages went over each delivery channel, and how many of them were looked at."""
    seen = MessageEvent.objects.of(installation).filter(
        message=OuterRef("pk"), kind__in=REACTED, is_machine=False
    )
    rows = (
        Message.objects.of(installation)
        .filter(status__in=REACHED, decided_at__range=(now - RECENT, now - PATIENCE))
        .values_list("delivery_channel")
        .annotate(sent=Count("pk"), seen=Count("pk", filter=Q(Exists(seen))))
    )
    return {DeliveryChannel(channel): (sent, seen) for channel, sent, seen in rows}


def told(rows: Iterable[Rhythm]) -> list[str]:
    """Return a line for each delivery channel: how much and when people react, and by what one goes."""
    return [_line(row) for row in rows]


def _line(row: Rhythm) -> str:
    figures = row.figures
    share = f"{row.seen / row.sent:.1%}" if row.sent else "-"
    text = f"{row.delivery_channel}: {row.seen} of {row.sent} messages looked at ({share})"
    if not row.curve:
        few = figures.get("reactions", 0)
        return f"{text}; {few} reactions are too few to tell when: messages go at once"
    top = max(range(hours.WEEK), key=lambda hour: (row.curve[hour], -hour))
    day = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")[top // 24]
    text += f"; most of {figures['reactions']} reactions {day} {top % 24}:00"
    gain = f"gain {figures['gain']:+.3f} ± {figures['error']:.3f}, {figures['people']} people"
    by = "own hours" if row.is_personal else "the shop's hours"
    return f"{text}; by {by} ({gain})"
