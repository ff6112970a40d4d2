"""Peers to be measured beside: known recommenders, written from their papers in numpy, small and plain.

Each is fitted on a `Shop` and answers like an `Engine`: `recommend(...)` for a visit or a visitor,
`related(item)` for a product. Ids are whole numbers from 0.

Papers: (V)SKNN Ludewig & Jannach 2018, "Evaluation of session-based recommendation algorithms"; STAN
Garg et al. 2019, "Sequence and time aware neighborhood for session-based recommendations"; VSTAN
Ludewig et al. 2021, "Empirical analysis of session-based recommendation algorithms"; VMIS Kersbergen et
al. 2022, "Serenade"; item-kNN Sarwar et al. 2001; EASE Steck 2019, "Embarrassingly shallow
autoencoders for sparse data".
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

#: Items kept for each item by what compares items.
NEIGHBOURS = 200
RULE_STEPS = 10


@dataclass(frozen=True)
class Shop:
    """Events as columns of whole numbers; -1 where there is no order."""

    visitor: NDArray[np.int64]
    item: NDArray[np.int64]
    time: NDArray[np.float64]
    session: NDArray[np.int64]
    order: NDArray[np.int64]

    @classmethod
    def of(cls, table: Any) -> Self:
        """Read a pyarrow table."""
        names = table.column_names

        def column(name: str, kind: type) -> NDArray[Any]:
            return table[name].to_numpy().astype(kind)

        none = np.full(table.num_rows, -1)
        return cls(
            visitor=column("visitor_id", np.int64),
            item=column("item_id", np.int64),
            time=column("timestamp", np.float64),
            session=column("session_id", np.int64),
            order=column("order_id", np.int64) if "order_id" in names else none,
        )

    @property
    def items(self) -> int:
        return int(self.item.max()) + 1

    def incidence(self, rows: NDArray[np.int64]) -> tuple[sparse.csr_array, NDArray[np.int64]]:
        """Visitors, sessions or orders by items, 1 where they meet; and the names of the rows."""
        is_there = rows >= 0
        names, codes = np.unique(rows[is_there], return_inverse=True)
        met = sparse.coo_array(
            (np.ones(len(codes), dtype=np.float32), (codes, self.item[is_there])),
            shape=(len(names), self.items),
        ).tocsr()
        met.data[:] = 1.0
        return met, names


class Peer:
    """What all peers share: an answer from scores, without what is excluded."""

    name = "?"

    def fit(self, shop: Shop) -> Self:
        self.size = shop.items
        self._fit(shop)
        return self

    def recommend(
        self,
        visitor_id: Any = None,
        session: Iterable[Any] = (),
        events: Iterable[str] = (),
        k: int = 20,
        exclude: Iterable[Any] = (),
        now: float | None = None,
    ) -> list[int]:
        known = [item for item in session if item < self.size]
        found = (
            self._scored(visitor_id, known, list(session))
            if session or visitor_id is not None
            else None
        )
        return self._best(found, k, {item for item in exclude if item < self.size})

    def related(self, item_id: Any, k: int = 10) -> list[int]:
        if item_id >= self.size:
            return []
        return self._best(self._next_to(item_id), k, {item_id})

    def _best(self, found: Any, k: int, hidden: set[int]) -> list[int]:
        if found is None:
            return []
        items, scores = found
        wanted = min(k + len(hidden), len(scores))
        if wanted < len(scores):
            part = np.argpartition(-scores, wanted - 1)[:wanted]
            # By item where scores are equal.
            order = part[np.lexsort((items[part], -scores[part]))]
        else:
            order = np.lexsort((items, -scores))
        return [item for item in items[order].tolist() if item not in hidden][:k]

    def _fit(self, shop: Shop) -> None:
        raise NotImplementedError

    def _scored(self, visitor: Any, session: list[int], whole: list[int]) -> Any:
        return None

    def _next_to(self, item: int) -> Any:
        return None


class Pop(Peer):
    """The same items for everybody, by visitors; `share` looks at the last events only."""

    def __init__(self, share: float = 1.0) -> None:
        self.name = "Pop" if share == 1 else f"RecentPop({share:g})"
        self.share = share

    def _fit(self, shop: Shop) -> None:
        last = np.argsort(shop.time, kind="stable")[-max(1, int(len(shop.time) * self.share)) :]
        counts = np.bincount(shop.item[last], minlength=shop.items).astype(np.float64)
        order = np.lexsort((np.arange(len(counts)), -counts))
        self._found = order, counts[order]

    def _scored(self, visitor: Any, session: list[int], whole: list[int]) -> Any:
        return self._found

    def _next_to(self, item: int) -> Any:
        return self._found


class _ByItem(Peer):
    """Items next to each item in rows of a sparse matrix; a session is answered by its last item."""

    _next: sparse.csr_array

    def _keep(self, matrix: sparse.csr_array) -> None:
        matrix = sparse.csr_array(matrix)
        matrix.setdiag(0)
        matrix.eliminate_zeros()
        self._next = _largest(matrix, NEIGHBOURS)

    def _next_to(self, item: int) -> Any:
        row = slice(self._next.indptr[item], self._next.indptr[item + 1])
        return self._next.indices[row], self._next.data[row]

    def _scored(self, visitor: Any, session: list[int], whole: list[int]) -> Any:
        return self._next_to(session[-1]) if session else None


class AR(_ByItem):
    """Association rules: how often two items are in one session."""

    name = "AR"

    def _fit(self, shop: Shop) -> None:
        met, _ = shop.incidence(shop.session)
        self._keep(met.T @ met)


class SR(_ByItem):
    """Sequential rules: 1 / distance for each item that follows within ten steps."""

    name = "SR"

    def _fit(self, shop: Shop) -> None:
        order = np.lexsort((shop.time, shop.session))
        items, sessions = shop.item[order], shop.session[order]
        total = sparse.csr_array((shop.items, shop.items))
        for step in range(1, RULE_STEPS + 1):
            is_same = sessions[step:] == sessions[:-step]
            left, right = items[:-step][is_same], items[step:][is_same]
            total = (
                total
                + sparse.coo_array(
                    (np.full(len(left), 1.0 / step), (left, right)), shape=total.shape
                ).tocsr()
            )
        self._keep(total)


class ItemKNN(_ByItem):
    """Cosine between items over sessions."""

    name = "ItemKNN"

    def _fit(self, shop: Shop) -> None:
        met, _ = shop.incidence(shop.session)
        self._keep(
            _scaled(met.T @ met, _power(met.sum(axis=0), -0.5), _power(met.sum(axis=0), -0.5))
        )


class Nearest(Peer):
    """Sessions like this one, and what they hold: SKNN, VSKNN, STAN, VSTAN and VMIS.

    `weight_of_place` of an item of the live session by its distance from the end; `weight_of_distance`
    of a neighbour's item from the last one that both share; `recent`: sessions looked at for an item;
    `idf`: rare items weigh more; `norm`: the neighbour's length counts against it.
    """

    def __init__(
        self,
        name: str,
        *,
        recent: int,
        neighbours: int,
        place: float | None = None,
        linear: bool = False,
        distance: float | None = None,
        step: bool = False,
        idf: bool = False,
        norm: bool = False,
    ) -> None:
        self.name, self.recent, self.neighbours = name, recent, neighbours
        self.place, self.linear, self.distance, self.step = place, linear, distance, step
        self.idf, self.norm = idf, norm

    def _fit(self, shop: Shop) -> None:
        order = np.lexsort((shop.time, shop.session))
        items = shop.item[order]
        names, sessions = np.unique(shop.session[order], return_inverse=True)
        # The latest session has the highest number.
        last = np.zeros(len(names))
        np.maximum.at(last, sessions, shop.time[order])
        rank = np.empty(len(names), dtype=np.int64)
        rank[np.lexsort((np.arange(len(names)), last))] = np.arange(len(names))
        sessions = rank[sessions]
        by_session = np.argsort(sessions, kind="stable")
        self.items, sessions = items[by_session], sessions[by_session]
        self.starts = np.concatenate([[0], np.cumsum(np.bincount(sessions, minlength=len(names)))])
        self.lengths = np.diff(self.starts)
        pairs = np.unique(self.items * len(names) + (len(names) - 1 - sessions))
        self.posting = len(names) - 1 - pairs % len(names)
        self.posting_starts = np.searchsorted(pairs // len(names), np.arange(shop.items + 1))
        frequency = np.maximum(np.diff(self.posting_starts), 1)
        self.rarity = np.log(len(names) / frequency) if self.idf else np.ones(shop.items)
        self._empty = np.zeros(shop.items)
        self._place_of = np.zeros(shop.items, dtype=np.int64)

    def _scored(self, visitor: Any, session: list[int], whole: list[int]) -> Any:
        if not session:
            return None
        place = {item: at for at, item in enumerate(session, start=1)}
        length = len(session)
        parts, weights = [], []
        for item, at in place.items():
            first = self.posting_starts[item]
            found = self.posting[first : min(first + self.recent, self.posting_starts[item + 1])]
            if self.place is not None:
                weight = np.exp((at - length) / self.place)
            else:
                weight = at / length if self.linear else 1.0
            parts.append(found)
            weights.append(np.full(len(found), weight))
        found, group = np.unique(np.concatenate(parts), return_inverse=True)
        similarity = np.bincount(group, weights=np.concatenate(weights))
        if self.norm:
            similarity = similarity / np.sqrt(self.lengths[found] * length)
        if len(found) > self.neighbours:
            # The later session where two are alike.
            keep = np.lexsort((-found, -similarity))[: self.neighbours]
            found, similarity = found[keep], similarity[keep]
        starts, lengths = self.starts[found], self.lengths[found]
        offset = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        items = self.items[np.repeat(starts, lengths) + offset]
        worth = np.repeat(similarity, lengths)
        for item, at in place.items():
            self._place_of[item] = at
        shared = self._place_of[items]
        owner = np.repeat(np.arange(len(found)), lengths)
        for item in place:
            self._place_of[item] = 0
        if self.step:
            # How far back the last item lies that both share.
            last = np.zeros(len(found), dtype=np.int64)
            np.maximum.at(last, owner, shared)
            worth = worth * np.maximum(1.0 - 0.1 * (length - last), 0.05)[owner]
        if self.distance is not None:
            latest = np.zeros(len(found), dtype=np.int64)
            best = np.zeros(len(found), dtype=np.int64)
            np.maximum.at(best, owner, shared)
            is_it = (shared == best[owner]) & (shared > 0)
            np.maximum.at(latest, owner[is_it], offset[is_it])
            worth = worth * np.exp(-np.abs(offset - latest[owner]) / self.distance)
        # An item twice in a neighbour counts by its better place only.
        order = np.lexsort((-worth, items, owner))
        is_first = np.ones(len(order), dtype=bool)
        is_first[1:] = (items[order][1:] != items[order][:-1]) | (
            owner[order][1:] != owner[order][:-1]
        )
        order = order[is_first]
        distinct, group = np.unique(items[order], return_inverse=True)
        return distinct, np.bincount(group, weights=worth[order]) * self.rarity[distinct]


def session_peers() -> list[Peer]:
    """The neighbours of sessions, each with the options its authors chose for RetailRocket."""
    return [
        Pop(),
        AR(),
        SR(),
        ItemKNN(),
        Nearest("SKNN", recent=1000, neighbours=100, norm=True),
        Nearest("VSKNN", recent=1000, neighbours=200, linear=True, step=True, idf=True),
        Nearest("VMIS", recent=500, neighbours=100, linear=True, step=True, idf=True),
        Nearest("STAN", recent=2500, neighbours=500, place=3.6, distance=3.6, norm=True),
        Nearest("VSTAN", recent=2500, neighbours=500, place=3.6, distance=3.6, norm=True, idf=True),
    ]


class EASE(Peer):
    """Linear autoencoder in closed form over visitors by items; `most` items at most are known."""

    def __init__(self, penalty: float = 250.0, most: int = 6_000, trend: float = 0.0) -> None:
        self.penalty, self.most, self.trend = penalty, most, trend
        self.name = f"EASE({penalty:g})" + (f" x trend^{trend:g}" if trend else "")

    def _fit(self, shop: Shop) -> None:
        met, names = shop.incidence(shop.visitor)
        counts = met.sum(axis=0)
        self.known = np.sort(np.argsort(-counts, kind="stable")[: self.most])
        self.known = self.known[counts[self.known] > 0]
        self.met = met[:, self.known].tocsr()
        gram = (self.met.T @ self.met).toarray().astype(np.float64)
        gram[np.diag_indices(len(gram))] += self.penalty
        inverse = np.linalg.inv(gram)
        weights = -inverse / np.diag(inverse)
        weights[np.diag_indices(len(weights))] = 0.0
        if self.trend:
            last = np.argsort(shop.time, kind="stable")[-max(1, len(shop.time) // 20) :]
            recent = np.bincount(shop.item[last], minlength=shop.items)[self.known] + 1.0
            overall = np.bincount(shop.item, minlength=shop.items)[self.known] + 1.0
            share = (recent / recent.sum()) / (overall / overall.sum())
            weights = np.maximum(weights, 0) * share**self.trend
        self.weights = weights
        self.row = {int(name): at for at, name in enumerate(names.tolist())}

    def _scored(self, visitor: Any, session: list[int], whole: list[int]) -> Any:
        at = self.row.get(visitor)
        if at is None:
            return None
        own = self.met.indices[self.met.indptr[at] : self.met.indptr[at + 1]]
        return self.known, self.weights[own].sum(axis=0)


class VisitorKNN(Peer):
    """Item-kNN over visitors, co-counts over a power of both items' visitors."""

    name = "ItemKNN(visitors)"

    def _fit(self, shop: Shop) -> None:
        self.met, names = shop.incidence(shop.visitor)
        counts = self.met.sum(axis=0)
        scaled = _scaled(
            self.met.T @ self.met, _power(counts + 10.0, -0.3), _power(counts + 10.0, -0.3)
        )
        scaled.setdiag(0)
        self._next = _largest(scaled, NEIGHBOURS)
        self.row = {int(name): at for at, name in enumerate(names.tolist())}

    def _scored(self, visitor: Any, session: list[int], whole: list[int]) -> Any:
        at = self.row.get(visitor)
        if at is None:
            return None
        scores = self.met[[at]] @ self._next
        return scores.indices, scores.data


