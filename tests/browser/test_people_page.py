"""B10 and B2 as staff meet them: a person in the frame of the Dashboard, in a real browser."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.utils import timezone
from playwright.sync_api import Frame, expect

from saleor_personalize.enums import EventSource, EventType, IdentityKind, MergeProof
from saleor_personalize.models import Event, Installation, Merge, Profile
from saleor_personalize.profiles import merging
from saleor_personalize.traits import operations
from tests.browser.conftest import Dashboard
from tests.catalogue import Phones

pytestmark = pytest.mark.browser

Open = Callable[..., Dashboard]


@pytest.fixture
def shop(installation: Installation, alice: Profile, bob: Profile, carol: Profile) -> Phones:
    """Alice signed in where Carol had looked at thirty products, and ordered twice."""
    now = timezone.now()
    phones = Phones(installation, now)
    phones.order(phones.phone, phones.case, profile=alice, days_ago=9)
    phones.order(phones.lamp, profile=alice, days_ago=3)
    for number in range(30):
        Event.objects.create(
            installation=installation,
            event_id=f"e{number}",
            type=EventType.PRODUCT_VIEWED,
            profile=carol,
            occurred_at=now - timedelta(days=10, minutes=number),
            received_at=now,
            source=EventSource.STOREFRONT,
            product_saleor_id=phones.products[number % 8],
        )
    merging.prove(
        installation=installation,
        first=alice,
        second=carol,
        proof=MergeProof.LOGIN,
        evidence=[(IdentityKind.ANONYMOUS_ID, "3f0d6e0e-carol")],
        now=now - timedelta(days=10),
    )
    operations.compute(installation=installation, now=now)
    return phones


def find(shown: Dashboard, who: str) -> Frame:
    frame = shown.frame
    if not frame.locator("#people-search").count():
        frame.get_by_role("button", name="People", exact=True).click()
    frame.get_by_label("E-mail address, Saleor user").fill(who)
    frame.get_by_role("button", name="Find", exact=True).click()
    return frame


def test_b10_a_person_is_found_and_read_to_the_first_line(shop: Phones, dashboard: Open) -> None:
    shown = dashboard()
    frame = find(shown, "nobody@example.com")
    expect(frame.locator("#content")).to_contain_text("Nobody is known by this.")
    frame = find(shown, "alice@example.com")
    expect(frame.locator("#traits-title")).to_be_visible()
    expect(frame.locator("#content")).to_contain_text("Active")
    expect(frame.locator("#content")).to_contain_text("31.00")
    lines = frame.locator("#timeline > li:not(#timeline-older)")
    expect(lines).to_have_count(25)
    frame.get_by_role("button", name="Show older").click()
    expect(lines).to_have_count(34)
    # Whoever reads by keyboard goes on where the new lines begin.
    expect(lines.nth(25)).to_be_focused()
    expect(frame.get_by_role("button", name="Show older")).to_have_count(0)
    # No address stands in an address: neither in a log nor in a history.
    assert not [request.url for request in shown.requests if "example.com" in request.url]
    assert shown.console == []


def test_b2_staff_split_after_a_second_question_and_join_after_a_look(
    shop: Phones, dashboard: Open, bob: Profile
) -> None:
    shown = dashboard()
    frame = find(shown, "3f0d6e0e-carol")
    card = frame.locator("#content")
    expect(card).to_contain_text("Signed in on this device.")
    sure = frame.get_by_role("button", name="Yes, split them")
    expect(sure).not_to_be_visible()
    frame.locator("summary", has_text="Split").click()
    sure.click()
    expect(frame.locator("#outcome")).to_contain_text("Split into two people")
    assert shown.said("notification")[-1]["title"] == "Split into two people"
    assert Merge.objects.get().undone_at is not None
    frame.locator("summary", has_text="Join with somebody").click()
    frame.get_by_label("Who else this person is").fill("bob@example.com")
    frame.locator("#join-look").click()
    expect(frame.locator("#join-form")).to_contain_text("bob@example.com")
    assert Merge.objects.count() == 1
    frame.get_by_role("button", name="Yes, this is one person").click()
    expect(card).to_contain_text("Joined by staff.")
    bob.refresh_from_db()
    assert bob.merged_into_id is not None
    assert shown.console == []


def test_b10_a_customers_page_in_the_dashboard_opens_the_person(
    shop: Phones, dashboard: Open
) -> None:
    shown = dashboard(query={"customerId": "VXNlcjox"})
    expect(shown.frame.locator("#who-title")).to_be_visible()
    expect(shown.frame.locator("#content")).to_contain_text("alice@example.com")


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [375, 1280])
def test_b10_no_barrier_and_no_sideways_scrolling(
    shop: Phones, dashboard: Open, theme: str, width: int
) -> None:
    shown = dashboard(width=width, query={"theme": theme})
    frame = find(shown, "nobody")
    root = "document.documentElement"
    expect(frame.locator("#content")).to_contain_text("Nobody is known")
    assert shown.violations() == []
    assert frame.evaluate(f"{root}.scrollWidth <= {root}.clientWidth")
    frame = find(shown, "alice@example.com")
    expect(frame.locator("#traits-title")).to_be_visible()
    frame.locator("summary", has_text="Split").click()
    frame.locator("summary", has_text="Join with somebody").click()
    frame.get_by_label("Who else this person is").fill("bob@example.com")
    frame.locator("#join-look").click()
    expect(frame.locator("#join-form")).to_contain_text("bob@example.com")
    assert shown.violations() == []
    assert frame.evaluate(f"{root}.scrollWidth <= {root}.clientWidth")
