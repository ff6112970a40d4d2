"""The page "Health": each part of the service, how it is, since when, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from saleor_personalize.dashboard import words
from saleor_personalize.dashboard.access import Staff, staff_view
from saleor_personalize.dashboard.views import CALM, LIVELY, _poll, _render, _webhooks
from saleor_personalize.dashboard.words import State
from saleor_personalize.exceptions import SaleorApiError, TokenRefused
from saleor_personalize.health import queries
from saleor_personalize.health.queries import COUNTED, RECONCILED, Provider, Pulse, Work
from saleor_personalize.ingestion.queries import latest_backfill
from saleor_personalize.models import Installation
from saleor_personalize.onboarding.queries import last_check
from saleor_personalize.recommendations.queries import is_waiting_long, latest_training
from saleor_personalize.saleor_api.client import SaleorClient
from saleor_personalize.segments import words as facts
from saleor_personalize.segments.queries import lag
from saleor_personalize.tasks.broker import broker_fault

#: Seconds that Saleor has to answer while somebody looks at the page.
TIMEOUT = 4.0

WORK = {
    "journeys": gettext_lazy("Messages of journeys"),
    "outgoing": gettext_lazy("What other apps are told"),
    "offers": gettext_lazy("Codes of offers"),
    "trainings": gettext_lazy("Trainings"),
    "dry_runs": gettext_lazy("Dry runs"),
    "erasures": gettext_lazy("Searches for erased people"),
}


@dataclass(frozen=True)
class Check:
    """One line: `since` is the moment that the state speaks of, `page` the fragment where it is mended."""

    key: str
    title: str
    state: State
    since: datetime | None = None
    page: str = ""
    docs: str = ""


@staff_view()
def page(request: HttpRequest, staff: Staff) -> HttpResponse:
    now = timezone.now()
    context = {**_checks(request, staff, now), **_webhooks(request, staff, now)}
    return _render(request, staff, "health/page.html", context)


@staff_view()
def checks(request: HttpRequest, staff: Staff) -> HttpResponse:
    return _render(request, staff, "health/checks.html", _checks(request, staff, timezone.now()))


@staff_view()
def outside(request: HttpRequest, staff: Staff) -> HttpResponse:
    """Ask the broker and Saleor, now that somebody looks."""
    found = [_broker(), _saleor(staff.installation)]
    return _render(request, staff, "health/outside.html", {"checks": found})


def _checks(request: HttpRequest, staff: Staff, now: datetime) -> dict[str, object]:
    found = list(examine(staff.installation, now))
    figures = [(each.key, each.state) for each in found]
    is_busy = any(each.state.tone == "busy" for each in found)
    return {
        "checks": found,
        "is_well": not any(each.state.tone == "bad" for each in found),
        "is_marked": any(each.state.tone == "warn" for each in found),
        "health_poll": _poll(request, figures, LIVELY if is_busy else CALM),
    }


def examine(installation: Installation, now: datetime) -> Iterator[Check]:
    """Yield every part of the service that rows tell of."""
    pulse = queries.pulse(installation=installation)
    yield Check(
        "workers",
        _("Workers and beat"),
        _pulse_state(pulse, now),
        pulse.at,
        docs="howto/operate.md",
    )
    for each in queries.work(installation=installation, now=now):
        yield Check(
            f"work-{each.kind}",
            str(WORK[each.kind]),
            _work_state(each, now),
            each.oldest_at,
            docs="howto/operate.md",
        )
    behind = lag(installation=installation, now=now)
    yield Check(
        "segments",
        _("Segments"),
        words.segments_state(behind) if behind.segments else State("", _("None yet")),
        page="dashboard-segments",
        docs="howto/segments.md",
    )
    for provider in queries.providers(installation=installation):
        yield Check(
            f"provider-{provider.delivery_channel}",
            _("Provider: %(way)s")
            % {"way": facts.DELIVERY_CHANNELS.get(provider.delivery_channel, "")},
            _provider_state(provider),
            provider.last_refused_at if provider.is_refusing else provider.last_sent_at,
            page="dashboard-go-live-page",
            docs="howto/troubleshooting.md",
        )
    checked = last_check(installation=installation)
    yield Check(
        "go-live",
        _("Go-live check"),
        words.checked_state(checked[0] if checked else None),
        checked[1] if checked else None,
        page="dashboard-go-live-page",
        docs="howto/email.md",
    )
    yield Check(
        "saleor",
        _("Access to Saleor"),
        words.installation_state(installation),
        installation.status_changed_at,
        docs="reference/permissions.md",
    )
    training = latest_training(installation=installation)
    yield Check(
        "training",
        _("Last training"),
        words.training_state(training, is_late=is_waiting_long(training, now)),
        training.finished_at or training.asked_at if training else None,
        page="dashboard-models",
        docs="howto/train-and-roll-back.md",
    )
    progress = latest_backfill(installation=installation)
    yield Check(
        "backfill",
        _("Back-fill"),
        words.backfill_state(progress),
        progress.finished_at or progress.started_at if progress else None,
        page="dashboard-overview",
        docs="howto/operate.md",
    )
    at = queries.reconciled_at(installation=installation)
    yield Check(
        "reconciled",
        _("Nightly look at what webhooks missed"),
        _reconciled_state(at, now),
        at,
        docs="howto/operate.md",
    )
    yield Check(
        "months",
        _("Room for events"),
        _months_state(queries.is_next_month_ready(now=now)),
        docs="howto/operate.md",
    )


def _pulse_state(pulse: Pulse, now: datetime) -> State:
    if not pulse.is_silent(now):
        return State("good", _("Running"))
    return State(
        "bad",
        _("Silent"),
        _("What arrives is kept, and nothing is processed or sent."),
        _("Whoever runs this service starts it with “saleor-personalize worker” and “beat”."),
    )


def _work_state(work: Work, now: datetime) -> State:
    if not work.count:
        return State("good", _("Nothing waits"))
    count = f"{COUNTED}+" if work.count > COUNTED else str(work.count)
    title = ngettext("%(count)s is due", "%(count)s are due", work.count) % {"count": count}
    if not work.is_late(now):
        return State("busy", title)
    return State(
        "bad",
        title,
        _("The oldest has been due for %(time)s.") % {"time": words.duration(_age(work, now))},
        _(
            "Whoever runs this service sees that workers run, adds some, and looks into their log for errors."
        ),
    )


def _age(work: Work, now: datetime) -> timedelta | None:
    return now - work.oldest_at if work.oldest_at is not None else None


def _provider_state(provider: Provider) -> State:
    if provider.is_refusing:
        return State(
            "bad",
            _("Refuses messages"),
            _("Of the last few messages that it was handed, %(refused)s were refused.")
            % {"refused": provider.refused_lately},
            _("See why on the page of messages, and look at your account at the provider."),
        )
    if provider.refuses_many:
        return State(
            "warn",
            _("Refuses many messages"),
            _("Of the latest, %(sent)s were taken and %(refused)s refused.")
            % {"sent": provider.sent, "refused": provider.refused},
            _("See why on the page of messages, and look at your account at the provider."),
        )
    return State("good", _("Takes messages"))


def _reconciled_state(at: datetime | None, now: datetime) -> State:
    if at is None:
        return State("", _("Not yet"), _("It begins once the history of the shop was read."))
    if at < now - RECONCILED:
        return State(
            "warn",
            _("Late"),
            _("What a lost webhook told is found out by it."),
            _("Whoever runs this service starts it with “saleor-personalize worker” and “beat”."),
        )
    return State("good", _("Done"))


def _months_state(is_ready: bool) -> State:
    if is_ready:
        return State("good", _("Ready for this month and the next"))
    return State(
        "warn",
        _("The next month is missing"),
        _("Events are kept all the same, and take longer to read."),
        _("Whoever runs this service starts it with “saleor-personalize worker” and “beat”."),
    )


def _broker() -> Check:
    fault = broker_fault()
    state = State("good", _("Answers"))
    if fault is not None:
        state = State(
            "bad",
            _("Does not answer"),
            _("What arrives is kept until it is back (%(fault)s).") % {"fault": fault},
            _("Whoever runs this service starts Redis or RabbitMQ, or mends CELERY_BROKER_URL."),
        )
    return Check("broker", _("Broker"), state, docs="howto/operate.md")


def _saleor(installation: Installation) -> Check:
    try:
        with SaleorClient(installation, timeout=TIMEOUT, retry_delays=()) as client:
            identity = client.identity()
    except TokenRefused as error:
        fix = _("Activate the app under Extensions in your Dashboard, or install it again.")
        state = State("bad", _("Refuses this app"), str(error), fix)
    except SaleorApiError as error:
        fix = _("See that this service reaches Saleor's API.")
        state = State("bad", _("Does not answer"), str(error), fix)
    else:
        state = State(
            "good", _("Saleor %(version)s answers") % {"version": identity.saleor_version}
        )
    return Check("saleor-api", _("Saleor's API"), state, docs="howto/troubleshooting.md")
