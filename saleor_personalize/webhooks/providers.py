"""Where providers tell what became of a mail or a text message: stored as it came, believed by a worker.

The secret in the address says which shop it is. Providers of e-mail that sign are checked by Anymail's keys
as well, that of text messages (`sms`) by the plug-in that CHANNELS names. What is refused is not stored, and changes nothing.
"""

from __future__ import annotations

import json
import logging

import django.db
from django.core.exceptions import RequestDataTooBig
from django.http import HttpRequest, HttpResponse
from django.http.request import UnreadablePostError
from django.utils import timezone
from django.views.decorators.csrf import csrf_exempt

from saleor_personalize.conf import settings
from saleor_personalize.exceptions import WebhookRejected
from saleor_personalize.ingestion import deliveries
from saleor_personalize.messaging import feedback, texts
from saleor_personalize.messaging.channels import tracking
from saleor_personalize.messaging.channels.sms import Callback
from saleor_personalize.webhooks.saleor import bell

logger = logging.getLogger(__name__)

#: What stands behind the ? of an address that we gave out is short.
_LONGEST_QUERY = 500


@csrf_exempt
def receive(request: HttpRequest, provider: str, secret: str) -> HttpResponse:
    """Check and store what a provider tells; answer with a reason when it is refused."""
    # Some try the address out when it is typed in.
    if request.method in {"GET", "HEAD"}:
        is_known = provider in _known() and feedback.find(secret=secret) is not None
        return _unlogged(HttpResponse(status=200 if is_known else 404))
    try:
        _take(request, provider, secret)
    except WebhookRejected as refusal:
        # Anybody may write anything into the address: only a name that we know goes into the log.
        name = provider if provider in _known() else "strange"
        logger.warning("A webhook of %s was refused (%s): %s", name, refusal.code, refusal)
        return _answer(refusal.status, refusal.code, str(refusal))
    except django.db.Error as error:
        # Its text may quote the row.
        logger.error(  # noqa: TRY400
            "A webhook of %s could not be stored: %s", provider, type(error).__name__
        )
        return _answer(503, "STORE_UNAVAILABLE", "It cannot be stored at the moment.")
    bell.ring_after_commit()
    return HttpResponse(b'{"success": true}', content_type="application/json")


def _take(request: HttpRequest, provider: str, secret: str) -> None:
    if request.method != "POST":
        raise WebhookRejected("WRONG_METHOD", "Webhooks are sent with POST.", status=405)
    if provider not in _known():
        raise WebhookRejected(
            "UNKNOWN_PROVIDER",
            f"There is no such provider. Known: {', '.join(sorted(_known()))}.",
            status=404,
        )
    webhook = feedback.find(secret=secret)
    if webhook is None:
        raise WebhookRejected(
            "UNKNOWN_SECRET",
            "The secret in the address is none of ours, or was replaced. Copy the address anew from the "
            "page “Go-live check” of the app.",
            status=401,
        )
    body = _body(request)
    query = request.META.get("QUERY_STRING", "")
    if provider == texts.PROVIDER:
        _check_text(request, body, query)
    else:
        # Theirs say everything in the body.
        query = ""
        tracking.check(provider, request)
    now = timezone.now()
    deliveries.store_provider(
        installation=webhook.installation,
        provider=provider,
        body=body,
        content_type=request.headers.get("Content-Type", ""),
        query=query,
        now=now,
    )
    feedback.note_heard(webhook=webhook, provider=provider, now=now)


def _known() -> frozenset[str]:
    return tracking.providers() | ({texts.PROVIDER} if texts.is_on() else frozenset())


def _check_text(request: HttpRequest, body: bytes, query: str) -> None:
    """Let the plug-in of text messages see who calls. Raises WebhookRejected."""
    malformed = WebhookRejected("MALFORMED_BODY", "The request is not what the provider sends.")
    if len(query) > _LONGEST_QUERY:
        raise malformed
    # As the provider knows the address: a proxy before us may have changed host and scheme.
    base = (settings.APP_URL or "").rstrip("/")
    callback = Callback(
        url=f"{base}{request.get_full_path()}",
        body=body,
        content_type=request.headers.get("Content-Type", ""),
        query=request.GET.dict(),
        headers={name.lower(): value for name, value in request.headers.items()},
    )
    try:
        texts.channel().check(callback)
    except (AttributeError, LookupError, TypeError, ValueError):
        # Some read the body to find the signature. Their texts quote it.
        raise malformed from None


def _body(request: HttpRequest) -> bytes:
    most = settings.WEBHOOK_MAX_BYTES
    too_large = WebhookRejected(
        "PAYLOAD_TOO_LARGE", f"The body is larger than WEBHOOK_MAX_BYTES ({most}).", status=413
    )
    declared = request.headers.get("Content-Length") or ""
    if declared.isdecimal() and int(declared) > most:
        raise too_large
    try:
        body = request.body
    except RequestDataTooBig:
        raise too_large from None
    except UnreadablePostError:
        raise WebhookRejected("MISSING_REQUEST_BODY", "The body ended early.", status=503) from None
    if not body:
        raise WebhookRejected("MISSING_REQUEST_BODY", "The body is empty.")
    if len(body) > most:
        raise too_large
    return body


def _answer(status: int, code: str, message: str) -> HttpResponse:
    body = json.dumps({"error": {"code": code, "message": message}})
    response = HttpResponse(body, status=status, content_type="application/json")
    return _unlogged(response)


def _unlogged(response: HttpResponse) -> HttpResponse:
    """Keep Django from logging the address, which holds the secret: we have said what was refused."""
    response._has_been_logged = True  # type: ignore[attr-defined]
    return response
