"""An offer that only the checkout makes, with a deadline that the server keeps: a reload moves nothing."""

from __future__ import annotations

import logging
from datetime import datetime

from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils.translation import gettext as _

from saleor_personalize.conf import settings
from saleor_personalize.enums import (
    HintKind,
    HintPage,
    HintReason,
    IdentityKind,
    OfferReason,
    OfferStatus,
)
from saleor_personalize.exceptions import OfferNotMade
from saleor_personalize.hints.base import Hint, Question
from saleor_personalize.models import Checkout, Identity, Offer, Profile
from saleor_personalize.offers import guard, showing, vouchers
from saleor_personalize.offers import operations as offers
from saleor_personalize.offers.terms import Terms
from saleor_personalize.offers.terms import read as read_terms
from saleor_personalize.profiles import identity

logger = logging.getLogger(__name__)

#: How the shop owner finds these vouchers among others in Saleor.
NAME = "Checkout offer"


def terms() -> Terms | None:
    """Return what HINT_OFFER gives; None: no such offers are made."""
    return read_terms(settings.HINT_OFFER, name=NAME) if settings.HINT_OFFER else None


def hint(question: Question) -> Hint | None:
    """Return the offer for the cart in hand: as it runs, or one that begins when it is seen.

    Nothing for who has just paid full price or had their share of offers, and none twice for a cart.
    """
    wanted = terms()
    if wanted is None or question.page != HintPage.CHECKOUT or question.profile is None:
        return None
    cart = _cart(question)
    if cart is None:
        return None
    given = _given(cart)
    if given is not None:
        return (
            _hint(cart, question, given) if _runs(given, question.profile, question.now) else None
        )
    if not settings.OFFERS or offers.PERMISSION not in question.installation.permissions:
        return None
    if guard.objection(profile=question.profile, terms=wanted, now=question.now) is not None:
        return None
    promised = _promised(cart, wanted)
    return None if promised is None else _hint(cart, question, promised)


def begin(*, question: Question, connect: vouchers.Connect = vouchers.connect) -> Hint | None:
    """Make the offer now that it is seen; return it with code and deadline, the same ones every time.

    Must run outside any transaction. Returns None when it cannot be made: then nothing must be shown.
    """
    wanted, profile = terms(), question.profile
    if wanted is None or profile is None or (cart := _cart(question)) is None:
        return None
    with transaction.atomic():
        _hold(profile, cart)
        # Two people with one cart wait for each other: it gets one offer. It may be ordered by now.
        if not _open_carts(question).filter(pk=cart.pk).select_for_update().exists():
            return None
        given, is_new = _given(cart), False
        if given is None:
            reserved = offers.reserve(
                profile=profile,
                terms=wanted,
                key=_key(cart),
                now=question.now,
                channel_slug=cart.channel_slug,
            )
            if not isinstance(reserved, Offer):
                return None
            given, is_new = reserved, True
    if is_new:
        try:
            offers.make(offer=given, now=question.now, connect=connect)
        except OfferNotMade as error:
            logger.warning("The offer of a checkout was not made: %s", error)
            offers.withdraw(
                offer=given, reason=OfferReason.MESSAGE_FAILED, now=question.now, connect=connect
            )
            return None
    return _hint(cart, question, given) if _runs(given, profile, question.now) else None


def _hold(profile: Profile, cart: Checkout) -> None:
    """Hold the ids of a person and of the cart, as whoever records an order of theirs does."""
    ids = Identity.objects.of(profile.installation_id).filter(profile__in=profile.person())
    held = [*ids.values_list("kind", "value"), (IdentityKind.CHECKOUT, cart.saleor_id)]
    identity.lock_identities(profile.installation, held)


def _key(cart: Checkout) -> str:
    return f"hint:{cart.saleor_id}"


def _given(cart: Checkout) -> Offer | None:
    """Return the offer that was made, or is being made, for a cart, to whomever; a failed one is none."""
    rows = Offer.objects.of(cart.installation_id).filter(
        Q(status__in=offers.ALIVE) | Q(made_at__isnull=False), key=_key(cart)
    )
    return rows.order_by("-pk").first()


def _runs(offer: Offer, profile: Profile, now: datetime) -> bool:
    """Tell whether an offer can be used now, and by this person: its code is nobody else's."""
    return (
        offer.status == OfferStatus.MADE
        and offer.expires_at > now
        and offer.profile_id in set(profile.person().values_list("pk", flat=True))
    )


def _cart(question: Question) -> Checkout | None:
    return _open_carts(question).first() if question.checkout_id else None


def _open_carts(question: Question) -> QuerySet[Checkout]:
    return (
        Checkout.objects.of(question.installation)
        .filter(
            saleor_id=question.checkout_id,
            channel_slug=question.channel_slug,
            closed_at=None,
            deleted_at=None,
        )
        .exclude(lines=[])
    )


def _hint(cart: Checkout, question: Question, offer: Offer) -> Hint:
    is_made = offer.pk is not None
    worth = showing.text(offer=offer, language_code=question.language_code)
    return Hint(
        kind=HintKind.CHECKOUT_OFFER,
        subject=cart.saleor_id,
        text=_("Order now and get this: %(worth)s.") % {"worth": worth},
        reason=HintReason.CHECKOUT_OFFER,
        reason_text=_("Only here in the checkout, and only until the time that is shown."),
        checkout_id=cart.saleor_id,
        voucher_code=offer.code if is_made else "",
        deadline=offer.expires_at if is_made else None,
    )


def _promised(cart: Checkout, terms: Terms) -> Offer | None:
    """Return what would be given, as a row that is not saved; None: nothing in this currency."""
    value = terms.value_in(cart.currency)
    if value is None:
        return None
    listing = {"slug": cart.channel_slug, "currency": cart.currency, "value": str(value)}
    return Offer(
        kind=terms.kind,
        terms=terms.as_json(),
        listings=[listing],
        channel_slug=cart.channel_slug,
    )
