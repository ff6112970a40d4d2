"""Over which delivery channel somebody is written to, where a message leaves that open (`best`).

What is permitted and reaches them, by how much they react: of those who never got anything, the closest one.
How much people react cannot be compared between delivery channels (few mails tell that they were opened), so
it is compared with what the people of the shop do there.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from django.db.models import Exists, OuterRef

from saleor_personalize.enums import DeliveryChannel, NotSentReason, Purpose, WayReason
from saleor_personalize.messaging import destinations, guards, rhythms
from saleor_personalize.messaging.destinations import Destination
from saleor_personalize.messaging.queries import REACHED
from saleor_personalize.models import Message, MessageEvent, Profile, Rhythm
from saleor_personalize.profiles import consent

#: What a definition says for "whichever suits the person".
BEST = "best"
#: How close a delivery channel is to a person; the closest first.
CLOSENESS = {
    DeliveryChannel.PUSH: 1.0,
    DeliveryChannel.EMAIL: 0.7,
    DeliveryChannel.SMS: 0.6,
    DeliveryChannel.IN_APP: 0.4,
}
#: So many messages of others a person's own are weighed against: three in a row that they let pass put push
#: behind e-mail.
_OTHERS = 5.0
#: Share of messages that people look at, and how many of the shop's own outweigh it.
_USUAL, _USUAL_COUNT = 0.1, 100.0
#: Messages of one person that are looked at.
_MOST = 100


@dataclass(frozen=True)
class Way:
    """A delivery channel, where a message would go over it, and what speaks against that.

    `chosen`: of one that was chosen as `best` the reason, and what was known of each; JSON, nothing personal.
    """

    delivery_channel: DeliveryChannel
    destination: Destination | None
    objection: NotSentReason | None
    chosen: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Score:
    """How many of the last messages over a delivery channel a person looked at, and what that is worth."""

    delivery_channel: DeliveryChannel
    sent: int
    seen: int
    value: float


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
    """Return the way that suits a person: one that is permitted and reaches them, the one that they react to
    most; the closest of those of which nothing is known. What the shop cannot send over is left out.

    When there is no way at all, the one that would have come first says why.
    """
    usable = set(map(DeliveryChannel, among)) & set(destinations.usable(profile.installation_id))
    candidates = [channel for channel in CLOSENESS if channel in usable]
    scores = _scores(profile, candidates, now) if len(candidates) > 1 else _unknown(candidates)
    ways = [
        (score, way)
        for score, way in _until_open(
            sorted(scores, key=lambda score: -score.value),
            profile=profile,
            purpose=purpose,
            topic=topic,
            preferred_hash=preferred_hash,
            is_re_permission=is_re_permission,
            now=now,
        )
    ]
    if not ways:
        return Way(DeliveryChannel.EMAIL, None, NotSentReason.NO_ADDRESS)
    found = nearest([way for _score, way in ways])
    return replace(
        found, chosen=_explained(found, scores, {w.delivery_channel: w for _, w in ways})
    )


def _until_open(scores: Iterable[Score], **whom: Any) -> Iterator[tuple[Score, Way]]:
    """Yield ways in this order, up to the first that is open."""
    for score in scores:
        found = way(delivery_channel=score.delivery_channel, **whom)
        yield score, found
        if found.objection is None:
            return


def _explained(
    found: Way, scores: Collection[Score], asked: Mapping[DeliveryChannel, Way]
) -> dict[str, Any]:
    """Return why this way, and what was known of each; `objection` only of those that were asked."""
    mine = next(score for score in scores if score.delivery_channel == found.delivery_channel)
    passed = [
        score
        for score in scores
        if CLOSENESS[score.delivery_channel] > CLOSENESS[mine.delivery_channel]
        and score.value < mine.value
    ]
    because = WayReason.CLOSEST
    if passed:
        is_drawn = mine.value > CLOSENESS[mine.delivery_channel]
        because = WayReason.REACTS if is_drawn else WayReason.IGNORED
    return {
        "because": because.value,
        "ways": [
            {
                "delivery_channel": score.delivery_channel.value,
                "sent": score.sent,
                "seen": score.seen,
                "score": round(score.value, 3),
                **_objection(asked.get(score.delivery_channel)),
            }
            for score in scores
        ],
    }


def _objection(way: Way | None) -> dict[str, str]:
    return {} if way is None or way.objection is None else {"objection": way.objection.value}


def nearest(ways: Sequence[Way]) -> Way:
    """Return the first that is open; else the first that was refused by the person, else the first."""
    is_known = (each for each in ways if each.objection != NotSentReason.NO_ADDRESS)
    is_open = (each for each in ways if each.objection is None)
    return next(is_open, None) or next(is_known, ways[0])


def _unknown(candidates: Iterable[DeliveryChannel]) -> list[Score]:
    return [Score(channel, 0, 0, CLOSENESS[channel]) for channel in candidates]


def _scores(
    profile: Profile, candidates: Collection[DeliveryChannel], now: datetime
) -> list[Score]:
    """Weigh how much a person reacts over each delivery channel, against what others of the shop do there.

    Of who refused profiling nothing is looked at.
    """
    if not consent.may_profile(profile=profile):
        return _unknown(candidates)
    shop = rhythms.of_shop(profile.installation_id)
    counts = dict.fromkeys(candidates, (0, 0))
    for name, is_seen, is_lost, decided_at in _last_messages(profile, candidates, now):
        channel = DeliveryChannel(name)
        sent, seen = counts[channel]
        if is_seen or is_lost or decided_at <= now - rhythms.PATIENCE:
            counts[channel] = (sent + 1, seen + is_seen)
    return [
        Score(channel, *counts[channel], _worth(channel, *counts[channel], shop.get(channel)))
        for channel in candidates
    ]


def _worth(channel: DeliveryChannel, sent: int, seen: int, shop: Rhythm | None) -> float:
    known = (0, 0) if shop is None else (shop.sent, shop.seen)
    usual = (known[1] + _USUAL * _USUAL_COUNT) / (known[0] + _USUAL_COUNT)
    own = (seen + _OTHERS * usual) / (sent + _OTHERS)
    return CLOSENESS[channel] * own / usual


def _last_messages(
    profile: Profile, candidates: Iterable[DeliveryChannel], now: datetime
) -> Iterable[tuple[str, bool, bool, datetime]]:
    """Return (delivery channel, looked at, known to be lost, when) of the person's last messages."""

    def has(kinds: Collection[str]) -> Exists:
        events = MessageEvent.objects.of(profile.installation_id)
        return Exists(
            events.filter(message=OuterRef("pk"), kind__in=kinds, is_machine=False, at__lte=now)
        )

    return (
        Message.objects.of(profile.installation_id)
        .filter(
            profile__in=profile.members(),
            delivery_channel__in=list(candidates),
            status__in=REACHED,
            decided_at__range=(now - rhythms.RECENT, now),
        )
        .annotate(is_seen=has(rhythms.REACTED), is_lost=has(rhythms.LOST))
        .order_by("-decided_at", "-pk")
        .values_list("delivery_channel", "is_seen", "is_lost", "decided_at")[:_MOST]
    )
