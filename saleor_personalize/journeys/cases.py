"""Somebody in a journey, with all that a decision needs to know; and how their row is moved and ended.

Everything here is cheap to ask again: it is asked before the locks, under them, and after the commit.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from saleor_personalize.enums import DeliveryChannel, EnrollmentStatus, NotSentReason, Purpose
from saleor_personalize.journeys import conditions, definitions
from saleor_personalize.journeys.definitions import Definition, Path
from saleor_personalize.journeys.triggers import About, Live, SubjectGone, Trigger, identities_of
from saleor_personalize.journeys.versions import definition_of, trigger_for
from saleor_personalize.messaging import operations as messaging
from saleor_personalize.messaging import topics
from saleor_personalize.messaging.operations import Draft
from saleor_personalize.models import Enrollment, Message

#: The first wait after a fault; each further one is as long as all before it together.
FIRST_RETRY = timedelta(minutes=1)
#: Under this name `Enrollment.branches` keeps which offer the next message carries, and of which message
#: another way may be tried.
OFFER = "offer:"
FALLBACK = "fallback:"
#: And for which message the hour was chosen, with the reason.
TIMED = "time:"


@dataclass(frozen=True)
class Case:
    """Somebody in a journey, with all that a decision needs to know."""

    enrollment: Enrollment
    definition: Definition
    trigger: Trigger
    about: About

    @property
    def path(self) -> Path:
        return tuple(self.enrollment.path)


def case_of(enrollment: Enrollment) -> Case:
    """Return somebody in a journey with all that a decision needs. Raises SubjectGone."""
    definition = definition_of(enrollment.version)
    trigger = trigger_for(definition)
    about = trigger.about(enrollment)
    if about.profile is not None and about.profile != enrollment.profile:
        # The object has changed hands.
        enrollment.profile = about.profile
    return Case(enrollment, definition, trigger, about)


def ids_of(enrollment: Enrollment) -> set[tuple[str, str]]:
    try:
        case = case_of(enrollment)
    except SubjectGone:
        return identities_of(enrollment.profile, About())
    return identities_of(case.enrollment.profile, case.about)


def is_transactional(case: Case) -> bool:
    """Tell whether an order needs what the journey says."""
    return topics.purpose_of(case.definition.topic) == Purpose.TRANSACTIONAL


def judge(case: Case, live: Live | None, now: datetime) -> object:
    return case.trigger.judge(case.enrollment, live, now)


def why_leave(case: Case, now: datetime) -> conditions.Leaving | None:
    row = case.enrollment
    if row.journey.live_at is None or row.occurred_at < row.journey.live_at:
        return conditions.Leaving(False, NotSentReason.NOT_LIVE)
    left = conditions.leaving(
        definition=case.definition, trigger=case.trigger, enrollment=row, now=now
    )
    if left is not None:
        return left
    if case.about.expires_at is not None and now >= case.about.expires_at:
        # What held it back is what the shop owner wants to know.
        return conditions.Leaving(False, NotSentReason(row.held_by or NotSentReason.TOO_LATE))
    return None


def is_at_fallback(case: Case, step: definitions.Message) -> bool:
    """Tell whether the message was decided over its first way, so that the other one is next."""
    return bool(case.enrollment.branches.get(FALLBACK) == step.id)


def draft_of(case: Case, step: definitions.Message) -> Draft:
    """Return the identity of the decision: this message about this occasion, once ever over each way."""
    row, key, channel = case.enrollment, key_of(case, step), step.delivery_channel
    if step.fallback is not None and is_at_fallback(case, step):
        key, channel = f"{key}:fallback", step.fallback.to
    return Draft(
        key=key,
        profile=row.profile,
        enrollment=row,
        template=step.template,
        purpose=topics.purpose_of(case.definition.topic),
        # Whichever is best is known when it goes.
        delivery_channel=DeliveryChannel.EMAIL
        if channel == definitions.BEST
        else DeliveryChannel(channel),
        language_code=case.about.language_code,
    )


def key_of(case: Case, step: definitions.Message) -> str:
    row = case.enrollment
    again = f":{row.entry}" if row.entry > 1 else ""
    return f"{row.journey.key}:{row.entry_key}:{step.id}{again}"


def leave_message(row: Enrollment) -> None:
    """Forget what was decided for the message that is now behind the person."""
    gone = (OFFER, FALLBACK, TIMED)
    row.branches = {key: way for key, way in row.branches.items() if key not in gone}


def retry_at(case: Case, now: datetime) -> datetime:
    """Wait as long as was waited already, but look once more when it becomes too late."""
    return _in_time(case, now + max(FIRST_RETRY, now - case.enrollment.step_since))


def next_try_at(case: Case, message: Message, now: datetime) -> datetime:
    """Do the same after a message was tried, by how often; and leave its provider alone."""
    at = _in_time(case, now + FIRST_RETRY * 2 ** (message.attempts - 1))
    return max(at, message.retry_at or now)


def _in_time(case: Case, at: datetime) -> datetime:
    return at if case.about.expires_at is None else min(at, case.about.expires_at)


def wait_until(
    row: Enrollment, until: datetime, *, since: datetime, held_by: NotSentReason | str = ""
) -> None:
    row.due_at, row.step_since = until, since
    row.held_by = held_by or row.held_by
    row.save()


def move(enrollment: Enrollment, due_at: datetime) -> None:
    """Let an enrollment wait until then, unless it ended or moved since we claimed it."""
    Enrollment.objects.of(enrollment.installation).filter(
        pk=enrollment.pk, status=EnrollmentStatus.WAITING, due_at=enrollment.due_at
    ).update(due_at=due_at)


def end(
    case: Case,
    reason: NotSentReason,
    now: datetime,
    *,
    status: EnrollmentStatus = EnrollmentStatus.EXITED,
    error: str = "",
) -> None:
    """End an enrollment, and say why the message that would have come next is not sent."""
    step = definitions.next_message(case.definition, case.path)
    if step is not None:
        messaging.record_not_sent(draft=draft_of(case, step), reason=reason, now=now, error=error)
    finish(case.enrollment, status, now, reason)


def finish(
    enrollment: Enrollment, status: EnrollmentStatus, now: datetime, reason: str = ""
) -> None:
    enrollment.status, enrollment.exit_reason, enrollment.finished_at = status, reason, now
    enrollment.waits_for, enrollment.waits_until = "", None
    enrollment.save()
