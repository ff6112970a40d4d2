"""What journeys do at the moment: figures for the Dashboard pages."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.contrib.postgres.expressions import ArraySubquery
from django.db.models import Count, Min, OuterRef

from saleor_personalize.conf import settings
from saleor_personalize.enums import EnrollmentStatus, MessageStatus
from saleor_personalize.journeys.definitions import Definition, delivery_channels_of
from saleor_personalize.journeys.triggers import trigger_of
from saleor_personalize.journeys.versions import built_in, definition_of, delivery_channels
from saleor_personalize.models import Enrollment, Installation, Journey, Message

#: A list of journeys reads so many people and messages of each at most.
COUNTED = 1_000
#: So many of the newest messages of one journey tell why messages were not sent.
LOOKED_AT = 10_000


@dataclass(frozen=True)
class JourneyState:
    """`waiting` people are in it now; the first of them is due at `next_due_at`.

    `delay` is how long it waits before its first step, where its trigger has such an option;
    `delivery_channels` are those that it may write over.
    """

    is_live: bool
    live_at: datetime | None
    delay: timedelta
    delivery_channels: set[str]
    waiting: int
    next_due_at: datetime | None


def journey_state(*, installation: Installation, key: str) -> JourneyState:
    """Return the state of one journey; one that was never switched on is not live and empty."""
    journey = Journey.objects.of(installation).filter(key=key).select_related("published").first()
    published = journey.published if journey is not None else None
    definition = definition_of(published) if published is not None else built_in()[key]
    ways = delivery_channels_of(definition, delivery_channels())
    if journey is None:
        return JourneyState(
            is_live=False,
            live_at=None,
            delay=_delay(definition),
            delivery_channels=ways,
            waiting=0,
            next_due_at=None,
        )
    waiting = Enrollment.objects.of(installation).filter(
        journey=journey, status=EnrollmentStatus.WAITING
    )
    figures = waiting.aggregate(waiting=Count("*"), next_due_at=Min("due_at"))
    return JourneyState(
        is_live=journey.is_live,
        live_at=journey.live_at,
        delay=_delay(definition),
        delivery_channels=ways,
        **figures,
    )


def _delay(definition: Definition) -> timedelta:
    found = getattr(trigger_of(definition.trigger).options, "after", None)
    return settings.ABANDONED_CHECKOUT_DELAY if found is None else found  # type: ignore[no-any-return]


@dataclass(frozen=True)
class JourneyFigures:
    """People inside now, counted up to `COUNTED`; of the newest `COUNTED` messages those sent and not sent."""

    inside: int
    sent: int
    not_sent: int
    #: There are more messages than were looked at.
    is_cut: bool


def figures_of(*, installation: Installation, since: datetime) -> dict[int, JourneyFigures]:
    """Return the figures of every journey of a shop since a moment, by its primary key, in one query."""
    waiting = Enrollment.objects.of(installation).filter(
        journey=OuterRef("pk"), status=EnrollmentStatus.WAITING
    )
    messages = Message.objects.of(installation).filter(
        journey=OuterRef("pk"), decided_at__gte=since
    )
    rows = Journey.objects.of(installation).annotate(
        people=ArraySubquery(waiting.values("pk")[:COUNTED]),
        statuses=ArraySubquery(messages.order_by("-decided_at").values("status")[:COUNTED]),
    )
    return {
        pk: JourneyFigures(
            inside=len(people),
            sent=statuses.count(MessageStatus.SENT),
            not_sent=statuses.count(MessageStatus.NOT_SENT),
            is_cut=len(statuses) >= COUNTED,
        )
        for pk, people, statuses in rows.values_list("pk", "people", "statuses")
    }


def outcomes_of(*, journey: Journey, since: datetime) -> list[tuple[str, str, str, int]]:
    """Return (status, reason, delivery channel, count) of the newest messages of a journey since then.

    The most common comes first.
    """
    newest = Message.objects.of(journey.installation_id).filter(
        journey=journey, decided_at__gte=since
    )
    fields = newest.values_list("status", "reason", "delivery_channel")
    counts = Counter(fields.order_by("-decided_at")[:LOOKED_AT])
    return [(*each, count) for each, count in counts.most_common()]
