"""The page as staff meet it: in a frame of the Dashboard, in a real browser."""

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.utils import timezone
from playwright.sync_api import Route, expect

from saleor_personalize.enums import BackfillStatus, DeliveryStatus, MessageStatus, NotSentReason
from saleor_personalize.events import operations as events
from saleor_personalize.journeys import operations as journeys
from saleor_personalize.models import (
    Backfill,
    BackfillStage,
    Enrollment,
    Installation,
    Journey,
    Profile,
    TrainedModel,
    WebhookDelivery,
)
from saleor_personalize.testing.keys import TEST_KEY
from tests.browser.conftest import Dashboard
from tests.conftest import make_enrollment
from tests.integration.reminders import checkout_data
from tests.integration.test_dashboard import make_delivery, make_message, staff_claims

pytestmark = pytest.mark.browser

Open = Callable[..., Dashboard]
MAX_BYTES = 100_000


@pytest.fixture
def lively_shop(installation: Installation, alice: Profile, bob: Profile) -> Installation:
    """A shop in the middle of its day: history read, webhooks in, messages out and not out."""
    now = timezone.now()
    for number in range(40):
        received = now - timedelta(minutes=3 * number, seconds=20)
        make_delivery(
            installation, number,
            received_at=received, processed_at=received + timedelta(milliseconds=400 + 50 * number),
        )  # fmt: skip
    make_delivery(
        installation, 98, event="checkout_updated", status=DeliveryStatus.FAILED, attempts=1,
        error="checkout.lines[0].variant: expected an object, got nothing.",
    )  # fmt: skip
    run = Backfill.objects.create(
        installation=installation, status=BackfillStatus.RUNNING, created_at=now, started_at=now
    )
    stages = [
        ("channels", 2, 2, True), ("categories", 14, 14, True), ("collections", 3, 3, True),
        ("products", 1432, 1432, True), ("customers", 5200, 18340, False), ("orders", 0, None, False),
        ("checkouts", 0, None, False),
    ]  # fmt: skip
    for position, (name, rows, total, done) in enumerate(stages):
        BackfillStage.objects.create(
            installation=installation, backfill=run, name=name, position=position,
            row_count=rows, total_count=total, is_done=done,
        )  # fmt: skip
    for number in range(3):
        due_at = now + timedelta(minutes=20 + number)
        make_enrollment(alice, f"checkout {number}", now, due_at=due_at)
    make_message(alice, MessageStatus.SENT)
    make_message(bob, MessageStatus.NOT_SENT, NotSentReason.NO_CONSENT)
    make_message(alice, MessageStatus.NOT_SENT, NotSentReason.ORDERED)
    make_message(alice, MessageStatus.UNCERTAIN)
    for channel in ("default-channel", "channel-pln"):
        TrainedModel.objects.create(
            installation=installation, channel_slug=channel, version="1", path="x",
            metrics={"aliases": {"bought_together": {}, "popular": {}, "similar": {}}},
            trained_at=now - timedelta(hours=7), is_published=True,
        )  # fmt: skip
    return installation


def test_b97_the_page_shows_real_figures_inside_the_dashboard(
    lively_shop: Installation, dashboard: Open
) -> None:
    shown = dashboard()
    frame = shown.frame
    expect(frame.locator("#webhooks")).to_contain_text("1 could not be processed")
    expect(frame.locator("#webhooks .figures")).to_contain_text("41")
    ago = frame.locator("#webhooks time[data-relative]").first
    expect(ago).to_have_text(re.compile(r"^2\d seconds ago$"))
    expect(frame.locator("#backfill")).to_contain_text("5,200 of 18,340")
    expect(frame.locator("#journey .figures")).to_contain_text("3")
    expect(frame.locator("#messages li")).to_have_count(4)
    expect(frame.locator("#messages")).to_contain_text(
        "The person did not allow e-mails of this kind."
    )
    expect(frame.locator("#models li")).to_have_count(2)
    assert len(shown.said("notifyReady")) == 1
    # Nothing was blocked by the page's own policy, and no script failed.
    assert shown.console == []


