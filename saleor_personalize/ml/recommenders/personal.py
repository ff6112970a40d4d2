"""Personal: what a visitor takes next that they have not bought before."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import linalg, sparse

from saleor_personalize.ml.base import Arrays, Candidate, Context, ReasonCode, Recommender
from saleor_personalize.ml.data import InteractionEvent, Interactions, Items, positions
from saleor_personalize.ml.neighbours import top_neighbours
from saleor_personalize.ml.texts import vectors_of
from saleor_personalize.ml.tuning import (
    Window,
    best_columns,
    decayed,
    last_windows,
    recall_and_ndcg,
    trend,
)

#: Items that can be recommended: those sold most of late.
TARGETS = 20_000
#: Last items of a visitor that are asked, and that are learned from.
ASKED, LEARNED = 300, 1_000
#: Last items of a visitor that an item outside the dense part is seen beside.
LEARNED_SPARSE = 50
#: Weights kept of each item; of an item outside the dense part.
KEPT, KEPT_SPARSE = 500, 50

#: Windows, visitors and items that constants are chosen on, and visitors below which they are not.
WINDOWS, MOST_VISITORS, TUNED_ITEMS, FEWEST_VISITORS = 2, 1_000, 2_000, 50
PLACES = 20
RIDGES = (50.0, 250.0, 500.0, 1_000.0, 2_000.0)
TREND_DAYS = (4.0, 7.0, 14.0, 28.0)
TREND_EXPONENTS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25)
HALF_LIVES = (None, 180.0, 60.0, 20.0)
OWN_WEIGHTS = (0.0, 0.03, 0.1, 0.3, 1.0)
TEXT_WEIGHTS = (0.0, 10.0, 30.0, 100.0, 300.0)

#: A thing taken sixteen times counts twice.
TIMES_EXPONENT = 0.25
#: Half-life of the popularity that answers where nothing else can.
POPULAR_DAYS = 14.0
#: Below every score that a history gives.
_FALLBACK = 1e-9


@dataclass(frozen=True)
class Constants:
    """What the class chooses on the shop's own last windows; the defaults are for too little data."""

    ridge: float = 500.0
    trend_days: float = 7.0
    trend_exponent: float = 0.5
    half_life_days: float | None = None
    own_weight: float = 0.1
    text_weight: float = 0.0


