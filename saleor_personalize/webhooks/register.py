"""The install handshake: `POST /api/register`, sent by Saleor, signed by nobody."""

from __future__ import annotations

import hashlib
import json
import logging

from django.core.cache import cache
from django.core.exceptions import RequestDataTooBig
from django.db import transaction
from django.http import HttpRequest, JsonResponse
from django.utils import timezone
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from saleor_personalize.exceptions import InstallationRefused
from saleor_personalize.ingestion import backfill
from saleor_personalize.saleor_api import installations
from saleor_personalize.tasks.broker import ask_for

logger = logging.getLogger(__name__)

MAX_BYTES = 10_000
MAX_TOKEN_LENGTH = 500
#: Handshakes per minute from one address for one shop: each makes us call the shop twice.
MAX_PER_MINUTE = 20


@csrf_exempt
@require_POST
def register(request: HttpRequest) -> JsonResponse:
    """Take an app token. A refusal answers with the sentence that the Dashboard shows."""
    try:
        saleor_api_url, token = _read(request)
        _check_rate(request, saleor_api_url)
        now = timezone.now()
        registration = installations.register(
            saleor_api_url=saleor_api_url,
            auth_token=token,
            saleor_version=request.headers.get("Saleor-Schema-Version", "")[:40],
            now=now,
        )
    except InstallationRefused as refusal:
        logger.warning("A register handshake was refused (%s): %s", refusal.code, refusal)
        return JsonResponse(
            {"success": False, "error": {"code": refusal.code, "message": str(refusal)}},
            status=refusal.status,
        )
    if registration.is_confirmed:
        with transaction.atomic():
            backfill.request(installation=registration.installation, now=now)
            ask_for("personalize.run_backfills")
    return JsonResponse({"success": True})


def _read(request: HttpRequest) -> tuple[str, str]:
    """Return the Saleor API URL and the token of a handshake."""
    saleor_api_url = request.headers.get("Saleor-Api-Url", "").strip()
    if not saleor_api_url:
        raise InstallationRefused(
            "MISSING_SALEOR_API_URL", "The header Saleor-Api-Url is missing: is this Saleor?"
        )
    try:
        body = b"" if _declared_length(request) > MAX_BYTES else request.body
        token = json.loads(body)["auth_token"]
    except (ValueError, TypeError, LookupError, RecursionError, RequestDataTooBig):
        token = None
    if not isinstance(token, str) or not 0 < len(token) <= MAX_TOKEN_LENGTH:
        raise InstallationRefused(
            "MISSING_AUTH_TOKEN", 'The body is not {"auth_token": "..."}: is this Saleor?'
        )
    if not (token.isascii() and token.isprintable()):
        raise InstallationRefused("MISSING_AUTH_TOKEN", "The auth_token holds other than ASCII.")
    return saleor_api_url, token


def _declared_length(request: HttpRequest) -> int:
    length = request.META.get("CONTENT_LENGTH") or "0"
    return int(length) if length.isdecimal() else MAX_BYTES + 1


def _check_rate(request: HttpRequest, saleor_api_url: str) -> None:
    """Raise InstallationRefused when this address tries too often."""
    who = f"{request.META.get('REMOTE_ADDR', '')} {saleor_api_url}"
    key = f"personalize:register:{hashlib.sha256(who.encode()).hexdigest()}"
    try:
        cache.add(key, 0, timeout=60)
        count = cache.incr(key)
    except Exception as error:
        # Each cache has its own errors; an install must not depend on a counter.
        logger.warning("The cache cannot count handshakes (%s)", type(error).__name__)
        return
    if count > MAX_PER_MINUTE:
        raise InstallationRefused(
            "TOO_MANY_REQUESTS", "Too many install attempts. Try again in a minute.", status=429
        )
