"""The page "Results" as `bridge.js` asks for it."""

from __future__ import annotations

import html
import re
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from saleor_personalize.analytics import operations, reports
from saleor_personalize.dashboard import words
from saleor_personalize.enums import (
    EventType,
    MessageEventKind,
    MessageStatus,
    NotSentReason,
)
from saleor_personalize.models import (
    AttributedOrder,
    DailyFigures,
    Enrollment,
    Installation,
    Message,
    Order,
    Profile,
)
from tests.conftest import make_profile
from tests.integration.measuring import DAY, Shop
from tests.integration.test_dashboard import headers

OPEN, CLICK = MessageEventKind.OPENED, MessageEventKind.CLICKED


@pytest.fixture
def signed(installation: Installation) -> dict[str, str]:
    return headers(installation)


@pytest.fixture
def shop(installation: Installation) -> Shop:
    """Yesterday in the shop; the pages are asked now."""
    return Shop(installation, timezone.now() - DAY)


def text_of(response: Any) -> str:
    """Return what a reader sees of a fragment."""
    assert response.status_code == 200
    found = re.sub(r"<[^>]*>", " ", response.content.decode())
    return re.sub(r"\s+", " ", html.unescape(found))


def count(installation: Installation) -> None:
    for _ in range(8):
        operations.refresh(installation=installation, now=timezone.now())


def sell(shop: Shop, alice: Profile, bob: Profile) -> None:
    mail = shop.message(alice, 0)
    shop.became(mail, OPEN, 1, is_machine=True)
    shop.became(mail, CLICK, 1)
    shop.message(bob, 0, status=MessageStatus.NOT_SENT, reason=NotSentReason.NO_CONSENT)
    shop.order(alice, 2, total=Decimal("1234.50"))
    shop.recommended(bob, EventType.RECOMMENDATION_SHOWN, "product-lamp", 1, placement="<b>cart")
    shop.order(bob, 2, "product-lamp", total=Decimal(100))
    count(shop.installation)


def test_b91_b92_b93_the_page_tells_what_followed_what(
    client: Client, shop: Shop, alice: Profile, bob: Profile, signed: dict[str, str]
) -> None:
    sell(shop, alice, bob)
    response = client.get("/dashboard/results/", {"days": "7"}, headers=signed)
    told = text_of(response)
    assert "Orders in USD" in told
    assert "1,334.50\xa0USD · 2 orders" in response.content.decode().replace("&nbsp;", "\xa0")
    assert re.search(r"After messages 92.5 % of all revenue. 1,234.50 USD · 1 order ", told)
    assert re.search(r"After recommendations 7.5 % of all revenue. 100.00 USD · 1 order ", told)
    assert (
        "Revenue per visit Of orders before which the storefront told of a visit: 0 of 2, over all "
        "such visits. not known yet" in told
    )
    # Entered, sent, not sent, delivered, opened by people, by machines, clicked, orders, revenue, each.
    assert re.search(
        r"Cart reminder 2 1 1 not known yet 100.0 % 1 by machines 100.0 % 1 1,234.50 USD", told
    )
    assert re.search(r"<b>cart 1 0.0 % 0.0 % 1 1 after a look only 100.00 USD", told)
    assert b"<b>cart" not in response.content
    assert (
        "Revenue by day, USD : 7 days; 1,334.50 USD in all, of which 1,334.50 USD followed" in told
    )


def test_d9_one_order_of_two_journeys_is_one_and_each_message_has_its_reason(
    client: Client, shop: Shop, alice: Profile, signed: dict[str, str]
) -> None:
    """Two journeys led to it, a scanner opened everything, part of it was paid back."""
    cart, back = shop.message(alice, 0), shop.message(alice, 1, journey="win_back")
    for message in (cart, back):
        shop.became(message, OPEN, 2, is_machine=True)
        shop.became(message, CLICK, 3)
    for reason in (NotSentReason.ORDERED, NotSentReason.FREQUENCY_CAP, NotSentReason.HOLDOUT):
        shop.message(alice, 5, status=MessageStatus.NOT_SENT, reason=reason)
    shop.order(alice, 4, total=Decimal(100), total_refunded=Decimal(40))
    count(shop.installation)
    told = text_of(client.get("/dashboard/results/", {"days": "7"}, headers=signed))
    assert "Revenue 60.00 USD · 1 order" in told
    assert "After messages 100.0 % of all revenue. 60.00 USD · 1 order" in told
    found = reports.report(installation=shop.installation, days=7, now=timezone.now())
    assert {row.key: (row.orders, row.opened, row.opened_by_machine) for row in found.journeys} == {
        "win_back": (1, 1, 1),
        "abandoned_checkout": (0, 1, 1),
    }
    person = text_of(client.get(f"/dashboard/people/{alice.public_id}/", headers=signed))
    written = person.partition("What we sent, what not, and why")[2].partition("Timeline")[0]
    assert "Sent 2 Not sent, with a reason 3" in written
    for row in Message.objects.filter(status=MessageStatus.NOT_SENT):
        assert str(words.not_sent_reason(NotSentReason(row.reason))) in written


