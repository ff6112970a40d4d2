"""`saleor-personalize backfill`: read a shop's history, with progress, pause and resume."""

from __future__ import annotations

import json
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from saleor_personalize.enums import AuditAction, BackfillStatus
from saleor_personalize.ingestion import backfill
from saleor_personalize.management.deeds import record
from saleor_personalize.management.installations import (
    add_installation_argument,
    chosen_installation,
)
from saleor_personalize.models import Backfill, BackfillStage, Installation


class Command(BaseCommand):
    help = "Read a shop's products, customers, orders and carts. Safe to stop and to run again."

    def add_arguments(self, parser: CommandParser) -> None:
        add_installation_argument(parser)
        what = parser.add_mutually_exclusive_group()
        what.add_argument("--status", action="store_true", help="show the newest run of each shop")
        what.add_argument("--pause", action="store_true", help="stop after the page in hand")
        what.add_argument("--resume", action="store_true", help="let a paused or failed run go on")
        what.add_argument(
            "--background", action="store_true", help="leave the work to the Celery workers"
        )
        parser.add_argument("--json", action="store_true", help="with --status: print JSON")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["status"]:
            self._show(options["installation"], as_json=options["json"])
            return
        installation = chosen_installation(options["installation"])
        now = timezone.now()
        if options["pause"] or options["resume"]:
            run = backfill.latest(installation=installation)
            if run is None:
                raise CommandError("There is no back-fill yet: run this command without options.")
            if options["pause"]:
                backfill.pause(backfill=run)
                record(installation, AuditAction.BACKFILL_PAUSED, on=run)
            else:
                backfill.resume(backfill=run)
                record(installation, AuditAction.BACKFILL_RESUMED, on=run)
            self.stdout.write("It stops after this page." if options["pause"] else "It goes on.")
            return
        run = backfill.request(installation=installation, now=now)
        record(installation, AuditAction.BACKFILL_STARTED, on=run)
        if options["background"]:
            self.stdout.write(f"Back-fill {run.pk} waits for a worker.")
            return
        self._work(run)

    def _work(self, run: Backfill) -> None:
        claimed = backfill.claim_next(now=timezone.now(), backfill_id=run.pk)
        if claimed is None:
            raise CommandError(
                f"Back-fill {run.pk} is {run.status} or another worker has it. "
                "See --status, --resume."
            )
        columns = (
            TextColumn("{task.description:<12}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=Console(stderr=True)) as progress:
            bars = {
                row.name: progress.add_task(
                    row.name, total=row.total_count, completed=row.row_count
                )
                for row in claimed.stages.all()
            }

            def on_page(row: BackfillStage) -> None:
                progress.update(
                    bars[row.name],
                    completed=row.row_count,
                    total=row.row_count if row.is_done else row.total_count,
                )

            status = backfill.work(claimed, on_page=on_page)
        changed = sum(row.changed_count for row in claimed.stages.all())
        if status == BackfillStatus.DONE:
            self.stdout.write(f"Done: {changed} rows new or changed.")
        elif status == BackfillStatus.PAUSED:
            self.stdout.write("Paused. --resume lets it go on.")
        else:
            raise CommandError(f"It stopped: {claimed.error} Run it again to go on from there.")

    def _show(self, url: str | None, *, as_json: bool) -> None:
        installations = (
            [chosen_installation(url)] if url else list(Installation.objects.order_by("pk"))
        )
        runs = [run for i in installations if (run := backfill.latest(installation=i))]
        if as_json:
            self.stdout.write(json.dumps([_as_dict(run) for run in runs]))
            return
        for run in runs:
            self.stdout.write(f"{run.installation.saleor_api_url}: {run.get_status_display()}")
            for row in run.stages.all():
                total = "?" if row.total_count is None else row.total_count
                self.stdout.write(f"  {row.name:<12} {row.row_count}/{total}")
            if run.error:
                self.stdout.write(f"  {run.error}")
        if not runs:
            self.stdout.write("No back-fill yet.")


def _as_dict(run: Backfill) -> dict[str, Any]:
    return {
        "id": run.pk,
        "installation": run.installation.saleor_api_url,
        "status": run.status,
        "error": run.error,
        "stages": list(
            run.stages.values("name", "row_count", "changed_count", "total_count", "is_done")
        ),
    }
