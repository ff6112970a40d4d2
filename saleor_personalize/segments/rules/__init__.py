"""The rules of segments: those built in, and those that SEGMENT_RULES names."""

from __future__ import annotations

import functools
from typing import Any

from django.core.signals import setting_changed
from django.utils.module_loading import import_string

from saleor_personalize.conf import SETTING_NAME, settings
from saleor_personalize.exceptions import ConfigurationError
from saleor_personalize.segments.rules.base import (
    CountRule,
    FactRule,
    InvalidRule,
    Kind,
    Names,
    Parameter,
    People,
    Rule,
    parameter,
)
from saleor_personalize.segments.rules.facts import (
    Bought,
    EventCount,
    Favourites,
    LastOrder,
    OpenCheckout,
    OrderCount,
    TotalSpent,
    Visits,
)
from saleor_personalize.segments.rules.profile import (
    ChurnRisk,
    ConsentGiven,
    Country,
    InSegment,
    Language,
    Score,
    Stage,
    Trait,
)


@functools.cache
def known_rules() -> dict[str, type[Rule]]:
    """Return the rules that segments may use, by key. Raises ConfigurationError for a wrong setting."""
    found: dict[str, type[Rule]] = {}
    for path in settings.SEGMENT_RULES:
        try:
            rule = import_string(path)
        except ImportError as error:
            raise ConfigurationError(
                f"{SETTING_NAME}['SEGMENT_RULES'] names {path!r}, which cannot be imported: {error}"
            ) from error
        if not (isinstance(rule, type) and issubclass(rule, Rule)):
            raise ConfigurationError(
                f"{SETTING_NAME}['SEGMENT_RULES'] names {path!r}, which is no subclass of "
                "saleor_personalize.segments.rules.Rule."
            )
        if rule.key in found:
            raise ConfigurationError(
                f"{SETTING_NAME}['SEGMENT_RULES']: two rules have the key {rule.key!r}."
            )
        found[rule.key] = rule
    return found


def _forget(*, setting: str, **_: Any) -> None:
    if setting == SETTING_NAME:
        known_rules.cache_clear()


setting_changed.connect(_forget, dispatch_uid="saleor_personalize.segments.rules")

__all__ = [
    "Bought",
    "ChurnRisk",
    "ConsentGiven",
    "CountRule",
    "Country",
    "EventCount",
    "FactRule",
    "Favourites",
    "InSegment",
    "InvalidRule",
    "Kind",
    "Language",
    "LastOrder",
    "Names",
    "OpenCheckout",
    "OrderCount",
    "Parameter",
    "People",
    "Rule",
    "Score",
    "Stage",
    "TotalSpent",
    "Trait",
    "Visits",
    "known_rules",
    "parameter",
]
