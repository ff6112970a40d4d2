"""What a card costs beside what Saleor shows, promotions included, in each sales channel of a live shop."""

import json

import httpx
import pytest

from saleor_personalize.saleor_api.nodes import entered_side
from saleor_personalize.testing.stack import Stack, wait_until
from tests.live.shop import CHANNEL, LiveShop

pytestmark = [pytest.mark.live, pytest.mark.timeout(600)]

CARDS = """query($channel: String!) {
  recommendations(placement: "new_arrivals", channel: $channel, first: 100) {
    variantId price { amount currency } undiscountedPrice { amount currency }
  }
}"""
PRICES = """query($channel: String!, $ids: [ID!]) {
  channel(slug: $channel) { taxConfiguration { pricesEnteredWithTax } }
  productVariants(first: 100, channel: $channel, ids: $ids) { edges { node {
    id pricing {
      price { gross { amount currency } net { amount currency } }
      priceUndiscounted { gross { amount currency } net { amount currency } }
    }
  } } }
}"""


@pytest.mark.parametrize("channel", [CHANNEL, "channel-pln"])
def test_b53_cards_cost_what_saleor_shows_once_the_history_is_read(
    shop: LiveShop, stack: Stack, app_id: str, channel: str
) -> None:
    def done() -> bool:
        status = json.loads(stack.run("backfill", "--status", "--json"))
        return bool(status) and status[0]["status"] == "done"

    wait_until(done, seconds=180, what="the back-fill")
    answer = httpx.post(
        f"{stack.url}/graphql/",
        json={"query": CARDS, "variables": {"channel": channel}},
        headers={"Saleor-Api-Url": shop.api_url},
        timeout=30,
    ).json()
    assert "errors" not in answer, answer
    cards = {row.pop("variantId"): row for row in answer["data"]["recommendations"]}
    assert len(cards) > 10
    told = shop.staff(PRICES, {"channel": channel, "ids": list(cards)})
    side = entered_side(told["channel"])
    expected = {}
    for edge in told["productVariants"]["edges"]:
        pricing = edge["node"]["pricing"]
        paid, full = (pricing[name][side] for name in ("price", "priceUndiscounted"))
        expected[edge["node"]["id"]] = {
            "price": paid,
            "undiscountedPrice": None if full == paid else full,
        }
    assert cards == expected
