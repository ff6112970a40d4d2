"""Over which delivery channel somebody is written to, where a message leaves that open (`best`)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Exists, OuterRef

from saleor_personalize.enums import DeliveryChannel, NotSentReason, Purpose
from saleor_personalize.messaging import destinations, guards, outcomes
from saleor_personalize.messaging.destinations import Destination
from saleor_personalize.messaging.queries import REACHED
from saleor_personalize.models import Message, MessageEvent, Profile

#: What a definition says for "whichever suits the person".
BEST = "best"
#: The closest first.
ORDER = (
    DeliveryChannel.PUSH,
    DeliveryChannel.EMAIL,
    DeliveryChannel.SMS,
    DeliveryChannel.IN_APP,
)
#: So many messages in a row that nobody looked at put a delivery channel behind the others.
IGNORED = 3
#: What is older says nothing of today.
_RECENT = timedelta(days=180)
#: So long somebody has to look at a message before it counts as ignored.
_PATIENCE = timedelta(days=1)


@dataclass(frozen=True)
class Way:
    """A delivery channel, where a message would go over it, and what speaks against that."""

    delivery_channel: DeliveryChannel
    destination: Destination | None
    objection: NotSentReason | None


def way(
    *,
    profile: Profile,
    delivery_channel: DeliveryChannel | str,
    purpose: Purpose,
    now: datetime,
    topic: str = "",
    preferred_hash: str = "",
    is_re_permission: bool = False,
) -> Way:
    """Return where a message over one delivery channel would go, and whether it may."""
    channel = DeliveryChannel(delivery_channel)
    destination = destinations.destination_of(
        profile=profile, delivery_channel=channel, preferred_hash=preferred_hash
    )
    objection = guards.objection(
        profile=profile,
        purpose=purpose,
        delivery_channel=channel,
        destination=destination,
        topic=topic,
        now=now,
        is_re_permission=is_re_permission,
    )
    return Way(channel, destination, objection)


def best(
    *,
    profile: Profile,
    among: Collection[DeliveryChannel | str],
    purpose: Purpose,
    now: datetime,
    topic: str = "",
    preferred_hash: str = "",
    is_re_permission: bool = False,
) -> Way:
    """Return the way that suits a person: one that is permitted and reaches them, the closest first.

    A delivery channel whose last messages they all ignored comes after the others. When there is no way
    at all, the one that would have come first says why.
    """
    candidates = [channel for channel in ORDER if channel in set(map(DeliveryChannel, among))]
    ignored = _ignored(profile, candidates, now)
    candidates.sort(key=lambda channel: channel in ignored)
    ways = (
        way(
            profile=profile,
            delivery_channel=channel,
            purpose=purpose,
            topic=topic,
            preferred_hash=preferred_hash,
            is_re_permission=is_re_permission,
            now=now,
        )
        for channel in candidates
    )
    return _first(ways) or Way(DeliveryChannel.EMAIL, None, NotSentReason.NO_ADDRESS)


def _first(ways: Iterable[Way]) -> Way | None:
    """Return the first that is open; else the first that was refused by the person, else the first."""
    refused: list[Way] = []
    for each in ways:
        if each.objection is None:
            return each
        refused.append(each)
    known = (each for each in refused if each.objection != NotSentReason.NO_ADDRESS)
    return next(known, refused[0] if refused else None)


def _ignored(
    profile: Profile, candidates: Iterable[DeliveryChannel], now: datetime
) -> set[DeliveryChannel]:
    """Return the delivery channels whose last messages the person did not look at."""
    seen = MessageEvent.objects.of(profile.installation_id).filter(
        message=OuterRef("pk"), kind__in=outcomes.SEEN, is_machine=False
    )
    rows = (
        Message.objects.of(profile.installation_id)
        .filter(
            profile__in=profile.person(),
            delivery_channel__in=list(candidates),
            status__in=REACHED,
            decided_at__range=(now - _RECENT, now - _PATIENCE),
        )
        .annotate(is_seen=Exists(seen))
        .order_by("-decided_at")
        .values_list("delivery_channel", "is_seen")[:100]
    )
    last: dict[DeliveryChannel, list[bool]] = defaultdict(list)
    for channel, is_seen in rows:
        if len(last[DeliveryChannel(channel)]) < IGNORED:
            last[DeliveryChannel(channel)].append(is_seen)
    return {channel for channel, looks in last.items() if len(looks) == IGNORED and not any(looks)}
