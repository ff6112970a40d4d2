"""Locks that last until the transaction ends, for rules that span rows not written yet."""

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from django.db import connection

from saleor_personalize.models.installation import Installation

_IS_ALONE: ContextVar[bool] = ContextVar("saleor_personalize.locks", default=False)


@contextmanager
def alone() -> Iterator[None]:
    """Take no locks in this thread meanwhile: what it changes is seen by nobody, and never committed."""
    token = _IS_ALONE.set(True)
    try:
        yield
    finally:
        _IS_ALONE.reset(token)


def lock(installation: Installation, names: Iterable[str]) -> None:
    """Take PostgreSQL advisory locks on `names` of one installation, in an order that cannot deadlock.

    Must run inside a transaction; a second taker waits until the first one's transaction ends. Take
    all names of a transaction in one call.
    """
    if _IS_ALONE.get():
        return
    keys = sorted(_key(installation, name) for name in set(names))
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(key) FROM unnest(%s::bigint[]) AS key", [keys])


def lock_shared_and_read(
    installation: Installation, name: str, sql: str, parameters: list[Any]
) -> list[tuple[Any, ...]]:
    """Hold `name` beside other readers until the transaction ends, and then run a query.

    Whoever takes it by `lock` waits for all readers. One way to the database for both: the second
    statement sees what was committed while the first one waited.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT pg_advisory_xact_lock_shared(%s); {sql}",
            [_key(installation, name), *parameters],
        )
        cursor.nextset()
        found: list[tuple[Any, ...]] = cursor.fetchall()
        return found


def try_lock(installation: Installation, name: str) -> bool:
    """Take one such lock if nobody holds it; tell whether it is ours until the transaction ends."""
    if _IS_ALONE.get():
        return True
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [_key(installation, name)])
        return bool(cursor.fetchone()[0])


def _key(installation: Installation, name: str) -> int:
    digest = hashlib.blake2b(f"{installation.pk}:{name}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)
