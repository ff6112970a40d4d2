"""Executing flat objects without a detour per field.

A list of recommendations is dozens of fields that are plain attributes. graphql-core resolves each of
them through arguments, path and info, which takes longer than finding the recommendations. Types
listed in `PLAIN` promise that every field is a function of the object alone and never fails, so their
values are taken directly.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from graphql import (
    ExecutionContext,
    FieldNode,
    GraphQLList,
    GraphQLObjectType,
    GraphQLResolveInfo,
    get_nullable_type,
)
from graphql.pyutils import Path

#: type -> field -> what it is of the object
PLAIN: Mapping[str, Mapping[str, Callable[[Any], Any]]] = {
    "Recommendation": {
        "productId": lambda found: found.product_id,
        "slot": lambda found: found.slot,
        "score": lambda found: found.score,
        "strategy": lambda found: found.strategy,
    },
    "RecommendationReason": {
        "code": lambda found: str(found.reason_code).upper(),
        "text": lambda found: found.reason_text,
    },
}
#: (type, field) -> the plain type below it, made of the same object
BELOW = {("Recommendation", "reason"): "RecommendationReason"}


class PlainExecutionContext(ExecutionContext):
    """graphql-core's execution, with the short way for lists of the types of `PLAIN`."""

    def complete_list_value(
        self,
        return_type: GraphQLList[Any],
        field_nodes: list[FieldNode],
        info: GraphQLResolveInfo,
        path: Path,
        result: Any,
    ) -> Any:
        item_type = get_nullable_type(return_type.of_type)
        if isinstance(item_type, GraphQLObjectType) and item_type.name in PLAIN:
            take = self._plain(item_type, field_nodes)
            return [take(found) for found in result]
        return super().complete_list_value(return_type, field_nodes, info, path, result)

    def _plain(
        self, type_: GraphQLObjectType, field_nodes: list[FieldNode]
    ) -> Callable[[Any], dict[str, Any]]:
        """Return what makes the selected fields of an object."""
        takes = {
            response_name: self._plain_field(type_, nodes)
            for response_name, nodes in self.collect_subfields(type_, field_nodes).items()
        }
        return lambda found: {response_name: take(found) for response_name, take in takes.items()}

    def _plain_field(
        self, type_: GraphQLObjectType, field_nodes: list[FieldNode]
    ) -> Callable[[Any], Any]:
        name = field_nodes[0].name.value
        if name == "__typename":
            return lambda found: type_.name
        if (type_.name, name) in BELOW:
            below = self.schema.get_type(BELOW[type_.name, name])
            assert isinstance(below, GraphQLObjectType)  # noqa: S101 (the schema is ours)
            return self._plain(below, field_nodes)
        return PLAIN[type_.name][name]
