"""What a caller may read back: their own orders, views and open cart."""

from __future__ import annotations

from typing import Any

from django.db.models import Max

from saleor_personalize.enums import EventType, IdentityKind
from saleor_personalize.models import Checkout, Identity, Installation, Order, Profile
from saleor_personalize.models.events import Event


def profile_of(*, installation: Installation, kind: IdentityKind, value: str) -> Profile | None:
    """Return the profile that owns an id, without making one."""
    owner = (
        Identity.objects.of(installation)
        .filter(kind=kind, value=value)
        .select_related("profile")
        .first()
    )
    return owner.profile if owner else None


def recent_orders(profile: Profile, *, first: int) -> list[Order]:
    return list(
        Order.objects.of(profile.installation)
        .filter(profile=profile)
        .order_by("-placed_at", "-pk")
        .prefetch_related("lines")[:first]
    )


def viewed_products(profile: Profile, *, first: int) -> list[dict[str, Any]]:
    """Return {"product_saleor_id", "viewed_at"} of the products seen last, each once."""
    rows = (
        Event.objects.of(profile.installation)
        .filter(profile=profile, type=EventType.PRODUCT_VIEWED)
        .values("product_saleor_id")
        .annotate(viewed_at=Max("occurred_at"))
        .order_by("-viewed_at", "product_saleor_id")[:first]
    )
    return [dict(row) for row in rows]


def open_checkout(profile: Profile) -> Checkout | None:
    return (
        Checkout.objects.of(profile.installation)
        .filter(profile=profile, closed_at=None)
        .exclude(lines=[])
        .order_by("-last_changed_at")
        .first()
    )
