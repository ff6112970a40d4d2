"""What can be set, run or read about a message is in the reference; nothing exists only there."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import pytest
from graphql import build_schema, parse, validate

from saleor_personalize import conf, enums, signals
from saleor_personalize.ingestion.subscriptions import BY_EVENT
from saleor_personalize.project import cli, settings
from saleor_personalize.testing.saleor import sdl
from tests.federation import composed

ROOT = Path(__file__).parents[2]
REFERENCE = {path.stem: path.read_text() for path in (ROOT / "docs" / "reference").glob("*.md")}


@pytest.mark.parametrize("name", sorted(conf.known_names()))
def test_every_setting_is_documented_with_its_type(name: str) -> None:
    assert re.search(rf"^\| `{name}` \| `", REFERENCE["settings"], re.MULTILINE)


def test_no_setting_is_documented_that_does_not_exist() -> None:
    table = REFERENCE["settings"].split("## Environment")[0]
    documented = set(re.findall(r"^\| `([A-Z_]+)` \|", table, re.MULTILINE))
    assert documented == {field.name for field in dataclasses.fields(conf.Defaults)}


def test_every_environment_variable_is_documented() -> None:
    source = Path(settings.__file__).read_text()
    names = set(
        re.findall(r'(?:environ(?:\.get)?[\[(]|_flag\(|_list\(|_number\()"([A-Z_]+)"', source)
    )
    assert names
    missing = {name for name in names if f"`{name}`" not in REFERENCE["settings"]}
    assert missing == set()


def test_every_webhook_is_documented_with_its_permission() -> None:
    rows = re.findall(r"^\| (`[^|]*) \| (?:`(\w+)`|none) \|", REFERENCE["webhooks"], re.MULTILINE)
    documented = {
        event: permission or None
        for names, permission in rows
        for event in re.findall(r"\w+", names)
    }
    assert documented == {event: one.permission for event, one in BY_EVENT.items()}


@pytest.mark.parametrize("name", ["Query", "Mutation"])
def test_every_root_field_is_in_the_reference(name: str) -> None:
    missing = [
        field for field in root_fields(name) if not re.search(rf"\b{field}\b", REFERENCE["graphql"])
    ]
    assert missing == []


def root_fields(name: str) -> list[str]:
    """Return the fields of our own public schema, those of federation included."""
    package = Path(conf.__file__).parent
    schema = build_schema((package / "graphql" / "schema.graphql").read_text())
    return sorted(getattr(schema.type_map[name], "fields", {}))


@pytest.mark.parametrize("word", sorted([*cli.COMMANDS, *cli.PROCESSES]))
def test_every_command_is_documented(word: str) -> None:
    assert f"`saleor-personalize {word}" in REFERENCE["commands"]


@pytest.mark.parametrize(
    "kind",
    [
        enums.AuditAction,
        enums.DeliveryStatus,
        enums.InstallationStatus,
        enums.MessageStatus,
        enums.NotSentReason,
    ],
    ids=lambda kind: kind.__name__,
)
def test_every_state_and_reason_is_documented(kind: type[enums.TextChoices]) -> None:
    for member in kind:
        assert f"`{member.value}`" in REFERENCE["states"], member


def test_every_signal_is_documented() -> None:
    names = [name for name, value in vars(signals).items() if isinstance(value, signals.Signal)]
    assert names
    for name in names:
        assert f"`{name}`" in REFERENCE["signals"]


def test_every_check_is_documented_once() -> None:
    source = (ROOT / "saleor_personalize" / "checks.py").read_text()
    ids = re.findall(r"[EW]\d{3}", source)
    for id_ in set(ids):
        assert f"`saleor_personalize.{id_}`" in REFERENCE["checks"], id_


@pytest.mark.parametrize("path", sorted(ROOT.glob("*.md")) + sorted((ROOT / "docs").rglob("*.md")))
def test_links_between_pages_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\((?!https?://|#|mailto:)([^)#]+)", path.read_text()):
        assert (path.parent / target).exists(), f"{path.name} links to {target}"


@pytest.mark.parametrize("path", sorted(ROOT.glob("*.md")) + sorted((ROOT / "docs").rglob("*.md")))
def test_links_to_a_heading_find_it(path: Path) -> None:
    for target, anchor in re.findall(r"\]\((?!https?://)([^)#]*)#([^)]+)\)", path.read_text()):
        page = (path.parent / target).read_text() if target else path.read_text()
        headings = re.findall(r"^#+ (.+)$", page, re.MULTILINE)
        slugs = {re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in headings}
        assert anchor in slugs, f"{path.name} links to {target}#{anchor}"


def test_the_readme_leads_to_every_guide() -> None:
    linked = set(re.findall(r"\]\((docs/[^)#]+)", (ROOT / "README.md").read_text()))
    guides = {
        str(path.relative_to(ROOT))
        for folder in ("tutorial", "howto", "reference", "explanation")
        for path in (ROOT / "docs" / folder).glob("*.md")
    }
    assert guides - linked == set()


def test_the_graphql_examples_of_the_docs_are_valid() -> None:
    """Copied and pasted they must run: each is checked against the schema it is meant for."""
    ours = build_schema((ROOT / "saleor_personalize/graphql/schema.graphql").read_text())
    saleor, both = sdl.schema(), composed.schema()
    checked = 0
    for path in (ROOT / "docs").rglob("*.md"):
        text = path.read_text()
        fenced = re.findall(r"^```graphql\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
        in_js = re.findall(r"personalize\(\s*`(.*?)`", text, re.DOTALL)
        for query in [*fenced, *in_js]:
            schema = saleor if "updateMetadata" in query else ours
            # A product of Saleor with fields of ours: what a gateway shows.
            schema = both if re.search(r"\bproduct\(id:", query) else schema
            assert validate(schema, parse(query)) == [], f"{path.name}: {query}"
            checked += 1
    assert checked >= 6


def test_the_example_of_the_engine_says_what_comes_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    [code] = re.findall(r"```python\n(.*?)```", REFERENCE["engine"], re.DOTALL)
    monkeypatch.chdir(tmp_path)
    # Each line with a list in its comment becomes an assertion.
    asserted, count = re.subn(
        r"^(engine|Engine)(.*?)  # (\[.*?\]).*$", r"assert \1\2 == \3", code, flags=re.MULTILINE
    )
    assert count == 3
    known: dict[str, object] = {}
    exec(compile(asserted, "docs/reference/engine.md", "exec", dont_inherit=True), known)  # noqa: S102
