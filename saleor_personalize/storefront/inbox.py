"""`GET /inbox`: what stands in the caller's inbox, for pages that ask again and again.

An answer has an entity tag. Who sends it back (If-None-Match) gets 304 while nothing has changed, and that
costs one indexed read. The graph answers the same, and takes what somebody does with an item.
"""

from __future__ import annotations

import re
from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils import timezone, translation
from django.utils.translation import gettext as _
from django.views.decorators.csrf import csrf_exempt

from saleor_personalize.events import callers
from saleor_personalize.exceptions import AccessDenied, InvalidToken, KeysUnavailable
from saleor_personalize.messaging import inbox as box
from saleor_personalize.messaging.rendering import django_language
from saleor_personalize.models import InboxItem
from saleor_personalize.saleor_api.auth import JWKS_REFRESH_INTERVAL
from saleor_personalize.storefront import cross_origin

#: Items of an answer: what a panel shows.
_MOST = 30
_PLACEMENT = re.compile(r"[^\x00]{1,60}", re.DOTALL)
_HEADERS = "authorization, if-none-match, saleor-api-url, x-anonymous-id"


@csrf_exempt  # tokens and ids come in headers, never in cookies
def inbox(request: HttpRequest) -> HttpResponse:
    """Answer {"unread", "items", "words"}, 304, or {"error": {"code", "message"}}."""
    if request.method == "OPTIONS":
        return cross_origin.preflight(request, method="GET", headers=_HEADERS)
    installation = cross_origin.active(cross_origin.asked_for(request))
    response = _answer(request)
    # Pages of other origins see no header but those that are named.
    response["Access-Control-Expose-Headers"] = "etag"
    return cross_origin.shared(request, response, cross_origin.origins(installation))


def _answer(request: HttpRequest) -> HttpResponse:
    if request.method != "GET":
        response = _refused(405, "BAD_REQUEST", "The inbox is read by GET; change it in the graph.")
        response["Allow"] = "GET, OPTIONS"
        return response
    placement = request.GET.get("placement")
    if placement is not None and not _PLACEMENT.fullmatch(placement):
        return _refused(
            400, "BAD_REQUEST", "`placement` takes 1 to 60 characters, none of them NUL."
        )
    now = timezone.now()
    try:
        caller = callers.identify(
            saleor_api_url=cross_origin.asked_for(request),
            authorization=request.headers.get("Authorization", ""),
            anonymous_id=request.headers.get("X-Anonymous-Id", ""),
            origin=request.headers.get("Origin", ""),
            now=now,
        )
    except InvalidToken as error:
        return _refused(401, "INVALID_TOKEN", str(error))
    except KeysUnavailable as error:
        response = _refused(503, "JWKS_NOT_AVAILABLE", str(error))
        response["Retry-After"] = str(round(JWKS_REFRESH_INTERVAL.total_seconds()))
        return response
    except AccessDenied as error:
        return _refused(403, "FORBIDDEN", str(error))
    reader = box.reader_of(installation=caller.installation, shown=caller.shown)
    if reader is None:
        return _refused(
            401, "UNAUTHENTICATED", "Say whose inbox this is: send X-Anonymous-Id or a token."
        )
    language = django_language(request.GET.get("languageCode", ""))
    asked = f"{language}:{'' if placement is None else placement}"
    tag = request.headers.get("If-None-Match", "").removeprefix("W/").strip('"')
    if tag and reader.has(tag, asked=asked, now=now):
        return _tagged(HttpResponse(status=304), tag)
    profile = caller.profile()
    page = box.NOTHING
    if profile is not None:
        page = box.page(profile=profile, first=_MOST, placement=placement, now=now)
    with translation.override(language):
        body = {
            "unread": page.unread_count,
            "items": [_item(one) for one in page.items],
            "words": _words(),
        }
    return _tagged(JsonResponse(body), reader.tag(asked=asked, until=page.changes_at))


def _tagged(response: HttpResponse, tag: str) -> HttpResponse:
    response["ETag"] = f'"{tag}"'
    return response


def _item(item: InboxItem) -> dict[str, Any]:
    return {
        "id": str(item.public_id),
        "title": item.title,
        "text": item.text,
        "link": item.link or None,
        "imageUrl": item.image_url or None,
        "promoCode": item.promo_code or None,
        "placement": item.placement or None,
        "language": django_language(item.message.language_code),
        "createdAt": item.created_at.isoformat(),
        "expiresAt": item.expires_at.isoformat(),
        "isRead": item.read_at is not None,
    }


def _words() -> dict[str, str]:
    """Return what is written around the items, in the active language."""
    return {
        "title": _("Messages"),
        "unread": _("unread"),
        "empty": _("There is nothing here at the moment."),
        "read": _("Mark as read"),
        "readAll": _("Mark all as read"),
        "dismiss": _("Put away"),
        "close": _("Close"),
        "open": _("Show me"),
        "code": _("Code:"),
    }


def _refused(status: int, code: str, message: str) -> HttpResponse:
    return JsonResponse({"error": {"code": code, "message": message}}, status=status)