def test_b92_a_journey_tells_what_was_not_sent_and_why(
    client: Client, shop: Shop, alice: Profile, bob: Profile, signed: dict[str, str]
) -> None:
    sell(shop, alice, bob)
    told = text_of(
        client.get("/dashboard/results/journeys/abandoned_checkout/?days=7", headers=signed)
    )
    # Counted over all delivery channels, so none is named.
    assert "The person did not allow messages of this kind. 1 100.0 %" in told
    assert "Opened by machines 1" in told
    # Days in which nothing happened in it are no fault.
    Message.objects.all().update(decided_at=shop.at(-24 * 20))
    Enrollment.objects.all().update(created_at=shop.at(-24 * 20))
    Order.objects.all().update(placed_at=shop.at(-24 * 20))
    DailyFigures.objects.all().delete()
    count(shop.installation)
    told = text_of(
        client.get("/dashboard/results/journeys/abandoned_checkout/?days=7", headers=signed)
    )
    assert "Sent 0 Not sent 0" in told
    assert "No message was due in this period." in told
    missing = client.get("/dashboard/results/journeys/nothing/", headers=signed)
    assert missing.status_code == 404


def test_b92_clicks_that_nobody_tells_of_are_not_known_and_the_page_says_why(
    client: Client, shop: Shop, alice: Profile, signed: dict[str, str], settings: Any
) -> None:
    """Links go to the shop itself: 0 % would say that nobody pressed them."""
    mail = shop.message(alice, 0)
    shop.became(mail, MessageEventKind.DELIVERED, 1)
    count(shop.installation)
    pages = ("/dashboard/results/?days=7", "/dashboard/results/journeys/abandoned_checkout/?days=7")
    told, journey = (text_of(client.get(page, headers=signed)) for page in pages)
    why = "Clicks in e-mails are not known, unless your mail provider tells of them: CLICK_TRACKING is off"
    assert why in told
    # Delivered, opened by people, clicked, orders.
    assert "Cart reminder 1 1 0 100.0 % 0.0 % not known yet 0" in told
    assert "Clicked not known yet 0" in journey
    settings.SALEOR_PERSONALIZE = {**settings.SALEOR_PERSONALIZE, "CLICK_TRACKING": True}
    told, journey = (text_of(client.get(page, headers=signed)) for page in pages)
    assert why not in told
    assert "Cart reminder 1 1 0 100.0 % 0.0 % 0.0 % 0" in told
    assert "Clicked 0.0 % 0" in journey


def test_b91_each_order_behind_the_figures_says_whose_it_is_and_what_it_followed(
    client: Client, shop: Shop, alice: Profile, bob: Profile, signed: dict[str, str]
) -> None:
    sell(shop, alice, bob)
    page = "/dashboard/results/orders/"
    told = text_of(client.get(page, headers=signed)).partition("Orders that followed")[2]
    message = Message.objects.get(status=MessageStatus.SENT)
    assert "Cart reminder · Cart reminder · by e-mail · clicked 1 h before" in told
    assert "Recommendation in “<b>cart” · seen 1 h before" in told
    assert "1,234.50 USD" in told
    assert "alice@example.com" in told
    assert str(message.public_id) in client.get(page, headers=signed).content.decode()

    def numbers(**asked: str) -> list[str]:
        answer = client.get(page, asked, headers=signed).content.decode()
        return re.findall(r"<strong>([\d.,]+)", answer)

    # As the page with the figures names it.
    AttributedOrder.objects.filter(kind="recommendation").update(placement="landing_page")
    assert "Recommendation in “Landing page”" in text_of(client.get(page, headers=signed))
    AttributedOrder.objects.filter(kind="message").update(touch="code")
    assert "by e-mail · its code was used" in text_of(client.get(page, headers=signed))
    assert numbers() == ["100.00", "1,234.50"]
    assert numbers(kind="message") == numbers(kind="recovered") == ["1,234.50"]
    assert numbers(kind="recommendation", days="7") == ["100.00"]
    # What was paid back is off, and an order that was called off is none.
    Order.objects.filter(total=100).update(total_refunded=30)
    assert numbers(kind="recommendation") == ["70.00"]
    Order.objects.filter(total=100).update(status="CANCELED")
    assert numbers() == ["1,234.50"]
    some = ["MANAGE_ORDERS", "MANAGE_CHECKOUTS"]
    looker = headers(shop.installation, permissions=some, user_permissions=some)
    blind = text_of(client.get(page, headers=looker))
    assert "1,234.50 USD" in blind
    assert "alice@example.com" not in blind


def test_b91_older_orders_follow_where_the_page_ends(
    client: Client, shop: Shop, alice: Profile, signed: dict[str, str]
) -> None:
    shop.became(shop.message(alice, 0), CLICK, 1)
    for number in range(30):
        shop.order(alice, 2, total=Decimal(number + 1))  # all at one moment: the key decides
    page = "/dashboard/results/orders/"
    first = client.get(page, headers=signed).content.decode()
    (before,) = re.findall(r'"before": "([^"]+)"', first)
    rest = client.get(page, {"before": before}, headers=signed).content.decode()
    amounts = [re.findall(r"<strong>(\d+)\.00", each) for each in (first, rest)]
    assert amounts == [
        [str(number) for number in range(30, 5, -1)],
        [str(number) for number in range(5, 0, -1)],
    ]


