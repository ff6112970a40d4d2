"""Our graph and Saleor's as one: composed by Apollo, and asked through Apollo's gateway."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.cache import cache
from django.test.testcases import LiveServerThread
from django.utils import timezone

import saleor_personalize.graphql
from saleor_personalize.events import callers
from saleor_personalize.models import Installation
from saleor_personalize.recommendations import service, training
from saleor_personalize.testing.keys import TEST_KEY
from tests.api.conftest import ALICE, BOB, claims_of
from tests.catalogue import Phones, gid
from tests.conftest import make_installation, make_profile
from tests.federation.gateway import Gateway, compose, gateway, need_node
from tests.federation.saleor import GatewayShop, serve

OURS = Path(saleor_personalize.graphql.__file__).parent / "subgraph.graphql"
SALEORS = Path(__file__).parent / "saleor.graphql"
NOWHERE = "http://127.0.0.1:9/graphql/"


@pytest.fixture(autouse=True)
def _node() -> None:
    need_node()


def test_b104_the_graph_composes_with_saleors(tmp_path: Path) -> None:
    composed = compose(
        saleor=NOWHERE, saleor_sdl=str(SALEORS), personalize=NOWHERE, personalize_sdl=str(OURS)
    )
    assert (composed.returncode, composed.stderr) == (0, "")
    for both in ("Product", "User", "Category"):
        (type_,) = composed.stdout.split(f"\ntype {both}\n")[1:]
        assert "@join__type(graph: PERSONALIZE, key:" in type_.split("{")[0]
        assert "@join__type(graph: SALEOR, key:" in type_.split("{")[0]


def test_b104_a_wrong_key_would_not_compose(tmp_path: Path) -> None:
    """Saleor finds no product by its id alone: this is what the key is for."""
    wrong = tmp_path / "wrong.graphql"
    text = OURS.read_text().replace('@key(fields: "id channel")', '@key(fields: "id")')
    assert text != OURS.read_text()
    wrong.write_text(text)
    composed = compose(
        saleor=NOWHERE, saleor_sdl=str(SALEORS), personalize=NOWHERE, personalize_sdl=str(wrong)
    )
    assert composed.returncode == 1
    assert composed.stdout == ""
    assert "SATISFIABILITY_ERROR" in composed.stderr


def test_b104_a_graph_that_cannot_be_had_is_told() -> None:
    composed = compose(saleor=NOWHERE, personalize=NOWHERE)
    assert composed.returncode == 1
    assert composed.stdout == ""


@pytest.fixture
def one_graph(transactional_db: None, tmp_path: Path, settings: Any) -> Iterator[Any]:
    """`(gateway, the app's shop, the installation)`: a trained app and a shop behind one gateway."""
    cache.clear()
    service.forget()
    callers.active.clear()
    settings.SALEOR_PERSONALIZE = {
        **settings.SALEOR_PERSONALIZE,
        "MODEL_DIRECTORY": str(tmp_path / "models"),
    }
    products: dict[str, str] = {}
    categories = {gid("Category", name): name for name in ("Cases", "Chargers")}
    thread = LiveServerThread("127.0.0.1", lambda handler: handler)
    thread.daemon = True
    thread.start()
    thread.is_ready.wait()
    with serve(GatewayShop(products, categories)) as saleor:
        installation = make_installation(saleor_api_url=saleor.url)
        shop = Phones(installation, timezone.now())
        shop.sell()
        training.train(installation=installation, now=timezone.now())
        names = ("Aurora phone", "Leather case", "Wall charger")
        products.update(zip((shop.phone, shop.case, shop.charger), names, strict=True))
        address = f"http://127.0.0.1:{thread.port}/graphql/"
        with gateway(tmp_path, saleor=saleor.url, personalize=address) as running:
            yield running, shop, installation
    thread.terminate()
    thread.join()


def token_of(installation: Installation, user_id: str) -> str:
    return f"Bearer {TEST_KEY.jwt(claims_of(installation, user_id, timezone.now()))}"


def test_b104_one_query_reads_both_graphs(one_graph: Any) -> None:
    """One test for all: a gateway takes seconds to start."""
    asked: Gateway
    installation: Installation
    asked, shop, installation = one_graph
    # Saleor's product, our recommendations, and these products in Saleor again.
    answer = asked.ask(
        """query($phone: ID!, $channel: String!) {
          product(id: $phone, channel: $channel) {
            name
            recommendations(placement: "product_page_related", first: 1) {
              strategy reason { text } price { currency }
              product { name pricing { priceRange { start { gross { currency amount } } } } }
            }
          }
        }""",
        {"phone": shop.phone, "channel": "us"},
        x_anonymous_id="3f0d6e0e-4b1c-anonymous",
        accept_language="de",
    )
    assert answer == {
        "data": {
            "product": {
                "name": "Aurora phone",
                "recommendations": [
                    {
                        "strategy": "bought_together",
                        "reason": {"text": "Oft zusammen gekauft mit Aurora phone"},
                        "price": {"currency": "USD"},
                        "product": {
                            "name": "Leather case",
                            "pricing": {
                                "priceRange": {
                                    "start": {"gross": {"currency": "USD", "amount": 10.0}}
                                }
                            },
                        },
                    }
                ],
            }
        }
    }
    # Several at once, from a list of Saleor's; a root field of ours; a category.
    answer = asked.ask(
        """query($case: ID!, $cases: ID!) {
          products(first: 2, channel: "us") { edges { node {
            slug reasonFor(placement: "product_page_related", productId: $case) { code }
          } } }
          recommendations(placement: "product_page_related", channel: "pl", productId: $case, first: 1) {
            product { slug channel }
          }
          category(id: $cases) { name topProducts(channel: "us", first: 1) { product { name } } }
        }""",
        {"case": shop.case, "cases": gid("Category", "Cases")},
    )
    assert answer == {
        "data": {
            "products": {
                "edges": [
                    {"node": {"slug": "aurora-phone", "reasonFor": {"code": "BOUGHT_TOGETHER"}}},
                    {"node": {"slug": "leather-case", "reasonFor": None}},
                ]
            },
            "recommendations": [{"product": {"slug": "wall-charger", "channel": "pl"}}],
            "category": {
                "name": "Cases",
                "topProducts": [{"product": {"name": "Leather case"}}],
            },
        }
    }
    # Alice reads herself; nobody reads her.
    alice = make_profile(installation, saleor_user=ALICE)
    shop.order(shop.phone, profile=alice, user_id=ALICE, days_ago=2)
    me = """query($id: ID!) { me { firstName profile { orderCount } }
      user(id: $id) { id profile { orderCount } recommendations(placement: "home", channel: "us") { productId } } }"""
    mine = asked.ask(me, {"id": ALICE}, authorization=token_of(installation, ALICE))
    assert mine["data"]["me"] == {"firstName": "Alice", "profile": {"orderCount": 1}}
    assert mine["data"]["user"]["profile"] == {"orderCount": 1}
    assert shop.phone not in {row["productId"] for row in mine["data"]["user"]["recommendations"]}
    for headers in ({}, {"authorization": token_of(installation, BOB)}):
        theirs = asked.ask(me, {"id": ALICE}, **headers)
        assert theirs["data"]["user"] == {"id": ALICE, "profile": None, "recommendations": None}
