"""B9 as staff meet it: a file is chosen, looked at, tried and imported, in a real browser."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import expect

from saleor_personalize.models import Installation, Order
from saleor_personalize.tasks.imports import run_imports
from tests.browser.conftest import Dashboard
from tests.integration.test_import import make_shop
from tests.integration.test_import_pages import CONTENT, storage  # noqa: F401 (a fixture)

pytestmark = pytest.mark.browser

Open = Callable[..., Dashboard]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "till.csv"
    path.write_bytes(CONTENT)
    return path


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_b9_a_file_goes_from_the_disk_to_orders(
    installation: Installation, dashboard: Open, file: Path, tmp_path: Path, theme: str
) -> None:
    make_shop(installation)
    shown = dashboard(query={"theme": theme}, width=375 if theme == "dark" else 1280)
    frame = shown.frame
    frame.get_by_role("button", name="Imports", exact=True).click()
    expect(frame.locator("#imports")).to_contain_text("No import yet")
    assert shown.violations() == []

    frame.get_by_label("Purchases as .csv").set_input_files(file)
    frame.get_by_role("button", name="Upload").click()
    expect(frame.locator("#import")).to_contain_text("till.csv")
    expect(frame.get_by_label("E-mail address")).to_have_value("E-mail")
    expect(frame.get_by_role("cell", name="alice@example.com")).to_have_count(2)
    assert shown.violations() == []
    root = "document.documentElement"
    assert frame.evaluate(f"{root}.scrollWidth <= {root}.clientWidth")

    frame.get_by_role("button", name="Try without changing anything").click()
    expect(frame.locator("#import .state")).to_have_text("Waiting for a worker")
    run_imports()
    # It is seen to be done without a hand on the page.
    expect(frame.locator("#import .state")).to_have_text("Tried", timeout=10_000)
    expect(frame.locator("#import .figures")).to_contain_text("3")
    expect(frame.locator("#import")).to_contain_text("A date is missing or cannot be read")
    assert Order.objects.count() == 0
    assert shown.violations() == []

    with shown.page.expect_download() as downloaded:
        frame.get_by_role("button", name="Download refused rows").click()
    kept = tmp_path / "rejects.csv"
    downloaded.value.save_as(kept)
    assert "BAD_DATE" in kept.read_text()
    assert downloaded.value.suggested_filename.startswith("rejects-")

    frame.get_by_role("button", name="Import", exact=True).click()
    expect(frame.locator("#import .state")).to_have_text("Waiting for a worker")
    run_imports()
    expect(frame.locator("#import .state")).to_have_text("Done", timeout=10_000)
    assert Order.objects.count() == 2
    expect(frame.locator("#import-form")).to_have_count(0)
    assert shown.console == []


def test_b9_a_file_of_another_kind_is_refused_in_words(
    installation: Installation, dashboard: Open, tmp_path: Path
) -> None:
    make_shop(installation)
    path = tmp_path / "till.xlsx"
    path.write_bytes(b"x")
    shown = dashboard()
    frame = shown.frame
    frame.get_by_role("button", name="Imports", exact=True).click()
    frame.get_by_label("Purchases as .csv").set_input_files(path)
    frame.get_by_role("button", name="Upload").click()
    expect(frame.locator("#upload-fault")).to_contain_text("Files end in .csv")
    assert shown.violations() == []
    assert shown.said("notification")[0]["title"] == "Not imported"
