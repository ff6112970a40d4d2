"""B98: what stands on Saleor's own pages, posted for as the Dashboard posts."""

from __future__ import annotations

import html
import re
from datetime import timedelta
from typing import Any

import pytest
from django.core import mail
from django.test import Client
from django.utils import timezone

from saleor_personalize.analytics.figures import Day
from saleor_personalize.enums import (
    ConsentState,
    EventSource,
    EventType,
    MessageEventKind,
    MessageStatus,
    NotSentReason,
    OfferStatus,
    Purpose,
    RuleEffect,
    SuppressionReason,
    Touch,
    TouchKind,
    TrainingReason,
    TrainingStatus,
)
from saleor_personalize.models import (
    AttributedOrder,
    Checkout,
    Enrollment,
    Event,
    Favourite,
    Installation,
    Journey,
    MerchandisingRule,
    Message,
    MessageEvent,
    OfferVoucher,
    Order,
    ProductVariant,
    Profile,
    Segment,
    SegmentMembership,
    StockAlert,
    Suppression,
    Training,
    email_hash,
)
from saleor_personalize.testing.keys import TEST_KEY
from tests.catalogue import Catalogue, gid, product_id
from tests.conftest import make_consent, make_enrollment
from tests.integration.test_dashboard import staff_claims
from tests.integration.test_offers_pages import make as offer
from tests.webhooks.test_manifest import fetch

EXTENSION = {"app_extension": gid("AppExtension", 7), "permissions": []}
DASHBOARD = "https://main.saleor.test"
APP = f"{DASHBOARD}/dashboard/extensions/app/QXBwOjE%3D"
DAY, HOUR = timedelta(days=1), timedelta(hours=1)
#: The views look at the clock.
NOW = timezone.now()


def ask(
    installation: Installation, name: str, claims: dict[str, Any] | None = None, **about: str
) -> Any:
    """Post the form as the Dashboard does: the token is that of an extension, which names no permission."""
    token = TEST_KEY.jwt(staff_claims(installation, **EXTENSION, **(claims or {})))
    form = {"accessToken": token, "saleorApiUrl": installation.saleor_api_url, "appId": "QXBwOjE="}
    return Client().post(
        f"/dashboard/widgets/{name}/", {**form, **about}, headers={"origin": DASHBOARD}
    )


def text_of(response: Any) -> str:
    """Return what stands on the page, without tags."""
    body = re.sub(r"<(title|script)[^>]*>.*?</\1>", "", response.content.decode(), flags=re.S)
    return html.unescape(" ".join(re.sub(r"<[^>]+>", " ", body).split()))


def link_of(response: Any) -> str:
    """Return the address of the last link on the page."""
    return html.unescape(re.findall(r'href="(https[^"]+)"', response.content.decode())[-1])


def message(profile: Profile, template: str, **changes: Any) -> Message:
    return Message.objects.create(
        **{
            "installation": profile.installation,
            "idempotency_key": template,
            "profile": profile,
            "template": template,
            "purpose": Purpose.MARKETING,
            "delivery_channel": "email",
            "status": MessageStatus.SENT,
            "decided_at": NOW,
            **changes,
        }
    )


def sign_up(profile: Profile, variant: str, product: str, **changes: Any) -> StockAlert:
    return StockAlert.objects.create(
        **{
            "installation": profile.installation,
            "profile": profile,
            "variant_saleor_id": variant,
            "product_saleor_id": product,
            "channel_slug": "us",
            "created_at": NOW - DAY,
            "expires_at": NOW + DAY,
            **changes,
        }
    )


@pytest.fixture
def shop(installation: Installation) -> Catalogue:
    made = Catalogue(installation, NOW)
    made.channel("us")
    return made


# -- who may see which, and where -------------------------------------------------------------------------

WIDGETS = ["customer", "product", "order", "voucher", "home"]


@pytest.mark.parametrize("name", WIDGETS)
def test_b98_a_widget_is_a_page_of_its_own_that_only_the_dashboard_may_frame(
    installation: Installation, name: str
) -> None:
    response = ask(installation, name)
    assert response.status_code == 200
    policy = response["Content-Security-Policy"]
    assert f"frame-ancestors {DASHBOARD}" in policy
    assert "script-src 'self'" in policy
    assert "X-Frame-Options" not in response
    assert response["Cache-Control"] == "no-store"
    assert response.content.startswith(b"<!doctype html>")
    assert b"accessToken" not in response.content


