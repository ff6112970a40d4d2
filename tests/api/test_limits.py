"""What the public door refuses, and that a refusal costs nothing and gives nothing away."""

import json
from typing import Any

import pytest
from django.test import Client
from graphql import get_introspection_query

from saleor_personalize.conf import Defaults
from saleor_personalize.graphql import types, views
from saleor_personalize.models import Installation, Profile
from saleor_personalize.recommendations import service
from tests.api.conftest import ANONYMOUS, Ask
from tests.catalogue import Phones

RECS = 'recommendations(placement: "home", channel: "us"'


@pytest.fixture
def refused(gql: Ask, shop: Phones, monkeypatch: pytest.MonkeyPatch) -> Any:
    """`refused(query, variables) -> code`; fails when anything was executed."""

    def execute(*_: object, **__: object) -> None:
        raise AssertionError("a refused query was executed")

    def ask(query: str, variables: dict[str, Any] | None = None, **given: Any) -> str | None:
        with monkeypatch.context() as patch:
            patch.setattr(views, "execute", execute)
            answer = gql(query, variables, anonymous_id=ANONYMOUS, **given)
        assert answer.status == 200
        assert "data" not in answer.body
        assert all(answer.codes), "every error has a code"
        return answer.codes[0]

    return ask


# -- depth and cost --------------------------------------------------------------------------------


def test_b104_depth_is_limited(gql: Ask, refused: Any, shop: Phones, settings: Any) -> None:
    query = "{ profile { openCheckout { lines { productId } } } }"
    assert gql(query, anonymous_id=ANONYMOUS).data == {"profile": None}
    settings.SALEOR_PERSONALIZE = {**settings.SALEOR_PERSONALIZE, "GRAPHQL_MAX_DEPTH": 3}
    assert refused(query) == "QUERY_TOO_DEEP"
    in_fragments = (
        "query { ...A } fragment A on Query { profile { ...B } } "
        "fragment B on Profile { openCheckout { ... on OpenCheckout { lines { productId } } } }"
    )
    assert refused(in_fragments) == "QUERY_TOO_DEEP"
    assert gql("{ profile { openCheckout { id } } }", anonymous_id=ANONYMOUS).data


COSTLY: dict[str, tuple[str, dict[str, Any]]] = {
    "aliases": (
        "{" + " ".join(f"a{n}: {RECS}, first: 100) {{ productId slot }}" for n in range(10)) + "}",
        {},
    ),
    "fragments": (
        "{"
        + " ".join(f"a{n}: {RECS}, first: 100) {{ ...F }}" for n in range(10))
        + "} fragment F on Recommendation { productId ...G } "
        "fragment G on Recommendation { slot }",
        {},
    ),
    "one variable": (
        "query($n: Int) {"
        + " ".join(f"a{n}: {RECS}, first: $n) {{ productId slot }}" for n in range(10))
        + "}",
        {"n": 100},
    ),
    "a variable written as a decimal": (
        "query($n: Int) {"
        + " ".join(f"a{n}: {RECS}, first: $n) {{ productId slot }}" for n in range(10))
        + "}",
        {"n": 100.0},
    ),
    "a variable's default": (
        "query($n: Int = 100) {"
        + " ".join(f"a{n}: {RECS}, first: $n) {{ productId slot }}" for n in range(10))
        + "}",
        {},
    ),
    "a list as a variable's default": (
        "query($of: [_Any!]! = ["
        + ", ".join(f'{{__typename: "Product", id: "{n}", channel: "us"}}' for n in range(100))
        + "]) { _entities(representations: $of) { ... on Product {"
        ' recommendations(placement: "home", first: 10) { productId slot } } } }',
        {},
    ),
    "pages of many blocks": (
        "query($of: [String!]!) {"
        + " ".join(
            f'a{n}: recommendationPage(placements: $of, channel: "us", first: 1) {{ placement }}'
            for n in range(10)
        )
        + "}",
        {"of": ["home"] * 10},
    ),
    "reasons, each in a list of a hundred": (
        "query($of: [_Any!]!) { _entities(representations: $of) { ... on Product {"
        + " ".join(
            f'a{n}: reasonFor(placement: "home", productId: "{n}") {{ code }}' for n in range(180)
        )
        + "} } }",
        {"of": [{"__typename": "Product", "id": "x"}]},
    ),
    "rankings": (
        "{"
        + " ".join(
            f'a{n}: recommendationRanking(productIds: ["{n}"], channel: "us") {{ slot }}'
            for n in range(50)
        )
        + "}",
        {},
    ),
    "no size": (
        "{" + " ".join(f"a{n}: {RECS}) {{ productId slot }}" for n in range(100)) + "}",
        {},
    ),
}


