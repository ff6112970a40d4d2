"""How deep and how costly a query may be, found before it is executed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    InlineFragmentNode,
    IntValueNode,
    OperationDefinitionNode,
    SelectionSetNode,
    VariableNode,
)

#: What a list costs when its size is not asked for.
DEFAULT_SIZE = 10
#: What recording one event costs.
EVENT_COST = 1


def check(
    document: DocumentNode,
    operation: OperationDefinitionNode,
    variables: Mapping[str, Any],
    *,
    max_depth: int,
    max_cost: int,
) -> None:
    """Raise GraphQLError when the operation is deeper or dearer than allowed.

    A field costs 1, times the `first` of every list above it; aliases count like fields.
    Introspection is free: it is the same for everybody and cannot be multiplied.
    """
    fragments = {
        node.name.value: node
        for node in document.definitions
        if isinstance(node, FragmentDefinitionNode)
    }
    depth, cost = _measure(operation.selection_set, fragments, variables)
    if depth > max_depth:
        raise GraphQLError(
            f"The query is {depth} levels deep; {max_depth} are allowed.",
            extensions={"code": "QUERY_TOO_DEEP"},
        )
    if cost > max_cost:
        raise GraphQLError(
            f"The query costs {cost}; {max_cost} is allowed. Ask for fewer items or fields at once.",
            extensions={"code": "QUERY_TOO_COSTLY"},
        )


def _measure(
    selections: SelectionSetNode,
    fragments: Mapping[str, FragmentDefinitionNode],
    variables: Mapping[str, Any],
) -> tuple[int, int]:
    deepest, total = 0, 0
    for node in selections.selections:
        if isinstance(node, FieldNode):
            if node.name.value.startswith("__"):
                continue
            depth, cost = 1, 1
            if node.selection_set is not None:
                below, each = _measure(node.selection_set, fragments, variables)
                depth, cost = below + 1, 1 + each * _size(node, variables)
        elif isinstance(node, InlineFragmentNode):
            depth, cost = _measure(node.selection_set, fragments, variables)
        elif isinstance(node, FragmentSpreadNode):
            depth, cost = _measure(fragments[node.name.value].selection_set, fragments, variables)
        deepest, total = max(deepest, depth), total + cost
    return deepest, total


def _size(node: FieldNode, variables: Mapping[str, Any]) -> int:
    for argument in node.arguments:
        if argument.name.value == "first":
            value = argument.value
            if isinstance(value, IntValueNode):
                return max(1, int(value.value))
            if isinstance(value, VariableNode):
                given = variables.get(value.name.value)
                return max(1, given) if isinstance(given, int) else DEFAULT_SIZE
    return (
        DEFAULT_SIZE
        if node.name.value in {"recommendations", "recentOrders", "viewedProducts"}
        else 1
    )
