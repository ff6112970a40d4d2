"""B71: every message of ours can be said over every delivery channel, in every language."""

from typing import Any

import pytest

from saleor_personalize.messaging.rendering import channels_of, known_templates, landing, render
from saleor_personalize.messaging.segments import segments_of

PRODUCT = {
    "name": "Blue shoe",
    "url": "https://store.test/blue-shoe",
    "image_url": "https://store.test/blue-shoe.png",
}
CONTEXT: dict[str, Any] = {
    "shop_name": "Example shop",
    "link": "https://store.test/there",
    "product": PRODUCT,
    "products": [PRODUCT],
    "category": "Shoes",
    "date": "1 May",
    "pieces": 2,
}
#: Asks the owner of an address, so it goes to that address alone.
BY_MAIL_ALONE = {"confirm_opt_in"}
#: Proves a number, so it goes there alone.
BY_TEXT_ALONE = {"confirm_phone"}
OURS = sorted(known_templates() - BY_MAIL_ALONE - BY_TEXT_ALONE)


def test_b71_there_are_messages_and_each_has_words_for_every_way() -> None:
    assert len(OURS) >= 25
    assert {name: channels_of(name) for name in OURS} == dict.fromkeys(
        OURS, frozenset({"email", "push", "in_app", "sms"})
    )
    assert channels_of("confirm_opt_in") == {"email"}
    assert channels_of("confirm_phone") == {"sms"}


def test_b70_the_code_is_said_in_five_languages_in_three_segments_at_most() -> None:
    said = {
        language: render(
            template="confirm_phone",
            context={"shop_name": "Sock Shop", "code": "012345", "minutes": 10},
            language_code=language,
            delivery_channel="sms",
        ).text
        for language in ("EN", "DE", "FR", "ES", "PL")
    }
    assert len(set(said.values())) == 5
    assert all("012345" in text and "10" in text for text in said.values())
    assert max(segments_of(text).count for text in said.values()) <= 3


@pytest.mark.parametrize("template", OURS)
def test_b71_the_words_are_short_and_in_the_persons_language(template: str) -> None:
    said = {}
    for language in ("EN", "DE", "FR", "ES", "PL"):
        push = render(
            template=template, context=CONTEXT, language_code=language, delivery_channel="push"
        )
        sms = render(
            template=template, context=CONTEXT, language_code=language, delivery_channel="sms"
        )
        assert 3 < len(push.title) <= 65, push.title
        assert 3 < len(push.text) <= 180, push.text
        assert "\n" not in push.title + push.text + sms.text
        assert (push.subject, push.html, sms.title) == ("", "", "")
        assert push.text in sms.text
        assert "Example shop" in sms.text
        assert "https://store.test/there" in sms.text
        assert "STOP" in sms.text
        assert len(sms.text) <= 320, sms.text
        said[push.title, push.text] = language
    assert len(said) == 5


def test_b71_a_code_is_told_in_a_few_words_as_well() -> None:
    context = {**CONTEXT, "offer": {"code": "HELLO-1"}}
    push = render(template="welcome", context=context, language_code="DE", delivery_channel="push")
    assert push.text.endswith("Ihr Code: HELLO-1")


def test_b76_an_sms_that_an_order_needs_offers_no_way_out_of_marketing() -> None:
    context = {**CONTEXT, "is_transactional": True}
    sms = render(template="thanks", context=context, language_code="EN", delivery_channel="sms")
    assert "STOP" not in sms.text


@pytest.mark.parametrize(
    ("context", "link", "image"),
    [
        ({}, "", ""),
        ({"cart_url": "https://store.test/cart", "product": PRODUCT}, "https://store.test/cart", PRODUCT["image_url"]),
        ({"products": [PRODUCT]}, PRODUCT["url"], PRODUCT["image_url"]),
        ({"lines": [{"name": "Old"}], "similar": [PRODUCT]}, PRODUCT["url"], PRODUCT["image_url"]),
        ({"link": "https://store.test/x", "image_url": "https://store.test/y", "product": PRODUCT}, "https://store.test/x", "https://store.test/y"),
    ],
)  # fmt: skip
def test_b68_a_tap_leads_to_what_the_message_is_about(
    context: dict[str, Any], link: str, image: str
) -> None:
    assert landing(context) == (link, image)
