"""`POST /collect`: events of a page, also of one that is being left (navigator.sendBeacon).

A beacon carries no headers of its own, so everything is in the body, and the body may call itself
text/plain: then the browser asks no permission first. Who may send from a browser is set per
installation; cookies are neither read nor set.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from django.core.exceptions import RequestDataTooBig
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.http.request import UnreadablePostError
from django.utils import timezone
from django.views.decorators.csrf import csrf_exempt

from saleor_personalize.conf import settings
from saleor_personalize.enums import EventSource, IdentityKind
from saleor_personalize.events import callers, rates, refused, sessions, tracking
from saleor_personalize.events.tracking import Row, RowResult, RowStatus
from saleor_personalize.exceptions import AccessDenied, InvalidToken, KeysUnavailable
from saleor_personalize.models import Installation
from saleor_personalize.saleor_api import server_keys
from saleor_personalize.saleor_api.auth import JWKS_REFRESH_INTERVAL
from saleor_personalize.storefront import cross_origin

_TYPES = {type_.name: type_ for type_ in tracking.TOLD}
_BODY = {
    "saleorApiUrl": str,
    "anonymousId": str,
    "userId": str,
    "token": str,
    "checkoutId": str,
    "session": dict,
    "events": list,
}
#: What a row may say, and the type it says it with.
_ROW: dict[str, type] = {
    "id": str,
    "type": str,
    "occurredAt": str,
    "channel": str,
    "sessionId": str,
    "productId": str,
    "saleorApiUrl": str,
    "userId": str,
    **dict.fromkeys(tracking.PROPERTIES, str),
    "slot": int,
    "properties": dict,
}
#: So many times the rows of a batch that are read may come and be answered.
_MAX_ANSWERED = 10
_WORDS = {str: "a text", int: "a whole number", dict: "an object", list: "a list"}
_COLUMNS = {
    "id": "event_id",
    "channel": "channel_slug",
    "sessionId": "session_id",
    "productId": "product_id",
}


class _Refused(Exception):
    """The whole batch is turned down, and nothing of it is stored."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


@csrf_exempt  # who sends is in the body, never in a cookie
def collect(request: HttpRequest) -> HttpResponse:
    """Record a batch; answer {"results": [...], "unread": [...]}, or {"error": {...}}."""
    if request.method == "OPTIONS":
        return cross_origin.preflight(
            request,
            method="POST",
            headers="authorization, content-type, saleor-api-url, x-anonymous-id",
        )
    installation: Installation | None = None
    body: dict[str, Any] = {}
    try:
        body = _body(request)
        url = body.get("saleorApiUrl") or cross_origin.asked_for(request)
        authorization = _authorization(request, body)
        # A server key names its shop.
        if url or not server_keys.is_meant(callers.bearer(authorization)):
            installation = _installation(url)
            _check_origin(request, installation)
        caller = _caller(request, url, authorization, body)
        response = JsonResponse(_answer(request, caller, body))
    except _Refused as refusal:
        if installation is not None:
            _note(request, installation, body, refusal)
        response = JsonResponse(
            {"error": {"code": refusal.code, "message": str(refusal)}}, status=refusal.status
        )
        if refusal.status == 405:
            response["Allow"] = "POST, OPTIONS"
        if refusal.status == 429:
            response["Retry-After"] = str(rates.WINDOW)
        elif refusal.status == 503:
            response["Retry-After"] = str(round(JWKS_REFRESH_INTERVAL.total_seconds()))
    return cross_origin.shared(request, response, cross_origin.origins(installation))


def _note(
    request: HttpRequest, installation: Installation, body: Mapping[str, Any], refusal: _Refused
) -> None:
    """Keep that a whole batch was turned down, for the shop that it was meant for.

    By whose browser, of nobody who said no, and not by what is no id at all.
    """
    anonymous_id = body.get("anonymousId") or ""
    is_told = callers.is_anonymous_id(anonymous_id) and not _refuses_tracking(request, body)
    refused.note(
        installation=installation,
        source=EventSource.STOREFRONT,
        shown={IdentityKind.ANONYMOUS_ID: anonymous_id} if is_told else {},
        refusals=[refused.Refusal(code=refusal.code, message=str(refusal), sent=body)],
        now=timezone.now(),
    )


