"""The engine on shops whose right answers are known, with tables of every library, and on bad input."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from saleor_personalize.ml import (
    ArtefactError,
    Candidate,
    Context,
    Engine,
    Interactions,
    Items,
    NotTrained,
    Recommender,
)
from saleor_personalize.ml.base import Arrays
from saleor_personalize.ml.blend import Blend, cross_fitted, fused
from saleor_personalize.ml.recommenders.covisitation import BoughtTogether
from saleor_personalize.ml.recommenders.newest import Newest
from saleor_personalize.ml.recommenders.popularity import Popular
from saleor_personalize.ml.recommenders.session import Session

DAY = 86_400.0
START = 1_700_000_000.0

#: Tea goes with a pot, bread with butter; a hundred orders of each, one pair a day.
PAIRS = ((1, 2), (10, 20))


def columns(days: int = 100) -> dict[str, list[Any]]:
    rows: dict[str, list[Any]] = {
        name: [] for name in ("visitor_id", "item_id", "event", "timestamp", "order_id", "price")
    }
    for day in range(days):
        for pair, basket in enumerate(PAIRS):
            for item in basket:
                rows["visitor_id"].append(1_000 * pair + day)
                rows["item_id"].append(item)
                rows["event"].append("purchase")
                rows["timestamp"].append(START + day * DAY)
                rows["order_id"].append(10_000 * pair + day)
                rows["price"].append(None if day % 2 else 9.5)
    return rows


ITEMS = {
    "item_id": [1, 2, 10, 20, 30],
    "name": ["green tea", "tea pot", "rye bread", "butter", "black tea"],
    "created_at": [START, START, START, START, START + 99 * DAY],
}


def small(**options: Any) -> Engine:
    """The quick recommenders only."""
    return Engine(
        recommenders={
            "bought_together": BoughtTogether(),
            "popular": Popular(),
            "newest": Newest(),
        },
        **options,
    )


# -- tables ------------------------------------------------------------------------------------------


def as_text(rows: dict[str, list[Any]]) -> dict[str, list[Any]]:
    return {**rows, "item_id": [f"p{item}" for item in rows["item_id"]]}


def with_arrays(rows: dict[str, list[Any]]) -> dict[str, Any]:
    return {
        **{name: np.array(rows[name]) for name in rows},
        "price": np.array([math.nan if price is None else price for price in rows["price"]]),
    }


def with_moments(rows: dict[str, list[Any]]) -> dict[str, list[Any]]:
    return {**rows, "timestamp": [datetime.fromtimestamp(at, UTC) for at in rows["timestamp"]]}


def with_categories(rows: dict[str, list[Any]]) -> pd.DataFrame:
    frame = pd.DataFrame(rows)
    for name in ("event", "item_id", "order_id"):
        frame[name] = frame[name].astype("category")
    frame["timestamp"] = pd.to_datetime(frame["timestamp"], unit="s", utc=True)
    return frame


def with_dictionaries(rows: dict[str, list[Any]]) -> pa.Table:
    table = pa.table(rows)
    for at, name in enumerate(table.column_names):
        if name in ("event", "order_id"):
            table = table.set_column(at, name, table[name].dictionary_encode())
    return pa.concat_tables([table.slice(0, 7), table.slice(7)])


def polars_categories(rows: dict[str, list[Any]]) -> pl.DataFrame:
    return pl.DataFrame(rows).with_columns(pl.col("event").cast(pl.Categorical))


TABLES: list[Callable[[dict[str, list[Any]]], Any]] = [
    dict,
    with_arrays,
    with_moments,
    pd.DataFrame,
    with_categories,
    pl.DataFrame,
    polars_categories,
    pa.table,
    with_dictionaries,
]


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.__qualname__)
@pytest.mark.parametrize("are_texts", [False, True], ids=["numbers", "texts"])
def test_b39_tables_of_every_library_give_one_answer_in_the_type_of_their_ids(
    table: Callable[[dict[str, list[Any]]], Any], are_texts: bool
) -> None:
    rows = as_text(columns()) if are_texts else columns()
    name = (lambda item: f"p{item}") if are_texts else (lambda item: item)

    engine = small().fit(table(rows))

    assert engine.related(name(1), k=1) == [name(2)]
    assert engine.related(name(20), k=1) == [name(10)]
    found = engine.recommend(k=10)
    assert sorted(found) == sorted(name(item) for item in (1, 2, 10, 20))
    assert {type(item) for item in found} == {str if are_texts else int}
    assert engine.report == small().fit(rows).report


def test_items_come_from_every_library_too() -> None:
    for table in (dict, pd.DataFrame, pl.DataFrame, pa.table):
        engine = Engine(tune=False, rerank=False).fit(columns(), table(ITEMS))
        # The new one is known by its words alone.
        assert engine.related(30, k=1) == [1], table
        assert 30 in engine.recommend(k=5)


def test_ids_may_come_as_numpy_numbers_and_other_numbers_are_refused() -> None:
    engine = small().fit(columns())

    assert engine.related(np.int64(1), k=1) == engine.related("1", k=1) == [2]
    for wrong in (1.5, None, True):
        with pytest.raises(TypeError, match="item_id takes strings or whole numbers, not"):
            engine.related(wrong)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="session takes a collection of item ids, not one string"):
        engine.recommend(session="12")
    with pytest.raises(
        TypeError, match=r"session takes a collection of item ids, not 3; write \[3\]"
    ):
        engine.recommend(session=3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="now is a moment in unix seconds, not 'noon'; give a"):
        engine.recommend(now="noon")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"item_id": None}, ValueError, "events lacks item_id; it has visitor_id, event"),
        ({"event": ["purchas"] * 400}, ValueError, "Unknown event 'purchas'; known are view"),
        ({"timestamp": [math.nan] * 400}, ValueError, "timestamp must be finite, but row 0 is nan"),
        ({"timestamp": ["noon"] * 400}, ValueError, "not 'noon'. Make moments of texts first"),
        ({"item_id": [1.5] * 400}, TypeError, "item_id holds strings, not 1.5"),
        ({"item_id": np.array([1.5] * 400)}, TypeError, "item_id holds whole numbers, not 1.5"),
        (
            {"item_id": np.array([2.0**60] * 400)},
            TypeError,
            "item_id holds whole numbers, not 1.15",
        ),
        (
            {"item_id": np.array([math.inf] * 400)},
            TypeError,
            "item_id holds whole numbers, not inf",
        ),
        ({"item_id": ["\ud800"] * 400}, ValueError, "must have 1 to 255 bytes of UTF-8"),
        ({"item_id": ["a\0"] * 400}, ValueError, "must have 1 to 255 bytes of UTF-8 and no NUL"),
        ({"item_id": ["a" * 4_000_000] * 400}, ValueError, "must have 1 to 255 bytes of UTF-8"),
        ({"item_id": [1, "a"] * 200}, TypeError, "item_id holds strings, not 1 as in row 0: give"),
        (
            {"item_id": [1, 2, None, 1] * 100},
            TypeError,
            "item_id is missing in row 2: give it, or leave the row out",
        ),
        (
            {"item_id": np.array([1, np.nan] * 200)},
            TypeError,
            "item_id is missing in row 1: give it, or leave the row out",
        ),
        ({"quantity": [1, 0] * 200}, ValueError, "quantity is above 0, but row 1 has 0: leave out"),
        ({"quantity": [2, 1, 1, -3] * 100}, ValueError, "quantity is above 0, but row 3 has -3"),
        (
            {"timestamp": [START * 1e3] * 400},
            ValueError,
            "timestamp is in unix seconds, not in parts of them, but one is 1700000000000",
        ),
        (
            {"item_id": ["a"] * 3, "price": None},
            ValueError,
            "All columns must have one length, but: visitor_id 400, item_id 3,(?!.*price)",
        ),
        ({"price": ["dear"] * 400}, ValueError, "price holds numbers, not 'dear'"),
        ({"price": [math.inf] * 400}, ValueError, "price must be finite"),
    ],
)
def test_what_is_wrong_with_events_is_named(
    changes: dict[str, Any], error: type[Exception], message: str
) -> None:
    rows = {name: column for name, column in {**columns(), **changes}.items() if column is not None}
    engine = small(tune=False).fit(columns())

    with pytest.raises(error, match=message):
        engine.fit(rows)

    # What it knew before, it still knows.
    assert engine.related(1, k=1) == [2]


def test_ids_of_events_and_of_the_catalogue_are_of_one_kind() -> None:
    with pytest.raises(
        TypeError, match="whole numbers in events and texts in items, such as 'tea'"
    ):
        small(tune=False).fit(columns(), {"item_id": ["1", "tea"], "name": ["a", "b"]})
    engine = small(tune=False).fit(columns(), {"item_id": ["1", "7"], "name": ["a", "b"]})
    assert set(engine.recommend(k=9)) == {1, 2, 7, 10, 20}


@pytest.mark.parametrize(
    ("dtype", "ids"),
    [(np.uint64, [2**63 + 5, 2**63 + 7]), (np.int16, [-1, 32_767]), (np.int8, [-128, 127])],
)
def test_numbers_at_the_edge_of_their_type_are_ids(dtype: Any, ids: list[int]) -> None:
    rows = {**columns(), "item_id": np.array([ids[at % 2] for at in range(400)], dtype=dtype)}

    engine = small(tune=False).fit(rows)

    assert sorted(engine.recommend(k=9)) == sorted(ids)
    assert engine.related(ids[0]) == [ids[1]]


@pytest.mark.parametrize("odd", ["\ud800", "a\0b", "x" * 4_000_000, "", "\U0001f375"])
def test_whatever_a_stranger_sends_is_answered(engine: Engine, odd: str) -> None:
    plain = engine.recommend(k=3)

    assert engine.recommend(visitor_id=odd, session=[odd], exclude=[odd], k=3) == plain
    assert len(engine.related(odd, k=3)) == 3
    assert len(engine.recommend(k=10**12)) == len(engine.recommend(k=1_000))


@pytest.mark.parametrize("now", [math.nan, math.inf, -math.inf])
def test_no_moment_is_refused(engine: Engine, now: float) -> None:
    with pytest.raises(ValueError, match="now is a moment in unix seconds, not"):
        engine.recommend(visitor_id=0, now=now)


def test_what_is_no_table_is_told() -> None:
    with pytest.raises(TypeError, match=r"events is a table .* not list"):
        small().fit([1, 2])
    with pytest.raises(ValueError, match="items lacks the column 'item_id'; it has name"):
        small().fit(columns(), {"name": ["tea"]})
    with pytest.raises(ValueError, match="'1' occurs 2 times"):
        small().fit(columns(), {"item_id": [1, 1]})


# -- rows --------------------------------------------------------------------------------------------


def test_rows_in_any_order_and_rows_given_twice_change_nothing() -> None:
    plain = columns()
    order = np.random.default_rng(1).permutation(len(plain["item_id"]))
    shuffled = {name: [column[at] for at in order] for name, column in plain.items()}
    twice = {name: column + column[:50] for name, column in plain.items()}

    expected = small().fit(plain)
    for rows in (shuffled, twice):
        engine = small().fit(rows)
        assert engine.rank(Context(), 4) == expected.rank(Context(), 4)
        assert engine.report == expected.report


def test_without_a_clock_a_second_look_at_an_item_is_no_duplicate() -> None:
    class Rows(Recommender):
        def _fit(self, interactions: Interactions, items: Items) -> Arrays:
            return {"rows": np.array([len(interactions)])}

        def _candidates(self, context: Context, count: int) -> Iterable[Candidate]:
            return [Candidate(str(self.arrays["rows"][0]), 1.0, "popular")]

    def counted(times: list[float]) -> list[Any]:
        rows = {
            "visitor_id": ["v"] * 3,
            "session_id": ["s"] * 3,
            "item_id": ["a", "b", "a"],
            "event": ["view"] * 3,
            "timestamp": times,
        }
        return Engine(recommenders={"popular": Rows()}, tune=False).fit(rows).recommend(k=1)

    assert counted([5.0, 5.0, 5.0]) == ["3"]
    assert counted([5.0, 6.0, 5.0]) == ["2"]


def test_whoever_is_unknown_is_not_one_giant_visitor() -> None:
    rows = columns()
    unknown = {**rows, "visitor_id": [-1] * 400}
    missing = {**rows, "visitor_id": [None] * 400}

    class Visitors(Newest):
        needs_items = False

        def _fit(self, interactions: Interactions, items: Items) -> Arrays:
            count = len(interactions.visitor_id.values)
            return {"ids": np.array([str(count)], dtype="S"), "scores": np.array([1.0])}

    for table in (unknown, missing):
        engine = Engine(recommenders={"popular": Visitors()}, tune=False).fit(table)
        # Two hundred orders, two hundred people.
        assert engine.recommend(k=1, visitor_id="x") == [200]
    # Who looks and orders in one visit is one.
    visits = {**missing, "session_id": [f"s{at // 4}" for at in range(400)]}
    engine = Engine(recommenders={"popular": Visitors()}, tune=False).fit(visits)
    assert engine.recommend(k=1) == [100]
    # Somebody whom the shop calls like them is somebody else.
    table = {**missing, "visitor_id": ["?0", *missing["visitor_id"][1:]]}
    engine = Engine(recommenders={"popular": Visitors()}, tune=False).fit(table)
    assert engine.recommend(k=1) == [201]


def test_an_empty_shop_has_nothing_and_one_without_events_shows_its_catalogue() -> None:
    nothing: dict[str, list[Any]] = {name: [] for name in columns(0)}

    assert Engine().fit(nothing).recommend(k=5) == []
    engine = Engine().fit(nothing, ITEMS)
    assert engine.recommend(k=3)[0] == 30
    assert sorted(engine.related(1, k=2)) == [2, 30]  # the words of both are like its own
    assert sorted(engine.recommend(k=10_000, visitor_id="nobody", session=[1])) == ITEMS["item_id"]
    assert engine.report["measured"] is False


# -- answers -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine(rerank=False).fit(columns(), ITEMS)


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"visitor_id": 5},
        {"visitor_id": "nobody"},
        {"session": [1]},
        {"session": [1, 20], "events": ["view", "cart"], "visitor_id": 5, "now": START},
        {"session": [999]},
    ],
)
def test_any_number_of_items_comes_back_each_once(engine: Engine, asked: dict[str, Any]) -> None:
    everything = [1, 2, 10, 20, 30]

    assert engine.recommend(k=5, **{"session": None, "events": None, "exclude": None, **asked}) == (
        engine.recommend(k=5, **asked)
    )
    assert sorted(engine.recommend(k=10_000, **asked)) == everything
    assert sorted(engine.recommend(k=10_000, exclude=[2, 999], **asked)) == [1, 10, 20, 30]
    for k in (1, 2, 3, 4, 5):
        assert engine.recommend(k=k, **asked) == engine.recommend(k=10_000, **asked)[:k]
    with pytest.raises(ValueError, match="k must be at least 1, not 0"):
        engine.recommend(k=0, **asked)


def test_related_never_gives_the_item_itself_and_fills_up(engine: Engine) -> None:
    assert engine.related(1, k=1) == [2]
    assert sorted(engine.related(1, k=10_000)) == [2, 10, 20, 30]
    assert sorted(engine.related(1, k=10_000, exclude=[20])) == [2, 10, 30]
    assert sorted(engine.related(999, k=10_000)) == [1, 2, 10, 20, 30]
    with pytest.raises(TypeError, match=r"k takes a whole number, not 2\.5"):
        engine.related(1, k=2.5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="k must be at least 1, not -1"):
        engine.related(1, k=-1)


def test_kinds_of_events_are_one_for_each_item(engine: Engine) -> None:
    with pytest.raises(ValueError, match="events has 1 kinds for the 2 items of the session"):
        engine.recommend(session=[1, 2], events=["view"])
    with pytest.raises(ValueError, match="Unknown event 'look'; known are view, cart"):
        engine.recommend(session=[1], events=["look"])


def test_b37_an_event_of_two_seconds_ago_changes_the_next_answer() -> None:
    rows = columns()
    views = {**rows, "event": ["view"] * 400, "session_id": rows.pop("order_id")}
    engine = Engine(recommenders={"next_item": Session(), "popular": Popular()}, tune=False).fit(
        views
    )

    before = engine.recommend(session=[1], exclude=[1], k=1)
    after = engine.recommend(session=[1, 10], exclude=[1, 10], k=1)

    assert (before, after) == ([2], [20])


def test_each_answer_says_who_gave_it_and_why(engine: Engine) -> None:
    found = engine.rank(Context(seeds=("1",)), 4)

    assert found[0].item_id == "2"
    assert found[0].strategy == "bought_together"
    assert (found[0].reason_code, found[0].reason_item_id) == ("bought_together", "1")
    assert found[-1].strategy in ("popular", "newest")
    [first] = engine.candidates("popular", Context(), 1)
    assert first.strategy == "popular"
    with pytest.raises(KeyError, match=r"no recommender 'populr'; there are .*popular"):
        engine.candidates("populr", Context(), 1)


# -- measuring ---------------------------------------------------------------------------------------


class Fixed(Recommender):
    """Says the same whatever is asked."""

    def __init__(self, *, says: str = "") -> None:
        self.says = says

    def _fit(self, interactions: Interactions, items: Items) -> Arrays:
        return {"nothing": np.zeros(1)}

    def _candidates(self, context: Context, count: int) -> Iterable[Candidate]:
        return [Candidate(item, -float(at), "for_you") for at, item in enumerate(self.says.split())]


def regulars() -> dict[str, list[Any]]:
    """Fifty people who buy one thing a day; on the last days all of them find the kettle."""
    rows = [(v, d, "kettle" if d >= 9 else f"tea{d}") for d in range(10) for v in range(50)]
    return {
        "visitor_id": [f"v{v}" for v, _, _ in rows],
        "item_id": [item for _, _, item in rows],
        "event": ["purchase"] * len(rows),
        "timestamp": [START + d * DAY + v for v, d, _ in rows],
    }


@pytest.mark.parametrize(("says", "is_used"), [("kettle", True), ("tea0 tea1", False)])
def test_b39_only_what_beats_popularity_on_the_last_days_is_used(says: str, is_used: bool) -> None:
    rows = regulars()
    # Others bought pans, which popularity takes for the thing to show.
    for other in range(60):
        values = (f"z{other}", f"pan{other % 20}", "purchase", START + other)
        for name, value in zip(rows, values, strict=True):
            rows[name].append(value)

    engine = Engine(
        recommenders={"personal": Fixed(says=says), "popular": Popular(half_life_days=None)}
    ).fit(rows)

    found = engine.report["aliases"]["personal"]
    assert found["measured"] is True
    assert found["published"] is is_used
    assert (found["ndcg"] > found["popularity"]["ndcg"]) is is_used
    assert found["cases"] >= 30
    strategies = {c.strategy for c in engine.rank(Context(visitor_id="v1"), 20)}
    assert ("personal" in strategies) is is_used
    assert engine.is_published("personal") is is_used
    # Asked by name it answers all the same.
    assert engine.candidates("personal", Context(), 1)[0].item_id == says.split()[0]


def test_b39_popularity_is_that_of_late_where_the_season_changed() -> None:
    rows = regulars()
    # Long before, everybody bought ice: all-time popularity still shows nothing else.
    for other in range(700):
        values = (f"z{other}", f"ice{other % 25}", "purchase", START - 90 * DAY + other)
        for name, value in zip(rows, values, strict=True):
            rows[name].append(value)
    # Right now and then, worse than what sells of late, and better than ice.
    engine = Engine(recommenders={"personal": Fixed(says="ice1 ice2 ice3 tea8")}).fit(rows)

    found = engine.report["aliases"]["personal"]
    assert found["ndcg"] > 0
    assert found["popularity"]["ndcg"] > found["ndcg"]
    assert found["published"] is False


def test_what_comes_into_the_catalogue_later_is_unknown_while_measuring() -> None:
    rows = columns()
    last = max(rows["timestamp"])
    # 20 is sold from the start, whatever its row says; 2 nobody knows; 30 comes on the last day.
    items = {"item_id": [2, 20, 30], "created_at": [None, last, last], "name": ["a", "b", "c"]}
    seen: list[set[str]] = []

    class Watching(Newest):
        def _fit(self, interactions: Interactions, items: Items) -> Arrays:
            seen.append({str(id_) for id_ in items.item_id.decode()})
            return super()._fit(interactions, items)

    Engine(recommenders={"newest": Watching()}).fit(rows, items)

    assert seen == [{"2", "20", "30"}, {"2", "20"}]


def test_the_figures_of_a_blend_are_of_cases_that_did_not_choose_its_weights() -> None:
    # Two parts that are right at every other case, by turns, which nothing foretells.
    lists = {"even": [["x"], ["y"]] * 20, "odd": [["y"], ["x"]] * 20}
    relevant = [frozenset("x")] * 40

    assert cross_fitted(lists, relevant, k=1) == [["y"], ["y"]] * 20
    assert fused({"a": ["p", "q"], "b": ["q"]}, {"a": 1.0, "b": 0.5}, 2) == ["q", "p"]
    blend = Blend(
        {
            "a": (lambda _, k: [Candidate("p", 1.0, ""), Candidate("q", 0.5, "")], 1.0),
            "b": (lambda _, k: [Candidate("q", 1.0, "")], 0.5),
        }
    )
    assert [found.item_id for found in blend.recommend(Context(), 2)] == ["q", "p"]


def test_b39_with_too_little_data_nothing_is_claimed() -> None:
    engine = small().fit(columns(days=5))

    assert engine.report["measured"] is False
    for found in engine.report["aliases"].values():
        assert found == {**found, "measured": False, "published": True}
        assert "ndcg" not in found
    assert engine.related(1, k=1) == [2]


def test_the_report_is_json_and_a_second_fit_gives_the_same() -> None:
    first, second = (small(seed=3).fit(columns()) for _ in range(2))

    assert json.loads(json.dumps(first.report)) == first.report == second.report
    found = first.report["aliases"]["bought_together"]
    # Whoever buys one of a pair buys the other, and there are four items.
    assert (found["question"], found["k"], found["recall"], found["mrr"]) == ("seed", 10, 1.0, 1.0)
    assert 0 < found["coverage"] <= 1
    assert found["novelty"] > 0
    assert first.report["blends"]["seed"]["weights"] == {"bought_together": 1.0}


def test_progress_goes_from_nothing_to_all() -> None:
    told: list[tuple[str, float]] = []

    small().fit(columns(), progress=lambda step, share: told.append((step, share)))

    shares = [share for _, share in told]
    assert shares[0] == 0.0
    assert shares[-1] == 1.0
    assert shares == sorted(shares)
    assert told[0][0] == "fitting bought_together"


# -- folders -----------------------------------------------------------------------------------------


def test_a_loaded_engine_answers_alike(engine: Engine, tmp_path: Path) -> None:
    engine.save(tmp_path / "model")

    for mmap in (True, False):
        loaded = Engine.load(tmp_path / "model", mmap=mmap)
        assert loaded.aliases == engine.aliases
        assert loaded.report == engine.report
        for asked in ({}, {"visitor_id": 5}, {"session": [1, 20]}):
            assert loaded.recommend(k=5, **asked) == engine.recommend(k=5, **asked)
        assert loaded.related(1, k=4) == engine.related(1, k=4)
    with pytest.raises(FileExistsError, match="already holds an engine"):
        engine.save(tmp_path / "model")


def test_threads_may_ask_at_once(engine: Engine) -> None:
    asked = [{"session": [1]}, {"visitor_id": 5}, {}, {"session": [20, 10]}] * 50
    alone = [engine.recommend(k=5, **one) for one in asked]  # type: ignore[arg-type]

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda one: engine.recommend(k=5, **one), asked)) == alone


def _remove(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def _write(name: str, text: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_text(text) and None


def _cut(folder: Path) -> None:
    file = folder / "popular" / "scores.npy"
    file.write_bytes(file.read_bytes()[:-8])


def _open_a_bracket(folder: Path) -> None:
    file = folder / "popular" / "ids.npy"
    file.write_bytes(file.read_bytes().replace(b"}", b"(", 1))


def _other_format(folder: Path) -> None:
    file = folder / "engine.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "format": 99}))


def _unknown(folder: Path) -> None:
    file = folder / "engine.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "aliases": ["mine"]}))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_remove("engine.json"), "No such file"),
        (_write("engine.json", "{"), "Cannot load an engine from"),
        (_write("engine.json", "[]"), "Cannot load an engine from"),
        (_other_format, "has format 99, this version reads"),
        (_unknown, "holds mine, for which no recommender is given"),
        (_cut, "popular"),
        (_open_a_bracket, "popular"),
        (_remove("popular/metadata.json"), "popular"),
        (lambda folder: shutil.rmtree(folder / "newest"), "newest"),
    ],
)
def test_a_damaged_folder_is_refused(
    tmp_path: Path, damage: Callable[[Path], None], message: str
) -> None:
    options = {"popular": Popular(), "newest": Newest()}
    Engine(recommenders=options, tune=False).fit(columns(), ITEMS).save(tmp_path / "model")
    damage(tmp_path / "model")

    with pytest.raises(ArtefactError, match=message):
        Engine.load(tmp_path / "model", recommenders=options)


def test_without_data_it_says_so(tmp_path: Path) -> None:
    for ask in (
        lambda: Engine().recommend(),
        lambda: Engine().related(1),
        lambda: Engine().save(tmp_path / "model"),
        lambda: Engine().aliases,
    ):
        with pytest.raises(NotTrained, match=r"call fit\(\) or load\(\) first"):
            ask()
    with pytest.raises(ValueError, match=r"An alias is a name such as next_item, not '\.\./up'"):
        Engine(recommenders={"../up": Popular()})
