"""The arithmetic by which recommenders choose their constants."""

from __future__ import annotations

import math

import numpy as np
import pytest

from saleor_personalize.ml.tuning import (
    DAY,
    LONGEST,
    Window,
    best_columns,
    decayed,
    last_windows,
    recall_and_ndcg,
    trend,
)


def test_windows_are_a_tenth_of_the_time_the_last_one_first() -> None:
    times = np.array([0.0, 30.0, 100.0])

    assert last_windows(times, 2) == [Window(90.0, np.nextafter(100.0, np.inf)), Window(80.0, 90.0)]


def test_a_window_is_never_longer_than_five_weeks() -> None:
    (window,) = last_windows(np.array([0.0, 1_000 * DAY]), 1)

    assert window.start == 1_000 * DAY - LONGEST
    assert LONGEST == 35 * DAY


@pytest.mark.parametrize("times", [[], [5.0], [5.0, 5.0]])
def test_without_time_there_is_no_window(times: list[float]) -> None:
    assert last_windows(np.array(times), 2) == []


def test_worth_halves_and_a_fast_clock_gains_nothing() -> None:
    found = decayed(np.array([0.0, 10 * DAY, 30 * DAY]), 20 * DAY, 10.0)

    assert found.tolist() == [0.25, 0.5, 1.0]


def test_trend_compares_with_the_share_of_all_rows() -> None:
    items, worth = np.array([0, 0, 0, 1]), np.array([0.0, 0.0, 1.0, 1.0])

    # Half of all rows are recent: 1.5 of item 0 are expected, and 0.5 of item 1; item 2 has none.
    assert trend(items, worth, 3).tolist() == [2 / 2.5, 2 / 1.5, 1.0]


def test_best_columns_come_in_order_and_all_of_them_if_there_are_fewer() -> None:
    scores = np.array([[1.0, 3.0, 2.0], [5.0, 0.0, 4.0]])

    assert best_columns(scores, 2).tolist() == [[1, 2], [0, 2]]
    assert best_columns(scores, 9).tolist() == [[1, 2, 0], [0, 2, 1]]
    assert best_columns(np.empty((2, 0)), 3).shape == (2, 0)


def test_recall_is_of_what_can_be_reached_and_ndcg_of_the_best_order() -> None:
    hits = np.array([[True, False], [False, True]])

    recall, ndcg = recall_and_ndcg(hits, [1, 5])

    second = 1 / math.log2(3)
    assert recall == pytest.approx((1 + 1 / 2) / 2)
    assert ndcg == pytest.approx((1 + second / (1 + second)) / 2)
    assert recall_and_ndcg(np.empty((0, 2), dtype=bool), []) == (0.0, 0.0)
