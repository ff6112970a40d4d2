"""Recommenders in order of preference: the next one fills what the one before left open."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from numbers import Integral

from saleor_personalize.ml.base import Candidate, Context, Recommender

#: Takes item ids, gives back those that may be shown.
Allowed = Callable[[Sequence[str]], set[str]]

#: How many candidates are asked for each open place, and how much further each next round reaches.
OVERFETCH = 2


class Chain:
    """A strategy: trained recommenders by alias, first choice first."""

    def __init__(
        self,
        recommenders: Mapping[str, Recommender],
        on_error: Callable[[str, Exception], None] | None = None,
    ) -> None:
        """Keep the recommenders in the order of the mapping.

        `on_error` is told the alias and the error of a recommender that breaks, and the next ones
        answer; without it the error goes to the caller.
        """
        self.recommenders = dict(recommenders)
        self.on_error = on_error

    def recommend(
        self, context: Context, k: int, allowed: Allowed | None = None
    ) -> list[Candidate]:
        """Give `k` candidates, each once, each with the alias that gave it as `strategy`.

        A candidate that already says who gave it keeps that.

        Every recommender is asked, further down its list each time, until the answer is full or it
        has no more: the answer is shorter than `k` only if fewer than `k` allowed items exist.
        `allowed` is asked about several candidates for each open place at once, whoever gave them,
        and never about an item twice. ValueError: `k` below 1.
        """
        if not isinstance(k, Integral):
            raise TypeError(f"k takes a whole number, not {k!r}.")
        if k < 1:
            raise ValueError(f"k must be at least 1, not {k}.")
        chosen: list[tuple[str, Candidate]] = []
        depth = OVERFETCH * k
        candidates = self._in_order(context, depth)
        while len(chosen) < k and (batch := list(islice(candidates, depth))):
            ids = [found.item_id for _, found in batch]
            kept = set(ids) if allowed is None else allowed(ids)
            chosen += [(alias, found) for alias, found in batch if found.item_id in kept]
            depth *= OVERFETCH
        return [
            found if found.strategy else found._replace(strategy=alias)
            for alias, found in chosen[:k]
        ]

    def _in_order(self, context: Context, depth: int) -> Iterator[tuple[str, Candidate]]:
        """All candidates with their alias, first choice first, each item once.

        A recommender is asked only when the candidates before it are taken.
        """
        seen: set[str] = set()
        for alias, recommender in self.recommenders.items():
            reach = len(seen) + depth
            while True:
                try:
                    candidates = recommender.recommend(context, reach)
                except Exception as error:
                    if self.on_error is None:
                        raise
                    self.on_error(alias, error)
                    break
                for found in candidates:
                    if found.item_id not in seen:
                        seen.add(found.item_id)
                        yield alias, found
                if len(candidates) < reach:
                    break
                reach *= OVERFETCH
