"""Who stays on a page without going on: the moment to offer help is learned from the shop's own visits."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from django.db import connection
from django.utils.translation import gettext as _

from saleor_personalize.conf import settings
from saleor_personalize.enums import EventSource, EventType, HintKind, HintPage, HintReason
from saleor_personalize.hints.base import Hint, Question
from saleor_personalize.models import Installation, PageDropOff

#: kind of page -> the event that is a look at one, and the placement to show beside the hint
PAGES: dict[HintPage, tuple[EventType | None, str]] = {
    HintPage.HOME: (None, "home"),
    HintPage.PRODUCT: (EventType.PRODUCT_VIEWED, "product_page_similar"),
    HintPage.CATEGORY: (EventType.CATEGORY_VIEWED, "category_page"),
    HintPage.LIST: (EventType.LIST_VIEWED, "home"),
    HintPage.SEARCH: (EventType.SEARCHED, "search"),
}
#: Visits that are measured, and how long a visit rests before it is over.
WINDOW, IDLE = timedelta(days=28), timedelta(minutes=30)
#: Looks at a kind of page, and those that were followed by something, below which nothing is claimed.
MIN_VIEWS, MIN_WENT_ON = 500, 100
#: Bounds of the learned moment, in seconds.
SHORTEST, LONGEST = 5, 600
_SHARES = tuple(step / 100 for step in range(50, 100, 5))
#: What shows that a visit went on. A recommendation that came into view shows nothing.
_GOES_ON = (
    EventType.PRODUCT_VIEWED,
    EventType.CATEGORY_VIEWED,
    EventType.LIST_VIEWED,
    EventType.SEARCHED,
    EventType.CART_ADDED,
    EventType.CART_REMOVED,
    EventType.FAVOURITE_ADDED,
    EventType.FAVOURITE_REMOVED,
    EventType.RECOMMENDATION_CLICKED,
)
_MEASURE = """
    WITH steps AS (
        SELECT type, occurred_at, lead(occurred_at) OVER (
            PARTITION BY profile_id, session_id ORDER BY occurred_at, id
        ) AS next_at
        FROM saleor_personalize_event
        WHERE installation_id = %(installation)s AND occurred_at >= %(since)s
            AND occurred_at < %(now)s AND session_id <> '' AND source = %(source)s
            AND type = ANY(%(goes_on)s)
    )
    SELECT type, count(*), count(next_at),
        percentile_disc(%(shares)s::float8[]) WITHIN GROUP (
            ORDER BY extract(epoch FROM next_at - occurred_at)
        ) FILTER (WHERE next_at IS NOT NULL)
    FROM steps WHERE occurred_at < %(over)s GROUP BY type
"""


def hint(question: Question) -> Hint | None:
    """Return the offer of help for a kind of page, with the moment to make it."""
    if question.page not in PAGES:
        return None
    learned = (
        PageDropOff.objects.of(question.installation)
        .filter(page=question.page)
        .values_list("seconds", flat=True)
        .first()
    )
    return Hint(
        kind=HintKind.LINGERING,
        subject=question.page.value,
        text=_("Not sure yet? Have a look at these."),
        reason=HintReason.LINGER_LEARNED if learned else HintReason.LINGER_DEFAULT,
        reason_text=_("Most who go on from such a page have done so by now.")
        if learned
        else _("You have been on this page for a while."),
        show_after_seconds=learned or int(settings.HINT_LINGER_AFTER.total_seconds()),
        show_on_exit=True,
        placement=PAGES[question.page][1],
    )


def measure(*, installation: Installation, now: datetime) -> list[PageDropOff]:
    """Measure when visitors leave each kind of page, and keep it in place of what was known."""
    with connection.cursor() as cursor:
        cursor.execute(
            _MEASURE,
            {
                "installation": installation.pk,
                "since": now - WINDOW,
                "now": now,
                "over": now - IDLE,
                "source": EventSource.STOREFRONT,
                "goes_on": [type_.value for type_ in _GOES_ON],
                "shares": list(_SHARES),
            },
        )
        measured = {type_: rest for type_, *rest in cursor.fetchall()}
    return [
        _keep(installation, page, measured[type_], now)
        for page, (type_, _placement) in PAGES.items()
        if type_ is not None and type_ in measured
    ]


def _keep(
    installation: Installation, page: HintPage, measured: list[Any], now: datetime
) -> PageDropOff:
    views, went_on, waits = measured
    row, _created = PageDropOff.objects.update_or_create(
        installation=installation,
        page=page,
        defaults={
            "measured_at": now,
            "view_count": views,
            "went_on_count": went_on,
            "seconds": moment(views=views, went_on=went_on, waits=waits),
        },
    )
    return row


def moment(*, views: int, went_on: int, waits: list[float] | None) -> int | None:
    """Return the second from which on leaving is likelier than going on; None with too little data.

    `waits`: after how long those went on, at each share of `_SHARES`. When as many are left to go on as
    leave in all, the odds turn; but at least half of those who go on have done so before.
    """
    if views < MIN_VIEWS or went_on < MIN_WENT_ON or waits is None:
        return None
    wanted = 1 - (views - went_on) / went_on
    at = next(
        (wait for share, wait in zip(_SHARES, waits, strict=True) if share >= wanted), waits[-1]
    )
    return min(max(round(at), SHORTEST), LONGEST)
