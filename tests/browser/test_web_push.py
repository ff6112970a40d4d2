"""B68: examples/web-push in a real Chromium, from the button to the page that a push leads to."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from django.core.cache import cache
from django.utils import timezone
from playwright.sync_api import Browser, BrowserContext, CDPSession, Page, expect

from saleor_personalize.conf import build_backend
from saleor_personalize.enums import (
    ConsentState,
    DeliveryChannel,
    DeviceGone,
    DevicePlatform,
    MessageEventKind,
    MessageStatus,
    Purpose,
)
from saleor_personalize.events import callers
from saleor_personalize.messaging import push_accounts
from saleor_personalize.messaging.channels.base import OutgoingMessage
from saleor_personalize.models import (
    Consent,
    Device,
    Identity,
    Installation,
    Message,
    MessageEvent,
)
from saleor_personalize.profiles import devices
from saleor_personalize.testing.fcm import FakeFcm, serving, web_push
from saleor_personalize.testing.keys import TEST_KEY
from saleor_personalize.testing.stack import wait_until
from tests.api.conftest import ALICE, claims_of
from tests.integration.test_push import point_push_at

pytestmark = pytest.mark.browser

EXAMPLE = Path(__file__).parents[2] / "examples" / "web-push"
PAGE = """<!doctype html><html lang="de"><meta charset="utf-8"><title>A shop</title><h1>A shop</h1>
<script type="module">
import { createPush } from "/push.js";
window.push = createPush({
  endpoint: new URLSearchParams(location.hash.slice(1)).get("endpoint"),
  saleorApiUrl: new URLSearchParams(location.hash.slice(1)).get("shop"),
  getToken: async (registration) => (registration.active ? window.fcmToken : ""),
  customerToken: () => window.customerToken ?? "",
  anonymousId: () => "visitor-0123456789abc",
});
document.body.dataset.ready = "yes";
</script></html>"""


#: `ready` is when a worker begins to be active: a push that comes before it is, may be lost.
_ACTIVATED = """async () => {
  const { active } = await navigator.serviceWorker.ready;
  while (active.state !== "activated") await new Promise((done) => setTimeout(done, 20));
}"""


@dataclass
class WebShop:
    """A page of a shop in one browser, and the Firebase that its browser is registered with."""

    page: Page
    origin: str
    fcm: FakeFcm
    token: str
    cdp: CDPSession
    #: ids of service workers that the browser told of
    workers: list[str] = field(default_factory=list)

    def deliver(self, data: str) -> None:
        """Hand the browser a push, as its vendor's push service would."""
        self.page.evaluate(_ACTIVATED)
        self.cdp.send(
            "ServiceWorker.deliverPushMessage",
            {"origin": self.origin, "registrationId": self.workers[-1], "data": data},
        )

    def shown(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.page.evaluate(
            """async () => (await (await navigator.serviceWorker.ready).getNotifications())
                 .map(({ title, body, tag, data }) => ({ title, body, tag, data }))"""
        )
        return found

    def ours(self) -> list[dict[str, Any]]:
        """What our worker showed. Chromium has a word of its own for a push that showed nothing."""
        return [row for row in self.shown() if row["data"]]

    def wait_for(self, count: int) -> list[dict[str, Any]]:
        """Wait for `count` notifications that a worker of ours showed.

        Polled from here: `wait_for_function` takes the promise of an async predicate for true.
        """
        found: list[dict[str, Any]] = wait_until(
            lambda: len(rows := self.ours()) == count and rows,
            seconds=30,
            what=f"{count} notifications in the browser",
        )
        return found

    def press(self) -> None:
        """Press the notification, as nobody but the system can do it otherwise."""
        (worker,) = self.page.context.service_workers
        worker.evaluate(
            """async () => {
                 const [notification] = await self.registration.getNotifications();
                 self.dispatchEvent(new NotificationEvent("notificationclick", { notification }));
               }"""
        )


@pytest.fixture
def web_shop(
    app_url: str, browser: Browser, installation: Installation, settings: Any
) -> Iterator[Callable[..., WebShop]]:
    cache.clear()
    callers.active.clear()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            file = EXAMPLE / self.path.split("?")[0].lstrip("/")
            is_script = file.suffix == ".js" and file.is_file()
            body = file.read_bytes() if is_script else PAGE.encode()
            self.send_response(200)
            kind = "text/javascript" if is_script else "text/html; charset=utf-8"
            self.send_header("Content-Type", kind)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    origin = f"http://127.0.0.1:{server.server_port}"
    installation.storefront_origins = [origin]
    installation.save()
    contexts: list[BrowserContext] = []

    with serving() as fcm:
        point_push_at(settings, fcm.url)

        def open_shop(permissions: tuple[str, ...] = ("notifications",)) -> WebShop:
            context = browser.new_context(permissions=list(permissions), locale="de-DE")
            contexts.append(context)
            page = context.new_page()
            cdp = context.new_cdp_session(page)
            shop = WebShop(page, origin, fcm, fcm.device("web"), cdp)
            cdp.on(
                "ServiceWorker.workerRegistrationUpdated",
                lambda told: shop.workers.extend(
                    row["registrationId"] for row in told["registrations"]
                ),
            )
            cdp.send("ServiceWorker.enable")
            page.add_init_script(f"window.fcmToken = {shop.token!r}")
            page.goto(f"{origin}/#endpoint={app_url}&shop={installation.saleor_api_url}")
            page.wait_for_selector("body[data-ready]")
            return shop

        yield open_shop
        for context in contexts:
            context.close()
    server.shutdown()
    server.server_close()


def send(installation: Installation, token: str, **changes: Any) -> None:
    build_backend("CHANNELS", "push").send(
        OutgoingMessage(
            **{
                "key": "5f18b6a85f18b6a85f18b6a85f18b6a8",
                "recipient": token,
                "sender": "",
                "subject": "",
                "text": "Deine Lampe wartet.",
                "html": "",
                "title": "Noch im Warenkorb",
                "installation_id": installation.pk,
                **changes,
            }
        )
    )


def test_b68_a_push_is_shown_in_the_browser_and_leads_to_the_cart_with_the_code(
    web_shop: Callable[..., WebShop], installation: Installation
) -> None:
    shop = web_shop()
    push_accounts.save(
        installation=installation, text=shop.fcm.service_account(), now=timezone.now()
    )
    answer = shop.page.evaluate("push.allow({ wording: 'push-1' })")
    assert answer["device"]["isSignedIn"] is False
    assert answer["marketing"] == "GRANTED"
    (row,) = Device.objects.of(installation)
    assert (row.token, row.platform, row.language_code) == (shop.token, DevicePlatform.WEB, "de-DE")
    line = Consent.objects.of(installation).get()
    assert (line.delivery_channel, line.state, line.wording_version) == (
        DeliveryChannel.PUSH,
        ConsentState.GRANTED,
        "push-1",
    )

    link = f"{shop.origin}/cart?checkout=1"
    for _ in range(2):
        send(installation, row.token, link=link, data={"promo_code": "ANN10"})
    first, second = shop.fcm.got(shop.token)
    shop.deliver(web_push(first))
    shop.wait_for(1)
    (worker,) = shop.page.context.service_workers
    worker.evaluate("self.addEventListener('push', (event) => (self.again = event.data.text()))")
    # One after the other, each seen: that one of two was lost must show.
    shop.deliver(web_push(second))
    wait_until(lambda: worker.evaluate("self.again"), seconds=30, what="the second copy")
    # The second copy took the first one's place.
    (shown,) = shop.wait_for(1)
    assert shown == {
        "title": "Noch im Warenkorb",
        "body": "Deine Lampe wartet.",
        "tag": "5f18b6a85f18b6a85f18b6a85f18b6a8",
        "data": {
            "link": f"{shop.origin}/cart?checkout=1&promoCode=ANN10",
            "messageId": "5f18b6a85f18b6a85f18b6a85f18b6a8",
        },
    }
    record = Message.objects.create(
        public_id=shown["data"]["messageId"],
        installation=installation,
        profile=row.profile,
        idempotency_key="first",
        template="abandoned_checkout",
        purpose=Purpose.MARKETING,
        delivery_channel=DeliveryChannel.PUSH,
        status=MessageStatus.SENT,
        decided_at=timezone.now(),
    )
    shop.press()
    expect(shop.page).to_have_url(f"{shop.origin}/cart?checkout=1&promoCode=ANN10")
    assert shop.shown() == []
    # Who pressed it has seen it.
    opened = MessageEvent.objects.of(installation).filter(message=record)
    wait_until(opened.exists, seconds=10, what="the press to be told")
    assert opened.get().kind == MessageEventKind.CLICKED


def test_b68_a_browser_follows_who_is_signed_in_and_gets_nothing_after_sign_out(
    web_shop: Callable[..., WebShop], installation: Installation
) -> None:
    shop = web_shop()
    shop.page.evaluate("push.refresh()")
    token = TEST_KEY.jwt(claims_of(installation, ALICE, timezone.now()))
    shop.page.evaluate("(token) => { window.customerToken = token }", token)
    assert shop.page.evaluate("push.refresh()")["device"]["isSignedIn"] is True
    alice = Identity.objects.of(installation).get(kind="saleor_user", value=ALICE).profile
    assert [row.token for row in devices.living(alice)] == [shop.token]
    assert shop.page.evaluate("push.signOut()")["wasRegistered"] is True
    assert not devices.living(alice).exists()
    assert Device.objects.of(installation).get().gone_reason == DeviceGone.SIGNED_OUT


def test_b68_who_says_no_to_the_browser_is_not_registered(
    web_shop: Callable[..., WebShop], installation: Installation
) -> None:
    shop = web_shop(permissions=())
    assert shop.page.evaluate("push.refresh()") is None
    assert shop.page.evaluate("push.signOut()") is None
    assert not Device.objects.of(installation).exists()


@pytest.mark.parametrize(
    ("link", "leads_to"),
    [
        ("javascript:alert(1)", "/?promoCode=ANN10"),
        ("//[", "/?promoCode=ANN10"),
        ("/sale?promoCode=MORE", "/sale?promoCode=MORE"),
        ("https://elsewhere.test/", "https://elsewhere.test/"),
    ],
)
def test_b68_the_worker_opens_nothing_but_pages_and_gives_codes_to_nobody_else(
    web_shop: Callable[..., WebShop], link: str, leads_to: str
) -> None:
    shop = web_shop()
    shop.page.evaluate("push.refresh()")
    message = {
        "notification": {"title": "T", "body": "B"},
        "data": {"deep_link": link, "promo_code": "ANN10"},
    }
    shop.deliver(web_push(message))
    (shown,) = shop.wait_for(1)
    expected = leads_to if leads_to.startswith("https") else shop.origin + leads_to
    assert shown["data"]["link"] == expected


def test_b68_a_push_that_cannot_be_read_shows_nothing_of_ours(
    web_shop: Callable[..., WebShop],
) -> None:
    shop = web_shop()
    shop.page.evaluate("push.refresh()")
    shop.page.evaluate("navigator.serviceWorker.ready.then(() => null)")
    (worker,) = shop.page.context.service_workers
    worker.evaluate("self.addEventListener('push', () => (self.seen = (self.seen ?? 0) + 1))")
    shop.deliver("no JSON")
    shop.deliver('{"data": {}}')
    wait_until(lambda: worker.evaluate("self.seen") == 2, seconds=30, what="two pushes")
    assert shop.ours() == []
