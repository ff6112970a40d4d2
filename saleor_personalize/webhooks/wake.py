"""Wake a worker when deliveries come, but not once for each of them."""

from __future__ import annotations

import threading
import time

from django.db import transaction

from saleor_personalize.tasks import broker

#: A burst of deliveries sends one message at its start and one at the end of each interval.
INTERVAL = 0.5


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
        broker.send(self._task_name, countdown=wait if wait > 0 else None)
