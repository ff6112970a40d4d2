"""`saleor-personalize demo`, as `make demo` starts it: the whole product as processes, through every door."""

from __future__ import annotations

import json
import random
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from saleor_personalize.testing.demo import channels
from saleor_personalize.testing.stack import wait_until
from tests.acceptance.test_demo_storefront import check_barriers
from tests.browser.conftest import browser  # noqa: F401 (a fixture)

pytestmark = [pytest.mark.acceptance, pytest.mark.browser, pytest.mark.timeout(900)]

CART = "Your cart at Kettle & Clay is waiting for you"
WELCOME = "Welcome! Good to have you here"
REMINDERS = "Reminders of what you left in your cart or looked at"
PROGRAM = (sys.executable, "-m", "saleor_personalize.project")
#: So long a cart lies still, a look at what is due is away, and a push may stay unopened; and a slow machine.
PATIENCE = 180_000


@dataclass
class Demo:
    """A running demo whose story is over. `story` is what it printed."""

    url: str
    story: dict[str, Any]
    log: Path
    process: subprocess.Popen[str]

    def run(self, *words: str) -> Any:
        """Run a command as the demo says, in another terminal; return the JSON that it printed."""
        (variables,) = re.findall(r"^ +\. (\S+)$", self.log.read_text(), re.MULTILINE)
        done = subprocess.run(
            ["/bin/sh", "-c", f'. {variables} && exec "$0" "$@"', *PROGRAM, *words, "--json"],
            capture_output=True,
            text=True,
            check=True,
            env={},
        )
        return json.loads(done.stdout)

    def decided(self, email: str) -> list[list[str]]:
        """Return what was decided about messages to somebody: status, way, reason."""
        timeline = self.run("people", "show", "--email", email)["timeline"]
        return [
            [row["what"], row["delivery_channel"], row.get("reason", "")]
            for row in timeline
            if row["kind"] == "message"
        ]

    def phones(self) -> dict[str, int]:
        """Return how many pushes each phone got, by its name."""
        told = httpx.get(f"{self.url}/phones.json").json()
        return {phone["name"]: len(phone["pushes"]) for phone in told}


def ports_in_a_row() -> int:
    """Return the first of three free ports, below those that systems give to whoever asks for any."""
    while True:
        port = random.randrange(20_000, 30_000)  # noqa: S311 (not a secret)
        with ExitStack() as held, suppress(OSError):
            for wanted in (port, port + 1, port + 2):
                held.enter_context(socket.create_server(("127.0.0.1", wanted)))
            return port


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    log = tmp_path_factory.mktemp("demo") / "log"
    port = ports_in_a_row()
    with (
        log.open("w") as complaints,
        subprocess.Popen(
            [*PROGRAM, "demo", "--json", "--port", str(port)],
            stdout=subprocess.PIPE,
            stderr=complaints,
            text=True,
        ) as process,
    ):
        try:
            printed = ""
            assert process.stdout is not None
            for line in process.stdout:
                printed += line
                if line == "}\n":
                    break
            assert printed.endswith("}\n"), log.read_text()
            yield Demo(f"http://127.0.0.1:{port}", json.loads(printed), log, process)
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)


