"""The demo's own shop page in Chromium, against the whole service as processes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import psycopg
import pytest
from playwright.sync_api import Browser, expect

from saleor_personalize.testing.demo.pages import DemoPages
from saleor_personalize.testing.demo.story import Story
from saleor_personalize.testing.saleor import FakeSaleor
from saleor_personalize.testing.stack import Stack, free_port, wait_until
from tests.browser.conftest import browser  # noqa: F401 (a fixture)

pytestmark = [pytest.mark.acceptance, pytest.mark.browser, pytest.mark.timeout(300)]


def test_b7_b14_the_demos_shop_tells_what_a_shopper_does_after_a_yes(
    tmp_path: Path,
    browser: Browser,  # noqa: F811
) -> None:
    tmp_path.chmod(0o755)
    port = free_port()
    with (
        FakeSaleor() as shop,
        Stack(
            tmp_path,
            ALLOWED_SALEOR_API_URLS=re.escape(shop.api_url),
            STOREFRONT_ORIGINS=f"http://127.0.0.1:{port}",
        ) as stack,
        DemoPages(stack, shop, port=port) as pages,
    ):
        shop.fill()
        story = Story(stack, shop, lambda line: None)
        story.install()
        story.backfill()

        def rows(query: str) -> list[Any]:
            with psycopg.connect(stack.environment["DATABASE_URL"]) as connection:
                return connection.execute(query).fetchall()  # type: ignore[arg-type]

        def told() -> dict[str, set[str]]:
            found: dict[str, set[str]] = {}
            for kind, product in rows(
                "SELECT type, product_saleor_id FROM saleor_personalize_event"
                " WHERE source = 'storefront'"
            ):
                found.setdefault(kind, set()).add(product)
            return found

        page = browser.new_page()
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(pages.url)
        page.wait_for_selector("body[data-ready]")
        recommended = page.locator("#recommended li")
        expect(recommended).to_have_count(4)
        home = recommended.evaluate_all("items => items.map(item => item.dataset.product)")
        recommended.first.locator("a").click()
        expect(page.locator("#title")).to_have_text("Goes well with it")
        assert told() == {}

        page.get_by_role("button", name="Yes").click()
        page.goto(pages.url)
        page.wait_for_selector("body[data-ready]")
        wait_until(
            lambda: told().get("recommendation_shown", set()) >= set(home),
            seconds=20,
            what="the four recommendations to be seen",
        )
        recommended.nth(1).locator("a").click()
        page.locator("#products li").first.get_by_role("button").click()
        wait_until(lambda: "cart_added" in told(), seconds=20, what="the cart to be told")
        found = told()
        assert found["recommendation_clicked"] == found["product_viewed"] == {home[1]}
        assert len(found["cart_added"]) == 1
        sessions = rows("SELECT channel_slug, device_type FROM saleor_personalize_session")
        assert sessions == [(shop.default_channel, "desktop")]
        assert errors == []
