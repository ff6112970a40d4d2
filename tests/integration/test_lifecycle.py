"""B55, B56, B57 and what else begins with a person: each once, with permission, and never after what ends it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core import mail

from saleor_personalize.enums import ConsentState, EventType, IdentityKind
from saleor_personalize.exceptions import MalformedPayload
from saleor_personalize.journeys import operations as journeys
from saleor_personalize.journeys.live_orders import LiveOrder, read_answer
from saleor_personalize.models import (
    Consent,
    Enrollment,
    Identity,
    Installation,
    Message,
    Order,
    Profile,
    email_hash,
)
from saleor_personalize.profiles import consent
from saleor_personalize.segments import operations as segments
from saleor_personalize.traits import operations as traits
from tests.conftest import NOW, make_consent, make_profile
from tests.integration.people import ALICE, DAY, HOUR, Shop
from tests.payloads import one

LAMP = "LAMP"


@pytest.fixture
def shop(installation: Installation, alice: Profile, settings: Any) -> Shop:
    settings.SALEOR_PERSONALIZE = {
        **settings.SALEOR_PERSONALIZE,
        "PRODUCT_URL": "https://store.test/{slug}",
        "OFFERS": False,
    }
    Consent.objects.update(recorded_at=NOW - 90 * DAY)
    made = Shop(installation)
    made.product(LAMP)
    made.product("DESK")
    return made


def tick(shop: Shop, first: datetime, last: datetime, step: timedelta = DAY) -> None:
    """Let time pass, with a look every day."""
    at = first
    while at <= last:
        shop.run(at)
        at += step


# -- B55: welcome -----------------------------------------------------------------------------------


def say_yes(shop: Shop, address: str, at: datetime) -> Profile:
    profile = make_profile(shop.installation, email=address)
    consent = make_consent(profile, ConsentState.GRANTED)
    consent.recorded_at = at
    consent.save()
    return profile


def test_b55_who_says_yes_for_the_first_time_is_welcomed_once(shop: Shop) -> None:
    shop.go_live("welcome")
    erin = say_yes(shop, "erin@example.com", NOW + HOUR)
    shop.run(NOW + HOUR)
    assert mail.outbox == []
    shop.run(NOW + 2 * HOUR)
    assert [one.to for one in mail.outbox] == [["erin@example.com"]]
    assert shop.subjects() == ["Welcome! Good to have you here"]
    again = make_consent(erin, ConsentState.GRANTED)
    again.recorded_at = NOW + 40 * DAY
    again.save()
    tick(shop, NOW + 40 * DAY, NOW + 42 * DAY)
    assert len(mail.outbox) == 1


def test_b55_who_said_yes_before_it_went_live_is_not_welcomed(shop: Shop) -> None:
    shop.go_live("welcome", at=NOW + HOUR)
    tick(shop, NOW + HOUR, NOW + DAY)
    assert not Enrollment.objects.exists()


def test_b55_waiting_for_a_product_spends_no_welcome(shop: Shop) -> None:
    """Who signs up for a sold-out product allowed one message; the yes to all of them comes later."""
    shop.go_live("welcome")
    erin = make_profile(shop.installation, email="erin@example.com")
    consent.record_yes(
        profile=erin, topics=["stock_alerts"], source="stock_alert", country_code="FR", now=NOW
    )
    shop.run(NOW + HOUR)
    assert not Enrollment.objects.exists()
    consent.record_yes(profile=erin, source="newsletter", country_code="FR", now=NOW + DAY)
    shop.run(NOW + DAY + HOUR)
    assert shop.subjects() == ["Welcome! Good to have you here"]


def test_d2_b55_nobody_who_ever_ordered_is_welcomed(shop: Shop) -> None:
    """The order was placed as a guest, under the same address, long ago."""
    shop.order("old", NOW - 300 * DAY, email="erin@example.com", user_id="")
    Order.objects.update(profile=None)
    shop.go_live("welcome")
    erin = Identity.objects.get(value=email_hash("erin@example.com")).profile
    row = make_consent(erin, ConsentState.GRANTED)
    row.recorded_at = NOW
    row.save()
    shop.run(NOW + HOUR)
    assert not Enrollment.objects.exists()


def test_d2_b55_an_order_before_the_welcome_ends_it(shop: Shop) -> None:
    shop.go_live("welcome")
    say_yes(shop, "erin@example.com", NOW)
    shop.run(NOW + timedelta(minutes=5))
    shop.order(at=NOW + timedelta(minutes=6), email="erin@example.com", user_id="")
    shop.run(NOW + HOUR)
    assert (mail.outbox, shop.reasons()) == ([], ["ordered"])


def test_d2_b55_a_yes_that_is_taken_back_is_none(shop: Shop) -> None:
    shop.go_live("welcome")
    erin = say_yes(shop, "erin@example.com", NOW)
    shop.run(NOW + timedelta(minutes=5))
    make_consent(erin, ConsentState.DENIED)
    shop.run(NOW + HOUR)
    assert (mail.outbox, shop.reasons()) == ([], ["no_consent"])


# -- B56: after the delivery ------------------------------------------------------------------------


def fulfil(shop: Shop, id: str = "order-1", at: datetime = NOW, **changes: Any) -> None:  # noqa: A002
    shop.order(id, at, **{"product": LAMP, "status": "FULFILLED", "placed_at": at - DAY, **changes})


def test_b56_thanks_and_the_wish_for_a_review_follow_the_delivery_not_the_payment(
    shop: Shop,
) -> None:
    shop.go_live("post_purchase")
    shop.order(at=NOW, status="UNFULFILLED", product=LAMP)
    tick(shop, NOW, NOW + 5 * DAY)
    assert not Enrollment.objects.exists()
    fulfil(shop, at=NOW + 5 * DAY, placed_at=NOW)
    tick(shop, NOW + 5 * DAY, NOW + 40 * DAY)
    assert shop.subjects() == ["Thank you for your order", "How do you like it?"]
    assert "Product LAMP" in mail.outbox[0].body
    assert "https://store.test/lamp" in mail.outbox[1].body
    assert [row.decided_at.date() for row in Message.objects.order_by("pk")] == [
        (NOW + 7 * DAY).date(),
        (NOW + 19 * DAY).date(),
    ]


def test_b56_a_note_on_the_order_neither_repeats_nor_delays(shop: Shop) -> None:
    shop.go_live("post_purchase")
    fulfil(shop)
    fulfil(shop, at=NOW + DAY, placed_at=NOW - DAY)
    shop.run(NOW + 2 * DAY)
    fulfil(shop, at=NOW + 3 * DAY, placed_at=NOW - DAY)
    tick(shop, NOW + 3 * DAY, NOW + 40 * DAY)
    assert shop.subjects() == ["Thank you for your order", "How do you like it?"]


@pytest.mark.parametrize("status", ["CANCELED", "RETURNED", "PARTIALLY_RETURNED", "UNFULFILLED"])
def test_b56_it_stops_when_the_order_is_called_off(shop: Shop, status: str) -> None:
    shop.go_live("post_purchase")
    fulfil(shop)
    shop.run(NOW + 2 * DAY)
    fulfil(shop, at=NOW + 3 * DAY, status=status)
    tick(shop, NOW + 3 * DAY, NOW + 40 * DAY)
    assert shop.subjects() == ["Thank you for your order"]
    assert shop.reasons() == ["called_off"]


def test_b56_it_stops_at_a_refund_that_no_webhook_tells_of(shop: Shop) -> None:
    shop.go_live("post_purchase")
    fulfil(shop)
    shop.run(NOW + 2 * DAY)
    shop.orders["order-1"] = LiveOrder(is_called_off=True)
    tick(shop, NOW + 3 * DAY, NOW + 40 * DAY)
    assert shop.subjects() == ["Thank you for your order"]
    assert shop.reasons() == ["called_off"]
    assert shop.asked == ["order-1", "order-1"]


def test_b56_what_went_out_last_counts_as_saleor_tells_it(shop: Shop) -> None:
    shop.go_live("post_purchase")
    fulfil(shop)
    shop.orders["order-1"] = LiveOrder(is_called_off=False, fulfilled_at=NOW + DAY)
    shop.run(NOW + 2 * DAY)
    assert mail.outbox == []
    shop.run(NOW + 3 * DAY)
    assert len(mail.outbox) == 1


def test_b56_an_old_order_that_comes_to_notice_is_no_news(shop: Shop) -> None:
    """Staff write a note at an order of last year."""
    shop.go_live("post_purchase", at=NOW - 90 * DAY)
    fulfil(shop, placed_at=NOW - 200 * DAY)
    assert not Enrollment.objects.exists()
    fulfil(shop, "order-2", placed_at=NOW - 80 * DAY)
    shop.orders["order-2"] = LiveOrder(is_called_off=False, fulfilled_at=NOW - 75 * DAY)
    tick(shop, NOW, NOW + 10 * DAY)
    assert (mail.outbox, shop.reasons()) == ([], ["too_late"])


def test_b56_what_went_out_before_the_journey_went_live_is_not_thanked_for(shop: Shop) -> None:
    """A note on an order of three weeks ago makes it known as new."""
    shop.go_live("post_purchase")
    fulfil(shop, placed_at=NOW - 22 * DAY)
    shop.orders["order-1"] = LiveOrder(is_called_off=False, fulfilled_at=NOW - 20 * DAY)
    tick(shop, NOW, NOW + 20 * DAY)
    assert (mail.outbox, shop.reasons()) == ([], ["not_live"])


def test_d2_b56_without_permission_nobody_is_thanked(shop: Shop, bob: Profile) -> None:
    shop.go_live("post_purchase")
    fulfil(shop, email="bob@example.com", user_id="VXNlcjoy")
    tick(shop, NOW, NOW + 30 * DAY)
    assert (mail.outbox, shop.reasons()) == ([], ["no_consent"])


def test_b56_purchases_in_a_store_are_not_fulfilled_by_saleor(shop: Shop) -> None:
    shop.go_live("post_purchase")
    fulfil(shop)
    Enrollment.objects.all().delete()
    Order.objects.update(origin="offline")
    order = Order.objects.get()
    journeys.follow_orders(installation=shop.installation, ids=[order.pk], now=NOW)
    assert not Enrollment.objects.exists()


def test_b56_the_webhook_of_saleor_brings_them_in(shop: Shop, signing_key: Any) -> None:
    """The order as a live Saleor sent it; its state and address are changed to a delivered one of Alice's."""
    shop.go_live("post_purchase")
    recorded = one("order", "order_updated")
    at = datetime.fromisoformat(recorded.payload["order"]["updatedAt"])
    journey = shop.go_live("post_purchase")
    journey.live_at = at - DAY
    journey.save()
    payload = recorded.changed(status="FULFILLED").payload
    payload["recipient"]["id"] = shop.installation.app_id
    recorded = type(recorded)(recorded.event, json.dumps(payload).encode())
    shop.deliver(recorded, at)
    (row,) = Enrollment.objects.all()
    assert (row.subject_kind, row.subject_saleor_id) == ("order", payload["order"]["id"])
    assert row.due_at == at + 2 * DAY