def _answer(
    request: HttpRequest, caller: callers.Caller, body: Mapping[str, Any]
) -> dict[str, Any]:
    installation = caller.installation
    given = body["events"]
    if _refuses_tracking(request, body):
        results = [RowResult(_id_of(row), RowStatus.IGNORED) for row in given]
        return {"results": _rendered(results), "unread": []}
    now = timezone.now()
    if not caller.shown:
        raise _Refused(401, "UNAUTHENTICATED", "Say whose events these are: send `anonymousId`.")
    if not caller.is_server and not rates.is_allowed(
        installation=installation,
        shown=caller.shown,
        address=callers.address_of(
            forwarded_for=request.headers.get("X-Forwarded-For", ""),
            connected_from=request.META.get("REMOTE_ADDR") or "",
        ),
        # Without events a batch still tells whose a cart is.
        count=max(1, min(len(given), settings.COLLECT_MAX_EVENTS)),
        now=now,
    ):
        raise _Refused(429, "RATE_LIMITED", "Too many events in a minute. Send them again later.")
    context, unread = sessions.read(
        body.get("session") or {},
        user_agent="" if caller.is_server else request.headers.get("User-Agent", ""),
        accepted_languages="" if caller.is_server else request.headers.get("Accept-Language", ""),
    )
    read = [_read(row, installation, caller) for row in given[: settings.COLLECT_MAX_EVENTS]]
    tracked = iter(
        tracking.track(
            installation=installation,
            shown=caller.shown,
            rows=[row for row in read if isinstance(row, Row)],
            source=caller.source,
            now=now,
            context=context,
        )
    )
    results = [next(tracked) if isinstance(row, Row) else row for row in read]
    most = settings.COLLECT_MAX_EVENTS
    excess = ("TOO_MANY_EVENTS", "events", f"Only the first {most} events of a batch are read.")
    results += [tracking.rejected(_id_of(row), excess) for row in given[most:]]
    refused.note(
        installation=installation,
        source=caller.source,
        shown=caller.shown,
        refusals=[
            _refusal(row, result)
            for row, result in zip(given, results, strict=True)
            if result.status == RowStatus.REJECTED
        ],
        now=now,
    )
    return {"results": _rendered(results), "unread": [f"session.{name}" for name in unread]}


def _refusal(row: Any, result: RowResult) -> refused.Refusal:
    sent = row if isinstance(row, dict) else {}
    kind = sent.get("type")
    return refused.Refusal(
        code=result.code,
        message=result.message,
        field=result.field,
        type=_TYPES[kind].value if isinstance(kind, str) and kind in _TYPES else "",
        sent=sent,
    )


def _rendered(results: list[RowResult]) -> list[dict[str, Any]]:
    return [
        {
            "index": index,
            "id": result.event_id,
            "status": result.status.name,
            "error": {"code": result.code, "field": result.field, "message": result.message}
            if result.code
            else None,
        }
        for index, result in enumerate(results)
    ]


# -- the batch ---------------------------------------------------------------------------------------


def _body(request: HttpRequest) -> dict[str, Any]:
    if request.method != "POST":
        raise _Refused(405, "BAD_REQUEST", "Events are sent by POST.")
    most = settings.COLLECT_MAX_BYTES
    too_large = _Refused(
        413, "TOO_LARGE", f"The body is larger than {most} bytes. Send fewer events at once."
    )
    declared = request.headers.get("Content-Length") or ""
    if declared.isdecimal() and int(declared) > most:
        raise too_large
    try:
        raw = request.body
    except RequestDataTooBig:
        raise too_large from None
    except UnreadablePostError:
        raise _Refused(400, "BAD_REQUEST", "The connection ended before the body did.") from None
    if len(raw) > most:
        raise too_large
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError):
        raise _Refused(400, "BAD_REQUEST", "The body is not JSON.") from None
    if not isinstance(body, dict) or not isinstance(body.get("events"), list):
        raise _Refused(400, "BAD_REQUEST", 'The body takes one object with a list "events".')
    # Each row is answered; tiny ones by the hundred thousand would make an answer of many megabytes.
    if len(body["events"]) > (most := _MAX_ANSWERED * settings.COLLECT_MAX_EVENTS):
        raise _Refused(413, "TOO_LARGE", f"More than {most} events. Send fewer at once.")
    for name, type_ in _BODY.items():
        if body.get(name) is not None and type(body[name]) is not type_:
            raise _Refused(400, "BAD_REQUEST", f"`{name}` takes {_WORDS[type_]}.")
    return body


def _installation(url: str) -> Installation:
    found = cross_origin.active(url)
    if found is None:
        raise _Refused(
            403,
            "FORBIDDEN",
            "No active installation for this shop. Send `saleorApiUrl` with the address of a Saleor "
            "in which this app is installed and active.",
        )
    return found


