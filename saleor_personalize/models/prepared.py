"""Small reads that are asked all the time: planned once per connection, not at every call.

Django writes the values into the text of a statement, so that PostgreSQL meets a new one each time, and
planning it takes several times as long as running it. A cursor from here sends text and values apart,
and the connection prepares what it sees again and again (`prepare_threshold` in `OPTIONS`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import psycopg
from django.db import connection, models

if TYPE_CHECKING:
    from django.db.backends.utils import CursorWrapper

_M = TypeVar("_M", bound=models.Model)


def cursor() -> CursorWrapper:
    """Open a cursor like `connection.cursor()`, for statements that may be prepared."""
    connection.close_if_health_check_failed()
    connection.ensure_connection()
    made: Any = psycopg.Cursor(connection.connection)
    if connection.queries_logged:
        return connection.make_debug_cursor(made)
    return connection.make_cursor(made)


def columns(model: type[models.Model], table: str) -> str:
    """Return the columns of a model for a SELECT, in the order in which `made` takes them."""
    return ", ".join(f'{table}."{field.column}"' for field in model._meta.concrete_fields)


def made(model: type[_M], row: Sequence[Any]) -> _M:
    """Return the object of a row of `columns`."""
    fields = model._meta.concrete_fields
    values = list(row)
    for place, field in enumerate(fields):
        for convert in field.get_db_converters(connection):
            values[place] = convert(values[place], None, connection)
    return model.from_db(connection.alias, [field.attname for field in fields], values)
