"""What a file can tell, by which names it usually does, and how the rest of it is read."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any
from zoneinfo import ZoneInfo

from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from saleor_personalize.enums import IdentityKind

Mapped = Mapping[str, str]

#: our column -> what it is called for staff
TITLES = {
    "number": _("Order number"),
    "placed_at": _("Date"),
    "email": _("E-mail address"),
    "external_id": _("Customer number or loyalty card"),
    "saleor_user": _("Saleor user"),
    "product": _("Product"),
    "name": _("Name on the receipt"),
    "line": _("Line number"),
    "quantity": _("Quantity"),
    "unit_price": _("Price of one"),
    "line_total": _("Price of the line"),
    "total": _("Total of the order"),
    "currency": _("Currency"),
    "channel": _("Sales channel"),
    "marketing_opt_in": _("Permission for marketing"),
}
#: our column -> what files call it, letters and digits only; the first one that a file has counts
_USUAL = {
    "number": "number ordernumber orderno orderid order receipt receiptnumber receiptno invoice invoicenumber "
    "transactionid bestellnummer belegnummer auftragsnummer numerocommande numeropedido numerzamowienia name",
    "placed_at": "placedat orderedat orderdate purchasedat purchasedate createdat date datetime timestamp "
    "datum bestelldatum belegdatum fecha data",
    "email": "email emailaddress customeremail mail kundenemail courriel correo",
    "external_id": "externalid loyaltycard loyaltyid loyalty cardnumber customernumber customerno customerid "
    "kundennummer kundenkarte",
    "saleor_user": "saleoruser saleoruserid",
    "product": "sku productsku variantsku lineitemsku itemsku articlenumber artikelnummer variantid productid "
    "product productslug slug",
    "name": "productname lineitemname itemname title description artikel produkt name",
    "line": "line linenumber lineno lineid position pos",
    "quantity": "quantity qty lineitemquantity pieces menge anzahl cantidad quantite ilosc",
    "unit_price": "unitprice price lineitemprice itemprice einzelpreis stueckpreis precio prix cena",
    "line_total": "linetotal lineamount amount rowtotal positionspreis",
    "total": "total ordertotal grandtotal totalprice gesamt gesamtbetrag summe",
    "currency": "currency currencycode waehrung moneda devise waluta",
    "channel": "channel channelslug saleschannel",
    "marketing_opt_in": "marketingoptin acceptsmarketing optin newsletter newsletteroptin consent",
}  # fmt: skip
REQUIRED = ("number", "placed_at")
#: What must be the same in all rows of an order; a row that leaves one empty takes it from the row before.
HEAD = ("placed_at", "email", "external_id", "saleor_user", "currency", "channel", "total")
#: Columns that say who ordered.
KEYS = {
    "email": IdentityKind.EMAIL,
    "external_id": IdentityKind.EXTERNAL_ID,
    "saleor_user": IdentityKind.SALEOR_USER,
}
UNKNOWN_PRODUCTS = ("reject", "keep")
DECIMALS = (".", ",")
_CURRENCY = re.compile(r"[A-Z]{3}")


def guess(columns: Sequence[str]) -> dict[str, str]:
    """Return which column of a file is which of ours, by their usual names; each is used once."""
    plain = {re.sub(r"[^a-z0-9]", "", _folded(name)): name for name in reversed(columns)}
    found: dict[str, str] = {}
    for ours, names in _USUAL.items():
        for name in names.split():
            if name in plain and plain[name] not in found.values():
                found[ours] = plain[name]
                break
    return found


def _folded(name: str) -> str:
    table = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "ß": "ss", "é": "e", "è": "e", "ó": "o", "ś": "s", "ć": "c", "ł": "l"})  # fmt: skip
    return name.lower().translate(table)


def faults_of_mapping(mapping: Mapped, columns: Sequence[str]) -> list[str]:
    """Return what is wrong with a mapping (our column -> column of the file), as sentences."""
    faults = [
        gettext("%(name)s is no column of ours. Known: %(known)s.")
        % {"name": ours, "known": ", ".join(TITLES)}
        for ours in mapping
        if ours not in TITLES
    ]
    faults += [
        gettext("The file has no column “%(theirs)s” for %(ours)s. It has: %(columns)s.")
        % {"theirs": theirs, "ours": ours, "columns": ", ".join(columns)}
        for ours, theirs in mapping.items()
        if ours in TITLES and theirs not in columns
    ]
    faults += [
        gettext("Say which column is %(name)s.") % {"name": ours}
        for ours in REQUIRED
        if ours not in mapping
    ]
    if "product" not in mapping and "total" not in mapping:
        faults.append(gettext("Say which column is product, or total for orders without lines."))
    return faults


@dataclass(frozen=True)
class Options:
    """How a file is read. Empty: found out from the file or the shop."""

    encoding: str = "utf-8"
    delimiter: str = ""
    #: Zone of times that do not name one.
    timezone: str = "UTC"
    #: `strptime` pattern of dates that are neither 2026-03-31 nor 31.03.2026.
    date_format: str = ""
    decimal: str = "."
    #: For rows that do not name theirs.
    currency: str = ""
    channel: str = ""
    #: Columns by which people are found.
    match: Sequence[str] = field(default_factory=lambda: list(KEYS))
    #: Whether a line of a product that the shop does not know is refused or kept by its name.
    unknown_products: str = "reject"

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "match": list(self.match)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Options:
        known = {field_.name for field_ in fields(cls)}
        return cls(**{name: given for name, given in value.items() if name in known})

    def faults(self, *, mapping: Mapped, channels: Mapping[str, str]) -> list[str]:
        """Return what is wrong, as sentences. `channels`: slug -> currency of the shop's channels."""
        return [
            *_one_of("decimal", self.decimal, DECIMALS),
            *_one_of("unknown-products", self.unknown_products, UNKNOWN_PRODUCTS),
            *(fault for key in self.match for fault in _one_of("match", key, tuple(KEYS))),
            *_faults_of_zone(self.timezone),
            *_fault_of_currency(self.currency),
            *_one_of("channel", self.channel, ("", *channels)),
            *(
                []
                if len(channels) == 1 or self.channel or "channel" in mapping
                else [
                    gettext(
                        "Say to which sales channel the purchases belong: recommendations are made "
                        "for each. Known: %(known)s."
                    )
                    % {"known": ", ".join(channels) or "-"}
                ]
            ),
        ]


def _one_of(name: str, value: str, known: Sequence[str]) -> list[str]:
    if value in known:
        return []
    return [
        gettext("%(name)s is “%(value)s”. Known: %(known)s.")
        % {"name": name, "value": value[:60], "known": ", ".join(each for each in known if each)}
    ]


def _fault_of_currency(value: str) -> list[str]:
    if not value or _CURRENCY.fullmatch(value):
        return []
    return [
        gettext("The currency is “%(value)s”. Write three capital letters, such as EUR.")
        % {"value": value[:60]}
    ]


def _faults_of_zone(name: str) -> list[str]:
    try:
        ZoneInfo(name)
    except (ValueError, OSError, LookupError):
        return [
            gettext("The time zone is “%(value)s”. Write a name such as Europe/Warsaw.")
            % {"value": name[:60]}
        ]
    return []
