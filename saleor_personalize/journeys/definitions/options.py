"""Options of triggers: a dataclass is the table of their fields."""

from __future__ import annotations

import dataclasses
import enum
import types
import typing
from collections.abc import Mapping
from datetime import timedelta
from decimal import Decimal
from typing import Any

from saleor_personalize.journeys.definitions.faults import InvalidJourney, Reader, joined
from saleor_personalize.journeys.definitions.kinds import (
    Amount,
    Choice,
    Duration,
    Flag,
    Integer,
    Kind,
    ListOf,
    Text,
)


def read_options(type_: type, given: Mapping[str, Any], path: str = "", reader: Any = None) -> Any:
    """Return the `Options` of a trigger built from JSON values. Raises InvalidJourney without a reader.

    Annotations tell the kinds: timedelta, int, Decimal, bool, str, a StrEnum, tuple[str, ...], each
    perhaps `| None`. `metadata={"minimum": ..., "maximum": ...}` of a field limits numbers.
    """
    own = reader or Reader(None)
    before = len(own.faults)
    table = option_table(type_)
    for key in given:
        if key not in table:
            own.unknown_key(joined(path, key), "is no option of this trigger", key, table)
    values: dict[str, Any] = {}
    for name, kind in table.items():
        if name in given:
            values[name] = kind.read(given[name], joined(path, name), own)
        elif name in required_of(type_):
            own.fault(joined(path, name), "is missing")
    built = None
    if len(own.faults) == before:
        try:
            built = type_(**values)
        except ValueError as error:
            own.fault(path, str(error).rstrip("."))
    if reader is None and own.faults:
        raise InvalidJourney(own.faults)
    return built


def option_table(type_: type) -> dict[str, Kind]:
    """Return the kind of each option of a trigger. Raises TypeError for one that cannot be written."""
    hints = typing.get_type_hints(type_)
    return {
        entry.name: _kind_of(hints[entry.name], entry.metadata)
        for entry in dataclasses.fields(type_)
    }


def _kind_of(hint: Any, limits: Mapping[str, Any]) -> Kind:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        (hint,) = [one for one in typing.get_args(hint) if one is not type(None)]
    if hint is bool:
        return Flag()
    if hint is int:
        return Integer(limits.get("minimum", 0), limits.get("maximum", 1_000_000))
    if hint is Decimal:
        return Amount(Decimal(limits.get("maximum", 1_000_000)))
    if hint is timedelta:
        return Duration(limits.get("minimum", timedelta(0)))
    if hint is str:
        return Text(limits.get("pattern", r".{0,200}"))
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return Choice(tuple(str(member.value) for member in hint))
    if typing.get_origin(hint) is tuple:
        return ListOf(_kind_of(typing.get_args(hint)[0], limits))
    raise TypeError(
        f"An option of a trigger cannot be a {hint}: see journeys.definitions.read_options."
    )


def required_of(type_: type) -> set[str]:
    missing = dataclasses.MISSING
    return {
        entry.name
        for entry in dataclasses.fields(type_)
        if entry.default is missing and entry.default_factory is missing
    }
