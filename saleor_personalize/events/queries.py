"""Reads of what happened."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta

from django.db.models import Q, QuerySet

from saleor_personalize.enums import EventType, IdentityKind
from saleor_personalize.models import Checkout, Event, Order, Profile
from saleor_personalize.models.fields import month_of
from saleor_personalize.profiles import identity, merging

#: States of an order that was never carried out: it counts nowhere.
NOT_CARRIED_OUT = ("CANCELED", "EXPIRED")
#: State of an order that came back whole: it counts, but nothing was spent. Of money that went back in
#: another way the state tells nothing (a refunded order stays FULFILLED): `Order.total_refunded` does.
SENT_BACK = "RETURNED"
#: What an order brought, in SQL over its row `purchase`: what was paid back is taken off.
NET = f"""
CASE WHEN purchase.status = '{SENT_BACK}' THEN 0
  ELSE GREATEST(purchase.total - purchase.total_refunded, 0) END
"""


def carried_out(orders: QuerySet[Order]) -> QuerySet[Order]:
    """Keep the orders that count."""
    return orders.filter(deleted_at=None).exclude(status__in=NOT_CARRIED_OUT)


def ordered_since(checkout: Checkout) -> bool:
    """Tell whether the person behind an abandoned cart has ordered, wherever and as whoever.

    An order counts by any of: the checkout itself (at any time); the person, one of their Saleor
    users or one of their e-mail addresses, or those of the cart, since its lines last changed: to whom it came
    only afterwards has bought meanwhile all the same. So it does of who only perhaps is the same person: on the
    browser where the cart was filled somebody ordered under another name. A cancelled order counts too: the
    person came back and decided. One that staff made without a cart is dated by its draft, so it counts by its
    last change.
    """
    perhaps = merging.perhaps_of(installation=checkout.installation, checkout_id=checkout.saleor_id)
    ids = identity.ids_of(checkout.profile)
    users = {value for kind, value in ids if kind == IdentityKind.SALEOR_USER}
    hashes = {value for kind, value in ids if kind == IdentityKind.EMAIL}
    users |= {checkout.user_saleor_id} - {""}
    hashes |= {checkout.email_hash} - {""}
    return (
        Order.objects.of(checkout.installation)
        .filter(
            Q(checkout_saleor_id=checkout.saleor_id)
            | (
                Q(placed_at__gte=checkout.orders_count_from)
                | Q(checkout_saleor_id="", saleor_updated_at__gte=checkout.orders_count_from)
            )
            & (
                Q(profile__in=checkout.profile.members() | perhaps)
                | Q(user_saleor_id__in=users)
                | Q(email_hash__in=hashes)
            )
        )
        .exists()
    )


def has_ordered_since(
    *,
    profile: Profile,
    since: datetime,
    identities: Collection[tuple[str, str]] = (),
    besides: str = "",
) -> bool:
    """Tell whether a person has an order placed after `since`, under whatever identity.

    `identities` are further (kind, value) by which an order is theirs; one by its checkout counts at any
    time. A cancelled order counts; one that staff made without a cart counts by its last change.
    `besides` is the global id of an order that does not count.
    """
    given = [value for found, value in identities if found == IdentityKind.CHECKOUT]
    is_later = Q(placed_at__gt=since) | Q(checkout_saleor_id="", saleor_updated_at__gt=since)
    return (
        orders_of(profile=profile, identities=identities)
        .filter(Q(checkout_saleor_id__in=given) | is_later)
        .exclude(saleor_id=besides)
        .exists()
    )


def led_to(*, order: Order, window: timedelta) -> QuerySet[Event]:
    """Return where whoever ordered came to what they ordered through an answer of ours, the last first.

    Clicks and additions to the cart that carry an attribution id, within `window` before the order.
    """
    rows = Event.objects.of(order.installation_id)
    if order.profile is None:
        return rows.none()
    since = order.placed_at - window
    return (
        rows.filter(
            profile__in=order.profile.person(),
            month__gte=month_of(since),
            occurred_at__gt=since,
            occurred_at__lte=order.placed_at,
            type__in=[EventType.RECOMMENDATION_CLICKED, EventType.CART_ADDED],
            product_saleor_id__in=order.lines.values("product_saleor_id"),
        )
        .exclude(attribution_id="")
        .order_by("-occurred_at")
    )


def orders_of(*, profile: Profile, identities: Collection[tuple[str, str]] = ()) -> QuerySet[Order]:
    """Return every order of a person, under whatever identity, cancelled ones too.

    By their profiles, accounts and addresses, and by `identities`, further (kind, value) that are theirs.
    """
    ids = {*identities, *identity.ids_of(profile)}

    def values(kind: IdentityKind) -> list[str]:
        return [value for found, value in ids if found == kind and value]

    given = [value for found, value in identities if found == IdentityKind.CHECKOUT]
    return Order.objects.of(profile.installation_id).filter(
        Q(checkout_saleor_id__in=given)
        | Q(profile__in=profile.members())
        | Q(user_saleor_id__in=values(IdentityKind.SALEOR_USER))
        | Q(email_hash__in=values(IdentityKind.EMAIL))
    )
