"""The page "Audit log": who did what, and to what."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from saleor_personalize.audit import queries
from saleor_personalize.audit.operations import APP_TOKEN, TERMINAL
from saleor_personalize.conf import settings
from saleor_personalize.dashboard import words
from saleor_personalize.dashboard.access import Staff, staff_view
from saleor_personalize.dashboard.forms import SettingsForm, row_id
from saleor_personalize.dashboard.spreadsheets import csv_response
from saleor_personalize.dashboard.views import _render
from saleor_personalize.enums import AuditAction, NotSentReason
from saleor_personalize.models import AuditEntry, Journey, Message, Profile
from saleor_personalize.saleor_api.server_keys import is_meant
from saleor_personalize.segments import words as facts

LISTED = 50
_LONGEST_ID = 100
_HEADER = ("at", "actor_id", "actor_name", "action", "object_kind", "object_id", "object_name")

ACTIONS = {
    AuditAction.JOURNEY_LIVE: gettext_lazy("Had a journey go live"),
    AuditAction.JOURNEY_PAUSED: gettext_lazy("Paused a journey"),
    AuditAction.JOURNEY_RESUMED: gettext_lazy("Had a journey go on"),
    AuditAction.JOURNEY_SAVED: gettext_lazy("Saved a version of a journey"),
    AuditAction.APPROVAL_ASKED: gettext_lazy("Asked that a journey may go live"),
    AuditAction.APPROVAL_GIVEN: gettext_lazy("Approved that a journey goes live"),
    AuditAction.APPROVAL_REFUSED: gettext_lazy("Refused that a journey goes live"),
    AuditAction.SENDS_STOPPED: gettext_lazy("Stopped all sends"),
    AuditAction.SENDS_RESUMED: gettext_lazy("Let sends go on"),
    AuditAction.MESSAGE_SETTLED: gettext_lazy("Said what became of a message"),
    AuditAction.TEST_SENT: gettext_lazy("Sent a message to themselves"),
    AuditAction.CHECKOUT_RECOVERED: gettext_lazy("Had an abandoned checkout followed up"),
    AuditAction.EXPERIMENT_STOPPED: gettext_lazy("Ended an experiment"),
    AuditAction.OFFER_TAKEN_BACK: gettext_lazy("Took back an offer"),
    AuditAction.SETTINGS_CHANGED: gettext_lazy("Changed settings"),
    AuditAction.SENSITIVE_CHANGED: gettext_lazy("Changed what is sensitive"),
    AuditAction.PROVIDER_ADDRESS_REPLACED: gettext_lazy("Replaced where providers report to"),
    AuditAction.SEGMENT_SAVED: gettext_lazy("Saved a segment"),
    AuditAction.SEGMENT_DELETED: gettext_lazy("Deleted a segment"),
    AuditAction.RULE_SAVED: gettext_lazy("Saved a rule"),
    AuditAction.RULE_DELETED: gettext_lazy("Deleted a rule"),
    AuditAction.PLACEMENT_SAVED: gettext_lazy("Saved a placement"),
    AuditAction.PLACEMENT_DELETED: gettext_lazy("Deleted a placement"),
    AuditAction.TRAINING_ASKED: gettext_lazy("Asked for a training"),
    AuditAction.MODEL_CHOSEN: gettext_lazy("Chose which version answers"),
    AuditAction.BACKFILL_STARTED: gettext_lazy("Started a back-fill"),
    AuditAction.BACKFILL_PAUSED: gettext_lazy("Paused a back-fill"),
    AuditAction.BACKFILL_RESUMED: gettext_lazy("Had a back-fill go on"),
    AuditAction.DELIVERIES_REPLAYED: gettext_lazy("Replayed webhooks"),
    AuditAction.IMPORT_UPLOADED: gettext_lazy("Uploaded a file"),
    AuditAction.IMPORT_STARTED: gettext_lazy("Started an import"),
    AuditAction.IMPORT_DELETED: gettext_lazy("Deleted an uploaded file"),
    AuditAction.REJECTS_READ: gettext_lazy("Downloaded refused rows of an import"),
    AuditAction.PEOPLE_JOINED: gettext_lazy("Joined two people"),
    AuditAction.PEOPLE_SPLIT: gettext_lazy("Split a person in two"),
    AuditAction.PERSON_EXPORTED: gettext_lazy("Downloaded what is known of a person"),
    AuditAction.PERSON_ERASED: gettext_lazy("Erased a person"),
    AuditAction.REPORT_EXPORTED: gettext_lazy("Downloaded a report"),
    AuditAction.AUDIT_EXPORTED: gettext_lazy("Downloaded the audit log"),
    AuditAction.KEY_MADE: gettext_lazy("Made a server key"),
    AuditAction.KEY_REVOKED: gettext_lazy("Revoked a server key"),
    AuditAction.PUSH_SAVED: gettext_lazy("Saved the service account for push"),
    AuditAction.PUSH_TRIED: gettext_lazy("Tried the service account for push"),
    AuditAction.PUSH_REMOVED: gettext_lazy("Removed the service account for push"),
    AuditAction.WEBHOOK_MADE: gettext_lazy("Made an outgoing webhook"),
    AuditAction.WEBHOOK_TRIED: gettext_lazy("Tried an outgoing webhook"),
    AuditAction.WEBHOOK_SWITCHED: gettext_lazy("Switched an outgoing webhook on or off"),
    AuditAction.WEBHOOK_REPLAYED: gettext_lazy("Replayed what an outgoing webhook missed"),
    AuditAction.WEBHOOK_ROTATED: gettext_lazy("Gave an outgoing webhook a new secret"),
    AuditAction.WEBHOOK_REMOVED: gettext_lazy("Removed an outgoing webhook"),
}


@staff_view()
def page(request: HttpRequest, staff: Staff) -> HttpResponse:
    action, who = _filters(request)
    rows = queries.entries(installation=staff.installation, action=action, actor_id=who)
    before = row_id(request.GET.get("before", ""))
    if before is not None:
        rows = rows.filter(pk__lt=before)
    shown = list(rows[: LISTED + 1])
    kept = settings.RETENTION.get("audit")
    return _render(
        request,
        staff,
        "audit/page.html",
        {
            "entries": [_line(staff, row) for row in shown[:LISTED]],
            "older": shown[LISTED - 1].pk if len(shown) > LISTED else None,
            "is_first": before is None,
            "actions": list(ACTIONS.items()),
            "action": action,
            "who": who,
            "who_name": next(map(_who, shown), who) if who else "",
            "kept": words.duration(kept) if kept else None,
        },
    )


@staff_view()
def export(request: HttpRequest, staff: Staff) -> StreamingHttpResponse:
    """Serve the log that the page shows, whole, as CSV."""
    action, who = _filters(request)
    staff.record(AuditAction.AUDIT_EXPORTED)
    rows = queries.entries(installation=staff.installation, action=action, actor_id=who)
    return csv_response(name="audit-log.csv", header=(*_HEADER, "detail"), rows=_cells(staff, rows))


def _cells(staff: Staff, rows: Any) -> Iterator[list[str]]:
    for row in rows.iterator(chunk_size=1_000):
        told = {name: str(getattr(row, name)) for name in _HEADER[1:]}
        if _is_hidden(staff, row):
            told["object_id"] = ""
        yield [row.at.isoformat(), *told.values(), _detail(row)]


def _filters(request: HttpRequest) -> tuple[str, str]:
    action, who = request.GET.get("action", ""), request.GET.get("who", "")
    who = who[:_LONGEST_ID] if who.isprintable() else ""
    return action if action in AuditAction.values else "", who


def _is_hidden(staff: Staff, row: AuditEntry) -> bool:
    """Tell whether to whom it was done is not theirs to know: a person's reference is who they are elsewhere."""
    return row.object_kind == Profile.__name__ and not staff.can_see_people


