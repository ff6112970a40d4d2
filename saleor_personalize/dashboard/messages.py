"""The page of messages: what was sent and what was not, why, and what became of each."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.http import Http404, HttpRequest, HttpResponse
from django.utils import timezone, translation
from django.utils.translation import gettext_lazy, ngettext

from saleor_personalize.conf import settings
from saleor_personalize.dashboard import message_rows, words
from saleor_personalize.dashboard.access import Staff, staff_view
from saleor_personalize.dashboard.views import Context, _render
from saleor_personalize.enums import (
    AuditAction,
    DeliveryChannel,
    MessageEventKind,
    MessageStatus,
    NotSentReason,
    TimeReason,
    WayReason,
)
from saleor_personalize.events.queries import carried_out
from saleor_personalize.journeys import previews
from saleor_personalize.messaging import copies, outcomes, queries
from saleor_personalize.messaging.queries import Place, Wanted
from saleor_personalize.messaging.rendering import known_templates
from saleor_personalize.models import Journey, Message, Offer, Order
from saleor_personalize.offers import showing
from saleor_personalize.segments import queries as segments
from saleor_personalize.segments import words as facts

#: Messages on one page, and what happened to one of them that is shown.
LISTED, EVENTS_SHOWN = 25, 50
#: Days that can be looked back, and those that are at first.
PERIODS, PERIOD = (1, 7, 30, 90), 30
#: Products of a message that are named.
_NAMED = 12

WAYS = {
    WayReason.CLOSEST.value: gettext_lazy("It is the closest way to the person that is open."),
    WayReason.REACTS.value: gettext_lazy("The person reacts to it more than others do."),
    WayReason.IGNORED.value: gettext_lazy("The person lets pass what comes by a closer way."),
}
HOURS = {
    TimeReason.OWN_HOURS.value: gettext_lazy("The person is usually there at this hour."),
    TimeReason.SHOP_HOURS.value: gettext_lazy("Most people of your shop react at this hour."),
    TimeReason.NO_BETTER.value: gettext_lazy("No hour before it would be too late is better."),
    TimeReason.UNKNOWN.value: gettext_lazy(
        "When people react is not known yet, so it went at once."
    ),
}
BECAME = {
    MessageEventKind.DELIVERED.value: gettext_lazy("Delivered"),
    MessageEventKind.OPENED.value: gettext_lazy("Opened"),
    MessageEventKind.CLICKED.value: gettext_lazy("Clicked"),
    MessageEventKind.READ.value: gettext_lazy("Read in the shop"),
    MessageEventKind.DISMISSED.value: gettext_lazy("Put away in the shop"),
    MessageEventKind.BOUNCED.value: gettext_lazy("Came back"),
    MessageEventKind.COMPLAINED.value: gettext_lazy("Marked as spam"),
    MessageEventKind.UNSUBSCRIBED.value: gettext_lazy("Unsubscribed"),
    MessageEventKind.DEAD_TOKEN.value: gettext_lazy("The device is gone"),
}
_STATUSES = {
    MessageStatus.SENT.value: gettext_lazy("Sent"),
    MessageStatus.NOT_SENT.value: gettext_lazy("Not sent"),
    MessageStatus.FAILED.value: gettext_lazy("Failed"),
    MessageStatus.UNCERTAIN.value: gettext_lazy("Uncertain"),
    MessageStatus.HANDING_OVER.value: gettext_lazy("Being sent"),
}


# -- the list ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Asked:
    """What the fields above the list say; whatever is unknown counts as not asked."""

    journey: str
    status: str
    reason: str
    over: str
    template: str
    days: int

    @classmethod
    def read(cls, request: HttpRequest) -> _Asked:
        given = request.GET.get
        days = given("days", "")
        return cls(
            journey=given("journey", "")[:60].replace("\x00", ""),
            status=_one_of(given("status", ""), MessageStatus.values),
            reason=_one_of(given("reason", ""), NotSentReason.values),
            over=_one_of(given("over", ""), DeliveryChannel.values),
            template=_one_of(given("template", ""), known_templates()),
            days=int(days) if days in map(str, PERIODS) else PERIOD,
        )


def _one_of(text: str, known: Any) -> str:
    return text if text in known else ""


@staff_view()
def page(request: HttpRequest, staff: Staff) -> HttpResponse:
    asked = _Asked.read(request)
    keys = list(Journey.objects.of(staff.installation).order_by("key").values_list("key", "pk"))
    wanted = Wanted(
        since=timezone.now() - timedelta(days=asked.days),
        journey_id=dict(keys).get(asked.journey),
        status=asked.status,
        reason=asked.reason,
        delivery_channel=asked.over,
        template=asked.template,
    )
    found = queries.search(
        installation=staff.installation,
        wanted=wanted,
        before=Place.parse(request.GET.get("before", "")),
        limit=LISTED,
    )
    return _render(
        request,
        staff,
        "messages/page.html",
        {
            "asked": asked,
            "messages": message_rows.rows(staff, found.messages),
            "older": found.older,
            "is_cut": found.is_cut,
            "is_first": "before" not in request.GET,
            "is_asked": asked != _Asked("", "", "", "", "", PERIOD),
            "looked_through": queries.LOOKED_THROUGH,
            "journeys": sorted((words.journey_name(key), key) for key, _pk in keys),
            "statuses": list(_STATUSES.items()),
            "reasons": sorted(
                (words.not_sent_reason(NotSentReason(value)), value)
                for value in NotSentReason.values
            ),
            "channels": [
                (one.value, facts.DELIVERY_CHANNELS[one.value]) for one in DeliveryChannel
            ],
            "templates": sorted((words.template_name(name), name) for name in known_templates()),
            "periods": [
                (days, ngettext("%(count)d day", "%(count)d days", days) % {"count": days})
                for days in PERIODS
            ],
        },
    )


# -- one message -------------------------------------------------------------------------------------


@staff_view()
def one(request: HttpRequest, staff: Staff, message_id: UUID) -> HttpResponse:
    return _one(request, staff, _found(staff, message_id))


@staff_view(sends=True)
def settle(request: HttpRequest, staff: Staff, message_id: UUID) -> HttpResponse:
    """Say what became of a message that may have gone: `fate` is "sent" or not."""
    is_sent = request.POST.get("fate") == "sent"
    message = _found(staff, message_id)
    outcomes.settle(message=message, is_sent=is_sent, now=timezone.now())
    staff.record(AuditAction.MESSAGE_SETTLED, on=message, is_sent=is_sent)
    return _one(request, staff, _found(staff, message_id))


def _found(staff: Staff, message_id: UUID) -> Message:
    message = (
        Message.objects.of(staff.installation)
        .filter(public_id=message_id)
        .select_related(
            "installation", "journey__published", "profile__merged_into", "enrollment__version"
        )
        .first()
    )
    if message is None:
        raise Http404
    return message


def _one(request: HttpRequest, staff: Staff, message: Message) -> HttpResponse:
    speaker = message.profile.merged_into or message.profile
    context = {
        **message_rows.row(message),
        "message": message,
        "purpose": facts.PURPOSES.get(message.purpose, message.purpose),
        "version": message.enrollment.version.number if message.enrollment is not None else None,
        "occurred_at": message.enrollment.occurred_at if message.enrollment is not None else None,
        "who": speaker.public_id if staff.can_see_people else "",
        "is_open": message.status == MessageStatus.UNCERTAIN,
        **(_said(message, timezone.now()) if staff.can_see_people else {}),
        **_decided(message.content),
        "products": _products(message),
        "offer": _offer(message, timezone.now()),
        **_became(message),
    }
    return _render(request, staff, "messages/one.html", context)


def _said(message: Message, now: datetime) -> Context:
    """Return the words as they were written where they are kept, and how to see what they would be now."""
    journey = message.journey
    return {
        "said": copies.words_of(message=message, now=now),
        "kept_for": words.duration(settings.VIEW_IN_BROWSER) if settings.VIEW_IN_BROWSER else "",
        "step": previews.step_saying(journey=journey, template=message.template)
        if journey is not None
        else "",
    }


def _decided(content: Mapping[str, Any]) -> Context:
    """Return why this way and why this hour, where the journey left them open."""
    chosen = content.get("chosen", {})
    return {
        "why_way": WAYS.get(chosen.get("because", ""), ""),
        "ways": [
            {
                "name": facts.DELIVERY_CHANNELS.get(each["delivery_channel"], ""),
                "sent": each["sent"],
                "seen": each["seen"],
                "objection": words.not_sent_reason(
                    NotSentReason(each["objection"]), each["delivery_channel"]
                )
                if each.get("objection") in NotSentReason.values
                else "",
            }
            for each in chosen.get("ways", [])
        ],
        "why_hour": HOURS.get(content.get("timed", ""), ""),
    }


def _products(message: Message) -> list[str]:
    """Return the names of what a message showed, as they are now."""
    ids = list(dict.fromkeys(_product_ids(message.content)))[:_NAMED]
    name_of = segments.names_of(installation=message.installation, products=set(ids))
    return [name_of("product", id_) or id_ for id_ in ids]


def _offer(message: Message, now: datetime) -> Context | None:
    """Return what the code in it is worth, and what has become of it; None without one."""
    offer = Offer.objects.of(message.installation).filter(message=message).first()
    if offer is None:
        return None
    return {
        "text": showing.text(offer=offer, language_code=translation.get_language() or ""),
        "state": words.offer_state(offer, now),
    }


def _product_ids(node: Any) -> Iterator[str]:
    if isinstance(node, Mapping):
        for key, value in node.items():
            if key == "product_id" and isinstance(value, str) and value:
                yield value
            elif key == "product_ids" and isinstance(value, list):
                yield from (each for each in value if isinstance(each, str))
            else:
                yield from _product_ids(value)
    elif isinstance(node, list):
        for each in node:
            yield from _product_ids(each)


def _became(message: Message) -> Context:
    """Return what people did with it and, apart from that, what machines did; and the orders that followed."""
    events = list(message.events.order_by("at", "pk")[:EVENTS_SHOWN])
    orders = carried_out(Order.objects.of(message.installation)).filter(
        attribution__message=message
    )
    return {
        "events": [
            _event(each.kind, each.at, each.detail) for each in events if not each.is_machine
        ],
        "machine_events": [
            _event(each.kind, each.at, each.detail) for each in events if each.is_machine
        ],
        "orders": list(orders.order_by("placed_at", "pk")[:EVENTS_SHOWN]),
    }


def _event(kind: str, at: datetime, detail: str) -> dict[str, Any]:
    return {"title": BECAME.get(kind, kind), "at": at, "detail": detail}
