"""`saleor-personalize evaluate FOLDER`: how well the engine foretells what came to pass, beside popularity."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from time import perf_counter
from typing import IO, Any, cast

from django.core.management.base import BaseCommand, CommandError, CommandParser
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from saleor_personalize.ingestion.imports.files import UnreadableFile, read_columns
from saleor_personalize.ml import Engine
from saleor_personalize.ml.evaluation import MostPopular, measure, questions_of
from saleor_personalize.ml.frames import interactions_of

SUFFIXES = (".parquet", ".csv", ".jsonl")
CASES = "cases_public.json"
#: task -> figures that tell most about it, first the one to look at.
FIGURES = {
    "session": ("hit_rate", "mrr", "ndcg"),
    "user": ("recall", "ndcg", "hit_rate"),
    "basket": ("recall", "mrr", "hit_rate"),
    "cold": ("recall", "mrr", "hit_rate"),
}
TITLES = {"hit_rate": "HR", "mrr": "MRR", "ndcg": "NDCG", "recall": "R"}


class Command(BaseCommand):
    help = (
        "Fit the engine on train.parquet (or .csv, .jsonl) and items of a folder, ask it the cases of "
        f"{CASES}, and print how often it was right, beside popularity."
    )

    # It asks nothing of the service, so it needs none of its settings.
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "folder", help="with train.*, items.* where there is one, and the cases"
        )
        parser.add_argument("--cases", default=CASES, metavar="FILE", help="name of the cases")
        parser.add_argument("--json", action="store_true", help="print the figures as JSON")
        parser.add_argument("--no-rerank", action="store_true", help="without the re-ranker")
        parser.add_argument("--no-tune", action="store_true", help="without the last days' test")
        parser.add_argument("--seed", type=int, default=0)

    def handle(self, *args: Any, **options: Any) -> None:
        folder = Path(options["folder"])
        try:
            events = _read(folder, "train")
            items = _read(folder, "items", required=False)
            cases = json.loads((folder / options["cases"]).read_text(encoding="utf-8"))
            questions = questions_of(cases)
        except OSError as error:
            raise CommandError(
                f"{error.filename or folder} cannot be read: {error.strerror}."
            ) from error
        except UnreadableFile as error:
            raise CommandError(f"{folder}: {error}") from error
        except (ValueError, TypeError) as error:
            raise CommandError(f"{folder / options['cases']}: {error}") from error
        engine = Engine(
            rerank=not options["no_rerank"], tune=not options["no_tune"], seed=options["seed"]
        )
        asked = {task: found for task, found in questions.items() if found}
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        try:
            with Progress(*columns, console=Console(stderr=True)) as progress:
                bar = progress.add_task("reading", total=100)
                train, _ = interactions_of(events)
                started = perf_counter()
                engine.fit(
                    events,
                    items,
                    progress=lambda step, share: progress.update(
                        bar, description=step or "fitted", completed=round(100 * share)
                    ),
                )
                seconds = perf_counter() - started
                popular = MostPopular(train)
                found = {}
                for task, several in asked.items():
                    bar = progress.add_task(task, total=2 * len(several))

                    def on_answer(bar: Any = bar) -> None:
                        progress.advance(bar)

                    found[task] = {
                        "engine": asdict(measure(engine, several, train, on_answer=on_answer)),
                        "popularity": asdict(measure(popular, several, train, on_answer=on_answer)),
                    }
        except (TypeError, ValueError) as error:
            raise CommandError(f"{folder}: {error}") from error
        if options["json"]:
            whole = {
                "folder": str(folder),
                "events": len(train),
                "fit_seconds": seconds,
                "tasks": found,
                "report": engine.report,
            }
            self.stdout.write(json.dumps(whole, indent=2))
            return
        self._print(found, seconds, len(train))

    def _print(self, found: dict[str, Any], seconds: float, events: int) -> None:
        table = Table(title=f"{events} events, fitted in {seconds:.1f} s")
        for title in (
            "task",
            "cases",
            "figure",
            "engine",
            "popularity",
            "coverage",
            "p50 ms",
            "p99 ms",
        ):
            table.add_column(title, justify="left" if title in ("task", "figure") else "right")
        for task, rows in found.items():
            ours, theirs = rows["engine"], rows["popularity"]
            for at, name in enumerate(FIGURES[task]):
                first = at == 0
                table.add_row(
                    task if first else "",
                    str(ours["cases"]) if first else "",
                    f"{TITLES[name]}@{ours['k']}",
                    f"{ours[name]:.4f}",
                    f"{theirs[name]:.4f}",
                    f"{ours['coverage']:.3f}" if first else "",
                    f"{ours['p50_ms']:.2f}" if first else "",
                    f"{ours['p99_ms']:.2f}" if first else "",
                )
        if not found:
            self.stderr.write("There are no cases.")
        Console(file=cast("IO[str]", self.stdout), width=100).print(table)


def _read(folder: Path, name: str, *, required: bool = True) -> Any:
    """Read the file of that name in whichever format it is there."""
    for suffix in SUFFIXES:
        path = folder / f"{name}{suffix}"
        if path.exists():
            with path.open("rb") as file:
                return read_columns(file, name=path.name)
    if required:
        raise CommandError(
            f"{folder} has no {' or '.join(name + suffix for suffix in SUFFIXES)}. "
            "The how-to page about evaluate tells what a folder holds."
        )
    return None
