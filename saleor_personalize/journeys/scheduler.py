"""What happens to somebody whose moment has come: claimed, asked about, decided, handed over.

Consent, orders, exits, arbitration and offers are dealt with for every trigger alike: `claiming` takes
whoever is due, `asking` asks the shop, `stepping` and `sending` decide under the locks, `handing_over`
follows the commit. `resuming` takes up what a worker that was killed left behind.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from saleor_personalize.enums import EnrollmentStatus
from saleor_personalize.journeys import asking, cases, claiming, handing_over, stepping
from saleor_personalize.journeys.handing_over import UnderWay
from saleor_personalize.journeys.outside import Ask, Outside, ask_saleor
from saleor_personalize.journeys.triggers import SubjectGone
from saleor_personalize.messaging.operations import Channels
from saleor_personalize.models import Enrollment
from saleor_personalize.models.held import held


def advance_due(
    *,
    now: datetime,
    limit: int = 100,
    ask: Ask = ask_saleor,
    outside: Outside | None = None,
    under_way: UnderWay | None = None,
) -> int:
    """Decide about the enrollments that are due; return how many were taken up.

    Any number of workers may run this at once: each row is claimed by one of them. `outside` replaces
    all that is beyond our tables, `ask` only what Saleor answers. `under_way` takes the messages whose
    providers have not answered: its owner settles them. Without it each answer is waited for.
    """
    beyond = outside or Outside(ask=ask)
    taken = 0
    while taken < limit:
        enrollment = claiming.claim(now)
        if enrollment is None:
            break
        channels = under_way.channels if under_way is not None else None
        begun = _advance(enrollment, now, beyond, channels)
        taken += 1
        if begun is not None and under_way is not None:
            under_way.add(begun)
        elif begun is not None:
            begun.settle()
        if under_way is not None:
            # Here, and not before the next decision: that would be made by a clock that was read before the wait.
            under_way.make_room()
    return taken


def _advance(
    enrollment: Enrollment, now: datetime, outside: Outside, channels: Channels | None
) -> handing_over.HandOver | None:
    """Take a claimed enrollment as far as it can go now; return the hand-over that began, if one did."""
    live: dict[str, Any] = {}
    # Only to know whom to lock and what to ask: all of it is read anew under the locks.
    with held():
        try:
            case = cases.case_of(enrollment)
        except SubjectGone as gone:
            # The object went to somebody else, and then with them: they were erased.
            cases.finish(enrollment, EnrollmentStatus.EXITED, now, gone.reason)
            return None
        ids = cases.ids_of(enrollment)
        questions = () if cases.why_leave(case, now) else asking.questions(case, now)
    if questions:
        answers = asking.ask_shop(case, questions, outside.ask, now)
        if answers is None:
            cases.move(enrollment, cases.retry_at(case, now))
            return None
        live = answers
    leaving = stepping.decide(enrollment, ids, live, now)
    if leaving is None:
        return None
    return handing_over.hand_over(enrollment, leaving, case, now, outside, channels)
