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
    def of(cls, column: Iterable[Any] | Strings, name: str, *, optional: bool = False) -> Self:
        """Encode strings, or an array of whole numbers, which become their decimal digits.

        TypeError or ValueError name the column and the value at fault. Strings already encoded are
        taken as they are. NaN in an array of floats is what is missing there.
        """
        if isinstance(column, Strings):
            return cls(column.codes, column.values)
        if isinstance(column, np.ndarray) and column.dtype.kind in "iuf":
            return cls._of_numbers(column, name, optional=optional)
        # `tolist` turns numpy and pandas scalars into the Python strings that hash fastest.
        listed: list[Any] = column.tolist() if hasattr(column, "tolist") else list(column)
        first_seen = {value: at for at, value in enumerate(dict.fromkeys(listed))}
        codes = np.fromiter(map(first_seen.__getitem__, listed), dtype=np.int32, count=len(listed))
        return cls.coded(codes, list(first_seen), name, optional=optional)

    @classmethod
    def coded(
        cls, codes: NDArray[Any], texts: Sequence[Any], name: str, *, optional: bool = False
    ) -> Self:
        """Encode a column of categories: `codes` are positions in `texts`, or below 0 for none."""
        places = [at for at, text in enumerate(texts) if text is not None or not optional]
        encoded = [_encode(texts[at], name) for at in places]
        if not optional and codes.size and codes.min() < 0:
            raise TypeError(f"{name} holds strings, not None.")
        values = np.array(sorted(set(encoded)), dtype="S")
        rank = np.full(len(texts) + 1, -1, dtype=np.int32)
        if encoded:
            rank[places] = np.searchsorted(values, np.array(encoded, dtype=values.dtype))
        ranked = rank[codes]
        ranked[codes < 0] = -1
        strings = cls(ranked, values)
        is_used = np.zeros(len(values) + 1, dtype=bool)
        is_used[ranked] = True
        return strings if is_used[:-1].all() else strings.select(np.arange(len(ranked)))

    @classmethod
    def _of_numbers(cls, column: NDArray[Any], name: str, *, optional: bool) -> Self:
        is_there = np.ones(len(column), dtype=bool)
        if column.dtype.kind == "f":
            is_there = ~np.isnan(column)
            # Beyond 2 ** 53 a float no longer tells neighbours apart.
            is_whole = (column == np.trunc(column)) & (np.abs(column) <= 2**53)
            at_fault = np.flatnonzero(is_there & ~is_whole)
            if at_fault.size:
                raise TypeError(f"{name} holds whole numbers, not {column[at_fault[0]]}.")
            if not optional and not is_there.all():
                row = np.flatnonzero(~is_there)[0]
                raise TypeError(f"{name} is missing in row {row}: give it, or leave the row out.")
        numbers = column[is_there].astype(np.int64 if column.dtype.kind == "f" else column.dtype)
        distinct, codes = _distinct(numbers)
        texts = distinct.astype("S")
        order = np.argsort(texts)
        rank = np.empty(len(order), dtype=np.int32)
        rank[order] = np.arange(len(order), dtype=np.int32)
        ranked = np.full(len(column), -1, dtype=np.int32)
        ranked[is_there] = rank[codes]
        return cls(ranked, texts[order])

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
        # Half a surrogate pair, as JSON can hold one, is no item and no error.
        needle = text.encode(errors="surrogatepass")
        at = bisect_left(values, needle)
        found.append(at if at < len(values) and values[at] == needle else -1)
    return found


