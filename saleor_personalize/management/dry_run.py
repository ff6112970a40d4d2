"""`saleor-personalize journeys dry-run`: what a journey would have sent, and will send. Nothing is sent."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Iterable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from saleor_personalize.conf import settings
from saleor_personalize.enums import NotSentReason
from saleor_personalize.journeys import definitions, operations
from saleor_personalize.journeys.definitions import Definition
from saleor_personalize.journeys.forecast import COMING, MOST, forecast
from saleor_personalize.messaging import clocks
from saleor_personalize.models import Installation


def add_arguments(part: ArgumentParser) -> None:
    part.add_argument("key", metavar="KEY|FILE", help="a journey of the shop, or a definition")
    part.add_argument(
        "--days", type=int, default=7, choices=range(1, 32), metavar="N", help="looked back (7)"
    )
    part.add_argument(
        "--people",
        type=int,
        default=MOST,
        metavar="N",
        help=f"of more, a random share is looked at ({MOST})",
    )


def dry_run(
    installation: Installation, options: Mapping[str, Any], now: datetime
) -> list[dict[str, Any]]:
    """Return the forecast as one JSON object. Raises UnknownAlias, InvalidJourney or OSError."""
    found = forecast(
        installation=installation,
        definition=_definition(installation, options["key"]),
        now=now,
        days=options["days"],
        most=max(1, options["people"]),
    )
    return [found.to_json()]


def _definition(installation: Installation, given: str) -> Definition:
    if Path(given).suffix in {".yaml", ".yml", ".json"}:
        text = Path(given).read_text(encoding="utf-8")
        return definitions.load(text, known=operations.known(installation))
    journey = operations.ensure_journey(installation=installation, key=given)
    if journey.published is None:
        raise ValueError(f"{given} follows no definition.")
    return operations.definition_of(journey.published)


def lines(told: Mapping[str, Any]) -> Iterable[str]:
    """Yield a forecast as people read it."""
    state = "live" if told["is_live"] else "not live"
    yield f"{told['journey']} ({state}, {told['waiting']} inside). Nothing is sent."
    past, coming = told["past"], told["coming"]
    yield f"\nThe last {len(past)} days, had it gone live at their beginning:"
    yield from _table(past)
    yield f"\nThe next {COMING} days, beside the other live journeys:"
    yield from _table(coming)
    costs = [f"{amount} {currency}" for currency, amount in told["worst_cost"].items()]
    if told["free_deliveries"]:
        costs.append(f"{told['free_deliveries']} free deliveries")
    if costs:
        yield f"Offers, if all of them are used: {', '.join(costs)}"
    reasons = sorted({reason for day in (*past, *coming) for reason in day["not_sent"]})
    if reasons:
        yield "\nReasons"
        yield from (f"  {reason}: {_sentence(reason)}" for reason in reasons)
    yield "\nHow it is estimated"
    yield "  Carts and orders count as they changed last; what has no history is taken as it is now."
    if not told["is_foreseen"]:
        yield "  What is new in the next days is taken to be as in the last seven."
    if told["one_in"] > 1:
        yield f"  One in {told['one_in']} people was looked at; numbers are multiplied."
    if settings.DRY_RUN:
        yield "  DRY_RUN is set, so offers are left out."


def _sentence(reason: str) -> str:
    return NotSentReason(reason).label if reason in NotSentReason.values else reason


def _table(days: list[dict[str, Any]]) -> Iterable[str]:
    zone = clocks.shop_zone()
    for day in days:
        begin = datetime.fromisoformat(day["begin"]).astimezone(zone)
        yield f"  {begin:%a %Y-%m-%d %H:%M}  {_told(day)}"
    total = {
        "entered": sum(day["entered"] for day in days),
        "offers": sum(day["offers"] for day in days),
        "sent": _summed(day["sent"] for day in days),
        "not_sent": _summed(day["not_sent"] for day in days),
    }
    yield f"  {'together':<20}  {_told(total)}"


def _told(day: Mapping[str, Any]) -> str:
    def counted(names: Mapping[str, int]) -> str:
        inside = ", ".join(f"{name} {count}" for name, count in names.items())
        return f"{sum(names.values())}{f' ({inside})' if inside else ''}"

    offers = f", {day['offers']} offers" if day["offers"] else ""
    return (
        f"{day['entered']} come in, {counted(day['sent'])} sent, "
        f"{counted(day['not_sent'])} not sent{offers}"
    )


def _summed(rows: Iterable[Mapping[str, int]]) -> dict[str, int]:
    total: dict[str, int] = {}
    for row in rows:
        for name, count in row.items():
            total[name] = total.get(name, 0) + count
    return total