def test_b56_goes_with_it_needs_something_that_goes_with_it(shop: Shop) -> None:
    shop.go_live("cross_sell")
    fulfil(shop)
    tick(shop, NOW, NOW + 20 * DAY)
    assert mail.outbox == []
    assert shop.reasons() == ["template_incomplete"]


def test_b56_goes_with_it_shows_what_the_shop_says_goes_with_it(shop: Shop) -> None:
    row = shop.product("BULB")
    lamp = row.__class__.objects.get(saleor_id=LAMP)
    lamp.attributes = [{"attribute": "accessories", "values": [], "references": ["BULB"]}]
    lamp.save()
    shop.go_live("cross_sell")
    fulfil(shop)
    tick(shop, NOW, NOW + 20 * DAY)
    assert shop.subjects() == ["This goes with what you bought"]
    assert "Product BULB" in mail.outbox[0].body
    assert "Product DESK" not in mail.outbox[0].body


def test_d2_b56_who_has_ordered_again_is_not_told_what_goes_with_it(shop: Shop) -> None:
    shop.go_live("cross_sell")
    fulfil(shop)
    shop.order("order-2", NOW + DAY, product="DESK")
    tick(shop, NOW + DAY, NOW + 20 * DAY)
    assert (mail.outbox, shop.reasons()) == ([], ["ordered"])


