"""The demo's own shop page in Chromium, against the whole service as processes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
import pytest
from playwright.sync_api import Browser, Page, expect

from saleor_personalize.testing.demo import person, regular
from saleor_personalize.testing.demo.pages import DemoPages
from saleor_personalize.testing.demo.person import Person
from saleor_personalize.testing.demo.story import Story
from saleor_personalize.testing.saleor import FakeSaleor
from saleor_personalize.testing.saleor.catalogue import GERMAN, MATERIALS
from saleor_personalize.testing.stack import Stack, free_port, wait_until
from tests.browser.conftest import browser, violations  # noqa: F401 (a fixture)

pytestmark = [pytest.mark.acceptance, pytest.mark.browser, pytest.mark.timeout(900)]


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
            HINT_CART_AFTER_SECONDS="1",
        ) as stack,
        DemoPages(stack, shop, port=port) as pages,
    ):
        shop.fill()
        regular.arrive(shop)
        shop.offer_delivery(price=4.9, free_from=600)
        sold_out = shop.variants[next(reversed(shop.variants))]
        shop.set_stock(sold_out["id"], 0)
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

        # Ana comes with her part of the story: she is offered once it is told.
        pages.told = "installed"
        assert [each["firstName"] for each in pages.config()["customers"]] == ["Ben"]
        shop.add_customer(person.EMAIL, first_name=person.FIRST_NAME)
        assert [each["firstName"] for each in pages.config()["customers"]] == ["Ben"]
        pages.told = None

        page = browser.new_page()
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(pages.url)
        page.wait_for_selector("body[data-ready]")
        picked = page.locator("#home li.card")
        expect(picked).to_have_count(4)
        home = picked.evaluate_all("items => items.map(item => item.dataset.product)")
        expect(page.locator("#recently_viewed")).to_be_hidden()
        picked.first.locator("a").click()
        expect(page.locator("#product_page_similar h2")).to_have_text("Alternatives")
        assert told() == {}

        page.get_by_role("button", name="Yes").click()
        page.goto(pages.url)
        page.wait_for_selector("body[data-ready]")
        wait_until(
            lambda: told().get("recommendation_shown", set()) >= set(home),
            seconds=20,
            what="the four recommendations to be seen",
        )
        picked.nth(1).locator("a").click()
        page.wait_for_url("**/product/**")
        page.get_by_role("button", name="Add to cart", exact=True).click()
        expect(page.get_by_role("dialog")).to_contain_text("Goes with it")
        wait_until(lambda: "cart_added" in told(), seconds=20, what="the cart to be told")
        found = told()
        assert found["recommendation_clicked"] == found["product_viewed"] == {home[1]}
        assert len(found["cart_added"]) == 1
        sessions = rows("SELECT channel_slug, device_type FROM saleor_personalize_session")
        assert sessions == [(shop.default_channel, "desktop")]

        # B1: signing in says whose all of that was.
        page.get_by_role("link", name="To the cart").click()
        page.wait_for_selector("body[data-ready]")
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
        # B59: on the cart's page what is missing until delivery is free, elsewhere that the cart waits.
        wait_until(
            lambda: rows("SELECT id FROM saleor_personalize_checkout WHERE user_saleor_id <> ''"),
            seconds=120,
            what="the cart to be known",
        )
        free, waits = (
            page.locator(f"#hints [data-kind={kind}]") for kind in ("FREE_DELIVERY", "CART_WAITING")
        )

        def tells_of_delivery() -> bool:
            # Where the shop does not answer in time nothing is said, and it is not asked again at once.
            page.reload()
            page.wait_for_timeout(2_000)
            return free.is_visible()

        wait_until(tells_of_delivery, seconds=120, what="the hint of free delivery")
        total = cart["totalPrice"](None)["gross"]["amount"]
        expect(free).to_contain_text(f"{600 - total:.2f} USD more, and delivery is free.")
        page.goto(pages.url)
        expect(waits.get_by_role("link", name="To the cart")).to_have_attribute("href", href)
        check_barriers(page)
        waits.get_by_role("button", name="Not now").click()
        expect(waits).to_be_hidden()
        # B51: who is signed in asks with one press to be told; a guest types an address.
        expect(page.locator("#sold-out")).to_contain_text(sold_out["product"]["name"])
        page.locator("#sold-out").get_by_role("link", name=sold_out["product"]["name"]).click()
        page.wait_for_url("**/product/**")
        page.wait_for_selector("body[data-ready]")
        expect(page.locator("#wait input")).to_have_count(0)
        check_barriers(page)
        page.get_by_role("button", name="Tell me when it is back").click()
        expect(page.locator("#wait")).to_contain_text("Noted.")
        alerts = "SELECT variant_saleor_id, channel_slug FROM saleor_personalize_stockalert"
        assert rows(alerts) == [(sold_out["id"], shop.default_channel)]
        page.get_by_role("link", name="Kettle & Clay").click()
        page.wait_for_url(f"{pages.url}/")
        page.wait_for_selector("body[data-ready]")
        page.get_by_role("button", name="let three pieces come in").click()
        wait_until(lambda: shop.available(sold_out["id"]) == 3, seconds=10, what="the delivery")
        # B9: the store's receipt, as its till writes it.
        page.get_by_role("link", name="Kettle & Clay").click()
        page.wait_for_selector("body[data-ready]")
        with page.expect_download() as download:
            page.get_by_role("link", name="receipt of its till").click()
        till = tmp_path / download.value.suggested_filename
        download.value.save_as(till)
        stack.run("import", str(till), "--json")
        assert "offline" in kinds()
        # Whoever comes after her is somebody else.
        before = page.evaluate("localStorage['saleor-personalize:id']")
        page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_role("button", name="Sign in as Ana")).to_be_visible()
        assert page.evaluate("localStorage['saleor-personalize:id']") != before
        # A shopper who buys the same each month is told when it is due again.
        page.get_by_role("button", name="Sign in as Ben").click()
        expect(page.locator("#buy_again")).to_contain_text("Morning Harbour tea, 100 g")
        _look_at_every_page(page, pages.url)
        # No mail yet: there is no preference centre to open.
        page.goto(pages.url)
        page.wait_for_selector("body[data-ready]")
        page.get_by_role("link", name="a preference centre").click()
        expect(page).to_have_url(f"{pages.url}/mailbox")
        assert errors == []


def _look_at_every_page(page: Page, url: str) -> None:
    """Each page recommends with its reason, in German too; links, back and reload work; no barrier."""

    def ready() -> None:
        page.wait_for_selector("body[data-ready]")

    def reasons(shelf: str) -> list[str]:
        expect(page.locator(f"#{shelf} .note").first).not_to_be_empty()
        texts = page.locator(f"#{shelf} .note").all_inner_texts()
        assert len(texts) == page.locator(f"#{shelf} li.card").count()
        assert all(texts)
        return texts

    page.goto(url)
    ready()
    expect(page.locator("#recently_viewed")).to_be_attached()
    for shelf in ("home", "trending", "new_arrivals"):
        reasons(shelf)
    expect(page.locator("#brands h3")).to_have_count(3)
    check_barriers(page)

    # The search box, by keyboard.
    page.get_by_role("searchbox").fill("teapot")
    page.keyboard.press("Enter")
    page.wait_for_url("**/search?q=teapot")
    ready()
    assert set(page.locator("#shelf-search .card strong").all_inner_texts()) == {
        f"{material.capitalize()} teapot" for material in MATERIALS
    }
    assert set(reasons("shelf-search")) == {"Matches your search"}
    pictures = page.locator("#shelf-search img").evaluate_all(
        "found => Promise.all(found.map(each => fetch(each.src).then(answer => answer.text())))"
    )
    assert len(set(pictures)) == len(MATERIALS)
    assert max(map(len, pictures)) < 1_000
    page.get_by_role("link", name="Glass teapot").click()
    page.wait_for_url("**/product/glass-teapot?id=*")
    ready()
    page.reload()
    ready()
    expect(page.get_by_role("heading", level=1)).to_have_text("Glass teapot")
    alternatives = set(page.locator("#product_page_similar strong").all_inner_texts())
    complements = set(page.locator("#product_page_complements strong").all_inner_texts())
    assert len(alternatives) == len(complements) == 4
    assert not alternatives & complements
    assert all("Glass teapot" in text for text in reasons("product_page_similar"))
    check_barriers(page)
    page.go_back()
    page.wait_for_url("**/search?q=teapot")
    ready()
    expect(page.get_by_role("heading", level=1)).to_have_text("Found for “teapot”")

    page.goto(f"{url}/search?q=bicycle")
    ready()
    expect(page.get_by_role("heading", level=1)).to_have_text("Nothing found for “bicycle”")
    assert len(reasons("search_empty")) == 8

    page.goto(url)
    ready()
    page.get_by_role("navigation", name="Categories").get_by_role("link", name="Cups").click()
    page.wait_for_url("**/category/cups?id=*")
    ready()
    reasons("category_page")
    expect(page.locator("#products .card")).to_have_count(len(MATERIALS))
    page.locator("#products .card button").first.click()
    dialog = page.get_by_role("dialog")
    assert len(reasons("added_to_cart")) == 3
    check_barriers(page)
    dialog.get_by_role("link", name="To the cart").click()
    page.wait_for_url("**/cart")
    ready()
    reasons("cart")
    check_barriers(page)
    page.get_by_role("button", name="Buy now").click()
    page.wait_for_url("**/order")
    ready()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Thank you. Order")
    reasons("order_confirmation")
    check_barriers(page)

    # Names and reasons are of one language.
    page.get_by_role("button", name="Deutsch").click()
    expect(page.locator("#order_confirmation h2")).to_have_text("Passt zu Ihrem Einkauf")
    names = page.locator("#order_confirmation strong").all_inner_texts()
    german = tuple(GERMAN.values())
    assert all(any(word in name for word in german) for name in names)
    page.get_by_role("button", name="English").click()
    expect(page.locator("#order_confirmation h2")).to_have_text("Goes with what you bought")


def check_barriers(page: Page) -> None:
    """Nothing that axe knows, light and dark, at the width of a phone too, where nothing scrolls sideways."""
    wide = page.viewport_size
    assert wide is not None
    for width in (375, wide["width"]):
        page.set_viewport_size({"width": width, "height": wide["height"]})
        for theme in ("dark", "light"):
            page.evaluate("theme => { document.documentElement.dataset.theme = theme }", theme)
            assert violations(page) == []
        root = "document.documentElement"
        assert page.evaluate(f"{root}.scrollWidth <= {root}.clientWidth"), width
