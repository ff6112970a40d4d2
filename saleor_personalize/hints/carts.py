"""Something is still in the cart: on return, and on the other devices of who is signed in."""

from __future__ import annotations

from datetime import timedelta

from django.db.models import Q
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from saleor_personalize.catalog import prices
from saleor_personalize.catalog.queries import recommendable_ids, sensitive_ids
from saleor_personalize.conf import settings
from saleor_personalize.enums import HintKind, HintPage, HintReason, IdentityKind
from saleor_personalize.events.queries import ordered_since
from saleor_personalize.hints.base import Hint, HintLine, Question
from saleor_personalize.models import Checkout

#: Saleor forgets carts of guests after so long.
_LONGEST = timedelta(days=30)


def hint(question: Question) -> Hint | None:
    """Return the newest cart that lay still for HINT_CART_AFTER, with what can still be bought of it.

    Only carts that the caller opened the door to: the one whose id they show, and those of the account
    that they are signed in to. A cart that merely names their address may be somebody else's.
    """
    if question.page in (HintPage.CART, HintPage.CHECKOUT):
        return None
    user_id = question.shown.get(IdentityKind.SALEOR_USER, "")
    own = Q(saleor_id=question.checkout_id) if question.checkout_id else Q()
    own |= Q(user_saleor_id=user_id) if user_id else Q()
    if not own:
        return None
    cart = (
        Checkout.objects.of(question.installation)
        .filter(
            own,
            channel_slug=question.channel_slug,
            closed_at=None,
            deleted_at=None,
            last_changed_at__gt=question.now - _LONGEST,
        )
        .exclude(lines=[])
        .select_related("profile", "installation")
        .order_by("-last_changed_at", "-pk")
        .first()
    )
    # Whoever changed a cart just now has not left it; an older one is not what they think of.
    if cart is None or cart.last_changed_at > question.now - settings.HINT_CART_AFTER:
        return None
    if ordered_since(cart):
        return None
    lines = _lines(cart, question)
    if not lines:
        return None
    count = sum(line.quantity for line in lines)
    return Hint(
        kind=HintKind.CART_WAITING,
        subject=cart.saleor_id,
        text=ngettext(
            "One thing is still in your cart.", "%(count)s things are still in your cart.", count
        )
        % {"count": count},
        reason=HintReason.CART_LEFT,
        reason_text=_("You put it there and have not ordered it yet."),
        checkout_id=cart.saleor_id,
        lines=lines,
    )


def _lines(cart: Checkout, question: Question) -> tuple[HintLine, ...]:
    ids = {line["product_id"] for line in cart.lines}
    shop = question.installation
    there = recommendable_ids(
        installation=shop, channel_slug=cart.channel_slug, ids=ids, now=question.now
    )
    shown = there - sensitive_ids(installation=shop, ids=there)
    wanted = [line for line in cart.lines if line["product_id"] in shown]
    # Of a product that is in stock one size may be sold out; a variant that we do not know is not.
    left = prices.pieces_of_each(
        installation=shop,
        variant_ids=[line["variant_id"] for line in wanted],
        channel_slug=cart.channel_slug,
    )
    return tuple(
        HintLine(line["product_id"], line["variant_id"], line["quantity"])
        for line in wanted
        if left.get(line["variant_id"]) != 0
    )
