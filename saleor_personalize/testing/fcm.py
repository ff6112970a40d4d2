"""A Firebase Cloud Messaging on loopback: Google's sign-in and the HTTP v1 API, with its error bodies.

For tests and the demo. It checks what the real one checks (the signed assertion, the token of access, the
form of a message, its size) and keeps what devices would have got. Bodies are those documented at
https://firebase.google.com/docs/reference/fcm/rest/v1/ErrorCode.
"""

from __future__ import annotations

import json
import re
import secrets
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

import jwt
from cryptography.hazmat.primitives import serialization

from saleor_personalize.testing.keys import TEST_KEY, SigningKey

_SCOPES = {
    "https://www.googleapis.com/auth/firebase.messaging",
    "https://www.googleapis.com/auth/cloud-platform",
}
_FCM_ERROR = "type.googleapis.com/google.firebase.fcm.v1.FcmError"
_BAD_REQUEST = "type.googleapis.com/google.rpc.BadRequest"
_TOKEN = re.compile(r"[\w-]{8,}:APA91b[\w-]{100,200}")
_RESERVED = re.compile(r"from|message_type|google.*|gcm.*")
MAX_BYTES = 4_096


@dataclass(frozen=True)
class Answer:
    """One answer of the server. `status` 0 closes the connection without a word."""

    status: int
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)

    def encoded(self) -> bytes:
        if isinstance(self.body, bytes):
            return self.body
        return json.dumps(self.body).encode()


def error(
    code: int, status: str, message: str, *, fcm: str = "", headers: Any = None, more: Any = ()
) -> Answer:
    """Return an error as Google writes it; `fcm` is the error code of FCM in its details."""
    details = [*([{"@type": _FCM_ERROR, "errorCode": fcm}] if fcm else []), *more]
    found: dict[str, Any] = {"code": code, "message": message, "status": status}
    if details:
        found["details"] = details
    return Answer(code, {"error": found}, headers or {})


def unregistered() -> Answer:
    return error(404, "NOT_FOUND", "Requested entity was not found.", fcm="UNREGISTERED")


def sender_id_mismatch() -> Answer:
    return error(403, "PERMISSION_DENIED", "SenderId mismatch", fcm="SENDER_ID_MISMATCH")


def no_token() -> Answer:
    return error(
        400,
        "INVALID_ARGUMENT",
        "The registration token is not a valid FCM registration token",
        fcm="INVALID_ARGUMENT",
    )


def invalid(field_name: str, said: str) -> Answer:
    violation = {"field": field_name, "description": said}
    return error(
        400,
        "INVALID_ARGUMENT",
        said,
        more=[{"@type": _BAD_REQUEST, "fieldViolations": [violation]}],
    )


def too_big() -> Answer:
    text = "Android message is too big"
    return error(400, "INVALID_ARGUMENT", text, fcm="INVALID_ARGUMENT")


def quota_exceeded(retry_after: str = "") -> Answer:
    return error(
        429,
        "RESOURCE_EXHAUSTED",
        "Quota exceeded for quota metric 'Send requests' and limit 'Send requests per minute'.",
        fcm="QUOTA_EXCEEDED",
        headers={"Retry-After": retry_after} if retry_after else {},
    )


def unavailable(retry_after: str = "") -> Answer:
    return error(
        503,
        "UNAVAILABLE",
        "The service is currently unavailable.",
        fcm="UNAVAILABLE",
        headers={"Retry-After": retry_after} if retry_after else {},
    )


def internal() -> Answer:
    return error(500, "INTERNAL", "Internal error encountered.", fcm="INTERNAL")


def bad_gateway() -> Answer:
    page = b"<!DOCTYPE html>\n<html lang=en><title>Error 502 (Server Error)!!1</title>"
    return Answer(502, page, {"Content-Type": "text/html; charset=UTF-8"})


def third_party_auth_error() -> Answer:
    text = "Request is missing required authentication credential."
    return error(401, "UNAUTHENTICATED", text, fcm="THIRD_PARTY_AUTH_ERROR")


def permission_denied() -> Answer:
    text = "Permission 'cloudmessaging.messages.create' denied on resource."
    return error(403, "PERMISSION_DENIED", text)