class Personal(Recommender):
    """What this visitor will newly buy, from what they and others took so far.

    score(u, j) = sum over items i of u of x(u, i) * B(i, j) * trend(j) ** trend_exponent

    B among the `max_items` items of most visitors is EASE: with G = X'X over visitors x items (how often a
    visitor took an item ** 0.25) and P = inverse of (G + ridge * I), B(i, j) = -P(i, j) / P(j, j) off the
    diagonal: the linear model that best foretells each item of a visitor from the others (Steck 2019,
    "Embarrassingly shallow autoencoders for sparse data"). Where the catalogue has texts, G grows by
    `text_weight` * the cosines of their TF-IDF vectors: as if somebody had taken what one word describes
    (Jeunen et al. 2020, "Closed-form models for collaborative filtering with side-information"). Of items outside, it is the regression on
    that item alone, G(i, j) / (G(i, i) + ridge): item-kNN. They speak only
    for visitors without an item inside: beside it they would only add what sells well. The 500 weights
    of largest magnitude are kept of each item. x(u, i) is the same, halved every `half_life_days` since u last took i; items of the
    live session count 1. An item that was looked at but not bought adds `own_weight`. `trend` is
    an item's share of recent rows (halved every `trend_days`) over its share of all rows.

    `ridge`, `trend_days`, `trend_exponent`, `text_weight`, `half_life_days` and `own_weight` are chosen on
    the last two windows of the data, each a tenth of its time and at most 35 days, by mean recall and NDCG at 20
    of what visitors known before bought there for the first time. With fewer than 50 such visitors in
    a window, they are 500, 7 days, 0.5, 0, none and 0.1.

    Items that the visitor bought are left out: see `BuyAgain`. Visitors never seen, without a session,
    get what sells of late. Reason: FOR_YOU, or POPULAR where only that spoke.
    """

    def __init__(self, *, max_items: int = 6_000, tune: bool = True, seed: int = 0) -> None:
        """Set the options.

        `max_items`: size of the dense part; it needs 8 * max_items ** 2 bytes for the time of the
        fit, and time with its cube (6,000: 0.3 GB and about 10 s). `tune`: False keeps the
        constants for too little data. `seed`: draws the visitors that are asked while tuning.
        """
        if max_items < 1:
            raise ValueError(f"max_items starts at 1, not {max_items}.")
        self.max_items = max_items
        self.tune = tune
        self.seed = seed

    def _fit(self, interactions: Interactions, items: Items) -> Arrays:
        log = _Log.of(interactions)
        words = _words(interactions, items)
        found = _tuned(log, words, seed=self.seed) if self.tune else Constants()
        size, now = len(interactions.item_id.values), log.now
        popular = np.bincount(
            log.item, weights=decayed(log.time, now, POPULAR_DAYS), minlength=size
        )
        targets = np.sort(np.lexsort((np.arange(size), -popular))[:TARGETS]).astype(np.int32)
        lift = trend(log.item, decayed(log.time, now, found.trend_days), size)
        taken = log.taken(ASKED)
        bought = log.bought()
        return {
            "ids": interactions.item_id.values,
            "visitors": interactions.visitor_id.values,
            "targets": targets,
            "lift": (lift**found.trend_exponent)[targets].astype(np.float32),
            "popular": (popular / max(popular.max(initial=0.0), 1.0))[targets] * _FALLBACK,
            "own_weight": np.array(found.own_weight, dtype=np.float32),
            "taken_starts": taken.starts,
            "taken_items": taken.item,
            "taken_weights": (taken.often * _aged(taken.time, now, found)).astype(np.float32),
            "bought_starts": bought.starts,
            "bought_items": bought.item,
            "constants": np.array(
                [
                    found.ridge,
                    found.trend_days,
                    found.trend_exponent,
                    np.nan if found.half_life_days is None else found.half_life_days,
                    found.own_weight,
                    found.text_weight,
                ]
            ),
            **_model(log, words, targets, found, self.max_items),
        }

    @property
    def constants(self) -> Constants:
        """What was chosen. NotTrained: neither fitted nor loaded."""
        values = self.arrays["constants"].tolist()
        found = Constants(*values)
        return replace(found, half_life_days=None) if np.isnan(values[3]) else found

    def _candidates(self, context: Context, count: int) -> Iterable[Candidate]:
        arrays = self.arrays
        targets = arrays["targets"]
        if not len(targets):
            return []
        items, weights, bought = self._history(context)
        unbought = _places(targets, np.setdiff1d(items, bought))
        scores = np.zeros(len(targets))
        if len(items):
            inside = arrays["is_dense"][items]
            if inside.any():
                items, weights = items[inside], weights[inside]
            scores = _summed(arrays, items, weights, len(targets))
            scores[unbought] += arrays["own_weight"]
            np.maximum(scores, 0.0, out=scores)
            scores *= arrays["lift"]
        is_personal = scores > 0
        scores += arrays["popular"]
        scores[_places(targets, bought)] = -1.0
        hidden = context.exclude.union(context.seeds)
        return _answer(arrays["ids"], targets, scores, is_personal, hidden, count - len(hidden))

    def _history(self, context: Context) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        """Item codes with weights, the session's and the visitor's own, and what they bought."""
        arrays = self.arrays
        live = [at for at in dict.fromkeys(positions(arrays["ids"], context.session)) if at >= 0]
        items = np.array(live, dtype=np.int32)
        weights, bought = np.ones(len(items), np.float32), np.empty(0, np.int32)
        if context.visitor_id is not None:
            (at,) = positions(arrays["visitors"], [context.visitor_id])
            if at >= 0:
                row = slice(*arrays["taken_starts"][at : at + 2].tolist())
                older = ~np.isin(arrays["taken_items"][row], items)
                items = np.concatenate([items, arrays["taken_items"][row][older]])
                weights = np.concatenate([weights, arrays["taken_weights"][row][older]])
                bought = arrays["bought_items"][slice(*arrays["bought_starts"][at : at + 2])]
        return items, weights, bought


