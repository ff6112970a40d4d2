"""The page "Go-live check": may mail go out to many, and where a provider reports to."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.translation import gettext as _

from saleor_personalize.conf import settings
from saleor_personalize.dashboard import words
from saleor_personalize.dashboard.access import Staff, staff_view
from saleor_personalize.dashboard.views import _render, _tell
from saleor_personalize.dashboard.words import State
from saleor_personalize.enums import AuditAction, FirstStepKey
from saleor_personalize.messaging import feedback, go_live
from saleor_personalize.messaging.channels import tracking
from saleor_personalize.onboarding import operations as onboarding
from saleor_personalize.onboarding.queries import last_check

_STATES = {go_live.OK: "good", go_live.WARN: "warn", go_live.FAIL: "bad"}


@staff_view()
def page(request: HttpRequest, staff: Staff) -> HttpResponse:
    return _page(request, staff)


@staff_view()
def check(request: HttpRequest, staff: Staff) -> HttpResponse:
    """Ask the DNS and our own address, now that somebody wants to know."""
    titles = {go_live.OK: _("Fine"), go_live.WARN: _("Look at it"), go_live.FAIL: _("Mend it")}
    found: list[dict[str, Any]] = [
        {"finding": finding, "state": State(_STATES[finding.level], titles[finding.level])}
        for finding in go_live.examine(installation=staff.installation)
    ]
    obstacles = sum(each["state"].tone == _STATES[go_live.FAIL] for each in found)
    onboarding.note(
        installation=staff.installation,
        key=FirstStepKey.CHECKED,
        now=timezone.now(),
        detail=str(obstacles),
    )
    return _page(request, staff, found=found, is_well=not obstacles)


@staff_view(acts=True)
def replace_secret(request: HttpRequest, staff: Staff) -> HttpResponse:
    feedback.replace_secret(installation=staff.installation, now=timezone.now())
    staff.record(AuditAction.PROVIDER_ADDRESS_REPLACED)
    return _tell(
        _page(request, staff),
        "success",
        _("There is a new address"),
        _("Type it in at your provider: reports to the former one are refused from now on."),
    )


def _page(request: HttpRequest, staff: Staff, **shown: object) -> HttpResponse:
    provider = request.GET.get("provider") or request.POST.get("provider") or ""
    last = last_check(installation=staff.installation)
    context = {
        "last_state": words.checked_state(last[0]) if last else None,
        "last_at": last[1] if last else None,
        "providers": sorted(tracking.providers()),
        "provider": provider if provider in tracking.providers() else "",
        "url": _url(staff, provider),
        **shown,
    }
    return _render(request, staff, "go_live/page.html", context)


def _url(staff: Staff, provider: str) -> str:
    """Return what is typed in at a provider, for those who may act: it holds a secret."""
    if provider not in tracking.providers() or not staff.can_act or not settings.APP_URL:
        return ""
    webhook = feedback.webhook_of(installation=staff.installation, now=timezone.now())
    return feedback.webhook_url(webhook=webhook, provider=provider)
