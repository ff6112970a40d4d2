"""B34 as staff meet it: merchandising rules in the frame of the Dashboard, in a real browser."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.utils import timezone
from playwright.sync_api import expect

from saleor_personalize.models import Installation, MerchandisingRule
from saleor_personalize.recommendations import merchandising, service
from tests.browser.conftest import Dashboard
from tests.catalogue import Phones

pytestmark = pytest.mark.browser

Open = Callable[..., Dashboard]


@pytest.fixture
def shop(installation: Installation) -> Phones:
    service.forget()
    phones = Phones(installation, timezone.now())
    merchandising.create_rule(
        installation=installation,
        now=timezone.now(),
        name="No bulbs",
        effect="exclude",
        conditions={"product_ids": [phones.bulb]},
    )
    return phones


def test_b34_a_rule_is_made_with_a_live_preview(shop: Phones, dashboard: Open) -> None:
    shown = dashboard()
    frame = shown.frame
    frame.get_by_role("button", name="Rules", exact=True).click()
    expect(frame.locator("#rules")).to_contain_text("No bulbs")
    frame.get_by_role("button", name="New rule").click()
    frame.get_by_label("Name", exact=True).fill("Stand at the top")
    frame.get_by_label("What it does").select_option("pin")
    frame.get_by_label("Find a product by name", exact=True).fill("aurora")
    expect(frame.locator("#rule-found-product_ids option").first).to_have_attribute(
        "value", "Aurora phone"
    )
    frame.get_by_label("Find a product by name", exact=True).fill("Aurora phone")
    frame.get_by_role("button", name="Add: Find a product by name").click()
    expect(frame.get_by_label("Products (names")).to_have_value("Aurora phone")
    preview = frame.locator("#rule-preview")
    expect(preview).to_contain_text("It speaks of 1 product of this list.")
    expect(preview.locator("tbody tr").first).to_contain_text("Aurora phone")
    assert MerchandisingRule.objects.count() == 1
    frame.get_by_role("button", name="Save").click()
    expect(frame.locator("#rules")).to_contain_text("Stand at the top")
    expect(frame.locator("#outcome")).to_contain_text("Rule saved")
    assert MerchandisingRule.objects.get(effect="pin").conditions == {"product_ids": [shop.phone]}
    assert shown.console == []


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [375, 1280])
def test_b34_no_barrier_and_no_sideways_scrolling(
    shop: Phones, dashboard: Open, theme: str, width: int
) -> None:
    shown = dashboard(width=width, query={"theme": theme})
    frame = shown.frame
    frame.get_by_role("button", name="Rules", exact=True).click()
    expect(frame.locator("#rules")).to_contain_text("No bulbs")
    root = "document.documentElement"
    for opened in (None, "Open “No bulbs”"):
        if opened:
            frame.get_by_role("button", name=opened).click()
            expect(frame.locator("#rule-preview")).to_contain_text("It speaks of")
        assert shown.violations() == []
        assert frame.evaluate(f"{root}.scrollWidth <= {root}.clientWidth")
