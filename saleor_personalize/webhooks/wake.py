"""Wake a worker when deliveries come, but not once for each of them."""

from __future__ import annotations

import threading
import time

from django.db import transaction

from saleor_personalize.tasks import broker

#: A burst of deliveries sends one message at its start and one after each interval.
INTERVAL = 0.5


class Bell:
    """Rings for a task at once, then at most once more per interval, however often it is pressed.

    A thread of its own asks the broker: whoever presses is about to answer Saleor, which must not
    wait for a broker that is slow or never answers.
    """

    def __init__(self, task_name: str) -> None:
        self._task_name = task_name
        self._pressed = threading.Event()
        self._starting = threading.Lock()
        self._is_started = False

    def ring_after_commit(self) -> None:
        transaction.on_commit(self.ring)

    def ring(self) -> None:
        self._pressed.set()
        if not self._is_started:
            self._start()

    def _start(self) -> None:
        # At the first ring and not before: web servers fork their workers.
        with self._starting:
            if not self._is_started:
                threading.Thread(target=self._run, name="webhook-bell", daemon=True).start()
                self._is_started = True

    def _run(self) -> None:
        while True:
            self._pressed.wait()
            self._pressed.clear()
            broker.send(self._task_name)
            time.sleep(INTERVAL)
