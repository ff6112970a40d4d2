"""Debian's Chromium, and a made-up Dashboard that frames the page as Saleor's does.

The made-up Dashboard follows Saleor Dashboard 3.23: the frame's sandbox, a handshake on load and after
`notifyReady`, then theme and language, a `response` to each action. It lives on an origin of its own.
"""

import json
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from django.core.servers.basehttp import WSGIRequestHandler
from playwright.sync_api import (
    Browser,
    Frame,
    Page,
    Request,
    Response,
    expect,
    sync_playwright,
)

from saleor_personalize.models import Installation
from saleor_personalize.testing.keys import TEST_KEY
from tests.browser.storefront import app_url, shop  # noqa: F401 (fixtures)
from tests.integration.test_dashboard import staff_claims

# Else the body of an answer waits until its headers are acknowledged: up to 40 ms.
WSGIRequestHandler.disable_nagle_algorithm = True
# What a page shows in the end counts here; the machine may do much else meanwhile.
expect.set_options(timeout=20_000)

AXE = Path(__file__).parent / "vendor" / "axe.min.js"
#: What is in order is most of all that axe can tell, and nobody reads it.
_AXE_RUN = "async within => (await axe.run(within, {resultTypes: ['violations']})).violations"
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # The frame in the Dashboard's own process: given to another one, a press is lost now and then on a busy machine.
    "--disable-site-isolation-trials",
]
DASHBOARD = """<!doctype html><html lang="en"><title>Dashboard</title>
<style>body{margin:0}iframe{border:0;width:100vw;height:100vh;display:block}</style>
<iframe id="app" title="App" sandbox="allow-same-origin allow-forms allow-scripts allow-downloads allow-popups"></iframe>
<script>
const frame = document.getElementById("app");
const app = new URL(%(src)s);
const log = [];
const say = (type, payload) => frame.contentWindow.postMessage({type, payload}, app.origin);
const token = async () => (await fetch("/token")).text();
const handshake = async () => say("handshake", {token: await token(), version: 1, saleorVersion: "3.24.0", dashboardVersion: "3.23.27"});
const refresh = async () => say("tokenRefresh", {token: await token()});
window.addEventListener("message", async (event) => {
  if (event.origin !== app.origin || !event.data?.type || !event.data?.payload?.actionId) return;
  log.push(event.data);
  if (event.data.type === "notifyReady") await handshake();
  say("response", {actionId: event.data.payload.actionId, ok: true});
});
frame.addEventListener("load", handshake);
frame.src = app.href;
</script></html>"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    path = shutil.which("chromium") or "/usr/bin/chromium"
    if not Path(path).exists():
        pytest.fail("The browser tests need Debian's Chromium: apt-get install chromium")
    with pytest.MonkeyPatch.context() as patch, sync_playwright() as playwright:
        # Playwright keeps an event loop in this thread, which Django takes for async code.
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
        started = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield started
        started.close()


@dataclass
class Dashboard:
    """The page in its frame. `tokens` mints what the Dashboard hands out next."""

    page: Page
    tokens: Callable[[], str]
    requests: list[Request] = field(default_factory=list)
    responses: list[Response] = field(default_factory=list)
    #: errors only: a blocked file, a script that failed, a request refused
    console: list[str] = field(default_factory=list)

    @property
    def frame(self) -> Frame:
        return self.page.frames[1]

    def say(self, kind: str, payload: dict[str, Any]) -> None:
        self.page.evaluate(f"say({json.dumps(kind)}, {json.dumps(payload)})")

    def said(self, kind: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.page.evaluate("log")
        return [action["payload"] for action in found if action["type"] == kind]

    def violations(self) -> list[str]:
        """Return what axe finds on the page, as "rule: element"."""
        return violations(self.frame)


def violations(shown: Page | Frame, within: str = ":root") -> list[str]:
    """Return what axe finds in there, as "rule: element, what is wrong"."""
    if not shown.evaluate("'axe' in window"):
        shown.evaluate(AXE.read_text())
    return [
        f"{rule['id']}: {node['html'][:200]} {node['failureSummary']}"
        for rule in shown.evaluate(_AXE_RUN, within)
        for node in rule["nodes"]
    ]


@pytest.fixture
def dashboard(
    browser: Browser, live_server: Any, settings: Any, installation: Installation
) -> Iterator[Callable[..., Dashboard]]:
    """Return a function that opens the page in a Dashboard; by default staff who may do all do so."""
    closers: list[Callable[[], None]] = []

    def open_dashboard(
        tokens: Callable[[], str] | None = None,
        *,
        width: int = 1280,
        locale: str = "en-US",
        query: dict[str, str] | None = None,
    ) -> Dashboard:
        parameters = {"saleorApiUrl": installation.saleor_api_url, "id": installation.app_id}
        source = f"{live_server.url}/dashboard?{urlencode({**parameters, **(query or {})})}"
        shown = Dashboard(
            page=browser.new_context(
                viewport={"width": width, "height": 900}, locale=locale, timezone_id="Europe/Warsaw"
            ).new_page(),
            tokens=tokens or (lambda: TEST_KEY.jwt(staff_claims(installation))),
        )
        closers.append(shown.page.context.close)

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = (
                    shown.tokens()
                    if self.path == "/token"
                    else DASHBOARD % {"src": json.dumps(source)}
                )
                self.send_response(200)
                kind = "text/plain" if self.path == "/token" else "text/html; charset=utf-8"
                self.send_header("Content-Type", kind)
                self.end_headers()
                self.wfile.write(body.encode())

            def log_message(self, *_: object) -> None: ...

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        closers.append(server.shutdown)
        closers.append(server.server_close)
        origin = f"http://127.0.0.1:{server.server_port}"
        settings.SALEOR_PERSONALIZE = {
            **settings.SALEOR_PERSONALIZE,
            "DASHBOARD_ORIGINS": [origin],
        }
        shown.page.on("request", lambda request: shown.requests.append(request))
        shown.page.on("response", lambda response: shown.responses.append(response))
        shown.page.on(
            "console",
            lambda message: message.type == "error" and shown.console.append(message.text),
        )
        shown.page.on("pageerror", lambda error: shown.console.append(str(error)))
        shown.page.goto(origin)
        folder = os.environ.get("SCREENSHOTS")
        if folder:
            closers.insert(0, lambda: _keep(shown, Path(folder)))
        return shown

    yield open_dashboard
    for close in closers:
        close()


def _keep(shown: Dashboard, folder: Path) -> None:
    """Save what the page looked like at the end of a test: SCREENSHOTS=/tmp/shots pytest tests/browser"""
    folder.mkdir(parents=True, exist_ok=True)
    name = os.environ["PYTEST_CURRENT_TEST"].rpartition("::")[2].split(" ")[0].replace("/", "-")
    height = shown.frame.evaluate("document.documentElement.scrollHeight")
    width = shown.page.viewport_size["width"] if shown.page.viewport_size else 1280
    shown.page.set_viewport_size({"width": width, "height": int(height)})
    shown.page.wait_for_timeout(300)
    shown.page.screenshot(path=folder / f"{name}.png")
