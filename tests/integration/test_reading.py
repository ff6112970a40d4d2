"""What the engine learns from: whose, which, when; read in columns."""

from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pytest

from saleor_personalize.enums import ConsentState, EventSource, EventType, Purpose
from saleor_personalize.models import Event, Installation, Order, OrderLine, Product, Profile
from saleor_personalize.profiles import consent
from saleor_personalize.recommendations import models_store, reading
from tests.catalogue import Catalogue, Phones

DAY = timedelta(days=1)


@pytest.fixture
def shop(installation: Installation, now: datetime) -> Phones:
    return Phones(installation, now)


def read(shop: Catalogue, channel: str = "us", days: int = 90) -> list[tuple[Any, ...]]:
    """Return (visitor, product, event, days ago, order, quantity, session, price), oldest first."""
    found = reading.interactions(
        installation=shop.installation,
        channel_slug=channel,
        since=shop.now - days * DAY,
        until=shop.now,
    )
    ago = (shop.now.timestamp() - found.timestamp) / DAY.total_seconds()
    return list(
        zip(
            found.visitor_id.decode(),
            found.item_id.decode(),
            found.event.decode(),
            ago.round(3).tolist(),
            found.order_id.decode(),
            found.quantity.tolist(),
            found.session_id.decode(),
            [None if np.isnan(price) else price for price in found.price.tolist()],
            strict=True,
        )
    )


def do(
    profile: Profile,
    product: str,
    at: datetime,
    type_: EventType = EventType.PRODUCT_VIEWED,
    session: str = "visit",
    channel: str = "us",
) -> None:
    Event.objects.create(
        installation=profile.installation,
        profile=profile,
        event_id=f"{type_}-{product}-{at}-{session}",
        type=type_,
        occurred_at=at,
        received_at=at,
        source=EventSource.STOREFRONT,
        channel_slug=channel,
        session_id=session,
        product_saleor_id=product,
    )


def test_orders_carry_basket_quantity_and_price(shop: Phones, alice: Profile) -> None:
    order = shop.order(shop.phone, shop.case, profile=alice, days_ago=3)
    OrderLine.objects.filter(order=order, product_saleor_id=shop.case).update(
        quantity=4, unit_price="19.90"
    )
    who, basket = str(alice.pk), str(order.pk)
    assert sorted(read(shop)) == sorted(
        [
            (who, shop.phone, "purchase", 3.0, basket, 1.0, None, 10.0),
            (who, shop.case, "purchase", 3.0, basket, 4.0, None, 19.9),
        ]
    )


def test_events_carry_their_visit(shop: Phones, alice: Profile, bob: Profile) -> None:
    for number, type_ in enumerate(reading.KINDS):
        do(alice, shop.phone, shop.now - (3 - number) * DAY, type_)
    do(alice, shop.case, shop.now, session="next visit")
    do(bob, shop.case, shop.now, session="visit")
    do(bob, shop.case, shop.now, session="")
    do(bob, shop.case, shop.now, EventType.CART_REMOVED)
    rows = read(shop)
    assert [row[2] for row in rows[:3]] == list(reading.KINDS.values())
    assert len(rows) == 6, "what was taken out of a cart says nothing of taste"
    visits = {(row[0], row[1]): row[6] for row in rows}
    assert len({row[6] for row in rows[:3]}) == 1
    assert visits[str(alice.pk), shop.phone] != visits[str(alice.pk), shop.case]
    of_bob = [row[6] for row in rows if row[0] == str(bob.pk)]
    assert None in of_bob
    assert {*of_bob} - {None} != {rows[0][6]}, "the same name of a visit, and another person"
    assert {(row[5], row[7]) for row in rows} == {(1.0, None)}


def test_two_profiles_of_one_person_are_one_visitor(
    shop: Phones, alice: Profile, carol: Profile
) -> None:
    do(carol, shop.phone, shop.now - DAY)
    Profile.objects.filter(pk=carol.pk).update(merged_into=alice)
    do(alice, shop.case, shop.now - DAY + timedelta(minutes=1))
    shop.order(shop.lamp, profile=carol, days_ago=0.5)
    rows = read(shop)
    alice.refresh_from_db()
    assert {row[0] for row in rows} == {models_store.visitor_id_of(alice)} == {str(alice.pk)}
    assert rows[0][6] == rows[1][6], "a visit goes on when somebody signs in"


