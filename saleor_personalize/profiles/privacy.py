"""Forgetting a person. What stays: sums without a person, and the hash of an address that said no."""

from __future__ import annotations

from django.db.models import Q

from saleor_personalize.enums import IdentityKind
from saleor_personalize.models import Identity, Installation, Profile


def profiles_of_customer(
    *, installation: Installation, user_id: str, address_hash: str
) -> list[Profile]:
    """Return all profiles of the person behind a deleted customer of Saleor, guest carts included."""
    shown = Identity.objects.of(installation).filter(
        Q(kind=IdentityKind.SALEOR_USER, value=user_id)
        | Q(kind=IdentityKind.EMAIL, value=address_hash)
    )
    people = Profile.objects.of(installation).filter(identities__in=shown)
    representatives = [profile.person_id for profile in people]
    return list(
        Profile.objects.of(installation).filter(
            Q(pk__in=representatives) | Q(merged_into__in=representatives)
        )
    )


def erase(profile: Profile) -> None:
    """Delete a profile with its ids, consents, events, carts, enrollments and messages.

    Orders stay for the recommenders, without a person: `Order.profile` becomes NULL and its e-mail
    hash and user are blanked by `events.operations.forget_customer`. A suppression stays: it holds
    only a keyed hash, and without it an erased person could be written to again after an import.
    """
    profile.delete()
