"""From the ids that a shopper shows to the one profile behind them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from django.db import connection, transaction

from saleor_personalize.enums import IdentityKind, MergeProof
from saleor_personalize.models import Identity, Installation, Profile, bulk, email_hash, prepared
from saleor_personalize.models.held import once
from saleor_personalize.models.locks import lock
from saleor_personalize.models.profiles import PERSON
from saleor_personalize.profiles import merging, tombstones
from saleor_personalize.profiles.merging import lock_graph

#: Strongest first: facts are recorded on the owner of the first id shown.
STRENGTH = (
    IdentityKind.SALEOR_USER,
    IdentityKind.EXTERNAL_ID,
    IdentityKind.EMAIL,
    IdentityKind.ANONYMOUS_ID,
    IdentityKind.CHECKOUT,
    IdentityKind.DEVICE_TOKEN,
)

#: Kinds that tell somebody from somebody else. A cart and a push token move in with these.
NAMES = frozenset(
    {
        IdentityKind.SALEOR_USER,
        IdentityKind.EXTERNAL_ID,
        IdentityKind.EMAIL,
        IdentityKind.ANONYMOUS_ID,
    }
)

_IDS = f"""
WITH {PERSON}
SELECT kind, value FROM {Identity._meta.db_table}
WHERE profile_id IN (SELECT id FROM member) AND installation_id = %(installation)s
"""  # noqa: S608 (the names of the tables are ours)

#: What a shopper shows, by kind; an e-mail in plain text, empty values are ignored.
Shown = Mapping[IdentityKind, str]


def _keys(shown: Shown) -> dict[IdentityKind, str]:
    """Return the ids as they are stored: e-mail addresses by their keyed hash."""
    return {
        kind: email_hash(shown[kind]) if kind == IdentityKind.EMAIL else shown[kind]
        for kind in STRENGTH
        if shown.get(kind)
    }


def stored(shown: Shown) -> list[tuple[IdentityKind, str]]:
    """Return ids as they are stored, strongest first."""
    return list(_keys(shown).items())


def lock_people(installation: Installation, people: Iterable[Shown]) -> None:
    """Hold every id shown until the transaction ends.

    Recording an order and deciding on a message both take these locks, so neither can slip
    between the other's look and its commit.
    """
    lock_identities(
        installation, ((kind, value) for shown in people for kind, value in _keys(shown).items())
    )


def lock_identities(
    installation: Installation, identities: Iterable[tuple[IdentityKind | str, str]]
) -> None:
    """Hold ids given as they are stored (see `lock_people`)."""
    lock(installation, [f"identity:{kind!s}:{value}" for kind, value in identities])


def ids_of(profile: Profile) -> frozenset[tuple[str, str]]:
    """Return every id of a person as they are stored, (kind, value); within a decision they are read once."""

    def read() -> frozenset[tuple[str, str]]:
        with prepared.cursor() as cursor:
            whose = {"installation": profile.installation_id, "profile": profile.pk}
            cursor.execute(_IDS, whose)
            return frozenset(cursor.fetchall())

    return once(("ids", profile.pk), read)


class Owner(NamedTuple):
    """Whose an id is: the profile it belongs to, and the one that speaks for the person."""

    profile_id: int
    person_id: int


@dataclass(frozen=True)
class Resolved:
    """Where the ids that somebody showed belong."""

    #: On whom facts about them are recorded: the owner of the strongest id.
    home: Owner
    owners: Mapping[IdentityKind, Owner]
    #: Ids that nobody had shown before.
    fresh: frozenset[IdentityKind]


def resolve_profile(*, installation: Installation, shown: Shown, now: datetime) -> Profile:
    """Return the profile behind the ids shown; make it, and learn the ids that nobody has yet."""
    (found,) = resolve(installation=installation, people=[shown], now=now)
    return Profile.objects.of(installation).get(pk=found.home.profile_id)


def resolve(
    *,
    installation: Installation,
    people: Sequence[Shown],
    now: datetime,
    confirmed: Collection[str] = (),
) -> list[Resolved]:
    """Return one answer per entry of `people`, in order; entries may share a profile.

    No profile holds two names: a Saleor user, an address, an external id and an anonymous id each
    have their own, so that whoever typed somebody's address shares nothing with its owner until a
    merge says so. The exceptions are known at once: an address that Saleor `confirmed` (given here in
    plain text) for the user beside it, and a cart, which moves in with whoever shows it first.

    Raises PersonErased for a Saleor user whose account was deleted.
    """
    keys = [_keys(shown) for shown in people]
    sure = {email_hash(address) for address in confirmed}
    with transaction.atomic():
        owners = _hold(installation, keys, sure)
        tombstones.check_accounts(
            installation,
            {
                value
                for key in keys
                for kind, value in key.items()
                if kind == IdentityKind.SALEOR_USER and (kind, value) not in owners
            },
        )
        book = _Book(owners, _bare_carts(installation, owners), sure)
        found = [book.enter(key) for key in keys]
        addresses = {
            key[IdentityKind.EMAIL]: shown[IdentityKind.EMAIL].strip()
            for key, shown in zip(keys, people, strict=True)
            if IdentityKind.EMAIL in key
        }
        made = Profile.objects.bulk_create(
            Profile(installation=installation, first_seen_at=now) for _ in range(book.made)
        )
        row_of = {-number: profile.pk for number, profile in enumerate(made, start=1)}
        bulk.insert(
            Identity,
            installation,
            [
                {
                    "profile_id": row_of.get(owner.profile_id, owner.profile_id),
                    "kind": kind,
                    "value": value,
                    "address": addresses[value] if kind == IdentityKind.EMAIL else "",
                    "first_seen_at": now,
                    "confirmed_at": now if is_confirmed else None,
                }
                for (kind, value), owner, is_confirmed in book.learned
            ],
        )

    def row(owner: Owner) -> Owner:
        return Owner(*(row_of.get(number, number) for number in owner))

    return [
        Resolved(row(home), {kind: row(owners[kind, key[kind]]) for kind in key}, fresh)
        for key, (home, fresh) in zip(keys, found, strict=True)
    ]


class _Book:
    """Who owns which id, while a page of people is entered. A profile without a row is -1, -2, ..."""

    def __init__(
        self,
        owners: dict[tuple[IdentityKind, str], Owner],
        bare_carts: set[int],
        confirmed: Collection[str],
    ) -> None:
        self.owners = owners
        self.made = 0
        self.learned: list[tuple[tuple[IdentityKind, str], Owner, bool]] = []
        self._bare_carts = bare_carts
        self._confirmed = confirmed

    def enter(self, key: Mapping[IdentityKind, str]) -> tuple[Owner, frozenset[IdentityKind]]:
        """Return the owner of the strongest id, and which ids were nobody's."""
        fresh = frozenset(kind for kind in key if (kind, key[kind]) not in self.owners)
        home: Owner | None = None
        for kind, value in key.items():
            if home is None:
                home = self.owners.get((kind, value)) or self._learn(
                    kind, value, self._bare_cart(key)
                )
                self._bare_carts.discard(home.profile_id)
            elif kind in fresh:
                is_sure = kind == IdentityKind.EMAIL and (
                    IdentityKind.SALEOR_USER in key and value in self._confirmed
                )
                self._learn(kind, value, home if is_sure or kind not in NAMES else None)
        if home is None:
            raise ValueError("Nobody can be found by no id at all.")
        return home, fresh

    def _learn(self, kind: IdentityKind, value: str, owner: Owner | None) -> Owner:
        if owner is None:
            self.made += 1
            owner = Owner(-self.made, -self.made)
        self.owners[kind, value] = owner
        is_confirmed = kind == IdentityKind.EMAIL and value in self._confirmed
        self.learned.append(((kind, value), owner, is_confirmed))
        return owner

    def _bare_cart(self, key: Mapping[IdentityKind, str]) -> Owner | None:
        cart = self.owners.get((IdentityKind.CHECKOUT, key.get(IdentityKind.CHECKOUT, "")))
        return cart if cart is not None and cart.profile_id in self._bare_carts else None


