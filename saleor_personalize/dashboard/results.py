"""The page "Results": what came of messages and recommendations, and how the shop does."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date
from decimal import Decimal

from django.http import Http404, HttpRequest, HttpResponse, StreamingHttpResponse
from django.utils import formats, timezone
from django.utils.html import format_html
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from saleor_personalize.analytics import exports, reports
from saleor_personalize.analytics.figures import PERIODS
from saleor_personalize.analytics.reports import JourneyReport, Led, Money, PlacementReport, Report
from saleor_personalize.conf import settings
from saleor_personalize.dashboard import charts, words
from saleor_personalize.dashboard.access import Staff, staff_view
from saleor_personalize.dashboard.spreadsheets import csv_response
from saleor_personalize.dashboard.views import Context, _render
from saleor_personalize.enums import AuditAction, NotSentReason
from saleor_personalize.models import Journey

#: Charts of one page: shops sell in few currencies, and each is a chart of its own.
CHARTED = 3
_DEFAULT = 30


@staff_view()
def page(request: HttpRequest, staff: Staff) -> HttpResponse:
    found = _report(request, staff)
    return _render(
        request,
        staff,
        "results/page.html",
        {
            **_period(found),
            "shop": _shop(found),
            "money": [_money(each) for each in found.money],
            "charts": [_chart(found, each) for each in found.money[:CHARTED]],
            "journeys": [_journey(row) for row in found.journeys],
            "placements": [_placement(row) for row in found.placements],
            "exports": _exports(staff),
            "is_click_tracked": settings.CLICK_TRACKING,
            "windows": {
                "click": words.duration(settings.ATTRIBUTION_WINDOW),
                "view": words.duration(settings.ATTRIBUTION_VIEW_WINDOW),
            },
        },
    )


@staff_view()
def journey(request: HttpRequest, staff: Staff, key: str) -> HttpResponse:
    """Show one journey: what became of its messages, and why others were not sent."""
    found = _report(request, staff)
    row = next((each for each in found.journeys if each.key == key), None)
    if row is None:
        if not Journey.objects.of(staff.installation).filter(key=key).exists():
            raise Http404
        row = reports.journey_of(key, {}, {})
    return _render(
        request,
        staff,
        "results/journey.html",
        {
            **_period(found),
            "journey": _journey(row),
            "reasons": [
                {
                    "key": reason,
                    "text": words.not_sent_reason(NotSentReason(reason)),
                    "count": count,
                    "share": words.share(reports.ratio(count, row.not_sent_count)),
                }
                for reason, count in row.not_sent.items()
            ],
        },
    )


@staff_view()
def export_figures(request: HttpRequest, staff: Staff) -> StreamingHttpResponse:
    """Serve the figures of each day."""
    return _export(request, staff, "figures")


@staff_view(people=True)
def export(request: HttpRequest, staff: Staff, kind: str) -> StreamingHttpResponse:
    """Serve rows about people: events, messages, or what orders followed."""
    if kind not in exports.EXPORTS:
        raise Http404
    return _export(request, staff, kind)


def _export(request: HttpRequest, staff: Staff, kind: str) -> StreamingHttpResponse:
    days = _days(request)
    staff.record(AuditAction.REPORT_EXPORTED, report=kind, days=days)
    columns, rows = exports.rows_of(
        kind=kind, installation=staff.installation, days=days, now=timezone.now()
    )
    if request.GET.get("format") != "json":
        return csv_response(name=f"{kind}.csv", header=columns, rows=rows)
    response = StreamingHttpResponse(
        exports.json_lines(columns, rows), content_type="application/json"
    )
    response["Content-Disposition"] = f'attachment; filename="{kind}.json"'
    return response


def _report(request: HttpRequest, staff: Staff) -> Report:
    return reports.report(installation=staff.installation, days=_days(request), now=timezone.now())


def _days(request: HttpRequest) -> int:
    given = request.GET.get("days", "")
    return int(given) if given in map(str, PERIODS) else _DEFAULT


def _exports(staff: Staff) -> list[tuple[str, str]]:
    """Return (kind, its name) of what may be downloaded: rows about people by those who may see them."""
    return [
        (kind, str(words.REPORTS[kind]))
        for kind, export in exports.EXPORTS.items()
        if staff.can_see_people or not export.of_people
    ]


def _period(found: Report) -> Context:
    return {
        "report": found,
        "periods": PERIODS,
        "since": _day(found.since),
        "until": _day(found.until),
    }


def _day(on: date) -> str:
    """Return a day as `bridge.js` writes every moment: in the reader's way."""
    day = formats.date_format(on, "DATE_FORMAT")
    return format_html('<time datetime="{}" data-day>{}</time>', on.isoformat(), day)


def _known(value: object) -> str:
    return _("not known yet") if value is None else str(value)


def _number(value: float | None, places: int) -> str:
    return _known(None if value is None else formats.number_format(round(value, places), places))


def _amounts(led: Mapping[str, Decimal | None]) -> list[str]:
    return [words.amount(value, currency) for currency, value in led.items() if value is not None]


