"""Executing flat objects without a detour per field.

A list of recommendations is dozens of fields that are plain attributes. graphql-core resolves each of
them through arguments, path and info, which takes longer than finding the recommendations. Types
listed in `PLAIN` promise that these fields are functions of the object alone and never fail, so their
values are taken directly.
"""

from __future__ import annotations

import contextlib
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
        "productId": lambda shown: shown.found.product_id,
        "variantId": lambda shown: _of_card(shown, "variant_id"),
        "variantName": lambda shown: _of_card(shown, "variant_name"),
        "sku": lambda shown: _of_card(shown, "sku"),
        "name": lambda shown: _of_card(shown, "name"),
        "slug": lambda shown: _of_card(shown, "slug"),
        "thumbnailUrl": lambda shown: _of_card(shown, "thumbnail_url"),
        "isAvailable": lambda shown: shown.card is not None and shown.card.is_available,
        "slot": lambda shown: shown.found.slot,
        "score": lambda shown: shown.found.score,
        "strategy": lambda shown: shown.found.strategy,
        "arm": lambda shown: shown.found.arm or None,
        "attributionId": lambda shown: shown.attribution_id,
        "cursor": lambda shown: shown.found.cursor or None,
    },
    "RecommendationReason": {
        "code": lambda shown: str(shown.found.reason_code).upper(),
        "text": lambda shown: shown.found.reason_text,
    },
    "PersonalizeMoney": {
        "amount": lambda money: float(money.amount),
        "currency": lambda money: money.currency,
    },
    "Product": {
        "id": lambda product: product.id,
        "channel": lambda product: product.channel,
    },
}
#: (type, field) -> the plain type below it, and what it is made of; null where that is None
BELOW: Mapping[tuple[str, str], tuple[str, Callable[[Any], Any]]] = {
    ("Recommendation", "reason"): ("RecommendationReason", lambda shown: shown),
    ("Recommendation", "price"): ("PersonalizeMoney", lambda shown: _of_card(shown, "price")),
    ("Recommendation", "undiscountedPrice"): (
        "PersonalizeMoney",
        lambda shown: _of_card(shown, "undiscounted_price"),
    ),
    ("Recommendation", "product"): ("Product", lambda shown: shown.product),
}


def _of_card(shown: Any, name: str) -> Any:
    """Return a field of a card; what the shop left empty is null."""
    return getattr(shown.card, name, None) or None


class _NotPlain(Exception):
    """A field has a resolver of its own: the list takes the long way."""


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
            with contextlib.suppress(_NotPlain):
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
            below_name, made_of = BELOW[type_.name, name]
            below = self.schema.get_type(below_name)
            assert isinstance(below, GraphQLObjectType)  # noqa: S101 (the schema is ours)
            take = self._plain(below, field_nodes)
            return lambda found: None if (of := made_of(found)) is None else take(of)
        if name not in PLAIN[type_.name]:
            raise _NotPlain
        return PLAIN[type_.name][name]
