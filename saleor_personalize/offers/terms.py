"""What an offer is worth, where, and until when. No Django: journeys read their definitions with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime, time, timedelta, tzinfo
from decimal import Decimal, InvalidOperation
from typing import Any

from saleor_personalize.enums import OfferKind

Amounts = Mapping[str, Decimal]

#: From here on an offer ends with a day; a shorter one with an hour.
_WHOLE_DAYS = timedelta(days=1)
_LONGEST = timedelta(days=366)
#: The words of a definition that say what an offer is worth; just one of them is given.
_KINDS = {
    "percent": OfferKind.PERCENT,
    "amount": OfferKind.FIXED,
    "free_shipping": OfferKind.FREE_SHIPPING,
}


class TermsRefused(ValueError):
    """Terms that make no offer. `faults` are pairs of the key to mend and a sentence."""

    def __init__(self, faults: Sequence[tuple[str, str]]) -> None:
        super().__init__(" ".join(f"{key}: {sentence}" for key, sentence in faults))
        self.faults = tuple(faults)


@dataclass(frozen=True)
class Terms:
    """`amount` and `minimum_spend` are per currency; empty `channels` means all sales channels.

    With `categories` (global ids, with all below them), `collections` or `products`, only those are
    reduced: each eligible piece by `percent`, the cheapest one by an `amount`.
    """

    kind: OfferKind
    expires: timedelta
    percent: Decimal = Decimal(0)
    amount: Amounts = field(default_factory=dict)
    minimum_spend: Amounts = field(default_factory=dict)
    categories: tuple[str, ...] = ()
    collections: tuple[str, ...] = ()
    products: tuple[str, ...] = ()
    channels: tuple[str, ...] = ()
    is_first_order_only: bool = False
    # How the shop owner finds the voucher among others in Saleor.
    name: str = ""

    @property
    def is_limited(self) -> bool:
        return bool(self.categories or self.collections or self.products)

    def value_in(self, currency: str) -> Decimal | None:
        """Return percent or amount in a sales channel of this currency; None: nothing there."""
        match self.kind:
            case OfferKind.PERCENT:
                return self.percent
            case OfferKind.FREE_SHIPPING:
                return Decimal(100)
        return self.amount.get(currency)

    def ends_at(self, now: datetime, zone: tzinfo) -> datetime:
        """Return the last second of the day (of the hour, for an offer of less than a day) in which
        `expires` has passed: nobody has less than was promised, and a day's offers end together."""
        until = (now + self.expires).astimezone(zone)
        if self.expires < _WHOLE_DAYS:
            return until.replace(minute=59, second=59, microsecond=0).astimezone(UTC)
        return datetime.combine(until.date(), time(23, 59, 59), tzinfo=zone).astimezone(UTC)

    def as_json(self) -> dict[str, Any]:
        """Return the terms as `Offer.terms` keeps them."""
        return {
            "kind": self.kind.value,
            "expires": self.expires.total_seconds(),
            "percent": str(self.percent),
            "amount": {key: str(value) for key, value in sorted(self.amount.items())},
            "minimum_spend": {key: str(value) for key, value in sorted(self.minimum_spend.items())},
            "categories": sorted(self.categories),
            "collections": sorted(self.collections),
            "products": sorted(self.products),
            "channels": sorted(self.channels),
            "is_first_order_only": self.is_first_order_only,
            "name": self.name,
        }


def of_json(kept: Mapping[str, Any]) -> Terms:
    """Return the terms that `Terms.as_json` wrote."""
    given = {f.name: kept[f.name] for f in fields(Terms) if f.name in kept}
    for name in ("categories", "collections", "products", "channels"):
        given[name] = tuple(given.get(name, ()))
    for name in ("amount", "minimum_spend"):
        given[name] = {key: Decimal(value) for key, value in given.get(name, {}).items()}
    return Terms(
        **{
            **given,
            "kind": OfferKind(kept["kind"]),
            "expires": timedelta(seconds=kept["expires"]),
            "percent": Decimal(kept["percent"]),
        }
    )


def read(node: Mapping[str, Any], *, name: str = "") -> Terms:
    """Read the terms of a step of a journey; `expires` is a timedelta already.

    Keys: one of `percent` (above 0, at most 100), `amount` ({"EUR": 5}) and `free_shipping` (true);
    `expires`; and, if wanted, `minimum_spend` ({"EUR": 50}), `categories`, `collections`, `products`
    (global ids), `channels` (slugs), `first_order` (true) and `name`. Raises TermsRefused.
    """
    faults: list[tuple[str, str]] = []
    known = {*_KINDS, "expires", "minimum_spend", "categories", "collections", "products",
             "channels", "first_order", "name"}  # fmt: skip
    faults += [(key, "is not a word of an offer.") for key in node if key not in known]
    worth = [key for key in _KINDS if node.get(key)]
    if len(worth) != 1:
        faults.append(("percent", "give one of `percent`, `amount` and `free_shipping`."))
    kind = _KINDS[worth[0]] if worth else OfferKind.PERCENT
    percent = _number(node.get("percent") or 0)
    if percent is None or not 0 <= percent <= 100 or (kind == OfferKind.PERCENT and not percent):
        faults.append(("percent", "must be a number above 0, at most 100."))
    if kind == OfferKind.FREE_SHIPPING and any(
        node.get(key) for key in ("categories", "collections", "products")
    ):
        faults.append(("free_shipping", "is for the whole order: Saleor cannot limit it."))
    expires = node.get("expires")
    if not isinstance(expires, timedelta) or not timedelta(hours=1) <= expires <= _LONGEST:
        faults.append(("expires", "must be between an hour and 366 days, such as `7 days`."))
        expires = _WHOLE_DAYS
    read_amounts = {key: _amounts(key, node, faults) for key in ("amount", "minimum_spend")}
    lists = {
        key: _texts(key, node, faults)
        for key in ("categories", "collections", "products", "channels")
    }
    if not isinstance(node.get("first_order", False), bool):
        faults.append(("first_order", "must be true or false."))
    if faults:
        raise TermsRefused(faults)
    return Terms(
        kind=kind,
        expires=expires,
        percent=(percent or Decimal(0)) if kind == OfferKind.PERCENT else Decimal(0),
        is_first_order_only=node.get("first_order", False),
        name=str(node.get("name") or name)[:100],
        **read_amounts,
        **lists,
    )


def _number(value: Any) -> Decimal | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        return None
    try:
        number = Decimal(str(value))
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


def _amounts(key: str, node: Mapping[str, Any], faults: list[tuple[str, str]]) -> Any:
    given = node.get(key) or {}
    if not isinstance(given, Mapping):
        faults.append((key, "must be a dict of currency and amount, such as {EUR: 5}."))
        return {}
    amounts = {str(currency): _number(value) for currency, value in given.items()}
    for currency, amount in amounts.items():
        if amount is None or amount <= 0 or len(currency) != 3 or not currency.isupper():
            faults.append(
                (f"{key}.{currency}", "must be a currency such as EUR and an amount above 0.")
            )
    return amounts


def _texts(key: str, node: Mapping[str, Any], faults: list[tuple[str, str]]) -> Any:
    given = node.get(key) or ()
    if not isinstance(given, list | tuple) or not all(isinstance(item, str) for item in given):
        faults.append((key, "must be a list of texts."))
        return ()
    return tuple(given)
