"""People with stories, made by a seed: the same seed makes the same people."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime, time, timedelta
from typing import Any

from saleor_personalize.enums import ConsentState
from saleor_personalize.messaging.clocks import zone_named
from saleor_personalize.testing.simulation.stories import (
    Act,
    Person,
    Shop,
    Stories,
)

#: (time zone, country, language) and how many of a hundred people live there.
_HOMES = (
    (("Europe/Berlin", "DE", "de"), 25),
    (("Europe/Paris", "FR", "fr"), 15),
    (("Europe/Warsaw", "PL", "pl"), 10),
    (("Europe/London", "GB", "en"), 10),
    (("America/New_York", "US", "en"), 20),
    (("America/Los_Angeles", "US", "en"), 10),
    (("Asia/Tokyo", "JP", "en"), 5),
    (("Australia/Sydney", "AU", "en"), 5),
)
_CONSENTS = ((ConsentState.GRANTED, 70), (ConsentState.DENIED, 15), (None, 15))


def people(*, start: datetime, days: int, count: int, seed: int) -> Stories:
    """Return a shop and people who look around, fill carts, and sometimes buy."""
    chance = random.Random(seed)  # noqa: S311 (a story, no secret)
    shop = Shop()
    stories = Stories(start, days, shop, ())
    found = tuple(
        _person(chance, f"person-{number:04d}", stories) for number in range(1, count + 1)
    )
    return Stories(start, days, shop, found)


def _person(chance: random.Random, key: str, stories: Stories) -> Person:
    (zone, country, language) = _draw(chance, _HOMES)
    birthday = f"{chance.randint(1, 12):02d}-{chance.randint(1, 28):02d}"
    person = Person(
        key=key,
        time_zone=zone,
        country=country,
        language=language,
        first_name=key.replace("person-", "Person "),
        consent=_draw(chance, _CONSENTS),
        has_account=chance.random() < 0.8,
        birthday=birthday if chance.random() < 0.5 else "",
    )
    acts = sorted(_story(chance, person, stories), key=lambda act: act.at)
    return Person(**{**vars(person), "story": tuple(acts)})


def _draw(chance: random.Random, shares: Any) -> Any:
    values, weights = zip(*shares, strict=True)
    return chance.choices(values, weights)[0]


def _story(chance: random.Random, person: Person, stories: Stories) -> Iterator[Act]:
    """Yield what somebody does on one to four visits; a visit ends with a cart, an order, or neither."""
    products = sorted(stories.shop.products)
    for _ in range(chance.choice((1, 1, 2, 2, 3, 4))):
        day = stories.first_day + timedelta(days=chance.randrange(stories.days))
        # At waking hours, where they are.
        clock = time(chance.randint(7, 22), chance.randint(0, 59))
        local = datetime.combine(day, clock, tzinfo=zone_named(person.time_zone))
        at = local.astimezone(UTC)
        at = max(at, stories.start + timedelta(minutes=1))
        product = chance.choice(products)
        yield _act(at, "viewed", product=product, times=chance.randint(1, 3))
        at += timedelta(minutes=chance.randint(1, 9))
        if chance.random() < 0.15:
            yield _act(at, "kept", product=product)
        if chance.random() < 0.5:
            yield _act(at, "added", product=product)
            if chance.random() < 0.4:
                # At once, or only after having been reminded.
                at += timedelta(minutes=chance.choice((4, 12, 35, 90, 300, 1_500)))
                yield _act(at, "ordered", products=[product])
        if chance.random() < 0.03:
            yield _act(at + timedelta(minutes=5), "unsubscribed")


def _act(at: datetime, does: str, **options: Any) -> Act:
    return Act(at, does, options, "generated")
