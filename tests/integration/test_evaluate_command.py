"""`saleor-personalize evaluate`: figures that can be counted by hand, on folders made here."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from saleor_personalize.ml.evaluation import questions_of
from saleor_personalize.project.cli import main

DAY = 86_400


def rows() -> list[dict[str, Any]]:
    """Forty orders of tea with a pot, forty of bread with butter, and a kettle that one visitor bought."""
    found = []
    for number in range(40):
        for visitor, basket in (
            (f"t{number}", ("tea", "pot")),
            (f"b{number}", ("bread", "butter")),
        ):
            found += [
                {
                    "visitor_id": visitor,
                    "item_id": item,
                    "event": "purchase",
                    "timestamp": 1_700_000_000 + number * DAY,
                    "order_id": f"{visitor}-order",
                }
                for item in basket
            ]
    found.append({**found[0], "visitor_id": "z", "item_id": "kettle", "order_id": "z-order"})
    return found


CASES = {
    "basket": [["tea", ["pot"]], ["bread", ["butter"]], ["pot", ["kettle"]]],
    "user": [["z", ["tea", "pot"], ["kettle"]]],
    "session": [],
}


def write(folder: Path, format_: str) -> Path:
    events = rows()
    if format_ == "parquet":
        parquet.write_table(pa.Table.from_pylist(events), folder / "train.parquet")
    elif format_ == "jsonl":
        (folder / "train.jsonl").write_text("\n".join(json.dumps(event) for event in events))
    else:
        with (folder / "train.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, list(events[0]))
            writer.writeheader()
            writer.writerows(events)
    (folder / "cases_public.json").write_text(json.dumps(CASES))
    return folder


@pytest.mark.parametrize("format_", ["parquet", "csv", "jsonl"])
def test_the_figures_are_those_counted_by_hand(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], format_: str
) -> None:
    assert main(["evaluate", str(write(tmp_path, format_)), "--json"]) == 0

    found = json.loads(capsys.readouterr().out)
    assert found["events"] == 161
    assert set(found["tasks"]) == {"basket", "user"}
    basket = found["tasks"]["basket"]["engine"]
    assert basket["cases"] == 3
    assert basket["k"] == 10
    # The pot's kettle comes after all that was ever bought with anything, but it comes.
    assert basket["recall"] == 1.0
    assert basket["mrr"] > found["tasks"]["basket"]["popularity"]["mrr"]
    user = found["tasks"]["user"]["popularity"]
    assert user["recall"] == 1.0
    # bread, butter, pot, tea are bought alike: by name, so the visitor's two are third and fourth.
    assert user["mrr"] == pytest.approx(1 / 3)


def test_the_table_shows_both(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", str(write(tmp_path, "csv")), "--no-tune", "--no-rerank"]) == 0

    printed = capsys.readouterr().out
    assert "161 events" in printed
    assert "popularity" in printed
    assert "R@10" in printed
    assert "MRR@10" in printed


def test_a_folder_without_events_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["evaluate", str(tmp_path)])

    assert "has no train.parquet or train.csv or train.jsonl" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("cases", "message"),
    [
        ("{", "cases_public.json: Expecting"),
        ('{"user": [["z"]]}', "Case 0 of 'user' is not of its form"),
        ("[1]", "Cases are lists by task (session, user, basket, cold), not one list"),
        ('{"user": [[1.5, [1], []]]}', "Case 0 of 'user' is not of its form: 1.5 is no id"),
        ('{"session": [[["a"], ["click"], "b", [], "z", 1]]}', "form: Unknown event 'click'"),
        ('{"session": [[["a"], ["view", "view"], "b", [], "z", 1]]}', "2 kinds for the 1 items"),
        ('{"session": [[[], null, "tea", [], null, null]]}', "Case 0 of 'session'"),
    ],
)
def test_cases_that_are_none_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], cases: str, message: str
) -> None:
    write(tmp_path, "csv")
    (tmp_path / "cases_public.json").write_text(cases)

    with pytest.raises(SystemExit):
        main(["evaluate", str(tmp_path)])

    assert message in capsys.readouterr().err


def test_a_value_that_makes_no_sense_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path, "csv")
    train = tmp_path / "train.csv"
    train.write_text(train.read_text().replace("purchase", "purchas", 1))

    with pytest.raises(SystemExit):
        main(["evaluate", str(tmp_path)])

    assert "Unknown event 'purchas'; known are view, cart" in capsys.readouterr().err


def test_the_item_being_viewed_is_excluded_where_it_never_comes_next() -> None:
    other = [["a", "b"], None, "c", ["c"], None, None]
    again = [["a", "b"], None, "b", ["b"], None, None]

    assert [q.asked["exclude"] for q in questions_of({"session": [other]})["session"]] == [("b",)]
    both = questions_of({"session": [other, again]})["session"]
    assert [question.asked["exclude"] for question in both] == [(), ()]
