"""B70: numbers are read as people write them, and kept as E.164."""

import pytest

from saleor_personalize.profiles import phones


@pytest.mark.parametrize(
    ("text", "country", "number"),
    [
        ("+49 171 1234567", "", "+491711234567"),
        ("0171 1234567", "DE", "+491711234567"),
        ("0171/123 45-67", "de", "+491711234567"),
        ("0049 171 1234567", "DE", "+491711234567"),
        ("+49 (0) 171 1234567", "", "+491711234567"),
        ("512 345 678", "PL", "+48512345678"),
        ("(201) 555-0123", "US", "+12015550123"),
        ("07400 123456", "GB", "+447400123456"),
        # A number of another country than the address.
        ("+48 512 345 678", "DE", "+48512345678"),
    ],
)
def test_b70_a_number_without_a_country_is_of_the_address(
    text: str, country: str, number: str
) -> None:
    assert phones.read(text, country_code=country) == number


@pytest.mark.parametrize(
    ("text", "country"),
    [
        ("", "DE"),
        ("none", "DE"),
        ("0171 1234567", ""),
        ("0171 1234567", "XX"),
        ("12345", "DE"),
        ("+49 171 12345678901234", ""),
        # A line at a wall, and one that costs the caller.
        ("030 123456", "DE"),
        ("0900 3 123456", "DE"),
        ("+49 171 1234567" + " " * 40, ""),
    ],
)
def test_b70_what_gets_no_text_messages_is_no_number(text: str, country: str) -> None:
    assert phones.read(text, country_code=country) is None
