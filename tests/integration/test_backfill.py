"""A shop's history: all of it, once, whatever happens on the way (B6)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from queue import Queue
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection
from django.test import override_settings

from saleor_personalize.catalog import operations as catalog
from saleor_personalize.enums import BackfillStatus, DeliveryStatus, InstallationStatus
from saleor_personalize.exceptions import SaleorApiError
from saleor_personalize.ingestion import backfill, deliveries, reconcile
from saleor_personalize.journeys import operations as journeys
from saleor_personalize.models import (
    Backfill,
    BackfillStage,
    Checkout,
    Enrollment,
    Installation,
    Journey,
    Message,
    Order,
    OrderLine,
    Product,
    ProductListing,
    Profile,
    WebhookDelivery,
)
from saleor_personalize.saleor_api.client import Page, SaleorClient
from saleor_personalize.saleor_api.nodes import read_product
from saleor_personalize.testing.saleor import FakeSaleor, InstalledApp
from tests.conftest import make_installation

NOW = datetime.now(UTC)
PERMISSIONS = ["MANAGE_PRODUCTS", "MANAGE_ORDERS", "MANAGE_CHECKOUTS", "MANAGE_USERS"]
LOOPBACK = override_settings(
    SALEOR_PERSONALIZE={"ALLOW_PRIVATE_ADDRESSES": True, "BACKFILL_PAGE_SIZE": 20}
)


@pytest.fixture
def shop() -> Iterator[FakeSaleor]:
    with FakeSaleor() as shop, LOOPBACK:
        shop.fill(products=45, customers=30, orders=70, checkouts=3)
        yield shop


def installed(shop: FakeSaleor) -> Installation:
    """Put an app into the shop, as if it had been installed there."""
    app = InstalledApp("QXBwOjE=", "saleor.personalize", "a-working-token", PERMISSIONS, [])
    shop.apps[app.id] = app
    return make_installation(
        saleor_api_url=shop.api_url, auth_token=app.token, jwks=shop.key.jwks()
    )


@pytest.fixture
def installation(db: None, shop: FakeSaleor) -> Installation:
    return installed(shop)


def run_all(installation: Installation, **changes: Any) -> Backfill:
    run = backfill.request(installation=installation, now=NOW, **changes)
    claimed = backfill.claim_next(now=NOW)
    assert claimed is not None
    backfill.work(claimed)
    run.refresh_from_db()
    return run


def counts(run: Backfill) -> dict[str, tuple[int, int]]:
    return {row.name: (row.row_count, row.changed_count) for row in run.stages.all()}


def everything() -> dict[str, int]:
    models = (Product, ProductListing, Order, OrderLine, Checkout, Profile)
    return {model.__name__: model.objects.count() for model in models}


def test_b6_all_of_it_is_read_and_a_second_run_changes_nothing(
    installation: Installation,
) -> None:
    first = run_all(installation)
    assert first.status == BackfillStatus.DONE
    assert counts(first) == {
        "channels": (2, 2),
        "prices": (90, 90),
        "categories": (7, 7),
        "collections": (1, 1),
        "products": (45, 45),
        "pages": (5, 5),
        "customers": (30, 30),
        "orders": (70, 70),
        "checkouts": (3, 3),
    }
    before = everything()
    assert before["Order"] == 70
    assert ProductListing.objects.filter(is_in_stock=True).count() == 90

    second = run_all(installation)

    assert second.pk != first.pk
    assert {name: changed for name, (_, changed) in counts(second).items()} == dict.fromkeys(
        counts(first), 0
    )
    assert everything() == before


def test_d6_carts_of_the_past_are_recorded_but_nobody_is_reminded(
    installation: Installation,
) -> None:
    Journey.objects.create(
        installation=installation,
        key="abandoned_checkout",
        is_live=True,
        live_at=datetime.now(UTC),
    )
    run_all(installation)
    assert Checkout.objects.count() == 3
    assert Enrollment.objects.count() == 0
    assert Message.objects.count() == 0


def test_b6_pause_and_resume(installation: Installation) -> None:
    run = backfill.request(installation=installation, now=NOW)
    claimed = backfill.claim_next(now=NOW)
    assert claimed is not None
    seen: list[str] = []

    def pause_in_products(row: Any) -> None:
        seen.append(row.name)
        if row.name == "products":
            call_command("personalize_backfill", "--pause")

    backfill.work(claimed, on_page=pause_in_products)
    run.refresh_from_db()
    assert run.status == BackfillStatus.PAUSED
    # Two sales channels with 45 products each.
    assert seen == ["channels", *["prices"] * 6, "categories", "collections", "products"]
    assert Product.objects.count() == 20
    assert backfill.claim_next(now=NOW) is None, "nobody goes on with a paused run"

    call_command("personalize_backfill", "--resume")
    again = backfill.claim_next(now=NOW)
    assert again is not None
    backfill.work(again)
    run.refresh_from_db()
    assert run.status == BackfillStatus.DONE
    assert counts(run)["products"] == (45, 45)


def test_the_command_shows_where_it_stands(
    installation: Installation, capsys: pytest.CaptureFixture[str]
) -> None:
    call_command("personalize_backfill", "--installation", installation.saleor_api_url)
    assert capsys.readouterr().out == "Done: 253 rows new or changed.\n"
    call_command("personalize_backfill", "--status", "--json")
    (status,) = json.loads(capsys.readouterr().out)
    assert status["status"] == "done"
    assert status["stages"][4] == {
        "name": "products",
        "row_count": 45,
        "changed_count": 45,
        "total_count": 45,
        "is_done": True,
    }


def test_an_unreadable_row_goes_to_the_dead_letters_and_can_be_replayed(
    shop: FakeSaleor, installation: Installation
) -> None:
    order = next(iter(shop.orders.values()))
    placed, order["created"] = order["created"], "yesterday"

    run = run_all(installation)

    assert run.status == BackfillStatus.DONE
    assert counts(run)["orders"] == (70, 69)
    failed = WebhookDelivery.objects.get()
    assert (failed.event, failed.status) == ("order_updated", DeliveryStatus.FAILED)
    assert failed.error == "An order (dict) cannot be read: ValueError in one of its fields."
    order["created"] = placed
    assert run_all(installation).status == BackfillStatus.DONE
    assert Order.objects.count() == 70


def test_a_page_that_costs_too_much_is_asked_for_in_halves(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    real = SaleorClient.page

    def dear(self: SaleorClient, *args: Any, first: int, **kwargs: Any) -> Any:
        if args[0] == "Orders":
            sizes.append(first)
            if first > 5:
                raise SaleorApiError("Orders: QueryCostError", is_retryable=False)
        return real(self, *args, first=first, **kwargs)

    monkeypatch.setattr(SaleorClient, "page", dear)
    run = run_all(installation)
    assert run.status == BackfillStatus.DONE
    assert sizes[:3] == [20, 10, 5]
    assert set(sizes[2:]) == {5}
    assert Order.objects.count() == 70


def test_b6_a_page_fetched_ahead_is_as_old_as_its_request(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a page waits to be recorded, a webhook tells of a newer name; `updatedAt` is the same."""
    real = SaleorClient.page
    ahead: Queue[Page] = Queue()

    def page(self: SaleorClient, *args: Any, after: str | None, **kwargs: Any) -> Page:
        found = real(self, *args, after=after, **kwargs)
        if args[0] == "Products" and after:
            ahead.put(found)
        return found

    renamed: list[str] = []

    def rename_in_between(row: BackfillStage) -> None:
        if row.name == "products" and not renamed:
            node = ahead.get(timeout=30).nodes[0]
            renamed.append(node["id"])
            catalog.record_products(
                installation=installation,
                data=[read_product({**node, "name": "A newer name"})],
                now=datetime.now(UTC),
                seen_at=datetime.now(UTC),
            )

    monkeypatch.setattr(SaleorClient, "page", page)
    backfill.request(installation=installation, now=NOW)
    claimed = backfill.claim_next(now=NOW)
    assert claimed is not None
    assert backfill.work(claimed, on_page=rename_in_between) == BackfillStatus.DONE
    assert Product.objects.get(saleor_id=renamed[0]).name == "A newer name"
    assert Product.objects.count() == 45


