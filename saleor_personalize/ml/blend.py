"""Several rankings as one, by weighted reciprocal ranks.

    score(i) = sum over parts of weight / (60 + rank of i in the part)

Ranks compare between recommenders where scores do not. Cormack, Clarke & Büttcher 2009, "Reciprocal
rank fusion outperforms Condorcet and individual rank learning methods", whence the 60.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import log2
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from saleor_personalize.ml.base import Candidate, Context

RANK_CONSTANT = 60.0
#: How far down each part is looked at.
DEPTH = 100
#: Weights that are tried for a further part, the best single one having 1.
WEIGHTS = (0.25, 0.5, 1.0)
#: Standard errors by which a further part must gain.
CLEARLY = 2.0

Part = Callable[[Context, int], Sequence[Candidate]]


class Blend:
    """Parts with weights, asked as one."""

    def __init__(self, parts: Mapping[str, tuple[Part, float]]) -> None:
        """Keep the parts: name -> (what answers, weight above 0)."""
        self._parts = dict(parts)

    def recommend(self, context: Context, k: int) -> list[Candidate]:
        """Give at most `k` candidates; the reason is that of the part that counted most."""
        if len(self._parts) == 1:
            [(name, (ask, _))] = self._parts.items()
            return [found._replace(strategy=name) for found in ask(context, k)]
        found = {name: ask(context, max(k, DEPTH)) for name, (ask, _) in self._parts.items()}
        lists = {name: [each.item_id for each in part] for name, part in found.items()}
        weights = {name: weight for name, (_, weight) in self._parts.items()}
        return [
            found[part][place]._replace(strategy=part, score=total)
            for _, total, part, place in _totals(lists, weights)[:k]
        ]


def fused(lists: Mapping[str, Sequence[str]], weights: Mapping[str, float], k: int) -> list[str]:
    """Rank items as a `Blend` does, from the first `DEPTH` items of each part."""
    return [each.item for each in _totals(lists, weights)[:k]]


class _Total(NamedTuple):
    """The score of an item; `part` counted most, and holds the item at `place` (from 0)."""

    item: str
    score: float
    part: str
    place: int


def _totals(lists: Mapping[str, Sequence[str]], weights: Mapping[str, float]) -> list[_Total]:
    """Add up what the parts that have a weight say of each item, best first."""
    scores: dict[str, float] = {}
    strongest: dict[str, tuple[float, str, int]] = {}
    for name, weight in weights.items():
        for place, item in enumerate(lists[name]):
            worth = weight / (RANK_CONSTANT + place + 1)
            scores[item] = scores.get(item, 0.0) + worth
            if item not in strongest or worth > strongest[item][0]:
                strongest[item] = worth, name, place
    best = sorted(scores, key=lambda item: (-scores[item], item))
    return [_Total(item, scores[item], *strongest[item][1:]) for item in best]


def cross_fitted(
    lists: Mapping[str, Sequence[Sequence[str]]],
    relevant: Sequence[frozenset[str]],
    *,
    k: int,
) -> list[list[str]]:
    """Answer each half of the cases with weights that the other half chose.

    How good tuned weights are must not be asked of the cases that chose them. Arguments as in
    `tuned_weights`.
    """
    found: list[list[str]] = [[] for _ in relevant]
    for half in (0, 1):
        others = {name: column[1 - half :: 2] for name, column in lists.items()}
        weights = tuned_weights(others, relevant[1 - half :: 2], k=k)
        for at in range(half, len(relevant), 2):
            found[at] = fused({name: lists[name][at] for name in weights}, weights, k)
    return found


def tuned_weights(
    lists: Mapping[str, Sequence[Sequence[str]]],
    relevant: Sequence[frozenset[str]],
    *,
    k: int,
) -> dict[str, float]:
    """Choose weights by NDCG@k: the best part, then whatever clearly adds to what is chosen.

    `lists`: for each part, its answer to each case. Empty without parts or cases.
    """
    if not lists or not relevant:
        return {}
    names = list(lists)
    cases = [
        _Case([lists[name][at] for name in names], right, k) for at, right in enumerate(relevant)
    ]

    def gains(weights: Mapping[str, float]) -> NDArray[np.float64]:
        given = np.array([weights.get(name, 0.0) for name in names])
        return np.array([case.ndcg(given) for case in cases])

    single = {name: gains({name: 1.0}) for name in names}
    best = max(names, key=lambda name: float(single[name].mean()))
    chosen, reached = {best: 1.0}, single[best]
    for name in sorted(names, key=lambda name: -float(single[name].mean())):
        if name == best:
            continue
        tried = [({**chosen, name: weight}, gains({**chosen, name: weight})) for weight in WEIGHTS]
        weights, found = max(tried, key=lambda pair: float(pair[1].mean()))
        difference = found - reached
        error = float(difference.std()) / len(difference) ** 0.5
        if difference.mean() > CLEARLY * error and difference.mean() > 0:
            chosen, reached = weights, found
    return chosen


class _Case:
    """One case as a table: items by parts, 1 / (60 + rank) in it, 0 where a part lacks the item."""

    def __init__(self, lists: Sequence[Sequence[str]], relevant: frozenset[str], k: int) -> None:
        place: dict[str, int] = {}
        for ranked in lists:
            for item in ranked:
                place.setdefault(item, len(place))
        self._worth = np.zeros((len(place), len(lists)))
        for part, ranked in enumerate(lists):
            rows = [place[item] for item in ranked]
            self._worth[rows, part] = 1.0 / (RANK_CONSTANT + 1.0 + np.arange(len(rows)))
        self._is_right = np.array([item in relevant for item in place], dtype=bool)
        self._ideal = sum(1 / log2(at + 2) for at in range(min(k, len(relevant))))
        self._k = k

    def ndcg(self, weights: NDArray[np.float64]) -> float:
        score = self._worth @ weights
        order = np.argsort(-score, kind="stable")[: self._k]
        ranks = np.flatnonzero(self._is_right[order] & (score[order] > 0))
        return float((1.0 / np.log2(ranks + 2.0)).sum()) / self._ideal
