"""What a caller may read back: their own orders, views and open cart."""

from __future__ import annotations

from collections.abc import Collection
from decimal import Decimal
from typing import Any

from django.db.models import Count, Max, Q, QuerySet, Sum

from saleor_personalize.enums import EventType, IdentityKind
from saleor_personalize.events.queries import SENT_BACK, carried_out
from saleor_personalize.models import Checkout, Identity, Installation, Order, Profile, prepared
from saleor_personalize.models.events import Event
from saleor_personalize.profiles import merging

# Every request of a shopper asks this: building the query would take longer than running it.
_OWNERS = f"""
SELECT identity.value, {prepared.columns(Profile, "profile")}
FROM {Identity._meta.db_table} AS identity
JOIN {Profile._meta.db_table} AS profile ON profile.id = identity.profile_id
WHERE identity.installation_id = %(installation)s AND identity.kind = %(kind)s
  AND identity.value = ANY (%(ids)s)
"""  # noqa: S608 (the names of the tables are ours)


def profile_of(*, installation: Installation, kind: IdentityKind, value: str) -> Profile | None:
    """Return the profile that owns an id, without making one."""
    return profiles_of(installation=installation, kind=kind, values=[value]).get(value)


def profiles_of(
    *, installation: Installation, kind: IdentityKind, values: Collection[str]
) -> dict[str, Profile]:
    """Return the profiles that own ids of one kind, by id, without making one."""
    found = {}
    with prepared.cursor() as cursor:
        cursor.execute(
            _OWNERS, {"installation": installation.pk, "kind": kind, "ids": list(values)}
        )
        for value, *row in cursor.fetchall():
            found[value] = prepared.made(Profile, row)
            found[value].installation = installation  # saves reading it again
    return found


def is_recognised(profile: Profile) -> bool:
    """Tell whether the person is more than a browser: a Saleor user, an address, a loyalty card."""
    return not merging.is_nameless(profile)


def own_orders(profile: Profile, *, user_id: str) -> QuerySet[Order]:
    """Return the orders that count of those that Saleor attached to this user (see `recent_orders`)."""
    return carried_out(
        Order.objects.of(profile.installation).filter(profile=profile, user_saleor_id=user_id)
    )


def own_spent(profile: Profile, *, user_id: str) -> dict[str, tuple[int, Decimal]]:
    """Return (number of orders, sum) of these by currency, the most frequent first."""
    rows = (
        own_orders(profile, user_id=user_id)
        .exclude(status=SENT_BACK)
        .values("currency")
        .annotate(count=Count("pk"), sum=Sum("total"))
        .order_by("-count", "currency")
    )
    return {row["currency"]: (row["count"], row["sum"]) for row in rows}


def recent_orders(profile: Profile, *, user_id: str, first: int) -> list[Order]:
    """Return the orders that Saleor itself counts as this user's, newest first.

    An order whose e-mail address merely equals theirs is not enough: Saleor proves no address of a
    guest, so anybody can write one into a cart.
    """
    return list(
        Order.objects.of(profile.installation)
        .filter(profile=profile, user_saleor_id=user_id, deleted_at=None)
        .order_by("-placed_at", "-pk")
        .prefetch_related("lines")[:first]
    )


def viewed_products(profile: Profile, *, first: int) -> list[dict[str, Any]]:
    """Return {"product_saleor_id", "viewed_at"} of the products seen last, each once."""
    rows = (
        Event.objects.of(profile.installation)
        .filter(profile__in=merging.readable(profile), type=EventType.PRODUCT_VIEWED)
        .values("product_saleor_id")
        .annotate(viewed_at=Max("occurred_at"))
        .order_by("-viewed_at", "product_saleor_id")[:first]
    )
    return [dict(row) for row in rows]


def open_checkout(profile: Profile, *, user_id: str) -> Checkout | None:
    """Return the cart that Saleor attached to this user and that changed last (see above)."""
    return (
        Checkout.objects.of(profile.installation)
        .filter(profile=profile, user_saleor_id=user_id, closed_at=None, deleted_at=None)
        .exclude(lines=[])
        .order_by("-last_changed_at")
        .first()
    )


def events_of(profile: Profile, *, first: int, before: Event | None = None) -> list[Event]:
    """Return what the whole person did, newest first: one page, or the one after `before`.

    For staff and for the person's own export; a shopper reads what `merging.readable` allows.
    """
    events = Event.objects.of(profile.installation).filter(profile__in=profile.person())
    if before is not None:
        events = events.filter(
            Q(occurred_at__lt=before.occurred_at)
            | Q(occurred_at=before.occurred_at, pk__lt=before.pk),
            month__lte=before.month,
        )
    return list(events.order_by("-occurred_at", "-pk")[:first])
