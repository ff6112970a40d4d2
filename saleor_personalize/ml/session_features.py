"""Candidates for the next item of live sessions, and what is known of each.

Training and serving call the same code, so a feature means the same to both. Nothing is NaN: what
does not apply is -1, and no feature is below that.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from saleor_personalize.ml.base import Arrays
from saleor_personalize.ml.data import InteractionEvent
from saleor_personalize.ml.habits import BACK, EARLIER, NEW, STAY, habits_of, moves_of, states_of
from saleor_personalize.ml.sessions import (
    KINDS,
    Floats,
    Ints,
    Live,
    SessionLog,
    Steps,
    best_first,
    differs,
    follows,
    in_order,
    largest,
    neighbours,
    ranges,
    steps_of,
    walks,
)
from saleor_personalize.ml.vectors import item_vectors, unit

#: Shares of the last sessions in which an item's popularity is counted.
WINDOWS = (0.005, 0.02, 0.08, 0.3)
#: Candidates of each source.
N_NEAR, N_LATE, N_AFTER, N_SECOND, N_POPULAR, N_HISTORY = 70, 15, 30, 15, 10, 10
#: A neighbour's lateness counts 1/e after this share of all sessions.
LATE = 0.025
#: Steps after and before an occurrence of an item, and occurrences, that are looked at.
AHEAD, BEHIND, N_LATEST = 5, 3, 400
DECAY = 0.6
#: Earlier sessions of a visitor that are looked at.
N_VISITS = 50
#: How much an item counts in the vector of its session for each event it lies back.
FADING = 0.7
DAY = 86_400.0

Column = NDArray[np.floating] | NDArray[np.integer] | NDArray[np.bool_]


class Asked(NamedTuple):
    """Live sessions with who asks (code of the log, -1 where unknown) and when (unix seconds)."""

    live: Live
    visitor: Ints
    now: Floats


class Candidates(NamedTuple):
    """Candidates, by query and item; `features`: float32 (len(NAMES), candidates)."""

    query: Ints
    item: Ints
    features: NDArray[np.float32]

    def column(self, name: str) -> NDArray[np.float32]:
        """Give one feature of all candidates."""
        return np.asarray(self.features[NAMES.index(name)], dtype=np.float32)


def facts_of(log: SessionLog, *, dimensions: int, seed: int) -> Arrays:
    """Learn what is known of items and visitors whoever asks.

    `facts`: float32 (items, len(FACTS)). `vectors`: float16 (items, dimensions). `habits`: see `habits_of`. `popular`: items
    most seen of late. `visits`: sessions by visitor, those of code v `visits_first[v]` to the next.
    """
    count, size = max(log.sessions, 1), log.items
    item, session = log.item, log.session
    key = np.sort(session.astype(np.int64) * max(size, 1) + item)
    begins = np.flatnonzero(differs(key))
    times = np.diff(np.append(begins, len(key)))
    # Each item of each session once.
    pair_session, pair_item = np.divmod(key[begins], max(size, 1))

    def counted(items: NDArray[np.integer]) -> Floats:
        return np.bincount(items, minlength=size).astype(np.float64)

    sessions, events = counted(pair_item), counted(item)
    has_next = np.zeros(len(item), dtype=bool)
    has_next[:-1] = session[1:] == session[:-1]
    is_again = has_next.copy()
    is_again[:-1] &= item[1:] == item[:-1]
    followed = counted(item[has_next])
    first, last = np.full(size, float(count)), np.full(size, -1.0)
    first[pair_item[::-1]] = pair_session[::-1]
    last[pair_item] = pair_session
    recent = [int(count * (1 - share)) for share in WINDOWS]
    windows = [
        counted(pair_item[pair_session >= since]) * (1e3 / max(count - since, 1))
        for since in recent
    ]
    columns = {
        "sessions": sessions,
        "again": (counted(item[is_again]) + 1.0) / (followed + 4.0),
        "returned": (counted(pair_item[times > 1]) + 1.0) / (sessions + 3.0),
        "ending": (events - followed + 1.0) / (events + 5.0),
        "age": _share(count - first, count),
        "unseen": _share(count - last, count),
        "carts": (counted(item[log.kind == KINDS[InteractionEvent.CART]]) + 0.2) / (events + 2.0),
        "purchases": (counted(item[log.kind == KINDS[InteractionEvent.PURCHASE]]) + 0.2)
        / (events + 2.0),
        "trend": windows[1] / (windows[3] + 0.02),
        **{f"window_{number}": window for number, window in enumerate(windows)},
    }
    by_visitor = in_order(log.visitor.astype(np.int64))
    visitors = int(log.visitor.max(initial=-1)) + 1
    return {
        "facts": np.stack([columns[name] for name in FACTS], axis=1).astype(np.float32),
        "habits": habits_of(log),
        "vectors": item_vectors(log, size=dimensions, seed=seed),
        "popular": np.lexsort((np.arange(size), -windows[1]))[:N_POPULAR].astype(np.int32),
        "visits": by_visitor.astype(np.int32),
        "visits_first": np.searchsorted(log.visitor[by_visitor], np.arange(visitors + 1)),
    }


#: Columns of `facts`.
FACTS = (
    "sessions", "again", "returned", "ending", "age", "unseen", "carts", "purchases", "trend",
    *(f"window_{number}" for number in range(len(WINDOWS))),
)  # fmt: skip
#: Those that are told of the last item of the session, too.
OF_LAST = ("sessions", "again", "returned", "purchases")


class _Source:
    """Columns over (query, item) keys, each once and ascending."""

    def __init__(self, key: Ints) -> None:
        self._order = in_order(key)
        key = key[self._order]
        self._begins = np.flatnonzero(differs(key))
        self.key = key[self._begins]
        self.columns: dict[str, Floats] = {}

    def add(self, name: str, values: Column) -> None:
        """Keep the sum of the values of each key."""
        self._reduce(np.add, name, values)

    def most(self, name: str, values: Column) -> None:
        """Keep the largest of the values of each key."""
        self._reduce(np.maximum, name, values)

    def count(self, name: str) -> None:
        """Keep how many rows each key has."""
        ends = np.append(self._begins, len(self._order))
        self.columns[name] = np.diff(ends).astype(np.float64)

    def best(self, name: str, most: int, size: int) -> Ints:
        """Give the keys with the largest values of a column for each query."""
        return self.key[largest(self.key // size, self.columns[name], most)]

    def put(self, keys: Ints, columns: dict[str, Column], *, absent: float = 0.0) -> None:
        """Write all columns at other keys."""
        if not len(self.key):
            columns.update({name: np.full(len(keys), absent) for name in self.columns})
            return
        place = np.minimum(np.searchsorted(self.key, keys), len(self.key) - 1)
        is_absent = self.key[place] != keys
        for name, values in self.columns.items():
            column = values[place]
            column[is_absent] = absent
            columns[name] = column

    def _reduce(self, how: np.ufunc, name: str, values: Column) -> None:
        ordered = np.asarray(values, dtype=np.float64)[self._order]
        self.columns[name] = how.reduceat(ordered, self._begins) if len(self.key) else np.zeros(0)


def candidates(
    log: SessionLog, facts: Mapping[str, NDArray[Any]], asked: Asked, options: Mapping[str, float]
) -> Candidates:
    """Choose about a hundred candidates for each live session, none of them empty, with features.

    `facts` are those of `facts_of`; `options` those of `neighbours` and `walks`.
    """
    live = asked.live
    size = log.items
    steps = steps_of(live)
    near = _near(log, live, options)
    after, second = _after(log, live, steps)
    history = _history(log, facts, asked)
    own = _own(live, steps, size)
    popular = np.arange(live.queries)[:, None] * size + facts["popular"].astype(np.int64)
    keys = np.sort(
        np.concatenate(
            [
                own.key,
                popular.ravel(),
                near.best("near", N_NEAR, size),
                near.best("near_late", N_LATE, size),
                after.best("after", N_AFTER, size),
                second.best("second_after", N_SECOND, size),
                history.best("history_last", N_HISTORY, size),
            ]
        )
    )
    keys = keys[differs(keys)]
    query, item = np.divmod(keys, size)
    columns: dict[str, Column] = {}
    for source in (near, after, second, history):
        source.put(keys, columns)
    own.put(keys, columns, absent=-1.0)
    _add_session(columns, live, steps, query, item, size)
    _add_habits(columns, facts["habits"], live, query)
    _add_facts(columns, facts["facts"], live, query, item)
    _add_likeness(columns, facts["vectors"], live, query, item)
    _add_relative(columns, query, live.queries, log.sessions)
    features = np.empty((len(NAMES), len(keys)), dtype=np.float32)
    for place, name in enumerate(NAMES):
        features[place] = columns[name]
    return Candidates(query, item, features)


def _near(log: SessionLog, live: Live, options: Mapping[str, float]) -> _Source:
    """What neighbours of the live session hold."""
    found = neighbours(
        log,
        live,
        size=int(options["n_neighbours"]),
        latest=int(options["n_latest"]),
        position_decay=options["position_decay"],
        idf_exponent=options["idf_exponent"],
        length_exponent=options["length_exponent"],
    )
    walk = walks(log, found, distance_decay=options["distance_decay"], reach=int(options["reach"]))
    session = log.session[found.met].astype(np.float64)
    late = found.similarity * np.exp((session - log.sessions) / (LATE * max(log.sessions, 1)))
    similarity = found.similarity[walk.neighbour]
    source = _Source(walk.query * log.items + walk.item)
    source.add("near", walk.weight)
    source.add("near_flat", similarity)
    source.add("near_late", late[walk.neighbour])
    source.add("near_next", walk.weight * (walk.distance == 1))
    source.most("near_best", similarity)
    source.most("near_last", session[walk.neighbour])
    source.count("near_count")
    return source


def _after(log: SessionLog, live: Live, steps: Steps) -> tuple[_Source, _Source]:
    """What came before and after the last item, and after the one before that."""
    is_recent = steps.rank < 2
    query, item, rank = steps.query[is_recent], steps.item[is_recent], steps.rank[is_recent]
    found = follows(log, item, latest=N_LATEST, ahead=AHEAD, behind=BEHIND)
    key = query[found.place] * log.items + log.item[found.row]
    after = np.where(found.gap > 0, DECAY ** (np.abs(found.gap) - 1.0), 0.0)
    rank = rank[found.place]

    rows = np.flatnonzero(rank == 0)
    first = _Source(key[rows])
    first.add("next", found.gap[rows] == 1)
    first.add("after", after[rows])
    first.most("after_last", log.session[found.occurrence[rows]])
    first.count("together")

    rows = np.flatnonzero(rank == 1)
    second = _Source(key[rows])
    second.add("second_after", after[rows])
    return first, second


def _history(log: SessionLog, facts: Mapping[str, NDArray[Any]], asked: Asked) -> _Source:
    """What the visitor did in the latest earlier sessions."""
    # Whoever signs in during a visit that somebody unknown began has none of their own.
    began = len(facts["visits_first"]) - 1
    known = np.flatnonzero((asked.visitor >= 0) & (asked.visitor < began))
    visitor = asked.visitor[known]
    stop = facts["visits_first"][visitor + 1]
    which, at = ranges(np.maximum(facts["visits_first"][visitor], stop - N_VISITS), stop)
    session = facts["visits"][at].astype(np.int64)
    query = known[which]
    days = np.maximum(asked.now[query] - log.ended[session], 0.0) / DAY
    place, row = ranges(log.start[session], log.start[session + 1])
    source = _Source(query[place] * log.items + log.item[row])
    source.count("history")
    source.most("history_last", 1.0 / (1.0 + days[place]))
    source.most("history_kind", 1.0 + log.kind[row])
    source.most("history_viewed", log.kind[row] == 0)
    return source


def _own(live: Live, steps: Steps, size: int) -> _Source:
    """The items of the live session itself."""
    query, back = live.back()
    source = _Source(query * size + live.item)
    by_step = in_order(steps.query * size + steps.item)
    rank = steps.rank[by_step].astype(np.float64)
    source.most("own_first", back)
    source.most("own_kind", live.kind)
    source.count("own_count")
    source.columns["own_rank"] = rank
    source.columns["own_back"] = steps.back[by_step].astype(np.float64)
    source.columns["own_last_kind"] = live.kind[steps.row[by_step]].astype(np.float64)
    return source


def _add_session(
    columns: dict[str, Column], live: Live, steps: Steps, query: Ints, item: Ints, size: int
) -> None:
    """Add what the live session is like, and what it did after its last item before."""
    queries, (of_row, back) = live.queries, live.back()
    length = np.diff(live.start)
    last, previous = _from_end(live, 1), _from_end(live, 2)
    distinct = np.bincount(steps.query, minlength=queries)
    is_last = live.item == last[of_row]
    earlier = np.flatnonzero(is_last & (back > 0))
    followed = np.sort(of_row[earlier] * size + live.item[np.minimum(earlier + 1, len(back) - 1)])
    key = query * size + item
    columns["own_next"] = np.searchsorted(followed, key, side="right") - np.searchsorted(
        followed, key
    )
    columns["own_share"] = columns["own_count"] / np.maximum(length, 1)[query]
    columns["is_previous"] = item == previous[query]
    of_query = {
        "length": length,
        "distinct": distinct,
        "repeats": 1.0 - distinct / np.maximum(length, 1),
        # How long the session has stayed with its last item, and when it had it before.
        "run": _latest(queries, of_row[~is_last], back[~is_last], length),
        "last_since": _latest(queries, of_row[earlier], back[earlier], np.zeros_like(length)),
        "last_count": np.bincount(of_row[is_last], minlength=queries),
        "last_kind": np.where(length > 0, _from_end(live, 1, kind=True), 0),
        "live_carts": np.bincount(
            of_row[live.kind == KINDS[InteractionEvent.CART]], minlength=queries
        ),
        "live_purchases": np.bincount(
            of_row[live.kind == KINDS[InteractionEvent.PURCHASE]], minlength=queries
        ),
    }
    columns.update({name: values[query] for name, values in of_query.items()})


def _add_habits(
    columns: dict[str, Column], habits: NDArray[np.float32], live: Live, query: Ints
) -> None:
    """Add how often sessions with such moves stay, go back or on, and do what this candidate needs."""
    rates = np.zeros((live.queries, habits.shape[1]), dtype=np.float32)
    asked = np.flatnonzero(np.diff(live.start))
    states = states_of(live.start, moves_of(live.start, live.item), live.start[asked + 1] - 1)
    rates[asked] = habits[states]
    rank = columns["own_rank"]
    move = np.where(rank < 0, NEW, np.where(rank == 0, STAY, np.where(rank == 1, BACK, EARLIER)))
    columns["habit"] = rates[query, move]
    columns["habit_stay"] = rates[query, STAY]
    columns["habit_back"] = rates[query, BACK]
    columns["habit_new"] = rates[query, NEW]


def _from_end(live: Live, place: int, *, kind: bool = False) -> Ints:
    """The item (or kind) of each session `place` events from its end, -1 where there is none."""
    row = live.start[1:] - place
    found = np.full(live.queries, -1, dtype=np.int64)
    is_there = row >= live.start[:-1]
    found[is_there] = (live.kind if kind else live.item)[row[is_there]]
    return found


def _latest(queries: int, query: Ints, back: Ints, otherwise: Ints) -> Ints:
    """The smallest `back` of each query: rows come oldest first, so it is the last one."""
    found = otherwise.copy()
    found[query] = back
    return found


def _add_facts(
    columns: dict[str, Column], facts: NDArray[np.float32], live: Live, query: Ints, item: Ints
) -> None:
    """Add what is known of the item, of the last item, and counts set against how common it is."""
    of_item = facts[item].T
    columns.update(zip(FACTS, of_item, strict=True))
    last = _from_end(live, 1)
    of_last = facts[np.maximum(last, 0)]
    for name in OF_LAST:
        columns[f"last_{name}"] = of_last[:, FACTS.index(name)][query]
    common = np.sqrt(columns["sessions"] + 1.0)
    columns["near_lift"] = columns["near_flat"] / common
    columns["best_lift"] = columns["near_best"] / common
    columns["together_lift"] = columns["together"] / common
    columns["close_lift"] = columns["near"] / common
    columns["late_lift"] = columns["near_late"] / (columns["window_1"] + 0.5)
    columns["after_rate"] = columns["after"] / (columns["last_sessions"] + 5.0)


def _add_likeness(
    columns: dict[str, Column], vectors: NDArray[np.float16], live: Live, query: Ints, item: Ints
) -> None:
    """Add the cosine to the last item, and to the session as a whole."""
    of_row, back = live.back()
    of_live = vectors[live.item].astype(np.float32)
    of_session = np.zeros((live.queries, vectors.shape[1]), dtype=np.float32)
    np.add.at(of_session, of_row, of_live * (FADING**back)[:, None].astype(np.float32))
    of_session = unit(of_session)
    of_last = np.zeros_like(of_session)
    has_last = np.diff(live.start) > 0
    of_last[has_last] = of_live[live.start[1:][has_last] - 1]
    of_item = vectors[item].astype(np.float32)
    columns["like_last"] = np.einsum("ij,ij->i", of_item, of_last[query])
    columns["like_session"] = np.einsum("ij,ij->i", of_item, of_session[query])


#: Columns told as parts of the best of the same session, of their sum, and by rank.
OF_BEST = ("near", "near_flat", "near_late", "near_best", "near_lift", "close_lift")
OF_SUM = ("near", "next", "after")
BY_RANK = ("near", "near_best", "near_lift", "after", "together_lift")
#: All features, in the order in which trees know them.
NAMES = (
    # What neighbours of the session hold.
    "near", "near_flat", "near_late", "near_next", "near_best", "near_last", "near_count",
    "near_top", "near_lift", "close_lift", "best_lift", "late_lift",
    *(f"{name}_of_best" for name in OF_BEST),
    # What came near the last items.
    "after", "after_rate", "after_last", "together", "together_lift", "second_after",
    *(f"{name}_of_sum" for name in OF_SUM),
    *(f"{name}_rank" for name in BY_RANK),
    # The session's own items, and what sessions like it do.
    "own_rank", "own_back", "own_first", "own_count", "own_share", "own_kind", "own_last_kind",
    "own_next", "is_previous", "habit", "habit_stay", "habit_back", "habit_new",
    # Earlier sessions of the visitor.
    "history", "history_last", "history_kind", "history_viewed",
    # The session.
    "length", "distinct", "repeats", "run", "last_since", "last_count", "last_kind", "live_carts",
    "live_purchases",
    # The item, the last item, and how alike they are.
    "sessions", "again", "returned", "ending", "age", "unseen", "carts", "purchases", "trend",
    "window_1", "window_2", *(f"last_{name}" for name in OF_LAST), "like_last", "like_session",
)  # fmt: skip


def _add_relative(columns: dict[str, Column], query: Ints, queries: int, sessions: int) -> None:
    """Add what a candidate is among those of the same session."""
    first = np.searchsorted(query, np.arange(queries))

    def spread(how: np.ufunc, name: str) -> Floats:
        return np.asarray(how.reduceat(columns[name], first)[query], dtype=np.float64)

    for name in OF_BEST:
        best = spread(np.maximum, name)
        columns[f"{name}_of_best"] = columns[name] / np.maximum(best, 1e-9)
        if name == "near":
            columns["near_top"] = best
    for name in OF_SUM:
        columns[f"{name}_of_sum"] = columns[name] / np.maximum(spread(np.add, name), 1e-9)
    for name in BY_RANK:
        order = best_first(query, columns[name])
        rank = np.empty(len(order))
        rank[order] = np.arange(len(order)) - first[query]
        columns[f"{name}_rank"] = rank
    for name in ("near_last", "after_last"):
        ago = _share(sessions - columns[name], sessions)
        columns[name] = np.where(columns[name] > 0, ago, -1.0)


def _share(sessions_ago: Column, sessions: int) -> Floats:
    """Sessions ago as a share of all, on a scale that tells the latest apart."""
    return np.asarray(np.log1p(sessions_ago / max(sessions, 1) * 1e4), dtype=np.float64)
