"""BoughtTogether: what the same orders hold."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from saleor_personalize.ml.base import Arrays, Candidate, Context, ReasonCode, Recommender
from saleor_personalize.ml.data import Interactions, Items, positions
from saleor_personalize.ml.neighbours import neighbour_candidates, top_neighbours
from saleor_personalize.ml.texts import vectors_of
from saleor_personalize.ml.tuning import DAY, Window, best_columns, last_windows, recall_and_ndcg

Codes = NDArray[np.integer[Any]]

#: A target so many times as dear as the seed is held back: a case goes with a phone, not the reverse.
DEARER = 5.0
#: Items of like texts that are asked for an item, how alike they are at least, and their worth.
LIKE, LEAST_ALIKE = 10, 0.2
#: How much further than the answer own co-counts reach before texts are weighed in.
REACH = 1.5
#: Last items that a visitor ordered.
OF_VISITOR = 100
#: Of a row that is lent, its first entries.
LENT = 50
#: A word of more items than these says little of what goes together, and costs its square.
MOST_OF_WORD = 2_000

#: Windows, orders of each and items that constants are chosen on, and orders below which they are not.
WINDOWS, MOST_ORDERS, TUNED_ITEMS, FEWEST_ORDERS = 2, 1_500, 2_500, 100
#: Places of an answer that count.
PLACES = 10
SIZE_EXPONENTS = (0.0, 0.5, 1.0, 1.5, 2.0, 2.5)
HALF_LIVES = (None, 365.0, 180.0, 90.0)
POPULARITY_EXPONENTS = (0.0, 0.05, 0.1, 0.2)
TREND_DAYS = (7.0, 28.0)
TREND_EXPONENTS = (0.0, 0.25, 0.5)
VISITOR_WEIGHTS = (0.0, 0.1, 0.2, 0.4)
BORROWED = (0.0, 0.015, 0.03, 0.06)
LIKENESS_WEIGHTS = (0.0, 0.3, 0.6, 1.0)
#: Texts of items that orders hold cost time: they must gain so much.
WORTHWHILE = 1.01
#: For items that no order holds.
COLD_LIKENESS = (0.0, 0.01, 0.03, 0.1, 0.3)


@dataclass(frozen=True)
class Constants:
    """What is chosen on the shop's own last windows. `BoughtTogether` says what each does."""

    popularity_exponent: float
    trend_exponent: float
    trend_days: float
    half_life_days: float | None
    size_exponent: float
    visitor_weight: float
    borrowed: float = 0.0
    likeness_weight: float = 0.0
    cold_likeness: float = 0.03


