"""How far a shop is on its way to the first live journey, read from what is there."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

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
    """`recipe` is the journey that was chosen, "" for none; `obstacles` is what the go-live check found, if made."""

    steps: tuple[Step, ...]
    recipe: str
    obstacles: int | None

    @property
    def next(self) -> Step | None:
        """Return what has to be done next; None once a journey is live."""
        if self.is_live:
            return None
        return next((step for step in self.steps if not step.is_done), None)

    @property
    def is_live(self) -> bool:
        return any(step.key == StepKey.LIVE and step.is_done for step in self.steps)

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
    live = list(Journey.objects.of(installation).filter(is_live=True).order_by("live_at", "pk")[:1])
    chosen = noted.get(FirstStepKey.RECIPE)
    recipe = chosen.detail if chosen is not None else (live[0].key if live else "")
    runs = DryRun.objects.of(installation).filter(journey__key=recipe, status=DryRunStatus.DONE)
    run = runs.first() if recipe else None
    checked, tested = noted.get(FirstStepKey.CHECKED), noted.get(FirstStepKey.TEST_SENT)
    backfill = (
        Backfill.objects.of(installation)
        .filter(status=BackfillStatus.DONE, changed_since=None)
        .order_by("-pk")
        .first()
    )
    return FirstSteps(
        steps=(
            Step(StepKey.HISTORY, backfill is not None, backfill.finished_at if backfill else None),
            Step(StepKey.STOREFRONT, Session.objects.of(installation).exists()),
            Step(StepKey.SENDER, not _lacks_of_all(installation)),
            Step(
                StepKey.CHECKED,
                checked is not None and checked.detail == "0",
                checked.done_at if checked else None,
            ),
            Step(StepKey.RECIPE, bool(recipe), chosen.done_at if chosen else None),
            Step(StepKey.DRY_RUN, run is not None, run.finished_at if run else None),
            Step(StepKey.TEST_SENT, tested is not None, tested.done_at if tested else None),
            Step(StepKey.LIVE, bool(live), live[0].live_at if live else None),
        ),
        recipe=recipe,
        obstacles=int(checked.detail) if checked is not None else None,
    )


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
