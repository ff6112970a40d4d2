"""What is next for somebody who waits in a journey, and what speaks against it as far as is known now.

Nothing is decided here and the shop is not asked: the decision is made anew when the moment has come.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from saleor_personalize.enums import NotSentReason
from saleor_personalize.exceptions import UnknownAlias
from saleor_personalize.journeys import cases, definitions, rivals, ways
from saleor_personalize.journeys.cases import Case
from saleor_personalize.journeys.definitions import InvalidJourney
from saleor_personalize.journeys.queries import waiting
from saleor_personalize.journeys.triggers import Stop, SubjectGone, Wait
from saleor_personalize.journeys.versions import priority_of
from saleor_personalize.messaging import arbitration
from saleor_personalize.messaging.arbitration import Delay
from saleor_personalize.messaging.choosing import Way
from saleor_personalize.models import Enrollment, Profile
from saleor_personalize.models.held import held


@dataclass(frozen=True)
class Outlook:
    """`at` is when it is looked at next; `objection` what would keep the message back then, if anything.

    `template` and `delivery_channel` are those of the message that can come next; empty: none can.
    """

    enrollment: Enrollment
    at: datetime
    template: str = ""
    delivery_channel: str = ""
    objection: NotSentReason | None = None


def of_person(*, profile: Profile, now: datetime, limit: int) -> list[Outlook]:
    """Return what is next for a person, the first first, over all journeys that they wait in."""
    rows = waiting(installation=profile.installation).filter(profile__in=profile.person())
    return outlooks(rows.select_related(*_RELATED)[:limit], now=now)


_RELATED = ("journey", "installation", "version", "profile__installation")


def outlooks(rows: Iterable[Enrollment], *, now: datetime) -> list[Outlook]:
    """Return what is next for each of these. It takes some queries for each: give few."""
    with held():
        return [_outlook(row, now) for row in rows]


def _outlook(row: Enrollment, now: datetime) -> Outlook:
    at = max(row.due_at, now)
    try:
        case = cases.case_of(row)
    except SubjectGone as gone:
        return Outlook(row, at, objection=gone.reason)
    except (UnknownAlias, InvalidJourney):
        # Taken out of TRIGGERS: nobody goes on in it.
        return Outlook(row, at)
    step = definitions.next_message(case.definition, case.path)
    if step is None:
        return Outlook(row, at)
    way = ways.way_of(case, step, now)
    at, objection = _objection(case, step, way, at, now)
    return Outlook(row, at, step.template, way.delivery_channel, objection)


def _objection(
    case: Case, step: definitions.Message, way: Way, at: datetime, now: datetime
) -> tuple[datetime, NotSentReason | None]:
    """Return when the message is looked at, and the first thing that would keep it back then."""
    row = case.enrollment
    if not row.journey.is_live:
        return at, NotSentReason.JOURNEY_PAUSED
    if arbitration.are_sends_stopped(row.installation):
        return at, NotSentReason.SENDS_STOPPED
    left = cases.why_leave(case, now)
    if left is not None:
        return at, left.reason
    verdict = cases.judge(case, None, now)
    if isinstance(verdict, Stop):
        return at, verdict.reason
    if isinstance(verdict, Wait):
        at = max(at, verdict.until)
    if not ways.is_open(case, step, now):
        return at, way.objection or NotSentReason.ALREADY_SENT
    ruling = arbitration.decide(
        profile=row.profile,
        enrollment=row,
        purpose=cases.draft_of(case, step).purpose,
        delivery_channel=way.delivery_channel,
        priority=priority_of(row.journey, row.version),
        rivals=rivals.rivals_of(row, now),
        gives_way=step.when_outranked == "drop",
        now=at,
    )
    if isinstance(ruling, Delay):
        return ruling.until, ruling.reason
    return at, None if ruling is None else ruling.reason