@pytest.mark.parametrize("name", WIDGETS)
def test_b98_a_widget_speaks_the_readers_language(installation: Installation, name: str) -> None:
    token = TEST_KEY.jwt(staff_claims(installation, **EXTENSION))
    response = Client().post(
        f"/dashboard/widgets/{name}/", {"accessToken": token}, headers={"accept-language": "de"}
    )
    assert response["Content-Language"] == "de"
    assert b'<html lang="de"' in response.content


@pytest.mark.parametrize("name", WIDGETS)
def test_b98_without_a_token_nothing_is_told(installation: Installation, name: str) -> None:
    form = {"saleorApiUrl": installation.saleor_api_url}
    response = Client().post(f"/dashboard/widgets/{name}/", form)
    assert response.status_code == 401
    assert text_of(response).startswith(
        "Personalize The Dashboard's sign-in was not accepted This token was not made for this app."
    ) or "The token is not a JWT." in text_of(response)
    assert f"frame-ancestors {DASHBOARD}" in response["Content-Security-Policy"]
    assert Client().get(f"/dashboard/widgets/{name}/").status_code == 405


@pytest.mark.parametrize(
    ("name", "own", "granted", "status"),
    [
        # The staff member has it, the app was not granted it; and the other way round.
        ("customer", ["MANAGE_ORDERS", "MANAGE_USERS"], ["MANAGE_ORDERS"], 403),
        ("customer", ["MANAGE_ORDERS"], ["MANAGE_ORDERS", "MANAGE_USERS"], 403),
        ("customer", ["MANAGE_USERS"], ["MANAGE_ORDERS", "MANAGE_USERS"], 403),
        (
            "customer",
            ["MANAGE_ORDERS", "MANAGE_USERS"],
            ["MANAGE_ORDERS", "MANAGE_USERS"],
            200,
        ),
        ("product", ["MANAGE_PRODUCTS"], ["MANAGE_PRODUCTS", "MANAGE_ORDERS"], 403),
        ("product", ["MANAGE_CHECKOUTS"], ["MANAGE_CHECKOUTS"], 200),
        ("order", ["MANAGE_ORDERS"], ["MANAGE_ORDERS"], 200),
        ("voucher", ["MANAGE_DISCOUNTS"], ["MANAGE_DISCOUNTS"], 403),
        ("home", [], ["MANAGE_ORDERS"], 403),
    ],
)
def test_b98_staff_see_what_they_and_the_app_are_both_allowed(
    installation: Installation, name: str, own: list[str], granted: list[str], status: int
) -> None:
    installation.permissions = granted
    installation.save()
    response = ask(installation, name, {"user_permissions": own})
    assert response.status_code == status


def test_b98_the_token_of_the_apps_own_page_still_counts_by_itself(
    installation: Installation,
) -> None:
    """Saleor took a permission from the app a moment ago: its own intersection says so at once."""
    claims = staff_claims(installation, permissions=["MANAGE_PRODUCTS"])
    response = Client().post("/dashboard/widgets/home/", {"accessToken": TEST_KEY.jwt(claims)})
    assert response.status_code == 403


def test_b98_another_shops_staff_see_nothing_of_ours(
    installation: Installation, other_installation: Installation, alice: Profile
) -> None:
    response = ask(other_installation, "customer", customerId="VXNlcjox")
    assert response.status_code == 200
    assert "Nothing is known of this customer yet." in text_of(response)


