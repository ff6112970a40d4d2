"""Interactions and items refuse what a recommender could not learn from."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from saleor_personalize.ml import Interactions, Items
from saleor_personalize.ml.data import Strings, positions

texts = st.text(st.characters(exclude_characters="\0", codec="utf-8"), min_size=1, max_size=12)


def rows(**changes: Any) -> Interactions:
    columns: dict[str, Any] = {
        "visitor_id": ["v", "v"],
        "item_id": ["b", "a"],
        "event": ["view", "purchase"],
        "timestamp": [1.0, 2.0],
    }
    return Interactions.of(**{**columns, **changes})


def test_columns_are_kept_as_given() -> None:
    interactions = rows(order_id=[None, "o"], quantity=[1, 3])

    assert len(interactions) == 2
    assert interactions.item_id.decode() == ["b", "a"]
    assert interactions.item_id.values.tolist() == [b"a", b"b"]
    assert interactions.order_id.decode() == [None, "o"]
    assert interactions.quantity.tolist() == [1.0, 3.0]


def test_numpy_columns_are_taken() -> None:
    assert rows(item_id=np.array(["b", "a"])).item_id.decode() == ["b", "a"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"item_id": ["a"]}, "visitor_id 2, item_id 1, event 2"),
        ({"timestamp": [1.0, float("nan")]}, "timestamp must be finite, but row 1 is nan"),
        ({"timestamp": [1.0, float("inf")]}, "row 1 is inf"),
        ({"timestamp": [1.0, "noon"]}, "timestamp holds numbers"),
        ({"quantity": [1.0, float("nan")]}, "quantity must be finite"),
        ({"event": ["view", "wiew"]}, "Unknown event 'wiew'; known are view, cart"),
        ({"item_id": ["a", ""]}, "item_id '' must have"),
        ({"item_id": ["a", "b\0"]}, "no NUL"),
        ({"item_id": ["a", "b" * 256]}, "1 to 255 bytes"),
    ],
)
def test_a_bad_column_is_refused_by_name(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message.replace("(", r"\(")):
        rows(**changes)


def test_ids_are_strings() -> None:
    with pytest.raises(TypeError, match="item_id holds strings, not 7"):
        rows(item_id=["a", 7])
    with pytest.raises(TypeError, match="visitor_id holds strings, not None"):
        rows(visitor_id=["v", None])


def test_a_selection_equals_building_from_its_rows() -> None:
    selected = rows(order_id=["o", None]).select(np.array([False, True]))
    fresh = rows().select(np.array([1]))

    assert selected.item_id.values.tolist() == fresh.item_id.values.tolist() == [b"a"]
    assert selected.item_id.codes.tolist() == [0]
    assert selected.order_id.codes.tolist() == [-1]


@given(st.lists(texts | st.none()))
def test_strings_survive_coding(column: list[str | None]) -> None:
    strings = Strings.of(column, "x", optional=True)

    assert strings.decode() == column
    assert strings.values.tolist() == sorted({value.encode() for value in column if value})


@given(st.lists(texts), st.lists(texts))
def test_positions_finds_exactly_what_is_there(known: list[str], wanted: list[str]) -> None:
    values = Strings.of(known, "x").values

    found = positions(values, [*known, *wanted])

    for value, at in zip([*known, *wanted], found, strict=True):
        assert at == (values.tolist().index(value.encode()) if value in known else -1)


def test_items_fill_what_is_missing() -> None:
    items = Items.of(["b", "a"], created_at=[5, None], name=["Shirt", None])

    assert items.text == {"name": ["Shirt", ""]}
    assert items.created_at[0] == 5.0
    assert np.isnan(items.created_at[1])


def test_items_are_checked() -> None:
    with pytest.raises(ValueError, match="'a' occurs 2 times"):
        Items.of(["a", "b", "a"])
    with pytest.raises(ValueError, match="name 1, item_id 2"):
        Items.of(["a", "b"], name=["x"])
    with pytest.raises(ValueError, match="created_at must be finite"):
        Items.of(["a"], created_at=[float("inf")])
