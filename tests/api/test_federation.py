"""The subgraph: what a gateway composes, and what it asks of our fields of Saleor's objects."""

from __future__ import annotations

import base64
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

import saleor_personalize.graphql
from saleor_personalize.conf import Defaults
from saleor_personalize.exceptions import SaleorApiError
from saleor_personalize.graphql import federation
from saleor_personalize.graphql.schema import schema
from saleor_personalize.models import Installation, Product, Profile
from saleor_personalize.recommendations import service, training
from saleor_personalize.saleor_api import staff
from tests.api.conftest import ALICE, ANONYMOUS, BOB, Ask
from tests.api.test_placements import happen, looked
from tests.catalogue import Catalogue, Phones, gid
from tests.conftest import make_profile

SUBGRAPH = Path(saleor_personalize.graphql.__file__).parent / "subgraph.graphql"
ENTITIES = """query($of: [_Any!]!, $first: Int = 3) {
  _entities(representations: $of) {
    __typename
    ... on Product {
      id channel
      recommendations(placement: "product_page_related", first: $first) {
        productId strategy name price { amount } product { __typename id channel }
      }
    }
    ... on User { id profile { orderCount recentOrders { number } } }
    ... on Category { id topProducts(channel: "us", first: 2) { productId name } }
  }
}"""


def product(id_: str, channel: Any = "us") -> dict[str, Any]:
    return {"__typename": "Product", "id": id_, "channel": channel}


def user(id_: str) -> dict[str, Any]:
    return {"__typename": "User", "id": id_}


@pytest.fixture
def trained(shop: Phones, now: datetime) -> Phones:
    shop.sell()
    training.train(installation=shop.installation, now=now)
    return shop


# -- the schema --------------------------------------------------------------------------------------


def test_b104_the_published_subgraph_is_the_one_served(client: Client, db: None) -> None:
    """Without a shop and without a token: that is how gateways compose."""
    answer = client.post(
        "/graphql/", {"query": "{ _service { sdl } }"}, content_type="application/json"
    )
    assert answer.status_code == 200
    assert answer.json() == {
        "data": {"_service": {"sdl": SUBGRAPH.read_text(encoding="utf-8").rstrip("\n")}}
    }, "The schema changed: run `make schema`."


def test_b104_the_subgraph_extends_saleors_types_by_saleors_keys() -> None:
    sdl = federation.sdl(schema)
    for line in (
        'extend type Product @key(fields: "id channel") {\n  id: ID! @external\n  channel: String @external\n',
        'extend type User @key(fields: "id") {\n  id: ID! @external\n',
        'extend type Category @key(fields: "id") {\n  id: ID! @external\n',
        "extend type Query {\n",
        "extend type Mutation {\n",
    ):
        assert line in sdl
    for hidden in ("_Any", "_Entity", "_Service", "_service", "_entities", "@link"):
        assert hidden not in sdl


@pytest.mark.parametrize(
    "query",
    [
        "query SubgraphIntrospectQuery {\n  _service {\n    sdl\n  }\n}",
        "query { _service { sdl } }",
        "{_service{sdl}}",
    ],
)
def test_b104_all_tools_get_the_schema(client: Client, db: None, query: str) -> None:
    body = {"query": query, "variables": None, "operationName": None}
    answer = client.post("/graphql/", body, content_type="application/json").json()
    assert answer["data"]["_service"]["sdl"].startswith("extend type Query")


@pytest.mark.parametrize(
    "query",
    [
        "{ _service { sdl } profile { orderCount } }",
        "{ a: _service { sdl } b: _service { sdl } }",
        "query { _service { sdl } } query B { profile { orderCount } }",
        '{ _service { sdl } _entities(representations: [{__typename: "User", id: "VXNlcjox"}]) { __typename } }',
    ],
)
def test_b104_whoever_asks_for_more_than_the_schema_must_say_which_shop(
    client: Client, db: None, query: str
) -> None:
    answer = client.post("/graphql/", {"query": query}, content_type="application/json")
    assert answer.status_code == 403
    assert answer.json()["errors"][0]["extensions"] == {"code": "FORBIDDEN"}


def test_b104_the_schema_weighs_as_much_as_it_is_long(gql: Ask, shop: Phones) -> None:
    many = "{" + " ".join(f"a{n}: _service {{ sdl }}" for n in range(4)) + "}"
    assert gql(many, anonymous_id=ANONYMOUS).codes == ["QUERY_TOO_COSTLY"]


