"""Reads of what we know about a person."""

from __future__ import annotations

from saleor_personalize.models import Consent, Profile
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
