"""The definition of a journey: frozen dataclasses, read strictly from YAML or JSON and written back.

Plain Python: what triggers, templates and topics there are is told by `Known`. One table of fields
makes both the reader and the JSON Schema, so neither can know what the other does not.
"""

from __future__ import annotations

import dataclasses
import difflib
import enum
import re
import types
import typing
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

import yaml

from saleor_personalize.enums import DeliveryChannel
from saleor_personalize.exceptions import PersonalizeError
from saleor_personalize.journeys import durations
from saleor_personalize.offers.terms import TermsRefused
from saleor_personalize.offers.terms import read as read_terms

#: Deepest nesting of steps, and most steps of one journey.
MAX_DEPTH = 6
MAX_STEPS = 100
KEY = r"[a-z][a-z0-9_]{0,58}"
STEP_ID = r"[a-z][a-z0-9_]{0,28}"
#: ordered, consent_lost, segment_left:vip, cart_added, custom:quiz_done
CONDITION = r"[a-z][a-z0-9_]{0,58}(:[A-Za-z0-9_.\-]{1,60})?"
#: Conditions with an argument, and without; a trigger may add some of its own.
CONDITIONS = ("ordered", "consent_lost")
SEGMENT_CONDITIONS = ("segment_entered", "segment_left")
CONDITIONS_OF = (*SEGMENT_CONDITIONS, "custom")

#: The delivery channel that suits the person.
BEST = "best"