def silence() -> Answer:
    """Close the connection when the message was read: nobody knows what became of it."""
    return Answer(0)


def web_push(message: Mapping[str, Any]) -> str:
    """Return what a browser's service worker is given of a message: JSON, as Firebase writes it."""
    web = message.get("webpush", {})
    shown = {
        "notification": {**message.get("notification", {}), **web.get("notification", {})},
        "data": {**message.get("data", {}), **web.get("data", {})},
        "fcmOptions": web.get("fcm_options", {}),
        "from": "100000000000",
        "fcmMessageId": secrets.token_hex(16),
    }
    return json.dumps({name: value for name, value in shown.items() if value})


@dataclass
class FakeFcm:
    """One Firebase project. `sent` is what devices got, `validated` what was only checked."""

    url: str = ""
    project_id: str = "shop-of-tests"
    key: SigningKey = TEST_KEY
    #: token -> its platform, of devices that can be reached
    devices: dict[str, str] = field(default_factory=dict)
    #: token, or "" for all -> answers instead of the usual one, one after the other; the last stays
    instead: dict[str, list[Answer]] = field(default_factory=dict)
    #: whether Google still knows the service account
    is_account_known: bool = True
    sent: list[dict[str, Any]] = field(default_factory=list)
    validated: list[dict[str, Any]] = field(default_factory=list)
    #: path of each request
    requests: list[str] = field(default_factory=list)
    #: while set, messages are read and not answered
    is_hanging: threading.Event = field(default_factory=threading.Event)
    _access: set[str] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _goes_on: threading.Event = field(default_factory=threading.Event)

    @property
    def client_email(self) -> str:
        return f"firebase-adminsdk-test@{self.project_id}.iam.gserviceaccount.com"

    def service_account(self) -> str:
        """Return the JSON file that the Firebase console would give for this project."""
        pem = self.key.private_key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ).decode()
        return json.dumps(
            {
                "type": "service_account",
                "project_id": self.project_id,
                "private_key_id": self.key.kid,
                "private_key": pem,
                "client_email": self.client_email,
                "client_id": "100000000000000000000",
                "auth_uri": "https://accounts.google.com/o/oauth2/auth",
                "token_uri": "https://oauth2.googleapis.com/token",
            }
        )

    def device(self, platform: str = "android", token: str = "") -> str:
        """Return the token of a new device, as its Firebase SDK would give it."""
        token = token or f"{secrets.token_urlsafe(16)}:APA91b{secrets.token_urlsafe(100)[:134]}"
        self.devices[token] = platform
        return token

    def uninstall(self, token: str) -> None:
        """Let a device forget the app: its token is good for nothing from now on."""
        self.devices.pop(token, None)

    def answer(self, token: str, *answers: Answer) -> None:
        """Answer so for one device, or for all (""), one after the other; the last stays."""
        self.instead[token] = list(answers)

    def got(self, token: str) -> list[dict[str, Any]]:
        """Return what a device got, oldest first."""
        return [message for message in self.sent if message.get("token") == token]

    # -- what the server does --------------------------------------------------------------------

    def sign_in(self, assertion: str) -> Answer:
        refused = {
            "error": "invalid_grant",
            "error_description": "Invalid grant: account not found",
        }
        try:
            claims = jwt.decode(
                assertion,
                self.key.private_key.public_key(),
                algorithms=["RS256"],
                # Google's library names this one wherever it signs in.
                audience="https://oauth2.googleapis.com/token",
                # Tests travel in time; the real server compares with its clock.
                options={"verify_exp": False, "verify_iat": False, "verify_nbf": False},
            )
        except jwt.InvalidTokenError:
            text = "Invalid JWT Signature."
            return Answer(400, {"error": "invalid_grant", "error_description": text})
        if not self.is_account_known or claims["iss"] != self.client_email:
            return Answer(400, refused)
        if not _SCOPES & set(str(claims.get("scope", "")).split()):
            return Answer(400, {"error": "invalid_scope", "error_description": "Wrong scope."})
        access = f"ya29.{secrets.token_urlsafe(40)}"
        self._access.add(access)
        body = {"access_token": access, "expires_in": 3_599, "token_type": "Bearer"}
        return Answer(200, body)

    def take(self, project: str, bearer: str, body: Any) -> Answer:
        if bearer.removeprefix("Bearer ") not in self._access:
            return error(
                401,
                "UNAUTHENTICATED",
                "Request had invalid authentication credentials. Expected OAuth 2 access token.",
            )
        if project != self.project_id:
            return error(404, "NOT_FOUND", "Requested entity was not found.")
        message = body.get("message") if isinstance(body, dict) else None
        if not isinstance(message, dict):
            return invalid("message", "Message is missing.")
        token = message.get("token", "")
        with self._lock:
            waiting = self.instead.get(token) or self.instead.get("")
            if waiting:
                return waiting.pop(0) if len(waiting) > 1 else waiting[0]
        return self._fault(message, token) or self._keep(message, is_dry="validate_only" in body)

    def _fault(self, message: dict[str, Any], token: str) -> Answer | None:
        if not token and not message.get("topic"):
            return error(
                400,
                "INVALID_ARGUMENT",
                "Recipient of the message is not set.",
                fcm="INVALID_ARGUMENT",
            )
        if token and not _TOKEN.fullmatch(token):
            return no_token()
        for name, value in message.get("data", {}).items():
            if not isinstance(value, str):
                return invalid("message.data[0].value", "Invalid value (TYPE_STRING)")
            if _RESERVED.fullmatch(name):
                return invalid("message.data", f"Invalid data payload key: {name}")
        shown = {"data": message.get("data", {}), "notification": message.get("notification", {})}
        if len(json.dumps(shown, ensure_ascii=False).encode()) > MAX_BYTES:
            return too_big()
        return unregistered() if token and token not in self.devices else None

    def _keep(self, message: dict[str, Any], *, is_dry: bool) -> Answer:
        with self._lock:
            (self.validated if is_dry else self.sent).append(message)
        number = "fake_message_id" if is_dry else f"0:{time.time_ns()}%{secrets.token_hex(8)}"
        return Answer(200, {"name": f"projects/{self.project_id}/messages/{number}"})

    def hang(self) -> None:
        """Read messages from now on, and answer none until the server stops."""
        self.is_hanging.set()


