"""B55, B57: the codes of the shipped journeys, in a shop that makes them; and their words in every language."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.core import mail

from saleor_personalize.enums import ConsentState, OfferStatus
from saleor_personalize.exceptions import TemplateIncomplete
from saleor_personalize.journeys import definitions
from saleor_personalize.journeys import operations as journeys
from saleor_personalize.messaging.rendering import render
from saleor_personalize.models import (
    Consent,
    Identity,
    Installation,
    Journey,
    Message,
    Offer,
    Profile,
)
from saleor_personalize.testing.saleor import FakeSaleor
from saleor_personalize.traits import operations as traits
from tests.conftest import NOW, make_consent, make_profile
from tests.integration.offering import installed, order

DAY, MINUTE = timedelta(days=1), timedelta(minutes=1)
TEMPLATES = sorted(
    {
        step.template
        for definition in journeys.built_in().values()
        for _path, step in definitions.walk(definition)
        if isinstance(step, definitions.Message)
        and definition.trigger.type
        not in {"abandoned_checkout", "back_in_stock", "price_drop", "low_stock"}
    }
)


@pytest.fixture
def shop(settings: Any) -> Iterator[FakeSaleor]:
    settings.SALEOR_PERSONALIZE = {**settings.SALEOR_PERSONALIZE, "ALLOW_PRIVATE_ADDRESSES": True}
    mail.outbox = []
    with FakeSaleor() as made:
        made.fill(products=1, customers=0, orders=0, checkouts=0)
        yield made


@pytest.fixture
def installation(db: None, shop: FakeSaleor) -> Installation:
    return installed(shop)


@pytest.fixture
def erin(installation: Installation) -> Profile:
    profile = make_profile(installation, email="erin@example.com")
    make_consent(profile, ConsentState.GRANTED)
    Consent.objects.update(recorded_at=NOW)
    return profile


def go_live(installation: Installation, key: str) -> None:
    journey = journeys.ensure_journey(installation=installation, key=key)
    journeys.go_live(journey=journey, now=NOW - DAY)
    Journey.objects.filter(pk=journey.pk).update(looked_at=NOW - DAY)


def test_b55_a_welcome_carries_a_code_of_its_own_for_the_first_order(
    shop: FakeSaleor, installation: Installation, erin: Profile
) -> None:
    go_live(installation, "welcome")
    journeys.enter_due(now=NOW + 5 * MINUTE)
    journeys.advance_due(now=NOW + 10 * MINUTE)
    offer = Offer.objects.get()
    assert (offer.status, offer.is_first_order_only) == (OfferStatus.MADE, True)
    (sent,) = mail.outbox
    assert f"Your code: {offer.code}" in sent.body
    assert "Good for 10%, until March 16, 2026." in sent.body
    assert isinstance(sent, mail.EmailMultiAlternatives)
    assert offer.code in str(sent.alternatives)


def test_b55_the_code_is_void_once_an_order_exists_under_whatever_identity(
    shop: FakeSaleor, installation: Installation, erin: Profile
) -> None:
    go_live(installation, "welcome")
    journeys.enter_due(now=NOW + 5 * MINUTE)
    journeys.advance_due(now=NOW + 10 * MINUTE)
    order(installation, email="erin@example.com", at=NOW + DAY)
    assert Offer.objects.get().status == OfferStatus.WITHDRAWN


def test_d2_b55_ordered_before_means_neither_welcome_nor_code(
    shop: FakeSaleor, installation: Installation, erin: Profile
) -> None:
    go_live(installation, "welcome")
    journeys.enter_due(now=NOW + 5 * MINUTE)
    order(installation, email="erin@example.com", at=NOW - 400 * DAY)
    journeys.advance_due(now=NOW + 10 * MINUTE)
    assert mail.outbox == []
    assert not Offer.objects.exists()
    assert Message.objects.get().reason == "ordered"


def test_b57_the_second_message_brings_a_code_and_none_goes_without_it(
    shop: FakeSaleor, installation: Installation, erin: Profile
) -> None:
    order(installation, 9, email="erin@example.com", at=NOW - 118 * DAY)
    traits.compute(installation=installation, now=NOW)
    go_live(installation, "win_back")
    for days in range(20):
        journeys.enter_due(now=NOW + days * DAY)
        journeys.advance_due(now=NOW + days * DAY)
    assert [one.subject for one in mail.outbox] == [
        "It has been a while",
        "A present, if you come back",
    ]
    assert Offer.objects.get().code in mail.outbox[1].body


def test_b57_without_the_right_to_make_codes_the_second_message_does_not_go(
    shop: FakeSaleor, installation: Installation, erin: Profile
) -> None:
    Installation.objects.update(permissions=[])
    order(installation, 9, email="erin@example.com", at=NOW - 118 * DAY)
    traits.compute(installation=installation, now=NOW)
    go_live(installation, "win_back")
    for days in range(20):
        journeys.enter_due(now=NOW + days * DAY)
        journeys.advance_due(now=NOW + days * DAY)
    assert [one.subject for one in mail.outbox] == ["It has been a while"]
    assert Identity.objects.filter(profile=erin).exists()


# -- words ------------------------------------------------------------------------------------------

PRODUCT = {
    "name": "Lamp",
    "price": "20 EUR",
    "price_before": "25 EUR",
    "url": "https://store.test/l",
}
CONTEXT = {
    "shop_name": "Lights & More",
    "first_name": "Zoë <3",
    "unsubscribe_url": "https://personalize.test/u",
    "preferences_url": "https://personalize.test/p",
    "category": "Lights & Lamps",
    "date": "10 May",
    "number": "7",
    "products": [PRODUCT],
    "lines": [PRODUCT],
    "similar": [PRODUCT],
    "favourites": [PRODUCT],
    "offer": {
        "code": "SAVE-7",
        "text": "10%",
        "expires": "March 16",
        "minimum": "40 EUR",
        "url": "x",
    },
}
NEEDED = ("unsubscribe_url", "preferences_url")


@pytest.mark.parametrize("template", TEMPLATES)
def test_every_message_has_words_in_every_language(template: str) -> None:
    found = {
        code: render(template=template, context=CONTEXT, language_code=code)
        for code in ("EN", "DE", "FR", "ES", "PL")
    }
    assert len({one.subject for one in found.values()}) == 5
    for one in found.values():
        assert "https://personalize.test/u" in one.text
        assert "https://personalize.test/p" in one.html
        assert "SAVE-7" in one.text
        assert "Zoë &lt;3" in one.html
        assert "&amp;amp;" not in one.html


@pytest.mark.parametrize("template", TEMPLATES)
def test_what_may_be_missing_may_be_missing(template: str) -> None:
    bare = {name: CONTEXT[name] for name in NEEDED}
    bare |= {"products": [{"name": "Lamp"}], "category": "Lamps", "date": "10 May"}
    rendered = render(template=template, context=bare, language_code="EN")
    assert "Hello," in rendered.text
    assert "Your code" not in rendered.html
    for name in NEEDED:
        with pytest.raises(TemplateIncomplete):
            render(
                template=template,
                context={key: value for key, value in bare.items() if key != name},
                language_code="EN",
            )


@pytest.mark.parametrize(
    "template",
    ["browsed_category", "searched", "goes_with_it", "replenishment", "mothers_day", "fathers_day"],
)
def test_a_message_about_products_never_goes_without_any(template: str) -> None:
    bare = {name: CONTEXT[name] for name in NEEDED}
    with pytest.raises(TemplateIncomplete):
        render(
            template=template,
            context={**bare, "products": [], "category": "Lamps", "date": "10 May"},
            language_code="EN",
        )


def test_the_wish_for_a_review_needs_the_link_to_the_product() -> None:
    bare = {name: CONTEXT[name] for name in NEEDED}
    with pytest.raises(TemplateIncomplete, match="url"):
        render(template="review", context={**bare, "lines": [{"name": "Lamp"}]}, language_code="EN")
    lines = {"lines": [PRODUCT]}
    rendered = render(template="review", context={**bare, **lines}, language_code="EN")
    assert "Write a review: https://store.test/l" in rendered.text
