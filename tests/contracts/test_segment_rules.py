"""Every built-in rule keeps the contract that is shipped for rules of others."""

import re
from pathlib import Path
from typing import Any

import pytest

from saleor_personalize.conf import Defaults
from saleor_personalize.segments import rules
from saleor_personalize.segments.rules import Rule, known_rules
from saleor_personalize.testing.contracts import RuleTests


def test_b15_every_built_in_rule_is_under_contract() -> None:
    tested = {case.rule for case in RuleTests.__subclasses__()}
    assert set(known_rules().values()) <= tested
    assert len(known_rules()) == len(Defaults().SEGMENT_RULES) == 16


def _case(rule: type[Rule]) -> type[RuleTests]:
    return type(f"Test{rule.__name__}", (RuleTests,), {"rule": rule, "__module__": __name__})


for _name in rules.__all__:
    _rule = getattr(rules, _name)
    if isinstance(_rule, type) and issubclass(_rule, Rule) and hasattr(_rule, "key"):
        globals()[f"Test{_name}"] = pytest.mark.django_db(_case(_rule))


# -- the rule of docs/howto/segments.md, as it is written there ----------------------------------------

_PAGE = (Path(__file__).parents[2] / "docs" / "howto" / "segments.md").read_text()
_CODE = [
    code for code in re.findall(r"```python\n(.*?)```", _PAGE, re.DOTALL) if "@dataclass" in code
]
_shop: dict[str, Any] = {"__name__": __name__}
exec(compile(_CODE[0], "docs/howto/segments.md", "exec", dont_inherit=True), _shop)  # noqa: S102


class TestRuleOfTheHowTo(RuleTests):
    rule = _shop["LoyaltyTier"]
    texts = ("gold", "silver")