# -- products ----------------------------------------------------------------------------------------


def test_b104_a_product_of_saleor_gets_recommendations_in_its_channel(
    gql: Ask, trained: Phones
) -> None:
    answer = gql(ENTITIES, {"of": [product(trained.phone)], "first": 1}, anonymous_id=ANONYMOUS)
    assert answer.data["_entities"] == [
        {
            "__typename": "Product",
            "id": trained.phone,
            "channel": "us",
            "recommendations": [
                {
                    "productId": trained.case,
                    "strategy": "bought_together",
                    "name": "Leather case",
                    "price": {"amount": 10.0},
                    "product": {"__typename": "Product", "id": trained.case, "channel": "us"},
                }
            ],
        }
    ]


def test_b104_the_same_product_in_two_channels_is_answered_apart(gql: Ask, trained: Phones) -> None:
    both = [product(trained.phone, "us"), product(trained.phone, "pl")]
    us, pl = gql(ENTITIES, {"of": both}, anonymous_id=ANONYMOUS).data["_entities"]
    assert (us["channel"], pl["channel"]) == ("us", "pl")
    assert {row["product"]["channel"] for row in us["recommendations"]} == {"us"}
    assert [row["productId"] for row in pl["recommendations"]] == [trained.charger]
    assert pl["recommendations"][0]["product"]["channel"] == "pl"


@pytest.mark.parametrize("channel", [None, ""])
def test_b104_a_product_without_a_channel_says_what_is_missing(
    gql: Ask, trained: Phones, channel: str | None
) -> None:
    given = [product(trained.phone, channel), product(trained.phone)]
    answer = gql(ENTITIES, {"of": given, "first": 1}, anonymous_id=ANONYMOUS)
    without, with_ = answer.body["data"]["_entities"]
    assert without == {
        "__typename": "Product",
        "id": trained.phone,
        "channel": None,
        "recommendations": None,
    }
    assert len(with_["recommendations"]) == 1
    assert answer.codes == ["CHANNEL_REQUIRED"]


def test_b36_a_product_tells_why_it_is_shown(gql: Ask, trained: Phones) -> None:
    query = """query($of: [_Any!]!, $page: ID!) { _entities(representations: $of) { ... on Product {
      id reasonFor(placement: "product_page_related", productId: $page, languageCode: "EN") { code text }
    } } }"""
    given = [product(id_) for id_ in (trained.case, trained.phone, gid("Product", 999))]
    answer = gql(query, {"of": given, "page": trained.phone}, anonymous_id=ANONYMOUS)
    assert [each["reasonFor"] for each in answer.data["_entities"]] == [
        {"code": "BOUGHT_TOGETHER", "text": "Often bought together with Aurora phone"},
        None,  # the product of the page is not on its own page
        None,
    ]


def test_b104_an_unknown_product_is_answered_as_everywhere(gql: Ask, trained: Phones) -> None:
    unknown = gid("Product", 999)
    (found,) = gql(ENTITIES, {"of": [product(unknown)]}, anonymous_id=ANONYMOUS).data["_entities"]
    assert found["id"] == unknown
    assert len(found["recommendations"]) == 3


def test_b104_an_unknown_placement_is_told_and_the_product_stays(gql: Ask, trained: Phones) -> None:
    query = """query($of: [_Any!]!) { _entities(representations: $of) { ... on Product {
      id recommendations(placement: "hmoe") { productId } } } }"""
    answer = gql(query, {"of": [product(trained.phone)]}, anonymous_id=ANONYMOUS)
    assert answer.body["data"] == {"_entities": [{"id": trained.phone, "recommendations": None}]}
    assert answer.codes == ["NOT_FOUND"]


# -- people ------------------------------------------------------------------------------------------

PERSON = """query($of: [_Any!]!) { _entities(representations: $of) { ... on User {
  id
  profile { orderCount firstName traits { orderCount } }
  recommendations(placement: "home", channel: "us", first: 8) { productId }
} } }"""


def test_b104_a_user_reads_themself(
    gql: Ask, trained: Phones, alice: Profile, token_of: Any
) -> None:
    trained.order(trained.lamp, profile=alice, user_id=ALICE, days_ago=2)
    (me,) = gql(PERSON, {"of": [user(ALICE)]}, token=token_of(ALICE)).data["_entities"]
    assert me["id"] == ALICE
    assert me["profile"]["orderCount"] == 1
    assert me["profile"]["traits"] is None
    shown = {row["productId"] for row in me["recommendations"]}
    assert shown == set(trained.products) - {trained.lamp}


