"""What follows the commit: the code is made in Saleor, the message goes to its provider, the person goes on.

Outside any transaction. While providers answer, the worker decides about others (`UnderWay`).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db.models import QuerySet

from saleor_personalize.enums import EnrollmentStatus, MessageStatus, NotSentReason
from saleor_personalize.exceptions import OfferNotMade, kind_and_place
from saleor_personalize.journeys import cases, claiming, offering, returning, ways
from saleor_personalize.journeys.cases import Case
from saleor_personalize.journeys.outside import Outside
from saleor_personalize.journeys.queries import RELATED
from saleor_personalize.journeys.sending import Leaving
from saleor_personalize.journeys.triggers import SubjectGone
from saleor_personalize.messaging import operations as messaging
from saleor_personalize.messaging.operations import Call, Channels
from saleor_personalize.models import Enrollment, Message

logger = logging.getLogger(__name__)

#: Most messages of one worker that providers have been called with and not answered: so many are UNCERTAIN
#: when it is killed.
MOST_UNDER_WAY = 10
#: Seconds for which answers may lie there, to be written down together.
_LOOK = 0.25


@dataclass(frozen=True, eq=False)
class HandOver:
    """A message whose hand-over has begun. What follows is done by `settle` or `follow`, once."""

    enrollment: Enrollment
    leaving: Leaving
    case: Case
    now: datetime
    outside: Outside
    call: Call

    def settle(self) -> None:
        """Wait for the provider's answer, write it down, and go on."""
        self.follow(self.call.settle())

    def follow(self, wants_retry: bool) -> None:
        """Send the person back for another try, out, or ahead."""
        leaving, now = self.leaving, self.now
        message = leaving.message
        if message.status == MessageStatus.FAILED and leaving.offer is not None:
            offering.withdraw(offer=leaving.offer, now=now, connect=self.outside.connect)
        if wants_retry:
            due_at = cases.next_try_at(self.case, message, now)
            returning.put_back(self._row(), leaving.before, due_at=due_at)
        elif message.status == MessageStatus.FAILED and leaving.fallback_at is not None:
            self._row().filter(status=EnrollmentStatus.WAITING, due_at=leaving.fallback_at).update(
                due_at=now
            )
        elif message.status == MessageStatus.FAILED:
            # An address that is refused once is refused again. Whoever left meanwhile left for another reason.
            inside = self._row().filter(
                status__in=[EnrollmentStatus.WAITING, EnrollmentStatus.DONE]
            )
            inside.update(
                status=EnrollmentStatus.EXITED, exit_reason=message.reason, finished_at=now
            )
        elif leaving.is_held:
            # Whoever goes on at once was only held while the message was under way.
            self._row().filter(status=EnrollmentStatus.WAITING, due_at=now + claiming.CLAIM).update(
                due_at=now
            )

    def _row(self) -> QuerySet[Enrollment]:
        return Enrollment.objects.of(self.enrollment.installation).filter(pk=self.enrollment.pk)


class UnderWay:
    """The hand-overs of one worker that providers have not answered yet, the first one first.

    Nothing waits here to be handed over: each call begins right after its decision, as the last look at the
    world and the call belong together. Only the answers are waited for, and written down, together.
    """

    def __init__(self) -> None:
        self.channels = messaging.Channels()
        self._begun: list[HandOver] = []
        self._looked_at = time.monotonic()

    def add(self, hand_over: HandOver) -> None:
        """Take over a hand-over; one whose provider has answered already is written down at once."""
        if hand_over.call.is_over():
            self._settle([hand_over])
        else:
            self._begun.append(hand_over)

    def make_room(self) -> None:
        """Settle what was answered, every now and then, and wait until one more call can begin at once."""
        is_full = len(self._begun) >= MOST_UNDER_WAY
        if not is_full and time.monotonic() - self._looked_at < _LOOK:
            return
        over = [one for one in self._begun if one.call.is_over()]
        if is_full and not over:
            over = self._begun[:1]
        self._settle(over)
        self._looked_at = time.monotonic()

    def settle(self) -> int:
        """Wait for all answers; return how many there were."""
        count = len(self._begun)
        self._settle(list(self._begun))
        return count

    def _settle(self, some: Sequence[HandOver]) -> None:
        self._begun = [one for one in self._begun if one not in some]
        answers = messaging.settle_each([one.call for one in some])
        for one, wants_retry in zip(some, answers, strict=True):
            try:
                one.follow(wants_retry)
            except Exception as error:
                # Their claim runs out, and they are looked at again.
                logger.warning("Nobody could go on after a message. %s", kind_and_place(error))


def hand_over(
    enrollment: Enrollment,
    leaving: Leaving,
    case: Case,
    now: datetime,
    outside: Outside,
    channels: Channels | None = None,
) -> HandOver:
    """Begin to give a committed message to its provider: its code is made, and the provider is called."""
    message, outgoing = leaving.message, leaving.outgoing
    wants_retry = _made(leaving, now, outside)
    if wants_retry is None and leaving.offer is not None:
        wants_retry = _turned_back(enrollment, leaving, leaving.offer, now)
    call = (
        messaging.call(
            message=message,
            outgoing=outgoing,
            now=now,
            channel=outside.channel,
            channels=channels,
        )
        if wants_retry is None
        else Call(message, outgoing, now, sending=None, wants_retry=wants_retry)
    )
    return HandOver(enrollment, leaving, case, now, outside, call)


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
        .select_related(*RELATED)
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
