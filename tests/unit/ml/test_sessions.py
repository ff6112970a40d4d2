"""The session log and its recommenders, on sessions small enough to count by hand."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from saleor_personalize.ml import Context, Interactions, Recommender
from saleor_personalize.ml.recommenders.sequential import Sequential
from saleor_personalize.ml.recommenders.session import Session
from saleor_personalize.ml.sessions import GAP, Live, SessionLog, largest, neighbours, steps_of
from tests.unit.ml.shops import NOTHING

sessions_of_letters = st.lists(st.text("abcdef", min_size=1, max_size=6), max_size=8)


def visits(*sessions: str) -> Interactions:
    """One session per string, one view per letter, a day apart."""
    rows = [(number, item) for number, session in enumerate(sessions) for item in session]
    return Interactions.of(
        visitor_id=[f"v{number}" for number, _ in rows],
        item_id=[item for _, item in rows],
        event=["view"] * len(rows),
        timestamp=[number * 86_400.0 for number, _ in rows],
        session_id=[f"s{number}" for number, _ in rows],
    )


def texts(log: SessionLog, ids: Any) -> list[str]:
    pairs = zip(log.start[:-1].tolist(), log.start[1:].tolist(), strict=True)
    return [b"".join(ids[log.item[start:stop]].tolist()).decode() for start, stop in pairs]


def found(recommender: Recommender, *session: str, k: int = 10) -> dict[str, Any]:
    candidates = recommender.recommend(Context(session=session), k)
    return {candidate.item_id: pytest.approx(candidate.score) for candidate in candidates}


class TestSessionLog:
    def test_rows_of_one_moment_keep_their_order(self) -> None:
        interactions = visits("cab", "bca")

        assert texts(SessionLog.of(interactions), interactions.item_id.values) == ["cab", "bca"]

    def test_without_a_session_id_a_pause_ends_it(self) -> None:
        times = [0.0, GAP, 2 * GAP + 1, 5.0, 2 * GAP + 2]
        interactions = Interactions.of(
            visitor_id=["x", "x", "x", "y", "x"],
            item_id=list("abcde"),
            event=["view", "cart", "view", "purchase", "view"],
            timestamp=times,
        )

        log = SessionLog.of(interactions)

        assert texts(log, interactions.item_id.values) == ["d", "ab", "ce"]
        assert log.ended.tolist() == [5.0, GAP, 2 * GAP + 2]
        assert log.visitor.tolist() == [1, 0, 0]
        assert log.kind.tolist() == [3, 0, 1, 0, 0]

    def test_only_rows_without_a_session_id_are_split_by_pause(self) -> None:
        interactions = Interactions.of(
            visitor_id=["x"] * 4,
            item_id=list("abcd"),
            event=["view"] * 4,
            timestamp=[0.0, 1.0, 2.0, 9 * GAP],
            session_id=["s", None, None, "s"],
        )

        assert texts(SessionLog.of(interactions), interactions.item_id.values) == ["bc", "ad"]

    def test_sessions_go_by_their_end(self) -> None:
        interactions = Interactions.of(
            visitor_id=["x", "y", "x"],
            item_id=list("abc"),
            event=["view"] * 3,
            timestamp=[0.0, 10.0, 20.0],
            session_id=["x", "y", "x"],
        )

        assert texts(SessionLog.of(interactions), interactions.item_id.values) == ["b", "ac"]

    @given(sessions=sessions_of_letters, data=st.data())
    def test_the_past_is_a_log_of_the_past(self, sessions: list[str], data: st.DataObject) -> None:
        whole = visits(*sessions, "abcdef")
        cut = data.draw(st.integers(0, len(sessions)))

        past = SessionLog.of(whole).until(cut)

        fresh = SessionLog.of(visits(*sessions[:cut], "abcdef")).until(cut)
        for name, column in past.arrays().items():
            if name != "log_visitor":  # Their names, and so their codes, are others.
                np.testing.assert_array_equal(column, fresh.arrays()[name], err_msg=name)

    @given(sessions=sessions_of_letters)
    def test_each_item_lists_its_events_oldest_first(self, sessions: list[str]) -> None:
        log = SessionLog.of(visits(*sessions))

        for item in range(log.items):
            rows = log.occurrence[log.first[item] : log.first[item + 1]]
            assert rows.tolist() == np.flatnonzero(log.item == item).tolist()

    def test_a_live_session_forgets_the_unknown_and_looks_at_seeds_last(self) -> None:
        ids = np.array([b"a", b"b", b"c"])

        live = Live.of(
            ids, Context(session=("a", "?", "c"), events=("cart", "view", "view"), seeds=("a", "b"))
        )

        assert (live.item.tolist(), live.kind.tolist()) == ([0, 2, 1], [1, 0, 0])

    def test_steps_are_distinct_latest_first(self) -> None:
        live = Live(
            np.array([0, 4, 4, 6]), np.array([7, 8, 7, 9, 5, 5]), np.zeros(6, dtype=np.int64)
        )

        steps = steps_of(live)

        assert steps.query.tolist() == [0, 0, 0, 2]
        assert steps.item.tolist() == [9, 7, 8, 5]
        assert steps.back.tolist() == [0, 1, 2, 0]
        assert steps.rank.tolist() == [0, 1, 2, 0]
        assert steps_of(live, 1).item.tolist() == [9, 5]

    @given(
        st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5)), max_size=30), st.integers(1, 6)
    )
    def test_the_largest_of_each_query(self, rows: list[tuple[int, int]], size: int) -> None:
        rows.sort(key=lambda row: row[0])
        query = np.array([row[0] for row in rows], dtype=np.int64)
        score = np.array([row[1] for row in rows], dtype=np.float64)

        kept = largest(query, score, size)

        for number in range(4):
            of_query = sorted(score[query == number].tolist(), reverse=True)[:size]
            assert sorted(score[kept][query[kept] == number].tolist(), reverse=True) == of_query

    @given(sessions=sessions_of_letters, asked=st.lists(st.text("abcdef", max_size=5), max_size=4))
    def test_a_batch_answers_as_its_parts_do(self, sessions: list[str], asked: list[str]) -> None:
        interactions = visits(*sessions)
        log, ids = SessionLog.of(interactions), interactions.item_id.values
        parts = [Live.of(ids, Context(session=tuple(text))) for text in asked]
        options: dict[str, Any] = {
            "size": 100,
            "latest": 100,
            "position_decay": 0.4,
            "idf_exponent": 1.0,
            "length_exponent": 0.5,
        }
        lengths = [len(part.item) for part in parts]
        batch = Live(
            np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
            np.concatenate([np.zeros(0, dtype=np.int64), *(part.item for part in parts)]),
            np.concatenate([np.zeros(0, dtype=np.int64), *(part.kind for part in parts)]),
        )

        together = neighbours(log, batch, **options)

        for number, part in enumerate(parts):
            alone = neighbours(log, part, **options)
            is_mine = together.query == number
            assert together.met[is_mine].tolist() == alone.met.tolist()
            np.testing.assert_allclose(together.similarity[is_mine], alone.similarity)


class TestSession:
    def test_the_score_is_likeness_times_nearness(self) -> None:
        fitted = Session(
            position_decay=0.1, distance_decay=0.2, idf_exponent=1, length_exponent=0.5
        ).fit(visits("abc", "xb", "dd"))

        # a: 1 event back, in one of three sessions; b: the last, two of three. They meet at b.
        likeness_of_abc = (math.exp(-0.1) * math.log1p(3 / 1) + math.log1p(3 / 2)) / math.sqrt(3)
        likeness_of_xb = math.log1p(3 / 2) / math.sqrt(2)
        step = math.exp(-0.2)
        assert found(fitted, "a", "b") == {
            "b": likeness_of_abc + likeness_of_xb,
            "a": likeness_of_abc * step,
            "c": likeness_of_abc * step,
            "x": likeness_of_xb * step,
        }

    def test_only_the_nearest_neighbours_and_steps_count(self) -> None:
        shop = visits("axbc", "abd", "bef")

        assert set(found(Session(n_neighbours=1).fit(shop), "a", "b")) == {"a", "b", "d"}
        assert set(found(Session(reach=1).fit(shop), "x")) == {"a", "x", "b"}

    def test_only_the_latest_events_are_looked_up(self) -> None:
        fitted = Session(n_latest=1).fit(visits("ab", "ac", "ad"))

        assert set(found(fitted, "a")) == {"a", "d"}

    def test_a_page_of_a_product_is_a_session_of_one(self) -> None:
        fitted = Session().fit(visits("ab", "ac", "cd"))

        answer = fitted.recommend(Context(seeds=("a",)), 5)

        assert [candidate.item_id for candidate in answer] == ["b", "c"]
        assert {candidate.reason_code for candidate in answer} == {"session"}

    def test_the_reason_is_where_the_likest_neighbour_was_met(self) -> None:
        fitted = Session().fit(visits("ax", "bax", "by"))

        answer = fitted.recommend(Context(session=("a", "b")), 9)

        assert {c.item_id: c.reason_item_id for c in answer if c.item_id in "xy"} == {
            "x": "b",
            "y": "b",
        }
        assert fitted.recommend(Context(session=("b", "a")), 1)[0].reason_item_id == "a"

    def test_options_are_checked(self) -> None:
        for wrong in ({"n_neighbours": 0}, {"n_latest": 0}, {"reach": 0}):
            with pytest.raises(ValueError, match=f"{next(iter(wrong))} .0."):
                Session(**wrong)
        with pytest.raises(ValueError, match=r"position_decay \(-1\) and distance_decay"):
            Session(position_decay=-1)


class TestSequential:
    def test_it_counts_what_came_next(self) -> None:
        fitted = Sequential(gap_decay=0.5).fit(visits("abc", "ab", "ca"))

        # After a, three times: b next twice, c two steps on once.
        assert found(fitted, "a") == {"b": 2 / 3, "c": 0.5 / 3}

    def test_an_earlier_item_speaks_less(self) -> None:
        fitted = Sequential(position_decay=0.25).fit(visits("ab", "cd"))

        assert found(fitted, "a", "c") == {"d": 1.0, "b": 0.25}
        assert found(Sequential(n_items=1).fit(visits("ab", "cd")), "a", "c") == {"d": 1.0}

    def test_the_strongest_rule_is_the_reason(self) -> None:
        fitted = Sequential(position_decay=0.5).fit(visits("axb", "cb", "cd", "ce", "cf"))

        best = fitted.recommend(Context(session=("a", "c")), 1)[0]

        assert (best.item_id, best.reason_item_id) == ("b", "a")
        assert best.reason_code == "viewed_together"
        assert best.score == pytest.approx(0.3 + 0.25)

    def test_only_the_latest_occurrences_and_gaps_count(self) -> None:
        shop = visits("abc", "ad")

        assert set(found(Sequential(n_latest=1).fit(shop), "a")) == {"d"}
        assert set(found(Sequential(max_gap=1).fit(shop), "a")) == {"b", "d"}

    def test_options_are_checked(self) -> None:
        for wrong in ({"n_latest": 0}, {"n_items": 0}, {"max_gap": 0}):
            with pytest.raises(ValueError, match=f"{next(iter(wrong))} .0."):
                Sequential(**wrong)
        for decay in (0.0, 1.5, math.nan):
            with pytest.raises(ValueError, match="lie above 0"):
                Sequential(gap_decay=decay)


@pytest.mark.parametrize("recommender", [Session, Sequential])
def test_a_saved_log_answers_alike(recommender: type[Recommender], tmp_path: Path) -> None:
    fitted = recommender().fit(visits("abc", "acd", "cdb"))
    fitted.save(tmp_path / "model")

    loaded = recommender.load(tmp_path / "model")

    context = Context(session=("a", "c", "nowhere"))
    assert loaded.recommend(context, 9) == fitted.recommend(context, 9) != []
    assert loaded.recommend(Context(session=("nowhere",)), 9) == []
    assert recommender().fit(NOTHING).recommend(context, 9) == []
