"""The pages of segments: the list, and the editor with its live count."""

from __future__ import annotations

import contextlib
import json
from datetime import datetime
from typing import Any

from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.text import slugify
from django.utils.translation import gettext as _

from saleor_personalize.dashboard import editor, words
from saleor_personalize.dashboard.access import Staff, staff_view, why_not
from saleor_personalize.dashboard.forms import row_id
from saleor_personalize.dashboard.views import CALM, LIVELY, Context, _poll, _render, _tell
from saleor_personalize.enums import AuditAction
from saleor_personalize.journeys import segment_use
from saleor_personalize.models import Installation, Segment
from saleor_personalize.segments import operations, queries
from saleor_personalize.segments.definition import (
    AllOf,
    Definition,
    Fault,
    InvalidDefinition,
    from_json,
)
from saleor_personalize.segments.suggestions import suggestions
from saleor_personalize.tasks.broker import ask_for

SAMPLE = 5
#: Longer lists are looked up while typing, or typed as an id.
LONGEST_LIST = 200
LOOKED_UP = 20


@staff_view()
def page(request: HttpRequest, staff: Staff) -> HttpResponse:
    return _page(request, staff)


def _page(request: HttpRequest, staff: Staff) -> HttpResponse:
    context = {
        **_list(request, staff, timezone.now()),
        "suggestions": [
            {"key": found.key, "name": found.name, "why": found.why}
            for found in suggestions(installation=staff.installation)
        ],
    }
    return _render(request, staff, "segments/page.html", context)


@staff_view()
def figures(request: HttpRequest, staff: Staff) -> HttpResponse:
    """Serve the list again: counts move by themselves."""
    return _render(request, staff, "segments/list.html", _list(request, staff, timezone.now()))


def _list(request: HttpRequest, staff: Staff, now: datetime) -> Context:
    lag = queries.lag(installation=staff.installation, now=now)
    found = queries.segments(installation=staff.installation)
    told = queries.descriptions(installation=staff.installation, rows=found)
    used_by = _used_by(staff.installation)
    rows = [
        {
            "pk": row.pk,
            "name": row.name,
            "key": row.key,
            "count": row.member_count,  # type: ignore[attr-defined]
            "is_filled": row.evaluated_at is not None,
            "is_active": row.is_active,
            "description": told[row.pk],
            "used_by": used_by.get(row.key, []),
        }
        for row in found
    ]
    is_moving = bool(lag.waiting or lag.unfilled)
    return {
        "segments": rows,
        "lag": lag,
        "behind": words.duration(lag.behind),
        "lag_state": words.segments_state(lag) if rows else None,
        "segments_poll": _poll(request, rows, LIVELY if is_moving else CALM),
    }


def _used_by(installation: Installation) -> dict[str, list[dict[str, Any]]]:
    """Return the journeys that follow each segment, by its key."""
    return {
        key: [
            {"key": one.key, "name": words.journey_name(one.key), "is_live": one.is_live}
            for one in journeys
        ]
        for key, journeys in segment_use.users(installation=installation).items()
    }


@staff_view()
def new(request: HttpRequest, staff: Staff) -> HttpResponse:
    """Serve the empty editor, or one filled with a suggestion."""
    wanted = request.GET.get("suggestion", "")
    for found in suggestions(installation=staff.installation):
        if found.key == wanted:
            node = editor.of(found.definition)
            return _edit(request, staff, node, name=str(found.name), key=found.key)
    return _edit(request, staff, editor.Node(group="all"))


@staff_view()
def one(request: HttpRequest, staff: Staff, segment_id: int) -> HttpResponse:
    segment = _found(staff, segment_id)
    try:
        node = editor.of(from_json(segment.definition))
    except InvalidDefinition as error:
        # A rule was taken out of SEGMENT_RULES: the JSON can still be mended.
        return _edit(
            request, staff, editor.Node(group="all"), segment=segment, name=segment.name,
            written=json.dumps(segment.definition, indent=2), faults=error.faults,
        )  # fmt: skip
    return _edit(request, staff, node, segment=segment, name=segment.name)


@staff_view(acts=True)
def edit(request: HttpRequest, staff: Staff) -> HttpResponse:
    """Change the form: add or remove a part, ask for another rule's parameters, use the JSON."""
    segment, node = _posted(request, staff)
    name, key = request.POST.get("name", ""), request.POST.get("key", "")
    action = request.POST.get("action", "")
    if action == "json":
        written = request.POST.get("json", "")
        try:
            node = editor.of(from_json(_loaded(written)))
        except InvalidDefinition as error:
            return _edit(
                request, staff, node, segment=segment, name=name, key=key, written=written,
                faults=error.faults,
            )  # fmt: skip
    editor.act(node, action)
    return _edit(request, staff, node, segment=segment, name=name, key=key)


