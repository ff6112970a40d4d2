"""What happens to somebody whose moment has come: step by step, until a message leaves or a wait begins.

Locks are always taken in one order: the identities of a person, then the object, then the enrollment.
Recording an order takes the same identity locks, so an order and a decision about the same person never
pass each other unseen. Consent, orders, exits, arbitration and offers are dealt with here, for every
trigger alike.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from django.db import connection, transaction

from saleor_personalize import bus
from saleor_personalize.conf import settings
from saleor_personalize.enums import (
    DeliveryChannel,
    EnrollmentStatus,
    IdentityKind,
    InstallationStatus,
    MessageStatus,
    NotSentReason,
    Purpose,
)
from saleor_personalize.events.queries import has_ordered_since
from saleor_personalize.exceptions import (
    MalformedPayload,
    OfferNotMade,
    SaleorApiError,
    TemplateIncomplete,
    TokenRefused,
    UnknownAlias,
)
from saleor_personalize.journeys import conditions, definitions, offering, showing, splitting
from saleor_personalize.journeys.definitions import Definition, InvalidJourney, Path
from saleor_personalize.journeys.live import AboutOrders
from saleor_personalize.journeys.triggers import (
    About,
    AskSaleor,
    Content,
    Go,
    Live,
    Question,
    Stop,
    SubjectGone,
    Trigger,
    Wait,
    identities_of,
    known_triggers,
    trigger_of,
)
from saleor_personalize.journeys.versions import (
    definition_of,
    delivery_channels,
    priority_of,
    trigger_for,
)
from saleor_personalize.messaging import (
    arbitration,
    choosing,
    guards,
    links,
    mail,
    outcomes,
    rendering,
    rhythms,
    segments,
    topics,
)
from saleor_personalize.messaging import operations as messaging
from saleor_personalize.messaging.arbitration import Delay, Drop, Rival
from saleor_personalize.messaging.channels.base import Channel, OutgoingMessage
from saleor_personalize.messaging.choosing import Way
from saleor_personalize.messaging.destinations import Destination
from saleor_personalize.messaging.operations import Draft
from saleor_personalize.messaging.queries import REACHED
from saleor_personalize.models import Enrollment, Identity, Installation, Journey, Message
from saleor_personalize.offers.terms import read as read_terms
from saleor_personalize.profiles import identity
from saleor_personalize.saleor_api import installations

logger = logging.getLogger(__name__)

#: How long a claimed enrollment is left alone by other workers.
CLAIM = timedelta(minutes=5)
#: The first wait after a fault; each further one is as long as all before it together.
FIRST_RETRY = timedelta(minutes=1)
#: How long after a more significant occasion of the same person this one is looked at again.
AFTER_OTHER = timedelta(minutes=1)
#: How late the webhook of an order may be: for so long before an offer Saleor is asked for orders.
LATE_ORDER = timedelta(days=1)
#: Most addresses, and most accounts, of one person that Saleor is asked about.
MOST_IDS = 10
#: What triggers show beside what a message is about: nothing for one that an order needs.
_PROMOTIONAL = ("products", "similar", "favourites", "offer")
#: Most steps in one transaction: a definition cannot loop, so this is never reached by a right one.
_MAX_STEPS = definitions.MAX_STEPS + 1

#: Returns what the shop says to a question.
Ask = Callable[[Question], Any]


def ask_saleor(question: Question) -> Any:
    return question.ask()


@dataclass(frozen=True)
class Outside:
    """What is beyond our tables. Tests and simulations put something of their own in its place."""

    ask: Ask = ask_saleor
    #: Opens a shop's Saleor to put the codes of offers in and to take them out.
    connect: offering.Connect = offering.connect
    #: What takes messages; None: what CHANNELS names.
    channel: Channel | None = None


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


@dataclass(frozen=True)
class Leaving:
    """A message that is to be handed over after the commit, and where the person was before it."""

    message: Message
    outgoing: OutgoingMessage
    path: Path
    branches: Mapping[str, str]
    offer: offering.Reserved | None = None
    #: Whether the person goes on as soon as it is handed over; and when another way is tried otherwise.
    is_held: bool = False
    fallback_at: datetime | None = None


def advance_due(
    *,
    now: datetime,
    limit: int = 100,
    ask: Ask = ask_saleor,
    outside: Outside | None = None,
) -> int:
    """Decide about the enrollments that are due; return how many were taken up.

    Any number of workers may run this at once: each row is claimed by one of them. `outside` replaces
    all that is beyond our tables, `ask` only what Saleor answers.
    """
    beyond = outside or Outside(ask=ask)
    taken = 0
    while taken < limit and (enrollment := _claim(now)) is not None:
        _advance(enrollment, now, beyond)
        taken += 1
    return taken


#: Takes the row that is due longest, journey by journey: whoever is held in a paused one, or in a shop that
#: stopped, is long due, and passing them by would cost more with each of them.
_CLAIM = f"""
UPDATE {Enrollment._meta.db_table} SET due_at = %(until)s WHERE id = (
  SELECT head.id
  FROM {Journey._meta.db_table} AS journey
  JOIN {Installation._meta.db_table} AS installation ON installation.id = journey.installation_id
  CROSS JOIN LATERAL (
    SELECT id, due_at FROM {Enrollment._meta.db_table}
    WHERE journey_id = journey.id AND status = '{EnrollmentStatus.WAITING.value}' AND due_at <= %(now)s
    ORDER BY due_at LIMIT 1 FOR UPDATE SKIP LOCKED
  ) AS head
  WHERE journey.is_live AND installation.sends_stopped_at IS NULL
  ORDER BY head.due_at LIMIT 1
) RETURNING id
"""  # noqa: S608 (the names of the tables are ours)


def _claim(now: datetime) -> Enrollment | None:
    """Take the row that is due longest; its `due_at` moves, and is how the claim is known later.

    Heads of other journeys are locked for a moment: a worker that passes one by leaves it to this one.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(_CLAIM, {"now": now, "until": now + CLAIM})
        found = cursor.fetchone()
        if found is None:
            return None
        rows = Enrollment.objects.select_related(
            "journey", "installation", "version", "profile__installation"
        )
        return rows.get(pk=found[0])