#: Where a person is: index, then name of a branch, then index in it, ...
Path = tuple[int | str, ...]


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong: where ("steps[1].message.template"), which value, and what would do."""

    path: str
    message: str
    value: Any = None
    suggestion: str = ""

    def __str__(self) -> str:
        shown = "" if self.value is None else f" {_short(self.value)}"
        hint = f" Did you mean {self.suggestion!r}?" if self.suggestion else ""
        return f"{self.path or 'the journey'}:{shown} {self.message}.{hint}"


class InvalidJourney(PersonalizeError):
    """A definition cannot be used; every fault is told at once."""

    def __init__(self, faults: list[Fault]) -> None:
        super().__init__("\n".join(map(str, faults)))
        self.faults = faults


# -- what a definition is ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Fallback:
    """Say the same over the delivery channel `to`, `after` a time, `unless` the first was delivered or opened.

    At once when the first cannot go at all.
    """

    to: str
    after: timedelta
    unless: str = "opened"


@dataclass(frozen=True)
class Recommend:
    """Show what `placement` recommends to the person when the message is decided, at most `most` products."""

    placement: str
    most: int = 3


@dataclass(frozen=True)
class Message:
    """Send one message. `id` is stable over versions: it is part of what was sent.

    The delivery channel `best` is the one that suits the person. In the app, `placement` is where it stands
    as a banner as well, and `shown_for` how long it is shown; None: INBOX_EXPIRY. `send_at` `best` waits for the
    hour, within SEND_TIME_WINDOW, in which the person most likely looks.
    """

    id: str
    template: str
    delivery_channel: str = "email"
    when_outranked: str = "delay"
    fallback: Fallback | None = None
    recommend: Recommend | None = None
    placement: str = ""
    shown_for: timedelta | None = None
    send_at: str = "once"


@dataclass(frozen=True)
class Wait:
    duration: timedelta


@dataclass(frozen=True)
class WaitFor:
    """Go `then` as soon as `event` happened since the person came in, `otherwise` after `duration`."""

    event: str
    duration: timedelta
    then: tuple[Step, ...] = ()
    otherwise: tuple[Step, ...] = ()


@dataclass(frozen=True)
class Branch:
    name: str
    steps: tuple[Step, ...] = ()
    weight: int = 1


@dataclass(frozen=True)
class Split:
    """One way of several: by a segment rule, by chance (fixed per enrollment), by experiment (per person)."""

    by: str
    id: str
    rule: Mapping[str, Any] | None = None
    experiment: str = ""
    then: tuple[Step, ...] = ()
    otherwise: tuple[Step, ...] = ()
    branches: tuple[Branch, ...] = ()


@dataclass(frozen=True)
class Offer:
    """Give the message that follows a personal code, if the incentive guard allows it.

    `terms` is what `offers.terms.read` takes. `when_refused`: send the message without a code, or stop.
    """

    id: str
    terms: Mapping[str, Any]
    when_refused: str = "without"


@dataclass(frozen=True)
class Webhook:
    """Tell one outgoing webhook, by its alias."""

    url_alias: str


@dataclass(frozen=True)
class Exit:
    """End here."""


Step = Message | Wait | WaitFor | Split | Offer | Webhook | Exit


@dataclass(frozen=True)
class TriggerRef:
    type: str
    #: As written, without `type`; the trigger's own `Options` are built from it.
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Reentry:
    """Who may come in again: `per` object (the same checkout) or person, after `cool_down`; None: never.

    `person_cool_down` is the least time between two entries of one person over whatever objects.
    """

    per: str = "object"
    cool_down: timedelta | None = None
    person_cool_down: timedelta | None = None


@dataclass(frozen=True)
class Definition:
    journey: str
    topic: str
    trigger: TriggerRef
    steps: tuple[Step, ...]
    priority: int = 50
    reentry: Reentry = Reentry()
    goals: tuple[str, ...] = ("ordered",)
    exits: tuple[str, ...] = ()
    on_pause: str = "hold"

    def to_json(self) -> dict[str, Any]:
        """Return what `parse` reads back as an equal definition."""
        return _write(self, _DEFINITION)


@dataclass(frozen=True)
class Known:
    """What a definition may name. Without it (None in `parse`) names are not looked up."""

    #: type of trigger -> its Options, a dataclass; and the conditions it adds.
    triggers: Mapping[str, type] = field(default_factory=dict)
    conditions: Mapping[str, Collection[str]] = field(default_factory=dict)
    topics: Collection[str] = ()
    templates: Collection[str] = ()
    #: Of the topics, those that an order needs: their messages carry no offer.
    transactional: Collection[str] = ()
    delivery_channels: Collection[str] = ()
    #: (template, delivery channel) -> the files without which it has no words there.
    missing_words: Callable[[str, str], Collection[str]] = lambda template, channel: ()
    #: Of the shop; None: not known.
    placements: Collection[str] | None = None
    #: Types of events that can be waited for.
    events: Collection[str] = ()
    #: (path below the rule, what is wrong) of a segment definition.
    rule_faults: Callable[[Any], list[tuple[str, str]]] = lambda rule: []


# -- kinds of values: each reads and describes itself -------------------------------------------------


class _Kind:
    def read(self, value: Any, path: str, reader: _Reader) -> Any:
        raise NotImplementedError

    def write(self, value: Any) -> Any:
        return value

    def schema(self) -> dict[str, Any]:
        raise NotImplementedError


@dataclass(frozen=True)
class _Text(_Kind):
    pattern: str = r".{1,200}"
    needs: str = "a text is needed"
    #: Attribute of Known that lists what there is.
    names: str = ""

    def read(self, value: Any, path: str, reader: _Reader) -> Any:
        if not isinstance(value, str) or not re.fullmatch(self.pattern, value):
            return reader.fault(path, self.needs, value)
        if self.names and reader.known is not None:
            known = getattr(reader.known, self.names)
            if known is not None and value not in known:
                return reader.unknown(
                    path, f"there is no such {_SINGULAR[self.names]}", value, known
                )
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
class _Choice(_Kind):
    choices: tuple[str, ...]

    def read(self, value: Any, path: str, reader: _Reader) -> Any:
        if value not in self.choices or not isinstance(value, str):
            one_of = f"one of {', '.join(self.choices)} is needed"
            return reader.unknown(path, one_of, value, self.choices, is_listed=True)
        return value

    def schema(self) -> dict[str, Any]:
        return {"enum": list(self.choices)}


@dataclass(frozen=True)
class _Integer(_Kind):
    minimum: int
    maximum: int

    def read(self, value: Any, path: str, reader: _Reader) -> Any:
        is_number = isinstance(value, int) and not isinstance(value, bool)
        if not is_number or not self.minimum <= value <= self.maximum:
            needs = f"a whole number from {self.minimum} to {self.maximum} is needed"
            return reader.fault(path, needs, value)
        return value

    def schema(self) -> dict[str, Any]:
        return {"type": "integer", "minimum": self.minimum, "maximum": self.maximum}


@dataclass(frozen=True)
class _Amount(_Kind):
    """A number above 0, as text or number; kept exact."""

    maximum: Decimal

    def read(self, value: Any, path: str, reader: _Reader) -> Any:
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
class _Amounts(_Kind):
    """An amount per currency."""

    def read(self, value: Any, path: str, reader: _Reader) -> Any:
        if not isinstance(value, Mapping):
            return reader.fault(path, "amounts by currency are needed, such as {EUR: 5}", value)
        for currency in value:
            if not re.fullmatch(r"[A-Z]{3}", str(currency)):
                reader.fault(path, "is no currency such as EUR", currency)
        limit = _Amount(Decimal(1_000_000))
        return {str(key): limit.read(one, f"{path}.{key}", reader) for key, one in value.items()}

    def write(self, value: Any) -> Any:
        return {key: _Amount(Decimal(0)).write(one) for key, one in value.items()}

    def schema(self) -> dict[str, Any]:
        amount = _Amount(Decimal(1_000_000)).schema()
        return {
            "type": "object",
            "propertyNames": {"pattern": "^[A-Z]{3}$"},
            "additionalProperties": amount,
        }


@dataclass(frozen=True)
class _Flag(_Kind):
    def read(self, value: Any, path: str, reader: _Reader) -> Any:
        if not isinstance(value, bool):
            return reader.fault(path, "true or false is needed", value)
        return value

    def schema(self) -> dict[str, Any]:
        return {"type": "boolean"}


@dataclass(frozen=True)
class _Duration(_Kind):
    minimum: timedelta = timedelta(0)

    def read(self, value: Any, path: str, reader: _Reader) -> Any:
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
class _List(_Kind):
    of: _Kind
    minimum: int = 0

    def read(self, value: Any, path: str, reader: _Reader) -> Any:
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
class _Rule(_Kind):
    """A segment definition, kept as it is written."""

    def read(self, value: Any, path: str, reader: _Reader) -> Any:
        if not isinstance(value, Mapping):
            return reader.fault(path, "a rule of segments is needed", value)
        if reader.known is not None:
            for below, message in reader.known.rule_faults(value):
                reader.fault(f"{path}.{below}" if below else path, message.rstrip("."))
        return dict(value)

    def schema(self) -> dict[str, Any]:
        return {"type": "object", "description": "A segment rule: docs/reference/segment-rules.md."}


@dataclass(frozen=True)
class _Condition(_Kind):
    def read(self, value: Any, path: str, reader: _Reader) -> Any:
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


@dataclass(frozen=True)
class _Steps(_Kind):
    def read(self, value: Any, path: str, reader: _Reader) -> Any:
        if not isinstance(value, (list, tuple)):
            return reader.fault(path, "a list of steps is needed", value)
        if path.count(".steps") + path.count(".then") + path.count(".otherwise") >= MAX_DEPTH:
            return reader.fault(path, f"steps may be nested {MAX_DEPTH} deep")
        return tuple(_read_step(one, f"{path}[{n}]", reader) for n, one in enumerate(value))

    def write(self, value: Any) -> Any:
        return [
            {_STEP_NAMES[type(step)]: _write(step, _STEPS[_STEP_NAMES[type(step)]])}
            for step in value
        ]

    def schema(self) -> dict[str, Any]:
        return {"type": "array", "items": {"$ref": "#/$defs/step"}}


@dataclass(frozen=True)
class _Object(_Kind):
    of: type
    table: Callable[[], Mapping[str, _Field]]

    def read(self, value: Any, path: str, reader: _Reader) -> Any:
        return _read(value, path, reader, self.of, self.table())

    def write(self, value: Any) -> Any:
        return _write(value, self.table())

    def schema(self) -> dict[str, Any]:
        return _schema(self.of, self.table())


@dataclass(frozen=True)
class _Trigger(_Kind):
    def read(self, value: Any, path: str, reader: _Reader) -> Any:
        if not isinstance(value, Mapping):
            return reader.fault(path, "an object with a type is needed", value)
        if "type" not in value:
            return reader.fault(f"{path}.type", "is missing")
        name = _Text(KEY, "the name of a trigger is needed", "triggers").read(
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
class _Field:
    kind: _Kind
    #: Name of the dataclass's attribute, where it is another.
    attribute: str = ""


_KEY = _Text(KEY, "small letters, digits and underscores are needed, at most 59")
_ID = _Text(STEP_ID, "small letters, digits and underscores are needed, at most 29")
_WHILE = _Duration(timedelta(seconds=1))

_DEFINITION: Mapping[str, _Field] = {
    "journey": _Field(_KEY),
    # Before what names conditions: a trigger may have some of its own.
    "trigger": _Field(_Trigger()),
    "topic": _Field(_Text(KEY, "the key of a topic is needed", "topics")),
    "priority": _Field(_Integer(0, 100)),
    "reentry": _Field(_Object(Reentry, lambda: _REENTRY)),
    "goals": _Field(_List(_Condition())),
    "exits": _Field(_List(_Condition())),
    "on_pause": _Field(_Choice(("hold", "exit"))),
    "steps": _Field(_Steps()),
}
_REENTRY: Mapping[str, _Field] = {
    "per": _Field(_Choice(("object", "person"))),
    "cool_down": _Field(_Duration()),
    "person_cool_down": _Field(_Duration()),
}
_FALLBACK: Mapping[str, _Field] = {
    "to": _Field(_Text(KEY, "the name of a delivery channel is needed", "delivery_channels")),
    "after": _Field(_Duration(timedelta(minutes=1))),
    "unless": _Field(_Choice(("delivered", "opened"))),
}
_RECOMMEND: Mapping[str, _Field] = {
    "placement": _Field(_Text(KEY, "the key of a placement is needed", "placements")),
    "most": _Field(_Integer(1, 12)),
}
_BRANCH: Mapping[str, _Field] = {
    "name": _Field(_ID),
    "weight": _Field(_Integer(1, 1000)),
    "steps": _Field(_Steps()),
}
_TERMS: Mapping[str, _Kind] = {
    "percent": _Amount(Decimal(100)),
    "amount": _Amounts(),
    "free_shipping": _Flag(),
    "expires": _Duration(timedelta(hours=1)),
    "minimum_spend": _Amounts(),
    "categories": _List(_Text()),
    "collections": _List(_Text()),
    "products": _List(_Text()),
    "channels": _List(_Text()),
    "first_order": _Flag(),
    "name": _Text(r".{1,100}"),
}
_STEPS: Mapping[str, Mapping[str, _Field]] = {
    "message": {
        "id": _Field(_ID),
        "template": _Field(_Text(KEY, "the name of a template is needed", "templates")),
        "delivery_channel": _Field(
            _Text(KEY, "the name of a delivery channel is needed", "delivery_channels")
        ),
        "when_outranked": _Field(_Choice(("delay", "drop"))),
        "fallback": _Field(_Object(Fallback, lambda: _FALLBACK)),
        "recommend": _Field(_Object(Recommend, lambda: _RECOMMEND)),
        "placement": _Field(_Text(KEY, "the name of a place of your pages is needed")),
        "shown_for": _Field(_Duration(timedelta(minutes=1))),
        "send_at": _Field(_Choice(("once", "best"))),
    },
    "wait": {"for": _Field(_WHILE, "duration")},
    "wait_for": {
        "event": _Field(_Condition()),
        "for": _Field(_WHILE, "duration"),
        "then": _Field(_Steps()),
        "otherwise": _Field(_Steps()),
    },
    "split": {
        "by": _Field(_Choice(("rule", "random", "experiment"))),
        "id": _Field(_ID),
        "rule": _Field(_Rule()),
        "experiment": _Field(_KEY),
        "then": _Field(_Steps()),
        "otherwise": _Field(_Steps()),
        "branches": _Field(_List(_Object(Branch, lambda: _BRANCH))),
    },
    "offer": {
        "id": _Field(_ID),
        "when_refused": _Field(_Choice(("without", "stop"))),
        **{name: _Field(kind) for name, kind in _TERMS.items()},
    },
    "webhook": {
        "url_alias": _Field(_Text(r"[A-Za-z0-9_.\-]{1,60}", "the alias of a webhook is needed"))
    },
    "exit": {},
}
_STEP_TYPES: Mapping[str, type] = {
    "message": Message, "wait": Wait, "wait_for": WaitFor, "split": Split, "offer": Offer,
    "webhook": Webhook, "exit": Exit,
}  # fmt: skip
_STEP_NAMES = {type_: name for name, type_ in _STEP_TYPES.items()}


# -- reading -----------------------------------------------------------------------------------------


class _Reader:
    def __init__(self, known: Known | None) -> None:
        self.known = known
        self.faults: list[Fault] = []
        #: Type of the trigger, once it is read.
        self.trigger = ""

    def fault(self, path: str, message: str, value: Any = None) -> None:
        self.faults.append(Fault(path, message, value))

    def unknown(
        self,
        path: str,
        message: str,
        value: Any,
        known: Collection[str],
        *,
        is_listed: bool = False,
    ) -> None:
        close = difflib.get_close_matches(str(value), list(known), n=1)
        told = "" if close or is_listed else f" (known: {', '.join(sorted(known)) or 'none'})"
        self.faults.append(Fault(path, message + told, value, close[0] if close else ""))

    def unknown_key(self, path: str, message: str, key: str, known: Collection[str]) -> None:
        close = difflib.get_close_matches(key, list(known), n=1)
        told = message + ("" if close else f" (known: {', '.join(known) or 'none'})")
        self.faults.append(Fault(path, told, None, close[0] if close else ""))


def parse(value: Any, *, known: Known | None = None) -> Definition:
    """Return the definition that a JSON value holds. Raises InvalidJourney with every fault."""
    reader = _Reader(known)
    found = _read(value, "", reader, Definition, _DEFINITION)
    if not reader.faults:
        _check_whole(found, reader)
    if reader.faults or not isinstance(found, Definition):
        raise InvalidJourney(reader.faults)
    return found


def load(text: str, *, known: Known | None = None) -> Definition:
    """Return the definition that a YAML (or JSON) text holds. Raises InvalidJourney."""
    try:
        value = read_yaml(text)
    except NotYaml as error:
        raise InvalidJourney([error.fault]) from error
    return parse(value, known=known)


class NotYaml(ValueError):
    """A text is no YAML; `fault` says where."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(str(fault))
        self.fault = fault


