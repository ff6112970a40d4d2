"""Visual: items whose pictures look alike, by descriptors that a model of yours made. Optional."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from saleor_personalize.ml.base import Arrays, Candidate, Context, ReasonCode, Recommender
from saleor_personalize.ml.data import Interactions, Items
from saleor_personalize.ml.neighbours import neighbour_candidates

#: Similarities that are worked out at once.
_BLOCK = 8_000_000


class Visual(Recommender):
    """Alternatives, by the cosine of image descriptors; scores lie in (0, 1] per seed and add up.

    Where descriptors come from (CLIP, a network of your own, colours) is not our business: give them
    as arrays. Without a descriptor an item is left out. Fitting compares each item with each:
    n * n * d multiplications.
    """

    supports_cold = True
    needs_context = True
    needs_items = True

    def __init__(
        self, *, descriptors: str, min_similarity: float = 0.3, n_neighbours: int = 100
    ) -> None:
        """Set the options.

        `descriptors`: either a file `.npz` with `item_id` (n,) texts and `descriptor` (n, d) floats, or
        the dotted path of a function that takes a list of n item ids and gives a float array (n, d), in
        which a row of NaN stands for an item without a picture.
        """
        if not isinstance(descriptors, str) or not (
            descriptors.endswith(".npz") or "." in descriptors
        ):
            raise ValueError("descriptors takes the path of an .npz file or of a function.")
        if n_neighbours < 1:
            raise ValueError(f"n_neighbours starts at 1, not {n_neighbours}.")
        self.descriptors = descriptors
        self.min_similarity = min_similarity
        self.n_neighbours = n_neighbours

    def _fit(self, interactions: Interactions, items: Items) -> Arrays:
        ids = items.item_id.values
        vectors = self._described([id_.decode() for id_ in ids.tolist()])
        length = np.linalg.norm(vectors, axis=1)
        known = np.flatnonzero(np.isfinite(length) & (length > 0))
        unit = (vectors[known] / length[known, None]).astype(np.float32)
        return {"ids": ids[known], **self._neighbours(unit)}

    def _described(self, ids: Sequence[str]) -> NDArray[np.float64]:
        """Return a descriptor per id. ValueError says what is wrong with what came."""
        if self.descriptors.endswith(".npz"):
            with np.load(Path(self.descriptors), allow_pickle=False) as file:
                told = dict(zip(file["item_id"].tolist(), file["descriptor"], strict=True))
            size = next((len(vector) for vector in told.values()), 1)
            missing = np.full(size, np.nan)
            found = np.array([told.get(id_, missing) for id_ in ids]).reshape(len(ids), size)
        else:
            module, _, name = self.descriptors.rpartition(".")
            found = np.asarray(getattr(importlib.import_module(module), name)(list(ids)))
        if found.ndim != 2 or len(found) != len(ids):
            raise ValueError(
                f"{self.descriptors} gave an array of shape {found.shape} for {len(ids)} items; "
                "one row each is needed."
            )
        return found.astype(np.float64)

    def _neighbours(self, unit: NDArray[np.float32]) -> Arrays:
        count = len(unit)
        size = min(self.n_neighbours, max(count - 1, 0))
        indptr, indices, scores = [0], [], []
        for start in range(0, count, step := max(1, _BLOCK // max(count, 1))):
            alike = unit[start : start + step] @ unit.T
            for row, values in enumerate(alike):
                values[start + row] = -1.0
                best = np.flatnonzero(values >= self.min_similarity)
                if len(best) > size:
                    best = best[np.argpartition(-values[best], size)[:size]]
                best = best[np.lexsort((best, -values[best]))]
                indices.append(best.astype(np.int32))
                scores.append(values[best])
                indptr.append(indptr[-1] + len(best))
        return {
            "indptr": np.array(indptr, dtype=np.int64),
            "indices": _joined(indices, np.int32),
            "scores": _joined(scores, np.float32),
        }

    def _candidates(self, context: Context, count: int) -> Iterable[Candidate]:
        return neighbour_candidates(self.arrays, context, count, ReasonCode.VISUAL)


def _joined(parts: list[NDArray[Any]], kind: type) -> NDArray[Any]:
    return np.concatenate([np.empty(0, dtype=kind), *parts]).astype(kind)
