"""`saleor-personalize webhooks`: what came in, what failed, and trying it again."""

from __future__ import annotations

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandParser
from django.utils import timezone

from saleor_personalize.enums import AuditAction
from saleor_personalize.ingestion import deliveries
from saleor_personalize.management.deeds import record
from saleor_personalize.management.installations import (
    add_installation_argument,
    chosen_installation,
)


class Command(BaseCommand):
    help = "List failed webhook deliveries, or replay them after the cause is mended."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("action", choices=["failed", "replay", "process"])
        add_installation_argument(parser)
        parser.add_argument(
            "--id", type=int, action="append", dest="ids", help="replay only this delivery"
        )
        parser.add_argument("--json", action="store_true", help="with failed: print JSON")

    def handle(self, *args: Any, **options: Any) -> None:
        installation = chosen_installation(options["installation"])
        if options["action"] == "failed":
            rows = list(deliveries.failed(installation=installation).values("id", "event", "error"))
            if options["json"]:
                self.stdout.write(json.dumps(rows))
                return
            for row in rows:
                self.stdout.write(f"{row['id']}  {row['event']}: {row['error']}")
            if not rows:
                self.stdout.write("No delivery has failed.")
            return
        if options["action"] == "replay":
            count = deliveries.replay(installation=installation, ids=options["ids"])
            record(installation, AuditAction.DELIVERIES_REPLAYED, count=count)
            self.stdout.write(f"{count} deliveries are in line again.")
        taken = 0
        while count := deliveries.process_waiting(now=timezone.now()):
            taken += count
        left = deliveries.failed(installation=installation).count()
        self.stdout.write(f"{taken} processed, {left} failed.")
