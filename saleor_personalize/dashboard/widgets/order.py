"""On the page of an order: what led to it, as far as that is known, and which codes it was placed with."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.http import HttpRequest
from django.utils import timezone, translation

from saleor_personalize.conf import settings
from saleor_personalize.dashboard import words
from saleor_personalize.dashboard.access import Staff
from saleor_personalize.dashboard.views import Context
from saleor_personalize.dashboard.widgets.base import link, widget
from saleor_personalize.enums import Touch, TouchKind
from saleor_personalize.events import queries as events
from saleor_personalize.messaging import outcomes
from saleor_personalize.messaging import queries as messages
from saleor_personalize.models import AttributedOrder, Order
from saleor_personalize.offers import showing
from saleor_personalize.segments import queries as segments
from saleor_personalize.segments import words as facts

SHOWN = 5


@widget("order.html", about="orderId")
def order(request: HttpRequest, staff: Staff, id_: str) -> Context:
    rows = Order.objects.of(staff.installation).filter(saleor_id=id_, deleted_at=None)
    found = rows.select_related("installation", "profile__installation").first()
    if found is None:
        return {"is_unknown": True}
    now = timezone.now()
    is_told = staff.can_see_people and found.profile is not None
    return {
        "followed": _followed(found, now),
        "days": settings.ATTRIBUTION_WINDOW.days,
        "can_see_people": staff.can_see_people,
        "messages": _messages(found, now) if is_told else [],
        "clicks": _clicks(found, now) if is_told else [],
        "offers": [
            {
                "text": showing.text(offer=offer, language_code=translation.get_language() or ""),
                "name": offer.terms.get("name", ""),
            }
            for offer in found.offers.all()
        ],
        "page": link(request, staff, customerId=found.user_saleor_id)
        if is_told and found.user_saleor_id
        else "",
    }


def _followed(order: Order, now: datetime) -> dict[str, Any] | None:
    """Return the one touch that the order counts for, as on the page "Results"."""
    rows = AttributedOrder.objects.of(order.installation).filter(order=order)
    found = rows.select_related("journey").first()
    if found is None:
        return None
    key = found.template or (found.journey.key if found.journey else "")
    return {
        "name": words.template_name(key)
        if found.kind == TouchKind.MESSAGE
        else words.name_of(found.placement),
        "is_message": found.kind == TouchKind.MESSAGE,
        "touch": words.TOUCHES[Touch(found.touch)],
        "when": words.distance(found.touched_at, now),
    }


def _messages(order: Order, now: datetime) -> list[dict[str, Any]]:
    """Return what the person was told before they ordered, the last first, and what they did about it."""
    found = list(messages.told_before(order=order, window=settings.ATTRIBUTION_WINDOW)[:SHOWN])
    reactions = outcomes.reactions(
        installation=order.installation, messages=found, until=order.placed_at
    )
    return [
        {
            "name": words.template_name(row.template),
            "over": facts.DELIVERY_CHANNELS.get(row.delivery_channel, ""),
            "when": words.distance(row.decided_at, now),
            "did": [words.OUTCOMES[kind] for kind in reactions.get(row.pk, ())],
        }
        for row in found
    ]


def _clicks(order: Order, now: datetime) -> list[dict[str, Any]]:
    """Return through which placements the person came to what they ordered, the last first."""
    found = list(events.led_to(order=order, window=settings.ATTRIBUTION_WINDOW)[:SHOWN])
    ids = {row.product_saleor_id for row in found}
    name_of = segments.names_of(installation=order.installation, products=ids)
    return [
        {
            "placement": words.name_of(row.properties.get("placement", "")),
            "product": name_of("product", row.product_saleor_id) or row.product_saleor_id,
            "did": facts.EVENTS[row.type],
            "when": words.distance(row.occurred_at, now),
        }
        for row in found
    ]
