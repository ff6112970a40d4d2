"""Moves journeys through time, from one moment at which something can happen to the next.

Everything that decides is the real thing: entering, scheduler, arbitration, guards, offers, triggers.
Only the clock is moved, and what is beyond our tables is replaced (`outside.Outside`). Nobody may run
this where workers run: it decides about everybody in the database.

How exact it is. Somebody who is due is decided about at that very moment; workers take up to ten
seconds more. What happens is recorded at its moment, as by a webhook that comes at once. Whom time
alone brings in is looked for every ten minutes (`entering.LOOK_EVERY`), counted from the start, as beat
does: looks that would change nothing are found out by looking ahead in a transaction that is rolled
back, and left out.
"""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from django.db import transaction
from django.db.models import Count, F, Max, Min, Sum
from django.db.models.functions import Extract

from saleor_personalize.enums import EnrollmentStatus
from saleor_personalize.journeys import definitions, entering, scheduler
from saleor_personalize.journeys.definitions import Definition
from saleor_personalize.journeys.outside import Outside
from saleor_personalize.journeys.triggers import Trigger, known_triggers
from saleor_personalize.journeys.versions import definition_of
from saleor_personalize.models import Enrollment, Journey
from saleor_personalize.offers import operations as offers

#: How far is looked ahead at once.
HORIZON = timedelta(days=1)
_NEVER = datetime.max.replace(tzinfo=UTC)
#: More decisions at one moment than this are a loop.
_MOST_AT_ONCE = 1_000_000


@dataclass(order=True)
class Happening:
    """Something that happens in the shop at a moment; `do` records it, through the doors of the rooms."""

    at: datetime
    number: int
    do: Callable[[datetime], None] = field(compare=False)


class TimeMachine:
    """One run through time.

    `before` is told of each moment before anything happens there, `after` once all is decided there;
    `before_look` brings up to date what triggers look at (segments, traits), at a moment.
    """

    def __init__(
        self,
        *,
        outside: Outside,
        before: Callable[[datetime], None] = lambda now: None,
        before_look: Callable[[datetime], None] = lambda now: None,
        after: Callable[[datetime], None] = lambda now: None,
    ) -> None:
        self._outside = outside
        self._before = before
        self._before_look = before_look
        self._after = after
        self._happenings: list[Happening] = []
        self._numbers = itertools.count()
        self._has_waits = False

    def plan(self, at: datetime, do: Callable[[datetime], None]) -> None:
        """Let something happen at a moment. May be called while the machine runs, for later moments."""
        heapq.heappush(self._happenings, Happening(at, next(self._numbers), do))

    def run(self, start: datetime, end: datetime) -> None:
        """Go from `start` up to and including `end`."""
        looks = _Looks(start, self._before_look)
        self._has_waits = any(map(_waits_for_something, _live_definitions()))
        while True:
            moments = [self._happenings[0].at] if self._happenings else []
            moments += [at for at in [_next_due()] if at is not None]
            look_at = looks.next_at(until=min([*moments, end]))
            moments += [] if look_at is None else [look_at]
            now = max(min(moments, default=_NEVER), start)
            if now > end:
                return
            self._before(now)
            looks.pass_by(now)
            self._happen(now, looks)
            if looks.is_due(now):
                looks.look(now)
            if self._decide(now):
                looks.something_changed(now)
            self._after(now)

    def _happen(self, now: datetime, looks: _Looks) -> None:
        while self._happenings and self._happenings[0].at <= now:
            heapq.heappop(self._happenings).do(now)
            looks.something_changed(now)
            if self._has_waits:
                self._before_look(now)
                entering.wake_waiting(now=now)

    def _decide(self, now: datetime) -> int:
        taken = scheduler.advance_due(now=now, limit=_MOST_AT_ONCE, outside=self._outside)
        if taken:
            offers.sweep(now=now, connect=self._outside.connect)
        return taken


def _next_due() -> datetime | None:
    rows = Enrollment.objects.filter(
        status=EnrollmentStatus.WAITING,
        journey__is_live=True,
        installation__sends_stopped_at=None,
    )
    found: datetime | None = rows.aggregate(at=Min("due_at"))["at"]
    return found


class _Looks:
    """When it is looked for whom time alone brings in: on a grid of LOOK_EVERY, where that changes anything."""

    def __init__(self, start: datetime, before_look: Callable[[datetime], None]) -> None:
        self._start = start
        self._before_look = before_look
        #: Up to this tick looks are known to change nothing, as far as is known now.
        self._quiet_until = start
        self._next: datetime | None = start
        known = known_triggers()
        self._is_needed = any(
            _looks_by_itself(known[definition.trigger.type]) for definition in _live_definitions()
        )

    def next_at(self, *, until: datetime) -> datetime | None:
        """Return the first tick up to then at which a look changes something; None: there is none."""
        if self._is_needed and self._next is None:
            self._next = self._search(until)
        return self._next if self._is_needed else None

    def is_due(self, now: datetime) -> bool:
        return self._is_needed and self._next is not None and self._next <= now

    def pass_by(self, now: datetime) -> None:
        """Let the ticks before a moment, at which nothing changed, be over."""
        if self._is_needed:
            tick = self._before(now)
            Journey.objects.filter(is_live=True, looked_at__lt=tick).update(looked_at=tick)

    def something_changed(self, now: datetime) -> None:
        """What is known of ticks from this moment on no longer holds."""
        self._quiet_until = max(self._before(now), self._start)
        if self._next is not None and self._next > now:
            self._next = None

    def look(self, now: datetime) -> None:
        self._before_look(now)
        entering.enter_due(now=now)
        self._quiet_until = now
        self._next = None

    def _search(self, until: datetime) -> datetime | None:
        """Return the first tick at which a look changes something; None: none does up to `until`."""
        while self._quiet_until + entering.LOOK_EVERY <= until:
            low = self._quiet_until
            high = min(self._before_or_at(until), low + HORIZON)
            if not self._changes_something(high):
                self._quiet_until = high
                continue
            while high - low > entering.LOOK_EVERY:
                middle = self._before_or_at(low + (high - low) / 2)
                if self._changes_something(middle):
                    high = middle
                else:
                    low = self._quiet_until = middle
            return high
        return None

    def _changes_something(self, at: datetime) -> bool:
        with transaction.atomic():
            before = _fingerprint()
            self._before_look(at)
            entering.enter_due(now=at)
            changed = _fingerprint() != before
            transaction.set_rollback(True)
        return changed

    def _before(self, moment: datetime) -> datetime:
        return self._before_or_at(moment - timedelta(microseconds=1))

    def _before_or_at(self, moment: datetime) -> datetime:
        steps = (moment - self._start) // entering.LOOK_EVERY
        return self._start + steps * entering.LOOK_EVERY


def _live_definitions() -> Iterable[Definition]:
    for journey in Journey.objects.filter(is_live=True).select_related("published"):
        if journey.published is not None:
            yield definition_of(journey.published)


def _waits_for_something(definition: Definition) -> bool:
    return any(
        isinstance(step, definitions.WaitFor) for _path, step in definitions.walk(definition)
    )


def _looks_by_itself(trigger: type[Trigger]) -> bool:
    return trigger.due is not Trigger.due


def _fingerprint() -> tuple[object, ...]:
    """Return what changes whenever somebody came in, waits anew or left."""
    found = Enrollment.objects.aggregate(
        count=Count("pk"),
        newest=Max("pk"),
        due=Sum(Extract(F("due_at"), "epoch")),
        occurred=Sum(Extract(F("occurred_at"), "epoch")),
    )
    return tuple(found.values())
