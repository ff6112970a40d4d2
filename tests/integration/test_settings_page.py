"""The page "Settings" tells what is in force and who set it."""

from __future__ import annotations

import html
import re
from datetime import timedelta
from typing import Any

import pytest
from django.core.cache import cache
from django.test import Client

from saleor_personalize.models import Installation
from tests.integration.test_dashboard import headers, outcome


@pytest.fixture(autouse=True)
def _fresh_cache() -> None:
    cache.clear()


def values(client: Client, installation: Installation) -> list[str]:
    response = client.get("/dashboard/settings/page/", headers=headers(installation))
    assert response.status_code == 200
    found = re.findall(r"<li>(.*?)</li>", response.content.decode().partition('id="in-force')[2], re.DOTALL)  # fmt: skip
    return [" ".join(html.unescape(re.sub(r"<[^>]+>", " ", each)).split()) for each in found]


def test_what_is_in_force_is_told_with_who_set_it(
    client: Client, installation: Installation, settings: Any
) -> None:
    settings.SALEOR_PERSONALIZE = {
        **settings.SALEOR_PERSONALIZE,
        "QUIET_HOURS": {"*": ("20:30", "09:00")},
        "FREQUENCY_CAPS": {"email": [(3, timedelta(days=7))]},
        "CONSENT_RULES": {"FR": "soft_opt_in"},
        "DASHBOARD_ROLES": {"send": ["MANAGE_STAFF"]},
    }
    found = values(client, installation)
    assert (
        "Quiet hours: all channels together: Nothing from 20:30 to 09:00, where the person is "
        "set by whoever runs this service · QUIET_HOURS"
    ) in found
    assert (
        "Frequency cap: E-mail: at most 3 messages in 7 days "
        "set by whoever runs this service · FREQUENCY_CAPS"
    ) in found
    assert "FR: own customers until they say no set by whoever runs this service · CONSENT_RULES" in found  # fmt: skip
    assert (
        "Have something sent (all of these): Manage orders, Manage checkouts, Manage staff "
        "set by whoever runs this service · DASHBOARD_ROLES"
    ) in found
    assert (
        "Clicks in e-mails are noted by this service: No "
        "set by whoever runs this service · CLICK_TRACKING"
    ) in found
    assert "An order counts after a click for: 7 days as shipped · ATTRIBUTION_WINDOW" in found
    assert "Sender of e-mails: shop@example.com set by whoever runs this service · DEFAULT_SENDER" in found  # fmt: skip


def test_what_the_shop_sets_is_told_as_its_own(client: Client, installation: Installation) -> None:
    form = {"sender": "hello@shop.example", "checkout_url": "", "storefront_origins": ""}
    response = client.post("/dashboard/settings/", form, headers=headers(installation))
    assert outcome(response)["status"] == "success"
    installation.refresh_from_db()
    assert installation.sender == "hello@shop.example"
    assert "Sender of e-mails: hello@shop.example set by your shop · DEFAULT_SENDER" in values(client, installation)  # fmt: skip


def test_who_may_only_look_sees_what_is_in_force_and_changes_nothing(
    client: Client, installation: Installation
) -> None:
    looker = headers(installation, permissions=["MANAGE_ORDERS"])
    page = client.get("/dashboard/settings/page/", headers=looker)
    assert page.status_code == 200
    assert b'id="settings-save" type="submit" class="button primary" disabled' in page.content
    form = {"sender": "hello@shop.example"}
    assert client.post("/dashboard/settings/", form, headers=looker).status_code == 403
    installation.refresh_from_db()
    assert installation.sender == ""
