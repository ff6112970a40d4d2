"""Foretelling when a buyer orders next and whether they stay away; only where it proved to work.

The formulas and how they prove themselves: `ml.returning`. Nothing is ever made up: without a published
formula, or too few orders of a person, there is a state that says so instead of a number.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta

import numpy as np
from django.db import connection, transaction

from saleor_personalize.enums import LifecycleStage, PredictionState, PredictionTarget
from saleor_personalize.events.queries import NOT_CARRIED_OUT
from saleor_personalize.ml import returning
from saleor_personalize.ml.returning import History, Purchases
from saleor_personalize.models import (
    ComputedTraits,
    Installation,
    Order,
    Predictor,
    Profile,
    Yardstick,
)
from saleor_personalize.models.locks import lock
from saleor_personalize.traits import yardsticks
from saleor_personalize.traits.facts import Facts

logger = logging.getLogger(__name__)

#: Older purchases tell little about who comes back now.
SINCE = timedelta(days=1_095)
#: More buyers teach nothing more: of a bigger shop a part that is the same every day is learned from.
MAX_BUYERS = 50_000

_PURCHASES = f"""
SELECT DISTINCT person_id, (placed_at AT TIME ZONE 'UTC')::date - DATE '1970-01-01' AS day FROM (
  SELECT COALESCE(profile.merged_into_id, profile.id) AS person_id, placed_at
  FROM "{Order._meta.db_table}" AS purchase
  JOIN "{Profile._meta.db_table}" AS profile ON profile.id = purchase.profile_id
  WHERE purchase.installation_id = %s AND deleted_at IS NULL AND status <> ALL(%s)
    AND placed_at > %s AND placed_at <= %s
) AS bought WHERE person_id %% %s = 0
"""  # noqa: S608 (the names of the tables are ours)


def train(*, installation: Installation, now: datetime) -> int:
    """Fit and measure the formulas of a shop; return how many were published.

    One that no longer proves itself is withdrawn.
    """
    yardstick = Yardstick.objects.of(installation).first() or yardsticks.measure(
        installation=installation, now=now
    )
    horizon = returning.horizon_of(at_risk_days=yardstick.at_risk_days)
    trained = returning.train(
        _purchases(installation, yardstick, now), today=_day(now), horizon=horizon
    )
    with transaction.atomic():
        lock(installation, ["predictors"])
        for target, found in trained.items():
            Predictor.objects.update_or_create(
                installation=installation,
                target=PredictionTarget(target),
                defaults={
                    "is_published": found.parameters is not None,
                    "trained_at": now,
                    "parameters": found.parameters or {},
                    "figures": {**found.figures, "horizon_days": horizon},
                },
            )
    published = sum(found.parameters is not None for found in trained.values())
    logger.info("Installation %s: %s of 2 predictors proved themselves", installation.pk, published)
    return published


def _purchases(installation: Installation, yardstick: Yardstick, now: datetime) -> Purchases:
    share = -(-yardstick.buyer_count // MAX_BUYERS) or 1
    with connection.cursor() as cursor:
        cursor.execute(
            _PURCHASES, [installation.pk, list(NOT_CARRIED_OUT), now - SINCE, now, share]
        )
        rows = cursor.fetchall()
    return Purchases.of([person for person, _ in rows], [day for _, day in rows])


def _day(moment: datetime) -> int:
    return (moment.astimezone(UTC).date() - date(1970, 1, 1)).days


def foretell(
    *,
    installation: Installation,
    rows: Mapping[int, ComputedTraits],
    facts: Mapping[int, Facts],
    now: datetime,
) -> None:
    """Fill in `churn_risk` and `next_order_at` of unsaved rows, by person, where they can be told."""
    formulas = {
        row.target: row.parameters
        for row in Predictor.objects.of(installation).filter(is_published=True)
    }
    buyers = [person for person, one in facts.items() if one.order_days]
    if not formulas or not buyers:
        return
    history = _history([facts[person] for person in buyers], now)
    if PredictionTarget.CHURN in formulas:
        risks = returning.churn_risk(formulas[PredictionTarget.CHURN], history)
        for person, risk in zip(buyers, risks, strict=True):
            rows[person].churn_risk = round(float(risk), 4)
    if PredictionTarget.NEXT_ORDER in formulas:
        waits = returning.days_to_next(formulas[PredictionTarget.NEXT_ORDER], history)
        for person, wait in zip(buyers, waits, strict=True):
            # The formula tells when somebody comes back who does: of who lapsed that is not to be expected.
            if facts[person].order_days >= 2 and rows[person].stage != LifecycleStage.LAPSED:
                day = (now + timedelta(days=max(round(float(wait)), 1))).astimezone(UTC).date()
                rows[person].next_order_at = datetime(day.year, day.month, day.day, tzinfo=UTC)


def _history(facts: list[Facts], now: datetime) -> History:
    today = _day(now)
    # A purchase of the future (a wrong clock) was made today.
    ago = [
        [
            max(today - _day(moment), 0)
            for moment in (one.first_ordered_at, one.last_ordered_at)
            if moment
        ]
        for one in facts
    ]
    days = np.asarray([one.order_days for one in facts], dtype=float)
    first, last = np.asarray(ago, dtype=float).T
    return History(days, first, last)


def state_of(
    *, installation: Installation | int, traits: ComputedTraits | None, target: PredictionTarget
) -> PredictionState:
    """Return whether something is foretold of a person; if not, why not."""
    value = traits and (
        traits.churn_risk if target == PredictionTarget.CHURN else traits.next_order_at
    )
    if value is not None:
        return PredictionState.READY
    row = Predictor.objects.of(installation).filter(target=target).first()
    if row is not None and row.is_published:
        is_lapsed = traits is not None and traits.stage == LifecycleStage.LAPSED
        return PredictionState.LAPSED if is_lapsed else PredictionState.NO_ORDERS
    if row is not None and row.figures.get("reason") == "not_better":
        return PredictionState.NOT_BETTER
    return PredictionState.NOT_ENOUGH_DATA
