"""May this person get an offer at all? Asked in the very transaction that reserves it."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db.models import F, Q, QuerySet

from saleor_personalize.conf import settings
from saleor_personalize.enums import IdentityKind, NotSentReason, OfferReason, OfferStatus
from saleor_personalize.events.queries import carried_out
from saleor_personalize.models import Identity, Offer, Order, Profile
from saleor_personalize.offers.terms import Terms

YEAR = timedelta(days=365)


def objection(*, profile: Profile, terms: Terms, now: datetime) -> NotSentReason | None:
    """Return the first reason why this person must not get this offer, or None."""
    reason = after_orders(profile=profile, terms=terms, now=now)
    if reason is not None:
        return reason
    most = settings.INCENTIVE_GUARD.get("offers_per_year")
    if most is not None and given_since(profile=profile, since=now - YEAR) >= most:
        return NotSentReason.OFFER_LIMIT
    return None


def after_orders(*, profile: Profile, terms: Terms, now: datetime) -> NotSentReason | None:
    """Return why the orders of a person speak against this offer, or None."""
    orders = orders_of(profile)
    if terms.is_first_order_only and orders.exists():
        return NotSentReason.OFFER_NOT_FIRST
    days = settings.INCENTIVE_GUARD.get("days_after_full_price")
    if days and _paid_full_price(orders, now - timedelta(days=days)):
        return NotSentReason.OFFER_FULL_PRICE
    return None


def orders_of(profile: Profile) -> QuerySet[Order]:
    """Return the orders of a person under whatever identity, cancelled ones included.

    Those under an address or account of theirs count too, when nothing proved yet that it is the
    same person: a guest who types the address of an account.
    """
    ids = list(
        Identity.objects.of(profile.installation)
        .filter(
            profile__in=profile.members(),
            kind__in=[IdentityKind.SALEOR_USER, IdentityKind.EMAIL],
        )
        .values_list("kind", "value")
    )
    return Order.objects.of(profile.installation).filter(
        Q(profile__in=profile.members())
        | Q(user_saleor_id__in=[value for kind, value in ids if kind == IdentityKind.SALEOR_USER])
        | Q(email_hash__in=[value for kind, value in ids if kind == IdentityKind.EMAIL]),
        deleted_at=None,
    )


def _paid_full_price(orders: QuerySet[Order], since: datetime) -> bool:
    """Tell whether one of the orders since then was without any discount, as far as we know.

    An order that staff made is dated by its draft, so it counts by its last change.
    """
    late = Q(placed_at__gte=since) | Q(checkout_saleor_id="", saleor_updated_at__gte=since)
    full = Q(undiscounted_total=None) | Q(total__gte=F("undiscounted_total"))
    return carried_out(orders).filter(late, full).exists()


def given_since(*, profile: Profile, since: datetime) -> int:
    """Count the offers that a person got, or is about to get, since then.

    One that was taken back before its message went was never theirs.
    """
    return (
        Offer.objects.of(profile.installation)
        .filter(profile__in=profile.members(), reserved_at__gt=since)
        .exclude(
            status=OfferStatus.WITHDRAWN,
            reason__in=[OfferReason.MESSAGE_FAILED, OfferReason.INTERRUPTED],
        )
        .count()
    )
