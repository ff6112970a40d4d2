"""B109 as staff meet it: outgoing webhooks in the frame of the Dashboard, in a real browser."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import expect

from saleor_personalize.models import Installation, OutgoingWebhook
from tests.browser.conftest import Dashboard
from tests.browser.test_server_keys_page import tokens
from tests.receiver import receiving

pytestmark = pytest.mark.browser

Open = Callable[..., Dashboard]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_b109_a_webhook_is_made_tried_switched_and_removed(
    installation: Installation, dashboard: Open, settings: Any, theme: str
) -> None:
    settings.SALEOR_PERSONALIZE = {
        **settings.SALEOR_PERSONALIZE,
        "BUS_ALLOW_PRIVATE_ADDRESSES": True,
    }
    shown = dashboard(
        tokens(installation), query={"theme": theme}, width=375 if theme == "dark" else 1280
    )
    frame = shown.frame
    frame.get_by_role("button", name="Outgoing webhooks", exact=True).click()
    expect(frame.get_by_text("No webhook yet.")).to_be_visible()
    assert shown.violations() == []
    with receiving() as receiver:
        frame.get_by_label("Name of a new webhook").fill("Not good")
        frame.get_by_label("Address of the receiver").fill(receiver.url)
        frame.get_by_label("a cart was left").check()
        frame.get_by_role("button", name="Make a webhook").click()
        expect(frame.get_by_label("Name of a new webhook")).to_be_focused()
        expect(frame.get_by_label("a cart was left")).to_be_checked()
        assert shown.violations() == []
        frame.get_by_label("Name of a new webhook").fill("crm")
        frame.get_by_role("button", name="Make a webhook").click()
        field = frame.get_by_label("Copy its secret now: it is shown only this once")
        expect(field).to_be_focused()
        secret = field.input_value()
        assert secret.startswith("spw_")
        assert shown.violations() == []
        frame.get_by_role("button", name="Open “crm”").click()
        frame.get_by_role("button", name="Send a test").click()
        expect(frame.get_by_text("Arrived", exact=True)).to_be_visible()
        assert [each["event"] for each in receiver.contents] == ["webhook.test"]
    assert secret not in frame.content()
    frame.get_by_role("button", name="Switch off").click()
    expect(frame.get_by_role("button", name="Switch on")).to_be_visible()
    assert shown.violations() == []
    root = "document.documentElement"
    assert frame.evaluate(f"{root}.scrollWidth <= {root}.clientWidth")
    frame.get_by_role("button", name="Remove", exact=True).click()
    expect(frame.get_by_role("button", name="Keep")).to_be_focused()
    frame.get_by_role("button", name="Remove for good").click()
    expect(frame.get_by_text("No webhook yet.")).to_be_visible()
    assert not OutgoingWebhook.objects.exists()
    assert secret not in str(shown.said("notification"))
    assert shown.console == []
