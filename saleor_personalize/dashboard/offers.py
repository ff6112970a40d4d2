"""The page "Offers": which codes were promised, what became of each, and why."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from django.utils import timezone, translation
from django.utils.translation import gettext as _

from saleor_personalize.conf import settings
from saleor_personalize.dashboard import words
from saleor_personalize.dashboard.access import Staff, staff_view, why_not
from saleor_personalize.dashboard.forms import row_id
from saleor_personalize.dashboard.views import LIVELY, Context, _poll, _render, _tell
from saleor_personalize.dashboard.whose import Whose, whose
from saleor_personalize.enums import AuditAction, OfferStatus
from saleor_personalize.models import Offer
from saleor_personalize.offers import operations, queries, showing
from saleor_personalize.tasks.broker import ask_for

#: Offers on one page, and the days whose offers are counted.
LISTED, COUNTED = 25, timedelta(days=30)


@staff_view()
def page(request: HttpRequest, staff: Staff) -> HttpResponse:
    return _page(request, staff)


def _page(request: HttpRequest, staff: Staff) -> HttpResponse:
    status = request.GET.get("status", "")
    if status not in OfferStatus.values:
        status = ""
    before = row_id(request.GET.get("before", ""))
    rows = queries.newest(installation=staff.installation, status=status)
    if before is not None:
        rows = rows.filter(pk__lt=before)
    shown = list(rows.order_by("-pk")[: LISTED + 1])
    now = timezone.now()
    people = whose(staff, {offer.profile_id for offer in shown if offer.profile_id})
    return _render(
        request,
        staff,
        "offers/page.html",
        {
            "offers": [_row(request, offer, people) for offer in shown[:LISTED]],
            "older": shown[LISTED - 1].pk if len(shown) > LISTED else None,
            "status": status,
            "choices": [(value, words.offer_status(OfferStatus(value))) for value in OfferStatus],
            "counts": queries.counts(installation=staff.installation, since=now - COUNTED),
            "is_off": not settings.OFFERS,
            "lacks_permission": operations.PERMISSION not in staff.installation.permissions,
            "is_first": before is None,
        },
    )


@staff_view()
def row(request: HttpRequest, staff: Staff, offer_id: int) -> HttpResponse:
    """Serve one line of the list anew, while its code is being taken out of Saleor."""
    return _render(request, staff, "offers/row.html", _one(request, staff, offer_id))


@staff_view()
def sure(request: HttpRequest, staff: Staff, offer_id: int) -> HttpResponse:
    """Ask once more before a code is taken back; of one that cannot be used any more, say so."""
    context = _one(request, staff, offer_id)
    is_over = not context["offer"]["can_be_taken_back"]
    why = _("It cannot be used any more.") if is_over else why_not(staff, "acts")
    return _render(request, staff, "offers/sure.html", {**context, "why_not_act": why})


def _one(request: HttpRequest, staff: Staff, offer_id: int) -> Context:
    offer = _found(staff, offer_id)
    people = whose(staff, {offer.profile_id} if offer.profile_id else set())
    return {"offer": _row(request, offer, people)}


def _found(staff: Staff, offer_id: int) -> Offer:
    offer = queries.newest(installation=staff.installation).filter(pk=offer_id).first()
    if offer is None:
        raise Http404
    return offer


@staff_view(acts=True)
def take_back(request: HttpRequest, staff: Staff, offer_id: int) -> HttpResponse:
    offer = _found(staff, offer_id)
    if not operations.take_back(offer=offer, now=timezone.now()):
        return _tell(
            _page(request, staff), "error", _("Not taken back"), _("It cannot be used any more.")
        )
    staff.record(AuditAction.OFFER_TAKEN_BACK, on=offer)
    ask_for("personalize.sweep_offers")
    return _tell(
        _page(request, staff),
        "success",
        _("Taken back"),
        _("Saleor refuses the code within seconds."),
    )


def _row(request: HttpRequest, offer: Offer, people: dict[int, Whose]) -> dict[str, Any]:
    is_going = offer.status == OfferStatus.WITHDRAWN and offer.gone_at is None
    return {
        "pk": offer.pk,
        # Whoever may see codes sees them in Saleor.
        "code": f"…{offer.code[-5:]}",
        "text": showing.text(offer=offer, language_code=translation.get_language() or ""),
        "name": offer.terms.get("name", ""),
        "state": words.offer_state(offer, timezone.now()),
        "reserved_at": offer.reserved_at,
        "expires_at": offer.expires_at,
        "order": offer.order.number if offer.order is not None else "",
        "error": offer.error,
        "person": people.get(offer.profile_id) if offer.profile_id else None,
        "message": offer.message.public_id if offer.message is not None else None,
        "poll": _poll(request, (offer.status, offer.attempts), LIVELY) if is_going else None,
        "can_be_taken_back": offer.status == OfferStatus.MADE,
    }
