"""What every recommender promises, asked of all that ship."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from saleor_personalize.ml import (
    ArtefactError,
    Candidate,
    Context,
    Interactions,
    Items,
    NotTrained,
    Recommender,
)
from saleor_personalize.ml.base import Arrays
from saleor_personalize.ml.recommenders.popularity import Popular
from tests.unit.ml.shops import NOTHING, RECOMMENDERS, catalogue, checkerboard, orders

every_recommender = pytest.mark.parametrize("recommender", RECOMMENDERS)
Damage = Callable[[Path], None]
LETTERS = "abcdefgh"


class Fixed(Recommender):
    """Gives what it is told to: the base has to mend it."""

    def __init__(self, *, given: list[tuple[str, float]]) -> None:
        self.given = given

    def _fit(self, interactions: Interactions, items: Items) -> Arrays:
        return {}

    def _candidates(self, context: Context, count: int) -> Iterable[Candidate]:
        return [Candidate(item, score, "popular") for item, score in self.given]


def test_the_base_sorts_cuts_and_keeps_the_better_of_two() -> None:
    given = [("b", 1.0), ("a", 1.0), ("c", 3.0), ("c", 2.0), ("d", 0.5), ("seed", 9.0), ("x", 9.0)]
    fixed = Fixed(given=given).fit(NOTHING)

    found = fixed.recommend(Context(seeds=("seed",), exclude=frozenset("x")), 3)

    assert [(c.item_id, c.score) for c in found] == [("c", 3.0), ("a", 1.0), ("b", 1.0)]


def test_a_context_takes_any_collection_but_a_string() -> None:
    context = Context(session=["a"], seeds=["a", "b", "a"], exclude=["c"])  # type: ignore[arg-type]

    assert context == Context(("a",), ("a", "b"), frozenset("c"))
    with pytest.raises(TypeError, match="seeds takes a collection of item ids, not one string"):
        Context(seeds="abc")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"seeds": (3,)}, "seeds holds ids as text, not 3; write '3'."),
        ({"exclude": ["a", None]}, "exclude holds ids as text, not None; write 'None'."),
        ({"session": 3}, "session takes a collection of item ids, not 3; write [3]."),
        ({"now": "2026-01-01"}, "now is a moment in unix seconds, not '2026-01-01'; give"),
    ],
)
def test_what_a_context_cannot_take_is_named_with_what_to_write(
    given: dict[str, Any], said: str
) -> None:
    with pytest.raises(TypeError, match=re.escape(said)):
        Context(**given)


@every_recommender
def test_before_training_it_says_so(recommender: type[Recommender], tmp_path: Path) -> None:
    with pytest.raises(NotTrained, match=f"{recommender.__name__} has no data yet"):
        recommender().recommend(Context(), 5)
    with pytest.raises(NotTrained):
        recommender().save(tmp_path / "model")
    assert not (tmp_path / "model").exists()


@every_recommender
@pytest.mark.parametrize("k", [0, -1])
def test_k_starts_at_one(recommender: type[Recommender], k: int) -> None:
    fitted = recommender().fit(*checkerboard())

    with pytest.raises(ValueError, match=f"k must be at least 1, not {k}"):
        fitted.recommend(Context(), k)


@every_recommender
def test_items_are_demanded_only_where_needed(recommender: type[Recommender]) -> None:
    if recommender.needs_items:
        with pytest.raises(ValueError, match="learns from items"):
            recommender().fit(NOTHING)
    else:
        assert recommender().fit(NOTHING).recommend(Context(seeds=("a",)), 5) == []


@every_recommender
def test_an_empty_shop_gets_an_empty_answer(recommender: type[Recommender], tmp_path: Path) -> None:
    fitted = recommender().fit(NOTHING, Items.of([]))
    fitted.save(tmp_path / "model")

    assert fitted.recommend(Context(seeds=("a",)), 5) == []
    assert recommender.load(tmp_path / "model").recommend(Context(seeds=("a",)), 5) == []


@every_recommender
def test_a_shop_with_one_product(recommender: type[Recommender]) -> None:
    fitted = recommender().fit(orders("a"), catalogue("a"))

    assert fitted.recommend(Context(seeds=("a",)), 5) == []
    assert len(fitted.recommend(Context(), 5)) == (0 if recommender.needs_context else 1)


@every_recommender
def test_flags_tell_the_truth(recommender: type[Recommender]) -> None:
    without_events = recommender().fit(NOTHING, catalogue(LETTERS))
    without_seeds = recommender().fit(*checkerboard())

    answers_cold = bool(without_events.recommend(Context(seeds=("a",)), 5))
    answers_without_seeds = bool(without_seeds.recommend(Context(), 5))
    assert answers_cold is recommender.supports_cold
    assert answers_without_seeds is not recommender.needs_context


@every_recommender
def test_an_unknown_seed_is_no_error(recommender: type[Recommender]) -> None:
    fitted = recommender().fit(*checkerboard())

    known = fitted.recommend(Context(seeds=("a",)), 3)
    assert fitted.recommend(Context(seeds=("a", "no such item " * 20)), 3) == known


@every_recommender
def test_a_refit_equals_a_fresh_fit(recommender: type[Recommender]) -> None:
    refitted = recommender().fit(*checkerboard()).fit(orders("ab", "bc"), catalogue("abc"))
    fresh = recommender().fit(orders("ab", "bc"), catalogue("abc"))

    assert refitted.arrays.keys() == fresh.arrays.keys()
    for name, array in fresh.arrays.items():
        np.testing.assert_array_equal(refitted.arrays[name], array)


@every_recommender
def test_params_make_the_same_recommender(recommender: type[Recommender]) -> None:
    params = recommender().get_params()

    assert recommender(**params).get_params() == params
    assert json.loads(json.dumps(params)) == params


shops = st.lists(st.text(LETTERS, min_size=1, max_size=5), max_size=8)
contexts = st.builds(
    Context,
    session=st.lists(st.sampled_from(LETTERS), max_size=3),
    seeds=st.lists(st.sampled_from(LETTERS), max_size=4),
    exclude=st.frozensets(st.sampled_from(LETTERS), max_size=4),
)


@every_recommender
@settings(deadline=None, max_examples=60)
@given(baskets=shops, context=contexts, k=st.integers(1, 20))
def test_answers_hold_for_any_shop(
    recommender: type[Recommender], baskets: list[str], context: Context, k: int
) -> None:
    interactions, items = orders(*baskets, spacing=3600.0), catalogue(LETTERS)

    found = recommender().fit(interactions, items).recommend(context, k)

    ids = [candidate.item_id for candidate in found]
    assert len(ids) == len(set(ids)) <= k
    assert set(ids) <= set(LETTERS) - context.exclude - set(context.seeds)
    assert found == sorted(found, key=lambda c: (-c.score, c.item_id))
    assert found == recommender().fit(interactions, items).recommend(context, k)
    assert found == recommender().fit(interactions, items).recommend(context, k + 5)[:k]
    for candidate in found:
        assert (candidate.reason_item_id is not None) is recommender.needs_context
        assert candidate.reason_item_id in (None, *context.seeds, *context.session)


@every_recommender
@pytest.mark.parametrize("mmap", [True, False])
def test_a_saved_recommender_answers_the_same(
    recommender: type[Recommender], mmap: bool, tmp_path: Path
) -> None:
    fitted = recommender().fit(*checkerboard())
    fitted.save(tmp_path / "model")

    loaded = recommender.load(tmp_path / "model", mmap=mmap)

    assert loaded.get_params() == fitted.get_params()
    assert all(isinstance(array.base, np.memmap) is mmap for array in loaded.arrays.values())
    for seed in (*LETTERS, "unknown"):
        context = Context(seeds=(seed,))
        assert loaded.recommend(context, 9) == fitted.recommend(context, 9)


def test_an_artefact_is_never_overwritten(tmp_path: Path) -> None:
    Popular().fit(orders("ab")).save(tmp_path)

    with pytest.raises(FileExistsError, match="already holds a recommender"):
        Popular().fit(orders("cd")).save(tmp_path)

    assert {c.item_id for c in Popular.load(tmp_path).recommend(Context(), 5)} == {"a", "b"}


def damage_nothing_there(folder: Path) -> None:
    (folder / "metadata.json").unlink()


def damage_json(folder: Path) -> None:
    (folder / "metadata.json").write_text("{")


def damage_truncated(folder: Path) -> None:
    whole = (folder / "scores.npy").read_bytes()
    (folder / "scores.npy").write_bytes(whole[:-3])


def damage_missing_array(folder: Path) -> None:
    (folder / "ids.npy").unlink()


def damage_other_shape(folder: Path) -> None:
    np.save(folder / "scores.npy", np.zeros(99))


def damage_pickle(folder: Path) -> None:
    np.save(folder / "scores.npy", np.array([object()]), allow_pickle=True)


def damage_metadata(key: str, value: object) -> Damage:
    def change(folder: Path) -> None:
        metadata = json.loads((folder / "metadata.json").read_text())
        (folder / "metadata.json").write_text(json.dumps({**metadata, key: value}))

    return change


@pytest.mark.parametrize(
    "damage",
    [
        damage_nothing_there,
        damage_json,
        damage_truncated,
        damage_missing_array,
        damage_other_shape,
        damage_pickle,
        damage_metadata("format", 99),
        damage_metadata("recommender", "os.system"),
        damage_metadata("params", {"half_life_days": -1}),
        damage_metadata("params", {"no_such_option": 1}),
        damage_metadata("arrays", {"../../etc/passwd": {}}),
        damage_metadata("arrays", None),
    ],
)
@pytest.mark.parametrize("mmap", [True, False])
def test_a_damaged_artefact_is_refused(damage: Damage, mmap: bool, tmp_path: Path) -> None:
    Popular().fit(orders("ab")).save(tmp_path)
    damage(tmp_path)

    with pytest.raises(ArtefactError, match="Cannot load Popular from"):
        Popular.load(tmp_path, mmap=mmap)
