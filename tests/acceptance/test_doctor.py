"""`saleor-personalize doctor` beside the running service: well, then without its workers."""

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from saleor_personalize.testing.saleor import FakeSaleor
from saleor_personalize.testing.stack import Stack, wait_until

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(300)]


def doctor(stack: Stack) -> tuple[int, dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, "-m", "saleor_personalize.project", "doctor", "--json"],
        env=stack.environment,
        cwd=stack.folder,
        capture_output=True,
        text=True,
        check=False,
    )
    answer: dict[str, Any] = json.loads(done.stdout)
    return done.returncode, answer


def levels(answer: dict[str, Any]) -> dict[str, str]:
    return {f["check"].partition(" (")[0]: f["level"] for f in answer["findings"]}


@pytest.fixture
def folder() -> Iterator[Path]:
    # Not pytest's own folder: another run of pytest closes it while PostgreSQL is in it.
    with tempfile.TemporaryDirectory(prefix="personalize-doctor-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def test_doctor_finds_a_running_service_well_and_misses_its_workers(folder: Path) -> None:
    with (
        FakeSaleor() as shop,
        Stack(
            folder,
            ALLOWED_SALEOR_API_URLS=re.escape(shop.api_url),
            CHECKOUT_URL="http://127.0.0.1/checkout?checkout={checkout_id}",
        ) as stack,
    ):
        shop.fill()
        wait_until(lambda: doctor(stack)[0] == 0, seconds=60, what="doctor to see the worker")
        assert levels(doctor(stack)[1])["installation"] == "warn"

        shop.install(f"{stack.url}/api/manifest")

        def is_read() -> bool:
            runs = json.loads(stack.run("backfill", "--status", "--json"))
            return bool(runs) and runs[0]["status"] == "done"

        wait_until(is_read, seconds=120, what="the back-fill")
        code, answer = doctor(stack)
        found = levels(answer)
        assert code == 0, answer
        for check in ("database", "migrations", "broker", "worker", "mail", "models"):
            assert found[check] == "ok", answer
        for check in ("token", "jwks", "permissions", "webhooks", "back-fill"):
            assert found[check] == "ok", answer

        stack.end("worker")
        code, answer = doctor(stack)
        assert code == 1
        assert {check for check, level in levels(answer).items() if level == "fail"} == {"worker"}