def _loaded(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise InvalidDefinition([Fault("", _("this is no JSON"))]) from None


@staff_view(acts=True)
def count(request: HttpRequest, staff: Staff) -> HttpResponse:
    """Say how many people match what the form holds, and show some."""
    _segment, node = _posted(request, staff)
    installation = staff.installation
    context: Context = {"is_complete": False}
    try:
        definition = from_json(node.to_json())
    except InvalidDefinition:
        return _render(request, staff, "segments/count.html", context)
    found = queries.preview(
        installation=installation, definition=definition, now=timezone.now(), sample=SAMPLE
    )
    context = {
        "is_complete": True,
        "count": found.count,
        "sample": found.sample,
        "sentence": _sentence(staff, definition),
    }
    return _render(request, staff, "segments/count.html", context)


@staff_view(acts=True)
def save(request: HttpRequest, staff: Staff) -> HttpResponse:
    segment, node = _posted(request, staff)
    name, key = request.POST.get("name", ""), request.POST.get("key", "").strip()
    now = timezone.now()
    try:
        if segment is None:
            segment = operations.create_segment(
                installation=staff.installation,
                key=key or slugify(name)[:60],
                name=name,
                definition=node.to_json(),
                now=now,
            )
        else:
            segment_use.update_segment(
                segment=segment,
                name=name,
                definition=node.to_json(),
                is_active="is_active" in request.POST,
                why_not_send=why_not(staff, "sends"),
                now=now,
            )
    except InvalidDefinition as error:
        response = _edit(
            request, staff, node, segment=segment, name=name, key=key, faults=error.faults
        )
        return _tell(response, "error", _("Not saved"), _("Mend the fields that are marked."))
    staff.record(AuditAction.SEGMENT_SAVED, on=segment)
    ask_for("personalize.evaluate_segments")
    return _tell(
        _page(request, staff),
        "success",
        _("Segment saved"),
        _("Its members are there within a minute."),
    )


@staff_view(acts=True)
def delete(request: HttpRequest, staff: Staff, segment_id: int) -> HttpResponse:
    segment = _found(staff, segment_id)
    try:
        with transaction.atomic():
            staff.record(AuditAction.SEGMENT_DELETED, on=segment)
            segment_use.delete_segment(segment=segment)
    except InvalidDefinition as error:
        return _tell(_page(request, staff), "error", _("Not deleted"), error.faults[0].message)
    return _tell(_page(request, staff), "success", _("Segment deleted"), "")


@staff_view()
def choices(request: HttpRequest, staff: Staff) -> HttpResponse:
    """Serve products whose name begins as typed, for the field that asks."""
    typed = next((str(v) for name, v in request.GET.items() if name.startswith(editor.ROOT)), "")
    found = queries.choices_of(
        installation=staff.installation, kind="product", limit=LOOKED_UP, begins=typed[:100]
    )
    return _render(request, staff, "segments/choices.html", {"choices": found})


def _posted(request: HttpRequest, staff: Staff) -> tuple[Segment | None, editor.Node]:
    given = row_id(request.POST.get("segment", ""))
    segment = _found(staff, given) if given is not None else None
    return segment, editor.read({name: str(value) for name, value in request.POST.items()})


def _edit(
    request: HttpRequest,
    staff: Staff,
    node: editor.Node,
    *,
    segment: Segment | None = None,
    name: str = "",
    key: str = "",
    written: str = "",
    faults: list[Fault] | None = None,
) -> HttpResponse:
    installation = staff.installation
    own: dict[str, str] = {}
    for fault in faults or []:
        if written:
            own.setdefault("json", f"{fault.path}: {fault.message}".removeprefix(": "))
        elif fault.path in {"name", "key", ""}:
            own.setdefault(fault.path or "whole", fault.message)
        else:
            node.tell(fault)
    options = {
        kind: queries.choices_of(installation=installation, kind=kind, limit=LONGEST_LIST)
        for kind in ("category", "channel", "segment")
    }
    if segment is not None:
        options["segment"] = [pair for pair in options["segment"] if pair[0] != segment.key]
    names = queries.names_of(
        installation=installation,
        products={value for part in node.walk() for value in part.values.values() if value},
    )
    shown = node.to_json()
    with contextlib.suppress(InvalidDefinition):
        # Numbers as numbers; what is not complete yet shows as it was typed.
        shown = from_json(shown).to_json()
    context = {
        "segment": segment,
        "used_by": _used_by(installation).get(segment.key, []) if segment is not None else [],
        "name": name,
        "key": key,
        "root": editor.view(node, names=names, options=options),
        "written": written or json.dumps(shown, indent=2, ensure_ascii=False),
        "faults": own,
        "description": queries.description(segment=segment) if segment else "",
    }
    return _render(request, staff, "segments/editor.html", context)


def _sentence(staff: Staff, definition: Definition) -> str:
    if definition == AllOf():
        return _("Without a rule, everybody is in it.")
    names = queries.names_in(installation=staff.installation, definitions=[definition])
    return definition.description(names)


def _found(staff: Staff, segment_id: int) -> Segment:
    found = (
        Segment.objects.of(staff.installation)
        .filter(pk=segment_id)
        .select_related("installation")
        .first()
    )
    if found is None:
        raise Http404
    return found
