"""A newcomer goes from the first page to a live journey, by keyboard and on a phone; and what it looks like."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from django.core import mail
from django.utils import timezone
from playwright.sync_api import expect

from saleor_personalize.enums import BackfillStatus, MessageStatus, NotSentReason
from saleor_personalize.models import Backfill, Installation, Journey, Message, Profile
from saleor_personalize.tasks.journeys import make_dry_runs
from tests.browser.conftest import Dashboard
from tests.catalogue import Catalogue
from tests.conftest import make_enrollment
from tests.integration.test_messages_pages import send

pytestmark = pytest.mark.browser

Open = Callable[..., Dashboard]
BROKEN = "journey: abandoned_checkout\ntopic: reminderz\ntrigger: {type: abandoned_checkout}\nsteps: []\n"


@pytest.fixture
def shop(installation: Installation, alice: Profile, bob: Profile) -> Installation:
    """A shop whose history is read and that has sent a little."""
    now = timezone.now()
    Backfill.objects.create(
        installation=installation, status=BackfillStatus.DONE, created_at=now, finished_at=now
    )
    make_enrollment(alice, "cart-1", now)
    send(alice, "1", handed_over_at=now)
    send(bob, "2", status=MessageStatus.NOT_SENT, reason=NotSentReason.NO_CONSENT)
    return installation


def fits(shown: Dashboard) -> bool:
    root = "document.documentElement"
    return bool(shown.frame.evaluate(f"{root}.scrollWidth <= {root}.clientWidth"))


def test_b99_a_newcomer_has_a_live_journey_after_the_first_steps(
    shop: Installation, dashboard: Open
) -> None:
    """Each step that is open, by its own button, as the page leads."""
    catalogue = Catalogue(shop, timezone.now())
    catalogue.channel("us")
    catalogue.product(1, "Grey Hoodie")
    mail.outbox = []
    shown = dashboard()
    frame = shown.frame
    expect(frame.locator("#content")).to_contain_text("Nothing is sent yet. Next:")
    frame.locator("#overview-first-steps").press("Enter")
    expect(frame.locator("#page-first-steps")).to_have_attribute("aria-current", "page")
    expect(frame.locator("#steps-title")).to_be_focused()
    frame.locator("#step-storefront").press("Enter")
    frame.get_by_label("storefront", exact=False).last.fill("https://shop.example")
    frame.locator("#settings-save").press("Enter")
    expect(frame.locator("#outcome")).to_have_text("Settings saved.")
    frame.locator("#page-first-steps").press("Enter")
    expect(frame.locator("#outcome")).to_be_hidden()
    frame.get_by_role("button", name="Begin with “Welcome”").press("Enter")
    expect(frame.locator("#recipe-welcome")).to_have_text("Open")
    expect(frame.locator("#outcome")).to_contain_text("Nothing is sent before it goes live.")
    frame.locator("#step-dry_run").press("Enter")
    expect(frame.get_by_role("heading", name="How it goes")).to_be_visible()
    frame.locator("#dry-run-ask").press("Enter")
    expect(frame.locator("#dry-run")).to_contain_text("It is being played.")
    assert make_dry_runs() == 1
    expect(frame.locator("#dry-run-result")).to_contain_text("in the next 7 days", timeout=20_000)
    # The message of this journey, to nobody real, and to one's own mailbox.
    frame.locator("#page-first-steps").press("Enter")
    frame.locator("#step-test_sent").press("Enter")
    expect(frame.locator("#previews-journey")).to_have_value("welcome")
    frame.locator("#previews-show").press("Enter")
    expect(frame.locator("#content")).to_contain_text("This is an example")
    expect(frame.locator("pre")).to_contain_text("Alex")
    assert shown.violations() == []
    assert fits(shown)
    frame.locator("#previews-send").press("Enter")
    expect(frame.locator("#outcome")).to_contain_text("Sent. Look into your own mailbox")
    assert [sent.to for sent in mail.outbox] == [["staff@example.com"]]
    assert not Journey.objects.filter(is_live=True).exists()
    frame.locator("#page-first-steps").press("Enter")
    step = frame.locator("li", has=frame.locator("#step-test_sent"))
    expect(step.locator(".state")).to_have_text("Done")
    frame.locator("#step-live").press("Enter")
    frame.locator("#journey-go-live").press("Enter")
    expect(frame.locator("#sure-title")).to_have_text("Let “Welcome” go live?")
    expect(frame.locator("#content")).to_contain_text("in the next 7 days")
    assert shown.violations() == []
    frame.locator("#sure-yes").press("Enter")
    expect(frame.locator("#journey-pause")).to_be_visible()
    expect(frame.locator("#outcome")).to_contain_text("The journey is live")
    assert [row.key for row in Journey.objects.filter(is_live=True)] == ["welcome"]
    frame.locator("#page-overview").press("Enter")
    expect(frame.locator("#journey")).to_be_visible()
    expect(frame.locator("#overview-first-steps")).to_have_count(0)
    assert shown.console == []


def test_b97_a_definition_is_mended_in_the_editor(shop: Installation, dashboard: Open) -> None:
    shown = dashboard()
    frame = shown.frame
    frame.get_by_role("button", name="Journeys", exact=True).click()
    frame.get_by_role("button", name="Open “Cart reminder”").click()
    frame.get_by_role("button", name="Change it").click()
    field = frame.get_by_label("Definition (YAML)")
    whole = field.input_value()
    field.fill(BROKEN)
    frame.get_by_role("button", name="Save as a new version").click()
    # Whoever reads by keyboard stands at what is wrong; the text is as it was written.
    expect(frame.locator("#journey-faults")).to_be_focused()
    expect(frame.locator("#journey-faults")).to_contain_text("Line 2")
    expect(field).to_have_value(BROKEN)
    field.fill(whole.replace("priority: 80", "priority: 81"))
    frame.get_by_role("button", name="Save as a new version").click()
    expect(frame.locator("#journey-title")).to_be_visible()
    frame.get_by_role("button", name="What is different in version 2").click()
    expect(frame.locator("#difference")).to_be_focused()
    expect(frame.locator("#difference ins")).to_have_text("+ priority: 81")


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [375, 1280])
def test_no_barrier_that_axe_knows_and_no_sideways_scrolling(
    shop: Installation, alice: Profile, dashboard: Open, theme: str, width: int
) -> None:
    shown = dashboard(width=width, query={"theme": theme})
    frame = shown.frame
    message = Message.objects.order_by("pk").first()
    assert message is not None
    ways: list[tuple[str, str]] = [
        ("#page-first-steps", "#recipes-title"),
        ("#page-journeys", "#journeys-title"),
        ("#journey-abandoned_checkout", "#flow-title"),
        ("#journey-edit", "#journey-text"),
        ("#page-messages", "#sent-form"),
        (f"#message-{message.public_id}", "#became-title"),
        ("#message-person", "#written-title"),
    ]
    for button, sign in ways:
        frame.locator(button).click()
        expect(frame.locator(sign)).to_be_visible()
        assert shown.violations() == [], button
        assert fits(shown), button


def test_b97_on_a_phone_the_menu_shows_where_one_is(shop: Installation, dashboard: Open) -> None:
    shown = dashboard(width=375)
    frame = shown.frame
    frame.locator("#page-audit").click()
    expect(frame.locator("#page-audit")).to_have_attribute("aria-current", "page")
    # In sight although it stands at the end of the strip; and the focus is still on it.
    expect(frame.locator("#page-audit")).to_be_in_viewport()
    expect(frame.locator("#page-audit")).to_be_focused()
    box: Any = frame.locator(".nav").bounding_box()
    assert box["height"] < 60


def test_b97_messages_are_asked_for_and_a_person_answers(
    shop: Installation, bob: Profile, dashboard: Open
) -> None:
    shown = dashboard()
    frame = shown.frame
    frame.get_by_role("button", name="Messages", exact=True).click()
    expect(frame.locator("#content li .state")).to_have_count(2)
    frame.get_by_label("What became of it").focus()
    frame.get_by_label("What became of it").select_option("not_sent")
    expect(frame.locator("#content li .state")).to_have_count(1)
    expect(frame.get_by_label("What became of it")).to_be_focused()
    frame.get_by_role("button", name=re.compile("^Open message 1")).click()
    expect(frame.locator("#content")).to_contain_text("did not allow e-mails of this kind")
    frame.get_by_role("button", name="Whose it is").click()
    expect(frame.locator("#content")).to_contain_text("What we sent, what not, and why")
    expect(frame.locator("#content")).to_contain_text("by e-mail: refused")
