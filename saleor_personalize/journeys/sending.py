"""The decision about one message: its way, rivals, orders, arbitration, code, words and hold-out, in this order.

Runs under the locks of the person. What goes is handed over after the commit (`handing_over`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from saleor_personalize.conf import settings
from saleor_personalize.enums import EnrollmentStatus, MessageStatus, NotSentReason
from saleor_personalize.events.queries import has_ordered_since
from saleor_personalize.exceptions import TemplateIncomplete
from saleor_personalize.journeys import (
    asking,
    cases,
    claiming,
    definitions,
    holding_out,
    offering,
    rivals,
    ways,
    wording,
)
from saleor_personalize.journeys.cases import Case
from saleor_personalize.journeys.live import AboutOrders
from saleor_personalize.journeys.queries import is_under_way
from saleor_personalize.journeys.returning import Before
from saleor_personalize.journeys.triggers import AskSaleor, Live, Stop, Wait
from saleor_personalize.journeys.versions import priority_of
from saleor_personalize.messaging import arbitration, mail
from saleor_personalize.messaging import operations as messaging
from saleor_personalize.messaging.arbitration import Delay, Drop
from saleor_personalize.messaging.channels.base import OutgoingMessage
from saleor_personalize.models import Message
from saleor_personalize.offers.terms import read as read_terms


@dataclass(frozen=True)
class Leaving:
    """A message that is to be handed over after the commit, and where the person was before it."""

    message: Message
    outgoing: OutgoingMessage
    before: Before
    offer: offering.Reserved | None = None
    #: Whether the person goes on as soon as it is handed over; and when another way is tried otherwise.
    is_held: bool = False
    fallback_at: datetime | None = None


class Next:
    """What `send` returns when the step is done and the next one can follow at once."""


def send(
    case: Case, step: definitions.Message, verdict: object, live: Live, now: datetime
) -> Leaving | Next | None:
    """Decide about a message; return it when it goes, Next when it is done with, None when the row waits
    or has ended."""
    row = case.enrollment
    if is_under_way(row):
        # What it becomes is known soon; if its worker was killed, the person goes back to it.
        cases.wait_until(row, now + cases.FIRST_RETRY, since=row.step_since)
        return None
    first = ways.first_of(case, step)
    if first is not None and ways.is_needless(step, first):
        _go_past_message(case, now, last=first)
        return None
    way = ways.way_of(case, step, now)
    if way.objection is not None or way.destination is None:
        reason = way.objection or NotSentReason.NO_ADDRESS
        return _refuse(case, step, reason, first, verdict, live, now)
    draft = replace(cases.draft_of(case, step), delivery_channel=way.delivery_channel)
    message = messaging.prepare(draft=draft)
    if message.pk is not None and message.status != MessageStatus.FAILED:
        # Decided before, by a worker that died before it could say so.
        return Next()
    if rivals.is_told(case, step, now):
        cases.end(case, NotSentReason.ALREADY_SENT, now)
        return None
    other = rivals.more_significant(case, now)
    if isinstance(other, Stop):
        cases.end(case, other.reason, now)
        return None
    if isinstance(other, Wait):
        cases.wait_until(row, other.until, since=other.until, held_by=NotSentReason.OUTSHONE)
        return None
    is_unasked = any(question.key not in live for question in asking.about_orders(case, now))
    if isinstance(verdict, AskSaleor) or is_unasked:
        # Only now it is known that a message is next, or what has to be asked: the next claim asks.
        cases.wait_until(row, now, since=row.step_since)
        return None
    if live.get(AboutOrders.KEY) and asking.speaks_against(case):
        status = (
            EnrollmentStatus.REACHED
            if "ordered" in case.definition.goals
            else EnrollmentStatus.EXITED
        )
        cases.end(case, NotSentReason.ORDERED, now, status=status)
        return None
    promised = _offer_step(case)
    if (
        promised is not None
        and not asking.is_for_first_order(promised)
        and asking.has_order_before_offer(live)
        and not _is_recorded(case, now)
    ):
        # Whether a code may follow that order, is known when its webhook has come.
        until = cases.retry_at(case, now)
        cases.wait_until(row, until, since=row.step_since, held_by=NotSentReason.OFFER_FULL_PRICE)
        return None
    ruling = arbitration.decide(
        profile=row.profile,
        enrollment=row,
        purpose=draft.purpose,
        delivery_channel=way.delivery_channel,
        priority=priority_of(row.journey, row.version),
        rivals=rivals.rivals_of(row, now),
        gives_way=step.when_outranked == "drop",
        now=now,
    )
    if isinstance(ruling, Delay):
        cases.wait_until(row, ruling.until, since=ruling.until, held_by=ruling.reason)
        return None
    if isinstance(ruling, Drop):
        messaging.record_not_sent(draft=draft, reason=ruling.reason, now=now)
        return Next()
    better = ways.better_moment(case, step, way, now) if first is None else None
    if better is not None:
        cases.wait_until(row, better, since=better)
        return None
    shown = None if first is None else _carried(case, first)
    offer = None
    if promised is not None and first is None and not settings.DRY_RUN:
        offer = _reserve(case, promised, draft.key, live, now)
    if isinstance(offer, NotSentReason):
        cases.end(case, offer, now)
        return None
    try:
        parts = wording.render(case, step, message, way.destination, live, offer or shown, now)
    except TemplateIncomplete as error:
        if offer is not None:
            offering.release(offer=offer)
        cases.end(case, mail.why_incomplete(error), now, error=str(error))
        return None
    if settings.DRY_RUN:
        messaging.record_not_sent(
            draft=draft, reason=NotSentReason.DRY_RUN, now=now, content=parts.kept
        )
        return Next()
    turn = messaging.may_leave(
        draft=draft,
        destination=way.destination,
        queue=row.queue if row.held_by == NotSentReason.THROTTLED else "",
        now=now,
    )
    if turn is not None:
        if offer is not None:
            offering.release(offer=offer)
        ends_at = case.about.expires_at
        until = turn.at if ends_at is None else min(turn.at, ends_at)
        row.queue = turn.queue
        cases.wait_until(row, until, since=until, held_by=NotSentReason.THROTTLED)
        return None
    if first is None and holding_out.is_held_out(case, now):
        # Whoever is left alone came as far as all others: nothing else spoke against the message.
        if offer is not None:
            offering.release(offer=offer)
        cases.leave_message(row)
        messaging.record_not_sent(draft=draft, reason=NotSentReason.HOLDOUT, now=now)
        return Next()
    for other_row in parts.along:
        cases.end(cases.case_of(other_row), NotSentReason.ALREADY_SENT, now)
    kept = {**parts.kept, **ways.why_so(case, step, way)}
    before = Before(case.path, dict(row.branches), row.step_since)
    fallback_at = ways.await_fallback(case, step, way, now)
    is_held = fallback_at is None and _go_past_message(case, now)
    messaging.begin_hand_over(
        message=message,
        content=kept,
        now=now,
        destination=way.destination,
        rendered=parts.rendered,
        came_from=before.as_json(),
    )
    outgoing = messaging.address(
        message=message,
        rendered=parts.rendered,
        destination=way.destination,
        unsubscribe_url=parts.unsubscribe_url,
        link=parts.link,
        image_url=parts.image_url,
        promo_code=parts.promo_code,
        placement=step.placement,
        expires_at=_shown_until(step, offer or shown, now),
    )
    return Leaving(message, outgoing, before, offer, is_held=is_held, fallback_at=fallback_at)


def _refuse(
    case: Case,
    step: definitions.Message,
    reason: NotSentReason,
    first: Message | None,
    verdict: object,
    live: Live,
    now: datetime,
) -> Leaving | Next | None:
    """Write down why a way is closed; go on with the other one, or with the journey, or end it."""
    row = case.enrollment
    if first is not None:
        # The person was told already; only the other way is closed.
        messaging.record_not_sent(draft=cases.draft_of(case, step), reason=reason, now=now)
        _go_past_message(case, now, last=first)
        return None
    if step.fallback is None or cases.is_at_fallback(case, step) or reason not in ways.OF_ONE_WAY:
        cases.end(case, reason, now)
        return None
    messaging.record_not_sent(draft=cases.draft_of(case, step), reason=reason, now=now)
    row.branches = {**row.branches, cases.FALLBACK: step.id}
    return send(case, step, verdict, live, now)


def _offer_step(case: Case) -> definitions.Offer | None:
    """Return the offer step that came just before the message, if one did."""
    wanted = case.enrollment.branches.get(cases.OFFER)
    offers = definitions.offers_of(case.definition)
    return next((step for step in offers if step.id == wanted), None)


def _reserve(
    case: Case, step: definitions.Offer, key: str, live: Live, now: datetime
) -> offering.Reserved | NotSentReason | None:
    """Draw the code that the message carries; None: it goes without one."""
    row = case.enrollment
    found: offering.Reserved | NotSentReason
    if asking.is_for_first_order(step) and asking.has_order_before_offer(live):
        found = NotSentReason.OFFER_NOT_FIRST
    else:
        found = offering.reserve(
            profile=row.profile,
            enrollment=row,
            step_id=step.id,
            terms=read_terms(step.terms, name=f"{row.journey.key}: {step.id}"),
            channel_slug=case.about.channel_slug,
            language_code=case.about.language_code,
            key=key,
            now=now,
        )
    if isinstance(found, NotSentReason) and step.when_refused == "without":
        return None
    return found


def _carried(case: Case, first: Message) -> offering.Reserved | None:
    """Return the code that the person was told of over the first way: it is the same offer."""
    return offering.carried(
        installation=case.enrollment.installation,
        key=first.idempotency_key,
        language_code=case.about.language_code,
    )


def _is_recorded(case: Case, now: datetime) -> bool:
    """Tell whether our tables have an order that Saleor told of, so that the guard of offers can decide."""
    since = asking.orders_bar_offer_from(case, now)
    return since is None or has_ordered_since(
        profile=case.enrollment.profile, since=since, identities=case.about.identities
    )


def _shown_until(
    step: definitions.Message, offer: offering.Reserved | None, now: datetime
) -> datetime:
    """Return until when a message is shown in the app: no longer than its code works."""
    until = now + (step.shown_for or settings.INBOX_EXPIRY)
    return until if offer is None else min(until, offer.offer.expires_at)


def _go_past_message(case: Case, now: datetime, *, last: Message | None = None) -> bool:
    """Put the person behind the message; a wait that follows begins with it.

    `last` went before, and nothing goes now. Returns whether the person only waits for the hand-over.
    """
    row = case.enrollment
    cases.leave_message(row)
    row.held_by = ""
    following = definitions.following_path(case.definition, case.path)
    until, is_held = (now, False) if last is not None else (now + claiming.CLAIM, True)
    if following is not None:
        step = definitions.step_at(case.definition, following)
        if isinstance(step, definitions.Wait):
            since = now if last is None else last.decided_at
            until, is_held = max(now, since + step.duration), False
            following = definitions.following_path(case.definition, following)
    if following is None:
        cases.finish(row, EnrollmentStatus.DONE, now)
    else:
        row.path = list(following)
        cases.wait_until(row, until, since=until)
    return is_held and following is not None
