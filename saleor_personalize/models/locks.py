"""Locks that last until the transaction ends, for rules that span rows not written yet."""

import hashlib
from collections.abc import Iterable

from django.db import connection

from saleor_personalize.models.installation import Installation


def lock(installation: Installation, names: Iterable[str]) -> None:
    """Take PostgreSQL advisory locks on `names` of one installation, in an order that cannot deadlock.

    Must run inside a transaction; a second taker waits until the first one's transaction ends. Take
    all names of a transaction in one call.
    """
    keys = sorted(
        int.from_bytes(
            hashlib.blake2b(f"{installation.pk}:{name}".encode(), digest_size=8).digest(),
            "big",
            signed=True,
        )
        for name in set(names)
    )
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(key) FROM unnest(%s::bigint[]) AS key", [keys])