_OWNERS = f"""
SELECT kind, value, profile_id, COALESCE(profile.merged_into_id, profile.id)
FROM {Identity._meta.db_table} AS identity
JOIN unnest(%s::text[], %s::text[]) AS shown(kind, value) USING (kind, value)
JOIN {Profile._meta.db_table} AS profile ON profile.id = profile_id
WHERE identity.installation_id = %s
"""  # noqa: S608 (the names of the tables are ours)


def _owners(
    installation: Installation, ids: Iterable[tuple[IdentityKind, str]]
) -> dict[tuple[IdentityKind, str], Owner]:
    """Return whose the ids are, of those that are somebody's."""
    shown = list(ids)
    with connection.cursor() as cursor:
        cursor.execute(
            _OWNERS, [[kind.value for kind, _ in shown], [v for _, v in shown], installation.pk]
        )
        return {
            (IdentityKind(kind), value): Owner(profile_id, person_id)
            for kind, value, profile_id, person_id in cursor.fetchall()
        }


def _hold(
    installation: Installation,
    keys: Sequence[Mapping[IdentityKind, str]],
    confirmed: Collection[str],
) -> dict[tuple[IdentityKind, str], Owner]:
    """Lock the ids, and before them the graph if they might join somebody; return whose they are."""
    items = {item for key in keys for item in key.items()}
    attempt = transaction.savepoint()
    lock_identities(installation, items)
    owners = _owners(installation, items)
    if not _may_join(installation, keys, owners, confirmed):
        transaction.savepoint_commit(attempt)
        return owners
    # Going back gives the ids free, so that the graph can be had first.
    transaction.savepoint_rollback(attempt)
    lock_graph(installation)
    lock_identities(installation, items)
    return _owners(installation, items)


