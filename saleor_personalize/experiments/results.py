"""What came of an experiment: people, buyers, orders and net revenue per person of each arm, by currency.

`measure` reads all orders of those who take part and keeps sums with the experiment; `report` reads the
sums. So a page costs one row, whatever the number of people.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.db import connection

from saleor_personalize.conf import settings
from saleor_personalize.events.queries import NOT_CARRIED_OUT, SENT_BACK
from saleor_personalize.experiments.statistics import Comparison, Sample, compare
from saleor_personalize.models import Experiment, Installation, Order, Participation, Profile

#: Who takes part, each person once, from the earliest row of theirs on.
_PEOPLE = f"""
WITH taken AS (
  SELECT DISTINCT ON (COALESCE(profile.merged_into_id, profile.id))
    COALESCE(profile.merged_into_id, profile.id) AS person, row.arm, row.since
  FROM {Participation._meta.db_table} row
  JOIN {Profile._meta.db_table} profile ON profile.id = row.profile_id
  WHERE row.installation_id = %(installation)s AND row.experiment_id = %(experiment)s
    AND row.since <= %(now)s
  ORDER BY COALESCE(profile.merged_into_id, profile.id), row.since, row.id
)
"""  # noqa: S608 (the names of the tables are ours)
_COUNTED = f"{_PEOPLE} SELECT arm, count(*) FROM taken GROUP BY arm"  # noqa: S608 (the same)
#: What each of them spent; then each arm's sums. An order that came back whole counts, with nothing. Who takes
#: part and what was ordered lie in one row of rows, sorted by person: of rows that were written just now the
#: planner takes so few to be there that it would join them by going through all orders for each person.
_SPENT = f"""
{_PEOPLE}, told AS (
  SELECT person, arm, since, NULL AS currency, NULL::timestamptz AS placed_at, NULL::numeric AS net
  FROM taken
  UNION ALL
  SELECT COALESCE(buyer.merged_into_id, buyer.id), NULL, NULL, orders.currency, orders.placed_at,
    CASE WHEN orders.status = %(sent_back)s THEN 0
      ELSE GREATEST(orders.total - orders.total_refunded, 0) END
  FROM {Order._meta.db_table} orders
  JOIN {Profile._meta.db_table} buyer ON buyer.id = orders.profile_id
  WHERE orders.installation_id = %(installation)s AND orders.deleted_at IS NULL
    AND orders.status <> ALL(%(not_carried_out)s)
    AND orders.placed_at >= (SELECT min(since) FROM taken) AND orders.placed_at <= %(end)s
), beside AS (
  SELECT person, currency, placed_at, net,
    first_value(arm) OVER its_person AS arm, first_value(since) OVER its_person AS since
  FROM told WINDOW its_person AS (PARTITION BY person ORDER BY since NULLS LAST)
), spent AS (
  SELECT person, arm, currency, count(*) AS orders, sum(net) AS net
  FROM beside
  WHERE placed_at >= since AND placed_at < since + %(window)s
  GROUP BY person, arm, currency
)
SELECT currency, arm, count(*), sum(orders), sum(net), sum(net * net)
FROM spent GROUP BY currency, arm
"""  # noqa: S608 (the same)


@dataclass(frozen=True)
class ArmFigures:
    """One arm in one currency. `comparison`: beside the first arm; None for that itself."""

    arm: str
    people: int
    buyers: int
    orders: int
    revenue: Decimal
    per_person: float
    comparison: Comparison | None


@dataclass(frozen=True)
class Report:
    """`people` by arm, in their order; `currencies`: what each arm brought, in each currency that was paid in."""

    people: Mapping[str, int]
    currencies: Mapping[str, tuple[ArmFigures, ...]]


def measure(*, experiment: Experiment, now: datetime) -> None:
    """Keep what came of an experiment until now with it."""
    given = {
        "installation": experiment.installation_id,
        "experiment": experiment.pk,
        "now": now,
        "window": settings.EXPERIMENT_WINDOW,
        # From the decision on all get the same: what is ordered then tells the arms apart no more.
        "end": experiment.decided_at or now,
        "sent_back": SENT_BACK,
        "not_carried_out": list(NOT_CARRIED_OUT),
    }
    currencies: dict[str, dict[str, Any]] = {}
    with connection.cursor() as cursor:
        cursor.execute(_COUNTED, given)
        people = dict(cursor.fetchall())
        cursor.execute(_SPENT, given)
        for currency, arm, buyers, orders, net, squares in cursor.fetchall():
            currencies.setdefault(currency, {})[arm] = {
                "buyers": buyers,
                "orders": int(orders),
                "revenue": str(net),
                "squares": float(squares),
            }
    experiment.report = {"people": people, "currencies": currencies}
    experiment.measured_at = now
    experiment.save(update_fields=["report", "measured_at"])


def measure_all(*, installation: Installation, now: datetime) -> int:
    """Measure the experiments of a shop that can still change; return how many."""
    rows = Experiment.objects.of(installation)
    count = 0
    for row in rows.order_by("pk"):
        if row.decided_at is None or now < row.decided_at + settings.EXPERIMENT_WINDOW:
            measure(experiment=row, now=now)
            count += 1
    return count


def report(*, experiment: Experiment) -> Report | None:
    """Return what was measured last; None before the first time.

    Every interval gets its share of what an experiment may be wrong: one for each arm and currency.
    """
    if experiment.measured_at is None:
        return None
    people = {arm: int(experiment.report["people"].get(arm, 0)) for arm in experiment.arms}
    currencies = experiment.report["currencies"]
    comparisons = max(1, (len(people) - 1) * len(currencies))
    return Report(
        people=people,
        currencies={
            currency: _compared(people, sums, comparisons)
            for currency, sums in sorted(currencies.items())
        },
    )


def _compared(
    people: Mapping[str, int], sums: Mapping[str, Any], comparisons: int
) -> tuple[ArmFigures, ...]:
    nothing = {"buyers": 0, "orders": 0, "revenue": "0", "squares": 0.0}
    found, base = [], None
    for arm, count in people.items():
        each = sums.get(arm, nothing)
        revenue = Decimal(each["revenue"])
        sample = Sample(count, float(revenue), each["squares"], each["buyers"])
        comparison = None
        if base is None:
            base = sample
        else:
            comparison = compare(
                sample, base, min_people=settings.EXPERIMENT_MIN_PEOPLE, comparisons=comparisons
            )
        found.append(
            ArmFigures(
                arm=arm,
                people=count,
                buyers=each["buyers"],
                orders=each["orders"],
                revenue=revenue,
                per_person=sample.mean,
                comparison=comparison,
            )
        )
    return tuple(found)