def _advance(enrollment: Enrollment, now: datetime, outside: Outside) -> None:
    """Take a claimed enrollment as far as it can go now."""
    try:
        case = _case(enrollment)
    except SubjectGone as gone:
        # The object went to somebody else, and then with them: they were erased.
        _finish(enrollment, EnrollmentStatus.EXITED, now, gone.reason)
        return
    live: dict[str, Any] = {}
    questions = () if _why_leave(case, now) else _questions(case, now)
    if questions:
        answers = _ask(case, questions, outside.ask, now)
        if answers is None:
            move(enrollment, _retry_at(case, now))
            return
        live = answers
    leaving = _decide(enrollment, live, now)
    if leaving is not None:
        _hand_over(enrollment, leaving, case, now, outside)


def _questions(case: Case, now: datetime) -> tuple[Question, ...]:
    """Return what only the shop knows: the trigger's questions, and whether there is an order since.

    Nothing is asked about somebody who is not to be written to.
    """
    verdict = _judge(case, None, now)
    if not isinstance(verdict, (Go, AskSaleor)):
        return ()
    step = definitions.next_message(case.definition, case.path)
    if step is None or not _is_open(case, step, now):
        return ()
    asked = verdict.questions if isinstance(verdict, AskSaleor) else ()
    orders = _about_orders(case, now) if _is_at_message(case) else None
    return asked if orders is None else (*asked, orders)


def _is_at_message(case: Case) -> bool:
    """Tell whether a message can come before the next wait."""
    step = definitions.step_at(case.definition, case.path)
    is_waiting = isinstance(step, (definitions.Wait, definitions.WaitFor))
    return not is_waiting and definitions.next_message(case.definition, case.path) is not None


def _about_orders(case: Case, now: datetime) -> AboutOrders | None:
    """Return what has to be known of orders before a message: a webhook may still be under way.

    None where no order changes anything, the trigger's own question tells all, or the person has neither
    an address nor an account by which Saleor could find one.
    """
    row = case.enrollment
    if _ends_with_order(case) or _unless_ordered(case) is not None:
        since = row.occurred_at
    elif _has_offer(case):
        since = now - LATE_ORDER
    else:
        return None
    recipient = guards.address_identity(profile=row.profile, preferred_hash=case.about.address_hash)
    own = Identity.objects.of(row.installation_id).filter(profile__in=row.profile.person())
    users = list(
        own.filter(kind=IdentityKind.SALEOR_USER).order_by("pk").values_list("value", flat=True)
    )[:MOST_IDS]
    mails = own.filter(kind=IdentityKind.EMAIL).exclude(address="").order_by("-pk")
    others = [one.address for one in mails[:MOST_IDS] if recipient is None or one != recipient]
    addresses = [*([recipient.address] if recipient else []), *others][:MOST_IDS]
    if not addresses and not users:
        return None
    if case.trigger.asks_for_orders and max(len(addresses), len(users)) == 1:
        return None
    pairs = list(itertools.zip_longest(addresses, users))
    first = addresses[0] if addresses else ""
    (address, user_id), *further = [(one or first, user or "") for one, user in pairs]
    return AboutOrders(
        installation=row.installation,
        address=address,
        user_id=user_id,
        since=since,
        others=tuple(further),
    )


def _ends_with_order(case: Case) -> bool:
    return "ordered" in (*case.definition.goals, *case.definition.exits)


