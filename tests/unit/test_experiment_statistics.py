"""B88, B90: whoever looks after every person and stops when it looks good is wrong in 5 of 100 experiments at most."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from saleor_personalize.enums import ArmVerdict
from saleor_personalize.experiments.drawing import Arm, draw
from saleor_personalize.experiments.statistics import Sample, compare, width

MIN_PEOPLE = 100


def spent(random: np.random.Generator, count: int, share: float, mean: float) -> np.ndarray:
    """What people spend: most nothing, a few much."""
    buys = random.random(count) < share
    amounts: np.ndarray = buys * random.gamma(2.0, mean / 2.0, count)
    return amounts


def looked_at_all_the_time(
    seed: int, *, share: float, uplift: float, held_out: float, people: int = 4000
) -> list[tuple[float, float]]:
    """Return the interval after each person, from the first that there is."""
    random = np.random.default_rng(seed)
    is_held = random.random(people) < held_out
    amounts = np.where(
        is_held, spent(random, people, share, 60.0), spent(random, people, share, 60.0 + uplift)
    )

    def sums(mask: np.ndarray) -> list[tuple[int, float, float, int]]:
        own = amounts * mask
        columns = (np.cumsum(mask), np.cumsum(own), np.cumsum(own**2), np.cumsum(own > 0))
        return list(zip(*(column.tolist() for column in columns), strict=True))

    found = []
    for arm, base in zip(sums(~is_held), sums(is_held), strict=True):
        comparison = compare(Sample(*arm), Sample(*base), min_people=MIN_PEOPLE)
        if comparison.low is not None and comparison.high is not None:
            found.append((comparison.low, comparison.high))
    return found


@pytest.mark.parametrize(
    ("share", "held_out"), [(0.3, 0.5), (0.1, 0.5), (0.1, 0.1)], ids=["even", "few", "holdout"]
)
def test_b88_who_peeks_after_every_person_is_seldom_misled(share: float, held_out: float) -> None:
    right = 0
    for seed in range(100):
        intervals = looked_at_all_the_time(seed, share=share, uplift=0.0, held_out=held_out)
        assert len(intervals) > 500
        right += all(low <= 0 <= high for low, high in intervals)
    assert right >= 95


@pytest.mark.parametrize("held_out", [0.05, 0.5])
def test_b88_a_small_side_and_a_few_very_large_orders_seldom_mislead(held_out: float) -> None:
    people, right = 20_000, 0
    looks = np.unique(np.geomspace(800, people, 40).astype(int)) - 1
    for seed in range(100):
        random = np.random.default_rng(seed)
        is_held = random.random(people) < held_out
        amounts = (random.random(people) < 0.05) * random.lognormal(4.0, 1.2, people)

        def sums(mask: np.ndarray, amounts: np.ndarray = amounts) -> list[Sample]:
            own = amounts * mask
            columns = (np.cumsum(mask), np.cumsum(own), np.cumsum(own**2), np.cumsum(own > 0))
            rows = zip(*(column[looks].tolist() for column in columns), strict=True)
            return [Sample(*row) for row in rows]

        verdicts = {
            compare(arm, base, min_people=MIN_PEOPLE).verdict
            for arm, base in zip(sums(~is_held), sums(is_held), strict=True)
        }
        right += verdicts <= {ArmVerdict.TOO_FEW, ArmVerdict.NO_DIFFERENCE}
    assert right >= 95


def test_b88_a_true_difference_is_inside_at_every_moment_and_found_in_the_end() -> None:
    right, found = 0, 0
    for seed in range(100):
        intervals = looked_at_all_the_time(seed, share=0.3, uplift=40.0, held_out=0.5)
        truth = 0.3 * 40.0
        right += all(low <= truth <= high for low, high in intervals)
        found += intervals[-1][0] > 0
    assert right >= 95
    assert found >= 95


def test_b88_an_ordinary_interval_would_mislead_who_peeks() -> None:
    """The test above can fail: the usual 1.96 standard errors are wrong in far more than 5 of 100."""
    wrong = 0
    for seed in range(100):
        intervals = looked_at_all_the_time(seed, share=0.3, uplift=0.0, held_out=0.5)
        # From its first moment on; how wide each is said to be tells the standard error.
        for count, (low, high) in enumerate(intervals, start=4000 - len(intervals) + 1):
            usual = (high - low) / 2 / width(count, alpha=0.05) * 1.96
            if abs(low + high) / 2 > usual:
                wrong += 1
                break
    assert wrong > 15


@pytest.mark.parametrize(
    ("people", "buyers"), [(99, 50), (1000, 4)], ids=["too few people", "too few buyers"]
)
def test_b88_nothing_is_said_of_too_few(people: int, buyers: int) -> None:
    small = Sample(people, 100.0 * buyers, 10_000.0 * buyers, buyers)
    large = Sample(5000, 1000.0, 100_000.0, 1000)
    for arm, base in ((small, large), (large, small)):
        found = compare(arm, base, min_people=MIN_PEOPLE)
        assert (found.low, found.high, found.verdict) == (None, None, ArmVerdict.TOO_FEW)


def test_b88_the_verdict_says_on_which_side_nothing_lies() -> None:
    poor = Sample(2000, 2000.0, 4000.0, 500)
    rich = Sample(2000, 6000.0, 24_000.0, 500)
    better = compare(rich, poor, min_people=MIN_PEOPLE)
    worse = compare(poor, rich, min_people=MIN_PEOPLE)
    same = compare(poor, poor, min_people=MIN_PEOPLE)
    assert better.difference == 2.0
    assert better.low is not None
    assert better.high is not None
    assert 0 < better.low < 2.0 < better.high
    assert (worse.low, worse.high) == (-better.high, -better.low)
    assert [each.verdict for each in (better, worse, same)] == [
        ArmVerdict.BETTER,
        ArmVerdict.WORSE,
        ArmVerdict.NO_DIFFERENCE,
    ]


def test_b88_several_arms_share_what_an_experiment_may_be_wrong() -> None:
    arm, base = Sample(2000, 2100.0, 4000.0, 500), Sample(2000, 2000.0, 4000.0, 500)
    one = compare(arm, base, min_people=MIN_PEOPLE)
    four = compare(arm, base, min_people=MIN_PEOPLE, comparisons=4)
    assert one.low is not None
    assert four.low is not None
    assert four.low < one.low
    assert width(4000, alpha=0.05) == pytest.approx(3.0404, abs=0.0001)


def test_b88_chance_keeps_the_weights_and_answers_the_same() -> None:
    arms = (Arm("a", 3), Arm("b"), Arm("c", 0))
    drawn = [draw(arms, seed=f"experiment:copy:{number}") for number in range(4000)]
    assert drawn == [draw(arms, seed=f"experiment:copy:{number}") for number in range(4000)]
    counted = Counter(drawn)
    assert counted["a"] == pytest.approx(3000, abs=100)
    assert counted["c"] == 0
    # Another experiment draws independently.
    other = [draw(arms, seed=f"experiment:time:{number}") for number in range(4000)]
    both = sum(one == two == "b" for one, two in zip(drawn, other, strict=True))
    assert both == pytest.approx(250, abs=50)
