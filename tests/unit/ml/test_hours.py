"""B78: hours of the week, by the clock of the wall; of few reactions nothing is made up."""

from datetime import datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from saleor_personalize.ml import hours

HOURS = arrays.arrays(np.int64, st.integers(0, 60), elements=st.integers(0, hours.WEEK - 1))


@pytest.mark.parametrize(
    ("local", "number"),
    [("2026-03-02T00:00", 0), ("2026-03-02T23:59", 23), ("2026-03-08T23:00", 167)],
)
def test_b78_the_week_begins_on_monday(local: str, number: int) -> None:
    assert hours.hour_of_week(datetime.fromisoformat(local)) == number


@given(seen=HOURS, own=HOURS, strength=st.sampled_from(hours.STRENGTHS))
def test_b78_a_curve_is_one_of_shares_and_no_hour_is_impossible(
    seen: np.ndarray, own: np.ndarray, strength: float
) -> None:
    curve = hours.curve_of(seen)
    counts = np.bincount(own, minlength=hours.WEEK).astype(float)
    drawn = hours.drawn_to(curve, counts, strength)
    for each in (curve, drawn):
        assert each.sum() == pytest.approx(1)
        assert (each > 0).all()


def test_b78_without_reactions_of_their_own_a_person_is_like_all() -> None:
    curve = hours.curve_of(np.array([5, 5, 6]))
    assert hours.drawn_to(curve, np.zeros(hours.WEEK), 5.0) == pytest.approx(curve)


def test_b78_an_hour_speaks_for_those_beside_it_and_for_other_days_over_midnight_as_well() -> None:
    curve = hours.curve_of(np.array([], dtype=np.int64))
    counts = np.zeros(hours.WEEK)
    counts[23] = 10
    drawn = hours.drawn_to(curve, counts, 1.0)
    # The hour itself, the one before and the one after (of that day), the same hour on Tuesday, noon.
    assert drawn[23] > drawn[22] > drawn[47] > drawn[12]
    assert drawn[22] == pytest.approx(drawn[0])


def reactions(per_person: int, hour_of: object) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(7)
    people = np.repeat(np.arange(80), per_person)
    days = generator.uniform(0, 100, len(people))
    of_day = hour_of(people, generator)  # type: ignore[operator]
    return {"people": people, "hours": (days.astype(int) % 7) * 24 + of_day, "days": days}


def test_b78_people_with_hours_of_their_own_are_found_out() -> None:
    learnt = hours.learn(**reactions(30, lambda people, generator: people % 24))
    assert learnt is not None
    assert learnt.is_personal
    assert learnt.figures["gain"] > 1


def test_b78_chance_is_no_habit() -> None:
    learnt = hours.learn(
        **reactions(30, lambda people, generator: generator.integers(0, 24, len(people)))
    )
    assert learnt is not None
    assert not learnt.is_personal
    assert learnt.figures["people"] == 80


def test_b78_a_habit_that_was_given_up_is_not_gone_by() -> None:
    """What is measured is later than what is learnt."""
    known = reactions(30, lambda people, generator: people % 24)
    is_late = known["days"] > 75
    of_day = np.where(is_late, (known["hours"] + 12) % 24, known["hours"] % 24)
    learnt = hours.learn(
        people=known["people"], hours=known["hours"] // 24 * 24 + of_day, days=known["days"]
    )
    assert learnt is not None
    assert not learnt.is_personal
    assert learnt.figures["gain"] < 0


def test_b78_of_too_few_nothing_is_learnt() -> None:
    assert hours.learn(**reactions(2, lambda people, generator: people % 24)) is None
