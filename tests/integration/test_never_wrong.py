"""D2: nobody is told "you forgot something" after buying, whatever device, e-mail or order of arrival.

Every case ends with an empty SMTP server and the reason on record.
"""

import threading
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection, transaction

from saleor_personalize.enums import EnrollmentStatus, IdentityKind, MessageStatus, NotSentReason
from saleor_personalize.events import operations as events
from saleor_personalize.journeys.triggers.abandoned_checkout import AbandonedCheckout
from saleor_personalize.models import Enrollment, Installation, Merge, Message, Order
from saleor_personalize.profiles import identity, merging
from saleor_personalize.saleor_api.nodes import OrderLineData
from saleor_personalize.testing.stack import wait_until
from tests.conftest import NOW
from tests.integration.reminders import (
    HOUR,
    MINUTE,
    World,
    checkout_data,
    order_data,
    run_threads,
)

USER = "VXNlcjox"
ORDERED = (MessageStatus.NOT_SENT, NotSentReason.ORDERED)


def test_d2_without_an_order_the_reminder_goes_out(world: World) -> None:
    """The matrix below proves something only because this one is sent."""
    world.checkout()
    assert world.advance() == 1
    assert [mail["To"] for mail in world.mails()] == ["alice@example.com"]
    assert world.decision() == (MessageStatus.SENT, "")


#: what is known of the cart, and what the order shows
CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "another device, same user": ({"user_id": USER}, {"user_id": USER}),
    "another device, user known by the e-mail of the cart": ({}, {"user_id": USER}),
    "another e-mail, same checkout": (
        {},
        {"checkout_id": "checkout-1", "email": "new@example.com"},
    ),
    "same e-mail, as a guest": ({"user_id": USER}, {"email": "Alice@Example.com "}),
    "same user, another e-mail": ({}, {"user_id": USER, "email": "work@example.com"}),
    "offline order with the same e-mail": ({}, {"email": "alice@example.com"}),
    "another user, same e-mail": ({}, {"user_id": "VXNlcjo5", "email": "alice@example.com"}),
    "cancelled order": ({}, {"email": "alice@example.com", "status": "CANCELED"}),
    "cart with an address that is not the account's": (
        {"user_id": USER, "email": "typed@example.com"},
        {"email": "alice@example.com"},
    ),
}


@pytest.mark.parametrize(("cart", "order"), CASES.values(), ids=CASES)
def test_d2_b45_an_order_ends_the_wait(
    world: World, cart: dict[str, Any], order: dict[str, Any]
) -> None:
    world.checkout(**cart)
    world.order(**order)
    enrollment = world.enrollment()
    assert (enrollment.status, enrollment.exit_reason) == ("reached", "ordered")
    assert world.advance() == 0
    assert world.decision() == ORDERED
    assert world.mails() == []


@pytest.mark.parametrize(("cart", "order"), CASES.values(), ids=CASES)
def test_d2_b45_an_order_that_nobody_announced_is_seen_at_the_send(
    world: World, cart: dict[str, Any], order: dict[str, Any]
) -> None:
    """The order is recorded, the journey never heard of it (say, a back-fill brought it)."""
    world.checkout(**cart)
    events.record_orders(installation=world.installation, data=[order_data(**order)], now=NOW)
    assert world.advance() == 1
    assert world.decision() == ORDERED
    assert world.mails() == []
    assert world.saleor.asked == []


@pytest.mark.parametrize(("cart", "order"), CASES.values(), ids=CASES)
def test_d2_the_order_arrives_before_the_cart(
    world: World, cart: dict[str, Any], order: dict[str, Any]
) -> None:
    """Webhooks overtake one another: the cart reaches us when its person has bought already."""
    world.order(**order)
    world.checkout(**cart)
    world.advance()
    assert world.mails() == []
    if order.get("checkout_id"):
        # The cart itself was bought: it never waits.
        assert not Enrollment.objects.exists()
    else:
        assert world.decision() == ORDERED


