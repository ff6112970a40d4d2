"""What is next for somebody who waits in a journey, and what speaks against it as far as is known now.

Nothing is decided here and the shop is not asked: the decision is made anew when the moment has come.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime

from saleor_personalize.enums import NotSentReason
from saleor_personalize.exceptions import UnknownAlias
from saleor_personalize.journeys import cases, claiming, definitions, rivals, ways
from saleor_personalize.journeys.cases import Case
from saleor_personalize.journeys.definitions import InvalidJourney
from saleor_personalize.journeys.queries import RELATED, is_under_way, waiting
from saleor_personalize.journeys.triggers import Stop, SubjectGone, Wait
from saleor_personalize.journeys.versions import priority_of
from saleor_personalize.messaging import arbitration
from saleor_personalize.messaging.arbitration import Delay, Drop
from saleor_personalize.messaging.choosing import Way
from saleor_personalize.models import Enrollment, Profile
from saleor_personalize.models.held import held


@dataclass(frozen=True)
class Outlook:
    """`at` is when it is looked at next; `objection` what would keep the message back then, if anything.

    `template` and `delivery_channel` are those of the message that can come next; empty: none can. `is_held`:
    the objection passes by itself, and the message goes then.
    """

    enrollment: Enrollment
    at: datetime
    template: str = ""
    delivery_channel: str = ""
    objection: NotSentReason | None = None
    is_held: bool = False


def of_person(*, profile: Profile, now: datetime, limit: int) -> list[Outlook]:
    """Return what is next for a person, the first first, over all journeys that they wait in."""
    rows = waiting(installation=profile.installation).filter(profile__in=profile.person())
    return outlooks(rows.select_related(*RELATED)[:limit], now=now)


def outlooks(rows: Iterable[Enrollment], *, now: datetime) -> list[Outlook]:
    """Return what is next for each of these. It takes some queries for each: give few."""
    with held():
        return [_outlook(row, now) for row in rows]


def _outlook(row: Enrollment, now: datetime) -> Outlook:
    at = claiming.looked_at(row, now, is_under_way=is_under_way(row))
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
    way = ways.way_ahead(case, step, now)
    found = Outlook(row, at, step.template, way.delivery_channel)
    if not row.journey.is_live:
        return replace(found, objection=NotSentReason.JOURNEY_PAUSED, is_held=True)
    final = _objection(case, step, way, now)
    if final is not None:
        return replace(found, objection=final)
    verdict = cases.judge(case, None, now)
    if isinstance(verdict, Wait):
        found = replace(found, at=max(at, verdict.until))
    ruling = _ruling(case, step, way, found.at, now)
    if isinstance(ruling, Delay):
        return replace(found, at=ruling.until, objection=ruling.reason, is_held=True)
    return found if ruling is None else replace(found, objection=ruling.reason)


def _objection(
    case: Case, step: definitions.Message, way: Way, now: datetime
) -> NotSentReason | None:
    """Return what would end the stay, or skip the message, were it decided now."""
    left = cases.why_leave(case, now)
    if left is not None:
        return left.reason
    verdict = cases.judge(case, None, now)
    if isinstance(verdict, Stop):
        return verdict.reason
    if not ways.is_open(case, step, now):
        return way.objection or NotSentReason.ALREADY_SENT
    if rivals.is_told(case, step, now):
        return NotSentReason.ALREADY_SENT
    other = rivals.more_significant(case, now)
    return other.reason if isinstance(other, Stop) else None


def _ruling(
    case: Case, step: definitions.Message, way: Way, at: datetime, now: datetime
) -> Delay | Drop | None:
    """Return what holds the message back beside everything else that goes to the person."""
    row = case.enrollment
    other = rivals.more_significant(case, now)
    if isinstance(other, Wait):
        return Delay(other.until, NotSentReason.OUTSHONE)
    return arbitration.decide(
        profile=row.profile,
        enrollment=row,
        purpose=cases.draft_of(case, step).purpose,
        delivery_channel=way.delivery_channel,
        priority=priority_of(row.journey, row.version),
        rivals=rivals.rivals_of(row, now),
        gives_way=step.when_outranked == "drop",
        now=at,
    )
