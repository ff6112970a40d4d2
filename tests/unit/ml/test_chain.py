"""A chain is full whenever enough allowed items exist."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saleor_personalize.ml import Candidate, Chain, Context, Interactions
from saleor_personalize.ml.recommenders.covisitation import BoughtTogether
from saleor_personalize.ml.recommenders.newest import Newest
from saleor_personalize.ml.recommenders.popularity import Popular
from tests.unit.ml.shops import NOTHING, catalogue, orders

CATALOGUE = [f"item-{number:03}" for number in range(120)]


def shop_chain() -> Chain:
    history = orders("ab", "ab", "ac", "d", "d", "d")
    return Chain(
        {
            "bought_together": BoughtTogether().fit(history),
            "popular": Popular().fit(history),
            "newest": Newest().fit(NOTHING, catalogue("abcdefgh")),
        }
    )


def test_the_next_one_fills_what_is_open() -> None:
    answer = shop_chain().recommend(Context(seeds=("a",)), 5)

    assert [(found.item_id, found.strategy, found.reason_code) for found in answer] == [
        ("b", "bought_together", "bought_together"),
        ("c", "bought_together", "bought_together"),
        ("d", "popular", "popular"),
        ("h", "newest", "newest"),
        ("g", "newest", "newest"),
    ]


def test_nobody_is_asked_once_there_is_enough_to_choose_from() -> None:
    class Untouchable(Popular):
        def recommend(self, context: Context, k: int) -> list[Candidate]:
            raise AssertionError("asked although the answer was full")

    chain = Chain({"popular": Popular().fit(orders("abcdef")), "never": Untouchable()})

    assert len(chain.recommend(Context(), 3)) == 3


def test_filtered_items_are_replaced_from_far_down_the_list() -> None:
    chain = Chain({"popular": Popular().fit(_one_order_each(CATALOGUE))})
    last = set(CATALOGUE[-4:])

    answer = chain.recommend(Context(), 3, allowed=lambda ids: last.intersection(ids))

    assert [found.item_id for found in answer] == CATALOGUE[-4:-1]


def test_no_item_is_checked_twice() -> None:
    asked: list[str] = []

    def allowed(ids: Sequence[str]) -> set[str]:
        asked.extend(ids)
        return set()

    assert shop_chain().recommend(Context(seeds=("a",)), 2, allowed) == []
    assert sorted(asked) == list("bcdefgh")


def test_candidates_of_several_recommenders_are_checked_together() -> None:
    asked: list[list[str]] = []

    def allowed(ids: Sequence[str]) -> set[str]:
        asked.append(list(ids))
        return set(ids)

    answer = shop_chain().recommend(Context(seeds=("a",)), 3, allowed)

    assert asked == [["b", "c", "d", "h", "g", "f"]]
    assert [found.strategy for found in answer] == ["bought_together", "bought_together", "popular"]


def test_a_filter_cannot_add_items() -> None:
    answer = shop_chain().recommend(Context(seeds=("a",)), 9, lambda ids: {*ids, "stranger", "a"})

    assert sorted(found.item_id for found in answer) == list("bcdefgh")


def test_an_empty_chain_answers_nothing_and_k_starts_at_one() -> None:
    assert Chain({}).recommend(Context(), 3) == []
    with pytest.raises(ValueError, match="k must be at least 1, not 0"):
        Chain({}).recommend(Context(), 0)


@given(
    allowed=st.frozensets(st.sampled_from("abcdefgh")),
    seeds=st.lists(st.sampled_from("abcdefgh"), max_size=3),
    exclude=st.frozensets(st.sampled_from("abcdefgh"), max_size=3),
    k=st.integers(1, 10),
)
def test_it_is_full_whenever_enough_allowed_items_exist(
    allowed: frozenset[str], seeds: list[str], exclude: frozenset[str], k: int
) -> None:
    context = Context(seeds=tuple(seeds), exclude=exclude)

    answer = shop_chain().recommend(context, k, lambda ids: set(allowed.intersection(ids)))

    ids = [found.item_id for found in answer]
    possible = allowed - set(seeds) - exclude
    assert len(ids) == len(set(ids)) == min(k, len(possible))
    assert possible.issuperset(ids)


def _one_order_each(ids: list[str]) -> Interactions:
    return Interactions.of(
        visitor_id=["v"] * len(ids),
        item_id=ids,
        event=["purchase"] * len(ids),
        timestamp=[0.0] * len(ids),
    )
