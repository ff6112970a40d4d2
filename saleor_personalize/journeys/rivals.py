"""What else the same person is told, was told or is about to be told."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta

from saleor_personalize.conf import settings
from saleor_personalize.enums import EnrollmentStatus, NotSentReason
from saleor_personalize.exceptions import UnknownAlias
from saleor_personalize.journeys import definitions
from saleor_personalize.journeys.cases import Case
from saleor_personalize.journeys.definitions import InvalidJourney
from saleor_personalize.journeys.triggers import Stop, Trigger, Wait, known_triggers, trigger_of
from saleor_personalize.journeys.versions import definition_of, priority_of
from saleor_personalize.messaging.arbitration import Rival
from saleor_personalize.messaging.queries import REACHED
from saleor_personalize.models import Enrollment, Message

#: How long after a more significant occasion of the same person this one is looked at again.
AFTER_OTHER = timedelta(minutes=1)


def is_told(case: Case, step: definitions.Message, now: datetime) -> bool:
    """Tell whether the person was told this over another profile of theirs: they became one inside."""
    row, reentry = case.enrollment, case.definition.reentry
    told = (
        Message.objects.of(row.installation_id)
        .filter(
            profile__in=row.profile.person(),
            enrollment__journey=row.journey_id,
            template=step.template,
            status__in=REACHED,
        )
        .exclude(enrollment=row)
    )
    if reentry.per == "object":
        told = told.filter(
            enrollment__subject_kind=row.subject_kind,
            enrollment__subject_saleor_id=row.subject_saleor_id,
        )
    if reentry.cool_down is not None:
        told = told.filter(decided_at__gt=now - reentry.cool_down)
    return told.exists()


def more_significant(case: Case, now: datetime) -> Wait | Stop | None:
    """Leave the word to a more significant occasion of the same family (checkout > cart > browse)."""
    trigger, row = case.trigger, case.enrollment
    if not trigger.family:
        return None
    inside = Enrollment.objects.of(row.installation_id).filter(
        profile__in=row.profile.person(), journey__is_live=True
    )
    rows = inside.exclude(pk=row.pk).select_related("version", "journey")
    since = row.occurred_at - settings.ARBITRATION_WINDOW
    told = rows.filter(messages__status__in=REACHED, messages__decided_at__gte=since)
    if any(_outshines(other, trigger) for other in told.distinct()):
        return Stop(NotSentReason.OUTSHONE)
    waiting = rows.filter(status=EnrollmentStatus.WAITING, path=[0])
    until = [other.due_at for other in waiting if _outshines(other, trigger)]
    return Wait(max(*until, now) + AFTER_OTHER) if until else None


def _outshines(other: Enrollment, trigger: Trigger) -> bool:
    try:
        theirs = trigger_of(definition_of(other.version).trigger)
    except (UnknownAlias, InvalidJourney):
        # Taken out of TRIGGERS: nothing is told of it.
        return False
    return theirs.family == trigger.family and theirs.significance > trigger.significance


def rivals_of(row: Enrollment, now: datetime) -> Iterable[Rival]:
    """Return the other messages that this person waits for, in whatever live journey."""
    others = (
        Enrollment.objects.of(row.installation_id)
        .filter(
            profile__in=row.profile.person(),
            status=EnrollmentStatus.WAITING,
            journey__is_live=True,
            due_at__lte=now + settings.ARBITRATION_WINDOW,
        )
        .exclude(pk=row.pk)
        .exclude(journey=row.journey_id)
        .select_related("journey", "version")
    )
    return [
        Rival(priority_of(other.journey, other.version), other.due_at)
        for other in others
        if _is_message_next(other)
    ]


def _is_message_next(row: Enrollment) -> bool:
    """Tell whether a message can be sent when the row is due."""
    definition = definition_of(row.version)
    if row.waits_for or definition.trigger.type not in known_triggers():
        return False
    return definitions.next_message(definition, tuple(row.path)) is not None