@pytest.mark.parametrize(("query", "variables"), COSTLY.values(), ids=COSTLY)
def test_b104_cost_is_limited(refused: Any, query: str, variables: dict[str, Any]) -> None:
    assert refused(query, variables) == "QUERY_TOO_COSTLY"


ONE_PAGE = f"query($n: Int) {{ {RECS}, first: $n) {{ slot }} }}"


@pytest.mark.parametrize(
    ("number", "code"),
    [
        ("1e999", "QUERY_TOO_COSTLY"),
        ("-1e999", "BAD_REQUEST"),
        ("NaN", "BAD_REQUEST"),
        ("9" * 4_300, "QUERY_TOO_COSTLY"),
        ("-" + "9" * 4_300, "BAD_REQUEST"),
    ],
    ids=range(5),
)
def test_b104_numbers_that_no_int_can_hold_are_refused(
    client: Client, shop: Phones, number: str, code: str
) -> None:
    body = f'{{"query": "{ONE_PAGE}", "variables": {{"n": {number}}}}}'.replace(
        RECS, RECS.replace('"', '\\"')
    )
    response = post(client, shop, body.encode())
    assert response.status_code == 200
    assert not response.json().get("data")
    (error,) = response.json()["errors"]
    assert error["message"]
    assert error["extensions"] == {"code": code}


def test_b104_a_page_of_many_digits_is_a_bad_request(
    refused: Any, shop: Phones, caplog: pytest.LogCaptureFixture
) -> None:
    assert refused("{ inbox(first: %s) { unreadCount } }" % ("9" * 5_000)) == "BAD_REQUEST"
    assert "failed" not in caplog.text


def test_b104_an_id_of_many_digits_is_no_fault(gql: Ask, shop: Phones) -> None:
    query = "query($x: ID = %s) { profile(userId: $x) { openCheckout { id } } }" % ("1" * 5_000)
    answer = gql(query, token=shop.installation.auth_token)
    assert answer.refusal == (200, "INVALID_TEXT")


def test_b104_what_a_page_needs_is_within_the_limits(gql: Ask, shop: Phones) -> None:
    query = (
        "{"
        + " ".join(
            f"a{n}: {RECS}, first: 20) {{ productId slot score strategy reason {{ code text }} }}"
            for n in range(8)
        )
        + "}"
    )
    assert len(gql(query, anonymous_id=ANONYMOUS).data) == 8


def test_b104_a_page_of_ten_blocks_is_within_the_limits(gql: Ask, shop: Phones) -> None:
    query = """query($of: [String!]!) { recommendationPage(placements: $of, channel: "us", first: 12) {
      placement items { productId name price { amount currency } attributionId reason { text } } } }"""
    of = sorted(Defaults().PLACEMENTS)[:10]
    answer = gql(query, {"of": of}, anonymous_id=ANONYMOUS)
    assert len(answer.data["recommendationPage"]) == 10


def test_fragments_that_multiply_are_measured_at_once(refused: Any) -> None:
    """60 fragments, each naming the next one twice: 2 ** 60 fields, were they written out."""
    chain = " ".join(
        f"fragment F{n} on Query {{ a: {RECS}) {{ slot }} ...F{n + 1} ... on Query {{ ...F{n + 1} }} }}"
        for n in range(60)
    )
    last = f"fragment F60 on Query {{ a: {RECS}) {{ slot }} }}"
    assert refused(f"{{ ...F0 }} {chain} {last}") == "QUERY_TOO_COSTLY"


def test_b104_fragment_cycles_are_refused(refused: Any) -> None:
    query = "{ profile { ...A } } fragment A on Profile { ...B } fragment B on Profile { ...A }"
    assert refused(query) == "BAD_REQUEST"


# -- introspection ---------------------------------------------------------------------------------


def test_b104_introspection_works(gql: Ask, shop: Phones) -> None:
    for options in (
        {},
        {
            "descriptions": True,
            "specified_by_url": True,
            "directive_is_repeatable": True,
            "schema_description": True,
            "input_value_deprecation": True,
        },
    ):
        answer = gql(get_introspection_query(**options), anonymous_id=ANONYMOUS)  # type: ignore[arg-type]
        types = {type_["name"] for type_ in answer.data["__schema"]["types"]}
        assert {"Recommendation", "Profile", "TrackResult"} <= types
    assert gql("{ __typename }", anonymous_id=ANONYMOUS).data == {"__typename": "Query"}