class BoughtTogether(Recommender):
    """Complements, from directional co-counts of orders.

    score(a -> b) = together(a, b) / orders(a) ** seed_exponent
                    / orders(b) ** popularity_exponent * trend(b) ** trend_exponent
                    * min(1, 5 * price(a) / price(b))

    `together` adds, for each order with both, 1 / log2(1 + basket size) ** size_exponent, halved
    every `half_life_days`: a basket of fifty says less about a pair than a basket of two. All that a
    visitor ordered, the last hundred items, counts as one more basket, under `visitor_weight`. `trend` is an item's orders
    in the last `trend_days` over what its share of all orders lets expect there, each plus one, so
    that a rare item stays near 1. Several seeds add up.

    **Direction.** a -> b and b -> a differ by the counts of seed and target, by the trend of the
    target, and, where prices are known, by these: a target of more than five times the seed's price is
    held back, so that a phone leads to its case and not the case to phones.

    **Texts**, where the catalogue has any: the rows of the ten items of most similar texts are added
    under `borrowed`, and a score grows by (1 + likeness_weight * similarity). An item that no order
    holds lives on borrowed rows alone, plus `cold_likeness` * similarity: what is alike.

    **Tuning.** popularity_exponent, trend_exponent, trend_days, half_life_days, size_exponent,
    visitor_weight and the three constants of texts are chosen, one or two at a time, by recall at 10 on
    the last two windows, each a tenth of the time and at most 35 days: one item of an order is asked
    for the others. For the last of them the seeds are taken as if no order held them.

    Item-to-item counting as in Linden, Smith & York 2003, "Amazon.com recommendations".
    """

    needs_context = True

    def __init__(
        self,
        *,
        popularity_exponent: float = 0.05,
        trend_exponent: float = 0.3,
        trend_days: float = 28.0,
        half_life_days: float | None = 365.0,
        size_exponent: float = 1.5,
        seed_exponent: float = 0.75,
        visitor_weight: float = 0.0,
        min_support: int = 1,
        n_neighbours: int = 100,
        tune: bool = True,
        seed: int = 0,
    ) -> None:
        """Set the options; the constants are those used without tuning, or with too few orders.

        `popularity_exponent`: 0 ranks by count, 1 by lift. `seed_exponent`: 1 lets each line of a
        cart speak as loud as the others, 0 the best-sellers loudest. `half_life_days`: None counts
        old orders in full; age is taken from the last order. `min_support`: orders that must hold a
        pair. The default of 1 lets a shop with few orders answer: a pair seen once ranks below all
        better proven ones, and raising it only trades such pairs for a fallback. `seed` draws the
        orders that are asked while tuning.
        """
        if n_neighbours < 1 or min_support < 1:
            raise ValueError(
                f"n_neighbours ({n_neighbours}) and min_support ({min_support}) start at 1."
            )
        if not trend_days > 0 or (half_life_days is not None and not half_life_days > 0):
            raise ValueError(
                f"trend_days ({trend_days}) and half_life_days ({half_life_days}) are above 0."
            )
        self.popularity_exponent = popularity_exponent
        self.trend_exponent = trend_exponent
        self.trend_days = trend_days
        self.half_life_days = half_life_days
        self.size_exponent = size_exponent
        self.seed_exponent = seed_exponent
        self.visitor_weight = visitor_weight
        self.min_support = min_support
        self.n_neighbours = n_neighbours
        self.tune = tune
        self.seed = seed

    def _fit(self, interactions: Interactions, items: Items) -> Arrays:
        shop = _Shop.of(interactions, items)
        given = Constants(
            self.popularity_exponent,
            self.trend_exponent,
            self.trend_days,
            self.half_life_days,
            self.size_exponent,
            self.visitor_weight,
        )
        found = _tuned(shop, given, self.seed) if self.tune else given
        baskets, worth = shop.weighted(found)
        # Orders that hold a pair: the baskets of visitors do not count.
        held = baskets.copy()
        held.data = np.repeat(
            (np.arange(len(worth)) < len(shop.placed_at)) * 1.0, np.diff(held.indptr)
        )
        is_plain = shop.prices is None and shop.vectors is None
        rows = top_neighbours(
            baskets.T.tocsr(),
            sparse.csr_array(sparse.diags_array(worth) @ baskets),
            size=self.n_neighbours if is_plain else int(REACH * self.n_neighbours) + 1,
            row_factor=np.maximum(shop.orders, 1.0) ** -self.seed_exponent,
            column_factor=shop.factor(found),
            support=None if self.min_support == 1 else (held, self.min_support),
        )
        if not is_plain:
            rows = _with_texts_and_prices(shop, rows, found, self)
        constants = [np.nan if value is None else value for value in astuple(found)]
        return {"ids": shop.ids, "constants": np.array(constants), **rows}

    @property
    def constants(self) -> Constants:
        """What was chosen. NotTrained: neither fitted nor loaded."""
        values = self.arrays["constants"].tolist()
        found = Constants(*values)
        return replace(found, half_life_days=None) if np.isnan(values[3]) else found

    def _candidates(self, context: Context, count: int) -> Iterable[Candidate]:
        found = neighbour_candidates(self.arrays, context, count, ReasonCode.BOUGHT_TOGETHER)
        if "is_borrowed" not in self.arrays:
            return found
        return [self._with_reason(candidate) for candidate in found]

    def _with_reason(self, candidate: Candidate) -> Candidate:
        """Say so where the two were never in one order, but only things like the seed."""
        arrays = self.arrays
        seed, item = positions(arrays["ids"], [str(candidate.reason_item_id), candidate.item_id])
        row = slice(int(arrays["indptr"][seed]), int(arrays["indptr"][seed + 1]))
        at = row.start + int(np.flatnonzero(arrays["indices"][row] == item)[0])
        if arrays["is_borrowed"][at]:
            return candidate._replace(reason_code=ReasonCode.BOUGHT_WITH_SIMILAR)
        return candidate


