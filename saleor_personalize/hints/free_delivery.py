"""How much is missing until delivery is free: by Saleor's own word, or not at all.

Saleor compares `minimumOrderPrice` of a shipping method with the cart's subtotal. Where we cannot know
what it would compare, nothing is claimed: no country, a voucher in the cart, prices before tax.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from django.core.cache import cache
from django.utils.translation import gettext as _

from saleor_personalize.enums import HintKind, HintPage, HintReason
from saleor_personalize.exceptions import PersonalizeError, kind_and_place
from saleor_personalize.hints.base import Hint, Money, Question
from saleor_personalize.messaging.rendering import format_money
from saleor_personalize.models import Checkout, Installation
from saleor_personalize.models.fields import keyed_hash
from saleor_personalize.saleor_api.client import SaleorClient

logger = logging.getLogger(__name__)

#: Seconds to wait for Saleor: somebody looks at the page.
TIMEOUT = 3.0
#: How long Saleor's word about a cart that did not change, about methods, and its silence are remembered.
_CART_SECONDS, _METHODS_SECONDS, _SILENCE_SECONDS = 60, 600, 30
_NOTHING = "nothing"


@dataclass(frozen=True)
class _Cart:
    subtotal: Decimal
    currency: str
    country_code: str
    postal_code: str


def hint(question: Question) -> Hint | None:
    """Return what is missing for the cart in hand. At most two calls to Saleor, and few of these."""
    if not question.checkout_id or question.page == HintPage.OTHER:
        return None
    row = (
        Checkout.objects.of(question.installation)
        .filter(
            saleor_id=question.checkout_id,
            channel_slug=question.channel_slug,
            closed_at=None,
            deleted_at=None,
        )
        .exclude(lines=[])
        .first()
    )
    if row is None:
        return None
    cart = _cart(question.installation, row)
    if cart is None:
        return None
    country = cart.country_code or question.country_code.upper()
    if not country:
        return None
    methods = _methods(question.installation, row.channel_slug, country, cart.postal_code)
    threshold = None if methods is None else free_from(methods, cart.subtotal, cart.currency)
    if threshold is None:
        return None
    remaining = threshold - cart.subtotal
    language = question.language_code
    return Hint(
        kind=HintKind.FREE_DELIVERY,
        subject=row.saleor_id,
        text=_("%(amount)s more, and delivery is free.")
        % {"amount": format_money(remaining, cart.currency, language)},
        reason=HintReason.FREE_DELIVERY_GAP,
        reason_text=_("Delivery to your country is free from %(amount)s.")
        % {"amount": format_money(threshold, cart.currency, language)},
        checkout_id=row.saleor_id,
        remaining=Money(remaining, cart.currency),
        threshold=Money(threshold, cart.currency),
    )


def free_from(
    methods: Sequence[Mapping[str, Any]], subtotal: Decimal, currency: str
) -> Decimal | None:
    """Return the subtotal from which on a method costs nothing; None if it is free now, never, or not knowable.

    `methods` as Saleor's `ShippingMethod`. One that goes by weight and is free may be had already.
    """
    free = [
        each
        for each in methods
        if each["active"]
        and each["price"]["currency"] == currency
        and Decimal(str(each["price"]["amount"])) == 0
    ]
    if any(each["type"] != "PRICE" for each in free):
        return None
    ranges = [
        (_amount(each["minimumOrderPrice"]) or Decimal(0), _amount(each["maximumOrderPrice"]))
        for each in free
    ]
    if any(low <= subtotal and (high is None or subtotal <= high) for low, high in ranges):
        return None
    return min(
        (low for low, high in ranges if low > subtotal and (high is None or low <= high)),
        default=None,
    )


def _amount(money: Mapping[str, Any] | None) -> Decimal | None:
    return None if money is None else Decimal(str(money["amount"]))


def _cart(installation: Installation, row: Checkout) -> _Cart | None:
    """Return the cart as Saleor counts it now; None: nothing can be said about it."""
    version = f"{row.saleor_updated_at}:{row.seen_at}"
    key = f"hints:cart:{installation.pk}:{keyed_hash('hints', f'{row.saleor_id}:{version}')}"
    node = _asked(
        installation, key, _CART_SECONDS, "CheckoutForHints", "checkout", {"id": row.saleor_id}
    )
    return None if node is None else _read_cart(node)


def _read_cart(node: Mapping[str, Any]) -> _Cart | None:
    gross, net = (_amount(node["subtotalPrice"][side]) for side in ("gross", "net"))
    is_with_tax = node["channel"]["taxConfiguration"]["pricesEnteredWithTax"]
    discount = _amount(node["discount"])
    if gross is None or not node["isShippingRequired"] or discount or node["voucherCode"]:
        return None
    if gross != net and not is_with_tax:
        # Which of the two is compared differs between versions of Saleor.
        return None
    address = node["shippingAddress"] or {"country": {"code": ""}, "postalCode": ""}
    return _Cart(
        subtotal=gross,
        currency=node["subtotalPrice"]["gross"]["currency"],
        country_code=address["country"]["code"],
        postal_code=address["postalCode"],
    )


def _methods(
    installation: Installation, channel_slug: str, country: str, postal_code: str
) -> list[dict[str, Any]] | None:
    where = keyed_hash("hints", f"{channel_slug}:{country}:{postal_code}")
    shop = _asked(
        installation,
        f"hints:methods:{installation.pk}:{where}",
        _METHODS_SECONDS,
        "ShippingMethods",
        "shop",
        {"channel": channel_slug, "address": {"country": country, "postalCode": postal_code}},
    )
    return None if shop is None else shop["availableShippingMethods"]


def _asked(
    installation: Installation,
    key: str,
    seconds: int,
    operation: str,
    root: str,
    variables: dict[str, Any],
) -> Any:
    """Return what Saleor says under a root field, remembered for a while; None without an answer."""
    known = cache.get(key)
    if known is not None:
        return None if known == _NOTHING else known
    try:
        with SaleorClient(installation, timeout=TIMEOUT, retry_delays=()) as saleor:
            found = saleor.execute(operation, variables)[root]
    except (PersonalizeError, KeyError) as error:
        logger.warning("No hint of free delivery: %s", kind_and_place(error).splitlines()[0])
        found, seconds = None, _SILENCE_SECONDS
    cache.set(key, _NOTHING if found is None else found, seconds)
    return found
