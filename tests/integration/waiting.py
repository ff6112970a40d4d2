"""A shop with socks in two sales channels, people who want them, and a Saleor that can be asked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.core import mail

from saleor_personalize.alerts import operations as alerts
from saleor_personalize.alerts.operations import Words
from saleor_personalize.catalog import operations as catalog
from saleor_personalize.catalog import prices
from saleor_personalize.enums import ConsentState, DeliveryChannel, IdentityKind, Purpose
from saleor_personalize.events import operations as events
from saleor_personalize.exceptions import SaleorApiError
from saleor_personalize.journeys import operations as journeys
from saleor_personalize.journeys.live import AboutOrders
from saleor_personalize.journeys.live_variants import AboutVariant, LiveVariant
from saleor_personalize.journeys.triggers import StockChanged
from saleor_personalize.models import (
    Checkout,
    Installation,
    Message,
    Product,
    ProductListing,
    ProductVariant,
    Profile,
    SalesChannel,
    Stock,
    StockAlert,
)
from saleor_personalize.profiles import consent, identity
from saleor_personalize.saleor_api.nodes import OrderData, OrderLineData, StockData
from tests.conftest import NOW
from tests.integration.reminders import order_data

MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
PRODUCT, VARIANT, OTHER = "product-socks", "socks-large", "socks-small"
EU, US = "eu", "us"


@dataclass
class Shop:
    installation: Installation
    now: datetime = NOW
    is_down: bool = False
    #: What Saleor says, where it is something else than our tables.
    pieces: dict[tuple[str, str], int] = field(default_factory=dict)
    bought: set[str] = field(default_factory=set)
    prices: dict[tuple[str, str], Decimal] = field(default_factory=dict)
    asked: list[AboutVariant] = field(default_factory=list)
    before_answer: Callable[[AboutVariant], None] = lambda question: None

    def __post_init__(self) -> None:
        for slug, currency in ((EU, "EUR"), (US, "USD")):
            SalesChannel.objects.create(
                installation=self.installation,
                saleor_id=f"channel-{slug}",
                slug=slug,
                currency=currency,
                warehouse_ids=[f"warehouse-{slug}"],
            )
            ProductListing.objects.create(
                installation=self.installation,
                product_saleor_id=PRODUCT,
                channel_slug=slug,
                is_published=True,
                available_for_purchase_at=NOW - 90 * DAY,
                currency=currency,
            )
        Product.objects.create(
            installation=self.installation, saleor_id=PRODUCT, name="Socks", slug="socks"
        )
        for variant in (VARIANT, OTHER):
            ProductVariant.objects.create(
                installation=self.installation,
                saleor_id=variant,
                product_saleor_id=PRODUCT,
                name=variant.removeprefix("socks-"),
            )

    # -- what happens in the shop -------------------------------------------------------------------

    def go_live(self, key: str = "back_in_stock") -> None:
        journey = journeys.ensure_journey(installation=self.installation, key=key)
        journeys.go_live(journey=journey, now=NOW - DAY)

    def stock(self, pieces: int, *, variant: str = VARIANT, slug: str = EU) -> None:
        """Somebody counts, and the webhook comes."""
        others = Stock.objects.filter(variant_saleor_id=variant).exclude(
            warehouse_saleor_id=f"warehouse-{slug}"
        )
        seen = [StockData(row.warehouse_saleor_id, row.quantity, 0) for row in others]
        changed = catalog.record_stocks(
            installation=self.installation,
            variant_id=variant,
            product_id=PRODUCT,
            stocks=[*seen, StockData(f"warehouse-{slug}", pieces, 0)],
            seen_at=self.now,
        )
        if changed:
            fact = StockChanged(self.installation, variant, self.now)
            journeys.observe(fact=fact, now=self.now)

    def price(self, amount: str, *, variant: str = VARIANT, slug: str = EU) -> None:
        """A promotion begins or ends, or somebody writes another price."""
        catalog.record_discounted_price(
            installation=self.installation,
            variant_id=variant,
            product_id=PRODUCT,
            channel_slug=slug,
            currency={EU: "EUR", US: "USD"}[slug],
            amount=Decimal(amount),
            seen_at=self.now,
        )

    def order(self, address: str, *, variant: str = VARIANT, slug: str = EU) -> None:
        count = len(self.orders)
        data = order_data(
            f"order-{count}",
            at=self.now,
            email=address,
            channel_slug=slug,
            lines=(_line(f"line-{count}", variant),),
        )
        self.orders.append(data)
        ids = events.record_orders(installation=self.installation, data=[data], now=self.now)
        journeys.follow_orders(installation=self.installation, ids=ids, now=self.now)

    orders: list[OrderData] = field(default_factory=list)

    # -- people ---------------------------------------------------------------------------------------

    def person(self, address: str, *, agrees: bool = True, topic: str = "") -> Profile:
        profile = identity.resolve_profile(
            installation=self.installation, shown={IdentityKind.EMAIL: address}, now=self.now
        )
        if agrees:
            consent.record(
                profile=profile,
                purpose=Purpose.MARKETING,
                delivery_channel=DeliveryChannel.EMAIL,
                topic=topic,
                state=ConsentState.GRANTED,
                source="test",
                now=self.now,
            )
        return profile

    def sign_up(
        self, address: str, *, variant: str = VARIANT, slug: str = EU, country: str = "FR"
    ) -> StockAlert:
        return alerts.request(
            installation=self.installation,
            variant_id=variant,
            channel_slug=slug,
            address=address,
            words=Words(country_code=country, language_code="en"),
            now=self.now,
        )

    def cart(self, profile: Profile, *, variant: str = VARIANT, slug: str = EU) -> Checkout:
        return Checkout.objects.create(
            installation=self.installation,
            saleor_id=f"checkout-{profile.pk}",
            profile=profile,
            token="token",
            channel_slug=slug,
            currency="EUR",
            total=10,
            lines=[
                {"variant_id": variant, "product_id": PRODUCT, "quantity": 1, "unit_price": "10"}
            ],
            last_changed_at=self.now,
            saleor_updated_at=self.now,
        )

    # -- what we do -----------------------------------------------------------------------------------

    def pass_by(self, time: timedelta, *, limit: int = 500) -> None:
        """Let time pass, look for what it brings, and decide about whoever is due."""
        self.now += time
        journeys.enter_due(now=self.now)
        self.advance(limit=limit)

    def advance(self, *, limit: int = 500) -> int:
        return journeys.advance_due(now=self.now, ask=self, limit=limit)

    def __call__(self, question: Any) -> LiveVariant | bool:
        self.asked.append(question)
        self.before_answer(question)
        if self.is_down:
            raise SaleorApiError("The shop does not answer.", is_retryable=True)
        if isinstance(question, AboutOrders):
            return question.address in self.bought
        key = (question.variant_id, question.channel_slug)
        pieces = self.pieces.get(key)
        if pieces is None:
            pieces = prices.pieces(
                installation=self.installation, variant_ids=[key[0]], channel_slug=key[1]
            )
        known = prices.price_of(
            installation=self.installation, variant_id=key[0], channel_slug=key[1]
        )
        price = self.prices.get(key, known.amount if known else Decimal("9.50"))
        return LiveVariant(
            exists=True,
            is_bought=question.address in self.bought,
            is_sellable=pieces is None or pieces > 0,
            pieces=pieces,
            price=price,
            undiscounted_price=price,
            gross_price=price,
            currency={EU: "EUR", US: "USD"}[key[1]],
            product_id=PRODUCT,
            product_name="Socks",
            product_slug="socks",
            variant_name=key[0].removeprefix("socks-"),
            image_url="https://store.test/socks.png",
        )

    # -- what came of it ------------------------------------------------------------------------------

    def told(self) -> list[str]:
        """Addresses that were written to, in order."""
        return [address for message in mail.outbox for address in message.to]

    def refusals(self) -> list[str]:
        rows = Message.objects.of(self.installation).filter(status="not_sent").order_by("pk")
        return list(rows.values_list("reason", flat=True))


def _line(id_: str, variant: str) -> OrderLineData:
    return OrderLineData(
        id=id_,
        product_id=PRODUCT,
        variant_id=variant,
        name="Socks",
        quantity=1,
        unit_price=Decimal("9.50"),
    )


def people(count: int) -> list[str]:
    return [f"shopper{number}@example.com" for number in range(count)]
