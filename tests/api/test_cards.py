"""B38: one card per product, with price, name and availability of the asked channel and language."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
from django.db.models.expressions import RawSQL
from django.test.utils import CaptureQueriesContext

from saleor_personalize.catalog import operations
from saleor_personalize.models import (
    Product,
    ProductListing,
    ProductTranslation,
    ProductVariant,
    SalesChannel,
    Stock,
    VariantPrice,
)
from saleor_personalize.recommendations import service
from saleor_personalize.saleor_api.nodes import TranslationData
from tests.api.conftest import ANONYMOUS, Ask
from tests.catalogue import Phones, gid

CARD = """productId variantId variantName sku name slug thumbnailUrl isAvailable
  price { amount currency } undiscountedPrice { amount currency }"""
QUERY = f"""query($channel: String!, $language: String, $first: Int = 100) {{
  recommendations(placement: "home", channel: $channel, languageCode: $language, first: $first) {{
    {CARD}
  }}
}}"""
FLAT = QUERY.replace(CARD, "productId slot reason { code text }")


@pytest.fixture
def card_of(gql: Ask, shop: Phones) -> Callable[..., dict[str, Any] | None]:
    def ask(product: str, channel: str = "us", language: str | None = None) -> Any:
        answer = gql(QUERY, {"channel": channel, "language": language}, anonymous_id=ANONYMOUS)
        rows = {row["productId"]: row for row in answer.data["recommendations"]}
        assert len(rows) == len(answer.data["recommendations"])
        return rows.get(product)

    return ask


@pytest.fixture
def lamp(shop: Phones, now: datetime) -> str:
    """The lamp in three variants: the cheapest is out of stock, the second reduced from 30 to 24."""
    product = Product.objects.get(saleor_id=shop.lamp)
    product.slug, product.thumbnail_url = "desk-lamp", "https://shop.test/lamp.webp"
    product.save()
    for number, (name, price, reduced, quantity) in enumerate(
        [("small", 20, None, 0), ("middle", 30, 24, 2), ("large", 40, None, 5)]
    ):
        variant = gid("ProductVariant", f"lamp-{number}")
        ProductVariant.objects.create(
            installation=shop.installation,
            saleor_id=variant,
            product_saleor_id=shop.lamp,
            name=name,
            sku=f"LAMP-{number}",
        )
        Stock.objects.create(
            installation=shop.installation,
            variant_saleor_id=variant,
            warehouse_saleor_id=gid("Warehouse", 1),
            quantity=quantity,
            recorded_at=now,
        )
        for channel, currency, factor in (("us", "USD", 1), ("pl", "PLN", 4)):
            VariantPrice.objects.create(
                installation=shop.installation,
                variant_saleor_id=variant,
                channel_slug=channel,
                currency=currency,
                price=price * factor,
                discounted_price=reduced and reduced * factor,
                recorded_at=now,
            )
    listing = ProductListing.objects.get(product_saleor_id=shop.lamp)
    listing.pk, listing.channel_slug, listing.currency = None, "pl", "PLN"
    listing.save()
    operations._refresh_listings(shop.installation, [shop.lamp])
    return shop.lamp


def test_b38_the_card_is_that_of_the_cheapest_variant_in_stock(card_of: Any, lamp: str) -> None:
    assert card_of(lamp) == {
        "productId": lamp,
        "variantId": gid("ProductVariant", "lamp-1"),
        "variantName": "middle",
        "sku": "LAMP-1",
        "name": "Desk lamp",
        "slug": "desk-lamp",
        "thumbnailUrl": "https://shop.test/lamp.webp",
        "isAvailable": True,
        "price": {"amount": 24.0, "currency": "USD"},
        "undiscountedPrice": {"amount": 30.0, "currency": "USD"},
    }


def test_b38_price_and_currency_are_those_of_the_channel(card_of: Any, lamp: str) -> None:
    card = card_of(lamp, channel="pl")
    assert card["price"] == {"amount": 96.0, "currency": "PLN"}
    assert card["undiscountedPrice"] == {"amount": 120.0, "currency": "PLN"}


def test_b38_the_next_variant_takes_the_place_of_one_that_sold_out(
    card_of: Any, lamp: str, shop: Phones, now: datetime
) -> None:
    sold = Stock.objects.get(variant_saleor_id=gid("ProductVariant", "lamp-1"))
    sold.quantity_allocated = 2
    sold.save()
    operations._refresh_listings(shop.installation, [lamp])
    card = card_of(lamp)
    assert (card["variantName"], card["price"]["amount"]) == ("large", 40.0)
    assert card["undiscountedPrice"] is None
    Stock.objects.update(quantity=0)
    operations._refresh_listings(shop.installation, [lamp])
    assert card_of(lamp) is None


def test_b38_what_is_sold_out_while_it_is_answered_says_so(
    gql: Ask, lamp: str, shop: Phones, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The list and the cards are two reads, and a webhook may come between them."""
    recommend = service.recommend

    def sell_out(**given: Any) -> Any:
        found = recommend(**given)
        ProductListing.objects.filter(product_saleor_id=lamp).update(is_in_stock=False)
        return found

    monkeypatch.setattr(service, "recommend", sell_out)
    rows = gql(QUERY, {"channel": "us"}, anonymous_id=ANONYMOUS).data["recommendations"]
    assert {row["productId"]: row["isAvailable"] for row in rows} == {
        product: product != lamp for product in shop.products
    }


