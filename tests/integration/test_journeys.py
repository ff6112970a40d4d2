"""The abandoned-checkout journey: who waits, when, and every reason for a message or for none."""

import functools
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from email.message import Message as Mail
from io import StringIO
from itertools import pairwise
from typing import Any
from urllib.parse import quote

import pytest
import time_machine
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection

from saleor_personalize.enums import (
    ConsentState,
    EnrollmentStatus,
    InstallationStatus,
    MessageStatus,
    NotSentReason,
)
from saleor_personalize.exceptions import MalformedPayload, TokenRefused
from saleor_personalize.journeys import operations as journeys
from saleor_personalize.journeys.live import AboutCheckout, ask_saleor, read_answer
from saleor_personalize.messaging import operations as messaging
from saleor_personalize.models import (
    Checkout,
    Consent,
    Enrollment,
    Installation,
    Message,
    Product,
    ProductListing,
    ProductVariant,
    Profile,
    Suppression,
    email_hash,
)
from saleor_personalize.signals import message_not_sent, message_sent
from saleor_personalize.tasks.journeys import advance_journeys
from saleor_personalize.testing.stack import free_port
from tests.conftest import NOW, make_consent, make_profile
from tests.integration.reminders import (
    HOUR,
    MINUTE,
    World,
    checkout_data,
    mailbox,
    run_threads,
    use_smtp,
)
from tests.loopback import loopback_shop, with_loopback

SENT = (MessageStatus.SENT, "")


def not_sent(reason: NotSentReason) -> tuple[str, str]:
    return MessageStatus.NOT_SENT, reason


def parts(mail: Mail) -> tuple[str, str]:
    """Plain text and HTML of a mail, decoded."""
    bodies = {
        part.get_content_type(): part.get_payload(decode=True).decode()
        for part in mail.walk()
        if not part.is_multipart()
    }
    assert list(bodies) == ["text/plain", "text/html"]
    return bodies["text/plain"], bodies["text/html"]


# -- who waits ---------------------------------------------------------------------------------------


def test_b44_a_cart_waits_an_hour_after_its_last_change(world: World) -> None:
    world.checkout()
    assert world.enrollment().due_at == NOW + HOUR
    world.checkout(at=NOW + 20 * MINUTE, variants={"variant-1": 5})
    assert world.enrollment().due_at == NOW + 20 * MINUTE + HOUR
    assert world.advance(NOW + HOUR) == 0
    assert world.advance(NOW + 20 * MINUTE + HOUR) == 1
    assert world.decision() == SENT
    assert Message.objects.get().content["lines"][0]["quantity"] == 5


def test_b44_the_wait_of_a_journey_can_be_its_own(world: World) -> None:
    shipped = journeys.built_in()["abandoned_checkout"].to_json()
    trigger = {"type": "abandoned_checkout", "after": "5 minutes"}
    journeys.load(
        installation=world.installation, text=json.dumps({**shipped, "trigger": trigger}), now=NOW
    )
    world.checkout()
    assert world.enrollment().due_at == NOW + 5 * MINUTE


def test_b44_an_event_without_a_change_does_not_undo_a_later_date(world: World) -> None:
    checkout = world.checkout()
    Enrollment.objects.update(due_at=NOW + 3 * HOUR)
    journeys.follow_checkout(checkout=checkout, now=NOW)
    assert world.enrollment().due_at == NOW + 3 * HOUR


@pytest.mark.parametrize(
    "changes",
    [{"variants": {}}, {"email": ""}],
    ids=["nothing in it", "nobody to write to"],
)
def test_b44_a_cart_that_nobody_can_be_reminded_of_does_not_wait(
    world: World, changes: dict[str, Any]
) -> None:
    world.checkout(**changes)
    assert not Enrollment.objects.exists()


def test_b44_a_guest_with_an_address_is_reminded(world: World) -> None:
    world.checkout(email="guest@example.com")
    world.allow("guest@example.com")
    world.advance()
    assert [mail["To"] for mail in world.mails()] == ["guest@example.com"]


def test_b44_a_customer_without_an_address_in_the_cart_is_reminded_at_the_account(
    world: World,
) -> None:
    world.checkout(email="", user_id="VXNlcjox")
    world.advance()
    assert [mail["To"] for mail in world.mails()] == ["alice@example.com"]


def test_b44_an_address_of_somebody_else_in_the_cart_is_not_written_to(world: World) -> None:
    """The consent is the account's, so the address is too."""
    make_profile(world.installation, email="friend@example.com")
    world.checkout(email="friend@example.com", user_id="VXNlcjox", user_email="alice@example.com")
    world.advance()
    assert [mail["To"] for mail in world.mails()] == ["alice@example.com"]


