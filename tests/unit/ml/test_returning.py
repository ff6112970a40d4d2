"""B12: formulas that foretell prove themselves on time they have not seen, or are not used."""

from __future__ import annotations

import json

import numpy as np
import pytest

from saleor_personalize.ml import returning
from saleor_personalize.ml.returning import History, Purchases, churn_risk, days_to_next

TODAY = 400
HORIZON = 60


def shop(kinds: list[tuple[int, float, int]], seed: int = 1) -> Purchases:
    """Make buyers: (how many, days between two purchases, days until they stop), at random times."""
    random = np.random.default_rng(seed)
    people, days = [], []
    for count, pause, until in kinds:
        for _ in range(count):
            person = len(set(people)) + 1
            day = float(random.uniform(0, min(300, TODAY)))
            end = min(day + until, TODAY)
            while day <= end:
                people.append(person)
                days.append(int(day))
                day += max(random.normal(pause, pause / 5), 1)
    return Purchases.of(people, days)


@pytest.fixture(scope="module")
def loyal() -> Purchases:
    """Some buy every month for ever, some every fortnight, some once."""
    return shop([(300, 30, 999), (150, 14, 999), (400, 30, 1)])


def test_b12_a_pattern_is_found_and_its_figures_are_kept(loyal: Purchases) -> None:
    found = returning.train(loyal, today=TODAY, horizon=HORIZON)
    churn, date = found["churn"], found["next_order"]
    assert churn.parameters is not None
    assert churn.figures["brier"] < 0.05 < 0.2 < churn.figures["base_brier"]
    assert churn.figures["log_loss"] < churn.figures["base_log_loss"]
    once, loyal_one = churn_risk(
        churn.parameters,
        History(np.array([1.0, 10.0]), np.array([200.0, 290.0]), np.array([200.0, 20.0])),
    )
    assert once > 0.9
    assert loyal_one < 0.1
    # Somebody who buys each month, last 20 days ago, whose simple rule is as good: so no date is told.
    assert date.figures["people"] > 300
    assert set(date.figures) >= {"median_error", "own_gap_error", "constant_error"}


def test_b12_a_formula_is_plain_numbers(loyal: Purchases) -> None:
    parameters = returning.train(loyal, today=TODAY, horizon=HORIZON)["churn"].parameters
    assert parameters is not None
    again = json.loads(json.dumps(parameters))
    history = History(np.array([3.0]), np.array([90.0]), np.array([30.0]))
    assert churn_risk(again, history) == churn_risk(parameters, history)
    own = (90 - 30 + again["gap"]) / 3
    row = [np.log(3), np.log(31), np.log(91), np.log(own), np.log1p(30 / own), 30 / (30 + own), 0]
    by_hand = 1 / (1 + np.exp(-(np.dot(row, again["weights"]) + again["bias"])))
    assert churn_risk(parameters, history)[0] == pytest.approx(by_hand)


def test_b12_chance_is_not_foretold() -> None:
    """Everybody is alike and buys when the dice say so: nothing beats the share."""
    random = np.random.default_rng(3)
    day = np.repeat(np.arange(TODAY + 1), 20)
    buyers = Purchases.of(random.integers(0, 1500, len(day)), day)
    churn = returning.train(buyers, today=TODAY, horizon=HORIZON)["churn"]
    assert churn.parameters is None
    assert churn.figures["reason"] == "not_better"
    assert churn.figures["people"] > returning.MIN_PEOPLE


def test_b12_a_pattern_that_broke_is_not_used() -> None:
    """Who came back in the past stays away in the last stretch of time, and the other way round."""
    random = np.random.default_rng(5)
    split = TODAY - HORIZON
    people, days = [], []
    for person in range(600):
        is_loyal = person % 2 == 0
        first = int(random.integers(0, 100))
        past = range(first, split, 20) if is_loyal else [first, first + 3]
        later = [] if is_loyal else [split + 10]
        for day in [*past, *later]:
            people.append(person)
            days.append(day)
    churn = returning.train(Purchases.of(people, days), today=TODAY, horizon=HORIZON)["churn"]
    assert churn.parameters is None
    assert churn.figures["reason"] == "not_better"
    assert churn.figures["brier"] > churn.figures["base_brier"]


def test_b12_too_few_people_or_too_little_time_is_not_enough_data(loyal: Purchases) -> None:
    few = Purchases(loyal.person[loyal.person <= 80], loyal.day[loyal.person <= 80])
    found = returning.train(few, today=TODAY, horizon=HORIZON)
    assert {name: one.parameters for name, one in found.items()} == {
        "churn": None,
        "next_order": None,
    }
    assert found["churn"].figures["reason"] == "people"
    assert found["churn"].figures["needed_people"] == returning.MIN_PEOPLE
    young = returning.train(loyal, today=TODAY, horizon=150)["churn"]
    assert (young.parameters, young.figures["reason"]) == (None, "history")
    nobody = returning.train(Purchases.of([], []), today=TODAY, horizon=HORIZON)["next_order"]
    assert nobody.parameters is None


def test_b12_a_date_must_beat_the_persons_own_rhythm() -> None:
    """A shop whose people tell their rhythm badly: few purchases each, one rhythm of the shop."""
    random = np.random.default_rng(7)
    people, days = [], []
    for person in range(900):
        day = float(random.uniform(0, 320))
        for _ in range(int(random.integers(2, 6))):
            people.append(person)
            days.append(int(day))
            day += random.gamma(2.0, 14.0) + 1
    keep = [(p, d) for p, d in zip(people, days, strict=True) if d <= TODAY]
    bought = Purchases.of([p for p, _ in keep], [d for _, d in keep])
    date = returning.train(bought, today=TODAY, horizon=HORIZON)["next_order"]
    figures = date.figures
    assert figures["median_error"] <= 0.95 * figures["own_gap_error"]
    assert figures["median_error"] <= 0.98 * figures["constant_error"]
    assert date.parameters is not None
    waits = days_to_next(
        date.parameters,
        History(np.array([2.0, 9.0]), np.array([40.0, 300.0]), np.array([5.0, 290.0])),
    )
    assert ((waits >= 1) & (waits <= HORIZON)).all()


def test_histories_look_no_further_than_their_day() -> None:
    bought = Purchases.of([7, 7, 7, 9, 9], [10, 10, 30, 20, 60])
    people, history = bought.until(30)
    assert people.tolist() == [7, 9]
    assert [column.tolist() for column in history] == [[2, 1], [20, 10], [0, 10]]
    assert bought.next_after(people, 30, 30).tolist() == [np.inf, 30]
    assert bought.next_after(people, 30, 29).tolist() == [np.inf, np.inf]
    assert bought.typical_gap() == 30
