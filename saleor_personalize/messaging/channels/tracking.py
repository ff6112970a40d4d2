"""What providers of e-mail tell of the mail they took, read by Anymail for all of them alike.

Anymail's own webhook views prove who calls (`check`) and put each provider's words into its own (`read`).
What it does not tell apart, a bounce for good and one for now, people and machines, is read here.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
import json
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from anymail.exceptions import (
    AnymailConfigurationError,
    AnymailError,
    AnymailImproperlyInstalled,
    AnymailWarning,
    AnymailWebhookValidationFailure,
)
from anymail.signals import EventType, RejectReason, tracking
from django.core.exceptions import ImproperlyConfigured, SuspiciousOperation, ValidationError
from django.core.handlers.wsgi import WSGIRequest
from django.core.validators import validate_email
from django.http import HttpRequest
from django.http.multipartparser import MultiPartParserError

from saleor_personalize.enums import MessageEventKind
from saleor_personalize.exceptions import MalformedPayload, UnknownAlias, WebhookRejected

#: Under this name our mails carry their key, where the provider gives it back.
KEY = "personalize_message"

_ROUTE = re.compile(r"([a-z0-9_]+)/tracking/")
_KINDS = {
    EventType.DELIVERED: MessageEventKind.DELIVERED,
    EventType.OPENED: MessageEventKind.OPENED,
    EventType.CLICKED: MessageEventKind.CLICKED,
    EventType.BOUNCED: MessageEventKind.BOUNCED,
    EventType.COMPLAINED: MessageEventKind.COMPLAINED,
    EventType.UNSUBSCRIBED: MessageEventKind.UNSUBSCRIBED,
}
#: What ends mail to somebody.
STOPPING = (
    MessageEventKind.BOUNCED,
    MessageEventKind.COMPLAINED,
    MessageEventKind.UNSUBSCRIBED,
)
#: Why a provider did not even try: what somebody said or what came back before.
_REFUSED = {
    RejectReason.INVALID: MessageEventKind.BOUNCED,
    RejectReason.BOUNCED: MessageEventKind.BOUNCED,
    RejectReason.SPAM: MessageEventKind.COMPLAINED,
    RejectReason.UNSUBSCRIBED: MessageEventKind.UNSUBSCRIBED,
}
#: RFC 3463: class, subject, detail.
_STATUS = re.compile(r"(?<![\d.])([45])\.(\d{1,3})\.(\d{1,3})(?![\d.])")
#: Full or too large, a matter of policy, of the network or of the content: the address itself is fine.
_NOT_THE_ADDRESS = {"2.2", "2.3", "2.4"}
_SUBJECTS_OF_OTHERS = {"3", "4", "5", "6", "7"}
#: Fetched by a mail program beforehand, by a proxy that hides who opened, or by a scanner.
_MACHINES = re.compile(
    r"bot\b|crawl|spider|scan|preview|prefetch|proxy|barracuda|proofpoint|mimecast|safelinks|"
    r"headless|python-|curl/|wget/|go-http|java/|okhttp|^mozilla/5\.0$",
    re.IGNORECASE,
)
#: Gmail fetches pictures through its own servers when a person opens the mail.
_OPENED_BY_PEOPLE = re.compile(r"GoogleImageProxy|YahooMailProxy", re.IGNORECASE)


@dataclass(frozen=True)
class Told:
    """One thing that a provider says became of a mail.

    `message_id` is what it calls the mail, `key` what we do ("" where it does not give that back).
    `event_id` is unique among all that a shop is told.
    """

    kind: MessageEventKind
    event_id: str
    at: datetime | None
    recipient: str = field(repr=False)
    message_id: str
    key: str
    #: Of a bounce: the address is dead, not just full or blocked for now.
    is_hard: bool = False
    is_machine: bool = False
    detail: str = ""


@functools.cache
def _views() -> Mapping[str, Any]:
    from anymail.urls import urlpatterns

    found = {}
    for pattern in urlpatterns:
        if match := _ROUTE.fullmatch(str(pattern.pattern)):
            found[match[1]] = pattern.callback.view_class
    return found


def providers() -> frozenset[str]:
    """Return the names of the providers whose webhooks can be read: "postmark", "mailgun", ..."""
    return frozenset(_views())


def _view(provider: str) -> Any:
    if provider not in _views():
        raise UnknownAlias(
            f"{provider!r} is no provider of e-mail. Known: {', '.join(sorted(_views()))}."
        )
    with warnings.catch_warnings():
        # That there is no basic auth: whoever calls here has shown the shop's secret.
        warnings.simplefilter("ignore", AnymailWarning)
        return _views()[provider]()


def check(provider: str, request: HttpRequest) -> None:
    """Raise WebhookRejected unless the request is signed as the provider signs, where it does.

    Keys are those of Anymail's settings (ANYMAIL). What is missing there is told with status 503, so that
    the provider comes again.
    """
    try:
        _view(provider).run_validators(request)
    except AnymailWebhookValidationFailure as error:
        raise WebhookRejected("INVALID_SIGNATURE", str(error), status=401) from None
    except (AnymailConfigurationError, AnymailImproperlyInstalled, ImproperlyConfigured) as error:
        raise WebhookRejected("NOT_CONFIGURED", _first_line(error), status=503) from None
    except SuspiciousOperation as error:
        raise WebhookRejected("INVALID_SIGNATURE", type(error).__name__, status=401) from None
    except (AnymailError, AttributeError, KeyError, MultiPartParserError, TypeError, ValueError):
        # Some read the body to find the signature. Their texts quote it.
        raise WebhookRejected(
            "MALFORMED_BODY", f"The body is not what {provider} sends.", status=400
        ) from None


def _first_line(error: Exception) -> str:
    return str(error).strip().partition("\n")[0]


# -- what is told --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Reading:
    """What a body tells, and the parts of it that cannot be read, as bodies of their own."""

    told: list[Told]
    unreadable: list[bytes] = field(repr=False)


def read(provider: str, *, body: bytes, content_type: str) -> Reading:
    """Return what a body tells that concerns us. Raises MalformedPayload when all of it cannot be read.

    Of a list that a provider sends, one bad row does not hold up the others.
    """
    try:
        return Reading(_told(provider, body, content_type), [])
    except MalformedPayload:
        rows = _rows(body)
        if len(rows) < 2:
            raise
    told: list[Told] = []
    unreadable = []
    for row in rows:
        try:
            told += _told(provider, row, content_type)
        except MalformedPayload:
            unreadable.append(row)
    return Reading(told, unreadable)


def glance(provider: str, *, body: bytes, content_type: str) -> list[Told]:
    """Return what a body seems to tell, nobody hearing of it and nothing being asked; [] for what cannot be read."""
    if b"SubscriptionConfirmation" in body:
        # Anymail may answer Amazon on reading it.
        return []
    told: list[Told] = []
    with contextlib.suppress(MalformedPayload):
        return [each for each in _parsed(provider, body, content_type)[2] if each is not None]
    for row in _rows(body):
        with contextlib.suppress(MalformedPayload):
            told += [each for each in _parsed(provider, row, content_type)[2] if each is not None]
    return told


def _rows(body: bytes) -> list[bytes]:
    try:
        rows = json.loads(body)
    except (ValueError, RecursionError):
        return []
    return [json.dumps([row]).encode() for row in rows] if isinstance(rows, list) else []


def _told(provider: str, body: bytes, content_type: str) -> list[Told]:
    view, events, told = _parsed(provider, body, content_type)
    for event in events:
        # For receivers of the shop's own, as if Anymail's own view had been called.
        tracking.send_robust(sender=type(view), event=event, esp_name=view.esp_name)
    return [each for each in told if each is not None]


def _parsed(
    provider: str, body: bytes, content_type: str
) -> tuple[Any, list[Any], list[Told | None]]:
    """Return Anymail's view, its events and what we read in each. Raises MalformedPayload."""
    view = _view(provider)
    try:
        events = view.parse_events(_request(body, content_type))
        told, nameless = _read_all(provider, events)
    except AnymailWebhookValidationFailure as error:
        # Amazon asks to confirm a subscription, and nothing proves that it is wanted.
        raise MalformedPayload(_first_line(error)) from None
    except AnymailConfigurationError as error:
        raise MalformedPayload(_first_line(error)) from None
    except (
        AnymailError, ArithmeticError, AssertionError, AttributeError, LookupError, MultiPartParserError,
        OSError, RecursionError, SuspiciousOperation, TypeError, ValueError,
    ) as error:  # fmt: skip
        # The text may quote the body.
        raise MalformedPayload(
            f"Not what {provider} sends ({type(error).__name__}): see its documentation of webhooks."
        ) from None
    if nameless is not None and (not any(told) or len(_rows(body)) > 1):
        raise nameless
    return view, events, told


