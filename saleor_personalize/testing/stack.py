"""The whole service on this machine: PostgreSQL, Valkey, a mailbox, web, worker and beat.

The demo, the acceptance tests, the benchmarks and `make e2e` all start it through here, so that
what is shown is what is tested.
"""

from __future__ import annotations

import contextlib
import email
import os
import shlex
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.message import Message
from pathlib import Path
from typing import Any

import httpx

from saleor_personalize.exceptions import PersonalizeError
from saleor_personalize.testing.commands import Commands
from saleor_personalize.testing.services import (
    EmbeddedRedis,
    embedded_postgres,
    stop_embedded_postgres,
)

#: What the service reads. A shell may carry those of a real one (`set -a; . .env`): none of them may
#: reach this one, least of all a mail server or a broker.
SERVICE_VARIABLES = frozenset(
    {
        "ABANDONED_CHECKOUT_DELAY_SECONDS",
        "ALLOWED_HOSTS",
        "ALLOWED_SALEOR_API_URLS",
        "ALLOW_PRIVATE_ADDRESSES",
        "APP_URL",
        "BEHIND_TLS_PROXY",
        "BUS_ALLOW_PRIVATE_ADDRESSES",
        "CELERY_BROKER_URL",
        "CHECKOUT_URL",
        "CLICK_TRACKING",
        "DASHBOARD_ORIGINS",
        "DASHBOARD_PATH",
        "DATABASE_URL",
        "DEBUG",
        "DEFAULT_SENDER",
        "DEMO_FIREBASE_URL",
        "DKIM_SELECTORS",
        "DOCS_URL",
        "DRY_RUN",
        "EMAIL_BACKEND",
        "EMAIL_FALLBACK_BACKEND",
        "EMAIL_HOST",
        "EMAIL_HOST_PASSWORD",
        "EMAIL_HOST_USER",
        "EMAIL_PORT",
        "EMAIL_USE_TLS",
        "ENCRYPTION_KEYS",
        "EVENT_RETENTION_DAYS",
        "HINT_CART_AFTER_SECONDS",
        "HOLDOUT_PERCENT",
        "HOST",
        "JOURNEY_HOLDOUT_PERCENT",
        "LOG_LEVEL",
        "OFFERS",
        "OFFER_URL",
        "PORT",
        "PRODUCT_URL",
        "REDIS_URL",
        "RETURN_PATH_DOMAIN",
        "SECRET_KEY",
        "SPF_INCLUDES",
        "STOREFRONT_ORIGINS",
        "TRUSTED_PROXIES",
        "VAR_DIR",
        "WEB_CONCURRENCY",
    }
)


def surroundings(variables: Mapping[str, str]) -> dict[str, str]:
    """Return the variables without those of a service."""
    return {
        name: value
        for name, value in variables.items()
        if name not in SERVICE_VARIABLES and not name.startswith(("ANYMAIL_", "CELERY_"))
    }


