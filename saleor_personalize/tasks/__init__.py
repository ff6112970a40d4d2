"""Celery tasks: each calls one operation, is safe to run twice and alongside itself.

Waiting is rows in PostgreSQL; these tasks only claim what is due, so a broker that forgets
everything loses nothing.
"""

from saleor_personalize.tasks import (
    analytics,
    backfill,
    bus,
    events,
    experiments,
    health,
    hints,
    imports,
    journeys,
    messaging,
    offers,
    pages,
    phones,
    privacy,
    segments,
    training,
    traits,
    webhooks,
)

__all__ = [
    "analytics",
    "backfill",
    "bus",
    "events",
    "experiments",
    "health",
    "hints",
    "imports",
    "journeys",
    "messaging",
    "offers",
    "pages",
    "phones",
    "privacy",
    "segments",
    "training",
    "traits",
    "webhooks",
]