def _line(staff: Staff, row: AuditEntry) -> dict[str, Any]:
    return {
        "at": row.at,
        "title": ACTIONS[AuditAction(row.action)],
        "name": "" if _is_hidden(staff, row) else _name(row),
        "detail": _in_words(row),
        "who": row.actor_id,
        "who_name": _who(row),
    }


def _name(row: AuditEntry) -> str:
    """Return what it was done to, by the name that the other pages call it by."""
    if row.object_kind == Journey.__name__:
        return words.journey_name(row.object_name)
    if row.object_kind == Message.__name__:
        return words.template_name(row.object_name)
    return row.object_name or row.object_id


#: Name of a detail -> what it says, given its value; a detail of a later version shows as it is kept.
_DETAILS: dict[str, Callable[[Any], str]] = {
    "journey": lambda key: words.journey_name(key),
    "channel": lambda slug: str(slug),
    "count": lambda count: _("how many: %(count)s") % {"count": count},
    "days": lambda days: ngettext("%(count)d day", "%(count)d days", days) % {"count": days},
    "fields": lambda names: ", ".join(_field(name) for name in names),
    "held_by": lambda reason: words.held_reason(NotSentReason(reason)) if reason else "",
    "inside": lambda what: {
        "hold": _("who is inside waits"),
        "exit": _("who was inside left"),
    }.get(what, ""),
    "is_dry_run": lambda is_dry_run: _("only tried") if is_dry_run else "",
    "is_on": lambda is_on: _("switched on") if is_on else _("switched off"),
    "is_sent": lambda is_sent: _("it was sent") if is_sent else _("it was not sent"),
    # Tells only the database which of the merges it was.
    "merge": lambda _key: "",
    "placement": lambda key: str(key),
    "provider": lambda name: str(name),
    "over": lambda channel: str(facts.DELIVERY_CHANNELS.get(channel, channel)),
    "report": lambda kind: str(words.REPORTS.get(kind, kind)),
    "version": lambda number: _("version %(number)s") % {"number": number},
    "winner": lambda arm: _("everybody gets “%(arm)s”") % {"arm": arm},
}


def _field(name: str) -> str:
    field = SettingsForm.base_fields.get(name)
    return str(field.label) if field is not None and field.label else name


def _in_words(row: AuditEntry) -> str:
    def told(name: str, value: Any) -> str:
        return _DETAILS[name](value) if name in _DETAILS else f"{name}: {value}"

    # As they are listed above: the database keeps no order.
    known = [name for name in _DETAILS if name in row.detail]
    names = [*known, *(name for name in row.detail if name not in _DETAILS)]
    return " · ".join(filter(None, (told(name, row.detail[name]) for name in names)))


def _who(row: AuditEntry) -> str:
    if row.actor_id == TERMINAL.id:
        return _("Whoever runs the service, from a terminal")
    if row.actor_id == APP_TOKEN.id:
        return _("A server with the token of the app")
    if is_meant(row.actor_id):
        return _("Server key %(name)s") % {"name": row.actor_name}
    return row.actor_name or row.actor_id or _("Somebody who was erased")


def _detail(row: AuditEntry) -> str:
    """Return the detail as it is kept, for other programs."""

    def text(value: object) -> str:
        return " ".join(map(str, value)) if isinstance(value, list) else str(value)

    return ", ".join(f"{name}: {text(value)}" for name, value in row.detail.items())
