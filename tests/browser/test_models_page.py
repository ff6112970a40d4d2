"""B39 and B102 as staff meet them: the model report and the playground, in a real browser."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone
from playwright.sync_api import expect

from saleor_personalize.enums import HeldBack, RuleEffect, TrainingStatus
from saleor_personalize.models import Installation, MerchandisingRule, TrainedModel, Training
from saleor_personalize.recommendations import service, training
from saleor_personalize.tasks import broker
from tests.browser.conftest import Dashboard
from tests.catalogue import Catalogue, product_id
from tests.measured import measured_shop

pytestmark = pytest.mark.browser

Open = Callable[..., Dashboard]


@pytest.fixture
def shop(installation: Installation, settings: Any, tmp_path: Path) -> Iterator[Catalogue]:
    """Three versions that were measured, the newest held back, and a rule."""
    settings.SALEOR_PERSONALIZE = {**settings.SALEOR_PERSONALIZE, "MODEL_DIRECTORY": str(tmp_path)}
    service.forget()
    shop = measured_shop(installation, timezone.now())
    for hours in (48, 24, 0):
        training.train(installation=installation, now=timezone.now() - timedelta(hours=hours))
    newest, before = TrainedModel.objects.order_by("-pk")[:2]
    newest.is_published, newest.held_back = False, HeldBack.FEWER_EVENTS
    newest.save()
    before.is_published = True
    before.save()
    MerchandisingRule.objects.create(
        installation=installation,
        name="Nothing of number eight",
        effect=RuleEffect.EXCLUDE,
        conditions={"product_ids": [product_id(8)]},
        updated_at=timezone.now(),
    )
    yield shop
    service.forget()


def open_page(shown: Dashboard, name: str) -> None:
    shown.frame.get_by_role("button", name=name, exact=True).click()


def test_b39_the_model_report(shop: Catalogue, dashboard: Open) -> None:
    shown = dashboard()
    open_page(shown, "Models")
    frame = shown.frame
    table = frame.get_by_role("region", name="Figures of each recommender").get_by_role("table")
    bought = table.get_by_role("row").filter(has_text="Bought together")
    expect(bought).to_contain_text("Used")
    alike = table.get_by_role("row").filter(has_text="Similar products")
    expect(alike).to_contain_text("It is no better than popularity.")
    expect(table).to_contain_text("not enough data")
    expect(frame.get_by_role("img", name="NDCG of 3 versions")).to_be_visible()
    versions = frame.locator("#versions")
    expect(versions).to_contain_text("Held back")
    expect(versions).to_contain_text("is something no longer recorded?")
    assert shown.violations() == []
    assert shown.console == []


def test_b118_the_way_back_by_keyboard(shop: Catalogue, dashboard: Open) -> None:
    first, published, _ = TrainedModel.objects.order_by("pk")
    shown = dashboard()
    open_page(shown, "Models")
    button = shown.frame.get_by_role("button", name=f"Have it answer: version {first.version}")
    button.focus()
    shown.page.keyboard.press("Enter")
    expect(shown.frame.locator("#outcome")).to_contain_text("This version answers now")
    expect(shown.frame.locator("#versions")).to_contain_text("Rolled back from")
    first.refresh_from_db()
    published.refresh_from_db()
    assert (first.is_published, published.is_published) == (True, False)


def test_training_shows_how_far_it_is_by_itself(
    shop: Catalogue, dashboard: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broker, "send", lambda name: None)
    shown = dashboard()
    open_page(shown, "Models")
    shown.frame.get_by_role("button", name="Train now").click()
    expect(shown.frame.locator("#training")).to_contain_text("Waiting for a worker")
    expect(shown.frame.get_by_role("button", name="Train now")).to_be_disabled()
    row = Training.objects.latest("pk")
    Training.objects.filter(pk=row.pk).update(
        status=TrainingStatus.RUNNING, progress=0.5, channel_slug="us", step="fitting similar"
    )
    expect(shown.frame.locator("#training")).to_contain_text("us: learning, Similar products")
    bar = shown.frame.get_by_role("progressbar")
    expect(bar).to_have_attribute("value", "50")
    assert shown.violations() == []


def test_the_figures_of_a_report_fit_a_screen_of_1280(shop: Catalogue, dashboard: Open) -> None:
    shown = dashboard(width=1280)
    open_page(shown, "Models")
    figures = shown.frame.get_by_role("region", name="Figures of each recommender")
    expect(figures).to_be_visible()
    assert figures.evaluate("region => region.scrollWidth <= region.clientWidth")


def test_b102_the_playground(shop: Catalogue, dashboard: Open) -> None:
    shown = dashboard()
    open_page(shown, "Playground")
    frame = shown.frame
    frame.get_by_label("Placement").select_option("product_page_related")
    frame.get_by_label("Product of the page (name or global id)").fill(product_id(7))
    shown.page.keyboard.press("Enter")
    answer = frame.get_by_role("region", name="Products of the answer").get_by_role("table")
    first = answer.get_by_role("row").nth(1)
    expect(first).to_contain_text(product_id(6))
    expect(first).to_contain_text("Often bought together with Thing of kind 7")
    expect(frame.locator("#answer")).to_contain_text("Left out because of rules")
    expect(frame.locator("#answer")).to_contain_text("Nothing of number eight: never shows it")
    expect(frame.get_by_label("Product of the page (name or global id)")).to_have_value(
        product_id(7)
    )
    assert shown.violations() == []
    assert shown.console == []


@pytest.mark.parametrize(("page", "locale"), [("Modelle", "de"), ("Modele", "pl")])
def test_the_page_in_the_language_of_the_dashboard(
    shop: Catalogue, dashboard: Open, page: str, locale: str
) -> None:
    shown = dashboard(locale=locale, query={"locale": locale}, width=380)
    open_page(shown, page)
    expect(shown.frame.locator("#report-title")).to_be_visible()
    wide = shown.frame.evaluate("document.documentElement.scrollWidth > innerWidth")
    assert not wide, "only tables scroll sideways"
    assert shown.violations() == []
