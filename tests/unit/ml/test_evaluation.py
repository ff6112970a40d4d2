"""Metrics by hand, and back-tests whose right answer is known."""

from __future__ import annotations

import json
from dataclasses import asdict
from math import log2

import pytest

from saleor_personalize.ml import Context, Interactions, Items
from saleor_personalize.ml.evaluation import (
    Case,
    backtest,
    basket_cases,
    coverage,
    evaluate,
    hit_rate_at_k,
    ndcg_at_k,
    next_item_cases,
    novelty,
    recall_at_k,
    reciprocal_rank_at_k,
    report_of,
    time_split,
)
from saleor_personalize.ml.recommenders.covisitation import BoughtTogether
from saleor_personalize.ml.recommenders.popularity import Popular
from tests.unit.ml.shops import DAY, NOTHING, orders


def test_metrics_of_one_list() -> None:
    ranked, relevant = ["x", "a", "y", "b"], {"a", "b", "c"}

    assert recall_at_k(ranked, relevant, 4) == 2 / 3
    assert recall_at_k(ranked, relevant, 2) == 1 / 2  # only two of the three can be in two places
    ideal = 1 + 1 / log2(3) + 1 / log2(4)
    assert ndcg_at_k(ranked, relevant, 4) == pytest.approx((1 / log2(3) + 1 / log2(5)) / ideal)
    assert ndcg_at_k(["a", "b"], relevant, 2) == 1.0
    assert ndcg_at_k(["a", "a"], relevant, 2) == 1 / (1 + 1 / log2(3)), "once, however often given"
    assert (hit_rate_at_k(ranked, relevant, 1), hit_rate_at_k(ranked, relevant, 2)) == (0.0, 1.0)
    assert reciprocal_rank_at_k(ranked, relevant, 4) == 1 / 2
    assert reciprocal_rank_at_k(ranked, relevant, 1) == 0.0


def test_metrics_of_many_lists() -> None:
    assert coverage([["a", "b"], ["b"]], ["a", "b", "c", "d"]) == 0.5
    assert coverage([["a", "new"], ["newer"]], {"a", "b"}) == 0.5, "never more than all"
    assert coverage([], []) == 0.0
    assert novelty([["a"], ["b", "new"]], {"a": 4, "b": 2, "c": 2}) == (1 + 2 + 3) / 3
    assert novelty([], {}) == novelty([["a"]], {}) == 0.0


def test_only_the_places_asked_for_count_and_coverage_is_of_the_catalogue() -> None:
    # a has 2 of 4 rows, b and c one each; d was never sold.
    train = orders("ab", "ac")
    items = Items.of(["a", "b", "c", "d"])

    found = report_of([["d", "a", "b"], ["c"]], [{"b"}, {"c"}], train, items, k=2)

    assert (found.cases, found.recall, found.hit_rate, found.mrr) == (2, 0.5, 0.5, 0.5)
    assert found.coverage == 3 / 4
    assert found.novelty == (log2(4 / 1) + log2(4 / 2) + log2(4 / 1)) / 3
    assert report_of([["d", "a", "b"], ["c"]], [{"b"}, {"c"}], train, k=2).coverage == 2 / 3


def test_a_split_never_tears_an_order() -> None:
    interactions = orders("ab", "cde", "fg", spacing=DAY)

    past, future = time_split(interactions, fraction=0.5)

    assert past.item_id.decode() == ["a", "b"]
    assert future.item_id.decode() == list("cdefg")
    assert [len(part) for part in time_split(interactions, cut=1e9 + 2 * DAY)] == [5, 2]
    assert [len(part) for part in time_split(NOTHING)] == [0, 0]
    with pytest.raises(ValueError, match="fraction must lie between 0 and 1, not 1"):
        time_split(interactions, fraction=1)


def test_a_basket_asks_for_the_rest_from_each_item() -> None:
    assert basket_cases(orders("aba", "c")) == [
        Case(Context(seeds=("a",)), frozenset("b")),
        Case(Context(seeds=("b",)), frozenset("a")),
    ]


def test_the_next_item_is_asked_within_a_visit() -> None:
    interactions = Interactions.of(
        visitor_id=["v", "w", "v", "v", "v", "v"],
        item_id=["b", "z", "a", "b", "c", "d"],
        event=["view"] * 6,
        timestamp=[10, 15, 0, 20, 30, 5_000],
    )

    assert next_item_cases(interactions) == [
        Case(Context(("a",), ("a",), visitor_id="v", now=10.0), frozenset("b")),
        Case(Context(("a", "b", "b"), ("b",), visitor_id="v", now=30.0), frozenset("c")),
    ]


def test_the_report_of_a_backtest() -> None:
    # Past: a with b and c with d. Future: both again.
    interactions = orders("ab", "cd", "ab", "cd", "ab", "cd", spacing=DAY)

    report = backtest(BoughtTogether(), interactions, cut=1e9 + 4 * DAY, k=1)

    assert asdict(report) == {
        "cases": 4,
        "k": 1,
        "recall": 1.0,
        "ndcg": 1.0,
        "hit_rate": 1.0,
        "mrr": 1.0,
        "coverage": 1.0,
        "novelty": 2.0,
    }
    assert json.loads(json.dumps(asdict(report)))["recall"] == 1.0
    assert backtest(Popular(), interactions, cut=1e9 + 4 * DAY, k=1).recall == 0.5


def test_the_task_of_the_next_item() -> None:
    interactions = orders("ab", "ab", "ab", spacing=DAY)

    report = backtest(BoughtTogether(), interactions, task="next_item", fraction=0.5, k=1)

    assert (report.cases, report.recall) == (2, 1.0)


def test_a_backtest_is_repeatable_and_leaves_the_recommender_alone() -> None:
    interactions = orders(*["abcd", "bcde", "cdef"] * 10, spacing=DAY)
    recommender = BoughtTogether().fit(orders("xy"))

    first = backtest(recommender, interactions, max_cases=5, seed=3)

    assert first.cases == 5
    assert first == backtest(recommender, interactions, max_cases=5, seed=3)
    assert [found.item_id for found in recommender.recommend(Context(seeds=("x",)), 3)] == ["y"]


def test_nothing_to_ask_is_a_report_of_zeros() -> None:
    report = backtest(Popular(), NOTHING)

    assert report == evaluate(Popular().fit(NOTHING), [], NOTHING)
    assert set(asdict(report).values()) == {0, 10}
