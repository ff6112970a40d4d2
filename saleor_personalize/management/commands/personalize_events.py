"""`saleor-personalize events`: how many events are kept, month by month."""

from __future__ import annotations

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from saleor_personalize.events import partitions


class Command(BaseCommand):
    help = "Make the months of events that come next, drop those past EVENT_RETENTION, and show what is kept."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--show", action="store_true", help="only show what is kept")
        parser.add_argument("--json", action="store_true", help="print JSON")

    def handle(self, *args: Any, **options: Any) -> None:
        done = None if options["show"] else partitions.maintain(now=timezone.now())
        kept, waiting = partitions.partitions(), partitions.waiting_rows()
        if options["json"]:
            document = {
                "months": [
                    {"month": f"{row.month:%Y-%m}", "rows": row.rows, "bytes": row.bytes}
                    for row in kept
                ],
                "waiting": waiting,
                "created": [f"{month:%Y-%m}" for month in done.created] if done else [],
                "dropped": [f"{month:%Y-%m}" for month in done.dropped] if done else [],
            }
            self.stdout.write(json.dumps(document))
        else:
            for row in kept:
                # PostgreSQL counts when it analyses a table.
                rows = "not counted yet" if row.rows < 0 else f"about {row.rows} events"
                self.stdout.write(f"{row.month:%Y-%m}  {rows}, {row.bytes / 1e6:.1f} MB")
            if waiting:
                self.stdout.write(f"{waiting} events wait for their month to be made.")
            for month in done.created if done else ():
                self.stdout.write(f"Made {month:%Y-%m}.")
            for month in done.dropped if done else ():
                self.stdout.write(f"Dropped {month:%Y-%m}.")
        if done and not done.is_complete:
            raise CommandError("The events table was busy. Nothing is lost: run this again later.")
