"""B121-B123, B126 as staff meet them: what is kept, what is sensitive, a person's data and their erasure."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import expect

from saleor_personalize.models import Category, Erasure, Installation, Profile
from tests.browser.conftest import Dashboard
from tests.catalogue import gid

pytestmark = pytest.mark.browser

Open = Callable[..., Dashboard]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_b123_b126_what_is_kept_and_what_is_sensitive(
    installation: Installation, alice: Profile, dashboard: Open, theme: str
) -> None:
    for name, parent in (("Health", ""), ("Tests", "Health")):
        Category.objects.create(
            installation=installation,
            saleor_id=gid("Category", name),
            name=name,
            parent_saleor_id=gid("Category", parent) if parent else "",
        )
    shown = dashboard(query={"theme": theme}, width=375 if theme == "dark" else 1280)
    frame = shown.frame
    frame.get_by_role("button", name="Data", exact=True).click()
    expect(frame.get_by_role("heading", name="What is kept how long")).to_be_visible()
    expect(frame.get_by_text("Nobody was erased yet.")).to_be_visible()
    assert shown.violations() == []
    root = "document.documentElement"
    assert frame.evaluate(f"{root}.scrollWidth <= {root}.clientWidth")
    frame.get_by_label("Health").check()
    frame.get_by_role("button", name="Save").click()
    expect(frame.locator("#outcome")).to_contain_text("Sensitive categories saved")
    expect(frame.get_by_label("Health")).to_be_checked()
    assert shown.said("notification")[0]["title"] == "Sensitive categories saved"
    installation.refresh_from_db()
    assert installation.sensitive_ids == [gid("Category", "Health")]
    assert shown.console == []


def test_b121_b122_a_person_is_exported_and_erased(
    installation: Installation, alice: Profile, dashboard: Open, tmp_path: Path
) -> None:
    shown = dashboard()
    frame = shown.frame
    frame.get_by_role("button", name="People", exact=True).click()
    frame.get_by_role("searchbox").fill("alice@example.com")
    frame.get_by_role("button", name="Find", exact=True).click()
    with shown.page.expect_download() as downloaded:
        frame.get_by_role("button", name="All data as JSON").click()
    kept = tmp_path / "person.json"
    downloaded.value.save_as(kept)
    assert json.loads(kept.read_text())["ids"][1]["address"] == "alice@example.com"
    frame.get_by_role("button", name="Erase this person").click()
    expect(frame.get_by_role("heading", name="Erase this person?")).to_be_visible()
    assert shown.violations() == []
    frame.get_by_role("button", name="Keep").click()
    expect(frame.get_by_role("button", name="Erase this person")).to_be_visible()
    assert Profile.objects.count() == 1
    frame.get_by_role("button", name="Erase this person").click()
    frame.get_by_role("button", name="Erase for good").click()
    expect(frame.get_by_text("staff, on this page")).to_be_visible()
    assert Profile.objects.count() == 0
    expect(frame.get_by_text(str(Erasure.objects.get().public_id), exact=True)).to_be_visible()
    assert shown.violations() == []
    assert shown.console == []
