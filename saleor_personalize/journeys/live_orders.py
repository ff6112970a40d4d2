"""What a shop's Saleor says about an order this very moment: refunds reach us by no webhook."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from django.utils.dateparse import parse_datetime

from saleor_personalize.exceptions import MalformedPayload
from saleor_personalize.models import Order
from saleor_personalize.saleor_api.client import SaleorClient

#: States of a shipment that stays with the person.
_DELIVERED = ("FULFILLED",)
#: States of a shipment that counts for nothing.
_NEVER_WAS = ("CANCELED", "WAITING_FOR_APPROVAL")


@dataclass(frozen=True)
class LiveOrder:
    """`fulfilled_at`: when the last part went out. `is_called_off`: cancelled, or money or goods went back."""

    is_called_off: bool
    fulfilled_at: datetime | None = None


@dataclass(frozen=True)
class AboutOrder:
    """The question of an order: is it still carried out, and has nothing gone back?"""

    order: Order

    @property
    def key(self) -> str:
        return self.order.saleor_id

    def ask(self) -> LiveOrder:
        with SaleorClient(self.order.installation) as client:
            answer = client.execute("OrderNow", {"id": self.order.saleor_id})
        return read_answer(answer)


def read_answer(answer: Mapping[str, Any]) -> LiveOrder:
    """Read the `data` of OrderNow. Raises MalformedPayload when it says too little."""
    try:
        node = answer["order"]
        if node is None:
            return LiveOrder(is_called_off=True)
        parts = [part for part in node["fulfillments"] if part["status"] not in _NEVER_WAS]
        times = [_time(part["created"]) for part in parts if part["status"] in _DELIVERED]
        return LiveOrder(
            is_called_off=node["status"] != "FULFILLED"
            or Decimal(str(node["totalRefunded"]["amount"])) > 0
            or any(part["status"] not in _DELIVERED for part in parts),
            fulfilled_at=max(times, default=None),
        )
    except (KeyError, TypeError, ValueError, ArithmeticError) as error:
        raise MalformedPayload(f"Saleor's answer to OrderNow cannot be read: {error!r}.") from error


def _time(text: str) -> datetime:
    moment = parse_datetime(text)
    if moment is None or moment.tzinfo is None:
        raise ValueError("a time without a time zone")
    return moment
