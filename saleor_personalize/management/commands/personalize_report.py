"""`saleor-personalize report`: what came of messages and recommendations, and the rows behind it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.utils import timezone

from saleor_personalize.analytics import exports, operations, reports
from saleor_personalize.analytics.figures import PERIODS
from saleor_personalize.dashboard.spreadsheets import csv_lines
from saleor_personalize.enums import AuditAction
from saleor_personalize.experiments import results
from saleor_personalize.management.deeds import record
from saleor_personalize.management.installations import (
    add_installation_argument,
    chosen_installation,
)


class Command(BaseCommand):
    help = "Tell what came of messages and recommendations, or write the rows behind it."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "kind",
            nargs="?",
            default="show",
            choices=("show", "count", *exports.EXPORTS),
            help="'show' (the report), 'count' (what is due, and experiments, now), or rows to write to standard output",
        )
        parser.add_argument(
            "--days", type=int, default=30, choices=PERIODS, help="up to and with today"
        )
        parser.add_argument("--format", choices=("csv", "json"), default="csv", help="of rows")
        parser.add_argument("--json", action="store_true", dest="as_json", help="of the report")
        add_installation_argument(parser)

    def handle(
        self,
        *,
        kind: str,
        days: int,
        format: str,  # noqa: A002 (the option's name)
        as_json: bool,
        **options: Any,
    ) -> None:
        installation, now = chosen_installation(options["installation"]), timezone.now()
        if kind == "count":
            operations.catch_up(installation=installation, now=now)
            counted = operations.refresh(installation=installation, now=now)
            measured = results.measure_all(installation=installation, now=now)
            self.stdout.write(f"{counted} days counted, {measured} experiments measured.")
        elif kind == "show":
            found = reports.report(installation=installation, days=days, now=now)
            self.stdout.write(json.dumps(_plain(found)) if as_json else _told(found))
        else:
            columns, rows = exports.rows_of(
                kind=kind, installation=installation, days=days, now=now
            )
            record(installation, AuditAction.REPORT_EXPORTED, report=kind, days=days)
            lines = exports.json_lines if format == "json" else csv_lines
            for line in lines(columns, rows):
                self.stdout.write(line, ending="")


def _plain(value: Any) -> Any:
    """Return a report as JSON has it: amounts as decimal strings, lengths of time in seconds."""
    if dataclasses.is_dataclass(value):
        return {each.name: _plain(getattr(value, each.name)) for each in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    return str(value) if isinstance(value, Decimal) else value


def _told(found: reports.Report) -> str:
    lines = [f"{found.since} to {found.until}"]
    if found.counted_at is None:
        lines.append("Nothing is counted yet: run `saleor-personalize report count`.")
    for money in found.money:
        lines.append(
            f"{money.currency}: {money.orders} orders, {money.revenue:.2f}; after messages "
            f"{money.after_message.orders}, {money.after_message.revenue:.2f}; after recommendations "
            f"{money.after_recommendation.orders}, {money.after_recommendation.revenue:.2f}; recovered "
            f"{money.recovered.orders}, {money.recovered.revenue:.2f}"
        )
    for row in found.journeys:
        lines.append(
            f"journey {row.key or '-'}: entered {row.entered}, sent {row.sent}, not sent "
            f"{row.not_sent_count}, delivered {row.delivered}, opened {row.opened} (by machines "
            f"{row.opened_by_machine}), clicked {row.clicked}, orders {row.orders}"
        )
    for place in found.placements:
        lines.append(
            f"placement {place.key}: shown {place.shown}, clicked {place.clicked}, added {place.added}, "
            f"orders {place.orders}"
        )
    return "\n".join(lines)
