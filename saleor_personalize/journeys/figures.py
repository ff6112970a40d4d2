"""What journeys do at the moment: figures for the Dashboard pages."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.contrib.postgres.expressions import ArraySubquery
from django.db.models import Count, Func, IntegerField, Min, OuterRef, Q, QuerySet

from saleor_personalize.conf import settings
from saleor_personalize.enums import EnrollmentStatus, MessageStatus
from saleor_personalize.journeys.triggers import trigger_of
from saleor_personalize.journeys.versions import built_in, definition_of
from saleor_personalize.models import Enrollment, Installation, Journey, Message

#: More of a kind are not counted: a list of journeys reads so many rows of each at most.
COUNTED = 1_000
#: So many of the newest messages of one journey tell why messages were not sent.
LOOKED_AT = 10_000


@dataclass(frozen=True)
class JourneyState:
    """`waiting` people are in it now; the first of them is due at `next_due_at`.

    `delay` is how long it waits before its first step, where its trigger has such an option.
    """

    is_live: bool
    live_at: datetime | None
    delay: timedelta
    waiting: int
    next_due_at: datetime | None


def journey_state(*, installation: Installation, key: str) -> JourneyState:
    """Return the state of one journey; one that was never switched on is not live and empty."""
    journey = Journey.objects.of(installation).filter(key=key).select_related("published").first()
    if journey is None:
        return JourneyState(
            is_live=False, live_at=None, delay=_delay(None, key), waiting=0, next_due_at=None
        )
    is_waiting = Q(status=EnrollmentStatus.WAITING)
    figures = (
        Enrollment.objects.of(installation)
        .filter(journey=journey)
        .aggregate(
            waiting=Count("pk", filter=is_waiting), next_due_at=Min("due_at", filter=is_waiting)
        )
    )
    return JourneyState(
        is_live=journey.is_live, live_at=journey.live_at, delay=_delay(journey, key), **figures
    )


def _delay(journey: Journey | None, key: str) -> timedelta:
    published = journey.published if journey is not None else None
    definition = definition_of(published) if published is not None else built_in()[key]
    found = getattr(trigger_of(definition.trigger).options, "after", None)
    return settings.ABANDONED_CHECKOUT_DELAY if found is None else found  # type: ignore[no-any-return]


@dataclass(frozen=True)
class JourneyFigures:
    """People inside now; messages sent and not sent since a moment. Each is counted up to `COUNTED`."""

    inside: int
    sent: int
    not_sent: int


def figures_of(*, installation: Installation, since: datetime) -> dict[int, JourneyFigures]:
    """Return the figures of every journey of a shop, by its primary key, in one query."""
    waiting = Enrollment.objects.of(installation).filter(
        journey=OuterRef("pk"), status=EnrollmentStatus.WAITING
    )
    messages = Message.objects.of(installation).filter(
        journey=OuterRef("pk"), decided_at__gte=since
    )
    rows = Journey.objects.of(installation).annotate(
        inside=_counted(waiting),
        sent=_counted(messages.filter(status=MessageStatus.SENT)),
        not_sent=_counted(messages.filter(status=MessageStatus.NOT_SENT)),
    )
    return {
        pk: JourneyFigures(inside, sent, not_sent)
        for pk, inside, sent, not_sent in rows.values_list("pk", "inside", "sent", "not_sent")
    }


def _counted(rows: QuerySet[Any]) -> Func:
    """Count rows up to `COUNTED`, and read no more."""
    some = ArraySubquery(rows.order_by().values("pk")[:COUNTED])
    return Func(some, function="cardinality", output_field=IntegerField())


def outcomes_of(*, journey: Journey, since: datetime) -> list[tuple[str, str, int]]:
    """Return (status, reason, count) of the newest messages of a journey since then, the most common first."""
    newest = Message.objects.of(journey.installation_id).filter(
        journey=journey, decided_at__gte=since
    )
    counts = Counter(newest.order_by("-decided_at").values_list("status", "reason")[:LOOKED_AT])
    return [(status, reason, count) for (status, reason), count in counts.most_common()]
