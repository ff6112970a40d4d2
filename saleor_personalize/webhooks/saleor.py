"""The door for Saleor's webhooks: check, store, answer. Nothing is believed here.

What we refuse with 4xx Saleor never sends again, so only requests that can never become right are
refused so; whatever time may cure (the database, the shop's keys) is answered 5xx.
"""

from __future__ import annotations

import contextlib
import json
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import django.db
from django.core.exceptions import RequestDataTooBig
from django.http import HttpRequest, HttpResponse
from django.http.request import UnreadablePostError
from django.utils import timezone
from django.views.decorators.csrf import csrf_exempt

from saleor_personalize.conf import settings
from saleor_personalize.enums import InstallationStatus
from saleor_personalize.exceptions import MalformedPayload, WebhookRejected
from saleor_personalize.ingestion import deliveries
from saleor_personalize.ingestion.subscriptions import BY_EVENT
from saleor_personalize.models import Installation, PendingToken
from saleor_personalize.saleor_api import auth, documents, installations
from saleor_personalize.webhooks.wake import Bell

logger = logging.getLogger(__name__)

#: A delivery as `deliveries.row` makes it.
Row = tuple[Any, ...]

#: event of the URL -> `__typename` that its payload must carry
TYPENAMES = {event: documents.typename(event) for event in BY_EVENT}
#: Taken whatever we believe of the app's state, since they are what changes it.
LIFECYCLE_EVENTS = frozenset({"app_deleted", "app_status_changed"})

#: Rung when a delivery waits.
bell = Bell("personalize.process_deliveries")


class _KnownInstallations:
    """Installations as they were a moment ago, so that a burst of deliveries reads them once.

    What an old copy refuses is checked against the database before the refusal is believed.
    """

    SECONDS = 5.0
    MAX_ENTRIES = 1_000

    def __init__(self) -> None:
        self._entries: dict[str, tuple[float, Installation]] = {}

    def get(self, saleor_api_url: str) -> Installation | None:
        entry = self._entries.get(saleor_api_url)
        return entry[1] if entry and entry[0] > time.monotonic() else None

    def load(self, saleor_api_url: str) -> Installation | None:
        installation = installations.find_installation(saleor_api_url)
        if installation is not None:
            if len(self._entries) >= self.MAX_ENTRIES:
                self._entries.clear()
            self._entries[saleor_api_url] = (time.monotonic() + self.SECONDS, installation)
        return installation

    def clear(self) -> None:
        self._entries.clear()


known_installations = _KnownInstallations()


@dataclass(frozen=True)
class Answer:
    """What the door answers: an HTTP status and a JSON body."""

    status: int
    body: bytes


TAKEN = Answer(200, b'{"success": true}')


@csrf_exempt
def receive(request: HttpRequest, event: str) -> HttpResponse:
    """Take a webhook inside Django; the ready-made service answers most in `webhooks/wsgi.py`."""
    answer = take(event, request.META, read=lambda: _body_of(request), store=_store_now)
    if answer is TAKEN:
        bell.ring_after_commit()
    return HttpResponse(answer.body, status=answer.status, content_type="application/json")


def take(
    event: str,
    environ: Mapping[str, Any],
    *,
    read: Callable[[], bytes],
    store: Callable[[Row], None],
) -> Answer:
    """Check and store one delivery; the caller rings when it is TAKEN. Saleor holds a worker of the shop until it has the answer.

    `environ` holds the headers as CGI names them, `read` returns the body, `store` returns after the
    row is stored or raises a database error.
    """
    try:
        row = _check_request(event, environ, read)
        store(row)
    except WebhookRejected as refusal:
        # Anybody may write anything into the address: only a name of ours goes into the log.
        name = event if event in TYPENAMES else "strange"
        logger.warning("A %s webhook was refused (%s): %s", name, refusal.code, refusal)
        return _refusal(refusal.code, str(refusal), refusal.status)
    except django.db.Error as error:
        # Its text may quote the row.
        name = type(error).__name__
        logger.error("A %s webhook could not be stored: %s", event, name)  # noqa: TRY400
        return _refusal("STORE_UNAVAILABLE", "It cannot be stored at the moment.", 503)
    return TAKEN


def _store_now(row: Row) -> None:
    deliveries.store([row])


