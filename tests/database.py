"""A database with all tables and nothing in them, made once for each state of the migrations."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from pathlib import Path

import django
import psycopg
from django.core.management import call_command
from django.db import connection
from psycopg import sql
from psycopg.conninfo import make_conninfo

from saleor_personalize import migrations

#: One test worker makes it, the others wait: any number that nothing else locks.
_LOCK = 7_263_541


def database_with_tables() -> str:
    """Return its name; it is made, on the server of the tests, unless it is there."""
    files = sorted(Path(migrations.__path__[0]).glob("[0-9]*.py"))
    # Months of events are made from the present one on.
    made = f"{django.__version__} {datetime.now(UTC):%Y-%m}".encode()
    state = made + b"".join(file.read_bytes() for file in files)
    name = f"personalize_tables_{hashlib.sha256(state).hexdigest()[:16]}"
    given = connection.settings_dict
    with psycopg.connect(_address("postgres"), autocommit=True) as server:
        server.execute("SELECT pg_advisory_lock(%s)", [_LOCK])
        if not server.execute("SELECT FROM pg_database WHERE datname = %s", [name]).fetchall():
            making = f"{name}_making"
            server.execute(sql.SQL("DROP DATABASE IF EXISTS {}").format(sql.Identifier(making)))
            server.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(making)))
            own, given["NAME"] = given["NAME"], making
            try:
                call_command("migrate", verbosity=0)
            finally:
                connection.close()
                given["NAME"] = own
            rename = sql.SQL("ALTER DATABASE {} RENAME TO {}")
            server.execute(rename.format(sql.Identifier(making), sql.Identifier(name)))
    return name


def _address(database: str) -> str:
    given = connection.settings_dict
    return make_conninfo(
        dbname=database,
        host=given["HOST"] or None,
        port=given["PORT"] or None,
        user=given["USER"] or None,
        password=given["PASSWORD"] or None,
    )
