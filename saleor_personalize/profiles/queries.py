"""Reads of what we know about a person."""

from __future__ import annotations

from saleor_personalize.models import Consent, Profile


def history(*, profile: Profile, first: int | None = None) -> list[Consent]:
    """Return all that a person ever allowed and refused, on whichever of their profiles, newest first."""
    lines = Consent.objects.of(profile.installation).filter(profile__in=profile.person())
    return list(lines.order_by("-pk")[:first])