def test_the_third_delivery_makes_a_regular_customer_once(shop: Shop) -> None:
    shop.go_live("repeat_customer")
    for n in range(5):
        fulfil(shop, f"order-{n}", NOW + n * 10 * DAY)
        tick(shop, NOW + n * 10 * DAY, NOW + (n * 10 + 9) * DAY)
    assert shop.subjects() == ["Thank you for coming back"]
    assert Message.objects.get().decided_at.date() == (NOW + 24 * DAY).date()


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, LiveOrder(False, datetime(2026, 3, 2, 9, tzinfo=UTC))),
        ({"status": "RETURNED"}, LiveOrder(True, datetime(2026, 3, 2, 9, tzinfo=UTC))),
        (
            {"totalRefunded": {"amount": 5.0}},
            LiveOrder(True, datetime(2026, 3, 2, 9, tzinfo=UTC)),
        ),
        (
            {"fulfillments": [{"created": "2026-03-01T09:00:00+00:00", "status": "REFUNDED"}]},
            LiveOrder(True, None),
        ),
        (
            {
                "fulfillments": [
                    {"created": "2026-03-01T09:00:00+00:00", "status": "CANCELED"},
                    {"created": "2026-03-01T10:00:00+00:00", "status": "FULFILLED"},
                ]
            },
            LiveOrder(False, datetime(2026, 3, 1, 10, tzinfo=UTC)),
        ),
    ],
)
def test_b56_what_saleor_says_of_an_order(changes: dict[str, Any], expected: LiveOrder) -> None:
    node = {
        "status": "FULFILLED",
        "totalRefunded": {"amount": 0.0},
        "fulfillments": [{"created": "2026-03-02T09:00:00+00:00", "status": "FULFILLED"}],
        **changes,
    }
    assert read_answer({"order": node}) == expected
    assert read_answer({"order": None}) == LiveOrder(True)
    with pytest.raises(MalformedPayload, match="OrderNow"):
        read_answer({"order": {"status": "FULFILLED"}})


