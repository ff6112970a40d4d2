"""The demo before it starts anything: what it refuses, and what it keeps away from a real service."""

from __future__ import annotations

import json
import re
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from email.message import Message
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from saleor_personalize.project import processes, settings
from saleor_personalize.project.cli import main
from saleor_personalize.testing.demo import command
from saleor_personalize.testing.demo.pages import DemoPages
from saleor_personalize.testing.demo.phones import Phones
from saleor_personalize.testing.fcm import FakeFcm
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
    files = [Path(str(module.__file__)) for module in (settings, processes)]
    # Which cannot be imported without its variable.
    files.append(files[0].with_name("demo_settings.py"))
    source = "".join(file.read_text() for file in files)
    read = set(
        re.findall(r'(?:environ(?:\.get)?[\[(]|_flag\(|_list\(|_number\()"([A-Z_]+)"', source)
    )
    assert read == SERVICE_VARIABLES


def test_b112_played_once_it_tells_its_story_on_free_ports_and_stops(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    given: dict[str, Any] = {}

    @contextmanager
    def stack(folder: Path, *, port: int | None, **environment: str) -> Iterator[Any]:
        given.update(environment, port=port)
        yield SimpleNamespace(url="http://127.0.0.1:1")

    class Told:
        def __init__(self, stack: Any, shop: Any, say: Callable[[str], None], **more: Any) -> None:
            given.update(more, say=say)

        def install(self) -> None:
            given["say"]("installed")

        def play(self) -> dict[str, Any]:
            given["say"]("played")
            return {"messages_sent": 11}

    monkeypatch.setattr(command, "Stack", stack)
    monkeypatch.setattr(command, "Story", Told)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    assert main(["demo", "--once", "--json"]) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out) == {"messages_sent": 11}
    assert printed.err.endswith("✓ installed\n✓ played\n")
    assert given["port"] is None
    # Push goes to the Firebase of this demo, by settings of its own.
    assert given["DEMO_FIREBASE_URL"] == given["phones"].fcm.url
    assert given["DJANGO_SETTINGS_MODULE"] == "saleor_personalize.project.demo_settings"


def test_b68_a_phone_shows_what_firebase_was_given_for_it_newest_first() -> None:
    phones = Phones(FakeFcm())
    phone, other = phones.add("Eva's phone", "android"), phones.add("Eva's browser", "web")
    for number in ("1", "2"):
        message = {
            "token": phone.token,
            "notification": {"title": f"T{number}", "body": "B", "image": "https://a.test/i.png"},
            "data": {"message_id": number, "deep_link": "https://a.test/", "promo_code": "ANN10"},
        }
        phones.fcm.sent.append(message)
    phones.pressed.add("1")
    phones.uninstall(other.token)
    first = {
        "title": "T1",
        "text": "B",
        "image": "https://a.test/i.png",
        "link": "https://a.test/",
        "promoCode": "ANN10",
        "messageId": "1",
        "isPressed": True,
    }
    shown = phones.told()
    assert [(each["name"], each["platform"], each["isGone"]) for each in shown] == [
        ("Eva's browser", "web", True),
        ("Eva's phone", "android", False),
    ]
    second = {**first, "title": "T2", "messageId": "2", "isPressed": False}
    assert shown[1]["pushes"] == [second, first]
    assert shown[0]["pushes"] == []
    assert list(phones.fcm.devices) == [phone.token]
