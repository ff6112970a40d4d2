"""`saleor-personalize simulate`: on a PostgreSQL of its own, that ends with it."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import psycopg
from psycopg.conninfo import conninfo_to_dict
from psycopg.sql import SQL, Identifier

from saleor_personalize.exceptions import PersonalizeError
from saleor_personalize.testing.services import embedded_postgres


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="saleor-personalize simulate",
        description="Run people through journeys with a simulated clock. Needs no database and sends nothing.",
    )
    parser.add_argument(
        "journeys",
        nargs="+",
        metavar="JOURNEY",
        help="files of definitions, or keys of built-in journeys",
    )
    parser.add_argument("--days", type=_days, help="how long (30, or as the stories say)")
    parser.add_argument(
        "--people", type=Path, metavar="FILE", help="people and their stories; none: made by --seed"
    )
    parser.add_argument("--seed", type=int, default=0, help="of people who are made up (0)")
    parser.add_argument("--count", type=int, default=200, help="how many people are made up (200)")
    parser.add_argument(
        "--start",
        type=_start,
        metavar="ISO",
        help="when day 1 begins (today, or as the stories say)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(argv)
    try:
        with scratch_database():
            from saleor_personalize.testing.simulation import outcome
            from saleor_personalize.testing.simulation.running import simulate

            found = simulate(
                options.journeys,
                people=options.people,
                days=options.days,
                start=options.start,
                seed=options.seed,
                count=options.count,
            )
            if options.json:
                sys.stdout.write(json.dumps(found.to_json(), indent=2, ensure_ascii=False) + "\n")
            else:
                sys.stdout.writelines(f"{line}\n" for line in outcome.lines(found))
    except PersonalizeError as error:
        sys.stderr.write(f"saleor-personalize simulate: {error}\n")
        return 2
    if found.failures:
        sys.stdout.flush()
        text = "\n\n".join(found.failures)
        sys.stderr.write(f"\nNot as expected:\n\n{text}\n")
        return 1
    return 0


def _days(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 3_650:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of days from 1 to 3650")
    return int(text)


def _start(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no moment such as 2026-10-19 or 2026-10-19T00:00+02:00"
        ) from None


#: Name of a template while migrations make it.
_MAKING = "template_making"


@contextmanager
def scratch_database() -> Iterator[None]:
    """Bring up Django on a database of its own; whatever the settings say, it knows no other.

    The server is the embedded one. What migrations made is kept there as a template, so that only the
    first run waits for them; each run has a copy, which goes with it.
    """
    url = embedded_postgres(
        Path(tempfile.gettempdir()) / f"saleor-personalize-simulation-{os.getuid()}"
    )
    name = f"simulation_{os.getpid()}"
    _set_up(url)
    from django.db import connection, connections

    with psycopg.connect(url, autocommit=True) as server:
        # Two who start at once: the second one waits for the first.
        server.execute("SELECT pg_advisory_lock(7264)")
        template = _template(server)
        server.execute(SQL("CREATE DATABASE {} TEMPLATE {}").format(Identifier(name), template))
        server.execute("SELECT pg_advisory_unlock(7264)")
        connection.settings_dict["NAME"] = name
        try:
            yield
        finally:
            connections.close_all()
            server.execute(SQL("DROP DATABASE {}").format(Identifier(name)))


def _set_up(url: str) -> None:
    os.environ["DATABASE_URL"] = url
    os.environ.setdefault("SECRET_KEY", "a-secret-for-this-simulation-only-0123456789")
    os.environ.setdefault("LOG_LEVEL", "ERROR")
    import django
    from django.conf import settings

    server = conninfo_to_dict(url)
    settings.DATABASES = {
        "default": {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": server["dbname"],
            "USER": server.get("user", ""),
            "PASSWORD": server.get("password", ""),
            "HOST": server.get("host", ""),
            "PORT": server.get("port", ""),
            # Nothing has to outlive the process.
            "OPTIONS": {"prepare_threshold": 5, "options": "-c synchronous_commit=off"},
        }
    }
    settings.DATABASE_ROUTERS = []
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
    settings.EMAIL_BACKEND = "django.core.mail.backends.dummy.EmailBackend"
    settings.CELERY_BROKER_URL = "memory://"
    django.setup()


def _template(server: psycopg.Connection) -> Identifier:
    """Return the database with empty tables, as these migrations make them; made when it is not there."""
    from django.core.management import call_command
    from django.db import connection

    name = f"template_{_digest()}"
    rows = server.execute("SELECT datname FROM pg_database").fetchall()
    known = {str(row[0]) for row in rows}
    if name not in known:
        for old in sorted(filter(_is_left_over, known)):
            server.execute(SQL("DROP DATABASE {}").format(Identifier(old)))
        server.execute(SQL("CREATE DATABASE {}").format(Identifier(_MAKING)))
        connection.settings_dict["NAME"] = _MAKING
        call_command("migrate", verbosity=0)
        connection.close()
        server.execute(
            SQL("ALTER DATABASE {} RENAME TO {}").format(Identifier(_MAKING), Identifier(name))
        )
    return Identifier(name)


def _is_left_over(name: str) -> bool:
    """Tell whether a database is of earlier migrations, or of a run that was killed."""
    kind, _, which = name.partition("_")
    if kind == "simulation" and which.isdecimal():
        return not Path(f"/proc/{which}").exists() and Path("/proc").exists()
    return kind == "template" and bool(which)


def _digest() -> str:
    """Return what changes with any migration of any app that is installed."""
    from django.db.migrations.loader import MigrationLoader

    digest = hashlib.sha256()
    for key, migration in sorted(MigrationLoader(None).disk_migrations.items()):
        module = sys.modules[type(migration).__module__]
        digest.update(repr(key).encode() + Path(module.__file__ or "").read_bytes())
    return digest.hexdigest()[:16]
