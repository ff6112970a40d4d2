"""Codes in a shop's Saleor: put in, found, taken out. Every call may be repeated without harm.

All codes of the same terms and the same end are in one voucher there: shop owners see one line per
offer and day, with all its uses, instead of one per person. Each code works once.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from datetime import datetime
from decimal import Decimal
from typing import Any, Protocol

from django.utils.dateparse import parse_datetime

from saleor_personalize.catalog.queries import category_and_below
from saleor_personalize.enums import OfferKind
from saleor_personalize.exceptions import SaleorApiError
from saleor_personalize.models import Installation, Offer, OfferVoucher
from saleor_personalize.offers.terms import Terms, of_json
from saleor_personalize.saleor_api.client import SaleorClient

Node = Mapping[str, Any]

#: How often Saleor is asked whether a code is gone, with a deletion between.
_LOOKS = 3


class Saleor(Protocol):
    """What is needed of a shop's client."""

    def execute(
        self, operation_name: str, variables: Mapping[str, Any] | None = None
    ) -> dict[str, Any]: ...


Connect = Callable[[Installation], AbstractContextManager[Saleor]]


@contextmanager
def connect(installation: Installation) -> Iterator[Saleor]:
    with SaleorClient(installation) as client:
        yield client


class _Refused(SaleorApiError):
    """Saleor said no to a change; `codes` are its reasons."""

    def __init__(self, what: str, errors: list[Node]) -> None:
        said = "; ".join(f"{error.get('field')}: {error.get('message')}" for error in errors)
        super().__init__(f"Saleor refused {what}: {said[:300]}", is_retryable=False)
        self.codes = {str(error.get("code")) for error in errors}


def put_in(*, saleor: Saleor, offer: Offer, now: datetime) -> str:
    """Make an offer's code work in Saleor, or leave it if it does already. Raises SaleorApiError.

    Returns Saleor's id of the voucher that holds it.

    It goes into the voucher of its terms, which is made by whoever needs it first. Two who need it at
    once make two: both are good. One that staff deleted or changed is left alone, and made anew.
    """
    terms = of_json(offer.terms)
    digest = _digest(offer)
    shared = OfferVoucher.objects.of(offer.installation).filter(digest=digest).order_by("pk")
    for known in shared:
        try:
            voucher = _change(
                saleor,
                "OfferVoucherAddCode",
                "voucherUpdate",
                {"id": known.saleor_id, "input": {"addCodes": [offer.code]}},
            )
        except _Refused as error:
            if "ALREADY_EXISTS" in error.codes:
                break  # An earlier try got that far.
            if "NOT_FOUND" not in error.codes:
                raise
            known.delete()
            continue
        if _fits(voucher, offer, terms):
            return known.saleor_id
        known.delete()
        take_out(saleor=saleor, offer=offer, is_settled=False)
    voucher = _find(saleor, offer.code) or _create(saleor, offer, terms)
    if not _fits(voucher, offer, terms):
        voucher = _change(
            saleor,
            "OfferVoucherListings",
            "voucherChannelListingUpdate",
            {"id": voucher["id"], "input": {"addChannels": _listings(offer)}},
        )
    if not _fits(voucher, offer, terms):
        raise SaleorApiError(
            "Saleor made the voucher with other terms than were asked for.", is_retryable=False
        )
    OfferVoucher.objects.get_or_create(
        installation=offer.installation,
        saleor_id=voucher["id"],
        defaults={
            "digest": digest,
            "name": _name(offer, terms),
            "expires_at": offer.expires_at,
            "created_at": now,
        },
    )
    return str(voucher["id"])


def take_out(*, saleor: Saleor, offer: Offer, is_settled: bool) -> None:
    """Take an offer's code out of Saleor; done when Saleor does not have it. Raises SaleorApiError.

    A voucher that an interrupted try made for this code alone goes with it, once it `is_settled` that
    nobody goes on with it, and with the codes of others in it.
    """
    for _ in range(_LOOKS):
        voucher = _find(saleor, offer.code)
        if voucher is None:
            return
        shared = OfferVoucher.objects.of(offer.installation).filter(saleor_id=voucher["id"])
        is_alone = len(voucher["codes"]["edges"]) == 1 and not shared.exists()
        if is_alone and is_settled and offer.made_at is None:
            answer = saleor.execute("OfferVoucherDelete", {"id": voucher["id"]})["voucherDelete"]
            _check(answer, "to delete a voucher", but="NOT_FOUND")
        elif (code_id := _id_of_code(saleor, voucher, offer.code)) is not None:
            answer = saleor.execute("OfferCodeDelete", {"ids": [code_id]})["voucherCodeBulkDelete"]
            _check(answer, "to delete a code", but="NOT_FOUND")
    raise SaleorApiError("Saleor still has the code of a withdrawn offer.", is_retryable=True)


