"""Questions from the last days of a shop's own events: what the engine measures itself by.

A question is asked as it would have been at the time, and its answer is what came to pass. Samples
are drawn by a generator that the caller seeds.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from saleor_personalize.ml.base import Context
from saleor_personalize.ml.data import InteractionEvent, Interactions
from saleor_personalize.ml.evaluation import Case

#: A visit without an id ends after so many seconds without an event.
GAP = 1_800.0
DAY = 86_400.0
#: More items of a visit than these are not handed on.
LONGEST = 50

Codes = NDArray[np.integer]


class Visits(NamedTuple):
    """Rows in the order of visits: `rows[starts[v]:starts[v + 1]]` is visit v, oldest first."""

    rows: NDArray[np.intp]
    starts: NDArray[np.intp]


def visits_of(interactions: Interactions, *, gap: float = GAP) -> Visits:
    """Cut rows into visits: by `session_id` where there is one, else by visitor and pauses."""
    sessions, visitors = interactions.session_id.codes, interactions.visitor_id.codes
    times = interactions.timestamp
    offset = len(interactions.session_id.values)
    group = np.where(sessions >= 0, sessions, visitors.astype(np.int64) + offset)
    rows = np.lexsort((times, group))
    ordered, at = group[rows], times[rows]
    is_first = np.ones(len(rows), dtype=bool)
    is_first[1:] = (ordered[1:] != ordered[:-1]) | (
        (ordered[1:] >= offset) & (at[1:] - at[:-1] > gap)
    )
    return Visits(rows, np.append(np.flatnonzero(is_first), len(rows)))


def count_returning(interactions: Interactions) -> int:
    """Count visitors with more than one visit or order; without ids of these, on more than one day."""
    part = interactions.timestamp // DAY
    for column in (interactions.session_id, interactions.order_id):
        part = np.where(column.codes >= 0, -1.0 - column.codes, part)
    visitors = interactions.visitor_id.codes
    first = np.full(len(interactions.visitor_id.values), np.inf)
    last = np.full(len(first), -np.inf)
    np.minimum.at(first, visitors, part)
    np.maximum.at(last, visitors, part)
    return int((last > first).sum())


def visit_cases(window: Interactions, *, limit: int, random: np.random.Generator) -> list[Case]:
    """Ask, somewhere in a visit, for the next item; the current one is excluded."""
    visits = visits_of(window)
    items = window.item_id.codes[visits.rows]
    begin = np.repeat(visits.starts[:-1], np.diff(visits.starts))
    asked = np.flatnonzero(np.arange(len(items)) > begin)
    asked = _drawn(asked[items[asked] != items[asked - 1]], limit, random)
    cases = []
    for at in asked.tolist():
        rows = visits.rows[max(int(begin[at]), at - LONGEST) : at]
        session = _items(window, rows)
        row = int(visits.rows[at])
        context = Context(
            session=tuple(session),
            events=tuple(window.event.values[code].decode() for code in window.event.codes[rows]),
            exclude=frozenset(session[-1:]),
            visitor_id=window.visitor_id.values[window.visitor_id.codes[row]].decode(),
            now=float(window.timestamp[row]),
        )
        cases.append(Case(context, frozenset(_items(window, visits.rows[at : at + 1]))))
    return cases


def alternative_cases(
    window: Interactions, *, limit: int, random: np.random.Generator
) -> list[Case]:
    """Ask, for an item being looked at, for the one that is looked at next in the visit."""
    looked = window.select(_is_kind(window, InteractionEvent.VIEW))
    return [
        Case(Context(seeds=case.context.session[-1:]), case.relevant)
        for case in visit_cases(looked, limit=limit, random=random)
    ]


def visitor_cases(
    past: Interactions,
    window: Interactions,
    *,
    repeats: bool,
    limit: int,
    random: np.random.Generator,
) -> list[Case]:
    """Ask what somebody known will take next: only new items, or only those taken before.

    Purchases count; in a shop without any in the window, every event does.
    """
    known = np.intersect1d(past.visitor_id.values, window.visitor_id.values)
    # Some of those drawn turn out to have taken nothing that counts.
    known = _drawn(known, 3 * limit, random)
    past, window = (_of_visitors(rows, known) for rows in (past, window))
    before, after = _purchases(past), _purchases(window)
    if not len(after) or not len(before):
        before, after = past, window
    bought, taken = _by_visitor(before), _by_visitor(after)
    visitors = sorted(
        name
        for name, items in taken.items()
        if (items & bought.get(name, set()) if repeats else items - bought.get(name, set()))
    )
    now = float(window.timestamp.min()) if len(window) else None
    cases = []
    for at in _drawn(np.arange(len(visitors)), limit, random).tolist():
        name = visitors[at]
        old = bought.get(name, set())
        right = taken[name] & old if repeats else taken[name] - old
        context = Context(
            visitor_id=name.decode(),
            exclude=frozenset() if repeats else frozenset(item.decode() for item in old),
            now=now,
        )
        cases.append(Case(context, frozenset(item.decode() for item in right)))
    return cases


def seed_cases(window: Interactions, *, limit: int, random: np.random.Generator) -> list[Case]:
    """Ask, for one item of a basket, for the others.

    A basket is an order; in a shop without orders, what one visit bought, else what it looked at.
    """
    orders = window.select(window.order_id.codes >= 0)
    bought = _purchases(window)
    for rows, group in (
        (orders, lambda rows: rows.order_id.codes),
        (bought, _visit_of_row),
        (window, _visit_of_row),
    ):
        size = max(len(rows.item_id.values), 1)
        pairs = np.unique(group(rows).astype(np.int64) * size + rows.item_id.codes)
        baskets, items = pairs // size, pairs % size
        asked = np.flatnonzero(np.bincount(baskets, minlength=1)[baskets] > 1)
        if len(asked):
            break
    cases = []
    for at in _drawn(asked, limit, random).tolist():
        begin, end = np.searchsorted(baskets, [baskets[at], baskets[at] + 1])
        basket = [item.decode() for item in rows.item_id.values[items[begin:end]].tolist()]
        seed = basket[at - begin]
        cases.append(Case(Context(seeds=(seed,)), frozenset(basket) - {seed}))
    return cases


def anyone_cases(window: Interactions, *, limit: int, random: np.random.Generator) -> list[Case]:
    """Ask what somebody unknown will take: a visitor's items of the window."""
    after = _purchases(window)
    after = after if len(after) else window
    now = float(window.timestamp.min()) if len(window) else None
    visitors = _drawn(after.visitor_id.values, limit, random)
    return [
        Case(Context(now=now), frozenset(item.decode() for item in items))
        for _, items in sorted(_by_visitor(_of_visitors(after, visitors)).items())
    ]


