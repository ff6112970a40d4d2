"""D8: random questions to a shop that keeps changing; nothing wrong is ever shown, and nothing is empty.

The suite asks a thousand times; `make bench-right` asks 100,000.
"""

from __future__ import annotations

import os
import random
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from saleor_personalize.conf import settings as ours
from saleor_personalize.enums import EventSource, EventType
from saleor_personalize.models import (
    Category,
    Checkout,
    Event,
    Installation,
    Product,
    ProductListing,
    Profile,
)
from saleor_personalize.recommendations import merchandising, service, training
from saleor_personalize.recommendations.service import Question, Recommendation
from tests.catalogue import Catalogue, gid
from tests.conftest import make_profile

CALLS = int(os.environ.get("RIGHT_PRODUCTS_CALLS", "1000"))
CHANNELS = ("us", "pl")
CATEGORIES = ("Phones", "Cases", "Chargers", "Lamps", "Light")
WORDS = "oak desk lamp phone case blue mini bright cable stand".split()  # noqa: SIM905
HIDDEN: tuple[dict[str, Any], ...] = (
    {"is_published": False},
    {"is_visible_in_listings": False},
    {"available_for_purchase_at": None},
    {"is_in_stock": False},
    {"published_at": timedelta(days=1)},
    {"available_for_purchase_at": timedelta(days=1)},
)


@dataclass
class World:
    """A shop, its people, and what is known to be right about both."""

    installation: Installation
    now: datetime
    dice: random.Random
    products: list[str] = field(default_factory=list)
    listings: dict[tuple[str, str], ProductListing] = field(default_factory=dict)
    carts: list[Checkout] = field(default_factory=list)
    people: list[Profile] = field(default_factory=list)
    bought: dict[int, set[str]] = field(default_factory=dict)
    viewed: dict[int, set[str]] = field(default_factory=dict)
    excluded: set[str] = field(default_factory=set)
    names: dict[str, str] = field(default_factory=dict)

    def sold(self, channel: str) -> set[str]:
        return {
            product
            for (product, slug), row in self.listings.items()
            if slug == channel
            and row.is_published
            and row.is_visible_in_listings
            and row.is_in_stock
            and (row.published_at is None or row.published_at <= self.now)
            and row.available_for_purchase_at is not None
            and row.available_for_purchase_at <= self.now
        }

    def change(self) -> None:
        """Something in the catalogue changes, as a webhook would tell it."""
        row = self.dice.choice(list(self.listings.values()))
        shown = {
            "is_published": True, "is_visible_in_listings": True, "is_in_stock": True,
            "published_at": self.now - timedelta(days=9),
            "available_for_purchase_at": self.now - timedelta(days=9),
        }  # fmt: skip
        values = shown if self.dice.random() < 0.6 else self.dice.choice(HIDDEN)
        for name, value in values.items():
            setattr(row, name, self.now + value if isinstance(value, timedelta) else value)
        row.save()


