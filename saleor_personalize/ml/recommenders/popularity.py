"""Popular: what most people looked at and bought of late."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from saleor_personalize.ml.base import Arrays, Candidate, Context, ReasonCode, Recommender
from saleor_personalize.ml.data import InteractionEvent, Interactions, Items

DAY = 86_400.0

DEFAULT_WEIGHTS: dict[str, float] = {
    InteractionEvent.VIEW: 1.0,
    InteractionEvent.CART: 3.0,
    InteractionEvent.FAVOURITE: 3.0,
    InteractionEvent.PURCHASE: 5.0,
}


class Popular(Recommender):
    """Weighted count of an item's events, each worth half as much every `half_life_days`.

    score(i) = sum over events of weight(event) * 2 ** (-age in days / half_life_days)

    Exponential forgetting as in Ding & Li 2005, "Time weight collaborative filtering". Quantities
    do not count: one wholesale order would outweigh a hundred shoppers.
    """

    def __init__(
        self,
        *,
        half_life_days: float | None = 30.0,
        event_weights: Mapping[str, float] | None = None,
        now: float | None = None,
    ) -> None:
        """Set the options.

        `half_life_days`: None counts all events alike. `event_weights`: over the defaults (view 1,
        cart 3, favourite 3, purchase 5); an event of weight 0 is left out. `now`: unix seconds, by
        default the last event.
        """
        if half_life_days is not None and not half_life_days > 0:
            raise ValueError(f"half_life_days must be above 0, not {half_life_days}.")
        for event, weight in (event_weights or {}).items():
            if event not in set(InteractionEvent):
                raise ValueError(
                    f"Unknown event {event!r} in event_weights; known are "
                    f"{', '.join(InteractionEvent)}."
                )
            if not 0 <= weight < np.inf:
                raise ValueError(f"The weight of {event!r} must be 0 or more, not {weight}.")
        self.half_life_days = half_life_days
        self.event_weights = event_weights
        self.now = now

    def _fit(self, interactions: Interactions, items: Items) -> Arrays:
        weights = {**DEFAULT_WEIGHTS, **(self.event_weights or {})}
        events = [event.decode() for event in interactions.event.values.tolist()]
        weight = np.array([weights[event] for event in events], dtype=np.float64)
        worth = weight[interactions.event.codes]
        known = np.unique(interactions.item_id.codes[worth > 0])
        if self.half_life_days is not None and len(worth):
            now = interactions.timestamp.max() if self.now is None else self.now
            # A client's fast clock must not make an event worth more than one of this moment.
            age = np.maximum(now - interactions.timestamp, 0.0)
            worth = worth * np.exp2(-age / (DAY * self.half_life_days))
        ids = interactions.item_id
        score = np.bincount(ids.codes, weights=worth, minlength=len(ids.values))
        order = known[np.lexsort((known, -score[known]))]
        return {"ids": ids.values[order], "scores": score[order]}

    def _candidates(self, context: Context, count: int) -> Iterable[Candidate]:
        ids, scores = self.arrays["ids"][:count].tolist(), self.arrays["scores"][:count].tolist()
        return [
            Candidate(item.decode(), score, ReasonCode.POPULAR)
            for item, score in zip(ids, scores, strict=True)
        ]
