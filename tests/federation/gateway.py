"""The example's gateway (examples/federation), as it is documented: composed and run with Node."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from saleor_personalize.testing.stack import free_port, wait_until

EXAMPLE = Path(__file__).parents[2] / "examples" / "federation"


def need_node() -> None:
    """Skip where the example cannot run, and say what is missing."""
    if shutil.which("node") is None:
        pytest.skip("Node is not installed: apt-get install nodejs npm, then `make gateway`.")
    if not (EXAMPLE / "node_modules" / ".package-lock.json").exists():
        pytest.skip("Apollo's packages are not there: `make gateway` fetches them with npm.")


def compose(**graphs: str) -> subprocess.CompletedProcess[str]:
    """Run compose.mjs: name=address, and `name_sdl`=file."""
    return subprocess.run(
        ["node", "compose.mjs", *(f"{name.replace('_', '.')}={at}" for name, at in graphs.items())],
        cwd=EXAMPLE,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


class Gateway:
    def __init__(self, url: str) -> None:
        self.url = url

    def ask(self, query: str, variables: Any = None, **headers: str) -> Any:
        """Return the whole answer; `authorization=`, `x_anonymous_id=` are headers."""
        return httpx.post(
            self.url,
            json={"query": query, "variables": variables or {}},
            headers={name.replace("_", "-"): value for name, value in headers.items()},
            timeout=60,
        ).json()


@contextmanager
def gateway(folder: Path, *, saleor: str, personalize: str) -> Iterator[Gateway]:
    """Compose both graphs and serve them; `saleor` is the address that the app knows the shop by."""
    composed = compose(saleor=saleor, personalize=personalize)
    assert composed.returncode == 0, composed.stderr
    supergraph = folder / "supergraph.graphql"
    supergraph.write_text(composed.stdout)
    port = free_port()
    log = folder / "gateway.log"
    with log.open("w") as output:
        process = subprocess.Popen(
            ["node", "gateway.mjs", str(supergraph)],
            cwd=EXAMPLE,
            env={
                **os.environ,
                "SALEOR_API_URL": saleor,
                "PORT": str(port),
                "HOST": "127.0.0.1",
                "APOLLO_TELEMETRY_DISABLED": "true",
            },
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            wait_until(
                lambda: "Ready at" in log.read_text() or process.poll() is not None,
                seconds=90,
                what="the gateway",
            )
            assert process.poll() is None, log.read_text()
            yield Gateway(f"http://127.0.0.1:{port}/")
        finally:
            process.terminate()
            process.wait(timeout=20)
