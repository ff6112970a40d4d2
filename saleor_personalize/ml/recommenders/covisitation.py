"""BoughtTogether: what the same orders hold."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from scipy import sparse

from saleor_personalize.ml.base import Arrays, Candidate, Context, ReasonCode, Recommender
from saleor_personalize.ml.data import Interactions, Items, Strings
from saleor_personalize.ml.neighbours import neighbour_candidates, top_neighbours

DAY = 86_400.0


class BoughtTogether(Recommender):
    """Complements, from directional co-counts of orders.

    score(a -> b) = together(a, b) / orders(a) ** seed_exponent
                    / orders(b) ** popularity_exponent * trend(b) ** trend_exponent

    `together` adds, for each order with both, 1 / log2(1 + basket size) ** size_exponent, halved
    every `half_life_days`: a basket of fifty says less about a pair than a basket of two. `trend`
    is an item's orders in the last `trend_days` over what its share of all orders lets expect
    there, each plus one, so that a rare item stays near 1. a -> b and b -> a differ by the seed's
    and the target's own counts. Several seeds add up.

    Item-to-item counting as in Linden, Smith & York 2003, "Amazon.com recommendations".
    """

    needs_context = True

    def __init__(
        self,
        *,
        popularity_exponent: float = 0.05,
        trend_exponent: float = 0.3,
        trend_days: float = 28.0,
        half_life_days: float | None = 365.0,
        size_exponent: float = 1.5,
        seed_exponent: float = 0.75,
        min_support: int = 1,
        n_neighbours: int = 100,
    ) -> None:
        """Set the options; the defaults are a middle between a gift shop and a grocery.

        `popularity_exponent`: 0 ranks by count, 1 by lift. `seed_exponent`: 1 lets each line of a
        cart speak as loud as the others, 0 the best-sellers loudest. `half_life_days`: None counts
        old orders in full; age is taken from the last order. `min_support`: orders that must hold a
        pair. The default of 1 lets a shop with few orders answer: a pair seen once ranks below all
        better proven ones, and raising it only trades such pairs for a fallback.
        """
        if n_neighbours < 1 or min_support < 1:
            raise ValueError(
                f"n_neighbours ({n_neighbours}) and min_support ({min_support}) start at 1."
            )
        if not trend_days > 0 or (half_life_days is not None and not half_life_days > 0):
            raise ValueError(
                f"trend_days ({trend_days}) and half_life_days ({half_life_days}) are above 0."
            )
        self.popularity_exponent = popularity_exponent
        self.trend_exponent = trend_exponent
        self.trend_days = trend_days
        self.half_life_days = half_life_days
        self.size_exponent = size_exponent
        self.seed_exponent = seed_exponent
        self.min_support = min_support
        self.n_neighbours = n_neighbours

    def _fit(self, interactions: Interactions, items: Items) -> Arrays:
        lines = interactions.select(interactions.order_id.codes >= 0)
        baskets = _baskets(lines.order_id, lines.item_id)
        placed_at = np.zeros(baskets.shape[0])
        placed_at[lines.order_id.codes] = lines.timestamp
        # Days before the last order; `initial` for a shop without orders.
        age = (placed_at.max(initial=0.0) - placed_at) / DAY
        orders = np.asarray(baskets.sum(axis=0))
        worth = np.log2(1.0 + np.asarray(baskets.sum(axis=1))) ** -self.size_exponent
        if self.half_life_days is not None:
            worth = worth * np.exp2(-age / self.half_life_days)
        recent = np.asarray(baskets[age < self.trend_days].sum(axis=0))
        expected = orders * (recent.sum() / max(orders.sum(), 1.0))
        trend = (recent + 1.0) / (expected + 1.0)
        neighbours = top_neighbours(
            baskets.T.tocsr(),
            sparse.csr_array(sparse.diags_array(worth) @ baskets),
            size=self.n_neighbours,
            row_factor=orders**-self.seed_exponent,
            column_factor=orders**-self.popularity_exponent * trend**self.trend_exponent,
            support=None if self.min_support == 1 else (baskets, self.min_support),
        )
        return {"ids": lines.item_id.values, **neighbours}

    def _candidates(self, context: Context, count: int) -> Iterable[Candidate]:
        return neighbour_candidates(self.arrays, context, count, ReasonCode.BOUGHT_TOGETHER)


def _baskets(order_id: Strings, item_id: Strings) -> sparse.csr_array:
    """Orders by items, 1 where the order holds the item, however many lines say so."""
    baskets = sparse.coo_array(
        (np.ones(len(order_id)), (order_id.codes, item_id.codes)),
        shape=(len(order_id.values), len(item_id.values)),
    ).tocsr()
    baskets.data[:] = 1.0
    return baskets
