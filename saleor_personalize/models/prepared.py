"""Small reads that are asked all the time: planned once per connection, not at every call.

Django writes the values into the text of a statement, so that PostgreSQL meets a new one each time, and
planning it takes several times as long as running it. A cursor from here sends text and values apart,
and the connection prepares what it sees again and again (`prepare_threshold` in `OPTIONS`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import psycopg
from django.db import connection

if TYPE_CHECKING:
    from django.db.backends.utils import CursorWrapper


def cursor() -> CursorWrapper:
    """Open a cursor like `connection.cursor()`, for statements that may be prepared."""
    connection.close_if_health_check_failed()
    connection.ensure_connection()
    made: Any = psycopg.Cursor(connection.connection)
    if connection.queries_logged:
        return connection.make_debug_cursor(made)
    return connection.make_cursor(made)