@dataclass(frozen=True)
class _Shop:
    """Orders as they were placed, and what is known of the items.

    `ids` (n,): items of orders and, where they have texts, of the catalogue. `baskets` (orders, n): 1
    where an order holds an item, however many lines say so. `placed_at` and `visitor` (a number) of each
    order. `prices` (n,): NaN where unknown, None where all are. `vectors` (n, words):
    rows of length 1, or None.
    """

    ids: NDArray[np.bytes_]
    baskets: sparse.csr_array
    placed_at: NDArray[np.float64]
    visitor: NDArray[np.int32]
    prices: NDArray[np.float64] | None
    vectors: sparse.csr_array | None

    @classmethod
    def of(cls, interactions: Interactions, items: Items) -> _Shop:
        lines = interactions.select(interactions.order_id.codes >= 0)
        ids, vectors = lines.item_id.values, None
        if len(lines) and len(items) and (words := _vectors(items)).nnz:
            ids = np.union1d(ids, items.item_id.values)
            place = sparse.csr_array(
                (
                    np.ones(len(items), np.float32),
                    (np.searchsorted(ids, items.item_id.values), np.arange(len(items))),
                ),
                shape=(len(ids), len(items)),
            )
            vectors = sparse.csr_array(place @ words)
        item = np.searchsorted(ids, lines.item_id.values)[lines.item_id.codes]
        placed_at = np.zeros(len(lines.order_id.values))
        np.maximum.at(placed_at, lines.order_id.codes, lines.timestamp)
        visitor = np.zeros(len(placed_at), dtype=np.int32)
        visitor[lines.order_id.codes] = lines.visitor_id.codes
        prices = None
        if (is_known := np.isfinite(lines.price) & (lines.price > 0)).any():
            count = np.bincount(item[is_known], minlength=len(ids))
            total = np.bincount(item[is_known], weights=lines.price[is_known], minlength=len(ids))
            prices = np.divide(total, count, out=np.full(len(ids), np.nan), where=count > 0)
        return cls(
            ids,
            _ones(lines.order_id.codes, item, (len(placed_at), len(ids))),
            placed_at,
            visitor,
            prices,
            vectors,
        )

    def before(self, moment: float) -> _Shop:
        """What was known then; prices are taken as they are now."""
        is_past = self.placed_at < moment
        return replace(
            self,
            baskets=self.baskets[is_past],
            placed_at=self.placed_at[is_past],
            visitor=self.visitor[is_past],
        )

    @property
    def visitors(self) -> sparse.csr_array:
        """What each visitor ordered, the last items of it, as one basket each."""
        latest = np.argsort(-self.placed_at, kind="stable")
        baskets = self.baskets[latest]
        rows = np.repeat(self.visitor[latest].astype(np.int64), np.diff(baskets.indptr))
        pair, first = np.unique(rows * len(self.ids) + baskets.indices, return_index=True)
        # By visitor, the latest first.
        order = np.lexsort((first, pair // max(len(self.ids), 1)))
        pair = pair[order]
        visitor, item = np.divmod(pair, max(len(self.ids), 1))
        rank = np.arange(len(pair)) - np.searchsorted(visitor, visitor)
        kept = rank < OF_VISITOR
        count = int(self.visitor.max(initial=-1)) + 1
        return _ones(visitor[kept], item[kept], (count, len(self.ids)))

    @property
    def orders(self) -> NDArray[np.float64]:
        """Orders that hold each item."""
        return np.bincount(self.baskets.indices, minlength=len(self.ids)).astype(np.float64)

    @property
    def age(self) -> NDArray[np.float64]:
        """Days before the last order; `initial` for a shop without orders."""
        found: NDArray[np.float64] = (self.placed_at.max(initial=0.0) - self.placed_at) / DAY
        return found

    def weighted(self, found: Constants) -> tuple[sparse.csr_array, NDArray[np.float64]]:
        """Baskets, those of visitors after those of orders, and the worth of each."""
        size = np.diff(self.baskets.indptr)
        worth = np.log2(1.0 + size) ** -found.size_exponent
        if found.half_life_days is not None:
            worth = worth * np.exp2(-self.age / found.half_life_days)
        if not found.visitor_weight:
            return self.baskets, worth
        visitors = self.visitors
        length = np.diff(visitors.indptr)
        of_visitor = np.log2(1.0 + np.maximum(length, 1)) ** -found.size_exponent
        # A weight of 1 gives the pairs of all visitors as much to say as those of all orders.
        pairs, others = (
            (worth * size * (size - 1)).sum(),
            (of_visitor * length * (length - 1)).sum(),
        )
        of_visitor *= found.visitor_weight * pairs / max(others, 1.0)
        both = sparse.csr_array(sparse.vstack([self.baskets, visitors], format="csr"))
        return both, np.concatenate([worth, of_visitor])

    def factor(self, found: Constants) -> NDArray[np.float64]:
        """What each item's score is multiplied with as a target."""
        orders = self.orders
        recent = np.bincount(
            self.baskets[self.age < found.trend_days].indices, minlength=len(self.ids)
        )
        expected = orders * (recent.sum() / max(orders.sum(), 1.0))
        trend = (recent + 1.0) / (expected + 1.0)
        popularity = np.maximum(orders, 1.0) ** -found.popularity_exponent
        product: NDArray[np.float64] = popularity * trend**found.trend_exponent
        return product

    def like(self, seeds: NDArray[np.intp]) -> sparse.csr_array:
        """Similarity of the ordered items whose texts are most like each seed's, (seeds, n)."""
        shape = (len(seeds), len(self.ids))
        if self.vectors is None:
            return sparse.csr_array(shape, dtype=np.float64)
        is_ordered = sparse.diags_array((self.orders > 0).astype(np.float32))
        near = top_neighbours(
            self.vectors[seeds],
            sparse.csr_array(is_ordered @ self.vectors).T.tocsr(),
            size=LIKE,
            minimum=LEAST_ALIKE,
            own=seeds,
        )
        return sparse.csr_array(
            (near["scores"].astype(np.float64), near["indices"], near["indptr"]), shape=shape
        )

    def held_back(self, seed: NDArray[Any], target: NDArray[Any]) -> NDArray[np.float64] | float:
        """min(1, 5 * price of the seed / price of the target), 1 where one is not known."""
        if self.prices is None:
            return 1.0
        found: NDArray[np.float64] = np.fmin(
            np.fmin(DEARER * self.prices[seed] / self.prices[target], 1.0), 1.0
        )
        return found


def _vectors(items: Items) -> sparse.csr_array:
    return vectors_of(items, max_items_per_token=MOST_OF_WORD)


def _ones(rows: NDArray[Any], columns: NDArray[Any], shape: tuple[int, int]) -> sparse.csr_array:
    found = sparse.coo_array((np.ones(len(rows)), (rows, columns)), shape=shape).tocsr()
    found.data[:] = 1.0
    return found


def _with_texts_and_prices(
    shop: _Shop, own: Arrays, found: Constants, recommender: BoughtTogether
) -> Arrays:
    """Weigh prices and texts into the rows of `top_neighbours`, and cut them to their length.

    Adds `is_borrowed`: entries of pairs that no order held.
    """
    size, reach = len(shop.ids), int(REACH * recommender.n_neighbours) + 1
    counts = sparse.csr_array((own["scores"], own["indices"], own["indptr"]), shape=(size, size))
    found_rows = counts
    if shop.vectors is not None:
        found_rows = _lent(shop, counts, found, recommender.seed_exponent, reach)
    seed = np.repeat(np.arange(size), np.diff(found_rows.indptr))
    target = found_rows.indices
    scores = found_rows.data * shop.held_back(seed, target)
    if shop.vectors is not None and found.likeness_weight:
        scores = scores * (1.0 + found.likeness_weight * _similarity(shop.vectors, seed, target))
    weighed = sparse.csr_array((scores, target, found_rows.indptr), shape=(size, size))
    rows = top_neighbours(
        sparse.csr_array(sparse.eye_array(size)), weighed, size=recommender.n_neighbours
    )
    seed = np.repeat(np.arange(size), np.diff(rows["indptr"]))
    return {**rows, "is_borrowed": ~_holds(counts, seed, rows["indices"])}


def _holds(matrix: sparse.csr_array, row: NDArray[Any], column: NDArray[Any]) -> NDArray[np.bool_]:
    """Which entries a square matrix has."""
    size = matrix.shape[0]
    there = np.repeat(np.arange(size), np.diff(matrix.indptr)) * size + matrix.indices
    there.sort()
    wanted = row * size + column
    at = np.minimum(np.searchsorted(there, wanted), max(len(there) - 1, 0))
    found: NDArray[np.bool_] = (
        there[at] == wanted if len(there) else np.zeros(len(wanted), dtype=bool)
    )
    return found


def _lent(
    shop: _Shop, counts: sparse.csr_array, found: Constants, seed_exponent: float, reach: int
) -> sparse.csr_array:
    """Rows of co-counts with those of like items added, and rows for items that no order holds."""
    size, orders = len(shop.ids), shop.orders
    is_cold = orders == 0
    asking = np.arange(size) if found.borrowed else np.flatnonzero(is_cold)
    like = shop.like(asking)
    # Own rows are divided by orders ** seed_exponent; what is lent is counted in orders again.
    loud = sparse.diags_array(np.maximum(orders, 1.0) ** seed_exponent)
    worth = np.maximum(orders[asking], 1.0) ** -seed_exponent * found.borrowed
    worth[is_cold[asking]] = 1.0
    spread = _ones(asking, np.arange(len(asking)), (size, len(asking)))
    lenders = spread @ sparse.diags_array(worth) @ like @ loud
    rows = top_neighbours(sparse.csr_array(lenders), _first(counts, LENT), size=reach)
    lent = sparse.csr_array((rows["scores"], rows["indices"], rows["indptr"]), shape=(size, size))
    lent = lent + counts
    # Rows of one scale for the cold: what goes with the like ones, and these themselves.
    scale = np.where(is_cold, 1.0 / np.maximum(np.asarray(lent.sum(axis=1)), 1e-9), 1.0)
    cold = found.cold_likeness * is_cold[asking]
    cold = cold / np.maximum(np.asarray(like.sum(axis=1)), 1e-9)
    themselves = spread @ sparse.diags_array(cold) @ like
    return sparse.csr_array(sparse.diags_array(scale) @ lent + themselves)


def _first(rows: sparse.csr_array, count: int) -> sparse.csr_array:
    """The first entries of each row, which is stored best first."""
    lengths = np.diff(rows.indptr)
    rank = np.arange(rows.nnz) - np.repeat(rows.indptr[:-1], lengths)
    starts = np.concatenate([[0], np.cumsum(np.minimum(lengths, count))])
    kept = rank < count
    return sparse.csr_array((rows.data[kept], rows.indices[kept], starts), shape=rows.shape)


def _similarity(
    vectors: sparse.csr_array, seed: NDArray[Any], target: NDArray[Any]
) -> NDArray[np.float64]:
    """Cosine of each pair."""
    found = np.empty(len(seed))
    for start in range(0, len(seed), 200_000):
        rows = slice(start, start + 200_000)
        found[rows] = vectors[seed[rows]].multiply(vectors[target[rows]]).sum(axis=1)
    return found


class _Exam:
    """One window: what was known, and one item of each order of it, asked for the others."""

    def __init__(self, shop: _Shop, known: _Shop, cases: Sequence[tuple[int, Codes]]) -> None:
        """Keep what does not change while constants are tried. `cases`: the item asked, the others."""
        self._shop = known
        self._seeds, self._case = np.unique([seed for seed, _ in cases], return_inverse=True)
        orders = known.orders
        head = np.lexsort((np.arange(len(orders)), -orders))[:TUNED_ITEMS]
        self._head = np.sort(head[orders[head] > 0])
        column = np.full(len(orders), -1)
        column[self._head] = np.arange(len(self._head))
        self._own = column[self._seeds]
        self._relevant = np.array([len(others) for _, others in cases])
        self._is_right = np.zeros((len(cases), len(self._head)), dtype=bool)
        for row, (_, others) in enumerate(cases):
            found = column[others]
            self._is_right[row, found[found >= 0]] = True
        self._held_back = np.asarray(
            known.held_back(self._seeds[:, None], self._head[None, :]), dtype=np.float32
        )
        self._like = known.like(self._seeds)
        self.has_texts = shop.vectors is not None
        if shop.vectors is not None:
            alike = shop.vectors[self._seeds] @ shop.vectors[self._head].T.tocsr()
            self._alike = alike.toarray()
        self._made: dict[tuple[Any, ...], NDArray[np.float32]] = {}

    def recall(self, tried: Constants) -> float:
        """Recall of the seeds as they are."""
        scores = self._counts(tried, is_lent=False)
        if tried.borrowed:
            scores = scores + np.float32(tried.borrowed) * self._counts(tried, is_lent=True)
        if tried.likeness_weight:
            scores = scores * (1 + np.float32(tried.likeness_weight) * self._alike)
        return self._recall(scores, tried)

    def recall_of_cold(self, tried: Constants) -> float:
        """Recall of the seeds as if no order held them."""
        lent = self._counts(tried, is_lent=True)
        factor = self._shop.factor(tried)[self._head]
        total = np.maximum((lent * factor).sum(axis=1, keepdims=True), 1e-9)
        like = self._like[:, self._head].toarray()
        like /= np.maximum(like.sum(axis=1, keepdims=True), 1e-9)
        scores = lent / total
        if tried.likeness_weight:
            scores = scores * (1.0 + tried.likeness_weight * self._alike)
        return self._recall(scores + tried.cold_likeness * like / factor, tried)

    def _recall(self, scores: NDArray[Any], tried: Constants) -> float:
        factor = self._shop.factor(tried)[self._head].astype(np.float32)
        scores = (scores * self._held_back * factor).astype(np.float32, copy=False)
        is_known = np.flatnonzero(self._own >= 0)
        scores[is_known, self._own[is_known]] = -1.0
        best = best_columns(scores, PLACES)[self._case]
        return recall_and_ndcg(np.take_along_axis(self._is_right, best, axis=1), self._relevant)[0]

    def _counts(self, tried: Constants, *, is_lent: bool) -> NDArray[np.float32]:
        """Co-counts, seeds x head: the seeds' own, or those of like items times their likeness."""
        key = (tried.size_exponent, tried.half_life_days, tried.visitor_weight, is_lent)
        if key not in self._made:
            baskets, worth = self._shop.weighted(tried)
            asked = baskets.T.tocsr()
            asked = self._like @ asked if is_lent else asked[self._seeds]
            product = asked @ sparse.csr_array(sparse.diags_array(worth) @ baskets[:, self._head])
            self._made[key] = product.toarray().astype(np.float32)
        return self._made[key]


def _exam(shop: _Shop, window: Window, random: np.random.Generator) -> _Exam | None:
    """Draw an item known before from each order of the window that holds another."""
    known = shop.before(window.start)
    orders, starts = known.orders, shop.baskets.indptr
    is_asked = (shop.placed_at >= window.start) & (shop.placed_at < window.stop)
    cases: list[tuple[int, Codes]] = []
    for order in random.permutation(np.flatnonzero(is_asked)).tolist():
        basket = np.sort(shop.baskets.indices[starts[order] : starts[order + 1]])
        seed = int(random.choice(basket))
        if orders[seed] and (orders[basket] > 0).sum() > 1:
            cases.append((seed, basket[basket != seed]))
        if len(cases) == MOST_ORDERS:
            break
    return _Exam(shop, known, cases) if len(cases) >= FEWEST_ORDERS else None


def _tuned(shop: _Shop, given: Constants, seed: int) -> Constants:
    """Choose constants one or two at a time on the last windows."""
    windows, random = last_windows(shop.placed_at, WINDOWS), np.random.default_rng(seed)
    exams = [exam for window in windows if (exam := _exam(shop, window, random)) is not None]
    if not exams:
        return given
    best, marks = given, dict[Constants, float]()
    for alternatives in (
        _sizes,
        _half_lives,
        _targets,
        _sizes,
        _half_lives,
        _visitors,
        _targets,
        _texts if exams[0].has_texts else _targets,
    ):
        before = best
        for tried in alternatives(before):
            if tried not in marks:
                marks[tried] = float(np.mean([exam.recall(tried) for exam in exams]))
        best = max(marks, key=marks.__getitem__)
    if not exams[0].has_texts:
        return best
    if marks[best] < WORTHWHILE * marks[before]:
        best = before
    of_cold = {
        tried: float(np.mean([exam.recall_of_cold(tried) for exam in exams]))
        for tried in (replace(best, cold_likeness=weight) for weight in COLD_LIKENESS)
    }
    return max(of_cold, key=of_cold.__getitem__)


def _sizes(best: Constants) -> list[Constants]:
    return [replace(best, size_exponent=value) for value in SIZE_EXPONENTS]


def _half_lives(best: Constants) -> list[Constants]:
    return [replace(best, half_life_days=value) for value in HALF_LIVES]


def _visitors(best: Constants) -> list[Constants]:
    return [replace(best, visitor_weight=value) for value in VISITOR_WEIGHTS]


def _targets(best: Constants) -> list[Constants]:
    trends = [(0.0, best.trend_days)]
    trends += [(power, days) for days in TREND_DAYS for power in TREND_EXPONENTS if power]
    return [
        replace(best, popularity_exponent=popularity, trend_exponent=power, trend_days=days)
        for popularity in POPULARITY_EXPONENTS
        for power, days in trends
    ]


def _texts(best: Constants) -> list[Constants]:
    return [
        replace(best, borrowed=lent, likeness_weight=weight)
        for lent in BORROWED
        for weight in LIKENESS_WEIGHTS
    ]