def _unless_ordered(case: Case) -> Path | None:
    """Return the path of the `wait_for` an order in whose `otherwise` the person is."""
    for at, part in enumerate(case.path):
        if part == "otherwise":
            step = definitions.step_at(case.definition, case.path[:at])
            if isinstance(step, definitions.WaitFor) and step.event == "ordered":
                return case.path[:at]
    return None


def waits_for_order(case: Case) -> bool:
    """Tell whether an order changes the way of somebody who waits, though it does not end it."""
    return case.enrollment.waits_for == "ordered" or _unless_ordered(case) is not None


def _has_offer(case: Case) -> bool:
    return any(
        isinstance(step, definitions.Offer) for _path, step in definitions.walk(case.definition)
    )


def _ask(
    case: Case, questions: tuple[Question, ...], ask: Ask, now: datetime
) -> dict[str, Any] | None:
    """Return the shop's answers; None when it cannot be asked now."""
    try:
        return {question.key: ask(question) for question in questions}
    except TokenRefused:
        installations.mark_status(
            installation=case.enrollment.installation,
            status=InstallationStatus.TOKEN_REFUSED,
            now=now,
        )
    except (SaleorApiError, MalformedPayload) as error:
        logger.warning("Enrollment %s waits: Saleor cannot be asked: %s", case.enrollment.pk, error)
    return None


