"""The page "Event debugger": what storefronts, servers and Saleor send, as it arrives, and what is wrong with it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from saleor_personalize.dashboard.access import Staff, staff_view, why_not
from saleor_personalize.dashboard.views import LIVELY, Context, _poll, _render
from saleor_personalize.dashboard.words import State
from saleor_personalize.enums import DeliveryStatus, EventSource
from saleor_personalize.events import arrivals
from saleor_personalize.events.tracking import TOLD
from saleor_personalize.ingestion.queries import latest_deliveries
from saleor_personalize.models import Event, RefusedEvent, WebhookDelivery

LISTED = 50
_LONGEST = 64

SOURCES = {
    EventSource.STOREFRONT: gettext_lazy("Storefront"),
    EventSource.SERVER: gettext_lazy("Server"),
    EventSource.WEBHOOK: gettext_lazy("Saleor and providers"),
}
_DELIVERIES = {
    DeliveryStatus.RECEIVED: ("busy", gettext_lazy("Waits")),
    DeliveryStatus.PROCESSED: ("good", gettext_lazy("Processed")),
    DeliveryStatus.IGNORED: ("", gettext_lazy("Nothing to do")),
    DeliveryStatus.FAILED: ("bad", gettext_lazy("Could not be processed")),
}


@dataclass(frozen=True)
class Line:
    """One thing that came: `facts` are its parts by name, `fault` what was wrong with it."""

    key: str
    at: datetime
    source: str
    what: str
    state: State
    facts: list[tuple[str, str]]
    fault: str = ""
    field: str = ""


@dataclass(frozen=True)
class Filter:
    source: str
    type: str
    is_refused: bool
    anonymous_id: str


@staff_view()
def page(request: HttpRequest, staff: Staff) -> HttpResponse:
    return _render(request, staff, "debugger/page.html", _shown(request, staff))


# By POST: the id of a browser stands in no log.
@staff_view(posts=True)
def lines(request: HttpRequest, staff: Staff) -> HttpResponse:
    return _render(request, staff, "debugger/lines.html", _shown(request, staff))


def _shown(request: HttpRequest, staff: Staff) -> Context:
    asked = _filter(request, staff)
    found = list(_lines(staff, asked, timezone.now()))
    found.sort(key=lambda line: line.at, reverse=True)
    return {
        "lines": found[:LISTED],
        "sources": list(SOURCES.items()),
        "types": [type_.value for type_ in TOLD],
        "asked": asked,
        "why_nobody": why_not(staff, "people"),
        "debugger_poll": _poll(request, [line.key for line in found], LIVELY),
    }


def _filter(request: HttpRequest, staff: Staff) -> Filter:
    given = request.POST
    source, type_ = given.get("source", ""), given.get("type", "")
    who = given.get("anonymous_id", "").strip()[:_LONGEST]
    return Filter(
        source=source if source in SOURCES else "",
        type=type_ if type_ in TOLD else "",
        is_refused="refused" in given,
        anonymous_id=who if staff.can_see_people and who.isprintable() else "",
    )


def _lines(staff: Staff, asked: Filter, now: datetime) -> Iterator[Line]:
    installation = staff.installation
    if asked.source != EventSource.WEBHOOK:
        for refusal in arrivals.latest_refused(
            installation=installation,
            limit=LISTED,
            type_=asked.type,
            source=asked.source,
            anonymous_id=asked.anonymous_id,
        ):
            yield _of_refused(refusal)
    if not asked.is_refused:
        for event in arrivals.latest_events(
            installation=installation,
            now=now,
            limit=LISTED,
            type_=asked.type,
            source=asked.source,
            anonymous_id=asked.anonymous_id,
        ):
            yield _of_event(event, has_values=staff.can_see_people)
    if asked.source in ("", EventSource.WEBHOOK) and not (asked.type or asked.anonymous_id):
        for delivery in latest_deliveries(
            installation=installation, limit=LISTED, is_failed=asked.is_refused
        ):
            yield _of_delivery(delivery)


def _of_event(event: Event, *, has_values: bool) -> Line:
    given = {
        "productId": event.product_saleor_id,
        "channel": event.channel_slug,
        "occurredAt": event.occurred_at.isoformat(timespec="seconds"),
        # What was searched for, and the shop's own properties, may tell who somebody is.
        **(event.properties if has_values else dict.fromkeys(event.properties, "…")),
    }
    return Line(
        key=f"event-{event.pk}",
        at=event.received_at,
        source=str(SOURCES.get(EventSource(event.source), "")),
        what=event.type,
        state=State("good", _("Recorded")),
        facts=[(name, _text(value)) for name, value in given.items() if value not in ("", None)],
    )


def _of_refused(refusal: RefusedEvent) -> Line:
    return Line(
        key=f"refused-{refusal.pk}",
        at=refusal.at,
        source=str(SOURCES[EventSource(refusal.source)]),
        what=refusal.type or _("A whole batch, or of no known type"),
        state=State("bad", refusal.code),
        facts=list(refusal.shape.items()),
        fault=refusal.message,
        field=refusal.field,
    )


def _of_delivery(delivery: WebhookDelivery) -> Line:
    tone, title = _DELIVERIES[DeliveryStatus(delivery.status)]
    return Line(
        key=f"delivery-{delivery.pk}-{delivery.status}",
        at=delivery.received_at,
        source=str(SOURCES[EventSource.WEBHOOK]),
        what=delivery.event,
        state=State(tone, str(title)),
        facts=[],
        fault=delivery.error[:300],
    )


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
