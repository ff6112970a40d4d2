"""What is measured in these tests: people who are written to and recommended to, and what they order."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from saleor_personalize.analytics import operations as analytics
from saleor_personalize.enums import (
    DeliveryChannel,
    EventSource,
    EventType,
    MessageEventKind,
    MessageStatus,
    OfferKind,
    OfferStatus,
    Purpose,
)
from saleor_personalize.events import partitions
from saleor_personalize.journeys.operations import ensure_journey
from saleor_personalize.messaging import outcomes
from saleor_personalize.models import (
    AttributedOrder,
    Enrollment,
    Event,
    Installation,
    Message,
    MessageEvent,
    Offer,
    Order,
    OrderLine,
    Profile,
)
from saleor_personalize.models.fields import month_of

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


@dataclass
class Shop:
    """One shop; `at` is hours after `start`. Orders are recorded as webhooks do, and attributed."""

    installation: Installation
    start: datetime
    numbers: Any = field(default_factory=lambda: itertools.count(1))

    def at(self, hours: float) -> datetime:
        return self.start + hours * HOUR

    def message(
        self,
        profile: Profile,
        hours: float,
        *,
        journey: str = "abandoned_checkout",
        **changes: Any,
    ) -> Message:
        number = next(self.numbers)
        at = self.at(hours)
        kept = ensure_journey(installation=self.installation, key=journey)
        stay = Enrollment.objects.create(
            installation=self.installation,
            journey=kept,
            version=kept.published,
            profile=profile,
            subject_kind="checkout",
            entry_key=f"cart-{number}",
            occurred_at=at,
            due_at=at,
            step_since=at,
            created_at=at,
            status="done",
        )
        return Message.objects.create(
            **{
                "installation": self.installation,
                "idempotency_key": f"message-{number}",
                "profile": profile,
                "enrollment": stay,
                "journey": kept,
                "template": journey,
                "purpose": Purpose.MARKETING,
                "delivery_channel": DeliveryChannel.EMAIL,
                "status": MessageStatus.SENT,
                "decided_at": at,
                **changes,
            }
        )

    def offer(self, message: Message | None, code: str) -> Offer:
        """Give the person of a message (nobody: a hint gave it) a code that can be used."""
        at = self.start if message is None else message.decided_at
        return Offer.objects.create(
            installation=self.installation,
            key=f"offer-{next(self.numbers)}",
            code=code,
            profile=message.profile if message is not None else None,
            message=message,
            kind=OfferKind.PERCENT,
            status=OfferStatus.MADE,
            reserved_at=at,
            made_at=at,
            expires_at=at + 7 * DAY,
        )

    def became(
        self,
        message: Message,
        kind: MessageEventKind,
        hours: float,
        *,
        heard: float | None = None,
        is_machine: bool = False,
    ) -> MessageEvent | None:
        return outcomes.record(
            message=message,
            kind=kind,
            at=self.at(hours),
            now=self.at(hours if heard is None else heard),
            is_machine=is_machine,
        )

    def recommended(
        self,
        profile: Profile,
        type_: EventType,
        product: str,
        hours: float,
        *,
        placement: str = "home",
        answer: str = "",
        heard: float | None = None,
        **changes: Any,
    ) -> Event:
        number = next(self.numbers)
        at = self.at(hours)
        partitions.maintain(now=at)
        return Event.objects.create(
            **{
                "installation": self.installation,
                "profile": profile,
                "event_id": f"event-{number}",
                "type": type_,
                "occurred_at": at,
                "month": month_of(at),
                "received_at": self.at(hours if heard is None else heard),
                "source": EventSource.STOREFRONT,
                "channel_slug": "us",
                "product_saleor_id": product,
                "attribution_id": answer or f"answer-{number}",
                "properties": {"placement": placement, "strategy": "popular"},
                **changes,
            }
        )

    def order(self, profile: Profile | None, hours: float, *products: str, **changes: Any) -> Order:
        number = next(self.numbers)
        order = Order.objects.create(
            **{
                "installation": self.installation,
                "saleor_id": f"order-{self.installation.pk}-{number}",
                "profile": profile,
                "number": str(number),
                "status": "FULFILLED",
                "channel_slug": "us",
                "currency": "USD",
                "total": Decimal(100),
                "placed_at": self.at(hours),
                **changes,
            }
        )
        for position, product in enumerate(products):
            OrderLine.objects.create(
                installation=self.installation,
                order=order,
                saleor_id=f"line-{order.pk}-{position}",
                product_saleor_id=product,
                quantity=2,
                unit_price=Decimal(10),
            )
        self.follow(order)
        return order

    def follow(self, *orders: Order, hours: float | None = None) -> None:
        now = max(order.placed_at for order in orders) if hours is None else self.at(hours)
        analytics.follow_orders(
            installation=self.installation, ids=[order.pk for order in orders], now=now
        )


def followed(order: Order) -> tuple[str, str, str] | None:
    """Return kind, journey or placement, and touch of what an order followed."""
    row = (
        AttributedOrder.objects.of(order.installation)
        .filter(order=order)
        .select_related("journey")
        .first()
    )
    if row is None:
        return None
    return row.kind, row.journey.key if row.journey else row.placement, row.touch