def _read_all(
    provider: str, events: Iterable[Any]
) -> tuple[list[Told | None], MalformedPayload | None]:
    """Return what we read in each, and why one that names nobody could not be: it holds up no other."""
    told: list[Told | None] = []
    nameless = None
    for event in events:
        try:
            told.append(_read(provider, event))
        except MalformedPayload as error:
            nameless = error
            told.append(None)
    return told, nameless


def _request(body: bytes, content_type: str) -> HttpRequest:
    return WSGIRequest(
        {
            "REQUEST_METHOD": "POST",
            "PATH_INFO": "/",
            "SERVER_NAME": "localhost",
            "SERVER_PORT": "80",
            "CONTENT_TYPE": content_type,
            "CONTENT_LENGTH": str(len(body)),
            "wsgi.input": io.BytesIO(body),
        }
    )


def _read(provider: str, event: Any) -> Told | None:
    kind = _KINDS.get(event.event_type)
    if event.event_type in (EventType.REJECTED, EventType.FAILED):
        kind = _REFUSED.get(event.reject_reason)
        if kind is None and _status(event):
            kind = MessageEventKind.BOUNCED
    if kind is None:
        return None
    metadata = event.metadata if isinstance(event.metadata, Mapping) else {}
    recipient = event.recipient.strip() if isinstance(event.recipient, str) else ""
    message_id = str(event.message_id or "") if isinstance(event.message_id, str | int) else ""
    key = str(metadata.get(KEY, ""))
    if kind in STOPPING and not (key or message_id or _is_address(recipient)):
        # It is about somebody, and must not be lost.
        raise MalformedPayload(
            f"{provider} reports {kind.value!r} and names neither a message nor an address."
        )
    is_bounce = kind == MessageEventKind.BOUNCED
    return Told(
        kind=kind,
        event_id=_event_id(provider, kind, event, recipient, message_id),
        at=_aware(event.timestamp),
        recipient=recipient,
        message_id=message_id[:300],
        key=key,
        is_hard=is_bounce and _is_hard(event),
        is_machine=kind in (MessageEventKind.OPENED, MessageEventKind.CLICKED)
        and _is_machine(event),
        detail=_detail(event) if is_bounce else "",
    )


