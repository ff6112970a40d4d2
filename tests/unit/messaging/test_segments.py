"""B70: a text message is counted as it is cut and paid for."""

import pytest

from saleor_personalize.exceptions import TextTooLong
from saleor_personalize.messaging.rendering import Rendered
from saleor_personalize.messaging.segments import finish, segments_of


@pytest.mark.parametrize(
    ("text", "count", "units"),
    [
        ("", 1, 0),
        ("a" * 160, 1, 160),
        ("a" * 161, 2, 161),
        ("a" * 306, 2, 306),
        ("a" * 307, 3, 307),
        # The euro and brackets take two places each.
        ("€" * 80, 1, 160),
        ("€" * 81, 2, 162),
        # An escape is never cut from its sign: 152 + 2 do not fit into one of 153.
        ("a" * 152 + "€" + "a" * 152, 3, 306),
        ("Grüße aus Ñuñoa, à la Øre: Å£¥", 1, 30),
    ],
)
def test_b70_of_the_gsm_alphabet_160_fit_into_one_and_153_into_each(
    text: str, count: int, units: int
) -> None:
    found = segments_of(text)
    assert (found.count, found.units, found.is_unicode) == (count, units, False)


@pytest.mark.parametrize(
    ("text", "count", "units"),
    [
        ("ż" * 70, 1, 70),
        ("ż" * 71, 2, 71),
        ("ż" * 134, 2, 134),
        ("ż" * 135, 3, 135),
        # An emoji is two of UCS-2, and is not cut through: 66 + 2 do not fit into one of 67.
        ("😀" * 35, 1, 70),
        ("a" * 66 + "😀" + "a" * 66, 3, 134),
        ("\N{NO-BREAK SPACE}" + "a" * 70, 2, 71),
    ],
)
def test_b70_a_single_foreign_character_makes_it_70_and_67(
    text: str, count: int, units: int
) -> None:
    found = segments_of(text)
    assert (found.count, found.units, found.is_unicode) == (count, units, True)


def test_b70_the_foreign_characters_are_named_once() -> None:
    assert segments_of("zażółć ß zażółć").culprits == "żółć"


def test_b70_what_takes_more_than_is_allowed_is_not_sent(settings: object) -> None:
    assert finish(Rendered(text="a" * 459)).text == "a" * 459
    with pytest.raises(TextTooLong, match="takes 4 segments; SMS_MAX_SEGMENTS allows 3"):
        finish(Rendered(text="a" * 460))
    with pytest.raises(TextTooLong, match=r"takes 4 segments \(a character outside the GSM"):
        finish(Rendered(text="ż" * 202))
