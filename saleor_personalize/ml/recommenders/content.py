"""Similar: items whose texts say the same. Works on the first day of a shop."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from scipy import sparse
from sklearn.feature_extraction.text import TfidfVectorizer

from saleor_personalize.ml.base import Arrays, Candidate, Context, ReasonCode, Recommender
from saleor_personalize.ml.data import Interactions, Items
from saleor_personalize.ml.neighbours import neighbour_candidates, top_neighbours

DEFAULT_WEIGHTS = {"name": 1.0, "category": 0.5, "attributes": 0.5, "description": 0.3}
#: Of columns that have no weight of their own.
OTHER_WEIGHT = 0.3

# What separates, and not what is `\w`: vowel signs of Hindi or Thai are not `\w`.
_SEPARATORS = re.compile(r"[\s!-/:-@\[-`{-\u00bf\u2000-\u206f\u3000-\u303f\uff00-\uff0f]+")
# Scripts without spaces: Thai to Khmer, kana and Han. (Korean has spaces.)
_UNSPACED = re.compile(r"[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff]{2,}")


def tokens(text: str) -> list[str]:
    """Split into words, case and width folded; runs of an unspaced script into pairs of letters."""
    found: list[str] = []
    for word in _SEPARATORS.split(unicodedata.normalize("NFKC", text).casefold()):
        for run in _UNSPACED.findall(word):
            found += [run[at : at + 2] for at in range(len(run) - 1)]
        found += [rest for rest in _UNSPACED.split(word) if rest]
    return found


class Similar(Recommender):
    """Alternatives, by the cosine of TF-IDF vectors over the text columns of the items.

    Each column is weighted by (1 + ln tf) * idf and brought to length 1, columns are joined under
    their weights, the whole is brought to length 1; scores lie in (0, 1] per seed and add up over
    seeds. Salton & Buckley 1988, "Term-weighting approaches in automatic text retrieval".
    """

    supports_cold = True
    needs_context = True
    needs_items = True

    def __init__(
        self,
        *,
        column_weights: Mapping[str, float] | None = None,
        min_similarity: float = 0.05,
        max_items_per_token: int = 5_000,
        n_neighbours: int = 100,
    ) -> None:
        """Set the options.

        `column_weights`: over the defaults (name 1, category .5, attributes .5, description .3);
        columns named nowhere weigh 0.3. A word in more than `max_items_per_token` items is left
        out: it says little and costs its square.
        """
        if n_neighbours < 1 or max_items_per_token < 1:
            raise ValueError(
                f"n_neighbours ({n_neighbours}) and max_items_per_token ({max_items_per_token}) "
                "start at 1."
            )
        for column, weight in (column_weights or {}).items():
            if not 0 <= weight < np.inf:
                raise ValueError(f"The weight of {column!r} must be 0 or more, not {weight}.")
        self.column_weights = column_weights
        self.min_similarity = min_similarity
        self.max_items_per_token = max_items_per_token
        self.n_neighbours = n_neighbours

    def _fit(self, interactions: Interactions, items: Items) -> Arrays:
        weights = {**DEFAULT_WEIGHTS, **(self.column_weights or {})}
        by_id = np.argsort(items.item_id.codes)
        blocks = [_empty(len(items))]
        for name, column in sorted(items.text.items()):
            weight = weights.get(name, OTHER_WEIGHT)
            if weight > 0:
                blocks.append(self._vectors([column[row] for row in by_id.tolist()]) * weight)
        vectors = _unit_length(sparse.csr_array(sparse.hstack(blocks)))
        neighbours = top_neighbours(
            vectors, vectors.T.tocsr(), size=self.n_neighbours, minimum=self.min_similarity
        )
        return {"ids": items.item_id.values, **neighbours}

    def _vectors(self, texts: Sequence[str]) -> sparse.csr_array:
        """TF-IDF of one column, rows of length 1 (0 if empty)."""
        split = [tokens(text) for text in texts]
        if not any(split):
            return _empty(len(texts))
        vectorizer = TfidfVectorizer(
            analyzer=_as_is, sublinear_tf=True, norm=None, dtype=np.float32
        )
        vectors = sparse.csr_array(vectorizer.fit_transform(split))
        is_telling = (
            np.bincount(vectors.indices, minlength=vectors.shape[1]) <= self.max_items_per_token
        )
        return _unit_length(vectors[:, np.flatnonzero(is_telling)])

    def _candidates(self, context: Context, count: int) -> Iterable[Candidate]:
        return neighbour_candidates(self.arrays, context, count, ReasonCode.SIMILAR)


def _as_is(split: list[str]) -> list[str]:
    return split


def _empty(rows: int) -> sparse.csr_array:
    return sparse.csr_array(np.empty((rows, 0), dtype=np.float32))


def _unit_length(vectors: sparse.csr_array) -> sparse.csr_array:
    length = np.sqrt(np.asarray(vectors.multiply(vectors).sum(axis=1)))
    inverse = np.divide(1.0, length, out=np.zeros_like(length), where=length > 0)
    return sparse.csr_array(sparse.diags_array(inverse) @ vectors)
