"""Tell a worker that something waits. What waits is rows; this only makes it happen sooner."""

from __future__ import annotations

import functools
import logging
import threading
import time

from celery import current_app
from django.db import transaction

logger = logging.getLogger(__name__)

#: A burst of deliveries sends one message at its start and one at the end of each interval.
INTERVAL = 0.5


def enqueue(task_name: str) -> None:
    """Ask for a run of a task after the commit. A broker that is down is logged, never raised."""
    transaction.on_commit(functools.partial(_send, task_name))


def _send(task_name: str, countdown: float | None = None) -> None:
    try:
        # No retry: whoever waits for the answer is Saleor, and beat asks again within seconds.
        current_app.send_task(task_name, countdown=countdown, retry=False)
    except Exception as error:
        # Each broker has its own errors, and none may fail a door: the rows are stored.
        logger.warning(
            "The broker does not take %s (%s): beat or a running worker will find the rows. "
            "Check CELERY_BROKER_URL.",
            task_name,
            type(error).__name__,
        )


class Bell:
    """Rings for a task at once, then at most once more per interval, however often it is pressed."""

    def __init__(self, task_name: str) -> None:
        self._task_name = task_name
        self._lock = threading.Lock()
        self._quiet_until = 0.0
        self._is_trailing = False

    def ring_after_commit(self) -> None:
        transaction.on_commit(self.ring)

    def ring(self) -> None:
        moment = time.monotonic()
        with self._lock:
            wait = self._quiet_until - moment
            if wait <= 0:
                self._quiet_until, self._is_trailing = moment + INTERVAL, False
            elif self._is_trailing:
                return
            else:
                self._is_trailing = True
        _send(self._task_name, countdown=wait if wait > 0 else None)
