"""The console script: what it says to somebody who has just found it."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest
from django.db import OperationalError

from saleor_personalize.project import processes
from saleor_personalize.project.cli import COMMANDS, PROCESSES, WORDS, main


def test_without_words_it_tells_what_each_command_does(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    printed = capsys.readouterr().out
    assert set(WORDS) == {*COMMANDS, *PROCESSES}
    assert all(f"  {word:<14}{does}\n" in printed for word, does in WORDS.items())


def test_an_unknown_word_is_named_and_the_nearest_suggested(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["generat-key"]) == 2
    printed = capsys.readouterr().err
    assert "'generat-key' is not a command. Did you mean generate-key?" in printed
    assert main(["xyz"]) == 2
    assert "'xyz' is not a command.\n" in capsys.readouterr().err


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert re.fullmatch(r"saleor-personalize \d+\.\d+\.\d+\n", capsys.readouterr().out)


def test_without_the_web_server_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert main(["serve"]) == 2
    assert "pip install 'saleor-personalize[service]'" in capsys.readouterr().err


def test_a_database_that_does_not_answer_is_told_in_words(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OperationalError("connection failed: nobody there\n\tIs the server running?")

    monkeypatch.setattr("django.core.management.base.BaseCommand.run_from_argv", refuse)
    assert main(["train"]) == 1
    assert capsys.readouterr().err.splitlines() == [
        "saleor-personalize: the database does not answer: connection failed: nobody there",
        "Start PostgreSQL and check DATABASE_URL; `saleor-personalize doctor` looks at the rest.",
    ]


def test_help_shows_the_word_that_was_typed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["journeys", "--help"])
    assert capsys.readouterr().out.startswith("usage: saleor-personalize journeys [-h]")


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("DATABASE_URL", "mysql://a:b@localhost/x", "starts with 'mysql'"),
        ("DATABASE_URL", "postgresql://a:hunter2/c@localhost:5432/x", "must be percent-encoded"),
        ("EMAIL_PORT", "smtp", "EMAIL_PORT is 'smtp'; it must be a whole number, 0 or more."),
        ("EVENT_RETENTION_DAYS", "1 year", "EVENT_RETENTION_DAYS is '1 year'"),
        ("TRUSTED_PROXIES", "10.0.0.1", "TRUSTED_PROXIES is '10.0.0.1'"),
        ("DATABASE_URL", "postgresql://a:b@localhost/x?prepare_threshold=off", "a number or none"),
        ("ABANDONED_CHECKOUT_DELAY_SECONDS", "1h", "ABANDONED_CHECKOUT_DELAY_SECONDS is '1h'"),
        ("HINT_CART_AFTER_SECONDS", "30m", "HINT_CART_AFTER_SECONDS is '30m'"),
    ],
)
def test_a_variable_that_cannot_be_used_is_named_without_a_traceback(
    name: str, value: str, told: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "saleor_personalize.project", "train"],
        env={
            "PATH": os.environ["PATH"],
            "SECRET_KEY": "x",
            "DATABASE_URL": "postgresql://a:b@127.0.0.1:1/x",
            name: value,
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("saleor-personalize: ")
    assert told in done.stderr
    assert "Traceback" not in done.stderr
    assert "hunter2" not in done.stderr


@pytest.mark.parametrize(("name", "option"), [("PORT", "--port"), ("WEB_CONCURRENCY", "--workers")])
def test_a_variable_of_the_web_server_that_is_no_number_is_told(
    name: str, option: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(name, "many")
    with pytest.raises(SystemExit):
        processes.serve([])
    assert f"argument {option}: invalid int value: 'many'" in capsys.readouterr().err


@pytest.mark.parametrize("word", ["check", "doctor", "migrate", "serve"])
def test_missing_settings_are_named_with_their_fix(
    word: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "saleor_personalize.project.settings")
    for name in ("SECRET_KEY", "DATABASE_URL", "DEBUG"):
        monkeypatch.delenv(name, raising=False)
    assert main([word]) == 2
    assert capsys.readouterr().err.splitlines() == [
        "saleor-personalize: the environment variable SECRET_KEY is not set. "
        "Set it to a long random text.",
        "saleor-personalize: the environment variable DATABASE_URL is not set. "
        "Set it to postgresql://user:password@host:5432/personalize.",
        "`saleor-personalize demo` needs neither. See .env.example.",
    ]
