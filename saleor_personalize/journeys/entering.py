"""Who comes into a journey: by a fact as it is recorded, or because time passed."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from datetime import datetime, timedelta

from django.db import DatabaseError, IntegrityError, InterfaceError, OperationalError, transaction
from django.db.models import Exists, Max, OuterRef, Q, QuerySet
from django.db.models.functions import Coalesce

from saleor_personalize.enums import EnrollmentStatus, EventType, InstallationStatus
from saleor_personalize.exceptions import UnknownAlias, kind_and_place
from saleor_personalize.journeys.definitions import Definition, InvalidJourney
from saleor_personalize.journeys.triggers import (
    Entry,
    Fact,
    OrderChanged,
    Trigger,
)
from saleor_personalize.journeys.versions import definition_of, trigger_for, up_to_date
from saleor_personalize.models import (
    Enrollment,
    Event,
    Installation,
    Journey,
    SegmentMembership,
)

logger = logging.getLogger(__name__)

#: How far back the first look of `enter_due` goes; later ones begin where the last one ended.
FIRST_LOOK = timedelta(days=1)
#: How often it is looked for what time alone brings.
LOOK_EVERY = timedelta(minutes=10)
START = [0]


def observe(*, fact: Fact, now: datetime) -> list[Enrollment]:
    """Let a fact bring people into the live journeys of its shop, and wake whoever waits for it."""
    entered: list[Enrollment] = []
    for journey, definition, trigger in live_journeys(fact.installation):
        if isinstance(fact, trigger.facts):
            try:
                entered += _let_in(journey, definition, trigger, trigger.candidates(fact), now)
            except DatabaseError:
                # The transaction is lost, and with it the fact: it is told again.
                raise
            except Exception as error:
                # One trigger that fails must not keep an order from being recorded.
                logger.warning("Nobody enters journey %s. %s", journey.key, kind_and_place(error))
    _wake(fact, now)
    return entered


def _let_in(
    journey: Journey,
    definition: Definition,
    trigger: Trigger,
    entries: Iterable[Entry],
    now: datetime,
) -> list[Enrollment]:
    came = (
        enter(journey=journey, definition=definition, trigger=trigger, entry=entry, now=now)
        for entry in entries
    )
    return [row for row in came if row is not None]


def enter_due(*, now: datetime, every: timedelta = LOOK_EVERY) -> int:
    """Bring in whom time alone brings (win-back, birthdays); return how many.

    Whoever waits for an event or a segment is due as soon as it is seen here. Any number of workers may run
    this at once: each journey is looked at by one of them.
    """
    wake_waiting(now=now)
    count = 0
    waiting = Journey.objects.filter(
        is_live=True, installation__status=InstallationStatus.ACTIVE
    ).exclude(looked_at__gt=now - every)
    for key in list(waiting.order_by("looked_at", "pk").values_list("pk", flat=True)):
        try:
            count += _look_once(waiting.filter(pk=key), now)
        except Exception as error:
            # One trigger that fails must not hold up the others: it is asked again from where it was.
            logger.warning("Journey %s cannot be looked at. %s", key, kind_and_place(error))
    return count


@transaction.atomic
def _look_once(rows: QuerySet[Journey], now: datetime) -> int:
    journey = (
        rows.select_related("installation", "published")
        # Not the key: who comes in by a fact meanwhile refers to it.
        .select_for_update(skip_locked=True, of=("self",), no_key=True)
        .first()
    )
    if journey is None:
        return 0
    count = _look(journey, now)
    journey.looked_at = now
    journey.save(update_fields=["looked_at"])
    return count


def _look(journey: Journey, now: datetime) -> int:
    found = _resolved(journey)
    if found is None or journey.live_at is None:
        return 0
    definition, trigger = found
    since = journey.looked_at or max(journey.live_at, now - FIRST_LOOK)
    count = 0
    for entry in trigger.due(installation=journey.installation, since=since, now=now):
        try:
            with transaction.atomic():
                count += len(_let_in(journey, definition, trigger, [entry], now))
        except (InterfaceError, OperationalError):
            # The database is gone for all of them.
            raise
        except Exception as error:
            # One person who fails must not keep everybody else of the day out.
            logger.warning(
                "Profile %s does not enter journey %s. %s",
                entry.profile.pk,
                journey.key,
                kind_and_place(error),
            )
    return count


def live_journeys(installation: Installation) -> Iterable[tuple[Journey, Definition, Trigger]]:
    """Yield the live journeys of a shop with their definitions and triggers."""
    rows = (
        Journey.objects.of(installation)
        .filter(is_live=True)
        .select_related("installation", "published")
        .order_by("key")
    )
    for journey in rows:
        found = _resolved(journey)
        if found is not None:
            yield journey, *found


def _resolved(journey: Journey) -> tuple[Definition, Trigger] | None:
    published = up_to_date(journey).published
    if published is None:
        return None
    definition = definition_of(published)
    try:
        return definition, trigger_for(definition)
    except (UnknownAlias, InvalidJourney) as error:
        logger.warning("Nobody enters journey %s: %s", journey.key, error)
        return None


def enter(
    *,
    journey: Journey,
    definition: Definition,
    trigger: Trigger,
    entry: Entry,
    now: datetime,
    is_asked: bool = False,
) -> Enrollment | None:
    """Let somebody in, or wait anew from the latest occasion; None: they may not come in (again).

    Nothing from before the journey went live counts. `is_asked`: staff want it, however short ago the
    person was in it.
    """
    version = journey.published
    if version is None or journey.live_at is None or entry.occurred_at < journey.live_at:
        return None
    by_person = definition.reentry.per == "person"
    key = f"person/{entry.profile.pk}" if by_person else trigger.entry_key(entry)
    rows = Enrollment.objects.of(journey.installation_id).filter(journey=journey)
    of_person = rows.filter(profile__in=entry.profile.person())
    last = (of_person if by_person else rows.filter(entry_key=key)).order_by("-pk").first()
    if last is not None and last.status == EnrollmentStatus.WAITING:
        return _renew(last, entry)
    if not is_asked and not _is_cool(last, of_person, entry, definition, now):
        return None
    # Of somebody who became one person with another, the last stay may be under another key.
    entries = rows.filter(entry_key=key).aggregate(last=Max("entry"))["last"] or 0
    try:
        with transaction.atomic():
            return Enrollment.objects.create(
                installation_id=journey.installation_id,
                journey=journey,
                version=version,
                profile=entry.profile,
                subject_kind=entry.subject.kind,
                subject_saleor_id=entry.subject.id,
                entry_key=key,
                entry=entries + 1,
                occurred_at=entry.occurred_at,
                context=dict(entry.context),
                path=START,
                due_at=entry.due_at,
                step_since=entry.due_at,
                created_at=now,
            )
    except IntegrityError:
        # Another worker let them in this very moment.
        return rows.filter(entry_key=key).order_by("-entry").first()


def _is_cool(
    last: Enrollment | None,
    of_person: QuerySet[Enrollment],
    entry: Entry,
    definition: Definition,
    now: datetime,
) -> bool:
    """Tell whether it is long enough ago that this was entered, and that the person entered anything."""
    if last is not None and not _may_come_again(last, entry, definition.reentry.cool_down):
        return False
    apart = definition.reentry.person_cool_down
    return apart is None or not of_person.filter(created_at__gt=now - apart).exists()


def _may_come_again(last: Enrollment, entry: Entry, cool_down: timedelta | None) -> bool:
    ended = last.finished_at or last.created_at
    return cool_down is not None and entry.occurred_at >= ended + cool_down


def _renew(row: Enrollment, entry: Entry) -> Enrollment:
    """Let somebody who waits wait anew, from their latest occasion."""
    waiting = Enrollment.objects.of(row.installation_id).filter(
        pk=row.pk, status=EnrollmentStatus.WAITING
    )
    waiting.exclude(profile=entry.profile).update(profile=entry.profile)
    # Only ever later: a repeated event must not undo a claim or a retry's wait.
    waiting.filter(due_at__lt=entry.due_at).update(due_at=entry.due_at, step_since=entry.due_at)
    # Once something was sent, the occasion is the one that it was sent about.
    waiting.filter(path=START, branches={}, occurred_at__lt=entry.occurred_at).update(
        occurred_at=entry.occurred_at,
        subject_kind=entry.subject.kind,
        subject_saleor_id=entry.subject.id,
        context=dict(entry.context),
    )
    row.refresh_from_db()
    return row


# -- whoever waits for something ----------------------------------------------------------------------


def _wake(fact: Fact, now: datetime) -> None:
    """Make those due who wait for an order; whether it is one of theirs is looked at then."""
    if isinstance(fact, OrderChanged) and fact.order.profile is not None:
        _waiting_for(now).filter(
            installation=fact.installation,
            profile__in=fact.order.profile.person(),
            waits_for="ordered",
        ).update(due_at=now)


def wake_waiting(*, now: datetime) -> None:
    """Make those due for whom has happened what they wait for: nobody tells us of events and segments."""
    rows = _waiting_for(now).filter(journey__is_live=True).exclude(waits_for="ordered")
    speaker = Coalesce("profile__merged_into_id", "profile_id")
    for condition in rows.order_by().values_list("waits_for", flat=True).distinct():
        waiting = rows.filter(waits_for=condition).annotate(speaker=speaker)
        waiting.filter(_has_come(condition)).update(due_at=now)


def _waiting_for(now: datetime) -> QuerySet[Enrollment]:
    return Enrollment.objects.filter(status=EnrollmentStatus.WAITING, due_at__gt=now).exclude(
        waits_for=""
    )


def _has_come(condition: str) -> Q:
    """Return who has what is waited for, as `conditions.holds` sees it; it is looked at again then."""
    name, _colon, argument = condition.partition(":")
    of_person = (Q(profile=OuterRef("speaker")), Q(profile__merged_into=OuterRef("speaker")))
    if name in ("segment_entered", "segment_left"):
        members = SegmentMembership.objects.filter(
            installation=OuterRef("installation"), segment__key=argument, left_at=None
        )
        is_in = Exists(members.filter(of_person[0])) | Exists(members.filter(of_person[1]))
        return is_in if name == "segment_entered" else ~is_in
    if name not in EventType.values:
        # What a trigger adds is looked at when the time is over.
        return Q(pk__in=[])
    events = Event.objects.filter(
        installation=OuterRef("installation"), type=name, occurred_at__gt=OuterRef("occurred_at")
    )
    if name == EventType.CUSTOM:
        events = events.filter(properties__name=argument)
    return Exists(events.filter(of_person[0])) | Exists(events.filter(of_person[1]))
