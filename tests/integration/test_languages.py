"""B85: a message speaks the language of its person, and so do the products in it, as the shop translated them."""

from __future__ import annotations

from typing import Any

import pytest
from django.core import mail

from saleor_personalize.catalog import operations as catalog
from saleor_personalize.enums import EventType
from saleor_personalize.events import operations as events
from saleor_personalize.journeys import operations as journeys
from saleor_personalize.models import Installation, Profile
from saleor_personalize.saleor_api.nodes import TranslationData
from tests.conftest import NOW
from tests.integration.people import DAY, HOUR, Shop
from tests.integration.reminders import Saleor, checkout_data
from tests.integration.test_price_drop import drop, look
from tests.integration.waiting import PRODUCT
from tests.integration.waiting import Shop as Socks


@pytest.fixture(autouse=True)
def outbox(settings: Any) -> None:
    settings.SALEOR_PERSONALIZE = {
        **settings.SALEOR_PERSONALIZE,
        "PRODUCT_URL": "https://store.test/{channel}/{slug}",
        "FREQUENCY_CAPS": {"*": None},
    }
    mail.outbox = []


def translate(installation: Installation, product: str, **names: str) -> None:
    """Somebody translates a product in Saleor, and the webhook comes."""
    data = [
        TranslationData(
            kind="Product", owner_id=product, language_code=code.replace("_", "-"), name=name
        )
        for code, name in names.items()
    ]
    catalog.record_translations(installation=installation, data=data, now=NOW, seen_at=NOW)


@pytest.mark.parametrize(
    ("language", "subject", "name", "price"),
    [
        ("de", "Überlegen Sie noch?", "Leuchte", "20,00\N{NO-BREAK SPACE}USD"),
        # A language without its region; Saleor's way to write it.
        ("DE_AT", "Überlegen Sie noch?", "Leuchte", "20,00\N{NO-BREAK SPACE}USD"),
        # The region has a name of its own.
        ("de-ch", "Überlegen Sie noch?", "Lampe", "20,00\N{NO-BREAK SPACE}USD"),
        # We have words in French, the shop has no name.
        ("fr", "Vous hésitez encore ?", "Product LAMP", "20,00\N{NO-BREAK SPACE}USD"),
        # The shop has a name in Finnish, and nobody has words in it: English ones.
        ("fi", "Still thinking about it?", "Valaisin", "20.00\N{NO-BREAK SPACE}USD"),
        ("", "Still thinking about it?", "Product LAMP", "20.00\N{NO-BREAK SPACE}USD"),
        ("xx-yy", "Still thinking about it?", "Product LAMP", "20.00\N{NO-BREAK SPACE}USD"),
    ],
)
def test_b85_words_prices_and_products_in_the_language_of_the_person(
    installation: Installation,
    alice: Profile,
    language: str,
    subject: str,
    name: str,
    price: str,
) -> None:
    shop = Shop(installation)
    shop.product("LAMP")
    translate(installation, "LAMP", de="Leuchte", de_ch="Lampe", fi="Valaisin")
    Profile.objects.filter(pk=alice.pk).update(language_code=language)
    shop.go_live("browsed_product")
    for n in range(2):
        shop.track(EventType.PRODUCT_VIEWED, NOW + n * HOUR / 2, product="LAMP")
    shop.run(NOW + HOUR)
    shop.run(NOW + 5 * HOUR)
    (sent,) = mail.outbox
    assert sent.subject == subject
    assert name in sent.body
    html = sent.alternatives[0][0]  # type: ignore[attr-defined]
    assert name in html
    assert price in sent.body.replace("\N{NARROW NO-BREAK SPACE}", "\N{NO-BREAK SPACE}")
    others = {"Leuchte", "Lampe", "Valaisin", "Product LAMP"} - {name}
    assert not [other for other in others if f"{other}<" in html]


@pytest.mark.parametrize(
    ("language", "subject", "names"),
    [
        ("DE", "Ihr Warenkorb wartet auf Sie", ["Blauer Schuh", "Product variant-2"]),
        ("DE_AT", "Ihr Warenkorb wartet auf Sie", ["Blauer Schuh", "Product variant-2"]),
        ("EN", "Your cart is waiting for you", ["Product variant-1", "Product variant-2"]),
        ("FI", "Your cart is waiting for you", ["Sininen kenkä", "Product variant-2"]),
    ],
)
def test_b85_a_cart_is_shown_in_the_language_it_was_filled_in(
    installation: Installation, alice: Profile, language: str, subject: str, names: list[str]
) -> None:
    """Saleor tells the names that the shop wrote first; what is translated we know by webhook."""
    translate(installation, "product-of-variant-1", de="Blauer Schuh", fi="Sininen kenkä")
    journey = journeys.ensure_journey(installation=installation, key="abandoned_checkout")
    journeys.go_live(journey=journey, now=NOW - DAY)
    (recorded,) = events.record_checkouts(
        installation=installation, data=[checkout_data(language_code=language)], now=NOW
    )
    journeys.follow_checkout(checkout=recorded.row, now=NOW)
    journeys.advance_due(now=NOW + 2 * HOUR, ask=Saleor())
    (sent,) = mail.outbox
    assert sent.subject == subject
    assert [name in sent.body for name in names] == [True, True]


def test_b85_what_saleor_tells_of_a_variant_is_shown_by_its_translated_name(
    installation: Installation,
) -> None:
    shop = Socks(installation)
    shop.now = NOW - 40 * DAY
    shop.price("100")
    shop.now = NOW
    shop.stock(9)
    shop.go_live("price_drop")
    profile = shop.person("alice@example.com")
    Profile.objects.filter(pk=profile.pk).update(language_code="pl")
    translate(installation, PRODUCT, pl="Skarpetki")
    look(shop, profile)
    drop(shop, "80")
    (sent,) = mail.outbox
    assert "Skarpetki" in sent.subject
    assert "Socks" not in sent.subject + sent.body.replace("/socks", "")
