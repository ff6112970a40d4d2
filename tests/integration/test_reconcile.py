"""What the daily look takes for gone is gone: a tombstone is for ever."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from saleor_personalize.ingestion import reconcile
from saleor_personalize.models import Installation, Product
from saleor_personalize.saleor_api.client import Page, SaleorClient
from saleor_personalize.testing.saleor import FakeSaleor
from tests.integration.test_backfill import LOOPBACK, installed, run_all

NOW = datetime.now(UTC)


@pytest.fixture
def shop() -> Iterator[FakeSaleor]:
    with FakeSaleor() as shop, LOOPBACK:
        shop.fill(products=5, customers=0, orders=0, checkouts=0)
        yield shop


@pytest.fixture
def installation(db: None, shop: FakeSaleor) -> Installation:
    return installed(shop)


class Skipping(SaleorClient):
    """A client that pages while somebody changes the shop: the page misses what `skips` names."""

    skips: frozenset[str] = frozenset()

    def page(self, operation_name: str, connection: str, **given: Any) -> Page:
        page = super().page(operation_name, connection, **given)
        if not given.get("variables"):
            page.nodes[:] = [node for node in page.nodes if node["id"] not in self.skips]
        return page


def test_a_product_that_the_pages_skip_is_not_gone(
    shop: FakeSaleor, installation: Installation
) -> None:
    run_all(installation)
    there, gone, *_ = shop.products
    shop.delete_product(gone)
    with Skipping(installation) as client:
        client.skips = frozenset({there})
        found = reconcile.remove_gone_products(installation=installation, client=client, now=NOW)
    assert found == 1
    assert [p.saleor_id for p in Product.objects.exclude(deleted_at=None)] == [gone]


def test_an_app_that_may_not_manage_products_believes_no_absence(
    shop: FakeSaleor, installation: Installation
) -> None:
    """Saleor shows it published products only, and does not say so."""
    run_all(installation)
    hidden, *_ = shop.products
    installation.permissions = ["MANAGE_USERS"]
    with Skipping(installation) as client:
        client.skips = frozenset({hidden})
        shop.delete_product(hidden)
        found = reconcile.remove_gone_products(installation=installation, client=client, now=NOW)
    assert found == 0
    assert not Product.objects.exclude(deleted_at=None).exists()
