"""Vectors of words for the items of a shop.

Each column of text is weighted by (1 + ln tf) * idf and brought to length 1, columns are joined under
their weights, the whole is brought to length 1: the product of two rows is their cosine, 0 to 1. Salton
& Buckley 1988, "Term-weighting approaches in automatic text retrieval".
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence

import numpy as np
from scipy import sparse
from sklearn.feature_extraction.text import CountVectorizer

from saleor_personalize.ml.data import Items

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


def vectors_of(
    items: Items,
    *,
    column_weights: Mapping[str, float] | None = None,
    max_items_per_token: int = 5_000,
) -> sparse.csr_array:
    """Give one row per item, in the order of `items.item_id.values`; 0 where no text says anything.

    `column_weights`: over the defaults. A word in more than `max_items_per_token` items is left out:
    it says little and costs its square.
    """
    weights = {**DEFAULT_WEIGHTS, **(column_weights or {})}
    by_id = np.argsort(items.item_id.codes)
    blocks = [_empty(len(items))]
    for name, column in sorted(items.text.items()):
        weight = weights.get(name, OTHER_WEIGHT)
        if weight > 0:
            texts = [column[row] for row in by_id.tolist()]
            blocks.append(_column(texts, max_items_per_token) * weight)
    return _unit_length(sparse.csr_array(sparse.hstack(blocks)))


def _column(texts: Sequence[str], max_items_per_token: int) -> sparse.csr_array:
    """TF-IDF of one column, rows of length 1 (0 if empty)."""
    # Categories and brands repeat: each distinct text is split once.
    distinct = {text: at for at, text in enumerate(dict.fromkeys(texts))}
    split = [tokens(text) for text in distinct]
    if not any(split):
        return _empty(len(texts))
    counted = CountVectorizer(analyzer=_as_is, dtype=np.float32).fit_transform(split)
    vectors = sparse.csr_array(counted)[[distinct[text] for text in texts]]
    items_of_token = np.bincount(vectors.indices, minlength=vectors.shape[1])
    idf = np.log((1.0 + len(texts)) / (1.0 + items_of_token)) + 1.0
    vectors.data = (1.0 + np.log(vectors.data)) * idf.astype(np.float32)[vectors.indices]
    return _unit_length(vectors[:, np.flatnonzero(items_of_token <= max_items_per_token)])


def _as_is(split: list[str]) -> list[str]:
    return split


def _empty(rows: int) -> sparse.csr_array:
    return sparse.csr_array(np.empty((rows, 0), dtype=np.float32))


def _unit_length(vectors: sparse.csr_array) -> sparse.csr_array:
    length = np.sqrt(np.asarray(vectors.multiply(vectors).sum(axis=1)))
    inverse = np.divide(1.0, length, out=np.zeros_like(length), where=length > 0)
    return sparse.csr_array(sparse.diags_array(inverse) @ vectors)