def test_b97_the_theme_follows_the_dashboard(lively_shop: Installation, dashboard: Open) -> None:
    shown = dashboard(query={"theme": "light"})
    frame = shown.frame
    expect(frame.locator("#journey")).to_be_visible()

    def background() -> str:
        return str(frame.evaluate("getComputedStyle(document.body).backgroundColor"))

    assert background() == "rgb(255, 255, 255)"
    shown.say("theme", {"theme": "dark"})
    expect(frame.locator("html")).to_have_attribute("data-theme", "dark")
    assert background() == "rgb(38, 40, 54)"


def test_b97_language_and_dates_follow_the_dashboard(
    lively_shop: Installation, dashboard: Open
) -> None:
    shown = dashboard()
    ago = shown.frame.locator("#webhooks time[data-relative]").first
    expect(ago).to_have_text(re.compile(r"^2\d seconds ago$"))
    shown.say("localeChanged", {"locale": "de"})
    expect(shown.frame.locator("html")).to_have_attribute("lang", "de")
    expect(ago).to_have_text(re.compile(r"^vor [23]\d Sekunden$"))
    expect(shown.frame.locator("#backfill")).to_contain_text("5.200")


def test_b97_a_message_from_anybody_else_is_not_heard(
    lively_shop: Installation, dashboard: Open
) -> None:
    shown = dashboard()
    expect(shown.frame.locator("#journey")).to_be_visible()
    shown.frame.evaluate(
        "new Promise(done => { addEventListener('message', () => setTimeout(done));"
        " postMessage({type: 'theme', payload: {theme: 'dark'}}, '*') })"
    )
    expect(shown.frame.locator("html")).to_have_attribute("data-theme", "light")


def test_b97_an_expired_token_is_replaced_by_asking_the_dashboard(
    lively_shop: Installation, dashboard: Open
) -> None:
    handed_out: list[str] = []

    def tokens() -> str:
        # The first two go to the handshakes of `notifyReady` and of the frame's load.
        age = 0 if len(handed_out) >= 2 else -600
        issued = int(timezone.now().timestamp()) + age
        claims = staff_claims(lively_shop, iat=issued, exp=issued + 300, n=len(handed_out))
        handed_out.append(TEST_KEY.jwt(claims))
        return handed_out[-1]

    shown = dashboard(tokens)
    expect(shown.frame.locator("#journey")).to_be_visible()
    expect(shown.frame.locator("#problem")).to_be_hidden()
    statuses = [r.status for r in shown.responses if r.url.endswith("/dashboard/overview/")]
    assert statuses[0] == 401
    assert statuses[-1] == 200


def test_b97_a_refreshed_token_signs_what_follows(
    lively_shop: Installation, dashboard: Open
) -> None:
    shown = dashboard()
    expect(shown.frame.locator("#journey")).to_be_visible()
    fresh = TEST_KEY.jwt(staff_claims(lively_shop, exp=int(timezone.now().timestamp()) + 999))
    shown.tokens = lambda: fresh
    shown.page.evaluate("refresh()")
    shown.frame.get_by_role("button", name="Go live").click()
    with shown.page.expect_request("**/journeys/abandoned_checkout/go-live/") as asked:
        shown.frame.locator("#sure-yes").click()
    assert asked.value.headers["authorization-bearer"] == fresh
    assert asked.value.headers["saleor-api-url"] == lively_shop.saleor_api_url


def test_b97_a_shoppers_token_opens_nothing(lively_shop: Installation, dashboard: Open) -> None:
    claims = staff_claims(lively_shop, type="access", is_staff=False, email="alice@example.com")
    for name in ("app", "permissions", "user_permissions"):
        del claims[name]
    shown = dashboard(lambda: TEST_KEY.jwt(claims))
    expect(shown.frame.locator("#problem")).to_contain_text(
        "Your sign-in was not accepted", timeout=15_000
    )
    expect(shown.frame.locator("#journey")).to_have_count(0)
    assert {r.status for r in shown.responses if "/overview/" in r.url} == {401}


