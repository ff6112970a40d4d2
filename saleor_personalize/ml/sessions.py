"""The log of all sessions: built once, memory-mapped, asked with many live sessions at a time.

One live session is a batch of one: training the re-ranker and answering a shopper run the same code.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from saleor_personalize.ml.base import Arrays, Context
from saleor_personalize.ml.data import InteractionEvent, Interactions, positions

#: Seconds without an event after which a visitor's next event begins a new session.
GAP = 1_800.0
#: Codes of the kinds of events in `SessionLog.kind`.
KINDS = {event: code for code, event in enumerate(InteractionEvent)}

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class SessionLog:
    """Events of n rows in s sessions, the session that ended first first, and where items occur.

    `item`: int32 (n,), position in the sorted ids. `kind`: int8 (n,), see KINDS. `session`: int32
    (n,). `start`: int64 (s + 1,), first row of each session. `ended`: float64 (s,), unix seconds.
    `visitor`: int32 (s,). `occurrence`: int32 (n,), rows by item, oldest first; those of item i are
    `occurrence[first[i]:first[i + 1]]`, `first` int64 (items + 1,).
    """

    item: NDArray[np.int32]
    kind: NDArray[np.int8]
    session: NDArray[np.int32]
    start: Ints
    ended: Floats
    visitor: NDArray[np.int32]
    occurrence: NDArray[np.int32]
    first: Ints

    @classmethod
    def of(cls, interactions: Interactions) -> Self:
        """Split into sessions: by `session_id`, and where there is none by visitor and GAP."""
        rows = np.argsort(interactions.timestamp, kind="stable")
        times = interactions.timestamp[rows]
        number = _numbers(interactions, rows, times)
        count = int(number.max(initial=-1)) + 1
        last = np.zeros(count)
        last[number] = times
        at = np.zeros(count, dtype=np.int64)
        at[number[::-1]] = np.arange(len(rows))[::-1]
        order = np.lexsort((at, last))
        rank = np.empty(count, dtype=np.int32)
        rank[order] = np.arange(count, dtype=np.int32)
        session = rank[number]
        by_session = np.argsort(session, kind="stable")
        rows, session = rows[by_session], session[by_session]
        start = np.searchsorted(session, np.arange(count + 1))
        codes = np.array([KINDS[InteractionEvent(v.decode())] for v in interactions.event.values])
        return cls._indexed(
            item=interactions.item_id.codes[rows],
            kind=codes.astype(np.int8)[interactions.event.codes[rows]],
            session=session,
            start=start,
            ended=last[order],
            visitor=interactions.visitor_id.codes[rows][start[:-1]],
            items=len(interactions.item_id.values),
        )

    @classmethod
    def _indexed(cls, *, items: int, **columns: NDArray[Any]) -> Self:
        item = columns["item"]
        first = np.zeros(items + 1, dtype=np.int64)
        np.cumsum(np.bincount(item, minlength=items), out=first[1:])
        occurrence = np.argsort(item, kind="stable").astype(np.int32)
        return cls(**columns, occurrence=occurrence, first=first)

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> Self:
        """Take the log out of the arrays that `arrays` gave."""
        return cls(**{name: arrays[f"log_{name}"] for name in cls.__dataclass_fields__})

    def arrays(self) -> Arrays:
        """Give the columns under names of their own, to be saved with other arrays."""
        return {f"log_{name}": column for name, column in vars(self).items()}

    @property
    def sessions(self) -> int:
        """How many sessions there are."""
        return len(self.ended)

    @property
    def items(self) -> int:
        """How many items there are, also those without an event."""
        return len(self.first) - 1

    def until(self, session: int) -> Self:
        """Give the log as it was before this session."""
        rows = slice(0, int(self.start[session]))
        return self._indexed(
            item=self.item[rows],
            kind=self.kind[rows],
            session=self.session[rows],
            start=self.start[: session + 1],
            ended=self.ended[:session],
            visitor=self.visitor[:session],
            items=self.items,
        )

    def latest(self, items: NDArray[Any], most: int) -> tuple[Ints, Ints]:
        """Rows of the `most` latest events of each item: the place in `items`, and the row."""
        stop = self.first[items + 1]
        start = np.maximum(self.first[items], stop - most)
        place, at = ranges(start, stop)
        return place, self.occurrence[at].astype(np.int64)


class Live(NamedTuple):
    """Live sessions, oldest event first; those of query q are rows `start[q]:start[q + 1]`."""

    start: Ints
    item: Ints
    kind: Ints

    @classmethod
    def of(cls, ids: NDArray[np.bytes_], context: Context) -> Self:
        """Make a batch of one; seeds count as looked at last. What the log does not know is left out."""
        seeds = [seed for seed in context.seeds if seed not in context.session]
        events = context.events or (InteractionEvent.VIEW,) * len(context.session)
        kinds = [KINDS[InteractionEvent(event)] for event in events] + [0] * len(seeds)
        found = positions(ids, [*context.session, *seeds])
        known = [(at, kind) for at, kind in zip(found, kinds, strict=True) if at >= 0]
        table = np.array(known, dtype=np.int64).reshape(-1, 2)
        return cls(np.array([0, len(table)]), table[:, 0], table[:, 1])

    @property
    def queries(self) -> int:
        """How many sessions there are."""
        return len(self.start) - 1

    def back(self) -> tuple[Ints, Ints]:
        """For each row its query, and how many events ago it was (0 for the last)."""
        query = np.repeat(np.arange(self.queries), np.diff(self.start))
        return query, self.start[query + 1] - 1 - np.arange(len(self.item))


class Steps(NamedTuple):
    """Distinct items of live sessions, by query, the latest first.

    `rank`: 0 for the item of the last event. `back`: events since its latest one. `row`: that event.
    """

    query: Ints
    item: Ints
    rank: Ints
    back: Ints
    row: Ints


def steps_of(live: Live, most: int | None = None) -> Steps:
    """Give the distinct items of each live session, at most the `most` latest."""
    query, back = live.back()
    row = np.arange(len(query))
    if len(query):
        order = np.lexsort((back, live.item, query))
        is_first = differs(query[order]) | differs(live.item[order])
        latest = order[is_first]
        latest = latest[np.lexsort((back[latest], query[latest]))]
        query, back, row = query[latest], back[latest], row[latest]
    rank = np.arange(len(query)) - np.searchsorted(query, query)
    steps = Steps(query, live.item[row], rank, back, row)
    if most is not None and len(rank) and rank.max() >= most:
        steps = Steps(*(column[rank < most] for column in steps))
    return steps


class Neighbours(NamedTuple):
    """Sessions like live ones, by query: how like, and the log row where they last met.

    `met` is the row of the latest live item that the neighbour has, at its latest occurrence.
    """

    query: Ints
    similarity: Floats
    met: Ints


class Walks(NamedTuple):
    """What neighbours hold near where they met the live session. `distance`: signed steps from there."""

    query: Ints
    item: Ints
    weight: Floats
    neighbour: Ints
    distance: Ints


def neighbours(
    log: SessionLog,
    live: Live,
    *,
    size: int,
    latest: int,
    position_decay: float,
    idf_exponent: float,
    length_exponent: float,
    most: int = 15,
) -> Neighbours:
    """Find the `size` sessions most like each live session, among the `latest` ones of its items.

    similarity = sum over common items of exp(-position_decay * events ago) * idf ** idf_exponent
                 / events of the neighbour ** length_exponent
    """
    steps = steps_of(live, most)
    step, row = log.latest(steps.item, latest)
    frequency = np.diff(log.first)[steps.item] if len(steps.item) else np.zeros(0)
    idf = np.log1p(log.sessions / np.maximum(frequency, 1.0))
    worth = np.exp(-position_decay * steps.back) * idf**idf_exponent
    # Steps come latest first; of the rows of a step in one session, the last comes first.
    key = (steps.query[step] * max(log.sessions, 1) + log.session[row]) * most + steps.rank[step]
    order = in_order(key, descending_ties=True)
    key, step, row = key[order], step[order], row[order]
    is_counted = differs(key)
    key //= most
    begins = np.flatnonzero(differs(key))
    similarity = sums(starts=begins, values=worth[step] * is_counted)
    met = row[begins]
    query = key[begins] // max(log.sessions, 1)
    length = np.diff(log.start)[log.session[met]] if len(met) else np.zeros(0)
    similarity = similarity / np.maximum(length, 1.0) ** length_exponent
    best = largest(query, similarity, size)
    return Neighbours(query[best], similarity[best], met[best])


def walks(log: SessionLog, found: Neighbours, *, distance_decay: float, reach: int) -> Walks:
    """List the items within `reach` steps of where each neighbour met the live session.

    weight = similarity * exp(-distance_decay * steps)
    """
    session = log.session[found.met]
    start = np.maximum(log.start[session], found.met - reach)
    stop = np.minimum(log.start[session + 1], found.met + reach + 1)
    neighbour, row = ranges(start, stop)
    distance = row - found.met[neighbour]
    weight = found.similarity[neighbour] * np.exp(-distance_decay * np.abs(distance))
    return Walks(
        found.query[neighbour], log.item[row].astype(np.int64), weight, neighbour, distance
    )


class Follows(NamedTuple):
    """What stood near the latest occurrences of some items: the place of the item, row there, gap."""

    place: Ints
    row: Ints
    occurrence: Ints
    gap: Ints


def follows(
    log: SessionLog, items: NDArray[Any], *, latest: int, ahead: int, behind: int = 0
) -> Follows:
    """List what came up to `ahead` steps after (gap above 0) or `behind` before (below 0)."""
    place, occurrence = log.latest(items, latest)
    session = log.session[occurrence]
    start = np.maximum(log.start[session], occurrence - behind)
    stop = np.minimum(log.start[session + 1], occurrence + ahead + 1)
    at, row = ranges(start, stop)
    gap = row - occurrence[at]
    is_other = gap != 0
    at, row, gap = at[is_other], row[is_other], gap[is_other]
    return Follows(place[at], row, occurrence[at], gap)


def ranges(start: NDArray[Any], stop: NDArray[Any]) -> tuple[Ints, Ints]:
    """Concatenate `start[i]:stop[i]`: which i, and the number."""
    length = stop - start
    ends = np.cumsum(length)
    which = np.repeat(np.arange(len(length)), length)
    total = int(ends[-1]) if len(ends) else 0
    return which, np.arange(total) + (stop - ends)[which]


def largest(query: Ints, score: Floats, size: int) -> Ints:
    """Positions of the `size` largest scores of each query, in the order given; queries ascend."""
    count = np.bincount(query) if len(query) else np.zeros(1, dtype=np.int64)
    if count.max() <= size:
        return np.arange(len(query))
    if len(count) == 1:
        return np.sort(np.argpartition(-score, size)[:size])
    order = best_first(query, score)
    rank = np.arange(len(order)) - np.searchsorted(query, query)
    return np.sort(order[rank < size])


def best_first(query: Ints, score: NDArray[Any]) -> Ints:
    """Order by query (these ascend), then from the largest score, none below 0, to the smallest.

    Scores count as float32, whose bits sort as they do: one sort of whole numbers.
    """
    bits = np.ascontiguousarray(score, dtype=np.float32).view(np.int32).astype(np.int64)
    return np.argsort((query << 32) - bits)


def best_items(items: NDArray[Any], weights: Floats, count: int) -> tuple[Ints, Floats]:
    """Add up the weights of each item: the `count` best, best first, equal ones by item."""
    order = in_order(items.astype(np.int64))
    starts = np.flatnonzero(differs(items[order]))
    distinct = items[order[starts]].astype(np.int64)
    scores = sums(starts=starts, values=weights[order])
    best = np.lexsort((distinct, -scores))[:count]
    return distinct[best], scores[best]


def strongest(items: Ints, item: NDArray[Any], weight: Floats, source: NDArray[Any]) -> Ints:
    """For each of `items`, the source of the largest weight it has in rows; the first if equal."""
    order = np.lexsort((-weight, item))
    at = np.searchsorted(item[order], items)
    return np.asarray(source[order[at]], dtype=np.int64)


def in_order(key: Ints, *, descending_ties: bool = False) -> Ints:
    """Like a stable argsort of numbers from 0, many times as fast: place and key sorted as one."""
    size = len(key)
    if not size or int(key.max()) >= np.iinfo(np.int64).max // size - 1:
        return np.lexsort((np.arange(size)[:: -1 if descending_ties else 1], key))
    place = np.arange(size)
    packed = np.sort(key * size + (size - 1 - place if descending_ties else place)) % size
    return size - 1 - packed if descending_ties else packed


def sums(*, starts: Ints, values: NDArray[Any]) -> Floats:
    """Add up the values from each start to the next."""
    if not len(starts):
        return np.zeros(0)
    return np.asarray(np.add.reduceat(values, starts), dtype=np.float64)


def differs(values: NDArray[Any]) -> NDArray[np.bool_]:
    """True where a value is not that before it."""
    found = np.ones(len(values), dtype=bool)
    np.not_equal(values[1:], values[:-1], out=found[1:])
    return found


def _numbers(interactions: Interactions, rows: Ints, times: Floats) -> Ints:
    """Number the session of each row (rows by time), from 0 without gaps."""
    given = interactions.session_id.codes[rows].astype(np.int64)
    unknown = np.flatnonzero(given < 0)
    if unknown.size:
        visitor = interactions.visitor_id.codes[rows][unknown]
        order = np.argsort(visitor, kind="stable")
        is_new = differs(visitor[order]) | (np.diff(times[unknown][order], prepend=0.0) > GAP)
        given[unknown[order]] = len(interactions.session_id.values) + np.cumsum(is_new)
        given = np.unique(given, return_inverse=True)[1]
    return given
