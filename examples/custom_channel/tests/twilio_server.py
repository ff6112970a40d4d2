"""A server on loopback that speaks as Twilio does: its Messages resource, its errors, its callbacks."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl

ACCOUNT = "AC" + "0f" * 16
TOKEN = "1c" * 16
#: (status, body) of Twilio's documentation.
ERRORS: dict[int, tuple[int, str]] = {
    20003: (401, "Authenticate"),
    20429: (429, "Too Many Requests"),
    21211: (400, "The 'To' number {to} is not a valid phone number."),
    21610: (400, "Attempt to send to unsubscribed recipient"),
    21611: (429, "This 'From' number has exceeded the maximum number of queued messages"),
    21614: (400, "'To' number: {to}, is not a mobile number"),
    21617: (400, "The concatenated message body exceeds the 1600 character limit"),
}


@dataclass
class Twilio:
    """What it took, as forms. `errors` are answered first, one each: a code, or "hang", "break" or "fail"."""

    url: str = ""
    messages: list[dict[str, str]] = field(default_factory=list)
    errors: list[int | str] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)

    def take(self, form: dict[str, str]) -> dict[str, Any]:
        self.messages.append(form)
        sid = f"SM{len(self.messages):032x}"
        return {
            "sid": sid,
            "account_sid": ACCOUNT,
            "messaging_service_sid": form.get("MessagingServiceSid"),
            "to": form["To"],
            "from": form.get("From"),
            "body": form.get("Body", ""),
            "status": "accepted" if "MessagingServiceSid" in form else "queued",
            "direction": "outbound-api",
            "num_segments": "1",
            "error_code": None,
            "error_message": None,
            "price": None,
            "uri": f"/2010-04-01/Accounts/{ACCOUNT}/Messages/{sid}.json",
        }


def signature(url: str, form: dict[str, str], token: str = TOKEN) -> str:
    """Return X-Twilio-Signature of a call: the address, then names and values sorted by name."""
    text = url + "".join(name + form[name] for name in sorted(form))
    return base64.b64encode(hmac.digest(token.encode(), text.encode(), hashlib.sha1)).decode()


def _handler(twilio: Twilio) -> type[BaseHTTPRequestHandler]:
    basic = base64.b64encode(f"{ACCOUNT}:{TOKEN}".encode()).decode()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers["Content-Length"]))
            form = dict(parse_qsl(raw.decode(), keep_blank_values=True))
            if self.path != f"/2010-04-01/Accounts/{ACCOUNT}/Messages.json":
                return self._answer(404, {"code": 20404, "message": "not found", "status": 404})
            if self.headers["Authorization"] != f"Basic {basic}":
                return self._refuse(20003, form)
            planned = twilio.errors.pop(0) if twilio.errors else None
            if isinstance(planned, int):
                return self._refuse(planned, form)
            if planned == "fail":
                return self._answer(500, {"code": 20500, "message": "Internal", "status": 500})
            answer = twilio.take(form)
            if planned == "hang":
                twilio.released.wait()
            if planned in {"hang", "break"}:
                # It has the message, and nobody is told.
                self.close_connection = True
                return None
            return self._answer(201, answer)

        def _refuse(self, code: int, form: dict[str, str]) -> None:
            status, text = ERRORS[code]
            body = {
                "code": code,
                "message": text.format(to=form["To"]),
                "more_info": f"https://www.twilio.com/docs/errors/{code}",
                "status": status,
            }
            return self._answer(status, body)

        def _answer(self, status: int, data: dict[str, Any]) -> None:
            body = json.dumps(data).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json;charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            if status == 429:
                self.send_header("Retry-After", "7")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    return Handler


@contextmanager
def serving() -> Iterator[Twilio]:
    """Serve Twilio on loopback until the block ends."""
    twilio = Twilio()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(twilio))
    server.daemon_threads = True
    twilio.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield twilio
    finally:
        twilio.released.set()
        server.shutdown()
        server.server_close()
        thread.join()
