"""May this person be written to at all? Asked again in the very transaction that decides a send."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from django.db.models import Exists, Max, Min, OuterRef, Q

from saleor_personalize.conf import settings
from saleor_personalize.enums import (
    ConsentState,
    DeliveryChannel,
    InstallationStatus,
    NotSentReason,
    Purpose,
    SuppressionReason,
)
from saleor_personalize.messaging import destinations, sunset
from saleor_personalize.messaging.destinations import Destination
from saleor_personalize.messaging.queries import marketing_since
from saleor_personalize.models import (
    Consent,
    Device,
    Identity,
    Installation,
    Profile,
    Suppression,
)
from saleor_personalize.models.held import held
from saleor_personalize.profiles import consent, merging

WEEK = timedelta(days=7)
#: What stops a message that an order needs as well: there is nobody at the address, or they call it spam.
_ALWAYS = (SuppressionReason.HARD_BOUNCE, SuppressionReason.COMPLAINT)

#: What holds for a message: what its reader said of it (None: nothing), or why their address is closed.
Answer = ConsentState | SuppressionReason | None
_YES_FIRST: tuple[Answer, ...] = (
    ConsentState.GRANTED,
    ConsentState.PENDING,
    None,
    ConsentState.DENIED,
    *SuppressionReason,
)


def address_identity(*, profile: Profile, preferred_hash: str = "") -> Identity | None:
    """Return the e-mail of a profile to write to: the preferred one if it is theirs, else their newest."""
    return destinations.email_identity(profile=profile, preferred_hash=preferred_hash)


def address_of(*, profile: Profile, preferred_hash: str = "") -> str:
    """Return the e-mail of a profile by which its shop may know it, as `address_identity`; "" without one."""
    found = address_identity(profile=profile, preferred_hash=preferred_hash)
    return "" if found is None else found.address


def speaker(*, profile: Profile, recipient: Identity | Destination) -> Profile:
    """Return for whom a link in a message may speak: for the profile if the address is proved to be theirs.

    An account may have named a wrong address. Whoever reads its mail speaks for the address alone.
    """
    return profile if recipient.profile.pk in merging.readable(profile) else recipient.profile


def objection(
    *,
    profile: Profile,
    purpose: Purpose,
    destination: Destination | None,
    now: datetime,
    delivery_channel: DeliveryChannel | str = DeliveryChannel.EMAIL,
    topic: str = "",
    is_re_permission: bool = False,
) -> NotSentReason | None:
    """Return the first reason why this person must not be written to over a delivery channel, or None.

    `topic` is what the message is about, a key of TOPICS, or of TRANSACTIONAL_TOPICS. What an order needs
    goes unless the person refused it; marketing goes only with their yes, as often as they wish, and
    until they have not reacted for long. `is_re_permission`: the one message that asks those whether it
    shall go on, whatever it was that they allowed.
    """
    if not is_active(profile.installation):
        return NotSentReason.INSTALLATION_INACTIVE
    if destination is None:
        return NotSentReason.NO_ADDRESS
    channel = DeliveryChannel(delivery_channel)
    is_marketing = purpose == Purpose.MARKETING
    # STOP means all text messages, also to who has the number now.
    is_any = is_marketing or channel == DeliveryChannel.SMS
    if destination.value_hash and consent.is_suppressed(
        installation=profile.installation,
        delivery_channel=channel,
        address_hash=destination.value_hash,
        reasons=None if is_any else _ALWAYS,
    ):
        return NotSentReason.SUPPRESSED
    answers = [consent.Standing(each) for each in _asked(profile, destination)]
    if not is_marketing:
        is_refused = any(each.state(purpose, channel) == ConsentState.DENIED for each in answers)
        return NotSentReason.NO_CONSENT if is_refused else None
    topics = tuple(settings.TOPICS) if is_re_permission else (topic,)
    refusals = [_refusal(answers, channel, each) for each in topics]
    if None not in refusals:
        return refusals[0]
    if not is_re_permission and sunset.is_asleep(
        profile=profile, delivery_channel=channel, now=now
    ):
        return NotSentReason.UNENGAGED
    return _wish(profile, now)


def permissions(
    *, profile: Profile, delivery_channels: Iterable[DeliveryChannel]
) -> dict[DeliveryChannel, dict[str, tuple[Answer, ...]]]:
    """Return what a person allows us to write about, by delivery channel and topic, as a send finds it.

    It may be sent to any of their profiles. Those that share their addresses give one answer; those that only
    a cart joined may give others: then each is there, a yes first. Of those, the ones count that have an
    address or a device for it, if any has. An address that must not be used is closed, whatever its owner
    allowed, and the answer is why.
    """
    with held():
        parts = [(one, consent.Standing(one)) for one in _parts(profile)]
        return {channel: _answers(parts, channel) for channel in delivery_channels}


def is_active(installation: Installation) -> bool:
    """Tell whether the app is switched on in the shop, asked of the database."""
    status = Installation.objects.values_list("status", flat=True).get(pk=installation.pk)
    return bool(status == InstallationStatus.ACTIVE)


def _parts(profile: Profile) -> list[Profile]:
    """Return one profile for each part of a person that shares its addresses, and so what holds for them.

    A part without an address, a device or an answer says nothing, unless there is no other.
    """
    scope = profile.installation_id
    devices = Device.objects.of(scope).filter(profile=OuterRef("pk"), gone_at=None)
    addresses = Identity.objects.of(scope).filter(profile=OuterRef("pk")).exclude(address="")
    lines = Consent.objects.of(scope).filter(profile=OuterRef("pk"), purpose=Purpose.MARKETING)
    rows = (
        Profile.objects.of(scope)
        .filter(pk__in=profile.members())
        .annotate(has_device=Exists(devices))
        .filter(Q(has_device=True) | Exists(addresses) | Exists(lines))
        .select_related("installation")
        # Not every profile of a part may be read on its devices; whose device it is may be.
        .order_by("-has_device", "pk")
    )
    found: list[Profile] = []
    known: set[int] = set()
    for one in rows:
        if one.pk not in known:
            known |= merging.with_own_addresses(one)
            found.append(one)
    return found or [profile]


def _answers(
    parts: Sequence[tuple[Profile, consent.Standing]], channel: DeliveryChannel
) -> dict[str, tuple[Answer, ...]]:
    """Return what the parts of a person answer over a delivery channel, by topic, each answer once."""
    ways = [
        (destinations.destination_of(profile=one, delivery_channel=channel), standing)
        for one, standing in parts
    ]
    there = [(way.value_hash, standing) for way, standing in ways if way is not None]
    there = there or [("", standing) for _none, standing in ways]
    rows = Suppression.objects.of(parts[0][0].installation_id).filter(
        delivery_channel=channel, address_hash__in={value_hash for value_hash, _ in there} - {""}
    )
    closed = {
        value_hash: SuppressionReason(reason)
        for value_hash, reason in rows.values_list("address_hash", "reason")
    }
    found: dict[str, tuple[Answer, ...]] = {}
    for topic in settings.TOPICS:
        said: set[Answer] = {
            closed.get(value_hash) or standing.state(Purpose.MARKETING, channel, topic)
            for value_hash, standing in there
        }
        found[topic] = tuple(sorted(said, key=_YES_FIRST.index))
    return found


def _asked(profile: Profile, destination: Destination | None) -> list[Profile]:
    """Return who is asked for a permission: the person, and last whoever the address belongs to."""
    whose = (profile, profile if destination is None else destination.profile)
    return list({one.pk: one for one in whose}.values())


def _said(
    answers: list[consent.Standing], channel: DeliveryChannel, topic: str
) -> ConsentState | None:
    """Return what holds for marketing about a topic: anybody's no, else what the owner of the address said."""
    said = [each.state(Purpose.MARKETING, channel, topic) for each in answers]
    return ConsentState.DENIED if ConsentState.DENIED in said else said[-1]


def _refusal(
    answers: list[consent.Standing], channel: DeliveryChannel, topic: str
) -> NotSentReason | None:
    """Return what speaks against marketing about a topic, going by these answers."""
    if _said(answers, channel, topic) == ConsentState.GRANTED:
        return None
    purpose = Purpose.MARKETING
    allows_others = any(each.state(purpose, channel) == ConsentState.GRANTED for each in answers)
    return NotSentReason.TOPIC_REFUSED if allows_others else NotSentReason.NO_CONSENT


def _wish(profile: Profile, now: datetime) -> NotSentReason | None:
    """Follow what the person set in the preference centre, on whichever of their profiles."""
    of_person = Profile.objects.of(profile.installation_id).filter(pk__in=profile.members())
    set_by_person = of_person.aggregate(
        until=Max("paused_until"), most=Min("max_messages_per_week")
    )
    if set_by_person["until"] is not None and set_by_person["until"] > now:
        return NotSentReason.PAUSED
    most = set_by_person["most"]
    if most is not None and marketing_since(profile=profile, since=now - WEEK) >= most:
        return NotSentReason.FREQUENCY_LIMIT
    return None
