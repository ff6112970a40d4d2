"""From the ids that a shopper shows to the one profile behind them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from django.db import connection, transaction

from saleor_personalize.enums import IdentityKind
from saleor_personalize.models import Identity, Installation, Profile, bulk, email_hash
from saleor_personalize.models.locks import lock

#: Strongest first: where ids point to different profiles, the first one decides and none is moved.
STRENGTH = (
    IdentityKind.SALEOR_USER,
    IdentityKind.EXTERNAL_ID,
    IdentityKind.EMAIL,
    IdentityKind.CHECKOUT,
    IdentityKind.DEVICE_TOKEN,
    IdentityKind.ANONYMOUS_ID,
)

#: What a shopper shows, by kind; an e-mail in plain text, empty values are ignored.
Shown = Mapping[IdentityKind, str]


def _keys(shown: Shown) -> dict[IdentityKind, str]:
    """Return the ids as they are stored: e-mail addresses by their keyed hash."""
    return {
        kind: email_hash(shown[kind]) if kind == IdentityKind.EMAIL else shown[kind]
        for kind in STRENGTH
        if shown.get(kind)
    }


def lock_people(installation: Installation, people: Iterable[Shown]) -> None:
    """Hold every id shown until the transaction ends.

    Recording an order and deciding on a message both take these locks, so neither can slip
    between the other's look and its commit.
    """
    lock_identities(installation, (item for shown in people for item in _keys(shown).items()))


def lock_identities(
    installation: Installation, identities: Iterable[tuple[IdentityKind | str, str]]
) -> None:
    """Hold ids given as they are stored (see `lock_people`)."""
    lock(installation, [f"identity:{kind!s}:{value}" for kind, value in identities])


def resolve_profile(*, installation: Installation, shown: Shown, now: datetime) -> Profile:
    """Return the profile behind the ids shown; make it, and learn the ids that nobody has yet."""
    (profile_id,) = resolve_profiles(installation=installation, people=[shown], now=now)
    return Profile.objects.of(installation).get(pk=profile_id)


def resolve_profiles(
    *, installation: Installation, people: Sequence[Shown], now: datetime
) -> list[int]:
    """Return the id of one profile per entry of `people`, in order; entries may share a profile.

    Profiles are not merged here: an id that already belongs to somebody stays there. Nor does a new
    Saleor user move in with another one over an address or a cart: everybody can write any address
    into a cart, and whoever signs in as a user reads that user's profile.
    """
    keys = [_keys(shown) for shown in people]
    identities = {item for key in keys for item in key.items()}
    with transaction.atomic(savepoint=False):
        lock_identities(installation, identities)
        owner = _owners(installation, identities)
        users = (
            _users_among(installation, owner)
            if any(_is_newcomer(k, owner) for k in keys)
            else set()
        )
        # A profile without a row yet is -1, -2, ...
        found: list[int] = []
        created = 0
        addresses: dict[tuple[str, str], str] = {}
        for key, shown in zip(keys, people, strict=True):
            is_newcomer = _is_newcomer(key, owner)
            owners = (owner[item] for item in key.items() if item in owner)
            profile = next((o for o in owners if not (is_newcomer and o in users)), None)
            if profile is None:
                created += 1
                profile = -created
            if is_newcomer:
                users.add(profile)
            found.append(profile)
            for kind, value in key.items():
                if (kind, value) not in owner:
                    owner[kind, value] = profile
                    is_email = kind == IdentityKind.EMAIL
                    addresses[kind, value] = shown[kind].strip() if is_email else ""
        new = Profile.objects.bulk_create(
            Profile(installation=installation, first_seen_at=now) for _ in range(created)
        )
        row_of = {-number: profile.pk for number, profile in enumerate(new, start=1)}
        bulk.insert(
            Identity,
            installation,
            [
                {
                    "profile_id": row_of.get(owner[kind, value], owner[kind, value]),
                    "kind": kind,
                    "value": value,
                    "address": address,
                    "first_seen_at": now,
                }
                for (kind, value), address in addresses.items()
            ],
        )
    return [row_of.get(profile, profile) for profile in found]


_OWNERS = f"""
SELECT kind, value, profile_id FROM {Identity._meta.db_table}
JOIN unnest(%s::text[], %s::text[]) AS shown(kind, value) USING (kind, value)
WHERE installation_id = %s
"""  # noqa: S608 (the name of the table is ours)


def _owners(
    installation: Installation, identities: Iterable[tuple[IdentityKind, str]]
) -> dict[tuple[str, str], int]:
    """Return the profiles that the ids belong to, of those that are somebody's."""
    shown = list(identities)
    with connection.cursor() as cursor:
        cursor.execute(
            _OWNERS, [[kind.value for kind, _ in shown], [v for _, v in shown], installation.pk]
        )
        return {(kind, value): profile_id for kind, value, profile_id in cursor.fetchall()}


def _is_newcomer(key: Mapping[IdentityKind, str], owner: Mapping[tuple[str, str], int]) -> bool:
    """Tell whether a Saleor user is shown that nobody is yet."""
    user = key.get(IdentityKind.SALEOR_USER)
    return user is not None and (IdentityKind.SALEOR_USER, user) not in owner


def _users_among(installation: Installation, owner: Mapping[tuple[str, str], int]) -> set[int]:
    """Return those owners that are a Saleor user already."""
    return set(
        Identity.objects.of(installation)
        .filter(kind=IdentityKind.SALEOR_USER, profile__in=set(owner.values()))
        .values_list("profile_id", flat=True)
    )


def address_of(*, installation: Installation, address_hash: str) -> str:
    """Return the e-mail address with this keyed hash, or an empty text when nobody has it."""
    identity = (
        Identity.objects.of(installation)
        .filter(kind=IdentityKind.EMAIL, value=address_hash)
        .first()
    )
    return identity.address if identity else ""