def test_c7_all_that_the_manifest_offers_opens_with_the_dashboards_own_sign_in(
    installation: Installation, shop: Catalogue, alice: Profile
) -> None:
    """Nobody signs in a second time, and nothing is remembered of whoever did."""
    bought = shop.order(shop.product(1, "Red shoe"), profile=alice, user_id="VXNlcjox", days_ago=1)
    about = {
        "customer": {"customerId": "VXNlcjox"},
        "product": {"productId": product_id(1)},
        "order": {"orderId": bought.saleor_id},
        "voucher": {"voucherId": gid("Voucher", 1)},
        "home": {},
    }
    client = Client()
    offered = fetch(client)["extensions"]
    assert [one["target"] for one in offered].count("WIDGET") == len(about)
    for one in offered:
        url = f"/dashboard{one['url']}"
        if one["target"] == "WIDGET":
            name = one["url"].split("/")[2]
            response = ask(installation, name, **about[name])
            assert text_of(response).startswith("Personalize "), name
            assert client.post(url, {"accessToken": "forged"}).status_code == 401
        else:
            response = client.get(url, {"saleorApiUrl": installation.saleor_api_url}, follow=True)
            # The page is empty until the Dashboard has handed over its token.
            assert b"hx-get" in response.content
            assert b"Red shoe" not in response.content
        assert response.status_code == 200
        assert f"frame-ancestors {DASHBOARD}" in response["Content-Security-Policy"]
        assert not response.cookies
        assert b'type="password"' not in response.content


# -- a customer -------------------------------------------------------------------------------------------


def test_b98_a_customer_with_what_is_next_what_was_said_and_what_suits_them(
    installation: Installation, shop: Catalogue, alice: Profile
) -> None:
    shop.product(1, "Red shoe")
    shop.product(2, "Blue shoe")
    shop.order(product_id(2), profile=alice, days_ago=3)
    segment = Segment.objects.create(
        installation=installation,
        key="fans",
        name="Fans",
        definition={},
        created_at=NOW,
        updated_at=NOW,
    )
    SegmentMembership.objects.create(
        installation=installation, segment=segment, profile=alice, entered_at=NOW
    )
    message(
        alice,
        "price_drop",
        status=MessageStatus.NOT_SENT,
        reason=NotSentReason.FREQUENCY_CAP,
        decided_at=NOW - 3 * HOUR,
    )
    response = ask(installation, "customer", customerId="VXNlcjox")
    told = text_of(response)
    assert "It costs less now Not sent 3 h ago" in told
    assert "The person has got as many messages as this shop allows." in told
    assert "The person waits in no journey." in told
    assert "What to show next Red shoe" in told
    assert "Blue shoe" not in told  # bought three days ago
    assert "Permissions Allowed by e-mail" in told
    assert "Segments Fans" in told
    assert "alice@example.com" not in told
    assert link_of(response) == f"{APP}/?customerId=VXNlcjox"


def test_b98_a_closed_address_and_a_template_of_the_shops_own_are_said_in_words(
    installation: Installation, alice: Profile
) -> None:
    Suppression.objects.create(
        installation=installation,
        delivery_channel="email",
        address_hash=email_hash("alice@example.com"),
        reason=SuppressionReason.HARD_BOUNCE,
        created_at=NOW,
    )
    message(alice, "landing_page", decided_at=NOW - 3 * HOUR)
    told = text_of(ask(installation, "customer", customerId="VXNlcjox"))
    assert "Permissions Closed (nobody is there) by e-mail" in told
    assert "Allowed" not in told
    assert "Last sent and not sent Landing page Sent 3 h ago" in told


def waits(alice: Profile, cart: str) -> Enrollment:
    row = make_enrollment(alice, cart, NOW - HOUR, due_at=NOW + 2 * HOUR)
    Journey.objects.filter(pk=row.journey_id).update(is_live=True, live_at=NOW - DAY)
    return row


