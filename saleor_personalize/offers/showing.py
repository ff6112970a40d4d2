"""How an offer is told: in a template, in push data, in the kept content of a message."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

from django.utils import formats, timezone, translation
from django.utils.translation import gettext as _

from saleor_personalize.enums import OfferKind
from saleor_personalize.messaging import clocks, links
from saleor_personalize.messaging.rendering import django_language, format_money
from saleor_personalize.models import Offer

#: An offer that ends sooner than this is told with its hour.
_SOON = timedelta(days=2)


def context(*, offer: Offer, language_code: str, cart_url: str = "") -> dict[str, Any]:
    """Return what templates read as `offer`.

    `code`; `text`, its worth in words ("10 %", "5,00 EUR", "free delivery"); `expires`, the last day or
    hour; `minimum`, what must be spent at least, or nothing; `url`, a link that carries the code: the
    cart's if there is one, else OFFER_URL, or nothing.
    """
    listing = listing_of(offer)
    minimum = listing.get("minimum_spend")
    return {
        "code": offer.code,
        "text": text(offer=offer, language_code=language_code),
        "expires": _expires(offer, language_code),
        "minimum": format_money(Decimal(minimum), listing["currency"], language_code)
        if minimum
        else "",
        "url": url(offer=offer, cart_url=cart_url),
    }


def text(*, offer: Offer, language_code: str, channel_slug: str = "") -> str:
    """Return what an offer is worth (in a sales channel), as the language writes it."""
    if offer.kind == OfferKind.FIXED:
        listing = listing_of(offer, channel_slug)
        return format_money(Decimal(listing["value"]), listing["currency"], language_code)
    with translation.override(django_language(language_code)):
        if offer.kind == OfferKind.FREE_SHIPPING:
            return _("free delivery")
        percent = Decimal(offer.terms["percent"]).normalize()
        places = max(0, -int(percent.as_tuple().exponent))
        number = formats.number_format(percent, decimal_pos=places, use_l10n=True)
        # Translators: a discount; many languages put a no-break space before the sign.
        return _("%(number)s%%") % {"number": number}


def url(*, offer: Offer, cart_url: str = "") -> str:
    """Return a link of the storefront that carries the code, or ""."""
    if cart_url:
        return links.with_code(url=cart_url, code=offer.code)
    return links.offer_url(
        code=offer.code, channel_slug=offer.channel_slug or listing_of(offer)["slug"]
    )


def push_data(*, offer: Offer, cart_url: str = "") -> dict[str, str]:
    """Return the data fields of a push message that carry the offer; all values are texts."""
    fields = {
        "offer_code": offer.code,
        "offer_expires_at": offer.expires_at.isoformat(),
        "offer_url": url(offer=offer, cart_url=cart_url),
    }
    return {key: value for key, value in fields.items() if value}


def content(*, offer: Offer) -> dict[str, Any]:
    """Return what a message keeps of its offer: its worth, and no code that could be used."""
    listing = listing_of(offer)
    return {
        "kind": offer.kind,
        "value": listing["value"],
        "currency": listing["currency"] if offer.kind == OfferKind.FIXED else "",
        "expires_at": offer.expires_at.isoformat(),
    }


def listing_of(offer: Offer, channel_slug: str = "") -> dict[str, Any]:
    """Return what the offer is worth in a sales channel, else in the person's, else in the first."""
    listings: list[dict[str, Any]] = offer.listings
    by_slug = {row["slug"]: row for row in listings}
    return by_slug.get(channel_slug) or by_slug.get(offer.channel_slug) or listings[0]


def _expires(offer: Offer, language_code: str) -> str:
    until = timezone.localtime(offer.expires_at, clocks.shop_zone())
    is_soon = offer.expires_at - offer.reserved_at < _SOON
    with translation.override(django_language(language_code)):
        return formats.date_format(until, "DATETIME_FORMAT" if is_soon else "DATE_FORMAT")
