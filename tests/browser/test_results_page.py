"""B91 to B93 and B118 as staff meet them: the page of results in a real browser."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

import pytest
from django.utils import timezone
from playwright.sync_api import expect

from saleor_personalize.analytics import operations
from saleor_personalize.enums import EventType, MessageEventKind, MessageStatus, NotSentReason
from saleor_personalize.models import Installation, Profile
from tests.browser.conftest import Dashboard
from tests.integration.measuring import DAY, Shop

pytestmark = pytest.mark.browser

Open = Callable[..., Dashboard]


@pytest.fixture
def shop(installation: Installation, alice: Profile, bob: Profile) -> Shop:
    shop = Shop(installation, timezone.now() - DAY)
    shop.became(shop.message(alice, 0), MessageEventKind.CLICKED, 1)
    shop.message(bob, 0, status=MessageStatus.NOT_SENT, reason=NotSentReason.NO_CONSENT)
    for currency in ("USD", "EUR"):
        shop.order(alice, 2, total=Decimal("1234567.50"), currency=currency)
    shop.recommended(bob, EventType.RECOMMENDATION_CLICKED, "product-lamp", 1)
    shop.order(bob, 2, "product-lamp", total=Decimal(100))
    for _ in range(8):
        operations.refresh(installation=installation, now=timezone.now())
    return shop


@pytest.mark.parametrize(("width", "theme"), [(1280, "light"), (375, "dark")])
def test_b118_the_results_are_read_by_everybody_and_fit_a_small_screen(
    shop: Shop, dashboard: Open, width: int, theme: str
) -> None:
    shown = dashboard(width=width, query={"theme": theme})
    frame = shown.frame
    frame.locator("#page-results").click()
    expect(frame.get_by_role("heading", name="Results", level=2)).to_be_visible()
    expect(frame.get_by_role("img", name="Revenue by day, USD")).to_be_visible()
    frame.get_by_text("Each day as a table").first.click()
    expect(frame.get_by_role("region", name="Revenue by day, USD")).to_be_visible()
    assert shown.violations() == []
    assert frame.locator("body").evaluate("body => body.scrollWidth <= window.innerWidth")
    if width == 1280:
        table = frame.get_by_role("region", name="Figures of each journey")
        assert table.evaluate("region => region.scrollWidth <= region.clientWidth")
    assert shown.console == []


def test_b92_a_journey_and_a_period_by_keyboard(shop: Shop, dashboard: Open) -> None:
    shown = dashboard()
    frame = shown.frame
    frame.locator("#page-results").click()
    table = frame.get_by_role("region", name="Figures of each journey").get_by_role("table")
    table.get_by_role("button").focus()
    shown.page.keyboard.press("Enter")
    reasons = frame.get_by_role("region", name="Reasons")
    expect(reasons).to_contain_text("The person did not allow messages of this kind.")
    assert shown.violations() == []
    frame.get_by_role("button", name="7 days").focus()
    shown.page.keyboard.press("Enter")
    expect(frame.get_by_role("button", name="7 days")).to_have_attribute("aria-current", "true")
    expect(reasons).to_contain_text("100.0 %")
    frame.get_by_role("button", name="All results").click()
    expect(frame.get_by_role("heading", name="Placements")).to_be_visible()


def test_b96_rows_are_downloaded(shop: Shop, dashboard: Open) -> None:
    shown = dashboard()
    shown.frame.locator("#page-results").click()
    with shown.page.expect_download() as download:
        shown.frame.get_by_role("button", name="What orders followed as CSV").click()
    assert download.value.suggested_filename == "attributions.csv"
    assert "abandoned_checkout" in download.value.path().read_text()
