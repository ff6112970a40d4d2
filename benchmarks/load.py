"""Prepared requests through Node's autocannon, so that the load costs the same for every server."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

PEER = Path(__file__).with_name("node_peer")


def prepare() -> None:
    """Install the peer's packages from its lock file, once."""
    if not (PEER / "node_modules").is_dir():
        subprocess.run(
            ["npm", "ci", "--no-audit", "--no-fund", "--legacy-peer-deps"], cwd=PEER, check=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip


def run(url: str, requests: Path, connections: int) -> dict[str, Any]:
    """Send every request of the file once and return autocannon's figures."""
    done = subprocess.run(
        ["node", "load.mjs", url, str(requests), str(connections)],
        cwd=PEER, check=True, capture_output=True, text=True,
    )  # fmt: skip
    figures: dict[str, Any] = json.loads(done.stdout)
    if figures["other"]:
        raise RuntimeError(f"{url}: {figures['other']} requests were not answered with 2xx")
    return figures


def write(path: Path, requests: list[dict[str, Any]]) -> Path:
    path.write_text("\n".join(json.dumps(request) for request in requests))
    return path
