"""How the page behaves between pages: where the reader stands, "back", and what a press brought about."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import expect

from saleor_personalize.models import Installation, Journey
from tests.browser.conftest import Dashboard

pytestmark = pytest.mark.browser

Open = Callable[..., Dashboard]


def journeys(shown: Dashboard) -> None:
    shown.frame.locator("#page-journeys").click()
    expect(shown.frame.locator("#journeys-title")).to_be_in_viewport()


@pytest.mark.parametrize("width", [375, 1280])
def test_a_page_that_is_opened_from_a_list_begins_at_its_heading_and_back_leads_to_the_list(
    installation: Installation, dashboard: Open, width: int
) -> None:
    shown = dashboard(width=width)
    frame = shown.frame
    journeys(shown)
    last = frame.locator("#content ul.list button").last
    last.scroll_into_view_if_needed()
    place = frame.evaluate("scrollY")
    assert place > 200
    name = last.get_attribute("id")
    last.press("Enter")
    expect(frame.locator("#journey-title")).to_be_focused()
    expect(frame.locator("#journey-title")).to_be_in_viewport()
    shown.page.evaluate("history.back()")
    expect(frame.locator("#journeys-title")).to_be_attached()
    expect(frame.locator(f"#{name}")).to_be_focused()
    expect(frame.locator(f"#{name}")).to_be_in_viewport()
    shown.page.evaluate("history.forward()")
    expect(frame.locator("#journey-title")).to_be_in_viewport()
    assert shown.console == []


def test_another_language_stays_on_the_page(installation: Installation, dashboard: Open) -> None:
    shown = dashboard()
    frame = shown.frame
    journeys(shown)
    frame.locator("#journey-welcome").click()
    expect(frame.locator("#journey-title")).to_have_text("Welcome")
    shown.say("localeChanged", {"locale": "de"})
    expect(frame.locator("#journey-title")).to_have_text("Willkommen")


@pytest.mark.parametrize("width", [375, 1280])
def test_what_became_of_a_press_stays_beside_it(
    installation: Installation, dashboard: Open, width: int
) -> None:
    """In sight, in a place that screen readers are told of, and until another page is opened."""
    shown = dashboard(width=width)
    frame = shown.frame
    said = frame.locator("#outcome")
    frame.locator("#page-first-steps").click()
    frame.locator("#recipe-win_back").click()
    expect(said).to_have_text("“Win back” is chosen. Nothing is sent before it goes live.")
    expect(said).to_have_attribute("role", "status")
    expect(said).to_be_in_viewport()
    expect(frame.locator("li", has=said).locator("#recipe-win_back")).to_be_visible()
    assert shown.violations() == []
    # What failed is said likewise, with what helps.
    frame.locator("#page-previews").click()
    expect(frame.locator("#previews-title")).to_be_in_viewport()
    expect(said).to_be_hidden()
    frame.locator("#previews-show").click()
    expect(said).to_contain_text("It cannot be shown")
    expect(said).to_contain_text("read the history of your shop first")
    expect(said).to_have_class("notice bad wrap")
    expect(frame.locator("form", has=said)).to_have_id("previews-form")
    assert shown.violations() == []
    # A fragment that looks again by itself does not take it along.
    frame.locator("#page-overview").click()
    expect(said).to_be_hidden()
    frame.locator("#backfill-start").click()
    expect(said).to_have_text("Back-fill started.")
    expect(said).to_be_in_viewport()
    expect(frame.locator("#backfill", has=said)).to_have_count(0)
    assert not Journey.objects.filter(is_live=True).exists()
    assert shown.console == []