def test_b44_one_checkout_is_written_about_once(world: World) -> None:
    world.checkout()
    world.advance()
    world.checkout(at=NOW + 5 * HOUR, variants={"variant-1": 9})
    assert world.advance(NOW + 9 * HOUR) == 0
    assert len(world.mails()) == 1
    assert Message.objects.count() == 1


# -- go live -----------------------------------------------------------------------------------------


def test_d6_nothing_waits_and_nothing_goes_out_before_go_live(
    installation: Installation, alice: Profile, settings: Any
) -> None:
    with mailbox() as box:
        use_smtp(settings, box.port)
        world = World(installation, box)
        world.checkout()
        assert not Enrollment.objects.exists()
        assert world.advance() == 0
        # Switched on now: the old cart stays where it is, a repeated event included.
        world.go_live(NOW + MINUTE)
        world.checkout()
        assert not Enrollment.objects.exists()
        assert world.advance() == 0
        assert world.mails() == []
        # It is touched again: that is a new occasion.
        world.checkout(at=NOW + 2 * MINUTE, variants={"variant-1": 2})
        assert world.advance() == 1
        assert len(world.mails()) == 1


def test_d6_a_paused_journey_holds_and_then_lets_go(world: World) -> None:
    world.checkout()
    journeys.pause(journey=world.journey)
    assert world.advance() == 0
    assert world.enrollment().status == EnrollmentStatus.WAITING
    world.go_live(NOW + 90 * MINUTE)
    assert world.advance() == 1
    assert world.decision() == not_sent(NotSentReason.NOT_LIVE)
    assert world.mails() == []


def test_d6_going_live_twice_keeps_the_first_moment(world: World) -> None:
    world.go_live(NOW + HOUR)
    assert world.journey.live_at == NOW - 30 * MINUTE


def test_d6_paused_while_saleor_is_asked(world: World) -> None:
    world.checkout()
    world.saleor.before_answer = lambda checkout: journeys.pause(journey=world.journey) and None
    assert world.advance() == 1
    assert world.mails() == []
    assert not Message.objects.exists()
    assert world.enrollment().status == EnrollmentStatus.WAITING


# -- reasons not to ----------------------------------------------------------------------------------


def test_b44_silence_is_a_no(world: World) -> None:
    Consent.objects.all().delete()
    world.checkout()
    world.advance()
    assert world.decision() == not_sent(NotSentReason.NO_CONSENT)
    assert world.mails() == []
    assert world.saleor.asked == []


def test_b44_a_recorded_no_is_a_no(world: World, bob: Profile) -> None:
    world.checkout(email="bob@example.com")
    world.advance()
    assert world.decision() == not_sent(NotSentReason.NO_CONSENT)
    assert world.mails() == []


def test_b44_consent_withdrawn_while_saleor_is_asked(world: World) -> None:
    world.checkout()
    world.saleor.before_answer = lambda checkout: world.allow(
        "alice@example.com", ConsentState.DENIED
    )
    world.advance()
    assert world.decision() == not_sent(NotSentReason.NO_CONSENT)
    assert world.mails() == []


def test_b44_an_opt_in_of_the_checkout_is_enough(world: World) -> None:
    world.checkout(email="new@example.com", metadata={"marketing_opt_in": "true"})
    world.advance()
    assert [mail["To"] for mail in world.mails()] == ["new@example.com"]


def test_b44_a_suppressed_address_is_not_used(world: World) -> None:
    Suppression.objects.create(
        installation=world.installation,
        delivery_channel="email",
        address_hash=email_hash("alice@example.com"),
        reason="hard_bounce",
        created_at=NOW,
    )
    world.checkout()
    world.advance()
    assert world.decision() == not_sent(NotSentReason.SUPPRESSED)
    assert world.mails() == []


@pytest.mark.parametrize(
    "status", [s for s in InstallationStatus if s != InstallationStatus.ACTIVE]
)
def test_b44_a_shop_that_switched_the_app_off_sends_nothing(
    world: World, status: InstallationStatus
) -> None:
    world.checkout()
    Installation.objects.update(status=status)
    world.advance()
    assert world.decision() == not_sent(NotSentReason.INSTALLATION_INACTIVE)
    assert world.mails() == []


def test_b44_too_late_is_too_late(world: World) -> None:
    world.checkout()
    world.advance(NOW + timedelta(days=3))
    assert world.decision() == not_sent(NotSentReason.TOO_LATE)
    assert world.mails() == []


def test_b44_a_cart_emptied_meanwhile(world: World) -> None:
    world.checkout()
    world.checkout(at=NOW + MINUTE, variants={})
    world.advance()
    assert world.decision() == not_sent(NotSentReason.CHECKOUT_EMPTY)
    assert world.mails() == []


