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
from saleor_personalize.models.held import once

#: How long after a more significant occasion of the same person this one is looked at again.
AFTER_OTHER = timedelta(minutes=1)


def is_told(case: Case, step: definitions.Message, now: datetime) -> bool:
    """Tell whether the person was told this over another profile of theirs: they became one inside."""
    row, reentry = case.enrollment, case.definition.reentry
    told = (
        Message.objects.of(row.installation_id)
        .filter(
            profile__in=row.profile.members(),
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
    since = row.occurred_at - settings.ARBITRATION_WINDOW
    told = Message.objects.of(row.installation_id).filter(
        profile__in=row.profile.members(),
        enrollment__journey__is_live=True,
        status__in=REACHED,
        decided_at__gte=since,
    )
    others = told.exclude(enrollment=row).select_related("enrollment__version")
    if any(one.enrollment and _outshines(one.enrollment, trigger) for one in others):
        return Stop(NotSentReason.OUTSHONE)
    waiting = [other for other in _waiting(row) if other.path == [0]]
    until = [other.due_at for other in waiting if _outshines(other, trigger)]
    return Wait(max(*until, now) + AFTER_OTHER) if until else None


def _waiting(row: Enrollment) -> list[Enrollment]:
    """Return where else the person waits, in live journeys."""
    rows = Enrollment.objects.of(row.installation_id).filter(
        profile__in=row.profile.members(),
        status=EnrollmentStatus.WAITING,
        journey__is_live=True,
    )
    others = rows.exclude(pk=row.pk).select_related("journey", "version")
    return once(("waits elsewhere", row.pk), lambda: list(others))


def _outshines(other: Enrollment, trigger: Trigger) -> bool:
    try:
        theirs = trigger_of(definition_of(other.version).trigger)
    except (UnknownAlias, InvalidJourney):
        # Taken out of TRIGGERS: nothing is told of it.
        return False
    return theirs.family == trigger.family and theirs.significance > trigger.significance


def rivals_of(row: Enrollment, now: datetime) -> Iterable[Rival]:
    """Return the other messages that this person waits for, in whatever live journey."""
    until = now + settings.ARBITRATION_WINDOW
    return [
        Rival(priority_of(other.journey, other.version), other.due_at)
        for other in _waiting(row)
        if other.journey_id != row.journey_id and other.due_at <= until and _is_message_next(other)
    ]


def _is_message_next(row: Enrollment) -> bool:
    """Tell whether a message can be sent when the row is due."""
    definition = definition_of(row.version)
    if row.waits_for or definition.trigger.type not in known_triggers():
        return False
    return definitions.next_message(definition, tuple(row.path)) is not None
