"""Templates see plain values, and a missing one stops the message."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from saleor_personalize.exceptions import TemplateIncomplete
from saleor_personalize.messaging.rendering import django_language, format_money, render

NBSP = "\N{NO-BREAK SPACE}"
CONTEXT: dict[str, Any] = {
    "shop_name": "Sock Shop",
    "first_name": "Ann",
    "cart_url": "https://store.test/cart?a=1&b=2",
    "unsubscribe_url": "https://personalize.test/u/token",
    "preferences_url": "https://personalize.test/preferences/t",
    "lines": [
        {
            "name": "<b>Socks</b>",
            "variant_name": "Red",
            "quantity": 2,
            "unit_price": f"3.00{NBSP}EUR",
            "image_url": "https://store.test/socks.png",
        }
    ],
}


@pytest.mark.parametrize(
    ("amount", "currency", "language", "text"),
    [
        ("1234.5", "USD", "EN", "1,234.50"),
        ("1234.5", "EUR", "DE", "1.234,50"),
        ("1234.5", "PLN", "pl", f"1{NBSP}234,50"),
        ("1234.5", "JPY", "EN_US", "1,234"),
        ("1.2345", "KWD", "EN", "1.234"),
        ("0", "USD", "EN", "0.00"),
        ("19.999", "USD", "xx", "20.00"),
    ],
)
def test_b47_amounts_are_written_as_the_language_writes_them(
    amount: str, currency: str, language: str, text: str
) -> None:
    assert format_money(Decimal(amount), currency, language) == f"{text}{NBSP}{currency}"


@pytest.mark.parametrize(
    ("saleor", "django"),
    [("EN", "en"), ("PT_BR", "pt-br"), ("de-AT", "de"), ("", "en"), ("TLH", "en"), ("../x", "en")],
)
def test_languages_of_saleor(saleor: str, django: str) -> None:
    expected = {"pt-br": "en"}.get(django, django)  # Portuguese is not among our languages
    assert django_language(saleor) == expected


def test_b44_both_bodies_and_one_line_of_subject() -> None:
    rendered = render(template="abandoned_checkout", context=CONTEXT, language_code="EN")
    assert rendered.subject == "Your cart at Sock Shop is waiting for you"
    assert "Hi Ann," in rendered.text
    assert "- <b>Socks</b> (Red)\n  2 \N{MULTIPLICATION SIGN} 3.00" in rendered.text
    assert "https://store.test/cart?a=1&b=2" in rendered.text
    assert "&lt;b&gt;Socks&lt;/b&gt;" in rendered.html
    assert "<b>Socks" not in rendered.html
    assert 'href="https://store.test/cart?a=1&amp;b=2"' in rendered.html
    assert 'width="600"' in rendered.html
    assert rendered.html.count("<img ") == rendered.html.count("alt=") == 1


@pytest.mark.parametrize("name", ["", None])
def test_d6_an_unknown_name_is_greeted_without_a_hole(name: str | None) -> None:
    rendered = render(
        template="abandoned_checkout", context={**CONTEXT, "first_name": name}, language_code="EN"
    )
    assert rendered.text.startswith("Hello,")
    assert "Hi ," not in rendered.text + rendered.html


@pytest.mark.parametrize("name", ["cart_url", "unsubscribe_url", "preferences_url"])
@pytest.mark.parametrize("value", ["", None, "missing"])
def test_d6_a_value_that_is_missing_or_empty_blocks(name: str, value: str | None) -> None:
    context = {**CONTEXT, name: value}
    if value == "missing":
        del context[name]
    with pytest.raises(TemplateIncomplete, match=f"'{name}'"):
        render(template="abandoned_checkout", context=context, language_code="EN")


def test_d6_a_value_missing_in_a_line_blocks() -> None:
    line = {**CONTEXT["lines"][0], "name": ""}
    with pytest.raises(TemplateIncomplete, match=r"'line\.name'"):
        render(
            template="abandoned_checkout", context={**CONTEXT, "lines": [line]}, language_code="EN"
        )


def test_b44_a_line_without_a_picture_has_none() -> None:
    line = {**CONTEXT["lines"][0], "image_url": ""}
    rendered = render(
        template="abandoned_checkout", context={**CONTEXT, "lines": [line]}, language_code="EN"
    )
    assert "<img" not in rendered.html


def write(folder: Path, settings: Any, text: str) -> None:
    place = folder / "saleor_personalize" / "messages" / "mine"
    place.mkdir(parents=True)
    for name in ("subject.txt", "body.txt", "body.html"):
        (place / name).write_text(text)
    settings.TEMPLATES = [{**settings.TEMPLATES[0], "DIRS": [str(folder)]}]


@pytest.mark.parametrize(
    "text",
    [
        "{{ secret }}",
        "{{ lines.7.name }}",
        "{{ secret|default:'none' }}",
        "{% load i18n %}{% blocktranslate %}Hi {{ secret }}{% endblocktranslate %}",
        "{% for line in nothing %}{{ line }}{% endfor %}{{ line }}",
        "{% if %}",
        "{% load static %}",
        "{% load saleor_personalize %}",
        "{% include 'no/such/file.txt' %}",
        "{{ lines.__class__ }}",
    ],
)
def test_d6_what_a_template_cannot_have_blocks(tmp_path: Path, settings: Any, text: str) -> None:
    write(tmp_path, settings, text)
    with pytest.raises(TemplateIncomplete):
        render(template="mine", context=CONTEXT, language_code="EN")


def test_d6_a_template_may_ask_before_it_prints(tmp_path: Path, settings: Any) -> None:
    write(tmp_path, settings, "{% if secret %}{{ secret }}{% else %}nobody{% endif %}")
    rendered = render(template="mine", context=CONTEXT, language_code="EN")
    assert (rendered.subject, rendered.text, rendered.html) == ("nobody", "nobody\n", "nobody")


def test_d6_an_unknown_template_blocks() -> None:
    with pytest.raises(TemplateIncomplete, match="no_such_template"):
        render(template="no_such_template", context={}, language_code="EN")