def _is_address(text: str) -> bool:
    try:
        validate_email(text)
    except ValidationError:
        return False
    return True


def _aware(at: datetime | None) -> datetime | None:
    return at.replace(tzinfo=UTC) if at is not None and at.tzinfo is None else at


def _event_id(
    provider: str, kind: MessageEventKind, event: Any, recipient: str, message_id: str
) -> str:
    """Return what names an event, also where a provider gives it no id: it tells some of them twice."""
    parts = [message_id, recipient, str(event.timestamp), str(event.click_url or "")]
    own = str(event.event_id or "") or "".join(parts)
    digest = hashlib.sha256(f"{own}\0{recipient}".encode()).hexdigest()
    return f"{provider}:{kind.value}:{digest[:40]}"


# -- for good or for now -------------------------------------------------------------------------------


def _is_hard(event: Any) -> bool:
    """Tell whether an address is dead: by the provider's own word, else by the status code (RFC 3463)."""
    if event.reject_reason == RejectReason.INVALID:
        return True
    said = next(_said(event.esp_event), None)
    if said is not None:
        return said
    status = _status(event)
    if status:
        return _is_of_dead_address(status)
    return bool(event.reject_reason == RejectReason.BOUNCED)


def _status(event: Any) -> str:
    """Return the status code that a bounce quotes, such as "5.1.1", or ""."""
    for text in (event.mta_response, event.description):
        if isinstance(text, str) and (match := _STATUS.search(text)):
            return ".".join(match.groups())
    return ""


