"""A shop with enough history for its engine to measure itself: four months, sixty products."""

from __future__ import annotations

import random
from datetime import datetime, timedelta

from saleor_personalize.enums import EventSource, EventType
from saleor_personalize.models import (
    Event,
    Installation,
    Order,
    OrderLine,
    Product,
    ProductListing,
    Profile,
    SalesChannel,
)
from tests.catalogue import Catalogue, gid, product_id

PRODUCTS, PEOPLE, ORDERS, VISITS = 60, 40, 300, 400


def measured_shop(installation: Installation, now: datetime) -> Catalogue:
    """Products 3n, 3n+1 and 3n+2 are bought together; what is looked at next has nothing to do with names."""
    shop = Catalogue(installation, now)
    SalesChannel.objects.create(
        installation=installation, saleor_id=gid("Channel", "us"), slug="us", currency="USD"
    )
    chance = random.Random(7)  # noqa: S311 (a made-up shop)
    Product.objects.bulk_create(
        Product(
            installation=installation,
            saleor_id=product_id(number),
            # Alike by name: number 10 and 20, which nobody ever wants together.
            name=f"Thing of kind {number % 10}",
            saleor_created_at=now - timedelta(days=200),
        )
        for number in range(PRODUCTS)
    )
    ProductListing.objects.bulk_create(
        ProductListing(
            installation=installation,
            product_saleor_id=product_id(number),
            channel_slug="us",
            is_published=True,
            published_at=now - timedelta(days=200),
            available_for_purchase_at=now - timedelta(days=200),
            is_in_stock=True,
            currency="USD",
            price=10 + number,
        )
        for number in range(PRODUCTS)
    )
    people = Profile.objects.bulk_create(
        Profile(installation=installation, first_seen_at=now - timedelta(days=200))
        for _ in range(PEOPLE)
    )
    at = [now - timedelta(days=120) * (1 - part / ORDERS) for part in range(ORDERS)]
    orders = Order.objects.bulk_create(
        Order(
            installation=installation,
            saleor_id=gid("Order", number),
            profile=chance.choice(people),
            number=str(number),
            status="FULFILLED",
            channel_slug="us",
            currency="USD",
            total=30,
            placed_at=at[number],
        )
        for number in range(ORDERS)
    )
    lines = []
    for order in orders:
        first = 3 * chance.randrange(PRODUCTS // 3)
        for position, number in enumerate((first, first + 1, first + 2)):
            lines.append(
                OrderLine(
                    installation=installation,
                    order=order,
                    saleor_id=gid("OrderLine", f"{order.number}-{position}"),
                    product_saleor_id=product_id(number),
                    quantity=1,
                    unit_price=10 + number,
                )
            )
    OrderLine.objects.bulk_create(lines)
    events = []
    for visit in range(VISITS):
        began = now - timedelta(days=120) * (1 - visit / VISITS)
        person = chance.choice(people)
        # Twelve products that everybody looks at.
        for step in range(3):
            events.append(
                Event(
                    installation=installation,
                    event_id=f"{visit}-{step}",
                    type=EventType.PRODUCT_VIEWED,
                    profile=person,
                    occurred_at=began + timedelta(minutes=step),
                    received_at=began + timedelta(minutes=step),
                    source=EventSource.STOREFRONT,
                    channel_slug="us",
                    session_id=f"visit-{visit}",
                    product_saleor_id=product_id(5 * chance.randrange(12)),
                )
            )
    Event.objects.bulk_create(events)
    return shop