@pytest.fixture
def world(installation: Installation, now: datetime, settings: Any, tmp_path: Path) -> World:
    settings.SALEOR_PERSONALIZE = {
        **settings.SALEOR_PERSONALIZE,
        "MODEL_DIRECTORY": str(tmp_path / "models"),
    }
    service.forget()
    dice = random.Random(8)  # noqa: S311
    world = World(installation, now, dice)
    catalogue = Catalogue(installation, now)
    for slug in CHANNELS:
        catalogue.channel(slug)
    for name in CATEGORIES:
        catalogue.category(name)
    Category.objects.filter(name="Lamps").update(parent_saleor_id=gid("Category", "Light"))
    for number in range(60):
        name = " ".join(dice.sample(WORDS, 3))
        channels = tuple(dice.sample(CHANNELS, dice.choice((1, 2, 2))))
        price = dice.choice(("5", "10", "11", "13", "20", None))
        id_ = catalogue.product(
            number, name, category=dice.choice(CATEGORIES), channels=channels, price=price
        )
        world.products.append(id_)
        world.names[id_] = name
    for row in Product.objects.of(installation):
        row.product_type = dice.choice(("Thing", "Tool", "Gift"))
        row.attributes = [
            {"attribute": "brand", "values": [dice.choice(("Acme", "Ajax"))]},
            {
                "attribute": "related-products",
                "values": [],
                "references": dice.sample(world.products, dice.choice((0, 0, 2))),
            },
        ]
        row.save()
    for row in ProductListing.objects.of(installation):
        world.listings[row.product_saleor_id, row.channel_slug] = row
    for number in range(8):
        profile = make_profile(installation, anonymous_id=f"visitor-{number}-0123456789")
        world.people.append(profile)
        world.bought[profile.pk], world.viewed[profile.pk] = set(), set()
        for place, product in enumerate(dice.sample(world.products, 6)):
            Event.objects.create(
                installation=installation, profile=profile, event_id=f"{number}-{place}",
                type=EventType.PRODUCT_VIEWED, occurred_at=now - timedelta(minutes=3 * place),
                received_at=now, source=EventSource.STOREFRONT, channel_slug="us",
                product_saleor_id=product,
            )  # fmt: skip
            world.viewed[profile.pk].add(product)
        for days in (1, 29, 31, 62):
            some = dice.sample(world.products, 3)
            catalogue.order(*some, profile=profile, user_id="VXNlcjox", days_ago=days)
            if days < 30:
                world.bought[profile.pk].update(some)
        some = dice.sample(world.products, dice.randint(1, 4))
        world.carts.append(catalogue.checkout(*some, profile=profile))
    for _ in range(120):
        catalogue.order(
            *dice.sample(world.products, dice.randint(1, 4)), channel=dice.choice(CHANNELS),
            days_ago=dice.choice((2, 20, 90)),
        )  # fmt: skip
    world.excluded = set(dice.sample(world.products, 2))
    for effect, conditions, extra in (
        ("exclude", {"product_ids": sorted(world.excluded)}, {}),
        ("pin", {"product_ids": [*sorted(world.excluded), *world.products[:3]]}, {"slot": 2}),
        ("boost", {"categories": [gid("Category", "Light")]}, {"factor": 3}),
        ("bury", {"attributes": [{"attribute": "brand", "values": ["Ajax"]}]}, {"factor": 3}),
        ("include", {"product_types": ["Gift"], "countries": ["NO"]}, {}),
    ):
        merchandising.create_rule(
            installation=installation, now=now, name=effect, effect=effect, conditions=conditions,
            **extra,
        )  # fmt: skip
    training.train(installation=installation, now=now)
    service.forget()
    return world


@pytest.mark.timeout(max(180, CALLS // 5))
def test_d8_nothing_wrong_is_ever_shown_and_no_block_is_empty(world: World) -> None:
    dice, placements = world.dice, sorted(ours.PLACEMENTS)
    for number in range(CALLS):
        if number % 25 == 0:
            world.change()
        channel = dice.choice(CHANNELS)
        profile = dice.choice([None, *world.people])
        cart = dice.choice([None, None, *world.carts])
        question = Question(
            product_id=dice.choice([None, "unknown", *world.products]),
            product_ids=tuple(dice.sample(world.products, dice.choice((0, 0, 0, 2)))),
            checkout_id=cart.saleor_id if cart else None,
            category_id=dice.choice([None, *(gid("Category", name) for name in CATEGORIES)]),
            query=dice.choice([None, "", *WORDS]),
            country_code=dice.choice([None, "NO", "FR"]),
            hidden=tuple(dice.sample(world.products, dice.choice((0, 0, 5)))),
        )
        first = dice.choice((1, 4, 10, 100))
        asked: dict[str, Any] = {
            "installation": world.installation,
            "channel_slug": channel,
            "now": world.now,
            "profile": profile,
            "first": first,
        }
        never = {question.product_id, *question.product_ids, *question.hidden}
        never |= {line["product_id"] for line in cart.lines} if cart else set()
        if number % 10 == 0:
            blocks = service.recommend_page(
                placements=dice.sample(placements, 3), question=question, **asked
            )
            shown = [row.product_id for rows in blocks.values() for row in rows]
            assert len(shown) == len(set(shown))
        else:
            key = dice.choice(placements)
            blocks = {
                key: service.recommend(placement=key, **service.as_keywords(question), **asked)
            }
        allowed = world.sold(channel) - never - world.excluded
        for key, rows in blocks.items():
            check(world, key, rows, profile, allowed)
            if len(blocks) == 1:
                just = world.bought[profile.pk] if profile else set()
                there = allowed - just
                if question.country_code != "NO":
                    assert min(first, len(there)) <= len(rows) <= first
                assert bool(rows) == bool(allowed - just) or key == "buy_again"


def check(
    world: World, key: str, rows: list[Recommendation], profile: Profile | None, allowed: set[str]
) -> None:
    ids = [row.product_id for row in rows]
    assert len(ids) == len(set(ids))
    assert [row.slot for row in rows] == list(range(1, len(rows) + 1))
    assert set(ids) <= allowed, key
    just_bought = world.bought[profile.pk] if profile else set()
    for row in rows:
        assert row.strategy
        assert row.reason_text
        assert row.product_id not in just_bought or row.strategy == "due_again"
        if row.reason_code == "because_viewed":
            assert profile is not None
            seen = {world.names[id_] for id_ in world.viewed[profile.pk]}
            assert row.reason_text.removeprefix("Because you looked at ") in seen
