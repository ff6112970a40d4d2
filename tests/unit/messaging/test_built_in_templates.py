"""B126: what others can read over a shoulder names no product that merely stands in the message."""

from __future__ import annotations

import re
from typing import Any

import pytest

from saleor_personalize.messaging import content_checks
from saleor_personalize.messaging.rendering import channels_of, known_templates, render

SECRET = "Test kit"
#: These are about one product or category, and their triggers write about no sensitive one.
NAMED = {"back_in_stock", "low_stock", "price_drop", "browsed_category"}
PRODUCT = {
    "product_id": "p",
    "variant_id": "v",
    "name": SECRET,
    "variant_name": SECRET,
    "image_url": "https://cdn.example/a.png",
    "url": "https://shop.example/p",
    "price": "3.00 EUR",
    "price_before": "4.00 EUR",
    "unit_price": "3.00 EUR",
    "quantity": 1,
    "reason": f"Because you bought {SECRET}",
}
CONTEXT: dict[str, Any] = {
    "shop_name": "Sock Shop",
    "first_name": "Ann",
    "product": {**PRODUCT, "name": "Socks"},
    "category": "Socks",
    "category_name": "Socks",
    **{each: [PRODUCT] for each in ("lines", "products", "similar", "favourites", "recommended")},
    "other_carts": [{"cart_url": "https://shop.example/c", "lines": [PRODUCT]}],
    "query": SECRET,
    "pieces": 2,
    "date": "1 March",
    "expires_on": "1 March",
    "offer": {"code": "X-1", "text": "10 %", "expires": "1 March", "minimum": "", "url": ""},
    "link": "https://shop.example/",
    **dict.fromkeys(
        (
            "cart_url",
            "category_url",
            "search_url",
            "sign_up_url",
            "confirmation_url",
            "cancel_url",
            "stay_url",
            "yes_url",
            "unsubscribe_url",
            "preferences_url",
            "view_url",
        ),
        "https://shop.example/",
    ),
    "is_gone": False,
    "price": "3.00 EUR",
    "price_before": "4.00 EUR",
    "variant_name": "Red",
    "expires_days": 7,
    "is_transactional": False,
    "code": "012345",
    "minutes": 10,
}
EVERY = sorted(
    (template, channel) for template in known_templates() for channel in channels_of(template)
)


def test_b126_there_are_templates_to_look_at() -> None:
    assert len(EVERY) > 80


@pytest.mark.parametrize(("template", "channel"), EVERY)
@pytest.mark.parametrize("language", ["EN", "DE"])
def test_b126_subjects_and_previews_name_nothing_that_merely_stands_in_the_message(
    template: str, channel: str, language: str
) -> None:
    rendered = render(
        template=template, context=CONTEXT, language_code=language, delivery_channel=channel
    )
    head = [rendered.subject, rendered.title]
    if rendered.html:
        # What mail programs show beside the subject.
        head += re.findall(r"<div style=\"display:none[^>]*>(.*?)</div>", rendered.html, re.S)
        assert len(head) == 3 or template == "confirm_opt_in"
    else:
        head.append(rendered.text)
    assert SECRET not in " ".join(head)
    if template not in NAMED:
        assert "Socks" not in " ".join(head)


@pytest.mark.parametrize(
    "template", sorted(template for template, channel in EVERY if channel == "email")
)
def test_b82_every_picture_has_an_alt_text_and_mail_is_small(template: str) -> None:
    from saleor_personalize.enums import DeliveryChannel, Purpose

    way_out = "https://app.example/personalize/unsubscribe/"
    context = {**CONTEXT, "unsubscribe_url": way_out}
    rendered = render(template=template, context=context, language_code="DE")
    is_asked_for = template == "confirm_opt_in"
    found = content_checks.findings(
        rendered=rendered,
        delivery_channel=DeliveryChannel.EMAIL,
        purpose=Purpose.TRANSACTIONAL if is_asked_for else Purpose.MARKETING,
        ways_out=[way_out],
    )
    assert found == []
