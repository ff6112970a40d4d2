"""Carts that change in ways the journey is not told of: a back-fill beside it, a new owner, an erasure."""

from saleor_personalize.enums import ConsentState, NotSentReason
from saleor_personalize.events import operations as events
from saleor_personalize.ingestion.subscriptions.base import Envelope
from saleor_personalize.ingestion.subscriptions.shoppers import CheckoutSaved
from saleor_personalize.models import Checkout, Enrollment, Installation, Message
from saleor_personalize.saleor_api.nodes import CheckoutData
from tests.conftest import NOW, make_consent, make_profile
from tests.integration.reminders import (
    HOUR,
    MINUTE,
    World,
    checkout_data,
)

USER = "VXNlcjox"


def webhook(world: World, data: CheckoutData) -> bool:
    """CHECKOUT_UPDATED, as a worker applies it."""
    return CheckoutSaved.apply(
        installation=world.installation,
        facts=data,
        envelope=Envelope(event="checkout_updated", issued_at=data.updated_at),
        now=NOW,
    )


def test_b44_a_back_fill_that_is_faster_than_the_webhook_costs_nobody_the_reminder(
    world: World,
) -> None:
    world.record_checkout(checkout_data())
    assert not Enrollment.objects.exists()
    assert webhook(world, checkout_data()) is False
    assert world.enrollment().due_at == NOW + HOUR
    world.advance()
    assert [mail["To"] for mail in world.mails()] == ["alice@example.com"]


def test_b44_a_repeated_webhook_of_a_cart_decided_about_changes_nothing(world: World) -> None:
    webhook(world, checkout_data())
    world.advance()
    webhook(world, checkout_data())
    assert world.advance(NOW + 3 * HOUR) == 0
    assert len(world.mails()) == 1
    assert Message.objects.count() == 1


def test_b44_carts_of_one_person_are_one_occasion_whoever_told_us_so(
    world: World, installation: Installation
) -> None:
    """A guest cart becomes the customer's in a page of the back-fill, unknown to the journey."""
    world.checkout("checkout-1", email="guest@example.com")
    world.allow("guest@example.com")
    world.checkout("checkout-2", at=NOW + MINUTE, user_id=USER, variants={"variant-7": 1})
    world.record_checkout(
        checkout_data("checkout-1", user_id=USER, at=NOW + 2 * MINUTE, variants={"variant-8": 1})
    )
    for minutes in range(60, 90):
        world.advance(NOW + minutes * MINUTE)
    (mail,) = world.mails()
    assert mail["To"] == "alice@example.com"
    assert Message.objects.get(status="sent").content["checkout_id"] == "checkout-1"
    assert Message.objects.get(status="not_sent").reason == NotSentReason.ALREADY_SENT


def test_b44_an_enrollment_whose_cart_went_with_its_new_owner_ends(
    world: World, installation: Installation
) -> None:
    bob = make_profile(installation, saleor_user="VXNlcjoy", email="bob@example.com")
    make_consent(bob, ConsentState.GRANTED)
    world.checkout(email="guest@example.com")
    world.record_checkout(
        checkout_data(email="bob@example.com", user_id="VXNlcjoy", at=NOW + MINUTE)
    )
    events.forget_customer(
        installation=installation,
        user_id="VXNlcjoy",
        email="bob@example.com",
        deleted_at=NOW,
        now=NOW,
    )
    assert not Checkout.objects.exists()
    assert world.advance() == 1
    enrollment = world.enrollment()
    assert (enrollment.status, enrollment.exit_reason) == ("exited", "checkout_gone")
    assert world.advance(NOW + 9 * HOUR) == 0
    assert world.mails() == []
