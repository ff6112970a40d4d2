"""From the ids that a shopper shows to the one profile behind them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from django.db import transaction
from django.db.models import Q

from saleor_personalize.enums import IdentityKind
from saleor_personalize.models import Identity, Installation, Profile, email_hash
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
    lock_identities(
        installation, ((kind, value) for shown in people for kind, value in _keys(shown).items())
    )


def lock_identities(
    installation: Installation, identities: Iterable[tuple[IdentityKind | str, str]]
) -> None:
    """Hold ids given as they are stored (see `lock_people`)."""
    lock(installation, [f"identity:{kind!s}:{value}" for kind, value in identities])


def resolve_profile(*, installation: Installation, shown: Shown, now: datetime) -> Profile:
    """Return the profile behind the ids shown; make it, and learn the ids that nobody has yet."""
    return resolve_profiles(installation=installation, people=[shown], now=now)[0]


def resolve_profiles(
    *, installation: Installation, people: Sequence[Shown], now: datetime
) -> list[Profile]:
    """Return one profile per entry of `people`, in order; entries may share a profile.

    Profiles are not merged here: an id that already belongs to somebody stays there. Nor does a new
    Saleor user move in with another one over an address or a cart: everybody can write any address
    into a cart, and whoever signs in as a user reads that user's profile.
    """
    with transaction.atomic():
        lock_people(installation, people)
        keys = [_keys(shown) for shown in people]
        wanted = Q(pk=None)
        for kind in STRENGTH:
            values = {key[kind] for key in keys if kind in key}
            if values:
                wanted |= Q(kind=kind, value__in=values)
        owner: dict[tuple[str, str], Profile] = {
            (identity.kind, identity.value): identity.profile
            for identity in Identity.objects.of(installation)
            .filter(wanted)
            .select_related("profile")
        }
        users = _profiles_of_users(installation, owner) if _newcomers(keys, owner) else set()
        profiles: list[Profile] = []
        created: list[Profile] = []
        learned: list[Identity] = []
        for key, shown in zip(keys, people, strict=True):
            is_newcomer = bool(_newcomers([key], owner))
            profile = next(
                (
                    owner[kind, value]
                    for kind, value in key.items()
                    if (kind, value) in owner
                    and not (is_newcomer and _mark(owner[kind, value]) in users)
                ),
                None,
            )
            if profile is None:
                profile = Profile(installation=installation, first_seen_at=now, last_seen_at=now)
                created.append(profile)
            profiles.append(profile)
            if is_newcomer:
                users.add(_mark(profile))
            for kind, value in key.items():
                if (kind, value) not in owner:
                    owner[kind, value] = profile
                    learned.append(
                        Identity(
                            installation=installation,
                            profile=profile,
                            kind=kind,
                            value=value,
                            address=shown[kind].strip() if kind == IdentityKind.EMAIL else "",
                            first_seen_at=now,
                            last_seen_at=now,
                        )
                    )
        Profile.objects.bulk_create(created)
        for identity in learned:
            identity.profile_id = identity.profile.pk
        Identity.objects.bulk_create(learned)
        seen = {profile.pk for profile in profiles if profile.last_seen_at < now}
        Profile.objects.of(installation).filter(pk__in=seen).update(last_seen_at=now)
    return profiles


def _newcomers(
    keys: Sequence[Mapping[IdentityKind, str]], owner: Mapping[tuple[str, str], Profile]
) -> list[str]:
    """Return the Saleor users shown that nobody is yet."""
    users = (key.get(IdentityKind.SALEOR_USER) for key in keys)
    return [user for user in users if user and (IdentityKind.SALEOR_USER, user) not in owner]


def _profiles_of_users(
    installation: Installation, owner: Mapping[tuple[str, str], Profile]
) -> set[int]:
    """Return the marks of those owners that are a Saleor user already."""
    return set(
        Identity.objects.of(installation)
        .filter(
            kind=IdentityKind.SALEOR_USER,
            profile_id__in={profile.pk for profile in owner.values()},
        )
        .values_list("profile_id", flat=True)
    )


def _mark(profile: Profile) -> int:
    """Return what tells profiles apart, also those without a row yet."""
    return -id(profile) if profile.pk is None else profile.pk


def address_of(*, installation: Installation, address_hash: str) -> str:
    """Return the e-mail address with this keyed hash, or an empty text when nobody has it."""
    identity = (
        Identity.objects.of(installation)
        .filter(kind=IdentityKind.EMAIL, value=address_hash)
        .first()
    )
    return identity.address if identity else ""
