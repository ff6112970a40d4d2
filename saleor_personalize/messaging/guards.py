"""May this person be written to at all? Asked again in the very transaction that decides a send."""

from __future__ import annotations

from saleor_personalize.enums import (
    DeliveryChannel,
    IdentityKind,
    InstallationStatus,
    NotSentReason,
    Purpose,
)
from saleor_personalize.models import Identity, Installation, Profile
from saleor_personalize.profiles import consent, merging


def address_identity(*, profile: Profile, preferred_hash: str = "") -> Identity | None:
    """Return the e-mail of a profile to write to: the preferred one if it is theirs, else their newest."""
    identities = list(
        Identity.objects.of(profile.installation)
        .filter(profile__in=merging.with_own_addresses(profile), kind=IdentityKind.EMAIL)
        .exclude(address="")
        .order_by("-first_seen_at", "-pk")
    )
    preferred = (row for row in identities if row.value == preferred_hash)
    return next(preferred, identities[0] if identities else None)


def objection(
    *,
    profile: Profile,
    purpose: Purpose,
    delivery_channel: DeliveryChannel,
    address_hash: str | None,
) -> NotSentReason | None:
    """Return the first reason why this person must not be written to, or None."""
    installation = profile.installation
    status = Installation.objects.values_list("status", flat=True).get(pk=installation.pk)
    if status != InstallationStatus.ACTIVE:
        return NotSentReason.INSTALLATION_INACTIVE
    if address_hash is None:
        return NotSentReason.NO_ADDRESS
    if consent.is_suppressed(
        installation=installation, delivery_channel=delivery_channel, address_hash=address_hash
    ):
        return NotSentReason.SUPPRESSED
    if not consent.is_granted(profile=profile, purpose=purpose, delivery_channel=delivery_channel):
        return NotSentReason.NO_CONSENT
    return None