def test_b44_a_checkout_that_saleor_no_longer_has(world: World) -> None:
    world.checkout()
    world.saleor.gone.add("checkout-1")
    world.advance()
    assert world.decision() == not_sent(NotSentReason.CHECKOUT_GONE)
    assert Checkout.objects.get().close_reason == "gone"
    assert world.mails() == []


def test_b44_dry_run_renders_and_records_and_sends_nothing(world: World, settings: Any) -> None:
    settings.SALEOR_PERSONALIZE = {**settings.SALEOR_PERSONALIZE, "DRY_RUN": True}
    world.checkout()
    world.advance()
    assert world.decision() == not_sent(NotSentReason.DRY_RUN)
    assert len(Message.objects.get().content["lines"]) == 2
    assert world.mails() == []


# -- every line, at the moment of the send -----------------------------------------------------------


def test_b47_prices_and_lines_are_those_of_the_send(world: World) -> None:
    world.checkout()
    world.saleor.prices["variant-1"] = "1234.5"
    world.saleor.sold_out.add("variant-2")
    world.advance()
    (mail,) = world.mails()
    text, html = parts(mail)
    for body in (text, html):
        assert "Product variant-1" in body
        assert "Product variant-2" not in body
    assert "1 \N{MULTIPLICATION SIGN} 1,234.50\N{NO-BREAK SPACE}USD" in text
    message = Message.objects.get()
    assert message.content == {
        "checkout_id": "checkout-1",
        "lines": [
            {
                "product_id": "product-of-variant-1",
                "variant_id": "variant-1",
                "quantity": 1,
                "unit_price": "1234.5",
                "currency": "USD",
            }
        ],
        "left_out": ["variant-2"],
    }


def test_b47_nothing_left_to_buy(world: World) -> None:
    world.checkout()
    world.saleor.sold_out |= {"variant-1", "variant-2"}
    world.advance()
    assert world.decision() == not_sent(NotSentReason.CHECKOUT_EMPTY)
    assert world.mails() == []


@pytest.mark.parametrize("what", ["product deleted", "variant deleted", "unpublished", "not yet"])
def test_b47_what_our_own_tables_know_to_be_withdrawn_is_left_out(world: World, what: str) -> None:
    shop = world.installation
    if what == "product deleted":
        Product.objects.create(
            installation=shop, saleor_id="product-of-variant-1", name="x", deleted_at=NOW
        )
    elif what == "variant deleted":
        ProductVariant.objects.create(
            installation=shop, saleor_id="variant-1", product_saleor_id="x", deleted_at=NOW
        )
    else:
        ProductListing.objects.create(
            installation=shop,
            product_saleor_id="product-of-variant-1",
            channel_slug="default-channel",
            is_published=what != "unpublished",
            available_for_purchase_at=NOW + timedelta(days=9),
        )
    world.checkout()
    world.advance()
    assert [line["variant_id"] for line in Message.objects.get().content["lines"]] == ["variant-2"]


def test_b47_lines_changed_in_saleor_whose_webhook_is_late_start_the_wait_anew(
    world: World,
) -> None:
    world.checkout()
    changed_at = NOW + 90 * MINUTE
    world.saleor.newer["checkout-1"] = ({"variant-9": 1}, changed_at)
    world.advance()
    assert world.mails() == []
    assert not Message.objects.exists()
    assert world.enrollment().due_at == changed_at + HOUR
    world.advance(changed_at + HOUR)
    assert [line["variant_id"] for line in Message.objects.get().content["lines"]] == ["variant-9"]
    assert len(world.mails()) == 1


# -- Saleor cannot be asked --------------------------------------------------------------------------


def test_b47_unverified_is_unsent_until_it_is_too_late(world: World) -> None:
    world.checkout()
    world.saleor.is_down = True
    due = [world.enrollment().due_at]
    while world.enrollment().status == EnrollmentStatus.WAITING:
        assert world.advance(due[-1]) == 1
        due.append(world.enrollment().due_at)
        assert len(due) < 20
    waits = [round((later - earlier) / MINUTE) for earlier, later in pairwise(due[:-1])]
    assert waits == [1, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 164]
    assert world.decision() == not_sent(NotSentReason.TOO_LATE)
    assert world.mails() == []


def test_b47_the_reminder_goes_out_when_saleor_is_back(world: World) -> None:
    world.checkout()
    world.saleor.is_down = True
    world.advance(NOW + HOUR)
    world.saleor.is_down = False
    assert world.advance(NOW + HOUR) == 0
    assert world.advance(NOW + HOUR + MINUTE) == 1
    assert len(world.mails()) == 1


def test_b47_a_refused_token_marks_the_installation(world: World) -> None:
    world.checkout()

    def refuse(question: AboutCheckout) -> Any:
        raise TokenRefused("no")

    journeys.advance_due(now=NOW + HOUR, ask=refuse)
    world.installation.refresh_from_db()
    assert world.installation.status == InstallationStatus.TOKEN_REFUSED
    assert world.enrollment().status == EnrollmentStatus.WAITING
    world.advance(NOW + 2 * HOUR)
    assert world.decision() == not_sent(NotSentReason.INSTALLATION_INACTIVE)


