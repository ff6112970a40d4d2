"""The console script: what it says to somebody who has just found it."""

from __future__ import annotations

import pytest

from saleor_personalize.project.cli import COMMANDS, PROCESSES, main


def test_without_words_it_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    printed = capsys.readouterr().out
    assert all(word in printed for word in (*COMMANDS, *PROCESSES))


def test_an_unknown_word_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["backfil"]) == 2
    assert "'backfil' is not a command." in capsys.readouterr().err


@pytest.mark.parametrize("word", ["doctor", "migrate", "serve"])
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