class Together(_ByItem):
    """Co-counts of orders under a measure: conf, cosine, lift, jaccard or pow (a mild popularity)."""

    def __init__(self, measure: str) -> None:
        self.measure, self.name = measure, f"Co.{measure}"

    def _fit(self, shop: Shop) -> None:
        is_order = (shop.order >= 0).any()
        met, _ = shop.incidence(shop.order if is_order else shop.session)
        counts = np.asarray(met.sum(axis=0), dtype=np.float64)
        together = (met.T @ met).tocsr().astype(np.float64)
        one = np.ones(len(counts))
        if self.measure == "jaccard":
            coo = together.tocoo()
            coo.data = coo.data / (counts[coo.row] + counts[coo.col] - coo.data)
            together = coo.tocsr()
        else:
            power = {"conf": 0.0, "pow": 0.3, "cosine": 0.5, "lift": 1.0}[self.measure]
            together = _scaled(together, one, _power(counts, -power))
        self._keep(together)


class Implicit(Peer):
    """A model of the library `implicit`, on visitors by items or, for baskets, on orders."""

    def __init__(self, name: str, model: Any, *, of_orders: bool = False) -> None:
        self.name, self.model, self.of_orders = f"implicit.{name}", model, of_orders

    def _fit(self, shop: Shop) -> None:
        rows = (
            shop.order
            if self.of_orders and (shop.order >= 0).any()
            else (shop.session if self.of_orders else shop.visitor)
        )
        met, names = shop.incidence(rows)
        self.met = sparse.csr_matrix(met)
        self.model.fit(self.met, show_progress=False)
        self.row = {int(name): at for at, name in enumerate(names.tolist())}

    def _scored(self, visitor: Any, session: list[int], whole: list[int]) -> Any:
        at = self.row.get(visitor)
        if at is None:
            return None
        return self.model.recommend(at, self.met[at], N=1_000, filter_already_liked_items=False)

    def _next_to(self, item: int) -> Any:
        return self.model.similar_items(item, N=50)


