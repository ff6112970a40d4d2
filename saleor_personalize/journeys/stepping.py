"""The decision under the locks of the person: step by step, until a message leaves or a wait begins.

Locks are always taken in one order: the identities of a person, then the object, then the enrollment.
Recording an order takes the same identity locks, so an order and a decision about the same person never
pass each other unseen.
"""

from __future__ import annotations

import logging
from datetime import datetime

from django.db import transaction

from saleor_personalize import bus
from saleor_personalize.conf import settings
from saleor_personalize.enums import EnrollmentStatus, NotSentReason
from saleor_personalize.exceptions import UnknownAlias
from saleor_personalize.experiments.operations import NotBegun, begin
from saleor_personalize.journeys import asking, cases, conditions, definitions, sending, splitting
from saleor_personalize.journeys.cases import Case
from saleor_personalize.journeys.definitions import Path
from saleor_personalize.journeys.live import AboutOrders
from saleor_personalize.journeys.queries import RELATED
from saleor_personalize.journeys.sending import Leaving, Next
from saleor_personalize.journeys.triggers import Live, Stop, SubjectGone, Wait, trigger_of
from saleor_personalize.journeys.versions import definition_of
from saleor_personalize.messaging import operations as messaging
from saleor_personalize.models import Enrollment
from saleor_personalize.models.held import held
from saleor_personalize.profiles import identity

logger = logging.getLogger(__name__)

#: Most steps in one transaction: a definition cannot loop, so this is never reached by a right one.
_MAX_STEPS = definitions.MAX_STEPS + 1


def decide(
    enrollment: Enrollment, ids: set[tuple[str, str]], live: Live, now: datetime
) -> Leaving | None:
    """Decide under the locks of the person; return what is to be handed over after the commit.

    `ids` is what they were known by a moment ago (`cases.ids_of`): if there are more by now, nothing is decided.
    Whoever is the first to come upon an experiment is decided about anew once it is written down: all others
    would wait for a row that is made under the locks of one person.
    """
    while True:
        try:
            return _decide(enrollment, ids, live, now)
        except NotBegun as missing:
            begin(tests=missing.tests, installation=enrollment.installation, now=now)


def _decide(
    enrollment: Enrollment, ids: set[tuple[str, str]], live: Live, now: datetime
) -> Leaving | None:
    with transaction.atomic():
        identity.lock_identities(enrollment.installation, ids)
        trigger = trigger_of(definition_of(enrollment.version).trigger)
        trigger.lock(enrollment)
        row = (
            Enrollment.objects.of(enrollment.installation)
            .filter(pk=enrollment.pk, status=EnrollmentStatus.WAITING, due_at=enrollment.due_at)
            .select_related(*RELATED)
            .select_for_update(of=("self",))
            .first()
        )
        if row is None:
            # Ended, changed or claimed by somebody else since.
            return None
        with held():
            if not row.journey.is_live or cases.ids_of(row) - ids:
                # Switched off, or the person became known under another id: begin again.
                cases.move(row, now)
                return None
            try:
                return _run(cases.case_of(row), live, now)
            except SubjectGone as gone:
                cases.finish(row, EnrollmentStatus.EXITED, now, gone.reason)
                return None


def _run(case: Case, live: Live, now: datetime) -> Leaving | None:
    """Do the steps that can be done now. The row is saved, whatever comes of it."""
    row = case.enrollment
    for _ in range(_MAX_STEPS):
        left = cases.why_leave(case, now)
        if left is not None:
            status = EnrollmentStatus.REACHED if left.is_goal else EnrollmentStatus.EXITED
            cases.end(case, left.reason, now, status=status)
            return None
        verdict = cases.judge(case, live or None, now)
        if isinstance(verdict, Wait):
            cases.wait_until(row, verdict.until, since=verdict.until)
            return None
        if isinstance(verdict, Stop):
            cases.end(case, verdict.reason, now)
            case.trigger.stopped(row, verdict.reason, now)
            return None
        step = definitions.step_at(case.definition, case.path)
        match step:
            case _ if (waited := _ordered_after_all(case, live)) is not None:
                _take_back_otherwise(case, step, now)
                following = definitions.into_branch(case.definition, waited, "then")
            case definitions.Message():
                leaving = sending.send(case, step, verdict, live, now)
                if not isinstance(leaving, Next):
                    return leaving
                following = definitions.following_path(case.definition, case.path)
            case definitions.Wait(duration):
                following = definitions.following_path(case.definition, case.path)
                if following is not None:
                    row.path = list(following)
                    cases.wait_until(row, now + duration, since=now + duration)
                    return None
            case definitions.WaitFor():
                way = _way_on(case, step, now)
                if way is None:
                    return None
                row.waits_for, row.waits_until = "", None
                following = definitions.into_branch(case.definition, case.path, way)
            case definitions.Split():
                way = splitting.way(step, row, now)
                row.branches = {**row.branches, step.id: way}
                following = definitions.into_branch(case.definition, case.path, way)
            case definitions.Offer(id_):
                # The next message carries it: a code is drawn when it is sure to be sent.
                row.branches = {**row.branches, cases.OFFER: id_}
                following = definitions.following_path(case.definition, case.path)
            case definitions.Webhook(alias):
                if not settings.DRY_RUN:
                    _tell(case, alias, now)
                following = definitions.following_path(case.definition, case.path)
            case _:
                following = None
        if following is None:
            cases.finish(row, EnrollmentStatus.DONE, now)
            return None
        row.path, row.step_since, row.held_by = list(following), now, ""
        row.save()
    raise AssertionError(f"Journey {row.journey.key} does not come to an end.")


def _way_on(case: Case, step: definitions.WaitFor, now: datetime) -> str | None:
    """Return the branch to take; None: still waiting."""
    row = case.enrollment
    if conditions.holds(
        step.event, trigger=case.trigger, enrollment=row, definition=case.definition, now=now
    ):
        return "then"
    if not row.waits_for:
        row.waits_for, row.waits_until = step.event, now + step.duration
    until = row.waits_until or now
    if now >= until:
        return "otherwise"
    cases.wait_until(row, until, since=until)
    return None


def _ordered_after_all(case: Case, live: Live) -> Path | None:
    """Return the path of the `wait_for` an order that came when the person was in its `otherwise` already."""
    path = asking.unless_ordered(case)
    if path is None:
        return None
    is_ordered = live.get(AboutOrders.KEY) or case.trigger.has_ordered(case.enrollment)
    return path if is_ordered else None


def _take_back_otherwise(case: Case, step: definitions.Step | None, now: datetime) -> None:
    """Leave `otherwise`: a message there is not sent any more, and a code goes with none."""
    row = case.enrollment
    if isinstance(step, definitions.Message):
        messaging.record_not_sent(
            draft=cases.draft_of(case, step), reason=NotSentReason.ORDERED, now=now
        )
    cases.leave_message(row)
    row.waits_for, row.waits_until = "", None


def _tell(case: Case, alias: str, now: datetime) -> None:
    """Write down what a webhook is to be told. A webhook that is gone stops nobody."""
    row = case.enrollment
    try:
        bus.send_to(
            installation=row.installation,
            alias=alias,
            data={
                "journey": row.journey.key,
                "step": definitions.path_text(case.path),
                "subjectKind": row.subject_kind,
                "subjectId": row.subject_saleor_id,
            },
            now=now,
            profile_id=row.profile_id,
            key=f"{row.pk}:{definitions.path_text(case.path)}",
        )
    except UnknownAlias as error:
        logger.warning("Enrollment %s passes its webhook by: %s", row.pk, error)