def read_yaml(text: str) -> Any:
    """Return the value of a YAML text in which no key stands twice. Raises NotYaml."""
    try:
        return yaml.load(text, Loader=_StrictLoader)  # noqa: S506 (a subclass of SafeLoader)
    except yaml.YAMLError as error:
        where = getattr(error, "problem_mark", None)
        path = f"line {where.line + 1}" if where is not None else ""
        problem = getattr(error, "problem", None) or "cannot be read"
        raise NotYaml(Fault(path, f"this is no YAML: {problem}")) from error
    except RecursionError as error:
        raise NotYaml(Fault("", "this is no YAML: it is nested too deeply")) from error


def dump(definition: Definition) -> str:
    """Return a definition as YAML, in the order in which one reads it."""
    text = yaml.safe_dump(definition.to_json(), sort_keys=False, allow_unicode=True, width=100)
    return str(text)


class _StrictLoader(yaml.SafeLoader):
    """A key that stands there twice is a mistake, not a second thought; and few aliases make a huge text."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            told = "an alias has no place here: write it out"
            raise yaml.composer.ComposerError(None, None, told, self.get_mark())
        return super().compose_node(parent, index)


def _mapping_without_twins(loader: _StrictLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen = []
    for key_node, _value in node.value:
        key = loader.construct_object(key_node)
        if key in seen:
            raise yaml.constructor.ConstructorError(
                None, None, f"{key!r} stands there twice", key_node.start_mark
            )
        seen.append(key)
    return dict(loader.construct_mapping(node, deep=True))


_StrictLoader.add_constructor(
    yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping_without_twins
)


def _read(value: Any, path: str, reader: _Reader, type_: type, table: Mapping[str, _Field]) -> Any:
    before = len(reader.faults)
    values = _read_values(value, path, reader, _required(type_), table)
    return None if len(reader.faults) > before else type_(**values)


def _read_values(
    value: Any, path: str, reader: _Reader, required: Collection[str], table: Mapping[str, _Field]
) -> dict[str, Any]:
    """Return the values by attribute; what is unknown, missing or wrong is told."""
    if value is None and not table:
        value = {}
    if not isinstance(value, Mapping):
        reader.fault(path, "an object is needed", value)
        return {}
    for key in value:
        if key not in table:
            reader.unknown_key(_below(path, str(key)), "is not known here", str(key), table)
    given: dict[str, Any] = {}
    for name, entry in table.items():
        attribute = entry.attribute or name
        if name in value:
            given[attribute] = entry.kind.read(value[name], _below(path, name), reader)
            if name == "trigger" and given[attribute] is not None:
                reader.trigger = given[attribute].type
        elif attribute in required:
            reader.fault(_below(path, name), "is missing")
    return given


def _read_step(value: Any, path: str, reader: _Reader) -> Any:
    if isinstance(value, str) and value == "exit":
        value = {"exit": {}}
    if not isinstance(value, Mapping) or len(value) != 1:
        return reader.fault(path, f"a step is needed: one of {', '.join(_STEPS)}", value)
    [(name, content)] = value.items()
    if name not in _STEPS:
        return reader.unknown(path, "is no step", name, tuple(_STEPS))
    below = f"{path}.{name}"
    if name == "offer":
        return _read_offer(content, below, reader)
    step = _read(content, below, reader, _STEP_TYPES[name], _STEPS[name])
    if isinstance(step, Split):
        _check_split(step, below, reader)
    return step


def _read_offer(value: Any, path: str, reader: _Reader) -> Offer | None:
    """Read an offer: our own words, and those that the offers room knows the meaning of."""
    before = len(reader.faults)
    values = _read_values(value, path, reader, {"id"}, _STEPS["offer"])
    if len(reader.faults) > before:
        return None
    terms = {name: values[name] for name in _TERMS if name in values}
    terms.setdefault("expires", timedelta(days=7))
    try:
        read_terms(terms)
    except TermsRefused as error:
        for name, sentence in error.faults:
            reader.fault(_below(path, name), sentence.rstrip("."))
    own = {name: values[name] for name in ("id", "when_refused") if name in values}
    return Offer(terms=terms, **own)


def _check_split(step: Split, path: str, reader: _Reader) -> None:
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


def _check_whole(definition: Definition, reader: _Reader) -> None:
    steps = list(walk(definition))
    if not steps:
        reader.fault("steps", "a journey needs a step")
    if len(steps) > MAX_STEPS:
        reader.fault("steps", f"at most {MAX_STEPS} steps fit in one journey")
    ids: dict[str, str] = {}
    for path, step in steps:
        id_ = getattr(step, "id", "")
        at = path_text(path)
        if id_ and id_ in ids:
            reader.fault(at, f"another step ({ids[id_]}) has this id", id_)
        ids.setdefault(id_, at)
        if isinstance(step, WaitFor) and step.event in (*definition.goals, *definition.exits):
            told = "is a goal or an exit, with which everybody leaves; write goals and exits without it"
            reader.fault(at, told, step.event)
        if isinstance(step, Offer) and _message_after(definition, path) is None:
            reader.fault(at, "no message follows that could carry the code", step.id)
        if isinstance(step, Message):
            _check_message(step, at, reader)
        is_needed = reader.known is not None and definition.topic in reader.known.transactional
        if isinstance(step, Offer) and is_needed:
            told = f"a message that an order needs ({definition.topic}) carries no offer"
            reader.fault(at, told, step.id)


def _check_message(step: Message, path: str, reader: _Reader) -> None:
    """Tell of a fallback that is none, and of delivery channels for which the template has no words."""
    channels = [step.delivery_channel]
    if step.fallback is not None:
        if step.fallback.to in (step.delivery_channel, BEST):
            told = "another delivery channel than the first is needed, by its name"
            reader.fault(f"{path}.fallback.to", told, step.fallback.to)
        channels.append(step.fallback.to)
    if not {BEST, DeliveryChannel.IN_APP} & set(channels):
        for name in ("placement", "shown_for"):
            if getattr(step, name):
                reader.fault(f"{path}.{name}", "only a message in the app has it", step.id)
    if reader.known is None:
        return
    for channel in channels:
        missing = () if channel == BEST else reader.known.missing_words(step.template, channel)
        if missing:
            told = f"the template has no words for {channel}: it needs {', '.join(missing)}"
            reader.fault(f"{path}.template", told, step.template)


def _message_after(definition: Definition, path: Path) -> Message | None:
    """Return a message that can follow a step, on whatever branch."""
    following = following_path(definition, path)
    while following is not None:
        step = step_at(definition, following)
        if step is None:
            return None
        if isinstance(step, Message):
            return step
        for _path, below in walk(definition):
            if isinstance(below, Message) and _path[: len(following)] == following:
                return below
        following = following_path(definition, following)
    return None


# -- options of triggers: a dataclass is the table ----------------------------------------------------


def read_options(type_: type, given: Mapping[str, Any], path: str = "", reader: Any = None) -> Any:
    """Return the `Options` of a trigger built from JSON values. Raises InvalidJourney without a reader.

    Annotations tell the kinds: timedelta, int, Decimal, bool, str, a StrEnum, tuple[str, ...], each
    perhaps `| None`. `metadata={"minimum": ..., "maximum": ...}` of a field limits numbers.
    """
    own = reader or _Reader(None)
    before = len(own.faults)
    table = option_table(type_)
    for key in given:
        if key not in table:
            own.unknown_key(_below(path, key), "is no option of this trigger", key, table)
    values: dict[str, Any] = {}
    for name, kind in table.items():
        if name in given:
            values[name] = kind.read(given[name], _below(path, name), own)
        elif name in _required(type_):
            own.fault(_below(path, name), "is missing")
    built = None
    if len(own.faults) == before:
        try:
            built = type_(**values)
        except ValueError as error:
            own.fault(path, str(error).rstrip("."))
    if reader is None and own.faults:
        raise InvalidJourney(own.faults)
    return built


def option_table(type_: type) -> dict[str, _Kind]:
    """Return the kind of each option of a trigger. Raises TypeError for one that cannot be written."""
    hints = typing.get_type_hints(type_)
    return {
        entry.name: _kind_of(hints[entry.name], entry.metadata)
        for entry in dataclasses.fields(type_)
    }


def _kind_of(hint: Any, limits: Mapping[str, Any]) -> _Kind:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        (hint,) = [one for one in typing.get_args(hint) if one is not type(None)]
    if hint is bool:
        return _Flag()
    if hint is int:
        return _Integer(limits.get("minimum", 0), limits.get("maximum", 1_000_000))
    if hint is Decimal:
        return _Amount(Decimal(limits.get("maximum", 1_000_000)))
    if hint is timedelta:
        return _Duration(limits.get("minimum", timedelta(0)))
    if hint is str:
        return _Text(limits.get("pattern", r".{0,200}"))
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return _Choice(tuple(str(member.value) for member in hint))
    if typing.get_origin(hint) is tuple:
        return _List(_kind_of(typing.get_args(hint)[0], limits))
    raise TypeError(
        f"An option of a trigger cannot be a {hint}: see journeys.definitions.read_options."
    )


# -- writing -----------------------------------------------------------------------------------------


def _write(value: Any, table: Mapping[str, _Field]) -> dict[str, Any]:
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


def schema(known: Known | None = None) -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of a definition; with the options of the triggers known."""
    whole = _schema(Definition, _DEFINITION)
    if known is not None:
        whole["properties"]["trigger"] = {
            "oneOf": [_trigger_schema(key, type_) for key, type_ in sorted(known.triggers.items())]
        }
    steps = [
        {
            "type": "object",
            "properties": {name: _schema(_STEP_TYPES[name], table)},
            "required": [name],
            "additionalProperties": False,
        }
        for name, table in _STEPS.items()
    ]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Journey",
        **whole,
        "$defs": {"step": {"oneOf": [*steps, {"const": "exit"}]}},
    }


