"""The folder that goes to npm: one source with what the app serves, small, without dependencies."""

from __future__ import annotations

import gzip
import json
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SERVED = ROOT / "saleor_personalize" / "static" / "saleor_personalize"
PACKAGE = ROOT / "packages" / "storefront"
MANIFEST = json.loads((PACKAGE / "package.json").read_text())

needs_node = pytest.mark.skipif(shutil.which("npm") is None, reason="Node is not installed")


def test_the_module_is_under_four_kilobytes() -> None:
    assert len(gzip.compress((SERVED / "personalize.js").read_bytes(), 9)) < 4_096


def test_b59_the_hints_are_a_file_of_their_own_under_two_kilobytes() -> None:
    assert len(gzip.compress((SERVED / "hints.js").read_bytes(), 9)) < 2_048


def test_b69_the_inbox_is_one_file_without_a_build_under_six_kilobytes() -> None:
    source = (SERVED / "inbox.js").read_text()
    assert len(gzip.compress(source.encode(), 9)) < 6_144
    assert "import" not in re.findall(r"^\w+", source, re.M)


@pytest.mark.parametrize(
    "name",
    ["personalize.js", "personalize.d.ts", "hints.js", "hints.d.ts", "inbox.js", "inbox.d.ts"],
)
def test_npm_and_the_app_serve_the_same_file(name: str) -> None:
    assert (PACKAGE / name).resolve() == SERVED / name


def test_the_package_is_of_this_version_and_needs_nothing_but_react() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert (MANIFEST["version"], MANIFEST["license"]) == (project["version"], project["license"])
    assert not {"dependencies", "devDependencies", "scripts"} & set(MANIFEST)
    assert set(MANIFEST["peerDependencies"]) == {"react"}
    assert "import" not in re.findall(r"^\w+", (SERVED / "personalize.js").read_text(), re.M)
    named = {path for entry in MANIFEST["exports"].values() for path in entry.values()}
    assert named == {f"./{name}" for name in MANIFEST["files"]}


@needs_node
def test_what_would_be_published_is_complete_and_harmless_on_a_server(tmp_path: Path) -> None:
    """`make npm` packs a copy without links; a server that renders pages may import and call it."""
    subprocess.run(["make", "npm", f"NPM_OUT={tmp_path}"], cwd=ROOT, check=True)
    (packed,) = tmp_path.glob("*.tgz")
    shutil.unpack_archive(packed, tmp_path / "unpacked")
    folder = tmp_path / "unpacked" / "package"
    found = {path.name for path in folder.iterdir()}
    assert found == {"LICENSE", "README.md", "package.json", *MANIFEST["files"]}
    script = """
        import { createPersonalize } from "./personalize.js";
        const personalize = createPersonalize({ endpoint: "http://127.0.0.1:9", saleorApiUrl: "x" });
        const rows = await personalize.recommendations({ placement: "home" });
        await personalize.flush();
        await personalize.identify({ token: "x" });
        console.log(JSON.stringify([rows, personalize.view("x") ?? null, personalize.anonymousId ?? null]));
    """
    answered = subprocess.run(
        ["node", "--input-type=module", "--eval", script],
        cwd=folder,
        check=True,
        capture_output=True,
        text=True,
    )
    assert json.loads(answered.stdout) == [[], None, None]