@pytest.mark.parametrize("who", ["anonymous", "another customer", "with both ids"])
def test_b104_nobody_reads_another_user(
    gql: Ask, trained: Phones, alice: Profile, bob: Profile, token_of: Any, who: str
) -> None:
    trained.order(trained.lamp, profile=alice, user_id=ALICE, days_ago=2)
    caller: dict[str, Any] = {
        "anonymous": {"anonymous_id": ANONYMOUS},
        "another customer": {"token": token_of(BOB)},
        "with both ids": {"token": token_of(BOB), "anonymous_id": ANONYMOUS},
    }[who]
    known = gql(PERSON, {"of": [user(ALICE)]}, **caller)
    unknown = gql(PERSON, {"of": [user(gid("User", 999))]}, **caller)
    # Nothing tells whether there is such a user.
    assert known.body == unknown.body == {"data": {"_entities": [None]}}


def test_b104_a_server_reads_the_users_of_its_shop(
    gql: Ask,
    trained: Phones,
    alice: Profile,
    dave: Profile,
    other_installation: Installation,
) -> None:
    """Dave has the same Saleor id as Alice, in another shop."""
    trained.order(trained.lamp, profile=alice, user_id=ALICE, days_ago=2)
    given = {"of": [user(ALICE), user(gid("User", 999))]}
    theirs, nobody = gql(PERSON, given, token=trained.installation.auth_token).data["_entities"]
    assert theirs["profile"]["orderCount"] == 1
    assert nobody["profile"] is None
    (other,) = gql(
        PERSON,
        {"of": [user(ALICE)]},
        token=other_installation.auth_token,
        shop=other_installation,
    ).data["_entities"]
    assert other["profile"]["orderCount"] == 0
    assert other["recommendations"] == []


