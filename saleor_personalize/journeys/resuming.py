"""Whoever was interrupted between the decision and the hand-over: the message surely did not go, so it may.

Their worker was killed. They go back to where they stood before the message, and everything is decided
anew: orders, consent, caps, the deadline, the offer.
"""

from __future__ import annotations

import logging
from datetime import datetime

from django.db import transaction

from saleor_personalize.enums import EnrollmentStatus, MessageStatus, NotSentReason
from saleor_personalize.exceptions import kind_and_place
from saleor_personalize.journeys import returning
from saleor_personalize.messaging import operations as messaging
from saleor_personalize.messaging.operations import MAX_ATTEMPTS
from saleor_personalize.models import Enrollment
from saleor_personalize.offers import operations as offers

logger = logging.getLogger(__name__)

_REASON = NotSentReason.INTERRUPTED


def resume_interrupted(*, now: datetime) -> int:
    """Take back messages whose worker was killed before it handed them over; return how many.

    Any number of workers may run this at once, also one that was only slow: its message is no longer its
    own, so it hands nothing over.
    """
    rows = messaging.interrupted_before_hand_over(now=now).filter(came_from__has_key="path")
    taken = 0
    for pk, enrollment_id in rows.order_by("pk").values_list("pk", "enrollment"):
        try:
            taken += _take_back(pk, enrollment_id, now)
        except Exception as error:
            # One that cannot be taken back must not hold up the others: the next run tries again.
            logger.warning("An interrupted message was not taken back. %s", kind_and_place(error))
    return taken


def _take_back(pk: int, enrollment_id: int | None, now: datetime) -> bool:
    """Settle one message, and put its person back; all of it or nothing."""
    with transaction.atomic():
        # The enrollment before the message, as decisions take them.
        enrollment = Enrollment.objects.filter(pk=enrollment_id or 0).select_for_update().first()
        message = (
            messaging.interrupted_before_hand_over(now=now)
            .filter(pk=pk)
            .select_related("installation", "enrollment")
            .select_for_update(skip_locked=True, of=("self",))
            .first()
        )
        if message is None:
            # Handed over after all, or taken back by somebody else.
            return False
        offers.void(installation=message.installation, key=message.idempotency_key, now=now)
        if enrollment is None or enrollment.status not in returning.MAY_RETURN:
            # They ordered, were let go or are gone meanwhile: the reason for that is the reason for this.
            left_for = enrollment.exit_reason if enrollment is not None else ""
            reason = NotSentReason(left_for or _REASON)
            messaging.settle_unsent(
                message=message, status=MessageStatus.NOT_SENT, reason=reason, now=now
            )
            return True
        may_return = message.attempts < MAX_ATTEMPTS and not _is_in_again(enrollment)
        messaging.settle_unsent(
            message=message,
            status=MessageStatus.FAILED,
            reason=_REASON,
            is_final=not may_return,
            now=now,
        )
        rows = Enrollment.objects.of(enrollment.installation_id).filter(pk=enrollment.pk)
        if may_return:
            returning.put_back(rows, returning.of_json(message.came_from), due_at=now)
        elif message.attempts >= MAX_ATTEMPTS:
            rows.update(status=EnrollmentStatus.EXITED, exit_reason=_REASON, finished_at=now)
        return True


def _is_in_again(enrollment: Enrollment) -> bool:
    """Tell whether somebody who was through the journey has come in again about the same."""
    return (
        Enrollment.objects.of(enrollment.installation_id)
        .filter(
            journey=enrollment.journey_id,
            entry_key=enrollment.entry_key,
            status=EnrollmentStatus.WAITING,
        )
        .exclude(pk=enrollment.pk)
        .exists()
    )
