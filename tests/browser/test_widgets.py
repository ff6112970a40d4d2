"""B98 in Chromium: a form posted into a frame, as Saleor's Dashboard 3.23 does on its own pages."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from django.utils import timezone
from playwright.sync_api import Browser, Frame, Page

from saleor_personalize.enums import MessageStatus, NotSentReason, Purpose
from saleor_personalize.models import Installation, Message, Profile
from saleor_personalize.testing.keys import TEST_KEY
from tests.browser.conftest import violations
from tests.catalogue import Catalogue
from tests.integration.test_dashboard import staff_claims
from tests.integration.test_widgets import EXTENSION

PAGE = """<!doctype html><html lang="en"><title>Customer</title>
<style>body{margin:0}iframe{border:0;width:100vw;height:200px;display:block}</style>
<form id="form" method="POST" target="widget" action="%(action)s">%(fields)s</form>
<iframe name="widget" title="Widget" sandbox="allow-same-origin allow-forms allow-scripts allow-downloads allow-popups"></iframe>
<script>
const log = [];
window.addEventListener("message", (event) => log.push({...event.data, origin: event.origin}));
document.getElementById("form").submit();
</script></html>"""

pytestmark = pytest.mark.browser

Open = Callable[..., tuple[Page, Frame]]


@dataclass
class Dashboard:
    """A server on an origin of its own that posts the form of `body`."""

    body: str = ""
    origin: str = ""


@pytest.fixture
def saleor() -> Iterator[Dashboard]:
    made = Dashboard()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(made.body.encode())

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    made.origin = f"http://127.0.0.1:{server.server_port}"
    yield made
    server.shutdown()
    server.server_close()


@pytest.fixture
def open_widget(
    browser: Browser,
    live_server: Any,
    settings: Any,
    saleor: Dashboard,
    installation: Installation,
) -> Iterator[Open]:
    """Return a function that opens a page of the Dashboard with a widget on it."""
    settings.SALEOR_PERSONALIZE = {
        **settings.SALEOR_PERSONALIZE,
        "DASHBOARD_ORIGINS": [saleor.origin],
    }
    contexts = []

    def open_page(
        name: str, *, width: int = 375, theme: str = "", **context: Any
    ) -> tuple[Page, Frame]:
        form = {
            "saleorApiUrl": installation.saleor_api_url,
            "accessToken": TEST_KEY.jwt(staff_claims(installation, **EXTENSION)),
            "appId": installation.app_id,
            "customerId": "VXNlcjox",
            "theme": theme,
        }
        fields = "".join(f'<input type="hidden" name="{k}" value="{v}">' for k, v in form.items())
        action = f"{live_server.url}/dashboard/widgets/{name}/"
        saleor.body = PAGE % {"action": action, "fields": fields}
        made = browser.new_context(
            viewport={"width": width, "height": 900}, locale="en-US", **context
        )
        contexts.append(made)
        page = made.new_page()
        page.goto(f"{saleor.origin}/dashboard/customers/1")
        return page, drawn(page)

    yield open_page
    for made in contexts:
        made.close()


def drawn(page: Page) -> Frame:
    """Wait for the widget and return its frame."""
    page.frame_locator("iframe").locator("main").wait_for(timeout=10_000)
    frame = page.frame(name="widget")
    assert frame is not None
    return frame


@pytest.fixture
def life(installation: Installation, alice: Profile) -> None:
    shop = Catalogue(installation, timezone.now())
    shop.channel("us")
    shop.product(1, "A red shoe with a name that is much longer than a widget is wide")
    shop.order(shop.product(2, "Laces"), profile=alice, days_ago=1)
    Message.objects.create(
        installation=installation,
        idempotency_key="one",
        profile=alice,
        template="price_drop",
        purpose=Purpose.MARKETING,
        delivery_channel="email",
        status=MessageStatus.NOT_SENT,
        reason=NotSentReason.FREQUENCY_CAP,
        decided_at=timezone.now(),
    )


@pytest.mark.parametrize(
    ("scheme", "told", "shown"),
    [("light", "", "light"), ("dark", "", "dark"), ("light", "dark", "dark")],
)
def test_b98_a_widget_is_drawn_in_its_frame_and_tells_how_high_it_is(
    open_widget: Open, life: None, scheme: str, told: str, shown: str
) -> None:
    page, frame = open_widget("customer", width=320, theme=told, color_scheme=scheme)
    assert frame.locator("h2").all_inner_texts() == [
        "Next message",
        "Last sent and not sent",
        "What to show next",
        "Permissions",
        "Segments",
    ]
    assert frame.evaluate("document.documentElement.dataset.theme") == shown
    assert violations(frame) == []
    assert frame.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    page.wait_for_function("log.length > 0")
    said = page.evaluate("log")[-1]
    height = frame.evaluate("document.querySelector('main').getBoundingClientRect().height")
    assert said["type"] == "widgetResize"
    assert said["payload"]["height"] == pytest.approx(height, abs=1)
    assert said["payload"]["actionId"]
    assert "VXNlcjox" not in json.dumps(said)


def test_b98_a_widget_needs_no_script(open_widget: Open, life: None) -> None:
    """With its one file out of reach: only its height and theme are not told."""
    page, _frame = open_widget("home")
    page.route("**/widget.js", lambda route: route.abort())
    page.reload()
    assert "Messages today" in drawn(page).locator("main").inner_text()
    assert page.evaluate("log") == []


def test_b98_a_link_leads_to_the_dashboards_page_of_the_app(
    open_widget: Open, saleor: Dashboard, life: None
) -> None:
    page, frame = open_widget("customer")
    with page.context.expect_page() as opened:
        frame.get_by_role("link").click()
    assert opened.value.url == (
        f"{saleor.origin}/dashboard/extensions/app/QXBwOjE%3D/?customerId=VXNlcjox"
    )
