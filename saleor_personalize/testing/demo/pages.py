"""Pages of the demo: a storefront, a Dashboard with our app in its frame, a mailbox and phones.

They stand in for what a shop already has, so they are small and plain.
"""

from __future__ import annotations

import csv
import html
import io
import json
import re
import sys
import threading
from email.header import decode_header, make_header
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, quote, urlsplit

import saleor_personalize
from saleor_personalize.testing.demo import channels, occasions, person, regular
from saleor_personalize.testing.demo.phones import Phones
from saleor_personalize.testing.saleor import FakeSaleor
from saleor_personalize.testing.stack import Stack

_FILES = Path(__file__).with_name("files")
_LOGO = Path(saleor_personalize.__file__).parent / "static" / "saleor_personalize" / "logo.png"
_TYPES = {".html": "text/html; charset=utf-8", ".js": "text/javascript", ".css": "text/css"}
#: Pages that draw themselves by a script of the same name.
_FRAMES = ("/dashboard", "/device", "/inbox", "/phones")
#: The storefront's pages: one document, which looks at its address.
_STOREFRONT = re.compile(r"/(?:(?:product|category)/[^/]+|search|cart|order)?")


class DemoPages:
    """Use as `with DemoPages(stack, shop, port=8700) as pages:`."""

    def __init__(
        self, stack: Stack, shop: FakeSaleor, *, port: int, phones: Phones | None = None
    ) -> None:
        self.stack = stack
        self.phones = phones or Phones()
        self.shop = shop
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        #: The newest line of the story that is played behind the pages; None when none is.
        self.told: str | None = None

    def __enter__(self) -> Self:
        handler = type("Handler", (_Handler,), {"pages": self})
        self._server = _Server(("127.0.0.1", self.port), handler)
        threading.Thread(target=self._server.serve_forever, name="demo-pages", daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def config(self) -> dict[str, Any]:
        """Return what the pages' scripts need to know."""
        by_email = {user["email"]: user["id"] for user in self.shop.users.values()}
        people = [(regular.EMAIL, regular.FIRST_NAME)]
        if self.told is None:
            # Their parts of the story are told first: who signs in as them meanwhile would change it.
            people.insert(0, (person.EMAIL, person.FIRST_NAME))
            people.append((occasions.NEWCOMER, occasions.NEWCOMERS_NAME))
            people.append((channels.EVA, channels.EVAS_NAME))
            people.append((channels.IN_THE_SHOP, channels.IN_THE_SHOPS_NAME))
        return {
            "saleorApiUrl": self.shop.api_url,
            "personalizeUrl": self.stack.url,
            "channel": self.shop.default_channel,
            "customerId": by_email.get(person.EMAIL, ""),
            "customers": [
                {"email": email, "firstName": name} for email, name in people if email in by_email
            ],
            "soldOut": self.sold_out(),
        }

    def sold_out(self) -> dict[str, str] | None:
        """Return a product that is sold out, if there is one: somebody may wait for it."""
        for variant in self.shop.variants.values():
            if self.shop.available(variant["id"]) <= 0:
                product = variant["product"]
                return {key: product[key] for key in ("id", "slug", "name")}
        return None

    def deliver(self) -> None:
        """Let three pieces come in of everything that is sold out."""
        for variant in self.shop.variants.values():
            if self.shop.available(variant["id"]) <= 0:
                self.shop.set_stock(variant["id"], 3)

    def frame(self) -> dict[str, Any]:
        """Return what a Dashboard gives the frame of an app; the token is made anew each time."""
        app = next(iter(self.shop.apps.values()))
        return {
            **self.config(),
            "appId": app.id,
            "token": self.shop.dashboard_token(app),
        }

    def mailbox(self) -> str:
        rows = [
            f"<li class='card'><a href='/mailbox/{number}'>{_header(m, 'Subject')}</a>"
            f"<p>to {_header(m, 'To')}, from {_header(m, 'From')}</p></li>"
            for number, m in enumerate(self.stack.mailbox.messages)
        ]
        listed = "".join(reversed(rows)) or "<li>Nothing yet.</li>"
        return (_FILES / "mailbox.html").read_text().replace("<!-- messages -->", listed)

    def mail(self, number: int) -> str:
        return _html_of(self.stack.mailbox.messages[number])

    def preferences(self) -> str:
        """Return the address of the preference centre in the newest mail; empty without a mail."""
        found = map(channels.preferences_in, reversed(self.stack.mailbox.messages))
        return next(filter(None, found), "")

    def receipt(self) -> str:
        """Return what the store's till would write: Ana bought something there just now."""
        variant = next(v for v in self.shop.variants.values() if self.shop.available(v["id"]) > 2)
        price = variant["channelListings"][0]["price"]["amount"]
        file = io.StringIO()
        rows = csv.DictWriter(file, person.COLUMNS)
        rows.writeheader()
        rows.writerow(person.receipt(self.shop, variant["sku"], price))
        return file.getvalue()


def _header(message: Message, name: str) -> str:
    """Return a header as people read it: Subjects with an umlaut travel encoded."""
    return html.escape(str(make_header(decode_header(str(message[name])))))


def _html_of(message: Message) -> str:
    for part in message.walk():
        if part.get_content_type() == "text/html":
            payload = part.get_payload(decode=True)
            return payload.decode() if isinstance(payload, bytes) else ""
    return ""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that left before its answer is no news; the terminal is for the story."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    pages: DemoPages

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        if path == "/config.json":
            self._reply(json.dumps(self.pages.config()), "application/json")
        elif path == "/story.json":
            told = self.pages.told
            self._reply(json.dumps({"line": told, "isOver": told is None}), "application/json")
        elif path == "/frame.json":
            self._reply(json.dumps(self.pages.frame()), "application/json")
        elif path == "/phones.json":
            self._reply(json.dumps(self.pages.phones.told()), "application/json")
        elif path == "/mailbox":
            self._reply(self.pages.mailbox(), _TYPES[".html"])
        elif path.startswith("/mailbox/") and path[9:].isdigit():
            number = int(path[9:])
            if number < len(self.pages.stack.mailbox.messages):
                self._reply(self.pages.mail(number), _TYPES[".html"])
            else:
                self.send_error(404)
        elif path == "/preferences":
            self._go_to(self.pages.preferences() or "/mailbox")
        elif path == "/receipt.csv":
            self._reply(self.pages.receipt(), "text/csv")
        elif path == "/favicon.ico":
            self._reply(_LOGO.read_bytes(), "image/png")
        elif path == "/checkout":
            checkout = parse_qs(urlsplit(self.path).query).get("checkout", [""])[0]
            self._go_to(f"/cart?checkout={quote(checkout, safe='')}")
        elif _STOREFRONT.fullmatch(path):
            self._reply((_FILES / "storefront.html").read_text(), _TYPES[".html"])
        else:
            name = f"{path[1:]}.html" if path in _FRAMES else path[1:]
            file = _FILES / name
            if "/" in name or file.suffix not in _TYPES or not file.is_file():
                self.send_error(404)
                return
            self._reply(file.read_text(), _TYPES[file.suffix])

    def do_POST(self) -> None:
        path, phones = urlsplit(self.path).path, self.pages.phones
        sent = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        given = json.loads(sent) if sent else {}
        answer = {}
        if path == "/delivery":
            self.pages.deliver()
        elif path == "/phones":
            answer["token"] = phones.add(given["name"], given["platform"]).token
        elif path == "/phones/press":
            phones.pressed.add(given["messageId"])
        elif path == "/phones/uninstall":
            phones.uninstall(given["token"])
        else:
            self.send_error(404)
            return
        self._reply(json.dumps(answer), "application/json")

    def _go_to(self, address: str) -> None:
        self.send_response(302)
        self.send_header("Location", address)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _reply(self, text: str | bytes, kind: str) -> None:
        body = text.encode() if isinstance(text, str) else text
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 (the base's name)
        """Stay quiet: the terminal is for the story."""
