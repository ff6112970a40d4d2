"""The page and its fragments. Each reads through the rooms' queries and changes through one operation."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils import timezone, translation
from django.utils.translation import gettext as _
from django.utils.translation import ngettext
from django.views.decorators.http import require_GET

from saleor_personalize.analytics.queries import headline
from saleor_personalize.analytics.reports import Led
from saleor_personalize.conf import settings
from saleor_personalize.dashboard import message_rows, navigation, step_words, words
from saleor_personalize.dashboard.access import (
    Staff,
    dashboard_origins,
    framed,
    framed_by,
    language_of,
    staff_view,
    why_not,
)
from saleor_personalize.dashboard.forms import row_id
from saleor_personalize.enums import AuditAction, BackfillStatus
from saleor_personalize.ingestion import backfill as backfills
from saleor_personalize.ingestion import deliveries, queries
from saleor_personalize.journeys import operations as journeys
from saleor_personalize.journeys.figures import journey_state
from saleor_personalize.messaging.figures import message_counts
from saleor_personalize.messaging.queries import newest_messages, uncertain_messages
from saleor_personalize.models import Backfill
from saleor_personalize.onboarding.queries import Lack, first_steps, lacks
from saleor_personalize.recommendations.queries import published_models
from saleor_personalize.segments.queries import lag
from saleor_personalize.tasks.broker import ask_for

TEMPLATES = "saleor_personalize/dashboard/"
#: The journey that has a card on the first page.
REMINDER = "abandoned_checkout"
FAILURES_SHOWN = 10
MESSAGES_SHOWN = 12
UNCERTAIN_SHOWN = 20
COUNTED = timedelta(days=30)
#: Seconds between two looks at a fragment: the first, and the longest that unchanged figures lead to.
LIVELY, CALM, SLOWEST = 2, 10, 60

Context = dict[str, Any]


@framed
@require_GET
def page(request: HttpRequest, key: str = "") -> HttpResponse:
    """Serve the page empty: who looks is known only once the Dashboard has handed over its token.

    `key`: what of the menu is shown first; with `customerId` in the address, that person.
    """
    language = language_of(request)
    origins = dashboard_origins(request.GET.get("saleorApiUrl", ""))
    with translation.override(language):
        response = render(
            request,
            TEMPLATES + "page.html",
            {
                "language": language,
                "theme": "dark" if request.GET.get("theme") == "dark" else "light",
                "origins": origins,
                "app_name": settings.APP_NAME,
                "start": _start(key, customer=request.GET.get("customerId", "")[:500]),
            },
        )
        response["Content-Language"] = language
    response["Cache-Control"] = "no-store"
    return framed_by(response, origins)


def _start(key: str, *, customer: str) -> str:
    """Return the fragment to begin with; the overview when a link names a page that is no more."""
    if customer:
        return f"{reverse('dashboard-people')}?{urlencode({'customer': customer})}"
    return reverse(navigation.url_names().get(key, "dashboard-overview"))


@staff_view()
def overview(request: HttpRequest, staff: Staff) -> HttpResponse:
    now = timezone.now()
    return _render(
        request,
        staff,
        "overview.html",
        {
            "installation": staff.installation,
            "state": words.installation_state(staff.installation),
            "next_step": _next_step(staff),
            **_headline(staff, now),
            **_journey(staff),
            **_messages(request, staff, now),
            **_webhooks(request, staff, now),
            **_backfill(request, staff),
            **_models(staff),
            **_segments(staff, now),
        },
    )


def _next_step(staff: Staff) -> str:
    """Return what is to be done next until the first journey is live; "": nothing."""
    step = first_steps(installation=staff.installation).next
    return str(step_words.STEPS[step.key].title) if step is not None else ""


def _headline(staff: Staff, now: datetime) -> Context:
    """Return what followed messages, today and in the last days; nothing where nothing did."""
    found = headline(installation=staff.installation, now=now)
    return {
        "followed_today": _led(found.today),
        "followed": _led(found.month),
        "recovered": found.recovered_month,
        "counted_at": found.counted_at,
    }


def _led(by_currency: Mapping[str, Led]) -> list[tuple[int, str]]:
    """Return (orders, what they brought)."""
    return [
        (led.orders, words.amount(led.revenue, currency)) for currency, led in by_currency.items()
    ]


# -- fragments that look again by themselves --------------------------------------------------------


@dataclass(frozen=True)
class Poll:
    """When a fragment is asked for next: soon while its figures move, ever later while they rest."""

    seen: str
    times: int
    seconds: int


def _poll(request: HttpRequest, figures: object, first: int) -> Poll:
    seen = hashlib.sha256(repr(figures).encode()).hexdigest()[:12]
    is_same = request.GET.get("seen") == seen
    given = request.GET.get("times", "")
    times = min(int(given) + 1, 20) if is_same and given.isdecimal() and len(given) < 4 else 0
    return Poll(seen, times, min(round(first * 1.5**times), SLOWEST))


@staff_view()
def webhooks(request: HttpRequest, staff: Staff) -> HttpResponse:
    return _render(request, staff, "webhooks.html", _webhooks(request, staff, timezone.now()))


def _webhooks(request: HttpRequest, staff: Staff, now: datetime) -> Context:
    health = queries.webhook_health(installation=staff.installation, now=now)
    failures = (
        queries.failed_deliveries(installation=staff.installation, limit=FAILURES_SHOWN)
        if health.failed
        else []
    )
    return {
        "webhooks": health,
        "webhooks_state": words.webhook_state(health, now),
        "lag_p50": words.duration(health.lag_p50) if health.lag_p50 is not None else None,
        "lag_p95": words.duration(health.lag_p95) if health.lag_p95 is not None else None,
        "failures": failures,
        "webhooks_poll": _poll(request, health, LIVELY if health.waiting else CALM),
    }


@staff_view()
def backfill(request: HttpRequest, staff: Staff) -> HttpResponse:
    return _render(request, staff, "backfill.html", _backfill(request, staff))


def _backfill(request: HttpRequest, staff: Staff) -> Context:
    progress = queries.latest_backfill(installation=staff.installation)
    status = progress.status if progress else None
    is_open = status in (BackfillStatus.RUNNING, BackfillStatus.PENDING)
    return {
        "backfill": progress,
        "backfill_state": words.backfill_state(progress),
        "stages": [
            {
                "name": words.STAGES.get(stage.name, stage.name),
                "rows": stage.row_count,
                "total": max(stage.total_count or 0, stage.row_count),
                "has_total": stage.total_count is not None or stage.is_done,
                "is_done": stage.is_done,
            }
            for stage in (progress.stages if progress else [])
        ],
        "can_start": status in (None, BackfillStatus.DONE),
        "can_pause": is_open and progress is not None and not progress.is_pause_requested,
        "can_resume": status in (BackfillStatus.PAUSED, BackfillStatus.FAILED)
        or (progress is not None and is_open and progress.is_pause_requested),
        "backfill_poll": _poll(request, progress, LIVELY if is_open else CALM),
    }


@staff_view()
def messages(request: HttpRequest, staff: Staff) -> HttpResponse:
    return _render(request, staff, "messages.html", _messages(request, staff, timezone.now()))


def _messages(request: HttpRequest, staff: Staff, now: datetime) -> Context:
    shown = newest_messages(installation=staff.installation, limit=MESSAGES_SHOWN)
    # First of all what waits for somebody's word.
    uncertain = uncertain_messages(installation=staff.installation, limit=UNCERTAIN_SHOWN)
    counts = message_counts(installation=staff.installation, since=now - COUNTED)
    listed = (*uncertain, *(one for one in shown if one not in uncertain))
    fingerprint = (counts, [(m.pk, m.status) for m in (*uncertain, *shown)])
    return {
        "messages": message_rows.rows(staff, listed),
        "counts": counts,
        "messages_poll": _poll(request, fingerprint, CALM),
    }


# -- fragments that change by an action only ---------------------------------------------------------


def _journey(staff: Staff) -> Context:
    installation = staff.installation
    state = journey_state(installation=installation, key=REMINDER)
    missing = lacks(installation=installation, definition=journeys.built_in()[REMINDER])
    return {
        "journey": state,
        "delay": words.duration(state.delay),
        "over": words.ways(state.delivery_channels),
        "expiry": words.duration(settings.ABANDONED_CHECKOUT_EXPIRY),
        "is_sender_missing": Lack.SENDER in missing,
        "is_link_missing": Lack.CART_LINK in missing,
        "is_dry_run": settings.DRY_RUN,
    }


def _models(staff: Staff) -> Context:
    found = published_models(installation=staff.installation)
    return {
        "models": {
            model.channel_slug: [
                words.RECOMMENDERS.get(alias, alias) for alias in model.recommenders
            ]
            for model in found
        },
        "model_faults": [model.fault for model in found if model.fault],
        "trained_at": max((model.trained_at for model in found), default=None),
    }


def _segments(staff: Staff, now: datetime) -> Context:
    found = lag(installation=staff.installation, now=now)
    return {"lag_state": words.segments_state(found) if found.segments else None}


# -- actions -----------------------------------------------------------------------------------------


@staff_view()
def sends(request: HttpRequest, staff: Staff) -> HttpResponse:
    """Show on every page whether anything is sent at all, and the switch."""
    return _sends(request, staff)


@staff_view(acts=True)
def stop_sends(request: HttpRequest, staff: Staff) -> HttpResponse:
    journeys.stop_sends(installation=staff.installation, now=timezone.now())
    staff.record(AuditAction.SENDS_STOPPED)
    response = _sends(request, staff)
    return _tell(response, "success", _("All sends are stopped"), _("People wait where they are."))


@staff_view(sends=True)
def resume_sends(request: HttpRequest, staff: Staff) -> HttpResponse:
    journeys.resume_sends(installation=staff.installation)
    staff.record(AuditAction.SENDS_RESUMED)
    response = _sends(request, staff)
    return _tell(
        response, "success", _("Sends go on"), _("What became too late meanwhile is left out.")
    )


def _sends(request: HttpRequest, staff: Staff) -> HttpResponse:
    return _render(
        request,
        staff,
        "sends.html",
        {
            "stopped_at": staff.installation.sends_stopped_at,
            "why_not": why_not(staff, "acts") or why_not(staff, "sends"),
        },
    )


@staff_view(acts=True)
def replay(request: HttpRequest, staff: Staff) -> HttpResponse:
    """Put failed deliveries back in line: the one named by `delivery`, else all."""
    given = request.POST.get("delivery", "")
    which = row_id(given)
    if given and which is None:
        raise Http404
    ids = [which] if which is not None else None
    count = deliveries.replay(installation=staff.installation, ids=ids)
    staff.record(AuditAction.DELIVERIES_REPLAYED, count=count)
    ask_for("personalize.process_deliveries")
    context = _webhooks(request, staff, timezone.now())
    response = _render(request, staff, "webhooks.html", context)
    text = ngettext("%(count)d is processed again.", "%(count)d are processed again.", count)
    return _tell(response, "info", _("Replaying"), text % {"count": count})


@staff_view(acts=True)
def start_backfill(request: HttpRequest, staff: Staff) -> HttpResponse:
    backfills.request(installation=staff.installation, now=timezone.now())
    staff.record(AuditAction.BACKFILL_STARTED)
    ask_for("personalize.run_backfills")
    response = _render(request, staff, "backfill.html", _backfill(request, staff))
    return _tell(response, "info", _("Back-fill started"), "")


@staff_view(acts=True)
def pause_backfill(request: HttpRequest, staff: Staff, backfill_id: int) -> HttpResponse:
    run = _found(staff, backfill_id)
    backfills.pause(backfill=run)
    staff.record(AuditAction.BACKFILL_PAUSED, on=run)
    response = _render(request, staff, "backfill.html", _backfill(request, staff))
    return _tell(response, "info", _("Back-fill pauses"), _("It stops after the page in hand."))


@staff_view(acts=True)
def resume_backfill(request: HttpRequest, staff: Staff, backfill_id: int) -> HttpResponse:
    run = _found(staff, backfill_id)
    backfills.resume(backfill=run)
    staff.record(AuditAction.BACKFILL_RESUMED, on=run)
    ask_for("personalize.run_backfills")
    response = _render(request, staff, "backfill.html", _backfill(request, staff))
    return _tell(response, "info", _("Back-fill goes on"), "")


def _found(staff: Staff, backfill_id: int) -> Backfill:
    found = Backfill.objects.of(staff.installation).filter(pk=backfill_id).first()
    if found is None:
        raise Http404
    return found


def _render(request: HttpRequest, staff: Staff, template: str, context: Context) -> HttpResponse:
    return render(
        request,
        TEMPLATES + template,
        {
            "can_act": staff.can_act,
            "can_send": staff.can_send,
            "navigation": navigation.GROUPS,
            "docs_url": settings.DOCS_URL.rstrip("/"),
            **context,
        },
    )


def _tell(response: HttpResponse, status: str, title: str, text: str) -> HttpResponse:
    """Have `bridge.js` show an outcome in the Dashboard (htmx triggers what this header names)."""
    outcome = {"status": status, "title": title, "text": text}
    response["HX-Trigger-After-Settle"] = json.dumps({"personalize:outcome": outcome})
    return response
