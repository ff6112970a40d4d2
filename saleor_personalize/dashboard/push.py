"""The page "Push": the shop's service account of Firebase saved, tried and taken away."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.translation import gettext as _

from saleor_personalize.dashboard.access import Staff, staff_view
from saleor_personalize.dashboard.views import _render, _tell
from saleor_personalize.dashboard.words import State
from saleor_personalize.enums import AuditAction, DevicePlatform
from saleor_personalize.exceptions import PushAccountRefused
from saleor_personalize.messaging import push_accounts
from saleor_personalize.models import PushAccount
from saleor_personalize.profiles import devices


@staff_view(push=True)
def page(request: HttpRequest, staff: Staff) -> HttpResponse:
    return _page(request, staff)


def _page(request: HttpRequest, staff: Staff, **shown: object) -> HttpResponse:
    account = push_accounts.account_of(installation=staff.installation)
    counts = devices.count_living(installation=staff.installation)
    context = {
        "account": account,
        "state": _state(account),
        "devices": [
            {"name": platform.label, "count": counts.get(platform, 0)}
            for platform in DevicePlatform
        ],
        **shown,
    }
    return _render(request, staff, "push/page.html", context)


def _state(account: PushAccount | None) -> State:
    if account is None:
        return State("empty", _("Not set up"))
    if account.fault:
        return State("bad", _("The last test failed"), account.fault)
    if account.tested_at is None:
        return State("warn", _("Not tested yet"))
    return State("good", _("Works"))


@staff_view(acts=True, push=True)
def save(request: HttpRequest, staff: Staff) -> HttpResponse:
    """Keep the account and try it at once. What was pasted is never shown again."""
    try:
        push_accounts.save(
            installation=staff.installation,
            text=request.POST.get("account", ""),
            now=timezone.now(),
            created_by=staff.user_id,
        )
    except PushAccountRefused as refusal:
        response = _page(request, staff, fault=str(refusal))
        return _tell(response, "error", _("Nothing was saved"), str(refusal))
    staff.record(AuditAction.PUSH_SAVED)
    return _tried(request, staff, _("Saved, and Firebase takes it"))


@staff_view(acts=True, push=True)
def check(request: HttpRequest, staff: Staff) -> HttpResponse:
    response = _tried(request, staff, _("Firebase takes it"))
    staff.record(AuditAction.PUSH_TRIED)
    return response


def _tried(request: HttpRequest, staff: Staff, title: str) -> HttpResponse:
    try:
        fault = push_accounts.check(installation=staff.installation, now=timezone.now())
    except PushAccountRefused as refusal:
        fault = str(refusal)
    if fault:
        return _tell(_page(request, staff), "error", _("The test failed"), fault)
    return _tell(_page(request, staff), "success", title, _("Nothing was delivered to anybody."))


@staff_view(push=True)
def ask_remove(request: HttpRequest, staff: Staff) -> HttpResponse:
    """Ask once more: no push is sent without an account."""
    return _render(request, staff, "push/remove.html", {})


@staff_view(acts=True, push=True)
def remove(request: HttpRequest, staff: Staff) -> HttpResponse:
    push_accounts.remove(installation=staff.installation)
    staff.record(AuditAction.PUSH_REMOVED)
    return _tell(
        _page(request, staff),
        "success",
        _("Account removed"),
        _("Revoke its key in the Google console as well, if nobody else uses it."),
    )