@contextmanager
def serving(fcm: FakeFcm | None = None, *, port: int = 0) -> Iterator[FakeFcm]:
    """Serve a project on loopback; by default on a free port."""
    fcm = fcm or FakeFcm()
    server = _Server(("127.0.0.1", port), _handler(fcm))
    fcm.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.daemon = True
    thread.start()
    try:
        yield fcm
    finally:
        fcm._goes_on.set()
        server.shutdown()
        server.server_close()
        server.hang_up()
        thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    #: A batch of the library comes over as many connections as it has messages.
    request_queue_size = 1_024

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self._connections: set[Any] = set()

    def process_request(self, request: Any, client_address: Any) -> None:
        self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._connections.discard(request)
        super().shutdown_request(request)

    def hang_up(self) -> None:
        """End the connections that were kept, as a server does that goes away."""
        for connection in list(self._connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


def _handler(fcm: FakeFcm) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Head and body of an answer leave in one piece: apart, the second waits for 40 ms.
        wbufsize = -1

        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            fcm.requests.append(self.path)
            found = re.fullmatch(r"/v1/projects/([^/]+)/messages:send", self.path)
            if self.path == "/token":
                given = parse_qs(raw.decode()).get("assertion", [""])
                self._say(fcm.sign_in(given[0]))
            elif found:
                if fcm.is_hanging.is_set():
                    fcm._goes_on.wait(60)
                    self.close_connection = True
                    return
                bearer = self.headers.get("Authorization", "")
                self._say(fcm.take(found[1], bearer, json.loads(raw)))
            else:
                self._say(error(404, "NOT_FOUND", "Method not found."))

        def _say(self, answer: Answer) -> None:
            if not answer.status:
                self.close_connection = True
                return
            body = answer.encoded()
            headers = {"Content-Type": "application/json; charset=UTF-8", **answer.headers}
            self.send_response(answer.status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            """Keep the output of tests clean."""

    return Handler
