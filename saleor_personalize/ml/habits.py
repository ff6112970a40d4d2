"""Habits of a session: staying with an item, going back to one, or on to new ones.

Which items they are does not matter here, so every session of the log teaches every other.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from saleor_personalize.ml.sessions import Floats, Ints, SessionLog, differs, in_order

#: What an event does: the last item again, the other item before it, one still earlier, a new one.
STAY, BACK, EARLIER, NEW = range(4)
#: Moves that are remembered, and the digit for where there was none yet.
MEMORY = 7
_NONE = 4
#: Events like which the rates of a shorter memory count in those of a longer one.
PRIOR = 20.0


def moves_of(start: Ints, item: NDArray[np.integer]) -> NDArray[np.int8]:
    """Tell what each event does; sessions are rows `start[s]:start[s + 1]`, first events are NEW."""
    rows = np.arange(len(item))
    session = np.repeat(np.arange(len(start) - 1), np.diff(start))
    begin = start[session]
    is_first = rows == begin
    before = np.maximum(rows - 1, 0)
    stays = ~is_first & (item == item[before])
    # The stay that the event before belongs to begins here; what stood before it is the other item.
    stay = np.maximum.accumulate(np.where(stays, 0, rows)) if len(rows) else rows
    other = stay[before] - 1
    goes_back = ~is_first & (other >= begin) & (item == item[np.maximum(other, 0)])
    key = session * (int(item.max(initial=0)) + 1) + item
    order = in_order(key)
    was_there = np.zeros(len(rows), dtype=bool)
    was_there[order] = ~differs(key[order])
    moves = np.where(was_there, EARLIER, NEW)
    moves[goes_back] = BACK
    moves[stays] = STAY
    return moves.astype(np.int8)


def states_of(start: Ints, moves: NDArray[np.int8], rows: Ints, memory: int = MEMORY) -> Ints:
    """Number the last `memory` moves up to each row, the latest first; below 5 ** memory."""
    session = np.searchsorted(start, rows, side="right") - 1
    age = rows - start[session]
    state = np.zeros(len(rows), dtype=np.int64)
    for back in range(memory):
        move = np.where(age >= back, moves[np.maximum(rows - back, 0)], _NONE)
        state = state * 5 + move
    return state


def habits_of(log: SessionLog) -> NDArray[np.float32]:
    """How often each move follows each state: float32 (5 ** MEMORY, 4), rows of sum 1.

    Rates of a memory are drawn to those of one move less, as in Chen & Goodman 1999, "An empirical
    study of smoothing techniques for language modeling".
    """
    moves = moves_of(log.start, log.item)
    is_followed = np.zeros(len(moves), dtype=bool)
    is_followed[:-1] = log.session[1:] == log.session[:-1]
    rows = np.flatnonzero(is_followed)
    following = moves[rows + 1]
    rates: Floats = np.full((1, 4), 0.25)
    for memory in range(MEMORY + 1):
        state = states_of(log.start, moves, rows, memory)
        counts = np.bincount(state * 4 + following, minlength=4 * 5**memory).reshape(-1, 4)
        shorter = rates if memory == 0 else np.repeat(rates, 5, axis=0)
        rates = (counts + PRIOR * shorter) / (counts.sum(axis=1, keepdims=True) + PRIOR)
    return rates.astype(np.float32)
