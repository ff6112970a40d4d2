"""When two profiles are one person: on proof, on the record, and undone exactly (ADR 8).

A merge is an edge between two profiles; a person is what live edges hold together. Facts stay on the
profile whose id was shown, so joining and splitting change nothing but `Profile.merged_into`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime

from django.db import transaction
from django.db.models import F, Q, QuerySet
from django.db.models.functions import Coalesce

from saleor_personalize import bus
from saleor_personalize.enums import BusEvent, IdentityKind, MergeProof
from saleor_personalize.models import (
    ComputedTraits,
    Identity,
    Installation,
    Merge,
    Profile,
    prepared,
)
from saleor_personalize.models.locks import lock
from saleor_personalize.models.profiles import PERSON
from saleor_personalize.profiles.changes import mark_changed

_OVER_CARTS = frozenset({MergeProof.CHECKOUT, MergeProof.CHECKOUT_COMPLETED})
_UNREAD = _OVER_CARTS | {MergeProof.ACCOUNT}
_OF_BROWSERS = frozenset({MergeProof.LOGIN, MergeProof.DEVICE_TOKEN})

#: proof -> what gives way to it where two accounts would become one person: who confirmed an address owns
#: it, and a browser is theirs who sign in on it, not theirs who opened or ordered a cart from it.
_OUTWEIGHS = {
    MergeProof.CONFIRMED_EMAIL: frozenset(MergeProof)
    - {MergeProof.CONFIRMED_EMAIL, MergeProof.STAFF},
    **dict.fromkeys(_OF_BROWSERS, _UNREAD),
}

#: Kinds of ids that are a name of their own.
_NAMING = (IdentityKind.SALEOR_USER, IdentityKind.EMAIL, IdentityKind.EXTERNAL_ID)

_KINDS = f"""
WITH {PERSON}
SELECT DISTINCT kind FROM {Identity._meta.db_table}
WHERE profile_id IN (SELECT id FROM member) AND installation_id = %(installation)s
"""  # noqa: S608 (the names of the tables are ours)

Evidence = Sequence[tuple[IdentityKind, str]]


def lock_graph(installation: Installation) -> None:
    """Hold the shop's identity graph until the transaction ends.

    Take it before any identity lock: then no two transactions can wait for each other.
    """
    lock(installation, ["identity-graph"])


def prove(
    *,
    installation: Installation,
    first: Profile,
    second: Profile,
    proof: MergeProof,
    now: datetime,
    evidence: Evidence = (),
    decided_by: str = "",
) -> bool:
    """Join two profiles; return whether they were two people until now.

    Refused, with nothing changed: two different Saleor users, and a pair that was split before. Only
    staff can join those. An address that one Saleor user confirmed is taken back from whoever merely
    typed it, and a browser on which one signs in from whoever it shared a cart with. What was done on
    that browser before may be the other one's: the two are one for our care, and it is not read across.
    """
    if first.pk == second.pk:
        return False
    with transaction.atomic():
        lock_graph(installation)
        first, second = _fresh(installation, first, second)
        merge = _edge(installation, first, second, proof)
        if merge is not None and merge.proved_at is not None and merge.undone_at is None:
            return False
        is_disputed = merge is not None and merge.is_disputed
        if proof != MergeProof.STAFF:
            if _between(installation, first, second).exclude(undone_at=None).exists():
                return False
            if _are_different_users(first, second):
                before = transaction.savepoint()
                weaker = _OUTWEIGHS.get(proof, frozenset())
                _take_back(installation, first, second, weaker=weaker, now=now)
                first, second = _fresh(installation, first, second)
                if _are_different_users(first, second):
                    # The other one proved it as well.
                    transaction.savepoint_rollback(before)
                    return False
                is_disputed = proof in _OF_BROWSERS
        was_one = first.person_id == second.person_id
        low, high = sorted((first, second), key=lambda profile: profile.pk)
        Merge.objects.update_or_create(
            installation=installation,
            first=low,
            second=high,
            proof=proof,
            defaults={
                "evidence": [{"kind": str(kind), "value": value} for kind, value in evidence],
                "proved_at": now,
                "undone_at": None,
                "waits_for": "",
                "is_disputed": is_disputed,
                "decided_by": decided_by,
            },
            create_defaults={
                "evidence": [{"kind": str(kind), "value": value} for kind, value in evidence],
                "created_at": now,
                "proved_at": now,
                "is_disputed": is_disputed,
                "decided_by": decided_by,
            },
        )
        _regroup(installation, {first.pk, second.pk}, now=now)
        if not was_one:
            bus.publish(
                installation=installation,
                event=BusEvent.PROFILE_MERGED,
                data={"references": [str(low.public_id), str(high.public_id)], "proof": proof},
                profile_id=low.pk,
                now=now,
            )
    return not was_one


def suspect(
    *,
    installation: Installation,
    first: Profile,
    second: Profile,
    checkout_id: str,
    now: datetime,
) -> None:
    """Note that two profiles showed one checkout. Its order, if it comes, proves them one person."""
    if first.pk == second.pk:
        return
    low, high = sorted((first, second), key=lambda profile: profile.pk)
    Merge.objects.get_or_create(
        installation=installation,
        first=low,
        second=high,
        proof=MergeProof.CHECKOUT_COMPLETED,
        defaults={
            "evidence": [{"kind": str(IdentityKind.CHECKOUT), "value": checkout_id}],
            "created_at": now,
            "waits_for": checkout_id,
        },
    )


def prove_suspected(
    *, installation: Installation, checkout_ids: Collection[str], now: datetime
) -> int:
    """Join those who were suspected over checkouts that were now ordered; return how many."""
    waiting = _waiting(installation, checkout_ids).select_related("first", "second").order_by("pk")
    return sum(
        prove(
            installation=installation,
            first=merge.first,
            second=merge.second,
            proof=MergeProof.CHECKOUT_COMPLETED,
            evidence=[(IdentityKind.CHECKOUT, merge.waits_for)],
            now=now,
        )
        for merge in waiting
    )


def perhaps_of(*, installation: Installation, checkout_id: str) -> set[int]:
    """Return the profiles that may be the person of a cart: suspected over it, neither proved nor denied."""
    rows = _waiting(installation, [checkout_id]).values_list("first", "second")
    shown = {key for pair in rows for key in pair}
    if not shown:
        return set()
    people = Profile.objects.of(installation).filter(pk__in=shown)
    speakers = set(people.values_list(Coalesce("merged_into_id", "pk"), flat=True))
    whole = Profile.objects.of(installation).filter(
        Q(pk__in=speakers) | Q(merged_into__in=speakers)
    )
    return set(whole.values_list("pk", flat=True))


def is_anybody_suspected(installation: Installation, checkout_ids: Collection[str]) -> bool:
    return _waiting(installation, checkout_ids).exists()


def _waiting(installation: Installation, checkout_ids: Collection[str]) -> QuerySet[Merge]:
    return Merge.objects.of(installation).filter(
        waits_for__in=checkout_ids, proved_at=None, undone_at=None
    )


def split(*, merge: Merge, now: datetime, decided_by: str) -> bool:
    """Undo everything that joins the two profiles of a merge; return whether they are two people now.

    Both get back exactly the ids and facts that were their own, those since the merge included. False
    means that a third profile still holds them together: split it off as well.
    """
    installation = merge.installation
    with transaction.atomic():
        lock_graph(installation)
        _between(installation, merge.first, merge.second).filter(undone_at=None).update(
            undone_at=now, decided_by=decided_by
        )
        _regroup(installation, {merge.first_id, merge.second_id}, now=now)
        first, second = _fresh(installation, merge.first, merge.second)
    return first.person_id != second.person_id


def merges_of(profile: Profile) -> list[Merge]:
    """Return what joined, might join and no longer joins this person, oldest first."""
    members = profile.person()
    return list(
        Merge.objects.of(profile.installation)
        .filter(Q(first__in=members) | Q(second__in=members))
        .order_by("created_at", "pk")
    )


def readable(profile: Profile) -> set[int]:
    """Return the primary keys of those profiles whose facts the person behind this one may read.

    A cart joins people for our care (who ordered is not reminded), never for their eyes: a cart can be
    forwarded and an address mistyped. Reading follows only what takes a secret of their own: signing
    in, a confirmed address, the word of the shop. Signing in on a browser that another account had by a
    cart opens nothing: what was done there before may be theirs.
    """
    return _reachable(profile, without=_UNREAD, with_disputed=False)


def with_own_addresses(profile: Profile) -> set[int]:
    """Return the primary keys of those profiles whose addresses may stand for this one.

    That of an account counts before it is confirmed, as that of a guest does; one that somebody else
    typed into the same cart does not.
    """
    return _reachable(profile, without=_OVER_CARTS)


def erasable(profile: Profile) -> set[int]:
    """Return the primary keys of those profiles that go when this one's account or owner asks for it.

    Over a cart only what has no name goes along, such as the browser it was filled on: an address typed
    into it may be somebody else's, and so may a browser on which somebody else is signed in.
    """
    installation = profile.installation
    named = set(
        Identity.objects.of(installation)
        .filter(profile__in=profile.person(), kind__in=_NAMING)
        .values_list("profile_id", flat=True)
    )
    person = frontier = with_own_addresses(profile)
    while frontier:
        over_carts = _live(installation, frontier).filter(proof__in=_OVER_CARTS)
        reached = {pk for pair in over_carts.values_list("first_id", "second_id") for pk in pair}
        groups = [_connected(installation, pk, without=_OVER_CARTS) for pk in reached - person]
        frontier = {pk for group in groups if group.isdisjoint(named) for pk in group}
        person = person | frontier
    return person


def regroup(*, installation: Installation, profile_ids: set[int], now: datetime) -> None:
    """Work out anew who is whose person, after profiles or merges went. The graph must be held."""
    _regroup(installation, profile_ids, now=now)


def _reachable(
    profile: Profile, *, without: Collection[MergeProof], with_disputed: bool = True
) -> set[int]:
    if profile.members() <= {profile.pk}:
        return {profile.pk}
    return _connected(
        profile.installation, profile.pk, without=without, with_disputed=with_disputed
    )


def _connected(
    installation: Installation,
    pk: int,
    *,
    without: Collection[MergeProof] = (),
    with_disputed: bool = True,
    around: int | None = None,
) -> set[int]:
    """Return what hangs together with a profile, but for some proofs, and not by way of `around`."""
    person = frontier = {pk}
    while frontier:
        edges = _live(installation, frontier).exclude(proof__in=without)
        if not with_disputed:
            edges = edges.filter(is_disputed=False)
        reached = {pk for pair in edges.values_list("first_id", "second_id") for pk in pair}
        frontier = reached - person - {around}
        person = person | reached
    return person


def have_name(*, installation: Installation, profile_ids: Collection[int]) -> bool:
    """Tell whether an account, an address or an id of the shop's own is known of any of these."""
    ids = Identity.objects.of(installation)
    return ids.filter(profile__in=profile_ids, kind__in=_NAMING).exists()


