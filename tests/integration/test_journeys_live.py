"""What the shop answers just before a send, read so that nobody is written to wrongly, or not at all."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from saleor_personalize.enums import EnrollmentStatus, MessageStatus, NotSentReason
from saleor_personalize.journeys import operations as journeys
from saleor_personalize.journeys.live import AboutOrders, LiveCheckout, read_answer
from saleor_personalize.models import Message
from tests.conftest import NOW
from tests.integration.reminders import HOUR, MINUTE, World

ALICE = "alice@example.com"
USER = "VXNlcjox"
EMPTY = (MessageStatus.NOT_SENT, NotSentReason.CHECKOUT_EMPTY)


def node(**changes: Any) -> dict[str, Any]:
    """One line of CheckoutNow, for sale."""
    variant = {
        "id": "variant-1",
        "name": "Large",
        "quantityAvailable": 3,
        "product": {"id": "product-1", "name": "Socks", "isAvailable": True, "thumbnail": None},
    }
    line = {
        "quantity": 2,
        "variant": {**variant, **changes.pop("variant", {})},
        "unitPrice": {"gross": {"amount": 12.3, "currency": "EUR"}},
        "problems": [],
    }
    return {**line, **changes}


def answer(*, line: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    """The `data` of CheckoutNow about a cart of Alice's."""
    checkout = {
        "updatedAt": NOW.isoformat(),
        "email": ALICE,
        "user": None,
        "channel": {"slug": "default-channel", "isActive": True},
        "lines": [line or node()],
        **changes.pop("checkout", {}),
    }
    return {
        "checkout": checkout,
        "orders": {"edges": []},
        "ordersOfAddress": {"edges": []},
        **changes,
    }


def read(**changes: Any) -> LiveCheckout:
    return read_answer(answer(**changes), since=NOW, address=ALICE)


def order(**changes: Any) -> dict[str, Any]:
    """An order of Alice's from a checkout, one minute after NOW."""
    later = (NOW + MINUTE).isoformat()
    return {
        "id": "order",
        "created": later,
        "updatedAt": later,
        "status": "UNFULFILLED",
        "checkoutId": "another checkout",
        "userEmail": ALICE,
        "user": None,
        **changes,
    }


def edges(*orders: dict[str, Any]) -> dict[str, Any]:
    return {"edges": [{"node": one} for one in orders]}


# -- can it be bought? -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "is_sellable"),
    [
        (node(), True),
        (node(variant={"quantityAvailable": 0}), False),
        # Stock is not tracked and the shop sets no limit: there is always enough.
        (node(variant={"quantityAvailable": None}), True),
        (node(problems=[{"__typename": "CheckoutLineProblemVariantNotAvailable"}]), False),
        # One is left of two: that one can be bought.
        (node(problems=[{"__typename": "CheckoutLineProblemInsufficientStock"}]), True),
        (node(problems=None), True),
    ],
    ids=["yes", "sold out", "no stock kept", "withdrawn from the channel", "too few", "unknown"],
)
def test_b47_what_saleor_says_about_a_line(line: dict[str, Any], is_sellable: bool) -> None:
    (found,) = read(line=line).lines
    assert found.is_sellable is is_sellable


def saying(live: LiveCheckout) -> Callable[[Any], Any]:
    """Answer for Saleor: this is the cart, and there is no order since."""
    return lambda question: False if question.key == AboutOrders.KEY else live


def test_b47_a_channel_that_is_switched_off_sells_nothing(world: World) -> None:
    live = read(checkout={"channel": {"slug": "default-channel", "isActive": False}})
    world.checkout(variants={"variant-1": 2})
    journeys.advance_due(now=NOW + 2 * HOUR, ask=saying(live))
    assert world.decision() == EMPTY
    assert world.mails() == []


# -- has the person ordered? -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("found", "is_ordered"),
    [
        (order(), True),
        (order(userEmail="Alice@Example.COM"), True),
        (order(userEmail="work@example.com", user={"email": ALICE}), True),
        # Older Saleors search for similar addresses.
        (order(userEmail="alicia@example.com", user={"email": "alicia@example.com"}), False),
        # Staff began it before the cart was touched and completed it after.
        (order(checkoutId=None, created=(NOW - HOUR).isoformat()), True),
        (
            order(
                checkoutId=None,
                created=(NOW - 2 * HOUR).isoformat(),
                updatedAt=(NOW - HOUR).isoformat(),
            ),
            False,
        ),
        # Bought before the cart was touched, and fulfilled after.
        (order(created=(NOW - HOUR).isoformat()), False),
    ],
)
def test_d2_orders_of_the_address(found: dict[str, Any], is_ordered: bool) -> None:
    assert read(ordersOfAddress=edges(found)).is_ordered is is_ordered


@pytest.mark.parametrize(("status", "is_ordered"), [("DRAFT", False), ("UNCONFIRMED", True)])
def test_d2_a_draft_of_the_staff_is_no_order_of_the_customer(status: str, is_ordered: bool) -> None:
    """Apps that may read orders are shown a customer's drafts among them."""
    orders = {"orders": edges(order(status=status, checkoutId=None))}
    assert read(customer=orders).is_ordered is is_ordered


# -- is it still the same person's? ------------------------------------------------------------------


@pytest.mark.parametrize(
    "contact",
    [{"email": "corrected@example.com"}, {"user": {"id": USER, "email": ALICE}}, {"email": ""}],
    ids=["another address", "a customer now", "no address"],
)
def test_d6_a_cart_that_changed_hands_unknown_to_us_is_not_written_about(
    world: World, contact: dict[str, Any]
) -> None:
    """The webhook is late: whose cart it is, and whom to ask for consent, is not known yet."""
    checkout = world.checkout()
    changed_at = NOW + 90 * MINUTE
    live = read_answer(
        answer(
            checkout={
                "updatedAt": changed_at.isoformat(),
                "lines": [
                    node(quantity=line["quantity"], variant={"id": line["variant_id"]})
                    for line in checkout.lines
                ],
                **contact,
            }
        ),
        since=NOW,
        address=ALICE,
    )
    journeys.advance_due(now=NOW + 2 * HOUR, ask=saying(live))
    assert not Message.objects.exists()
    assert world.mails() == []
    assert world.enrollment().due_at == changed_at + HOUR
    # The webhook is lost, and the cart rests: still nobody is written to, until it is too late.
    while world.enrollment().status == EnrollmentStatus.WAITING:
        at = world.enrollment().due_at
        assert journeys.advance_due(now=at, ask=saying(live)) == 1
        assert at < NOW + timedelta(days=4)
    assert world.decision() == (MessageStatus.NOT_SENT, NotSentReason.TOO_LATE)
    assert world.mails() == []
