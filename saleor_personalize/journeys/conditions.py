"""What goals, exits and `wait_for` look for, and what is told of each."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from saleor_personalize.enums import EventType, NotSentReason
from saleor_personalize.journeys.definitions import Definition, delivery_channels_of
from saleor_personalize.journeys.triggers import Trigger
from saleor_personalize.journeys.versions import delivery_channels
from saleor_personalize.messaging import choosing, topics
from saleor_personalize.models import Enrollment, Event, SegmentMembership

#: What guards say of somebody whose permission ended.
_LOST = (NotSentReason.NO_CONSENT, NotSentReason.TOPIC_REFUSED, NotSentReason.SUPPRESSED)


@dataclass(frozen=True)
class Leaving:
    """Somebody leaves: because of a goal, or otherwise, and with which reason for what is not sent."""

    is_goal: bool
    reason: NotSentReason


def leaving(
    *, definition: Definition, trigger: Trigger, enrollment: Enrollment, now: datetime
) -> Leaving | None:
    """Return why somebody leaves the journey at this step, whatever it is; goals are asked first."""
    for is_goal, conditions in ((True, definition.goals), (False, definition.exits)):
        for condition in conditions:
            if holds(
                condition, trigger=trigger, enrollment=enrollment, definition=definition, now=now
            ):
                return Leaving(is_goal, _reason(condition, trigger, is_goal=is_goal))
    return None


def _reason(condition: str, trigger: Trigger, *, is_goal: bool) -> NotSentReason:
    if condition == "ordered":
        return NotSentReason.ORDERED
    if condition == "consent_lost":
        return NotSentReason.NO_CONSENT
    other = NotSentReason.GOAL_REACHED if is_goal else NotSentReason.EXIT_CONDITION
    return trigger.conditions.get(condition, other)


def holds(
    condition: str,
    *,
    trigger: Trigger,
    enrollment: Enrollment,
    definition: Definition,
    now: datetime,
) -> bool:
    """Tell whether a condition holds for somebody since they came in."""
    name, _colon, argument = condition.partition(":")
    if condition in trigger.conditions:
        return trigger.holds(condition, enrollment, now)
    if condition == "ordered":
        return trigger.has_ordered(enrollment)
    if condition == "consent_lost":
        return _is_consent_lost(trigger, enrollment, definition, now)
    if name in ("segment_entered", "segment_left"):
        return _is_member(enrollment, argument) == (name == "segment_entered")
    if name == EventType.CUSTOM:
        return _happened(enrollment, EventType.CUSTOM, properties__name=argument)
    return _happened(enrollment, name)


def _is_consent_lost(
    trigger: Trigger, enrollment: Enrollment, definition: Definition, now: datetime
) -> bool:
    """Tell whether the person no longer allows any of the ways in which the journey writes."""
    about = trigger.about(enrollment)
    channels = delivery_channels_of(definition, delivery_channels())
    objections = [
        choosing.way(
            profile=enrollment.profile,
            delivery_channel=channel,
            purpose=topics.purpose_of(definition.topic),
            topic=definition.topic,
            preferred_hash=about.address_hash,
            now=now,
        ).objection
        for channel in sorted(channels)
    ]
    known = [each for each in objections if each != NotSentReason.NO_ADDRESS]
    return bool(known) and all(each in _LOST for each in known)


def _is_member(enrollment: Enrollment, segment_key: str) -> bool:
    return (
        SegmentMembership.objects.of(enrollment.installation_id)
        .filter(segment__key=segment_key, profile__in=enrollment.profile.person(), left_at=None)
        .exists()
    )


def _happened(enrollment: Enrollment, type_: str, **also: str) -> bool:
    return (
        Event.objects.of(enrollment.installation_id)
        .filter(
            profile__in=enrollment.profile.person(),
            type=type_,
            occurred_at__gt=enrollment.occurred_at,
            **also,
        )
        .exists()
    )