def test_b112_d2_the_demo_tells_the_whole_story(demo: Demo) -> None:
    """B5, B45, B112, D2, D8: installed, filled, recommending, one reminder, three reasons for none."""
    story = demo.story
    assert story["installed"].startswith("http://127.0.0.1:")
    assert story["backfilled"] == {
        "channels": 2,
        "prices": 132,
        "categories": 7,
        "collections": 1,
        "products": 66,
        "pages": 5,
        "customers": 45,
        "orders": 308,
        "checkouts": 5,
    }
    assert [(model["channel"], model["is_published"]) for model in story["models"]] == [
        ("channel-pln", True),
        ("default-channel", True),
    ]
    assert sum(model["interactions"] for model in story["models"]) > 300
    assert set(story["recommendations"]) == {
        "home",
        "product_page_related",
        "product_page_similar",
        "cart",
    }
    for ids in story["recommendations"].values():
        assert len(ids) == len(set(ids)) == 4
    # B26: beside a tea the guide that names it, in the language asked for.
    assert len(story["pages"]["home"]) == 3
    assert story["pages"]["product page"] == {
        "Kräutertees für den Abend": "Über Tee „Nachtgarten“, 50 g"
    }
    assert story["messages_sent"] == 11
    assert story["messages_not_sent"] == {"no_consent": 2, "ordered": 4, "suppressed": 1}
    # B51, B53, B55: three other occasions, each told once, with what the mail says of it.
    occasions = story["occasions"]
    assert set(occasions) == {"welcome", "back_in_stock", "price_drop"}
    assert "is back" in occasions["back_in_stock"]["subject"]
    assert occasions["price_drop"]["now"] == round(occasions["price_drop"]["before"] * 0.8, 2)
    # B1, B9: phone, laptop and store are one person.
    ana = story["person"]
    # Whether her cart was first told of by its webhook or by her phone, nobody can say.
    assert sorted(one["kind"] for row in ana["profiles"] for one in row["ids"]) == [
        "anonymous_id",
        "anonymous_id",
        "checkout",
        "email",
        "saleor_user",
    ]
    assert {row["proof"] for row in ana["merges"]} == {"login", "checkout"}
    assert all(row["evidence"] and row["why"] and not row["undone_at"] for row in ana["merges"])
    times = [row["at"] for row in ana["timeline"]]
    assert times == sorted(times)
    assert [
        (row["what"], row.get("device", ""))
        for row in ana["timeline"]
        if row["kind"] in {"event", "order", "message"}
    ] == [
        ("product_viewed", "mobile"),
        ("cart_added", "mobile"),
        ("product_viewed", "desktop"),
        ("offline", ""),
        ("not_sent", ""),
    ]
    assert ana["reminder"] == {"status": "not_sent", "reason": "ordered"}
    assert ana["segments"] == ["store-and-web"]
    assert "ana@example.com" not in json.dumps(story)
    # B68, B71, B69: push first, e-mail where nobody looked, nothing after an order or a no; and in the shop.
    assert story["channels"] == {
        "eva": {"push": CART, "mail": CART},
        "finn": [["sent", "push", ""], ["not_sent", "email", "ordered"]],
        "ida": [["sent", "push", ""]],
        "gina": [
            ["sent", "push", ""],
            ["sent", "email", ""],
            ["not_sent", "push", "no_consent"],
            ["not_sent", "email", "suppressed"],
        ],
        "hugo": {"title": WELCOME, "placement": "home_top"},
    }
    # B91: one order followed the push that was pressed; nobody else's followed anything.
    assert story["recovered"] == {"orders": 1, "is_of_messages": True}
    # B88, B89, B94: suggestions are tried, kept and waited for, so that no page about them is empty.
    assert story["visitors"] == {"visitors": 20, "arms": 2, "kept": 3, "waiting": 2}


def test_b97_d2_the_demos_dashboard_shows_what_happened_in_the_language_that_is_chosen(
    demo: Demo,
    browser: Browser,  # noqa: F811
) -> None:
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.goto(f"{demo.url}/dashboard")
    frame = page.frame_locator("#app")
    frame.locator("#page-demand").click(timeout=30_000)
    expect(frame.locator("#content")).to_contain_text("default-channel: 2 wait")
    frame.locator("#page-experiments").click()
    expect(frame.locator("#content")).to_contain_text("Landing page")
    expect(frame.locator("#content")).to_contain_text("20 people take part")
    expect(frame.locator("#content")).to_contain_text("Nobody is left alone")
    expect(frame.locator("#content")).not_to_contain_text("nobody has come as far")
    frame.locator("#page-results").click()
    expect(frame.locator("#content")).not_to_contain_text("CLICK_TRACKING is off")
    shown = frame.get_by_role("region", name="Figures of each placement")
    expect(shown).to_contain_text("Landing page")
    page.get_by_label("Language").select_option("de")
    expect(frame.locator("#results-title")).to_have_text("Ergebnisse")


