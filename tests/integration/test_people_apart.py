"""One person's address, consent or history never becomes another's (B106, D6)."""

import threading
from dataclasses import replace
from typing import Any

import pytest
from django.db import connection, transaction

from saleor_personalize.enums import IdentityKind, MessageStatus, NotSentReason
from saleor_personalize.events import operations as events
from saleor_personalize.models import Identity, Installation, Message, Order, Profile, email_hash
from saleor_personalize.saleor_api.nodes import CustomerData
from saleor_personalize.testing.stack import wait_until
from tests.conftest import NOW
from tests.integration.reminders import (
    HOUR,
    MINUTE,
    World,
    order_data,
    run_threads,
)

ERIN = {"user_id": "VXNlcjo3", "user_email": "erin@example.com"}
FRIEND = "friend@example.com"
TICKED = {"marketing_opt_in": "true"}


def owner_of(address: str) -> Profile | None:
    found = Identity.objects.filter(kind=IdentityKind.EMAIL, value=email_hash(address)).first()
    return found and found.profile


@pytest.mark.parametrize("where", ["cart", "order"])
def test_b106_a_friends_address_in_a_customers_cart_or_order_stays_the_friends(
    world: World, where: str
) -> None:
    """Erin, who allowed nothing, has a gift sent to a friend; the friend shops later, as a guest."""
    if where == "cart":
        world.checkout("erins", email=FRIEND, **ERIN)
    else:
        world.order(email=FRIEND, checkout_id="erins", at=NOW - HOUR, **ERIN)
    world.checkout("friends", email=FRIEND, metadata=TICKED)
    assert owner_of(FRIEND) != owner_of("erin@example.com")
    world.checkout("erins-next", email="erin@example.com", at=NOW + MINUTE, **ERIN)
    world.advance()
    assert [mail["To"] for mail in world.mails()] == [FRIEND]
    assert Message.objects.get(status=MessageStatus.SENT).content["checkout_id"] == "friends"
    refused = Message.objects.filter(status=MessageStatus.NOT_SENT)
    assert {message.reason for message in refused} == {NotSentReason.NO_CONSENT}


def test_d6_a_customers_reminder_goes_to_the_account_whatever_the_cart_says(world: World) -> None:
    """The consent is the account's; nobody asked whoever has the other address."""
    world.checkout(
        email=FRIEND, user_id="VXNlcjox", user_email="alice@example.com", metadata=TICKED
    )
    world.advance()
    assert [mail["To"] for mail in world.mails()] == ["alice@example.com"]


def test_d2_a_customers_order_with_a_typed_address_ends_the_guest_cart_of_that_address(
    world: World,
) -> None:
    world.checkout(email=FRIEND, metadata=TICKED)
    world.order(email=FRIEND, **ERIN)
    world.advance()
    assert world.decision() == (MessageStatus.NOT_SENT, NotSentReason.ORDERED)
    assert world.mails() == []


def waiting_for_advisory_lock() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
        return bool(cursor.fetchone()[0])


@pytest.mark.django_db(transaction=True)
def test_d2_such_an_order_being_recorded_holds_up_the_decision(world: World) -> None:
    world.checkout(email=FRIEND, metadata=TICKED)
    recorded, may_commit = threading.Event(), threading.Event()

    def buy() -> None:
        with transaction.atomic():
            data = order_data(email=FRIEND, **ERIN)
            events.record_orders(installation=world.installation, data=[data], now=NOW)
            recorded.set()
            assert may_commit.wait(30)

    def send() -> int:
        assert recorded.wait(30)
        return world.advance()

    def commit_when_the_decision_waits() -> None:
        assert recorded.wait(30)
        try:
            wait_until(waiting_for_advisory_lock, seconds=20, what="the decision to wait")
        finally:
            may_commit.set()

    run_threads(buy, send, commit_when_the_decision_waits)
    assert world.decision() == (MessageStatus.NOT_SENT, NotSentReason.ORDERED)
    assert world.mails() == []


def test_b6_an_order_of_nobody_makes_no_person(world: World) -> None:
    """Staff may complete a draft without customer and address; every look at it finds the same."""
    people = Profile.objects.count()
    data = order_data()
    for seen in (data, replace(data, status="FULFILLED", updated_at=NOW + HOUR), data):
        events.record_orders(installation=world.installation, data=[seen], now=NOW)
    again = events.record_orders(
        installation=world.installation,
        data=[replace(data, status="FULFILLED", updated_at=NOW + HOUR)],
        now=NOW + HOUR,
    )
    assert again == []
    assert Order.objects.get().profile is None
    assert Profile.objects.count() == people


def customer_data(**changes: Any) -> CustomerData:
    """Erin as Saleor shows her at NOW."""
    data = CustomerData(
        id=ERIN["user_id"],
        email="erin@example.com",
        first_name="Erin",
        is_active=True,
        is_confirmed=True,
        language_code="EN",
        country_code="PL",
        joined_at=NOW,
        updated_at=NOW,
    )
    return replace(data, **changes)


def test_d6_an_older_view_of_a_customer_that_comes_late_brings_no_former_address(
    world: World, installation: Installation
) -> None:
    """Erin changes her address; a delivery from before that was held up and is sent again."""
    new = customer_data(email="new@example.com", first_name="Rin", updated_at=NOW)
    late = customer_data(updated_at=NOW - HOUR)
    assert events.record_customers(installation=installation, data=[new], now=NOW) == 1
    for view in (late, new):
        at = NOW + MINUTE
        assert events.record_customers(installation=installation, data=[view], now=at) == 0
    assert owner_of("erin@example.com") is None
    assert Profile.objects.get(pk=owner_of("new@example.com").pk).first_name == "Rin"
    world.checkout(user_id=ERIN["user_id"], email="", metadata=TICKED)
    world.allow("new@example.com")
    world.advance()
    assert [mail["To"] for mail in world.mails()] == ["new@example.com"]


def test_b97_an_order_of_somebody_erased_brings_nobody_back(
    world: World, installation: Installation
) -> None:
    """Saleor keeps the address in the order and shows it again with every later change."""
    bought = order_data(email="erin@example.com", checkout_id="erins", at=NOW - HOUR)
    events.record_orders(installation=installation, data=[bought], now=NOW)
    events.forget_customer(
        installation=installation, user_id="", email="erin@example.com", deleted_at=NOW, now=NOW
    )
    fulfilled = replace(bought, status="FULFILLED", updated_at=NOW + HOUR)
    events.record_orders(installation=installation, data=[fulfilled], now=NOW + HOUR)
    order = Order.objects.get()
    assert (order.profile, order.email_hash, order.number) == (None, "", "")
    assert owner_of("erin@example.com") is None
    # Back in the shop, she is somebody new.
    again = replace(bought, id="order-2", placed_at=NOW + HOUR, updated_at=NOW + HOUR)
    events.record_orders(installation=installation, data=[fulfilled, again], now=NOW + 2 * HOUR)
    profile = owner_of("erin@example.com")
    assert profile is not None
    assert list(Order.objects.filter(profile=profile).values_list("saleor_id", flat=True)) == [
        "order-2"
    ]