def implicit_peers(*, of_orders: bool) -> list[Peer]:
    """Models of `implicit`, none where it is not installed."""
    try:
        from implicit.als import AlternatingLeastSquares
        from implicit.nearest_neighbours import (
            BM25Recommender,
            CosineRecommender,
            TFIDFRecommender,
        )
    except ImportError:
        return []
    return [
        Implicit(name, model, of_orders=of_orders)
        for name, model in (
            ("cosine", CosineRecommender(K=NEIGHBOURS, num_threads=1)),
            ("tfidf", TFIDFRecommender(K=NEIGHBOURS, num_threads=1)),
            ("bm25", BM25Recommender(K=NEIGHBOURS, num_threads=1)),
            ("als", AlternatingLeastSquares(factors=128, num_threads=1, random_state=0)),
        )
    ]


def visitor_peers() -> list[Peer]:
    return [
        Pop(),
        Pop(0.1),
        VisitorKNN(),
        EASE(),
        EASE(trend=0.7),
        *implicit_peers(of_orders=False),
    ]


def basket_peers() -> list[Peer]:
    measures = ("conf", "pow", "cosine", "lift", "jaccard")
    return [Pop(), *(Together(measure) for measure in measures), *implicit_peers(of_orders=True)]


def _power(counts: Any, exponent: float) -> NDArray[np.float64]:
    return np.maximum(np.asarray(counts, dtype=np.float64), 1.0) ** exponent


