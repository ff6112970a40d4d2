"""The shop of most of these tests: carts, a mailbox, and journeys that are live."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from saleor_personalize.models import Installation, Profile
from tests.integration.reminders import World, mailbox, use_smtp


@pytest.fixture
def world(installation: Installation, alice: Profile, settings: Any) -> Iterator[World]:
    with mailbox() as box:
        use_smtp(settings, box.port)
        made = World(installation, box)
        made.go_live()
        yield made
