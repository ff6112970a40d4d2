"""The export of a person as a page that anybody can read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from django.template.loader import render_to_string
from django.utils import formats, translation
from django.utils.dateparse import parse_datetime
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from saleor_personalize.models import Installation, Product

#: section of the export -> heading
TITLES = {
    "profiles": gettext_lazy("Who you are to the shop"),
    "ids": gettext_lazy("Addresses and ids"),
    "consents": gettext_lazy("What you allowed and refused"),
    "suppressions": gettext_lazy("Addresses that are not written to"),
    "orders": gettext_lazy("Orders"),
    "checkouts": gettext_lazy("Carts"),
    "favourites": gettext_lazy("Favourites"),
    "shared_favourites": gettext_lazy("Links to your favourites"),
    "events": gettext_lazy("What you did in the shop"),
    "sessions": gettext_lazy("Visits"),
    "messages": gettext_lazy("Messages"),
    "offers": gettext_lazy("Offers made to you"),
    "enrollments": gettext_lazy("Planned messages"),
    "computed_traits": gettext_lazy("What was worked out from it"),
    "experiments": gettext_lazy("What was tried with you"),
    "segments": gettext_lazy("Groups you are or were in"),
    "merges": gettext_lazy("What joined your visits and addresses"),
}
#: keys with a word of their own; the others are shown as they are
LABELS = {
    "address": gettext_lazy("Address or number"),
    "channel": gettext_lazy("Sales channel"),
    "country": gettext_lazy("Country"),
    "currency": gettext_lazy("Currency"),
    "delivery_channel": gettext_lazy("Delivery channel"),
    "device": gettext_lazy("Device"),
    "first_name": gettext_lazy("First name"),
    "first_seen_at": gettext_lazy("First seen"),
    "kind": gettext_lazy("Kind"),
    "language": gettext_lazy("Language"),
    "lines": gettext_lazy("Products"),
    "number": gettext_lazy("Number"),
    "occurred_at": gettext_lazy("When"),
    "order_count": gettext_lazy("Number of orders"),
    "placed_at": gettext_lazy("Ordered"),
    "product_id": gettext_lazy("Product"),
    "purpose": gettext_lazy("Purpose"),
    "quantity": gettext_lazy("Quantity"),
    "reason": gettext_lazy("Reason"),
    "recorded_at": gettext_lazy("Recorded"),
    "source": gettext_lazy("Source"),
    "state": gettext_lazy("Answer"),
    "status": gettext_lazy("Status"),
    "topic": gettext_lazy("Topic"),
    "total": gettext_lazy("Total"),
    "type": gettext_lazy("What"),
    "value": gettext_lazy("Value"),
}


def html(*, document: Mapping[str, Any], installation: Installation) -> str:
    """Return an export (`privacy.export`) as a complete HTML page, in the active language."""
    names = _product_names(document, installation)
    sections = [
        {"title": title, **_table(document[key], names)}
        for key, title in TITLES.items()
        if document.get(key)
    ]
    context = {
        "language": translation.get_language(),
        "direction": "rtl" if translation.get_language_bidi() else "ltr",
        "shop": document["shop"],
        "exported_at": _moment(document["exported_at"]),
        "sections": sections,
    }
    return render_to_string("saleor_personalize/person.html", context)


def _table(rows: list[dict[str, Any]], names: Mapping[str, str]) -> dict[str, Any]:
    columns = [key for key in rows[0] if any(row.get(key) not in _NOTHING for row in rows)]
    if any(row.keys() - set(rows[0]) for row in rows):
        columns = list(
            dict.fromkeys(key for row in rows for key in row if row[key] not in _NOTHING)
        )
    return {
        "columns": [LABELS.get(key, key.replace("_", " ")) for key in columns],
        "rows": [[_shown(row.get(key), names) for key in columns] for row in rows],
    }


_NOTHING: tuple[Any, ...] = (None, "", [], {})


def _shown(value: Any, names: Mapping[str, str]) -> str:
    if value in _NOTHING:
        return ""
    if isinstance(value, bool):
        return _("yes") if value else _("no")
    if isinstance(value, list):
        return "; ".join(_shown(item, names) for item in value)
    if isinstance(value, dict):
        parts = ((LABELS.get(key, key.replace("_", " ")), each) for key, each in value.items())
        return ", ".join(
            f"{label}: {_shown(each, names)}" for label, each in parts if each not in _NOTHING
        )
    text = str(value)
    return names.get(text) or _moment(text) or text


def _moment(text: str) -> str:
    """Return a moment in words of the language, in UTC; empty for any other text."""
    try:
        moment = parse_datetime(text) if len(text) >= len("2026-01-01T00:00") else None
    except ValueError:
        return ""
    if not isinstance(moment, datetime) or moment.tzinfo is None:
        return ""
    return f"{formats.date_format(moment.astimezone(UTC), 'DATETIME_FORMAT')} UTC"


def _product_names(document: Mapping[str, Any], installation: Installation) -> dict[str, str]:
    products = Product.objects.of(installation).filter(saleor_id__in=set(_product_ids(document)))
    return {id_: name for id_, name in products.values_list("saleor_id", "name") if name}


def _product_ids(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, each in value.items():
            if key == "product_id" and isinstance(each, str):
                yield each
            else:
                yield from _product_ids(each)
    elif isinstance(value, list):
        for each in value:
            yield from _product_ids(each)
