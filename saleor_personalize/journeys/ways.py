"""Over which delivery channel a message goes, at which hour, and when it is said another way instead."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any

from saleor_personalize.enums import NotSentReason
from saleor_personalize.journeys import cases, definitions
from saleor_personalize.journeys.cases import Case
from saleor_personalize.journeys.versions import delivery_channels
from saleor_personalize.messaging import choosing, outcomes, rendering, rhythms, topics
from saleor_personalize.messaging import operations as messaging
from saleor_personalize.messaging.choosing import Way
from saleor_personalize.messaging.queries import REACHED
from saleor_personalize.models import Message

#: What speaks against one delivery channel, and not against another.
OF_ONE_WAY = (
    NotSentReason.NO_ADDRESS,
    NotSentReason.SUPPRESSED,
    NotSentReason.NO_CONSENT,
    NotSentReason.TOPIC_REFUSED,
    NotSentReason.UNENGAGED,
)


def way_of(case: Case, step: definitions.Message, now: datetime) -> Way:
    """Return over which delivery channel the message goes now, to where, and what speaks against it."""
    if step.fallback is not None and cases.is_at_fallback(case, step):
        return way_over(case, step.fallback.to, now)
    if step.delivery_channel != definitions.BEST:
        return way_over(case, step.delivery_channel, now)
    worded = rendering.channels_of(step.template)
    return choosing.best(
        among=[one for one in delivery_channels() if one in worded], **_for_whom(case, now)
    )


def way_over(case: Case, delivery_channel: str, now: datetime) -> Way:
    return choosing.way(delivery_channel=delivery_channel, **_for_whom(case, now))


def _for_whom(case: Case, now: datetime) -> dict[str, Any]:
    """Return who is asked for permission, and what for."""
    return {
        "profile": case.enrollment.profile,
        "purpose": topics.purpose_of(case.definition.topic),
        "topic": case.definition.topic,
        "preferred_hash": case.about.address_hash,
        "is_re_permission": case.trigger.asks_the_silent,
        "now": now,
    }


def way_ahead(case: Case, step: definitions.Message, now: datetime) -> Way:
    """Return the way that the message comes to: the other one, where the first is closed to the person.

    Where both are closed, it is the one that comes nearest, and says why.
    """
    way = way_of(case, step, now)
    if step.fallback is None or way.objection not in OF_ONE_WAY:
        return way
    return choosing.nearest([way, way_over(case, step.fallback.to, now)])


def is_open(case: Case, step: definitions.Message, now: datetime) -> bool:
    """Tell whether there is a way to the person, and still something to say."""
    first = first_of(case, step)
    if first is not None and is_needless(step, first):
        return False
    return way_ahead(case, step, now).objection is None


def first_of(case: Case, step: definitions.Message) -> Message | None:
    """Return the message that went, or may have gone, over the first way."""
    if not cases.is_at_fallback(case, step):
        return None
    first = messaging.find(replace(cases.draft_of(case, step), key=cases.key_of(case, step)))
    return first if first is not None and first.status in REACHED else None


def is_needless(step: definitions.Message, first: Message) -> bool:
    """Tell whether the first way did: what was seen has also arrived."""
    is_enough = step.fallback is not None and step.fallback.unless == "delivered"
    kinds = outcomes.ARRIVED if is_enough else outcomes.SEEN
    return outcomes.has(message=first, kinds=kinds)


def await_fallback(
    case: Case, step: definitions.Message, way: Way, now: datetime
) -> datetime | None:
    """Stay at a message until its other way is due; None: it has none, or goes over it now."""
    fallback, row = step.fallback, case.enrollment
    if fallback is None or cases.is_at_fallback(case, step) or fallback.to == way.delivery_channel:
        return None
    until = now + fallback.after
    row.branches, row.held_by = {**row.branches, cases.FALLBACK: step.id}, ""
    cases.wait_until(row, until, since=until)
    return until


def better_moment(
    case: Case, step: definitions.Message, way: Way, now: datetime
) -> datetime | None:
    """Return when a message goes that leaves the hour open; None: now. It is chosen once: what holds the
    message back afterwards begins no new search."""
    row = case.enrollment
    is_chosen = row.branches.get(cases.TIMED, "").partition(":")[0] == step.id
    if step.send_at != definitions.BEST or is_chosen or cases.is_transactional(case):
        return None
    moment = rhythms.best_moment(
        profile=row.profile,
        delivery_channel=way.delivery_channel,
        expires_at=case.about.expires_at,
        now=now,
    )
    row.branches = {**row.branches, cases.TIMED: f"{step.id}:{moment.because}"}
    return moment.at if moment.at > now else None


def why_so(case: Case, step: definitions.Message, way: Way) -> dict[str, Any]:
    """Return why this way and this hour, where the definition leaves them open: kept with the message."""
    found: dict[str, Any] = {}
    if way.chosen is not None:
        found["chosen"] = dict(way.chosen)
    chosen_for, _colon, because = case.enrollment.branches.get(cases.TIMED, "").partition(":")
    if chosen_for == step.id and not cases.is_at_fallback(case, step):
        found["timed"] = because
    return found
