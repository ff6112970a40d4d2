"""Rows by the million, made up by PostgreSQL itself."""

from __future__ import annotations

from typing import Any

TABLE = "saleor_personalize_"
#: What a column that is not named gets.
_NOTHING = {
    "bigint": "0",
    "boolean": "false",
    "double precision": "0",
    "integer": "0",
    "jsonb": "'[]'::jsonb",
    "numeric": "0",
    "smallint": "0",
    "timestamp with time zone": "now()",
    "uuid": "gen_random_uuid()",
}


def fill(cursor: Any, installation: int, table: str, rows: str, /, **given: str) -> None:
    """Insert a row of `table` for each of `rows` (what follows FROM); `given` says a column in SQL."""
    cursor.execute(
        "SELECT column_name, data_type FROM information_schema.columns "
        "WHERE table_name = %s AND is_nullable = 'NO' AND column_name <> 'id'",
        [TABLE + table],
    )
    columns = {name: _NOTHING.get(kind, "''") for name, kind in cursor.fetchall()}
    columns |= {**given, "installation_id": str(installation)}
    names, values = ", ".join(f'"{name}"' for name in columns), ", ".join(columns.values())
    cursor.execute(f'INSERT INTO "{TABLE}{table}" ({names}) SELECT {values} FROM {rows}')  # noqa: S608
