"""What the client makes of a shop's answers."""

import json
from typing import Any

import pytest

from saleor_personalize.exceptions import SaleorApiError, TokenRefused
from saleor_personalize.models import Installation
from saleor_personalize.saleor_api.client import AppIdentity, Page, SaleorClient
from tests.loopback import DENIED, LoopbackShop


@pytest.fixture
def client(shop: LoopbackShop) -> SaleorClient:
    shop.accept("good-token")
    return SaleorClient(
        Installation(saleor_api_url=shop.api_url, auth_token="good-token"),
        retry_delays=(0, 0),
        timeout=2,
    )


def test_who_our_token_makes_us(shop: LoopbackShop, client: SaleorClient) -> None:
    assert client.identity() == AppIdentity(
        app_id="QXBwOjE=",
        identifier="saleor.personalize",
        permissions=["MANAGE_ORDERS", "MANAGE_PRODUCTS"],
        saleor_version="3.24.1",
    )


def test_a_page_of_a_connection(shop: LoopbackShop, client: SaleorClient) -> None:
    shop.answers["Categories"] = [
        {
            "data": {
                "categories": {
                    "totalCount": 3,
                    "pageInfo": {"hasNextPage": True, "endCursor": "abc"},
                    "edges": [{"node": {"id": "Q2F0OjE="}}, {"node": {"id": "Q2F0OjI="}}],
                }
            },
            "extensions": {"cost": {"requestedQueryCost": 102, "maximumAvailable": 50_000}},
        }
    ]
    assert client.page("Categories", "categories", first=2, after="") == Page(
        nodes=[{"id": "Q2F0OjE="}, {"id": "Q2F0OjI="}],
        end_cursor="abc",
        has_next_page=True,
        total_count=3,
        cost=102,
    )
    assert shop.variables == [{"first": 2, "after": None}]


@pytest.mark.parametrize("passing", [500, 503, 429])
def test_passing_trouble_is_tried_again(
    shop: LoopbackShop, client: SaleorClient, passing: int
) -> None:
    shop.answers["Channels"] = [passing, passing, {"data": {"channels": []}}]
    assert client.execute("Channels") == {"channels": []}
    assert shop.requests == ["Channels"] * 3


def test_lasting_trouble_ends_after_three_attempts(
    shop: LoopbackShop, client: SaleorClient
) -> None:
    shop.answers["Channels"] = [500]
    with pytest.raises(SaleorApiError, match="answered 500") as failed:
        client.execute("Channels")
    assert failed.value.is_retryable is True
    assert shop.requests == ["Channels"] * 3


def test_a_query_that_saleor_will_not_run_is_not_repeated(
    shop: LoopbackShop, client: SaleorClient
) -> None:
    error = {"message": "The query exceeds the maximum cost of 50000.", "extensions": {}}
    shop.instead["/graphql/"] = (400, {}, json.dumps({"errors": [error]}).encode())
    with pytest.raises(SaleorApiError, match="refused Products: The query exceeds") as failed:
        client.execute("Products", {"first": 100})
    assert failed.value.is_retryable is False
    assert shop.requests == ["Products"]


def denied_at(*path: Any) -> dict[str, Any]:
    return {
        "message": "To access this path, you need ...",
        "path": list(path),
        "extensions": DENIED,
    }


def test_a_token_that_saleor_refuses_is_told_from_a_missing_permission(
    shop: LoopbackShop, client: SaleorClient
) -> None:
    shop.answers["Orders"] = [{"data": {"orders": None}, "errors": [denied_at("orders")]}]
    with pytest.raises(SaleorApiError, match="Saleor refused Orders: orders: To access") as lacking:
        client.execute("Orders", {"first": 1})
    assert not isinstance(lacking.value, TokenRefused)
    shop.apps.clear()
    with pytest.raises(TokenRefused, match="does not accept our app token"):
        client.execute("Orders", {"first": 1})
    assert shop.requests == ["Orders", "App", "Orders", "App"]


def test_a_withheld_field_is_null_and_logged(
    shop: LoopbackShop, client: SaleorClient, caplog: pytest.LogCaptureFixture
) -> None:
    path = ("checkouts", "edges", 0, "node", "user")
    data = {"checkouts": {"edges": [{"node": {"id": "Q2g6MQ==", "user": None}}]}}
    shop.answers["Checkouts"] = [{"data": data, "errors": [denied_at(*path)]}]
    assert client.execute("Checkouts", {"first": 1}) == data
    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [
        "Saleor withholds checkouts.edges.node.user in Checkouts: the app lacks a permission"
    ]


def test_any_other_error_fails_the_call(shop: LoopbackShop, client: SaleorClient) -> None:
    shop.answers["Channels"] = [
        {"data": {"channels": []}, "errors": [{"message": "Boom", "path": ["channels", 0]}]}
    ]
    with pytest.raises(SaleorApiError, match="Saleor refused Channels: channels: Boom"):
        client.execute("Channels")


def test_an_address_that_is_no_saleor_is_named(shop: LoopbackShop, client: SaleorClient) -> None:
    shop.instead["/graphql/"] = (200, {}, b"<html>Welcome</html>")
    with pytest.raises(SaleorApiError, match=r"answered 200 and no GraphQL\. Is this the address"):
        client.execute("Channels")


@pytest.mark.parametrize(
    "answer",
    [
        b"[" * 100_000,
        b'{"data": []}',
        b'{"data": null, "errors": "no"}',
        b'{"data": null, "errors": ["no"]}',
        b'{"data": {}, "errors": null}',
        b'{"data": {"categories": null, "app": {}}}',
        b'{"data": {"categories": {"edges": [null], "pageInfo": {}}, "app": []}, "errors": null}',
        b'{"data": {"categories": {"edges": [], "pageInfo": null}, "app": {"id": 1, "permissions": [1]}}}',
        b'{"data": {"categories": []}, "extensions": []}',
    ],
    ids=range(9),
)
def test_an_answer_of_another_shape_is_the_shops_trouble_and_no_fault_of_ours(
    shop: LoopbackShop, client: SaleorClient, answer: bytes
) -> None:
    shop.instead["/graphql/"] = (200, {}, answer)
    with pytest.raises(SaleorApiError):
        client.page("Categories", "categories", first=1, after=None)
    with pytest.raises(SaleorApiError):
        client.identity()


def test_trouble_while_asking_who_we_are_is_not_a_refusal(
    shop: LoopbackShop, client: SaleorClient
) -> None:
    shop.answers["App"] = [{"data": None, "errors": [{"message": "Boom", "path": ["app"]}]}]
    with pytest.raises(SaleorApiError, match="Boom") as failed:
        client.identity()
    assert not isinstance(failed.value, TokenRefused)