def is_nameless(profile: Profile) -> bool:
    """Tell whether nothing is known of a person but browsers and carts."""
    return _kinds(profile).isdisjoint(_NAMING)


def is_only_carts(profile: Profile) -> bool:
    return _kinds(profile) <= {IdentityKind.CHECKOUT}


def _kinds(profile: Profile) -> set[str]:
    """Return the kinds of all ids of a person."""
    with prepared.cursor() as cursor:
        cursor.execute(_KINDS, {"installation": profile.installation_id, "profile": profile.pk})
        return {kind for (kind,) in cursor.fetchall()}


def _fresh(installation: Installation, first: Profile, second: Profile) -> tuple[Profile, Profile]:
    rows = Profile.objects.of(installation).in_bulk([first.pk, second.pk])
    return rows[first.pk], rows[second.pk]


def _between(installation: Installation, first: Profile, second: Profile) -> QuerySet[Merge]:
    low, high = sorted((first.pk, second.pk))
    return Merge.objects.of(installation).filter(first=low, second=high)


def _edge(
    installation: Installation, first: Profile, second: Profile, proof: MergeProof
) -> Merge | None:
    return _between(installation, first, second).filter(proof=proof).first()


def _are_different_users(first: Profile, second: Profile) -> bool:
    users = [
        set(
            Identity.objects.of(profile.installation)
            .filter(profile__in=profile.person(), kind=IdentityKind.SALEOR_USER)
            .values_list("value", flat=True)
        )
        for profile in (first, second)
    ]
    return all(users) and users[0] != users[1]