def _scaled(
    matrix: sparse.csr_array, rows: NDArray[np.float64], columns: NDArray[np.float64]
) -> sparse.csr_array:
    return sparse.csr_array(sparse.diags_array(rows) @ matrix @ sparse.diags_array(columns))


def _largest(matrix: sparse.csr_array, size: int) -> sparse.csr_array:
    """Keep the largest entries of each row."""
    kept = []
    for row in range(matrix.shape[0]):
        first, last = matrix.indptr[row], matrix.indptr[row + 1]
        if last - first > size:
            kept.append(first + np.argpartition(-matrix.data[first:last], size - 1)[:size])
        else:
            kept.append(np.arange(first, last))
    lengths = [len(part) for part in kept]
    keep = np.concatenate(kept)
    return sparse.csr_array(
        (matrix.data[keep], matrix.indices[keep], np.concatenate([[0], np.cumsum(lengths)])),
        shape=matrix.shape,
    )


class OwnCount(Peer):
    """What a visitor bought, by how often, each purchase worth half after `half_life_days`."""

    def __init__(self, half_life_days: float = 90.0) -> None:
        self.half_life_days = half_life_days
        self.name = f"own count, {half_life_days:g} days"

    def _fit(self, shop: Shop) -> None:
        names, visitors = np.unique(shop.visitor, return_inverse=True)
        worth = np.exp2((shop.time - shop.time.max()) / (86_400 * self.half_life_days))
        self.own = sparse.coo_array(
            (worth, (visitors, shop.item)), shape=(len(names), shop.items)
        ).tocsr()
        self.row = {int(name): at for at, name in enumerate(names.tolist())}

    def _scored(self, visitor: Any, session: list[int], whole: list[int]) -> Any:
        at = self.row.get(visitor)
        if at is None:
            return None
        row = slice(self.own.indptr[at], self.own.indptr[at + 1])
        return self.own.indices[row], self.own.data[row]


def peers_of(task: str) -> Sequence[Peer]:
    """Peers that can answer a task."""
    return {"session": session_peers, "user": visitor_peers}.get(task, basket_peers)()
