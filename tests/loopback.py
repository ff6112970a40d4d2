"""A shop on loopback that answers what the app asks a shop about itself."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from saleor_personalize.testing.keys import TEST_KEY, SigningKey

APP_ID = "QXBwOjE="
DENIED = {"exception": {"code": "PermissionDenied"}}


@dataclass
class LoopbackShop:
    """What a shop knows: its apps by token, and the key it signs with. `requests` is what we asked."""

    url: str = ""
    key: SigningKey = TEST_KEY
    #: token -> (app id, identifier); a token of an inactive app is not in here
    apps: dict[str, tuple[str, str]] = field(default_factory=dict)
    permissions: list[str] = field(default_factory=lambda: ["MANAGE_PRODUCTS", "MANAGE_ORDERS"])
    #: operation name -> answers, one after the other; the last stays
    answers: dict[str, list[Any]] = field(default_factory=dict)
    #: path -> (status, headers, body) instead of the usual answer
    instead: dict[str, tuple[int, dict[str, str], bytes]] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    variables: list[Any] = field(default_factory=list)

    @property
    def api_url(self) -> str:
        return f"{self.url}/graphql/"

    def accept(
        self, token: str, app_id: str = APP_ID, identifier: str = "saleor.personalize"
    ) -> None:
        self.apps[token] = (app_id, identifier)

    def graphql(self, token: str, name: str) -> Any:
        """Return what the shop answers; an int is a bare status."""
        if name in self.answers:
            waiting = self.answers[name]
            return waiting.pop(0) if len(waiting) > 1 else waiting[0]
        if token not in self.apps:
            denied = {"message": "To access this path, ...", "path": ["app"], "extensions": DENIED}
            return {"data": {"app": None, "shop": {"name": "A shop"}}, "errors": [denied]}
        app_id, identifier = self.apps[token]
        return {
            "data": {
                "app": {
                    "id": app_id,
                    "identifier": identifier,
                    "isActive": True,
                    "permissions": [{"code": code} for code in self.permissions],
                },
                "shop": {"name": "A shop", "version": "3.24.1"},
            }
        }


def _handler(shop: LoopbackShop) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(self.path, shop.key.jwks() if self.path.endswith("/jwks.json") else 404)

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            shop.variables.append(asked["variables"])
            token = self.headers["Authorization"].removeprefix("Bearer ")
            self._answer(asked["operationName"], shop.graphql(token, asked["operationName"]))

        def _answer(self, what: str, data: Any) -> None:
            shop.requests.append(what)
            if self.path in shop.instead:
                status, headers, body = shop.instead[self.path]
            elif isinstance(data, int):
                status, headers, body = data, {}, b""
            else:
                status, headers, body = 200, {}, json.dumps(data).encode()
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    return Handler


@contextmanager
def loopback_shop() -> Iterator[LoopbackShop]:
    """Serve a shop at http://127.0.0.1:<port>/graphql/ until the block ends."""
    shop = LoopbackShop()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(shop))
    shop.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield shop
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def with_loopback(values: dict[str, Any]) -> dict[str, Any]:
    """Return the settings dict with shops on loopback allowed."""
    return {
        **values,
        "ALLOWED_SALEOR_API_URLS": [
            r"http://127\.0\.0\.1:\d+/graphql/",
            r"https://[a-z.]+/graphql/",
        ],
        "ALLOW_PRIVATE_ADDRESSES": True,
    }
