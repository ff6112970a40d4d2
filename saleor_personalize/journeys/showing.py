"""What messages about products show: only what can be bought now and what a message may speak of."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Any

from django.utils import translation

from saleor_personalize.catalog import cards as catalog
from saleor_personalize.catalog.queries import category_and_below, sensitive_ids
from saleor_personalize.events.queries import orders_of
from saleor_personalize.exceptions import UnknownAlias
from saleor_personalize.messaging import links
from saleor_personalize.messaging.rendering import django_language, format_money
from saleor_personalize.models import Installation, Product, Profile, SalesChannel, Session
from saleor_personalize.recommendations import service

#: How many products a message shows of one kind.
MOST = 6


def language_of(profile: Profile) -> str:
    """Return the language of a person: this profile's, else that of another one of theirs."""
    if profile.language_code:
        return profile.language_code
    others = profile.person().exclude(language_code="").order_by("pk")
    return others.values_list("language_code", flat=True).first() or ""


def channel_of(profile: Profile) -> str:
    """Return the sales channel of a person: that of the last order, the last visit, the only one there is."""
    ordered = (
        orders_of(profile=profile).order_by("-placed_at").values_list("channel_slug", flat=True)
    )
    visited = (
        Session.objects.of(profile.installation_id)
        .filter(profile__in=profile.person())
        .exclude(channel_slug="")
        .order_by("-last_seen_at")
        .values_list("channel_slug", flat=True)
    )
    found = ordered.first() or visited.first()
    if found:
        return found
    active = SalesChannel.objects.of(profile.installation_id).filter(
        is_active=True, deleted_at=None
    )
    only = list(active.values_list("slug", flat=True)[:2])
    return only[0] if len(only) == 1 else ""


def products(
    *,
    installation: Installation,
    ids: Sequence[str],
    channel_slug: str,
    language_code: str,
    now: datetime,
    is_for_sale: bool = True,
    most: int = MOST,
) -> list[dict[str, Any]]:
    """Return products as templates see them, in the order of `ids`, sensitive ones left out.

    Each has `product_id`, `name`, `image_url`, `url` (if PRODUCT_URL is set), and, where known, `price`
    and `price_before` a promotion. `is_for_sale`: leave out what cannot be bought now.
    """
    hidden = sensitive_ids(installation=installation, ids=ids)
    found = catalog.cards(
        installation=installation,
        channel_slug=channel_slug,
        ids=[id_ for id_ in ids if id_ not in hidden],
        language_code=language_code,
        now=now,
    )
    shown = [found[id_] for id_ in dict.fromkeys(ids) if id_ in found]
    return [
        _product(card, channel_slug, language_code)
        for card in shown
        if card.is_available or not is_for_sale
    ][:most]


def _product(card: catalog.Card, channel_slug: str, language_code: str) -> dict[str, Any]:
    def money(value: catalog.Money | None) -> str:
        return "" if value is None else format_money(value.amount, value.currency, language_code)

    return {
        "product_id": card.product_id,
        "name": card.name,
        "image_url": card.thumbnail_url,
        "url": links.product_url(
            slug=card.slug, product_id=card.product_id, channel_slug=channel_slug
        ),
        "price": money(card.price) if card.is_available else "",
        "price_before": money(card.undiscounted_price) if card.is_available else "",
    }


def recommended(
    *,
    profile: Profile,
    placement: str,
    channel_slug: str,
    language_code: str,
    now: datetime,
    most: int = 3,
    only: Collection[str] = (),
    category_id: str = "",
    **question: Any,
) -> list[dict[str, Any]]:
    """Return what a placement of messages recommends (`recommendations.service.recommend`), as `products`.

    Each has a `reason` as well, in the language of the message. A placement is always full: where the message says why these, `only` names the strategies that may
    answer, and of a category come only its own products and those of the categories below it. Nothing
    where the shop has taken the placement away.
    """
    try:
        with translation.override(django_language(language_code)):
            found = service.recommend(
                installation=profile.installation,
                placement=placement,
                channel_slug=channel_slug,
                profile=profile,
                now=now,
                first=most,
                category_id=category_id or None,
                language_code=language_code or None,
                **question,
            )
    except UnknownAlias:
        return []
    reasons = {each.product_id: each.reason_text for each in found}
    ids = [each.product_id for each in found if not only or each.strategy in only]
    if category_id:
        below = category_and_below(installation=profile.installation, category_id=category_id)
        inside = set(
            Product.objects.of(profile.installation_id)
            .filter(saleor_id__in=ids, category_saleor_id__in=below)
            .values_list("saleor_id", flat=True)
        )
        ids = [id_ for id_ in ids if id_ in inside]
    shown = products(
        installation=profile.installation,
        ids=ids,
        channel_slug=channel_slug,
        language_code=language_code,
        now=now,
        most=most,
    )
    return [{**one, "reason": reasons[one["product_id"]]} for one in shown]


def kept(shown: Collection[dict[str, Any]]) -> list[str]:
    """Return what is kept of products that were shown: their ids."""
    return [each["product_id"] for each in shown]