def _summed(
    arrays: Arrays, items: NDArray[Any], weights: NDArray[Any], size: int
) -> NDArray[np.float64]:
    """Add up the rows of the model, each times its weight."""
    starts = arrays["indptr"][items]
    lengths = arrays["indptr"][items + 1] - starts
    # Positions start, start + 1, ... of each row, one after the other.
    within = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    at = np.repeat(starts, lengths) + within
    values = arrays["scores"][at] * np.repeat(weights, lengths)
    found: NDArray[np.float64] = np.bincount(
        arrays["indices"][at], weights=values, minlength=size
    ).astype(np.float64, copy=False)
    return found


def _answer(
    ids: NDArray[Any],
    targets: NDArray[Any],
    scores: NDArray[np.float64],
    is_personal: NDArray[np.bool_],
    hidden: frozenset[str],
    count: int,
) -> list[Candidate]:
    """The `count` best with a score of their own that are not hidden.

    Hidden ones are dropped here: who bought a thousand items would make a thousand candidates.
    """
    depth = 2 * count
    while True:
        depth = min(depth, len(scores))
        floor = float(np.partition(scores, -depth)[-depth])
        best = np.flatnonzero((scores >= floor) & (scores > 0))
        best = best[np.lexsort((best, -scores[best]))]
        found = []
        for at, item in zip(best.tolist(), ids[targets[best]].tolist(), strict=True):
            if (text := item.decode()) not in hidden:
                reason = ReasonCode.FOR_YOU if is_personal[at] else ReasonCode.POPULAR
                found.append(Candidate(text, float(scores[at]), reason))
                if len(found) == count:
                    return found
        if depth == len(scores) or floor <= 0:
            return found
        depth *= 4


def _places(targets: NDArray[Any], items: NDArray[Any]) -> NDArray[np.intp]:
    """Where items stand among the sorted targets, those that do."""
    at = np.minimum(np.searchsorted(targets, items), len(targets) - 1)
    found: NDArray[np.intp] = at[targets[at] == items]
    return found


class _Rows(NamedTuple):
    """Items of each visitor, latest first: visitor v has [starts[v]:starts[v + 1]]."""

    starts: NDArray[np.int64]
    item: NDArray[np.int32]
    time: NDArray[np.float64]
    #: How often, to the power TIMES_EXPONENT.
    often: NDArray[np.float64]


