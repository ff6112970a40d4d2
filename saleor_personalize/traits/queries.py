"""Reads of what was worked out."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal

from django.db import connection

from saleor_personalize.conf import settings
from saleor_personalize.models import (
    ComputedTraits,
    Installation,
    Predictor,
    Profile,
    Yardstick,
)


def traits_of(profile: Profile) -> ComputedTraits | None:
    """Return the traits of the person behind a profile; None until they are worked out, or refused."""
    return (
        ComputedTraits.objects.of(profile.installation_id)
        .filter(profile__in=profile.person(), profile__merged_into=None)
        .first()
    )


def predictors_of(installation: Installation) -> dict[str, Predictor]:
    """Return what foretells in this shop, published or not, by `PredictionTarget`."""
    return {row.target: row for row in Predictor.objects.of(installation)}


def gone_quiet(
    *,
    installation: Installation,
    since: datetime,
    until: datetime,
    fixed: timedelta,
    times: Decimal | None = None,
    at_least: timedelta = timedelta(0),
) -> list[tuple[int, datetime]]:
    """Return who has been silent too long since a moment after `since`, up to `until`: (person, last order).

    Too long is `times` the mean gap between the orders of the person, but not less than `at_least`;
    `fixed` for who has fewer than three orders, and for everybody without `times`. As traits were worked
    out last: whoever acts on it looks at the orders again.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            _QUIET,
            {
                "installation": installation.pk,
                "since": since,
                "until": until,
                "fixed": fixed.total_seconds(),
                "times": times,
                "at_least": at_least.total_seconds(),
            },
        )
        return list(cursor.fetchall())


_QUIET = f"""
SELECT profile_id, last_ordered_at FROM (
  SELECT profile_id, last_ordered_at, last_ordered_at + CASE
    WHEN %(times)s::numeric IS NOT NULL AND order_count >= 3 AND last_ordered_at > first_ordered_at
    THEN GREATEST(%(at_least)s * interval '1 second', (last_ordered_at - first_ordered_at)
      * %(times)s::numeric::float8 / (order_count - 1))
    ELSE %(fixed)s * interval '1 second' END AS moment
  FROM {ComputedTraits._meta.db_table}
  WHERE installation_id = %(installation)s AND last_ordered_at IS NOT NULL
) AS silence WHERE moment > %(since)s AND moment <= %(until)s ORDER BY profile_id
"""  # noqa: S608 (the name of the table is ours)


def lapsed_after(installation: Installation) -> timedelta:
    """Return after how long a silence the people of a shop count as lapsed (`Yardstick`)."""
    days = (
        Yardstick.objects.of(installation)
        .order_by("-measured_at")
        .values_list("lapsed_days", flat=True)
        .first()
    )
    return settings.LIFECYCLE_LAPSED_AFTER if days is None else timedelta(days=days)