def test_who_refused_profiling_leaves_baskets_and_nothing_else(
    shop: Phones, alice: Profile
) -> None:
    first = shop.order(shop.phone, shop.case, profile=alice, days_ago=3)
    second = shop.order(shop.lamp, profile=alice, days_ago=2)
    do(alice, shop.phone, shop.now - DAY)
    consent.record(
        profile=alice,
        purpose=Purpose.PROFILING,
        delivery_channel="",
        state=ConsentState.DENIED,
        source="test",
        now=shop.now,
    )
    rows = read(shop)
    assert {row[2] for row in rows} == {"purchase"}
    assert {row[4] for row in rows} == {str(first.pk), str(second.pk)}
    visitors = {row[4]: row[0] for row in rows}
    assert len(set(visitors.values())) == 2, "two orders that nothing joins"
    assert str(alice.pk) not in visitors.values()


def test_orders_of_nobody_known_are_visitors_of_their_own(shop: Phones) -> None:
    for _ in range(2):
        shop.order(shop.phone, shop.case, days_ago=1)
    rows = read(shop)
    assert len({row[0] for row in rows}) == len({row[4] for row in rows}) == 2


def test_what_says_nothing_of_this_sales_channel_is_left_out(
    shop: Phones, alice: Profile, other_installation: Installation, dave: Profile, now: datetime
) -> None:
    do(alice, shop.phone, now, channel="pl")
    do(alice, shop.phone, now + timedelta(minutes=1))  # a wrong clock
    do(alice, shop.phone, now - 91 * DAY)
    do(alice, "UHJvZHVjdDo5OTk=", now)  # not in the catalogue
    do(alice, shop.lamp, now)
    Product.objects.filter(saleor_id=shop.lamp).update(deleted_at=now)
    for status in ("CANCELED", "EXPIRED"):
        Order.objects.filter(pk=shop.order(shop.case).pk).update(status=status)
    Order.objects.filter(pk=shop.order(shop.case).pk).update(deleted_at=now)
    other = Phones(other_installation, now)
    other.order(other.case, days_ago=1)
    do(dave, other.phone, now)
    assert read(shop) == []
    ((visitor, product, *_),) = read(shop, "pl")
    assert (visitor, product) == (str(alice.pk), shop.phone)


def test_the_order_of_rows_does_not_hang_on_the_database(
    shop: Phones, alice: Profile, bob: Profile
) -> None:
    for product in (shop.phone, shop.case, shop.lamp):
        for profile in (bob, alice):
            do(profile, product, shop.now - DAY, session=f"{profile.pk}")
    rows = read(shop)
    assert [(row[0], row[1]) for row in rows] == [
        (str(profile.pk), product)
        for profile in sorted((alice, bob), key=lambda profile: profile.pk)
        for product in (shop.phone, shop.case, shop.lamp)
    ]


@pytest.mark.parametrize("rows", [1, 2, 3, 7])
def test_rows_are_read_in_parts_without_losing_one(
    shop: Phones, monkeypatch: pytest.MonkeyPatch, rows: int
) -> None:
    shop.sell()
    whole = read(shop)
    assert len(whole) == 18
    monkeypatch.setattr(reading, "_ROWS", rows)
    assert read(shop) == whole


def test_a_shop_without_anything_gives_empty_columns(
    installation: Installation, now: datetime
) -> None:
    shop = Catalogue(installation, now)
    shop.channel("us")
    assert read(shop) == []
    assert len(reading.items(installation=installation, channel_slug="us")) == 0


def test_items_carry_their_words_and_age(shop: Phones, now: datetime) -> None:
    Product.objects.filter(saleor_id=shop.phone).update(
        description="Bright " * 1_000,
        product_type="Phone",
        attributes=[{"attribute": "brand", "values": ["Aurora", "Nordic"]}],
    )
    Product.objects.filter(saleor_id=shop.case).update(saleor_created_at=None)
    Product.objects.filter(saleor_id=shop.stand).update(deleted_at=now)
    items = reading.items(installation=shop.installation, channel_slug="us")
    at = {id_: place for place, id_ in enumerate(items.item_id.decode())}
    assert sorted(at) == sorted(set(shop.products) - {shop.stand})
    phone = at[shop.phone]
    assert items.text["name"][phone] == "Aurora phone"
    assert items.text["category"][phone] == "Phones"
    assert items.text["product_type"][phone] == "Phone"
    assert items.text["attributes"][phone] == "Aurora Nordic"
    assert len(items.text["description"][phone]) == reading.MAX_DESCRIPTION
    assert items.created_at[phone] == (now - 99 * DAY).timestamp()
    assert np.isnan(items.created_at[at[shop.case]])
    assert len(reading.items(installation=shop.installation, channel_slug="pl")) == 2