def next_of(installation: Installation) -> str:
    told = text_of(ask(installation, "customer", customerId="VXNlcjox"))
    return re.search(r"Next message (.*?) (?:Last sent|What to show)", told)[1]  # type: ignore[index]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("", "Cart reminder by e-mail, in 2 h"),
        (
            "bob",
            "Cart reminder by e-mail, in 2 h As things stand, it is not sent: "
            "The person did not allow e-mails of this kind.",
        ),
        ("paused", "Held until then: The journey is paused."),
        ("stopped", "All sends are stopped."),
        ("ordered", "The person has ordered since."),
        ("capped", "The person has got as many messages as this shop allows."),
    ],
)
def test_b98_what_would_keep_the_next_message_back_is_said_before_its_moment(
    installation: Installation,
    shop: Catalogue,
    alice: Profile,
    settings: Any,
    change: str,
    told: str,
) -> None:
    """For each reason that is known beforehand: said, and nothing decided or sent by looking."""
    settings.SALEOR_PERSONALIZE = {
        **settings.SALEOR_PERSONALIZE,
        "QUIET_HOURS": {},
        "FREQUENCY_CAPS": {"*": [(1, DAY)]},
        "ARBITRATION_WINDOW": timedelta(0),
    }
    cart = shop.checkout(shop.product(1, "Red shoe"), profile=alice)
    Checkout.objects.filter(pk=cart.pk).update(last_changed_at=NOW - HOUR, filled_at=NOW - HOUR)
    row = waits(alice, cart.saleor_id)
    if change == "bob":
        make_consent(alice, ConsentState.DENIED)
    elif change == "paused":
        Journey.objects.update(is_live=False)
    elif change == "stopped":
        Installation.objects.update(sends_stopped_at=NOW)
    elif change == "ordered":
        shop.order(product_id(1), profile=alice, days_ago=0)
    elif change == "capped":
        message(alice, "price_drop", decided_at=NOW - HOUR)
    shown = next_of(installation)
    assert shown.endswith(told) if change else shown == told
    row.refresh_from_db()
    assert (row.status, row.due_at) == ("waiting", NOW + 2 * HOUR)
    assert Message.objects.filter(enrollment=row).count() == 0
    assert mail.outbox == []


# -- a product --------------------------------------------------------------------------------------------


def test_b98_a_product_with_what_goes_with_it_who_waits_and_which_rules_speak_of_it(
    installation: Installation, shop: Catalogue, alice: Profile, bob: Profile, carol: Profile
) -> None:
    shoes, laces = shop.product(1, "Red shoe"), shop.product(2, "Laces")
    variant = ProductVariant.objects.get(product_saleor_id=shoes)
    ProductVariant.objects.filter(pk=variant.pk).update(name="Size 42")
    for profile, confirmed in ((alice, NOW), (bob, NOW), (carol, None)):
        sign_up(profile, variant.saleor_id, shoes, confirmed_at=confirmed)
    # Over, told and called off: nobody waits in these.
    sign_up(alice, variant.saleor_id, shoes, confirmed_at=NOW, expires_at=NOW - HOUR)
    sign_up(bob, variant.saleor_id, shoes, confirmed_at=NOW, told_at=NOW)
    sign_up(bob, variant.saleor_id, shoes, confirmed_at=NOW, cancelled_at=NOW)
    for profile in (alice, bob):
        Favourite.objects.create(
            installation=installation, profile=profile, product_saleor_id=shoes, added_at=NOW
        )
    Favourite.objects.filter(profile=bob).update(removed_at=NOW)
    for name, conditions, active in (
        ("Push shoes", {"product_ids": [shoes]}, True),
        ("Cheap things", {"price": {"at_most": 15}}, True),
        ("Dear things", {"price": {"at_least": 50}}, True),
        ("Laces", {"product_ids": [laces]}, True),
        ("Off", {"product_ids": [shoes]}, False),
    ):
        MerchandisingRule.objects.create(
            installation=installation,
            name=name,
            effect=RuleEffect.BOOST,
            conditions=conditions,
            is_active=active,
            updated_at=NOW,
        )
    response = ask(installation, "product", productId=shoes)
    told = text_of(response)
    assert "Goes with it Laces" in told
    assert "Waiting for stock Size 42 2 people us · 1 not confirmed" in told
    assert "1 person keeps it for later." in told
    assert "Rules that speak of it" in told
    assert "Push shoes shows it higher up Cheap things shows it higher up" in told
    for name in ("Dear things", "Off"):
        assert name not in told
    assert told.count("Laces") == 1  # no rule of that name


@pytest.mark.parametrize("name", ["customer", "product", "order", "voucher"])
def test_b98_an_id_that_can_be_none_is_of_nobody(installation: Installation, name: str) -> None:
    response = ask(installation, name, **{f"{name}Id": "\x00"})
    assert response.status_code == 200
    assert len(re.findall("<section", response.content.decode())) == 0


