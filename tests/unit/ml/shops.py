"""Made-up shops whose right answers are known by construction."""

from __future__ import annotations

from saleor_personalize.ml import Interactions, Items, Recommender
from saleor_personalize.ml.recommenders.content import Similar
from saleor_personalize.ml.recommenders.covisitation import BoughtTogether
from saleor_personalize.ml.recommenders.newest import Newest
from saleor_personalize.ml.recommenders.next_item import NextItem
from saleor_personalize.ml.recommenders.personal import Personal
from saleor_personalize.ml.recommenders.popularity import (
    Popular,
    RecentPopular,
    Trending,
)
from saleor_personalize.ml.recommenders.sequential import Sequential
from saleor_personalize.ml.recommenders.session import Session

DAY = 86_400.0
NOTHING = Interactions.of(visitor_id=[], item_id=[], event=[], timestamp=[])

RECOMMENDERS: list[type[Recommender]] = [
    Popular,
    BoughtTogether,
    Similar,
    Newest,
    Session,
    Sequential,
    NextItem,
    Personal,
    RecentPopular,
    Trending,
]


def orders(*baskets: str, spacing: float = 0.0) -> Interactions:
    """One order per string, one item per letter, `spacing` seconds apart."""
    rows = [(number, item) for number, basket in enumerate(baskets) for item in basket]
    return Interactions.of(
        visitor_id=[f"visitor-{number}" for number, _ in rows],
        item_id=[item for _, item in rows],
        event=["purchase"] * len(rows),
        timestamp=[1e9 + number * spacing for number, _ in rows],
        order_id=[f"order-{number}" for number, _ in rows],
    )


def catalogue(ids: str) -> Items:
    """One item per letter, the later the newer; a, c, e ... are shirts, b, d, f ... are lamps."""
    return Items.of(
        list(ids),
        created_at=[float(ord(item)) for item in ids],
        name=["linen shirt" if ord(item) % 2 else "desk lamp" for item in ids],
    )


def checkerboard() -> tuple[Interactions, Items]:
    """White squares are only ever bought with white ones, black with black."""
    return orders("ace", "bdf", "aceg", "bdfh", "eg", "fh"), catalogue("abcdefgh")