def _may_join(
    installation: Installation,
    keys: Sequence[Mapping[IdentityKind, str]],
    owners: Mapping[tuple[IdentityKind, str], Owner],
    confirmed: Collection[str],
) -> bool:
    carts = {key[IdentityKind.CHECKOUT] for key in keys if IdentityKind.CHECKOUT in key}
    for key in keys:
        known = [owners.get(item) for item in key.items()]
        if len({owner and owner.person_id for owner in known}) > 1:
            return True
        # They may be one person by less than a confirmed address.
        is_sure = key.get(IdentityKind.EMAIL) in confirmed
        if is_sure and len({owner and owner.profile_id for owner in known}) > 1:
            return True
    return bool(carts) and merging.is_anybody_suspected(installation, carts)


def _bare_carts(
    installation: Installation, owners: Mapping[tuple[IdentityKind, str], Owner]
) -> set[int]:
    """Return the profiles that are nothing but a cart nobody has shown yet."""
    of_carts = {
        owner.profile_id for (kind, _), owner in owners.items() if kind == IdentityKind.CHECKOUT
    }
    if not of_carts:
        return set()
    return of_carts - set(
        Identity.objects.of(installation)
        .filter(profile__in=of_carts)
        .exclude(kind=IdentityKind.CHECKOUT)
        .values_list("profile_id", flat=True)
    )


def show(*, installation: Installation, shown: Shown, now: datetime) -> Profile:
    """Return the profile of somebody who shows several ids at once, and follow what that proves.

    A Saleor user must come from a verified token, an external id from the shop's own server: what is
    shown beside them (a browser, a push token) is theirs from now on. Not when another account signed
    in there before: two accounts are two people. A cart is followed as `join_over_cart` says.
    """
    with transaction.atomic():
        (found,) = resolve(installation=installation, people=[shown], now=now)
        sure = next((kind for kind in _PROVEN if kind in found.owners), None)
        for kind in found.owners:
            proof = _proof(sure, kind)
            if sure and proof:
                _join(
                    installation=installation,
                    found=found,
                    kind=kind,
                    proof=proof,
                    evidence=[(kind, shown[kind]), (sure, shown[sure])],
                    now=now,
                )
        if IdentityKind.CHECKOUT in found.owners:
            join_over_cart(
                installation=installation,
                found=found,
                checkout_id=shown[IdentityKind.CHECKOUT],
                now=now,
            )
    return Profile.objects.of(installation).get(pk=found.home.profile_id)


#: Ids that nobody can merely choose or type.
_PROVEN = (IdentityKind.SALEOR_USER, IdentityKind.EXTERNAL_ID)


def _proof(sure: IdentityKind | None, kind: IdentityKind) -> MergeProof | None:
    """Return what an id beside a proven one proves."""
    if kind == IdentityKind.EXTERNAL_ID or (
        sure == IdentityKind.EXTERNAL_ID and kind == IdentityKind.ANONYMOUS_ID
    ):
        return MergeProof.EXTERNAL_ID
    return {
        IdentityKind.ANONYMOUS_ID: MergeProof.LOGIN,
        IdentityKind.DEVICE_TOKEN: MergeProof.DEVICE_TOKEN,
    }.get(kind)


