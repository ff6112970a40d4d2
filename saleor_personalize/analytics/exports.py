"""Rows for other programs: events, messages, what orders followed, figures of days. One after the other.

People are told by their reference, the `public_id` of the profile that speaks for them; no name and no
address goes along.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from django.db.models import F, Min, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce

from saleor_personalize.analytics.figures import Day
from saleor_personalize.analytics.queries import led_orders
from saleor_personalize.enums import MessageEventKind
from saleor_personalize.models import (
    DailyFigures,
    Event,
    Installation,
    Message,
    MessageEvent,
)
from saleor_personalize.models.fields import month_of

#: Rows that are in memory at a time.
_CHUNK = 2_000

Cell = str | int | bool | None
Rows = Iterator[Sequence[Cell]]


@dataclass(frozen=True)
class Export:
    """One kind of rows. `of_people`: each is about somebody."""

    columns: Sequence[str]
    rows: Callable[[Installation, datetime, datetime], Rows]
    of_people: bool = True


def rows_of(
    *, kind: str, installation: Installation, days: int, now: datetime
) -> tuple[Sequence[str], Rows]:
    """Return the columns and rows of the last `days` days, today included; `kind` is one of EXPORTS."""
    until = Day.at(now)
    since = Day.of(until.on - timedelta(days=days - 1))
    export = EXPORTS[kind]
    return export.columns, export.rows(installation, since.since, until.until)


def json_lines(columns: Sequence[str], rows: Iterable[Sequence[Cell]]) -> Iterator[str]:
    """Write rows as one JSON array of objects, piece by piece."""
    before = "["
    for row in rows:
        yield f"{before}\n{json.dumps(dict(zip(columns, row, strict=True)), ensure_ascii=False)}"
        before = ","
    yield "[]\n" if before == "[" else "\n]\n"


def _cells(rows: QuerySet[Any], *names: str) -> Rows:
    for row in rows.values_list(*names).iterator(chunk_size=_CHUNK):
        yield [_cell(value) for value in row]


def _cell(value: Any) -> Cell:
    if isinstance(value, datetime | date):
        return value.isoformat()
    return value if value is None or isinstance(value, int | str) else str(value)


def _person(profile: str = "profile") -> Coalesce:
    return Coalesce(f"{profile}__merged_into__public_id", f"{profile}__public_id")


_EVENTS = (
    "occurred_at",
    "type",
    "source",
    "channel_slug",
    "session_id",
    "person",
    "product_saleor_id",
    "placement",
    "strategy",
    "attribution_id",
)


def _events(installation: Installation, since: datetime, until: datetime) -> Rows:
    rows = Event.objects.of(installation).filter(
        month__gte=month_of(since), occurred_at__gte=since, occurred_at__lt=until
    )
    told = rows.annotate(
        person=_person(),
        placement=F("properties__placement"),
        strategy=F("properties__strategy"),
    )
    return _cells(told, *_EVENTS)


_MESSAGES = (
    "public_id",
    "decided_at",
    "journey__key",
    "template",
    "purpose",
    "delivery_channel",
    "status",
    "reason",
    "person",
    "delivered_at",
    "opened_at",
    "opened_by_machine_at",
    "clicked_at",
)


def _messages(installation: Installation, since: datetime, until: datetime) -> Rows:
    def first(*kinds: MessageEventKind, **which: Any) -> Subquery:
        became = MessageEvent.objects.of(installation).filter(
            message=OuterRef("pk"), kind__in=kinds, **which
        )
        return Subquery(became.order_by().values("message").annotate(at=Min("at")).values("at"))

    opened = (MessageEventKind.OPENED, MessageEventKind.READ)
    rows = Message.objects.of(installation).filter(decided_at__gte=since, decided_at__lt=until)
    told = rows.annotate(
        person=_person(),
        delivered_at=first(MessageEventKind.DELIVERED),
        opened_at=first(*opened, is_machine=False),
        opened_by_machine_at=first(*opened, is_machine=True),
        clicked_at=first(MessageEventKind.CLICKED, is_machine=False),
    )
    return _cells(told.order_by("decided_at", "pk"), *_MESSAGES)


_ATTRIBUTIONS = (
    "order__saleor_id",
    "order__placed_at",
    "order__channel_slug",
    "order__currency",
    "net",
    "person",
    "kind",
    "touch",
    "touched_at",
    "journey__key",
    "template",
    "delivery_channel",
    "message__public_id",
    "placement",
    "strategy",
)


def _attributions(installation: Installation, since: datetime, until: datetime) -> Rows:
    told = led_orders(installation=installation, since=since, until=until).annotate(
        person=_person("order__profile")
    )
    return _cells(told.order_by("order__placed_at", "pk"), *_ATTRIBUTIONS)


def _figures(installation: Installation, since: datetime, until: datetime) -> Rows:
    rows = DailyFigures.objects.of(installation).filter(day__gte=since.date(), day__lt=until.date())
    ordered = rows.order_by("day", "channel_slug", "currency")
    for day, slug, currency, figures in ordered.values_list(
        "day", "channel_slug", "currency", "figures"
    ).iterator(chunk_size=_CHUNK):
        for name, value in _flat(figures):
            yield day.isoformat(), slug, currency, name, str(value)


def _flat(figures: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in figures.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{name}.")
        else:
            yield f"{before}{name}", value


#: kind -> its rows
EXPORTS: Mapping[str, Export] = {
    "events": Export(_EVENTS, _events),
    "messages": Export(
        ("message", "decided_at", "journey", *_MESSAGES[3:]),
        _messages,
    ),
    "attributions": Export(
        (
            "order",
            "placed_at",
            "channel",
            "currency",
            "net",
            "person",
            "kind",
            "touch",
            "touched_at",
            "journey",
            "template",
            "delivery_channel",
            "message",
            "placement",
            "strategy",
        ),
        _attributions,
    ),
    "figures": Export(("day", "channel", "currency", "name", "value"), _figures, of_people=False),
}
