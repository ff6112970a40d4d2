"""`saleor-personalize import FILE`: bring purchases from outside Saleor, with a dry run and progress."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, BinaryIO

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from saleor_personalize.enums import AuditAction, ImportStatus
from saleor_personalize.ingestion.imports import operations
from saleor_personalize.ingestion.imports.columns import (
    DECIMALS,
    KEYS,
    TITLES,
    UNKNOWN_PRODUCTS,
    Options,
)
from saleor_personalize.ingestion.imports.files import ENCODINGS, UnreadableFile
from saleor_personalize.management.deeds import record
from saleor_personalize.management.installations import (
    add_installation_argument,
    chosen_installation,
)
from saleor_personalize.models import Import


class Command(BaseCommand):
    help = (
        "Import purchases made outside Saleor from a .csv, .jsonl or .parquet file; a row is a line of an "
        "order. Safe to stop and to run again: what was imported before changes nothing."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", help="path of the file")
        add_installation_argument(parser)
        parser.add_argument(
            "--map",
            action="append",
            default=[],
            metavar="OURS=THEIRS",
            dest="mapped",
            help=f"which column of the file is which of ours ({', '.join(TITLES)}); OURS= leaves one out",
        )
        parser.add_argument(
            "--match",
            default=",".join(KEYS),
            metavar="KEYS",
            help="columns by which people are found, with commas between them",
        )
        parser.add_argument(
            "--dry-run", action="store_true", help="count and refuse, change nothing"
        )
        parser.add_argument(
            "--rejects", metavar="FILE", help="write refused rows with reasons as CSV"
        )
        parser.add_argument("--timezone", default="UTC", help="zone of times that name none")
        parser.add_argument(
            "--date-format", default="", metavar="FORMAT", help="such as %%m/%%d/%%Y"
        )
        parser.add_argument("--decimal", choices=DECIMALS, default=".", help="mark of decimals")
        parser.add_argument("--currency", default="", help="for rows without one, such as EUR")
        parser.add_argument("--channel", default="", metavar="SLUG", help="for rows without one")
        parser.add_argument("--encoding", choices=ENCODINGS, default="utf-8")
        parser.add_argument("--delimiter", default="", help="of a CSV; found out if left out")
        parser.add_argument(
            "--unknown-products",
            choices=UNKNOWN_PRODUCTS,
            default="reject",
            help="refuse lines of products that the shop does not know, or keep them by name",
        )
        parser.add_argument("--json", action="store_true", help="print the outcome as JSON")

    def handle(self, *args: Any, **options: Any) -> None:
        installation = chosen_installation(options["installation"])
        path = Path(options["file"])
        rejects = Path(options["rejects"]) if options["rejects"] else None
        if rejects is not None:
            _prove_writable(rejects)
        how = Options(
            encoding=options["encoding"],
            delimiter={"\\t": "\t", "tab": "\t"}.get(options["delimiter"], options["delimiter"]),
            timezone=options["timezone"],
            date_format=options["date_format"],
            decimal=options["decimal"],
            currency=options["currency"].upper(),
            channel=options["channel"],
            match=[key.strip() for key in options["match"].split(",") if key.strip()],
            unknown_products=options["unknown_products"],
        )
        try:
            with path.open("rb") as file:
                found = operations.look_into(file, name=path.name, options=how)
                mapping = _mapping(found.mapping, options["mapped"])
                self._show(found, mapping)
                run = operations.request(
                    installation=installation,
                    file=file,
                    name=path.name,
                    mapping=mapping,
                    options=how,
                    is_dry_run=options["dry_run"],
                    now=timezone.now(),
                )
                record(installation, AuditAction.IMPORT_STARTED, on=run, is_dry_run=run.is_dry_run)
                status = self._work(run, file)
        except OSError as error:
            raise CommandError(f"{path} cannot be read: {error.strerror}.") from error
        except UnreadableFile as error:
            raise CommandError(f"{path}: {error}") from error
        except operations.BadRequest as error:
            raise CommandError(
                "\n".join([*error.faults, "Columns: --map OURS=THEIRS. All options: --help."])
            ) from error
        run.refresh_from_db()
        if rejects is not None:
            self._write_rejects(run, rejects)
        self._tell(run, status, as_json=options["json"])

    def _show(self, found: operations.Preview, mapping: dict[str, str]) -> None:
        first = found.rows[0] if found.rows else []
        values = dict(zip(found.columns, first, strict=False))
        for ours in TITLES:
            if ours in mapping:
                example = values.get(mapping[ours], "")
                self.stderr.write(f"  {ours:<17} <- {mapping[ours]}  ({example[:40] or 'empty'})")
        left = [name for name in found.columns if name not in mapping.values()]
        if left:
            self.stderr.write(f"  left out: {', '.join(left)}")

    def _work(self, run: Import, file: BinaryIO) -> ImportStatus:
        claimed = operations.claim_next(now=timezone.now(), import_id=run.pk)
        if claimed is None:
            raise CommandError(
                f"Import {run.pk} of this file is at row {run.position}, and its process may still run. "
                f"If it was killed, run this again in {operations.LEASE.seconds} seconds: it goes on there."
            )
        if claimed.position:
            self.stderr.write(f"Import {run.pk} goes on after row {claimed.position}.")
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=Console(stderr=True)) as progress:
            bar = progress.add_task("rows", total=None)
            return operations.work(
                claimed,
                file=file,
                on_batch=lambda run: progress.update(
                    bar, total=run.row_count, completed=run.position
                ),
            )

    def _write_rejects(self, run: Import, path: Path) -> None:
        with path.open("w", encoding="utf-8", newline="") as file:
            count = operations.write_rejects(run=run, to=file)
        self.stderr.write(f"{count} refused rows are in {path}.")

    def _tell(self, run: Import, status: ImportStatus, *, as_json: bool) -> None:
        counts = operations.reject_counts(run=run)
        if as_json:
            self.stdout.write(
                json.dumps(
                    {
                        "id": run.pk,
                        "status": run.status,
                        "is_dry_run": run.is_dry_run,
                        "rows": run.row_count,
                        "recorded": run.recorded_count,
                        "unchanged": run.unchanged_count,
                        "rejected": run.rejected_count,
                        "reasons": counts,
                        "error": run.error,
                    }
                )
            )
        else:
            would = "would be " if run.is_dry_run else ""
            self.stdout.write(
                f"{run.row_count} rows: {run.recorded_count} {would}new or changed, "
                f"{run.unchanged_count} unchanged, {run.rejected_count} refused."
            )
            for code, count in counts.items():
                self.stdout.write(f"  {code}: {count}")
            if run.is_dry_run:
                self.stdout.write("Nothing was changed: this was a dry run.")
        if status != ImportStatus.DONE:
            raise CommandError(
                f"It stopped after row {run.position}. {run.error} Run it again to go on from there."
            )


def _prove_writable(path: Path) -> None:
    """Refuse before the first row is recorded what would fail after the last."""
    if path.is_dir() or not os.access(path if path.exists() else path.parent, os.W_OK):
        raise CommandError(
            f"--rejects: {path} cannot be written. Name a file in a folder that is there and yours."
        )


def _mapping(guessed: dict[str, str], given: list[str]) -> dict[str, str]:
    """Return the guess with what `--map` says in its place."""
    mapping = dict(guessed)
    for text in given:
        ours, mark, theirs = text.partition("=")
        if not mark:
            raise CommandError(f"--map {text!r}: write OURS=THEIRS, such as email=Customer.")
        mapping = {k: v for k, v in mapping.items() if v != theirs}
        mapping[ours] = theirs
    return {ours: theirs for ours, theirs in mapping.items() if theirs}
