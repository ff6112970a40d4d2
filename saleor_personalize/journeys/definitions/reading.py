"""From YAML, JSON or a row to a definition, strictly, and back to YAML."""

from __future__ import annotations

from typing import Any

import yaml

from saleor_personalize.enums import DeliveryChannel
from saleor_personalize.journeys.definitions.faults import Fault, InvalidJourney, Reader
from saleor_personalize.journeys.definitions.shapes import (
    BEST,
    MAX_STEPS,
    Definition,
    Known,
    Message,
    Offer,
    WaitFor,
)
from saleor_personalize.journeys.definitions.tables import DEFINITION, read
from saleor_personalize.journeys.definitions.walking import message_after, path_text, walk


def parse(value: Any, *, known: Known | None = None) -> Definition:
    """Return the definition that a JSON value holds. Raises InvalidJourney with every fault."""
    reader = Reader(known)
    found = read(value, "", reader, Definition, DEFINITION)
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


def _check_whole(definition: Definition, reader: Reader) -> None:
    steps = list(walk(definition))
    if not steps:
        reader.fault("steps", "a journey needs a step")
    if len(steps) > MAX_STEPS:
        reader.fault("steps", f"at most {MAX_STEPS} steps fit in one journey")
    known = reader.known
    is_needed = known is not None and definition.topic in known.transactional
    if known is not None and is_needed and definition.trigger.type not in known.follow_order:
        told = f"needs a trigger that follows an order, which {definition.trigger.type} does not"
        reader.fault("topic", told, definition.topic)
    is_asked_for = known is not None and definition.trigger.type in known.asked_for
    if definition.holdout and (is_needed or is_asked_for):
        why = "an order needs" if is_needed else "people asked for"
        reader.fault("holdout", f"nobody is held out of what {why}", definition.holdout)
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
        if isinstance(step, Offer) and message_after(definition, path) is None:
            reader.fault(at, "no message follows that could carry the code", step.id)
        if isinstance(step, Message):
            _check_message(step, at, reader)
        if isinstance(step, Offer) and is_needed:
            told = f"a message that an order needs ({definition.topic}) carries no offer"
            reader.fault(at, told, step.id)


def _check_message(step: Message, path: str, reader: Reader) -> None:
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
