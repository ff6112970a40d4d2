"""The demo before it starts anything: what it refuses, and what it keeps away from a real service."""

from __future__ import annotations

import re
import socket
import subprocess
from email.message import Message
from pathlib import Path

import pytest

from saleor_personalize.project import processes, settings
from saleor_personalize.project.cli import main
from saleor_personalize.testing.demo.pages import DemoPages
from saleor_personalize.testing.saleor import FakeSaleor
from saleor_personalize.testing.stack import SERVICE_VARIABLES, Stack, surroundings


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


def test_a_shell_speaks_to_the_demo_with_the_variables_of_its_service_alone(tmp_path: Path) -> None:
    stack = Stack(
        tmp_path,
        PATH="/bin",
        CHECKOUT_URL="http://a.example/?c={checkout_id}",
        DEFAULT_SENDER="K & C <k@c.example>",
    )
    file = tmp_path / "demo.env"
    file.write_text(stack.shell())
    said = subprocess.run(
        ["/bin/sh", "-c", f'. {file} && printf "%s|%s" "$CHECKOUT_URL" "$DEFAULT_SENDER"'],
        capture_output=True,
        text=True,
        check=True,
        env={},
    )
    assert said.stdout == "http://a.example/?c={checkout_id}|K & C <k@c.example>"
    assert "PATH" not in file.read_text()


def test_the_mailbox_shows_a_subject_as_people_read_it(tmp_path: Path) -> None:
    stack = Stack(tmp_path)
    message = Message()
    message["Subject"] = "=?utf-8?q?Bitte_best=C3=A4tigen_=3Cb=3E?="
    message["To"], message["From"] = "ann@example.com", "Kettle & Clay <shop@example.com>"
    stack.mailbox.messages.append(message)
    page = DemoPages(stack, FakeSaleor(), port=0).mailbox()
    assert "<a href='/mailbox/0'>Bitte bestätigen &lt;b&gt;</a>" in page
    assert "<p>to ann@example.com, from Kettle &amp; Clay &lt;shop@example.com&gt;</p>" in page


def test_every_variable_that_the_service_reads_is_known_to_the_demo() -> None:
    source = "".join(Path(str(module.__file__)).read_text() for module in (settings, processes))
    read = set(
        re.findall(r'(?:environ(?:\.get)?[\[(]|_flag\(|_list\(|_number\()"([A-Z_]+)"', source)
    )
    assert read == SERVICE_VARIABLES
