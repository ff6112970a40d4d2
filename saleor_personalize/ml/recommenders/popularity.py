"""Popular, RecentPopular, Trending, CategoryPopular: what people take, whoever asks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from saleor_personalize.ml.base import Arrays, Candidate, Context, ReasonCode, Recommender
from saleor_personalize.ml.data import InteractionEvent, Interactions, Items, Strings, positions
from saleor_personalize.ml.tuning import decayed

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
        _check_weights(event_weights)
        self.half_life_days = half_life_days
        self.event_weights = event_weights
        self.now = now

    def _fit(self, interactions: Interactions, items: Items) -> Arrays:
        worth = _worth(interactions, self.event_weights)
        known = np.unique(interactions.item_id.codes[worth > 0])
        if self.half_life_days is not None and len(worth):
            now = interactions.timestamp.max() if self.now is None else self.now
            # A client's fast clock must not make an event worth more than one of this moment.
            worth = worth * decayed(interactions.timestamp, now, self.half_life_days)
        ids = interactions.item_id
        score = np.bincount(ids.codes, weights=worth, minlength=len(ids.values))
        return _ranked(ids, known, score)

    def _candidates(self, context: Context, count: int) -> Iterable[Candidate]:
        return _best(self.arrays, count, ReasonCode.POPULAR)


class RecentPopular(Popular):
    """Popular over days rather than weeks: the half-life is 4 days unless another is given."""

    def __init__(
        self,
        *,
        half_life_days: float | None = 4.0,
        event_weights: Mapping[str, float] | None = None,
        now: float | None = None,
    ) -> None:
        """Set the options of `Popular`."""
        super().__init__(half_life_days=half_life_days, event_weights=event_weights, now=now)


class Trending(Recommender):
    """What rises: taken more in the last days than its share of the time before lets expect.

    score(i) = (recent(i) - expected(i)) / sqrt(expected(i) + prior)

    `recent` is the weighted count of the last `days`, `expected` that of the `before_days` before
    them, brought to the same total: about how many standard errors of a count the item stands above
    itself. `prior` lets an item that was never taken before rise only with several. Only items taken
    in the last days are given; in a shop as old as that, the busiest.
    """

    def __init__(
        self,
        *,
        days: float = 7.0,
        before_days: float = 56.0,
        prior: float = 5.0,
        event_weights: Mapping[str, float] | None = None,
    ) -> None:
        """Set the options; `event_weights` as in `Popular`. The last event is now."""
        if not days > 0 or not before_days > 0 or not prior > 0:
            raise ValueError(
                f"days ({days}), before_days ({before_days}) and prior ({prior}) are above 0."
            )
        _check_weights(event_weights)
        self.days = days
        self.before_days = before_days
        self.prior = prior
        self.event_weights = event_weights

    def _fit(self, interactions: Interactions, items: Items) -> Arrays:
        worth = _worth(interactions, self.event_weights)
        age = (interactions.timestamp.max(initial=0.0) - interactions.timestamp) / DAY
        ids, size = interactions.item_id, len(interactions.item_id.values)
        is_recent = age < self.days
        is_before = ~is_recent & (age < self.days + self.before_days)
        recent, before = (
            np.bincount(ids.codes[rows], weights=worth[rows], minlength=size)
            for rows in (is_recent, is_before)
        )
        expected = before * (recent.sum() / max(before.sum(), 1.0))
        score = (recent - expected) / np.sqrt(expected + self.prior)
        return _ranked(ids, np.flatnonzero(recent > 0), score)

    def _candidates(self, context: Context, count: int) -> Iterable[Candidate]:
        return _best(self.arrays, count, ReasonCode.TRENDING)


class CategoryPopular(Recommender):
    """Top sellers of the categories that the seeds are of (B21).

    score(i) = popular(i) * share of the seeds that are of i's category

    `popular` as in `Popular`; a category is the same text in `column` of the catalogue. For "your
    category", give items of the person's as seeds.
    """

    needs_context = True
    needs_items = True

    def __init__(
        self,
        *,
        column: str = "category",
        half_life_days: float | None = 30.0,
        event_weights: Mapping[str, float] | None = None,
        n_items: int = 200,
    ) -> None:
        """Set the options; at most `n_items` of each category are kept, others as in `Popular`."""
        Popular(half_life_days=half_life_days, event_weights=event_weights)
        if n_items < 1:
            raise ValueError(f"n_items starts at 1, not {n_items}.")
        self.column = column
        self.half_life_days = half_life_days
        self.event_weights = event_weights
        self.n_items = n_items

    def _fit(self, interactions: Interactions, items: Items) -> Arrays:
        column = items.text.get(self.column, [""] * len(items))
        # By the code of the item, as the ids are.
        texts = np.array([str(text) for text in column], dtype=object)[
            np.argsort(items.item_id.codes)
        ].tolist()
        names = {text: at for at, text in enumerate(sorted({text for text in texts if text}))}
        category = np.array([names.get(text, -1) for text in texts], dtype=np.int32)
        popular = Popular(half_life_days=self.half_life_days, event_weights=self.event_weights)
        ranked = popular.fit(interactions).arrays
        at = np.array(positions(items.item_id.values, [i.decode() for i in ranked["ids"].tolist()]))
        is_known = at >= 0
        is_known[is_known] = category[at[is_known]] >= 0
        at, score = at[is_known].astype(np.int64), ranked["scores"][is_known]
        order = np.argsort(category[at], kind="stable")
        starts = np.searchsorted(category[at[order]], np.arange(len(names) + 1))
        rank = np.arange(len(order)) - starts[category[at[order]]] if len(order) else order
        order = order[rank < self.n_items]
        return {
            "ids": items.item_id.values,
            "category": category,
            "starts": np.searchsorted(category[at[order]], np.arange(len(names) + 1)),
            "items": at[order].astype(np.int32),
            "scores": score[order],
        }

    def _candidates(self, context: Context, count: int) -> Iterable[Candidate]:
        arrays = self.arrays
        places = positions(arrays["ids"], context.seeds)
        asked = [
            (item, int(arrays["category"][at]))
            for item, at in zip(context.seeds, places, strict=True)
            if at >= 0 and arrays["category"][at] >= 0
        ]
        because: dict[int, str] = {}
        times: dict[int, int] = {}
        for item, category in asked:
            because.setdefault(category, item)
            times[category] = times.get(category, 0) + 1
        found = []
        for category, often in times.items():
            row = slice(*arrays["starts"][category : category + 2].tolist())
            ids = arrays["ids"][arrays["items"][row][:count]].tolist()
            scores = arrays["scores"][row][:count].tolist()
            found += [
                Candidate(
                    item.decode(),
                    score * often / len(asked),
                    ReasonCode.POPULAR,
                    because[category],
                )
                for item, score in zip(ids, scores, strict=True)
            ]
        return found


def _check_weights(event_weights: Mapping[str, float] | None) -> None:
    for event, weight in (event_weights or {}).items():
        if event not in set(InteractionEvent):
            raise ValueError(
                f"Unknown event {event!r} in event_weights; known are "
                f"{', '.join(InteractionEvent)}."
            )
        if not 0 <= weight < np.inf:
            raise ValueError(f"The weight of {event!r} must be 0 or more, not {weight}.")


def _worth(
    interactions: Interactions, event_weights: Mapping[str, float] | None
) -> NDArray[np.float64]:
    """Weight of the kind of each row."""
    weights = {**DEFAULT_WEIGHTS, **(event_weights or {})}
    kinds = [kind.decode() for kind in interactions.event.values.tolist()]
    weight = np.array([weights[kind] for kind in kinds], dtype=np.float64)
    return weight[interactions.event.codes]


def _ranked(ids: Strings, known: NDArray[Any], score: NDArray[Any]) -> Arrays:
    """Known items, best first, equal ones by id."""
    order = known[np.lexsort((known, -score[known]))]
    return {"ids": ids.values[order], "scores": score[order]}


def _best(arrays: Arrays, count: int, reason: ReasonCode) -> list[Candidate]:
    ids, scores = arrays["ids"][:count].tolist(), arrays["scores"][:count].tolist()
    return [
        Candidate(item.decode(), score, reason) for item, score in zip(ids, scores, strict=True)
    ]
