"""NextItem: what a live session looks at next, in an order learned from the last sessions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from saleor_personalize.ml import session_features
from saleor_personalize.ml.base import Arrays, Candidate, Context, ReasonCode, Recommender
from saleor_personalize.ml.data import Interactions, Items, positions
from saleor_personalize.ml.recommenders.session import Session
from saleor_personalize.ml.reranker import fit_trees, score_trees
from saleor_personalize.ml.session_features import Asked, Candidates, facts_of
from saleor_personalize.ml.sessions import Ints, Live, SessionLog, ranges

#: Live sessions that are asked about at a time while training.
BATCH = 64
#: Answers to find below which nothing is learned.
FEWEST_ANSWERS = 200


class NextItem(Recommender):
    """About a hundred candidates of several sources, re-ranked by gradient boosting.

    Candidates are what neighbours of the session hold, what came after its last items, the items of
    the session itself, of the visitor's earlier ones, and what is popular of late. To learn, the
    last sessions are played back: each event after the first is an answer to be found, with
    features from a log that ends before the block of sessions it is in. Questions are answered from
    the log of everything. Without `rerank`, and where the last sessions hold too few answers to
    learn from, it answers as `Session` does.

    Re-ranking session neighbours and rules by boosted trees as in the solutions of OTTO 2022;
    vectors of items as in `item_vectors`.
    """

    needs_context = True

    def __init__(
        self,
        *,
        rerank: bool = True,
        n_queries: int = 24_000,
        n_negatives: int = 7,
        n_blocks: int = 1,
        n_trees: int = 140,
        dimensions: int = 128,
        seed: int = 0,
    ) -> None:
        """Set the options.

        `n_queries`: events to learn from, the last of at most half the sessions; `n_negatives`:
        other candidates drawn for each. `n_blocks`: the fewer, the older the log that these see.
        `dimensions`: of the vectors of items, 2 bytes each.
        """
        if min(n_queries, n_negatives, n_blocks, n_trees, dimensions) < 1:
            raise ValueError(
                f"n_queries ({n_queries}), n_negatives ({n_negatives}), n_blocks ({n_blocks}), "
                f"n_trees ({n_trees}) and dimensions ({dimensions}) start at 1."
            )
        self.rerank = rerank
        self.n_queries = n_queries
        self.n_negatives = n_negatives
        self.n_blocks = n_blocks
        self.n_trees = n_trees
        self.dimensions = dimensions
        self.seed = seed

    def _fit(self, interactions: Interactions, items: Items) -> Arrays:
        log = SessionLog.of(interactions)
        arrays = {"ids": interactions.item_id.values, **log.arrays()}
        trees = self._learn(log) if self.rerank else {}
        if not trees:
            return arrays
        visitors = {"visitors": interactions.visitor_id.values}
        return {**arrays, **visitors, **self._facts(log), **trees}

    def _candidates(self, context: Context, count: int) -> Iterable[Candidate]:
        arrays = self.arrays
        ids, log = arrays["ids"], SessionLog.from_arrays(arrays)
        live = Live.of(ids, context)
        if "tree_value" not in arrays:
            return _NEIGHBOURS.answers(ids, log, live, count)
        if not len(live.item):
            return []
        now = float(log.ended[-1]) if context.now is None else context.now
        visitor = [] if context.visitor_id is None else [context.visitor_id]
        known = positions(arrays["visitors"], visitor) or [-1]
        asked = Asked(live, np.array(known), np.array([now]))
        found = session_features.candidates(log, arrays, asked, _NEIGHBOURS.get_params())
        scores = score_trees(arrays, found.features)
        best = np.argsort(-scores, kind="stable")[:count]
        last = ids[live.item[-1]].decode()
        return [
            Candidate(item.decode(), score, code, last if is_of_last else None)
            for item, score, (code, is_of_last) in zip(
                ids[found.item[best]].tolist(),
                scores[best].tolist(),
                _reasons(found, best),
                strict=True,
            )
        ]

    def sibling(self) -> Self:
        """Give one that learns from less: a fifth of the time, and hardly worse."""
        less = {
            "n_queries": min(self.n_queries, 5_000),
            "n_blocks": 1,
            "n_trees": min(self.n_trees, 70),
        }
        return type(self)(**{**self.get_params(), **less})

    def _facts(self, log: SessionLog) -> Arrays:
        return facts_of(log, dimensions=self.dimensions, seed=self.seed)

    def _learn(self, log: SessionLog) -> Arrays:
        """Learn the trees from the last sessions; nothing if these hold too few answers."""
        blocks = list(_blocks(log, self.n_queries, self.n_blocks))
        if sum(len(_answers(log, *block)) for block in blocks) < FEWEST_ANSWERS:
            return {}
        rng = np.random.default_rng(self.seed)
        features, relevant = [], []
        for first, stop in blocks:
            past = log.until(first)
            facts = self._facts(past)
            rows = _answers(log, first, stop)
            most = self.n_queries // len(blocks)
            if len(rows) > most:
                rows = np.sort(rng.choice(rows, most, replace=False))
            for begin in range(0, len(rows), BATCH):
                part = rows[begin : begin + BATCH]
                found = session_features.candidates(
                    past, facts, _played(log, part), _NEIGHBOURS.get_params()
                )
                is_hit = found.item == log.item[part][found.query]
                # Where the answer is not among the candidates there is nothing to learn.
                hits = np.bincount(found.query[is_hit], minlength=len(part))[found.query]
                share = self.n_negatives / np.bincount(found.query)[found.query]
                keep = (hits > 0) & (is_hit | (rng.random(len(share)) < share))
                features.append(found.features[:, keep])
                relevant.append(is_hit[keep])
        is_relevant = np.concatenate(relevant)
        if is_relevant.sum() < FEWEST_ANSWERS // 2 or is_relevant.all():
            return {}
        return fit_trees(
            np.concatenate(features, axis=1), is_relevant, n_trees=self.n_trees, seed=self.seed
        )


#: Neighbours are found as `Session` finds them.
_NEIGHBOURS = Session()


def _reasons(found: Candidates, places: Ints) -> Iterator[tuple[ReasonCode, bool]]:
    """The first true reason of each candidate, and whether it speaks of the session's last item."""
    names = ("own_count", "together", "near", "history")
    own, together, near, history = (found.column(name)[places].tolist() for name in names)
    for at in range(len(places)):
        if own[at] > 0 or (history[at] > 0 and not together[at] and not near[at]):
            yield ReasonCode.RECENT, False
        elif together[at] > 0:
            yield ReasonCode.VIEWED_TOGETHER, True
        elif near[at] > 0:
            yield ReasonCode.SESSION, False
        else:
            yield ReasonCode.POPULAR, False


