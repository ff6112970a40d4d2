"""The preference centre: what a person gets, how often, and whether we look at what they do.

Who holds the signed link of a message sent to an address speaks for its owner. They see and change what
is allowed, and nothing else of the person.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import QuerySet
from django.utils.translation import gettext as _

from saleor_personalize.conf import settings
from saleor_personalize.enums import (
    ConsentRule,
    ConsentState,
    DeliveryChannel,
    IdentityKind,
    Purpose,
)
from saleor_personalize.exceptions import InvalidToken
from saleor_personalize.messaging import destinations, guards, links, operations, sunset
from saleor_personalize.models import Consent, Identity, Installation, Profile
from saleor_personalize.profiles import consent, consent_rules, identity, merging, phones, queries
from saleor_personalize.profiles.consent import EVERYTHING, Choice

SOURCE = "preferences"
#: Change it with the words of the page.
WORDING = "preferences-1"
PAUSE = timedelta(days=30)
#: Messages per week that can be chosen.
FREQUENCIES = (1, 2, 3, 7)

#: (delivery channel, topic)
Allowed = frozenset[tuple[str, str]]


@dataclass(frozen=True)
class Preferences:
    """What is set now, and what can be chosen from."""

    installation: Installation
    profile: Profile
    masked_address: str
    channels: list[DeliveryChannel]
    topics: Mapping[str, Any]
    allowed: Allowed
    frequencies: list[int]
    max_messages_per_week: int | None
    paused_until: datetime | None
    may_profile: bool
    #: Delivery channels over which nothing goes because the person has not reacted for long.
    asleep: frozenset[str]
    #: The ledger, newest first.
    history: list[Consent]


@dataclass(frozen=True)
class Wanted:
    """What a person chose; what the page did not offer is ignored."""

    allowed: Collection[tuple[str, str]]
    max_messages_per_week: int | None
    is_paused: bool
    may_profile: bool


def masked(address: str) -> str:
    """Return an address so that its owner knows it and nobody else learns it: "a•••@e•••.com"."""
    name, _, host = address.rpartition("@")
    domain, _, ending = host.rpartition(".")
    if not name or not domain:
        return ""
    return f"{name[0]}•••@{domain[0]}•••.{ending}"


@dataclass(frozen=True)
class TopicStanding:
    """What holds now for one thing that can be allowed; `state` is None when it was never asked."""

    purpose: Purpose
    delivery_channel: str | None
    topic: str | None
    label: str
    state: ConsentState | None


def standings(*, profile: Profile) -> list[TopicStanding]:
    """Return the answers of a person to all topics on all delivery channels, and to profiling."""
    standing = consent.Standing(profile)
    return [
        TopicStanding(
            Purpose.MARKETING,
            channel.value,
            topic,
            str(label),
            standing.state(Purpose.MARKETING, channel, topic),
        )
        for channel in _channels(profile, standing)
        for topic, label in settings.TOPICS.items()
    ] + [
        TopicStanding(
            Purpose.PROFILING,
            None,
            None,
            _("Personal recommendations"),
            standing.state(Purpose.PROFILING),
        )
    ]


def person_of(claims: links.PreferencesClaims) -> Profile:
    """Return the profile that a link speaks for; raise InvalidToken when shop or person are gone.

    Who was split off since the message went speaks for the address that it went to, and no longer for
    the other.
    """
    installation = operations.installation_of(claims)
    profile = (
        Profile.objects.of(installation)
        .filter(public_id=claims.profile_id)
        .select_related("installation")
        .first()
    )
    address = (
        Identity.objects.of(installation)
        .filter(kind=IdentityKind.EMAIL, value=claims.address_hash)
        .select_related("profile__installation")
        .first()
    )
    if profile is None or address is None:
        raise InvalidToken("The person of this link is no longer known.")
    return guards.speaker(profile=profile, recipient=address)


def read(*, claims: links.PreferencesClaims, now: datetime) -> Preferences:
    """Return what a link shows. Changes nothing. Raises InvalidToken."""
    profile = person_of(claims)
    installation, mail = profile.installation, DeliveryChannel.EMAIL
    is_stopped = consent.is_suppressed(
        installation=installation, delivery_channel=mail, address_hash=claims.address_hash
    )
    standing = consent.Standing(profile)
    channels = _channels(profile, standing)
    most = _frequency(profile)
    paused_until = _paused_until(profile)
    return Preferences(
        installation=installation,
        profile=profile,
        masked_address=masked(
            identity.address_of(installation=installation, address_hash=claims.address_hash)
        ),
        channels=channels,
        topics=settings.TOPICS,
        allowed=frozenset(
            (channel.value, topic)
            for channel in channels
            for topic in settings.TOPICS
            if standing.state(Purpose.MARKETING, channel, topic) == ConsentState.GRANTED
            and not (channel == mail and is_stopped)
        ),
        frequencies=sorted({*FREQUENCIES, *([] if most is None else [most])}),
        max_messages_per_week=most,
        paused_until=paused_until if paused_until and paused_until > now else None,
        may_profile=standing.state(Purpose.PROFILING) != ConsentState.DENIED,
        asleep=frozenset(
            channel.value
            for channel in channels
            if sunset.is_asleep(profile=profile, delivery_channel=channel, now=now)
        ),
        history=queries.history(profile=profile, readable_only=True),
    )


def _channels(profile: Profile, standing: consent.Standing) -> list[DeliveryChannel]:
    """Return the delivery channels that the shop sends over, and those that the person allows all the same:
    what was allowed can be taken back."""
    usable = destinations.usable(profile.installation_id)
    return [
        channel
        for channel in DeliveryChannel
        if channel in usable
        or any(
            standing.state(Purpose.MARKETING, channel, topic) == ConsentState.GRANTED
            for topic in settings.TOPICS
        )
    ]


def save(*, claims: links.PreferencesClaims, wanted: Wanted, now: datetime) -> None:
    """Record what a person chose (`consent.choose`); only what differs becomes a line.

    Raises InvalidToken.
    """
    profile = person_of(claims)
    with transaction.atomic():
        consent.hold(profile=profile, address_hashes=[claims.address_hash])
        before = read(claims=claims, now=now)
        consent.choose(
            profile=profile,
            choices=_choices(before, wanted),
            source=SOURCE,
            now=now,
            language_code=claims.language_code,
            wording_version=WORDING,
        )
        _wake(before, wanted, claims, now)
        if any(channel == DeliveryChannel.EMAIL for channel, _topic in wanted.allowed):
            consent.lift_suppression(
                installation=profile.installation,
                delivery_channel=DeliveryChannel.EMAIL,
                address_hashes=[claims.address_hash],
            )
        most = wanted.max_messages_per_week
        until = (before.paused_until or now + PAUSE) if wanted.is_paused else None
        _own(profile).update(
            max_messages_per_week=most if most in before.frequencies else None, paused_until=until
        )


def _wake(
    before: Preferences, wanted: Wanted, claims: links.PreferencesClaims, now: datetime
) -> None:
    """Write down the yes, once more, of who had not reacted for long: from now on it counts anew."""
    for channel, topic in sorted(before.allowed & set(wanted.allowed)):
        if channel in before.asleep:
            consent.record(
                profile=before.profile,
                purpose=Purpose.MARKETING,
                delivery_channel=channel,
                topic=topic,
                state=ConsentState.GRANTED,
                source=SOURCE,
                now=now,
                language_code=claims.language_code,
                wording_version=WORDING,
            )


def _choices(before: Preferences, wanted: Wanted) -> list[Choice]:
    choices = []
    for channel in before.channels:
        now_allowed = {topic for its, topic in before.allowed if its == channel}
        chosen = {topic for its, topic in wanted.allowed if its == channel} & set(before.topics)
        if now_allowed and not chosen:
            # Also for topics that the shop thinks of later.
            choices.append(Choice(Purpose.MARKETING, channel, EVERYTHING, is_allowed=False))
            continue
        choices += [
            Choice(Purpose.MARKETING, channel, topic, is_allowed=topic in chosen)
            for topic in before.topics
            if (topic in chosen) != (topic in now_allowed)
        ]
    if wanted.may_profile != before.may_profile:
        choices.append(Choice(Purpose.PROFILING, "", EVERYTHING, is_allowed=wanted.may_profile))
    return choices


def unsubscribe_from_all(*, claims: links.PreferencesClaims, now: datetime) -> None:
    """Record NO to all marketing on all delivery channels and suppress the address. Raises InvalidToken."""
    profile = person_of(claims)
    with transaction.atomic():
        consent.hold(profile=profile, address_hashes=[claims.address_hash])
        consent.choose(
            profile=profile,
            choices=[
                Choice(Purpose.MARKETING, channel, EVERYTHING, is_allowed=False)
                for channel in DeliveryChannel
            ],
            source=SOURCE,
            now=now,
            language_code=claims.language_code,
            wording_version=WORDING,
        )
        consent.unsubscribe(
            profile=profile,
            address_hash=claims.address_hash,
            source=SOURCE,
            now=now,
            language_code=claims.language_code,
        )


def _own(profile: Profile) -> QuerySet[Profile]:
    """Return the profiles whose pause and frequency are the person's to see and to set.

    Those of somebody whom only a cart joins hold for messages as well, and stay theirs.
    """
    return Profile.objects.of(profile.installation).filter(pk__in=merging.erasable(profile))


def _frequency(profile: Profile) -> int | None:
    found = [
        most
        for most in _own(profile).values_list("max_messages_per_week", flat=True)
        if most is not None
    ]
    return min(found, default=None)


def _paused_until(profile: Profile) -> datetime | None:
    found = [
        until for until in _own(profile).values_list("paused_until", flat=True) if until is not None
    ]
    return max(found, default=None)


# -- by the shop's own pages and servers ----------------------------------------------------------------


def update(
    *,
    profile: Profile,
    choice: Choice,
    now: datetime,
    language_code: str = "",
    wording_version: str = "",
    number: str = "",
) -> ConsentState | None:
    """Record what the owner of a Saleor login chose in their account; return what holds now.

    `number` (E.164) is that of a yes to text messages. Until somebody proved that it is theirs, by the code
    that is sent there, it is only claimed, and the yes waits with it; what they allowed before goes on.

    A login proves the account. That its address is theirs as well they prove by confirming it: until
    then, their yes to mail is one that anybody may have given where the country asks for a double opt-in.
    """
    is_yes_to_mail = choice.is_allowed and choice.delivery_channel == DeliveryChannel.EMAIL
    is_claim = bool(number) and not phones.is_theirs(profile=profile, number=number)
    with transaction.atomic():
        consent.hold(profile=profile)
        confirmed = list(
            Identity.objects.of(profile.installation)
            .filter(profile__in=merging.readable(profile), kind=IdentityKind.EMAIL)
            .exclude(confirmed_at=None)
            .values_list("value", flat=True)
        )
        if is_yes_to_mail and not confirmed and _must_confirm(profile):
            consent.record_yes(
                profile=profile,
                topics=[choice.topic] if choice.topic else (),
                source="account",
                now=now,
                language_code=language_code,
                wording_version=wording_version,
                asks_again=True,
            )
            return _state(profile, choice)
        if is_claim:
            consent.record_yes(
                profile=profile,
                delivery_channel=DeliveryChannel.SMS,
                topics=[choice.topic] if choice.topic else (),
                source="account",
                now=now,
                language_code=language_code,
                wording_version=wording_version,
                asks_again=True,
                must_confirm=True,
            )
        else:
            consent.choose(
                profile=profile,
                choices=[choice],
                source="account",
                now=now,
                language_code=language_code,
                wording_version=wording_version,
            )
        if is_yes_to_mail:
            consent.lift_suppression(
                installation=profile.installation,
                delivery_channel=DeliveryChannel.EMAIL,
                address_hashes=confirmed,
            )
        state = _state(profile, choice)
    if is_claim:
        phones.claim(profile=profile, number=number, now=now, language_code=language_code)
    return state


def _must_confirm(profile: Profile) -> bool:
    return consent_rules.ruling(profile=profile).rule == ConsentRule.DOUBLE_OPT_IN


def record(
    *,
    installation: Installation,
    shown: identity.Shown,
    choice: Choice,
    is_confirmed: bool,
    source: str,
    now: datetime,
    country_code: str = "",
    language_code: str = "",
    wording_version: str = "",
    number: str = "",
) -> tuple[bool, ConsentState | None]:
    """Record what the shop's own system heard; return whether that is new, and what holds now.

    `number` (E.164) is that of a yes to text messages: kept if it is known to be theirs (`is_confirmed`), else
    claimed until the code that is sent there comes back.

    A no holds for the whole person. A yes follows the rule of the country (`is_confirmed`: its owner
    confirmed the address to the shop), and never overrules a no.
    """
    profile = identity.resolve_profile(installation=installation, shown=shown, now=now)
    is_claim = (
        bool(number) and not is_confirmed and not phones.is_theirs(profile=profile, number=number)
    )
    with transaction.atomic():
        consent.hold(profile=profile)
        known = _state(profile, choice)
        if not choice.is_allowed:
            is_new = bool(
                consent.choose(
                    profile=profile,
                    choices=[choice],
                    source=source,
                    now=now,
                    language_code=language_code,
                    wording_version=wording_version,
                )
            )
        elif choice.purpose == Purpose.MARKETING:
            is_new = bool(
                consent.record_yes(
                    profile=profile,
                    delivery_channel=DeliveryChannel(choice.delivery_channel),
                    topics=[choice.topic] if choice.topic else (),
                    source=source,
                    now=now,
                    country_code=country_code,
                    language_code=language_code,
                    wording_version=wording_version,
                    is_confirmed=is_confirmed,
                    must_confirm=is_claim,
                )
            )
        else:
            is_new = known is None
            if is_new:
                consent.record(
                    profile=profile,
                    purpose=choice.purpose,
                    delivery_channel="",
                    state=ConsentState.GRANTED,
                    source=source,
                    now=now,
                    language_code=language_code,
                    wording_version=wording_version,
                )
        state = _state(profile, choice)
    if is_claim and state != ConsentState.DENIED:
        phones.claim(profile=profile, number=number, now=now, language_code=language_code)
    elif number and state == ConsentState.GRANTED:
        # After the yes: what came between asks Saleor.
        phones.record(profile=profile, number=number, now=now)
    return is_new, state


def _state(profile: Profile, choice: Choice) -> ConsentState | None:
    return consent.state(
        profile=profile,
        purpose=choice.purpose,
        delivery_channel=choice.delivery_channel,
        topic=choice.topic,
    )
