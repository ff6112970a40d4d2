"""This app as real processes, installed in the Saleor that SALEOR_API_URL names."""

import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from saleor_personalize.testing.stack import Stack
from tests.live.shop import LiveShop


@pytest.fixture(scope="session")
def shop() -> LiveShop:
    return LiveShop(os.environ["SALEOR_API_URL"])


@pytest.fixture(scope="session")
def stack(shop: LiveShop) -> Iterator[Stack]:
    # Not pytest's own folder: another run of pytest removes it while PostgreSQL is in it.
    with tempfile.TemporaryDirectory(prefix="personalize-live-") as folder:
        Path(folder).chmod(0o755)
        with Stack(
            Path(folder),
            ALLOWED_SALEOR_API_URLS=re.escape(shop.api_url),
            CHECKOUT_URL="https://store.example.com/checkout?checkout={checkout_id}",
            ABANDONED_CHECKOUT_DELAY_SECONDS="6",
        ) as running:
            yield running


@pytest.fixture(scope="session")
def app_id(shop: LiveShop, stack: Stack) -> Iterator[str]:
    for old in shop.apps("saleor.personalize"):
        shop.app("appDelete", old)
    app_id = shop.install(f"{stack.url}/api/manifest")
    yield app_id
    if app_id in shop.apps("saleor.personalize"):
        shop.app("appDelete", app_id)


@pytest.fixture(scope="session")
def server_key(stack: Stack, shop: LiveShop, app_id: str) -> str:
    """What the shop's own server shows to our GraphQL."""
    made = stack.run("keys", "create", "the shop's server", "--installation", shop.api_url)
    return made.strip()
