"""Connections to providers of e-mail that stay open from one message to the next.

Each thread of each process has its own: a connection is never shared, and none is taken through a fork.
"""

from __future__ import annotations

import os
import smtplib
import threading
import time
from collections.abc import Mapping
from typing import Any

from django.conf import settings as django_settings
from django.core.mail import get_connection
from django.core.mail.backends.smtp import EmailBackend

#: Seconds after which a server may have forgotten us, and messages that one is asked to take in a row.
_IDLE, _MOST = 10.0, 100
#: Seconds that a mail server may be silent; Django would wait for ever where `EMAIL_TIMEOUT` is not set.
_PATIENCE = 30
#: What Django's own backend is made of when nothing is given.
_SETTINGS = (
    "EMAIL_BACKEND", "EMAIL_HOST", "EMAIL_PORT", "EMAIL_HOST_USER", "EMAIL_HOST_PASSWORD", "EMAIL_USE_TLS",
    "EMAIL_USE_SSL", "EMAIL_TIMEOUT", "EMAIL_SSL_KEYFILE", "EMAIL_SSL_CERTFILE", "ANYMAIL",
)  # fmt: skip


class Connection:
    """A backend of Django's that is open, and how far the message that it carries has come."""

    def __init__(self, backend: Any) -> None:
        self.backend = backend
        #: Whether it has carried a message before this one.
        self.is_used = False
        self.count, self.used_at = 0, time.monotonic()
        #: Whether the server may have the message in hand: of other protocols than SMTP nobody can tell.
        self.is_body_out = True

    def begin(self) -> None:
        """Get ready for a message. Raises what the backend raises: nothing was sent."""
        self.backend.open()
        self.is_used, self.count = self.count > 0, self.count + 1
        self.used_at = time.monotonic()
        if isinstance(self.backend, EmailBackend):
            self._watch(self.backend.connection)

    def _watch(self, smtp: Any) -> None:
        """See when the body begins to leave, which is after the server said that it will take it.

        smtplib sends commands as texts, and as bytes nothing but the body.
        """
        self.is_body_out = False
        if smtp is None:
            return
        plain = type(smtp).send

        def send(said: str | bytes) -> None:
            self.is_body_out = self.is_body_out or isinstance(said, bytes)
            plain(smtp, said)

        smtp.send = send

    def is_stale(self) -> bool:
        return self.count >= _MOST or time.monotonic() - self.used_at > _IDLE

    def close(self) -> None:
        """Say goodbye; a server that hangs up first is no error."""
        try:
            self.backend.close()
        except (OSError, smtplib.SMTPException):
            return


class _Open(threading.local):
    def __init__(self) -> None:
        self.process = os.getpid()
        self.known: dict[str, Connection] = {}


_open = _Open()


def get(provider: Mapping[str, Any]) -> Connection:
    """Return this thread's connection to a provider, {"BACKEND": dotted path or None, "OPTIONS": {...}}.

    Raises what the backend raises when it cannot be made.
    """
    if _open.process != os.getpid():
        # The parent's: not even a goodbye may go over them.
        _open.process, _open.known = os.getpid(), {}
    given = [getattr(django_settings, name, None) for name in _SETTINGS]
    name = repr((provider["BACKEND"], sorted(provider.get("OPTIONS", {}).items()), given))
    found = _open.known.get(name)
    if found is not None and found.is_stale():
        drop(found)
        found = None
    if found is None:
        found = _open.known[name] = Connection(make(provider))
    return found


def make(provider: Mapping[str, Any]) -> Any:
    """Return a provider's backend of Django's, not open yet. Raises whatever it raises when it cannot be made."""
    backend = get_connection(provider["BACKEND"], **provider.get("OPTIONS", {}))
    if isinstance(backend, EmailBackend) and backend.timeout is None:
        backend.timeout = _PATIENCE
    _call_once(backend)
    return backend


def _call_once(backend: Any) -> None:
    """Keep boto3 from making a call again whose answer was lost: that would be a second mail."""
    params = getattr(backend, "client_params", None)
    if params is not None:
        from botocore.config import Config

        once = Config(retries={"total_max_attempts": 1})
        params["config"] = params.get("config", Config()).merge(once)


def drop(connection: Connection) -> None:
    """Close a connection for good: the next message opens another one."""
    _open.known = {name: other for name, other in _open.known.items() if other is not connection}
    connection.close()


def close_all() -> None:
    """Close all of this thread's, after the last message of a batch."""
    for connection in list(_open.known.values()):
        drop(connection)
