"""Permission, per purpose and delivery channel. Nobody is asked to say no: the default is NO."""

from __future__ import annotations

from datetime import datetime

from django.db import transaction

from saleor_personalize.enums import ConsentState, DeliveryChannel, Purpose, SuppressionReason
from saleor_personalize.models import Consent, Installation, Profile, Suppression
from saleor_personalize.profiles.changes import mark_changed

_STRICTEST_FIRST = (ConsentState.DENIED, ConsentState.PENDING, ConsentState.GRANTED)


def state(
    *, profile: Profile, purpose: Purpose, delivery_channel: DeliveryChannel
) -> ConsentState | None:
    """Return what a person allows, or None when nothing was ever recorded.

    The newest line of each of their profiles counts, and the strictest of those: becoming one person
    never turns a NO into a YES.
    """
    newest = {line.state for line in _newest(profile, purpose, delivery_channel)}
    return next((state for state in _STRICTEST_FIRST if state in newest), None)


def _newest(profile: Profile, purpose: Purpose, delivery_channel: DeliveryChannel) -> list[Consent]:
    """Return the line that each profile of a person wrote last.

    Clocks of several machines do not agree well enough to go by.
    """
    return list(
        Consent.objects.of(profile.installation)
        .filter(profile__in=profile.person(), purpose=purpose, delivery_channel=delivery_channel)
        .order_by("profile", "-pk")
        .distinct("profile")
    )


def is_granted(*, profile: Profile, purpose: Purpose, delivery_channel: DeliveryChannel) -> bool:
    return (
        state(profile=profile, purpose=purpose, delivery_channel=delivery_channel)
        == ConsentState.GRANTED
    )


def may_profile(*, profile: Profile) -> bool:
    """Tell whether what the person does may be recorded: until one of their profiles refused it."""
    newest = (
        Consent.objects.of(profile.installation)
        .filter(profile__in=profile.person(), purpose=Purpose.PROFILING)
        .order_by("profile", "-pk")
        .distinct("profile")
        .values_list("state", flat=True)
    )
    return ConsentState.DENIED not in newest


def record(
    *,
    profile: Profile,
    purpose: Purpose,
    delivery_channel: DeliveryChannel,
    state: ConsentState,
    source: str,
    now: datetime,
    language_code: str = "",
    wording_version: str = "",
) -> Consent:
    """Append a line to the ledger."""
    mark_changed(installation=profile.installation, profiles=[profile], now=now)
    return Consent.objects.create(
        installation=profile.installation,
        profile=profile,
        purpose=purpose,
        delivery_channel=delivery_channel,
        state=state,
        source=source,
        wording_version=wording_version,
        language_code=language_code,
        recorded_at=now,
    )


def record_box(
    *, profile: Profile, is_ticked: bool, source: str, now: datetime, language_code: str = ""
) -> bool:
    """Record that a shopper ticked or unticked "write to me" in the shop; return whether that is new.

    A box never turns a NO from elsewhere into a YES: somebody who unsubscribed and orders again, with
    the box ticked for them or not, stays unsubscribed. Unticking takes back only what a box gave.
    """
    lines = _newest(profile, Purpose.MARKETING, DeliveryChannel.EMAIL)
    known = next((state for state in _STRICTEST_FIRST if state in {x.state for x in lines}), None)
    is_by_box = all(line.source == source for line in lines if line.state == known)
    is_granted, is_denied = known == ConsentState.GRANTED, known == ConsentState.DENIED
    if is_granted == is_ticked or ((is_granted or is_denied) and not is_by_box):
        return False
    record(
        profile=profile,
        purpose=Purpose.MARKETING,
        delivery_channel=DeliveryChannel.EMAIL,
        state=ConsentState.GRANTED if is_ticked else ConsentState.DENIED,
        source=source,
        now=now,
        language_code=language_code,
    )
    return True


def unsubscribe(
    *, profile: Profile, address_hash: str, source: str, now: datetime, language_code: str = ""
) -> None:
    """Record NO for marketing by e-mail and suppress the address, both at once."""
    with transaction.atomic():
        record(
            profile=profile,
            purpose=Purpose.MARKETING,
            delivery_channel=DeliveryChannel.EMAIL,
            state=ConsentState.DENIED,
            source=source,
            now=now,
            language_code=language_code,
        )
        suppress(
            installation=profile.installation,
            delivery_channel=DeliveryChannel.EMAIL,
            address_hash=address_hash,
            reason=SuppressionReason.UNSUBSCRIBED,
            now=now,
        )


def suppress(
    *,
    installation: Installation,
    delivery_channel: DeliveryChannel,
    address_hash: str,
    reason: SuppressionReason,
    now: datetime,
) -> None:
    """Stop all marketing to an address; the first reason stays."""
    Suppression.objects.get_or_create(
        installation=installation,
        delivery_channel=delivery_channel,
        address_hash=address_hash,
        defaults={"reason": reason, "created_at": now},
    )


def is_suppressed(
    *, installation: Installation, delivery_channel: DeliveryChannel, address_hash: str
) -> bool:
    return (
        Suppression.objects.of(installation)
        .filter(delivery_channel=delivery_channel, address_hash=address_hash)
        .exists()
    )
