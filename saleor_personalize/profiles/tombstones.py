"""What was erased stays away: which facts are from before an erasure, by keyed hashes of the ids in them.

Late and repeated webhooks, back-fills, imports and open carts go on showing people who were erased.
Whoever records facts asks here first (`among`) and leaves those people out. A fact from after the
erasure speaks of somebody new. A Saleor account that was deleted never comes back (ADR 10).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import datetime

from saleor_personalize.enums import ErasureSource, IdentityKind
from saleor_personalize.exceptions import PersonErased
from saleor_personalize.models import Erasure, Installation
from saleor_personalize.models.fields import keyed_hash
from saleor_personalize.models.locks import lock, lock_shared_and_read

#: (kind, value as stored): an address by its keyed hash.
Id = tuple[IdentityKind, str]

#: Erasures after which Saleor has no such account any more; it gives no number out twice.
OF_ACCOUNTS = (ErasureSource.ACCOUNT_DELETED, ErasureSource.CUSTOMER_DELETED)
_LOCK = "erasure"


def fingerprint(installation: Installation, id_: Id) -> str:
    """Return what is kept of an id: a hash under a key of its own, another one in every shop."""
    kind, value = id_
    return keyed_hash("erasure", f"{installation.pk}:{kind!s}:{value}")


@dataclass(frozen=True)
class Gone:
    """Which of some ids are those of people who were erased."""

    #: id -> the moment up to which its facts are refused
    until: dict[Id, datetime] = field(default_factory=dict)
    #: Saleor accounts that are no more.
    accounts: frozenset[Id] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.until)

    def covers(self, id_: Id, at: datetime) -> bool:
        """Tell whether a fact of that moment about this id is from before an erasure."""
        return id_ in self.accounts or (id_ in self.until and at <= self.until[id_])

    def covers_any(self, ids: Iterable[Id], at: datetime) -> bool:
        return any(self.covers(id_, at) for id_ in ids)


_FOUND = f"""
SELECT fingerprints, facts_until, requested_by FROM {Erasure._meta.db_table}
WHERE installation_id = %s AND fingerprints && %s::varchar(64)[]
"""  # noqa: S608 (the name of the table is ours)


def among(installation: Installation, ids: Iterable[Id]) -> Gone:
    """Return who of these was erased, and let nobody be erased until the transaction ends.

    Take it before every other lock of the transaction.
    """
    known = {fingerprint(installation, id_): id_ for id_ in ids if id_[1]}
    if not known:
        return Gone()
    return _gone(
        known, lock_shared_and_read(installation, _LOCK, _FOUND, [installation.pk, list(known)])
    )


def look_up(installation: Installation, ids: Iterable[Id]) -> Gone:
    """Return who of these was erased, for whoever holds no lock."""
    known = {fingerprint(installation, id_): id_ for id_ in ids if id_[1]}
    rows = Erasure.objects.of(installation).filter(fingerprints__overlap=list(known))
    return _gone(known, rows.values_list("fingerprints", "facts_until", "requested_by"))


def _gone(known: dict[str, Id], rows: Iterable[tuple[Collection[str], datetime, str]]) -> Gone:
    until: dict[Id, datetime] = {}
    accounts = set()
    for fingerprints, facts_until, requested_by in rows:
        for id_ in (known[hash_] for hash_ in fingerprints if hash_ in known):
            until[id_] = max(facts_until, until.get(id_, facts_until))
            if id_[0] == IdentityKind.SALEOR_USER and requested_by in OF_ACCOUNTS:
                accounts.add(id_)
    return Gone(until, frozenset(accounts))


def hold(installation: Installation) -> None:
    """Wait until nobody records facts in this shop, and keep it so until the transaction ends."""
    lock(installation, [_LOCK])


def check_accounts(installation: Installation, user_ids: Collection[str]) -> None:
    """Raise PersonErased if one of these Saleor users deleted the account: late tokens live on."""
    ids: list[Id] = [(IdentityKind.SALEOR_USER, user_id) for user_id in user_ids]
    if ids and look_up(installation, ids).accounts:
        raise PersonErased("This account was deleted, and what was known of it is erased.")
