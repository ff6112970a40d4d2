"""Each recommender on data small enough to count by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest

from saleor_personalize.ml import Candidate, Context, Interactions, Items, Recommender
from saleor_personalize.ml.recommenders.content import Similar
from saleor_personalize.ml.recommenders.covisitation import BoughtTogether
from saleor_personalize.ml.recommenders.newest import Newest
from saleor_personalize.ml.recommenders.popularity import Popular
from saleor_personalize.ml.texts import tokens
from tests.unit.ml.shops import DAY, NOTHING, catalogue, checkerboard, orders


def found(recommender: Recommender, *seeds: str, k: int = 10) -> dict[str, Any]:
    candidates = recommender.recommend(Context(seeds=seeds), k)
    return {candidate.item_id: pytest.approx(candidate.score) for candidate in candidates}


def plain(**changes: float) -> BoughtTogether:
    """Count orders and nothing else, except for what the test is about."""
    options: dict[str, float] = {
        "popularity_exponent": 0,
        "trend_exponent": 0,
        "size_exponent": 0,
        "seed_exponent": 0,
    }
    return BoughtTogether(**{**options, "half_life_days": None, **changes})  # type: ignore[arg-type]


def events(*rows: tuple[str, str, float]) -> Interactions:
    return Interactions.of(
        visitor_id=["v"] * len(rows),
        item_id=[item for item, _, _ in rows],
        event=[event for _, event, _ in rows],
        timestamp=[day * DAY for _, _, day in rows],
    )


class TestPopular:
    def test_an_event_is_worth_half_after_a_half_life(self) -> None:
        interactions = events(("a", "purchase", 0), ("b", "cart", 30), ("b", "view", 60))

        popular = Popular(half_life_days=30).fit(interactions)

        assert found(popular) == {"b": 3 / 2 + 1, "a": 5 / 4}
        assert popular.recommend(Context(), 1) == [Candidate("b", 2.5, "popular")]

    def test_without_half_life_all_events_count_alike(self) -> None:
        interactions = events(("a", "view", 0), ("a", "view", 900), ("b", "view", 900))

        assert found(Popular(half_life_days=None).fit(interactions)) == {"a": 2.0, "b": 1.0}

    def test_weights_go_over_the_defaults_and_zero_leaves_out(self) -> None:
        interactions = events(("a", "view", 0), ("b", "purchase", 0), ("c", "cart", 0))

        popular = Popular(event_weights={"view": 0, "cart": 7}).fit(interactions)

        assert found(popular) == {"c": 7.0, "b": 5.0}

    def test_a_given_now_ages_events_and_a_fast_clock_gains_nothing(self) -> None:
        interactions = events(("a", "view", 0), ("b", "view", 60), ("c", "view", 30))

        popular = Popular(half_life_days=30, now=30 * DAY).fit(interactions)

        assert found(popular) == {"b": 1.0, "c": 1.0, "a": 0.5}

    @pytest.mark.parametrize("half_life_days", [0.0, -1.0, math.nan])
    def test_a_half_life_is_positive(self, half_life_days: float) -> None:
        with pytest.raises(ValueError, match="half_life_days must be above 0"):
            Popular(half_life_days=half_life_days)

    def test_weights_are_checked(self) -> None:
        with pytest.raises(ValueError, match="Unknown event 'wiew' in event_weights"):
            Popular(event_weights={"wiew": 1})
        with pytest.raises(ValueError, match="weight of 'view' must be 0 or more, not -1"):
            Popular(event_weights={"view": -1})


class TestBoughtTogether:
    def test_it_counts_orders_not_lines(self) -> None:
        fitted = plain().fit(orders("aab", "abc", "bd"))

        assert found(fitted, "a") == {"b": 2.0, "c": 1.0}
        assert found(fitted, "b") == {"a": 2.0, "c": 1.0, "d": 1.0}

    def test_the_checkerboard_is_answered_by_colour(self) -> None:
        fitted = BoughtTogether().fit(*checkerboard())

        assert set(found(fitted, "a")) == {"c", "e", "g"}
        assert set(found(fitted, "b")) == {"d", "f", "h"}

    def test_a_large_basket_says_less(self) -> None:
        fitted = plain(size_exponent=2).fit(orders("ab", "acd"))

        two, three = 1 / math.log2(3) ** 2, 1 / math.log2(4) ** 2
        assert found(fitted, "a") == {"b": two, "c": three, "d": three}

    def test_popularity_is_held_against_the_target(self) -> None:
        fitted = plain(popularity_exponent=0.5).fit(orders("ab", "ac", "c", "c", "c"))

        assert found(fitted, "a") == {"b": 1.0, "c": 0.5}

    def test_it_is_directional(self) -> None:
        fitted = BoughtTogether().fit(orders("pc", "pc", "p", "p", "p"))

        assert found(fitted, "p")["c"] != found(fitted, "c")["p"]
        confidence = plain(seed_exponent=1).fit(orders("pc", "pc", "p", "p", "p"))
        assert found(confidence, "p") == {"c": 2 / 5}
        assert found(confidence, "c") == {"p": 1.0}

    def test_an_old_order_counts_less(self) -> None:
        fitted = plain(half_life_days=10).fit(orders("ab", "ac", spacing=10 * DAY))

        assert found(fitted, "a") == {"c": 1.0, "b": 0.5}

    def test_what_sells_of_late_is_lifted(self) -> None:
        fitted = plain(trend_exponent=1, trend_days=5).fit(orders("ab", "ac", spacing=10 * DAY))

        # Half of all order lines are recent, so b and c are expected half a time: b came 0, c 1.
        assert found(fitted, "a") == {"c": (1 + 1) / (0.5 + 1), "b": (0 + 1) / (0.5 + 1)}

    def test_the_lines_of_a_cart_add_up_and_the_strongest_is_the_reason(self) -> None:
        fitted = plain().fit(orders("ac", "bc", "bc", "bd", "ae", "ae", "ae"))

        answer = fitted.recommend(Context(seeds=("a", "b")), 10)

        assert answer == [
            Candidate("c", 3.0, "bought_together", "b"),
            Candidate("e", 3.0, "bought_together", "a"),
            Candidate("d", 1.0, "bought_together", "b"),
        ]

    def test_of_two_equal_reasons_the_first_seed_is_named(self) -> None:
        fitted = plain().fit(orders("ac", "bc"))

        assert fitted.recommend(Context(seeds=("b", "a")), 1)[0].reason_item_id == "b"

    def test_pairs_below_the_support_are_left_out(self) -> None:
        baskets = orders("ab", "ab", "ac", "abcd")

        assert set(found(BoughtTogether().fit(baskets), "a")) == {"b", "c", "d"}
        assert set(found(BoughtTogether(min_support=2).fit(baskets), "a")) == {"b", "c"}
        assert set(found(BoughtTogether(min_support=3).fit(baskets), "a")) == {"b"}

    def test_only_the_best_neighbours_are_kept_equal_ones_by_id(self) -> None:
        fitted = plain(n_neighbours=2).fit(orders("ad", "ad", "ac", "ab"))

        assert found(fitted, "a") == {"d": 2.0, "b": 1.0}

    def test_events_without_an_order_are_ignored(self) -> None:
        assert found(plain().fit(events(("a", "view", 0), ("b", "view", 0))), "a") == {}

    def test_options_are_checked(self) -> None:
        for counts in ({"n_neighbours": 0}, {"min_support": 0}):
            with pytest.raises(ValueError, match=f"{next(iter(counts))} .0. "):
                BoughtTogether(**counts)
        for period in ({"trend_days": 0.0}, {"half_life_days": 0.0}):
            with pytest.raises(ValueError, match="are above 0"):
                BoughtTogether(**period)  # type: ignore[arg-type]


class TestSimilar:
    def test_without_an_event_a_shirt_is_like_a_shirt(self) -> None:
        fitted = Similar().fit(NOTHING, catalogue("abcdef"))

        assert found(fitted, "a") == {"c": 1.0, "e": 1.0}
        best = fitted.recommend(Context(seeds=("b",)), 1)[0]
        assert (best.item_id, best.reason_code, best.reason_item_id) == ("d", "similar", "b")

    def test_the_score_is_the_cosine_of_tf_idf(self) -> None:
        items = Items.of(["1", "2", "3"], name=["red shirt", "red lamp", "blue lamp"])

        fitted = Similar(min_similarity=0).fit(NOTHING, items)

        # idf = ln((1 + n) / (1 + items with the word)) + 1
        in_two, in_one = math.log(4 / 3) + 1, math.log(4 / 2) + 1
        cosine = in_two**2 / (math.hypot(in_two, in_one) * math.hypot(in_two, in_two))
        assert found(fitted, "1") == {"2": cosine}
        assert found(fitted, "2") == {"1": cosine, "3": cosine}

    def test_columns_count_by_their_weight(self) -> None:
        items = Items.of(
            ["seed", "name", "colour"], name=["mug", "mug", "hat"], colour=["red", "blue", "red"]
        )

        assert list(found(Similar().fit(NOTHING, items), "seed")) == ["name", "colour"]
        by_colour = Similar(column_weights={"name": 0.0}).fit(NOTHING, items)
        assert found(by_colour, "seed") == {"colour": 1.0}
        balanced = Similar(column_weights={"name": 3.0, "colour": 4.0}).fit(NOTHING, items)
        assert found(balanced, "seed") == {"colour": 16 / 25, "name": 9 / 25}

    def test_what_is_hardly_alike_is_left_out(self) -> None:
        items = Items.of(["1", "2"], name=["mug", "hat"], colour=["red", "red"])
        weights = {"name": 3.0, "colour": 4.0}

        assert found(Similar(column_weights=weights, min_similarity=0.63).fit(NOTHING, items), "1")
        assert not found(
            Similar(column_weights=weights, min_similarity=0.65).fit(NOTHING, items), "1"
        )

    def test_a_word_of_too_many_items_is_left_out(self) -> None:
        items = Items.of(["1", "2", "3"], name=["the mug", "the hat", "the mug"])

        fitted = Similar(max_items_per_token=2).fit(NOTHING, items)

        assert found(fitted, "1") == {"3": 1.0}
        assert found(fitted, "2") == {}

    @pytest.mark.parametrize("name", ["", "   ", "!!! -- ..."])
    def test_texts_without_a_word_are_no_error(self, name: str) -> None:
        items = Items.of(["1", "2"], name=[name, name])

        assert found(Similar().fit(NOTHING, items), "1") == {}
        assert found(Similar().fit(NOTHING, Items.of(["1", "2"])), "1") == {}

    def test_the_order_of_the_rows_does_not_matter(self) -> None:
        items = Items.of(["b", "a", "c"], name=["red shirt", "red hat", "blue hat"])

        assert list(found(Similar().fit(NOTHING, items), "b")) == ["a"]

    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("Linen-Shirt, size M (2024)", ["linen", "shirt", "size", "m", "2024"]),
            ("STRASSE Straße", ["strasse", "strasse"]),
            ("\uff2d\uff35\uff27 Ärmel", ["mug", "ärmel"]),
            ("हिन्दी किताब", ["हिन्दी", "किताब"]),
            ("кружка красная", ["кружка", "красная"]),
            ("東京タワー2号", ["東京", "京タ", "タワ", "ワー", "2号"]),
            ("머그컵", ["머그컵"]),
        ],
    )
    def test_words_of_any_script(self, text: str, expected: list[str]) -> None:
        assert tokens(text) == expected

    def test_options_are_checked(self) -> None:
        for options in ({"n_neighbours": 0}, {"max_items_per_token": 0}):
            with pytest.raises(ValueError, match=f"{next(iter(options))} .0. "):
                Similar(**options)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="weight of 'name' must be 0 or more"):
            Similar(column_weights={"name": -1.0})


class TestNewest:
    def test_the_latest_come_first_and_the_undated_last(self) -> None:
        items = Items.of(["b", "a", "c", "d"], created_at=[5.0, 5.0, None, 9.0])

        assert Newest().fit(NOTHING, items).recommend(Context(), 9) == [
            Candidate("d", 9.0, "newest"),
            Candidate("a", 5.0, "newest"),
            Candidate("b", 5.0, "newest"),
            Candidate("c", 0.0, "newest"),
        ]
