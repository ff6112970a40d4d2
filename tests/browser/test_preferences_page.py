"""The preference centre as people see it: on a phone, in the dark, by keyboard (B75)."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone
from playwright.sync_api import Browser, Page

from saleor_personalize.enums import ConsentState, DeliveryChannel, Purpose
from saleor_personalize.messaging import links, opt_in
from saleor_personalize.models import Consent, Installation, Profile, email_hash
from saleor_personalize.profiles import consent
from tests.browser.conftest import violations
from tests.conftest import NOW

pytestmark = [pytest.mark.browser, pytest.mark.django_db(transaction=True)]
ALICE = "alice@example.com"
Open = Callable[..., Page]


@pytest.fixture
def open_page(browser: Browser, live_server: Any) -> Iterator[Open]:
    """`open_page(url, width=, scheme=, locale=)`: a page of its own browser."""
    contexts = []

    def opened(url: str, *, width: int = 390, scheme: str = "light", locale: str = "en") -> Page:
        context = browser.new_context(
            viewport={"width": width, "height": 844},
            color_scheme=scheme,  # type: ignore[arg-type]
            locale=locale,
        )
        contexts.append(context)
        page = context.new_page()
        page.goto(live_server.url + url.removeprefix("https://personalize.test"))
        return page

    yield opened
    for context in contexts:
        context.close()


def keep(page: Page, name: str) -> None:
    if folder := os.environ.get("SCREENSHOTS"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)


def url_of(profile: Profile, language: str = "EN") -> str:
    return links.preferences_url(
        profile=profile, address_hash=email_hash(ALICE), language_code=language
    )


def state(profile: Profile, topic: str) -> ConsentState | None:
    return consent.state(
        profile=profile,
        purpose=Purpose.MARKETING,
        delivery_channel=DeliveryChannel.EMAIL,
        topic=topic,
    )


def with_two_channels(settings: Any) -> None:
    console = "saleor_personalize.messaging.channels.console.ConsoleChannel"
    settings.SALEOR_PERSONALIZE = {
        **settings.SALEOR_PERSONALIZE,
        "DEFAULT_SENDER": "Sock Shop <shop@example.com>",
        "CHANNELS": {"email": console, "push": console},
    }


def test_b75_a_person_chooses_and_sees_it_kept(open_page: Open, alice: Profile) -> None:
    page = open_page(url_of(alice))
    page.get_by_label("News from the shop").uncheck()
    page.get_by_label("Pause all messages for 30 days").check()
    page.get_by_label("Personal recommendations").uncheck()
    page.get_by_label("How often at most?").select_option("2")
    page.get_by_role("button", name="Save").click()
    assert page.get_by_role("status").inner_text() == "Saved. It holds from now on."
    assert page.get_by_label("Offers and new products").is_checked()
    assert not page.get_by_label("News from the shop").is_checked()
    assert not page.get_by_label("Personal recommendations").is_checked()
    assert page.get_by_label("How often at most?").input_value() == "2"
    assert page.get_by_text("Paused until").is_visible()
    assert page.get_by_text("Refused: News from the shop (E-mail)").is_visible()
    assert state(alice, "news") == ConsentState.DENIED
    assert not consent.may_profile(profile=alice)
    # Reloading sends nothing again.
    lines = Consent.objects.count()
    page.reload()
    assert Consent.objects.count() == lines


def test_b75_one_button_ends_everything(open_page: Open, alice: Profile) -> None:
    page = open_page(url_of(alice))
    page.get_by_role("button", name="Unsubscribe from everything").click()
    assert "You are unsubscribed from everything" in page.get_by_role("status").inner_text()
    assert state(alice, "offers") == ConsentState.DENIED
    assert [box.is_checked() for box in page.locator("input[name=allow]").all()] == [False] * 4


def test_b75_enter_saves_and_never_unsubscribes(open_page: Open, alice: Profile) -> None:
    page = open_page(url_of(alice))
    page.get_by_label("News from the shop").focus()
    page.keyboard.press("Enter")
    assert page.get_by_role("status").inner_text() == "Saved. It holds from now on."
    assert state(alice, "offers") == ConsentState.GRANTED


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 1280])
def test_b75_it_can_be_read_by_everybody(
    open_page: Open, alice: Profile, settings: Any, scheme: str, width: int
) -> None:
    with_two_channels(settings)
    page = open_page(url_of(alice), width=width, scheme=scheme)
    page.locator("summary").click()
    assert violations(page) == []
    is_wider = "document.documentElement.scrollWidth > document.documentElement.clientWidth"
    assert not page.evaluate(is_wider)
    small = page.evaluate(
        "[...document.querySelectorAll('button, select, label.choice, summary')]"
        ".filter(e => e.getBoundingClientRect().height < 44).map(e => e.textContent)"
    )
    assert small == []
    keep(page, f"preferences-{scheme}-{width}")
    page.get_by_role("button", name="Save").click()
    assert violations(page) == []


def test_b75_in_german_whatever_the_browser_speaks(open_page: Open, alice: Profile) -> None:
    page = open_page(url_of(alice, "DE"), locale="fr")
    assert page.evaluate("document.documentElement.lang") == "de"
    assert page.get_by_role("button", name="Von allem abmelden").is_visible()
    assert page.title() == "Auswählen, was Sie erhalten"
    keep(page, "preferences-de")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_b73_the_confirmation_page(
    open_page: Open, installation: Installation, alice: Profile, scheme: str
) -> None:
    opt_in.subscribe(
        installation=installation,
        address="new@example.com",
        topics=["news", "offers"],
        now=NOW,
        country_code="DE",
    )
    line = Consent.objects.filter(topic="news").get()
    url = links.confirmation_url(
        profile=line.profile,
        address_hash=email_hash("new@example.com"),
        expires_at=timezone.now() + timedelta(days=1),
    )
    page = open_page(url, scheme=scheme)
    assert violations(page) == []
    keep(page, f"confirm-{scheme}")
    page.get_by_role("button", name="Yes, write to me").click()
    assert page.get_by_role("heading").inner_text() == "Thank you, it is confirmed"
    assert state(line.profile, "news") == ConsentState.GRANTED