def test_b98_a_product_that_was_never_read(installation: Installation) -> None:
    response = ask(installation, "product", productId=product_id(99))
    assert "This product is not known yet." in text_of(response)


# -- an order ---------------------------------------------------------------------------------------------


def test_b98_an_order_with_what_led_to_it(
    installation: Installation, shop: Catalogue, alice: Profile
) -> None:
    shoes, laces = shop.product(1, "Red shoe"), shop.product(2, "Laces")
    order = shop.order(shoes, profile=alice, user_id="VXNlcjox", days_ago=0)
    Order.objects.filter(pk=order.pk).update(placed_at=NOW - HOUR)
    before = message(alice, "abandoned_checkout", decided_at=NOW - 5 * HOUR)
    for kind, is_machine, at in (
        (MessageEventKind.OPENED, True, NOW - 5 * HOUR),
        (MessageEventKind.CLICKED, False, NOW - 4 * HOUR),
        (MessageEventKind.UNSUBSCRIBED, False, NOW),
    ):
        MessageEvent.objects.create(
            installation=installation,
            message=before,
            kind=kind,
            at=at,
            recorded_at=at,
            is_machine=is_machine,
        )
    message(alice, "win_back", decided_at=NOW)  # after the order
    message(alice, "birthday", decided_at=NOW - 8 * DAY)  # outside the window
    message(alice, "welcome", decided_at=NOW - 2 * HOUR, status=MessageStatus.NOT_SENT)
    for product, at, attribution in (
        (shoes, NOW - 2 * HOUR, "x"),
        (laces, NOW - 2 * HOUR, "x"),  # was not ordered
        (shoes, NOW - 3 * HOUR, ""),  # no answer of ours
        (shoes, NOW - 9 * DAY, "x"),
    ):
        Event.objects.create(
            installation=installation,
            profile=alice,
            event_id=f"{product}{at}{attribution}",
            type=EventType.RECOMMENDATION_CLICKED,
            occurred_at=at,
            received_at=at,
            source=EventSource.STOREFRONT,
            product_saleor_id=product,
            attribution_id=attribution,
            properties={"placement": "home", "strategy": "popular"},
        )
    offer(alice, "CODE-1", order=order, status=OfferStatus.USED)
    AttributedOrder.objects.create(
        installation=installation,
        order=order,
        kind=TouchKind.MESSAGE,
        touch=Touch.CLICK,
        touched_at=NOW - 4 * HOUR,
        message=before,
        template="abandoned_checkout",
        delivery_channel="email",
    )
    response = ask(installation, "order", orderId=order.saleor_id)
    told = text_of(response)
    assert "Counted for a message Cart reminder clicked, 4 h ago Placed" in told
    assert "Placed with a code of ours 10% Welcome" in told
    assert "Messages before it Cart reminder by e-mail, 5 h ago: clicked Recommendations" in told
    assert "led to it Red shoe Pressed a recommendation · Home · 2 h ago All that" in told
    assert "CODE-1" not in told
    assert link_of(response) == f"{APP}/?customerId=VXNlcjox"

    without = ask(
        installation,
        "order",
        {"user_permissions": ["MANAGE_ORDERS"]},
        orderId=order.saleor_id,
    )
    assert "Placed with a code of ours" in text_of(without)
    assert "What led to it is shown to staff who may manage customers." in text_of(without)
    assert text_of(without).count("Cart reminder") == 1  # what it counts for, not who was told what
    assert "customerId" not in without.content.decode()

    AttributedOrder.objects.update(touch=Touch.CODE)
    by_code = text_of(ask(installation, "order", orderId=order.saleor_id))
    assert "Counted for a message Cart reminder its code was used, 4 h ago" in by_code


def test_b97_a_widget_has_the_theme_that_the_form_tells(installation: Installation) -> None:
    for theme, expected in (("dark", ' data-theme="dark"'), ("light", ' data-theme="light"'), ("", ""), ('"><script>', "")):  # fmt: skip
        page = ask(installation, "home", theme=theme).content.decode()
        assert f'<html lang="en"{expected}>' in page


# -- a voucher --------------------------------------------------------------------------------------------