@dataclass(frozen=True)
class Interactions:
    """(profile, item, event, time) rows, as columns of one length. Build them with `of`.

    `timestamp` is in unix seconds (float64). `order_id` groups the purchases of one basket and is
    missing (code -1) elsewhere. `quantity` is in pieces. `session_id` is the visit, missing where
    that is not known. `price` is of one piece, NaN where unknown.
    """

    visitor_id: Strings
    item_id: Strings
    event: Strings
    timestamp: NDArray[np.float64]
    order_id: Strings
    quantity: NDArray[np.float64]
    session_id: Strings
    price: NDArray[np.float64]

    @classmethod
    def of(
        cls,
        *,
        visitor_id: Iterable[str] | Strings,
        item_id: Iterable[str] | Strings,
        event: Iterable[str] | Strings,
        timestamp: Iterable[float],
        order_id: Iterable[str | None] | Strings | None = None,
        quantity: Iterable[float] | None = None,
        session_id: Iterable[str | None] | Strings | None = None,
        price: Iterable[float | None] | None = None,
    ) -> Self:
        """Build from any sequences; ids may be arrays of whole numbers, too.

        ValueError: unequal lengths, unknown event, time not finite.
        """
        times = _floats(timestamp, "timestamp")
        size = len(times)
        return cls(
            visitor_id=Strings.of(visitor_id, "visitor_id"),
            item_id=Strings.of(item_id, "item_id"),
            event=Strings.of(event, "event"),
            timestamp=times,
            order_id=_optional(order_id, size, "order_id"),
            quantity=np.ones(size) if quantity is None else _floats(quantity, "quantity"),
            session_id=_optional(session_id, size, "session_id"),
            price=np.full(size, np.nan) if price is None else _floats(price, "price"),
        )

    def __post_init__(self) -> None:
        """Check what holds for every way of building."""
        check_lengths({name: len(column) for name, column in vars(self).items()})
        for name in ("timestamp", "quantity"):
            _check_finite(getattr(self, name), name)
        _check_finite(self.price[~np.isnan(self.price)], "price")
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
            session_id=self.session_id.select(rows),
            price=self.price[rows],
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
        item_id: Iterable[str] | Strings,
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
        check_lengths({name: len(column) for name, column in {**self.text, **columns}.items()})
        _check_finite(self.created_at[~np.isnan(self.created_at)], "created_at")
        count = np.bincount(self.item_id.codes, minlength=1)
        if count.max() > 1:
            twice = self.item_id.values[count.argmax()].decode()
            raise ValueError(
                f"item_id {twice!r} occurs {count.max()} times; each item has one row."
            )

    def __len__(self) -> int:
        return len(self.created_at)

    def select(self, rows: NDArray[Any]) -> Self:
        """Keep these rows: a boolean mask or positions."""
        rows = np.arange(len(self))[rows]
        return type(self)(
            item_id=self.item_id.select(rows),
            created_at=self.created_at[rows],
            text={name: [column[row] for row in rows] for name, column in self.text.items()},
        )


def _distinct(numbers: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Like np.unique with its inverse, without sorting where the numbers lie close together."""
    if numbers.dtype.kind == "i":
        # Differences of narrow numbers do not fit into such.
        numbers = numbers.astype(np.int64, copy=False)
    if numbers.size:
        low, high = int(numbers.min()), int(numbers.max())
        if high - low < 4 * numbers.size + 1_000:
            offset = (numbers - numbers.dtype.type(low)).astype(np.int64)
            is_there = np.zeros(high - low + 1, dtype=bool)
            is_there[offset] = True
            rank = np.cumsum(is_there, dtype=np.int32) - np.int32(1)
            found = np.flatnonzero(is_there).astype(numbers.dtype) + numbers.dtype.type(low)
            return found, rank[offset]
    return np.unique(numbers, return_inverse=True)


def _optional(column: Iterable[Any] | Strings | None, size: int, name: str) -> Strings:
    if column is None:
        return Strings(np.full(size, -1, dtype=np.int32), np.array([], dtype="S1"))
    return Strings.of(column, name, optional=True)


def _encode(value: object, name: str) -> bytes:
    if not isinstance(value, str):
        raise TypeError(f"{name} holds strings, not {value!r}.")
    try:
        encoded = value.encode()
    except UnicodeEncodeError:
        encoded = b""
    if not encoded or b"\0" in encoded or len(encoded) > MAX_ID_BYTES:
        raise ValueError(
            f"{name} {value[:40]!r} must have 1 to {MAX_ID_BYTES} bytes of UTF-8 and no NUL."
        )
    return encoded


def _floats(column: Iterable[float | None], name: str) -> NDArray[np.float64]:
    listed = column if isinstance(column, np.ndarray) else list(column)
    try:
        return np.array(listed, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} holds numbers: {error}") from error


def check_lengths(lengths: Mapping[str, int]) -> None:
    if len(set(lengths.values())) > 1:
        listed = ", ".join(f"{name} {length}" for name, length in lengths.items())
        raise ValueError(f"All columns must have one length, but: {listed}.")


def _check_finite(column: NDArray[np.float64], name: str) -> None:
    at_fault = np.flatnonzero(~np.isfinite(column))
    if at_fault.size:
        raise ValueError(f"{name} must be finite, but row {at_fault[0]} is {column[at_fault[0]]}.")