def test_b94_a_shop_where_nothing_happened_is_told_what_to_do_and_no_zero_percent(
    client: Client, installation: Installation, signed: dict[str, str]
) -> None:
    told = text_of(client.get("/dashboard/results/", headers=signed))
    assert "Nothing is counted yet" in told
    count(installation)
    told = text_of(client.get("/dashboard/results/", headers=signed))
    assert "No orders in this period." in told
    assert told.count("not known yet") == 10
    assert "0.0 %" not in told


def test_b94_all_dates_of_the_page_are_written_in_the_readers_way(
    client: Client, installation: Installation, signed: dict[str, str]
) -> None:
    count(installation)
    page = client.get("/dashboard/results/", headers=signed).content.decode()
    assert len(re.findall(r'<time datetime="[0-9]{4}-[0-9]{2}-[0-9]{2}" data-day>', page)) == 2
    assert re.search(r'Counted <time datetime="[^"]+">[^<]+</time>[.]', page)


@pytest.mark.parametrize("days", ["8", "", "x", "9" * 5_000])
def test_b94_a_period_that_there_is_not_is_the_usual_one(
    client: Client, installation: Installation, signed: dict[str, str], days: str
) -> None:
    response = client.get("/dashboard/results/", {"days": days}, headers=signed)
    assert 'id="period-30" type="button" class="button" hx-get="/dashboard/results/?days=30"' in (
        response.content.decode()
    )
    assert response.content.decode().count('aria-current="true"') == 1


def test_b94_the_page_costs_the_same_whatever_the_number_of_people_and_stays_small(
    client: Client, shop: Shop, installation: Installation, signed: dict[str, str]
) -> None:
    def ask() -> tuple[int, int]:
        with CaptureQueriesContext(connection) as captured:
            response = client.get("/dashboard/results/", {"days": "90"}, headers=signed)
        return len(captured), len(response.content)

    ask()
    few, _ = ask()
    for number in range(15):
        profile = make_profile(installation, anonymous_id=f"visitor-{number}")
        for currency in ("USD", "EUR", "PLN", "GBP"):
            for back in range(0, 80, 8):
                shop.order(profile, -24 * back, currency=currency, channel_slug=currency.lower())
        shop.became(shop.message(profile, 0), CLICK, 1)
    count(installation)
    many, size = ask()
    assert many == few <= 4
    assert size < 100_000


def test_b95_a_message_names_every_order_that_counts_for_it(
    client: Client, shop: Shop, alice: Profile, signed: dict[str, str]
) -> None:
    mail = shop.message(alice, 0)
    shop.became(mail, CLICK, 1)
    orders = [shop.order(alice, 2), shop.order(alice, 3), shop.order(alice, 4, status="CANCELED")]
    told = text_of(client.get(f"/dashboard/sent/{mail.public_id}/", headers=signed))
    numbers = [f"Order no. {order.number} followed" in told for order in orders]
    assert numbers == [True, True, False]


def test_b92_the_overview_tells_the_same_amounts(
    client: Client, shop: Shop, alice: Profile, bob: Profile, signed: dict[str, str]
) -> None:
    sell(shop, alice, bob)
    yen = shop.order(alice, 3, currency="JPY", total=Decimal(1200), channel_slug="jp")
    shop.follow(yen, hours=24)
    count(shop.installation)
    told = text_of(client.get("/dashboard/overview/", headers=signed)).replace("\xa0", " ")
    assert "In 30 days, 1 order 1,234.50 USD In 30 days, 1 order 1,200 JPY" in told


def test_b113_another_shop_sees_nothing_of_it(
    client: Client,
    shop: Shop,
    alice: Profile,
    bob: Profile,
    other_installation: Installation,
) -> None:
    sell(shop, alice, bob)
    count(other_installation)
    told = text_of(client.get("/dashboard/results/", headers=headers(other_installation)))
    assert "No orders in this period." in told
    assert "Cart reminder" not in told


def test_b103_who_may_not_look_is_refused(client: Client, installation: Installation) -> None:
    refused = headers(installation, permissions=["MANAGE_PRODUCTS"], user_permissions=[])
    for path in ("", "journeys/abandoned_checkout/"):
        assert client.get(f"/dashboard/results/{path}", headers=refused).status_code == 403
        assert client.get(f"/dashboard/results/{path}").status_code == 401


def test_b94_numbers_are_written_as_the_language_writes_them(
    client: Client, shop: Shop, alice: Profile, bob: Profile, signed: dict[str, str]
) -> None:
    sell(shop, alice, bob)
    response = client.get("/dashboard/results/", {"days": "7", "locale": "de"}, headers=signed)
    assert "1.334,50 USD" in text_of(response)
    # A point in every drawing, whatever the language.
    assert not re.search(r' (x|y|width|height)="[0-9]*,', response.content.decode())