def _shop(found: Report) -> list[tuple[str, str, str]]:
    """Return (what, its figure, what it means) of the shop as a whole."""
    shop = found.shop
    return [
        (
            _("Visits that used a recommendation"),
            words.share(shop.recommendation_share),
            _("Clicked one, or put the product into the cart from it."),
        ),
        (
            _("Shoppers who used a recommendation"),
            words.share(shop.shopper_share),
            _("Of all who came in the period."),
        ),
        (_("Visits with something put into the cart"), words.share(shop.cart_share), ""),
        (_("Pages in a visit"), _number(shop.pages_per_session, 1), ""),
        (
            _("Time of a visit"),
            _known(
                None if shop.time_per_session is None else words.duration(shop.time_per_session)
            ),
            _("From its first to its last event."),
        ),
        (
            _("Carts that were abandoned"),
            words.share(shop.abandonment_share),
            _("Not ordered within %(delay)s after they were last touched.")
            % {"delay": words.duration(settings.ABANDONED_CHECKOUT_DELAY)},
        ),
        (
            _("Abandoned carts that were ordered after all"),
            words.share(shop.recovery_share),
            "",
        ),
        (
            _("Buyers who lapsed"),
            words.share(shop.churn_share),
            _("Have not come back for longer than almost all who did."),
        ),
        (
            _("Recommended pieces that were sent back"),
            words.share(shop.recommended_return_share),
            _("Bought after a click on their recommendation."),
        ),
        (_("Other pieces that were sent back"), words.share(shop.other_return_share), ""),
    ]


def _money(money: Money) -> Context:
    def amount(value: Decimal | None) -> str:
        return _known(None if value is None else words.amount(value, money.currency))

    def led(one: Led) -> str:
        return f"{amount(one.revenue)} · {_orders(one.orders)}"

    return {
        "currency": money.currency,
        "figures": [
            (_("Revenue"), led(Led(money.orders, money.revenue)), ""),
            (
                _("After messages"),
                led(money.after_message),
                _of_revenue(money.message_share),
            ),
            (_("Recovered carts"), led(money.recovered), _("Orders after a message about a cart.")),
            (
                _("After recommendations"),
                led(money.after_recommendation),
                _of_revenue(money.recommendation_share),
            ),
            (
                _("Orders after recommendations"),
                words.share(money.recommendation_order_share),
                _("Of all orders."),
            ),
            (
                _("Mean order after a recommendation"),
                amount(money.mean_after_recommendation),
                _("Others: %(amount)s.") % {"amount": amount(money.mean_of_others)},
            ),
            (
                _("Revenue per visit"),
                amount(money.per_session),
                _(
                    "Of orders before which the storefront told of a visit: %(known)s of %(all)s, "
                    "over all such visits."
                )
                % {"known": money.with_visit.orders, "all": money.orders},
            ),
            (
                _("Brought by a buyer so far"),
                amount(money.lifetime_value),
                _("Mean over all buyers and all time."),
            ),
        ],
    }


def _orders(count: int) -> str:
    return ngettext("%(count)d order", "%(count)d orders", count) % {"count": count}


def _of_revenue(share: float | None) -> str:
    return "" if share is None else _("%(share)s of all revenue.") % {"share": words.share(share)}


def _chart(found: Report, money: Money) -> charts.Chart:
    points = found.by_day[money.currency]
    led = sum((point.led for point in points), Decimal(0))
    return charts.bars(
        name=f"revenue-{money.currency}",
        title=_("Revenue by day, %(currency)s") % {"currency": money.currency},
        description=_(
            "%(count)d days; %(revenue)s in all, of which %(led)s followed a message or a recommendation."
        )
        % {
            "count": len(points),
            "revenue": words.amount(money.revenue, money.currency),
            "led": words.amount(led, money.currency),
        },
        headings=(_("Day"), _("Revenue"), _("After a message or a recommendation")),
        values=[(point.revenue, point.led) for point in points],
        rows=[
            charts.Row(
                formats.date_format(point.day, "SHORT_DATE_FORMAT"),
                words.amount(point.revenue, money.currency),
                words.amount(point.led, money.currency),
            )
            for point in points
        ],
    )


def _journey(row: JourneyReport) -> Context:
    return {
        "key": row.key,
        "name": words.journey_name(row.key) if row.key else _("Other messages"),
        "row": row,
        "delivered": words.share(row.delivered_share),
        "opened": words.share(row.opened_share),
        "clicked": words.share(row.clicked_share),
        "after_view": _after_view(row.led.values()),
        "revenue": _amounts({currency: led.revenue for currency, led in row.led.items()}),
        "per_recipient": _amounts(
            {currency: row.revenue_per_recipient(currency) for currency in row.earned}
        ),
    }


def _placement(row: PlacementReport) -> Context:
    return {
        "row": row,
        "name": words.name_of(row.key),
        "clicked": words.share(row.click_share),
        "added": words.share(row.added_share),
        "after_view": _after_view(row.led.values()),
        "revenue": _amounts({currency: led.revenue for currency, led in row.led.items()}),
    }


def _after_view(led: Iterable[Led]) -> int:
    return sum(each.after_view for each in led)
