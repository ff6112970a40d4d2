"""Webhooks before Django: the same door, several times as many deliveries per second.

A shop in a sale sends bursts. A webhook needs none of what Django does around a view, and a burst needs
no commit of its own for each delivery: those that wait at the same time are stored by one statement. Each
is answered only after that statement is committed.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any

import django.db

from saleor_personalize.conf import settings
from saleor_personalize.ingestion import deliveries
from saleor_personalize.webhooks.saleor import TAKEN, Row, bell, take

Environ = dict[str, Any]
StartResponse = Callable[..., Any]
WSGIApplication = Callable[[Environ, StartResponse], Iterable[bytes]]

_PREFIX = "/webhooks/saleor/"
#: Rows of one statement. A burst larger than this is stored in several.
_MAX_ROWS = 200
#: After this long without a delivery the database connection goes back to the pool.
IDLE_SECONDS = 1.0
# A row of a shop that was just removed must not take the others along; a database that is away does.
_FAULTS_OF_ONE_ROW = (django.db.IntegrityError, django.db.DataError)
_STATUS_LINES = {status.value: f"{status.value} {status.phrase}" for status in HTTPStatus}


def with_webhook_door(application: WSGIApplication) -> WSGIApplication:
    """Return a WSGI application that takes Saleor's webhooks itself and leaves the rest to Django."""
    store = GroupedStore()

    def handle(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if not path.startswith(_PREFIX):
            return application(environ, start_response)
        try:
            answer = take(
                path.removeprefix(_PREFIX).removesuffix("/"),
                environ,
                read=lambda: environ["wsgi.input"].read(settings.WEBHOOK_MAX_BYTES + 1),
                store=store,
            )
            if answer is TAKEN:
                bell.ring()
        finally:
            # No request of Django's ends here to give this thread's connection back.
            django.db.close_old_connections()
        start_response(
            _STATUS_LINES[answer.status],
            [("Content-Type", "application/json"), ("Content-Length", str(len(answer.body)))],
        )
        return [answer.body]

    return handle


class _Waiting:
    """A row, and the thread that waits for it to be stored."""

    __slots__ = ("done", "error", "row")

    def __init__(self, row: Row) -> None:
        self.row = row
        self.error: Exception | None = None
        self.done = threading.Lock()
        self.done.acquire()


class GroupedStore:
    """Stores rows of many threads together. Calling it returns when the row is committed.

    One thread per process writes; while it waits for the database, further rows gather.
    """

    def __init__(self) -> None:
        self._rows: queue.SimpleQueue[_Waiting] = queue.SimpleQueue()
        self._starting = threading.Lock()
        self._is_started = False

    def __call__(self, row: Row) -> None:
        """Store a row, or raise the database's error."""
        # Whoever waits must hold no connection: the writer may need the last one of the pool.
        django.db.close_old_connections()
        if not self._is_started:
            self._start()
        waiting = _Waiting(row)
        self._rows.put(waiting)
        waiting.done.acquire()
        if waiting.error is not None:
            raise waiting.error

    def _start(self) -> None:
        # At the first row and not before: web servers fork their workers.
        with self._starting:
            if not self._is_started:
                threading.Thread(target=self._run, name="webhook-store", daemon=True).start()
                self._is_started = True

    def _run(self) -> None:
        while True:
            group = [self._next()]
            while len(group) < _MAX_ROWS:
                try:
                    group.append(self._rows.get_nowait())
                except queue.Empty:
                    break
            self._store(group)
            for waiting in group:
                waiting.done.release()

    def _next(self) -> _Waiting:
        try:
            return self._rows.get(timeout=IDLE_SECONDS)
        except queue.Empty:
            _give_back()
            return self._rows.get()

    def _store(self, group: list[_Waiting]) -> None:
        try:
            deliveries.store([waiting.row for waiting in group])
        except Exception as error:
            _give_back()
            if len(group) > 1 and isinstance(error, _FAULTS_OF_ONE_ROW):
                for waiting in group:
                    self._store([waiting])
                return
            for waiting in group:
                waiting.error = error


def _give_back() -> None:
    """Give this thread's connection back; a fault in that must not end the one thread that writes."""
    with contextlib.suppress(Exception):
        django.db.connection.close()
