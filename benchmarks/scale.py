"""`python -m benchmarks.scale`: the engine at a million items and twenty million events, on one machine.

Sessions are made up by a seed: the items of one lie near each other, and a few items have most of the
events (Zipf). One process fits and saves, its peak of memory is told; another one maps the folder,
answers, and tells what it holds in memory.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import sys
import tempfile
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import pyarrow as pa

from saleor_personalize.ml import Engine

AIM_MB = 1024
#: Items of a session lie in a neighbourhood of so many.
NEAR = 200
MEAN_LENGTH = 5.0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    parser.add_argument("--items", type=int, default=1_000_000)
    parser.add_argument("--events", type=int, default=20_000_000)
    parser.add_argument("--questions", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rerank", action="store_true", help="train the re-ranker, too")
    options = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory(prefix="personalize-scale-") as name:
        folder = Path(name) / "engine"
        # One after the other, each in a process of its own, so that a peak is the peak of one work.
        with context.Pool(1, maxtasksperchild=1) as pool:
            fitted = pool.apply(fit, (folder, options))
            print(json.dumps(fitted, indent=2), flush=True)
            served = pool.apply(serve, (folder, options))
    print(json.dumps(served, indent=2))
    is_met = served["resident_mb"] <= AIM_MB
    print(
        f"resident {served['resident_mb']:.0f} MB after {options.questions} answers, "
        f"aim at most {AIM_MB}: {'met' if is_met else 'NOT met'}"
    )
    return 0


def sessions(items: int, events: int, seed: int) -> dict[str, Any]:
    """Make columns of about `events` rows, in the order of time."""
    random = np.random.default_rng(seed)
    lengths = random.geometric(1.0 / MEAN_LENGTH, int(events / MEAN_LENGTH))
    session = np.repeat(np.arange(len(lengths)), lengths)
    # Zipf over neighbourhoods, and over the items of each.
    home = (items * random.power(0.35, len(lengths)) ** 3).astype(np.int64)
    step = (NEAR * random.power(0.5, len(session)) ** 2).astype(np.int64)
    item = np.minimum(home[session] + step, items - 1)
    visitor = random.integers(0, max(len(lengths) // 3, 1), len(lengths))[session]
    return {
        "visitor_id": visitor,
        "item_id": item,
        "event": pa.DictionaryArray.from_arrays(
            (random.random(len(item)) < 0.05).astype(np.int8), ["view", "purchase"]
        ),
        "timestamp": 1.7e9 + np.arange(len(item), dtype=np.float64),
        "session_id": session,
    }


def fit(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    table = sessions(options.items, options.events, options.seed)
    known = len(np.unique(table["item_id"]))
    before = peak_mb()
    started = perf_counter()
    steps: list[tuple[float, str]] = []
    engine = Engine(rerank=options.rerank, tune=False).fit(
        table, progress=lambda step, _: steps.append((perf_counter() - started, step))
    )
    seconds = perf_counter() - started
    engine.save(folder)
    size = {
        path.name: round(sum(file.stat().st_size for file in path.iterdir()) / 2**20)
        for path in folder.iterdir()
        if path.is_dir()
    }
    return {
        "events": len(table["item_id"]),
        "items_with_events": known,
        "fit_seconds": round(seconds, 1),
        "seconds_of": {
            step: round(until - at, 1)
            for (at, step), (until, _) in zip(steps, [*steps[1:], (seconds, "")], strict=True)
            if step
        },
        "peak_mb": round(peak_mb()),
        "peak_mb_before_fit": round(before),
        "index_mb": size,
    }


def serve(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    engine = Engine.load(folder)
    random = np.random.default_rng(options.seed + 1)
    table = sessions(options.items, 5 * options.questions, options.seed)
    starts = np.flatnonzero(np.diff(table["session_id"], prepend=-1))
    asked = random.choice(len(starts) - 1, min(options.questions, len(starts) - 1), replace=False)
    times = []
    for at in asked.tolist():
        live = table["item_id"][starts[at] : starts[at + 1]].tolist()
        begun = perf_counter()
        engine.recommend(session=live, k=20)
        times.append(perf_counter() - begun)
    p50, p99 = np.quantile(times, (0.5, 0.99)) * 1e3
    return {
        "resident_mb": resident_mb(),
        "p50_ms": round(float(p50), 2),
        "p99_ms": round(float(p99), 2),
    }


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def resident_mb() -> float:
    """Memory of this process now, mapped files that it touched included."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("/proc/self/status tells no VmRSS.")


if __name__ == "__main__":
    sys.exit(main())