def _blocks(log: SessionLog, queries: int, blocks: int) -> Iterator[tuple[int, int]]:
    """Cut the last sessions, at most half of all, that hold so many answers, into blocks."""
    answers = np.cumsum(np.maximum(np.diff(log.start) - 1, 0)[::-1])
    wanted = int(np.searchsorted(answers, queries)) + 1
    first = max(log.sessions - wanted, log.sessions // 2)
    edges = np.linspace(first, log.sessions, blocks + 1).astype(np.int64).tolist()
    return ((start, stop) for start, stop in pairwise(edges) if start < stop)


def _answers(log: SessionLog, first: int, stop: int) -> Ints:
    """Rows of some sessions that have an event before them."""
    rows = np.arange(log.start[first], log.start[stop])
    return rows[rows > log.start[log.session[rows]]]


def _played(log: SessionLog, answers: NDArray[Any]) -> Asked:
    """Sessions as they were before each answer, asked when they ended."""
    session = log.session[answers]
    start = log.start[session]
    _, row = ranges(start, answers)
    live = Live(
        np.concatenate([[0], np.cumsum(answers - start)]),
        log.item[row].astype(np.int64),
        log.kind[row].astype(np.int64),
    )
    return Asked(live, log.visitor[session].astype(np.int64), log.ended[session])
