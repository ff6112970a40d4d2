"""A shop with a catalogue and somebody who may be written to, for journeys that begin with a person.

Facts are recorded through the doors that storefronts and Saleor use; mail leaves by Django's own memory.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.core import mail

from saleor_personalize.enums import EventSource, EventType, IdentityKind
from saleor_personalize.events import operations as events
from saleor_personalize.events.tracking import Row, track
from saleor_personalize.ingestion import deliveries
from saleor_personalize.journeys import operations as journeys
from saleor_personalize.journeys.live import AboutOrders
from saleor_personalize.journeys.live_orders import AboutOrder, LiveOrder
from saleor_personalize.models import (
    Category,
    Enrollment,
    Installation,
    Journey,
    Message,
    Product,
    ProductListing,
    Profile,
    SalesChannel,
)
from saleor_personalize.saleor_api.nodes import OrderData, OrderLineData
from tests.conftest import NOW
from tests.integration.reminders import order_data
from tests.payloads import Recorded

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
CHANNEL = "default-channel"
ALICE = {IdentityKind.SALEOR_USER: "VXNlcjox"}


@dataclass
class Shop:
    installation: Installation
    #: What Saleor says of orders when it is asked: id -> answer.
    orders: dict[str, LiveOrder] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    #: What it says when it is asked whether the person has ordered since.
    has_ordered: bool = False

    def __post_init__(self) -> None:
        SalesChannel.objects.create(
            installation=self.installation, saleor_id="Q2g6MQ==", slug=CHANNEL, currency="USD"
        )

    # -- the catalogue --

    def product(self, id: str, *, category: str = "", for_sale: bool = True) -> Product:  # noqa: A002
        made = Product.objects.create(
            installation=self.installation,
            saleor_id=id,
            name=f"Product {id}",
            slug=id.lower(),
            category_saleor_id=category,
        )
        ProductListing.objects.create(
            installation=self.installation,
            product_saleor_id=id,
            channel_slug=CHANNEL,
            is_published=True,
            available_for_purchase_at=NOW - 100 * DAY,
            is_in_stock=for_sale,
            currency="USD",
            price=20,
        )
        return made

    def sell_out(self, id: str) -> None:  # noqa: A002
        ProductListing.objects.filter(product_saleor_id=id).update(is_in_stock=False)

    def category(self, id: str, name: str) -> Category:  # noqa: A002
        return Category.objects.create(
            installation=self.installation, saleor_id=id, name=name, slug=name.lower()
        )

    # -- what people do --

    def track(
        self,
        type_: EventType,
        at: datetime,
        *,
        shown: Mapping[IdentityKind, str] = ALICE,
        product: str = "",
        **properties: Any,
    ) -> None:
        row = Row(
            event_id=f"{type_}-{at.isoformat()}-{product}",
            type=type_,
            occurred_at=at,
            channel_slug=CHANNEL,
            session_id=f"visit-{at.date()}",
            product_id=product,
            properties=properties,
        )
        (result,) = track(
            installation=self.installation,
            shown=dict(shown),
            rows=[row],
            source=EventSource.STOREFRONT,
            now=at,
        )
        assert result.status == "accepted", result

    def order(self, id: str = "order-1", at: datetime = NOW, **changes: Any) -> None:  # noqa: A002
        """Saleor tells of an order, new or changed."""
        data = self.order_data(id, at, **changes)
        ids = events.record_orders(installation=self.installation, data=[data], now=at)
        journeys.follow_orders(installation=self.installation, ids=ids, now=at)

    def order_data(self, id: str, at: datetime, **changes: Any) -> OrderData:  # noqa: A002
        product = changes.pop("product", "")
        data = order_data(
            id,
            **{
                "email": "alice@example.com",
                "user_id": "VXNlcjox",
                "checkout_id": f"cart-{id}",
                **changes,
            },
        )
        placed = changes.get("placed_at", at)
        found: OrderData = dataclasses.replace(data, placed_at=placed, updated_at=at)
        if product:
            line = OrderLineData(
                id=f"{id}-line",
                product_id=product,
                variant_id=f"variant-of-{product}",
                name=f"Product {product}",
                quantity=1,
                unit_price=Decimal(20),
            )
            found = dataclasses.replace(found, lines=(line,))
        return found

    def deliver(self, recorded: Recorded, at: datetime) -> int:
        """Saleor's webhook arrives, as it was recorded."""
        deliveries.store(
            [
                deliveries.row(
                    installation_id=self.installation.pk,
                    event=recorded.event,
                    body=recorded.body,
                    issued_at=at,
                    now=at,
                )
            ]
        )
        return deliveries.process_waiting(now=at)

    # -- what we do --

    def go_live(self, key: str, at: datetime = NOW - DAY) -> Journey:
        journey = journeys.ensure_journey(installation=self.installation, key=key)
        journeys.go_live(journey=journey, now=at)
        # Looked at until then: tests say what happens from there on.
        Journey.objects.filter(pk=journey.pk).update(looked_at=at)
        return journey

    def run(self, at: datetime) -> int:
        """Look who comes in, and decide about who is due."""
        journeys.enter_due(now=at)
        return journeys.advance_due(now=at, ask=self.answer)

    def answer(self, question: object) -> LiveOrder | bool:
        if isinstance(question, AboutOrders):
            # Nobody ordered but those whose orders were told.
            return False
        assert isinstance(question, AboutOrder)
        self.asked.append(question.key)
        return self.orders.get(question.key, LiveOrder(is_called_off=False))

    # -- what came of it --

    def subjects(self) -> list[str]:
        return [str(one.subject) for one in mail.outbox]

    def reasons(self) -> list[str]:
        return list(
            Message.objects.filter(status="not_sent")
            .order_by("pk")
            .values_list("reason", flat=True)
        )

    def inside(self, profile: Profile | None = None) -> list[Enrollment]:
        return list(Enrollment.objects.order_by("pk"))