def answer(**changes: Any) -> dict[str, Any]:
    """The `data` of CheckoutNow."""
    line = {
        "id": "line-1",
        "quantity": 2,
        "variant": {
            "id": "variant-1",
            "name": "Large",
            "quantityAvailable": 3,
            "product": {
                "id": "product-1",
                "name": "Socks",
                "slug": "socks",
                "isAvailable": True,
                "thumbnail": {"url": "https://shop.test/socks.png"},
            },
        },
        "unitPrice": {"gross": {"amount": 12.3, "currency": "EUR"}},
        "problems": [],
    }
    return {
        "checkout": {
            "id": "checkout-1",
            "updatedAt": "2026-03-02T12:00:00+00:00",
            "email": "alice@example.com",
            "user": None,
            "channel": {"slug": "default-channel", "currencyCode": "EUR", "isActive": True},
            "languageCode": "DE",
            "lines": [line],
        },
        "orders": {"edges": []},
        "ordersOfAddress": {"edges": []},
        **changes,
    }


def orders(*created: str) -> dict[str, Any]:
    """Orders of Alice's, made from carts."""
    common = {
        "id": "order",
        "status": "UNFULFILLED",
        "checkoutId": "another",
        "userEmail": "alice@example.com",
        "user": None,
    }
    return {
        "edges": [
            {"node": {**common, "created": moment, "updatedAt": moment}} for moment in created
        ]
    }


def test_b47_the_answer_of_saleor_is_read() -> None:
    live = read_answer(answer(), since=NOW, address="alice@example.com")
    (line,) = live.lines
    assert (live.exists, live.is_ordered, live.changed_at) == (True, False, NOW)
    assert (line.product_name, line.unit_price, line.currency) == ("Socks", Decimal("12.3"), "EUR")
    assert (line.is_sellable, line.image_url) == (True, "https://shop.test/socks.png")


def test_b47_an_id_is_no_name_to_show() -> None:
    nameless = answer()
    nameless["checkout"]["lines"][0]["variant"]["name"] = "variant-1"
    assert read_answer(nameless, since=NOW, address="alice@example.com").lines[0].variant_name == ""


@pytest.mark.parametrize(
    ("changes", "is_ordered"),
    [
        ({"orders": orders("2020-01-01T00:00:00+00:00")}, True),
        ({"ordersOfAddress": orders("2026-03-02T12:00:00+00:00")}, True),
        ({"ordersOfAddress": orders("2026-03-02T11:59:59+00:00")}, False),
        ({"customer": {"orders": orders("2026-03-02T13:00:00+00:00")}}, True),
        ({"customer": {"orders": orders("2026-03-01T13:00:00+00:00")}}, False),
        ({"customer": None}, False),
    ],
    ids=[
        "by checkout, at any time",
        "by address",
        "before",
        "by customer",
        "before",
        "no customer",
    ],
)
def test_d2_orders_in_the_answer_of_saleor(changes: dict[str, Any], is_ordered: bool) -> None:
    assert (
        read_answer(answer(**changes), since=NOW, address="alice@example.com").is_ordered
        is is_ordered
    )


@pytest.mark.parametrize(
    "broken",
    [
        {"ordersOfAddress": None},
        {"orders": None},
        {"checkout": {"updatedAt": "yesterday"}},
        {"ordersOfAddress": orders("2026-03-02T12:00:00")},
    ],
)
def test_d2_an_answer_that_lacks_what_a_decision_needs_is_no_answer(broken: dict[str, Any]) -> None:
    with pytest.raises(MalformedPayload):
        read_answer(answer(**broken), since=NOW, address="alice@example.com")


def test_b47_a_shop_is_really_asked(world: World, settings: Any) -> None:
    settings.SALEOR_PERSONALIZE = with_loopback(settings.SALEOR_PERSONALIZE)
    world.checkout(user_id="VXNlcjox")
    with loopback_shop() as shop:
        Installation.objects.update(saleor_api_url=shop.api_url)
        shop.answers["CheckoutNow"] = [{"data": answer()}]
        checkout = Checkout.objects.select_related("installation", "profile").get()
        live = ask_saleor(checkout, "alice@example.com")
    assert live.exists
    assert shop.variables == [
        {
            "id": "checkout-1",
            "checkoutIds": ["checkout-1"],
            "country": None,
            "address": "alice@example.com",
            "hasAddress": True,
            "since": "2026-03-02T12:00:00+00:00",
            "userId": "VXNlcjox",
            "isCustomer": True,
        }
    ]


