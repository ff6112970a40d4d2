"""What staff want shown or not: which rules are in force for a question, and what they do to a list."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from saleor_personalize.catalog import queries as catalog
from saleor_personalize.catalog.queries import Offer
from saleor_personalize.enums import RuleEffect
from saleor_personalize.models import Installation, MerchandisingRule
from saleor_personalize.recommendations.asking import Asking, below

#: What a condition may speak of: about the products, and about the place and the moment.
OF_LISTS = ("product_ids", "categories", "collections", "product_types", "countries")
OF_RANGES = ("price", "margin", "stock")
OF_PRODUCTS = (
    "product_ids", "categories", "collections", "product_types", "attributes", *OF_RANGES,
)  # fmt: skip
#: Places further down differ less: a factor of 2 lifts the 11th place to the first.
_FLATTENS = 10


@dataclass(frozen=True)
class Rule:
    """A rule in force; `categories` are those it names with all below them."""

    row: MerchandisingRule
    categories: frozenset[str]

    @property
    def effect(self) -> RuleEffect:
        return RuleEffect(self.row.effect)

    def matches(self, offer: Offer, facts: Mapping[str, catalog.Facts]) -> bool:
        """Tell whether a product is one that the rule speaks of: all that it asks for holds."""
        wanted: Mapping[str, Any] = self.row.conditions
        known = facts.get(offer.product_id, catalog.NO_FACTS)
        figures = {"price": offer.price, "margin": known.margin, "stock": known.stock}
        return (
            ("product_ids" not in wanted or offer.product_id in wanted["product_ids"])
            and ("categories" not in wanted or offer.category_id in self.categories)
            and ("product_types" not in wanted or offer.product_type in wanted["product_types"])
            and (
                "collections" not in wanted
                or not set(wanted["collections"]).isdisjoint(known.collections)
            )
            and all(
                not set(each["values"]).isdisjoint(known.attributes.get(each["attribute"], ()))
                for each in wanted.get("attributes", ())
            )
            and all(_within(figures[name], wanted[name]) for name in OF_RANGES if name in wanted)
        )


def _within(figure: float | None, limits: Mapping[str, float]) -> bool:
    """What is not known is within nothing."""
    if figure is None or math.isnan(figure):
        return False
    return limits.get("at_least", -math.inf) <= figure <= limits.get("at_most", math.inf)


def in_force(asking: Asking) -> tuple[Rule, ...]:
    """Return the rules that count for a question, in their order."""
    return tuple(
        rule_of(asking.installation, row) for row in asking.shop.rules if _is_in_force(row, asking)
    )


def rule_of(installation: Installation, row: MerchandisingRule) -> Rule:
    """Return a stored rule with all categories that it speaks of."""
    named = row.conditions.get("categories", ())
    return Rule(row, frozenset(id_ for one in named for id_ in below(installation, one)))


def is_scheduled(row: MerchandisingRule, now: datetime) -> bool:
    """Tell whether a rule counts on this day."""
    months = row.conditions.get("months")
    return (
        (row.starts_at is None or row.starts_at <= now)
        and (row.ends_at is None or now < row.ends_at)
        and (not months or now.month in months)
    )


def _is_in_force(row: MerchandisingRule, asking: Asking) -> bool:
    wanted = row.conditions
    return (
        (not row.placements or asking.placement.key in row.placements)
        and (not row.channels or asking.channel_slug in row.channels)
        and is_scheduled(row, asking.now)
        and (
            not wanted.get("countries")
            or asking.country_code in {country.upper() for country in wanted["countries"]}
        )
        and all(
            asking.situation.get(name) in values
            for name, values in wanted.get("situation", {}).items()
        )
    )


def facts_for(
    rules: Iterable[Rule], asking: Asking, ids: Sequence[str]
) -> Mapping[str, catalog.Facts]:
    """Read what the rules ask about products beyond their offers; nothing when none does."""
    names = {name for rule in rules for name in rule.row.conditions}
    if not ids or names.isdisjoint({"collections", "attributes", "margin", "stock"}):
        return {}
    return asking.ahead.facts(ids)


def of_effect(rules: Iterable[Rule], *effects: RuleEffect) -> tuple[Rule, ...]:
    return tuple(rule for rule in rules if rule.effect in effects)


def weights(
    rules: Iterable[Rule], offers: Sequence[Offer], facts: Mapping[str, catalog.Facts]
) -> list[float]:
    """Return what each place of a list is worth after boosting and burying: higher is further up."""
    moving = of_effect(rules, RuleEffect.BOOST, RuleEffect.BURY)
    worth = []
    for place, offer in enumerate(offers):
        value = 1 / (place + _FLATTENS)
        for rule in moving:
            if rule.matches(offer, facts):
                is_boost = rule.effect is RuleEffect.BOOST
                value *= rule.row.factor if is_boost else 1 / rule.row.factor
        worth.append(value)
    return worth
