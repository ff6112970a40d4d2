"""Offers in the public graph: the codes that the caller was sent and can use now."""

from __future__ import annotations

from typing import Any

import graphene
from django.utils import timezone

from saleor_personalize.enums import OfferKind
from saleor_personalize.graphql import types
from saleor_personalize.models import Offer
from saleor_personalize.offers import queries, showing

PersonalOfferKind = graphene.Enum(
    "PersonalOfferKind", [(kind.name, kind.value) for kind in OfferKind]
)


class PersonalOffer(graphene.ObjectType):
    """A personal code that works once, by Saleor's `checkoutAddPromoCode`."""

    code = graphene.String(required=True)
    text = graphene.String(
        required=True, description='What it is worth, such as "10%", "5.00 USD" or "free delivery".'
    )
    kind = graphene.Field(PersonalOfferKind, required=True)
    percent = graphene.Float(description="Of a percent offer.")
    amount = graphene.Field(types.PersonalizeMoney, description="Of a fixed offer.")
    minimum_spend = graphene.Field(
        types.PersonalizeMoney, description="What the cart must hold at least."
    )
    channels = graphene.List(
        graphene.NonNull(graphene.String),
        required=True,
        description="Slugs of the sales channels that take it.",
    )
    is_first_order_only = graphene.Boolean(required=True)
    expires_at = graphene.DateTime(required=True)


class OfferQueries(graphene.ObjectType):
    """What the caller may use."""

    my_offers = graphene.List(
        graphene.NonNull(PersonalOffer),
        required=True,
        channel=graphene.String(description="Only what this sales channel takes, in its currency."),
        language_code=graphene.String(description='Of the texts, such as "DE".'),
        user_id=graphene.ID(description="Server only: of this Saleor user."),
        anonymous_id=graphene.String(description="Server only: of this visitor."),
        description="Codes that the caller was sent and can use now, those that end first first.",
    )

    @staticmethod
    def resolve_my_offers(
        root: None,
        info: Any,
        channel: str | None = None,
        language_code: str | None = None,
        user_id: str | None = None,
        anonymous_id: str | None = None,
    ) -> list[dict[str, Any]]:
        profile = types.caller_of(info, user_id, anonymous_id).profile()
        if profile is None:
            return []
        slug, spoken = types.text(channel) or "", types.language(language_code) or ""
        found = queries.usable(profile=profile, channel_slug=slug, now=timezone.now())
        return [_told(offer, slug, spoken) for offer in found]


def _told(offer: Offer, channel_slug: str, language: str) -> dict[str, Any]:
    listing = showing.listing_of(offer, channel_slug)
    return {
        "code": offer.code,
        "text": showing.text(offer=offer, language_code=language, channel_slug=channel_slug),
        "kind": offer.kind,
        "percent": float(listing["value"]) if offer.kind == OfferKind.PERCENT else None,
        "amount": _money(listing, "value") if offer.kind == OfferKind.FIXED else None,
        "minimum_spend": _money(listing, "minimum_spend"),
        "channels": [row["slug"] for row in offer.listings],
        "is_first_order_only": offer.is_first_order_only,
        "expires_at": offer.expires_at,
    }


def _money(listing: dict[str, Any], name: str) -> dict[str, Any] | None:
    if listing[name] is None:
        return None
    return {"amount": float(listing[name]), "currency": listing["currency"]}