def _trigger_schema(key: str, type_: type) -> dict[str, Any]:
    options = {name: kind.schema() for name, kind in option_table(type_).items()}
    return {
        "type": "object",
        "properties": {"type": {"const": key}, **options},
        "required": ["type", *sorted(_required(type_))],
        "additionalProperties": False,
    }


def _schema(type_: type, table: Mapping[str, _Field]) -> dict[str, Any]:
    required = {"id"} if type_ is Offer else _required(type_)
    return {
        "type": "object",
        "properties": {name: entry.kind.schema() for name, entry in table.items()},
        "required": [
            name for name, entry in table.items() if (entry.attribute or name) in required
        ],
        "additionalProperties": False,
    }


def _required(type_: type) -> set[str]:
    missing = dataclasses.MISSING
    return {
        entry.name
        for entry in dataclasses.fields(type_)
        if entry.default is missing and entry.default_factory is missing
    }


# -- walking -----------------------------------------------------------------------------------------


def branches_of(step: Step) -> Mapping[str, tuple[Step, ...]]:
    """Return the ways that lead on from a step, by name; none for most."""
    if isinstance(step, Split) and step.by != "rule":
        return {branch.name: branch.steps for branch in step.branches}
    if isinstance(step, (Split, WaitFor)):
        return {"then": step.then, "otherwise": step.otherwise}
    return {}


