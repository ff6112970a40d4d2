"""B15 as staff meet it: segments in the frame of the Dashboard, in a real browser."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.utils import timezone
from playwright.sync_api import Frame, expect

from saleor_personalize.models import Installation, Profile, Segment
from saleor_personalize.segments import operations
from saleor_personalize.segments.definition import AllOf, AnyOf, Not
from saleor_personalize.segments.rules import Bought, EventCount, Language, OrderCount
from tests.browser.conftest import Dashboard
from tests.catalogue import Phones

pytestmark = pytest.mark.browser

Open = Callable[..., Dashboard]


@pytest.fixture
def shop(installation: Installation, alice: Profile, bob: Profile) -> Phones:
    phones = Phones(installation, timezone.now())
    phones.order(phones.phone, profile=alice, days_ago=3)
    Profile.objects.filter(pk=bob.pk).update(language_code="DE", country_code="DE")
    operations.create_segment(
        installation=installation,
        key="shoppers",
        name="Shoppers",
        definition=AllOf(
            AnyOf(
                Bought(at_least=1, product=phones.phone), EventCount(type="searched", at_least=2)
            ),
            Not(OrderCount(at_least=9)),
        ),
        now=timezone.now(),
    )
    operations.evaluate_due(now=timezone.now())
    return phones


def open_segments(shown: Dashboard) -> Frame:
    shown.frame.get_by_role("button", name="Segments", exact=True).click()
    expect(shown.frame.locator("#segments")).to_contain_text("Shoppers")
    return shown.frame


def test_b15_a_segment_is_built_by_keyboard_with_a_live_count(
    shop: Phones, dashboard: Open
) -> None:
    shown = dashboard()
    frame = open_segments(shown)
    expect(frame.locator("#segments")).to_contain_text("1 person")
    keyboard = shown.page.keyboard

    def press(name: str) -> None:
        """Go on with Tab to a button, as somebody without a mouse does, and press it."""
        for _ in range(60):
            keyboard.press("Tab")
            if frame.evaluate("document.activeElement.innerText || ''").strip() == name:
                keyboard.press("Enter")
                return
        pytest.fail(f"Tab does not lead to {name}")

    press("New segment")
    expect(frame.locator("#segment-count")).to_contain_text("2 people")
    frame.get_by_label("Name", exact=True).focus()
    keyboard.type("Germans")
    press("Add a rule")
    # The new rule is where the keyboard is.
    kind = frame.get_by_label("Kind of rule")
    expect(kind).to_be_focused()
    keyboard.type("Lang")
    code = frame.get_by_label("Code, such as")
    expect(code).to_be_visible()
    expect(kind).to_be_focused()
    code.focus()
    keyboard.type("de")
    expect(frame.locator("#segment-count")).to_contain_text("1 person")
    expect(frame.locator("#segment-count")).to_contain_text("Language: de")
    # What was typed is still there, and Enter saves.
    keyboard.press("Enter")
    expect(frame.locator("#segments")).to_contain_text("Germans")
    assert Segment.objects.get(key="germans").definition == {
        "all": [{"rule": "language", "code": "de"}]
    }
    expect(frame.locator("#outcome")).to_contain_text("Segment saved")
    assert shown.console == []


def test_b15_groups_nest_and_come_back(shop: Phones, dashboard: Open) -> None:
    frame = open_segments(dashboard())
    frame.get_by_role("button", name="Open “Shoppers”").click()
    expect(frame.get_by_role("group", name="Rule 1.1: Bought")).to_be_visible()
    expect(frame.locator("#n-0-0-product-named")).to_have_text("Aurora phone")
    expect(frame.locator("#segment-count")).to_contain_text("1 person")
    frame.get_by_role("button", name="Add a rule to group 1").click()
    added = frame.get_by_role("group", name="Rule 1.3")
    expect(added.get_by_label("Kind of rule")).to_be_focused()
    added.get_by_label("Kind of rule").select_option("country")
    added.get_by_label("Code of two letters").fill("de")
    expect(frame.locator("#segment-count")).to_contain_text("2 people")
    frame.get_by_role("button", name="Remove rule 1.2").click()
    expect(frame.get_by_role("group", name="Rule 1.3")).to_have_count(0)
    frame.get_by_role("button", name="Save").click()
    expect(frame.locator("#segments")).to_contain_text("Country: DE")
    assert Segment.objects.get(key="shoppers").definition == {
        "all": [
            {
                "any": [
                    {"rule": "bought", "at_least": 1, "product": shop.phone},
                    {"rule": "country", "code": "DE"},
                ]
            },
            {"not": {"rule": "order_count", "at_least": 9}},
        ]
    }


def test_b15_what_is_missing_is_marked_and_json_is_a_way_too(shop: Phones, dashboard: Open) -> None:
    frame = open_segments(dashboard())
    frame.get_by_role("button", name="New segment").click()
    frame.get_by_label("Name", exact=True).fill("Buyers")
    frame.get_by_role("button", name="Add a rule", exact=True).click()
    expect(frame.get_by_label("Kind of rule")).to_be_focused()
    frame.get_by_label("Kind of rule").select_option("order_count")
    least = frame.get_by_label("At least", exact=True)
    expect(least).to_be_visible()
    frame.get_by_role("button", name="Save").click()
    expect(least).to_have_attribute("aria-invalid", "true")
    expect(least).to_have_accessible_description("say how often: at least, at most, or both")
    assert Segment.objects.count() == 1
    frame.get_by_label("Definition").fill('{"rule": "order_count", "at_least": 1}')
    frame.get_by_role("button", name="Use this JSON").click()
    expect(frame.get_by_label("At least", exact=True)).to_have_value("1")
    frame.get_by_role("button", name="Save").click()
    expect(frame.locator("#segments")).to_contain_text("Buyers")
    frame.get_by_role("button", name="Open “Buyers”").click()
    frame.get_by_text("Delete this segment").click()
    frame.get_by_role("button", name="Delete", exact=True).click()
    expect(frame.locator("#segments")).not_to_contain_text("Buyers")
    assert Segment.objects.get().key == "shoppers"


def test_b15_the_count_on_the_list_moves_by_itself(
    shop: Phones, dashboard: Open, bob: Profile
) -> None:
    frame = open_segments(dashboard())
    expect(frame.locator("#segments")).to_contain_text("1 person")
    shop.order(shop.phone, profile=bob, days_ago=1)
    operations.evaluate_full(segment=Segment.objects.get(), now=timezone.now())
    expect(frame.locator("#segments")).to_contain_text("2 people", timeout=20_000)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [375, 1280])
def test_b15_no_barrier_and_no_sideways_scrolling(
    shop: Phones, dashboard: Open, theme: str, width: int
) -> None:
    shown = dashboard(width=width, query={"theme": theme})
    frame = open_segments(shown)
    root = "document.documentElement"
    for opened in (None, "Open “Shoppers”"):
        if opened:
            frame.get_by_role("button", name=opened).click()
            expect(frame.locator("#segment-count")).to_contain_text("1 person")
        assert shown.violations() == []
        assert frame.evaluate(f"{root}.scrollWidth <= {root}.clientWidth")


def test_b15_segments_speak_the_readers_language(shop: Phones, dashboard: Open) -> None:
    shown = dashboard(query={"locale": "de"})
    shown.frame.get_by_role("button", name="Segmente", exact=True).click()
    expect(shown.frame.locator("#segments")).to_contain_text("Gekauft")
    assert Language(code="de").title == "Language"
