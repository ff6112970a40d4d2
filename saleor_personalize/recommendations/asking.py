"""One question to the recommendations: where, for whom, about what; and what must not be shown."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any

from saleor_personalize.catalog import queries as catalog
from saleor_personalize.catalog.queries import Offer
from saleor_personalize.ml import Context
from saleor_personalize.models import Installation
from saleor_personalize.recommendations.ahead import Ahead
from saleor_personalize.recommendations.history import NOTHING, History
from saleor_personalize.recommendations.placements import Options, Placement, Shop
from saleor_personalize.recommendations.remembered import Remembered

_trees: Remembered[Mapping[str, Sequence[str]]] = Remembered(seconds=60)


@dataclass(frozen=True)
class Asking:
    """All that sources, filters and rules look at.

    `seeds` are the products of the page and of the cart, `hidden` whatever else must not be shown.
    `until` is the moment up to which things are known: now, or when the first page was asked for.
    """

    installation: Installation
    shop: Shop
    placement: Placement
    channel_slug: str
    now: datetime
    until: datetime
    ahead: Ahead
    seeds: tuple[str, ...] = ()
    page_products: tuple[str, ...] = ()
    category_id: str = ""
    query: str = ""
    country_code: str = ""
    situation: Mapping[str, str] = field(default_factory=dict)
    history: History = NOTHING
    hidden: frozenset[str] = frozenset()
    #: Bought after `until`: not shown, and yet in its place, so that the pages of a list stay in step.
    bought_since: frozenset[str] = frozenset()
    count: int = 10
    #: Whether the constraints of the placement bind whatever fills it, too.
    is_strict: bool = False

    @property
    def options(self) -> Options:
        return self.placement.options

    def offers(self, ids: Sequence[str]) -> dict[str, Offer]:
        """Return those of `ids` that may be recommended here and now, with what they are."""
        return self.ahead.offers(ids)

    def newest(
        self, count: int, hidden: frozenset[str] | set[str], **conditions: object
    ) -> list[Offer]:
        """Return what may be recommended straight from the catalogue (`catalog.newest_offers`)."""
        return self.ahead.newest(
            until=self.until, count=count, hidden=hidden, conditions=conditions
        )

    def references(self) -> Mapping[str, Any]:
        """Return what the products of the page and the cart refer to."""
        return self.ahead.references(self.seeds)

    @cached_property
    def never(self) -> frozenset[str]:
        """What is not shown, whoever suggests it."""
        return self.hidden.union(self.seeds)

    @cached_property
    def sunk(self) -> frozenset[str]:
        """What is shown only when nothing else is left: seen too often, or at hand anyway."""
        if not self.options.is_rotated:
            return frozenset()
        if "search" in self.placement.recommenders:
            # Whoever searches for what is in the cart wants to find it.
            return self.history.worn
        return self.history.worn | self.history.at_hand(self.until)

    @cached_property
    def about_seeds(self) -> Context:
        """What goes with the products of the page or the cart."""
        return self._context(self.seeds)

    @cached_property
    def about_person(self) -> Context:
        """What goes with the person and the visit, whatever the page shows."""
        return self._context(())

    def _context(self, seeds: tuple[str, ...]) -> Context:
        visit = self.history.visit(self.until)
        return Context(
            session=tuple(each.product_id for each in visit),
            events=tuple(each.kind for each in visit),
            seeds=seeds,
            exclude=self.hidden if seeds else self.never,
            visitor_id=self.history.visitor_id,
            now=self.until.timestamp(),
        )

    @cached_property
    def categories(self) -> frozenset[str] | None:
        """The category that is asked for and all below it; None where none is."""
        if not self.options.in_category or not self.category_id:
            return None
        return below(self.installation, self.category_id)

    @cached_property
    def page_offer(self) -> Offer | None:
        """The product of the page, sold or not; only read where a constraint speaks of it."""
        if not self.page_products:
            return None
        return self.ahead.described(self.page_products[0])

    @cached_property
    def conditions(self) -> dict[str, object] | None:
        """The constraints as `catalog.newest_offers` takes them; None where they cannot be met."""
        options, found = self.options, dict[str, object]()
        if self.categories is not None:
            found["categories"] = sorted(self.categories)
        if not (options.same_type or options.other_category or self._has_prices):
            return found
        page = self.page_offer
        if page is None:
            # Nothing to compare with: a band without a product is no constraint.
            return found
        if options.same_type and page.product_type:
            found["product_type"] = page.product_type
        if options.other_category and page.category_id:
            found["other_than"] = page.category_id
        if self._has_prices:
            if page.price is None:
                return None
            if options.price_from is not None:
                found["price_from"] = round(page.price * options.price_from, 3)
            if options.price_to is not None:
                found["price_to"] = round(page.price * options.price_to, 3)
        return found

    @property
    def _has_prices(self) -> bool:
        return self.options.price_from is not None or self.options.price_to is not None

    def fits(self, offer: Offer) -> bool:
        """Tell whether an offer meets the constraints of the placement."""
        wanted = self.conditions
        if wanted is None:
            return False
        return all(_FITS[name](offer, value) for name, value in wanted.items())


_FITS: Mapping[str, Callable[[Offer, Any], bool]] = {
    "categories": lambda offer, value: offer.category_id in value,
    "other_than": lambda offer, value: offer.category_id != value,
    "product_type": lambda offer, value: offer.product_type == value,
    "price_from": lambda offer, value: offer.price is not None and offer.price >= value,
    "price_to": lambda offer, value: offer.price is not None and offer.price <= value,
}


def below(installation: Installation, category_id: str) -> frozenset[str]:
    """Return a category and all below it."""
    tree = _trees.get(installation.pk, lambda: catalog.category_children(installation=installation))
    return frozenset(catalog.below(tree, category_id))
