"""The short way through flat objects answers as graphql-core's own way would."""

from __future__ import annotations

from types import SimpleNamespace

from graphql import GraphQLObjectType, GraphQLSchema, execute, parse

from saleor_personalize.graphql.execution import BELOW, PLAIN, PlainExecutionContext
from saleor_personalize.graphql.schema import schema

FOUND = SimpleNamespace(
    found=SimpleNamespace(
        product_id="UHJvZHVjdDox",
        slot=1,
        score=0.5,
        strategy="popular",
        reason_code="bought_together",
        reason_text="Often bought together with a cup",
    )
)
#: Fields that take arguments: a list with one of them goes the long way.
WITH_ARGUMENTS = {"Product": {"recommendations", "reasonFor"}}
QUERY = """
query($with: Boolean!) {
  recommendations(placement: "home", channel: "c") {
    __typename id: productId ...Rest slot @skip(if: $with) strategy @include(if: $with)
  }
}
fragment Rest on Recommendation { score reason { __typename code why: text } }
"""


def test_every_field_of_a_plain_type_has_its_short_way() -> None:
    for name, fields in PLAIN.items():
        type_ = schema.graphql_schema.get_type(name)
        assert isinstance(type_, GraphQLObjectType)
        below = {field for owner, field in BELOW if owner == name}
        assert set(type_.fields) == {*fields, *below, *WITH_ARGUMENTS.get(name, ())}


def test_b104_aliases_fragments_and_directives_work_on_the_short_way() -> None:
    root = {"recommendations": [FOUND]}
    plain: GraphQLSchema = schema.graphql_schema
    query_type = plain.query_type
    assert query_type is not None
    resolver, query_type.fields["recommendations"].resolve = (
        query_type.fields["recommendations"].resolve,
        lambda root, info, **arguments: root["recommendations"],
    )
    try:
        result = execute(
            plain,
            parse(QUERY),
            root_value=root,
            variable_values={"with": True},
            execution_context_class=PlainExecutionContext,
        )
    finally:
        query_type.fields["recommendations"].resolve = resolver
    assert result.errors is None  # type: ignore[union-attr]
    assert result.data == {  # type: ignore[union-attr]
        "recommendations": [
            {
                "__typename": "Recommendation",
                "id": "UHJvZHVjdDox",
                "score": 0.5,
                "reason": {
                    "__typename": "RecommendationReason",
                    "code": "BOUGHT_TOGETHER",
                    "why": "Often bought together with a cup",
                },
                "strategy": "popular",
            }
        ]
    }
