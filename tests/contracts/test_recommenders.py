"""Every built-in recommender keeps the contract that is shipped for recommenders of others."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from saleor_personalize.conf import Defaults
from saleor_personalize.ml.engine import built_in
from saleor_personalize.ml.recommenders.history import LastSeen
from saleor_personalize.ml.recommenders.sequential import Sequential
from saleor_personalize.ml.recommenders.session import Session
from saleor_personalize.testing.contracts import RecommenderTests

BUILT_IN = {type(recommender) for recommender in built_in().values()}

for _class in sorted({*BUILT_IN, LastSeen, Sequential, Session}, key=lambda cls: cls.__name__):
    globals()[f"Test{_class.__name__}"] = type(
        f"Test{_class.__name__}", (RecommenderTests,), {"recommender": _class}
    )


def test_every_built_in_recommender_is_under_contract() -> None:
    tested = {case.recommender for case in RecommenderTests.__subclasses__()}
    assert tested >= BUILT_IN


def test_the_settings_name_the_recommenders_of_the_engine() -> None:
    named = {
        alias: f"{type(recommender).__module__}.{type(recommender).__qualname__}"
        for alias, recommender in built_in().items()
    }
    assert named == Defaults().RECOMMENDERS


# -- the recommender of docs/howto/custom-recommender.md, as it is written there ------------------------

_PAGE = (Path(__file__).parents[2] / "docs" / "howto" / "custom-recommender.md").read_text()
_CODE = [code for code in re.findall(r"```python\n(.*?)```", _PAGE, re.DOTALL) if "class " in code]
_shop: dict[str, Any] = {"__name__": __name__}
for _part in _CODE:
    exec(compile(_part, "docs/howto/custom-recommender.md", "exec", dont_inherit=True), _shop)  # noqa: S102
TestByPieces = _shop["TestByPieces"]
