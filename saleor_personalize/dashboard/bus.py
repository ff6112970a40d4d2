"""The page "Outgoing webhooks": made, tried, switched off and on, their log, and what failed once more."""

from __future__ import annotations

from urllib.parse import urlsplit

from django.http import Http404, HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.translation import gettext as _

from saleor_personalize.bus import operations, queries, signing
from saleor_personalize.bus.outbox import STEP, TEST
from saleor_personalize.dashboard import words
from saleor_personalize.dashboard.access import Staff, staff_view
from saleor_personalize.dashboard.forms import row_id
from saleor_personalize.dashboard.views import _render, _tell
from saleor_personalize.dashboard.words import State
from saleor_personalize.enums import AuditAction, BusEvent, OutgoingStatus
from saleor_personalize.exceptions import OutgoingRefused
from saleor_personalize.messaging.outgoing import described
from saleor_personalize.models import OutgoingDelivery, OutgoingWebhook

#: Deliveries of one webhook on its page.
LOG_SHOWN = 50


@staff_view(outgoing=True)
def page(request: HttpRequest, staff: Staff) -> HttpResponse:
    return _page(request, staff)


def _page(request: HttpRequest, staff: Staff, **shown: object) -> HttpResponse:
    rows = queries.webhooks(installation=staff.installation)
    chosen = shown.pop("chosen", [])
    context = {
        "webhooks": [
            {
                "row": row,
                "host": _host(row),
                "events": [words.BUS_EVENTS[event] for event in row.events],
                "state": _state(row),
            }
            for row in rows
        ],
        "choices": [
            {"value": event, "label": label, "is_chosen": event in chosen}  # type: ignore[operator]
            for event, label in words.BUS_EVENTS.items()
        ],
        **shown,
    }
    return _render(request, staff, "bus/page.html", context)


def _host(webhook: OutgoingWebhook) -> str:
    """Return scheme and host alone: the path of an address often is a secret."""
    parts = urlsplit(webhook.url)
    return f"{parts.scheme}://{parts.hostname}"


def _state(webhook: OutgoingWebhook) -> State:
    if webhook.disabled_at:
        return State("bad", _("Switched off: nothing arrived for long"))
    if not webhook.is_active:
        return State("empty", _("Switched off"))
    if webhook.failing_since:
        return State("warn", _("Nothing arrives at the moment"))
    return State("good", _("Works"))


@staff_view(acts=True, outgoing=True)
def create(request: HttpRequest, staff: Staff) -> HttpResponse:
    """Make a webhook and show its secret, in this one answer only."""
    given = {
        "alias": request.POST.get("alias", ""),
        "url": request.POST.get("url", ""),
        "has_personal_data": request.POST.get("personal") == "1",
    }
    events = request.POST.getlist("events")
    try:
        made = operations.add(
            installation=staff.installation,
            events=events,
            now=timezone.now(),
            created_by=staff.user_id,
            **given,  # type: ignore[arg-type]
        )
    except OutgoingRefused as refusal:
        shown = {**given, "fault": str(refusal), "fault_field": refusal.field, "chosen": events}
        response = _page(request, staff, **shown)
        return _tell(response, "error", _("No webhook was made"), str(refusal))
    staff.record(AuditAction.WEBHOOK_MADE, on=made)
    return _tell(
        _page(request, staff, made=made, secret=made.secret),
        "success",
        _("Webhook made"),
        _("Copy its secret now: it is shown only this once"),
    )


@staff_view(outgoing=True)
def one(request: HttpRequest, staff: Staff, webhook_id: int) -> HttpResponse:
    return _one(request, staff, _found(staff, webhook_id))


def _one(
    request: HttpRequest, staff: Staff, webhook: OutgoingWebhook, **shown: object
) -> HttpResponse:
    rows = queries.log(webhook=webhook, limit=LOG_SHOWN)
    context = {
        "webhook": webhook,
        "host": _host(webhook),
        "state": _state(webhook),
        "events": [words.BUS_EVENTS[event] for event in webhook.events],
        "log": [{"row": row, "name": _name(row), "state": _outcome(row)} for row in rows],
        "has_failed": any(row.status == OutgoingStatus.FAILED for row in rows),
        "rotation_days": signing.ROTATION.days,
        **shown,
    }
    return _render(request, staff, "bus/one.html", context)


