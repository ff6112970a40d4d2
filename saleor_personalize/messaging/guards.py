"""May this person be written to at all? Asked again in the very transaction that decides a send."""

from __future__ import annotations

from saleor_personalize.enums import (
    ConsentState,
    DeliveryChannel,
    IdentityKind,
    InstallationStatus,
    NotSentReason,
    Purpose,
)
from saleor_personalize.models import Identity, Installation, Profile
from saleor_personalize.profiles import consent, merging


def address_identity(
    *, profile: Profile, purpose: Purpose, preferred_hash: str = ""
) -> Identity | None:
    """Return the e-mail to write to: the preferred one, else the newest that is surely theirs.

    An address that they only typed is written to if whoever it belongs to allowed it: a permission
    for one address is none for a friend's.
    """
    addresses = (
        Identity.objects.of(profile.installation)
        .filter(kind=IdentityKind.EMAIL)
        .exclude(address="")
        .order_by("-first_seen_at", "-pk")
    )
    theirs = list(addresses.filter(profile__in=merging.readable(profile)))
    preferred = addresses.filter(value=preferred_hash).select_related("profile").first()
    if preferred is not None and (preferred in theirs or _allows(preferred, purpose)):
        return preferred
    return theirs[0] if theirs else None


def objection(
    *, profile: Profile, purpose: Purpose, recipient: Identity | None
) -> NotSentReason | None:
    """Return the first reason why this person must not be written to by e-mail, or None."""
    installation = profile.installation
    status = Installation.objects.values_list("status", flat=True).get(pk=installation.pk)
    if status != InstallationStatus.ACTIVE:
        return NotSentReason.INSTALLATION_INACTIVE
    if recipient is None:
        return NotSentReason.NO_ADDRESS
    if consent.is_suppressed(
        installation=installation,
        delivery_channel=DeliveryChannel.EMAIL,
        address_hash=recipient.value,
    ):
        return NotSentReason.SUPPRESSED
    refuses = (
        consent.state(profile=profile, purpose=purpose, delivery_channel=DeliveryChannel.EMAIL)
        == ConsentState.DENIED
    )
    if refuses or not _allows(recipient, purpose):
        return NotSentReason.NO_CONSENT
    return None


def _allows(address: Identity, purpose: Purpose) -> bool:
    """Tell whether the person that an address belongs to allowed it to be written to."""
    return consent.is_granted(
        profile=address.profile, purpose=purpose, delivery_channel=DeliveryChannel.EMAIL
    )
