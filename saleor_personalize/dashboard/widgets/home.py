"""On the Dashboard's first page: what went out today, what did not, and what needs a look."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from django.http import HttpRequest
from django.utils import timezone
from django.utils.translation import gettext as _

from saleor_personalize.analytics.figures import Day
from saleor_personalize.analytics.queries import headline
from saleor_personalize.dashboard import words
from saleor_personalize.dashboard.access import Staff
from saleor_personalize.dashboard.views import Context
from saleor_personalize.dashboard.widgets.base import link, widget
from saleor_personalize.dashboard.words import State
from saleor_personalize.ingestion import queries
from saleor_personalize.messaging.figures import message_counts
from saleor_personalize.messaging.queries import uncertain_messages
from saleor_personalize.recommendations.queries import is_waiting_long, latest_training


@widget("home.html")
def home(request: HttpRequest, staff: Staff, id_: str) -> Context:
    now = timezone.now()
    return {
        "counts": message_counts(installation=staff.installation, since=Day.at(now).since),
        "led": [
            {"orders": led.orders, "value": words.amount(led.revenue, currency)}
            for currency, led in headline(installation=staff.installation, now=now).today.items()
        ],
        "states": [state for state in _states(staff, now) if state.tone in ("warn", "bad")],
        "page": link(request, staff),
    }


def _states(staff: Staff, now: datetime) -> Iterator[State]:
    """Yield how everything is that somebody may have to look after."""
    installation = staff.installation
    yield words.installation_state(installation)
    yield words.webhook_state(queries.webhook_health(installation=installation, now=now), now)
    yield words.backfill_state(queries.latest_backfill(installation=installation))
    training = latest_training(installation=installation)
    yield words.training_state(training, is_late=is_waiting_long(training, now))
    if installation.sends_stopped_at is not None:
        yield State("warn", _("All sends are stopped"))
    if uncertain_messages(installation=installation, limit=1):
        yield State("warn", _("Messages of uncertain fate wait for your word"))
