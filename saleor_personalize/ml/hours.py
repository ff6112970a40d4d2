"""At which hours of the week people react: a curve of all, drawn to what one person does.

Hours are numbered 0 (Monday 0:00) to 167, by the clock of whoever reacts. One person reacts so seldom that
an hour of theirs also speaks for the hours beside it and for the same hour of other days.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

WEEK = 168
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

#: How many reactions may say that a person is like all; which number is found out.
STRENGTHS = (2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0)
#: Fewer people prove nothing.
LEAST_PEOPLE = 50
#: So many standard errors a gain must be above nothing.
CERTAIN = 2.0
#: Reactions without which there is no curve.
LEAST_REACTIONS = 500
#: Of one that counts for a person: share of the hour itself, of one and of two hours beside it.
_BESIDE = (0.5, 0.2, 0.05)
#: How much of it stays with its day of the week.
_OF_DAY = 0.4


def hour_of_week(local: datetime) -> int:
    """Return the number of an hour by the clock of the wall."""
    return local.weekday() * 24 + local.hour


def curve_of(hours: Ints) -> Floats:
    """Return the share of each hour among many reactions; none is impossible."""
    counts = np.bincount(hours, minlength=WEEK).astype(float) + 1.0
    return np.asarray(counts / counts.sum())


def drawn_to(curve: Floats, counts: Floats, strength: float) -> Floats:
    """Return the curve of persons with `counts` (..., WEEK) of reactions: that of all, times how much more
    often than all they react around an hour. `strength` reactions, evenly over the week, say: not more often.
    """
    even = strength / WEEK
    total = counts.sum(axis=-1, keepdims=True)
    times = (counts @ _KERNEL + even) / (total * (curve @ _KERNEL) + even)
    own = curve * times
    return np.asarray(own / own.sum(axis=-1, keepdims=True))


def _kernel() -> Floats:
    hours = np.zeros((24, 24))
    for distance, share in enumerate(_BESIDE):
        for hour in range(24):
            for other in {(hour + distance) % 24, (hour - distance) % 24}:
                hours[hour, other] = share
    days = np.full((7, 7), (1 - _OF_DAY) / 7) + np.eye(7) * _OF_DAY
    return np.asarray(np.kron(days, hours))


_KERNEL = _kernel()


@dataclass(frozen=True)
class Learnt:
    """`is_personal`: the hours of a person foretold better than the curve; `figures` say by how much."""

    curve: Floats
    strength: float
    is_personal: bool
    figures: dict[str, Any]


def learn(*, people: Ints, hours: Ints, days: Floats) -> Learnt | None:
    """Learn from reactions: whose, in which hour of the week, and when (in days); None: they are too few.

    What is said of a person's own hours is measured on the last quarter of the time, in which nothing was
    learnt; how far they are drawn to all is found out on the quarter before.
    """
    if len(hours) < LEAST_REACTIONS:
        return None
    first, last = float(days.min()), float(days.max())
    cut = last - (last - first) / 4
    before = cut - (last - first) / 4
    gains = {strength: _gain(people, hours, days, before, cut, strength) for strength in STRENGTHS}
    strength = max(STRENGTHS, key=lambda one: float(gains[one].mean()) if len(gains[one]) else 0.0)
    gain = _gain(people, hours, days, cut, np.inf, strength)
    mean = float(gain.mean()) if len(gain) else 0.0
    error = float(gain.std(ddof=1) / np.sqrt(len(gain))) if len(gain) > 1 else 0.0
    is_personal = len(gain) >= LEAST_PEOPLE and mean > CERTAIN * error and mean > 0
    figures = {
        "reactions": len(hours),
        "people": len(gain),
        "gain": round(mean, 4),
        "error": round(error, 4),
    }
    return Learnt(curve_of(hours), strength, is_personal, figures)


def _gain(
    people: Ints, hours: Ints, days: Floats, begin: float, end: float, strength: float
) -> Floats:
    """Return by how much (in log likelihood) each person's own hours foretold theirs between two moments
    better than the curve did, both learnt from what was before."""
    known, asked = days < begin, (days >= begin) & (days < end)
    both = np.intersect1d(people[known], people[asked])
    if not len(both):
        return np.zeros(0)
    curve = curve_of(hours[known])
    counts = np.zeros((len(both), WEEK))
    of_them = known & np.isin(people, both)
    np.add.at(counts, (np.searchsorted(both, people[of_them]), hours[of_them]), 1.0)
    own = drawn_to(curve, counts, strength)
    rows = asked & np.isin(people, both)
    who = np.searchsorted(both, people[rows])
    each = np.log(own[who, hours[rows]]) - np.log(curve[hours[rows]])
    return np.asarray(np.bincount(who, weights=each) / np.bincount(who))
