"""`saleor-personalize train`: make new versions of a shop's models now, and say how good they are."""

from __future__ import annotations

import json
import os
import threading
import time
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import close_old_connections
from django.utils import timezone
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from saleor_personalize.enums import AuditAction, InstallationStatus, TrainingReason, TrainingStatus
from saleor_personalize.management.deeds import record
from saleor_personalize.management.installations import (
    add_installation_argument,
    chosen_installation,
)
from saleor_personalize.management.models_table import models_table
from saleor_personalize.models import Installation, TrainedModel, Training
from saleor_personalize.recommendations import training
from saleor_personalize.recommendations.reports import lift

#: How much the process that a worker starts gives way to others.
NICENESS = 10
#: Exit codes: done but something was held back; beside 0 (published) and 1 (failed).
HELD_BACK = 3
_LOOK = 0.5


class Command(BaseCommand):
    help = (
        "Make new versions of a shop's models, publish what proves itself, and print how good they are. "
        "Exit code: 0 published, 1 failed, 3 trained but a version was held back."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        add_installation_argument(parser)
        parser.add_argument("--all", action="store_true", help="every shop, one after another")
        parser.add_argument(
            "--publish", action="store_true", help="publish even what would be held back"
        )
        parser.add_argument(
            "--background", action="store_true", help="leave the work to the Celery workers"
        )
        parser.add_argument("--json", action="store_true", help="print what was made as JSON")
        parser.add_argument(
            "--run", type=int, metavar="ID", help="take up one training that waits (for workers)"
        )
        parser.add_argument(
            "--ends-with",
            default="",
            metavar="PIDS",
            help="with --run: the process that starts it, and others with which it ends",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        if options["run"] is not None:
            self._take_up(
                options["run"], [int(pid) for pid in options["ends_with"].split(",") if pid]
            )
            return
        if options["all"] and options["installation"]:
            raise CommandError("Say --all or --installation, not both.")
        shops = (
            list(Installation.objects.filter(status=InstallationStatus.ACTIVE).order_by("pk"))
            if options["all"]
            else [chosen_installation(options["installation"])]
        )
        if not shops:
            raise CommandError("No shop has the app switched on.")
        asked = [
            training.request(installation=shop, reason=TrainingReason.ASKED, now=timezone.now())
            for shop in shops
        ]
        for shop in shops:
            record(shop, AuditAction.TRAINING_ASKED)
        if options["background"]:
            self.stdout.write(f"{len(asked)} training(s) wait for a worker.")
            return
        done = [self._see_through(row, force=options["publish"]) for row in asked]
        if options["json"]:
            self.stdout.write(json.dumps([_as_dict(row) for row in done], indent=2))
        else:
            for row in done:
                self._print(row)
        failed = [row for row in done if row.status == TrainingStatus.FAILED]
        if failed:
            raise CommandError("\n".join(row.error for row in failed))
        if any(row.held_back_count for row in done):
            raise CommandError(
                "A version was held back: see above. `saleor-personalize train --publish` publishes anyway.",
                returncode=HELD_BACK,
            )

    def _take_up(self, pk: int, pids: list[int]) -> None:
        os.nice(NICENESS)
        if pids:
            threading.Thread(target=_end_with, args=pids, name="ends-with", daemon=True).start()
        claimed = training.claim(pk=pk, now=timezone.now())
        if claimed is not None:
            training.work(claimed, now=timezone.now())

    def _see_through(self, asked: Training, *, force: bool) -> Training:
        """Train here, or watch whoever does, until it is over."""
        columns = (
            TextColumn("{task.description:<36}"),
            BarColumn(),
            TaskProgressColumn(),
            TimeElapsedColumn(),
        )
        console = Console(stderr=True)
        with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
            bar = progress.add_task("waiting", total=1.0)

            def show(row: Training) -> None:
                words = f"{row.channel_slug}: {row.step}" if row.channel_slug else "done"
                progress.update(bar, description=words[:36], completed=row.progress)

            return self._follow(asked, show, force=force)

    def _follow(self, asked: Training, show: training.OnProgress, *, force: bool) -> Training:
        is_told = False
        while True:
            claimed = training.claim(pk=asked.pk, now=timezone.now())
            if claimed is not None:
                return self._work(claimed, show, force=force)
            asked.refresh_from_db()
            show(asked)
            if asked.status not in training.OPEN:
                return asked
            if asked.installation.status != InstallationStatus.ACTIVE:
                shop = asked.installation
                raise CommandError(
                    f"The training of {shop.saleor_api_url} waits until the shop is active again. It is "
                    f"now: {shop.get_status_display()}."
                )
            if asked.status == TrainingStatus.RUNNING and not is_told:
                is_told = True
                host, process, *_ = asked.worker.split(":")
                self.stderr.write(f"It runs already, as process {process} on {host}: waiting.")
            time.sleep(_LOOK)
            close_old_connections()

    def _work(self, claimed: Training, show: training.OnProgress, *, force: bool) -> Training:
        try:
            return training.work(claimed, now=timezone.now(), force=force, on_progress=show)
        except KeyboardInterrupt:
            training.interrupt(
                pk=claimed.pk,
                process=os.getpid(),
                error="It was stopped by hand.",
                now=timezone.now(),
                is_final=True,
            )
            raise

    def _print(self, row: Training) -> None:
        shop = row.installation
        self.stdout.write(f"{shop.saleor_api_url}: {row.get_status_display().lower()}")
        for line in models_table(_made(row)):
            self.stdout.write(f"  {line}")
        if row.error:
            self.stdout.write(f"  {row.error}")


def _end_with(parent: int, *others: int) -> None:
    """End this process at once when the one that started it, or another, is gone.

    A worker that is killed cannot end its training, which would go on beside that of the next worker.
    """
    while os.getppid() == parent and all(_is_there(pid) for pid in others):
        time.sleep(_LOOK)
    os._exit(1)


def _is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _made(row: Training) -> list[TrainedModel]:
    made = TrainedModel.objects.of(row.installation_id).filter(training=row)
    return list(made.order_by("channel_slug", "pk"))


def _as_dict(row: Training) -> dict[str, Any]:
    return {
        "installation": row.installation.saleor_api_url,
        "status": row.status,
        "error": row.error,
        "models": [
            {
                "channel": model.channel_slug,
                "version": model.version,
                "is_published": model.is_published,
                "held_back": model.held_back,
                "seconds": model.seconds,
                "interactions": model.interaction_count,
                "products": model.product_count,
                "times_popularity": lift(model.metrics),
                "report": model.metrics,
            }
            for model in _made(row)
        ],
    }
