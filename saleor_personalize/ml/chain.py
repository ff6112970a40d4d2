"""Recommenders in order of preference: the next one fills what the one before left open."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from saleor_personalize.ml.base import Candidate, Context, Recommender

#: Takes item ids, gives back those that may be shown.
Allowed = Callable[[Sequence[str]], set[str]]

#: How many candidates are asked for each open place, and how much further each next round reaches.
OVERFETCH = 3


class Chain:
    """A strategy: trained recommenders by alias, first choice first."""

    def __init__(self, recommenders: Mapping[str, Recommender]) -> None:
        """Keep the recommenders in the order of the mapping."""
        self.recommenders = dict(recommenders)

    def recommend(
        self, context: Context, k: int, allowed: Allowed | None = None
    ) -> list[Candidate]:
        """Give `k` candidates, each once, each with the alias that gave it as `strategy`.

        Every recommender is asked, further down its list each time, until the answer is full or it
        has no more: the answer is shorter than `k` only if fewer than `k` allowed items exist.
        `allowed` is never asked about an item twice. ValueError: `k` below 1.
        """
        if k < 1:
            raise ValueError(f"k must be at least 1, not {k}.")
        chosen: list[Candidate] = []
        seen: set[str] = set()
        for alias, recommender in self.recommenders.items():
            depth = len(seen) + OVERFETCH * (k - len(chosen))
            while len(chosen) < k:
                candidates = recommender.recommend(context, depth)
                fresh = [found for found in candidates if found.item_id not in seen]
                ids = [found.item_id for found in fresh]
                seen.update(ids)
                kept = set(ids) if allowed is None or not ids else allowed(ids)
                chosen += [
                    replace(found, strategy=alias) for found in fresh if found.item_id in kept
                ]
                if len(candidates) < depth:
                    break
                depth *= OVERFETCH
        return chosen[:k]
