"""B51, B53, B54: the three messages in every language that we speak."""

from typing import Any

import pytest

from saleor_personalize.messaging import rendering

PRODUCT = {
    "name": "Socken",
    "variant_name": "groß",
    "image_url": "https://store.test/socks.png",
    "url": "https://store.test/eu/socks",
    "price": "8.00 EUR",
}
CONTEXT = {
    "shop_name": "Laden",
    "first_name": "",
    "unsubscribe_url": "https://personalize.test/u/x",
    "preferences_url": "https://personalize.test/preferences/x",
    "cancel_url": "https://personalize.test/a/x",
    "product": PRODUCT,
    "price_before": "10.00 EUR",
    "lowest_price": "9.50 EUR",
    "pieces": 2,
}
SUBJECTS = {
    "back_in_stock": {
        "en": "Socken is back in stock",
        "de": "Socken ist wieder da",
        "fr": "Socken est de nouveau disponible",
        "es": "Socken vuelve a estar disponible",
        "pl": "Socken: znów w sprzedaży",
    },
    "price_drop": {
        "en": "Socken costs less now",
        "de": "Socken kostet jetzt weniger",
        "fr": "Socken coûte moins cher maintenant",
        "es": "Socken ahora cuesta menos",
        "pl": "Socken kosztuje teraz mniej",
    },
    "low_stock": {
        "en": "Socken: only 2 pieces left",
        "de": "Socken: nur noch 2 Stück da",
        "fr": "Socken : il n'en reste que 2",
        "es": "Socken: solo quedan 2 unidades",
        "pl": "Socken: zostały tylko 2 sztuki",
    },
}


def render(template: str, language: str, **changes: Any) -> rendering.Rendered:
    return rendering.render(
        template=template, language_code=language, context={**CONTEXT, **changes}
    )


@pytest.mark.parametrize("template", SUBJECTS)
@pytest.mark.parametrize("language", ["en", "de", "fr", "es", "pl"])
def test_b51_the_words_of_every_language(template: str, language: str) -> None:
    found = render(template, language)
    assert found.subject == SUBJECTS[template][language]
    for body in (found.text, found.html):
        assert "Socken" in body
        assert "8.00 EUR" in body
        assert "https://store.test/eu/socks" in body
        assert "https://personalize.test/u/x" in body
    cancels = "https://personalize.test/a/x" in found.text and "/a/x" in found.html
    assert cancels is (template == "back_in_stock")
    assert ("9.50 EUR" in found.text) is (template == "price_drop")


@pytest.mark.parametrize("template", SUBJECTS)
def test_b51_what_is_not_known_is_left_out(template: str) -> None:
    nothing = {**PRODUCT, "url": "", "price": "", "variant_name": "", "image_url": ""}
    found = render(template, "en", product=nothing, price_before="", lowest_price="")
    for body in (found.text, found.html):
        assert "EUR" not in body
        assert "store.test" not in body


def test_b54_one_piece_is_one_in_polish_and_five_are_another_form() -> None:
    assert render("low_stock", "pl", pieces=1).subject == "Socken: została tylko 1 sztuka"
    assert render("low_stock", "pl", pieces=5).subject == "Socken: zostało tylko 5 sztuk"
