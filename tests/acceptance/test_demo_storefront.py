"""The demo's own shop page in Chromium, against the whole service as processes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
import pytest
from playwright.sync_api import Browser, expect

from saleor_personalize.testing.demo import person
from saleor_personalize.testing.demo.pages import DemoPages
from saleor_personalize.testing.demo.person import Person
from saleor_personalize.testing.demo.story import Story
from saleor_personalize.testing.saleor import FakeSaleor
from saleor_personalize.testing.stack import Stack, free_port, wait_until
from tests.browser.conftest import browser  # noqa: F401 (a fixture)

pytestmark = [pytest.mark.acceptance, pytest.mark.browser, pytest.mark.timeout(300)]


def test_b1_b7_b9_b14_the_demos_shop_tells_what_a_shopper_does_after_a_yes(
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

        # B1: signing in says whose all of that was.
        shop.add_customer(person.EMAIL, first_name=person.FIRST_NAME)
        page.get_by_role("button", name="Sign in as Ana").click()
        expect(page.locator("#who")).to_have_text("Signed in as Ana")

        def kinds() -> list[str]:
            told = Person(story).told("email", person.EMAIL) or {"timeline": []}
            return [row["what"] for row in told["timeline"] if row["kind"] in {"event", "order"}]

        wait_until(lambda: "cart_added" in kinds(), seconds=30, what="Ana to be recognised")
        # The cart is hers, and opens on another device.
        page.get_by_role("button", name="Go to checkout").click()
        expect(page.locator("#elsewhere")).to_be_visible()
        (cart,) = (c for c in shop.checkouts.values() if c["email"] == person.EMAIL)
        assert cart["user"]["email"] == person.EMAIL
        href = page.locator("#elsewhere a").get_attribute("href")
        assert href == f"/checkout?checkout={quote(cart['id'], safe='')}"
        # B9: the store's receipt, as its till writes it.
        with page.expect_download() as download:
            page.get_by_role("link", name="receipt of its till").click()
        till = tmp_path / download.value.suggested_filename
        download.value.save_as(till)
        stack.run("import", str(till), "--json")
        assert kinds()[-1] == "offline"
        # Whoever comes after her is somebody else.
        before = page.evaluate("localStorage['saleor-personalize:id']")
        page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_role("button", name="Sign in as Ana")).to_be_visible()
        assert page.evaluate("localStorage['saleor-personalize:id']") != before
        # No mail yet: there is no preference centre to open.
        page.get_by_role("link", name="a preference centre").click()
        expect(page).to_have_url(f"{pages.url}/mailbox")
        assert errors == []
