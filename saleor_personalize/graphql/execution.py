"""Executing flat objects without a detour per field.

A list of recommendations is dozens of fields that are plain attributes. graphql-core resolves each of
them through arguments, path and info, which takes longer than finding the recommendations. Types
listed in `PLAIN` promise that every field is a function of the object alone and never fails, so their
values are taken directly.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from graphql import ExecutionContext, FieldNode, GraphQLObjectType, GraphQLResolveInfo
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
    """graphql-core's execution, with the short way for the types of `PLAIN`."""

    def complete_object_value(
        self,
        return_type: GraphQLObjectType,
        field_nodes: list[FieldNode],
        info: GraphQLResolveInfo,
        path: Path,
        result: Any,
    ) -> Any:
        if return_type.name in PLAIN:
            return self._plain(return_type, field_nodes, result)
        return super().complete_object_value(return_type, field_nodes, info, path, result)

    def _plain(
        self, type_: GraphQLObjectType, field_nodes: list[FieldNode], found: Any
    ) -> dict[str, Any]:
        fields = PLAIN[type_.name]
        values: dict[str, Any] = {}
        for response_name, nodes in self.collect_subfields(type_, field_nodes).items():
            name = nodes[0].name.value
            if name == "__typename":
                values[response_name] = type_.name
            elif (type_.name, name) in BELOW:
                below = self.schema.get_type(BELOW[type_.name, name])
                assert isinstance(below, GraphQLObjectType)  # noqa: S101 (the schema is ours)
                values[response_name] = self._plain(below, nodes, found)
            else:
                values[response_name] = fields[name](found)
        return values
