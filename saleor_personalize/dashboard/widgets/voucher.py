"""On the page of a voucher: whether it is one of ours, who gives its codes, and what became of them."""

from __future__ import annotations

from django.http import HttpRequest
from django.utils import timezone

from saleor_personalize.dashboard import words
from saleor_personalize.dashboard.access import Staff
from saleor_personalize.dashboard.views import Context
from saleor_personalize.dashboard.widgets.base import link, widget
from saleor_personalize.enums import OfferStatus
from saleor_personalize.models import OfferVoucher
from saleor_personalize.offers import queries


@widget("voucher.html", about="voucherId")
def voucher(request: HttpRequest, staff: Staff, id_: str) -> Context:
    installation = staff.installation
    found = OfferVoucher.objects.of(installation).filter(saleor_id=id_).first()
    if found is None:
        return {"is_unknown": True}
    counts = queries.counts_of_voucher(installation=installation, voucher_id=id_)
    givers = queries.journeys_of_voucher(installation=installation, voucher_id=id_)
    return {
        "journeys": [words.journey_name(key) for key in givers],
        "ends": words.distance(found.expires_at, timezone.now()),
        "is_over": found.expires_at <= timezone.now(),
        "made": sum(counts.values()) - counts[OfferStatus.RESERVED],
        "used": counts[OfferStatus.USED],
        "usable": counts[OfferStatus.MADE],
        "expired": counts[OfferStatus.EXPIRED],
        "withdrawn": counts[OfferStatus.WITHDRAWN],
        "page": link(request, staff, "offers"),
    }
