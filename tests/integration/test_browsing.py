"""B50: looked at and left. A product, a category, a search; what got further comes first."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from django.core import mail

from saleor_personalize.enums import (
    ConsentState,
    EventType,
    IdentityKind,
    NotSentReason,
    Purpose,
)
from saleor_personalize.events import operations as events
from saleor_personalize.journeys import operations as journeys
from saleor_personalize.models import Consent, Enrollment, Installation, Message, Profile
from tests.conftest import NOW, make_consent, make_profile
from tests.integration.people import DAY, HOUR, Shop
from tests.integration.reminders import checkout_data

VIEWED = EventType.PRODUCT_VIEWED


@pytest.fixture
def shop(installation: Installation, alice: Profile, settings: Any) -> Shop:
    settings.SALEOR_PERSONALIZE = {
        **settings.SALEOR_PERSONALIZE,
        "PRODUCT_URL": "https://store.test/{channel}/{slug}",
    }
    made = Shop(installation)
    made.product("LAMP", category="LIGHT")
    made.product("DESK")
    return made


def look(shop: Shop, product: str = "LAMP", *, times: int = 2, **more: Any) -> None:
    for n in range(times):
        shop.track(VIEWED, NOW + n * HOUR / 2, product=product, **more)


def test_b50_a_product_looked_at_twice_is_told_once(shop: Shop) -> None:
    shop.go_live("browsed_product")
    look(shop)
    assert shop.run(NOW + HOUR) == 0
    assert shop.run(NOW + 4 * HOUR + HOUR / 2) == 1
    assert shop.subjects() == ["Still thinking about it?"]
    body = mail.outbox[0].body
    assert "Product LAMP" in body
    assert "https://store.test/default-channel/lamp" in body
    assert "20.00\N{NO-BREAK SPACE}USD" in body
    for days in (1, 2, 8):
        shop.track(VIEWED, NOW + days * DAY, product="LAMP")
        shop.run(NOW + days * DAY + 5 * HOUR)
    assert len(mail.outbox) == 1


def test_b50_once_is_no_interest(shop: Shop) -> None:
    shop.go_live("browsed_product")
    look(shop, times=1)
    shop.run(NOW + 5 * HOUR)
    assert not Enrollment.objects.exists()


def test_b50_views_longer_ago_than_the_window_do_not_count(shop: Shop) -> None:
    shop.go_live("browsed_product", at=NOW - 9 * DAY)
    shop.track(VIEWED, NOW - 8 * DAY, product="LAMP")
    look(shop, times=1)
    shop.run(NOW + 5 * HOUR)
    assert not Enrollment.objects.exists()


def test_b50_how_often_and_how_long_are_options(shop: Shop) -> None:
    shipped = journeys.built_in()["browsed_product"].to_json()
    trigger = {"type": "browsed_product", "times": 1, "after": "1 hour"}
    journeys.load(
        installation=shop.installation, text=json.dumps({**shipped, "trigger": trigger}), now=NOW
    )
    shop.go_live("browsed_product")
    look(shop, times=1)
    shop.run(NOW + HOUR)
    assert len(mail.outbox) == 1


def test_b50_whoever_is_still_there_is_not_disturbed(shop: Shop) -> None:
    shop.go_live("browsed_product")
    look(shop)
    shop.run(NOW + 3 * HOUR)
    shop.track(VIEWED, NOW + 4 * HOUR, product="DESK")
    assert shop.run(NOW + 5 * HOUR) == 1
    assert mail.outbox == []
    shop.run(NOW + 8 * HOUR)
    assert len(mail.outbox) == 1


def test_d2_b50_an_order_from_another_device_ends_it(shop: Shop) -> None:
    shop.go_live("browsed_product")
    look(shop)
    shop.run(NOW + HOUR)
    shop.order(at=NOW + 2 * HOUR, user_id="", product="DESK")
    shop.run(NOW + 5 * HOUR)
    assert (mail.outbox, shop.reasons()) == ([], ["ordered"])


def test_d2_b50_what_somebody_has_is_not_advertised_to_them(shop: Shop) -> None:
    """They look at the page of what they bought last week: to see how it works."""
    shop.order(at=NOW - 7 * DAY, product="LAMP")
    shop.go_live("browsed_product")
    look(shop)
    shop.run(NOW + 5 * HOUR)
    assert not Enrollment.objects.exists()


def test_d2_b50_bought_before_but_told_late(shop: Shop) -> None:
    shop.go_live("browsed_product")
    look(shop)
    shop.run(NOW + HOUR)
    shop.order(at=NOW + 2 * HOUR, placed_at=NOW - DAY, product="LAMP")
    shop.run(NOW + 5 * HOUR)
    assert (mail.outbox, shop.reasons()) == ([], ["ordered"])


@pytest.mark.parametrize(
    ("state", "reason"),
    [(ConsentState.DENIED, "no_consent"), (ConsentState.PENDING, "no_consent")],
)
def test_d2_b50_nobody_is_written_to_without_permission(
    shop: Shop, alice: Profile, state: ConsentState, reason: str
) -> None:
    shop.go_live("browsed_product")
    look(shop)
    shop.run(NOW + HOUR)
    make_consent(alice, state)
    shop.run(NOW + 5 * HOUR)
    assert (mail.outbox, shop.reasons()) == ([], [reason])


def test_d2_b50_who_refuses_profiling_since_is_not_written_to(shop: Shop, alice: Profile) -> None:
    shop.go_live("browsed_product")
    look(shop)
    shop.run(NOW + HOUR)
    Consent.objects.create(
        installation=shop.installation,
        profile=alice,
        purpose=Purpose.PROFILING,
        state=ConsentState.DENIED,
        source="test",
        recorded_at=NOW + HOUR,
    )
    shop.run(NOW + 5 * HOUR)
    assert (mail.outbox, shop.reasons()) == ([], ["no_consent"])


def test_b50_browsers_without_an_address_wait_for_nothing(shop: Shop) -> None:
    shop.go_live("browsed_product")
    look(shop, shown={IdentityKind.ANONYMOUS_ID: "3f0d6e0e-browser"})
    shop.run(NOW + 5 * HOUR)
    assert not Enrollment.objects.exists()


def test_b50_what_is_sold_out_is_not_shown(shop: Shop) -> None:
    shop.go_live("browsed_product")
    look(shop)
    shop.run(NOW + HOUR)
    shop.sell_out("LAMP")
    shop.run(NOW + 5 * HOUR)
    assert (mail.outbox, shop.reasons()) == ([], ["nothing_to_show"])


def test_b50_nothing_is_said_of_what_is_sensitive(shop: Shop, settings: Any) -> None:
    settings.SALEOR_PERSONALIZE = {**settings.SALEOR_PERSONALIZE, "SENSITIVE_CATEGORIES": ["LIGHT"]}
    shop.category("LIGHT", "Lights")
    shop.go_live("browsed_product")
    look(shop)
    shop.run(NOW + 5 * HOUR)
    assert (mail.outbox, shop.reasons()) == ([], ["sensitive"])


# -- the most significant abandonment --------------------------------------------------------------


def test_b49_a_cart_outshines_what_was_looked_at(shop: Shop) -> None:
    shop.go_live("browsed_product")
    look(shop)
    shop.run(NOW + HOUR)
    data = checkout_data(email="", user_id="VXNlcjox", at=NOW + HOUR)
    events.record_checkouts(installation=shop.installation, data=[data], now=NOW + HOUR)
    shop.run(NOW + 5 * HOUR)
    assert (mail.outbox, shop.reasons()) == ([], ["outshone"])


def test_b49_put_into_the_cart_is_further_than_looked_at(shop: Shop) -> None:
    shop.go_live("browsed_product")
    look(shop)
    shop.run(NOW + HOUR)
    shop.track(EventType.CART_ADDED, NOW + 2 * HOUR, product="LAMP")
    shop.run(NOW + 7 * HOUR)
    assert mail.outbox == []
    (message,) = Message.objects.all()
    assert message.reason in {NotSentReason.OUTSHONE, NotSentReason.EXIT_CONDITION}


def test_b49_of_product_category_and_search_the_product_is_told(shop: Shop) -> None:
    for key in ("browsed_product", "browsed_category", "searched"):
        shop.go_live(key)
    shop.category("LIGHT", "Lights")
    for n in range(3):
        shop.track(EventType.CATEGORY_VIEWED, NOW + n * HOUR / 10, category_id="LIGHT")
        shop.track(EventType.SEARCHED, NOW + n * HOUR / 10, query="product")
        shop.track(VIEWED, NOW + n * HOUR / 10, product="LAMP")
    for hours in range(1, 60):
        shop.run(NOW + hours * HOUR)
    assert shop.subjects() == ["Still thinking about it?"]
    assert shop.reasons() == ["outshone", "outshone"]


# -- categories and searches -----------------------------------------------------------------------


def test_b50_a_category_is_shown_with_what_it_has(shop: Shop) -> None:
    shop.category("LIGHT", "Lights")
    shop.go_live("browsed_category")
    for n in range(3):
        shop.track(EventType.CATEGORY_VIEWED, NOW + n * HOUR, category_id="LIGHT")
    shop.run(NOW + 9 * HOUR)
    assert shop.subjects() == ["More from Lights"]
    assert "Product LAMP" in mail.outbox[0].body
    assert "Product DESK" not in mail.outbox[0].body
    assert shop.run(NOW + 2 * DAY) == 0


def test_b50_an_empty_category_is_not_shown(shop: Shop) -> None:
    shop.category("LIGHT", "Lights")
    shop.sell_out("LAMP")
    shop.go_live("browsed_category")
    for n in range(3):
        shop.track(EventType.CATEGORY_VIEWED, NOW + n * HOUR, category_id="LIGHT")
    shop.run(NOW + 9 * HOUR)
    assert (mail.outbox, shop.reasons()) == ([], ["nothing_to_show"])


def test_b50_a_search_shows_what_was_found_and_keeps_no_words(shop: Shop) -> None:
    shop.go_live("searched")
    shop.track(EventType.SEARCHED, NOW, query="LAMP ")
    shop.track(EventType.SEARCHED, NOW + HOUR, query="lamp")
    shop.run(NOW + 8 * HOUR)
    assert shop.subjects() == ["Have you found what you were looking for?"]
    assert "Product LAMP" in mail.outbox[0].body
    assert "Product DESK" not in mail.outbox[0].body
    (row,) = Enrollment.objects.all()
    kept = f"{row.context} {row.entry_key} {row.subject_saleor_id} {Message.objects.get().content}"
    assert "lamp" not in kept


def test_b50_other_people_of_the_shop_are_left_alone(shop: Shop) -> None:
    make_profile(shop.installation, email="erin@example.com")
    shop.go_live("browsed_product")
    look(shop)
    shop.run(NOW + 4 * HOUR + timedelta(minutes=30))
    assert [one.to for one in mail.outbox] == [["alice@example.com"]]