def test_introspection_that_multiplies_is_refused(refused: Any) -> None:
    nested = "name"
    for _ in range(8):
        nested = f"fields {{ type {{ {nested} }} }}"
    # GraphQL's own rule stops depth; ours stops width.
    assert refused(f"{{ __schema {{ types {{ {nested} }} }} }}") == "BAD_REQUEST"
    many = " ".join(f"a{n}: types {{ fields {{ args {{ name }} }} }}" for n in range(300))
    assert refused(f"{{ __schema {{ {many} }} }}") == "QUERY_TOO_COSTLY"


@pytest.mark.parametrize(
    ("query", "variables"),
    [
        (ONE_PAGE, {"n": "one"}),
        (ONE_PAGE, {"n": {}}),
        ("query($n: Int!) { recommendations(placement: \"home\", channel: \"us\", first: $n) { slot } }", {}),
        ("mutation($e: [TrackEventInput!]!) { track(events: $e) { results { id } } }", {"e": [{"id": 1}, 2]}),
        ("query { a: profile { openCheckout { id } } a: __typename }", {}),
        ('{ recommendations(placement: 1, channel: "us", colour: 2) { slot } unknown }', {}),
    ],
    ids=range(6),
)  # fmt: skip
def test_every_error_of_an_answer_has_a_code(
    gql: Ask, shop: Phones, query: str, variables: dict[str, Any]
) -> None:
    answer = gql(query, variables, anonymous_id=ANONYMOUS)
    assert not any((answer.body.get("data") or {}).values())
    assert set(answer.codes) == {"BAD_REQUEST"}


# -- the request -----------------------------------------------------------------------------------


def test_too_long_queries_are_refused_and_not_remembered(refused: Any) -> None:
    before = views._remembered.cache_info().currsize
    assert refused("{ profile { openCheckout { id } } }" + " " * 20_000) == "TOO_LARGE"
    assert views._remembered.cache_info().currsize == before


def test_a_query_of_unusual_length_is_answered_and_not_remembered(gql: Ask, shop: Phones) -> None:
    """Parsed, it takes megabytes: a few hundred different ones would take all memory."""
    before = views._remembered.cache_info().currsize
    assert gql("{ __typename " + "# " * 1_000 + "\n}").data == {"__typename": "Query"}
    assert views._remembered.cache_info().currsize == before
    assert gql("{ __typename # a usual one\n}").data == {"__typename": "Query"}
    assert views._remembered.cache_info().currsize == before + 1


def test_fields_that_would_take_long_to_compare_are_refused(refused: Any) -> None:
    assert refused("{" + "__typename " * 1_600 + "}") == "QUERY_TOO_COSTLY"


@pytest.mark.parametrize(
    "query",
    [
        "{a" * 2_400 + "}" * 2_400,
        "{ recommendations(placement: " + "[" * 4_000 + "]" * 900 + ") { slot } }",
        "query($a: " + "[" * 2_000 + "Int" + "]" * 2_000 + ") { profile { openCheckout { id } } }",
        "{" + "a " * 5_000 + "}",
        "{",
        "",
        "\x00",
        "\ud800",
        "{ unknown }",
        "subscription { profile }",
        "type Query { a: Int }",
        "fragment A on Query { profile { openCheckout { id } } }",
    ],
    ids=range(12),
)
def test_queries_that_are_none_are_refused(refused: Any, query: str) -> None:
    assert refused(query) == "BAD_REQUEST"


def post(client: Client, shop: Phones, body: bytes) -> Any:
    return client.post(
        "/graphql/",
        body,
        content_type="application/json",
        headers={"Saleor-Api-Url": shop.installation.saleor_api_url},
    )


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff\xfe\x00",
        b"[" * 100_000,
        b"[]",
        b"null",
        b'"{ profile }"',
        b"{}",
        b'{"query": null}',
        b'{"query": 1}',
        b'{"query": ["{ __typename }"]}',
        b'{"query": "{ __typename }", "variables": [1]}',
        b'{"query": "{ __typename }", "variables": "x"}',
        b'{"query": "{ __typename }", "operationName": {}, "x": 1}'.replace(b"{}", b'{"a": 1}'),
        b'{"query": "{ __typename }", "operationName": [1]}',
    ],
)
def test_b104_a_malformed_body_is_a_bad_request(client: Client, shop: Phones, body: bytes) -> None:
    response = post(client, shop, body)
    assert response.status_code == 400
    assert [e["extensions"]["code"] for e in response.json()["errors"]] == ["BAD_REQUEST"]


