"""Reads of what we know about a person."""

from __future__ import annotations

from collections.abc import Collection
from uuid import UUID

from django.db.models import Q, QuerySet

from saleor_personalize.enums import IdentityKind
from saleor_personalize.models import Consent, Installation, Profile, email_hash
from saleor_personalize.profiles import merging


def history(
    *, profile: Profile, readable_only: bool = False, first: int | None = None
) -> list[Consent]:
    """Return all that a person ever allowed and refused, on whichever of their profiles, newest first.

    `readable_only`: what the person behind this profile may see themselves (`merging.readable`).
    """
    owners = merging.readable(profile) if readable_only else profile.person()
    lines = Consent.objects.of(profile.installation).filter(profile__in=owners)
    return list(lines.order_by("-pk")[:first])


def find(*, installation: Installation, who: str) -> Profile | None:
    """Return the profile of whom somebody names: by e-mail address, Saleor user, card, browser or reference."""
    who = who.strip()
    people = Profile.objects.of(installation).select_related("installation")
    try:
        return people.filter(public_id=UUID(who)).first() or _owner(people, who)
    except ValueError:
        return _owner(people, who)


def _owner(people: QuerySet[Profile], who: str) -> Profile | None:
    if "@" in who:
        found = people.filter(
            identities__kind=IdentityKind.EMAIL, identities__value=email_hash(who)
        )
        if owner := found.first():
            return owner
    kinds = (IdentityKind.SALEOR_USER, IdentityKind.EXTERNAL_ID, IdentityKind.ANONYMOUS_ID)
    owners = [people.filter(identities__kind=kind, identities__value=who).first() for kind in kinds]
    return next((owner for owner in owners if owner), None)


def parts_of(*, installation: Installation, people: Collection[int]) -> QuerySet[Profile]:
    """Return the profiles that make up these persons; `people` are keys of those that speak for them.

    Ask for facts by these: an OR over the join of facts and profiles reads all facts of a shop.
    """
    return Profile.objects.of(installation).filter(Q(pk__in=people) | Q(merged_into__in=people))