@dataclass(frozen=True)
class _Log:
    """Who took what, and when last: one row per visitor and item, latest first in a visitor.

    `bought_at`: moment of the last purchase, -inf where there is none. In data without purchases
    every event counts as one: then to take is all there is.
    """

    visitor: NDArray[np.int32]
    item: NDArray[np.int32]
    time: NDArray[np.float64]
    is_purchase: NDArray[np.bool_]
    visitors: int
    items: int

    @classmethod
    def of(cls, interactions: Interactions) -> _Log:
        events = interactions.event
        bought = [kind == InteractionEvent.PURCHASE.encode() for kind in events.values.tolist()]
        is_purchase = np.array(bought, dtype=bool)[events.codes]
        if not is_purchase.any():
            is_purchase = np.ones(len(interactions), dtype=bool)
        return cls(
            interactions.visitor_id.codes,
            interactions.item_id.codes,
            interactions.timestamp,
            is_purchase,
            len(interactions.visitor_id.values),
            len(interactions.item_id.values),
        )

    @property
    def now(self) -> float:
        return float(self.time.max(initial=0.0))

    def before(self, moment: float) -> _Log:
        return self._where(self.time < moment)

    def _where(self, rows: NDArray[Any]) -> _Log:
        return replace(
            self,
            visitor=self.visitor[rows],
            item=self.item[rows],
            time=self.time[rows],
            is_purchase=self.is_purchase[rows],
        )

    def taken(self, most: int) -> _Rows:
        """The last `most` distinct items of each visitor."""
        rows = np.lexsort((self.item, -self.time, self.visitor))
        key = self.visitor[rows].astype(np.int64) << 32 | self.item[rows]
        # The first row of a visitor and item, in this order, is the latest.
        _, first, times = np.unique(key, return_index=True, return_counts=True)
        order = np.argsort(first)
        rows, times = rows[first[order]], times[order]
        lengths = np.bincount(self.visitor[rows], minlength=self.visitors)
        rank = np.arange(len(rows)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        rows, times = rows[rank < most], times[rank < most]
        starts = np.concatenate([[0], np.cumsum(np.minimum(lengths, most))])
        return _Rows(
            starts.astype(np.int64),
            self.item[rows].astype(np.int32),
            self.time[rows],
            times**TIMES_EXPONENT,
        )

    def bought(self) -> _Rows:
        return self._where(self.is_purchase).taken(np.iinfo(np.int32).max)


def _aged(time: NDArray[np.float64], now: float, found: Constants) -> NDArray[np.float64]:
    if found.half_life_days is None:
        return np.ones(len(time))
    return decayed(time, now, found.half_life_days)


def _matrix(rows: _Rows, size: int, values: NDArray[np.float64] | None = None) -> sparse.csr_array:
    """Visitors x items; by default how often, to the power TIMES_EXPONENT."""
    values = rows.often if values is None else values
    return sparse.csr_array(
        (values.astype(np.float32), rows.item, rows.starts), shape=(len(rows.starts) - 1, size)
    )


def _head(taken: sparse.csr_array, most: int) -> NDArray[np.intp]:
    """The items of most visitors, two at least, in the order of their codes."""
    visitors = np.bincount(taken.indices, minlength=taken.shape[1])
    best = np.lexsort((np.arange(len(visitors)), -visitors))[:most]
    return np.sort(best[visitors[best] >= 2])


def _words(interactions: Interactions, items: Items) -> sparse.csr_array | None:
    """TF-IDF of the items that were taken, in the order of their codes; None without texts."""
    vectors = vectors_of(items)
    if not vectors.nnz or not len(interactions):
        return None
    ids, known = interactions.item_id.values, items.item_id.values
    at = np.minimum(np.searchsorted(known, ids), len(known) - 1)
    found = np.flatnonzero(known[at] == ids)
    place = sparse.csr_array(
        (np.ones(len(found), np.float32), (found, at[found])), shape=(len(ids), len(known))
    )
    return sparse.csr_array(place @ vectors)


def _ease(
    taken: sparse.csr_array, words: sparse.csr_array | None, found: Constants
) -> NDArray[np.float32]:
    """Weights B of EASE, (items, items), diagonal 0. `words`: rows of the same items."""
    gram = taken.T @ taken
    if words is not None and found.text_weight:
        gram = gram + np.float32(found.text_weight) * (words @ words.T)
    inverse = gram.toarray().astype(np.float32, order="F", copy=False)
    diagonal = np.arange(len(inverse))
    inverse[diagonal, diagonal] += np.float32(found.ridge)
    factor, _ = linalg.lapack.spotrf(inverse, lower=1, overwrite_a=1)
    # Only the lower triangle is filled; the other is what was there, or nothing.
    inverse, _ = linalg.lapack.spotri(factor, lower=1, overwrite_c=1)
    lower = np.tril(inverse, -1)
    weights: NDArray[np.float32] = -(lower + lower.T) / np.diagonal(inverse)[None, :]
    return weights


def _model(
    log: _Log,
    words: sparse.csr_array | None,
    targets: NDArray[Any],
    found: Constants,
    max_items: int,
) -> dict[str, NDArray[Any]]:
    """Weights of each item on the targets, CSR: `indptr` (size + 1,), `indices`, `scores`."""
    size = log.items
    taken = _matrix(log.taken(LEARNED), size)
    head = _head(taken, max_items)
    column = np.full(size, -1, dtype=np.int64)
    column[targets] = np.arange(len(targets))
    is_target = column[head] >= 0
    weights = _ease(taken[:, head], None if words is None else words[head], found)[:, is_target]
    kept = best_columns(np.abs(weights), KEPT)
    rows = [np.repeat(head, kept.shape[1])]
    columns = [column[head[is_target]][kept].ravel()]
    values = [np.take_along_axis(weights, kept, axis=1).ravel()]
    visitors = np.bincount(taken.indices, minlength=size)
    rest = np.setdiff1d(np.flatnonzero(visitors), head)
    near = top_neighbours(
        taken[:, rest].T.tocsr(),
        _matrix(log.taken(LEARNED_SPARSE), size)[:, targets],
        size=KEPT_SPARSE,
        row_factor=1.0 / (visitors[rest] + found.ridge),
        own=column[rest],
    )
    rows.append(np.repeat(rest, np.diff(near["indptr"])))
    columns.append(near["indices"])
    values.append(near["scores"])
    row = np.concatenate(rows)
    order = np.argsort(row, kind="stable")
    is_dense = np.zeros(size, dtype=bool)
    is_dense[head] = True
    return {
        "indptr": np.concatenate([[0], np.cumsum(np.bincount(row, minlength=size))]),
        "indices": np.concatenate(columns)[order].astype(np.int32),
        "scores": np.concatenate(values)[order].astype(np.float32),
        "is_dense": is_dense,
    }


class _Exam(NamedTuple):
    """One window: what was known, of whom, and which columns of the items were right."""

    log: _Log
    #: Codes of the items that are asked about.
    head: NDArray[np.intp]
    #: Visitors x head: everything that was known, of everybody.
    taken: sparse.csr_array
    words: sparse.csr_array | None
    #: The same of those asked: rows, moments in the order of `asked.indices`.
    asked: sparse.csr_array
    moments: NDArray[np.float64]
    is_hidden: NDArray[np.bool_]
    is_right: NDArray[np.bool_]
    relevant: NDArray[np.int64]


def _tuned(log: _Log, words: sparse.csr_array | None, *, seed: int) -> Constants:
    """Choose constants one after the other on the last windows."""
    exams = [
        exam
        for window in last_windows(log.time, WINDOWS)
        if (exam := _exam(log, words, window, np.random.default_rng(seed))) is not None
    ]
    if not exams:
        return Constants()
    best = Constants()
    lifts = [_lifts(exam) for exam in exams]
    marks: dict[Constants, float] = {}
    models: dict[tuple[float, float], list[NDArray[np.float32]]] = {}
    with_texts = (_texts, _trends) if words is not None else ()
    for alternatives in (_trends, _ridges, _trends, *with_texts, _half_lives, _own_weights):
        for tried in alternatives(best):
            if tried in marks:
                continue
            key = tried.ridge, tried.text_weight
            if key not in models:
                models[key] = [_ease(exam.taken, exam.words, tried) for exam in exams]
            scores = [_scores(e, w, tried) for e, w in zip(exams, models[key], strict=True)]
            marks[tried] = _mark(exams, scores, lifts, tried)
        best = max(marks, key=marks.__getitem__)
        # Each is some 16 MB; the next steps need but one.
        models = {(best.ridge, best.text_weight): models[best.ridge, best.text_weight]}
    return best


def _trends(best: Constants) -> list[Constants]:
    pairs = [(best.trend_days, 0.0)]
    pairs += [(days, power) for days in TREND_DAYS for power in TREND_EXPONENTS if power]
    return [replace(best, trend_days=days, trend_exponent=power) for days, power in pairs]


def _ridges(best: Constants) -> list[Constants]:
    return [replace(best, ridge=ridge) for ridge in RIDGES]


def _texts(best: Constants) -> list[Constants]:
    return [
        replace(best, text_weight=weight, ridge=ridge)
        for weight in TEXT_WEIGHTS
        for ridge in (best.ridge, 2.0 * best.ridge)
    ]


def _half_lives(best: Constants) -> list[Constants]:
    return [replace(best, half_life_days=days) for days in HALF_LIVES]


def _own_weights(best: Constants) -> list[Constants]:
    return [replace(best, own_weight=weight) for weight in OWN_WEIGHTS]


def _exam(
    log: _Log, words: sparse.csr_array | None, window: Window, random: np.random.Generator
) -> _Exam | None:
    """Ask visitors known before the window what they bought in it for the first time."""
    known = log.before(window.start)
    is_later = (log.time >= window.start) & (log.time < window.stop) & log.is_purchase
    visitors = np.intersect1d(known.visitor, log.visitor[is_later])
    if len(visitors) < FEWEST_VISITORS:
        return None
    size = log.items
    rows = known.taken(LEARNED)
    everything = _matrix(rows, size)
    head = _head(everything, TUNED_ITEMS)
    had = known.bought()
    bought = _matrix(had, size, np.ones(len(had.item)))
    later = log._where(is_later)
    got = later.taken(LEARNED)
    wanted = _matrix(got, size, np.ones(len(got.item)))
    # New, and known to the shop.
    is_known = np.bincount(known.item, minlength=size) > 0
    new = wanted - wanted.multiply(bought)
    new.eliminate_zeros()
    relevant = np.asarray((new @ sparse.diags_array(is_known.astype(np.float32))).sum(axis=1))
    visitors = visitors[relevant[visitors] > 0]
    if len(visitors) < FEWEST_VISITORS:
        return None
    if len(visitors) > MOST_VISITORS:
        visitors = np.sort(random.choice(visitors, MOST_VISITORS, replace=False))
    moments = sparse.csr_array((rows.time, rows.item, rows.starts), shape=everything.shape)
    # Of what a visitor did not buy, the session's own items may be the answer.
    return _Exam(
        known,
        head,
        everything[:, head],
        None if words is None else words[head],
        everything[visitors][:, head],
        moments[visitors][:, head].data,
        bought[visitors][:, head].toarray() > 0,
        new[visitors][:, head].toarray() > 0,
        relevant[visitors].astype(np.int64),
    )


def _lifts(exam: _Exam) -> dict[float, NDArray[np.float64]]:
    log = exam.log
    return {
        days: trend(log.item, decayed(log.time, log.now, days), log.items)[exam.head]
        for days in TREND_DAYS
    }


def _scores(exam: _Exam, weights: NDArray[np.float32], tried: Constants) -> NDArray[np.float32]:
    asked = exam.asked.copy()
    asked.data = asked.data * _aged(exam.moments, exam.log.now, tried).astype(np.float32)
    scores: NDArray[np.float32] = asked @ weights
    if tried.own_weight:
        scores += (exam.asked > 0).toarray() * np.float32(tried.own_weight)
    scores[exam.is_hidden] = 0.0
    return np.maximum(scores, 0.0, out=scores)


def _mark(
    exams: Sequence[_Exam],
    scores: Sequence[NDArray[np.float32]],
    lifts: Sequence[dict[float, NDArray[np.float64]]],
    tried: Constants,
) -> float:
    """Mean of recall and NDCG over the windows."""
    found = []
    for exam, given, lift in zip(exams, scores, lifts, strict=True):
        factor = lift[tried.trend_days] ** tried.trend_exponent
        ranked = best_columns(given * factor.astype(np.float32), PLACES)
        hits = np.take_along_axis(exam.is_right, ranked, axis=1)
        found.append(np.mean(recall_and_ndcg(hits, exam.relevant)))
    return float(np.mean(found))
