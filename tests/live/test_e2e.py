"""The walking shop on a live Saleor: installed, filled, recommending, reminding, never wrongly."""

import json
import uuid
from html import escape

import httpx
import pytest

from saleor_personalize.testing.stack import Stack, wait_until
from tests.live.shop import CHANNEL, LiveShop

pytestmark = [pytest.mark.live, pytest.mark.timeout(600)]

RECOMMENDATIONS = """
query($placement: String!, $channel: String!, $productId: ID) {
  recommendations(placement: $placement, channel: $channel, productId: $productId, first: 5) {
    productId slot score strategy reason { code text }
  }
}
"""


def messages(stack: Stack) -> list[dict[str, str]]:
    return json.loads(stack.run("journeys", "messages", "--json"))


def ask(stack: Stack, shop: LiveShop, query: str, variables: dict[str, str]) -> dict[str, object]:
    answer = httpx.post(
        f"{stack.url}/graphql/",
        json={"query": query, "variables": variables},
        headers={"Saleor-Api-Url": shop.api_url, "X-Anonymous-Id": "e2e-" + uuid.uuid4().hex},
    ).json()
    assert "errors" not in answer, answer
    return answer["data"]


def test_b5_b6_installed_from_the_manifest_and_back_filled(
    shop: LiveShop, stack: Stack, app_id: str
) -> None:
    def done() -> dict[str, object] | None:
        status = json.loads(stack.run("backfill", "--status", "--json"))
        return status if status and status[0]["status"] == "done" else None

    (run,) = wait_until(done, seconds=180, what="the back-fill")
    counts = {stage["name"]: stage["row_count"] for stage in run["stages"]}
    totals = shop.staff(
        "{ products(first: 1) { totalCount } customers(first: 1) { totalCount }"
        " orders(first: 1) { totalCount } }"
    )
    assert counts["products"] == totals["products"]["totalCount"]
    assert counts["customers"] == totals["customers"]["totalCount"]
    assert counts["orders"] == totals["orders"]["totalCount"]


def test_b105_recommendations_are_products_that_saleor_shows(
    shop: LiveShop, stack: Stack, app_id: str
) -> None:
    seed = shop.variants(1)[0]["product"]
    for placement in ("home", "product_page_related", "product_page_similar"):
        rows = ask(
            stack,
            shop,
            RECOMMENDATIONS,
            {"placement": placement, "channel": CHANNEL, "productId": seed},
        )["recommendations"]
        ids = [row["productId"] for row in rows]
        assert len(ids) == 5
        assert seed not in ids
        shown = shop.gql(
            "query($ids: [ID!], $c: String!) { products(first: 5, channel: $c,"
            " filter: { ids: $ids, isAvailable: true }) { edges { node { id } } } }",
            {"ids": ids, "c": CHANNEL},
        )
        assert {edge["node"]["id"] for edge in shown["products"]["edges"]} == set(ids)


def test_b44_one_reminder_with_the_cart_link(shop: LiveShop, stack: Stack, app_id: str) -> None:
    stack.run("journeys", "go-live", "abandoned_checkout")
    address = f"reminded-{uuid.uuid4().hex[:8]}@example.com"
    silent = f"silent-{uuid.uuid4().hex[:8]}@example.com"
    first, second = shop.variants(2)
    checkout = shop.checkout(address, [first["id"], second["id"]], opt_in=True)
    shop.checkout(silent, [first["id"]])  # never said yes

    (mail,) = wait_until(lambda: stack.mailbox.to(address), seconds=60, what="the reminder")
    parts = {part.get_content_type(): part for part in mail.walk()}
    text = parts["text/plain"].get_payload(decode=True).decode()
    html = parts["text/html"].get_payload(decode=True).decode()
    assert text.count(f"checkout={checkout}") + text.count(f"checkout={checkout[:-1]}%3D") >= 1
    for line in (first, second):
        assert line["name"] in text
        assert escape(line["name"]) in html
    assert mail["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    wait_until(
        lambda: [m for m in messages(stack) if m["reason"] == "no_consent"],
        seconds=30,
        what="the decision not to write to somebody who never said yes",
    )
    assert len(stack.mailbox.to(address)) == 1
    assert stack.mailbox.to(silent) == []


@pytest.mark.parametrize("other_email", [False, True], ids=["same e-mail", "other e-mail"])
def test_d2_no_reminder_after_the_order(
    shop: LiveShop, stack: Stack, app_id: str, other_email: bool
) -> None:
    stack.run("journeys", "go-live", "abandoned_checkout")
    address = f"buyer-{uuid.uuid4().hex[:8]}@example.com"
    before = len([m for m in messages(stack) if m["reason"] == "ordered"])
    checkout = shop.checkout(address, [shop.variants(1)[0]["id"]], opt_in=True)
    if other_email:
        shop.set_email(checkout, f"other-{address}")
    shop.buy(checkout)
    wait_until(
        lambda: (
            len([m for m in messages(stack) if m["reason"] == "ordered"]) > before
            or not json.loads(stack.run("journeys", "waiting", "--json"))
        ),
        seconds=60,
        what="the journey to end",
    )
    assert stack.mailbox.to(address) == []