def _join(
    *,
    installation: Installation,
    found: Resolved,
    kind: IdentityKind,
    proof: MergeProof,
    evidence: merging.Evidence,
    now: datetime,
) -> None:
    """Join the owner of an id with whoever showed it, unless they are one person already."""
    owner = found.owners.get(kind, found.home)
    if owner.person_id != found.home.person_id:
        first, second = profiles(installation, [owner, found.home])
        merging.prove(
            installation=installation,
            first=first,
            second=second,
            proof=proof,
            evidence=evidence,
            now=now,
        )


def profiles(installation: Installation, owners: Sequence[Owner]) -> list[Profile]:
    """Return the profiles of owners as they are now, in order."""
    rows = (
        Profile.objects.of(installation)
        .select_related("installation")
        .in_bulk([owner.profile_id for owner in owners])
    )
    return [rows[owner.profile_id] for owner in owners]


def join_over_cart(
    *, installation: Installation, found: Resolved, checkout_id: str, now: datetime
) -> None:
    """Follow a cart that is shown by another profile than the one it is known from.

    The first name on a browser's cart (an account, an address nobody used before) is that browser's
    person. Everything else only suggests it: a link to a cart can be forwarded, and the address of
    somebody else typed in. The order decides.
    """
    owner = found.owners.get(IdentityKind.CHECKOUT, found.home)
    if owner.person_id == found.home.person_id:
        return
    first, second = profiles(installation, [owner, found.home])
    is_first_name = IdentityKind.SALEOR_USER in found.owners or (
        IdentityKind.EMAIL in found.fresh and IdentityKind.ANONYMOUS_ID not in found.owners
    )
    if merging.is_only_carts(first) or (is_first_name and merging.is_nameless(first)):
        merging.prove(
            installation=installation,
            first=first,
            second=second,
            proof=MergeProof.CHECKOUT,
            evidence=[(IdentityKind.CHECKOUT, checkout_id)],
            now=now,
        )
    else:
        merging.suspect(
            installation=installation,
            first=first,
            second=second,
            checkout_id=checkout_id,
            now=now,
        )


def join_over_order(
    *, installation: Installation, found: Resolved, checkout_id: str, now: datetime
) -> None:
    """Join whoever showed a cart with whoever ordered it."""
    _join(
        installation=installation,
        found=found,
        kind=IdentityKind.CHECKOUT,
        proof=MergeProof.CHECKOUT_COMPLETED,
        evidence=[(IdentityKind.CHECKOUT, checkout_id)],
        now=now,
    )


def join_over_account(
    *, installation: Installation, found: Resolved, is_confirmed: bool, now: datetime
) -> None:
    """Join a Saleor user with the profile of their account's address.

    Unless Saleor had them confirm it, it says only where to write to: whoever confirms it later takes
    it back.
    """
    owner = found.owners.get(IdentityKind.EMAIL, found.home)
    if IdentityKind.SALEOR_USER not in found.owners or owner.profile_id == found.home.profile_id:
        return
    if owner.person_id == found.home.person_id and not is_confirmed:
        return
    first, second = profiles(installation, [owner, found.home])
    merging.prove(
        installation=installation,
        first=first,
        second=second,
        proof=MergeProof.CONFIRMED_EMAIL if is_confirmed else MergeProof.ACCOUNT,
        now=now,
    )


def confirm_address(*, installation: Installation, address_hash: str, now: datetime) -> bool:
    """Record that the owner of an address answered from it; return whether that is new."""
    return bool(
        Identity.objects.of(installation)
        .filter(kind=IdentityKind.EMAIL, value=address_hash, confirmed_at=None)
        .update(confirmed_at=now)
    )


def address_of(*, installation: Installation, address_hash: str) -> str:
    """Return the e-mail address with this keyed hash, or an empty text when nobody has it."""
    identity = (
        Identity.objects.of(installation)
        .filter(kind=IdentityKind.EMAIL, value=address_hash)
        .first()
    )
    return identity.address if identity else ""
