"""`make bench-quality DATA=folder`: the engine beside its peers on real shops, in one run.

Each folder below DATA is in the form of docs/howto/evaluate.md. The peers are fitted on the same events and
asked the same cases, one after the other, on one thread. Prints tables and the bars, and writes JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter
from typing import Any

import pyarrow as pa
from pyarrow import compute, parquet

from benchmarks import peers
from saleor_personalize.ml import Engine
from saleor_personalize.ml.base import Context
from saleor_personalize.ml.data import Interactions
from saleor_personalize.ml.evaluation import Answers, Measured, Question, measure, questions_of
from saleor_personalize.ml.frames import interactions_of
from saleor_personalize.ml.recommenders.repeats import BuyAgain

#: task -> figures shown.
SHOWN = {
    "session": ("hit_rate", "mrr", "ndcg", "coverage"),
    "user": ("recall", "ndcg", "hit_rate", "coverage"),
    "basket": ("recall", "mrr", "hit_rate", "coverage"),
    "cold": ("recall", "mrr", "hit_rate", "coverage"),
    "again": ("recall", "ndcg", "hit_rate", "coverage"),
}
#: (folder, task) -> figure -> what it must reach.
BARS: Mapping[tuple[str, str], Mapping[str, float]] = {
    ("retailrocket_seq", "session"): {"hit_rate": 0.615, "mrr": 0.350},
    ("retailrocket_mb", "session"): {"hit_rate": 0.137, "mrr": 0.068},
    ("online_retail", "user"): {"recall": 0.170, "ndcg": 0.153},
    ("online_retail", "basket"): {"recall": 0.202},
    ("online_retail", "cold"): {"recall": 0.170},
    ("completejourney", "user"): {"recall": 0.055, "ndcg": 0.058},
    ("completejourney", "basket"): {"recall": 0.103},
}
#: Fewer cases than this are shown without peers: they tell nothing apart.
FEWEST_CASES = 200
#: Days of the split on which "buy again" is asked.
AGAIN_DAYS = 28


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quality", description=__doc__)
    parser.add_argument("data", type=Path, help="folder of folders")
    parser.add_argument("--only", action="append", help="a folder below it")
    parser.add_argument("--every", type=int, default=1, help="ask every n-th case, to explore")
    parser.add_argument("--no-peers", action="store_true")
    options = parser.parse_args()
    warnings.filterwarnings("ignore", module="implicit")
    folders = sorted(path.parent for path in options.data.glob("*/cases_public.json"))
    if options.only:
        folders = [folder for folder in folders if folder.name in options.only]
    if not folders:
        parser.error(f"{options.data} has no folder with cases_public.json.")
    results: dict[str, Any] = {}
    bars: list[tuple[str, float, float, bool]] = []
    for folder in folders:
        results[folder.name] = run(folder, options.every, bars, with_peers=not options.no_peers)
    print("\nbars")
    for name, found, aim, is_met in bars:
        print(f"  {name:<56} {found:>8.4f} {aim:>8.3f}  {'met' if is_met else 'NOT met'}")
    output = Path(__file__).with_name("results")
    output.mkdir(exist_ok=True)
    file = output / f"quality-{datetime.now(UTC):%Y%m%dT%H%M%S}.json"
    file.write_text(json.dumps({"sets": results, "bars": bars}, indent=2) + "\n")
    print(f"\n{file}")
    return 0


def run(
    folder: Path, every: int, bars: list[tuple[str, float, float, bool]], *, with_peers: bool
) -> dict[str, Any]:
    """Fit and ask the engine and the peers on one folder."""
    table = parquet.read_table(folder / "train.parquet")
    items_file = folder / "items.parquet"
    items = parquet.read_table(items_file) if items_file.exists() else None
    questions = questions_of(json.loads((folder / "cases_public.json").read_text()))
    train, _ = interactions_of(table)
    fit_seconds, engine = timed(lambda: Engine().fit(table, items))
    bare_seconds, _ = timed(lambda: Engine(rerank=False, tune=False).fit(table, items))
    print(
        f"\n{folder.name}: {table.num_rows} events; engine fitted in {fit_seconds:.1f} s, "
        f"without re-ranker and tuning in {bare_seconds:.2f} s",
        flush=True,
    )
    if folder.name == "retailrocket_seq":
        bars.append((f"{folder.name} seconds of a fit", fit_seconds, 25.0, fit_seconds <= 25))
        bars.append((f"{folder.name} seconds of a bare fit", bare_seconds, 1.0, bare_seconds <= 1))
    found: dict[str, Any] = {"fit_seconds": fit_seconds, "bare_fit_seconds": bare_seconds}
    found["report"] = engine.report
    shop = peers.Shop.of(table)
    for task, cases in questions.items():
        if not cases:
            continue
        chosen = cases[::every]
        rivals = peers.peers_of(task) if with_peers and len(cases) >= FEWEST_CASES else []
        found[task] = compare(task, engine, fit_seconds, rivals, shop, chosen, train)
        for figure, aim in BARS.get((folder.name, task), {}).items():
            value = found[task]["engine"][figure]
            bars.append((f"{folder.name} {task} {figure}", value, aim, value >= aim))
        if task == "session":
            value = found[task]["engine"]["p99_ms"]
            bars.append((f"{folder.name} {task} p99 ms", value, 3.0, value <= 3.0))
    if "order_id" in table.column_names:
        found["again"] = buy_again(folder.name, table, items, every, bars)
    return found


def compare(
    task: str,
    engine: Answers,
    fit_seconds: float,
    rivals: Sequence[peers.Peer],
    shop: peers.Shop,
    cases: Sequence[Question],
    train: Interactions,
) -> dict[str, Any]:
    """Ask the engine and each rival the same cases, and print a line for each."""
    print(f"\n  {task}: {len(cases)} cases")
    head = "".join(f"{name:>10}" for name in SHOWN[task])
    print(f"  {'':<24}{'fit s':>8}{head}{'p50 ms':>9}{'p99 ms':>9}")
    found = {"engine": line("engine", task, fit_seconds, measure(engine, cases, train))}
    for rival in rivals:
        seconds, fitted = timed(lambda rival=rival: rival.fit(shop))
        found[rival.name] = line(rival.name, task, seconds, measure(fitted, cases, train))
    return found


def line(name: str, task: str, seconds: float, result: Measured) -> dict[str, Any]:
    values = asdict(result)
    shown = "".join(f"{values[figure]:>10.4f}" for figure in SHOWN[task])
    times = f"{result.p50_ms:>9.2f}{result.p99_ms:>9.2f}"
    print(f"  {name:<24}{seconds:>8.1f}{shown}{times}", flush=True)
    return {"fit_seconds": seconds, **values}


def buy_again(
    name: str, table: pa.Table, items: Any, every: int, bars: list[tuple[str, float, float, bool]]
) -> dict[str, Any]:
    """Split the events themselves: what do known customers buy in the last four weeks?

    All that they buy is right, so what is new to them counts against the engine and the peers alike.
    The engine keeps the constants for too little data here.
    """
    times = table["timestamp"].to_numpy()
    cut = float(times.max()) - AGAIN_DAYS * 86_400
    past = table.filter(compute.less(table["timestamp"], cut))
    after = table.filter(compute.greater_equal(table["timestamp"], cut))
    own, taken = bought(past), bought(after)
    cases = [
        Question("again", {"visitor_id": visitor, "k": 20}, frozenset(map(str, taken[visitor])))
        for visitor in sorted(taken)
        if visitor >= 0 and visitor in own
    ][::every]
    train, _ = interactions_of(past)
    engine = Engine(recommenders={"buy_again": BuyAgain()}, tune=False)
    seconds, engine = timed(lambda: engine.fit(past, items))
    if "buy_again" not in engine.aliases:
        return {}
    found = compare(
        "again",
        _Again(engine),
        seconds,
        [peers.OwnCount(), peers.Pop()],
        peers.Shop.of(past),
        cases,
        train,
    )
    ours, theirs = found["engine"], found[peers.OwnCount().name]
    for figure in ("recall", "ndcg"):
        bars.append(
            (
                f"{name} buy again {figure} v own count",
                ours[figure],
                theirs[figure],
                ours[figure] > theirs[figure],
            )
        )
    return found


class _Again:
    """The engine's `buy_again`, asked for a visitor."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    def recommend(self, visitor_id: Any = None, k: int = 20, **_: Any) -> list[str]:
        context = Context(visitor_id=str(visitor_id))
        return [found.item_id for found in self.engine.candidates("buy_again", context, k)]

    def related(self, item_id: Any, k: int = 10) -> list[Any]:
        return []


def bought(table: pa.Table) -> dict[int, set[int]]:
    found: dict[int, set[int]] = {}
    for visitor, item, event in zip(
        table["visitor_id"].to_pylist(),
        table["item_id"].to_pylist(),
        table["event"].to_pylist(),
        strict=True,
    ):
        if event == "purchase":
            found.setdefault(visitor, set()).add(item)
    return found


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    started = perf_counter()
    found = work()
    return perf_counter() - started, found


if __name__ == "__main__":
    sys.exit(main())