def test_d2_an_order_that_only_saleor_knows_of(world: World) -> None:
    """The webhook is ten minutes late; the shop is asked just before the send."""
    world.checkout()
    world.saleor.ordered.add("checkout-1")
    assert world.advance() == 1
    assert world.decision() == ORDERED
    assert world.mails() == []


def test_d2_a_checkout_that_became_an_order_is_gone_in_saleor(world: World) -> None:
    world.checkout()
    world.saleor.gone.add("checkout-1")
    world.saleor.ordered.add("checkout-1")
    world.advance()
    assert world.decision() == ORDERED
    assert world.mails() == []


def test_d2_a_late_change_of_the_bought_checkout_does_not_open_it_again(world: World) -> None:
    world.checkout()
    world.order(checkout_id="checkout-1")
    world.checkout(at=NOW + 20 * MINUTE, variants={"variant-1": 3})
    assert world.advance() == 0
    assert world.decision() == ORDERED
    assert world.mails() == []


def test_d2_another_cart_changed_after_the_order_is_not_mailed_if_it_waited_before(
    world: World,
) -> None:
    world.checkout()
    world.order(email="alice@example.com")
    world.checkout(at=NOW + 20 * MINUTE, variants={"variant-1": 3})
    assert world.advance(NOW + 3 * HOUR) == 0
    assert world.decision() == ORDERED
    assert world.mails() == []


def test_d2_the_order_comes_while_saleor_is_being_asked(world: World) -> None:
    world.checkout()
    world.saleor.before_answer = lambda checkout: world.order(email="alice@example.com") and None
    world.advance()
    assert world.decision() == ORDERED
    assert world.mails() == []


def test_d2_every_cart_of_the_person_is_let_go_by_one_order(world: World) -> None:
    world.checkout("checkout-1")
    world.checkout("checkout-2", user_id=USER)
    world.order(email="alice@example.com")
    assert list(Enrollment.objects.values_list("status", flat=True)) == ["reached", "reached"]
    assert Message.objects.filter(status="not_sent", reason="ordered").count() == 2
    world.advance()
    assert world.mails() == []


def test_d2_an_order_from_before_the_cart_does_not_count(world: World) -> None:
    world.order(email="alice@example.com", at=NOW - timedelta(days=1))
    world.checkout()
    world.advance()
    assert world.decision() == (MessageStatus.SENT, "")
    assert len(world.mails()) == 1


@pytest.mark.parametrize(("completed", "counts"), [(10 * MINUTE, True), (-MINUTE, False)])
def test_d2_an_order_that_staff_took_by_phone_counts_from_its_completion(
    world: World, completed: timedelta, counts: bool
) -> None:
    """Saleor dates such an order by its draft, which may be older than the cart's last change."""
    world.checkout()
    world.order(email="alice@example.com", at=NOW - HOUR, updated_at=NOW + completed)
    world.advance()
    assert world.decision() == (ORDERED if counts else (MessageStatus.SENT, ""))
    assert len(world.mails()) == (0 if counts else 1)


def test_d2_an_order_from_another_cart_before_this_one_does_not_count_when_it_is_fulfilled(
    world: World,
) -> None:
    world.checkout()
    world.order(
        email="alice@example.com",
        checkout_id="checkout-0",
        at=NOW - HOUR,
        updated_at=NOW + 10 * MINUTE,
    )
    world.advance()
    assert world.decision() == (MessageStatus.SENT, "")
    assert len(world.mails()) == 1


def test_d2_an_order_of_somebody_else_or_of_another_shop_does_not_count(
    world: World, other_installation: Installation
) -> None:
    world.checkout()
    world.order(email="stranger@example.com", user_id="VXNlcjo5")
    elsewhere = World(other_installation, world.box)
    elsewhere.order(email="alice@example.com", user_id=USER, checkout_id="checkout-1")
    world.advance()
    assert len(world.mails()) == 1


# -- at the same moment ------------------------------------------------------------------------------


def waiting_for_advisory_lock() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
        return bool(cursor.fetchone()[0])


