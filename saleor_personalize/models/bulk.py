"""Many rows in one statement.

The rows travel as one JSON text, which costs a fraction of a parameter per value. A row maps columns
of the model ("profile_id", not "profile") to values; all rows of a call name the same columns.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from django.db import connection

from saleor_personalize.models.fields import EncryptedTextField
from saleor_personalize.models.installation import Installation, Scoped

Row = Mapping[str, Any]


class Merged(NamedTuple):
    """A row that was written."""

    pk: int
    key: tuple[Any, ...]
    is_new: bool
    is_changed: bool


def insert(model: type[Scoped], installation: Installation, rows: Sequence[Row]) -> None:
    """Insert rows of one installation."""
    if rows:
        _run(
            f"INSERT INTO {_table(model)} (installation_id, {_columns(rows[0])})"  # noqa: S608 (our names)
            f" SELECT %(installation)s, seen.* FROM {_seen(model, rows[0])}",
            {"installation": installation.pk, "rows": _as_json(model, rows)},
        )


def update(model: type[Scoped], installation: Installation, rows: Sequence[Row]) -> None:
    """Update rows of one installation, found by their `id`."""
    if rows:
        _run(
            f"UPDATE {_table(model)} AS stored SET {_assignments(rows[0].keys() - {'id'}, 'seen')}"  # noqa: S608 (our names)
            f" FROM {_seen(model, rows[0])}"
            " WHERE stored.id = seen.id AND stored.installation_id = %(installation)s",
            {"installation": installation.pk, "rows": _as_json(model, rows)},
        )


def merge(
    model: type[Scoped],
    installation: Installation,
    rows: Sequence[Row],
    *,
    key: Sequence[str],
    silent: Sequence[str],
    when: str = "TRUE",
    also: Sequence[str] = (),
) -> list[Merged]:
    """Insert rows or update those with the same `key`; return what was written.

    A stored row gives way only where `when` holds, a condition in SQL over `stored` and `seen`. A row
    is changed when it is new or any column differs but the `silent` ones. `also` are assignments of
    an update in SQL, over `stored` and `EXCLUDED`. Columns that the rows do not name get the model's
    default when a row is new. Of rows with one key the last one counts.
    """
    if not rows:
        return []
    names = list(rows[0])
    # A default may not be null: such a column needs no value.
    defaults = {
        field.attname: field.get_db_prep_save(field.get_default(), connection)
        for field in model._meta.concrete_fields
        if not (field.null or field.primary_key or field.attname in {"installation_id", *names})
    }
    same = " AND ".join(f'stored."{name}" = seen."{name}"' for name in key)
    differs = " OR ".join(
        f'stored."{name}" IS DISTINCT FROM seen."{name}"'
        for name in names
        if name not in {*key, *silent}
    )
    values = [f'"{name}"' for name in names] + [f"%({name})s" for name in defaults]
    changes = [_assignments([name for name in names if name not in key], "EXCLUDED"), *also]
    written = _run(
        f"""
        WITH fresh AS (
            SELECT seen.*, stored.id IS NULL AS is_new, stored.id IS NULL OR {differs} AS is_changed
            FROM {_seen(model, rows[0])} LEFT JOIN {_table(model)} AS stored
            ON stored.installation_id = %(installation)s AND {same}
            WHERE stored.id IS NULL OR ({when})
        ), written AS (
            INSERT INTO {_table(model)} AS stored
                (installation_id, {_columns([*names, *defaults])})
            SELECT %(installation)s, {", ".join(values)} FROM fresh
            ON CONFLICT (installation_id, {_columns(key)}) DO UPDATE SET {", ".join(changes)}
            RETURNING id, {_columns(key)}
        )
        SELECT id, is_new, is_changed, {_columns(key)} FROM written JOIN fresh USING ({_columns(key)})
        """,  # noqa: S608 (our names)
        {
            "installation": installation.pk,
            "rows": _as_json(model, {tuple(row[n] for n in key): row for row in rows}.values()),
            **defaults,
        },
    )
    return [Merged(pk, tuple(of), is_new, is_changed) for pk, is_new, is_changed, *of in written]


def _run(sql: str, parameters: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        return cursor.fetchall() if cursor.description else []


def _table(model: type[Scoped]) -> str:
    return f'"{model._meta.db_table}"'


def _columns(names: Iterable[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)


def _assignments(names: Iterable[str], source: str) -> str:
    return ", ".join(f'"{name}" = {source}."{name}"' for name in names)


def _seen(model: type[Scoped], names: Iterable[str]) -> str:
    types = {field.attname: field.db_type(connection) for field in model._meta.concrete_fields}
    columns = ", ".join(f'"{name}" {types[name]}' for name in names)
    return f"jsonb_to_recordset(%(rows)s::jsonb) AS seen({columns})"


def _as_json(model: type[Scoped], rows: Iterable[Row]) -> str:
    secret = [
        field for field in model._meta.concrete_fields if isinstance(field, EncryptedTextField)
    ]
    return json.dumps(
        [
            {
                **row,
                **{f.attname: f.get_prep_value(row[f.attname]) for f in secret if f.attname in row},
            }
            for row in rows
        ],
        default=str,
    )
