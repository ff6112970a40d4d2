"""B54: few are left of what somebody nearly bought; the number is true, or nothing is said."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.core import mail
from django.db import connection
from django.test.utils import CaptureQueriesContext

from saleor_personalize.enums import EventSource, EventType, IdentityKind, NotSentReason
from saleor_personalize.events import favourites
from saleor_personalize.events.tracking import Row, track
from saleor_personalize.journeys import operations as journeys
from saleor_personalize.models import Installation, ProductVariant, Stock
from tests.integration.test_price_drop import look, reasons
from tests.integration.waiting import (
    DAY,
    EU,
    HOUR,
    MINUTE,
    OTHER,
    PRODUCT,
    US,
    VARIANT,
    Shop,
)

ALICE = "alice@example.com"


@pytest.fixture
def shop(installation: Installation, settings: Any) -> Iterator[Shop]:
    settings.SALEOR_PERSONALIZE = {**settings.SALEOR_PERSONALIZE, "FREQUENCY_CAPS": {"*": None}}
    mail.outbox = []
    made = Shop(installation)
    made.stock(50)
    made.stock(0, variant=OTHER)
    made.go_live("low_stock")
    return made


def look_often(shop: Shop, address: str = ALICE, times: int = 3, **where: Any) -> None:
    profile = shop.person(address)
    for _ in range(times):
        shop.now += MINUTE
        look(shop, profile, **where)


def sell_down(shop: Shop, pieces: int) -> None:
    shop.now += MINUTE
    shop.stock(pieces)
    shop.pass_by(10 * MINUTE)
    shop.pass_by(3 * HOUR)


def test_b54_who_came_back_often_hears_how_many_are_left(shop: Shop) -> None:
    look_often(shop)
    look_often(shop, "once@example.com", times=2)
    sell_down(shop, 2)
    assert reasons(shop) == [""]
    assert shop.told() == [ALICE]
    (message,) = mail.outbox
    assert message.subject == "Socks: only 2 pieces left"
    assert "Only 2 pieces left" in message.body
    sell_down(shop, 1)
    shop.pass_by(10 * DAY)
    assert shop.told() == [ALICE]


def test_b54_a_favourite_is_enough_and_its_variant_counts(shop: Shop) -> None:
    profile = shop.person(ALICE)
    favourites.add(
        profile=profile, product_id=PRODUCT, variant_id=VARIANT, channel_slug=EU, now=shop.now
    )
    shop.stock(90, variant=OTHER)
    sell_down(shop, 1)
    (message,) = mail.outbox
    assert message.subject == "Socks: only 1 piece left"
    assert "large" in message.body


def test_b54_pieces_of_all_variants_count_where_none_was_named(shop: Shop) -> None:
    look_often(shop)
    shop.stock(5, variant=OTHER)
    sell_down(shop, 1)
    assert shop.told() == []


@pytest.mark.parametrize("pieces", [0, 4, 50])
def test_b54_nothing_is_said_of_many_or_none(shop: Shop, pieces: int) -> None:
    look_often(shop)
    sell_down(shop, pieces)
    assert shop.told() == []


def test_b54_the_number_is_that_of_saleor_at_this_moment(shop: Shop) -> None:
    look_often(shop)
    shop.pieces[VARIANT, EU] = 3
    sell_down(shop, 1)
    assert mail.outbox[0].subject == "Socks: only 3 pieces left"


@pytest.mark.parametrize("pieces", [0, 40])
def test_b54_what_saleor_denies_is_not_said(shop: Shop, pieces: int) -> None:
    look_often(shop)
    shop.pieces[VARIANT, EU] = pieces
    sell_down(shop, 2)
    assert (shop.told(), reasons(shop)) == ([], [NotSentReason.NOT_LOW])


def test_b54_stock_that_is_not_counted_is_never_low(shop: Shop) -> None:
    look_often(shop)
    ProductVariant.objects.filter(saleor_id=VARIANT).update(is_stock_tracked=False)
    sell_down(shop, 2)
    assert shop.told() == []


def test_b54_pieces_of_another_sales_channel_do_not_count(shop: Shop) -> None:
    look_often(shop, slug=US)
    sell_down(shop, 2)
    assert shop.told() == []


def test_b54_who_has_it_in_a_cart_or_bought_it_is_left_alone(shop: Shop) -> None:
    look_often(shop)
    look_often(shop, "bob@example.com")
    shop.cart(shop.person(ALICE))
    shop.order("bob@example.com")
    sell_down(shop, 2)
    assert shop.told() == []


def test_b54_into_the_cart_at_the_last_moment(shop: Shop) -> None:
    look_often(shop)
    shop.now += MINUTE
    shop.stock(2)
    shop.pass_by(10 * MINUTE)
    shop.cart(shop.person(ALICE))
    shop.pass_by(3 * HOUR)
    assert (shop.told(), reasons(shop)) == ([], [NotSentReason.OUTSHONE])


def test_b54_products_that_are_plentiful_are_counted_together(shop: Shop) -> None:
    """Thousands of products are looked at in an hour; of most of them there is enough."""

    def queries_of_a_look(count: int) -> int:
        shop.now += 10 * MINUTE
        for number in range(count):
            _seen_and_plentiful(shop, f"mug-{number}")
        with CaptureQueriesContext(connection) as asked:
            journeys.enter_due(now=shop.now)
        return len(asked)

    one = queries_of_a_look(1)
    assert queries_of_a_look(5) == one


def _seen_and_plentiful(shop: Shop, id_: str) -> None:
    if not ProductVariant.objects.filter(saleor_id=id_).exists():
        ProductVariant.objects.create(
            installation=shop.installation, saleor_id=id_, product_saleor_id=id_
        )
        Stock.objects.create(
            installation=shop.installation,
            variant_saleor_id=id_,
            warehouse_saleor_id=f"warehouse-{EU}",
            quantity=90,
            recorded_at=shop.now - DAY,
        )
    (result,) = track(
        installation=shop.installation,
        shown={IdentityKind.ANONYMOUS_ID: "4b6a0b0e-0000-4000-8000-000000000001"},
        rows=[
            Row(
                event_id=f"{id_}-{shop.now.isoformat()}",
                type=EventType.PRODUCT_VIEWED,
                occurred_at=shop.now,
                channel_slug=EU,
                session_id="visit",
                product_id=id_,
                properties={},
            )
        ],
        source=EventSource.STOREFRONT,
        now=shop.now,
    )
    assert result.status == "accepted", result
