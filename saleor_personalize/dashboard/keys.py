"""The page "Server keys": made, shown once, listed, revoked."""

from __future__ import annotations

from django.http import Http404, HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.translation import gettext as _

from saleor_personalize.dashboard.access import Staff, staff_view
from saleor_personalize.dashboard.views import _render, _tell
from saleor_personalize.dashboard.words import State
from saleor_personalize.enums import AuditAction
from saleor_personalize.exceptions import ServerKeyRefused
from saleor_personalize.models import ServerKey
from saleor_personalize.saleor_api import server_keys


@staff_view(keys=True)
def page(request: HttpRequest, staff: Staff) -> HttpResponse:
    return _page(request, staff)


def _page(request: HttpRequest, staff: Staff, **shown: object) -> HttpResponse:
    keys = server_keys.keys_of(installation=staff.installation)
    context = {
        "keys": [
            {
                "row": row,
                "name": row.name,
                "beginning": server_keys.MARK + row.prefix,
                "state": State("empty", _("Revoked"))
                if row.revoked_at
                else State("good", _("Works")),
            }
            for row in keys
        ],
        "most_letters": server_keys.MAX_NAME,
        **shown,
    }
    return _render(request, staff, "keys/page.html", context)


@staff_view(acts=True, keys=True)
def create(request: HttpRequest, staff: Staff) -> HttpResponse:
    """Make a key and show it, in this one answer only."""
    name = request.POST.get("name", "")
    try:
        made, secret = server_keys.create(
            installation=staff.installation,
            name=name,
            created_by=staff.user_id,
            now=timezone.now(),
        )
    except ServerKeyRefused as refusal:
        fault = (
            _("There are too many keys: revoke one that is not used any more.")
            if refusal.is_too_many
            else _("Give the key a name that can be read, of at most %(most)s letters.")
            % {"most": server_keys.MAX_NAME}
        )
        response = _page(request, staff, fault=fault, name=name[: server_keys.MAX_NAME])
        return _tell(response, "error", _("No key was made"), fault)
    staff.record(AuditAction.KEY_MADE, on=made)
    return _tell(
        _page(request, staff, made=made, secret=secret),
        "success",
        _("Key made"),
        _("Copy it now: it is shown only this once"),
    )


@staff_view(keys=True)
def ask_revoke(request: HttpRequest, staff: Staff, key_id: int) -> HttpResponse:
    """Ask once more: it cannot be taken back."""
    return _render(request, staff, "keys/revoke.html", {"key": _found(staff, key_id)})


@staff_view(acts=True, keys=True)
def revoke(request: HttpRequest, staff: Staff, key_id: int) -> HttpResponse:
    key = _found(staff, key_id)
    server_keys.revoke(key=key, now=timezone.now())
    staff.record(AuditAction.KEY_REVOKED, on=key)
    return _tell(
        _page(request, staff),
        "success",
        _("Key revoked"),
        _("Servers that use it are refused from the next request on. It cannot be taken back."),
    )


def _found(staff: Staff, key_id: int) -> ServerKey:
    found = ServerKey.objects.of(staff.installation).filter(pk=key_id).first()
    if found is None:
        raise Http404
    return found
