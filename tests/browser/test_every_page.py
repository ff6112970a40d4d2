"""Every page, in both themes and on a phone: nothing that keeps somebody from using it (WCAG 2.1 AA)."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.test import Client
from django.utils import timezone
from playwright.sync_api import expect

from saleor_personalize.models import Installation, Profile
from tests import pages
from tests.browser.conftest import Dashboard
from tests.browser.test_server_keys_page import tokens
from tests.integration.test_dashboard import ALL, headers

pytestmark = pytest.mark.browser

Open = Callable[..., Dashboard]
#: The narrowest phone.
NARROW = 375
_WIDTHS = "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
_SHOW = """async url => {
  await htmx.ajax("GET", url, {target: "#content", swap: "innerHTML"});
  await new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)));
}"""


def with_menu(client: Client, installation: Installation, known: dict[str, object]) -> list[str]:
    """Return the URLs of whole pages: those that come with the menu."""
    owner = headers(installation, user_permissions=[*ALL, "MANAGE_APPS"])
    found = []
    for _name, url in pages.urls(known):
        response = client.get(url, headers=owner)
        if response.status_code == 200 and not response.streaming and b'id="page-overview"' in response.content:  # fmt: skip
            found.append(url)
    return found


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_b103_nothing_on_any_page_shuts_somebody_out(
    client: Client, installation: Installation, alice: Profile, dashboard: Open, theme: str
) -> None:
    known = pages.fill(installation, alice, count=3, now=timezone.now())
    urls = with_menu(client, installation, known)
    assert len(urls) >= 20
    shown = dashboard(tokens(installation), query={"theme": theme}, width=NARROW)
    expect(shown.frame.locator("#page-overview")).to_be_attached()
    faults = {}
    for url in urls:
        shown.frame.evaluate(_SHOW, url)
        wide, room = shown.frame.evaluate(_WIDTHS)
        found = shown.violations()
        if wide > room:
            found.append(f"{wide} px wide, with room for {room}")
        if found:
            faults[url] = found
    assert faults == {}
    assert shown.console == []


def test_b103_the_keyboard_goes_on_where_it_was_after_a_page_came(
    installation: Installation, dashboard: Open
) -> None:
    shown = dashboard(tokens(installation))
    frame, keyboard = shown.frame, shown.page.keyboard
    for key in ("health", "audit", "settings"):
        frame.locator(f"#page-{key}").focus()
        keyboard.press("Enter")
        expect(frame.locator(f"#page-{key}[aria-current=page]")).to_be_attached()
        # htmx keeps the focus of what has an id, though the menu came anew.
        expect(frame.locator(f"#page-{key}")).to_be_focused()
        keyboard.press("Tab")
        assert frame.evaluate("document.activeElement !== document.body")
