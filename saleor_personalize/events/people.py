"""Finding one person by something that is theirs alone. Nobody is found by a part of an address."""

from __future__ import annotations

import base64
import contextlib
from uuid import UUID

from django.db.models import Q

from saleor_personalize.enums import IdentityKind
from saleor_personalize.models import Identity, Installation, Order, Profile, email_hash

#: Ids that are searched for as they stand.
_PLAIN = (
    IdentityKind.SALEOR_USER,
    IdentityKind.ANONYMOUS_ID,
    IdentityKind.EXTERNAL_ID,
    IdentityKind.CHECKOUT,
)
_MAX = 500


def global_id_of_user(text: str) -> str:
    """Return Saleor's global id of a user, of whom it or the number in it was written."""
    if text.isascii() and text.isdecimal():
        return base64.b64encode(f"User:{text}".encode()).decode()
    return text


def find(*, installation: Installation, text: str, limit: int) -> list[Profile]:
    """Return the profiles that speak for the people whom a text names exactly, at most `limit`.

    It may be an e-mail address, a Saleor user (global id or number), an anonymous or external id, a
    checkout, the number of an order (with or without "#") or our own id of a profile.
    """
    text = text.strip()
    if not text or len(text) > _MAX or not text.isprintable():
        return []
    owned = Q(kind__in=_PLAIN, value=text)
    if "@" in text:
        owned |= Q(kind=IdentityKind.EMAIL, value=email_hash(text))
    owned |= Q(kind=IdentityKind.SALEOR_USER, value=global_id_of_user(text))
    found = set(
        Identity.objects.of(installation).filter(owned).values_list("profile", flat=True)[:limit]
    )
    found.update(
        Order.objects.of(installation)
        .filter(number=text.removeprefix("#"), deleted_at=None)
        .exclude(number="")
        .exclude(profile=None)
        .values_list("profile", flat=True)[:limit]
    )
    profiles = Profile.objects.of(installation)
    people = {profile.person_id for profile in profiles.filter(pk__in=found)}
    with contextlib.suppress(ValueError):
        people |= {profile.person_id for profile in profiles.filter(public_id=UUID(text))}
    return list(
        profiles.filter(pk__in=people).select_related("installation").order_by("pk")[:limit]
    )
