"""Who comes back, and when: two linear formulas over how often and how lately somebody bought.

The features are those of "buy till you die" models (frequency, recency, age of the customer), on a
log scale. A formula is a dict of numbers: it is stored as JSON and can be read. It is published only when
it beats simple rules on a stretch of time that it has not seen; otherwise `parameters` is None.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression, QuantileRegressor

Numbers = npt.NDArray[np.float64]
Ids = npt.NDArray[np.int64]
Parameters = dict[str, Any]

#: Shortest and longest time foretold, in days.
MIN_HORIZON, MAX_HORIZON = 14, 180
#: People at the split, and people of each outcome, without whom nothing is measured.
MIN_PEOPLE = 200
MIN_OUTCOMES = 50
#: People who came back after the split, without whom dates are not measured.
MIN_RETURNS = 100
#: How much smaller the error must be than that of a person's own mean gap, and of one number for all.
MIN_GAIN, MIN_GAIN_OVER_CONSTANT = 0.05, 0.02
#: Moments of the past that are learned from, half a horizon apart.
MOMENTS = 4
#: A median needs no more, and its fit grows quickly with them.
MAX_DATES = 4_000


class History(NamedTuple):
    """Of each person: on how many days they bought, and how many days ago first and last."""

    days: Numbers
    first: Numbers
    last: Numbers


@dataclass(frozen=True)
class Purchases:
    """Person and day of each purchase, sorted, each pair once. A day is a whole number."""

    person: Ids
    day: Ids

    @classmethod
    def of(cls, person: Sequence[int] | Ids, day: Sequence[int] | Ids) -> Purchases:
        pairs = np.asarray([person, day], dtype=np.int64).reshape(2, -1)
        pairs = np.unique(pairs, axis=1)
        return cls(pairs[0], pairs[1])

    def until(self, day: int) -> tuple[Ids, History]:
        """Return who had bought by the end of a day, and their histories as seen from it."""
        seen = self.day <= day
        people, start, count = np.unique(self.person[seen], return_index=True, return_counts=True)
        days = self.day[seen]
        first, last = (days[start], days[start + count - 1]) if len(people) else (start, start)
        return people, History(
            count.astype(float), (day - first).astype(float), (day - last).astype(float)
        )

    def next_after(self, people: Ids, day: int, horizon: int) -> Numbers:
        """Return in how many days each bought again, infinity when not within the horizon."""
        later = (self.day > day) & (self.day <= day + horizon)
        back, start = np.unique(self.person[later], return_index=True)
        found = np.full(len(people), np.inf)
        place = np.searchsorted(people, back)
        is_known = (place < len(people)) & (people[np.minimum(place, len(people) - 1)] == back)
        found[place[is_known]] = (self.day[later][start] - day)[is_known]
        return found

    def typical_gap(self) -> float:
        """Return the median number of days between two purchases of one person."""
        same = self.person[1:] == self.person[:-1]
        gaps = (self.day[1:] - self.day[:-1])[same]
        return float(np.median(gaps)) if len(gaps) else 1.0


@dataclass(frozen=True)
class Trained:
    """A formula, or None where it is no use, and what was measured."""

    parameters: Parameters | None
    figures: dict[str, Any]


def horizon_of(*, at_risk_days: int) -> int:
    """Return how far is foretold: until somebody is at risk, within limits."""
    return min(max(at_risk_days, MIN_HORIZON), MAX_HORIZON)


def features(history: History, gap: float) -> Numbers:
    """Return one row per person. `gap` stands in for what one purchase does not tell."""
    own = (history.first - history.last + gap) / history.days
    return np.stack(
        [
            np.log(history.days),
            np.log1p(history.last),
            np.log1p(history.first),
            np.log(own),
            np.log1p(history.last / own),
            history.last / (history.last + own),
            (history.days == 1).astype(float),
        ],
        axis=1,
    )


def own_gap(history: History) -> Numbers:
    """Return the simple rule for the next purchase: the mean gap after the last one, never in the past."""
    mean = (history.first - history.last) / np.maximum(history.days - 1, 1)
    return np.maximum(mean - history.last, 1.0)


class _Seen(NamedTuple):
    """What was known at one moment or several, and what came."""

    history: History
    wait: Numbers

    @property
    def stayed_away(self) -> Numbers:
        return np.isinf(self.wait).astype(float)

    def returned(self) -> _Seen:
        """Keep those who bought twice before and came back: of them a date can be learned."""
        keep = np.isfinite(self.wait) & (self.history.days >= 2)
        return _Seen(History(*(column[keep] for column in self.history)), self.wait[keep])


def _look(purchases: Purchases, moments: Sequence[int], horizon: int) -> _Seen:
    seen = [purchases.until(moment) for moment in moments]
    waits = [
        purchases.next_after(people, moment, horizon)
        for moment, (people, _) in zip(moments, seen, strict=True)
    ]
    columns = zip(*(history for _, history in seen), strict=True)
    return _Seen(History(*(np.concatenate(column) for column in columns)), np.concatenate(waits))


def train(purchases: Purchases, *, today: int, horizon: int) -> dict[str, Trained]:
    """Return {"churn": ..., "next_order": ...} for the `horizon` days after a moment.

    The last horizon is kept apart: formulas that never saw it are measured on it, and those that prove
    themselves are fitted anew with it.
    """
    begin = int(purchases.day.min()) if len(purchases.day) else today
    split = today - horizon
    step = max(horizon // 2, 1)
    past = [split - horizon - step * n for n in range(MOMENTS)]
    past = [moment for moment in past if moment - begin >= horizon]
    if not past:
        figures = {"reason": "history", "days": today - begin, "needed_days": 3 * horizon}
        return {"churn": Trained(None, figures), "next_order": Trained(None, figures)}
    gap = purchases.typical_gap()
    known = _look(purchases, past, horizon)
    unseen = _look(purchases, [split], horizon)
    newest = _look(purchases, [split, *past[: MOMENTS - 1]], horizon)
    return {
        "churn": _churn(known, unseen, newest, gap, horizon),
        "next_order": _next_order(
            known.returned(), unseen.returned(), newest.returned(), gap, horizon
        ),
    }


def _churn(known: _Seen, unseen: _Seen, newest: _Seen, gap: float, horizon: int) -> Trained:
    outcome = unseen.stayed_away
    rare = min(int(min(away.sum(), (1 - away).sum())) for away in (known.stayed_away, outcome))
    figures: dict[str, Any] = {"people": len(outcome), "outcomes": rare}
    if len(outcome) < MIN_PEOPLE or rare < MIN_OUTCOMES:
        needed = {"needed_people": MIN_PEOPLE, "needed_outcomes": MIN_OUTCOMES}
        return Trained(None, {**figures, **needed, "reason": "people"})
    risk = churn_risk(_fit_churn(known, gap, horizon), unseen.history)
    # The best that one number for everybody can do: the share itself, as if known beforehand.
    base = np.full(len(outcome), outcome.mean())
    gain = (base - outcome) ** 2 - (risk - outcome) ** 2
    figures |= {
        "share": _round(outcome.mean()),
        "brier": _round(((risk - outcome) ** 2).mean()),
        "base_brier": _round(((base - outcome) ** 2).mean()),
        "log_loss": _round(_log_loss(risk, outcome)),
        "base_log_loss": _round(_log_loss(base, outcome)),
    }
    # Twice the error of the mean: better by more than chance.
    is_sure = gain.mean() > 2 * gain.std() / np.sqrt(len(gain))
    if not is_sure or figures["log_loss"] >= figures["base_log_loss"]:
        return Trained(None, {**figures, "reason": "not_better"})
    return Trained(_fit_churn(newest, gap, horizon), figures)


def _next_order(known: _Seen, unseen: _Seen, newest: _Seen, gap: float, horizon: int) -> Trained:
    cases = min(len(known.wait), len(unseen.wait))
    figures: dict[str, Any] = {"people": cases}
    if cases < MIN_RETURNS:
        return Trained(None, {**figures, "needed_people": MIN_RETURNS, "reason": "people"})
    wait = days_to_next(_fit_next_order(known, gap, horizon), unseen.history)
    figures |= {
        "median_error": _median_error(wait, unseen),
        "own_gap_error": _median_error(own_gap(unseen.history), unseen),
        "constant_error": _median_error(np.median(known.wait), unseen),
    }
    is_better = figures["median_error"] <= figures["own_gap_error"] * (1 - MIN_GAIN) and figures[
        "median_error"
    ] <= figures["constant_error"] * (1 - MIN_GAIN_OVER_CONSTANT)
    if not is_better:
        return Trained(None, {**figures, "reason": "not_better"})
    return Trained(_fit_next_order(newest, gap, horizon), figures)


def _median_error(wait: Any, seen: _Seen) -> float:
    return _round(np.median(np.abs(wait - seen.wait)), 2)


def _log_loss(risk: Numbers, outcome: Numbers) -> float:
    risk = np.clip(risk, 1e-6, 1 - 1e-6)
    return float(-(outcome * np.log(risk) + (1 - outcome) * np.log(1 - risk)).mean())


def _round(value: Any, digits: int = 4) -> float:
    return round(float(value), digits)


def _fit_churn(seen: _Seen, gap: float, horizon: int) -> Parameters:
    rows, scaling = _scaled(features(seen.history, gap))
    found = LogisticRegression(max_iter=1_000).fit(rows, seen.stayed_away)
    return _formula(found.coef_[0], found.intercept_[0], scaling, gap, horizon)


def _fit_next_order(seen: _Seen, gap: float, horizon: int) -> Parameters:
    rows, scaling = _scaled(features(seen.history, gap))
    chosen = np.arange(len(rows))
    if len(rows) > MAX_DATES:
        chosen = np.random.default_rng(0).choice(len(rows), MAX_DATES, replace=False)
    # The median of the log is the log of the median: late outliers do not pull it.
    found = QuantileRegressor(quantile=0.5, alpha=0.0005, solver="highs")
    found.fit(rows[chosen], np.log(seen.wait[chosen]))
    return _formula(found.coef_, found.intercept_, scaling, gap, horizon)


def _scaled(rows: Numbers) -> tuple[Numbers, tuple[Numbers, Numbers]]:
    mean, scale = rows.mean(axis=0), rows.std(axis=0) + 1e-9
    return (rows - mean) / scale, (mean, scale)


def _formula(
    weights: Numbers, bias: Any, scaling: tuple[Numbers, Numbers], gap: float, horizon: int
) -> Parameters:
    """Return a formula over features as they are, without the scaling of its fit."""
    mean, scale = scaling
    plain = weights / scale
    return {
        "weights": [float(weight) for weight in plain],
        "bias": float(bias - plain @ mean),
        "gap": gap,
        "horizon": horizon,
    }


def _value(parameters: Parameters, history: History) -> Numbers:
    rows = features(history, parameters["gap"])
    found: Numbers = rows @ np.asarray(parameters["weights"]) + parameters["bias"]
    return found


def churn_risk(parameters: Parameters, history: History) -> Numbers:
    """Return how likely each is to buy nothing within the horizon, 0 to 1."""
    found: Numbers = 1 / (1 + np.exp(-_value(parameters, history)))
    return found


def days_to_next(parameters: Parameters, history: History) -> Numbers:
    """Return after how many days each buys next, if within the horizon."""
    found: Numbers = np.exp(
        np.clip(_value(parameters, history), 0.0, np.log(parameters["horizon"]))
    )
    return found
