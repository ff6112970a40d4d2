"""B59: `hints.js` in a real browser: it waits for the moment, reports what was seen, and asks no more."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from playwright.sync_api import Page

from saleor_personalize.models import Installation, ShownHint
from tests.browser.storefront import Shop

pytestmark = pytest.mark.browser

ASK = """async ([endpoint, saleorApiUrl, page, given]) => {
  const { createHints } = await import("/files/hints.js");
  window.said ??= [];
  window.hints ??= createHints(window.personalize, {
    endpoint, saleorApiUrl,
    onHint: (hint, answers) => { window.said.push(hint); window.answers = answers; },
  });
  window.personalize.view("UHJvZHVjdDox");
  return (await window.hints.page(page, given)).map((hint) => [hint.kind, hint.showAfterSeconds]);
}"""
LEAVE = """() => document.dispatchEvent(
  new MouseEvent("mouseout", { clientY: -1, relatedTarget: null, bubbles: true }))"""


def ask(page: Page, shop: Shop, installation: Installation, kind: str = "PRODUCT") -> object:
    return page.evaluate(ASK, [shop.app_url, installation.saleor_api_url, kind, {}])


def test_b59_a_hint_comes_when_somebody_is_about_to_leave_and_then_rests(
    shop: Callable[..., Shop], installation: Installation
) -> None:
    store = shop()
    page = store.open(consent="granted", channel="us")
    assert ask(page, store, installation) == [["LINGERING", 30]]
    assert page.evaluate("window.said.length") == 0
    assert not ShownHint.objects.exists()
    page.evaluate(LEAVE)
    page.wait_for_function("window.said.length === 1")
    assert page.evaluate("window.said[0].showOnExit") is True
    row = ShownHint.objects.get()
    assert (row.kind, row.subject, row.shown_count) == ("lingering", "product", 1)
    page.evaluate("window.answers.dismiss()")
    row.refresh_from_db()
    assert row.dismissed_at is not None
    page.evaluate(LEAVE)
    assert ask(page, store, installation) == []
    assert page.evaluate("window.said.length") == 1
    assert store.errors == []


def test_b59_the_moment_comes_by_itself_unless_the_page_was_left(
    shop: Callable[..., Shop], installation: Installation
) -> None:
    store = shop()
    page = store.open(consent="granted", channel="us")
    page.clock.install()
    ask(page, store, installation)
    page.evaluate("window.hints.leave()")
    page.clock.fast_forward(31_000)
    page.evaluate(LEAVE)
    assert ask(page, store, installation, "SEARCH") == [["LINGERING", 30]]
    page.clock.fast_forward(29_000)
    assert page.evaluate("window.said.length") == 0
    page.clock.fast_forward(2_000)
    page.wait_for_function("window.said.length === 1")
    assert ShownHint.objects.get().subject == "search"
    assert store.errors == []


def test_b59_without_a_yes_nobody_is_interrupted(
    shop: Callable[..., Shop], installation: Installation
) -> None:
    store = shop()
    page = store.open(consent="denied", channel="us")
    assert ask(page, store, installation) == []
    assert not ShownHint.objects.exists()


def test_b59_an_app_that_does_not_answer_breaks_no_page(
    shop: Callable[..., Shop], installation: Installation
) -> None:
    store = shop()
    page = store.open(consent="granted", channel="us")
    asked = page.evaluate(ASK, ["http://127.0.0.1:9", installation.saleor_api_url, "PRODUCT", {}])
    assert asked == []
    assert store.errors == []
    assert any("[saleor-personalize]" in said for said in store.hints)
