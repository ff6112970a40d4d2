"""B15 from a terminal: `saleor-personalize segments ...`."""

from __future__ import annotations

import io
import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.core.management.base import CommandError

from saleor_personalize.models import Installation, Profile, Segment
from saleor_personalize.segments import operations
from saleor_personalize.segments.definition import AllOf, Not
from saleor_personalize.segments.reference import reference
from saleor_personalize.segments.rules import InSegment, Language, OrderCount


def run(*words: str, **options: Any) -> str:
    out = io.StringIO()
    call_command("personalize_segments", *words, stdout=out, **options)
    return out.getvalue()


@pytest.fixture
def two(installation: Installation, alice: Profile, bob: Profile, now: datetime) -> None:
    for key, definition in (
        ("new", OrderCount(at_most=0)),
        ("others", Not(InSegment(segment="new"))),
    ):
        operations.create_segment(
            installation=installation, key=key, name=key.title(), definition=definition, now=now
        )
    operations.evaluate_due(now=now)


def test_b15_the_command_lists_counts_and_shows(two: None) -> None:
    listed = json.loads(run("list", "--json"))
    assert {row["key"]: row["members"] for row in listed["segments"]} == {"new": 2, "others": 0}
    assert listed["waiting"] == 0
    assert "new  members=2  New" in run("list")
    assert run("count", "new") == "2 people match now.\n"
    shown = run("show", "new")
    assert shown.startswith("New: Orders: at most 0 times\n2 members")
    assert json.loads(run("show", "new", "--json"))["definition"] == {
        "rule": "order_count", "at_most": 0,
    }  # fmt: skip


def test_b15_a_definition_in_a_file_is_counted(two: None, tmp_path: Path) -> None:
    file = tmp_path / "german.json"
    file.write_text(json.dumps(Language(code="de").to_json()))
    Profile.objects.filter(pk=Profile.objects.earliest("pk").pk).update(language_code="DE")
    assert json.loads(run("count", "--definition", str(file), "--json")) == {"count": 1}
    file.write_text('{"rule": "languge", "code": "de"}')
    with pytest.raises(CommandError, match="Did you mean language"):
        run("count", "--definition", str(file))


def test_b15_segments_are_copied_to_another_shop(
    two: None, other_installation: Installation, tmp_path: Path
) -> None:
    main = "https://main.saleor.test/graphql/"
    other = other_installation.saleor_api_url
    # In the file, the one that builds on the other comes first.
    rows = json.loads(run("export", "--installation", main))[::-1]
    file = tmp_path / "segments.json"
    file.write_text(json.dumps(rows))
    assert run("import", str(file), "--installation", other) == "2 made, 0 changed.\n"
    assert run("export", "--installation", other) == run("export", "--installation", main)
    assert run("import", str(file), "--installation", other) == "0 made, 2 changed.\n"
    rows[1]["definition"] = AllOf().to_json()
    rows.append({"key": "bad", "name": "Bad", "definition": {"rule": "order_count"}})
    file.write_text(json.dumps(rows))
    with pytest.raises(
        CommandError, match=r"Segment 3 \(bad\):\ndefinition.at_least.*\nNothing was"
    ):
        run("import", str(file), "--installation", other)
    assert Segment.objects.of(other_installation).count() == 2
    kept = Segment.objects.of(other_installation).get(key="new")
    assert kept.definition == {"rule": "order_count", "at_most": 0}


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["show", "nwe"], "There is no segment 'nwe'. Known: new, others."),
        (["count"], "Name a segment, or a file"),
        (["count", "--definition", "/nowhere.json"], "cannot be read"),
        (["import", "/nowhere.json"], "cannot be read"),
    ],
)
def test_b15_the_command_says_what_is_wrong(two: None, words: list[str], text: str) -> None:
    with pytest.raises(CommandError, match=text):
        run(*words)


def test_b15_the_reference_of_rules_is_what_the_rules_say() -> None:
    page = Path(__file__).parents[2] / "docs" / "reference" / "segment-rules.md"
    assert page.read_text() == reference() == run("rules")
