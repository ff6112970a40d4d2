"""What a journey does at the moment: figures for its card on the Dashboard page."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Count, Min, Q

from saleor_personalize.conf import settings
from saleor_personalize.enums import EnrollmentStatus
from saleor_personalize.journeys.triggers import trigger_of
from saleor_personalize.journeys.versions import built_in, definition_of
from saleor_personalize.models import Enrollment, Installation, Journey


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