def test_b98_a_voucher_with_its_journey_and_what_became_of_its_codes(
    installation: Installation, alice: Profile
) -> None:
    ours, theirs = gid("Voucher", 1), gid("Voucher", 2)
    OfferVoucher.objects.create(
        installation=installation,
        digest="d",
        saleor_id=ours,
        name="Personalize: Welcome",
        expires_at=NOW + 3 * DAY,
        created_at=NOW,
    )
    row = make_enrollment(alice, "cart", NOW)
    for number, status in enumerate(["made", "made", "used", "expired", "withdrawn", "reserved"]):
        offer(
            alice,
            f"C{number}",
            status=status,
            voucher_saleor_id=ours,
            enrollment=row,
            key=f"{number}",
        )
    offer(alice, "OTHER", voucher_saleor_id=theirs, key="other")
    response = ask(installation, "voucher", voucherId=ours)
    told = text_of(response)
    assert "Its codes are given by: Cart reminder" in told
    assert "Codes made 5 Used 1 Still usable 2 Expired 1 Taken back 1 Ends in 3 days" in told
    assert link_of(response) == f"{APP}/open/offers/"
    assert "No journey gives codes of this voucher." in text_of(
        ask(installation, "voucher", voucherId=theirs)
    )


# -- the first page ---------------------------------------------------------------------------------------


def test_b98_the_first_page_tells_of_today_and_of_what_needs_a_look(
    installation: Installation, alice: Profile
) -> None:
    told = text_of(ask(installation, "home"))
    assert "Messages today Sent 0 Not sent 0 Everything is well" in told
    message(alice, "welcome", decided_at=NOW)
    message(alice, "win_back", decided_at=NOW, status=MessageStatus.NOT_SENT)
    message(alice, "birthday", decided_at=NOW - 2 * DAY)
    Installation.objects.update(sends_stopped_at=NOW)
    Training.objects.create(
        installation=installation,
        status=TrainingStatus.FAILED,
        reason=TrainingReason.ASKED,
        asked_at=NOW,
        error="No room on the disk.",
    )
    response = ask(installation, "home")
    told = text_of(response)
    assert "Sent 1 Not sent 1 Needs a look" in told
    assert "The last training failed" in told
    assert "All sends are stopped" in told
    assert "Everything is well" not in told
    assert link_of(response) == f"{APP}/"


def test_b98_today_begins_by_the_clock_of_the_shop_as_on_the_results(
    installation: Installation, alice: Profile, settings: Any
) -> None:
    settings.SALEOR_PERSONALIZE = {
        **settings.SALEOR_PERSONALIZE,
        "TIME_ZONE": "Pacific/Kiritimati",
    }
    since = Day.at(timezone.now()).since
    message(alice, "welcome", decided_at=since + timedelta(minutes=1))
    message(alice, "birthday", decided_at=since - timedelta(minutes=1))
    assert "Messages today Sent 1 Not sent 0" in text_of(ask(installation, "home"))


# -- links ------------------------------------------------------------------------------------------------


def test_b98_links_lead_to_the_dashboard_that_asked(
    installation: Installation, settings: Any
) -> None:
    settings.SALEOR_PERSONALIZE = {
        **settings.SALEOR_PERSONALIZE,
        "DASHBOARD_ORIGINS": ["https://one.test", DASHBOARD],
        "DASHBOARD_PATH": "/",
    }
    response = ask(installation, "home")
    assert link_of(response) == f"{DASHBOARD}/extensions/app/QXBwOjE%3D/"


@pytest.mark.parametrize(
    ("address", "fragment"),
    [
        ("/dashboard/open/offers/", "/dashboard/offers/"),
        ("/dashboard/open/rules", "/dashboard/rules/"),
        ("/dashboard/open/of-a-later-version/", "/dashboard/overview/"),
        ("/dashboard/open/offers/?customerId=VXNlcjox", "/dashboard/people/?customer=VXNlcjox"),
    ],
)
def test_b98_the_dashboard_can_open_a_page_of_the_app(
    installation: Installation, address: str, fragment: str
) -> None:
    page = Client().get(
        address, {"saleorApiUrl": installation.saleor_api_url} if "?" not in address else {}
    )
    assert page.status_code == 200
    assert f'id="content" class="page-content" hx-get="{fragment}"' in page.content.decode()
