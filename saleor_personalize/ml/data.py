"""What a recommender learns from: columns of interactions and items, validated once."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

#: Ids are stored at a fixed width, so one absurd id would cost its length for every other.
MAX_ID_BYTES = 255


class InteractionEvent(StrEnum):
    """What a profile did with an item."""

    VIEW = "view"
    CART = "cart"
    FAVOURITE = "favourite"
    PURCHASE = "purchase"


@dataclass(frozen=True)
class Strings:
    """A column of strings in which each distinct one is stored once.

    `codes`: int32 (n,), position in `values`, -1 where there is none. `values`: sorted UTF-8 bytes
    (d,), so that a lookup is a binary search that also works on a memory-mapped file.
    """

    codes: NDArray[np.int32]
    values: NDArray[np.bytes_]

    @classmethod
    def of(cls, column: Iterable[str | None], name: str, *, optional: bool = False) -> Self:
        """Encode a column. TypeError or ValueError name the column and the value at fault."""
        # `tolist` turns numpy and pandas scalars into the Python strings that hash fastest.
        listed: list[Any] = column.tolist() if hasattr(column, "tolist") else list(column)
        first_seen: dict[Any, int] = {}
        codes = np.fromiter(
            (first_seen.setdefault(value, len(first_seen)) for value in listed),
            dtype=np.int32,
            count=len(listed),
        )
        present = [value for value in first_seen if value is not None or not optional]
        encoded = [_encode(value, name) for value in present]
        order = sorted(range(len(encoded)), key=encoded.__getitem__)
        rank = np.full(len(first_seen) + 1, -1, dtype=np.int32)
        rank[[first_seen[present[position]] for position in order]] = np.arange(len(order))
        return cls(rank[codes], np.array([encoded[position] for position in order], dtype="S"))

    def __len__(self) -> int:
        return len(self.codes)

    def select(self, rows: NDArray[Any]) -> Self:
        """Keep these rows (mask or positions) and only the values they use."""
        codes = self.codes[rows]
        used = np.zeros(len(self.values), dtype=bool)
        used[codes[codes >= 0]] = True
        rank = np.append(np.cumsum(used, dtype=np.int32) - 1, np.int32(-1))
        return type(self)(rank[codes], self.values[used])

    def decode(self) -> list[str | None]:
        """Give the column back as Python strings."""
        values = [*(value.decode() for value in self.values.tolist()), None]
        return [values[code] for code in self.codes.tolist()]


def positions(values: NDArray[np.bytes_], wanted: Iterable[str]) -> list[int]:
    """Find a few strings in a sorted array of UTF-8 bytes, perhaps memory-mapped; -1 where unknown."""
    found = []
    for text in wanted:
        needle = text.encode()
        at = bisect_left(values, needle)
        found.append(at if at < len(values) and values[at] == needle else -1)
    return found


@dataclass(frozen=True)
class Interactions:
    """(profile, item, event, time) rows, as columns of one length. Build them with `of`.

    `timestamp` is in unix seconds (float64). `order_id` groups the purchases of one basket and is
    missing (code -1) elsewhere. `quantity` is in pieces.
    """

    visitor_id: Strings
    item_id: Strings
    event: Strings
    timestamp: NDArray[np.float64]
    order_id: Strings
    quantity: NDArray[np.float64]

    @classmethod
    def of(
        cls,
        *,
        visitor_id: Iterable[str],
        item_id: Iterable[str],
        event: Iterable[str],
        timestamp: Iterable[float],
        order_id: Iterable[str | None] | None = None,
        quantity: Iterable[float] | None = None,
    ) -> Self:
        """Build from any sequences. ValueError: unequal lengths, unknown event, time not finite."""
        times = _floats(timestamp, "timestamp")
        size = len(times)
        return cls(
            visitor_id=Strings.of(visitor_id, "visitor_id"),
            item_id=Strings.of(item_id, "item_id"),
            event=Strings.of(event, "event"),
            timestamp=times,
            order_id=Strings.of(
                [None] * size if order_id is None else order_id, "order_id", optional=True
            ),
            quantity=np.ones(size) if quantity is None else _floats(quantity, "quantity"),
        )

    def __post_init__(self) -> None:
        """Check what holds for every way of building."""
        _check_lengths({name: len(column) for name, column in vars(self).items()})
        for name in ("timestamp", "quantity"):
            _check_finite(getattr(self, name), name)
        known = {event.encode() for event in InteractionEvent}
        for event in self.event.values.tolist():
            if event not in known:
                raise ValueError(
                    f"Unknown event {event.decode()!r}; known are {', '.join(InteractionEvent)}."
                )

    def __len__(self) -> int:
        return len(self.timestamp)

    def select(self, rows: NDArray[Any]) -> Self:
        """Keep these rows: a boolean mask or positions."""
        return type(self)(
            visitor_id=self.visitor_id.select(rows),
            item_id=self.item_id.select(rows),
            event=self.event.select(rows),
            timestamp=self.timestamp[rows],
            order_id=self.order_id.select(rows),
            quantity=self.quantity[rows],
        )


@dataclass(frozen=True)
class Items:
    """The catalogue: one row per item. Build it with `of`.

    `created_at` is in unix seconds, NaN where unknown. `text` maps a column name (name,
    description, category, attributes, ...) to one string per item.
    """

    item_id: Strings
    created_at: NDArray[np.float64]
    text: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        item_id: Iterable[str],
        *,
        created_at: Iterable[float | None] | None = None,
        **text: Iterable[str | None],
    ) -> Self:
        """Build from any sequences; a text of None is empty. ValueError: lengths, duplicate ids."""
        ids = Strings.of(item_id, "item_id")
        times = [None] * len(ids) if created_at is None else list(created_at)
        return cls(
            item_id=ids,
            created_at=_floats((np.nan if t is None else t for t in times), "created_at"),
            text={
                name: ["" if t is None else str(t) for t in column] for name, column in text.items()
            },
        )

    def __post_init__(self) -> None:
        """Check what holds for every way of building."""
        columns: dict[str, Any] = {"item_id": self.item_id, "created_at": self.created_at}
        _check_lengths({name: len(column) for name, column in {**self.text, **columns}.items()})
        _check_finite(self.created_at[~np.isnan(self.created_at)], "created_at")
        count = np.bincount(self.item_id.codes, minlength=1)
        if count.max() > 1:
            twice = self.item_id.values[count.argmax()].decode()
            raise ValueError(
                f"item_id {twice!r} occurs {count.max()} times; each item has one row."
            )

    def __len__(self) -> int:
        return len(self.created_at)


def _encode(value: object, name: str) -> bytes:
    if not isinstance(value, str):
        raise TypeError(f"{name} holds strings, not {value!r}.")
    encoded = value.encode()
    if not encoded or b"\0" in encoded or len(encoded) > MAX_ID_BYTES:
        raise ValueError(
            f"{name} {value[:40]!r} must have 1 to {MAX_ID_BYTES} bytes of UTF-8 and no NUL."
        )
    return encoded


def _floats(column: Iterable[float], name: str) -> NDArray[np.float64]:
    listed = column if isinstance(column, np.ndarray) else list(column)
    try:
        return np.array(listed, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} holds numbers: {error}") from error


def _check_lengths(lengths: Mapping[str, int]) -> None:
    if len(set(lengths.values())) > 1:
        listed = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise ValueError(f"All columns must have one length, but: {listed}.")


def _check_finite(column: NDArray[np.float64], name: str) -> None:
    at_fault = np.flatnonzero(~np.isfinite(column))
    if at_fault.size:
        raise ValueError(f"{name} must be finite, but row {at_fault[0]} is {column[at_fault[0]]}.")
