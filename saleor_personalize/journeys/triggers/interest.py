"""Who wants a product, and since when: by looking at it, keeping it, putting it into a cart, or waiting for it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Q

from saleor_personalize.enums import DeliveryChannel, EventType
from saleor_personalize.events import favourites
from saleor_personalize.journeys import showing
from saleor_personalize.journeys.triggers.people import people
from saleor_personalize.models import (
    Checkout,
    Event,
    Favourite,
    Installation,
    Profile,
    StockAlert,
)
from saleor_personalize.models.fields import month_of
from saleor_personalize.profiles import merging

#: Views of one product that are looked at.
_MOST_VIEWS = 20_000


@dataclass(frozen=True)
class Interest:
    """A person and a product in one sales channel. `at`: the last sign of it; `variants`: those that were
    named, none: any. `views`: how often it was looked at."""

    profile: Profile
    at: datetime
    views: int
    is_favourite: bool
    has_cart: bool
    variants: frozenset[str]


def interested(
    *,
    installation: Installation,
    product_id: str,
    channel_slug: str,
    since: datetime,
    now: datetime,
    over: Collection[str] = (DeliveryChannel.EMAIL,),
    variant_id: str = "",
    of: Profile | None = None,
) -> Iterator[Interest]:
    """Yield who showed interest in a product since then; with `variant_id`, in that variant or in none of
    them by name; of those to whom there is a way `over` a delivery channel, or with `of`, that person alone.
    Only what the person may read themselves counts as theirs."""
    signs: dict[int, list[tuple[datetime, str, str]]] = defaultdict(list)
    for profile_id, at, kind, variant in _signs(installation, product_id, channel_slug, since, now):
        if not (variant_id and variant) or variant == variant_id:
            signs[profile_id].append((at, kind, variant))
    for profile in people(installation, signs, agreed=False, over=over) if of is None else [of]:
        readable = merging.readable(profile)
        mine = sorted(sign for key in readable for sign in signs.get(key, ()))
        if not mine:
            continue
        yield Interest(
            profile=profile,
            at=mine[-1][0],
            views=sum(kind == "view" for _at, kind, _variant in mine),
            is_favourite=any(kind == "favourite" for _at, kind, _variant in mine),
            has_cart=any(kind == "cart" for _at, kind, _variant in mine),
            variants=frozenset(variant for _at, _kind, variant in mine if variant),
        )


def _signs(
    installation: Installation, product_id: str, channel_slug: str, since: datetime, now: datetime
) -> Iterator[tuple[int, datetime, str, str]]:
    """Yield (profile, when, kind, variant) of every sign of interest in one sales channel."""
    views = Event.objects.of(installation).filter(
        type=EventType.PRODUCT_VIEWED,
        product_saleor_id=product_id,
        month__gte=month_of(since),
        occurred_at__gt=since,
        occurred_at__lte=now,
    )
    added = views.model.objects.of(installation).filter(
        type=EventType.CART_ADDED,
        product_saleor_id=product_id,
        month__gte=month_of(since),
        occurred_at__gt=since,
        occurred_at__lte=now,
    )
    for rows, kind in ((views, "view"), (added, "cart")):
        for event in rows.order_by("-occurred_at")[:_MOST_VIEWS].select_related("profile"):
            if _is_here(event.profile, event.channel_slug, channel_slug):
                variant = str(event.properties.get("variant_id", ""))
                yield event.profile_id, event.occurred_at, kind, variant
    kept = favourites.kept(
        Favourite.objects.of(installation).filter(
            product_saleor_id=product_id, added_at__gt=since, added_at__lte=now
        ),
        installation=installation,
    )
    for row in kept.select_related("profile"):
        if _is_here(row.profile, row.channel_slug, channel_slug):
            yield row.profile_id, row.added_at, "favourite", row.variant_saleor_id
    carts = Checkout.objects.of(installation).filter(
        closed_at=None,
        channel_slug=channel_slug,
        last_changed_at__gt=since,
        lines__contains=[{"product_id": product_id}],
    )
    for cart in carts:
        for line in cart.lines:
            if line["product_id"] == product_id:
                yield cart.profile_id, cart.last_changed_at, "cart", line["variant_id"]
    alerts = StockAlert.objects.of(installation).filter(
        Q(created_at__gt=since, created_at__lte=now),
        product_saleor_id=product_id,
        channel_slug=channel_slug,
        cancelled_at=None,
    )
    for alert in alerts:
        yield alert.profile_id, alert.created_at, "alert", alert.variant_saleor_id


def _is_here(profile: Profile, told: str, channel_slug: str) -> bool:
    return (told or showing.channel_of(profile)) == channel_slug


#: Storefronts keep what they could not send, and webhooks come late: so much is looked back.
LATE = timedelta(hours=1)
