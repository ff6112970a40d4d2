"""Items as vectors: what stands near alike items in sessions lies near alike."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from saleor_personalize.ml.sessions import SessionLog

#: Steps within which two items of a session count as near, and how much less with each step.
REACH, DECAY = 4, 0.5
#: Popular neighbours are held to be this much less popular (context distribution smoothing).
SMOOTHING = 0.75
#: Dimensions beyond those asked for that make the randomised range exact enough.
SPARE = 10
#: Rows that are taken in double precision at a time; what is smaller than this share is rounding.
ROWS, EPSILON = 10_000, 1e-11


def item_vectors(log: SessionLog, *, size: int, seed: int = 0) -> NDArray[np.float16]:
    """Vectors (items, size) of length 1, or all 0 for an item never seen near another.

    Eigenvectors of the positive pointwise mutual information of items in sessions, as in Levy &
    Goldberg 2014, "Neural word embedding as implicit matrix factorization", by the randomised
    method of Halko, Martinsson & Tropp 2011. Sums of scipy are in a fixed order: the same log and
    seed give the same vectors.
    """
    information = _information(log)
    size = min(size, log.items)
    draws = np.random.default_rng(seed).standard_normal(
        (log.items, min(size + SPARE, log.items)), dtype=np.float32
    )
    spread: NDArray[Any] = information @ draws
    for _ in range(2):
        basis = _orthonormal(spread)
        spread = information @ basis
    inner = basis.T @ spread
    strength, turn = np.linalg.eigh((inner + inner.T) / 2)
    best = np.argsort(-strength, kind="stable")[:size]
    vectors = np.zeros((log.items, size), dtype=np.float32)
    vectors[:, : len(best)] = (basis @ turn[:, best]) * np.sqrt(np.maximum(strength[best], 0.0))
    return unit(vectors).astype(np.float16)


def _orthonormal(columns: NDArray[np.float32]) -> NDArray[np.float32]:
    """A basis of what tall columns span, from the eigenvectors of their products with each other.

    Several times as fast as Householder's QR; columns that say nothing new are dropped. Stathopoulos
    & Wu 2002, "A block orthogonalization procedure with constant synchronization requirements".
    """
    products = np.zeros((columns.shape[1], columns.shape[1]))
    for begin in range(0, len(columns), ROWS):
        rows = columns[begin : begin + ROWS].astype(np.float64)
        products += rows.T @ rows
    strength, turn = np.linalg.eigh(products)
    kept = strength > max(float(strength.max(initial=0.0)) * EPSILON, 0.0)
    return np.asarray(columns @ (turn[:, kept] / np.sqrt(strength[kept])).astype(np.float32))


def unit(vectors: NDArray[Any]) -> NDArray[Any]:
    """Scale rows to length 1; rows of 0 stay."""
    length = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))[:, None]
    return np.asarray(vectors / np.maximum(length, 1e-9))


def _information(log: SessionLog) -> sparse.csr_array:
    """Positive pointwise mutual information of items near each other, symmetric, float32."""
    pairs, weights = [np.empty((2, 0), dtype=np.int32)], [np.empty(0)]
    for step in range(1, REACH + 1):
        is_near = log.session[step:] == log.session[:-step]
        one, other = log.item[:-step][is_near], log.item[step:][is_near]
        is_pair = one != other
        pairs.append(np.stack([one[is_pair], other[is_pair]]))
        weights.append(np.full(int(is_pair.sum()), DECAY ** (step - 1)))
    rows, columns = np.concatenate(pairs, axis=1)
    shape = (log.items, log.items)
    half = sparse.coo_array((np.concatenate(weights), (rows, columns)), shape=shape).tocsr()
    near = sparse.coo_array(half + half.T)
    total = np.bincount(near.row, weights=near.data, minlength=log.items)
    # log p(a, b) / (p(a) p(b)), the same for (a, b) and (b, a), with both sides half smoothed.
    expected = (total[near.row] * total[near.col]) ** ((1 + SMOOTHING) / 2)
    excess = np.log(near.data * (total**SMOOTHING).sum() / expected)
    kept = excess > 0
    return sparse.csr_array(
        (excess[kept].astype(np.float32), (near.row[kept], near.col[kept])), shape=shape
    )