def _name(row: OutgoingDelivery) -> str:
    if row.event == TEST:
        return _("A test")
    if row.event == STEP:
        return _("A step of a journey")
    return str(words.BUS_EVENTS[BusEvent(row.event)])


def _outcome(row: OutgoingDelivery) -> State:
    if row.status == OutgoingStatus.DELIVERED:
        return State("good", _("Arrived"))
    if row.status == OutgoingStatus.FAILED:
        return State("bad", _("Given up"))
    if row.tried_at:
        return State("warn", _("Is tried again"))
    return State("busy", _("Waits"))


@staff_view(acts=True, outgoing=True)
def test(request: HttpRequest, staff: Staff, webhook_id: int) -> HttpResponse:
    webhook = _found(staff, webhook_id)
    answer = operations.test(webhook=webhook, now=timezone.now(), describe=described)
    staff.record(AuditAction.WEBHOOK_TRIED, on=webhook)
    response = _one(request, staff, _found(staff, webhook_id))
    if answer.error:
        return _tell(response, "error", _("The test did not arrive"), answer.error)
    text = _("The receiver answered %(status)s.") % {"status": answer.status}
    return _tell(response, "success", _("The test arrived"), text)


@staff_view(acts=True, outgoing=True)
def switch(request: HttpRequest, staff: Staff, webhook_id: int) -> HttpResponse:
    """Switch it off or on, as the button said that was pressed."""
    webhook = _found(staff, webhook_id)
    if request.POST.get("to") == "off":
        operations.switch_off(webhook=webhook)
        title, text = (
            _("Switched off"),
            _("Nothing more is told to it. What waited can be replayed."),
        )
    else:
        operations.switch_on(webhook=webhook)
        title, text = _("Switched on"), _("It is told of what happens from now on.")
    staff.record(AuditAction.WEBHOOK_SWITCHED, on=webhook, is_on=request.POST.get("to") != "off")
    return _tell(_one(request, staff, _found(staff, webhook_id)), "success", title, text)


@staff_view(acts=True, outgoing=True)
def replay(request: HttpRequest, staff: Staff, webhook_id: int) -> HttpResponse:
    """Put one delivery in line again, or all that failed."""
    webhook = _found(staff, webhook_id)
    given = request.POST.get("delivery", "")
    which = row_id(given)
    if given and which is None:
        raise Http404
    ids = [which] if which is not None else None
    try:
        count = operations.replay(webhook=webhook, now=timezone.now(), ids=ids)
    except OutgoingRefused as refusal:
        response = _one(request, staff, webhook)
        return _tell(response, "error", _("Nothing was replayed"), str(refusal))
    staff.record(AuditAction.WEBHOOK_REPLAYED, on=webhook, count=count)
    return _tell(
        _one(request, staff, webhook),
        "success",
        _("In line again"),
        _("Deliveries that are tried again within seconds: %(count)s") % {"count": count},
    )


@staff_view(acts=True, outgoing=True)
def rotate(request: HttpRequest, staff: Staff, webhook_id: int) -> HttpResponse:
    webhook = _found(staff, webhook_id)
    secret = operations.rotate(webhook=webhook, now=timezone.now())
    staff.record(AuditAction.WEBHOOK_ROTATED, on=webhook)
    return _tell(
        _one(request, staff, webhook, secret=secret),
        "success",
        _("New secret made"),
        _("Copy its secret now: it is shown only this once"),
    )


@staff_view(outgoing=True)
def ask_remove(request: HttpRequest, staff: Staff, webhook_id: int) -> HttpResponse:
    """Ask once more: its log goes along."""
    return _render(request, staff, "bus/remove.html", {"webhook": _found(staff, webhook_id)})


@staff_view(acts=True, outgoing=True)
def remove(request: HttpRequest, staff: Staff, webhook_id: int) -> HttpResponse:
    webhook = _found(staff, webhook_id)
    operations.remove(webhook=webhook)
    staff.record(AuditAction.WEBHOOK_REMOVED, on=webhook)
    return _tell(_page(request, staff), "success", _("Webhook removed"), "")


def _found(staff: Staff, webhook_id: int) -> OutgoingWebhook:
    found = (
        OutgoingWebhook.objects.of(staff.installation)
        .filter(pk=webhook_id)
        .select_related("installation")
        .first()
    )
    if found is None:
        raise Http404
    return found