def _visit_of_row(interactions: Interactions) -> Codes:
    visits = visits_of(interactions)
    number = np.empty(len(interactions), dtype=np.int64)
    number[visits.rows] = np.repeat(np.arange(len(visits.starts) - 1), np.diff(visits.starts))
    return number


def _purchases(interactions: Interactions) -> Interactions:
    return interactions.select(_is_kind(interactions, InteractionEvent.PURCHASE))


def _is_kind(interactions: Interactions, kind: InteractionEvent) -> NDArray[np.bool_]:
    values = interactions.event.values.tolist()
    code = values.index(kind.encode()) if kind.encode() in values else -1
    return np.asarray(interactions.event.codes == code)


def _of_visitors(interactions: Interactions, names: NDArray[np.bytes_]) -> Interactions:
    is_one = np.isin(interactions.visitor_id.values, names)
    return interactions.select(is_one[interactions.visitor_id.codes])


def _by_visitor(interactions: Interactions) -> dict[bytes, set[bytes]]:
    """Items of each visitor."""
    size = max(len(interactions.item_id.values), 1)
    pairs = np.unique(
        interactions.visitor_id.codes.astype(np.int64) * size + interactions.item_id.codes
    )
    visitors = interactions.visitor_id.values[pairs // size].tolist()
    items = interactions.item_id.values[pairs % size].tolist()
    found: dict[bytes, set[bytes]] = {}
    for visitor, item in zip(visitors, items, strict=True):
        found.setdefault(visitor, set()).add(item)
    return found


def _items(interactions: Interactions, rows: NDArray[np.intp]) -> list[str]:
    codes = interactions.item_id.codes[rows]
    return [item.decode() for item in interactions.item_id.values[codes].tolist()]


def _drawn(places: NDArray[Any], limit: int, random: np.random.Generator) -> NDArray[Any]:
    """At most `limit` of them, in their order."""
    if len(places) <= limit:
        return places
    return np.sort(random.choice(places, limit, replace=False))