# -- B57: silence -----------------------------------------------------------------------------------


def orders(shop: Shop, *days_ago: int) -> None:
    for n, days in enumerate(days_ago):
        at = NOW - days * DAY
        shop.order(f"order-{n}", at, placed_at=at, product=LAMP)
    traits.compute(installation=shop.installation, now=NOW)


def test_b57_silent_for_twice_their_own_gap(shop: Shop) -> None:
    """Every 20 days until 38 days ago: twice that is over in two days."""
    orders(shop, 78, 58, 38)
    shop.go_live("win_back")
    shop.run(NOW + DAY)
    assert not Enrollment.objects.exists()
    shop.run(NOW + 3 * DAY)
    assert shop.subjects() == ["It has been a while"]


def test_b57_a_slow_rhythm_is_no_silence(shop: Shop) -> None:
    """Every 100 days: 150 days without an order are within their habit, though 120 would be too long."""
    orders(shop, 350, 250, 150)
    shop.go_live("win_back")
    tick(shop, NOW, NOW + 20 * DAY, DAY)
    assert not Enrollment.objects.exists()


def test_b57_with_one_order_fixed_days_count(shop: Shop) -> None:
    orders(shop, 118)
    shop.go_live("win_back")
    shop.run(NOW + DAY)
    assert not Enrollment.objects.exists()
    shop.run(NOW + 3 * DAY)
    assert shop.subjects() == ["It has been a while"]


