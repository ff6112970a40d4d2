"""Reads of experiments."""

from __future__ import annotations

from django.db.models import F

from saleor_personalize.models import Experiment, Installation

#: Most experiments that are listed.
MOST = 100


def newest(*, installation: Installation) -> list[Experiment]:
    """Return the experiments of a shop: those that go on first, then those that are over; newest first."""
    rows = Experiment.objects.of(installation)
    return list(rows.order_by(F("decided_at").desc(nulls_first=True), "-began_at", "-pk")[:MOST])
