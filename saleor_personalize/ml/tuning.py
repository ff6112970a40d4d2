"""How recommenders choose their constants on the last stretches of a shop's own past."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

DAY = 86_400.0
#: A window is this share of the whole time, but never longer.
SHARE, LONGEST = 0.1, 35 * DAY


class Window(NamedTuple):
    """What lies before `start` is known, what lies in [start, stop) is asked; unix seconds."""

    start: float
    stop: float


def last_windows(timestamp: NDArray[np.float64], count: int) -> list[Window]:
    """Cut the end of the time into `count` windows, the last one first; none without any time."""
    if not len(timestamp):
        return []
    first, last = float(timestamp.min()), float(timestamp.max())
    length = min(SHARE * (last - first), LONGEST)
    # The end is open: what happened at the very last moment belongs to the last window.
    end = float(np.nextafter(last, np.inf))
    return [
        Window(last - (n + 1) * length, end if n == 0 else last - n * length)
        for n in range(count if length > 0 else 0)
    ]


def decayed(timestamp: NDArray[np.float64], now: float, half_life_days: float) -> NDArray[Any]:
    """Worth of each row, 1 now and half as much every `half_life_days`."""
    return np.exp2(-np.maximum(now - timestamp, 0.0) / (DAY * half_life_days))


def trend(
    item: NDArray[Any], worth: NDArray[np.float64], size: int, *, prior: float = 1.0
) -> NDArray[np.float64]:
    """How much more of the recent worth an item has than its share of all rows lets expect.

    trend(i) = (recent(i) + prior) / (all(i) * sum(recent) / sum(all) + prior), shape (size,): 1 is as
    ever; `prior` keeps an item with few rows near 1.
    """
    recent = np.bincount(item, weights=worth, minlength=size)
    count = np.bincount(item, minlength=size)
    expected = count * (recent.sum() / max(float(count.sum()), 1.0))
    found: NDArray[np.float64] = (recent + prior) / (expected + prior)
    return found


def best_columns(scores: NDArray[Any], count: int) -> NDArray[np.intp]:
    """The `count` best columns of each row, best first; shape (rows, min(count, columns))."""
    count = min(count, scores.shape[1])
    if count < scores.shape[1]:
        found = np.argpartition(scores, scores.shape[1] - count, axis=1)[:, -count:]
    else:
        found = np.tile(np.arange(scores.shape[1]), (len(scores), 1))
    order = np.argsort(-np.take_along_axis(scores, found, axis=1), axis=1, kind="stable")
    return np.take_along_axis(found, order, axis=1)


def recall_and_ndcg(
    is_hit: NDArray[np.bool_], relevant: NDArray[Any] | Sequence[int]
) -> tuple[float, float]:
    """Mean recall and NDCG of ranked lists.

    `is_hit` (cases, places); `relevant`: how many right answers each case has, at least 1.
    """
    places = is_hit.shape[1]
    if not is_hit.size:
        return 0.0, 0.0
    gain = 1.0 / np.log2(np.arange(places) + 2.0)
    most = np.minimum(np.asarray(relevant), places)
    recall = is_hit.sum(axis=1) / most
    ndcg = (is_hit * gain).sum(axis=1) / np.cumsum(gain)[most - 1]
    return float(recall.mean()), float(ndcg.mean())
