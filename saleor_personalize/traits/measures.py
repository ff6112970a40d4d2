"""The rules of stages and scores, apart from the database. `docs/explanation/traits.md` tells why."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from saleor_personalize.enums import LifecycleStage


def stage_of(
    *,
    order_count: int,
    last_ordered_at: datetime | None,
    at_risk_days: int,
    lapsed_days: int,
    now: datetime,
) -> LifecycleStage:
    """Return where somebody stands with the shop."""
    if last_ordered_at is None:
        return LifecycleStage.PROSPECT
    rest = now - last_ordered_at
    if rest > timedelta(days=lapsed_days):
        return LifecycleStage.LAPSED
    if rest > timedelta(days=at_risk_days):
        return LifecycleStage.AT_RISK
    return LifecycleStage.NEW if order_count == 1 else LifecycleStage.ACTIVE


def score_of(value: Any, limits: Sequence[Any]) -> int | None:
    """Return 1 to 5: one more than the limits that a value reaches.

    None without a value, and without limits: there is nobody to compare with.
    """
    if value is None or not limits:
        return None
    return 1 + sum(1 for limit in limits if limit is not None and value >= limit)


def written(count: int, total: Decimal) -> dict[str, Any]:
    """Return what was spent in one currency, as it is stored.

    Two decimals, or three where the amounts have them (dinars); the average is rounded alike.
    """
    has_three = total != total.quantize(Decimal("0.01"))
    step = Decimal("0.001") if has_three else Decimal("0.01")
    average = (total / count).quantize(step, ROUND_HALF_UP)
    return {"count": count, "total": str(total.quantize(step)), "average": str(average)}
