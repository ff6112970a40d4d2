"""What a visitor will newly buy, on shops where that is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from saleor_personalize.ml import Context, Interactions, Items
from saleor_personalize.ml.recommenders.personal import Constants, Personal
from tests.unit.ml.shops import DAY, NOTHING, orders

Row = tuple[str, str, str, float]


def log(*rows: Row) -> Interactions:
    """Visitor, item, event and day."""
    visitors, items, events, days = zip(*rows, strict=True)
    return Interactions.of(
        visitor_id=visitors, item_id=items, event=events, timestamp=[day * DAY for day in days]
    )


def two_tastes() -> list[Row]:
    """Forty people: each bought three of four white things, or three of four black ones."""
    rows = []
    for number in range(40):
        colour = "aceg" if number % 2 else "bdfh"
        missing = colour[number // 2 % 4]
        rows += [(f"v{number}", item, "purchase", 1.0) for item in colour if item != missing]
    return rows


def ids(personal: Personal, k: int = 20, **context: object) -> list[str]:
    return [found.item_id for found in personal.recommend(Context(**context), k)]  # type: ignore[arg-type]


def test_b17_two_people_with_different_histories_get_what_completes_theirs() -> None:
    personal = Personal().fit(log(*two_tastes()))

    assert ids(personal, 1, visitor_id="v1") == ["a"]
    assert ids(personal, 1, visitor_id="v3") == ["c"]
    assert ids(personal, 1, visitor_id="v0") == ["b"]
    assert personal.recommend(Context(visitor_id="v1"), 1)[0].reason_code == "for_you"


def test_what_was_bought_does_not_come_back() -> None:
    found = ids(Personal().fit(log(*two_tastes())), visitor_id="v1")

    assert set(found) == set("abdfh")


def test_a_live_session_speaks_for_somebody_unknown() -> None:
    personal = Personal().fit(log(*two_tastes()))

    assert set(ids(personal, 2, session=("a", "c"))[:2]) <= set("aceg")
    assert set(ids(personal, 2, session=("b", "d"), visitor_id="never seen")) <= set("bdfh")


def test_a_live_session_adds_to_the_history() -> None:
    rows = [*two_tastes(), ("new", "a", "purchase", 1.0)]
    personal = Personal().fit(log(*rows))

    assert set(ids(personal, 3, visitor_id="new")) == set("ceg")
    assert set(ids(personal, 3, visitor_id="new", session=("b", "d", "f"))) != set("ceg")


def test_who_is_unknown_gets_what_sells_of_late_and_is_told_so() -> None:
    rows = [*two_tastes(), *((f"late{n}", "h", "purchase", 30.0) for n in range(3))]

    first = Personal().fit(log(*rows)).recommend(Context(visitor_id="nobody"), 1)[0]

    assert (first.item_id, first.reason_code) == ("h", "popular")


def test_what_was_looked_at_and_not_bought_is_a_candidate() -> None:
    rows = [*two_tastes(), ("new", "a", "view", 1.0), ("new", "c", "purchase", 1.0)]
    personal = Personal(tune=False).fit(log(*rows))

    assert ids(personal, 1, visitor_id="new") == ["a"]
    assert "c" not in ids(personal, visitor_id="new")


def test_scores_are_those_of_ease() -> None:
    random = np.random.default_rng(5)
    matrix = (random.random((30, 8)) < 0.4).astype(float)
    # Every item twice at least.
    matrix[:2] = 1.0
    rows = [
        (f"v{visitor:02}", "abcdefgh"[item], "purchase", 1.0)
        for visitor, item in zip(*np.nonzero(matrix), strict=True)
    ]

    personal = Personal(tune=False).fit(log(*rows))

    inverse = np.linalg.inv(matrix.T @ matrix + Constants().ridge * np.eye(8))
    weights = -inverse / np.diag(inverse)
    np.fill_diagonal(weights, 0.0)
    # All rows are of one moment: no item trends.
    expected = matrix[7] @ weights
    new = [item for item in range(8) if not matrix[7, item]]
    found = {c.item_id: c.score for c in personal.recommend(Context(visitor_id="v07"), 20)}
    assert found.keys() == {"abcdefgh"[item] for item in new}
    for item in new:
        assert found["abcdefgh"[item]] == pytest.approx(max(expected[item], 0.0), abs=1e-5)


def test_outside_the_dense_part_an_item_speaks_by_itself() -> None:
    rows = [(f"v{n}", item, "purchase", 1.0) for n in range(9) for item in "ab"]
    rows += [("x", "c", "purchase", 1.0), ("x", "d", "purchase", 1.0), ("y", "c", "purchase", 1.0)]

    personal = Personal(max_items=2, tune=False).fit(log(*rows))

    found = personal.recommend(Context(visitor_id="y"), 1)[0]
    # One of the two who took c took d: 1 / (2 + ridge).
    assert (found.item_id, found.reason_code) == ("d", "for_you")
    assert found.score == pytest.approx(1 / (2 + Constants().ridge), rel=1e-3)


def test_texts_lead_from_a_thing_to_what_is_called_alike() -> None:
    rows = [(f"v{n}", item, "purchase", 1.0) for n in range(6) for item in "ab"]
    rows += [(f"w{n}", item, "purchase", 1.0) for n in range(6) for item in "cd"]
    rows += [("new", "a", "purchase", 1.0), ("new", "b", "purchase", 1.0)]
    names = {"a": "mug", "b": "desk", "c": "mug", "d": "hat"}
    items = Items.of(list(names), name=list(names.values()))
    personal = Personal(tune=False)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "saleor_personalize.ml.recommenders.personal.Constants",
            lambda: Constants(text_weight=30.0),
        )
        with_texts = personal.fit(log(*rows), items).recommend(Context(visitor_id="new"), 1)[0]

    assert (with_texts.item_id, with_texts.reason_code) == ("c", "for_you")
    without = Personal(tune=False).fit(log(*rows)).recommend(Context(visitor_id="new"), 1)[0]
    assert without.reason_code == "popular"


def rising_shop() -> list[Row]:
    """A hundred days, two hundred people: the season decides what is new, whoever asks."""
    random = np.random.default_rng(2)
    rows = []
    for number in range(200):
        for day in range(number % 10, 100, 10):
            season = day // 10
            item = random.choice([f"s{season}", f"s{season}", f"o{random.integers(20)}"])
            rows.append((f"v{number}", str(item), "purchase", float(day)))
    return rows


def test_a_shop_with_seasons_chooses_the_trend() -> None:
    constants = Personal().fit(log(*rising_shop())).constants

    assert constants.trend_exponent >= 0.75


def test_too_few_people_choose_nothing() -> None:
    assert Personal().fit(log(*two_tastes())).constants == Constants()
    assert Personal().fit(NOTHING).constants == Constants()


def test_the_same_data_and_seed_give_the_same_answers() -> None:
    rows = log(*rising_shop())
    first, second = Personal(seed=3).fit(rows), Personal(seed=3).fit(rows)

    for name, array in first.arrays.items():
        np.testing.assert_array_equal(second.arrays[name], array)


def test_it_answers_the_same_when_loaded(tmp_path: Path) -> None:
    personal = Personal().fit(log(*rising_shop()))
    personal.save(tmp_path)

    loaded = Personal.load(tmp_path)

    assert loaded.constants == personal.constants
    for number in range(20):
        context = Context(visitor_id=f"v{number}", session=("s3", "o1", "unknown"))
        assert loaded.recommend(context, 10) == personal.recommend(context, 10)


def test_however_much_is_excluded_the_answer_is_full() -> None:
    rows = [(f"v{n}", f"i{item}", "purchase", 1.0) for n in range(3) for item in range(60)]
    rows.append(("new", "i0", "purchase", 1.0))
    personal = Personal().fit(log(*rows))
    excluded = [f"i{item}" for item in range(1, 55)] + [f"unknown{n}" for n in range(500)]

    assert len(ids(personal, visitor_id="new", exclude=excluded)) == 5


@settings(deadline=None, max_examples=40)
@given(
    baskets=st.lists(st.text("abcdefgh", min_size=1, max_size=4), max_size=8),
    visitor=st.integers(0, 9),
    session=st.lists(st.sampled_from("abcdefgh"), max_size=3),
    exclude=st.frozensets(st.sampled_from("abcdefgh"), max_size=4),
    k=st.integers(1, 9),
)
def test_the_answer_is_new_for_any_visitor(
    baskets: list[str], visitor: int, session: list[str], exclude: frozenset[str], k: int
) -> None:
    personal = Personal().fit(orders(*baskets, spacing=DAY))
    context = Context(visitor_id=f"visitor-{visitor}", session=tuple(session), exclude=exclude)

    found = personal.recommend(context, k)

    bought = set(baskets[visitor]) if visitor < len(baskets) else set()
    left = set("".join(baskets)) - bought - exclude
    assert {c.item_id for c in found} <= left
    assert len(found) == min(k, len(left))
    assert found == personal.recommend(context, k + 3)[:k]
    assert all(c.score > 0 for c in found)


def test_options_are_checked() -> None:
    with pytest.raises(ValueError, match="max_items starts at 1, not 0"):
        Personal(max_items=0)
