"""Newest: the latest arrivals. Needs no event, so it fills a shop's first page."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from saleor_personalize.ml.base import Arrays, Candidate, Context, ReasonCode, Recommender
from saleor_personalize.ml.data import Interactions, Items


class Newest(Recommender):
    """Items by `created_at`, latest first; the score is that time in unix seconds, 0 if unknown."""

    supports_cold = True
    needs_items = True

    def _fit(self, interactions: Interactions, items: Items) -> Arrays:
        created_at = np.nan_to_num(items.created_at)
        order = np.lexsort((items.item_id.codes, -created_at))
        return {
            "ids": items.item_id.values[items.item_id.codes[order]],
            "scores": created_at[order],
        }

    def _candidates(self, context: Context, count: int) -> Iterable[Candidate]:
        ids, scores = self.arrays["ids"][:count].tolist(), self.arrays["scores"][:count].tolist()
        return [
            Candidate(item.decode(), score, ReasonCode.NEWEST)
            for item, score in zip(ids, scores, strict=True)
        ]
