"""Trees as arrays, vectors of items, and the next item of a live session learned from the last."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier

from saleor_personalize.ml import Context, Interactions
from saleor_personalize.ml.data import Strings
from saleor_personalize.ml.habits import (
    BACK,
    EARLIER,
    MEMORY,
    NEW,
    STAY,
    habits_of,
    moves_of,
    states_of,
)
from saleor_personalize.ml.recommenders.next_item import NextItem
from saleor_personalize.ml.recommenders.session import Session
from saleor_personalize.ml.reranker import DEPTH, fit_trees, score_trees, trees_of
from saleor_personalize.ml.session_features import NAMES, Asked, candidates, facts_of
from saleor_personalize.ml.sessions import Live, SessionLog
from saleor_personalize.ml.vectors import item_vectors
from tests.unit.ml.shops import NOTHING
from tests.unit.ml.test_sessions import visits

SMALL = NextItem(n_queries=600, n_trees=25, dimensions=8)


def circles(sessions: int = 260, seed: int = 3) -> Interactions:
    """Walks around two circles of seven items, now and then with a step back: a-g and t-z."""
    rng = np.random.default_rng(seed)
    walks = []
    for number in range(sessions):
        circle = "abcdefg" if number % 2 else "tuvwxyz"
        at, walk = int(rng.integers(7)), ""
        for _ in range(5):
            walk += circle[at % 7]
            at += 1 if rng.random() < 0.9 else -1
        walks.append(walk)
    return visits(*walks)


@pytest.fixture(scope="module")
def fitted() -> NextItem:
    return NextItem(**SMALL.get_params()).fit(circles())


class TestTrees:
    @settings(deadline=None, max_examples=15)
    @given(seed=st.integers(0, 2**20), n_features=st.integers(1, 6), n_leaves=st.integers(2, 40))
    def test_they_score_as_scikit_learn_does(
        self, seed: int, n_features: int, n_leaves: int
    ) -> None:
        rng = np.random.default_rng(seed)
        # Few distinct values, so that many rows lie exactly on a threshold.
        rows = rng.integers(-3, 4, (400, n_features)).astype(np.float32) / np.float32(3)
        is_relevant = rows[:, 0] + rng.normal(0, 0.5, len(rows)) > 0
        model = HistGradientBoostingClassifier(
            max_iter=7, max_depth=DEPTH, max_leaf_nodes=n_leaves, min_samples_leaf=1
        ).fit(rows, is_relevant)
        asked = np.vstack([rows, rng.normal(0, 2, (50, n_features)).astype(np.float32)])

        scores = score_trees(trees_of(model), asked.T)

        np.testing.assert_allclose(scores, model.decision_function(asked), rtol=0, atol=1e-5)
        chances = 1 / (1 + np.exp(-scores))
        np.testing.assert_allclose(chances, model.predict_proba(asked)[:, 1], rtol=0, atol=1e-6)

    def test_no_rows_have_no_scores(self) -> None:
        features = np.arange(400, dtype=np.float32)[None]
        trees = fit_trees(features, features[0] > 200, n_trees=3)

        assert score_trees(trees, features[:, :0]).tolist() == []
        low, high = score_trees(trees, np.array([[3.0, 300.0]], dtype=np.float32))
        assert low < high

    def test_the_same_seed_gives_the_same_trees(self) -> None:
        rng = np.random.default_rng(0)
        features = rng.random((8, 500), dtype=np.float32)
        is_relevant = features.sum(axis=0) > 4

        one, same, other = (fit_trees(features, is_relevant, seed=seed) for seed in (1, 1, 2))

        for name, array in one.items():
            np.testing.assert_array_equal(array, same[name])
        assert (one["tree_feature"] != other["tree_feature"]).any()


class TestVectors:
    def test_what_stands_near_alike_items_lies_near(self) -> None:
        interactions = visits(*["axb", "ayb", "cxd", "cyd", "pmq", "pnq", "rms", "rns"] * 3)
        ids = interactions.item_id.values.tolist()

        vectors = item_vectors(SessionLog.of(interactions), size=4).astype(np.float64)

        like = vectors @ vectors.T
        x, y, m, n = (ids.index(item) for item in (b"x", b"y", b"m", b"n"))
        assert like[x, y] > 0.9
        assert like[m, n] > 0.9
        assert like[x, m] < 0.1

    @pytest.mark.parametrize("sessions", [(), ("a",), ("a", "b"), ("ab",), ("aa", "b")])
    def test_hardly_any_data(self, sessions: tuple[str, ...]) -> None:
        log = SessionLog.of(visits(*sessions))

        vectors = item_vectors(log, size=8)

        assert vectors.shape == (log.items, min(8, log.items))
        assert np.isfinite(vectors).all()


class TestHabits:
    @given(sessions=st.lists(st.text("abcd", max_size=9), max_size=6))
    def test_moves_are_those_of_a_list_with_the_latest_first(self, sessions: list[str]) -> None:
        start = np.concatenate([[0], np.cumsum([len(text) for text in sessions])]).astype(np.int64)
        item = np.array([ord(letter) - 97 for text in sessions for letter in text], dtype=np.int64)
        expected = []
        for text in sessions:
            latest: list[str] = []
            for letter in text:
                place = latest.index(letter) if letter in latest else None
                expected.append(NEW if place is None else min(place, EARLIER))
                latest = [letter, *(other for other in latest if other != letter)]

        assert moves_of(start, item).tolist() == expected

    def test_a_state_is_the_latest_moves(self) -> None:
        start = np.array([0, 2, 2, 5])
        moves = np.array([NEW, STAY, NEW, NEW, BACK], dtype=np.int8)

        states = states_of(start, moves, np.array([1, 4]), memory=3)

        assert states.tolist() == [STAY * 25 + NEW * 5 + 4, BACK * 25 + NEW * 5 + NEW]
        assert states_of(start, moves, np.array([1, 4]), memory=0).tolist() == [0, 0]

    def test_what_sessions_do_is_learned_from_all_of_them(self) -> None:
        log = SessionLog.of(visits(*["aba", "cdc", "efe", "ghg"] * 100))

        habits = habits_of(log)

        assert habits.shape == (5**MEMORY, 4)
        np.testing.assert_allclose(habits.sum(axis=1), 1, rtol=1e-5)
        live = np.array([0, 2])
        state = states_of(live, moves_of(live, np.array([90, 91])), np.array([1]))
        assert habits[state[0], BACK] > 0.95
        assert habits_of(SessionLog.of(NOTHING)).shape == (5**MEMORY, 4)


class TestCandidates:
    @settings(deadline=None, max_examples=40)
    @given(
        sessions=st.lists(st.text("abcdef", min_size=1, max_size=6), min_size=1, max_size=8),
        asked=st.lists(st.text("abcdef", max_size=8), min_size=1, max_size=4),
    )
    def test_a_batch_is_told_as_its_parts_are(self, sessions: list[str], asked: list[str]) -> None:
        interactions = visits(*sessions)
        log, ids = SessionLog.of(interactions), interactions.item_id.values
        facts = facts_of(log, dimensions=4, seed=0)
        options = Session().get_params()
        parts = [Live.of(ids, Context(session=tuple(text))) for text in asked]
        batch = Live(
            np.concatenate([[0], np.cumsum([len(part.item) for part in parts])]).astype(np.int64),
            np.concatenate([part.item for part in parts]),
            np.concatenate([part.kind for part in parts]),
        )

        def told(
            live: Live, visitors: list[int]
        ) -> tuple[list[int], list[int], NDArray[np.float32]]:
            found = candidates(
                log,
                facts,
                Asked(live, np.array(visitors), np.full(len(visitors), 1e6)),
                options,
            )
            assert np.isfinite(found.features).all()
            assert (found.features >= -1.001).all()
            # Of equal candidates, either may be given the better rank.
            places = [at for at, name in enumerate(NAMES) if not name.endswith("_rank")]
            return found.query.tolist(), found.item.tolist(), found.features[places]

        queries, items, features = told(batch, [at % 2 - 1 for at in range(len(asked))])

        for number, part in enumerate(parts):
            _, alone, features_alone = told(part, [number % 2 - 1])
            mine = [at for at, query in enumerate(queries) if query == number]
            assert [items[at] for at in mine] == alone
            np.testing.assert_allclose(features[:, mine], features_alone, rtol=1e-4, atol=1e-5)


class TestNextItem:
    def test_it_learns_the_way_around(self, fitted: NextItem) -> None:
        assert "tree_value" in fitted.arrays
        for circle in ("abcdefg", "tuvwxyz"):
            for at in range(7):
                session = (circle[at - 2], circle[at - 1])
                best = fitted.recommend(Context(session=session), 1)[0]
                assert best.item_id == circle[at]
                assert (best.reason_code, best.reason_item_id) == ("viewed_together", session[1])

    def test_all_reasons_are_true(self, fitted: NextItem) -> None:
        answer = fitted.recommend(Context(session=("a", "b"), visitor_id="v4"), 20)

        codes = {candidate.item_id: candidate.reason_code for candidate in answer}
        assert codes["a"] == codes["b"] == "recent"
        assert codes["c"] == "viewed_together"
        # The other circle is never seen with this one: it is popular, or seen by v4.
        seen = {item for item in "tuvwxyz" if item in _walk_of(4)}
        assert {item for item in "tuvwxyz" if codes.get(item) == "recent"} == seen
        assert {codes[item] for item in "tuvwxyz" if item in codes and item not in seen} == {
            "popular"
        }

    def test_without_a_known_item_there_is_no_answer(self, fitted: NextItem) -> None:
        assert fitted.recommend(Context(session=("nowhere",)), 5) == []
        known = fitted.recommend(Context(session=("a",)), 5)
        assert fitted.recommend(Context(session=("nowhere", "a")), 5) == known

    def test_what_is_excluded_stays_out(self, fitted: NextItem) -> None:
        answer = fitted.recommend(Context(session=("a",), exclude=frozenset("ab")), 20)

        assert {"a", "b"}.isdisjoint(candidate.item_id for candidate in answer)
        assert answer[0].item_id in "gc"

    @pytest.mark.parametrize("mmap", [True, False])
    def test_a_saved_one_answers_alike(self, fitted: NextItem, tmp_path: Path, mmap: bool) -> None:
        fitted.save(tmp_path / "model")

        loaded = NextItem.load(tmp_path / "model", mmap=mmap)

        for session in ("a", "abc", "uvw", "au"):
            context = Context(session=tuple(session), visitor_id="v3", now=1e7)
            assert loaded.recommend(context, 9) == fitted.recommend(context, 9)

    def test_a_refit_forgets_and_is_the_same_again(self, fitted: NextItem) -> None:
        other = NextItem(**SMALL.get_params()).fit(visits("ab", "bc"))
        assert "tree_value" not in other.arrays

        again = other.fit(circles())

        assert again.arrays.keys() == fitted.arrays.keys()
        for name, array in fitted.arrays.items():
            np.testing.assert_array_equal(again.arrays[name], array, err_msg=name)

    def test_without_trees_it_is_session(self) -> None:
        shop = circles()
        context = Context(session=("a", "b"))

        plain = NextItem(rerank=False).fit(shop)

        assert plain.recommend(context, 9) == Session().fit(shop).recommend(context, 9)
        few = visits("abc", "bcd")
        assert NextItem().fit(few).recommend(context, 9) == Session().fit(few).recommend(context, 9)

    def test_nothing_to_learn_from(self) -> None:
        assert NextItem().fit(NOTHING).recommend(Context(session=("a",)), 5) == []
        single = visits(*"abcabc")
        assert NextItem().fit(single).recommend(Context(session=("a",)), 5)[0].item_id == "a"

    def test_options_are_checked(self) -> None:
        for name in ("n_queries", "n_negatives", "n_blocks", "n_trees", "dimensions"):
            with pytest.raises(ValueError, match=rf"{name} \(0\).* start at 1"):
                NextItem(**{name: 0})  # type: ignore[arg-type]

    def test_who_never_began_a_visit_is_answered_by_the_visit(self) -> None:
        rows = circles()
        # Five events a session; from the third on under the name of the account.
        names = [f"{'z' if at % 5 > 2 else 'a'}{at // 5 % 20:02}" for at in range(len(rows))]
        signed_in = replace(rows, visitor_id=Strings.of(names, "visitor_id"))

        fitted = NextItem(**SMALL.get_params()).fit(signed_in)
        of_visit = fitted.recommend(Context(session=("a", "b")), 5)

        assert fitted.recommend(Context(session=("a", "b"), visitor_id="z19"), 5) == of_visit


def _walk_of(visitor: int) -> str:
    shop = circles()
    ids = [value.decode() for value in shop.item_id.values.tolist()]
    code = shop.visitor_id.values.tolist().index(f"v{visitor}".encode())
    return "".join(ids[item] for item in shop.item_id.codes[shop.visitor_id.codes == code])
