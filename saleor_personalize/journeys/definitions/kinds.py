"""Kinds of values: each reads, writes and describes itself, so none of the three can know what the others do not."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

from saleor_personalize.journeys import durations
from saleor_personalize.journeys.definitions.faults import Reader
from saleor_personalize.journeys.definitions.shapes import CONDITION, CONDITIONS, CONDITIONS_OF


class Kind:
    def read(self, value: Any, path: str, reader: Reader) -> Any:
        raise NotImplementedError

    def write(self, value: Any) -> Any:
        return value

    def schema(self) -> dict[str, Any]:
        raise NotImplementedError


@dataclass(frozen=True)
class Text(Kind):
    pattern: str = r".{1,200}"
    needs: str = "a text is needed"
    #: Attribute of Known that lists what there is.
    names: str = ""

    def read(self, value: Any, path: str, reader: Reader) -> Any:
        if not isinstance(value, str) or not re.fullmatch(self.pattern, value):
            return reader.fault(path, self.needs, value)
        if self.names and reader.known is not None:
            known = getattr(reader.known, self.names)
            if known is not None and value not in known:
                needs = f"there is no such {_SINGULAR[self.names]}"
                if self.names == "delivery_channels" and value == "sms":
                    needs += ': a class must be named as CHANNELS["sms"], see docs/howto/sms.md'
                return reader.unknown(path, needs, value, known)
        return value

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "pattern": f"^{self.pattern}$"}


_SINGULAR = {
    "topics": "topic in TOPICS",
    "templates": "template of messages",
    "delivery_channels": "delivery channel for journeys in CHANNELS",
    "triggers": "trigger in TRIGGERS",
    "placements": "placement, in PLACEMENTS or among the shop's own",
}


@dataclass(frozen=True)
class Choice(Kind):
    choices: tuple[str, ...]

    def read(self, value: Any, path: str, reader: Reader) -> Any:
        if value not in self.choices or not isinstance(value, str):
            one_of = f"one of {', '.join(self.choices)} is needed"
            return reader.unknown(path, one_of, value, self.choices, is_listed=True)
        return value

    def schema(self) -> dict[str, Any]:
        return {"enum": list(self.choices)}


@dataclass(frozen=True)
class Integer(Kind):
    minimum: int
    maximum: int

    def read(self, value: Any, path: str, reader: Reader) -> Any:
        is_number = isinstance(value, int) and not isinstance(value, bool)
        if not is_number or not self.minimum <= value <= self.maximum:
            needs = f"a whole number from {self.minimum} to {self.maximum} is needed"
            return reader.fault(path, needs, value)
        return value

    def schema(self) -> dict[str, Any]:
        return {"type": "integer", "minimum": self.minimum, "maximum": self.maximum}


@dataclass(frozen=True)
class Amount(Kind):
    """A number above 0, as text or number; kept exact."""

    maximum: Decimal

    def read(self, value: Any, path: str, reader: Reader) -> Any:
        try:
            number = Decimal(str(value)) if not isinstance(value, bool) else Decimal("NaN")
        except InvalidOperation:
            number = Decimal("NaN")
        if not number.is_finite() or not 0 < number <= self.maximum:
            return reader.fault(path, f"a number above 0, at most {self.maximum}, is needed", value)
        return number

    def write(self, value: Any) -> Any:
        return int(value) if value == int(value) else str(value)

    def schema(self) -> dict[str, Any]:
        limits = {"exclusiveMinimum": 0, "maximum": int(self.maximum)}
        return {
            "anyOf": [{"type": "number", **limits}, {"type": "string", "pattern": r"^\d+(\.\d+)?$"}]
        }


@dataclass(frozen=True)
class Amounts(Kind):
    """An amount per currency."""

    def read(self, value: Any, path: str, reader: Reader) -> Any:
        if not isinstance(value, Mapping):
            return reader.fault(path, "amounts by currency are needed, such as {EUR: 5}", value)
        for currency in value:
            if not re.fullmatch(r"[A-Z]{3}", str(currency)):
                reader.fault(path, "is no currency such as EUR", currency)
        limit = Amount(Decimal(1_000_000))
        return {str(key): limit.read(one, f"{path}.{key}", reader) for key, one in value.items()}

    def write(self, value: Any) -> Any:
        return {key: Amount(Decimal(0)).write(one) for key, one in value.items()}

    def schema(self) -> dict[str, Any]:
        amount = Amount(Decimal(1_000_000)).schema()
        return {
            "type": "object",
            "propertyNames": {"pattern": "^[A-Z]{3}$"},
            "additionalProperties": amount,
        }


@dataclass(frozen=True)
class Flag(Kind):
    def read(self, value: Any, path: str, reader: Reader) -> Any:
        if not isinstance(value, bool):
            return reader.fault(path, "true or false is needed", value)
        return value

    def schema(self) -> dict[str, Any]:
        return {"type": "boolean"}


@dataclass(frozen=True)
class Duration(Kind):
    minimum: timedelta = timedelta(0)

    def read(self, value: Any, path: str, reader: Reader) -> Any:
        try:
            length = durations.parse(value)
        except ValueError as error:
            return reader.fault(path, str(error), value)
        if length < self.minimum:
            least = durations.to_words(self.minimum)
            return reader.fault(path, f"at least {least} is needed", value)
        return length

    def write(self, value: Any) -> Any:
        return durations.to_words(value)

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "description": f"A length of time: {durations.EXAMPLES}."}


@dataclass(frozen=True)
class ListOf(Kind):
    of: Kind
    minimum: int = 0

    def read(self, value: Any, path: str, reader: Reader) -> Any:
        if not isinstance(value, (list, tuple)):
            return reader.fault(path, "a list is needed", value)
        if len(value) < self.minimum:
            return reader.fault(path, f"at least {self.minimum} are needed", value)
        return tuple(self.of.read(one, f"{path}[{n}]", reader) for n, one in enumerate(value))

    def write(self, value: Any) -> Any:
        return [self.of.write(one) for one in value]

    def schema(self) -> dict[str, Any]:
        found: dict[str, Any] = {"type": "array", "items": self.of.schema()}
        return {**found, "minItems": self.minimum} if self.minimum else found


@dataclass(frozen=True)
class Rule(Kind):
    """A segment definition, kept as it is written."""

    def read(self, value: Any, path: str, reader: Reader) -> Any:
        if not isinstance(value, Mapping):
            return reader.fault(path, "a rule of segments is needed", value)
        if reader.known is not None:
            for below, message in reader.known.rule_faults(value):
                reader.fault(f"{path}.{below}" if below else path, message.rstrip("."))
        return dict(value)

    def schema(self) -> dict[str, Any]:
        return {"type": "object", "description": "A segment rule: docs/reference/segment-rules.md."}


@dataclass(frozen=True)
class Condition(Kind):
    def read(self, value: Any, path: str, reader: Reader) -> Any:
        if not isinstance(value, str) or not re.fullmatch(CONDITION, value):
            return reader.fault(
                path, "a condition such as ordered or segment_left:vip is needed", value
            )
        name, _colon, argument = value.partition(":")
        if name in CONDITIONS_OF:
            if not argument:
                return reader.fault(path, f"needs a name after it, such as {name}:vip", value)
            return value
        if reader.known is not None:
            own = reader.known.conditions.get(reader.trigger, ())
            known = [*CONDITIONS, *own, *reader.known.events]
            if value not in known:
                listed = [*known, *CONDITIONS_OF]
                return reader.unknown(path, "is no condition that can be looked for", value, listed)
        return value

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "pattern": f"^{CONDITION}$"}