@pytest.mark.parametrize("size", [1_000_001, 3_000_000])
def test_a_large_body_is_refused(client: Client, shop: Phones, size: int) -> None:
    response = post(client, shop, b" " * size)
    assert response.status_code == 413
    assert response.json()["errors"][0]["extensions"] == {"code": "TOO_LARGE"}


@pytest.mark.parametrize("method", ["get", "put", "delete", "patch", "head"])
@pytest.mark.parametrize("accept", ["application/json", "text/html"])
def test_b104_only_post_is_answered_in_production(
    client: Client, shop: Phones, method: str, accept: str
) -> None:
    response = getattr(client, method)("/graphql/?query={__typename}", headers={"Accept": accept})
    assert (response.status_code, response["Allow"]) == (405, "POST")
    if method != "head":
        assert response.json()["errors"][0]["extensions"] == {"code": "BAD_REQUEST"}


def test_graphiql_is_there_in_debug_alone(client: Client, settings: Any, db: None) -> None:
    settings.DEBUG = True
    response = client.get("/graphql/", headers={"Accept": "text/html"})
    assert response.status_code == 200
    assert b"GraphiQL" in response.content
    assert client.get("/graphql/", headers={"Accept": "application/json"}).status_code == 405


# -- which operation -------------------------------------------------------------------------------

TWO = (
    "query Names { __typename } "
    'mutation Tell { track(events: [{id: "e", type: PRODUCT_VIEWED, productId: "UA=="}]) '
    "{ results { status } } }"
)


def test_several_operations_need_a_name(gql: Ask, refused: Any, shop: Phones) -> None:
    assert refused(TWO) == "BAD_REQUEST"
    assert refused(TWO, operation="Nobody") == "BAD_REQUEST"
    assert Profile.objects.count() == 0
    caller = {"anonymous_id": ANONYMOUS}
    assert gql(TWO, operation="Names", **caller).data == {"__typename": "Query"}
    assert Profile.objects.count() == 0
    assert gql(TWO, operation="Tell", **caller).data == {
        "track": {"results": [{"status": "ACCEPTED"}]}
    }


def test_the_limits_are_those_of_the_operation_that_runs(gql: Ask, shop: Phones) -> None:
    dear = "query Dear {" + COSTLY["aliases"][0][1:]
    query = f"query Cheap {{ __typename }} {dear}"
    assert gql(query, operation="Cheap", anonymous_id=ANONYMOUS).data
    assert gql(query, operation="Dear", anonymous_id=ANONYMOUS).codes == ["QUERY_TOO_COSTLY"]


# -- faults of ours --------------------------------------------------------------------------------


def test_b104_a_fault_shows_that_it_happened_and_nothing_else(
    gql: Ask,
    shop: Phones,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    settings: Any,
) -> None:
    secret = "the secret of the house"

    def fail(**_: object) -> None:
        raise ZeroDivisionError(secret)

    monkeypatch.setattr(service, "recommend", fail)
    for settings.DEBUG in (False, True):
        answer = gql(f"{{ {RECS}) {{ slot }} }}", anonymous_id=ANONYMOUS)
        assert answer.body == {
            "data": None,
            "errors": [
                {
                    "message": "Something went wrong here; it was logged.",
                    "path": ["recommendations"],
                    "extensions": {"code": "INTERNAL"},
                }
            ],
        }
        assert secret not in json.dumps(answer.body)
    (line, again) = (record.getMessage() for record in caplog.records)
    assert line == again
    assert line.startswith("A resolver failed: ZeroDivisionError at\n")
    assert "in resolve_recommendations" in line
    assert secret not in caplog.text


def test_a_fault_in_one_field_leaves_the_others(
    gql: Ask, shop: Phones, carol: Profile, monkeypatch: pytest.MonkeyPatch
) -> None:
    carol.identities.update(value=ANONYMOUS)

    def fail(*_: object, **__: object) -> None:
        raise KeyError("x")

    monkeypatch.setattr(types.favourites, "shown", fail)
    query = f"{{ {RECS}, first: 1) {{ slot }} profile {{ favourites {{ productId }} }} }}"
    answer = gql(query, anonymous_id=ANONYMOUS)
    assert answer.body["data"] == {"recommendations": [{"slot": 1}], "profile": None}
    assert answer.codes == ["INTERNAL"]


def test_answers_of_two_shops_never_mix(
    gql: Ask, shop: Phones, other_installation: Installation
) -> None:
    """Prepared queries are shared between shops; what they find is not."""
    query = f"{{ {RECS}) {{ productId }} }}"
    assert len(gql(query).data["recommendations"]) == 8
    assert gql(query, shop=other_installation).data == {"recommendations": []}
    assert len(gql(query).data["recommendations"]) == 8
