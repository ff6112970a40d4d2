"""Vouchers on paper: a Saleor that makes every code and keeps none, for simulations and dry runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from saleor_personalize.models import Installation

Node = dict[str, Any]


class Paper:
    """Answers as a Saleor that does what it is asked. Vouchers are known by their ids alone."""

    def __init__(self) -> None:
        self._vouchers: dict[str, Node] = {}

    @contextmanager
    def connect(self, installation: Installation) -> Iterator[Paper]:
        """Take the place of `vouchers.connect`."""
        yield self

    def execute(self, operation_name: str, variables: Mapping[str, Any] | None = None) -> Node:
        given = variables or {}
        match operation_name:
            case "OfferVoucherByCode":
                return {"vouchers": {"edges": []}}
            case "OfferVoucherCreate":
                return {"voucherCreate": self._create(given["input"])}
            case "OfferVoucherListings":
                return {"voucherChannelListingUpdate": self._list(given["id"], given["input"])}
            case "OfferVoucherAddCode":
                return {"voucherUpdate": self._answer(given["id"])}
        raise NotImplementedError(f"Nobody asks for {operation_name} on paper.")

    def _create(self, given: Node) -> Node:
        voucher = {
            "id": f"paper-{len(self._vouchers) + 1}",
            "type": given["type"],
            "discountValueType": given["discountValueType"],
            "singleUse": given["singleUse"],
            "endDate": given["endDate"],
            "channelListings": [],
            "codes": {"edges": [], "pageInfo": {"hasNextPage": False, "endCursor": None}},
        }
        self._vouchers[voucher["id"]] = voucher
        return self._answer(voucher["id"])

    def _list(self, voucher_id: str, given: Node) -> Node:
        self._vouchers[voucher_id]["channelListings"] = [
            {
                "channel": {"id": row["channelId"]},
                "discountValue": row["discountValue"],
                "minSpent": row["minAmountSpent"] and {"amount": row["minAmountSpent"]},
            }
            for row in given["addChannels"]
        ]
        return self._answer(voucher_id)

    def _answer(self, voucher_id: str) -> Node:
        if voucher_id not in self._vouchers:
            fault = {"field": "id", "code": "NOT_FOUND", "message": "Not on paper."}
            return {"voucher": None, "errors": [fault]}
        return {"voucher": self._vouchers[voucher_id], "errors": []}
