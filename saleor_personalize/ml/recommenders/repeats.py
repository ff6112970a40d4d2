"""BuyAgain: what a person buys again, and which of it is due."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from saleor_personalize.ml.base import Arrays, Candidate, Context, ReasonCode, Recommender
from saleor_personalize.ml.data import InteractionEvent, Interactions, Items, positions
from saleor_personalize.ml.tuning import DAY, Window, decayed, last_windows, trend

Floats = NDArray[np.float64]

#: Half-lives, in days, under which a person's own purchases are counted.
HALF_LIVES = (15.0, 30.0, 90.0, 180.0)
#: Of the item's sales of late against ever.
TREND_DAYS = 7.0
#: Gaps of the whole shop, and of an item, that stand in for what one purchase does not tell.
SHOP_GAPS, ITEM_GAPS = 3.0, 2.0
#: Days taken where nobody came back yet.
USUAL_GAP = 30.0

#: What the formula adds up, in this order. `counted_n`: log of purchases, halved every n days.
FEATURES = (
    *(f"counted_{days:.0f}" for days in HALF_LIVES),
    "days_bought",
    "days_since",
    "returns_to_item",
    "interval",
    "due_below_1",
    "overdue",
    "nearly_due",
    "buyers_of_item",
    "trend_of_item",
)
#: Without enough to learn from: own count of 90 days times the root of the item's share of returns.
DEFAULTS = {"counted_90": 1.0, "returns_to_item": 0.5}
#: Windows that are learned from, pairs of person and item that are drawn, and outcomes needed.
WINDOWS, MOST_PAIRS, FEWEST_OUTCOMES = 2, 300_000, 200


class BuyAgain(Recommender):
    """A person's own items, by the chance that they buy them again soon.

    log-odds(u, i) = bias + sum over FEATURES of weight * feature(u, i)

    The features: own purchases of the item counted under four half-lives, so that how often and how
    lately both speak; days since the last one; the share of the item's buyers who ever came back for
    it; the interval; how due it is; how many buy the item, and its trend. Two purchases on one day are
    one. The interval is the person's mean gap between purchases of the item, drawn to the item's median
    gap among all people (worth two gaps), and that to the shop's (three). Due-ness is days since the
    last purchase over the interval: below 1 it rises, beyond it falls off: the hazard of a renewal.

    A logistic regression finds the weights on the last two windows of the shop's own data, each a
    tenth of its time and at most 35 days: did a person who bought something buy this again? With
    fewer than 200 of either outcome the score is the count of 90 days times the root of the share of
    returns. Scores are those odds as a chance, 0 to 1, and move with `now` (default: the last event).

    Kept apart from what is new to a person (`Personal`): repeats are another question. Counting one's
    own purchases is what every shop does first; on returns as a renewal process see Bhagat et al.
    2018, "Buy it again: modeling repeat purchase recommendations".
    """

    def __init__(self, *, tune: bool = True, seed: int = 0) -> None:
        """Set the options: `tune` False keeps the default weights; `seed` draws what is learned from."""
        self.tune = tune
        self.seed = seed

    def _fit(self, interactions: Interactions, items: Items) -> Arrays:
        values = interactions.event.values.tolist()
        wanted = InteractionEvent.PURCHASE.encode()
        code = values.index(wanted) if wanted in values else -1
        rows = interactions.select(interactions.event.codes == code)
        now = float(interactions.timestamp.max(initial=0.0))
        log = _Purchases(
            rows.visitor_id.codes.astype(np.int64),
            rows.item_id.codes.astype(np.int64),
            rows.timestamp,
            max(len(rows.item_id.values), 1),
        )
        bias, weights = 0.0, np.array([DEFAULTS.get(name, 0.0) for name in FEATURES])
        if self.tune and (learned := _learned(log, np.random.default_rng(self.seed))) is not None:
            bias, weights = learned
        own = _Own.of(log, now)
        visitors = len(rows.visitor_id.values)
        return {
            "ids": rows.item_id.values,
            "visitors": rows.visitor_id.values,
            "starts": np.searchsorted(own.visitor, np.arange(visitors + 1)),
            "items": own.item.astype(np.int32),
            "counted": own.counted.astype(np.float32),
            "days_bought": own.days.astype(np.float32),
            "last": own.last,
            "interval": own.interval.astype(np.float32),
            "of_item": own.of_item.astype(np.float32),
            "now": np.array(now),
            "weights": np.append(weights, bias),
        }

    @property
    def weights(self) -> dict[str, float]:
        """The formula in use, by feature, and `bias`. NotTrained: neither fitted nor loaded."""
        return dict(zip((*FEATURES, "bias"), self.arrays["weights"].tolist(), strict=True))

    def _candidates(self, context: Context, count: int) -> Iterable[Candidate]:
        arrays = self.arrays
        if context.visitor_id is None:
            return []
        (at,) = positions(arrays["visitors"], [context.visitor_id])
        if at < 0:
            return []
        row = slice(int(arrays["starts"][at]), int(arrays["starts"][at + 1]))
        fitted = float(arrays["now"])
        now = max(fitted if context.now is None else context.now, fitted)
        later = (now - fitted) / DAY
        features = _features(
            arrays["counted"][row] * np.exp2(-later / np.array(HALF_LIVES)),
            arrays["days_bought"][row].astype(np.float64),
            (now - arrays["last"][row]) / DAY,
            arrays["interval"][row].astype(np.float64),
            arrays["of_item"][arrays["items"][row]].astype(np.float64),
        )
        *weights, bias = arrays["weights"].tolist()
        scores = 1.0 / (1.0 + np.exp(-(features @ np.array(weights) + bias)))
        items = arrays["items"][row]
        best = np.lexsort((items, -scores))[:count]
        return [
            Candidate(item.decode(), score, ReasonCode.BUY_AGAIN)
            for item, score in zip(
                arrays["ids"][items[best]].tolist(), scores[best].tolist(), strict=True
            )
        ]


@dataclass(frozen=True)
class _Purchases:
    """Visitor, item and moment of each purchase; `size` items."""

    visitor: NDArray[np.int64]
    item: NDArray[np.int64]
    time: Floats
    size: int

    @property
    def pair(self) -> NDArray[np.int64]:
        return self.visitor * self.size + self.item

    def between(self, start: float, stop: float) -> _Purchases:
        rows = (self.time >= start) & (self.time < stop)
        return _Purchases(self.visitor[rows], self.item[rows], self.time[rows], self.size)


@dataclass(frozen=True)
class _Own:
    """One row per visitor and item they bought, sorted by both, as seen from one moment.

    `counted` (rows, half-lives), `days` with a purchase, `last` moment, `interval` in days; `of_item`
    (items, 3): the share of its buyers who came back, how many they are, its trend.
    """

    visitor: NDArray[np.int64]
    item: NDArray[np.int64]
    counted: Floats
    days: Floats
    last: Floats
    interval: Floats
    of_item: Floats

    @classmethod
    def of(cls, log: _Purchases, now: float) -> _Own:
        # One purchase a day: the last one.
        day = np.floor(log.time / DAY)
        order = np.lexsort((log.time, log.pair))
        pair, day, time = log.pair[order], day[order], log.time[order]
        is_last = np.ones(len(pair), dtype=bool)
        is_last[:-1] = (pair[1:] != pair[:-1]) | (day[1:] != day[:-1])
        pair, day, time = pair[is_last], day[is_last], time[is_last]
        distinct, start, days = np.unique(pair, return_index=True, return_counts=True)
        item = distinct % log.size
        counted = np.zeros((len(distinct), len(HALF_LIVES)))
        if len(distinct):
            for column, half_life in enumerate(HALF_LIVES):
                counted[:, column] = np.add.reduceat(decayed(time, now, half_life), start)
        gap = np.diff(day)
        is_gap = pair[1:] == pair[:-1]
        usual = _usual_gaps((pair[1:] % log.size)[is_gap], gap[is_gap], log.size)
        total = day[start + days - 1] - day[start]
        buyers = np.bincount(item, minlength=log.size)
        back = np.bincount(item[days > 1], minlength=log.size)
        of_item = np.stack(
            [
                (back + 1.0) / (buyers + 4.0),
                buyers.astype(np.float64),
                trend(log.item, decayed(log.time, now, TREND_DAYS), log.size),
            ],
            axis=1,
        )
        return cls(
            distinct // log.size,
            item,
            counted,
            days.astype(np.float64),
            time[start + days - 1],
            (total + ITEM_GAPS * usual[item]) / (days - 1 + ITEM_GAPS),
            of_item,
        )

    def features(self, now: float) -> Floats:
        """Rows as `_features` gives them."""
        age = (now - self.last) / DAY
        return _features(self.counted, self.days, age, self.interval, self.of_item[self.item])


def _usual_gaps(item: NDArray[np.int64], gap: Floats, size: int) -> Floats:
    """Median days between purchases of each item, drawn to that of the shop."""
    shop = float(np.median(gap)) if len(gap) else USUAL_GAP
    order = np.lexsort((gap, item))
    known, start, count = np.unique(item[order], return_index=True, return_counts=True)
    found = np.full(size, shop)
    median = gap[order][start + count // 2]
    found[known] = (median * count + shop * SHOP_GAPS) / (count + SHOP_GAPS)
    return found


def _features(counted: Any, days: Floats, age: Floats, interval: Floats, of_item: Floats) -> Floats:
    """One row per own item, columns as in FEATURES; ages and intervals in days."""
    age = np.maximum(age, 0.0)
    due = age / interval
    returns, buyers, rising = of_item.T
    found: Floats = np.column_stack(
        [
            np.log(counted + 0.01),
            np.log(days),
            np.log(age + 0.5),
            np.log(returns),
            np.log(interval + 1.0),
            np.minimum(due, 1.0),
            np.maximum(np.log(due + 0.01), 0.0),
            np.exp(-np.abs(np.log(due + 0.05))),
            np.log(buyers),
            np.log(rising),
        ]
    )
    return found


def _learned(log: _Purchases, random: np.random.Generator) -> tuple[float, Floats] | None:
    """Find bias and weights on the last windows; None with too little to learn from."""
    rows, outcomes = [], []
    for window in last_windows(log.time, WINDOWS):
        features, is_bought = _asked(log, window, random)
        rows.append(features)
        outcomes.append(is_bought)
    if not rows:
        return None
    outcome = np.concatenate(outcomes)
    if min(outcome.sum(), (~outcome).sum()) < FEWEST_OUTCOMES:
        return None
    features = np.concatenate(rows)
    mean, scale = features.mean(axis=0), features.std(axis=0) + 1e-9
    found = LogisticRegression(max_iter=300).fit((features - mean) / scale, outcome)
    # As a formula over features as they are.
    weights = found.coef_[0] / scale
    return float(found.intercept_[0] - weights @ mean), weights


def _asked(
    log: _Purchases, window: Window, random: np.random.Generator
) -> tuple[Floats, NDArray[np.bool_]]:
    """Features at the start of the window, and what was bought again in it, of who bought in it."""
    known, later = log.between(-np.inf, window.start), log.between(window.start, window.stop)
    own = _Own.of(known, window.start)
    asked = np.flatnonzero(np.isin(own.visitor, later.visitor))
    if len(asked) > MOST_PAIRS // WINDOWS:
        # Whole people are drawn: their rows stand together.
        people = random.permutation(np.unique(own.visitor[asked]))
        length = np.cumsum(np.bincount(own.visitor[asked])[people])
        drawn = people[: max(int(np.searchsorted(length, MOST_PAIRS // WINDOWS)), 1)]
        asked = asked[np.isin(own.visitor[asked], drawn)]
    is_bought = np.isin((own.visitor * log.size + own.item)[asked], later.pair)
    return own.features(window.start)[asked], is_bought
