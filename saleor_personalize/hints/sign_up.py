"""What an account is good for, told to who keeps products or comes back again and again without one.

On the page, because most of them left no address to write to; who did and allowed it gets the journey
`sign_up_drive`.
"""

from __future__ import annotations

from datetime import timedelta

from django.utils.translation import gettext as _

from saleor_personalize.enums import HintKind, HintPage, HintReason, IdentityKind
from saleor_personalize.hints.base import Hint, Question
from saleor_personalize.models import Favourite, Identity, Profile, Session

#: Visits within a time that make somebody come back again and again.
VISITS, WITHIN = 3, timedelta(days=30)


def hint(question: Question) -> Hint | None:
    """Return the hint for who is not signed in and has no account; nothing in cart and checkout."""
    profile = question.profile
    if profile is None or question.shown.get(IdentityKind.SALEOR_USER):
        return None
    if question.page in (HintPage.CART, HintPage.CHECKOUT) or _has_account(profile):
        return None
    if _keeps(profile):
        return Hint(
            kind=HintKind.SIGN_UP,
            subject="favourites",
            text=_("Keep your favourites: make an account."),
            reason=HintReason.FAVOURITES_KEPT,
            reason_text=_("You keep products, and are not signed in."),
        )
    if _comes_back(profile, question):
        return Hint(
            kind=HintKind.SIGN_UP,
            subject="visits",
            text=_("Welcome back: with an account you find everything again."),
            reason=HintReason.COMES_BACK,
            reason_text=_("You come back again and again, and are not signed in."),
        )
    return None


def _has_account(profile: Profile) -> bool:
    own = Identity.objects.of(profile.installation_id).filter(profile__in=profile.person())
    return own.filter(kind=IdentityKind.SALEOR_USER).exists()


def _keeps(profile: Profile) -> bool:
    own = Favourite.objects.of(profile.installation_id).filter(profile__in=profile.person())
    return own.filter(removed_at=None).exists()


def _comes_back(profile: Profile, question: Question) -> bool:
    visits = Session.objects.of(profile.installation_id).filter(
        profile__in=profile.person(),
        started_at__gt=question.now - WITHIN,
        started_at__lte=question.now,
    )
    return visits[:VISITS].count() >= VISITS
