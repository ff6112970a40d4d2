"""B69: `<saleor-personalize-inbox>` on a shop's page of another origin, in a real browser."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.utils import timezone
from playwright.sync_api import Page, Response, expect

from saleor_personalize.enums import MergeProof
from saleor_personalize.models import InboxItem, Installation, MessageEvent, Profile
from saleor_personalize.profiles import merging
from saleor_personalize.testing.keys import TEST_KEY
from saleor_personalize.testing.stack import wait_until
from tests.api.conftest import ALICE, claims_of
from tests.api.test_inbox import write
from tests.browser.conftest import violations
from tests.browser.storefront import Shop
from tests.conftest import make_profile

pytestmark = pytest.mark.browser

VISITOR = "visitor-0123456789abc"
ADD = """async ([endpoint, saleorApiUrl, attributes, token, anonymousId]) => {
  await import(`${endpoint}/static/saleor_personalize/inbox.js`);
  const inbox = document.createElement("saleor-personalize-inbox");
  for (const [name, value] of Object.entries({ endpoint, "saleor-api-url": saleorApiUrl, ...attributes }))
    inbox.setAttribute(name, value);
  inbox.token = () => window.token;
  window.token = token;
  inbox.personalize = { get anonymousId() { return window.anonymousId; } };
  window.anonymousId = anonymousId;
  window.inbox = inbox;
  window.told = [];
  inbox.addEventListener("unread", (event) => window.told.push(event.detail));
  document.querySelector("main").append(inbox);
}"""


@pytest.fixture
def alices(installation: Installation) -> str:
    return TEST_KEY.jwt(claims_of(installation, ALICE, timezone.now()))


def add(
    page: Page,
    shop: Shop,
    installation: Installation,
    *,
    token: str = "",
    anonymous_id: str = "",
    **attributes: str,
) -> None:
    page.evaluate(ADD, [shop.app_url, installation.saleor_api_url, attributes, token, anonymous_id])


def test_b69_a_shopper_reads_follows_and_puts_away_by_keyboard_alone(
    shop: Callable[..., Shop], installation: Installation, alice: Profile, alices: str
) -> None:
    write(alice, "First")
    write(alice, "Second", link="", data={"promo_code": "TEA-10"})
    store = shop()
    page = store.open()
    add(page, store, installation, token=alices, every="3600")
    bell = page.get_by_role("button", name="Nachrichten, ungelesen: 2")
    expect(bell).to_be_visible()
    page.keyboard.press("Tab")
    expect(bell).to_be_focused()
    page.keyboard.press("Enter")
    panel = page.get_by_role("dialog", name="Nachrichten")
    expect(panel).to_contain_text("Code: TEA-10")
    expect(panel.get_by_role("button", name="Alle als gelesen markieren")).to_be_focused()
    expect(panel.get_by_role("heading", level=3)).to_have_text(["Second", "First"])
    assert panel.get_by_role("link").count() == 1

    # Escape leads back to where one was.
    page.keyboard.press("Escape")
    expect(panel).to_have_count(0)
    expect(bell).to_be_focused()
    page.keyboard.press("Enter")
    panel.get_by_role("button", name="Als gelesen markieren: Second").press("Space")
    expect(page.get_by_role("button", name="Nachrichten, ungelesen: 1")).to_be_visible()
    wait_until(lambda: InboxItem.objects.latest("pk").read_at, seconds=10, what="a read item")

    panel.get_by_role("button", name="Entfernen: Second").press("Enter")
    expect(panel.get_by_role("button", name="Entfernen: First")).to_be_focused()
    wait_until(lambda: InboxItem.objects.latest("pk").dismissed_at, seconds=10, what="one put away")
    page.evaluate("inbox.addEventListener('follow', (event) => event.preventDefault())")
    panel.get_by_role("link", name="Ansehen: First").press("Enter")
    wait_until(
        lambda: MessageEvent.objects.filter(kind="clicked").exists(), seconds=10, what="a click"
    )
    expect(page.get_by_role("button", name="Nachrichten", exact=True)).to_be_visible()
    page.mouse.click(5, 500)
    expect(panel).to_have_count(0)
    assert page.url.startswith(store.origin)
    assert store.errors == []


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_b69_it_is_readable_in_light_and_dark(
    shop: Callable[..., Shop], installation: Installation, alice: Profile, alices: str, theme: str
) -> None:
    write(alice, data={"promo_code": "TEA-10"})
    store = shop()
    page = store.open()
    page.evaluate(f"document.documentElement.style.colorScheme = '{theme}'")
    add(page, store, installation, token=alices)
    page.wait_for_function("window.told.length > 0")
    page.evaluate("inbox.open()")
    assert violations(page, "saleor-personalize-inbox") == []
    color = page.evaluate(
        "getComputedStyle(inbox.shadowRoot.querySelector('.panel')).backgroundColor"
    )
    assert color == {"light": "rgb(255, 255, 255)", "dark": "rgb(18, 18, 18)"}[theme]


def test_b69_two_devices_of_one_person_agree_and_a_quiet_poll_carries_nothing(
    shop: Callable[..., Shop], installation: Installation, alice: Profile, alices: str
) -> None:
    write(alice)
    phone, laptop = shop(), shop()
    pages = []
    for device in (phone, laptop):
        page = device.open()
        add(page, device, installation, token=alices)
        page.wait_for_function("window.told.at(-1) === 1")
        pages.append(page)
    pages[0].evaluate("inbox.open()")
    pages[0].get_by_role("button", name="Alle als gelesen markieren").click()
    wait_until(lambda: InboxItem.objects.get().read_at, seconds=10, what="a read item")
    answers: list[int] = []

    def note(answer: Response) -> None:
        if "/inbox" in answer.url:
            answers.append(answer.status)

    laptop.context.on("response", note)
    for _ in range(2):
        pages[1].evaluate("inbox.refresh()")
    assert pages[1].evaluate("inbox.unreadCount") == 0
    assert answers == [200, 304]


def test_b69_signing_in_and_out_shows_each_what_is_theirs(
    shop: Callable[..., Shop], installation: Installation, alice: Profile, alices: str
) -> None:
    visitor = make_profile(installation, anonymous_id=VISITOR)
    write(visitor, "To a visitor")
    write(alice, "To Alice")
    store = shop()
    page = store.open()
    add(page, store, installation, anonymous_id=VISITOR)
    page.wait_for_function("window.told.at(-1) === 1")
    page.evaluate("inbox.open()")
    expect(page.get_by_role("heading", level=3)).to_have_text(["To a visitor"])
    merging.prove(
        installation=installation,
        first=visitor,
        second=alice,
        proof=MergeProof.LOGIN,
        now=timezone.now(),
    )
    page.evaluate("token => { window.token = token; return inbox.refresh(); }", alices)
    expect(page.get_by_role("heading", level=3)).to_have_text(["To Alice", "To a visitor"])
    page.evaluate("() => { window.token = undefined; return inbox.refresh(); }")
    expect(page.get_by_role("heading", level=3)).to_have_count(0)
    page.evaluate("() => { window.anonymousId = undefined; return inbox.refresh(); }")
    expect(page.locator("saleor-personalize-inbox button")).to_have_count(0)
    assert store.errors == []


def test_b69_a_banner_stands_in_its_place_until_it_is_put_away(
    shop: Callable[..., Shop], installation: Installation, alice: Profile, alices: str
) -> None:
    write(alice, "In the inbox alone")
    write(alice, "On top", data={"placement": "home_top"})
    store = shop()
    page = store.open()
    add(page, store, installation, token=alices, placement="home_top")
    banner = page.get_by_role("region", name="On top")
    expect(banner).to_contain_text("It is back.")
    assert violations(page, "saleor-personalize-inbox") == []
    banner.get_by_role("button", name="Entfernen: On top").click()
    expect(banner).to_have_count(0)
    wait_until(lambda: MessageEvent.objects.filter(kind="dismissed"), seconds=10, what="an event")
    assert InboxItem.objects.filter(dismissed_at=None).get().title == "In the inbox alone"


def test_b69_an_app_that_is_away_and_words_that_are_code_break_no_page(
    shop: Callable[..., Shop], installation: Installation, alice: Profile, alices: str
) -> None:
    item = InboxItem.objects.get(message=write(alice, "<img src=x onerror=alert(1)>"))
    # As if somebody had written it into the database.
    InboxItem.objects.filter(pk=item.pk).update(link="javascript:alert(1)")
    store = shop()
    page = store.open()
    add(page, store, installation, token=alices)
    page.wait_for_function("window.told.length > 0")
    page.evaluate("inbox.open()")
    expect(page.get_by_role("heading", level=3)).to_have_text("<img src=x onerror=alert(1)>")
    assert page.locator("saleor-personalize-inbox img").count() == 0
    assert page.get_by_role("link").count() == 0
    page.evaluate("inbox.setAttribute('endpoint', 'http://127.0.0.1:9')")
    page.evaluate("inbox.refresh()")
    expect(page.get_by_role("heading", level=3)).to_have_count(1)
    assert store.errors == []
    assert any("[saleor-personalize]" in said for said in store.hints)
