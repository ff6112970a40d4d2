"""The page "Offers": which codes were promised, what became of each, and why."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from django.utils import timezone, translation
from django.utils.translation import gettext as _

from saleor_personalize.conf import settings
from saleor_personalize.dashboard import words
from saleor_personalize.dashboard.access import Staff, staff_view
from saleor_personalize.dashboard.forms import row_id
from saleor_personalize.dashboard.views import _render, _tell
from saleor_personalize.enums import AuditAction, OfferStatus
from saleor_personalize.models import Offer
from saleor_personalize.offers import operations, queries, showing

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
    return _render(
        request,
        staff,
        "offers/page.html",
        {
            "offers": [_row(offer) for offer in shown[:LISTED]],
            "older": shown[LISTED - 1].pk if len(shown) > LISTED else None,
            "status": status,
            "choices": [(value, words.offer_status(OfferStatus(value))) for value in OfferStatus],
            "counts": queries.counts(installation=staff.installation, since=now - COUNTED),
            "is_off": not settings.OFFERS,
            "lacks_permission": operations.PERMISSION not in staff.installation.permissions,
            "is_first": before is None,
        },
    )


@staff_view(acts=True)
def take_back(request: HttpRequest, staff: Staff, offer_id: int) -> HttpResponse:
    offer = Offer.objects.of(staff.installation).filter(pk=offer_id).first()
    if offer is None:
        raise Http404
    if not operations.take_back(offer=offer, now=timezone.now()):
        return _tell(
            _page(request, staff), "error", _("Not taken back"), _("It cannot be used any more.")
        )
    staff.record(AuditAction.OFFER_TAKEN_BACK, on=offer)
    return _tell(
        _page(request, staff),
        "success",
        _("Taken back"),
        _("Saleor refuses the code within seconds."),
    )


def _row(offer: Offer) -> dict[str, Any]:
    return {
        "pk": offer.pk,
        # Whoever may see codes sees them in Saleor.
        "code": f"…{offer.code[-5:]}",
        "text": showing.text(offer=offer, language_code=translation.get_language() or ""),
        "name": offer.terms.get("name", ""),
        "state": words.offer_state(offer),
        "reserved_at": offer.reserved_at,
        "expires_at": offer.expires_at,
        "order": offer.order.number if offer.order is not None else "",
        "error": offer.error,
        "can_be_taken_back": offer.status == OfferStatus.MADE,
    }
