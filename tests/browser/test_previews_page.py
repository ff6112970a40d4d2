"""B82: "Try a message" in the Dashboard, in a real browser."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.core import mail
from playwright.sync_api import expect

from saleor_personalize.models import Installation, Message, Profile
from tests.browser.conftest import Dashboard
from tests.integration.signal_trigger import come_in, message, publish

pytestmark = pytest.mark.browser


def test_b82_staff_look_at_a_message_of_alice_and_send_it_to_themselves(
    dashboard: Callable[..., Dashboard], installation: Installation, alice: Profile, settings: Any
) -> None:
    settings.SALEOR_PERSONALIZE = {
        **settings.SALEOR_PERSONALIZE,
        "TRIGGERS": {"signal": "tests.integration.signal_trigger.Signal"},
    }
    come_in(publish(installation, message("first")), alice)
    shown = dashboard()
    shown.frame.get_by_role("button", name="Try a message").click()
    shown.frame.get_by_label("Journey").select_option("test")
    shown.frame.get_by_label("Person (address, order number, id; empty: an example)").fill(
        "alice@example.com"
    )
    shown.frame.get_by_role("button", name="Show", exact=True).click()
    expect(shown.frame.get_by_text("Nothing is wrong with it.")).to_be_visible()
    expect(shown.frame.locator("pre")).to_contain_text("You left something in your cart")
    assert shown.violations() == []
    mail.outbox = []
    shown.frame.get_by_role("button", name="Send it to staff@example.com").click()
    shown.page.wait_for_function("log.some((said) => said.type === 'notification')")
    (sent,) = mail.outbox
    assert sent.to == ["staff@example.com"]
    assert not Message.objects.exists()
    assert shown.console == []
