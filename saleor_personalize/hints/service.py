"""The one operation behind every door: what to say on this page, and what became of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from saleor_personalize.enums import HintAction, HintKind
from saleor_personalize.hints import carts, free_delivery, lingering, offering, records, sign_up
from saleor_personalize.hints.base import INTERRUPTING, Hint, Question
from saleor_personalize.profiles import consent

#: What may be said, the most important first.
_KINDS: tuple[tuple[HintKind, Callable[[Question], Hint | None]], ...] = (
    (HintKind.CHECKOUT_OFFER, offering.hint),
    (HintKind.CART_WAITING, carts.hint),
    (HintKind.SIGN_UP, sign_up.hint),
    (HintKind.LINGERING, lingering.hint),
    (HintKind.FREE_DELIVERY, free_delivery.hint),
)


def hints(*, question: Question) -> list[Hint]:
    """Return what is worth saying on a page now: at most one that interrupts, and facts about the cart.

    Who is not known, or refused profiling, hears facts about the cart that they show and nothing else:
    whom we may not remember, we cannot spare.
    """
    profile = question.profile
    if profile is not None and not consent.may_profile(profile=profile):
        profile = None
        question = replace(question, profile=None)
    past = records.Past(profile, question.now) if profile is not None else None
    found: list[Hint] = []
    for kind, ask in _KINDS:
        is_interrupting = kind in INTERRUPTING
        if is_interrupting and (past is None or any(h.kind in INTERRUPTING for h in found)):
            continue
        # An offer that runs is a state of the checkout; the day's limit is for what is new.
        if is_interrupting and kind != HintKind.CHECKOUT_OFFER and past and past.is_full():
            continue
        hint = ask(question)
        if hint is None or (past and _is_forbidden(past, hint)):
            continue
        found.append(hint)
    return found


def _is_forbidden(past: records.Past, hint: Hint) -> bool:
    if hint.kind == HintKind.CHECKOUT_OFFER:
        row = past.row(hint.kind, hint.subject)
        if row is not None and row.dismissed_at is not None:
            return True
        return not hint.voucher_code and past.is_full()
    return past.forbids(hint.kind, hint.subject)


def report(*, question: Question, hint_id: str, action: HintAction) -> tuple[bool, Hint | None]:
    """Keep what happened to a hint; return whether it was kept, and an offer that began by being seen.

    Nothing is kept of who is not known or refused profiling. Must run outside any transaction.
    """
    named, profile = records.parse(hint_id), question.profile
    if named is None or profile is None or not consent.may_profile(profile=profile):
        return False, None
    kind, subject = named
    begun = None
    if kind == HintKind.CHECKOUT_OFFER and action == HintAction.SEEN:
        begun = offering.begin(question=replace(question, checkout_id=subject))
        if begun is None:
            return False, None
    is_kept = records.record(
        profile=profile, kind=kind, subject=subject, action=action, now=question.now
    )
    return is_kept, begun
