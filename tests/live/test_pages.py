"""B26 on a live Saleor: a page is written, recommended for what it is about, and gone when it is hidden."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from saleor_personalize.testing.stack import Stack, wait_until
from tests.live.inside import inside
from tests.live.shop import CHANNEL, LiveShop, Shelf

pytestmark = [pytest.mark.live, pytest.mark.timeout(600)]

QUERY = """query($channel: String!, $product: ID, $language: String) {
  recommendedPages(channel: $channel, productId: $product, first: 100, languageCode: $language) {
    pageId title slug strategy reason { code text }
  }
}"""


@pytest.fixture
def shelf(shop: LiveShop) -> Iterator[Shelf]:
    shelf = shop.shelf(f"live-{uuid.uuid4().hex[:6]}")
    yield shelf
    shelf.clear()


@pytest.fixture
def read(shop: LiveShop, stack: Stack, app_id: str) -> Any:
    def done() -> bool:
        status = json.loads(stack.run("backfill", "--status", "--json"))
        return bool(status) and status[0]["status"] == "done"

    wait_until(done, seconds=180, what="the back-fill")
    somebody = f"reader-{uuid.uuid4().hex}"

    def ask(page_id: str, **variables: Any) -> dict[str, Any] | None:
        """Return how a page is recommended now, or None."""
        answer = httpx.post(
            f"{stack.url}/graphql/",
            json={"query": QUERY, "variables": {"channel": CHANNEL, **variables}},
            headers={"Saleor-Api-Url": shop.api_url, "X-Anonymous-Id": somebody},
        ).json()
        assert "errors" not in answer, answer
        rows = answer["data"]["recommendedPages"]
        return next((row for row in rows if row["pageId"] == page_id), None)

    return ask


def test_b26_a_page_of_saleor_is_recommended_beside_its_product(
    shop: LiveShop, stack: Stack, shelf: Shelf, read: Any
) -> None:
    one, other = shop.variants(2)
    product, elsewhere = one["product"], other["product"]
    guide = shelf.write("A guide of the live test", products=[product])
    row = wait_until(lambda: read(guide, product=product), seconds=60, what="the guide")
    assert (row["title"], row["strategy"]) == ("A guide of the live test", "subject")
    assert row["reason"] == {"code": "ABOUT", "text": f"About {one['name']}"}
    assert read(guide, product=elsewhere) is None
    assert read(guide) is not None

    # In another language, and then about something else.
    shop.staff(
        "mutation($id: ID!) { pageTranslate(id: $id, languageCode: DE,"
        ' input: { title: "Ein Ratgeber" }) { errors { field message } } }',
        {"id": guide},
    )
    wait_until(
        lambda: (read(guide, product=product, language="DE") or {}).get("title") == "Ein Ratgeber",
        seconds=60,
        what="the translated title",
    )
    shelf.change(guide, products=[elsewhere])
    wait_until(lambda: read(guide, product=elsewhere), seconds=60, what="its new product")
    assert read(guide, product=product) is None

    # A tag that is called like the category of a product.
    category = shop.staff(
        "query($id: ID!) { product(id: $id) { category { name } } }", {"id": product}
    )["product"]["category"]["name"]
    tagged = shelf.write("A story of the live test", tags=[category.upper()])
    row = wait_until(lambda: read(tagged, product=product), seconds=60, what="the tagged page")
    assert row["reason"]["text"] == f"About {category}"

    # Hidden in bulk: Saleor says nothing, and the look at the list finds it.
    shelf.hide_in_bulk(guide, tagged)
    inside(stack, "from saleor_personalize.tasks.pages import look_at_pages; look_at_pages()")
    wait_until(lambda: read(tagged, product=product) is None, seconds=60, what="the bulk to arrive")
    assert read(guide, product=elsewhere) is None


def test_b26_the_page_of_a_brand_stands_beside_its_products(shop: LiveShop, read: Any) -> None:
    """The sample shop has pages of brands, to which products refer, and pages about nothing."""
    data = shop.staff(
        "{ products(first: 100) { edges { node { id name"
        " attributes { values { reference name } } } } } pages(first: 100) { edges { node { id title } } } }"
    )
    pages = {edge["node"]["id"]: edge["node"]["title"] for edge in data["pages"]["edges"]}
    found = [
        (edge["node"], value["reference"])
        for edge in data["products"]["edges"]
        for row in edge["node"]["attributes"]
        for value in row["values"]
        if value["reference"] in pages
    ]
    if not found:
        pytest.skip("no product of this shop refers to a page")
    product, brand = found[0]
    row = read(brand, product=product["id"])
    assert row["title"] == pages[brand]
    assert row["reason"] == {
        "code": "CURATED",
        "text": f"Chosen by us to go with {product['name']}",
    }
    for id_, title in pages.items():
        if title in ("About", "Damaged Item"):
            assert read(id_) is None
