"""The page "Demand": what people wait for and keep for later, and what that may be worth."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.utils import timezone

from saleor_personalize.alerts import demand
from saleor_personalize.alerts.demand import Wanted
from saleor_personalize.dashboard import words
from saleor_personalize.dashboard.access import Staff, staff_view
from saleor_personalize.dashboard.spreadsheets import csv_response
from saleor_personalize.dashboard.views import _render
from saleor_personalize.enums import AuditAction
from saleor_personalize.models import SalesChannel

#: Variants on one page, products kept for later there, and the variants that a file reads at once.
LISTED, KEPT, BATCH = 25, 10, 500
HEADER = (
    "product_id", "variant_id", "sku", "product", "variant", "channel", "waiting", "unconfirmed",
    "told_last_30_days", "kept", "waiting_since", "pieces", "sold_out_since", "price", "currency",
    "potential_value",
)  # fmt: skip


@staff_view()
def page(request: HttpRequest, staff: Staff) -> HttpResponse:
    installation, now = staff.installation, timezone.now()
    channel, number = _channel(request), _number(request)
    rows = demand.wanted(
        installation=installation,
        now=now,
        channel_slug=channel,
        offset=(number - 1) * LISTED,
        limit=LISTED + 1,
    )
    slugs = SalesChannel.objects.of(installation).filter(deleted_at=None).order_by("slug")
    return _render(
        request,
        staff,
        "demand/page.html",
        {
            "rows": [_row(row) for row in rows[:LISTED]],
            "next": number + 1 if len(rows) > LISTED else None,
            "previous": number - 1 if number > 1 else None,
            "channel": channel,
            "channels": list(slugs.values_list("slug", flat=True)),
            "potential": [
                {
                    "channel": each.channel_slug,
                    "value": words.amount(each.value, each.currency) if each.currency else "",
                    "waiting": each.waiting,
                }
                for each in demand.potential(installation=installation, now=now)
                if not channel or each.channel_slug == channel
            ],
            "kept": demand.most_kept(installation=installation, limit=KEPT),
        },
    )


def _channel(request: HttpRequest) -> str:
    # NUL is in no text of the database, and asking for it would be a fault.
    return request.GET.get("channel", "").replace("\x00", "")


def _number(request: HttpRequest) -> int:
    text = request.GET.get("page", "")
    return max(int(text), 1) if text.isdecimal() and len(text) < 7 else 1


def _row(row: Wanted) -> dict[str, Any]:
    value = row.value
    return {
        "wanted": row,
        "product": row.product_name or row.product_id,
        "variant": row.variant_name or row.sku or row.variant_id,
        "value": words.amount(value, row.currency) if value is not None else "",
    }


@staff_view()
def export(request: HttpRequest, staff: Staff) -> StreamingHttpResponse:
    channel = _channel(request)
    staff.record(AuditAction.REPORT_EXPORTED, report="demand")
    return csv_response(
        name="demand.csv", header=HEADER, rows=_cells(staff, channel, timezone.now())
    )


def _cells(staff: Staff, channel: str, now: datetime) -> Iterator[list[object]]:
    rows = demand.all_wanted(
        installation=staff.installation, now=now, channel_slug=channel, batch=BATCH
    )
    for row in rows:
        yield [
            row.product_id,
            row.variant_id,
            row.sku,
            row.product_name,
            row.variant_name,
            row.channel_slug,
            row.waiting,
            row.unconfirmed,
            row.told,
            row.kept,
            row.since.isoformat(),
            "" if row.pieces is None else row.pieces,
            row.sold_out_since.isoformat() if row.sold_out_since else "",
            "" if row.price is None else str(row.price),
            row.currency,
            "" if row.value is None else str(row.value),
        ]