class StackError(PersonalizeError):
    """A process of the stack did not start or stopped; its log tells why."""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until(condition: Callable[[], Any], *, seconds: float, what: str) -> Any:
    """Poll `condition` until it is truthy and return it; raise StackError after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise StackError(f"Waited {seconds:g} s for {what}; it did not happen.")
        time.sleep(0.1)


@dataclass
class Mailbox:
    """A real SMTP server on loopback that keeps what it is given."""

    messages: list[Message] = field(default_factory=list)
    port: int = 0

    def start(self) -> None:
        from aiosmtpd.controller import Controller

        self.port = free_port()
        self._controller = Controller(self, hostname="127.0.0.1", port=self.port)
        self._lock = threading.Lock()
        self._controller.start()

    def stop(self) -> None:
        self._controller.stop()

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802 (aiosmtpd's name)
        message = email.message_from_bytes(envelope.content)
        with self._lock:
            self.messages.append(message)
        return "250 OK"

    def to(self, address: str) -> list[Message]:
        with self._lock:
            return [m for m in self.messages if address in str(m["To"])]


class Stack:
    """Start with `with Stack(folder) as stack:`; everything it started ends with the block."""

    def __init__(
        self, folder: Path, *, port: int | None = None, is_idle: bool = False, **environment: str
    ) -> None:
        """`port` None takes a free one; `environment` are variables of the service.

        `is_idle`: start no process of the service; `spawn` does.
        """
        self.folder = folder
        self.is_idle = is_idle
        self.mailbox = Mailbox()
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.environment = environment
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._resources = contextlib.ExitStack()

    def __enter__(self) -> Stack:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        database_url = embedded_postgres(self.folder / "postgres")
        self._resources.callback(stop_embedded_postgres, self.folder / "postgres")
        if "REDIS_URL" not in self.environment:
            redis = EmbeddedRedis()
            self._resources.callback(redis.stop)
            self.environment["REDIS_URL"] = redis.url
        self.mailbox.start()
        self._resources.callback(self.mailbox.stop)
        self.environment = {
            **surroundings(os.environ),
            "SECRET_KEY": "a-secret-for-this-machine-only-0123456789",
            "DATABASE_URL": database_url,
            "VAR_DIR": str(self.folder),
            "APP_URL": self.url,
            "ALLOWED_HOSTS": "127.0.0.1,localhost",
            "ALLOW_PRIVATE_ADDRESSES": "1",
            "EMAIL_HOST": "127.0.0.1",
            "EMAIL_PORT": str(self.mailbox.port),
            "DEFAULT_SENDER": "Kettle & Clay <shop@example.com>",
            "DJANGO_SETTINGS_MODULE": "saleor_personalize.project.settings",
            # What a story tells does not depend on chance.
            "HOLDOUT_PERCENT": "0",
            "JOURNEY_HOLDOUT_PERCENT": "0",
            **self.environment,
        }
        self._commands = Commands(self.environment, self.folder)
        self._resources.callback(self._commands.stop)
        self.run("migrate", "--verbosity", "0")
        if self.is_idle:
            return
        self.spawn("serve", "--port", str(self.port))
        self.spawn("worker", "--concurrency", "2", "--loglevel", "INFO")
        self.spawn("beat", "--schedule", str(self.folder / "beat"))
        wait_until(self._answers, seconds=180, what=f"{self.url} to answer")

    def stop(self) -> None:
        for name in ("beat", "worker", "serve"):
            if name in self.processes:
                self.end(name)
        self._resources.close()

    def spawn(self, name: str, *arguments: str) -> None:
        """Start `saleor-personalize <name>` in the background; its output goes to <name>.log."""
        with (self.folder / f"{name}.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(  # noqa: S603 (our own command)
                [sys.executable, "-m", "saleor_personalize.project", name, *arguments],
                env=self.environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
            )

    def end(self, name: str, *, kill: bool = False) -> None:
        process = self.processes.pop(name)
        process.kill() if kill else process.terminate()
        try:
            process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def run(self, *words: str) -> str:
        """Run `saleor-personalize <words>` to its end and return what it printed."""
        done = self._commands.run(*words)
        if done.code:
            raise StackError(f"saleor-personalize {' '.join(words)} failed:\n{done.complained}")
        return done.printed

    def shell(self) -> str:
        """Return lines by which a shell's own `saleor-personalize` speaks to this stack."""
        known = SERVICE_VARIABLES | {"DJANGO_SETTINGS_MODULE"}
        ours = sorted(known & self.environment.keys())
        return "".join(f"export {name}={shlex.quote(self.environment[name])}\n" for name in ours)

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def _answers(self) -> bool:
        for name, process in self.processes.items():
            if process.poll() is not None:
                raise StackError(
                    f"`{name}` ended with {process.returncode}:\n{self.log(name)[-2000:]}"
                )
        try:
            return httpx.get(f"{self.url}/api/manifest", timeout=5).status_code == 200
        except httpx.TransportError:
            return False
