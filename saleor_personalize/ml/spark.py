"""The session index and the co-counts, built by Spark, for events that no one machine can hold.

What comes out is a folder as `Engine.save` writes it, with the same arrays as a fit gives: servers load
it as any other, and map it into memory. Needs the extra `saleor-personalize[spark]`, and a folder that
the driver and all executors see (they write into one file, each its own part). What has one row per
item is held by the driver; what has one per event, visit, visitor or pair of items never is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import astuple
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from saleor_personalize.ml.base import Arrays, Recommender
from saleor_personalize.ml.engine import describe_engine
from saleor_personalize.ml.recommenders.covisitation import BoughtTogether, Constants
from saleor_personalize.ml.recommenders.popularity import DEFAULT_WEIGHTS, Popular
from saleor_personalize.ml.recommenders.session import Session
from saleor_personalize.ml.sessions import GAP, KINDS

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

DAY = 86_400.0
#: Rows of one partition that `monotonically_increasing_id` can tell apart.
_ROW_BITS = 33


def build(
    events: DataFrame, folder: Path | str, recommenders: Mapping[str, Recommender] | None = None
) -> None:
    """Write what `Engine.load(folder, recommenders=recommenders)` reads.

    `events`: the columns that `Engine.fit` takes; ids are strings or whole numbers, timestamps unix
    seconds, no row is given twice. Rows of one moment of a visit keep the order of the frame.
    `recommenders`: alias -> `Session`, `BoughtTogether` (without tuning) or `Popular`, by default one
    each. FileExistsError: the folder holds something.
    """
    target = _empty(folder)
    chosen = default_recommenders() if recommenders is None else dict(recommenders)
    rows = _rows(events)
    for alias, recommender in chosen.items():
        if type(recommender) not in _BUILDERS:
            known = ", ".join(sorted(cls.__name__ for cls in _BUILDERS))
            raise TypeError(f"{alias}: Spark builds {known}, not {type(recommender).__name__}.")
    for alias, recommender in chosen.items():
        _BUILDERS[type(recommender)](rows, _empty(target / alias), recommender)
    kind = dict(events.dtypes)["item_id"]
    describe_engine(
        target, list(chosen), ids_are_numbers=kind in ("tinyint", "smallint", "int", "bigint")
    )


def default_recommenders() -> dict[str, Recommender]:
    """Give what is built, and what `Engine.load` is given to read it."""
    return {
        "next_item": Session(),
        "bought_together": BoughtTogether(tune=False),
        "popular": Popular(),
    }


def _session(rows: DataFrame, target: Path, recommender: Recommender) -> None:
    """Number visits in the order in which they ended, and events within them."""
    from pyspark.sql import Window
    from pyspark.sql import functions as sql

    items = _numbered(rows.select("item").distinct(), ["item"], "item_code")
    visitors = _numbered(rows.select("visitor").distinct(), ["visitor"], "visitor_code")
    ids = np.array([row.item.encode() for row in items.sort("item_code").toLocalIterator()], "S")

    # Visits: by their id, else by visitor and pauses.
    by_visitor = Window.partitionBy("visitor", sql.isnull("session")).orderBy("timestamp", "given")
    pause = sql.col("timestamp") - sql.lag("timestamp").over(by_visitor)
    began = sql.sum(sql.when(pause > GAP, 1).otherwise(0)).over(by_visitor)
    rows = rows.withColumn(
        "visit",
        sql.when(
            sql.isnull("session"),
            sql.struct(sql.lit("").alias("id"), "visitor", began.alias("number")),
        ).otherwise(
            sql.struct(
                sql.col("session").alias("id"),
                sql.lit("").alias("visitor"),
                sql.lit(-1).cast("long").alias("number"),
            )
        ),
    )
    place = sql.struct("timestamp", "given")
    visits = rows.groupBy("visit").agg(
        sql.max("timestamp").alias("ended"),
        sql.min(place).alias("first"),
        sql.min_by("visitor", place).alias("visitor"),
        sql.count("*").alias("length"),
    )
    visits = _numbered(visits, ["ended", "first"], "session_code").join(visitors, "visitor")
    kinds = sql.create_map(*[sql.lit(part) for pair in KINDS.items() for part in pair])
    log = _numbered(
        rows.withColumn("kind", kinds[sql.col("event")])
        .join(visits.select("visit", "session_code"), "visit")
        .join(items, "item"),
        ["session_code", "timestamp", "given"],
        "row",
    )
    places = _numbered(log.select("item_code", "row"), ["item_code", "row"], "place")

    count, sessions = log.count(), visits.count()
    arrays: Arrays = {
        "ids": ids,
        **_files(
            target,
            {
                "log_item": (np.int32, count),
                "log_kind": (np.int8, count),
                "log_session": (np.int32, count),
                "log_occurrence": (np.int32, count),
                "log_ended": (np.float64, sessions),
                "log_visitor": (np.int32, sessions),
                "log_start": (np.int64, sessions + 1),
                "log_first": (np.int64, len(ids) + 1),
            },
        ),
    }
    np.save(target / "ids.npy", ids, allow_pickle=False)
    _write(
        log, "row", target,
        {"log_item": "item_code", "log_kind": "kind", "log_session": "session_code"},
    )  # fmt: skip
    _write(places, "place", target, {"log_occurrence": "row"})
    _write(
        visits, "session_code", target,
        {"log_ended": "ended", "log_visitor": "visitor_code", "log_start": "length"},
        shift={"log_start": 1},
    )  # fmt: skip
    _write(
        log.groupBy("item_code").count(), "item_code", target, {"log_first": "count"},
        shift={"log_first": 1},
    )  # fmt: skip
    for name in ("log_start", "log_first"):
        lengths = np.lib.format.open_memmap(target / f"{name}.npy", mode="r+")
        np.cumsum(lengths, out=lengths)
        lengths.flush()
    recommender._describe(target, arrays)


def _together(rows: DataFrame, target: Path, recommender: Recommender) -> None:
    """Count pairs of items of each order, and keep the best of each item."""
    from pyspark.sql import Window
    from pyspark.sql import functions as sql

    options: Any = recommender
    if options.tune or options.visitor_weight:
        raise ValueError("Spark counts orders under given constants: tune=False, visitor_weight=0.")
    lines = rows.where("order IS NOT NULL")
    orders = lines.groupBy("order").agg(
        sql.max("timestamp").alias("placed_at"), sql.countDistinct("item").alias("size")
    )
    last = orders.agg(sql.max("placed_at")).collect()[0][0] or 0.0
    age = (sql.lit(last) - sql.col("placed_at")) / DAY
    worth = sql.pow(sql.log2(1.0 + sql.col("size")), sql.lit(-options.size_exponent))
    if options.half_life_days is not None:
        worth = worth * sql.pow(sql.lit(2.0), -age / options.half_life_days)
    orders = orders.select(
        "order", worth.alias("worth"), (age < options.trend_days).cast("int").alias("is_recent")
    )
    baskets = lines.select("order", "item").distinct().join(orders, "order")
    counted = baskets.groupBy("item").agg(
        sql.count("*").alias("orders"), sql.sum("is_recent").alias("recent")
    )
    found = sorted((row.item.encode(), row.orders, row.recent) for row in counted.collect())
    ids = np.array([item for item, _, _ in found], dtype="S")
    held = np.array([orders for _, orders, _ in found], dtype=np.float64)
    recent = np.array([recent for _, _, recent in found], dtype=np.float64)
    trend = (recent + 1.0) / (held * (recent.sum() / max(held.sum(), 1.0)) + 1.0)
    factors = rows.sparkSession.createDataFrame(
        list(
            zip(
                (item.decode() for item, _, _ in found),
                range(len(ids)),
                (held**-options.seed_exponent).tolist(),
                (held**-options.popularity_exponent * trend**options.trend_exponent).tolist(),
                strict=True,
            )
        ),
        "item string, code long, as_seed double, as_target double",
    )
    coded = baskets.join(sql.broadcast(factors), "item")
    left = coded.select("order", "worth", sql.col("code").alias("a"), "as_seed")
    right = coded.select("order", sql.col("code").alias("b"), "as_target")
    score = (sql.sum("worth") * sql.first("as_target") * sql.first("as_seed")).cast("float")
    pairs = (
        left.join(right, "order")
        .where("a <> b")
        .groupBy("a", "b")
        .agg(score.alias("score"), sql.count("*").alias("support"))
        .where((sql.col("score") > 0) & (sql.col("support") >= options.min_support))
    )
    rank = sql.row_number().over(Window.partitionBy("a").orderBy(sql.desc("score"), "b"))
    best = pairs.withColumn("rank", rank).where(sql.col("rank") <= options.n_neighbours)
    best = _numbered(best, ["a", "rank"], "place")
    count = best.count()
    wanted = {"indices": (np.int32, count), "scores": (np.float32, count)}
    arrays = {"ids": ids, **_files(target, wanted)}
    _write(best, "place", target, {"indices": "b", "scores": "score"})
    lengths = np.zeros(len(ids) + 1, dtype=np.int64)
    for row in best.groupBy("a").count().toLocalIterator():
        lengths[row["a"] + 1] = row["count"]
    given = [
        getattr(options, name) for name in Constants.__dataclass_fields__ if hasattr(options, name)
    ]
    defaults = Constants(*given)
    arrays["constants"] = np.array(
        [np.nan if value is None else value for value in astuple(defaults)], dtype=np.float64
    )
    arrays["indptr"] = np.cumsum(lengths)
    for name in ("ids", "constants", "indptr"):
        np.save(target / f"{name}.npy", arrays[name], allow_pickle=False)
    recommender._describe(target, arrays)


def _popular(rows: DataFrame, target: Path, recommender: Recommender) -> None:
    """Add up the events of each item."""
    from pyspark.sql import functions as sql

    options: Any = recommender
    weights = {**DEFAULT_WEIGHTS, **(options.event_weights or {})}
    weight = sql.create_map(*[sql.lit(part) for pair in weights.items() for part in pair])
    worth = weight[sql.col("event")]
    if options.half_life_days is not None:
        now = options.now or rows.agg(sql.max("timestamp")).collect()[0][0] or 0.0
        age = sql.greatest(sql.lit(now) - sql.col("timestamp"), sql.lit(0.0))
        worth = worth * sql.pow(sql.lit(2.0), -age / (DAY * options.half_life_days))
    scores = (
        rows.where(weight[sql.col("event")] > 0).groupBy("item").agg(sql.sum(worth).alias("score"))
    )
    found = sorted(
        ((row.item.encode(), row.score) for row in scores.collect()),
        key=lambda row: (-row[1], row[0]),
    )
    arrays: Arrays = {
        "ids": np.array([item for item, _ in found], dtype="S"),
        "scores": np.array([score for _, score in found], dtype=np.float64),
    }
    for name, array in arrays.items():
        np.save(target / f"{name}.npy", array, allow_pickle=False)
    recommender._describe(target, arrays)


_BUILDERS: dict[type[Recommender], Callable[[DataFrame, Path, Recommender], None]] = {
    Session: _session,
    BoughtTogether: _together,
    Popular: _popular,
}


def _rows(events: DataFrame) -> DataFrame:
    """Give the columns that are used, ids as strings, and `given`, the place in the frame."""
    from pyspark.sql import functions as sql

    def text(name: str) -> Any:
        return (
            sql.col(name).cast("string") if name in events.columns else sql.lit(None).cast("string")
        )

    rows = events.withColumn("_given", sql.monotonically_increasing_id())
    # Whoever is not known is somebody new in each visit or order, as in `Engine.fit`.
    visitor = text("visitor_id")
    is_known = ~sql.isnull(visitor)
    if dict(events.dtypes)["visitor_id"] != "string":
        is_known &= sql.col("visitor_id") >= 0
    somebody = sql.coalesce(
        sql.concat(sql.lit("?s"), text("session_id")),
        sql.concat(sql.lit("?o"), text("order_id")),
        sql.concat(sql.lit("?r"), sql.col("_given").cast("string")),
    )
    return rows.select(
        sql.when(is_known, visitor).otherwise(somebody).alias("visitor"),
        text("item_id").alias("item"),
        text("event").alias("event"),
        sql.col("timestamp").cast("double").alias("timestamp"),
        text("session_id").alias("session"),
        text("order_id").alias("order"),
        sql.col("_given").alias("given"),
    ).localCheckpoint()


def _empty(folder: Path | str) -> Path:
    target = Path(folder)
    if target.exists() and any(target.iterdir()):
        raise FileExistsError(f"{target} is not empty; build into a new folder.")
    target.mkdir(parents=True, exist_ok=True)
    return target


def _numbered(frame: DataFrame, order: list[str], name: str) -> DataFrame:
    """Sort and number the rows from 0, without ever bringing them to one machine."""
    from pyspark.sql import functions as sql

    within = sql.monotonically_increasing_id().bitwiseAND(sql.lit((1 << _ROW_BITS) - 1))
    ordered = (
        frame.sort(*order)
        .withColumn("_part", sql.spark_partition_id())
        .withColumn("_within", within)
        .localCheckpoint()
    )
    counts = {row["_part"]: row["count"] for row in ordered.groupBy("_part").count().collect()}
    parts = range(max(counts, default=-1) + 1)
    starts = np.cumsum([0, *(counts.get(part, 0) for part in parts)]).tolist()
    start = sql.array(*[sql.lit(start).cast("long") for start in starts])
    return ordered.withColumn(name, start[sql.col("_part")] + sql.col("_within")).drop(
        "_part", "_within"
    )


def _files(target: Path, wanted: Mapping[str, tuple[type, int]]) -> Arrays:
    """Make files of zeros of their final size."""
    return {
        name: np.lib.format.open_memmap(
            target / f"{name}.npy", mode="w+", dtype=dtype, shape=(length,)
        )
        for name, (dtype, length) in wanted.items()
    }


def _write(
    frame: DataFrame,
    index: str,
    target: Path,
    columns: Mapping[str, str],
    *,
    shift: Mapping[str, int] | None = None,
) -> None:
    """Let each partition write its rows to their places in the files: array name -> column.

    `index` numbers the rows without gaps, so that after sorting each batch is one piece of a file.
    """
    paths = {name: str(target / f"{name}.npy") for name in columns}
    write = _writer(index, paths, dict(columns), dict(shift or {}))
    frame.select(index, *columns.values()).sort(index).mapInArrow(write, "rows long").count()


def _writer(
    index: str, paths: dict[str, str], columns: dict[str, str], shift: dict[str, int]
) -> Callable[[Iterator[Any]], Iterator[Any]]:
    def write(batches: Iterator[Any]) -> Iterator[Any]:
        import pyarrow

        rows = 0
        for batch in batches:
            at = batch.column(index).to_numpy(zero_copy_only=False)
            if not len(at):
                continue
            for name, column in columns.items():
                header = np.load(paths[name], mmap_mode="r")
                values = batch.column(column).to_numpy(zero_copy_only=False).astype(header.dtype)
                first = int(at[0]) + shift.get(name, 0)
                # Not through the map: machines that share a disk do not share its pages.
                with Path(paths[name]).open("r+b") as file:
                    file.seek(header.offset + first * header.itemsize)
                    file.write(values.tobytes())
            rows += len(at)
        yield pyarrow.RecordBatch.from_pydict({"rows": [rows]})

    return write