def _find(saleor: Saleor, code: str) -> Node | None:
    found = saleor.execute("OfferVoucherByCode", {"code": code})["vouchers"]["edges"]
    for edge in found:
        voucher: Node = edge["node"]
        # A voucher that somebody named like the code is none of ours.
        if _id_of_code(saleor, voucher, code) is not None:
            return voucher
    return None


def _id_of_code(saleor: Saleor, voucher: Node, code: str) -> str | None:
    """Return the id of a code, looking at the newest first; None when the voucher does not hold it."""
    page = voucher["codes"]
    while True:
        for edge in page["edges"]:
            if edge["node"]["code"] == code:
                return str(edge["node"]["id"])
        if not page["pageInfo"]["hasNextPage"]:
            return None
        after = {"id": voucher["id"], "after": page["pageInfo"]["endCursor"]}
        found = saleor.execute("OfferVoucherCodes", after)["voucher"]
        if found is None:
            return None
        page = found["codes"]


def _create(saleor: Saleor, offer: Offer, terms: Terms) -> Node:
    given: dict[str, Any] = {
        "name": _name(offer, terms),
        "addCodes": [offer.code],
        "singleUse": True,
        "endDate": offer.expires_at.isoformat(),
        "type": _type(terms),
        "discountValueType": _value_type(terms),
        # Saleor would take an amount off each piece otherwise.
        "applyOncePerOrder": terms.is_limited and terms.kind == OfferKind.FIXED,
    }
    if terms.is_limited:
        given["categories"] = sorted(
            {
                id_
                for one in terms.categories
                # Saleor looks at a product's own category only.
                for id_ in {
                    one,
                    *category_and_below(installation=offer.installation, category_id=one),
                }
            }
        )
        given["collections"] = sorted(terms.collections)
        given["products"] = sorted(terms.products)
    return _change(saleor, "OfferVoucherCreate", "voucherCreate", {"input": given})


def _change(saleor: Saleor, operation: str, field: str, variables: Mapping[str, Any]) -> Node:
    answer = saleor.execute(operation, variables)[field]
    _check(answer, "the voucher of an offer")
    voucher: Node = answer["voucher"]
    return voucher


def _check(answer: Node, what: str, *, but: str = "") -> None:
    errors = [error for error in answer["errors"] if error.get("code") != but]
    if errors:
        raise _Refused(what, errors)


def _listings(offer: Offer) -> list[Node]:
    # PositiveDecimal takes JSON numbers only.
    return [
        {
            "channelId": row["channel_id"],
            "discountValue": float(row["value"]),
            "minAmountSpent": float(row["minimum_spend"]) if row["minimum_spend"] else None,
        }
        for row in offer.listings
    ]


def _fits(voucher: Node, offer: Offer, terms: Terms) -> bool:
    """Tell whether a voucher does what the message says; also false once staff changed it."""
    listed = {
        row["channel"]["id"]: (
            Decimal(str(row["discountValue"])),
            Decimal(str((row["minSpent"] or {}).get("amount") or 0)),
        )
        for row in voucher["channelListings"] or ()
    }
    wanted = {
        row["channel_id"]: (Decimal(row["value"]), Decimal(row["minimum_spend"] or 0))
        for row in offer.listings
    }
    ends_at = parse_datetime(voucher["endDate"] or "")
    return (
        voucher["singleUse"] is True
        and voucher["type"] == _type(terms)
        and voucher["discountValueType"] == _value_type(terms)
        and ends_at == offer.expires_at
        and all(listed.get(channel) == value for channel, value in wanted.items())
    )


def _type(terms: Terms) -> str:
    if terms.kind == OfferKind.FREE_SHIPPING:
        return "SHIPPING"
    return "SPECIFIC_PRODUCT" if terms.is_limited else "ENTIRE_ORDER"


def _value_type(terms: Terms) -> str:
    return "FIXED" if terms.kind == OfferKind.FIXED else "PERCENTAGE"


def _name(offer: Offer, terms: Terms) -> str:
    return f"Personalize: {terms.name or offer.kind}, until {offer.expires_at:%Y-%m-%d %H:%M} UTC"


def _digest(offer: Offer) -> str:
    common = [offer.terms, offer.listings, offer.expires_at.isoformat()]
    return hashlib.sha256(json.dumps(common, sort_keys=True).encode()).hexdigest()
