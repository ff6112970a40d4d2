"""Who could be written to at all, many people at a time: asked before somebody comes into a journey.

Whether a message may go is asked later, of each person alone (`guards`); this spares rows for all who
never could get one.
"""

from __future__ import annotations

from collections.abc import Collection

from django.db.models import Q
from django.db.models.functions import Coalesce

from saleor_personalize.enums import ConsentState, DeliveryChannel, IdentityKind, Purpose
from saleor_personalize.models import Consent, Device, Identity, Installation
from saleor_personalize.profiles.queries import parts_of

#: Over these an address is enough for now: a country's rule may allow mail to customers without a yes.
_BY_ADDRESS = frozenset({DeliveryChannel.EMAIL})
#: delivery channel -> kind of identity without which there is no way.
_IDENTITIES = {DeliveryChannel.EMAIL: IdentityKind.EMAIL, DeliveryChannel.SMS: IdentityKind.PHONE}
_SPEAKER = Coalesce("profile__merged_into_id", "profile_id")


def reachable(
    *,
    installation: Installation,
    people: Collection[int],
    delivery_channels: Collection[str],
    agreed: bool,
) -> set[int]:
    """Return those of the people over whom there is a way on at least one of the delivery channels.

    `people` are keys of the profiles that speak for them. `agreed`: only who allowed marketing over it at
    some time; but for e-mail a yes is always needed, or every visitor with an inbox would be one. Some
    queries per delivery channel, however many people.
    """
    found: set[int] = set()
    for channel in sorted(map(DeliveryChannel, delivery_channels)):
        left = set(people) - found
        if not left:
            break
        there = _have_way(installation, left, channel)
        if agreed or channel not in _BY_ADDRESS:
            there &= said_yes(installation=installation, people=there, delivery_channels=[channel])
        found |= there
    return found


def said_yes(
    *, installation: Installation, people: Collection[int], delivery_channels: Collection[str]
) -> set[int]:
    """Return those of the people who allowed marketing over one of the delivery channels at some time."""
    lines = Consent.objects.of(installation).filter(
        _of(installation, people),
        purpose=Purpose.MARKETING,
        delivery_channel__in=list(delivery_channels),
        state=ConsentState.GRANTED,
    )
    return set(lines.values_list(_SPEAKER, flat=True)) if people else set()


def _have_way(
    installation: Installation, people: Collection[int], channel: DeliveryChannel
) -> set[int]:
    if channel == DeliveryChannel.PUSH:
        devices = Device.objects.of(installation).filter(_of(installation, people), gone_at=None)
        return set(devices.values_list(_SPEAKER, flat=True))
    if channel in _IDENTITIES:
        ids = Identity.objects.of(installation).filter(
            _of(installation, people), kind=_IDENTITIES[channel]
        )
        if channel == DeliveryChannel.SMS:
            # A number is nobody's before it is proved.
            ids = ids.exclude(confirmed_at=None)
        return set(ids.values_list(_SPEAKER, flat=True))
    return set(people)


def _of(installation: Installation, people: Collection[int]) -> Q:
    return Q(profile__in=parts_of(installation=installation, people=people).values("pk"))
