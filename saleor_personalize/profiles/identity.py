"""From the ids that a shopper shows to the one profile behind them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db import transaction
from django.db.models import Q

from saleor_personalize.enums import IdentityKind, MergeProof
from saleor_personalize.models import Identity, Installation, Profile, email_hash
from saleor_personalize.models.locks import lock
from saleor_personalize.profiles import merging
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


@dataclass(frozen=True)
class Resolved:
    """Where the ids that somebody showed belong."""

    #: On whom facts about them are recorded: the owner of the strongest id.
    profile: Profile
    owners: Mapping[IdentityKind, Profile]
    #: Ids that nobody had shown before.
    fresh: frozenset[IdentityKind]


def resolve_profile(*, installation: Installation, shown: Shown, now: datetime) -> Profile:
    """Return the profile behind the ids shown; make it, and learn the ids that nobody has yet."""
    return resolve(installation=installation, people=[shown], now=now)[0].profile


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
    """
    with transaction.atomic():
        keys = [_keys(shown) for shown in people]
        owners = _hold(installation, keys)
        carts = _bare_carts(installation, owners)
        sure = {email_hash(address) for address in confirmed}
        profiles: list[Profile] = []
        identities: list[Identity] = []
        answers = []
        for key, shown in zip(keys, people, strict=True):
            fresh = frozenset(kind for kind, value in key.items() if (kind, value) not in owners)

            def learn(
                kind: IdentityKind,
                profile: Profile | None,
                key: Mapping[IdentityKind, str] = key,
                shown: Shown = shown,
            ) -> Profile:
                if profile is None:
                    profile = Profile(
                        installation=installation, first_seen_at=now, last_seen_at=now
                    )
                    profiles.append(profile)
                is_email = kind == IdentityKind.EMAIL
                identities.append(
                    Identity(
                        installation=installation,
                        profile=profile,
                        kind=kind,
                        value=key[kind],
                        address=shown[kind].strip() if is_email else "",
                        first_seen_at=now,
                        last_seen_at=now,
                        confirmed_at=now if is_email and key[kind] in sure else None,
                    )
                )
                owners[kind, key[kind]] = profile
                return profile

            home: Profile | None = None
            for kind in key:
                known = owners.get((kind, key[kind]))
                if home is None:
                    cart = owners.get((IdentityKind.CHECKOUT, key.get(IdentityKind.CHECKOUT, "")))
                    adopts = cart is not None and cart.pk in carts
                    home = known or learn(kind, cart if adopts else None)
                    if adopts and cart is not None and kind != IdentityKind.CHECKOUT:
                        carts.discard(cart.pk)
                elif known is None:
                    moves_in = kind not in NAMES or (
                        kind == IdentityKind.EMAIL
                        and key[kind] in sure
                        and IdentityKind.SALEOR_USER in key
                    )
                    learn(kind, home if moves_in else None)
            if home is None:
                raise ValueError("Nobody can be found by no id at all.")
            answers.append((home, key, fresh))
        Profile.objects.bulk_create(profiles)
        for identity in identities:
            identity.profile_id = identity.profile.pk
        Identity.objects.bulk_create(identities)
        seen = {home.pk for home, _, _ in answers if home.last_seen_at < now}
        Profile.objects.of(installation).filter(pk__in=seen).update(last_seen_at=now)
    return [
        Resolved(home, {kind: owners[kind, value] for kind, value in key.items()}, fresh)
        for home, key, fresh in answers
    ]


def _owners(
    installation: Installation, keys: Sequence[Mapping[IdentityKind, str]]
) -> dict[tuple[str, str], Profile]:
    wanted = Q(pk=None)
    for kind in STRENGTH:
        values = {key[kind] for key in keys if kind in key}
        if values:
            wanted |= Q(kind=kind, value__in=values)
    found = Identity.objects.of(installation).filter(wanted).select_related("profile")
    return {(identity.kind, identity.value): identity.profile for identity in found}


