"""B105 as staff meet it: server keys in the frame of the Dashboard, in a real browser."""

from __future__ import annotations

from collections.abc import Callable

import httpx
import pytest
from playwright.sync_api import expect

from saleor_personalize.models import Installation, ServerKey
from saleor_personalize.testing.keys import TEST_KEY
from tests.browser.conftest import Dashboard
from tests.integration.test_dashboard import ALL, staff_claims

pytestmark = pytest.mark.browser

Open = Callable[..., Dashboard]


def tokens(installation: Installation) -> Callable[[], str]:
    return lambda: TEST_KEY.jwt(staff_claims(installation, user_permissions=[*ALL, "MANAGE_APPS"]))


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_b105_a_key_is_made_copied_used_and_revoked(
    installation: Installation, dashboard: Open, live_server: object, theme: str
) -> None:
    shown = dashboard(
        tokens(installation), query={"theme": theme}, width=375 if theme == "dark" else 1280
    )
    frame, keyboard = shown.frame, shown.page.keyboard
    frame.get_by_role("button", name="Server keys", exact=True).click()
    expect(frame.get_by_text("No key yet.")).to_be_visible()
    assert shown.violations() == []

    frame.get_by_role("button", name="Make a key").click()
    expect(frame.locator("#key-name-error")).to_contain_text("name")
    expect(frame.get_by_label("Name of a new key")).to_be_focused()
    assert shown.violations() == []
    assert ServerKey.objects.count() == 0

    frame.get_by_label("Name of a new key").fill("Till of the store")
    keyboard.press("Enter")
    field = frame.get_by_label("Copy it now: it is shown only this once")
    expect(field).to_be_focused()
    expect(frame.locator("#outcome")).to_contain_text("Key made")
    secret = field.input_value()
    assert len(secret) == 81
    assert shown.violations() == []
    root = "document.documentElement"
    assert frame.evaluate(f"{root}.scrollWidth <= {root}.clientWidth")
    assert secret not in str(shown.said("notification"))

    def ask() -> int:
        response = httpx.post(
            f"{live_server.url}/graphql/",  # type: ignore[attr-defined]
            json={"query": "{ segments { key } }"},
            headers={"Authorization": f"Bearer {secret}"},
        )
        return response.status_code

    assert ask() == 200
    frame.get_by_role("button", name="Server keys", exact=True).click()
    expect(frame.get_by_text("last used, to the hour:")).to_be_visible()
    assert secret[17:] not in frame.content()

    frame.get_by_role("button", name="Revoke “Till of the store”").click()
    expect(frame.get_by_role("button", name="Keep")).to_be_focused()
    assert shown.violations() == []
    keyboard.press("Enter")
    expect(frame.get_by_text("Works", exact=True)).to_be_visible()
    frame.get_by_role("button", name="Revoke “Till of the store”").click()
    frame.get_by_role("button", name="Revoke for good").click()
    expect(frame.get_by_text("Revoked", exact=True)).to_be_visible()
    assert ask() == 401
    assert shown.violations() == []
    assert not [request.url for request in shown.requests if secret[17:] in request.url]
    assert shown.console == []


def test_b105_a_page_that_sends_a_key_is_told_so(
    installation: Installation, dashboard: Open, live_server: object
) -> None:
    """Even a page of our own host: what a page sends, its readers can read."""
    shown = dashboard(tokens(installation))
    frame = shown.frame
    frame.get_by_role("button", name="Server keys", exact=True).click()
    frame.get_by_label("Name of a new key").fill("leaked")
    frame.get_by_role("button", name="Make a key").click()
    secret = frame.get_by_label("Copy it now: it is shown only this once").input_value()
    answer = frame.evaluate(
        """async (key) => {
          const body = JSON.stringify({ query: "{ segments { key } }" });
          const headers = { "Content-Type": "application/json", Authorization: `Bearer ${key}` };
          const response = await fetch("/graphql/", { method: "POST", body, headers });
          return [response.status, (await response.json()).errors[0].message];
        }""",
        secret,
    )
    assert answer[0] == 403
    assert "came from a browser" in answer[1]
    assert ServerKey.objects.get().last_used_at is None
