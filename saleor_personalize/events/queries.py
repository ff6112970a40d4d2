"""Reads of what happened."""

from __future__ import annotations

from django.db.models import Q, QuerySet

from saleor_personalize.enums import IdentityKind
from saleor_personalize.models import Checkout, Identity, Order

#: States of an order that was never carried out: it counts nowhere.
NOT_CARRIED_OUT = ("CANCELED", "EXPIRED")
#: State of an order that came back whole: it counts, but nothing was spent. Of money that went back in
#: another way Saleor's state tells nothing: a refunded order stays FULFILLED.
SENT_BACK = "RETURNED"


def carried_out(orders: QuerySet[Order]) -> QuerySet[Order]:
    """Keep the orders that count."""
    return orders.filter(deleted_at=None).exclude(status__in=NOT_CARRIED_OUT)


def ordered_since(checkout: Checkout) -> bool:
    """Tell whether the person behind an abandoned cart has ordered, wherever and as whoever.

    An order counts by any of: the checkout itself (at any time); the person, one of their Saleor
    users or one of their e-mail addresses, or those of the cart, since the cart last changed. A cancelled
    order counts too: the person came back and decided. One that staff made without a cart is dated
    by its draft, so it counts by its last change.
    """
    ids = list(
        Identity.objects.of(checkout.installation)
        .filter(
            profile__in=checkout.profile.person(),
            kind__in=[IdentityKind.SALEOR_USER, IdentityKind.EMAIL],
        )
        .values_list("kind", "value")
    )
    users = {value for kind, value in ids if kind == IdentityKind.SALEOR_USER}
    hashes = {value for kind, value in ids if kind == IdentityKind.EMAIL}
    users |= {checkout.user_saleor_id} - {""}
    hashes |= {checkout.email_hash} - {""}
    return (
        Order.objects.of(checkout.installation)
        .filter(
            Q(checkout_saleor_id=checkout.saleor_id)
            | (
                Q(placed_at__gte=checkout.last_changed_at)
                | Q(checkout_saleor_id="", saleor_updated_at__gte=checkout.last_changed_at)
            )
            & (
                Q(profile__in=checkout.profile.person())
                | Q(user_saleor_id__in=users)
                | Q(email_hash__in=hashes)
            )
        )
        .exists()
    )