def _hand_over(
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
        # Whoever ordered or was let go meanwhile stays out.
        row.filter(status__in=[EnrollmentStatus.WAITING, EnrollmentStatus.DONE]).update(
            status=EnrollmentStatus.WAITING,
            path=list(leaving.path),
            branches=leaving.branches,
            exit_reason="",
            finished_at=None,
            due_at=max(_retry_at(case, now), message.retry_at or now),
            step_since=case.enrollment.step_since,
        )
    elif message.status == MessageStatus.FAILED and leaving.fallback_at is not None:
        row.filter(status=EnrollmentStatus.WAITING, due_at=leaving.fallback_at).update(due_at=now)
    elif message.status == MessageStatus.FAILED:
        # An address that is refused once is refused again.
        row.update(status=EnrollmentStatus.EXITED, exit_reason=message.reason, finished_at=now)
    elif leaving.is_held:
        # Whoever goes on at once was only held while the message was under way.
        row.filter(status=EnrollmentStatus.WAITING, due_at=now + CLAIM).update(due_at=now)


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
    row.path, row.branches = list(leaving.path), dict(leaving.branches)
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
        case = _case(row)
    except SubjectGone as gone:
        return gone.reason
    left = _why_leave(case, now)
    if left is not None:
        return left.reason
    objection = _way_over(case, message.delivery_channel, now).objection
    if objection not in (None, NotSentReason.FREQUENCY_LIMIT):
        # The limit counts this very message.
        return objection
    return offering.objection(offer=offer, now=now)


# -- the decision, under the locks --------------------------------------------------------------------


def _decide(enrollment: Enrollment, live: Live, now: datetime) -> Leaving | None:
    """Decide under the locks of the person; return what is to be handed over after the commit."""
    with transaction.atomic():
        held = _identities(enrollment)
        identity.lock_identities(enrollment.installation, held)
        trigger = trigger_of(definition_of(enrollment.version).trigger)
        trigger.lock(enrollment)
        row = (
            Enrollment.objects.of(enrollment.installation)
            .filter(pk=enrollment.pk, status=EnrollmentStatus.WAITING, due_at=enrollment.due_at)
            .select_related("journey", "installation", "version", "profile__installation")
            .select_for_update(of=("self",))
            .first()
        )
        if row is None:
            # Ended, changed or claimed by somebody else since.
            return None
        if not row.journey.is_live or _identities(row) - held:
            # Switched off, or the person became known under another id: begin again.
            move(row, now)
            return None
        try:
            return _run(_case(row), live, now)
        except SubjectGone as gone:
            _finish(row, EnrollmentStatus.EXITED, now, gone.reason)
            return None


def _run(case: Case, live: Live, now: datetime) -> Leaving | None:
    """Do the steps that can be done now. The row is saved, whatever comes of it."""
    row = case.enrollment
    for _ in range(_MAX_STEPS):
        left = _why_leave(case, now)
        if left is not None:
            status = EnrollmentStatus.REACHED if left.is_goal else EnrollmentStatus.EXITED
            end(case, left.reason, now, status=status)
            return None
        verdict = _judge(case, live or None, now)
        if isinstance(verdict, Wait):
            _wait_until(row, verdict.until, since=verdict.until)
            return None
        if isinstance(verdict, Stop):
            end(case, verdict.reason, now)
            case.trigger.stopped(row, verdict.reason, now)
            return None
        step = definitions.step_at(case.definition, case.path)
        match step:
            case _ if (waited := _ordered_after_all(case, live)) is not None:
                _take_back_otherwise(case, step, now)
                following = definitions.into_branch(case.definition, waited, "then")
            case definitions.Message():
                leaving = _send(case, step, verdict, live, now)
                if not isinstance(leaving, _Next):
                    return leaving
                following = definitions.following_path(case.definition, case.path)
            case definitions.Wait(duration):
                following = definitions.following_path(case.definition, case.path)
                if following is not None:
                    row.path = list(following)
                    _wait_until(row, now + duration, since=now + duration)
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
                row.branches = {**row.branches, _OFFER: id_}
                following = definitions.following_path(case.definition, case.path)
            case definitions.Webhook(alias):
                if not settings.DRY_RUN:
                    _tell(case, alias, now)
                following = definitions.following_path(case.definition, case.path)
            case _:
                following = None
        if following is None:
            _finish(row, EnrollmentStatus.DONE, now)
            return None
        row.path, row.step_since, row.held_by = list(following), now, ""
        row.save()
    raise AssertionError(f"Journey {row.journey.key} does not come to an end.")


class _Next:
    """What `_send` returns when the step is done and the next one can follow at once."""


#: Under this name `Enrollment.branches` keeps which offer the next message carries, and of which message
#: another way may be tried.
_OFFER = "offer:"
_FALLBACK = "fallback:"
#: And for which message the hour was chosen, with the reason.
_TIMED = "time:"
#: What speaks against one delivery channel, and not against another.
_OF_ONE_WAY = (
    NotSentReason.NO_ADDRESS,
    NotSentReason.SUPPRESSED,
    NotSentReason.NO_CONSENT,
    NotSentReason.TOPIC_REFUSED,
    NotSentReason.UNENGAGED,
)


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
    _wait_until(row, until, since=until)
    return None


def _ordered_after_all(case: Case, live: Live) -> Path | None:
    """Return the path of the `wait_for` an order that came when the person was in its `otherwise` already."""
    path = _unless_ordered(case)
    if path is None:
        return None
    is_ordered = live.get(AboutOrders.KEY) or case.trigger.has_ordered(case.enrollment)
    return path if is_ordered else None


def _take_back_otherwise(case: Case, step: definitions.Step | None, now: datetime) -> None:
    """Leave `otherwise`: a message there is not sent any more, and a code goes with none."""
    row = case.enrollment
    if isinstance(step, definitions.Message):
        messaging.record_not_sent(draft=draft_of(case, step), reason=NotSentReason.ORDERED, now=now)
    gone = (_OFFER, _FALLBACK, _TIMED)
    row.branches = {key: way for key, way in row.branches.items() if key not in gone}
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


def _why_leave(case: Case, now: datetime) -> conditions.Leaving | None:
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


# -- one message ----------------------------------------------------------------------------------------


def _send(
    case: Case, step: definitions.Message, verdict: object, live: Live, now: datetime
) -> Leaving | _Next | None:
    """Decide about a message; return it when it goes, _Next when it is done with, None when the row waits
    or has ended."""
    row = case.enrollment
    first = _first_of(case, step)
    if first is not None and first.status == MessageStatus.HANDING_OVER:
        _wait_until(row, now + FIRST_RETRY, since=row.step_since)
        return None
    if first is not None and _is_needless(step, first):
        _go_past_message(case, now, last=first)
        return None
    way = _way(case, step, now)
    if way.objection is not None or way.destination is None:
        reason = way.objection or NotSentReason.NO_ADDRESS
        return _refuse(case, step, reason, first, verdict, live, now)
    draft = replace(draft_of(case, step), delivery_channel=way.delivery_channel)
    message = messaging.prepare(draft=draft)
    if message.pk is not None and message.status != MessageStatus.FAILED:
        # Decided before, by a worker that died before it could say so.
        return _Next()
    if _is_told(case, step, now):
        end(case, NotSentReason.ALREADY_SENT, now)
        return None
    other = _more_significant(case, now)
    if isinstance(other, Stop):
        end(case, other.reason, now)
        return None
    if isinstance(other, Wait):
        _wait_until(row, other.until, since=other.until, held_by=NotSentReason.OUTSHONE)
        return None
    orders = _about_orders(case, now)
    is_unasked = orders is not None and AboutOrders.KEY not in live
    if isinstance(verdict, AskSaleor) or is_unasked:
        # Only now it is known that a message is next, or what has to be asked: the next claim asks.
        _wait_until(row, now, since=row.step_since)
        return None
    if live.get(AboutOrders.KEY) and _ends_with_order(case):
        status = (
            EnrollmentStatus.REACHED
            if "ordered" in case.definition.goals
            else EnrollmentStatus.EXITED
        )
        end(case, NotSentReason.ORDERED, now, status=status)
        return None
    if live.get(AboutOrders.KEY) and _OFFER in row.branches and not _is_recorded(case, now):
        # Whether a code may follow that order, is known when its webhook has come.
        until = _retry_at(case, now)
        _wait_until(row, until, since=row.step_since, held_by=NotSentReason.OFFER_FULL_PRICE)
        return None
    ruling = arbitration.decide(
        profile=row.profile,
        enrollment=row,
        purpose=draft.purpose,
        delivery_channel=way.delivery_channel,
        priority=priority_of(row.journey, row.version),
        rivals=_rivals(row, now),
        gives_way=step.when_outranked == "drop",
        now=now,
    )
    if isinstance(ruling, Delay):
        _wait_until(row, ruling.until, since=ruling.until, held_by=ruling.reason)
        return None
    if isinstance(ruling, Drop):
        messaging.record_not_sent(draft=draft, reason=ruling.reason, now=now)
        return _Next()
    better = _better_moment(case, step, way, now) if first is None else None
    if better is not None:
        _wait_until(row, better, since=better)
        return None
    shown = None if first is None else _carried(case, first)
    offer = None if settings.DRY_RUN or first is not None else _reserve(case, draft.key, now)
    if isinstance(offer, NotSentReason):
        end(case, offer, now)
        return None
    try:
        parts = _render(case, step, message, way.destination, live, offer or shown, now)
    except TemplateIncomplete as error:
        if offer is not None:
            offering.release(offer=offer)
        end(case, mail.why_incomplete(error), now, error=str(error))
        return None
    if settings.DRY_RUN:
        messaging.record_not_sent(
            draft=draft, reason=NotSentReason.DRY_RUN, now=now, content=parts.kept
        )
        return _Next()
    turn = messaging.may_leave(
        draft=draft,
        destination=way.destination,
        is_queued=row.held_by == NotSentReason.THROTTLED,
        now=now,
    )
    if turn is not None:
        if offer is not None:
            offering.release(offer=offer)
        if case.about.expires_at is not None:
            turn = min(turn, case.about.expires_at)
        _wait_until(row, turn, since=row.step_since, held_by=NotSentReason.THROTTLED)
        return None
    for other_row in parts.along:
        end(_case(other_row), NotSentReason.ALREADY_SENT, now)
    kept = {**parts.kept, **_why_so(case, step, way)}
    before = case.path, dict(row.branches)
    fallback_at = _await_fallback(case, step, way, now)
    is_held = fallback_at is None and _go_past_message(case, now)
    messaging.begin_hand_over(
        message=message,
        content=kept,
        now=now,
        destination=way.destination,
        rendered=parts.rendered,
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
    return Leaving(
        message, outgoing, *before, offer=offer, is_held=is_held, fallback_at=fallback_at
    )


def _shown_until(
    step: definitions.Message, offer: offering.Reserved | None, now: datetime
) -> datetime:
    """Return until when a message is shown in the app: no longer than its code works."""
    until = now + (step.shown_for or settings.INBOX_EXPIRY)
    return until if offer is None else min(until, offer.offer.expires_at)


# -- the hour that suits the person -----------------------------------------------------------------------


def _better_moment(
    case: Case, step: definitions.Message, way: Way, now: datetime
) -> datetime | None:
    """Return when a message goes that leaves the hour open; None: now. It is chosen once: what holds the
    message back afterwards begins no new search."""
    row = case.enrollment
    is_chosen = row.branches.get(_TIMED, "").partition(":")[0] == step.id
    if step.send_at != definitions.BEST or is_chosen or is_transactional(case):
        return None
    moment = rhythms.best_moment(
        profile=row.profile,
        delivery_channel=way.delivery_channel,
        expires_at=case.about.expires_at,
        now=now,
    )
    row.branches = {**row.branches, _TIMED: f"{step.id}:{moment.because}"}
    return moment.at if moment.at > now else None


def _why_so(case: Case, step: definitions.Message, way: Way) -> dict[str, Any]:
    """Return why this way and this hour, where the definition leaves them open: kept with the message."""
    found: dict[str, Any] = {}
    if way.chosen is not None:
        found["chosen"] = dict(way.chosen)
    chosen_for, _colon, because = case.enrollment.branches.get(_TIMED, "").partition(":")
    if chosen_for == step.id and not _is_at_fallback(case, step):
        found["timed"] = because
    return found


# -- another way ------------------------------------------------------------------------------------------


def _is_at_fallback(case: Case, step: definitions.Message) -> bool:
    """Tell whether the message was decided over its first way, so that the other one is next."""
    return bool(case.enrollment.branches.get(_FALLBACK) == step.id)


def _first_of(case: Case, step: definitions.Message) -> Message | None:
    """Return the message that went, or may have gone, over the first way."""
    if not _is_at_fallback(case, step):
        return None
    first = messaging.find(replace(draft_of(case, step), key=_key_of(case, step)))
    return first if first is not None and first.status in REACHED else None


def _is_needless(step: definitions.Message, first: Message) -> bool:
    """Tell whether the first way did: what was seen has also arrived."""
    is_enough = step.fallback is not None and step.fallback.unless == "delivered"
    kinds = outcomes.ARRIVED if is_enough else outcomes.SEEN
    return outcomes.has(message=first, kinds=kinds)


def _refuse(
    case: Case,
    step: definitions.Message,
    reason: NotSentReason,
    first: Message | None,
    verdict: object,
    live: Live,
    now: datetime,
) -> Leaving | _Next | None:
    """Write down why a way is closed; go on with the other one, or with the journey, or end it."""
    row = case.enrollment
    if first is not None:
        # The person was told already; only the other way is closed.
        messaging.record_not_sent(draft=draft_of(case, step), reason=reason, now=now)
        _go_past_message(case, now, last=first)
        return None
    if step.fallback is None or _is_at_fallback(case, step) or reason not in _OF_ONE_WAY:
        end(case, reason, now)
        return None
    messaging.record_not_sent(draft=draft_of(case, step), reason=reason, now=now)
    row.branches = {**row.branches, _FALLBACK: step.id}
    return _send(case, step, verdict, live, now)


def _await_fallback(
    case: Case, step: definitions.Message, way: Way, now: datetime
) -> datetime | None:
    """Stay at a message until its other way is due; None: it has none, or goes over it now."""
    fallback, row = step.fallback, case.enrollment
    if fallback is None or _is_at_fallback(case, step) or fallback.to == way.delivery_channel:
        return None
    until = now + fallback.after
    row.branches, row.held_by = {**row.branches, _FALLBACK: step.id}, ""
    _wait_until(row, until, since=until)
    return until


def _carried(case: Case, first: Message) -> offering.Reserved | None:
    """Return the code that the person was told of over the first way: it is the same offer."""
    return offering.carried(
        installation=case.enrollment.installation,
        key=first.idempotency_key,
        language_code=case.about.language_code,
    )


def _is_recorded(case: Case, now: datetime) -> bool:
    """Tell whether our tables have a late order of the person, so that the guard of offers can decide."""
    return has_ordered_since(
        profile=case.enrollment.profile, since=now - LATE_ORDER, identities=case.about.identities
    )


def _go_past_message(case: Case, now: datetime, *, last: Message | None = None) -> bool:
    """Put the person behind the message; a wait that follows begins with it.

    `last` went before, and nothing goes now. Returns whether the person only waits for the hand-over.
    """
    row = case.enrollment
    gone = (_OFFER, _FALLBACK, _TIMED)
    row.branches = {key: way for key, way in row.branches.items() if key not in gone}
    row.held_by = ""
    following = definitions.following_path(case.definition, case.path)
    until, is_held = (now, False) if last is not None else (now + CLAIM, True)
    if following is not None:
        step = definitions.step_at(case.definition, following)
        if isinstance(step, definitions.Wait):
            since = now if last is None else last.decided_at
            until, is_held = max(now, since + step.duration), False
            following = definitions.following_path(case.definition, following)
    if following is None:
        _finish(row, EnrollmentStatus.DONE, now)
    else:
        row.path = list(following)
        _wait_until(row, until, since=until)
    return is_held and following is not None


def _way(case: Case, step: definitions.Message, now: datetime) -> Way:
    """Return over which delivery channel the message goes now, to where, and what speaks against it."""
    if step.fallback is not None and _is_at_fallback(case, step):
        return _way_over(case, step.fallback.to, now)
    if step.delivery_channel != definitions.BEST:
        return _way_over(case, step.delivery_channel, now)
    worded = rendering.channels_of(step.template)
    return choosing.best(
        among=[one for one in delivery_channels() if one in worded], **_for_whom(case, now)
    )


def _way_over(case: Case, delivery_channel: str, now: datetime) -> Way:
    return choosing.way(delivery_channel=delivery_channel, **_for_whom(case, now))


def _for_whom(case: Case, now: datetime) -> dict[str, Any]:
    """Return who is asked for permission, and what for."""
    return {
        "profile": case.enrollment.profile,
        "purpose": topics.purpose_of(case.definition.topic),
        "topic": case.definition.topic,
        "preferred_hash": case.about.address_hash,
        "is_re_permission": case.trigger.asks_the_silent,
        "now": now,
    }


def _is_open(case: Case, step: definitions.Message, now: datetime) -> bool:
    """Tell whether there is a way to the person, and still something to say."""
    first = _first_of(case, step)
    if first is not None and _is_needless(step, first):
        return False
    objection = _way(case, step, now).objection
    if objection in _OF_ONE_WAY and step.fallback is not None:
        objection = _way_over(case, step.fallback.to, now).objection
    return objection is None


def _is_told(case: Case, step: definitions.Message, now: datetime) -> bool:
    """Tell whether the person was told this over another profile of theirs: they became one inside."""
    row, reentry = case.enrollment, case.definition.reentry
    told = (
        Message.objects.of(row.installation_id)
        .filter(
            profile__in=row.profile.person(),
            enrollment__journey=row.journey_id,
            template=step.template,
            status__in=REACHED,
        )
        .exclude(enrollment=row)
    )
    if reentry.per == "object":
        told = told.filter(
            enrollment__subject_kind=row.subject_kind,
            enrollment__subject_saleor_id=row.subject_saleor_id,
        )
    if reentry.cool_down is not None:
        told = told.filter(decided_at__gt=now - reentry.cool_down)
    return told.exists()


def _more_significant(case: Case, now: datetime) -> Wait | Stop | None:
    """Leave the word to a more significant occasion of the same family (checkout > cart > browse)."""
    trigger, row = case.trigger, case.enrollment
    if not trigger.family:
        return None
    inside = Enrollment.objects.of(row.installation_id).filter(
        profile__in=row.profile.person(), journey__is_live=True
    )
    rows = inside.exclude(pk=row.pk).select_related("version", "journey")
    since = row.occurred_at - settings.ARBITRATION_WINDOW
    told = rows.filter(messages__status__in=REACHED, messages__decided_at__gte=since)
    if any(_outshines(other, trigger) for other in told.distinct()):
        return Stop(NotSentReason.OUTSHONE)
    waiting = rows.filter(status=EnrollmentStatus.WAITING, path=[0])
    until = [other.due_at for other in waiting if _outshines(other, trigger)]
    return Wait(max(*until, now) + AFTER_OTHER) if until else None


def _outshines(other: Enrollment, trigger: Trigger) -> bool:
    try:
        theirs = trigger_of(definition_of(other.version).trigger)
    except (UnknownAlias, InvalidJourney):
        # Taken out of TRIGGERS: nothing is told of it.
        return False
    return theirs.family == trigger.family and theirs.significance > trigger.significance


def _rivals(row: Enrollment, now: datetime) -> Iterable[Rival]:
    """Return the other messages that this person waits for, in whatever live journey."""
    others = (
        Enrollment.objects.of(row.installation_id)
        .filter(
            profile__in=row.profile.person(),
            status=EnrollmentStatus.WAITING,
            journey__is_live=True,
            due_at__lte=now + settings.ARBITRATION_WINDOW,
        )
        .exclude(pk=row.pk)
        .exclude(journey=row.journey_id)
        .select_related("journey", "version")
    )
    return [
        Rival(priority_of(other.journey, other.version), other.due_at)
        for other in others
        if _is_message_next(other)
    ]


def _is_message_next(row: Enrollment) -> bool:
    """Tell whether a message can be sent when the row is due."""
    definition = definition_of(row.version)
    if row.waits_for or definition.trigger.type not in known_triggers():
        return False
    return definitions.next_message(definition, tuple(row.path)) is not None


def _reserve(case: Case, key: str, now: datetime) -> offering.Reserved | NotSentReason | None:
    """Draw the code that the message carries, if an offer step came before it."""
    row = case.enrollment
    wanted = row.branches.get(_OFFER)
    step = next(
        (
            step
            for _path, step in definitions.walk(case.definition)
            if isinstance(step, definitions.Offer) and step.id == wanted
        ),
        None,
    )
    if step is None:
        return None
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


@dataclass(frozen=True)
class _Parts:
    """A rendered message, what is kept of it, who is told along, and where its links lead."""

    rendered: rendering.Rendered
    kept: dict[str, Any]
    along: tuple[Enrollment, ...]
    unsubscribe_url: str
    link: str
    image_url: str
    promo_code: str


def _render(
    case: Case,
    step: definitions.Message,
    message: Message,
    destination: Destination,
    live: Live,
    offer: offering.Reserved | None,
    now: datetime,
) -> _Parts:
    """Return what a message says. Raises TemplateIncomplete."""
    told = what_is_told(case, step, live, offer, now)
    context = {**told.context, **_links(case, message, destination, now)}
    link, image_url = rendering.landing(context)
    rendered = rendering.render(
        template=step.template,
        language_code=case.about.language_code,
        context={**context, "link": link},
        delivery_channel=destination.delivery_channel,
    )
    if destination.delivery_channel == DeliveryChannel.EMAIL:
        rendered = mail.finish(message=message, rendered=rendered, now=now)
    elif destination.delivery_channel == DeliveryChannel.SMS:
        rendered = segments.finish(rendered)
    return _Parts(
        rendered=rendered,
        kept=dict(told.kept),
        along=told.along,
        unsubscribe_url=str(context.get("unsubscribe_url", "")),
        link=link,
        image_url=image_url,
        promo_code="" if offer is None else offer.code,
    )


def what_is_told(
    case: Case,
    step: definitions.Message,
    live: Live,
    offer: offering.Reserved | None,
    now: datetime,
) -> Content:
    """Return all that the templates of a message read, but for the links that end messages.

    Raises TemplateIncomplete.
    """
    profile = case.enrollment.profile
    content = case.trigger.content(case.enrollment, live, now)
    kept: Mapping[str, Any] = content.kept
    context: dict[str, Any] = dict(content.context)
    if is_transactional(case):
        context = {name: one for name, one in context.items() if name not in _PROMOTIONAL}
    elif step.recommend is not None:
        picked = _recommended(case, step.recommend, now)
        context["recommended"] = picked
        placement = step.recommend.placement
        told = {"placement": placement, "product_ids": showing.kept(picked)}
        kept = {**kept, "recommended": told}
    if offer is not None:
        context |= offer.context(cart_url=str(context.get("cart_url", "")))
        kept = {**kept, "offer": offer.kept}
    context |= {
        "shop_name": messaging.sender_name(case.enrollment.installation),
        "first_name": profile.first_name,
        "is_transactional": is_transactional(case),
    }
    return Content(context, kept, content.along)


def is_transactional(case: Case) -> bool:
    """Tell whether an order needs what the journey says."""
    return topics.purpose_of(case.definition.topic) == Purpose.TRANSACTIONAL


def _recommended(case: Case, wanted: definitions.Recommend, now: datetime) -> list[dict[str, Any]]:
    """Return what the placement shows this person on the site at this moment, as templates see it."""
    profile = case.enrollment.profile
    return showing.recommended(
        profile=profile,
        placement=wanted.placement,
        channel_slug=case.about.channel_slug or showing.channel_of(profile),
        language_code=case.about.language_code,
        now=now,
        most=wanted.most,
    )


def _links(case: Case, message: Message, destination: Destination, now: datetime) -> dict[str, Any]:
    """Return the links by which the reader of an e-mail of marketing ends or changes what they get."""
    found: dict[str, Any] = {}
    if destination.delivery_channel != DeliveryChannel.EMAIL:
        return found
    profile, address_hash = case.enrollment.profile, destination.value_hash
    found["view_url"] = mail.view_url(message=message, now=now)
    if not is_transactional(case):
        found["unsubscribe_url"] = links.unsubscribe_url(profile=profile, address_hash=address_hash)
    found["preferences_url"] = links.preferences_url(
        profile=guards.speaker(profile=profile, recipient=destination),
        address_hash=address_hash,
        language_code=case.about.language_code,
    )
    return found


def draft_of(case: Case, step: definitions.Message) -> Draft:
    """Return the identity of the decision: this message about this occasion, once ever over each way."""
    row, key, channel = case.enrollment, _key_of(case, step), step.delivery_channel
    if step.fallback is not None and _is_at_fallback(case, step):
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


def _key_of(case: Case, step: definitions.Message) -> str:
    row = case.enrollment
    again = f":{row.entry}" if row.entry > 1 else ""
    return f"{row.journey.key}:{row.entry_key}:{step.id}{again}"


# -- rows -------------------------------------------------------------------------------------------------


def case_of(enrollment: Enrollment) -> Case:
    """Return somebody in a journey with all that a decision needs. Raises SubjectGone."""
    return _case(enrollment)


def _case(enrollment: Enrollment) -> Case:
    definition = definition_of(enrollment.version)
    trigger = trigger_for(definition)
    about = trigger.about(enrollment)
    if about.profile is not None and about.profile != enrollment.profile:
        # The object has changed hands.
        enrollment.profile = about.profile
    return Case(enrollment, definition, trigger, about)


def _judge(case: Case, live: Live | None, now: datetime) -> object:
    return case.trigger.judge(case.enrollment, live, now)


def _identities(enrollment: Enrollment) -> set[tuple[str, str]]:
    try:
        case = _case(enrollment)
    except SubjectGone:
        return identities_of(enrollment.profile, About())
    return identities_of(case.enrollment.profile, case.about)


def _retry_at(case: Case, now: datetime) -> datetime:
    """Wait as long as was waited already, but look once more when it becomes too late."""
    at = now + max(FIRST_RETRY, now - case.enrollment.step_since)
    return at if case.about.expires_at is None else min(at, case.about.expires_at)


def _wait_until(
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
    _finish(case.enrollment, status, now, reason)


def _finish(
    enrollment: Enrollment, status: EnrollmentStatus, now: datetime, reason: str = ""
) -> None:
    enrollment.status, enrollment.exit_reason, enrollment.finished_at = status, reason, now
    enrollment.waits_for, enrollment.waits_until = "", None
    enrollment.save()
