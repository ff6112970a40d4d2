"""The menu that stands beside every page."""

import re

import pytest
from django.test import Client
from django.urls import reverse

from saleor_personalize.dashboard.navigation import GROUPS, Entry
from saleor_personalize.models import Installation
from tests.integration.test_dashboard import ALL, headers

ENTRIES = [entry for group in GROUPS for entry in group.entries]


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.key)
def test_b97_every_page_of_the_menu_opens_and_says_where_one_is(
    client: Client, installation: Installation, entry: Entry
) -> None:
    owner = headers(installation, user_permissions=[*ALL, "MANAGE_APPS"])
    response = client.get(reverse(entry.url_name), headers=owner)
    assert response.status_code == 200
    page = response.content.decode()
    buttons = re.findall(r'<button id="page-([a-z-]+)"[^>]*?( aria-current="page")?>', page)
    assert [key for key, _current in buttons] == [each.key for each in ENTRIES]
    assert [key for key, current in buttons if current] == [entry.key]
    assert len(response.content) < 100_000


def test_no_page_is_in_the_menu_twice() -> None:
    assert len({entry.url_name for entry in ENTRIES}) == len(ENTRIES)


def test_b101_who_is_refused_a_page_still_has_the_menu(
    client: Client, installation: Installation
) -> None:
    """Who may look at nothing has none: it would ask again and again."""
    refused = client.get(reverse("dashboard-bus"), headers=headers(installation))
    assert refused.status_code == 403
    assert b'id="page-overview"' in refused.content
    stranger = headers(installation, permissions=[], user_permissions=[])
    nothing = client.get(reverse("dashboard-bus"), headers=stranger)
    assert nothing.status_code == 403
    assert b'id="page-overview"' not in nothing.content
