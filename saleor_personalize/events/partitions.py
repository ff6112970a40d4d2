"""The months of the events table: made ahead of time, dropped when they are too old.

Beat runs `maintain` a few times a day. An event whose month does not exist yet waits in the default partition,
and is moved when its month is made.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime

from django.db import connection, transaction
from django.db.utils import OperationalError

from saleor_personalize.conf import settings
from saleor_personalize.models import Profile, Session
from saleor_personalize.models.fields import month_of

TABLE = "saleor_personalize_event"
DEFAULT = f"{TABLE}_default"
#: How many months after the current one are made.
AHEAD = 3
#: Longest wait for a lock. Whoever reads or writes events queues up behind us meanwhile; and shorter
#: than PostgreSQL's deadlock_timeout, so that it is always us who give way.
LOCK_TIMEOUT = "300ms"

_NAME = re.compile(rf"{TABLE}_(\d{{4}})_(\d{{2}})")


@dataclass(frozen=True)
class Partition:
    """One month of events; `rows` and `bytes` as PostgreSQL estimates them (-1: not looked yet)."""

    month: date
    name: str
    rows: int
    bytes: int


@dataclass(frozen=True)
class Maintained:
    """What `maintain` did. `is_complete` is False when the table was busy: it is tried again."""

    created: tuple[date, ...]
    dropped: tuple[date, ...]
    sessions: int
    is_complete: bool


def partitions() -> list[Partition]:
    """Return the months that exist, oldest first; the default partition is none of them."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT child.relname, child.reltuples::bigint, pg_total_relation_size(child.oid)
            FROM pg_inherits JOIN pg_class child ON child.oid = inhrelid
            WHERE inhparent = to_regclass(%s)
            """,
            [TABLE],
        )
        found = [
            Partition(date(int(match[1]), int(match[2]), 1), name, rows, size)
            for name, rows, size in cursor.fetchall()
            if (match := _NAME.fullmatch(name))
        ]
    return sorted(found, key=lambda partition: partition.month)


def waiting_rows() -> int:
    """Return how many events are in the default partition."""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT count(*) FROM {DEFAULT}")  # noqa: S608 (a constant)
        (count,) = cursor.fetchone()
    return int(count)


def maintain(*, now: datetime) -> Maintained:
    """Make the months that are needed next, drop those past EVENT_RETENTION. Safe to run at any time."""
    existing = {partition.month for partition in partitions()}
    oldest = _oldest_kept(now)
    wanted = {
        month for month in {*_coming(now), *_waiting_months()} if oldest is None or month >= oldest
    }
    created, dropped = [], []
    is_complete = True
    for month in sorted(wanted - existing):
        with _while_free() as attempt:
            _create(month)
            created.append(month)
        is_complete &= attempt.succeeded
    sessions = 0
    if oldest is not None:
        for month in sorted(month for month in existing if month < oldest):
            with _while_free() as attempt:
                _drop(month)
                dropped.append(month)
            is_complete &= attempt.succeeded
        _delete_waiting(before=oldest)
        sessions, _ = Session.objects.filter(
            last_seen_at__lt=now - settings.EVENT_RETENTION
        ).delete()
        # What only those visits told.
        Profile.objects.filter(time_zone_told_at__lt=now - settings.EVENT_RETENTION).update(
            time_zone="", time_zone_told_at=None
        )
    return Maintained(tuple(created), tuple(dropped), sessions, is_complete)


def _oldest_kept(now: datetime) -> date | None:
    """Return the oldest month of which something is still kept; None when nothing is ever dropped."""
    retention = settings.EVENT_RETENTION
    return None if retention is None else month_of(now - retention)


def _coming(now: datetime) -> Iterator[date]:
    """Return the months of events that may come: from TRACK_MAX_AGE ago to AHEAD months from now."""
    month, last = month_of(now - settings.TRACK_MAX_AGE), month_of(now)
    for _ in range(AHEAD):
        last = _next(last)
    while month <= last:
        yield month
        month = _next(month)


def _next(month: date) -> date:
    return date(month.year + month.month // 12, month.month % 12 + 1, 1)


def _waiting_months() -> list[date]:
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT DISTINCT month FROM {DEFAULT}")  # noqa: S608 (a constant)
        return [month for (month,) in cursor.fetchall()]


@dataclass
class _Attempt:
    succeeded: bool = False


@contextmanager
def _while_free() -> Iterator[_Attempt]:
    """Run the block in a transaction of its own; a lock that cannot be had soon undoes it silently."""
    attempt = _Attempt()
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SELECT set_config('lock_timeout', %s, true)", [LOCK_TIMEOUT])
            yield attempt
        attempt.succeeded = True
    except OperationalError as error:
        if "lock timeout" not in str(error):
            raise


def _create(month: date) -> None:
    """Make a month and move the events that waited for it. The names and bounds are our own."""
    name, end = _name(month), _next(month)
    bounds = f"month >= '{month}' AND month < '{end}'"
    with connection.cursor() as cursor:
        # Nobody may add to the default partition between the move and the attachment, which also
        # locks what the foreign keys point to.
        cursor.execute(
            "LOCK TABLE saleor_personalize_installation, saleor_personalize_profile "
            "IN SHARE ROW EXCLUSIVE MODE"
        )
        cursor.execute(f"LOCK TABLE {DEFAULT} IN ACCESS EXCLUSIVE MODE")
        cursor.execute("SELECT to_regclass(%s)", [name])
        if cursor.fetchone() != (None,):
            return  # another worker was faster
        cursor.execute(f"CREATE TABLE {name} (LIKE {TABLE} INCLUDING DEFAULTS, CHECK ({bounds}))")
        cursor.execute(
            f"WITH moved AS (DELETE FROM {DEFAULT} WHERE {bounds} RETURNING *) "  # noqa: S608
            f"INSERT INTO {name} SELECT * FROM moved"
        )
        cursor.execute(
            f"ALTER TABLE {TABLE} ATTACH PARTITION {name} FOR VALUES FROM ('{month}') TO ('{end}')"
        )


def _drop(month: date) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"DROP TABLE IF EXISTS {_name(month)}")


def _delete_waiting(*, before: date) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"DELETE FROM {DEFAULT} WHERE month < %s", [before])  # noqa: S608 (a constant)


def _name(month: date) -> str:
    return f"{TABLE}_{month:%Y_%m}"