# -- several carts of one person ---------------------------------------------------------------------


def test_b46_several_open_carts_make_one_message_with_all_that_is_in_them(world: World) -> None:
    world.checkout("checkout-1")
    world.checkout("checkout-2", at=NOW + 10 * MINUTE, variants={"variant-7": 1})
    world.checkout("checkout-3", at=NOW + 5 * MINUTE, variants={"variant-8": 1, "variant-9": 1})
    world.saleor.sold_out.add("variant-9")
    for minutes in range(60, 90):
        world.advance(NOW + minutes * MINUTE)
    (mail,) = world.mails()
    for body in parts(mail):
        for variant in ("variant-1", "variant-2", "variant-7", "variant-8"):
            assert f"Product {variant}" in body
        assert "variant-9" not in body
        # The newest comes first; each has a way back of its own.
        links = [body.index(f"checkout?checkout=checkout-{n}") for n in (2, 3, 1)]
        assert links == sorted(links)
    decided = dict(Message.objects.values_list("idempotency_key", "reason"))
    assert decided == {
        "abandoned_checkout:checkout-1:first": "already_sent",
        "abandoned_checkout:checkout-2:first": "",
        "abandoned_checkout:checkout-3:first": "already_sent",
    }
    sent = Message.objects.get(status="sent")
    assert sent.decided_at == NOW + 70 * MINUTE
    assert sent.content["checkout_id"] == "checkout-2"
    assert [cart["checkout_id"] for cart in sent.content["carts"]] == ["checkout-3", "checkout-1"]
    assert sent.content["carts"][0]["left_out"] == ["variant-9"]


def test_b44_the_older_cart_is_told_when_the_newer_cannot_be(world: World) -> None:
    world.checkout("checkout-1")
    world.checkout("checkout-2", at=NOW + 10 * MINUTE, variants={"variant-7": 1})
    world.saleor.sold_out.add("variant-7")
    for minutes in range(60, 90):
        world.advance(NOW + minutes * MINUTE)
    (mail,) = world.mails()
    assert "Product variant-1" in parts(mail)[0]


def test_b44_a_cart_left_before_the_last_reminder_is_not_told_again(world: World) -> None:
    world.checkout("checkout-2", at=NOW + 10 * MINUTE)
    world.advance(NOW + 70 * MINUTE)
    # Its webhook comes late.
    world.checkout("checkout-1", at=NOW)
    world.advance(NOW + 75 * MINUTE)
    assert Message.objects.get(enrollment__subject_saleor_id="checkout-1").reason == "already_sent"
    assert len(world.mails()) == 1


def test_b44_a_later_cart_is_a_new_occasion(world: World) -> None:
    world.checkout("checkout-1")
    world.advance(NOW + HOUR)
    world.checkout("checkout-2", at=NOW + 5 * HOUR)
    world.advance(NOW + 6 * HOUR)
    assert len(world.mails()) == 2


# -- the message -------------------------------------------------------------------------------------