def _authorization(request: HttpRequest, body: Mapping[str, Any]) -> str:
    """Return what proves who sends: the body may carry the token that a beacon cannot set as a header."""
    token = body.get("token")
    return f"Bearer {token}" if token else request.headers.get("Authorization", "")


def _caller(
    request: HttpRequest, url: str, authorization: str, body: Mapping[str, Any]
) -> callers.Caller:
    try:
        caller = callers.identify(
            saleor_api_url=url,
            authorization=authorization,
            anonymous_id=body.get("anonymousId") or request.headers.get("X-Anonymous-Id", ""),
            origin=request.headers.get("Origin", ""),
            now=timezone.now(),
        )
        if caller.is_server:
            caller = caller.speaking_of(
                user_id=body.get("userId"), anonymous_id=body.get("anonymousId")
            )
        caller = caller.showing(body.get("checkoutId") or "")
    except InvalidToken as error:
        raise _Refused(401, "INVALID_TOKEN", str(error)) from error
    except KeysUnavailable as error:
        raise _Refused(503, "JWKS_NOT_AVAILABLE", str(error)) from error
    except AccessDenied as error:
        raise _Refused(403, "FORBIDDEN", str(error)) from error
    if body.get("userId") not in (None, "", caller.user_id):
        raise _Refused(403, "FORBIDDEN", "`userId` is somebody else than the token proves.")
    return caller


def _refuses_tracking(request: HttpRequest, body: Mapping[str, Any]) -> bool:
    """Tell whether the visitor said no. What is neither a yes nor left out is a no."""
    return (
        body.get("consent", True) not in (True, "granted")
        or request.headers.get("Sec-GPC") == "1"
        or request.headers.get("DNT") == "1"
    )


# -- one row -----------------------------------------------------------------------------------------


def _id_of(row: Any) -> str:
    id_ = row.get("id") if isinstance(row, dict) else None
    return id_[:100] if isinstance(id_, str) else ""


def _read(given: Any, installation: Installation, caller: callers.Caller) -> Row | RowResult:
    """Read one event; what has no right shape is answered here, what breaks a rule by `track`."""

    def rejected(code: str, name: str, message: str) -> RowResult:
        return tracking.rejected(_id_of(given), (code, name, message))

    if not isinstance(given, dict):
        return rejected("MALFORMED", "", "An event is an object.")
    columns: dict[str, Any] = {"event_id": ""}
    properties: dict[str, Any] = {}
    for name, value in given.items():
        type_ = _ROW.get(name)
        if type_ is None:
            close = difflib.get_close_matches(name, _ROW, n=1)
            hint = f" Did you mean `{close[0]}`?" if close else ""
            return rejected("UNKNOWN_FIELD", name[:100], f"An event has no such field.{hint}")
        if value is None or value == "":
            continue
        if type(value) is not type_:
            return rejected("INVALID_TYPE", name, f"`{name}` takes {_WORDS[type_]}.")
        if name in _COLUMNS:
            columns[_COLUMNS[name]] = value
        elif name in tracking.PROPERTIES:
            properties[tracking.PROPERTIES[name]] = value
    if given.get("saleorApiUrl") not in (None, "", installation.saleor_api_url):
        return rejected("FOREIGN_SHOP", "saleorApiUrl", "The event is of another shop.")
    if given.get("userId") not in (None, "", caller.user_id):
        return rejected("UNSIGNED", "userId", "Only that user's token proves that it is theirs.")
    kind = _TYPES.get(given.get("type") or "")
    if kind is None:
        known = ", ".join(_TYPES)
        return rejected("UNKNOWN_TYPE", "type", f"`type` is one of {known}.")
    occurred_at: datetime | None = None
    if moment := given.get("occurredAt"):
        try:
            occurred_at = datetime.fromisoformat(moment)
            if occurred_at.tzinfo is None:
                occurred_at = occurred_at.replace(tzinfo=UTC)
            occurred_at = occurred_at.astimezone(UTC)
        except (ValueError, OverflowError):
            return rejected(
                "INVALID_TIME", "occurredAt", "`occurredAt` takes ISO 8601: 2026-03-02T12:00:00Z."
            )
    return Row(type=kind, occurred_at=occurred_at, properties=properties, **columns)


# -- which pages may send ------------------------------------------------------------------------------


def _check_origin(request: HttpRequest, installation: Installation) -> None:
    """Refuse pages of others. Apps and servers send no Origin; a page of our own host may send."""
    if cross_origin.is_foreign(request, installation):
        raise _Refused(
            403,
            "FOREIGN_ORIGIN",
            "Pages of this origin may not send events to this shop. Add it on the app's page in the "
            "Dashboard, or to STOREFRONT_ORIGINS.",
        )