def _check_request(event: str, environ: Mapping[str, Any], read: Callable[[], bytes]) -> Row:
    """Return the row to store for a request. Raises WebhookRejected."""
    if environ["REQUEST_METHOD"] != "POST":
        raise WebhookRejected("WRONG_METHOD", "Webhooks are sent with POST.", status=405)
    signature = environ.get("HTTP_SALEOR_SIGNATURE")
    saleor_api_url = environ.get("HTTP_SALEOR_API_URL")
    if not saleor_api_url:
        raise WebhookRejected("MISSING_API_URL_HEADER", "The header Saleor-Api-Url is missing.")
    if not signature:
        raise WebhookRejected("MISSING_SIGNATURE_HEADER", "The header Saleor-Signature is missing.")
    if event not in TYPENAMES or environ.get("HTTP_SALEOR_EVENT", event) != event:
        raise WebhookRejected(
            "WRONG_EVENT", f"{event[:80]!r} is not the event of this webhook or not one we take."
        )
    body = _read_body(environ, read)
    now = timezone.now()
    installation = known_installations.get(saleor_api_url)
    if installation is not None:
        # What was read a few seconds ago may be outdated: the app may have been installed anew.
        with contextlib.suppress(WebhookRejected):
            return _check(installation, event, body, signature, now)
    installation = known_installations.load(saleor_api_url)
    if installation is None:
        raise WebhookRejected(
            "NOT_REGISTERED", "The app is not installed in this shop.", status=401
        )
    return _check(installation, event, body, signature, now)


def _body_of(request: HttpRequest) -> bytes:
    try:
        return request.body
    except RequestDataTooBig:
        raise _too_large() from None
    except UnreadablePostError:
        raise WebhookRejected("MISSING_REQUEST_BODY", "The body ended early.", status=503) from None


def _read_body(environ: Mapping[str, Any], read: Callable[[], bytes]) -> bytes:
    limit = settings.WEBHOOK_MAX_BYTES
    length = environ.get("CONTENT_LENGTH") or ""
    if length.isdecimal() and int(length) > limit:
        raise _too_large()
    body = read()
    if not body:
        raise WebhookRejected("MISSING_REQUEST_BODY", "The body is empty.")
    if len(body) > limit:
        raise _too_large()
    return body


def _too_large() -> WebhookRejected:
    return WebhookRejected(
        "PAYLOAD_TOO_LARGE",
        f"The body is larger than WEBHOOK_MAX_BYTES ({settings.WEBHOOK_MAX_BYTES}).",
        status=413,
    )


def _check(
    installation: Installation, event: str, body: bytes, signature: str, now: datetime
) -> Row:
    """Return the row to store. Raises WebhookRejected unless the delivery is this shop's, for us.

    Saleor signs the body alone, so the event, and that it was made for us and not for another app of
    the same shop, must be read in the body. A signed body that is no JSON object cannot be checked
    further: it is stored as failed, so that nothing is lost before somebody has looked at it.
    """
    auth.verify_webhook(installation, body=body, signature=signature, now=now)
    issued_at, error = None, ""
    try:
        payload = deliveries.read_body(body)
    except MalformedPayload as malformed:
        error = str(malformed)
    else:
        if payload.get("__typename") != TYPENAMES[event]:
            raise WebhookRejected("WRONG_EVENT", f"The body is not a {TYPENAMES[event]}.")
        recipient = payload.get("recipient")
        _check_recipient(installation, event, recipient if isinstance(recipient, dict) else {})
        issued_at = deliveries.issued_at_of(payload)
    return deliveries.row(
        installation_id=installation.pk,
        event=event,
        body=body,
        issued_at=issued_at,
        now=now,
        error=error,
    )


def _check_recipient(installation: Installation, event: str, recipient: dict[str, Any]) -> None:
    """Raise WebhookRejected unless the body was made for our app as this shop knows it."""
    if recipient.get("id") == installation.app_id and installation.app_id:
        if installation.status != InstallationStatus.UNINSTALLED or event in LIFECYCLE_EVENTS:
            return
    elif (
        recipient.get("identifier") == settings.APP_ID
        and PendingToken.objects.of(installation).exists()
    ):
        # Installed inactive: the shop's own signature tells that the app is there, while its id is
        # not known before its token works.
        return
    raise WebhookRejected(
        "NOT_REGISTERED", "The delivery was made for another installation of the app.", status=401
    )


def _refusal(code: str, message: str, status: int) -> Answer:
    return Answer(status, json.dumps({"error": {"code": code, "message": message}}).encode())