def test_b44_b74_the_mail_itself(world: World, alice: Profile) -> None:
    Installation.objects.update(sender="Sock Shop <hello@socks.example>")
    alice.first_name = "Alice"
    alice.save()
    world.checkout(id="Q2hlY2tvdXQ6MQ==")
    world.advance()
    (mail,) = world.mails()
    text, html = parts(mail)
    message = Message.objects.get()
    assert mail["Subject"] == "Your cart at Sock Shop is waiting for you"
    assert mail["From"] == "Sock Shop <hello@socks.example>"
    assert mail["To"] == "alice@example.com"
    assert mail["Message-ID"] == f"<{message.public_id.hex}@socks.example>"
    assert mail["Message-ID"] == message.provider_message_id
    assert mail["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    unsubscribe = mail["List-Unsubscribe"].strip().strip("<>")
    assert unsubscribe.startswith("https://personalize.test/u/")
    assert mail["List-Id"] == "<abandoned-checkout.main.saleor.test>"
    assert mail["Auto-Submitted"] == "auto-generated"
    assert message.handed_over_at == NOW + 2 * HOUR
    cart = "https://store.test/checkout?checkout=Q2hlY2tvdXQ6MQ=="
    for body in (text, html):
        assert body.count(cart) == 1
        assert body.count(unsubscribe) == 1
        assert "Hi Alice," in body
        assert "Product variant-1" in body
        assert "20.00\N{NO-BREAK SPACE}USD" in body
    assert html.count('alt="Product variant-1"') == 1
    assert "color-scheme" in html
    assert 'lang="en"' in html


def test_b44_the_cart_link_of_the_installation_wins(world: World) -> None:
    Installation.objects.update(checkout_url="https://socks.example/{channel}/cart/{checkout_id}")
    world.checkout()
    world.advance()
    (mail,) = world.mails()
    assert "https://socks.example/default-channel/cart/checkout-1" in parts(mail)[0]


def test_b44_numbers_are_written_as_the_checkout_speaks(world: World) -> None:
    world.saleor.prices["variant-1"] = "1234.5"
    world.checkout(language_code="DE_DE")
    world.advance()
    (mail,) = world.mails()
    text, html = parts(mail)
    assert "1.234,50\N{NO-BREAK SPACE}USD" in text
    assert 'lang="de"' in html


@pytest.mark.parametrize(
    "url", ["", "javascript:alert(1)//{checkout_id}", "https://store.test/cart"]
)
def test_d6_without_a_cart_link_nothing_is_sent(world: World, settings: Any, url: str) -> None:
    settings.SALEOR_PERSONALIZE = {**settings.SALEOR_PERSONALIZE, "CHECKOUT_URL": url}
    world.checkout()
    world.advance()
    assert world.decision() == not_sent(NotSentReason.TEMPLATE_INCOMPLETE)
    assert "CHECKOUT_URL" in Message.objects.get().error
    assert world.mails() == []


def test_d6_a_template_that_lacks_a_value_blocks_the_send(
    world: World, settings: Any, tmp_path: Any
) -> None:
    folder = tmp_path / "saleor_personalize" / "messages" / "abandoned_checkout"
    folder.mkdir(parents=True)
    (folder / "body.txt").write_text("Hi {{ first_name }},")
    entry = {**settings.TEMPLATES[0], "DIRS": [str(tmp_path)]}
    settings.TEMPLATES = [entry]
    world.checkout()
    world.advance()
    assert world.decision() == not_sent(NotSentReason.TEMPLATE_INCOMPLETE)
    assert "'first_name'" in Message.objects.get().error
    assert world.mails() == []


# -- the provider ------------------------------------------------------------------------------------


def test_b67_a_mail_server_that_is_away_is_tried_again(world: World, settings: Any) -> None:
    settings.EMAIL_PORT = free_port()
    world.checkout()
    world.advance(NOW + HOUR)
    assert world.decision() == (MessageStatus.FAILED, NotSentReason.CHANNEL_ERROR)
    assert world.enrollment().status == EnrollmentStatus.WAITING
    assert world.enrollment().due_at == NOW + HOUR + MINUTE
    settings.EMAIL_PORT = world.box.port
    world.advance(NOW + HOUR + MINUTE)
    assert world.decision() == SENT
    assert Message.objects.get().attempts == 2
    assert len(world.mails()) == 1
    assert world.enrollment().due_at == NOW + HOUR + MINUTE + 23 * HOUR


def test_b67_tries_are_bounded(world: World, settings: Any) -> None:
    settings.EMAIL_PORT = free_port()
    world.checkout()
    tries = 0
    while world.enrollment().status == EnrollmentStatus.WAITING:
        tries += world.advance(world.enrollment().due_at)
    assert tries == messaging.MAX_ATTEMPTS
    assert world.decision() == (MessageStatus.FAILED, NotSentReason.CHANNEL_ERROR)


def test_b45_an_order_between_two_tries_ends_them(world: World, settings: Any) -> None:
    settings.EMAIL_PORT = free_port()
    world.checkout()
    world.advance(NOW + HOUR)
    world.order(email="alice@example.com", at=NOW + HOUR)
    settings.EMAIL_PORT = world.box.port
    assert world.advance(NOW + 2 * HOUR) == 0
    assert world.decision() == not_sent(NotSentReason.ORDERED)
    assert world.mails() == []


def test_b67_a_refused_address_is_final_and_nowhere_written_down(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.box.recipient_answer = "550 no such user alice@example.com"
    world.checkout()
    world.advance()
    assert world.decision() == (MessageStatus.FAILED, NotSentReason.CHANNEL_ERROR)
    assert world.enrollment().status == EnrollmentStatus.EXITED
    assert world.enrollment().exit_reason == NotSentReason.CHANNEL_ERROR
    error = Message.objects.get().error
    assert error == "The mail server refused the recipient (550): no such user <address>"
    ours = [r.getMessage() for r in caplog.records if r.name.startswith("saleor_personalize")]
    assert ours
    assert not any("alice" in line for line in ours)


def test_b67_refused_for_now_is_tried_again(world: World) -> None:
    world.box.data_answer = "451 try again later"
    world.checkout()
    world.advance(NOW + HOUR)
    assert world.decision() == (MessageStatus.FAILED, NotSentReason.CHANNEL_ERROR)
    world.box.data_answer = "250 OK"
    world.advance(NOW + HOUR + MINUTE)
    assert world.decision() == SENT
    assert len(world.mails()) == 1


def test_b67_a_server_that_hangs_up_with_the_message_in_hand_gets_it_once(world: World) -> None:
    world.box.hangs_up_after_data = True
    world.checkout()
    world.advance()
    assert world.decision() == (MessageStatus.UNCERTAIN, "")
    world.box.hangs_up_after_data = False
    assert world.advance(NOW + 5 * HOUR) == 0
    assert len(world.mails()) == 1


def test_b67_without_a_sender_nothing_leaves_and_it_is_tried_again(
    world: World, settings: Any
) -> None:
    settings.SALEOR_PERSONALIZE = {**settings.SALEOR_PERSONALIZE, "DEFAULT_SENDER": None}
    world.checkout()
    world.advance(NOW + HOUR)
    assert "DEFAULT_SENDER" in Message.objects.get().error
    Installation.objects.update(sender="hello@socks.example")
    world.advance(NOW + 2 * HOUR)
    assert len(world.mails()) == 1


# -- workers -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.django_db(transaction=True)
def test_b44_a_worker_killed_during_the_hand_over_never_doubles_a_message(
    world: World, moment: str
) -> None:
    """SIGKILL between the commit and the provider's answer, or between that and our record of it."""
    world.checkout()
    database = connection.settings_dict
    url = "postgresql://{USER}@/{NAME}?host={HOST}".format(**database)
    if database["HOST"] and not database["HOST"].startswith("/"):
        url = "postgresql://{USER}:{PASSWORD}@{HOST}:{PORT}/{NAME}".format(**database)
    worker = subprocess.Popen(
        [sys.executable, "-m", "tests.integration.stuck_worker", moment, str(world.box.port)],
        env={**os.environ, "TEST_DATABASE_URL": url, "DATABASE_URL": url},
        stdout=subprocess.PIPE,
    )
    assert worker.stdout is not None
    assert worker.stdout.readline() == b"stuck\n"
    os.kill(worker.pid, signal.SIGKILL)
    worker.wait(30)
    worker.stdout.close()

    sent = 1 if moment == "after" else 0
    assert world.decision() == (MessageStatus.HANDING_OVER, "")
    assert len(world.mails()) == sent
    assert messaging.settle_interrupted(now=NOW + 2 * HOUR) == 0
    assert messaging.settle_interrupted(now=NOW + 2 * HOUR + timedelta(minutes=10)) == 1
    assert world.decision() == (MessageStatus.UNCERTAIN, "")
    assert world.advance(NOW + 5 * HOUR) == 0
    assert len(world.mails()) == sent


def test_b44_a_worker_killed_before_the_decision_leaves_it_to_another(world: World) -> None:
    world.checkout()

    def die(question: AboutCheckout) -> Any:
        raise SystemExit

    with pytest.raises(SystemExit):
        journeys.advance_due(now=NOW + HOUR, ask=die)
    assert world.advance(NOW + HOUR) == 0
    assert world.advance(NOW + HOUR + journeys.CLAIM) == 1
    assert len(world.mails()) == 1


def test_b44_a_worker_that_wakes_after_its_message_was_settled_does_not_send(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.checkout()
    call = messaging.call

    def late(**arguments: Any) -> messaging.Call:
        assert journeys.resume_interrupted(now=NOW + 3 * HOUR) == 1
        assert messaging.settle_interrupted(now=NOW + 3 * HOUR) == 0
        return call(**arguments)

    monkeypatch.setattr(messaging, "call", late)
    world.advance()
    assert world.decision() == (MessageStatus.FAILED, NotSentReason.INTERRUPTED)
    assert world.mails() == []


@pytest.mark.django_db(transaction=True)
def test_b44_two_carts_of_one_person_due_at_once_in_two_workers(world: World) -> None:
    world.checkout("checkout-1")
    world.checkout("checkout-2", at=NOW + MINUTE, variants={"variant-7": 1})
    run_threads(world.advance, world.advance)
    world.advance(NOW + 3 * HOUR)
    (mail,) = world.mails()
    assert "Product variant-7" in parts(mail)[0]


def test_b44_the_task_decides_about_all_who_are_due(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_saleor = functools.partial(journeys.advance_due, ask=world.saleor)
    monkeypatch.setattr(journeys, "advance_due", with_saleor)
    with time_machine.travel(NOW + 2 * HOUR, tick=False):
        for n in range(3):
            world.checkout(f"checkout-{n}", email=f"shopper{n}@example.com")
            world.allow(f"shopper{n}@example.com")
        advance_journeys()
    assert len(world.mails()) == 3


def test_b44_one_case_that_cannot_be_decided_holds_up_nobody(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    world.checkout("checkout-1")
    world.checkout("checkout-2", email="guest@example.com", at=NOW + MINUTE)
    world.allow("guest@example.com")

    def ask(question: AboutCheckout) -> Any:
        if question.checkout.saleor_id == "checkout-1":
            raise ZeroDivisionError
        return world.saleor(question)

    monkeypatch.setattr(journeys, "advance_due", functools.partial(journeys.advance_due, ask=ask))
    with time_machine.travel(NOW + 2 * HOUR, tick=False):
        advance_journeys()
    assert [mail["To"] for mail in world.mails()] == ["guest@example.com"]
    assert world.enrollment("checkout-1").due_at == NOW + 2 * HOUR + journeys.CLAIM
    assert "A decision failed" in caplog.text


def test_b44_integrators_hear_of_every_outcome(
    world: World, run_on_commit: Callable[..., Any]
) -> None:
    heard: list[tuple[str, str]] = []

    def listen(signal: Any, message: Message, installation: Installation, **_: Any) -> None:
        assert installation == world.installation
        heard.append((message.status, message.reason))

    for announced in (message_sent, message_not_sent):
        announced.connect(listen)
    try:
        with run_on_commit():
            world.checkout("checkout-1")
            world.advance()
            world.checkout("checkout-2", email="silent@example.com")
            world.advance()
    finally:
        for announced in (message_sent, message_not_sent):
            announced.disconnect(listen)
    assert heard == [("sent", ""), ("not_sent", "no_consent")]


# -- another shop ------------------------------------------------------------------------------------


def test_b44_shops_do_not_meet(
    world: World, other_installation: Installation, dave: Profile
) -> None:
    """Dave's shop has the same ids; consent, orders and journeys of one say nothing in the other."""
    other = World(other_installation, world.box)
    other.checkout(email="dave@example.com", user_id="VXNlcjox")
    assert not Enrollment.objects.exists()
    other.go_live()
    other.checkout(email="dave@example.com", user_id="VXNlcjox", at=NOW + MINUTE)
    world.checkout(user_id="VXNlcjox")
    other.order(user_id="VXNlcjox")
    assert world.advance() == 1
    assert [mail["To"] for mail in world.mails()] == ["alice@example.com"]


def test_b44_a_decision_asks_each_thing_once(
    world: World, django_assert_max_num_queries: Any
) -> None:
    """However many rules want to know who somebody is (ADR 16): without that there were 80."""
    world.checkout()
    with django_assert_max_num_queries(64):
        assert world.advance() == 1
    assert len(world.mails()) == 1


# -- the command line --------------------------------------------------------------------------------


def run(*words: str) -> str:
    out = StringIO()
    call_command("personalize_journeys", *words, stdout=out)
    return out.getvalue()


def test_d6_journeys_are_switched_from_a_terminal(installation: Installation) -> None:
    listed = json.loads(run("list", "--json"))[0]
    assert listed == {
        "key": "abandoned_checkout",
        "is_live": False,
        "live_at": None,
        "version": 1,
        "sends_stopped_at": None,
    }
    run("go-live", "abandoned_checkout", "--installation", installation.saleor_api_url)
    assert json.loads(run("list", "--json"))[0]["is_live"] is True
    assert "is_live=False" in run("pause", "abandoned_checkout")


def test_b44_the_terminal_shows_who_waits_and_why_not(world: World) -> None:
    world.checkout()
    (waiting,) = json.loads(run("waiting", "--json"))
    assert waiting["subject"] == "checkout-1"
    assert waiting["step_id"] == "first"
    world.order(email="alice@example.com")
    assert json.loads(run("waiting", "--json")) == []
    (message,) = json.loads(run("messages", "--json"))
    assert (message["status"], message["reason"]) == ("not_sent", "ordered")
    assert (message["journey"], message["step"]) == ("abandoned_checkout", "first")
    assert message["delivery_channel"] == "email"
    assert "alice" not in run("messages")


def test_d6_the_terminal_says_what_to_do(
    installation: Installation, other_installation: Installation
) -> None:
    with pytest.raises(CommandError, match="Several shops have the app"):
        run("list")
    with pytest.raises(CommandError, match=r"Known: abandoned_checkout, "):
        run("go-live", "abandoned", "--installation", installation.saleor_api_url)
    with pytest.raises(CommandError, match="has not installed the app"):
        run("list", "--installation", "https://nobody.saleor.test/graphql/")
    Installation.objects.update(status=InstallationStatus.UNINSTALLED)
    with pytest.raises(CommandError, match="No shop has the app"):
        run("list")


def test_b44_the_terminal_quotes_ids_as_they_are(world: World, alice: Profile) -> None:
    make_consent(alice, ConsentState.GRANTED)
    world.checkout(id="Q2hlY2tvdXQ6MQ==")
    world.advance()
    assert json.loads(run("messages", "--json"))[0]["checkout_id"] == "Q2hlY2tvdXQ6MQ=="
    assert quote("Q2hlY2tvdXQ6MQ==", safe="=") in parts(world.mails()[0])[0]
    assert checkout_data().id == "checkout-1"
