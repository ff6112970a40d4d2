"""A live Saleor and the app behind Apollo's gateway: one query over both, and names in another language."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from saleor_personalize.testing.stack import Stack, wait_until
from tests.federation.gateway import Gateway, gateway, need_node
from tests.live.shop import CHANNEL, LiveShop

pytestmark = [pytest.mark.live, pytest.mark.timeout(600)]

PASSWORD = "A-long-passw0rd"
HEADERS = {"x_anonymous_id": f"federated-{uuid.uuid4().hex}"}


@pytest.fixture(scope="module")
def one_graph(
    shop: LiveShop, stack: Stack, app_id: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Gateway]:
    need_node()

    def done() -> bool:
        status = json.loads(stack.run("backfill", "--status", "--json"))
        return bool(status) and status[0]["status"] == "done"

    wait_until(done, seconds=180, what="the back-fill")
    folder: Path = tmp_path_factory.mktemp("gateway")
    with gateway(folder, saleor=shop.api_url, personalize=f"{stack.url}/graphql/") as running:
        yield running


def test_b104_a_product_of_saleor_has_recommendations_that_saleor_knows(
    one_graph: Gateway, shop: LiveShop
) -> None:
    seed = shop.variants(1)[0]["product"]
    answer = one_graph.ask(
        """query($id: ID!, $channel: String!) {
          product(id: $id, channel: $channel) {
            name
            category { name topProducts(channel: $channel, first: 2) { product { name } } }
            recommendations(placement: "product_page_similar", first: 3) {
              name slot strategy attributionId price { amount currency } reason { code text }
              product { id name pricing { priceRange { start { gross { amount currency } } } } }
            }
          }
        }""",
        {"id": seed, "channel": CHANNEL},
        **HEADERS,
    )
    assert "errors" not in answer, answer["errors"]
    product = answer["data"]["product"]
    rows = product["recommendations"]
    assert [row["slot"] for row in rows] == [1, 2, 3]
    for row in rows:
        start = row["product"]["pricing"]["priceRange"]["start"]["gross"]
        assert row["product"]["id"] != seed
        assert row["name"] == row["product"]["name"]
        assert row["price"] == start
        assert row["attributionId"]
        assert row["reason"]["text"]
    assert all(row["product"]["name"] for row in product["category"]["topProducts"])


def test_b104_a_page_of_products_and_our_own_roots(one_graph: Gateway) -> None:
    answer = one_graph.ask(
        """query($channel: String!) {
          products(first: 5, channel: $channel) { edges { node {
            name reasonFor(placement: "home") { code }
            recommendations(placement: "product_page_related", first: 2) { product { name } }
          } } }
          recommendationPage(placements: ["home", "new_arrivals"], channel: $channel, first: 4) {
            placement items { product { name channel } }
          }
        }""",
        {"channel": CHANNEL},
        **HEADERS,
    )
    assert "errors" not in answer, answer["errors"]
    nodes = [edge["node"] for edge in answer["data"]["products"]["edges"]]
    assert [len(node["recommendations"]) for node in nodes] == [2] * 5
    blocks = answer["data"]["recommendationPage"]
    shown = [item["product"]["name"] for block in blocks for item in block["items"]]
    assert len(shown) == len(set(shown)) == 8
    assert all(item["product"]["channel"] == CHANNEL for block in blocks for item in block["items"])


def test_b104_a_customer_reads_themself_through_the_gateway_and_nobody_else(
    one_graph: Gateway, shop: LiveShop
) -> None:
    emails = [f"{name}-{uuid.uuid4().hex[:8]}@example.com" for name in ("alice", "bob")]
    ids = [shop.register(email, PASSWORD) for email in emails]
    query = """query($channel: String!) { me {
      email recommendations(placement: "home", channel: $channel, first: 2) { product { name } }
      profile { orderCount }
    } }"""
    try:
        token = shop.login(emails[0], PASSWORD)
        mine = one_graph.ask(query, {"channel": CHANNEL}, authorization=f"Bearer {token}")
        assert "errors" not in mine, mine["errors"]
        assert mine["data"]["me"]["email"] == emails[0]
        assert len(mine["data"]["me"]["recommendations"]) == 2
        assert one_graph.ask(query, {"channel": CHANNEL})["data"] == {"me": None}
        theirs = """query($id: ID!) { user(id: $id) { email profile { orderCount firstName } } }"""
        staff = shop.login("admin@example.com", "admin")
        seen = one_graph.ask(theirs, {"id": ids[1]}, authorization=f"Bearer {staff}")
        assert "errors" not in seen, seen["errors"]
        assert seen["data"]["user"]["email"] == emails[1]
        refused = one_graph.ask(theirs, {"id": ids[1]}, authorization=f"Bearer {token}")
        assert not (refused.get("data") or {}).get("user")
    finally:
        for id_ in ids:
            shop.delete_customer(id_)


def test_b38_a_translation_in_saleor_is_the_name_on_the_card(
    shop: LiveShop, stack: Stack, app_id: str
) -> None:
    product = shop.variants(1)[0]["product"]
    name = f"Übersetzt {uuid.uuid4().hex[:6]}"

    def translate(to: str) -> None:
        shop.staff(
            "mutation($id: ID!, $name: String) { productTranslate(id: $id, languageCode: DE,"
            " input: { name: $name }) { errors { field message } } }",
            {"id": product, "name": to},
        )

    def named() -> Any:
        rows: Any = httpx.post(
            f"{stack.url}/graphql/",
            json={
                "query": 'query($c: String!) { recommendations(placement: "new_arrivals", channel: $c,'
                ' first: 100, languageCode: "DE") { productId name } }',
                "variables": {"c": CHANNEL},
            },
            headers={"Saleor-Api-Url": shop.api_url},
        ).json()["data"]["recommendations"]
        return {row["productId"]: row["name"] for row in rows}.get(product)

    try:
        translate(name)
        wait_until(lambda: named() == name, seconds=60, what="the translation")
    finally:
        translate("")
    wait_until(lambda: named() != name, seconds=60, what="the translation to go")
