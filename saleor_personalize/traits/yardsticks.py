"""Taking the measure of a shop's buyers: what is much, what is often, how long is long."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple

from django.db import connection
from django.db.models import Count
from django.db.models.functions import Coalesce

from saleor_personalize.conf import settings
from saleor_personalize.events.queries import NOT_CARRIED_OUT, SENT_BACK, carried_out
from saleor_personalize.models import Installation, Order, Profile, Yardstick

#: Measured anew after so long, and earlier when there are this many times as many buyers.
MEASURED_EVERY = timedelta(hours=23)
GROWTH = 1.1
#: No rhythm is so quick that a week without an order means anything.
MIN_DAYS = 7

_BOUGHT = f"""
WITH bought AS (
  SELECT COALESCE(profile.merged_into_id, profile.id) AS person_id, placed_at, currency, total, status
  FROM "{Order._meta.db_table}" AS purchase
  JOIN "{Profile._meta.db_table}" AS profile ON profile.id = purchase.profile_id
  WHERE purchase.installation_id = %(installation)s AND deleted_at IS NULL
    AND status <> ALL(%(not_carried_out)s)
)"""  # noqa: S608 (the names of the tables are ours)
_RHYTHM = """
, visit AS (SELECT DISTINCT person_id, (placed_at AT TIME ZONE 'UTC')::date AS day FROM bought),
pause AS (SELECT day - lag(day) OVER (PARTITION BY person_id ORDER BY day) AS days FROM visit)
SELECT count(days), percentile_disc(%(at_risk)s) WITHIN GROUP (ORDER BY days),
  percentile_disc(%(lapsed)s) WITHIN GROUP (ORDER BY days)
FROM pause WHERE days IS NOT NULL
"""
# Where the scores 2 to 5 begin, by group. A value stands in the middle of those that equal it, so equal
# people get equal scores; the limits are values that occur.
_LIMITS = """
, counted AS (SELECT part, value, count(*) AS equal FROM ({values}) AS one GROUP BY part, value),
placed AS (
  SELECT part, value, (sum(equal) OVER (PARTITION BY part ORDER BY value) - equal / 2.0)
    / sum(equal) OVER (PARTITION BY part) AS place FROM counted
)
SELECT part, min(value) FILTER (WHERE place >= 0.2), min(value) FILTER (WHERE place >= 0.4),
  min(value) FILTER (WHERE place >= 0.6), min(value) FILTER (WHERE place >= 0.8)
FROM placed GROUP BY part
"""
_RECENCY = "SELECT '' AS part, max(placed_at) AS value FROM bought GROUP BY person_id"
_FREQUENCY = "SELECT '' AS part, count(*) AS value FROM bought GROUP BY person_id"
# Amounts of two currencies cannot be compared: each person counts in the one they order in most often.
_MONETARY = """
SELECT part, value FROM (
  SELECT DISTINCT ON (person_id) person_id, currency AS part, sum(total) AS value FROM bought
  WHERE status <> %(sent_back)s GROUP BY person_id, currency
  ORDER BY person_id, count(*) DESC, currency
) AS main
"""


class Limits(NamedTuple):
    """Where the scores begin, in their own types."""

    recency: list[datetime | None]
    frequency: list[int | None]
    monetary: dict[str, list[Decimal | None]]


def measure(*, installation: Installation, now: datetime) -> Yardstick:
    """Take the yardstick of a shop anew."""
    parameters = {
        "installation": installation.pk,
        "not_carried_out": list(NOT_CARRIED_OUT),
        "sent_back": SENT_BACK,
        "at_risk": settings.LIFECYCLE_AT_RISK_SHARE,
        "lapsed": settings.LIFECYCLE_LAPSED_SHARE,
    }

    def rows(question: str) -> list[tuple[Any, ...]]:
        with connection.cursor() as cursor:
            cursor.execute(_BOUGHT + question, parameters)
            found: list[tuple[Any, ...]] = cursor.fetchall()
            return found

    def limits(values: str, write: Any) -> dict[str, list[Any]]:
        return {
            part: [None if limit is None else write(limit) for limit in found]
            for part, *found in rows(_LIMITS.format(values=values))
        }

    ((return_count, at_risk, lapsed),) = rows(_RHYTHM)
    if return_count < settings.LIFECYCLE_MIN_RETURNS:
        at_risk = settings.LIFECYCLE_AT_RISK_AFTER.days
        lapsed = settings.LIFECYCLE_LAPSED_AFTER.days
    else:
        at_risk = max(at_risk, MIN_DAYS)
    values = {
        "measured_at": now,
        "buyer_count": buyer_count(installation),
        "return_count": return_count,
        "at_risk_days": at_risk,
        "lapsed_days": max(lapsed, at_risk + 1),
        "limits": {
            "recency": limits(_RECENCY, datetime.isoformat).get("", []),
            "frequency": limits(_FREQUENCY, int).get("", []),
            "monetary": limits(_MONETARY, str),
        },
    }
    yardstick, _ = Yardstick.objects.update_or_create(installation=installation, defaults=values)
    return yardstick


def is_due(*, installation: Installation, now: datetime) -> bool:
    """Tell whether the yardstick is a day old, or of a much smaller shop."""
    found = Yardstick.objects.of(installation).first()
    return (
        found is None
        or now - found.measured_at >= MEASURED_EVERY
        or buyer_count(installation) > found.buyer_count * GROWTH
    )


def buyer_count(installation: Installation) -> int:
    """Return how many people of the shop have an order that counts."""
    person = Coalesce("profile__merged_into", "profile")
    bought = carried_out(Order.objects.of(installation)).exclude(profile=None)
    count: int = bought.aggregate(count=Count(person, distinct=True))["count"]
    return count


def limits_of(yardstick: Yardstick) -> Limits:
    """Return the limits of the scores as values that compare."""
    stored = yardstick.limits
    return Limits(
        [limit and datetime.fromisoformat(limit) for limit in stored["recency"]],
        stored["frequency"],
        {
            currency: [None if limit is None else Decimal(limit) for limit in limits]
            for currency, limits in stored["monetary"].items()
        },
    )
