"""LastSeen: what each visitor looked at or bought last."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from saleor_personalize.ml.base import Arrays, Candidate, Context, ReasonCode, Recommender
from saleor_personalize.ml.data import Interactions, Items, positions


class LastSeen(Recommender):
    """A visitor's own last items, latest first; the score is 1 over the rank."""

    def __init__(self, *, length: int = 20) -> None:
        """Keep the last `length` events of each visitor."""
        if length < 1:
            raise ValueError(f"length starts at 1, not {length}.")
        self.length = length

    def _fit(self, interactions: Interactions, items: Items) -> Arrays:
        visitors = interactions.visitor_id
        rows = np.lexsort((interactions.timestamp, visitors.codes))
        lengths = np.bincount(visitors.codes, minlength=len(visitors.values))
        ends = np.cumsum(lengths)
        rank_from_end = np.repeat(ends, lengths) - np.arange(len(rows))
        rows = rows[rank_from_end <= self.length]
        kept = np.minimum(lengths, self.length)
        return {
            "ids": interactions.item_id.values,
            "kinds": interactions.event.values,
            "visitors": visitors.values,
            "starts": np.concatenate([[0], np.cumsum(kept)]),
            "items": interactions.item_id.codes[rows],
            "events": interactions.event.codes[rows].astype(np.int8),
        }

    def history_of(self, visitor_id: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Give a visitor's last items and what was done with each, oldest first; empty if unknown."""
        arrays = self.arrays
        (at,) = positions(arrays["visitors"], [visitor_id])
        if at < 0:
            return (), ()
        row = slice(int(arrays["starts"][at]), int(arrays["starts"][at + 1]))
        return (
            tuple(item.decode() for item in arrays["ids"][arrays["items"][row]].tolist()),
            tuple(kind.decode() for kind in arrays["kinds"][arrays["events"][row]].tolist()),
        )

    def _candidates(self, context: Context, count: int) -> Iterable[Candidate]:
        if context.visitor_id is None:
            return []
        latest = dict.fromkeys(reversed(self.history_of(context.visitor_id)[0]))
        return [
            Candidate(item, 1.0 / (at + 1), ReasonCode.RECENT)
            for at, item in enumerate(list(latest)[:count])
        ]
