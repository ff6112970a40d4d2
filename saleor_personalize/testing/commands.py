"""A process that has the app loaded and runs each command in a copy of itself.

A new process spends seconds on imports before it does anything; of a story of forty commands that was
most of the time. What a command sees and does is the same: its arguments, its output, its exit code.
"""

from __future__ import annotations

import json
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple


class Done(NamedTuple):
    """What became of a command."""

    code: int
    printed: str
    complained: str


class Commands:
    """Commands for one environment. Started by the first; `stop` ends it."""

    def __init__(self, environment: Mapping[str, str], folder: Path) -> None:
        self._environment = dict(environment)
        self._folder = folder
        self._process: subprocess.Popen[str] | None = None
        self._lock = threading.Lock()

    def run(self, *words: str) -> Done:
        with self._lock:
            if self._process is None or self._process.poll() is not None:
                self._process = subprocess.Popen(  # noqa: S603 (our own module)
                    [sys.executable, "-m", __name__],
                    env=self._environment,
                    cwd=self._folder,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            asking, answering = self._process.stdin, self._process.stdout
            if asking is None or answering is None:
                raise TypeError("a process without pipes")
            asking.write(json.dumps(words) + "\n")
            asking.flush()
            answer = answering.readline()
        if not answer:
            return Done(self._process.wait(), "", "The process that runs commands ended.")
        return Done(*json.loads(answer))

    def stop(self) -> None:
        if self._process is not None:
            with self._process:
                self._process.terminate()


def main() -> None:
    """Answer each line of standard input, a list of words, with a line [code, printed, complained]."""
    import django
    from django.conf import settings
    from django.core.management import get_commands, load_command_class
    from django.urls import get_resolver

    # Whoever presses Ctrl-C ends the demo, which ends this.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    settings.DATABASES["default"].get("OPTIONS", {}).pop("pool", None)
    django.setup()
    # What every command would import for itself.
    list(get_resolver().url_patterns)
    for name, app in get_commands().items():
        if app == "saleor_personalize":
            load_command_class(app, name)
    answers = os.fdopen(os.dup(1), "w")
    for line in sys.stdin:
        with tempfile.TemporaryFile("w+") as printed, tempfile.TemporaryFile("w+") as complained:
            child = os.fork()
            if child == 0:
                os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
                os.dup2(printed.fileno(), 1)
                os.dup2(complained.fileno(), 2)
                os._exit(_run(json.loads(line)))
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            told = []
            for file in (printed, complained):
                file.seek(0)
                told.append(file.read())
        answers.write(json.dumps([code, *told]) + "\n")
        answers.flush()


def _run(words: list[str]) -> int:
    """Do what `python -m saleor_personalize.project <words>` does, and return its exit code."""
    code: object = 0
    sys.argv = ["saleor-personalize", *words]
    try:
        runpy.run_module("saleor_personalize.project", run_name="__main__", alter_sys=True)
    except SystemExit as ended:
        code = ended.code
        if isinstance(code, str):
            sys.stderr.write(f"{code}\n")
    except BaseException:
        code = 1
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    return code if isinstance(code, int) else int(code is not None)


if __name__ == "__main__":
    main()