def delivery_channels_of(definition: Definition, every: Collection[str]) -> set[str]:
    """Return over what a journey may write; `every`: what `best` chooses from."""
    found: set[str] = set()
    for _path, step in walk(definition):
        if isinstance(step, Message):
            found |= set(every) if step.delivery_channel == BEST else {step.delivery_channel}
            found |= {step.fallback.to} if step.fallback else set()
    return found


def walk(definition: Definition) -> Iterator[tuple[Path, Step]]:
    """Yield every step with its path, as one reads them."""
    yield from _walk(definition.steps, ())


def _walk(steps: tuple[Step, ...], above: Path) -> Iterator[tuple[Path, Step]]:
    for index, step in enumerate(steps):
        yield (*above, index), step
        for name, below in branches_of(step).items():
            yield from _walk(below, (*above, index, name))


def segments_named(definition: Definition) -> Iterator[tuple[str, str]]:
    """Yield where a definition names a segment, and its key: names that only a shop knows."""
    trigger = definition.trigger
    if trigger.type == "segment_entered":
        yield "trigger.segment", str(trigger.options["segment"])
    found = [(f"goals[{n}]", one) for n, one in enumerate(definition.goals)]
    found += [(f"exits[{n}]", one) for n, one in enumerate(definition.exits)]
    found += [
        (f"{path_text(path)}.wait_for.event", step.event)
        for path, step in walk(definition)
        if isinstance(step, WaitFor)
    ]
    for where, condition in found:
        name, _colon, argument = condition.partition(":")
        if name in SEGMENT_CONDITIONS:
            yield where, argument


