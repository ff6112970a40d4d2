"""The page "Orders after messages": each order behind the figures of "Results", and what it followed."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.translation import gettext_lazy

from saleor_personalize.analytics.figures import PERIODS, Day
from saleor_personalize.analytics.queries import led_orders
from saleor_personalize.dashboard import words
from saleor_personalize.dashboard.access import Staff, staff_view
from saleor_personalize.dashboard.views import _render
from saleor_personalize.dashboard.whose import Whose, whose
from saleor_personalize.enums import TouchKind
from saleor_personalize.journeys import carts
from saleor_personalize.messaging.queries import Place
from saleor_personalize.models import AttributedOrder
from saleor_personalize.segments import words as facts

#: Orders on one page, and the days of it unless others are asked for.
LISTED, PERIOD = 25, 30
#: What may be asked for -> its name, and how it is found.
KINDS: dict[str, tuple[Any, dict[str, str]]] = {
    "message": (gettext_lazy("After messages"), {"kind": TouchKind.MESSAGE}),
    "recovered": (
        gettext_lazy("Recovered carts"),
        {"kind": TouchKind.MESSAGE, "message__enrollment__subject_kind": carts.SUBJECT},
    ),
    "recommendation": (
        gettext_lazy("After recommendations"),
        {"kind": TouchKind.RECOMMENDATION},
    ),
}


@staff_view()
def page(request: HttpRequest, staff: Staff) -> HttpResponse:
    kind, days = request.GET.get("kind", ""), request.GET.get("days", "")
    period = int(days) if days in map(str, PERIODS) else PERIOD
    until = Day.at(timezone.now())
    rows = led_orders(
        installation=staff.installation,
        since=Day.of(until.on - timedelta(days=period - 1)).since,
        until=until.until,
    ).filter(**KINDS[kind][1] if kind in KINDS else {})
    if kind == "recovered":
        # Said twice, for speed: most messages are about something else.
        rows = rows.filter(journey__in=carts.journeys_over_carts(staff.installation))
    before = Place.parse(request.GET.get("before", ""))
    if before is not None:
        rows = rows.filter(order__placed_at__lte=before.at).exclude(
            order__placed_at=before.at, pk__gte=before.pk
        )
    found = rows.select_related("order", "message", "journey").order_by("-order__placed_at", "-pk")
    shown = list(found[: LISTED + 1])
    last = shown[LISTED - 1] if len(shown) > LISTED else None
    people = whose(staff, {row.order.profile_id for row in shown if row.order.profile_id})
    return _render(
        request,
        staff,
        "results/orders.html",
        {
            "orders": [_row(row, people.get(row.order.profile_id or 0)) for row in shown[:LISTED]],
            "older": str(Place(last.order.placed_at, last.pk)) if last is not None else "",
            "is_first": before is None,
            "kind": kind if kind in KINDS else "",
            "kinds": [(value, name) for value, (name, _how) in KINDS.items()],
            "days": period,
            "periods": PERIODS,
            "can_see_people": staff.can_see_people,
        },
    )


def _row(row: AttributedOrder, person: Whose | None) -> dict[str, Any]:
    order = row.order
    return {
        "pk": row.pk,
        "number": order.number,
        "amount": words.amount(row.net, order.currency),  # type: ignore[attr-defined]
        "channel": order.channel_slug,
        "placed_at": order.placed_at,
        "person": person,
        "is_message": row.kind == TouchKind.MESSAGE,
        "name": words.template_name(row.template)
        if row.kind == TouchKind.MESSAGE
        else words.name_of(row.placement),
        "journey": words.journey_name(row.journey.key) if row.journey is not None else "",
        "over": facts.DELIVERY_CHANNELS.get(row.delivery_channel, ""),
        "message": row.message.public_id if row.message is not None else "",
        "touch": row.touch,
        "before": words.duration(order.placed_at - row.touched_at),
    }