def test_staff_without_the_permission_read_why(lively_shop: Installation, dashboard: Open) -> None:
    claims = staff_claims(lively_shop, permissions=["MANAGE_PRODUCTS"])
    shown = dashboard(lambda: TEST_KEY.jwt(claims))
    expect(shown.frame.get_by_role("alert")).to_contain_text(
        "You need one of these permissions, and this app must have it too: Manage orders, Manage checkouts."
    )


def test_opened_outside_the_dashboard_it_says_where_it_works(
    browser: Any, live_server: Any
) -> None:
    with browser.new_context() as context:
        page = context.new_page()
        page.goto(f"{live_server.url}/dashboard")
        expect(page.get_by_role("alert")).to_contain_text("inside your Saleor Dashboard")


def test_go_live_and_pause_by_keyboard(lively_shop: Installation, dashboard: Open) -> None:
    shown = dashboard()
    button = shown.frame.locator("#journey-button")
    expect(button).to_have_text("Go live")
    shown.frame.locator("body").focus()
    # Past the menu.
    for _ in range(60):
        shown.page.keyboard.press("Tab")
        if shown.frame.evaluate("document.activeElement.id") == "journey-button":
            break
    expect(button).to_be_focused()
    shown.page.keyboard.press("Enter")
    # Asked once more, where "no" is next at hand.
    expect(shown.frame.locator("#sure-no")).to_be_focused()
    assert not Journey.objects.filter(is_live=True).exists()
    shown.page.keyboard.press("Shift+Tab")
    expect(shown.frame.locator("#sure-yes")).to_be_focused()
    shown.page.keyboard.press("Enter")
    expect(shown.frame.get_by_role("status")).to_contain_text("The journey is live")
    expect(shown.frame.locator("#journey-title")).to_be_focused()
    assert Journey.objects.get().is_live
    assert [n["title"] for n in shown.said("notification")] == ["The journey is live"]
    shown.frame.locator("#page-overview").press("Enter")
    expect(button).to_have_text("Pause")
    button.press("Enter")
    # The same page as of any journey, with the same ways to go on.
    expect(shown.frame.get_by_role("status")).to_contain_text("The journey is paused")
    expect(shown.frame.locator("#journey-go-live")).to_have_text("Go live")
    expect(shown.frame.locator("#journey-title")).to_be_focused()
    assert not Journey.objects.get().is_live


def test_b100_a_failed_delivery_is_replayed_from_the_page(
    lively_shop: Installation, dashboard: Open
) -> None:
    shown = dashboard()
    shown.frame.get_by_role("button", name="Replay checkout_updated").click()
    expect(shown.frame.locator("#webhooks")).not_to_contain_text("Could not be processed")
    delivery = WebhookDelivery.objects.get(event="checkout_updated")
    assert delivery.status == DeliveryStatus.RECEIVED


def test_settings_are_mended_where_they_are_wrong_and_kept(
    installation: Installation, dashboard: Open
) -> None:
    shown = dashboard()
    shown.frame.locator("#page-settings").focus()
    shown.page.keyboard.press("Enter")
    sender = shown.frame.get_by_role("textbox", name="Sender")
    sender.fill("nobody")
    sender.press("Enter")
    expect(shown.frame.locator("#settings .error")).to_contain_text("This is no e-mail address.")
    expect(sender).to_have_value("nobody")
    sender.fill("Example shop <hello@example.com>")
    shown.frame.get_by_role("button", name="Save").click()
    expect(shown.frame.locator("#settings .error")).to_have_count(0)
    expect(shown.frame.get_by_role("status")).to_have_text("Settings saved.")
    installation.refresh_from_db()
    assert installation.sender == "Example shop <hello@example.com>"


