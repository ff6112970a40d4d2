"""Who is left alone on purpose: a few people of all journeys, and a few of each, so that what messages bring
is known from people who differ in nothing else.

Asked last, under the locks of the person: those who are left alone and those who are written to both would
have got the message.
"""

from __future__ import annotations

from datetime import datetime

from saleor_personalize.conf import settings
from saleor_personalize.experiments import operations as experiments
from saleor_personalize.journeys import cases
from saleor_personalize.journeys.cases import Case
from saleor_personalize.journeys.definitions import Definition


def is_held_out(case: Case, now: datetime) -> bool:
    """Tell whether the person gets no message of this journey; from then on they take part.

    Nobody is held out of what an order needs, or of what they asked for. Raises NotBegun.
    """
    if case.trigger.is_asked_for or cases.is_transactional(case):
        return False
    # Whoever is left alone by all journeys says nothing about one of them.
    shares = [
        ("", settings.HOLDOUT_PERCENT),
        (case.enrollment.journey.key, percent_of(case.definition)),
    ]
    tests = [experiments.holdout(percent=share, journey=key) for key, share in shares if share]
    taken = experiments.arms_taken(tests=tests, profile=case.enrollment.profile, now=now)
    return bool(tests) and experiments.HELD_OUT in taken


def percent_of(definition: Definition) -> int:
    """Return how many of a hundred people a journey leaves alone, beside those whom all do."""
    own = definition.holdout
    percent: int = settings.JOURNEY_HOLDOUT_PERCENT if own is None else own
    return percent
