"""How far a shop is on its way to the first live journey, read from what is there."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from django.db.models import Q

from saleor_personalize.conf import settings
from saleor_personalize.enums import BackfillStatus, DeliveryChannel, DryRunStatus, FirstStepKey
from saleor_personalize.journeys import definitions
from saleor_personalize.journeys.definitions import Definition
from saleor_personalize.messaging.links import CHECKOUT_PLACEHOLDER
from saleor_personalize.messaging.operations import sender_of
from saleor_personalize.models import (
    Backfill,
    DryRun,
    FirstStep,
    Installation,
    Journey,
    Session,
)


class StepKey(StrEnum):
    """The first steps, in the order in which they are shown."""

    HISTORY = "history"
    STOREFRONT = "storefront"
    SENDER = "sender"
    CHECKED = "checked"
    RECIPE = "recipe"
    DRY_RUN = "dry_run"
    TEST_SENT = "test_sent"
    LIVE = "live"


#: Without these a journey works as well, only with less to go by.
OPTIONAL = frozenset({StepKey.STOREFRONT, StepKey.CHECKED, StepKey.DRY_RUN, StepKey.TEST_SENT})


class Lack(StrEnum):
    """What a journey cannot do without and the shop has not set."""

    SENDER = "sender"
    CART_LINK = "cart_link"


@dataclass(frozen=True)
class Step:
    """`done_at` is known of some only."""

    key: StepKey
    is_done: bool
    done_at: datetime | None = None

    @property
    def is_optional(self) -> bool:
        return self.key in OPTIONAL


@dataclass(frozen=True)
class FirstSteps:
    """`recipe` is the journey that was chosen, "" for none; `obstacles` is what the go-live check found, if made.

    `is_live`: a journey is, be it that one or another.
    """

    steps: tuple[Step, ...]
    recipe: str
    obstacles: int | None
    is_live: bool

    @property
    def is_recipe_live(self) -> bool:
        return any(step.key == StepKey.LIVE and step.is_done for step in self.steps)

    @property
    def next(self) -> Step | None:
        """Return what has to be done next; None once a journey is live."""
        if self.is_live:
            return None
        return next((step for step in self.steps if not step.is_done), None)

    @property
    def done(self) -> int:
        return sum(step.is_done for step in self.steps)


def last_check(*, installation: Installation) -> tuple[int, datetime] | None:
    """Return how many obstacles the last go-live check found, and when it was made; None: it never was."""
    row = FirstStep.objects.of(installation).filter(key=FirstStepKey.CHECKED).first()
    return (int(row.detail or 0), row.done_at) if row is not None else None


def first_steps(*, installation: Installation) -> FirstSteps:
    """Return every step and whether it is done. Reads some rows by index, however large the shop."""
    noted = {row.key: row for row in FirstStep.objects.of(installation)}
    chosen = noted.get(FirstStepKey.RECIPE)
    rows = Journey.objects.of(installation).filter(
        Q(is_live=True) | Q(key=chosen.detail if chosen else "")
    )
    journeys = {row.key: row for row in rows.order_by("live_at", "pk")}
    live = [row for row in journeys.values() if row.is_live]
    recipe = chosen.detail if chosen is not None else (live[0].key if live else "")
    journey = journeys.get(recipe)
    runs = DryRun.objects.of(installation).filter(journey__key=recipe, status=DryRunStatus.DONE)
    run = runs.first() if recipe else None
    checked = noted.get(FirstStepKey.CHECKED)
    backfill = (
        Backfill.objects.of(installation)
        .filter(status=BackfillStatus.DONE, changed_since=None)
        .order_by("-pk")
        .first()
    )
    return FirstSteps(
        steps=(
            Step(StepKey.HISTORY, backfill is not None, backfill.finished_at if backfill else None),
            Step(StepKey.STOREFRONT, _has_storefront(installation)),
            Step(StepKey.SENDER, not _lacks_of_all(installation)),
            Step(
                StepKey.CHECKED,
                checked is not None and checked.detail == "0",
                checked.done_at if checked else None,
            ),
            Step(StepKey.RECIPE, bool(recipe), chosen.done_at if chosen else None),
            Step(StepKey.DRY_RUN, run is not None, run.finished_at if run else None),
            _of_journey(StepKey.TEST_SENT, journey.tested_at if journey else None),
            _of_journey(StepKey.LIVE, journey.live_at if journey and journey.is_live else None),
        ),
        recipe=recipe,
        obstacles=int(checked.detail) if checked is not None else None,
        is_live=bool(live),
    )


def _of_journey(key: StepKey, at: datetime | None) -> Step:
    """Return a step that only the chosen journey takes."""
    return Step(key, at is not None, at)


def _has_storefront(installation: Installation) -> bool:
    """Tell whether a storefront was set and tells of visits; what an import brought is none."""
    is_set = bool(installation.storefront_origins or settings.STOREFRONT_ORIGINS)
    return is_set and Session.objects.of(installation).exists()


def lacks(*, installation: Installation, definition: Definition) -> set[Lack]:
    """Return what keeps a journey of this definition from saying anything."""
    ways = definitions.delivery_channels_of(definition, [DeliveryChannel.EMAIL.value])
    needed = {Lack.SENDER} if DeliveryChannel.EMAIL in ways else set()
    if definition.trigger.type == "abandoned_checkout":
        needed.add(Lack.CART_LINK)
    return needed & _lacks_of_all(installation)


def _lacks_of_all(installation: Installation) -> set[Lack]:
    pattern = installation.checkout_url or settings.CHECKOUT_URL or ""
    found = set() if sender_of(installation) else {Lack.SENDER}
    return found if CHECKOUT_PLACEHOLDER in pattern else found | {Lack.CART_LINK}