def test_the_backfill_moves_by_itself(lively_shop: Installation, dashboard: Open) -> None:
    shown = dashboard()
    expect(shown.frame.locator("#backfill")).to_contain_text("5,200 of 18,340")
    BackfillStage.objects.filter(name="customers").update(row_count=9000)
    expect(shown.frame.locator("#backfill")).to_contain_text("9,000 of 18,340", timeout=10_000)


def test_4150_a_poll_leaves_the_button_of_a_cart_alone_until_something_has_changed(
    installation: Installation, alice: Profile, dashboard: Open
) -> None:
    now = timezone.now()
    journey = journeys.ensure_journey(installation=installation, key="abandoned_checkout")
    journeys.go_live(journey=journey, now=now - timedelta(hours=9))
    data = checkout_data(at=now - timedelta(hours=5))
    (cart,) = events.record_checkouts(installation=installation, data=[data], now=now)
    shown = dashboard()
    shown.frame.locator("#page-abandoned-checkouts").press("Enter")
    shown.frame.locator(f"#cart-{cart.row.pk}").press("Enter")
    button = shown.frame.locator("#cart-recover")
    button.focus()
    button.evaluate("button => { button.isTheFirst = true; }")

    def poll() -> str:
        with shown.page.expect_response("**/next/?seen=*") as asked:
            shown.frame.evaluate(
                "htmx.ajax('GET', document.querySelector('#cart-next [data-poll]').getAttribute('hx-get'), '#cart-next')"
            )
        return asked.value.text()

    assert "cart-recover" not in poll()
    expect(button).to_be_focused()
    assert button.evaluate("button => button.isTheFirst")
    make_enrollment(alice, data.id, now)
    assert "cart-recover" in poll()
    expect(shown.frame.locator("#cart-next")).to_contain_text("Followed up")
    expect(button).to_have_count(1)
    expect(button).to_be_focused()
    assert not button.evaluate("button => button.isTheFirst")
    # A second press while the first one is answered is none, though the button is another one by then.
    held: list[Route] = []
    shown.page.route("**/recover/", lambda route: held.append(route))
    with shown.page.expect_request("**/recover/"):
        button.click()
    Enrollment.objects.all().delete()
    assert "cart-recover" in poll()
    button.click()
    (asked,) = held
    asked.continue_()
    expect(shown.frame.get_by_role("status")).to_be_visible()
    assert len(held) == 1


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [375, 1280])
def test_no_barrier_that_axe_knows_and_no_sideways_scrolling(
    lively_shop: Installation, dashboard: Open, theme: str, width: int
) -> None:
    shown = dashboard(width=width, query={"theme": theme})
    expect(shown.frame.locator("#models")).to_be_visible()
    assert shown.violations() == []
    root = "document.documentElement"
    assert shown.frame.evaluate(f"{root}.scrollWidth <= {root}.clientWidth")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_an_empty_shop_meets_no_barrier_either(
    installation: Installation, dashboard: Open, theme: str
) -> None:
    shown = dashboard(width=375, query={"theme": theme})
    expect(shown.frame.locator("#backfill")).to_contain_text("Not started")
    assert shown.violations() == []
    root = "document.documentElement"
    assert shown.frame.evaluate(f"{root}.scrollWidth <= {root}.clientWidth")


def test_b125_the_page_is_light_and_asks_nobody_but_this_service(
    lively_shop: Installation, dashboard: Open
) -> None:
    shown = dashboard()
    expect(shown.frame.locator("#models")).to_be_visible()
    assert {urlsplit(r.url).hostname for r in shown.requests} <= {"localhost", "127.0.0.1"}
    ours = [r for r in shown.responses if urlsplit(r.url).hostname == "localhost"]
    assert sum(len(r.body()) for r in ours) < MAX_BYTES
