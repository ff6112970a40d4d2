"""The playground: what a placement answers to whom, with scores, reasons, and what rules did to it."""

from __future__ import annotations

from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from django.utils import timezone, translation
from django.utils.translation import gettext as _

from saleor_personalize.catalog import lookup
from saleor_personalize.dashboard import names, words
from saleor_personalize.dashboard.access import Staff, staff_view
from saleor_personalize.dashboard.views import Context, _render
from saleor_personalize.events import people
from saleor_personalize.exceptions import UnknownAlias
from saleor_personalize.models import MerchandisingRule, Profile, SalesChannel
from saleor_personalize.profiles import consent
from saleor_personalize.recommendations import placements, playground, queries
from saleor_personalize.recommendations.service import Question

#: Longest list.
MOST = 50
FIRST = 12
#: Fields that hold a name or a global id -> of what. That of a cart is of one of several kinds, and secret.
IDS = {"product": "Product", "category": "Category"}


@staff_view()
def page(request: HttpRequest, staff: Staff) -> HttpResponse:
    return _render(request, staff, "playground/page.html", _form(staff, {}))


@staff_view(posts=True)
def ask(request: HttpRequest, staff: Staff) -> HttpResponse:
    """Answer as a storefront would be answered; nothing is recorded."""
    given = {
        name: names.asked(request.POST, name)
        for name in (
            "placement",
            "channel",
            "who",
            "product",
            "checkout",
            "category",
            "query",
            "first",
        )
    }
    profile, fault = _person(staff, given["who"])
    meant = dict(given)
    for name, kind in IDS.items():
        if not fault and given[name]:
            try:
                meant[name] = lookup.find(
                    installation=staff.installation, kind=kind, text=given[name]
                )
            except lookup.NotFoundByName as error:
                fault = str(error)
    answer: Context = {}
    if not fault:
        try:
            answer = _answer(staff, meant, profile)
        except UnknownAlias as error:
            fault = str(error)
    return _render(
        request, staff, "playground/page.html", {**_form(staff, given), **answer, "fault": fault}
    )


@staff_view()
def choices(request: HttpRequest, staff: Staff, field: str) -> HttpResponse:
    """Serve what has the typed text in its name."""
    if field not in IDS:
        raise Http404
    return names.offer(request, staff, kind=IDS[field], field=field)


def _form(staff: Staff, given: dict[str, str]) -> Context:
    shop = placements.shop_of(staff.installation)
    channels = SalesChannel.objects.of(staff.installation).filter(deleted_at=None)
    return {
        "placements": [(key, words.name_of(key)) for key in sorted(shop.placements)],
        "channels": queries.busiest_first(
            installation=staff.installation, slugs=channels.values_list("slug", flat=True)
        ),
        "given": {"placement": "home", "first": str(FIRST), **given},
        "can_see_people": staff.can_see_people,
    }


def _person(staff: Staff, text: str) -> tuple[Profile | None, str]:
    """Return whom a text names, and what is wrong with it."""
    if not text:
        return None, ""
    if not staff.can_see_people:
        return None, _(
            "Asking for a person needs the permission to manage customers, for you and for this app."
        )
    found = people.find(installation=staff.installation, text=text, limit=2)
    if not found:
        return None, _("Nobody is known by this. Write it out in full.")
    if len(found) > 1:
        return None, _("Several people go by this. Use the reference from the page of one of them.")
    return found[0], ""


def _answer(staff: Staff, given: dict[str, str], profile: Profile | None) -> Context:
    first = int(given["first"]) if given["first"].isdecimal() and len(given["first"]) < 4 else FIRST
    found = playground.explain(
        installation=staff.installation,
        placement=given["placement"],
        channel_slug=given["channel"],
        now=timezone.now(),
        question=Question(
            product_id=given["product"] or None,
            checkout_id=given["checkout"] or None,
            category_id=given["category"] or None,
            query=given["query"] or None,
        ),
        profile=profile,
        first=min(max(first, 1), MOST),
        language_code=translation.get_language() or "",
    )
    return {
        "is_answered": True,
        "is_refused": profile is not None and not consent.may_profile(profile=profile),
        "model": found.model,
        "chain": [words.RECOMMENDERS.get(alias, alias) for alias in found.recommenders],
        "fallback": [words.RECOMMENDERS.get(alias, alias) for alias in found.fallback],
        "in_force": [_rule(row) for row in found.in_force],
        "shown": [
            {
                "slot": each.found.slot,
                "id": each.found.product_id,
                "name": each.card.name if each.card is not None else each.found.product_id,
                "price": each.card.price if each.card is not None else None,
                "score": each.found.score,
                "strategy": words.RECOMMENDERS.get(each.found.strategy, each.found.strategy),
                "reason": each.found.reason_text,
                "rules": [_rule(row) for row in each.rules],
                "moved": each.moved,
                "distance": abs(each.moved),
                "is_brought_in": each.place_without_rules is None,
            }
            for each in found.shown
        ],
        "left_out": [
            {
                "id": each.product_id,
                "name": each.card.name if each.card is not None else each.product_id,
                "place": each.place,
                "rules": [_rule(row) for row in each.rules],
            }
            for each in found.left_out
        ],
    }


def _rule(row: MerchandisingRule) -> dict[str, Any]:
    return {"name": row.name, "effect": words.RULE_EFFECTS[row.effect]}