def _hold(
    installation: Installation, keys: Sequence[Mapping[IdentityKind, str]]
) -> dict[tuple[str, str], Profile]:
    """Lock the ids, and before them the graph if they might join somebody; return whose they are."""
    items = [item for key in keys for item in key.items()]
    attempt = transaction.savepoint()
    lock_identities(installation, items)
    owners = _owners(installation, keys)
    if not _may_join(installation, keys, owners):
        transaction.savepoint_commit(attempt)
        return owners
    # Going back gives the ids free, so that the graph can be had first.
    transaction.savepoint_rollback(attempt)
    lock_graph(installation)
    lock_identities(installation, items)
    return _owners(installation, keys)


def _may_join(
    installation: Installation,
    keys: Sequence[Mapping[IdentityKind, str]],
    owners: Mapping[tuple[str, str], Profile],
) -> bool:
    carts = {key[IdentityKind.CHECKOUT] for key in keys if IdentityKind.CHECKOUT in key}
    return any(
        len({owners[item].person_id if item in owners else None for item in key.items()}) > 1
        for key in keys
    ) or (bool(carts) and merging.is_anybody_suspected(installation, carts))


def _bare_carts(installation: Installation, owners: Mapping[tuple[str, str], Profile]) -> set[int]:
    """Return the profiles that are nothing but a cart nobody has shown yet."""
    of_carts = {
        profile.pk for (kind, _), profile in owners.items() if kind == IdentityKind.CHECKOUT
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
        for kind, owner in found.owners.items():
            proof = _proof(sure, kind)
            if sure and proof and owner.person_id != found.profile.person_id:
                merging.prove(
                    installation=installation,
                    first=owner,
                    second=found.profile,
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
    return found.profile


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


def join_over_cart(
    *, installation: Installation, found: Resolved, checkout_id: str, now: datetime
) -> None:
    """Follow a cart that is shown by another profile than the one it is known from.

    The first name on a browser's cart (an account, an address nobody used before) is that browser's
    person. Everything else only suggests it: a link to a cart can be forwarded, and the address of
    somebody else typed in. The order decides.
    """
    owner = found.owners.get(IdentityKind.CHECKOUT, found.profile)
    if owner.person_id == found.profile.person_id:
        return
    is_first_name = IdentityKind.SALEOR_USER in found.owners or (
        IdentityKind.EMAIL in found.fresh and IdentityKind.ANONYMOUS_ID not in found.owners
    )
    if merging.is_only_carts(owner) or (is_first_name and merging.is_nameless(owner)):
        merging.prove(
            installation=installation,
            first=owner,
            second=found.profile,
            proof=MergeProof.CHECKOUT,
            evidence=[(IdentityKind.CHECKOUT, checkout_id)],
            now=now,
        )
    else:
        merging.suspect(
            installation=installation,
            first=owner,
            second=found.profile,
            checkout_id=checkout_id,
            now=now,
        )


def join_over_order(
    *, installation: Installation, found: Resolved, checkout_id: str, now: datetime
) -> None:
    """Join whoever showed a cart with whoever ordered it."""
    owner = found.owners.get(IdentityKind.CHECKOUT, found.profile)
    if owner.person_id != found.profile.person_id:
        merging.prove(
            installation=installation,
            first=owner,
            second=found.profile,
            proof=MergeProof.CHECKOUT_COMPLETED,
            evidence=[(IdentityKind.CHECKOUT, checkout_id)],
            now=now,
        )


def join_over_address(*, installation: Installation, found: Resolved, now: datetime) -> None:
    """Join a Saleor user with the profile of the address that Saleor had them confirm."""
    owner = found.owners[IdentityKind.EMAIL]
    if owner.pk != found.profile.pk:
        merging.prove(
            installation=installation,
            first=owner,
            second=found.profile,
            proof=MergeProof.CONFIRMED_EMAIL,
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
