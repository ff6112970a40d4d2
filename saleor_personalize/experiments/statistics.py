"""How sure a difference between two arms is, at whatever moment one looks.

An ordinary confidence interval is right at a sample size that was fixed before. Whoever looks again and
again and stops at a good moment is wrong far more often. A confidence sequence holds at all moments at once.
This one is asymptotic: the normal mixture of Robbins (1970) with the spread as it is found, as in
Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas, "Time-uniform central limit theory and asymptotic
confidence sequences" (2021), theorem 2.2. Plain Python.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from saleor_personalize.enums import ArmVerdict

#: How often an interval may miss the truth at any moment, over all comparisons of an experiment.
ALPHA = 0.05
#: So many buyers an arm needs: the spread of fewer says nothing.
MIN_BUYERS = 5
#: At so many people the interval is tightest for its width elsewhere: a choice made before any data.
_TIGHTEST_AT = 5_000


@dataclass(frozen=True)
class Sample:
    """What the people of an arm spent: how many they are, the sum, the sum of squares, how many bought.

    Whoever bought nothing counts with 0.
    """

    people: int
    total: float
    squares: float
    buyers: int

    @property
    def mean(self) -> float:
        return self.total / self.people if self.people else 0.0

    @property
    def variance(self) -> float:
        """Variance between people, unbiased."""
        if self.people < 2:
            return 0.0
        spread = self.squares - self.total * self.total / self.people
        return max(spread, 0.0) / (self.people - 1)


@dataclass(frozen=True)
class Comparison:
    """`difference` of the means to the base, and between what it lies; None: too few to say anything."""

    difference: float
    low: float | None
    high: float | None
    verdict: ArmVerdict


def compare(
    arm: Sample, base: Sample, *, min_people: int, comparisons: int = 1, alpha: float = ALPHA
) -> Comparison:
    """Compare the mean of an arm with that of `base`; right at every moment in 1 - `alpha` of all experiments.

    `comparisons` is how many such intervals one experiment has: each gets its share of `alpha` (Bonferroni).
    """
    difference = arm.mean - base.mean
    if min(arm.people, base.people) < min_people or min(arm.buyers, base.buyers) < MIN_BUYERS:
        return Comparison(difference, None, None, ArmVerdict.TOO_FEW)
    # A small side that few bought on finds its spread too small just where its mean is too low, and would
    # be called different. So each side is taken to spread as the one that spreads more.
    spread = max(arm.variance, base.variance)
    error = math.sqrt(spread / arm.people + spread / base.people)
    margin = error * width(arm.people + base.people, alpha=alpha / comparisons)
    low, high = difference - margin, difference + margin
    verdict = ArmVerdict.NO_DIFFERENCE
    if low > 0:
        verdict = ArmVerdict.BETTER
    elif high < 0:
        verdict = ArmVerdict.WORSE
    return Comparison(difference, low, high, verdict)


def width(count: int, *, alpha: float) -> float:
    """Return how many standard errors an interval over `count` people reaches to either side."""
    tuned = -2 * math.log(alpha)
    rate = count * (tuned + math.log(tuned + 1)) / _TIGHTEST_AT
    return math.sqrt(2 * (rate + 1) / rate * math.log(math.sqrt(rate + 1) / alpha))
