"""How deep and how costly a query may be, found before it is executed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    InlineFragmentNode,
    IntValueNode,
    ListValueNode,
    OperationDefinitionNode,
    SelectionSetNode,
    VariableNode,
)

#: What a list costs when its size is not asked for.
DEFAULT_SIZE = 10
_LISTS = frozenset(
    {
        "recommendations",
        "recentOrders",
        "viewedProducts",
        "segments",
        "consents",
        "consentStandings",
        "favourites",
        "sharedFavourites",
        "topProducts",
        "recommendedCategories",
        "recommendedBrands",
        "recommendedPages",
        "recommendationPage",
        "recommendationRanking",
        "recommendationTouchpoints",
        "hints",
        "inbox",
        "banners",
        "stockAlerts",
    }
)
#: Lists as long as what is asked for, and the argument that lists it.
_AS_LONG_AS = {
    "_entities": "representations",
    "recommendationPage": "placements",
    "recommendationRanking": "productIds",
}
#: What looks at far more products than it answers with, however few fields are asked of them.
_DEAR = {
    "recommendationPage": 20,
    "recommendationRanking": 50,
    "recommendedCategories": 20,
    "recommendedBrands": 20,
    "recommendedPages": 20,
    "reasonFor": 10,
}
#: Those of which each thing in the list of the argument is one to look for.
_DEAR_EACH = frozenset({"recommendationPage"})
#: The whole schema as one text, which weighs as much as so many fields.
_SDL = "_service"
_SDL_COST = 500
#: Lists of the schema about itself. Types lead to fields and fields to types, without an end.
_SCHEMA_LISTS = frozenset(
    {"types", "fields", "inputFields", "interfaces", "possibleTypes", "args", "enumValues"}
)
_SCHEMA_LIST_SIZE = 5
#: GraphQL's Int has 32 bits; what is longer or larger is none, and execution refuses it.
_MAX_INT = 2**31 - 1
_MAX_INT_DIGITS = 10
#: Twice the standard introspection query, which every tool sends.
MAX_INTROSPECTION_COST = 20_000


class _Size(NamedTuple):
    """Depth and cost of a selection; `introspection` is what it costs to read the schema itself."""

    depth: int = 0
    cost: int = 0
    introspection: int = 0

    def beside(self, other: _Size) -> _Size:
        return _Size(
            max(self.depth, other.depth),
            self.cost + other.cost,
            self.introspection + other.introspection,
        )


def check(
    document: DocumentNode,
    operation: OperationDefinitionNode,
    variables: Mapping[str, Any],
    *,
    max_depth: int,
    max_cost: int,
) -> None:
    """Raise GraphQLError when the operation is deeper or dearer than allowed.

    A field costs 1 (those of `_DEAR` more), times the `first` of every list above it; aliases count like
    fields. Reading the schema has a limit of its own, which the standard introspection query fits in.
    """
    defaults: dict[str, Any] = {}
    for definition in operation.variable_definitions:
        value = definition.default_value
        if isinstance(value, IntValueNode) and len(value.value) <= _MAX_INT_DIGITS:
            defaults[definition.variable.name.value] = int(value.value)
        elif isinstance(value, ListValueNode):
            defaults[definition.variable.name.value] = list(value.values)
    fragments = {
        node.name.value: node
        for node in document.definitions
        if isinstance(node, FragmentDefinitionNode)
    }
    size = _Measure(fragments, {**defaults, **variables}).of(operation.selection_set)
    if size.depth > max_depth:
        raise GraphQLError(
            f"The query is {size.depth} levels deep; {max_depth} are allowed.",
            extensions={"code": "QUERY_TOO_DEEP"},
        )
    if size.cost > max_cost:
        raise GraphQLError(
            f"The query costs {size.cost}, a field times the `first` of each list above it; {max_cost} are "
            "allowed. Ask for fewer items or fields at once.",
            extensions={"code": "QUERY_TOO_COSTLY"},
        )
    if size.introspection > MAX_INTROSPECTION_COST:
        raise GraphQLError(
            f"The query reads {size.introspection} of the schema; {MAX_INTROSPECTION_COST} are allowed. Ask "
            "for fewer fields at once.",
            extensions={"code": "QUERY_TOO_COSTLY"},
        )


@dataclass
class _Measure:
    fragments: Mapping[str, FragmentDefinitionNode]
    variables: Mapping[str, Any]
    #: Each fragment is measured once: they can name each other so often that nobody could finish.
    known: dict[str, _Size] = field(default_factory=dict)

    def of(self, selections: SelectionSetNode) -> _Size:
        total = _Size()
        for node in selections.selections:
            if isinstance(node, FieldNode):
                total = total.beside(self._of_field(node))
            elif isinstance(node, InlineFragmentNode):
                total = total.beside(self.of(node.selection_set))
            elif isinstance(node, FragmentSpreadNode):
                total = total.beside(self._of_fragment(node.name.value))
        return total

    def _of_fragment(self, name: str) -> _Size:
        if name not in self.known:
            self.known[name] = self.of(self.fragments[name].selection_set)
        return self.known[name]

    def _of_field(self, node: FieldNode) -> _Size:
        below = self.of(node.selection_set) if node.selection_set is not None else _Size()
        name = node.name.value
        if name.startswith("__"):
            # Below is the schema: it has its own limit, and its own depth.
            return _Size(introspection=1 + below.introspection + below.cost)
        asked = self._asked(node)
        times = self._times(node) * asked
        cost = _SDL_COST if name == _SDL else 1
        cost += _DEAR.get(name, 0) * (asked if name in _DEAR_EACH else 1)
        return _Size(below.depth + 1, cost + below.cost * times, below.introspection * times)

    def _asked(self, node: FieldNode) -> int:
        """Return how many things are listed in the argument that makes a list as long."""
        name = _AS_LONG_AS.get(node.name.value)
        for argument in node.arguments:
            if argument.name.value == name:
                value = argument.value
                if isinstance(value, ListValueNode):
                    return max(1, len(value.values))
                if isinstance(value, VariableNode):
                    given = self.variables.get(value.name.value)
                    return max(1, len(given)) if isinstance(given, list) else 1
        return 1

    def _times(self, node: FieldNode) -> int:
        for argument in node.arguments:
            if argument.name.value == "first":
                value = argument.value
                if isinstance(value, IntValueNode):
                    return max(1, int(value.value))
                if isinstance(value, VariableNode):
                    given = self.variables.get(value.name.value)
                    if not isinstance(given, int | float):
                        return DEFAULT_SIZE
                    # A client may write 100.0 for 100, or 1e999: JSON knows no end of numbers.
                    return int(min(max(1, given), _MAX_INT))
        if node.name.value in _SCHEMA_LISTS:
            return _SCHEMA_LIST_SIZE
        return DEFAULT_SIZE if node.name.value in _LISTS else 1
