"""Similar: items whose texts say the same. Works on the first day of a shop."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from saleor_personalize.ml.base import Arrays, Candidate, Context, ReasonCode, Recommender
from saleor_personalize.ml.data import Interactions, Items
from saleor_personalize.ml.neighbours import neighbour_candidates, top_neighbours
from saleor_personalize.ml.texts import vectors_of


class Similar(Recommender):
    """Alternatives, by the cosine of TF-IDF vectors over the text columns of the items.

    Each column is weighted by (1 + ln tf) * idf and brought to length 1, columns are joined under
    their weights, the whole is brought to length 1; scores lie in (0, 1] per seed and add up over
    seeds. Salton & Buckley 1988, "Term-weighting approaches in automatic text retrieval".
    """

    supports_cold = True
    needs_context = True
    needs_items = True

    def __init__(
        self,
        *,
        column_weights: Mapping[str, float] | None = None,
        min_similarity: float = 0.05,
        max_items_per_token: int = 5_000,
        n_neighbours: int = 100,
    ) -> None:
        """Set the options.

        `column_weights`: over the defaults (name 1, category .5, attributes .5, description .3);
        columns named nowhere weigh 0.3. A word in more than `max_items_per_token` items is left
        out: it says little and costs its square.
        """
        if n_neighbours < 1 or max_items_per_token < 1:
            raise ValueError(
                f"n_neighbours ({n_neighbours}) and max_items_per_token ({max_items_per_token}) "
                "start at 1."
            )
        for column, weight in (column_weights or {}).items():
            if not 0 <= weight < np.inf:
                raise ValueError(f"The weight of {column!r} must be 0 or more, not {weight}.")
        self.column_weights = column_weights
        self.min_similarity = min_similarity
        self.max_items_per_token = max_items_per_token
        self.n_neighbours = n_neighbours

    def _fit(self, interactions: Interactions, items: Items) -> Arrays:
        vectors = vectors_of(
            items,
            column_weights=self.column_weights,
            max_items_per_token=self.max_items_per_token,
        )
        neighbours = top_neighbours(
            vectors, vectors.T.tocsr(), size=self.n_neighbours, minimum=self.min_similarity
        )
        return {"ids": items.item_id.values, **neighbours}

    def _candidates(self, context: Context, count: int) -> Iterable[Candidate]:
        return neighbour_candidates(self.arrays, context, count, ReasonCode.SIMILAR)
