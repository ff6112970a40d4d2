"""B42: what looks alike, by arrays that a model of the shop's own made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from saleor_personalize.ml import Context, Interactions, Items
from saleor_personalize.ml.recommenders.visual import Visual

NOTHING = Interactions.of(visitor_id=[], item_id=[], event=[], timestamp=[])
#: red, nearly red, blue; "none" has no picture
LOOKS = {"a": [1.0, 0.0], "b": [0.9, 0.1], "c": [0.0, 1.0]}


def described(ids: list[str]) -> Any:
    return np.array([LOOKS.get(id_, [np.nan, np.nan]) for id_ in ids])


def wrong(ids: list[str]) -> Any:
    return np.zeros(3)


def items() -> Items:
    return Items.of(["a", "b", "c", "none"], name=["A", "B", "C", "None"])


def shown(recommender: Visual, seed: str) -> list[tuple[str, str]]:
    found = recommender.recommend(Context(seeds=(seed,)), 5)
    return [(each.item_id, each.reason_code) for each in found]


@pytest.mark.parametrize("by", ["function", "file"])
def test_b42_what_looks_alike_is_found_and_kept(tmp_path: Path, by: str) -> None:
    path = tmp_path / "looks.npz"
    np.savez(path, item_id=np.array(list(LOOKS)), descriptor=np.array(list(LOOKS.values())))
    source = str(path) if by == "file" else f"{__name__}.described"
    fitted = Visual(descriptors=source).fit(NOTHING, items())
    assert shown(fitted, "a") == [("b", "visual")]
    assert shown(fitted, "c") == []
    assert shown(fitted, "none") == []
    fitted.save(tmp_path / "saved")
    assert shown(Visual.load(tmp_path / "saved"), "a") == [("b", "visual")]


def test_b42_equal_likeness_goes_by_item_and_a_limit_holds() -> None:
    many = Items.of([f"{number:03}" for number in range(50)])
    source = f"{__name__}.alike"
    fitted = Visual(descriptors=source, n_neighbours=3).fit(NOTHING, many)
    assert [id_ for id_, _ in shown(fitted, "007")] == ["000", "001", "002"]


def alike(ids: list[str]) -> Any:
    return np.ones((len(ids), 4))


def test_b42_an_empty_shop_and_wrong_arrays() -> None:
    assert shown(Visual(descriptors=f"{__name__}.alike").fit(NOTHING, Items.of([])), "a") == []
    with pytest.raises(ValueError, match="one row each"):
        Visual(descriptors=f"{__name__}.wrong").fit(NOTHING, items())
    with pytest.raises(ValueError, match="path"):
        Visual(descriptors="nonsense")
    with pytest.raises(ValueError, match="starts at 1"):
        Visual(descriptors="a.b", n_neighbours=0)
