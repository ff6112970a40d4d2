"""Take the README's pictures from a running demo: `make screenshots` while `make demo` is up."""

from __future__ import annotations

import sys
from pathlib import Path

from playwright.sync_api import ViewportSize, sync_playwright

IMAGES = Path(__file__).with_name("images")
SIZE: ViewportSize = {"width": 1100, "height": 800}
ARGUMENTS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]


def main(url: str) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=ARGUMENTS)
        page = browser.new_page(viewport=SIZE)
        page.goto(url)
        page.wait_for_selector("body[data-ready]")
        page.wait_for_load_state("networkidle")
        page.screenshot(path=IMAGES / "storefront.png")
        page.goto(f"{url}/dashboard")
        frame = page.frame_locator("#app")
        frame.get_by_role("heading", level=1).first.wait_for()
        page.wait_for_timeout(4_000)
        page.screenshot(path=IMAGES / "dashboard.png")
        for name, at in (
            ("First steps", "first-steps"),
            ("Journeys", "journeys"),
            ("Results", "results"),
        ):
            frame.get_by_role("button", name=name, exact=True).click()
            frame.get_by_role("heading", name=name, exact=True).wait_for()
            page.wait_for_timeout(1_500)
            # The button that was pressed may stand far below.
            frame.locator("body").evaluate("() => window.scrollTo(0, 0)")
            page.screenshot(path=IMAGES / f"{at}.png")
        page.set_viewport_size({"width": 1100, "height": 1400})
        frame.get_by_role("button", name="Playground", exact=True).click()
        frame.get_by_label("Person (empty: nobody we know)").fill("ana@example.com")
        frame.get_by_role("button", name="Ask").click()
        frame.locator("#answer table").first.wait_for()
        page.wait_for_timeout(1_000)
        frame.locator("#answer").screenshot(path=IMAGES / "playground.png")
        frame.get_by_role("button", name="Rules", exact=True).click()
        frame.get_by_role("button", name="New rule").click()
        page.set_viewport_size({"width": 1300, "height": 860})
        frame.get_by_label("Name", exact=True).fill("Tea weeks")
        frame.get_by_label("What it does").select_option("boost")
        frame.get_by_label("How many times more").fill("5")
        frame.get_by_label("Categories, with all below").fill("Teas")
        frame.locator("#rule-preview tbody tr").first.wait_for()
        page.wait_for_timeout(1_000)
        page.screenshot(path=IMAGES / "rules.png")
        page.set_viewport_size(SIZE)
        page.goto(url)
        page.wait_for_selector("body[data-ready]")
        page.locator("#person").click()
        # High enough for the whole timeline.
        page.set_viewport_size({"width": 1100, "height": 2400})
        timeline = frame.get_by_role("region", name="Timeline")
        timeline.wait_for()
        page.wait_for_timeout(1_000)
        timeline.screenshot(path=IMAGES / "person.png")
        page.set_viewport_size(SIZE)
        page.set_viewport_size({"width": 1100, "height": 1000})
        page.goto(f"{url}/phones")
        page.wait_for_selector("body[data-ready]")
        page.wait_for_load_state("networkidle")
        page.screenshot(path=IMAGES / "phones.png")
        page.set_viewport_size(SIZE)
        page.goto(f"{url}/mailbox/0")
        page.wait_for_load_state("networkidle")
        page.screenshot(path=IMAGES / "reminder.png")
        browser.close()


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8700")
