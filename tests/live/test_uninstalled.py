"""The end of the story on a live Saleor; the last file, since nothing works after it."""

import httpx
import pytest

from saleor_personalize.testing.stack import Stack, wait_until
from tests.live.shop import CHANNEL, LiveShop
from tests.live.test_e2e import RECOMMENDATIONS

pytestmark = [pytest.mark.live, pytest.mark.timeout(600)]


def test_app_deleted_in_saleor_is_followed(shop: LiveShop, stack: Stack, app_id: str) -> None:
    shop.app("appDelete", app_id)

    def refused() -> bool:
        answer = httpx.post(
            f"{stack.url}/graphql/",
            json={"query": RECOMMENDATIONS, "variables": {"placement": "home", "channel": CHANNEL}},
            headers={"Saleor-Api-Url": shop.api_url},
        )
        return "errors" in answer.json()

    wait_until(refused, seconds=30, what="the installation to end")
