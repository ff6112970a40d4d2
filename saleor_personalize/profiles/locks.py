"""One lock per person, shared by whoever records an order and whoever decides about a message.

Without it an order could be recorded between the last look and the commit of a message, and the
person would be told "you forgot something" after buying. A decision that starts while an order of
the same person is being recorded waits for it, and the other way round.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from django.db import connection

from saleor_personalize.models import Installation, Profile


def lock_person(
    *,
    installation: Installation,
    identities: Iterable[tuple[str, str]] = (),
    profile: Profile | None = None,
) -> None:
    """Wait for, and hold until the end of the transaction, everything that names one person.

    `identities` are (IdentityKind, value) as `Identity` stores them: an e-mail by its keyed hash.
    Two callers that share one of them, or the profile, exclude each other. To keep callers from
    waiting in a circle, identities are taken before the profile and always in the same order: call
    it before other rows are locked, and first with the identities when the profile is not known
    yet. Taking the same lock twice is harmless. Must run inside a transaction.
    """
    connection.validate_no_broken_transaction()
    if not connection.in_atomic_block:
        raise RuntimeError("lock_person holds until the transaction ends: open one first.")
    keys = sorted({_key(installation, kind, value) for kind, value in identities if value})
    if profile is not None:
        keys.append(_key(installation, "profile", str(profile.pk)))
    with connection.cursor() as cursor:
        for key in keys:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [key])


def _key(installation: Installation, kind: str, value: str) -> int:
    """Return 64 bits; two people who share them by chance merely wait for one another."""
    name = f"{installation.pk}:{kind}:{value}".encode()
    return int.from_bytes(hashlib.blake2b(name, digest_size=8).digest(), signed=True)
