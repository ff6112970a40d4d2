"""Saleor's graph and ours as a shopper sees them behind a gateway, put together without Node."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from graphql import (
    DefinitionNode,
    DocumentNode,
    GraphQLSchema,
    ObjectTypeExtensionNode,
    ScalarTypeDefinitionNode,
    build_ast_schema,
    extend_schema,
    parse,
)

import saleor_personalize.graphql

_OURS = Path(saleor_personalize.graphql.__file__).parent / "subgraph.graphql"
_SALEORS = Path(__file__).parent / "saleor.graphql"
_DIRECTIVES = """
directive @key(fields: String!) repeatable on OBJECT
directive @external on FIELD_DEFINITION
"""


def schema() -> GraphQLSchema:
    saleor = build_ast_schema(parse(_SALEORS.read_text() + _DIRECTIVES))
    added = [
        _without_keys(each)
        for each in parse(_OURS.read_text()).definitions
        # A scalar of both is one scalar.
        if not (isinstance(each, ScalarTypeDefinitionNode) and each.name.value in saleor.type_map)
    ]
    return extend_schema(saleor, DocumentNode(definitions=tuple(added)))


def _without_keys(node: DefinitionNode) -> Any:
    """Leave out of an extension what Saleor defines itself."""
    if isinstance(node, ObjectTypeExtensionNode):
        node.fields = tuple(
            field
            for field in node.fields
            if not any(directive.name.value == "external" for directive in field.directives)
        )
    return node
