"""How well the next order and the risk of staying away are foretold on purchases of your own.

    python -m benchmarks.returning purchases.parquet ...

A file has the columns `visitor_id`, `event` ("purchase" counts) and `timestamp` (Unix seconds). The figures of
docs/explanation/traits.md were made so.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as parquet

from saleor_personalize.ml import returning

DAY = 86_400
AT_RISK_SHARE = 0.8


def measure(path: Path) -> dict[str, object]:
    """Return the figures of one file."""
    table = parquet.read_table(path, columns=["visitor_id", "event", "timestamp"]).to_pydict()
    rows = [
        (str(visitor), int(at // DAY))
        for visitor, event, at in zip(*table.values(), strict=True)
        if event == "purchase" and visitor not in (None, "") and visitor == visitor
    ]
    _, people = np.unique([visitor for visitor, _ in rows], return_inverse=True)
    bought = returning.Purchases.of(people, [day for _, day in rows])
    same = bought.person[1:] == bought.person[:-1]
    pauses = (bought.day[1:] - bought.day[:-1])[same]
    at_risk = int(np.quantile(pauses, AT_RISK_SHARE, method="inverted_cdf"))
    horizon = returning.horizon_of(at_risk_days=at_risk)
    found = returning.train(bought, today=int(bought.day.max()), horizon=horizon)
    return {
        "buyers": len(np.unique(bought.person)),
        "horizon_days": horizon,
        **{
            target: {"is_published": one.parameters is not None, **one.figures}
            for target, one in found.items()
        },
    }


if __name__ == "__main__":
    for name in sys.argv[1:]:
        sys.stdout.write(f"{name}: {json.dumps(measure(Path(name)))}\n")
