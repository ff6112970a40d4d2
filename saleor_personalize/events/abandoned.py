"""Telling other apps of carts that were left, whether or not anybody may be written to about them."""

from __future__ import annotations

from datetime import datetime

from django.db import transaction
from django.db.models import F, Q

from saleor_personalize import bus
from saleor_personalize.conf import settings
from saleor_personalize.enums import BusEvent, InstallationStatus
from saleor_personalize.events.queries import ordered_since
from saleor_personalize.models import Checkout, Installation, OutgoingWebhook

_BATCH = 200


def publish_abandoned(*, now: datetime, limit: int = 10_000) -> int:
    """Publish `checkout.abandoned` for carts that have lain still for ABANDONED_CHECKOUT_DELAY.

    Once per cart and change: who comes back and leaves again has left it twice. Not for carts of people
    who ordered since, empty ones, those older than ABANDONED_CHECKOUT_EXPIRY, and those that lay before
    anybody wanted to know. Returns how many were told of; any number of workers may run this at once.
    """
    listening = OutgoingWebhook.objects.filter(
        is_active=True,
        events__contains=[BusEvent.CHECKOUT_ABANDONED],
        installation__status=InstallationStatus.ACTIVE,
    )
    told = 0
    for shop in Installation.objects.filter(pk__in=listening.values("installation")).order_by("pk"):
        since = min(listening.filter(installation=shop).values_list("created_at", flat=True))
        for _ in range(0, limit, _BATCH):
            looked_at, found = _publish(shop, since, now)
            told += found
            if looked_at < _BATCH:
                break
    return told


def _publish(installation: Installation, since: datetime, now: datetime) -> tuple[int, int]:
    """Look at some carts; return how many, and how many were told of."""
    still_since = now - settings.ABANDONED_CHECKOUT_DELAY
    with transaction.atomic():
        carts = list(
            Checkout.objects.of(installation)
            .filter(
                Q(abandoned_at=None) | Q(abandoned_at__lt=F("last_changed_at")),
                closed_at=None,
                deleted_at=None,
                last_changed_at__lte=still_since,
                last_changed_at__gte=max(
                    since - settings.ABANDONED_CHECKOUT_DELAY,
                    now - settings.ABANDONED_CHECKOUT_EXPIRY,
                ),
            )
            .exclude(lines=[])
            .select_related("installation", "profile__installation")
            .order_by("last_changed_at")
            .select_for_update(skip_locked=True, of=("self",))[:_BATCH]
        )
        facts = [_fact(cart) for cart in carts if not ordered_since(cart)]
        bus.publish_each(
            installation=installation, event=BusEvent.CHECKOUT_ABANDONED, facts=facts, now=now
        )
        Checkout.objects.of(installation).filter(pk__in=[cart.pk for cart in carts]).update(
            abandoned_at=now
        )
    return len(carts), len(facts)


def _fact(cart: Checkout) -> bus.Fact:
    return bus.Fact(
        data={
            "checkoutId": cart.saleor_id,
            "channel": cart.channel_slug,
            "languageCode": cart.language_code,
            "total": {"amount": str(cart.total), "currency": cart.currency},
            "lines": [
                {
                    "productId": line["product_id"],
                    "variantId": line["variant_id"],
                    "quantity": line["quantity"],
                }
                for line in cart.lines
            ],
            "lastChangedAt": cart.last_changed_at.isoformat(),
        },
        profile_id=cart.profile_id,
        key=f"{cart.saleor_id}:{cart.last_changed_at.isoformat()}",
        occurred_at=cart.last_changed_at + settings.ABANDONED_CHECKOUT_DELAY,
    )
