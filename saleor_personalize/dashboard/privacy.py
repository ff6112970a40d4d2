"""The page "Data" (what is kept how long, what is sensitive, who was erased), and a person's export and erasure."""

from __future__ import annotations

import json
from uuid import UUID

from django.http import Http404, HttpRequest, HttpResponse
from django.utils import timezone, translation
from django.utils.translation import gettext as _

from saleor_personalize.conf import settings
from saleor_personalize.dashboard import words
from saleor_personalize.dashboard.access import Staff, staff_view
from saleor_personalize.dashboard.views import Context, _render, _tell
from saleor_personalize.enums import AuditAction, ErasureSource
from saleor_personalize.messaging.rendering import django_language
from saleor_personalize.models import Category, Collection, Erasure, Profile
from saleor_personalize.profiles import privacy, retention
from saleor_personalize.profiles.privacy.readable import html
from saleor_personalize.saleor_api.installations import set_sensitive
from saleor_personalize.tasks.broker import ask_for

#: Erasures that the page shows.
SHOWN = 20


@staff_view()
def page(request: HttpRequest, staff: Staff) -> HttpResponse:
    return _page(request, staff)


def _page(request: HttpRequest, staff: Staff) -> HttpResponse:
    kept = retention.figures(installation=staff.installation)
    erasures = Erasure.objects.of(staff.installation).order_by("-erased_at", "-pk")
    return _render(
        request,
        staff,
        "privacy/page.html",
        {
            "kinds": [
                {
                    "title": words.DATA[kind.key],
                    "kept": words.duration(kind.kept, is_alone=True) if kind.kept else None,
                    "is_told_by_end": kind.is_told_by_end,
                    "row": row,
                    "most": retention.COUNTED,
                }
                for kind, row in kept
            ],
            "counted_at": min((row.counted_at for _kind, row in kept if row), default=None),
            "grace": settings.RETENTION.get("uninstalled")
            and words.duration(settings.RETENTION["uninstalled"]),
            "erasures": [
                {"row": row, "by": words.ERASED_BY[row.requested_by]} for row in erasures[:SHOWN]
            ],
            "erasure_count": erasures.count(),
            "erasures_shown": SHOWN,
            **_sensitive(staff),
        },
    )


def _sensitive(staff: Staff) -> Context:
    """Return the shop's categories as a tree, and its collections, with what is chosen."""
    chosen, fixed = set(staff.installation.sensitive_ids), set(settings.SENSITIVE_CATEGORIES)
    below: dict[str, list[Category]] = {}
    known = {
        row.saleor_id: row
        for row in Category.objects.of(staff.installation).filter(deleted_at=None).order_by("name")
    }
    for row in known.values():
        parent = row.parent_saleor_id if row.parent_saleor_id in known else ""
        below.setdefault(parent, []).append(row)
    choices = []
    waiting = [(row, 0) for row in reversed(below.get("", []))]
    while waiting:
        row, depth = waiting.pop()
        choices.append((row.saleor_id, row.name, depth))
        waiting += [(each, depth + 1) for each in reversed(below.get(row.saleor_id, []))]
    collections = Collection.objects.of(staff.installation).filter(deleted_at=None)
    return {
        "categories": [
            {
                "id": id_,
                "label": "\N{EN DASH} " * depth + name,
                "is_chosen": id_ in chosen or id_ in fixed,
                "is_fixed": id_ in fixed,
            }
            for id_, name, depth in choices
        ],
        "collections": [
            {
                "id": row.saleor_id,
                "label": row.name,
                "is_chosen": row.saleor_id in chosen or row.saleor_id in fixed,
                "is_fixed": row.saleor_id in fixed,
            }
            for row in collections.order_by("name", "pk")
        ],
    }


@staff_view(acts=True)
def save_sensitive(request: HttpRequest, staff: Staff) -> HttpResponse:
    given = set(request.POST.getlist("sensitive"))
    known = {
        id_
        for model in (Category, Collection)
        for id_ in model.objects.of(staff.installation)
        .filter(saleor_id__in=given)
        .values_list("saleor_id", flat=True)
    }
    set_sensitive(installation=staff.installation, ids=sorted(known))
    staff.record(AuditAction.SENSITIVE_CHANGED, count=len(known))
    return _tell(
        _page(request, staff),
        "success",
        _("Sensitive categories saved"),
        _("No message speaks of their products from now on."),
    )


# -- one person ----------------------------------------------------------------------------------------


@staff_view(whole=True)
def export(request: HttpRequest, staff: Staff, who: UUID) -> HttpResponse:
    """Serve all data of a person as a file: `format` is json or html."""
    profile = _found(staff, who)
    staff.record(AuditAction.PERSON_EXPORTED, on=profile)
    document = privacy.export(profile=profile, now=timezone.now())
    if request.GET.get("format") == "html":
        with translation.override(django_language(profile.language_code)):
            text = html(document=document, installation=staff.installation)
        kind = "html"
    else:
        text, kind = json.dumps(document, indent=2, ensure_ascii=False), "json"
    content_type = {"html": "text/html", "json": "application/json"}[kind]
    response = HttpResponse(text, content_type=f"{content_type}; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="person.{kind}"'
    # It holds what shoppers wrote.
    response["Content-Security-Policy"] = "sandbox; default-src 'none'; style-src 'unsafe-inline'"
    return response


@staff_view(whole=True)
def ask_erase(request: HttpRequest, staff: Staff, who: UUID) -> HttpResponse:
    """Ask once more: it cannot be taken back."""
    profile = _found(staff, who)
    return _render(
        request,
        staff,
        "privacy/erase.html",
        {"who": who, "profile_count": profile.person().count()},
    )


@staff_view(acts=True, whole=True)
def erase(request: HttpRequest, staff: Staff, who: UUID) -> HttpResponse:
    done = privacy.erase(
        profile=_found(staff, who), requested_by=ErasureSource.STAFF, now=timezone.now()
    )
    staff.record(AuditAction.PERSON_ERASED, on=done)
    ask_for("personalize.sweep_erasures")
    return _tell(
        _page(request, staff),
        "success",
        _("The person is erased"),
        _("Reference: %(reference)s") % {"reference": done.public_id},
    )


def _found(staff: Staff, who: UUID) -> Profile:
    profile = (
        Profile.objects.of(staff.installation)
        .filter(public_id=who)
        .select_related("installation")
        .first()
    )
    if profile is None:
        raise Http404
    return profile