@pytest.mark.django_db(transaction=True)
def test_d2_an_order_being_recorded_holds_up_the_decision(world: World) -> None:
    """The order is written but not committed when the send is decided: the decision waits for it."""
    world.checkout()
    recorded, may_commit = threading.Event(), threading.Event()

    def buy() -> None:
        with transaction.atomic():
            data = order_data(user_id=USER, email="work@example.com")
            events.record_orders(installation=world.installation, data=[data], now=NOW)
            recorded.set()
            assert may_commit.wait(30)

    def send() -> int:
        assert recorded.wait(30)
        return world.advance()

    def commit_when_the_decision_waits() -> None:
        assert recorded.wait(30)
        wait_until(waiting_for_advisory_lock, seconds=20, what="the decision to wait")
        may_commit.set()

    run_threads(buy, send, commit_when_the_decision_waits)
    assert world.decision() == ORDERED
    assert world.mails() == []


@pytest.mark.django_db(transaction=True)
def test_d2_a_decision_under_way_holds_up_the_order(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once decided, the message precedes the order: the order's commit comes after the decision's."""
    world.checkout()
    deciding, may_decide = threading.Event(), threading.Event()
    content: Callable[..., Any] = AbandonedCheckout.content

    def slow(*args: Any) -> Any:
        deciding.set()
        assert may_decide.wait(30)
        assert not Order.objects.exists()
        return content(*args)

    monkeypatch.setattr(AbandonedCheckout, "content", slow)

    def buy() -> None:
        assert deciding.wait(30)
        world.order(email="alice@example.com")

    def decide_when_the_order_waits() -> None:
        assert deciding.wait(30)
        wait_until(waiting_for_advisory_lock, seconds=20, what="the order to wait")
        may_decide.set()

    run_threads(world.advance, buy, decide_when_the_order_waits)
    assert Order.objects.count() == 1
    assert world.decision() == (MessageStatus.SENT, "")
    assert len(world.mails()) == 1


@pytest.mark.django_db(transaction=True)
def test_d2_fifty_people_buy_while_four_workers_send(world: World) -> None:
    """Whoever's order was committed before their message was decided gets no mail."""
    people = [f"shopper{n}@example.com" for n in range(50)]
    for n, address in enumerate(people):
        world.checkout(f"checkout-{n}", email=address)
        world.allow(address)

    def buy(start: int) -> Callable[[], None]:
        def job() -> None:
            for n in range(start, 50, 4):
                world.order(id=f"order-{n}", email=people[n])

        return job

    run_threads(*[world.advance for _ in range(4)], buy(0), buy(2))
    mailed = {str(mail["To"]) for mail in world.mails()}
    assert len(world.mails()) == len(mailed)
    first = Message.objects.filter(idempotency_key__endswith=":first")
    not_sent = first.filter(status=MessageStatus.NOT_SENT, reason=NotSentReason.ORDERED)
    assert {f"shopper{n}@example.com" for n in range(1, 50, 2)} <= mailed
    assert not_sent.count() + len(mailed) == 50
    # Who was reminded and has not bought is reminded once more.
    waiting = Enrollment.objects.filter(status=EnrollmentStatus.WAITING)
    assert {row.subject_saleor_id for row in waiting} == {f"checkout-{n}" for n in range(1, 50, 2)}


@pytest.mark.django_db(transaction=True)
def test_d2_b44_four_workers_send_fifty_reminders_once_each(world: World) -> None:
    people = [f"shopper{n}@example.com" for n in range(50)]
    for n, address in enumerate(people):
        world.checkout(f"checkout-{n}", email=address)
        world.allow(address)
    taken = run_threads(*[world.advance for _ in range(4)])
    assert sum(taken) == 50
    assert sorted(str(mail["To"]) for mail in world.mails()) == sorted(people)
    assert Message.objects.filter(status=MessageStatus.SENT).count() == 50
    assert world.advance() == 0


def test_d2_a_recorded_checkout_alone_enrolls_nobody(world: World) -> None:
    world.record_checkout(checkout_data())
    assert world.advance() == 0
    assert not Enrollment.objects.exists()
    assert world.mails() == []


def test_d2_an_order_from_before_a_cart_came_to_its_person_counts(world: World) -> None:
    """Filled by nobody in particular, then its person orders elsewhere, then signs in and it is theirs."""
    world.checkout("checkout-1", email="", at=NOW)
    world.order(email="alice@example.com", at=NOW + 10 * MINUTE)
    world.checkout("checkout-1", at=NOW + 20 * MINUTE)
    world.advance(NOW + 2 * HOUR)
    assert world.mails() == []
    assert world.decision() == (MessageStatus.NOT_SENT, NotSentReason.ORDERED)


def test_d2_a_repeated_look_at_a_cart_does_not_move_when_it_was_filled(world: World) -> None:
    world.checkout("checkout-1", email="", at=NOW + 5 * MINUTE)
    late = world.record_checkout(checkout_data("checkout-1", email="", at=NOW))
    assert (late.filled_at, late.last_changed_at) == (NOW, NOW)
    attached = world.checkout("checkout-1", at=NOW + 20 * MINUTE)
    assert (attached.filled_at, attached.last_changed_at) == (NOW, NOW + 20 * MINUTE)
    filled = world.checkout("checkout-1", variants={"variant-3": 1}, at=NOW + 30 * MINUTE)
    assert (filled.filled_at, filled.last_changed_at) == (NOW + 30 * MINUTE, NOW + 30 * MINUTE)


@pytest.mark.parametrize(
    ("bought", "shown"),
    [
        (["variant-1"], ["variant-2", "variant-3"]),
        (["variant-1", "variant-2"], ["variant-3"]),
        (["variant-1", "variant-2", "variant-3"], []),
    ],
)
def test_d2_what_was_bought_elsewhere_is_not_in_the_reminder_of_what_came_later(
    world: World, bought: list[str], shown: list[str]
) -> None:
    """Some of a cart that was nobody's yet was ordered elsewhere; then it was filled up, and became theirs."""
    world.checkout("checkout-1", email="", variants={"variant-1": 1, "variant-2": 1}, at=NOW)
    lines = tuple(
        OrderLineData(
            id=f"line-{variant}",
            variant_id=variant,
            product_id=f"product-of-{variant}",
            name="",
            quantity=1,
            unit_price=Decimal(20),
        )
        for variant in bought
    )
    world.order(email="alice@example.com", at=NOW + 10 * MINUTE, lines=lines)
    everything = {"variant-1": 1, "variant-2": 1, "variant-3": 1}
    world.checkout("checkout-1", variants=everything, at=NOW + 20 * MINUTE, created_at=NOW)
    world.advance(NOW + 2 * HOUR)
    if not shown:
        assert world.decision() == (MessageStatus.NOT_SENT, NotSentReason.ORDERED)
        assert world.mails() == []
        return
    assert world.decision() == (MessageStatus.SENT, "")
    (message,) = Message.objects.filter(status=MessageStatus.SENT)
    assert [line["variant_id"] for line in message.content["lines"]] == shown
    assert set(message.content["left_out"]) == set(bought)


@pytest.mark.parametrize("is_denied", [False, True], ids=["perhaps", "split by staff"])
def test_d2_an_order_under_another_name_on_the_browser_of_the_cart_counts(
    world: World, is_denied: bool
) -> None:
    """Who signs in on a browser where somebody else ordered is perhaps the same person: not reminded, then."""
    for checkout in ("checkout-1", "checkout-2"):
        shown = {IdentityKind.ANONYMOUS_ID: "phone", IdentityKind.CHECKOUT: checkout}
        identity.resolve_profile(installation=world.installation, shown=shown, now=NOW)
    world.checkout("checkout-1", email="", at=NOW)
    world.order(email="other@example.com", checkout_id="checkout-2", at=NOW + 10 * MINUTE)
    world.checkout("checkout-1", user_id=USER, user_email="alice@example.com", at=NOW + 20 * MINUTE)
    (suspicion,) = Merge.objects.filter(proved_at=None)
    if is_denied:
        merging.split(merge=suspicion, now=NOW + 30 * MINUTE, decided_by="staff")
    world.advance(NOW + 2 * HOUR)
    assert world.decision() == ((MessageStatus.SENT, "") if is_denied else ORDERED)
    assert len(world.mails()) == int(is_denied)