def step_at(definition: Definition, path: Path) -> Step | None:
    """Return the step at a path; None when there is none (the end of a list)."""
    steps: tuple[Step, ...] = definition.steps
    step: Step | None = None
    for part in path:
        if isinstance(part, int):
            if part >= len(steps):
                return None
            step = steps[part]
        else:
            steps = branches_of(step).get(part, ()) if step is not None else ()
    return step


def following_path(definition: Definition, path: Path) -> Path | None:
    """Return the path after a step is done: the next in its list, else after the split around it."""
    while path:
        *above, index = path
        following: Path = (*above, int(index) + 1)
        if step_at(definition, following) is not None:
            return following
        path = tuple(above[:-1])
    return None


def into_branch(definition: Definition, path: Path, name: str) -> Path | None:
    """Return the path of the first step of a branch; of what follows the split when it is empty."""
    inside: Path = (*path, name, 0)
    return inside if step_at(definition, inside) is not None else following_path(definition, path)


def next_message(definition: Definition, path: Path | None) -> Message | None:
    """Return the message that is at a path, or the first that may follow."""
    if path is None:
        return None
    step = step_at(definition, path)
    return step if isinstance(step, Message) else _message_at_or_after(definition, path)


def _message_at_or_after(definition: Definition, path: Path) -> Message | None:
    for at, step in walk(definition):
        if isinstance(step, Message) and at[: len(path)] == path:
            return step
    return _message_after(definition, path)


def path_text(path: Path) -> str:
    """Return a path as faults show it: (1, "then", 0) -> "steps[1].then[0]"."""
    text = "steps"
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}"
    return text


def _below(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
