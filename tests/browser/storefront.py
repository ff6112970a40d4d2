"""A shop's page on an origin of its own, which loads the tracker from the app as shops do."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from django.core.cache import cache
from django.test.testcases import LiveServerThread
from django.utils import timezone
from playwright.sync_api import Browser, BrowserContext, Page, Request

from saleor_personalize.events import callers
from saleor_personalize.models import Installation, SalesChannel
from tests.catalogue import Catalogue

VENDOR = Path(__file__).with_name("vendor")
PACKAGE = Path(__file__).parents[2] / "packages" / "storefront"
_PAGE = """<!doctype html><html lang="de-AT"><meta charset="utf-8"><title>A shop</title>
<h1>A shop</h1><main></main>
<script type="module">
import { createPersonalize } from "%(module)s";
window.createPersonalize = createPersonalize;
window.personalize = createPersonalize({ ...%(options)s, ...window.options });
document.body.dataset.ready = "yes";
</script></html>"""


@dataclass
class Shop:
    """What a test needs of the shop: open pages in one browser, and see what they sent."""

    context: BrowserContext
    origin: str
    app_url: str
    requests: list[Request] = field(default_factory=list)
    #: warnings of the tracker
    hints: list[str] = field(default_factory=list)
    #: what no page may ever have
    errors: list[str] = field(default_factory=list)

    def open(self, path: str = "/", *, referer: str = "", **options: Any) -> Page:
        """Open a page; `options` are those of createPersonalize beside address, shop and channel."""
        page = self.context.new_page()
        page.on("console", lambda said: said.type == "warning" and self.hints.append(said.text))
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.add_init_script(f"window.options = {json.dumps(options)}")
        page.goto(f"{self.origin}{path}", referer=referer or None)
        page.wait_for_selector("body[data-ready]")
        return page

    def collected(self) -> list[dict[str, Any]]:
        """Return the bodies of all batches that were sent, in order."""
        return [
            json.loads(request.post_data or "")
            for request in self.requests
            if request.url.endswith("/collect")
        ]


@pytest.fixture
def app_url(transactional_db: None) -> Iterator[str]:
    """The app as it is served: static files through its own middleware, with their headers."""
    thread = LiveServerThread("127.0.0.1", lambda handler: handler)
    thread.daemon = True
    thread.start()
    thread.is_ready.wait()
    assert thread.error is None, thread.error
    yield f"http://127.0.0.1:{thread.port}"
    thread.terminate()
    thread.join()


@pytest.fixture
def shop(
    app_url: str, browser: Browser, installation: Installation
) -> Iterator[Callable[..., Shop]]:
    """Return a function that opens a browser at the shop; its arguments are those of a browser."""
    cache.clear()
    callers.active.clear()
    if not SalesChannel.objects.exists():
        Catalogue(installation, timezone.now()).channel("us")
    closers: list[Callable[[], None]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = self.path.removeprefix("/files/")
            known = next((f for f in (VENDOR / name, PACKAGE / name) if f.is_file()), None)
            body = known.read_text() if known else _PAGE % page
            kind = "text/javascript" if known else "text/html; charset=utf-8"
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    origin = f"http://127.0.0.1:{server.server_port}"
    page = {
        "module": f"{app_url}/static/saleor_personalize/personalize.js",
        "options": json.dumps(
            {
                "endpoint": app_url,
                "saleorApiUrl": installation.saleor_api_url,
                "channel": "us",
                "currency": "USD",
                "flushInterval": 50,
            }
        ),
    }
    installation.storefront_origins = [origin]
    installation.save()

    def open_browser(**arguments: Any) -> Shop:
        opened = Shop(browser.new_context(**arguments), origin, app_url)
        opened.context.on("request", lambda request: opened.requests.append(request))
        closers.append(opened.context.close)
        return opened

    yield open_browser
    for close in closers:
        close()
    server.shutdown()
    server.server_close()
