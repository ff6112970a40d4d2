"""What follows the commit: the code is made in Saleor, the message goes to its provider, the person goes on.

Outside any transaction. While providers answer, the worker decides about others (`UnderWay`).
"""

from __future__ import annotations

import logging
from collections import deque
from dataclasses import dataclass
from datetime import datetime

from saleor_personalize.enums import EnrollmentStatus, MessageStatus, NotSentReason
from saleor_personalize.exceptions import OfferNotMade, kind_and_place
from saleor_personalize.journeys import cases, claiming, offering, returning, ways
from saleor_personalize.journeys.cases import Case
from saleor_personalize.journeys.outside import Outside
from saleor_personalize.journeys.sending import Leaving
from saleor_personalize.journeys.triggers import SubjectGone
from saleor_personalize.messaging import operations as messaging
from saleor_personalize.messaging.operations import Call
from saleor_personalize.models import Enrollment, Message

logger = logging.getLogger(__name__)

#: Most messages of one worker that providers have been called with and not answered: so many are UNCERTAIN
#: when it is killed.
MOST_UNDER_WAY = 10


@dataclass(frozen=True, eq=False)
class HandOver:
    """A message whose hand-over has begun, or was given up. What follows is done by `settle`, once."""

    enrollment: Enrollment
    leaving: Leaving
    case: Case
    now: datetime
    outside: Outside
    #: The call to its provider; else whether another try is wanted.
    begun: Call | bool

    def is_over(self) -> bool:
        """Tell whether nothing has to be waited for."""
        return isinstance(self.begun, bool) or self.begun.is_over()

    def settle(self) -> None:
        """Write down what became of it; the person goes back for another try, out, or ahead."""
        leaving, now = self.leaving, self.now
        message = leaving.message
        wants_retry = self.begun if isinstance(self.begun, bool) else self.begun.settle()
        if message.status == MessageStatus.FAILED and leaving.offer is not None:
            offering.withdraw(offer=leaving.offer, now=now, connect=self.outside.connect)
        row = Enrollment.objects.of(self.enrollment.installation).filter(pk=self.enrollment.pk)
        if wants_retry:
            due_at = max(cases.retry_at(self.case, now), message.retry_at or now)
            returning.put_back(row, leaving.before, due_at=due_at)
        elif message.status == MessageStatus.FAILED and leaving.fallback_at is not None:
            row.filter(status=EnrollmentStatus.WAITING, due_at=leaving.fallback_at).update(
                due_at=now
            )
        elif message.status == MessageStatus.FAILED:
            # An address that is refused once is refused again. Whoever left meanwhile left for another reason.
            inside = row.filter(status__in=[EnrollmentStatus.WAITING, EnrollmentStatus.DONE])
            inside.update(
                status=EnrollmentStatus.EXITED, exit_reason=message.reason, finished_at=now
            )
        elif leaving.is_held:
            # Whoever goes on at once was only held while the message was under way.
            row.filter(status=EnrollmentStatus.WAITING, due_at=now + claiming.CLAIM).update(
                due_at=now
            )


class UnderWay:
    """The hand-overs of one worker that providers have not answered yet, the first one first.

    Nothing waits here to be handed over: each call begins right after its decision, as the last look at the
    world and the call belong together. Only the answers are waited for together.
    """

    def __init__(self) -> None:
        self._begun: deque[HandOver] = deque()

    def add(self, hand_over: HandOver) -> None:
        self._begun.append(hand_over)

    def make_room(self) -> None:
        """Settle what was answered, and wait until one more call can begin at once."""
        for one in [one for one in self._begun if one.is_over()]:
            self._begun.remove(one)
            _settle(one)
        while len(self._begun) >= MOST_UNDER_WAY:
            _settle(self._begun.popleft())

    def settle(self) -> int:
        """Wait for all answers; return how many there were."""
        count = 0
        while self._begun:
            _settle(self._begun.popleft())
            count += 1
        return count


def _settle(one: HandOver) -> None:
    """Settle one of several. One that cannot be is UNCERTAIN later, and must not hold up the others."""
    try:
        one.settle()
    except Exception as error:
        logger.warning(
            "What became of message %s was not written down. %s",
            one.leaving.message.public_id,
            kind_and_place(error),
        )


def hand_over(
    enrollment: Enrollment, leaving: Leaving, case: Case, now: datetime, outside: Outside
) -> HandOver:
    """Begin to give a committed message to its provider: its code is made, and the provider is called."""
    message, outgoing = leaving.message, leaving.outgoing
    begun: Call | bool | None = _made(leaving, now, outside)
    if begun is None and leaving.offer is not None:
        begun = _turned_back(enrollment, leaving, leaving.offer, now)
    if begun is None:
        begun = messaging.call(message=message, outgoing=outgoing, now=now, channel=outside.channel)
    return HandOver(enrollment, leaving, case, now, outside, begun)


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