def test_b57_once_in_half_a_year(shop: Shop) -> None:
    orders(shop, 78, 58, 38)
    shop.go_live("win_back")
    tick(shop, NOW, NOW + 60 * DAY, DAY)
    assert shop.subjects() == ["It has been a while"]
    assert Enrollment.objects.count() == 1


def test_d2_b57_an_order_that_comes_late_ends_it(shop: Shop) -> None:
    """It was placed in a store last week and is imported only now."""
    orders(shop, 78, 58, 38)
    shop.go_live("win_back")
    journeys.enter_due(now=NOW + 3 * DAY)
    shop.order("late", NOW + 3 * DAY, placed_at=NOW - 7 * DAY)
    shop.run(NOW + 3 * DAY + HOUR)
    assert (mail.outbox, shop.reasons()) == ([], ["ordered"])


def test_d2_b57_nobody_without_permission(shop: Shop, alice: Profile) -> None:
    orders(shop, 78, 58, 38)
    make_consent(alice, ConsentState.DENIED)
    shop.go_live("win_back")
    shop.run(NOW + 3 * DAY)
    assert (mail.outbox, shop.reasons()) == ([], ["no_consent"])


def test_b57_lapsed_by_the_measure_of_the_shop(shop: Shop) -> None:
    orders(shop, 364)
    shop.go_live("lapsed")
    tick(shop, NOW, NOW + 5 * DAY, DAY)
    assert shop.subjects() == ["Do you still want to hear from us?"]


# -- replenishment ----------------------------------------------------------------------------------


def test_what_is_used_up_by_their_own_rhythm_is_told_once(shop: Shop) -> None:
    orders(shop, 58, 38, 18)
    shop.go_live("replenishment")
    shop.run(NOW)
    tick(shop, NOW, NOW + 5 * DAY)
    assert shop.subjects() == ["Is it time for more?"]
    assert "Product LAMP" in mail.outbox[0].body
    tick(shop, NOW + 5 * DAY, NOW + 40 * DAY)
    assert len(mail.outbox) == 1


def test_d2_what_was_bought_again_is_not_due(shop: Shop) -> None:
    orders(shop, 58, 38, 18)
    shop.go_live("replenishment")
    shop.order("late", NOW + HOUR, placed_at=NOW - DAY, product=LAMP)
    tick(shop, NOW + HOUR, NOW + 5 * DAY)
    assert mail.outbox == []


def test_d2_bought_again_but_told_late(shop: Shop) -> None:
    orders(shop, 58, 38, 18)
    shop.go_live("replenishment")
    journeys.enter_due(now=NOW + DAY)
    assert Enrollment.objects.count() == 1
    shop.order("late", NOW + DAY, placed_at=NOW - DAY, product=LAMP)
    shop.run(NOW + DAY + HOUR)
    assert (mail.outbox, shop.reasons()) == ([], ["ordered"])


def test_bought_once_and_by_nobody_else_is_never_due(shop: Shop) -> None:
    orders(shop, 18)
    shop.go_live("replenishment")
    tick(shop, NOW, NOW + 60 * DAY, 6 * DAY)
    assert not Enrollment.objects.exists()


# -- segments ---------------------------------------------------------------------------------------


def test_who_enters_the_segment_hears_of_it_once_and_only_while_inside(shop: Shop) -> None:
    rule = {"rule": "order_count", "at_least": 2}
    segments.create_segment(
        installation=shop.installation,
        key="regulars",
        name="Regulars",
        definition=rule,
        now=NOW,
    )
    shop.go_live("segment_entered")

    def evaluate(at: datetime) -> None:
        segments.evaluate_due(now=at)
        while segments.evaluate_changed(now=at, limit=100):
            pass

    evaluate(NOW)
    shop.order("order-1", NOW + HOUR)
    evaluate(NOW + HOUR)
    tick(shop, NOW + HOUR, NOW + 3 * DAY)
    assert not Enrollment.objects.exists()
    shop.order("order-2", NOW + 4 * DAY)
    evaluate(NOW + 4 * DAY)
    tick(shop, NOW + 4 * DAY, NOW + 8 * DAY)
    assert shop.subjects() == ["Good to see you so often"]
    evaluate(NOW + 9 * DAY)
    tick(shop, NOW + 9 * DAY, NOW + 12 * DAY)
    assert len(mail.outbox) == 1


