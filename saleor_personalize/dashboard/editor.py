"""The form in which a segment is built: a tree of groups and rules, filled in step by step.

Every control is named after its place: "n.0.1:days" is the parameter `days` of the second part of the
first part. What is not filled in yet stays as it was typed; only saving asks for all of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from django.utils.translation import gettext as _

from saleor_personalize.segments.definition import (
    MAX_DEPTH,
    MAX_RULES,
    AnyOf,
    Definition,
    Fault,
    Not,
)
from saleor_personalize.segments.rules import Kind, Parameter, Rule, known_rules

ROOT = "n"
#: Kinds of a group; "none" is a group of which no part may match.
GROUPS = ("all", "any", "none")
_PART = re.compile(r"n(\.\d{1,2})*")


@dataclass
class Node:
    """A group (with `parts`) or a rule (with `values` as typed)."""

    id: str = ROOT
    group: str = ""
    rule: str = ""
    values: dict[str, str] = field(default_factory=dict)
    parts: list[Node] = field(default_factory=list)
    #: parameter ("" for the node itself) -> what is wrong
    faults: dict[str, str] = field(default_factory=dict)
    is_new: bool = False

    def walk(self) -> Iterator[Node]:
        yield self
        for part in self.parts:
            yield from part.walk()

    def number(self, id_: str = ROOT) -> None:
        """Give this node and all below it the ids of their places."""
        self.id = id_
        for index, part in enumerate(self.parts):
            part.number(f"{id_}.{index}")

    def to_json(self) -> Any:
        if self.rule:
            return {
                "rule": self.rule,
                **{k: v.strip() for k, v in self.values.items() if v.strip()},
            }
        parts = [part.to_json() for part in self.parts]
        if self.group == "none":
            return {"not": parts[0] if len(parts) == 1 else {"any": parts}}
        return {self.group: parts}

    def tell(self, fault: Fault) -> bool:
        """Put a fault of the JSON where it belongs; False when it belongs nowhere here."""
        at, path = self, fault.path.removeprefix("definition").lstrip(".")
        while match := re.match(r"(all|any|not)(?:\[(\d+)\])?(?:\.|$)", path):
            word, index = match[1], match[2]
            if word == "not" and not at.parts:
                break
            path = path[match.end() :]
            if word == "not" and len(at.parts) != 1:
                continue
            if word != "not" and index is None:
                break
            at = at.parts[int(index or 0)]
        at.faults.setdefault(path, fault.message)
        return True


def read(posted: Mapping[str, str]) -> Node:
    """Return the tree that a form holds."""
    found: dict[str, Node] = {}
    for name, value in posted.items():
        place, separator, what = name.partition(":")
        if not separator or not _PART.fullmatch(place) or len(found) > 4 * MAX_RULES:
            continue
        node = found.setdefault(place, Node(place))
        if what == "group" and value in GROUPS:
            node.group = value
        elif what == "rule":
            node.rule = value
        elif what.startswith("-"):
            node.values[what[1:]] = value[:1_000]
    root = found.pop(ROOT, Node())
    root.group, root.rule = root.group or "all", ""
    found[ROOT] = root
    for place in sorted(found, key=lambda place: [int(n) for n in place.split(".")[1:]]):
        above = found.get(place.rpartition(".")[0])
        node = found[place]
        if above is not None and above.group and (node.group or node.rule in known_rules()):
            above.parts.append(node)
        if node.rule in known_rules():
            asked = known_rules()[node.rule].parameters()
            node.values = {name: node.values.get(name, "") for name in asked}
    root.number()
    return root


def of(definition: Definition) -> Node:
    """Return the tree of a definition; its top is a group."""
    node = _of(definition)
    if node.rule:
        node = Node(group="all", parts=[node])
    node.number()
    return node


def _of(definition: Definition) -> Node:
    if isinstance(definition, Rule):
        written = definition.to_json()
        rule = written.pop("rule")
        asked = definition.parameters()
        return Node(rule=rule, values={name: str(written.get(name, "")) for name in asked})
    if isinstance(definition, Not):
        part = definition.part
        below = part.parts if isinstance(part, AnyOf) else (part,)
        return Node(group="none", parts=[_of(each) for each in below])
    group = "any" if isinstance(definition, AnyOf) else "all"
    return Node(group=group, parts=[_of(part) for part in definition.parts])


def act(root: Node, action: str) -> None:
    """Add to or take from the tree: "add-rule:n.0", "add-group:n", "remove:n.0.1"."""
    verb, _separator, place = action.partition(":")
    nodes = {node.id: node for node in root.walk()}
    if place not in nodes:
        return
    if verb == "remove" and place != ROOT:
        above = nodes[place.rpartition(".")[0]]
        above.parts.remove(nodes[place])
        above.is_new = True
    elif verb == "add-rule" and len(nodes) <= MAX_RULES and nodes[place].group:
        key = next(iter(known_rules()))
        asked = known_rules()[key].parameters()
        nodes[place].parts.append(Node(rule=key, values=dict.fromkeys(asked, ""), is_new=True))
    elif verb == "add-group" and place.count(".") < MAX_DEPTH - 3 and nodes[place].group:
        nodes[place].parts.append(Node(group="any", is_new=True))
    root.number()


@dataclass(frozen=True)
class Control:
    """One field of a rule, as the template draws it."""

    name: str
    id: str
    label: str
    kind: str
    value: str
    is_required: bool
    fault: str
    choices: list[tuple[str, str]]
    minimum: int | None
    maximum: int | None
    #: Kind of thing that can be looked up while typing; "" for none.
    lookup: str
    #: Name of the thing chosen.
    named: str


@dataclass(frozen=True)
class View:
    """A node as the template draws it."""

    id: str
    dom: str
    group: str
    rule: str
    title: str
    rules: list[tuple[str, str]]
    controls: list[Control]
    parts: list[View]
    fault: str
    is_new: bool
    position: str
    can_nest: bool


def view(node: Node, *, names: Any, options: Mapping[str, list[tuple[str, str]]]) -> View:
    """Return what the template draws; `options` holds the choices for short lists, by kind of thing."""
    dom = node.id.replace(".", "-")
    rule = known_rules().get(node.rule)
    return View(
        id=node.id,
        dom=dom,
        group=node.group,
        rule=node.rule,
        title=str(rule.title) if rule else "",
        rules=[(key, str(known.title)) for key, known in known_rules().items()],
        controls=[
            _control(node, dom, name, part, names, options)
            for name, part in (rule.parameters() if rule else {}).items()
        ],
        parts=[view(part, names=names, options=options) for part in node.parts],
        fault="; ".join(
            text for name, text in node.faults.items() if not rule or name not in rule.parameters()
        ),
        is_new=node.is_new,
        position=".".join(str(int(n) + 1) for n in node.id.split(".")[1:]),
        can_nest=node.id.count(".") < MAX_DEPTH - 3,
    )


def _control(
    node: Node,
    dom: str,
    name: str,
    part: Parameter,
    names: Any,
    options: Mapping[str, list[tuple[str, str]]],
) -> Control:
    value = node.values.get(name, "")
    choices = [(key, str(label)) for key, label in part.choices.items()]
    if part.names in options:
        choices = list(options[part.names])
        if value and value not in dict(choices):
            choices.append((value, names(part.names, value) or value))
    if choices:
        kind = "select"
    else:
        kind = {Kind.INTEGER: "number", Kind.DATE: "date"}.get(part.kind, "text")
    return Control(
        name=f"{node.id}:-{name}",
        id=f"{dom}-{name}",
        label=str(part.label),
        kind=kind,
        value=value,
        is_required=part.is_required,
        fault=node.faults.get(name, ""),
        choices=[("", "" if part.is_required else _("any")), *choices] if choices else [],
        minimum=part.minimum or 0,
        maximum=part.maximum,
        lookup=part.names if not choices and part.names == "product" else "",
        named=names(part.names, value) if value and part.names and not choices else "",
    )
