"""B92 to B94: what a day was, what some days were together, and what is not known."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from saleor_personalize.analytics import figures, operations, queries, reports
from saleor_personalize.enums import (
    CheckoutCloseReason,
    DeliveryChannel,
    EventType,
    LifecycleStage,
    MessageEventKind,
    MessageStatus,
    NotSentReason,
    Purpose,
)
from saleor_personalize.messaging import outcomes
from saleor_personalize.models import (
    Checkout,
    ComputedTraits,
    DailyFigures,
    Installation,
    Message,
    OrderLine,
    Profile,
    SalesChannel,
    Session,
)
from tests import payloads
from tests.conftest import make_profile
from tests.integration.measuring import DAY, HOUR, Shop
from tests.webhooks.deliver import deliver

OPEN, CLICK = MessageEventKind.OPENED, MessageEventKind.CLICKED
LAMP, BULB = "product-lamp", "product-bulb"
Report = Callable[..., reports.Report]


@pytest.fixture
def shop(installation: Installation, now: datetime) -> Shop:
    """The day before NOW, which is a Monday noon: hour 0 is Sunday, 12:00."""
    SalesChannel.objects.create(
        installation=installation, saleor_id="channel", slug="us", currency="USD", is_active=True
    )
    return Shop(installation, now - DAY)


@pytest.fixture
def report(installation: Installation, now: datetime) -> Report:
    """`report(hours after NOW, days) -> Report`, everything being counted that is due."""

    def ask(hours: float = 0, days: int = 7) -> reports.Report:
        at = now + hours * HOUR
        while operations.refresh(installation=installation, now=at) == figures.MOST:
            pass
        return reports.report(installation=installation, days=days, now=at)

    return ask


def visit(shop: Shop, profile: Profile, hours: float, minutes: int, *types: EventType) -> Session:
    number = next(shop.numbers)
    for type_ in types:
        is_recommended = type_ == EventType.RECOMMENDATION_CLICKED
        shop.recommended(
            profile, type_, LAMP, hours, session_id=f"visit-{number}",
            **({} if is_recommended else {"attribution_id": ""}),
        )  # fmt: skip
    return Session.objects.create(
        installation=shop.installation,
        profile=profile,
        session_id=f"visit-{number}",
        channel_slug="us",
        started_at=shop.at(hours),
        last_seen_at=shop.at(hours) + timedelta(minutes=minutes),
    )


def cart(shop: Shop, profile: Profile, hours: float, ordered: float | None = None) -> Checkout:
    number = next(shop.numbers)
    return Checkout.objects.create(
        installation=shop.installation,
        profile=profile,
        saleor_id=f"cart-{number}",
        token=f"token-{number}",
        channel_slug="us",
        currency="USD",
        total=Decimal(10),
        lines=[{"id": "line", "product_id": LAMP, "variant_id": "v", "quantity": 1}],
        last_changed_at=shop.at(hours),
        closed_at=None if ordered is None else shop.at(ordered),
        close_reason="" if ordered is None else CheckoutCloseReason.ORDERED,
    )


# -- journeys ------------------------------------------------------------------------------------------


def test_b92_a_journey_from_entered_to_revenue(
    shop: Shop, alice: Profile, bob: Profile, carol: Profile, report: Report
) -> None:
    mails = [shop.message(each, 0) for each in (alice, bob, carol)]
    for mail in mails:
        shop.became(mail, MessageEventKind.DELIVERED, 0.1)
    for _ in range(3):
        shop.became(mails[0], OPEN, 1)
    shop.became(mails[0], CLICK, 1.5)
    shop.became(mails[0], OPEN, 1, is_machine=True)
    shop.became(mails[1], OPEN, 1, is_machine=True)
    shop.became(mails[1], CLICK, 1, is_machine=True)
    shop.became(mails[2], OPEN, 2)
    shop.message(alice, 3, status=MessageStatus.NOT_SENT, reason=NotSentReason.ORDERED)
    shop.message(bob, 3, status=MessageStatus.NOT_SENT, reason=NotSentReason.NO_CONSENT)
    shop.message(bob, 4, status=MessageStatus.NOT_SENT, reason=NotSentReason.NO_CONSENT)
    shop.message(bob, 4, status=MessageStatus.UNCERTAIN)
    shop.order(alice, 2, total=Decimal("80.50"), total_refunded=Decimal("20.50"))
    shop.order(carol, 3, total=Decimal(30))
    shop.order(alice, 3, status="CANCELED")
    shop.order(bob, 3, total=Decimal(10))
    (row,) = report().journeys
    assert row == reports.JourneyReport(
        key="abandoned_checkout",
        entered=7,
        sent=3,
        failed=1,
        delivered=3,
        opened=2,
        opened_by_machine=2,
        clicked=1,
        sent_over={"email": 3},
        clicked_over={"email": 1},
        not_sent={"no_consent": 2, "ordered": 1},
        led={"USD": reports.Led(orders=2, revenue=Decimal("90.000"), after_view=1)},
        earned={"USD": Decimal("90.000")},
    )
    assert (row.opened_share, row.clicked_share) == (2 / 3, 1 / 3)
    assert row.revenue_per_recipient("USD") == Decimal(30)
    (money,) = report().money
    assert (money.orders, money.revenue) == (3, Decimal(100))
    assert money.message_share == 0.9
    # They were messages about a cart.
    assert money.recovered == reports.Led(orders=2, revenue=Decimal(90), after_view=1)
    assert money.after_message == money.recovered


def test_b92_a_push_that_is_pressed_is_clicked_and_a_message_of_no_journey_has_no_key(
    shop: Shop, alice: Profile, report: Report
) -> None:
    push = shop.message(alice, 0, delivery_channel=DeliveryChannel.PUSH, journey_id=None)
    outcomes.push_opened(
        installation=shop.installation, message_id=push.public_id.hex, now=shop.at(1)
    )
    rows = {row.key: row for row in report().journeys}
    assert (rows[""].sent, rows[""].opened, rows[""].clicked) == (1, 1, 1)
    assert rows[""].opened_share == 1


def test_b92_the_share_of_clicks_is_that_of_the_messages_whose_clicks_are_known(
    shop: Shop, alice: Profile, bob: Profile, report: Report, settings: Any
) -> None:
    """Links in mail and in texts go to the shop itself: nobody tells whether they were pressed."""
    over = {each: shop.message(alice, 0, delivery_channel=each) for each in DeliveryChannel}
    shop.message(bob, 0, delivery_channel=DeliveryChannel.PUSH)

    def share() -> float | None:
        DailyFigures.objects.all().delete()
        (row,) = report().journeys
        assert row.sent == 5
        return row.clicked_share

    assert share() == 0  # of two push and one item of the inbox
    shop.became(over[DeliveryChannel.PUSH], CLICK, 1)
    shop.became(over[DeliveryChannel.EMAIL], CLICK, 1, is_machine=True)
    assert share() == 1 / 3
    settings.SALEOR_PERSONALIZE = {**settings.SALEOR_PERSONALIZE, "CLICK_TRACKING": True}
    assert share() == 1 / 4
    settings.SALEOR_PERSONALIZE = {**settings.SALEOR_PERSONALIZE, "CLICK_TRACKING": False}
    shop.became(over[DeliveryChannel.EMAIL], CLICK, 2)  # as the provider tells
    assert share() == 2 / 4
    Message.objects.exclude(delivery_channel=DeliveryChannel.SMS).delete()
    DailyFigures.objects.all().delete()
    (row,) = report().journeys
    assert (row.sent, row.clicked_share) == (1, None)


def test_b92_what_was_never_sent_has_no_shares(shop: Shop, alice: Profile, report: Report) -> None:
    shop.message(alice, 0, status=MessageStatus.NOT_SENT, reason=NotSentReason.PAUSED)
    (row,) = report().journeys
    assert (row.sent, row.delivered_share, row.opened_share, row.clicked_share) == (
        0,
        None,
        None,
        None,
    )
    assert row.revenue_per_recipient("USD") is None


def test_b92_what_becomes_of_a_message_counts_on_its_day_so_no_share_is_above_all(
    shop: Shop, alice: Profile, bob: Profile, report: Report, installation: Installation
) -> None:
    mails = [shop.message(alice, 0), shop.message(bob, 0)]
    report(24)
    for mail in mails:
        shop.became(mail, OPEN, 100)
        shop.became(mail, OPEN, 120)
    shop.message(alice, 110)
    order = shop.order(alice, 121, total=Decimal(40))
    operations.review(installation=installation, now=shop.at(150))
    (late,) = report(126, days=7).journeys
    assert (late.sent, late.opened, late.opened_share) == (3, 2, 2 / 3)
    assert late.revenue_per_recipient("USD") == Decimal(40) / 3
    order.total_refunded = Decimal(10)
    order.save()
    shop.follow(order, hours=170)
    (after,) = report(150, days=7).journeys
    # The order is of these days; the message that it followed, and what that earned, is not.
    assert (after.sent, after.opened, after.orders) == (1, 0, 1)
    assert after.led["USD"].revenue == Decimal(30)
    assert after.earned == {}
    assert report(150, days=30).journeys[0].earned == {"USD": Decimal("30.000")}


# -- placements ----------------------------------------------------------------------------------------


def test_b93_a_placement_from_shown_to_revenue(
    shop: Shop, alice: Profile, bob: Profile, report: Report
) -> None:
    shown, clicked, added = (
        EventType.RECOMMENDATION_SHOWN,
        EventType.RECOMMENDATION_CLICKED,
        EventType.CART_ADDED,
    )
    for product in (LAMP, BULB):
        shop.recommended(alice, shown, product, 0, answer="one")
        shop.recommended(alice, clicked, product, 1, answer="one")
    shop.recommended(alice, added, LAMP, 1.5, answer="one")
    shop.recommended(bob, shown, LAMP, 0, answer="two")
    shop.recommended(bob, shown, BULB, 0, answer="three", placement="cart")
    shop.order(alice, 2, LAMP, total=Decimal(60))
    shop.order(bob, 2, BULB, total=Decimal(20))
    shop.order(bob, 3, total=Decimal(30))
    found = report()
    home, cart_ = found.placements
    assert home == reports.PlacementReport(
        "home", 2, 1, 1, {"USD": reports.Led(1, Decimal("60.000"), 0)}
    )
    assert (home.click_share, home.added_share) == (0.5, 0.5)
    assert cart_ == reports.PlacementReport(
        "cart", 1, 0, 0, {"USD": reports.Led(1, Decimal("20.000"), 1)}
    )
    (money,) = found.money
    assert money.recommendation_order_share == 2 / 3
    assert money.mean_after_recommendation == Decimal(40)
    assert money.mean_of_others == Decimal(30)


def test_b94_pieces_sent_back_of_recommended_and_other_lines(
    shop: Shop, alice: Profile, bob: Profile, report: Report
) -> None:
    shop.recommended(alice, EventType.RECOMMENDATION_CLICKED, LAMP, 0)
    order = shop.order(alice, 1, LAMP, BULB)
    OrderLine.objects.filter(order=order, product_saleor_id=LAMP).update(quantity_returned=1)
    shop.order(bob, 1, LAMP, status="RETURNED")
    found = report().shop
    # Two pieces each: one of Alice's lamps; Bob's two of his and her four others.
    assert (found.recommended_return_share, found.other_return_share) == (0.5, 0.5)


# -- the shop ------------------------------------------------------------------------------------------


def test_b94_visits_carts_and_revenue_per_visit(
    shop: Shop, alice: Profile, bob: Profile, carol: Profile, report: Report
) -> None:
    view, click, add = (
        EventType.PRODUCT_VIEWED,
        EventType.RECOMMENDATION_CLICKED,
        EventType.CART_ADDED,
    )
    visit(shop, alice, 0, 10, view, view, click, add)
    visit(shop, bob, 0, 2, view)
    visit(shop, carol, 0, 0)
    visit(shop, carol, 1, 0, EventType.SEARCHED)
    cart(shop, alice, 0, ordered=0.5)
    cart(shop, bob, 0, ordered=5)
    cart(shop, carol, 0)
    cart(shop, carol, 23.9)
    shop.order(alice, 0.5, total=Decimal(200))
    found = report()
    assert found.shop == reports.Shop(
        sessions=4,
        recommendation_share=0.25,
        cart_share=0.25,
        pages_per_session=1.0,
        time_per_session=timedelta(minutes=3),
        shopper_share=1 / 3,
        # Of those that lay still for an hour two were abandoned; the newest may be ordered yet.
        abandonment_share=2 / 3,
        recovery_share=1 / 2,
        churn_share=None,
        recommended_return_share=None,
        other_return_share=None,
    )
    (money,) = found.money
    assert money.per_session == Decimal(50)


def test_b94_revenue_per_visit_is_not_known_while_orders_come_from_visits_nobody_told_of(
    shop: Shop, alice: Profile, bob: Profile, report: Report
) -> None:
    visit(shop, alice, 0, 10)
    shop.order(bob, 1, total=Decimal(500))
    (money,) = report().money
    assert (money.sessions, money.with_visit, money.per_session) == (1, reports.Led(), None)


def test_b94_revenue_per_visit_takes_orders_before_which_a_visit_was_told_of(
    shop: Shop, alice: Profile, bob: Profile, report: Report
) -> None:
    """A storefront that tells of half its visits would otherwise seem to earn twice as much with each."""
    visit(shop, alice, 0, 10)
    shop.order(bob, 1, total=Decimal(500))
    browser = make_profile(shop.installation, anonymous_id="the-phone")
    Profile.objects.filter(pk=browser.pk).update(merged_into=bob)
    visit(shop, browser, 2, 5)
    visit(shop, alice, 3, 5)
    shop.order(bob, 2.5, total=Decimal(90), total_refunded=Decimal(30))
    shop.order(alice, 1, total=Decimal(70), channel_slug="elsewhere")
    shop.order(alice, -1, total=Decimal(1000))  # before any visit
    shop.order(None, 3, total=Decimal(1000))
    shop.order(alice, 27, total=Decimal(1000))  # a day after the last one
    (money,) = report(hours=4).money
    assert money.orders == 6
    assert (money.sessions, money.with_visit) == (3, reports.Led(1, Decimal(60)))
    assert money.per_session == Decimal(20)


def test_b94_how_the_shop_stands_is_looked_at_once_a_day(
    shop: Shop, alice: Profile, bob: Profile, report: Report, now: datetime
) -> None:
    for profile, stage in ((alice, "lapsed"), (bob, "active")):
        ComputedTraits.objects.create(
            installation=shop.installation, profile=profile, stage=stage, computed_at=now
        )
    third = make_profile(shop.installation, anonymous_id="prospect")
    ComputedTraits.objects.create(
        installation=shop.installation,
        profile=third,
        stage=LifecycleStage.PROSPECT,
        computed_at=now,
    )
    shop.order(alice, -24 * 300, total=Decimal(70))
    shop.order(alice, 0, total=Decimal(30))
    shop.order(bob, 0, total=Decimal(60), total_refunded=Decimal(10))
    found = report()
    assert found.shop.churn_share == 0.5
    assert found.money[0].lifetime_value == Decimal(75)
    ComputedTraits.objects.filter(profile=bob).update(stage="lapsed")
    assert report(1).shop.churn_share == 0.5
    assert report(24).shop.churn_share == 1


def test_b94_a_shop_whose_history_is_still_being_read_is_looked_at_again(
    shop: Shop, alice: Profile, report: Report
) -> None:
    assert report().money == []
    shop.follow(shop.order(alice, 0, total=Decimal(70)), hours=24.5)
    assert report(1).money[0].lifetime_value == Decimal(70)


def test_b94_what_is_not_known_is_none_and_never_nothing(
    installation: Installation, report: Report, now: datetime
) -> None:
    empty = reports.report(installation=installation, days=7, now=now)
    assert empty.counted_at is None
    found = report()
    assert found.counted_at == now
    assert (found.money, found.journeys, found.placements) == ([], [], [])
    assert found.shop == reports.Shop(0, *([None] * 10))


def test_b94_currencies_are_never_added_up(
    shop: Shop, alice: Profile, bob: Profile, report: Report
) -> None:
    shop.order(alice, 0, currency="EUR", channel_slug="de", total=Decimal(10))
    shop.order(bob, 0, total=Decimal(20))
    shop.order(bob, 1, total=Decimal(20))
    found = report()
    assert [(each.currency, each.orders, each.revenue) for each in found.money] == [
        ("USD", 2, Decimal(40)),
        ("EUR", 1, Decimal(10)),
    ]
    assert [len(points) for points in found.by_day.values()] == [7, 7]
    assert [point.revenue for point in found.by_day["EUR"]][-3:] == [0, 10, 0]


# -- when days are counted -----------------------------------------------------------------------------


def test_b94_a_day_is_counted_finally_an_hour_after_its_end_and_again_when_it_changed(
    shop: Shop, alice: Profile, report: Report, installation: Installation, now: datetime
) -> None:
    report()
    tomorrow = now + DAY
    assert operations.refresh(installation=installation, now=tomorrow) == 2
    assert operations.refresh(installation=installation, now=tomorrow) == 1
    late = shop.order(alice, 0, total=Decimal(10))
    shop.follow(late, hours=48)
    assert operations.refresh(installation=installation, now=tomorrow + HOUR) == 2
    found = reports.report(installation=installation, days=7, now=tomorrow)
    assert [each.revenue for each in found.money] == [Decimal(10)]
    assert operations.refresh(installation=installation, now=tomorrow + 2 * HOUR) == 1


def test_b91_money_that_is_paid_back_later_is_taken_off_the_day_it_came(
    installation: Installation, report: Report
) -> None:
    recorded = payloads.one("order_with_voucher", "order_created")
    placed_at = datetime.fromisoformat(recorded.payload["order"]["created"])
    deliver(installation, [recorded], now=placed_at)
    while operations.refresh(installation=installation, now=placed_at + 3 * DAY) == figures.MOST:
        pass
    back = recorded.changed(
        updatedAt=(placed_at + 3 * DAY).isoformat(),
        totalRefunded={"amount": 0.79, "currency": "USD"},
    )
    deliver(installation, [back], now=placed_at + 3 * DAY)
    operations.refresh(installation=installation, now=placed_at + 3 * DAY + HOUR)
    found = reports.report(installation=installation, days=7, now=placed_at + 3 * DAY)
    assert [each.revenue for each in found.money] == [Decimal(1)]
    cancelled = recorded.changed(status="CANCELED", updatedAt=(placed_at + 4 * DAY).isoformat())
    deliver(installation, [cancelled], now=placed_at + 4 * DAY)
    operations.refresh(installation=installation, now=placed_at + 4 * DAY + HOUR)
    assert reports.report(installation=installation, days=7, now=placed_at + 4 * DAY).money == []


def test_b94_days_follow_the_clock_of_the_shop(
    shop: Shop, alice: Profile, report: Report, settings: Any
) -> None:
    settings.SALEOR_PERSONALIZE = {**settings.SALEOR_PERSONALIZE, "TIME_ZONE": "America/New_York"}
    # Monday 03:00 in Greenwich is Sunday in New York.
    shop.order(alice, 15, total=Decimal(10))
    points = report().by_day["USD"]
    assert [(str(p.day), p.revenue) for p in points[-2:]] == [("2026-03-01", 10), ("2026-03-02", 0)]


def test_b94_the_headline_tells_today_and_the_month(
    shop: Shop,
    alice: Profile,
    bob: Profile,
    report: Report,
    installation: Installation,
    now: datetime,
) -> None:
    for profile, hours in ((alice, -100), (bob, 13)):
        shop.became(shop.message(profile, hours), CLICK, hours + 1)
        shop.order(profile, hours + 2, total=Decimal(25))
    report()
    found = queries.headline(installation=installation, now=now)
    assert found == queries.Headline(
        today={"USD": reports.Led(1, Decimal("25.000"))},
        month={"USD": reports.Led(2, Decimal("50.000"))},
        recovered_today=1,
        recovered_month=2,
        counted_at=now,
    )


def test_b94_of_another_shop_nothing_is_counted(
    shop: Shop,
    alice: Profile,
    dave: Profile,
    other_installation: Installation,
    report: Report,
    now: datetime,
) -> None:
    theirs = Shop(other_installation, shop.start)
    theirs.became(theirs.message(dave, 0), CLICK, 1)
    theirs.order(dave, 2, LAMP)
    visit(theirs, dave, 0, 5, EventType.PRODUCT_VIEWED)
    cart(theirs, dave, 0)
    found = report()
    assert (found.money, found.journeys, found.placements) == ([], [], [])
    assert found.shop == reports.Shop(0, *([None] * 10))


def test_b94_the_report_costs_two_queries_however_many_people_there_are(
    shop: Shop, installation: Installation, report: Report, now: datetime
) -> None:
    for number in range(20):
        profile = make_profile(installation, anonymous_id=f"visitor-{number}")
        shop.became(shop.message(profile, 0), CLICK, 1)
        shop.order(profile, 2)
    report(days=90)
    with CaptureQueriesContext(connection) as captured:
        found = reports.report(installation=installation, days=90, now=now)
    assert len(captured) == 1
    assert found.journeys[0].orders == 20
    assert DailyFigures.objects.count() <= 2 * 97


def test_b94_a_transactional_message_is_counted_and_leads_to_nothing(
    shop: Shop, alice: Profile, report: Report
) -> None:
    mail = shop.message(alice, 0, purpose=Purpose.TRANSACTIONAL)
    shop.became(mail, CLICK, 1)
    shop.order(alice, 2)
    (row,) = report().journeys
    assert (row.sent, row.clicked, row.orders) == (1, 1, 0)