def test_b68_b71_the_page_of_phones_shows_what_each_device_got(
    demo: Demo,
    browser: Browser,  # noqa: F811
) -> None:
    """B68, B71: title, words and where it leads; what was pressed; the device that lost the app."""
    page = browser.new_page()
    page.goto(f"{demo.url}/phones")
    page.wait_for_selector("body[data-ready]")
    expect(page.locator(".device h2")).to_have_text(
        ["Ida's phone", "Gina's browser", "Finn's phone", "Eva's phone", "Eva's old phone"]
    )
    shown = device(page, "Eva's phone").locator(".push")
    expect(shown.locator("strong")).to_have_text(CART)
    expect(shown.locator("p").first).to_have_text(
        "You left something in your cart. We kept it for you."
    )
    leads = shown.locator(".note").inner_text()
    assert leads.startswith(f"Leads to {demo.url}/checkout?checkout=")
    lost = device(page, "Eva's old phone")
    expect(lost.locator(".push")).to_have_count(0)
    expect(lost).to_contain_text("The app was taken off.")
    expect(device(page, "Ida's phone").locator(".note").last).to_have_text("Pressed.")
    check_barriers(page)
    # A press leads into the cart, and is told to the app.
    device(page, "Finn's phone").get_by_role("button", name=f"Open: {CART}").click()
    page.wait_for_url("**/cart?checkout=*")
    page.go_back()
    expect(device(page, "Finn's phone").locator(".push .note").last).to_have_text("Pressed.")


def test_b69_the_inbox_is_the_same_on_two_devices_of_one_person(
    demo: Demo,
    browser: Browser,  # noqa: F811
) -> None:
    """B69: read on one is read on the other; put away on one is gone from the other, with its banner."""
    page = browser.new_page()
    page.goto(f"{demo.url}/device?email=hugo@example.com")
    ready(page)
    check_barriers(page)
    page.goto(f"{demo.url}/inbox")
    ready(page)
    check_barriers(page)
    laptop, phone = page.frame_locator("[title=Laptop]"), page.frame_locator("[title=Phone]")
    for each in (laptop, phone):
        expect(each.locator(".bell")).to_have_accessible_name("Messages, unread: 1")
        expect(each.locator(".banner strong")).to_have_text(WELCOME)
    laptop.locator(".bell").click()
    item = laptop.get_by_role("dialog").locator(".item")
    expect(item.locator("h3")).to_have_text(WELCOME)
    expect(item.locator("p")).to_have_text(
        "Thank you for joining us. From now on you hear from us what is new."
    )
    item.get_by_role("button", name="Mark as read").click()
    for each in (laptop, phone):
        expect(each.locator(".bell")).to_have_accessible_name("Messages", timeout=20_000)
    phone.locator(".banner").get_by_role("button", name="Put away").click()
    expect(phone.locator(".banner")).to_have_count(0)
    expect(laptop.locator(".banner")).to_have_count(0, timeout=20_000)
    expect(laptop.get_by_role("dialog").locator(".empty")).to_have_text(
        "There is nothing here at the moment."
    )
    # Nobody else has seen any of it.
    page.get_by_role("button", name="Ben").click()
    expect(phone.locator(".bell")).to_have_accessible_name("Messages")
    expect(phone.locator(".banner")).to_have_count(0)
    assert demo.decided("hugo@example.com") == [["sent", "in_app", ""]]


