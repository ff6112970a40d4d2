"""The demo before it starts anything: what it refuses, and what it keeps away from a real service."""

from __future__ import annotations

import re
import socket
from pathlib import Path

import pytest

from saleor_personalize.project import processes, settings
from saleor_personalize.project.cli import main
from saleor_personalize.testing.stack import SERVICE_VARIABLES, surroundings


def test_a_taken_port_is_told_before_anything_starts(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("signal.signal", lambda *_: None)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["demo", "--port", str(port)]) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith(f"saleor-personalize demo: Port {port} cannot be had")
    assert "Is another demo running?" in printed.err
    assert "Traceback" not in printed.err


def test_no_variable_of_a_real_service_reaches_the_demo() -> None:
    """A shell with a real `.env` in it must not lend the demo its mail server or its broker."""
    kept = {"PATH": "/bin", "HOME": "/root", "LANG": "C.UTF-8"}
    given = {
        **kept,
        **dict.fromkeys(SERVICE_VARIABLES, "real"),
        "ANYMAIL_POSTMARK_SERVER_TOKEN": "real",
        "CELERY_RESULT_BACKEND": "real",
    }
    assert surroundings(given) == kept


def test_every_variable_that_the_service_reads_is_known_to_the_demo() -> None:
    source = "".join(Path(str(module.__file__)).read_text() for module in (settings, processes))
    read = set(
        re.findall(r'(?:environ(?:\.get)?[\[(]|_flag\(|_list\(|_number\()"([A-Z_]+)"', source)
    )
    assert read == SERVICE_VARIABLES
