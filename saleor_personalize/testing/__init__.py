"""For tests of shops and of this package: contracts, a made-up Saleor, the time machine.

Nothing is imported before it is used: settings of tests import from here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from saleor_personalize.testing.simulation.outcome import Simulation


def simulate(
    journeys: Iterable[str | Path] | str | Path,
    *,
    people: Path | str | Mapping[str, Any] | None = None,
    days: int | None = None,
    start: datetime | date | None = None,
    seed: int = 0,
    count: int = 200,
    answer: Callable[[Any], Any] | None = None,
) -> Simulation:
    """Run people through journeys with a simulated clock; return who got what, when, and why not.

    In pytest, with `@pytest.mark.django_db`: it runs on the test database, which must hold no shop, and
    leaves it empty. Your own triggers, templates and settings are used. Nothing is sent, and no Saleor is
    asked.

    `journeys`: files of definitions, keys of built-in ones, or YAML itself. `people`: a file of stories,
    its text or its value (docs/reference/stories.md); None: `count` people made up by `seed`. `days` (30)
    and `start` (today) go before what the stories say; `start` is when day 1 begins. `answer` is asked
    before the made-up Saleor what the shop says to a question of a trigger; None leaves it to that.

        found = simulate("journeys/abandoned_checkout.yaml", people="stories.yaml")
        assert found.sent("anna") == ["abandoned_checkout/first"]
        found.check()  # what `expect` says

    Raises SimulationRefused, or InvalidStories with every fault.
    """
    from saleor_personalize.testing.simulation import running

    return running.simulate(
        journeys,
        people=people,
        days=days,
        start=start,
        seed=seed,
        count=count,
        answer=answer,
    )
