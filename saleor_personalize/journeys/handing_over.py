"""What follows the commit: the code is made in Saleor, the message goes to its provider, the person goes on.

Outside any transaction.
"""

from __future__ import annotations

from datetime import datetime

from saleor_personalize.enums import EnrollmentStatus, MessageStatus, NotSentReason
from saleor_personalize.exceptions import OfferNotMade
from saleor_personalize.journeys import cases, claiming, offering, returning, ways
from saleor_personalize.journeys.cases import Case
from saleor_personalize.journeys.outside import Outside
from saleor_personalize.journeys.sending import Leaving
from saleor_personalize.journeys.triggers import SubjectGone
from saleor_personalize.messaging import operations as messaging
from saleor_personalize.models import Enrollment, Message


def hand_over(
    enrollment: Enrollment, leaving: Leaving, case: Case, now: datetime, outside: Outside
) -> None:
    """Give a committed message to its provider; then back to it for another try, out, or ahead."""
    message, outgoing = leaving.message, leaving.outgoing
    wants_retry = _made(leaving, now, outside)
    if wants_retry is None and leaving.offer is not None:
        wants_retry = _turned_back(enrollment, leaving, leaving.offer, now)
    if wants_retry is None:
        wants_retry = messaging.hand_over(
            message=message, outgoing=outgoing, now=now, channel=outside.channel
        )
    if message.status == MessageStatus.FAILED and leaving.offer is not None:
        offering.withdraw(offer=leaving.offer, now=now, connect=outside.connect)
    row = Enrollment.objects.of(enrollment.installation).filter(pk=enrollment.pk)
    if wants_retry:
        due_at = max(cases.retry_at(case, now), message.retry_at or now)
        returning.put_back(row, leaving.before, due_at=due_at)
    elif message.status == MessageStatus.FAILED and leaving.fallback_at is not None:
        row.filter(status=EnrollmentStatus.WAITING, due_at=leaving.fallback_at).update(due_at=now)
    elif message.status == MessageStatus.FAILED:
        # An address that is refused once is refused again. Whoever left meanwhile left for another reason.
        inside = row.filter(status__in=[EnrollmentStatus.WAITING, EnrollmentStatus.DONE])
        inside.update(status=EnrollmentStatus.EXITED, exit_reason=message.reason, finished_at=now)
    elif leaving.is_held:
        # Whoever goes on at once was only held while the message was under way.
        row.filter(status=EnrollmentStatus.WAITING, due_at=now + claiming.CLAIM).update(due_at=now)


def _made(leaving: Leaving, now: datetime, outside: Outside) -> bool | None:
    """Make the code that a message carries; None: it can go, else whether another try is wanted."""
    if leaving.offer is None:
        return None
    try:
        offering.make(offer=leaving.offer, now=now, connect=outside.connect)
    except OfferNotMade as error:
        is_void = error.is_void
        return messaging.give_up(
            message=leaving.message,
            reason=NotSentReason.OFFER_NOT_FIRST if is_void else NotSentReason.OFFER_NOT_MADE,
            error=str(error),
            is_retryable=error.is_retryable,
            now=now,
        )
    return None


def _turned_back(
    enrollment: Enrollment, leaving: Leaving, offer: offering.Reserved, now: datetime
) -> bool | None:
    """Ask once more, for Saleor took its time to make the code; None: the message can still go, else whether
    another try is wanted."""
    row = (
        Enrollment.objects.of(enrollment.installation)
        .filter(pk=enrollment.pk)
        .select_related("journey", "installation", "version", "profile__installation")
        .first()
    )
    if row is None:
        # Erased, and the message with it: its hand-over finds nothing.
        return None
    row.path, row.branches = list(leaving.before.path), dict(leaving.before.branches)
    reason = _reason_by_now(row, leaving.message, offer, now)
    if reason is None:
        return None
    return messaging.give_up(
        message=leaving.message,
        reason=reason,
        error="It could not go any more when Saleor had made its code.",
        is_retryable=reason == NotSentReason.JOURNEY_PAUSED,
        now=now,
    )


def _reason_by_now(
    row: Enrollment, message: Message, offer: offering.Reserved, now: datetime
) -> NotSentReason | None:
    if not row.journey.is_live:
        return NotSentReason.JOURNEY_PAUSED
    try:
        case = cases.case_of(row)
    except SubjectGone as gone:
        return gone.reason
    left = cases.why_leave(case, now)
    if left is not None:
        return left.reason
    objection = ways.way_over(case, message.delivery_channel, now).objection
    if objection not in (None, NotSentReason.FREQUENCY_LIMIT):
        # The limit counts this very message.
        return objection
    return offering.objection(offer=offer, now=now)