def _is_of_dead_address(status: str) -> bool:
    class_, _dot, rest = status.partition(".")
    if class_ == "4":
        return False
    if rest == "4.4":
        # The domain takes no mail at all.
        return True
    return rest not in _NOT_THE_ADDRESS and rest.partition(".")[0] not in _SUBJECTS_OF_OTHERS


def _said(esp_event: Any) -> Iterator[bool]:
    """Yield what a provider itself says: True for a bounce for good, False for one for now."""
    if not isinstance(esp_event, Mapping):
        return
    # Postmark
    if "RecordType" in esp_event and "Type" in esp_event:
        yield esp_event["Type"] == "HardBounce"
    # Mailjet
    if isinstance(esp_event.get("hard_bounce"), bool):
        yield esp_event["hard_bounce"]
    # Mandrill, Brevo, Mailtrap, SendGrid
    name = str(esp_event.get("event", "")).replace(" ", "_")
    if name in {"hard_bounce", "soft_bounce"}:
        yield name == "hard_bounce"
    if name == "bounce" and esp_event.get("type") in {"bounce", "blocked"}:
        yield esp_event["type"] == "bounce"
    # MailerSend
    data = esp_event.get("data")
    if isinstance(data, Mapping) and data.get("type") in {"hard_bounced", "soft_bounced"}:
        yield data["type"] == "hard_bounced"
    # Amazon SES, and Resend behind it
    bounce = esp_event.get("bounce") or (data.get("bounce") if isinstance(data, Mapping) else None)
    if isinstance(bounce, Mapping):
        type_ = bounce.get("bounceType", bounce.get("type"))
        if type_ in {"Permanent", "Transient", "Undetermined"}:
            yield type_ == "Permanent"
    # SparkPost
    inner = esp_event.get("msys")
    if isinstance(inner, Mapping):
        for row in inner.values():
            if isinstance(row, Mapping) and "bounce_class" in row:
                yield str(row["bounce_class"]) in {"10", "30"}


def _detail(event: Any) -> str:
    """Return a short reason without anything personal: texts of mail servers quote addresses."""
    return _status(event) or str(event.reject_reason or "")


# -- people and machines -------------------------------------------------------------------------------


def is_machine(user_agent: str) -> bool:
    """Tell whether a mail program or a scanner opened or clicked by itself, as far as it says so."""
    if _OPENED_BY_PEOPLE.search(user_agent):
        return False
    return not user_agent.strip() or _MACHINES.search(user_agent.strip()) is not None


def _is_machine(event: Any) -> bool:
    esp_event = event.esp_event if isinstance(event.esp_event, Mapping) else {}
    inner = esp_event.get("event-data", esp_event)
    client = inner.get("client-info") if isinstance(inner, Mapping) else None
    flags = (
        esp_event.get("sg_machine_open") is True,  # SendGrid
        "proxy_open" in str(esp_event.get("event", "")),  # Brevo
        isinstance(client, Mapping) and bool(client.get("bot")),  # Mailgun
        any(  # SparkPost
            isinstance(row, Mapping) and row.get("is_prefetched") is True
            for row in (esp_event.get("msys") or {}).values()
        ),
    )
    # Some never say which program it was.
    return any(flags) or (bool(event.user_agent) and is_machine(str(event.user_agent)))