class Staff:
    """What the shop answers about a staff member's token."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, me: Any) -> None:
        self.asked = 0

        def request_json(*_: Any, **given: Any) -> tuple[int, Any]:
            self.asked += 1
            assert given["headers"]["Authorization"].startswith("Bearer ey")
            if isinstance(me, Exception):
                raise me
            return httpx.codes.OK, {"data": {"me": me}}

        monkeypatch.setattr("saleor_personalize.saleor_api.network.request_json", request_json)


def staff_member(*permissions: str, **changes: Any) -> dict[str, Any]:
    codes = [{"code": code} for code in permissions]
    return {"id": BOB, "isActive": True, "isStaff": True, "userPermissions": codes, **changes}


def test_b104_staff_who_may_see_customers_read_them(
    gql: Ask, trained: Phones, alice: Profile, token_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = Staff(monkeypatch, staff_member("MANAGE_USERS", "MANAGE_ORDERS"))
    trained.order(trained.lamp, profile=alice, user_id=ALICE, days_ago=2)
    token = token_of(BOB, is_staff=True)
    for _ in range(2):
        (found,) = gql(PERSON, {"of": [user(ALICE)]}, token=token).data["_entities"]
        assert found["profile"]["orderCount"] == 1
        assert found["profile"]["traits"] is None
    assert shop.asked == 1, "an answer is believed for a minute"


@pytest.mark.parametrize(
    "me",
    [
        staff_member("MANAGE_ORDERS"),
        staff_member("MANAGE_USERS", isActive=False),
        staff_member("MANAGE_USERS", isStaff=False),
        None,
    ],
    ids=["without the permission", "inactive", "no staff any more", "token refused"],
)
def test_b104_other_staff_read_nobody(
    gql: Ask,
    trained: Phones,
    alice: Profile,
    token_of: Any,
    monkeypatch: pytest.MonkeyPatch,
    me: Any,
) -> None:
    Staff(monkeypatch, me)
    token = token_of(BOB, is_staff=True)
    assert gql(PERSON, {"of": [user(ALICE)]}, token=token).data == {"_entities": [None]}


def test_b104_staff_of_a_shop_that_cannot_be_asked_are_told(
    gql: Ask, trained: Phones, alice: Profile, token_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    Staff(monkeypatch, SaleorApiError("The shop is down.", is_retryable=True))
    given = {"of": [user(ALICE), user(BOB)]}
    answer = gql(PERSON, given, token=token_of(BOB, is_staff=True))
    assert answer.body["data"]["_entities"][0] is None
    assert answer.body["data"]["_entities"][1]["id"] == BOB
    assert answer.codes == ["SALEOR_NOT_AVAILABLE"]


def test_b104_a_customers_token_asks_the_shop_nothing(
    gql: Ask, trained: Phones, token_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(**_: Any) -> bool:
        raise AssertionError("the shop was asked")

    monkeypatch.setattr(staff, "may_see_customers", fail)
    given = {"of": [user(ALICE), user(BOB)]}
    found = gql(PERSON, given, token=token_of(BOB)).data["_entities"]
    assert [each and each["id"] for each in found] == [None, BOB]


# -- categories --------------------------------------------------------------------------------------


def test_b21_a_category_has_its_top_products(gql: Ask, trained: Phones) -> None:
    given = [
        {"__typename": "Category", "id": gid("Category", name)} for name in ("Chargers", "Lamps")
    ]
    chargers, lamps = gql(ENTITIES, {"of": given}, anonymous_id=ANONYMOUS).data["_entities"]
    assert chargers["id"] == gid("Category", "Chargers")
    assert [row["productId"] for row in chargers["topProducts"]] == [trained.charger, trained.cable]
    assert {row["productId"] for row in lamps["topProducts"]} <= {
        trained.lamp, trained.bulb, trained.stand
    }  # fmt: skip


# -- several kinds at once ---------------------------------------------------------------------------

MIXED = """query($of: [_Any!]!) { _entities(representations: $of) {
  ... on Product { id recommendations(placement: "best_sellers", first: 3) { productId } }
  ... on User { id recommendations(placement: "best_sellers", channel: "us", first: 3) { productId } }
  ... on Category { id recommendations: topProducts(channel: "us", first: 3) { productId } }
} }"""


@pytest.mark.parametrize("first", ["Product", "User", "Category"])
def test_b104_objects_of_several_kinds_that_ask_the_same_get_what_each_gets_alone(
    gql: Ask, trained: Phones, first: str
) -> None:
    token = trained.installation.auth_token
    trained.order(trained.phone, user_id=ALICE, days_ago=2)
    kinds = {
        "Product": product(trained.phone),
        "User": user(ALICE),
        "Category": {"__typename": "Category", "id": gid("Category", "Chargers")},
    }
    given = [kinds.pop(first), *kinds.values()]
    together = gql(MIXED, {"of": given}, token=token).data["_entities"]
    alone = [gql(MIXED, {"of": [each]}, token=token).data["_entities"][0] for each in given]
    assert together == alone
    assert all(each["recommendations"] for each in together)
    # What each is shown is its own: none could stand for another.
    assert len({str(each["recommendations"]) for each in together}) == 3


# -- bad input ---------------------------------------------------------------------------------------

MALFORMED: dict[str, Any] = {
    "no object": "Product",
    "a list": ["Product"],
    "a number": 5,
    "no type": {"id": gid("Product", 1)},
    "unknown type": {"__typename": "Order", "id": gid("Order", 1)},
    "a type of ours": {"__typename": "Profile", "id": "1"},
    "type is no text": {"__typename": ["Product"], "id": gid("Product", 1)},
    "no id": {"__typename": "Product", "channel": "us"},
    "id is null": {"__typename": "User", "id": None},
    "id is a number": {"__typename": "User", "id": 1},
    "id is no base64": {"__typename": "User", "id": "not base64!"},
    "id is no text inside": {"__typename": "User", "id": base64.b64encode(b"\xff\xfe").decode()},
    "id of another type": {"__typename": "User", "id": gid("Product", 1)},
    "id without a key": {"__typename": "User", "id": gid("User", "")},
    "id too long": {"__typename": "User", "id": gid("User", "1" * 500)},
    "NUL in the id": {"__typename": "User", "id": "VXNl\x00cjox"},
    "channel is a number": {"__typename": "Product", "id": gid("Product", 1), "channel": 1},
    "NUL in the channel": {"__typename": "Product", "id": gid("Product", 1), "channel": "u\x00s"},
    "half a surrogate": {"__typename": "Product", "id": gid("Product", 1), "channel": "\ud800"},
}


@pytest.mark.parametrize("given", MALFORMED.values(), ids=MALFORMED)
def test_b104_a_malformed_representation_is_null_beside_good_ones(
    gql: Ask, trained: Phones, token_of: Any, given: Any
) -> None:
    good = [product(trained.phone), user(ALICE)]
    answer = gql(ENTITIES, {"of": [good[0], given, good[1]]}, token=token_of(ALICE))
    first, bad, last = answer.body["data"]["_entities"]
    assert (first["id"], bad, last["id"]) == (trained.phone, None, ALICE)
    (error,) = answer.body["errors"]
    assert error["path"] == ["_entities", 1]
    assert error["extensions"]["code"] in {"INVALID_REPRESENTATION", "INVALID_TEXT"}
    assert answer.status == 200


def test_b104_more_representations_than_saleor_takes_are_refused(gql: Ask, trained: Phones) -> None:
    query = "query($of: [_Any!]!) { _entities(representations: $of) { __typename } }"
    given = [product(gid("Product", number)) for number in range(101)]
    answer = gql(query, {"of": given}, anonymous_id=ANONYMOUS)
    assert answer.body["data"] is None
    assert answer.codes == ["TOO_MANY_REPRESENTATIONS"]
    assert len(gql(query, {"of": given[:100]}, anonymous_id=ANONYMOUS).data["_entities"]) == 100
    assert gql(query, {"of": []}, anonymous_id=ANONYMOUS).data["_entities"] == []


@pytest.mark.parametrize("as_literal", [False, True])
def test_b104_representations_count_for_the_cost(
    gql: Ask, trained: Phones, as_literal: bool
) -> None:
    fields = '... on Product { recommendations(placement: "home", first: 10) { productId slot } }'
    given = [product(gid("Product", number)) for number in range(100)]
    if as_literal:
        one = f'{{__typename: "Product", id: "{trained.phone}", channel: "us"}}'
        query = f"{{ _entities(representations: [{one * 100}]) {{ {fields} }} }}"
        assert gql(query, anonymous_id=ANONYMOUS).codes == ["QUERY_TOO_COSTLY"]
    else:
        query = f"query($of: [_Any!]!) {{ _entities(representations: $of) {{ {fields} }} }}"
        assert gql(query, {"of": given}, anonymous_id=ANONYMOUS).codes == ["QUERY_TOO_COSTLY"]
        assert gql(query, {"of": given[:5]}, anonymous_id=ANONYMOUS).data


def test_b104_literals_are_understood(gql: Ask, trained: Phones) -> None:
    query = f"""{{ _entities(representations: [{{__typename: "Product", id: "{trained.phone}", channel: "us"}}]) {{
      __typename ... on Product {{ channel }} }} }}"""
    assert gql(query, anonymous_id=ANONYMOUS).data == {
        "_entities": [{"__typename": "Product", "channel": "us"}]
    }


def test_b104_a_gateway_of_another_shop_gets_its_own_products(
    gql: Ask, trained: Phones, other_installation: Installation, now: datetime
) -> None:
    other = Catalogue(other_installation, now)
    other.channel("us")
    theirs = other.product(91, "Their lamp")
    (found,) = gql(
        ENTITIES, {"of": [product(trained.phone)]}, anonymous_id=ANONYMOUS, shop=other_installation
    ).data["_entities"]
    assert [row["productId"] for row in found["recommendations"]] == [theirs]


def test_b104_products_asked_together_get_what_each_gets_alone(
    gql: Ask, trained: Phones, alice: Profile, token_of: Any
) -> None:
    trained.order(trained.bulb, profile=alice, user_id=ALICE, days_ago=2)
    cart = trained.checkout(trained.stand, profile=alice, user_id=ALICE).saleor_id
    together = """query($of: [_Any!]!, $cart: ID) { _entities(representations: $of) { ... on Product {
      recommendations(placement: "product_page_related", checkoutId: $cart, first: 5) { ...Row }
    } } } fragment Row on Recommendation { productId slot score strategy reason { code text } }"""
    alone = """query($id: ID!, $cart: ID) {
      recommendations(placement: "product_page_related", channel: "us", productId: $id, checkoutId: $cart, first: 5) { ...Row }
    } fragment Row on Recommendation { productId slot score strategy reason { code text } }"""
    for cart_id in (None, cart):
        given = {"of": [product(id_) for id_ in trained.products], "cart": cart_id}
        found = gql(together, given, token=token_of(ALICE)).data["_entities"]
        for id_, each in zip(trained.products, found, strict=True):
            asked = gql(alone, {"id": id_, "cart": cart_id}, token=token_of(ALICE))
            assert each["recommendations"] == asked.data["recommendations"]
            assert trained.bulb not in [row["productId"] for row in each["recommendations"]]
            assert cart_id is None or trained.stand not in [
                row["productId"] for row in each["recommendations"]
            ]


# -- one request, few queries ------------------------------------------------------------------------


def queries_of(gql: Ask, query: str, variables: dict[str, Any], **caller: Any) -> tuple[int, Any]:
    """Ask until all that a process remembers is remembered; return how many queries it takes then."""
    gql(query, variables, **caller)
    with CaptureQueriesContext(connection) as captured:
        found = gql(query, variables, **caller).data["_entities"]
    return len(captured), found


@pytest.fixture
def many(trained: Phones) -> list[str]:
    """Sixty more products in twelve categories and five types, each with a price of its own."""
    for number in range(12):
        trained.category(f"Category {number}")
    ids = [
        trained.product(
            number, f"Product {number}", category=f"Category {number % 12}", price=str(number)
        )
        for number in range(20, 80)
    ]
    for number, id_ in enumerate(ids):
        Product.objects.filter(saleor_id=id_).update(product_type=f"Type {number % 5}")
    service.forget()
    return ids


@pytest.mark.parametrize("placement", sorted(Defaults().PLACEMENTS))
def test_b104_fifty_products_cost_no_more_queries_than_one(
    gql: Ask, many: list[str], placement: str
) -> None:
    query = """query($of: [_Any!]!, $placement: String!) { _entities(representations: $of) { ... on Product {
      recommendations(placement: $placement, first: 3) { productId name price { amount } }
    } } }"""

    def count(number: int) -> int:
        given = [product(id_) for id_ in many[:number]]
        asked = {"of": given, "placement": placement}
        queries, found = queries_of(gql, query, asked, anonymous_id=ANONYMOUS)
        assert [len(each["recommendations"]) for each in found] == [3] * number
        return queries

    one = count(1)
    assert one <= MOST_QUERIES
    # The lists of some products reach further than that of the first: a read more for all of them.
    assert count(50) <= one + 2


#: Who asks, their consent and history, what is suggested, what sells of it, cards, names.
MOST_QUERIES = 9


@pytest.mark.usefixtures("nothing_expires")
def test_b104_fifty_categories_cost_no_more_queries_than_one(
    gql: Ask, trained: Phones, many: list[str]
) -> None:
    query = """query($of: [_Any!]!) { _entities(representations: $of) { ... on Category {
      topProducts(channel: "us", first: 3) { productId name reason { text } }
    } } }"""
    trained.order(*many[:30], days_ago=5)

    def count(number: int) -> int:
        given = [
            {"__typename": "Category", "id": gid("Category", f"Category {n}")}
            for n in range(number)
        ]
        service.forget()
        with CaptureQueriesContext(connection) as captured:
            found = gql(query, {"of": given}, anonymous_id=ANONYMOUS).data["_entities"]
        for place, each in enumerate(found):
            shown = [row["productId"] for row in each["topProducts"]]
            if place < 12:
                assert set(shown) <= set(many[(place + 4) % 12 :: 12])
                assert len(shown) == 3
            else:
                assert shown == [], "no such category: nothing of another one"
        return len(captured)

    count(1)
    assert count(50) <= count(2) + 2


def test_b104_people_asked_together_get_what_each_gets_alone_for_few_queries(
    gql: Ask, trained: Phones, many: list[str], now: datetime
) -> None:
    users = [gid("User", 100 + number) for number in range(20)]
    for number, user_id in enumerate(users):
        person = make_profile(trained.installation, saleor_user=user_id)
        trained.order(
            many[number], trained.products[number % 8], profile=person, user_id=user_id, days_ago=31
        )
        happen(
            trained.installation, now, *looked(many[-number], trained.products[-number % 8]),
            user_id=user_id,
        )  # fmt: skip
    token = trained.installation.auth_token
    query = """query($of: [_Any!]!, $placement: String!) { _entities(representations: $of) { ... on User {
      id profile { firstName }
      recommendations(placement: $placement, channel: "us", first: 3) { productId name reason { code text } }
    } } }"""
    for placement in ("home", "continue_shopping", "buy_again", "email", "personal_boutique"):

        def asked(ids: list[str], placement: str = placement) -> tuple[int, Any]:
            given = {"of": [user(id_) for id_ in ids], "placement": placement}
            return queries_of(gql, query, given, token=token)

        few, found = asked(users[:2])
        assert found == [asked([id_])[1][0] for id_ in users[:2]]
        assert len({str(each["recommendations"]) for each in found}) == 2, placement
        all_of_them, found = asked(users)
        assert [each["id"] for each in found] == users
        assert all_of_them <= few + 2 <= 15, placement
