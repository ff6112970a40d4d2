"""`saleor-personalize simulate`: on a PostgreSQL of its own, that ends with it."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from saleor_personalize.exceptions import PersonalizeError
from saleor_personalize.testing.services import embedded_postgres, stop_embedded_postgres


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


@contextmanager
def scratch_database() -> Iterator[None]:
    """Bring up Django on a database of its own; whatever the settings say, it knows no other."""
    with tempfile.TemporaryDirectory(prefix="personalize-simulation-") as name:
        folder = Path(name)
        # The embedded PostgreSQL runs as a user of its own when started by root.
        folder.chmod(0o755)
        url = embedded_postgres(folder / "postgres")
        try:
            _set_up(url, folder)
            yield
        finally:
            from django.db import connections

            connections.close_all()
            stop_embedded_postgres(folder / "postgres")


def _set_up(url: str, folder: Path) -> None:
    os.environ["DATABASE_URL"] = url
    os.environ["VAR_DIR"] = str(folder)
    os.environ.setdefault("SECRET_KEY", "a-secret-for-this-simulation-only-0123456789")
    os.environ.setdefault("LOG_LEVEL", "ERROR")
    import django
    from django.conf import settings
    from django.core.management import call_command

    from saleor_personalize.project.settings import database_from_url

    database = database_from_url(url)
    # Nothing has to outlive the process.
    database["OPTIONS"] = {
        "prepare_threshold": 5,
        "options": "-c synchronous_commit=off",
    }
    settings.DATABASES = {"default": database}
    settings.DATABASE_ROUTERS = []
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
    settings.EMAIL_BACKEND = "django.core.mail.backends.dummy.EmailBackend"
    settings.CELERY_BROKER_URL = "memory://"
    django.setup()
    call_command("migrate", verbosity=0)