@pytest.mark.parametrize(
    ("asked", "name"),
    [
        ("DE", "Tischlampe"),
        ("de", "Tischlampe"),
        ("DE_AT", "Schreibtischlampe"),
        ("de-CH", "Tischlampe"),
        ("FR", "Desk lamp"),
        ("", "Desk lamp"),
        ("x" * 300, "Desk lamp"),
        ("de'; --", "Desk lamp"),
    ],
)
def test_b38_the_name_is_in_the_language_asked_for(
    card_of: Any, lamp: str, shop: Phones, now: datetime, asked: str, name: str
) -> None:
    operations.record_translations(
        installation=shop.installation,
        data=[
            TranslationData("Product", lamp, "de", "Tischlampe"),
            TranslationData("Product", lamp, "de-at", "Schreibtischlampe"),
        ],
        now=now,
        seen_at=now,
    )
    assert card_of(lamp, language=asked)["name"] == name


def test_b38_the_name_is_else_in_the_language_of_the_request(
    gql: Ask, lamp: str, shop: Phones, now: datetime
) -> None:
    ProductTranslation.objects.create(
        installation=shop.installation,
        product_saleor_id=lamp,
        language_code="de",
        name="Tischlampe",
        recorded_at=now,
    )
    answer = gql(
        QUERY, {"channel": "us"}, anonymous_id=ANONYMOUS, headers={"Accept-Language": "de-AT"}
    )
    names = {row["productId"]: row["name"] for row in answer.data["recommendations"]}
    assert names[lamp] == "Tischlampe"


def test_b38_another_shops_catalogue_is_nowhere_on_the_card(
    card_of: Any, lamp: str, other_installation: Any, now: datetime
) -> None:
    ProductTranslation.objects.create(
        installation=other_installation,
        product_saleor_id=lamp,
        language_code="de",
        name="Theirs",
        recorded_at=now,
    )
    SalesChannel.objects.create(
        installation=other_installation, saleor_id="x", slug="us", currency="XXX", is_active=False
    )
    VariantPrice.objects.create(
        installation=other_installation,
        variant_saleor_id=gid("ProductVariant", "lamp-1"),
        channel_slug="us",
        currency="XXX",
        price=1,
        recorded_at=now,
    )
    card = card_of(lamp, language="DE")
    assert (card["name"], card["isAvailable"]) == ("Desk lamp", True)
    assert card["undiscountedPrice"] == {"amount": 30.0, "currency": "USD"}


