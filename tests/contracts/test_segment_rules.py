"""Every built-in rule keeps the contract that is shipped for rules of others."""

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
