"""B26: what a content page is about is read from Saleor after its webhook, and without one."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from saleor_personalize.catalog import operations
from saleor_personalize.enums import DeliveryStatus
from saleor_personalize.exceptions import SaleorApiError
from saleor_personalize.ingestion import pages
from saleor_personalize.models import (
    CategoryTranslation,
    Installation,
    Page,
    PageTranslation,
    WebhookDelivery,
)
from saleor_personalize.saleor_api.nodes import PageData
from saleor_personalize.tasks.pages import look_at_pages, refresh_pages
from saleor_personalize.testing.saleor import FakeSaleor
from tests.conftest import make_installation
from tests.integration.test_backfill import LOOPBACK, installed, run_all

NOW = datetime.now(UTC)
# Back-fills look at the clock: this is after all that a slow run of these tests gets to.
LATER = NOW + timedelta(hours=1)


@pytest.fixture
def shop() -> Iterator[FakeSaleor]:
    with FakeSaleor() as shop, LOOPBACK:
        shop.fill(products=66, customers=0, orders=0, checkouts=0)
        yield shop


@pytest.fixture
def installation(db: None, shop: FakeSaleor) -> Installation:
    installation = installed(shop)
    installation.permissions = [*installation.permissions, "MANAGE_PAGES"]
    installation.save()
    for app in shop.apps.values():
        app.permissions = installation.permissions
    return installation


@pytest.fixture
def first(shop: FakeSaleor) -> str:
    return next(iter(shop.pages))


def get(id_: str) -> Page:
    return Page.objects.get(saleor_id=id_)


def announce(installation: Installation, shop: FakeSaleor, id_: str, now: datetime) -> None:
    """Record what a webhook shows of a page."""
    page = shop.pages[id_]
    data = PageData(
        id_, page["title"], page["slug"], page["pageType"]["slug"], page["isPublished"], None
    )
    operations.record_pages(installation=installation, data=[data], now=now, seen_at=now)


def test_b26_the_back_fill_reads_pages_with_subjects_and_titles(
    installation: Installation, shop: FakeSaleor, first: str
) -> None:
    run_all(installation)
    page = get(first)
    green = [p["id"] for p in shop.products.values() if p["name"].startswith("Green Terrace")]
    assert len(green) == 3
    assert page.subjects == [first, "#green", "#strainers", *green]
    assert page.attributes == [
        {"attribute": "topics", "tags": ["green", "Strainers"], "references": []},
        {"attribute": "products", "tags": [], "references": green},
    ]
    assert (page.page_type, page.is_published, page.stale_since) == ("guide", True, None)
    titles = PageTranslation.objects.filter(page_saleor_id=first)
    assert dict(titles.values_list("language_code", "title")) == {"de": "So gelingt grüner Tee"}


def test_b38_the_back_fill_reads_the_names_of_categories(
    installation: Installation, shop: FakeSaleor, other_installation: Installation
) -> None:
    ids = {name: row["id"] for name, row in shop.categories.items()}
    german = {"Teapots": "Teekannen", "Cups": "Tassen"}
    for name, row in shop.categories.items():
        names = {"DE": {"id": "x", "name": german[name]}} if name in german else {}
        row["translation"] = lambda info, *, of=names, **asked: of.get(asked["languageCode"])
    stale = {"installation": installation, "language_code": "de", "recorded_at": NOW}
    for name in ("Cups", "Trays"):
        CategoryTranslation.objects.create(category_saleor_id=ids[name], name="Alt", **stale)
    theirs = {**stale, "installation": other_installation}
    CategoryTranslation.objects.create(category_saleor_id=ids["Trays"], name="Ihre", **theirs)
    run_all(installation)
    rows = CategoryTranslation.objects.of(installation)
    assert set(rows.values_list("category_saleor_id", "language_code", "name")) == {
        (ids["Teapots"], "de", "Teekannen"),
        (ids["Cups"], "de", "Tassen"),
    }
    assert CategoryTranslation.objects.of(other_installation).get().name == "Ihre"


def test_b26_a_page_is_read_again_once_saleor_has_settled(
    installation: Installation, shop: FakeSaleor, first: str
) -> None:
    announce(installation, shop, first, NOW)
    assert pages.refresh(installation=installation, now=NOW + timedelta(seconds=1)) == 0
    assert get(first).subjects == []
    assert pages.refresh(installation=installation, now=NOW + pages.SETTLED) == 1
    assert "#green" in get(first).subjects
    assert get(first).stale_since is None
    # Nothing is asked where nothing is stale.
    shop.apps.clear()
    assert pages.refresh(installation=installation, now=LATER) == 0


def test_b26_a_change_while_it_was_read_is_not_lost(
    installation: Installation, shop: FakeSaleor, first: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    announce(installation, shop, first, NOW)
    now = NOW + timedelta(seconds=10)
    record = operations.record_pages

    def meanwhile(**given: object) -> int:
        monkeypatch.setattr(operations, "record_pages", record)
        announce(installation, shop, first, now + timedelta(milliseconds=200))
        return record(**given)  # type: ignore[arg-type]

    monkeypatch.setattr(operations, "record_pages", meanwhile)
    pages.refresh(installation=installation, now=now)
    assert get(first).stale_since == now + timedelta(milliseconds=200)


def test_b26_a_look_finds_what_happened_in_bulk(
    installation: Installation, shop: FakeSaleor
) -> None:
    run_all(installation)
    hidden, deleted, kept, new, *_ = shop.pages
    Page.objects.filter(saleor_id=new).delete()
    shop.pages[hidden]["isPublished"] = False
    shop.delete_pages_in_bulk(deleted)
    assert pages.look(installation=installation, now=LATER) == 3
    assert pages.refresh(installation=installation, now=LATER) == 3
    assert get(hidden).is_published is False
    assert get(deleted).deleted_at == LATER
    assert (get(kept).is_published, get(kept).deleted_at) == (True, None)
    assert (get(new).is_published, get(new).deleted_at) == (True, None)
    assert len(get(new).subjects) > 1
    assert pages.look(installation=installation, now=LATER) == 0


def test_b26_an_app_without_the_permission_takes_nothing_for_deleted(
    installation: Installation, shop: FakeSaleor, first: str
) -> None:
    """Saleor shows it what is published, and does not say so: an old install goes on working."""
    installation.permissions = ["MANAGE_PRODUCTS"]
    for app in shop.apps.values():
        app.permissions = installation.permissions
    assert pages.look(installation=installation, now=LATER) == 5
    assert pages.refresh(installation=installation, now=LATER) == 5
    assert Page.objects.filter(is_published=True).count() == 5
    shop.pages[first]["isPublished"] = False
    after = LATER + timedelta(minutes=5)
    assert pages.look(installation=installation, now=after) == 1
    assert pages.refresh(installation=installation, now=after) == 1
    assert (get(first).is_published, get(first).deleted_at) == (False, None)
    assert get(first).stale_since is None
    assert pages.look(installation=installation, now=after) == 0
    shop.pages[first]["isPublished"] = True
    again = after + timedelta(minutes=5)
    assert pages.look(installation=installation, now=again) == 1
    assert pages.refresh(installation=installation, now=again) == 1
    assert get(first).is_published is True


def test_b26_a_page_that_cannot_be_read_is_kept_and_holds_up_no_other(
    installation: Installation, shop: FakeSaleor, first: str
) -> None:
    run_all(installation)
    Page.objects.update(stale_since=NOW, title="Old")
    shop.pages[first]["publishedAt"] = "0000-13-01"
    assert pages.refresh(installation=installation, now=LATER) == 5
    assert (get(first).is_published, get(first).stale_since) == (False, None)
    assert Page.objects.filter(title="Old").count() == 1
    kept = WebhookDelivery.objects.get()
    assert (kept.event, kept.status) == ("page_updated", DeliveryStatus.FAILED)
    assert "A page" in kept.error
    # Mended, it comes back with all that was kept.
    assert b"Green Terrace" in bytes(kept.body)


def test_b26_a_refused_token_hides_nothing(
    installation: Installation, shop: FakeSaleor, first: str
) -> None:
    """Saleor answers anybody about pages that are published: an empty list would look like the truth."""
    run_all(installation)
    shop.pages[first]["isPublished"] = False
    shop.apps.clear()
    Page.objects.filter(saleor_id=first).update(stale_since=NOW - timedelta(minutes=1))
    for ask in (pages.look, pages.refresh):
        with pytest.raises(SaleorApiError):
            ask(installation=installation, now=LATER)
    assert (get(first).is_published, get(first).deleted_at) == (True, None)
    assert Page.objects.filter(stale_since=None).count() == 4


def test_b26_the_tasks_serve_every_shop_and_one_shops_trouble_is_its_own(
    installation: Installation, shop: FakeSaleor, sent_on: list[str]
) -> None:
    make_installation(saleor_api_url="http://127.0.0.1:9/graphql/")
    assert look_at_pages() == 5
    assert sent_on == ["personalize.refresh_pages"]
    assert refresh_pages() == 5
    assert set(Page.objects.values_list("installation", flat=True)) == {installation.pk}
    assert Page.objects.filter(stale_since=None).count() == 5
    assert (look_at_pages(), refresh_pages()) == (0, 0)


@pytest.fixture
def sent_on(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    sent: list[str] = []
    monkeypatch.setattr(refresh_pages, "delay", lambda: sent.append(refresh_pages.name))
    return sent