def test_b67_b68_b71_b75_a_shopper_gets_push_then_mail_unsubscribes_and_gets_nothing_more(
    demo: Demo,
    browser: Browser,  # noqa: F811
) -> None:
    """From the shop's page to the phone, to the mail, by its link out, and the preference centre."""
    page = browser.new_page()
    before = demo.decided(channels.EVA)
    page.goto(demo.url)
    ready(page)
    page.get_by_role("button", name="Sign in as Eva").click()
    expect(page.locator("#who")).to_have_text("Signed in as Eva")
    page.get_by_role("button", name="Put the app on a phone").click()
    expect(page.locator("#who")).to_have_text(
        "The app is on a phone: it gets what you leave behind first."
    )
    leave_cart(page, demo.url, card=0, remind=True)

    page.goto(f"{demo.url}/phones")
    on_phone = device(page, "Eva's new phone").locator(".push strong")
    expect(on_phone).to_have_text([CART], timeout=PATIENCE)
    expect(device(page, "Eva's phone").locator(".push strong")).to_have_text([CART, CART])
    # She does not look at it.
    page.goto(f"{demo.url}/mailbox")
    mails = page.locator("li.card", has_text="to eva@example.com").locator("a")
    expect(mails).to_have_text([CART, CART], timeout=PATIENCE)
    mail = f"{demo.url}{mails.first.get_attribute('href')}"

    page.goto(mail)
    page.get_by_role("link", name="Unsubscribe", exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_have_text(
        "Unsubscribe from reminders and offers?"
    )
    page.get_by_role("button", name="Unsubscribe", exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_have_text("You are unsubscribed")
    expect(page.locator("main p")).to_have_text("It took effect at once. You can close this page.")

    page.goto(mail)
    page.get_by_role("link", name="Choose what you get").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Your messages from Kettle & Clay")
    reminders = page.get_by_role("group", name=REMINDERS)
    expect(reminders.get_by_label("E-mail")).not_to_be_checked()
    expect(reminders.get_by_label("Push")).to_be_checked()
    for box in page.get_by_label("Push").all():
        box.uncheck()
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_role("status")).to_have_text("Saved. It holds from now on.")
    expect(reminders.get_by_label("Push")).not_to_be_checked()

    phones = demo.phones()
    leave_cart(page, demo.url, card=1, remind=False)
    wait_until(
        lambda: len(demo.decided(channels.EVA)) >= len(before) + 4,
        seconds=120,
        what="the decision about her next cart",
    )
    assert demo.decided(channels.EVA)[len(before) :] == [
        ["sent", "push", ""],
        ["sent", "email", ""],
        ["not_sent", "push", "no_consent"],
        ["not_sent", "email", "suppressed"],
    ]
    assert demo.phones() == phones
    page.goto(f"{demo.url}/mailbox")
    expect(mails).to_have_text([CART, CART])


def test_b112_whoever_ends_the_demo_leaves_nothing_running(demo: Demo) -> None:
    """B112: by a signal as by Ctrl-C."""
    (folder,) = re.findall(r"^ +\. (\S+)/demo\.env$", demo.log.read_text(), re.MULTILINE)
    demo.process.send_signal(signal.SIGTERM)
    assert demo.process.wait(timeout=120) == 0
    assert "Ended; nothing is left running." in demo.log.read_text()
    assert not Path(folder).exists()
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{demo.url}/phones")


def ready(page: Page) -> None:
    page.wait_for_selector("body[data-ready]")


def device(page: Page, name: str) -> Locator:
    heading = page.get_by_role("heading", name=name, exact=True)
    return page.locator(".device", has=heading)


def leave_cart(page: Page, url: str, *, card: int, remind: bool) -> None:
    """Fill a new cart, signed in, and go as far as the checkout."""
    page.goto(url)
    page.evaluate("sessionStorage.removeItem('cart')")
    page.reload()
    ready(page)
    page.locator("#products .card button").nth(card).click()
    page.get_by_role("dialog").get_by_role("link", name="To the cart").click()
    page.wait_for_url("**/cart")
    ready(page)
    if remind:
        page.get_by_label("Remind me by e-mail when I leave something behind").check()
    page.get_by_role("button", name="Go to checkout").click()
    expect(page.locator("#cart-state")).to_contain_text("At the checkout.")
