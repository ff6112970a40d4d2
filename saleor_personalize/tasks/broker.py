"""The message broker as seen from a door: ask for a task, and tell whether anybody is there."""

from __future__ import annotations

import functools
import logging
from typing import Any

from celery import current_app
from django.db import transaction

logger = logging.getLogger(__name__)

#: Seconds to wait for a broker that does not answer.
TIMEOUT = 2


def ask_for(task_name: str) -> None:
    """Ask for a run of a task after the commit. A broker that is down is logged, never raised."""
    transaction.on_commit(functools.partial(send, task_name))


def send(task_name: str) -> None:
    """Ask for a run of a task now; else as `ask_for`."""
    try:
        # No retry: somebody waits for the answer, often Saleor, and beat asks again within seconds.
        current_app.send_task(task_name, retry=False)
    except Exception as error:
        # Each broker has its own errors, and none may fail a door: the rows are stored.
        logger.warning(
            "The broker does not take %s (%s): beat or a running worker will find the rows. "
            "Check CELERY_BROKER_URL.",
            task_name,
            type(error).__name__,
        )


def broker_fault() -> str | None:
    """Return None when the broker answers, else the kind of error (never its URL or password)."""
    try:
        with _connect() as connection:
            connection.ensure_connection(max_retries=1, interval_start=0, timeout=TIMEOUT)
            # Redis connects on first use only.
            connection.default_channel  # noqa: B018
    except Exception as error:
        return type(error.__cause__ or error).__name__
    return None


def workers_seen() -> list[str]:
    """Return the names of the workers that answer a ping. Raises what the broker raises."""
    with _connect() as connection:
        answers = current_app.control.ping(timeout=TIMEOUT, connection=connection)
    return sorted(name for answer in answers or [] for name in answer)


def _connect() -> Any:
    connection = current_app.connection_for_write()
    return connection.clone(
        connect_timeout=TIMEOUT,
        transport_options={
            **(current_app.conf.broker_transport_options or {}),
            "socket_connect_timeout": TIMEOUT,
            "socket_timeout": TIMEOUT,
        },
    )
