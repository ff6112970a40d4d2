"""A trigger for tests: people come in when a test says so, and what speaks against a step is set by it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, ClassVar

from saleor_personalize.enums import NotSentReason
from saleor_personalize.journeys import operations as journeys
from saleor_personalize.journeys.definitions import Definition, parse
from saleor_personalize.journeys.triggers import (
    Content,
    Entry,
    Go,
    Live,
    Stop,
    Subject,
    Trigger,
    Verdict,
    trigger_of,
)
from saleor_personalize.journeys.versions import definition_of, known
from saleor_personalize.models import Enrollment, Installation, Journey, Profile
from tests.conftest import NOW


@dataclass(frozen=True)
class Options:
    after: timedelta = timedelta(hours=1)


class Signal(Trigger):
    key = "signal"
    Options: ClassVar[type] = Options
    follows_order = True
    conditions: ClassVar[dict[str, NotSentReason]] = {"sold_out": NotSentReason.CHECKOUT_EMPTY}
    #: ids of objects that are over
    over: ClassVar[set[str]] = set()
    entries: ClassVar[list[Entry]] = []

    def due(self, *, installation: Installation, since: datetime, now: datetime) -> Iterable[Entry]:
        return [entry for entry in self.entries if since < entry.occurred_at <= now]

    def holds(self, condition: str, enrollment: Enrollment, now: datetime) -> bool:
        return enrollment.subject_saleor_id in self.over

    def judge(self, enrollment: Enrollment, live: Live | None, now: datetime) -> Verdict:
        return Stop(NotSentReason.TOO_LATE) if enrollment.context.get("stop") else Go()

    def content(self, enrollment: Enrollment, live: Live, now: datetime) -> Content:
        shown = {"cart_url": "https://store.test/", "lines": [], "other_carts": []}
        return Content(context=shown, kept={"object": enrollment.subject_saleor_id})


class Browsed(Signal):
    key = "browsed"
    family = "abandonment"
    significance = 10


class Viewed(Signal):
    key = "viewed"
    family = "abandonment"
    significance = 5


MESSAGE = {"message": {"id": "first", "template": "abandoned_checkout"}}


def message(id_: str, **more: Any) -> dict[str, Any]:
    return {"message": {"id": id_, "template": "abandoned_checkout", **more}}


def publish(
    installation: Installation,
    *steps: Any,
    key: str = "test",
    trigger: str = "signal",
    live_at: datetime = NOW - timedelta(days=1),
    **more: Any,
) -> Journey:
    """Publish a journey of these steps, and switch it on."""
    definition = parse(
        {
            "journey": key,
            "topic": "reminders",
            "trigger": {"type": trigger},
            "steps": list(steps),
            **more,
        },
        known=known(),
    )
    version = journeys.publish(
        installation=installation,
        definition=definition,
        source="file",  # type: ignore[arg-type]
        now=NOW,
    )
    journey = Journey.objects.select_related("published", "installation").get(pk=version.journey_id)
    return journeys.go_live(journey=journey, now=live_at)


def come_in(
    journey: Journey,
    profile: Profile,
    id_: str = "object-1",
    *,
    at: datetime = NOW,
    due: timedelta = timedelta(0),
    **context: Any,
) -> Enrollment | None:
    journey = Journey.objects.select_related("published", "installation").get(pk=journey.pk)
    definition: Definition = definition_of(journey.published)  # type: ignore[arg-type]
    entry = Entry(profile, Subject("thing", id_), at, at + due, context)
    return journeys.enter(
        journey=journey,
        definition=definition,
        trigger=trigger_of(definition.trigger),
        entry=entry,
        now=at,
    )
