"""Vouchers of the made-up shop, as far as apps make them: codes that each work once."""

from __future__ import annotations

import base64
import uuid
from collections.abc import Callable, Iterable, Sequence
from typing import Any

Node = dict[str, Any]


def _id(kind: str, key: object) -> str:
    return base64.b64encode(f"{kind}:{key}".encode()).decode()


class Vouchers:
    """What Saleor keeps of vouchers; `interrupt` is called after every change, and may raise."""

    def __init__(self) -> None:
        self.rows: dict[str, Node] = {}
        self.channels: Sequence[Node] = ()
        self.interrupt: Callable[[str], None] = lambda what: None

    @property
    def codes(self) -> dict[str, bool]:
        """code -> whether it still works."""
        return {
            code["code"]: code["isActive"] for row in self.rows.values() for code in row["_codes"]
        }

    def use(self, code: str) -> None:
        """Complete an order with a code."""
        for row in self.rows.values():
            for one in row["_codes"]:
                if one["code"] == code:
                    one.update(isActive=False, used=one["used"] + 1)

    def create(self, given: Node) -> Node:
        if faults := self._known(given.get("addCodes") or ()):
            return {"errors": faults}
        number = len(self.rows) + 1 + uuid.uuid4().int % 1000
        voucher: Node = {
            "id": _id("Voucher", number),
            "name": given.get("name"),
            "type": given.get("type", "ENTIRE_ORDER"),
            "discountValueType": given.get("discountValueType", "FIXED"),
            "singleUse": bool(given.get("singleUse")),
            "applyOncePerOrder": bool(given.get("applyOncePerOrder")),
            "used": 0,
            "endDate": given.get("endDate"),
            "channelListings": [],
            "_limits": {key: given.get(key) for key in ("categories", "collections", "products")},
            "_codes": [],
        }
        self.rows[voucher["id"]] = voucher
        self._add(voucher, given.get("addCodes") or ())
        self.interrupt("voucherCreate")
        return {"voucher": voucher, "errors": []}

    def update(self, voucher_id: str, given: Node) -> Node:
        voucher = self.rows.get(voucher_id)
        if voucher is None:
            return {"errors": [_not_found(voucher_id)]}
        if faults := self._known(given.get("addCodes") or ()):
            return {"errors": faults}
        self._add(voucher, given.get("addCodes") or ())
        self.interrupt("voucherUpdate")
        return {"voucher": voucher, "errors": []}

    def list_in(self, voucher_id: str, given: Node) -> Node:
        voucher = self.rows.get(voucher_id)
        if voucher is None:
            return {"errors": [_not_found(voucher_id)]}
        for row in given["addChannels"]:
            channel = next(c for c in self.channels if c["id"] == row["channelId"])
            minimum = row.get("minAmountSpent")
            voucher["channelListings"] = [
                *(each for each in voucher["channelListings"] if each["channel"] is not channel),
                {
                    "id": _id("VoucherChannelListing", uuid.uuid4()),
                    "channel": channel,
                    "discountValue": row["discountValue"],
                    "currency": channel["currencyCode"],
                    "minSpent": minimum
                    and {"amount": minimum, "currency": channel["currencyCode"]},
                },
            ]
        self.interrupt("voucherChannelListingUpdate")
        return {"voucher": voucher, "errors": []}

    def delete(self, voucher_id: str) -> Node:
        if self.rows.pop(voucher_id, None) is None:
            return {"errors": [_not_found(voucher_id)]}
        self.interrupt("voucherDelete")
        return {"errors": []}

    def delete_codes(self, ids: Iterable[str]) -> Node:
        wanted = set(ids)
        count = 0
        for row in self.rows.values():
            left = [code for code in row["_codes"] if code["id"] not in wanted]
            count += len(row["_codes"]) - len(left)
            row["_codes"] = left
        self.interrupt("voucherCodeBulkDelete")
        return {"count": count, "errors": []}

    def found(self, search: str | None) -> list[Node]:
        return [
            row
            for row in self.rows.values()
            if not search
            or search.lower()
            in {str(row["name"]).lower(), *(c["code"].lower() for c in row["_codes"])}
        ]

    def _known(self, codes: Iterable[str]) -> list[Node]:
        if not set(codes) & self.codes.keys():
            return []
        return [
            {"field": "codes", "code": "ALREADY_EXISTS", "message": "Promo code already exists."}
        ]

    def _add(self, voucher: Node, codes: Iterable[str]) -> None:
        for code in codes:
            made = {
                "id": _id("VoucherCode", uuid.uuid4()),
                "code": code,
                "used": 0,
                "isActive": True,
            }
            voucher["_codes"].insert(0, made)


def _not_found(voucher_id: str) -> Node:
    message = f"Couldn't resolve to a node: {voucher_id}"
    return {"field": "id", "code": "NOT_FOUND", "message": message}