# -- favourites, no account -------------------------------------------------------------------------


def test_favourites_that_lie_a_week_are_told_once(shop: Shop) -> None:
    shop.go_live("favourites_left")
    shop.track(EventType.FAVOURITE_ADDED, NOW, product=LAMP)
    tick(shop, NOW, NOW + 6 * DAY)
    assert mail.outbox == []
    tick(shop, NOW + 7 * DAY, NOW + 25 * DAY)
    assert shop.subjects() == ["Your favourites are waiting"]
    assert "Product LAMP" in mail.outbox[0].body


def test_d2_favourites_that_were_bought_are_not_told(shop: Shop) -> None:
    shop.go_live("favourites_left")
    shop.track(EventType.FAVOURITE_ADDED, NOW, product=LAMP)
    shop.order(at=NOW + DAY, product=LAMP, user_id="")
    tick(shop, NOW + DAY, NOW + 25 * DAY)
    assert mail.outbox == []


def test_favourites_that_were_removed_or_sold_out_are_not_told(shop: Shop) -> None:
    shop.go_live("favourites_left")
    shop.track(EventType.FAVOURITE_ADDED, NOW, product=LAMP)
    journeys.enter_due(now=NOW + 7 * DAY)
    shop.sell_out(LAMP)
    shop.run(NOW + 7 * DAY + HOUR)
    assert (mail.outbox, shop.reasons()) == ([], ["nothing_to_show"])


def visits(shop: Shop, shown: dict[IdentityKind, str], count: int = 3) -> None:
    for n in range(count):
        shop.track(EventType.PRODUCT_VIEWED, NOW + n * DAY, product=LAMP, shown=shown)


def test_who_comes_back_without_an_account_is_told_what_one_is_good_for(shop: Shop) -> None:
    erin = say_yes(shop, "erin@example.com", NOW - 5 * DAY)
    Identity.objects.create(
        installation=shop.installation,
        profile=erin,
        kind=IdentityKind.ANONYMOUS_ID,
        value="browser-of-erin",
        first_seen_at=NOW,
    )
    shop.go_live("sign_up_drive")
    visits(shop, {IdentityKind.ANONYMOUS_ID: "browser-of-erin"})
    tick(shop, NOW, NOW + 10 * DAY)
    assert shop.subjects() == ["Keep what you like"]
    assert [one.to for one in mail.outbox] == [["erin@example.com"]]


def test_who_has_an_account_is_not_asked_to_make_one(shop: Shop) -> None:
    shop.go_live("sign_up_drive")
    visits(shop, dict(ALICE))
    tick(shop, NOW, NOW + 10 * DAY)
    assert not Enrollment.objects.exists()


def test_who_makes_an_account_meanwhile_is_not_asked(shop: Shop) -> None:
    erin = say_yes(shop, "erin@example.com", NOW - 5 * DAY)
    for kind, value in ((IdentityKind.ANONYMOUS_ID, "browser-of-erin"),):
        Identity.objects.create(
            installation=shop.installation,
            profile=erin,
            kind=kind,
            value=value,
            first_seen_at=NOW,
        )
    shop.go_live("sign_up_drive")
    visits(shop, {IdentityKind.ANONYMOUS_ID: "browser-of-erin"})
    journeys.enter_due(now=NOW + 2 * DAY + HOUR)
    assert Enrollment.objects.count() == 1
    Identity.objects.create(
        installation=shop.installation,
        profile=erin,
        kind=IdentityKind.SALEOR_USER,
        value="VXNlcjo5",
        first_seen_at=NOW,
    )
    shop.run(NOW + 4 * DAY)
    assert (mail.outbox, shop.reasons()) == ([], ["goal_reached"])
