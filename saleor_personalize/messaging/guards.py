"""May this person be written to at all? Asked again in the very transaction that decides a send."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db.models import Max, Min

from saleor_personalize.enums import (
    ConsentState,
    DeliveryChannel,
    IdentityKind,
    InstallationStatus,
    NotSentReason,
    Purpose,
)
from saleor_personalize.messaging.queries import marketing_since
from saleor_personalize.models import Identity, Installation, Profile
from saleor_personalize.profiles import consent, merging

WEEK = timedelta(days=7)
#: Those whose permissions and addresses are asked for here: over no other one a journey may send.
DELIVERY_CHANNELS = (DeliveryChannel.EMAIL,)


def address_identity(*, profile: Profile, preferred_hash: str = "") -> Identity | None:
    """Return the e-mail of a profile to write to: the preferred one if it is theirs, else their newest."""
    identities = list(
        Identity.objects.of(profile.installation)
        .filter(profile__in=merging.with_own_addresses(profile), kind=IdentityKind.EMAIL)
        .exclude(address="")
        .order_by("-first_seen_at", "-pk")
        .select_related("profile__installation")
    )
    preferred = (row for row in identities if row.value == preferred_hash)
    return next(preferred, identities[0] if identities else None)


def speaker(*, profile: Profile, recipient: Identity) -> Profile:
    """Return for whom a link in a message may speak: for the profile if the address is proved to be theirs.

    An account may have named a wrong address. Whoever reads its mail speaks for the address alone.
    """
    return profile if recipient.profile_id in merging.readable(profile) else recipient.profile


def objection(
    *,
    profile: Profile,
    purpose: Purpose,
    recipient: Identity | None,
    now: datetime,
    topic: str = "",
) -> NotSentReason | None:
    """Return the first reason why this person must not be written to by e-mail, or None.

    `topic` is what the message is about, a key of TOPICS.
    """
    installation = profile.installation
    if not is_active(installation):
        return NotSentReason.INSTALLATION_INACTIVE
    if recipient is None:
        return NotSentReason.NO_ADDRESS
    if consent.is_suppressed(
        installation=installation,
        delivery_channel=DeliveryChannel.EMAIL,
        address_hash=recipient.value,
    ):
        return NotSentReason.SUPPRESSED
    if refusal := _refusal(profile, purpose, topic, recipient):
        return refusal
    return _wish(profile, now) if purpose == Purpose.MARKETING else None


def is_active(installation: Installation) -> bool:
    """Tell whether the app is switched on in the shop, asked of the database."""
    status = Installation.objects.values_list("status", flat=True).get(pk=installation.pk)
    return bool(status == InstallationStatus.ACTIVE)


def _refusal(
    profile: Profile, purpose: Purpose, topic: str, recipient: Identity
) -> NotSentReason | None:
    """Ask the ledger about the person, and about whoever the address belongs to."""
    mail = DeliveryChannel.EMAIL
    asked = {whose.pk: whose for whose in (profile, recipient.profile)}
    answers = [consent.Standing(whose) for whose in asked.values()]
    refuses = any(each.state(purpose, mail, topic) == ConsentState.DENIED for each in answers)
    if not refuses and answers[-1].state(purpose, mail, topic) == ConsentState.GRANTED:
        return None
    allows_others = any(each.state(purpose, mail) == ConsentState.GRANTED for each in answers)
    return NotSentReason.TOPIC_REFUSED if allows_others else NotSentReason.NO_CONSENT


def _wish(profile: Profile, now: datetime) -> NotSentReason | None:
    """Follow what the person set in the preference centre, on whichever of their profiles."""
    set_by_person = profile.person().aggregate(
        until=Max("paused_until"), most=Min("max_messages_per_week")
    )
    if set_by_person["until"] is not None and set_by_person["until"] > now:
        return NotSentReason.PAUSED
    most = set_by_person["most"]
    if most is not None and marketing_since(profile=profile, since=now - WEEK) >= most:
        return NotSentReason.FREQUENCY_LIMIT
    return None
