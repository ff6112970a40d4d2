"""Sequential: what most often came after the last items of this visit."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from saleor_personalize.ml.base import Arrays, Candidate, Context, ReasonCode, Recommender
from saleor_personalize.ml.data import Interactions, Items
from saleor_personalize.ml.sessions import (
    Live,
    SessionLog,
    best_items,
    follows,
    steps_of,
    strongest,
)


class Sequential(Recommender):
    """Rules "after a comes b", each occurrence weighed by the steps between them.

    score(b) = sum over the last items a of position_decay ** (distinct items since a)
               * sum over occurrences of a of gap_decay ** (steps from a to b - 1) / occurrences of a

    Sequential rules as in Kamehkhosh, Jannach & Ludewig 2017, "A comparison of frequent pattern
    techniques and a deep learning method for session-based recommendation".
    """

    needs_context = True

    def __init__(
        self,
        *,
        n_latest: int = 500,
        n_items: int = 4,
        max_gap: int = 5,
        gap_decay: float = 0.6,
        position_decay: float = 0.5,
    ) -> None:
        """Set the options. `n_latest`: occurrences of each item that count, the latest first.

        `n_items`: how many of the last distinct items speak. `max_gap`: steps after an item within
        which another counts as following.
        """
        if n_latest < 1 or n_items < 1 or max_gap < 1:
            raise ValueError(
                f"n_latest ({n_latest}), n_items ({n_items}) and max_gap ({max_gap}) start at 1."
            )
        if not 0 < gap_decay <= 1 or not 0 < position_decay <= 1:
            raise ValueError(
                f"gap_decay ({gap_decay}) and position_decay ({position_decay}) lie above 0 and "
                "are at most 1."
            )
        self.n_latest = n_latest
        self.n_items = n_items
        self.max_gap = max_gap
        self.gap_decay = gap_decay
        self.position_decay = position_decay

    def _fit(self, interactions: Interactions, items: Items) -> Arrays:
        return {"ids": interactions.item_id.values, **SessionLog.of(interactions).arrays()}

    def _candidates(self, context: Context, count: int) -> Iterable[Candidate]:
        arrays = self.arrays
        ids, log = arrays["ids"], SessionLog.from_arrays(arrays)
        steps = steps_of(Live.of(ids, context), self.n_items)
        found = follows(log, steps.item, latest=self.n_latest, ahead=self.max_gap)
        occurrences = np.minimum(np.diff(log.first)[steps.item], self.n_latest)
        worth = self.position_decay**steps.rank / np.maximum(occurrences, 1)
        weight = self.gap_decay ** (found.gap - 1.0) * worth[found.place]
        items, scores = best_items(log.item[found.row], weight, count)
        because = strongest(items, log.item[found.row], weight, steps.item[found.place])
        return [
            Candidate(item.decode(), score, ReasonCode.VIEWED_TOGETHER, ids[reason].decode())
            for item, score, reason in zip(
                ids[items].tolist(), scores.tolist(), because.tolist(), strict=True
            )
        ]
