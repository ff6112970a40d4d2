"""Fields in which staff write the name of a thing of the catalogue, and what is offered meanwhile."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse, QueryDict

from saleor_personalize.catalog import lookup
from saleor_personalize.dashboard.access import Staff
from saleor_personalize.dashboard.views import _render

#: Names of one lookup.
LOOKED_UP = 20
#: Longest text that is read from a field.
LONGEST = 500


def asked(given: QueryDict, field: str) -> str:
    """Return what is looked up and not stored: NUL is in no text of the database."""
    return str(given.get(field, "")).replace("\x00", "").strip()[:LONGEST]


def offer(request: HttpRequest, staff: Staff, *, kind: str, field: str) -> HttpResponse:
    """Serve each name of a "Product", "Category" or "Collection" that has what is typed in it, once."""
    found = lookup.choices(
        installation=staff.installation,
        kind=kind,
        text=asked(request.GET, field),
        limit=LOOKED_UP,
    )
    names = dict.fromkeys(name for _id, name in found)
    return _render(
        request, staff, "segments/choices.html", {"choices": [(name, "") for name in names]}
    )
