"""The tables of fields. They make the reader, the writer and the JSON Schema of each part of a definition."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any

from saleor_personalize.journeys.definitions.faults import Reader, joined
from saleor_personalize.journeys.definitions.kinds import (
    Amount,
    Amounts,
    Choice,
    Condition,
    Duration,
    Flag,
    Integer,
    Kind,
    ListOf,
    Rule,
    Text,
)
from saleor_personalize.journeys.definitions.options import read_options, required_of
from saleor_personalize.journeys.definitions.shapes import (
    KEY,
    MAX_DEPTH,
    MAX_HOLDOUT,
    STEP_ID,
    Branch,
    Exit,
    Fallback,
    Message,
    Offer,
    Recommend,
    Reentry,
    Split,
    TriggerRef,
    Wait,
    WaitFor,
    Webhook,
)
from saleor_personalize.offers.terms import TermsRefused
from saleor_personalize.offers.terms import read as read_terms


@dataclass(frozen=True)
class _Steps(Kind):
    def read(self, value: Any, path: str, reader: Reader) -> Any:
        if not isinstance(value, (list, tuple)):
            return reader.fault(path, "a list of steps is needed", value)
        if path.count(".steps") + path.count(".then") + path.count(".otherwise") >= MAX_DEPTH:
            return reader.fault(path, f"steps may be nested {MAX_DEPTH} deep")
        return tuple(_read_step(one, f"{path}[{n}]", reader) for n, one in enumerate(value))

    def write(self, value: Any) -> Any:
        return [
            {_STEP_NAMES[type(step)]: write(step, STEPS[_STEP_NAMES[type(step)]])} for step in value
        ]

    def schema(self) -> dict[str, Any]:
        return {"type": "array", "items": {"$ref": "#/$defs/step"}}


@dataclass(frozen=True)
class _Object(Kind):
    of: type
    table: Callable[[], Mapping[str, Field]]

    def read(self, value: Any, path: str, reader: Reader) -> Any:
        return read(value, path, reader, self.of, self.table())

    def write(self, value: Any) -> Any:
        return write(value, self.table())

    def schema(self) -> dict[str, Any]:
        return schema_of(self.of, self.table())


@dataclass(frozen=True)
class _Trigger(Kind):
    def read(self, value: Any, path: str, reader: Reader) -> Any:
        if not isinstance(value, Mapping):
            return reader.fault(path, "an object with a type is needed", value)
        if "type" not in value:
            return reader.fault(f"{path}.type", "is missing")
        name = Text(KEY, "the name of a trigger is needed", "triggers").read(
            value["type"], f"{path}.type", reader
        )
        given = {str(key): one for key, one in value.items() if key != "type"}
        if name is None:
            return None
        if reader.known is not None:
            read_options(reader.known.triggers[name], given, path, reader)
        return TriggerRef(name, given)

    def write(self, value: Any) -> Any:
        return {"type": value.type, **value.options}

    def schema(self) -> dict[str, Any]:
        return {"type": "object", "required": ["type"], "properties": {"type": {"type": "string"}}}


@dataclass(frozen=True)
class Field:
    kind: Kind
    #: Name of the dataclass's attribute, where it is another.
    attribute: str = ""


_KEY = Text(KEY, "small letters, digits and underscores are needed, at most 59")
_ID = Text(STEP_ID, "small letters, digits and underscores are needed, at most 29")
_WHILE = Duration(timedelta(seconds=1))

DEFINITION: Mapping[str, Field] = {
    "journey": Field(_KEY),
    # Before what names conditions: a trigger may have some of its own.
    "trigger": Field(_Trigger()),
    "topic": Field(Text(KEY, "the key of a topic is needed", "topics")),
    "priority": Field(Integer(0, 100)),
    "reentry": Field(_Object(Reentry, lambda: _REENTRY)),
    "goals": Field(ListOf(Condition())),
    "exits": Field(ListOf(Condition())),
    "on_pause": Field(Choice(("hold", "exit"))),
    "holdout": Field(Integer(0, MAX_HOLDOUT)),
    "steps": Field(_Steps()),
}
_REENTRY: Mapping[str, Field] = {
    "per": Field(Choice(("object", "person"))),
    "cool_down": Field(Duration()),
    "person_cool_down": Field(Duration()),
}
_FALLBACK: Mapping[str, Field] = {
    "to": Field(Text(KEY, "the name of a delivery channel is needed", "delivery_channels")),
    "after": Field(Duration(timedelta(minutes=1))),
    "unless": Field(Choice(("delivered", "opened"))),
}
_RECOMMEND: Mapping[str, Field] = {
    "placement": Field(Text(KEY, "the key of a placement is needed", "placements")),
    "most": Field(Integer(1, 12)),
}
_BRANCH: Mapping[str, Field] = {
    "name": Field(_ID),
    "weight": Field(Integer(1, 1000)),
    "steps": Field(_Steps()),
}
_TERMS: Mapping[str, Kind] = {
    "percent": Amount(Decimal(100)),
    "amount": Amounts(),
    "free_shipping": Flag(),
    "expires": Duration(timedelta(hours=1)),
    "minimum_spend": Amounts(),
    "categories": ListOf(Text()),
    "collections": ListOf(Text()),
    "products": ListOf(Text()),
    "channels": ListOf(Text()),
    "first_order": Flag(),
    "name": Text(r".{1,100}"),
}
STEPS: Mapping[str, Mapping[str, Field]] = {
    "message": {
        "id": Field(_ID),
        "template": Field(Text(KEY, "the name of a template is needed", "templates")),
        "delivery_channel": Field(
            Text(KEY, "the name of a delivery channel is needed", "delivery_channels")
        ),
        "when_outranked": Field(Choice(("delay", "drop"))),
        "fallback": Field(_Object(Fallback, lambda: _FALLBACK)),
        "recommend": Field(_Object(Recommend, lambda: _RECOMMEND)),
        "placement": Field(Text(KEY, "the name of a place of your pages is needed")),
        "shown_for": Field(Duration(timedelta(minutes=1))),
        "send_at": Field(Choice(("once", "best"))),
    },
    "wait": {"for": Field(_WHILE, "duration")},
    "wait_for": {
        "event": Field(Condition()),
        "for": Field(_WHILE, "duration"),
        "then": Field(_Steps()),
        "otherwise": Field(_Steps()),
    },
    "split": {
        "by": Field(Choice(("rule", "random", "experiment"))),
        "id": Field(_ID),
        "rule": Field(Rule()),
        "experiment": Field(_KEY),
        "then": Field(_Steps()),
        "otherwise": Field(_Steps()),
        "branches": Field(ListOf(_Object(Branch, lambda: _BRANCH))),
    },
    "offer": {
        "id": Field(_ID),
        "when_refused": Field(Choice(("without", "stop"))),
        **{name: Field(kind) for name, kind in _TERMS.items()},
    },
    "webhook": {
        "url_alias": Field(Text(r"[A-Za-z0-9_.\-]{1,60}", "the alias of a webhook is needed"))
    },
    "exit": {},
}
STEP_TYPES: Mapping[str, type] = {
    "message": Message, "wait": Wait, "wait_for": WaitFor, "split": Split, "offer": Offer,
    "webhook": Webhook, "exit": Exit,
}  # fmt: skip
_STEP_NAMES = {type_: name for name, type_ in STEP_TYPES.items()}


def read(value: Any, path: str, reader: Reader, type_: type, table: Mapping[str, Field]) -> Any:
    before = len(reader.faults)
    values = _read_values(value, path, reader, required_of(type_), table)
    return None if len(reader.faults) > before else type_(**values)


def _read_values(
    value: Any, path: str, reader: Reader, required: Collection[str], table: Mapping[str, Field]
) -> dict[str, Any]:
    """Return the values by attribute; what is unknown, missing or wrong is told."""
    if value is None and not table:
        value = {}
    if not isinstance(value, Mapping):
        reader.fault(path, "an object is needed", value)
        return {}
    for key in value:
        if key not in table:
            reader.unknown_key(joined(path, str(key)), "is not known here", str(key), table)
    given: dict[str, Any] = {}
    for name, entry in table.items():
        attribute = entry.attribute or name
        if name in value:
            given[attribute] = entry.kind.read(value[name], joined(path, name), reader)
            if name == "trigger" and given[attribute] is not None:
                reader.trigger = given[attribute].type
        elif attribute in required:
            reader.fault(joined(path, name), "is missing")
    return given


def _read_step(value: Any, path: str, reader: Reader) -> Any:
    if isinstance(value, str) and value == "exit":
        value = {"exit": {}}
    if not isinstance(value, Mapping) or len(value) != 1:
        return reader.fault(path, f"a step is needed: one of {', '.join(STEPS)}", value)
    [(name, content)] = value.items()
    if name not in STEPS:
        return reader.unknown(path, "is no step", name, tuple(STEPS))
    below = f"{path}.{name}"
    if name == "offer":
        return _read_offer(content, below, reader)
    step = read(content, below, reader, STEP_TYPES[name], STEPS[name])
    if isinstance(step, Split):
        _check_split(step, below, reader)
    return step


def _read_offer(value: Any, path: str, reader: Reader) -> Offer | None:
    """Read an offer: our own words, and those that the offers room knows the meaning of."""
    before = len(reader.faults)
    values = _read_values(value, path, reader, {"id"}, STEPS["offer"])
    if len(reader.faults) > before:
        return None
    terms = {name: values[name] for name in _TERMS if name in values}
    terms.setdefault("expires", timedelta(days=7))
    try:
        read_terms(terms)
    except TermsRefused as error:
        for name, sentence in error.faults:
            reader.fault(joined(path, name), sentence.rstrip("."))
    own = {name: values[name] for name in ("id", "when_refused") if name in values}
    return Offer(terms=terms, **own)


def _check_split(step: Split, path: str, reader: Reader) -> None:
    wanted: tuple[str, ...]
    others: tuple[str, ...]
    if step.by == "rule":
        wanted, others = ("rule",), ("branches", "experiment")
    elif step.by == "random":
        wanted, others = ("branches",), ("rule", "then", "otherwise", "experiment")
    else:
        wanted, others = ("experiment", "branches"), ("rule", "then", "otherwise")
    for name in wanted:
        if not getattr(step, name):
            reader.fault(f"{path}.{name}", f"is missing in a split by {step.by}")
    for name in others:
        if getattr(step, name):
            reader.fault(f"{path}.{name}", f"has no place in a split by {step.by}")
    names = [branch.name for branch in step.branches]
    for name in sorted({name for name in names if names.count(name) > 1}):
        reader.fault(f"{path}.branches", "two branches have this name", name)


def write(value: Any, table: Mapping[str, Field]) -> dict[str, Any]:
    written: dict[str, Any]
    if isinstance(value, Offer):
        written = {"id": value.id}
        if value.when_refused != "without":
            written["when_refused"] = value.when_refused
        return {**written, **{name: _TERMS[name].write(one) for name, one in value.terms.items()}}
    defaults = {
        entry.name: entry.default_factory() if callable(entry.default_factory) else entry.default
        for entry in dataclasses.fields(value)
    }
    written = {}
    for name, entry in table.items():
        attribute = entry.attribute or name
        found = getattr(value, attribute)
        if found != defaults[attribute]:
            written[name] = None if found is None else entry.kind.write(found)
    return written


def schema_of(type_: type, table: Mapping[str, Field]) -> dict[str, Any]:
    required = {"id"} if type_ is Offer else required_of(type_)
    return {
        "type": "object",
        "properties": {name: entry.kind.schema() for name, entry in table.items()},
        "required": [
            name for name, entry in table.items() if (entry.attribute or name) in required
        ],
        "additionalProperties": False,
    }
