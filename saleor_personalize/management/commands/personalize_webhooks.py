"""`saleor-personalize webhooks`: what came in, what failed, and trying it again."""

from __future__ import annotations

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.core.serializers.json import DjangoJSONEncoder
from django.utils import timezone

from saleor_personalize.enums import AuditAction, DeliveryStatus
from saleor_personalize.ingestion import deliveries
from saleor_personalize.management.deeds import record
from saleor_personalize.management.installations import (
    add_installation_argument,
    chosen_installation,
)
from saleor_personalize.models import Installation, WebhookDelivery


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
            rows = list(
                deliveries.failed(installation=installation).values(
                    "id", "received_at", "event", "error"
                )
            )
            if options["json"]:
                self.stdout.write(json.dumps(rows, cls=DjangoJSONEncoder))
                return
            for row in rows:
                at = f"{row['received_at']:%Y-%m-%d %H:%M} UTC"
                self.stdout.write(f"{row['id']}  {at}  {row['event']}: {row['error']}")
            if not rows:
                self.stdout.write("No delivery has failed.")
            return
        if options["action"] == "replay":
            self._replay(installation, options["ids"])
            return
        taken = _process()
        left = deliveries.failed(installation=installation).count()
        self.stdout.write(f"{taken} were tried; {left} have failed.")

    def _replay(self, installation: Installation, ids: list[int] | None) -> None:
        there = set(deliveries.failed(installation=installation).values_list("id", flat=True))
        asked = there if ids is None else set(ids)
        if strangers := sorted(asked - there):
            raise CommandError(
                f"No failed delivery of this shop has the id {', '.join(map(str, strangers))}; nothing was "
                "tried. `saleor-personalize webhooks failed` lists them."
            )
        count = deliveries.replay(installation=installation, ids=asked)
        record(installation, AuditAction.DELIVERIES_REPLAYED, count=count)
        _process()
        rows = WebhookDelivery.objects.of(installation).filter(pk__in=asked)
        again = rows.filter(status=DeliveryStatus.FAILED).count()
        waiting = rows.filter(status=DeliveryStatus.RECEIVED).count()
        left = deliveries.failed(installation=installation).count()
        self.stdout.write(
            f"{count} put back in line. Of {len(asked)}: {len(asked) - again - waiting} done, {again} failed "
            f"again, {waiting} under way. {left} have failed in all."
        )
        if again:
            raise CommandError(
                "See `saleor-personalize webhooks failed` for what is wrong with them."
            )


def _process() -> int:
    """Process all that waits; return how many deliveries were tried."""
    taken = 0
    while count := deliveries.process_waiting(now=timezone.now()):
        taken += count
    return taken