def _take_back(
    installation: Installation,
    first: Profile,
    second: Profile,
    *,
    weaker: Collection[MergeProof],
    now: datetime,
) -> None:
    """Free the profile of an address or a browser from the accounts that weaker proofs joined to it."""
    for profile in (first, second):
        if _has_account(installation, {profile.pk}):
            continue
        others = {
            merge.pk: merge.second_id if merge.first_id == profile.pk else merge.first_id
            for merge in _live(installation, {profile.pk}).filter(proof__in=weaker)
        }
        freed = {
            pk: other
            for pk, other in others.items()
            if _has_account(installation, _connected(installation, other, around=profile.pk))
        }
        Merge.objects.of(installation).filter(pk__in=freed).update(undone_at=now)
        _regroup(installation, {*freed.values(), profile.pk}, now=now)


def _has_account(installation: Installation, profile_ids: Collection[int]) -> bool:
    return (
        Identity.objects.of(installation)
        .filter(profile__in=profile_ids, kind=IdentityKind.SALEOR_USER)
        .exists()
    )


def _live(installation: Installation, profile_ids: Iterable[int]) -> QuerySet[Merge]:
    ids = list(profile_ids)
    return (
        Merge.objects.of(installation)
        .filter(Q(first__in=ids) | Q(second__in=ids), undone_at=None)
        .exclude(proved_at=None)
    )


def _regroup(installation: Installation, profile_ids: set[int], *, now: datetime) -> None:
    """Set `merged_into` for everybody whom a change at `profile_ids` can concern."""
    people = Profile.objects.of(installation)
    representatives = set(
        people.filter(pk__in=profile_ids).values_list(Coalesce("merged_into_id", "pk"), flat=True)
    )
    pending = set(
        people.filter(Q(pk__in=representatives) | Q(merged_into__in=representatives)).values_list(
            "pk", flat=True
        )
    )
    while pending:
        person = {min(pending)}
        frontier = person
        while frontier:
            reached = {
                pk
                for pair in _live(installation, frontier).values_list("first_id", "second_id")
                for pk in pair
            }
            frontier = reached - person
            person = person | reached
        pending -= person
        representative = min(person)
        # Whose messages each of them may read changes as well.
        inbox = {"inbox_version": F("inbox_version") + 1}
        people.filter(pk=representative).update(merged_into=None, **inbox)
        people.filter(pk__in=person - {representative}).update(merged_into=representative, **inbox)
        # What was worked out for one of the parts does not describe the whole.
        ComputedTraits.objects.of(installation).filter(profile__in=person).delete()
        mark_changed(installation=installation, profiles=person, now=now)
