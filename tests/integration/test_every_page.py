"""Every page is small and asks the same number of questions, however much there is to show."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.core.cache import cache
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from saleor_personalize.models import Installation, Profile
from saleor_personalize.recommendations import placements
from tests import pages
from tests.integration.test_dashboard import ALL, headers

#: Bytes of a fragment, and questions to the database, at most.
BYTES, QUERIES = 100_000, 80
#: More than any page lists at once.
FIRST, MORE = 60, 60


@pytest.fixture(autouse=True)
def _fresh_cache() -> None:
    cache.clear()


def test_b103_every_page_is_small_and_asks_no_more_when_there_is_more(
    client: Client, installation: Installation, alice: Profile, monkeypatch: pytest.MonkeyPatch
) -> None:
    # What is remembered for seconds is not to be forgotten between two looks of a slow machine.
    monkeypatch.setattr(placements, "SECONDS", 3600)
    now = timezone.now()
    owner = headers(installation, user_permissions=[*ALL, "MANAGE_APPS"])
    known = pages.fill(installation, alice, count=FIRST, now=now)
    few = measured(client, owner, known)
    pages.fill(installation, alice, count=MORE, now=now - timedelta(hours=FIRST))
    many = measured(client, owner, known)
    assert few.keys() == many.keys()
    assert len(few) >= 40
    assert {name: size for name, (size, _asked) in many.items() if size >= BYTES} == {}
    assert {name: asked for name, (_size, asked) in many.items() if asked > QUERIES} == {}
    grown = {
        name: (few[name][1], asked) for name, (_size, asked) in many.items() if asked > few[name][1]
    }
    assert grown == {}


def measured(
    client: Client, owner: dict[str, str], known: dict[str, Any]
) -> dict[str, tuple[int, int]]:
    """Bytes and questions of every fragment that GET asks for; what takes POST only refuses GET."""
    found: dict[str, tuple[int, int]] = {}
    for name, url in pages.urls(known):
        with CaptureQueriesContext(
            connection,
        ) as asked:
            response = client.get(url, headers=owner)
        if response.status_code == 405:
            continue
        assert response.status_code == 200, (name, response.status_code)
        body = b"".join(response.streaming_content) if response.streaming else response.content  # type: ignore[attr-defined]
        if "Content-Disposition" not in response.headers:
            found[name] = (len(body), len(asked))
    return found