def test_b38_what_the_shop_left_empty_is_null(card_of: Any, shop: Phones) -> None:
    card = card_of(shop.case)
    assert (card["slug"], card["sku"], card["thumbnailUrl"]) == (None, None, None)
    assert card["price"] == {"amount": 10.0, "currency": "USD"}


def test_b38_a_price_of_nothing_is_a_price(card_of: Any, lamp: str, shop: Phones) -> None:
    VariantPrice.objects.update(price=Decimal(0), discounted_price=None)
    operations._refresh_listings(shop.installation, [lamp])
    assert card_of(lamp)["price"] == {"amount": 0.0, "currency": "USD"}


@pytest.mark.parametrize("column", ["listing", "variant"])
def test_b38_what_is_no_number_is_no_price(
    card_of: Any, lamp: str, shop: Phones, column: str
) -> None:
    """PostgreSQL keeps NaN as a number; JSON cannot, and nobody can pay it."""
    table = VariantPrice if column == "variant" else ProductListing
    table.objects.of(shop.installation).update(price=RawSQL("'NaN'::numeric", ()))
    card = card_of(lamp)
    known = {"amount": 24.0, "currency": "USD"} if column == "variant" else None
    assert (card["price"], card["undiscountedPrice"]) == (known, None)


def queries_of(gql: Ask, query: str, first: int) -> int:
    variables = {"channel": "us", "first": first}
    with CaptureQueriesContext(
        connection,
    ) as captured:
        rows = gql(query, variables, anonymous_id=ANONYMOUS).data["recommendations"]
    assert len(rows) == first
    return len(captured)


def test_b38_cards_cost_one_query_for_one_product_and_for_fifty(
    gql: Ask, shop: Phones, now: datetime
) -> None:
    for number in range(20, 70):
        shop.product(number, f"Product {number}")
    for first in (1, 50):  # what is remembered between requests is in memory now
        queries_of(gql, QUERY, first)
    bare = {first: queries_of(gql, FLAT, first) for first in (1, 50)}
    assert {first: queries_of(gql, QUERY, first) - bare[first] for first in (1, 50)} == {
        1: 1,
        50: 1,
    }
    assert bare[1] == bare[50]


def test_b38_two_lists_of_one_request_say_the_same_of_a_product(gql: Ask, lamp: str) -> None:
    query = f"""{{
      us: recommendations(placement: "home", channel: "us") {{ {CARD} }}
      pl: recommendations(placement: "home", channel: "pl") {{ {CARD} }}
      again: recommendations(placement: "home", channel: "us") {{ {CARD} }}
    }}"""
    data = gql(query, anonymous_id=ANONYMOUS).data
    of = {name: {row["productId"]: row for row in rows} for name, rows in data.items()}
    assert of["us"] == of["again"]
    assert of["us"][lamp]["price"]["currency"] == "USD"
    assert of["pl"][lamp]["price"]["currency"] == "PLN"


# -- where the names come from -----------------------------------------------------------------------


def names(shop: Phones) -> dict[str, str]:
    rows = ProductTranslation.objects.of(shop.installation)
    return dict(rows.values_list("language_code", "name"))


def test_b38_the_newest_view_of_a_translation_counts(shop: Phones, now: datetime) -> None:
    def record(name: str, seconds: int, language: str = "de") -> int:
        return operations.record_translations(
            installation=shop.installation,
            data=[TranslationData("Product", shop.lamp, language, name)],
            now=now,
            seen_at=now + timedelta(seconds=seconds),
        )

    assert record("Lampe", 10) == 1
    assert record("Lampe", 11) == 0
    assert record("Old", 5) == 0
    assert record("Lampa", 10, "pl") == 1
    assert names(shop) == {"de": "Lampe", "pl": "Lampa"}
    assert record("", 5) == 0
    assert names(shop) == {"de": "Lampe", "pl": "Lampa"}
    assert record("", 12) == 1
    assert names(shop) == {"pl": "Lampa"}
    operations.record_deletion(
        installation=shop.installation, model=Product, saleor_id=shop.lamp, now=now
    )
    assert names(shop) == {}
