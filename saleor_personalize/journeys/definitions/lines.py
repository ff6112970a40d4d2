"""Where in a text a fault stands: a path such as "steps[1].message.template" -> its line."""

from __future__ import annotations

import re

import yaml

_PART = re.compile(r"([^.\[\]]+)|\[(\d+)\]")
_LINE = re.compile(r"line (\d+)")


def line_of(text: str, path: str) -> int | None:
    """Return the line, from 1, of what a fault's path names in a YAML or JSON text; None when it has none.

    What is missing stands where it should: at the closest thing around it.
    """
    told = _LINE.fullmatch(path)
    if told is not None:
        return int(told[1])
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except (yaml.YAMLError, RecursionError):
        return None
    if node is None or not path:
        return None
    line: int = node.start_mark.line + 1
    for name, index in _PART.findall(path):
        found = _item(node, int(index)) if index else _value(node, name)
        if found is None:
            break
        line, node = found
    return line


def _item(node: yaml.Node, index: int) -> tuple[int, yaml.Node] | None:
    if not isinstance(node, yaml.SequenceNode) or index >= len(node.value):
        return None
    return node.value[index].start_mark.line + 1, node.value[index]


def _value(node: yaml.Node, name: str) -> tuple[int, yaml.Node] | None:
    if not isinstance(node, yaml.MappingNode):
        return None
    for key, value in node.value:
        if key.value == name:
            return key.start_mark.line + 1, value
    # A step stands below its kind, which the path of a branch leaves out: {wait_for: {then: [...]}}.
    return _value(node.value[0][1], name) if len(node.value) == 1 else None