def test_trouble_of_the_shop_leaves_the_run_for_the_next_worker(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = SaleorClient.page
    down = [True]

    def page(self: SaleorClient, *args: Any, **kwargs: Any) -> Any:
        if args[0] == "Orders" and down[0]:
            raise SaleorApiError("the shop answered 503", is_retryable=True)
        return real(self, *args, **kwargs)

    monkeypatch.setattr(SaleorClient, "page", page)
    run = run_all(installation)
    assert (run.status, run.error) == (BackfillStatus.RUNNING, "the shop answered 503")
    assert backfill.claim_next(now=datetime.now(UTC)) is None, "not at once again"
    down[0] = False
    again = backfill.claim_next(now=datetime.now(UTC) + timedelta(minutes=1))
    assert again is not None
    assert backfill.work(again) == BackfillStatus.DONE
    assert counts(run)["products"] == (45, 45)


def test_a_refused_token_ends_the_run_and_is_followed(
    shop: FakeSaleor, installation: Installation
) -> None:
    shop.apps.clear()
    run = run_all(installation)
    assert run.status == BackfillStatus.FAILED
    installation.refresh_from_db()
    assert installation.status == InstallationStatus.TOKEN_REFUSED
    assert Product.objects.count() == 0
    assert ProductListing.objects.count() == 0


def test_trap_10_reconciliation_finds_what_webhooks_missed(
    shop: FakeSaleor, installation: Installation
) -> None:
    """A cart was open, we were deaf while it was bought and a product deleted."""
    run_all(installation)
    (checkout_id, *_) = shop.checkouts
    gone = list(shop.products)[-1]
    shop.complete_checkout(checkout_id)
    shop.delete_product(gone)
    assert Checkout.objects.get(saleor_id=checkout_id).closed_at is None

    now = datetime.now(UTC)
    run = reconcile.reconcile(installation=installation, now=now)

    assert run is not None
    assert run.changed_since is not None
    claimed = backfill.claim_next(now=now)
    assert claimed is not None
    backfill.work(claimed)
    assert Checkout.objects.get(saleor_id=checkout_id).close_reason == "ordered"
    assert Order.objects.count() == 71
    assert Product.objects.get(saleor_id=gone).deleted_at == now
    assert not ProductListing.objects.filter(product_saleor_id=gone).exists()
    # Only what changed was asked for.
    assert counts(run)["orders"][0] < 70


def test_trap_10_a_cart_left_while_we_were_deaf_waits_like_any_other(
    shop: FakeSaleor, installation: Installation
) -> None:
    run_all(installation)
    assert not Enrollment.objects.exists()
    journey = journeys.ensure_journey(installation=installation, key="abandoned_checkout")
    journeys.go_live(journey=journey, now=datetime.now(UTC))
    cart = shop.create_checkout(
        channel=shop.default_channel,
        lines=[(next(iter(shop.variants)), 1)],
        email="late@example.com",
    )

    now = datetime.now(UTC)
    reconcile.reconcile(installation=installation, now=now)
    claimed = backfill.claim_next(now=now)
    assert claimed is not None
    backfill.work(claimed)
    # Those from before the journey went live are left alone.
    assert [row.subject_saleor_id for row in Enrollment.objects.all()] == [cart["id"]]


def _url_of_the_test_database() -> str:
    names = connection.settings_dict
    return f"postgresql://{names['USER']}:{names['PASSWORD']}@/{names['NAME']}?host={names['HOST']}"


@pytest.mark.django_db(transaction=True)
def test_b6_a_killed_worker_loses_nothing_and_repeats_nothing(shop: FakeSaleor) -> None:
    installation = installed(shop)
    run = backfill.request(installation=installation, now=NOW)
    killed = subprocess.run(
        [sys.executable, "-m", "tests.integration.backfill_worker"],
        env={
            **os.environ,
            "DATABASE_URL": _url_of_the_test_database(),
            "ALLOW_PRIVATE_ADDRESSES": "1",
        },
        check=False,
        capture_output=True,
        text=True,
    )
    assert killed.returncode == -9, killed.stderr
    run.refresh_from_db()
    assert run.status == BackfillStatus.RUNNING
    assert Product.objects.count() == 45
    assert counts(run)["orders"] == (0, 0)
    assert Order.objects.count() == 0
    assert backfill.claim_next(now=datetime.now(UTC)) is None, "its lease still holds"

    later = backfill.claim_next(now=datetime.now(UTC) + backfill.LEASE + timedelta(seconds=1))
    assert later is not None
    assert backfill.work(later) == BackfillStatus.DONE
    assert counts(run) == {
        "channels": (2, 2),
        "prices": (90, 90),
        "categories": (7, 7),
        "collections": (1, 1),
        "products": (45, 45),
        "pages": (5, 5),
        "customers": (30, 30),
        "orders": (70, 70),
        "checkouts": (3, 3),
    }
    assert deliveries.failed(installation=installation).count() == 0
