"""Where a message to a person goes, per delivery channel: their address, their devices, their inbox."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from saleor_personalize.conf import build_backend, settings
from saleor_personalize.enums import DeliveryChannel, DeviceGone, IdentityKind, SuppressionReason
from saleor_personalize.models import Identity, Installation, Profile, email_hash
from saleor_personalize.models.held import once
from saleor_personalize.profiles import consent, devices, merging, phones


@dataclass(frozen=True)
class Address:
    """One way to somebody: an e-mail address, a device's token, a phone number. `id` is its row's."""

    id: int
    value: str = field(repr=False)
    kind: str


@dataclass(frozen=True)
class Destination:
    """Where a message would go. `profile` is whose it is; `value_hash` is what a suppression knows it by.

    E-mail and SMS have one address, push every living device of the person (known by the one that was
    seen last), the app's inbox none.
    """

    delivery_channel: DeliveryChannel
    value_hash: str
    profile: Profile
    addresses: tuple[Address, ...] = ()

    @property
    def value(self) -> str:
        """The (first) address, or ""."""
        return self.addresses[0].value if self.addresses else ""


def destination_of(
    *, profile: Profile, delivery_channel: DeliveryChannel | str, preferred_hash: str = ""
) -> Destination | None:
    """Return where a message to a person goes; None: there is no way to them over this delivery channel.

    `preferred_hash` names the address to prefer, if it is the person's.
    """
    channel = DeliveryChannel(delivery_channel)
    found = _FINDERS.get(channel)
    return None if found is None else found(profile, preferred_hash)


def known() -> tuple[str, ...]:
    """Return the delivery channels over which a way to somebody can be found."""
    return tuple(channel.value for channel in DeliveryChannel if channel in _FINDERS)


def email_identity(*, profile: Profile, preferred_hash: str = "") -> Identity | None:
    """Return the e-mail of a profile to write to: the preferred one if it is theirs, else their newest."""
    return _preferred(_identities(profile, IdentityKind.EMAIL), preferred_hash)


def usable(installation: Installation | int) -> list[DeliveryChannel]:
    """Return the delivery channels that the service has and the shop can send over, in the order of the enum."""
    key = installation if isinstance(installation, int) else installation.pk
    return [channel for channel in DeliveryChannel if _can_send(key, channel)]


def _can_send(installation_id: int, channel: DeliveryChannel) -> bool:
    return channel.value in settings.CHANNELS and bool(
        build_backend("CHANNELS", channel.value).can_send(installation_id)
    )


def of_identity(row: Identity) -> Destination:
    """Return the destination that an e-mail address is."""
    return _of_identity(DeliveryChannel.EMAIL, row)


def bury(
    *,
    installation: Installation,
    delivery_channel: DeliveryChannel | str,
    values: Collection[str],
    now: datetime,
) -> int:
    """Never use addresses again of which the provider says that nobody is there; return how many.

    Devices are gone until they register again; other addresses are suppressed.
    """
    if not values:
        return 0
    channel = DeliveryChannel(delivery_channel)
    if channel == DeliveryChannel.PUSH:
        return devices.mark_gone(
            installation=installation,
            tokens=values,
            reason=DeviceGone.UNREGISTERED,
            now=now,
        )
    hashed = _HASHES.get(channel)
    if hashed is None:
        return 0
    for value in values:
        consent.suppress(
            installation=installation,
            delivery_channel=channel,
            address_hash=hashed(value),
            reason=SuppressionReason.HARD_BOUNCE,
            now=now,
        )
    return len(values)


def _email(profile: Profile, preferred_hash: str) -> Destination | None:
    row = email_identity(profile=profile, preferred_hash=preferred_hash)
    return None if row is None else of_identity(row)


def _push(profile: Profile, preferred_hash: str) -> Destination | None:
    rows = list(devices.living(profile).select_related("profile__installation"))
    if not rows:
        return None
    return Destination(
        DeliveryChannel.PUSH,
        rows[0].token_hash,
        rows[0].profile,
        tuple(Address(row.pk, row.token, str(row.platform)) for row in rows),
    )


def _in_app(profile: Profile, preferred_hash: str) -> Destination:
    """The inbox: whoever signs in, or comes back, opens it."""
    return Destination(DeliveryChannel.IN_APP, "", profile)


def _sms(profile: Profile, preferred_hash: str) -> Destination | None:
    """The number that the person proved last: whatever a message is about, there is no other."""
    rows = [row for row in _identities(profile, IdentityKind.PHONE) if row.confirmed_at is not None]
    return _of_identity(DeliveryChannel.SMS, rows[0]) if rows else None


def _of_identity(channel: DeliveryChannel, row: Identity) -> Destination:
    return Destination(
        channel, row.value, row.profile, (Address(row.pk, row.address, str(row.kind)),)
    )


def _identities(profile: Profile, kind: IdentityKind) -> list[Identity]:
    """Return the addresses that may stand for a person, newest first."""

    def read() -> list[Identity]:
        rows = (
            Identity.objects.of(profile.installation)
            .filter(profile__in=merging.with_own_addresses(profile), kind=kind)
            .exclude(address="")
            .order_by("-first_seen_at", "-pk")
        )
        return list(rows.select_related("profile__installation"))

    return once(("addresses", profile.pk, kind), read)


def _preferred(rows: Iterable[Identity], value_hash: str) -> Identity | None:
    found = list(rows)
    preferred = (row for row in found if row.value == value_hash)
    return next(preferred, found[0] if found else None)


#: How what a suppression knows an address by is made from it.
_HASHES: Mapping[DeliveryChannel, Callable[[str], str]] = {
    DeliveryChannel.EMAIL: email_hash,
    DeliveryChannel.SMS: phones.number_hash,
}
#: How each delivery channel finds its way to a person.
_FINDERS: Mapping[DeliveryChannel, Callable[[Profile, str], Destination | None]] = {
    DeliveryChannel.EMAIL: _email,
    DeliveryChannel.PUSH: _push,
    DeliveryChannel.IN_APP: _in_app,
    DeliveryChannel.SMS: _sms,
}
