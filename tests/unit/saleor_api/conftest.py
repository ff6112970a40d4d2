"""A shop on loopback, and nothing remembered from test to test."""

from collections.abc import Iterator
from typing import Any

import pytest

from saleor_personalize.models import Installation
from saleor_personalize.saleor_api import auth
from tests.conftest import NOW, make_installation
from tests.loopback import LoopbackShop, loopback_shop, with_loopback


@pytest.fixture
def shop(settings: Any) -> Iterator[LoopbackShop]:
    settings.SALEOR_PERSONALIZE = with_loopback(settings.SALEOR_PERSONALIZE)
    with loopback_shop() as shop:
        yield shop


@pytest.fixture
def shop_installation(shop: LoopbackShop, db: None) -> Installation:
    """The app installed in `shop`, with a token that works."""
    shop.accept("good-token")
    return make_installation(
        saleor_api_url=shop.api_url, auth_token="good-token", jwks_fetched_at=NOW
    )


@pytest.fixture(autouse=True)
def _forget() -> None:
    auth.refresh_limit.clear()
