"""Neighbours of each item: built in bounded memory, kept in three arrays, summed over seeds."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from saleor_personalize.ml.base import Arrays, Candidate, Context
from saleor_personalize.ml.data import positions

#: Multiplications (about 12 bytes each at worst) that one block of rows may need.
BLOCK = 8_000_000


def top_neighbours(
    left: sparse.csr_array,
    right: sparse.csr_array,
    *,
    size: int,
    minimum: float = 0.0,
    row_factor: NDArray[np.floating[Any]] | None = None,
    column_factor: NDArray[np.floating[Any]] | None = None,
    support: tuple[sparse.csr_array, int] | None = None,
    own: NDArray[np.integer[Any]] | None = None,
) -> Arrays:
    """Keep the `size` largest entries, above `minimum`, in each row of `left @ right`.

    `left` (n, m) and `right` (m, c); of row a, column `own[a]`, by default a, is left out; entry
    (a, b) is first multiplied by `row_factor[a] * column_factor[b]`. `support` is another right side, non-zero where `right` is,
    and what `left` times it must reach. Equal entries go by column. The result is in CSR form, each
    row best first: `indptr` int64 (n+1,), `indices` int32 and `scores` float32.
    """
    count = left.shape[0]
    own = np.arange(count) if own is None else own
    lengths = np.zeros(count, dtype=np.int64)
    indices: list[NDArray[np.int32]] = [np.empty(0, dtype=np.int32)]
    scores: list[NDArray[np.float32]] = [np.empty(0, dtype=np.float32)]
    for start, stop in _blocks(left, right):
        product = (left[start:stop] @ right).tocoo()
        rows, columns, values = product.row, product.col, product.data.astype(np.float64)
        if column_factor is not None:
            values *= column_factor[columns]
        if row_factor is not None:
            values *= row_factor[start + rows]
        keep = (values > minimum) & (columns != own[start + rows])
        if support is not None:
            # The same pattern on both sides makes the same order of entries.
            keep &= (left[start:stop] @ support[0]).tocoo().data >= support[1]
        # Ordered as stored: what is equal in float32 goes by column.
        stored = values[keep].astype(np.float32)
        rows, columns, stored = _largest(rows[keep], columns[keep], stored, size)
        lengths[start:stop] = np.bincount(rows, minlength=stop - start)
        indices.append(columns.astype(np.int32))
        scores.append(stored)
    return {
        "indptr": np.concatenate([[0], np.cumsum(lengths)]),
        "indices": np.concatenate(indices),
        "scores": np.concatenate(scores),
    }


def neighbour_candidates(
    arrays: Arrays, context: Context, count: int, reason_code: str
) -> list[Candidate]:
    """Add up the neighbours of all seeds; the reason is the seed that added most.

    `arrays`: `ids` (sorted) and those of `top_neighbours`.
    """
    ids, indptr = arrays["ids"], arrays["indptr"]
    rows = [
        (seed, slice(int(indptr[at]), int(indptr[at + 1])))
        for seed, at in zip(context.seeds, positions(ids, context.seeds), strict=True)
        if at >= 0
    ]
    if not rows:
        return []
    if len(rows) == 1:
        # The page of a product: its row is stored best first.
        seed, row = rows[0]
        items, scores = arrays["indices"][row][:count], arrays["scores"][row][:count]
        reasons = [seed] * len(items)
    else:
        items, scores, reasons = _sums(arrays, rows, count)
    return [
        Candidate(item.decode(), score, reason_code, seed)
        for item, score, seed in zip(ids[items].tolist(), scores.tolist(), reasons, strict=True)
    ]


def _sums(
    arrays: Arrays, rows: list[tuple[str, slice]], count: int
) -> tuple[NDArray[Any], NDArray[Any], list[str]]:
    """Best items over several rows, their added scores, and the seed that added most to each."""
    neighbours = np.concatenate([arrays["indices"][row] for _, row in rows])
    scores = np.concatenate([arrays["scores"][row] for _, row in rows]).astype(np.float64)
    seeds = np.repeat(np.arange(len(rows)), [row.stop - row.start for _, row in rows])
    items, group = np.unique(neighbours, return_inverse=True)
    totals = np.bincount(group, weights=scores, minlength=len(items))
    # The last entry of each group is its highest score, of the first seed if two are equal.
    by_group = np.lexsort((-seeds, scores, group))
    last = np.cumsum(np.bincount(group, minlength=len(items))) - 1
    strongest = seeds[by_group[last]]
    best = np.lexsort((items, -totals))[:count]
    return items[best], totals[best], [rows[seed][0] for seed in strongest[best].tolist()]


def _blocks(left: sparse.csr_array, right: sparse.csr_array) -> Iterator[tuple[int, int]]:
    """Cut the rows of `left` so that no block needs more than about BLOCK multiplications."""
    cost_of_entry = np.diff(right.indptr)[left.indices]
    cost = np.concatenate([[0], np.cumsum(cost_of_entry)])[left.indptr]
    start = 0
    while start < left.shape[0]:
        stop = int(np.searchsorted(cost, cost[start] + BLOCK, side="right")) - 1
        stop = min(max(stop, start + 1), left.shape[0])
        yield start, stop
        start = stop


def _largest(
    rows: NDArray[Any], columns: NDArray[Any], values: NDArray[np.float32], size: int
) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.float32]]:
    """Cut each row to its `size` largest values; rows come in order and leave best first."""
    lengths = np.bincount(rows)
    ends = np.cumsum(lengths)
    # Sorting is the slow part: drop what is below a row's size-th value first.
    floor = np.full(len(lengths), -np.inf)
    for row in np.flatnonzero(lengths > size):
        part = values[ends[row] - lengths[row] : ends[row]]
        floor[row] = np.partition(part, -size)[-size]
    keep = values >= floor[rows]
    rows, columns, values = rows[keep], columns[keep], values[keep]
    order = np.lexsort((columns, -values, rows))
    rows, columns, values = rows[order], columns[order], values[order]
    rank = np.arange(len(rows)) - np.searchsorted(rows, rows)
    return rows[rank < size], columns[rank < size], values[rank < size]
