"""Tables of any library as columns: pandas, polars, pyarrow, or a mapping of lists or arrays.

None of the libraries is imported: what is asked of a column is what they have in common.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple, TypeGuard

import numpy as np
from numpy.typing import NDArray

from saleor_personalize.ml.data import Interactions, Items, Strings, check_lengths

REQUIRED = ("visitor_id", "item_id", "event", "timestamp")
OPTIONAL = ("session_id", "order_id", "quantity", "price")
#: The year 5138 in seconds, 1973 in milliseconds.
LATEST = 1e11


class Ids(NamedTuple):
    """A column of ids, and whether they were whole numbers."""

    strings: Strings
    are_numbers: bool


class Table:
    """A table by its columns. TypeError: it has none."""

    def __init__(self, frame: Any, name: str) -> None:
        """Keep what was given; `name` is what errors call it."""
        if type(frame).__name__ == "LazyFrame":
            raise TypeError(f"{name} is a LazyFrame: give what its collect() returns.")
        if isinstance(frame, Mapping):
            self.names = [str(key) for key in frame]
        elif hasattr(frame, "column_names"):
            self.names = list(frame.column_names)
        elif hasattr(frame, "columns") and hasattr(frame, "__getitem__"):
            self.names = [str(key) for key in frame.columns]
        else:
            raise TypeError(
                f"{name} is a table (pandas, polars, pyarrow) or a mapping of columns, "
                f"not {type(frame).__name__}."
            )
        self.name = name
        self._frame = frame

    def __getitem__(self, name: str) -> Any:
        """Give a column. ValueError: the table lacks it."""
        if name not in self.names:
            raise ValueError(
                f"{self.name} lacks the column {name!r}; it has {', '.join(self.names) or 'none'}."
            )
        return self._frame[name]

    def get(self, name: str) -> Any:
        """Give a column, None if the table lacks it."""
        return self._frame[name] if name in self.names else None


def ids_of(column: Any, name: str, *, optional: bool = False) -> Ids:
    """Encode a column of ids. TypeError or ValueError name the column and the value at fault."""
    categories = _categories(column)
    if categories is not None:
        codes, texts = categories
        numbers = bool(texts) and all(_is_whole(text) for text in texts if not _is_missing(text))
        listed = [None if _is_missing(text) else _text(text) for text in texts]
        return Ids(Strings.coded(codes, listed, name, optional=optional), numbers)
    values = _values(column)
    if isinstance(values, np.ndarray) and values.dtype.kind in "iuf":
        return Ids(Strings.of(values, name, optional=optional), True)
    listed = values.tolist() if hasattr(values, "tolist") else list(values)
    kinds = set(map(type, listed))
    if not kinds <= {str}:
        present = [value for value in listed if not _is_missing(value)]
        if len(present) < len(listed) and not optional:
            row = next(at for at, value in enumerate(listed) if _is_missing(value))
            raise TypeError(f"{name} is missing in row {row}: give it, or leave the row out.")
        if present and all(_is_whole(value) for value in present):
            texts = [None if _is_missing(value) else _text(value) for value in listed]
            return Ids(Strings.of(texts, name, optional=optional), True)
        listed = [None if _is_missing(value) else value for value in listed]
        _check_texts(listed, name, optional=optional)
    return Ids(Strings.of(listed, name, optional=optional), False)


def _check_texts(listed: Sequence[Any], name: str, *, optional: bool) -> None:
    for row, value in enumerate(listed):
        if not (isinstance(value, str) or (value is None and optional)):
            raise TypeError(
                f"{name} holds strings, not {value!r} as in row {row}: give ids of one kind, all "
                "strings or all whole numbers."
            )


def numbers_of(column: Any, name: str, *, missing: float = np.nan) -> NDArray[np.float64]:
    """Give a column as float64; moments become unix seconds, what is missing `missing`.

    ValueError names the column and the value.
    """
    values = _values(column)
    if not isinstance(values, np.ndarray):
        values = list(values)
        if values and isinstance(values[0], np.datetime64):
            values = np.array(values)
    if isinstance(values, np.ndarray) and values.dtype.kind == "M":
        found = values.astype("datetime64[us]").astype(np.int64) / 1e6
        found[np.isnat(values)] = missing
        return np.asarray(found, dtype=np.float64)
    if isinstance(values, np.ndarray) and values.dtype.kind in "iufb":
        found = values.astype(np.float64)
    else:
        listed = values.tolist() if isinstance(values, np.ndarray) else values
        found = np.array(
            [missing if _is_missing(value) else _number(value, name) for value in listed],
            dtype=np.float64,
        )
    if not np.isnan(missing):
        found[np.isnan(found)] = missing
    return found


def interactions_of(frame: Any) -> tuple[Interactions, bool]:
    """Read a table of events; tell whether its item ids are whole numbers.

    Columns as in `Interactions`; others are left alone. Errors name the column and the value.
    """
    if isinstance(frame, Interactions):
        return frame, False
    table = Table(frame, "events")
    missing = [name for name in REQUIRED if name not in table.names]
    if missing:
        raise ValueError(
            f"events lacks {', '.join(missing)}; it has {', '.join(table.names) or 'no columns'}."
        )
    # Before anything is filled in: what was not given is not at fault.
    named = [name for name in (*REQUIRED, *OPTIONAL) if table.get(name) is not None]
    check_lengths({name: len(table[name]) for name in named})
    item_id = ids_of(table["item_id"], "item_id")
    visitor_id = ids_of(table["visitor_id"], "visitor_id", optional=True)
    given: dict[str, Any] = {}
    for name in ("session_id", "order_id"):
        if (column := table.get(name)) is not None:
            given[name] = ids_of(column, name, optional=True).strings
    if (quantity := table.get("quantity")) is not None:
        given["quantity"] = numbers_of(quantity, "quantity", missing=1.0)
        if (at_fault := np.flatnonzero(given["quantity"] <= 0)).size:
            raise ValueError(
                f"quantity is above 0, but row {at_fault[0]} has {given['quantity'][at_fault[0]]:g}: "
                "leave out what was sent back or never bought."
            )
    if (price := table.get("price")) is not None:
        given["price"] = numbers_of(price, "price")
    timestamp = numbers_of(table["timestamp"], "timestamp")
    if (later := timestamp[timestamp > LATEST]).size:
        raise ValueError(
            f"timestamp is in unix seconds, not in parts of them, but one is {later[0]:.0f}."
        )
    interactions = Interactions.of(
        visitor_id=_apart(visitor_id, given),
        item_id=item_id.strings,
        event=ids_of(table["event"], "event").strings,
        timestamp=timestamp,
        **given,
    )
    return interactions, item_id.are_numbers


def check_whole(items: Items) -> None:
    """TypeError: an id of the catalogue is no whole number, where those of events are."""
    ids = items.item_id.values
    at_fault = ids[~np.char.isdigit(np.char.lstrip(ids, b"-"))] if len(ids) else ids
    if len(at_fault):
        raise TypeError(
            "item_id holds whole numbers in events and texts in items, such as "
            f"{at_fault[0].decode()[:40]!r}; give one kind in both."
        )


def in_time(interactions: Interactions) -> Interactions:
    """Bring rows into the order of time, so that the order in which they came changes no sum.

    Rows of one visitor and moment keep theirs.
    """
    times = interactions.timestamp
    if (times[1:] >= times[:-1]).all():
        return interactions
    return interactions.select(np.lexsort((interactions.visitor_id.codes, times)))


def without_duplicates(interactions: Interactions) -> Interactions:
    """Leave out rows that say again what another says: a webhook or file that came twice.

    Such a row equals another in visitor, item, event, time, visit, order and quantity. Where no visit has two
    different times there is no clock, and only lines of an order can come twice.
    """
    key = np.zeros(len(interactions), dtype=np.uint64)
    with np.errstate(over="ignore"):
        for column in (
            interactions.visitor_id.codes,
            interactions.item_id.codes,
            interactions.event.codes,
            interactions.session_id.codes,
            interactions.order_id.codes,
            interactions.timestamp.view(np.uint64),
            interactions.quantity.view(np.uint64),
        ):
            key = (key ^ column.astype(np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
            key ^= key >> np.uint64(29)
    rows = np.argsort(key, kind="stable")
    is_again = np.zeros(len(interactions), dtype=bool)
    is_again[rows[1:]] = key[rows[1:]] == key[rows[:-1]]
    if not is_again.any():
        return interactions
    if not _has_clock(interactions):
        is_again &= interactions.order_id.codes >= 0
    return interactions.select(~is_again) if is_again.any() else interactions


def _has_clock(interactions: Interactions) -> bool:
    group = np.where(
        interactions.session_id.codes >= 0,
        interactions.session_id.codes,
        interactions.visitor_id.codes.astype(np.int64) + len(interactions.session_id.values),
    )
    size = len(interactions.session_id.values) + len(interactions.visitor_id.values)
    first, last = np.full(size, np.inf), np.full(size, -np.inf)
    np.minimum.at(first, group, interactions.timestamp)
    np.maximum.at(last, group, interactions.timestamp)
    return bool((last > first).any())


def _apart(visitor_id: Ids, given: Mapping[str, Any]) -> Strings:
    """Make of whoever is not known (missing, or a number below 0) somebody new in each order or visit.

    As one visitor they would be a giant who likes everything.
    """
    codes, values = visitor_id.strings.codes, visitor_id.strings.values
    is_unknown = codes < 0
    if visitor_id.are_numbers and len(values):
        is_unknown |= np.char.startswith(values, b"-")[codes]
    rows = np.flatnonzero(is_unknown)
    if not rows.size:
        return visitor_id.strings
    group = -1 - rows
    # The visit counts before the order: who looks and who orders in one visit is one.
    for name in ("order_id", "session_id"):
        if name in given:
            known = given[name].codes[rows]
            group = np.where(known >= 0, known + len(codes) * (name == "order_id"), group)
    distinct, number = np.unique(group, return_inverse=True)
    names = [value.decode() for value in values.tolist()]
    # Whatever the shop calls its people, nobody it knows is called so.
    mark = "?"
    while any(name.startswith(mark) for name in names):
        mark += "?"
    names += [f"{mark}{at}" for at in range(len(distinct))]
    found = codes.astype(np.int64)
    found[rows] = len(values) + number
    return Strings.coded(found, names, "visitor_id")


def items_of(frame: Any) -> tuple[Items, bool]:
    """Read a catalogue; tell whether its ids are whole numbers.

    `item_id` is needed, `created_at` is a time, columns of texts (or lists of texts) are kept,
    numbers are left alone: they say nothing that words do.
    """
    if isinstance(frame, Items):
        return frame, False
    table = Table(frame, "items")
    item_id = ids_of(table["item_id"], "item_id")
    created = table.get("created_at")
    texts: dict[str, Any] = {}
    for name in table.names:
        if name in ("item_id", "created_at"):
            continue
        column = _texts(table[name])
        if column is not None:
            texts[name] = column
    items = Items(
        item_id=item_id.strings,
        created_at=(
            np.full(len(item_id.strings), np.nan)
            if created is None
            else numbers_of(created, "created_at")
        ),
        text=texts,
    )
    return items, item_id.are_numbers


def _texts(column: Any) -> list[str] | None:
    """A column of texts, None if it holds anything else."""
    categories = _categories(column)
    if categories is not None:
        codes, values = categories
        listed = [*values, None]
        column = [listed[code] for code in np.where(codes < 0, len(values), codes).tolist()]
    values = _values(column)
    if isinstance(values, np.ndarray) and values.dtype.kind not in "OUT":
        return None
    found: list[str] = []
    for value in values.tolist() if hasattr(values, "tolist") else values:
        if isinstance(value, str):
            found.append(value)
        elif isinstance(value, (list, tuple, np.ndarray)):
            found.append(" ".join(str(part) for part in value))
        elif _is_missing(value):
            found.append("")
        else:
            return None
    return found


def _values(column: Any) -> Any:
    """A numpy array where the library gives one without loss, else something to iterate over."""
    if isinstance(column, (np.ndarray, list, tuple)):
        return column
    if hasattr(column, "null_count"):  # pyarrow has a number there, polars a method
        nulls = column.null_count
        if (nulls() if callable(nulls) else nulls) == 0 and hasattr(column, "to_numpy"):
            return column.to_numpy()
    for name in ("to_pylist", "to_list"):
        if hasattr(column, name) and not hasattr(column, "iloc"):
            return getattr(column, name)()
    return column.to_numpy() if hasattr(column, "to_numpy") else list(column)


def _categories(column: Any) -> tuple[NDArray[Any], list[Any]] | None:
    """Codes and texts of a categorical (pandas) or dictionary or string (pyarrow) column."""
    dtype: Any = getattr(column, "dtype", None)
    if hasattr(dtype, "categories") and hasattr(column, "cat") and hasattr(column.cat, "codes"):
        return np.asarray(column.cat.codes), list(dtype.categories)
    if hasattr(column, "dictionary_encode"):
        if hasattr(column, "combine_chunks"):
            column = column.combine_chunks()
        kind = str(column.type)
        if not kind.startswith(("string", "large_string", "string_view", "dictionary")):
            return None
        encoded = column if kind.startswith("dictionary") else column.dictionary_encode()
        if hasattr(encoded, "chunks"):
            return None  # several chunks with a dictionary each; read as texts
        codes = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
        return codes.astype(np.int64), encoded.dictionary.to_pylist()
    return None


def _is_missing(value: Any) -> bool:
    return (
        value is None
        or (isinstance(value, float) and value != value)
        or type(value).__name__ in {"NAType", "NaTType"}
    )


def _is_whole(value: Any) -> TypeGuard[int]:
    return (isinstance(value, (int, np.integer)) and not isinstance(value, bool)) or (
        isinstance(value, (float, np.floating)) and float(value).is_integer()
    )


def _text(value: Any) -> Any:
    return str(int(value)) if _is_whole(value) else value


def _number(value: Any, name: str) -> float:
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        hint = (
            " Make moments of texts first, as pandas.to_datetime does."
            if isinstance(value, str) and name in ("timestamp", "created_at")
            else ""
        )
        raise ValueError(f"{name} holds numbers, not {value!r}.{hint}") from error
