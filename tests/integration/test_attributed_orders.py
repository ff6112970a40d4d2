"""B91: which touch an order followed: last touch, clicks before views, once over journeys and placements."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase

from saleor_personalize.analytics import operations as analytics
from saleor_personalize.enums import (
    DeliveryChannel,
    ErasureSource,
    EventType,
    IdentityKind,
    MergeProof,
    MessageEventKind,
    OrderOrigin,
    Purpose,
)
from saleor_personalize.messaging import outcomes
from saleor_personalize.models import AttributedOrder, Installation, Order, OrderLine, Profile
from saleor_personalize.profiles import identity, merging, privacy
from saleor_personalize.tasks.analytics import attribute_orders, review_attributions
from tests import payloads
from tests.conftest import NOW, make_installation, make_profile
from tests.integration.measuring import DAY, HOUR, Shop, followed
from tests.webhooks.deliver import deliver

SHOWN, CLICKED, ADDED = (
    EventType.RECOMMENDATION_SHOWN,
    EventType.RECOMMENDATION_CLICKED,
    EventType.CART_ADDED,
)
OPEN, CLICK, READ = MessageEventKind.OPENED, MessageEventKind.CLICKED, MessageEventKind.READ
LAMP, BULB = "product-lamp", "product-bulb"
CART = ("message", "abandoned_checkout", "click")


@pytest.fixture
def shop(installation: Installation, now: datetime) -> Shop:
    return Shop(installation, now - 2 * DAY)


@pytest.fixture
def recorded() -> payloads.Recorded:
    return payloads.one("order_with_voucher", "order_created")


# -- what Saleor tells -------------------------------------------------------------------------------


def test_b91_an_order_that_arrives_follows_the_message_that_was_clicked(
    installation: Installation, recorded: payloads.Recorded, now: datetime
) -> None:
    placed_at = datetime.fromisoformat(recorded.payload["order"]["created"])
    shop = Shop(installation, placed_at)
    buyer = make_profile(installation, email=recorded.payload["order"]["userEmail"])
    shop.became(shop.message(buyer, -5), CLICK, -2)
    deliver(installation, [recorded], now=placed_at + timedelta(minutes=1))
    order = Order.objects.get()
    row = AttributedOrder.objects.get()
    assert followed(order) == CART
    assert (row.touched_at, row.delivery_channel, row.template) == (
        shop.at(-2),
        "email",
        "abandoned_checkout",
    )
    assert (row.placement, row.answer) == ("", "")


def test_b91_money_and_pieces_that_went_back_are_known(
    installation: Installation, recorded: payloads.Recorded, now: datetime
) -> None:
    """Deliveries of before tell nothing of it; a later one does, and what was replaced came back too."""
    deliver(installation, [recorded], now=now)
    order, line = Order.objects.get(), OrderLine.objects.get()
    assert (order.total_refunded, line.quantity_returned) == (0, 0)
    back = {"quantity": 1, "orderLine": {"id": line.saleor_id}}
    told = {
        "updatedAt": "2099-01-01T00:00:00+00:00",
        "totalRefunded": {"amount": 1.25, "currency": order.currency},
        "fulfillments": [
            {"status": "FULFILLED", "lines": [{**back, "quantity": 5}]},
            {"status": "RETURNED", "lines": [back, {"quantity": 1, "orderLine": None}]},
            {"status": "REFUNDED_AND_RETURNED", "lines": None},
        ],
    }
    deliver(installation, [recorded.changed(**told)], now=now + HOUR)
    order.refresh_from_db()
    line = OrderLine.objects.get()
    assert (order.total_refunded, line.quantity_returned) == (Decimal("1.25"), 1)


# -- which touch counts --------------------------------------------------------------------------------


def test_b91_the_last_click_counts_over_all_journeys_and_placements(
    shop: Shop, alice: Profile
) -> None:
    shop.became(shop.message(alice, 1), CLICK, 2)
    shop.became(shop.message(alice, 3, journey="win_back"), CLICK, 4)
    first = shop.order(alice, 5, LAMP)
    assert followed(first) == ("message", "win_back", "click")
    shop.recommended(alice, CLICKED, LAMP, 6, placement="cart")
    second = shop.order(alice, 7, LAMP)
    assert followed(second) == ("recommendation", "cart", "click")
    shop.recommended(alice, ADDED, BULB, 8, placement="home")
    third = shop.order(alice, 9, LAMP)
    assert followed(third) == ("recommendation", "cart", "click")
    assert AttributedOrder.objects.count() == 3


def test_b91_a_click_goes_before_a_later_view_and_a_view_counts_where_nothing_was_clicked(
    shop: Shop, alice: Profile, bob: Profile
) -> None:
    shop.became(shop.message(alice, 1), CLICK, 2)
    shop.became(shop.message(alice, 3, journey="win_back"), OPEN, 4)
    shop.recommended(alice, SHOWN, LAMP, 5)
    assert followed(shop.order(alice, 6, LAMP)) == CART
    shop.became(shop.message(bob, 1, journey="win_back"), OPEN, 2)
    assert followed(shop.order(bob, 3, LAMP)) == ("message", "win_back", "view")
    shop.recommended(bob, SHOWN, LAMP, 4, placement="cart")
    assert followed(shop.order(bob, 5, LAMP)) == ("recommendation", "cart", "view")


@pytest.mark.parametrize(
    ("hours", "expected"), [(7 * 24 - 0.1, CART), (7 * 24, None), (0, CART), (-0.1, None)]
)
def test_b91_a_click_counts_for_its_window_and_never_backwards(
    shop: Shop, alice: Profile, hours: float, expected: Any
) -> None:
    shop.became(shop.message(alice, -1), CLICK, 0)
    assert followed(shop.order(alice, hours)) == expected


def test_b91_an_order_with_a_code_of_ours_follows_the_message_that_brought_it(
    shop: Shop, alice: Profile, bob: Profile
) -> None:
    """Typed on another device, by whoever got it: no click tells of it, the code does."""
    mail = shop.message(alice, 1, journey="win_back")
    shop.offer(mail, "BACK-1")
    order = shop.order(bob, 2, voucher_code="BACK-1", total_refunded=Decimal(40))
    assert followed(order) == ("message", "win_back", "code")
    row = AttributedOrder.objects.get()
    assert (row.message_id, row.touched_at, row.delivery_channel) == (mail.pk, shop.at(2), "email")
    shop.became(shop.message(alice, 3), CLICK, 4)
    assert followed(shop.order(alice, 5, voucher_code="BACK-1")) == ("message", "win_back", "code")
    assert followed(shop.order(alice, 6)) == CART
    shop.became(shop.message(bob, 3), CLICK, 7)
    assert followed(shop.order(bob, 7, voucher_code="BACK-1")) == ("message", "win_back", "code")
    assert AttributedOrder.objects.count() == 4


def test_b91_a_code_that_is_not_ours_or_came_without_a_message_is_no_touch(
    shop: Shop, alice: Profile, other_installation: Installation
) -> None:
    stranger = Shop(other_installation, shop.start)
    them = make_profile(other_installation, email="them@example.com")
    stranger.offer(stranger.message(them, 1), "THEIRS")
    shop.offer(shop.message(alice, 1, purpose=Purpose.TRANSACTIONAL), "RECEIPT")
    shop.offer(None, "HINT")
    shop.offer(shop.message(alice, 9), "LATER")
    for code in ("THEIRS", "SUMMER", "RECEIPT", "HINT", "LATER", ""):
        assert followed(shop.order(alice, 2, voucher_code=code)) is None, code


@pytest.mark.parametrize(
    ("window", "hours", "is_counted"),
    [(DAY, 23.9, True), (DAY, 24, False), (timedelta(0), 0.1, False)],
)
def test_b91_a_view_counts_for_a_shorter_window(
    shop: Shop,
    alice: Profile,
    settings: Any,
    window: timedelta,
    hours: float,
    is_counted: bool,
) -> None:
    settings.SALEOR_PERSONALIZE = {
        **settings.SALEOR_PERSONALIZE,
        "ATTRIBUTION_VIEW_WINDOW": window,
    }
    shop.became(shop.message(alice, -1), READ, 0)
    found = followed(shop.order(alice, hours))
    assert (found is not None) == is_counted


def test_b91_machines_and_what_an_order_needs_anyway_never_count(
    shop: Shop, alice: Profile
) -> None:
    shop.became(shop.message(alice, 0), CLICK, 1, is_machine=True)
    shop.became(shop.message(alice, 0), OPEN, 1, is_machine=True)
    shop.became(shop.message(alice, 0, purpose=Purpose.TRANSACTIONAL), CLICK, 1)
    shop.became(shop.message(alice, 0), MessageEventKind.DELIVERED, 1)
    shop.recommended(alice, EventType.PRODUCT_VIEWED, LAMP, 1)
    shop.recommended(alice, CLICKED, LAMP, 1, attribution_id="")
    assert followed(shop.order(alice, 2, LAMP)) is None


def test_b91_a_push_that_was_pressed_was_clicked(shop: Shop, alice: Profile) -> None:
    push = shop.message(alice, 0, delivery_channel=DeliveryChannel.PUSH)
    outcomes.push_opened(
        installation=shop.installation, message_id=push.public_id.hex, now=shop.at(1)
    )
    assert followed(shop.order(alice, 72)) == CART


def test_b91_orders_of_nobody_of_others_and_from_outside_follow_nothing(
    shop: Shop, alice: Profile, bob: Profile, dave: Profile, other_installation: Installation
) -> None:
    shop.became(shop.message(alice, 0), CLICK, 1)
    elsewhere = Shop(other_installation, shop.start)
    assert followed(shop.order(bob, 2)) is None
    assert followed(shop.order(None, 2)) is None
    assert followed(elsewhere.order(dave, 2)) is None
    assert followed(shop.order(alice, 2, origin=OrderOrigin.OFFLINE)) is None
    theirs = shop.order(alice, 2)
    analytics.follow_orders(installation=other_installation, ids=[theirs.pk], now=shop.at(3))
    assert followed(theirs) == CART


# -- what comes late -----------------------------------------------------------------------------------


def test_b91_a_touch_that_is_told_late_counts_as_if_it_had_come_in_time(
    shop: Shop, alice: Profile, bob: Profile
) -> None:
    mail = shop.message(alice, 0)
    mine, theirs = shop.order(alice, 5, LAMP), shop.order(bob, 5, LAMP)
    shop.became(mail, CLICK, 4, heard=6)
    shop.recommended(bob, CLICKED, LAMP, 4, heard=6)
    shop.became(mail, OPEN, 7, heard=7)
    assert followed(mine) is followed(theirs) is None
    assert analytics.catch_up(installation=shop.installation, now=shop.at(6.1)) == 2
    assert followed(mine) == CART
    assert followed(theirs) == ("recommendation", "home", "click")
    # Again: nothing is new.
    assert analytics.catch_up(installation=shop.installation, now=shop.at(6.1)) == 0


def test_b91_what_a_longer_break_left_out_is_found_at_night(shop: Shop, alice: Profile) -> None:
    mail = shop.message(alice, 0)
    order = shop.order(alice, 5)
    shop.became(mail, CLICK, 4, heard=6)
    assert analytics.catch_up(installation=shop.installation, now=shop.at(9)) == 0
    assert analytics.review(installation=shop.installation, now=shop.at(9)) == 1
    assert followed(order) == CART


def test_b91_joining_and_splitting_people_moves_what_their_orders_followed(
    shop: Shop, alice: Profile, carol: Profile
) -> None:
    shop.recommended(carol, CLICKED, LAMP, 1)
    order = shop.order(alice, 2, LAMP)
    assert followed(order) is None
    merging.prove(
        installation=shop.installation,
        first=alice,
        second=carol,
        proof=MergeProof.LOGIN,
        now=shop.at(3),
    )
    analytics.catch_up(installation=shop.installation, now=shop.at(3.1))
    assert followed(order) == ("recommendation", "home", "click")
    (merge,) = merging.merges_of(alice)
    merging.split(merge=merge, now=shop.at(4), decided_by="")
    analytics.catch_up(installation=shop.installation, now=shop.at(4.1))
    assert followed(order) is None


def test_b91_an_old_order_keeps_what_it_followed_when_its_touches_are_purged(
    shop: Shop, alice: Profile
) -> None:
    mail = shop.message(alice, 0)
    shop.became(mail, CLICK, 1)
    order = shop.order(alice, 2)
    mail.events.all().delete()
    shop.follow(order, hours=61 * 24)
    assert followed(order) == CART
    shop.follow(order, hours=59 * 24)
    assert followed(order) is None


def test_b91_of_who_was_erased_the_journey_stays_and_the_message_goes(
    shop: Shop, alice: Profile
) -> None:
    shop.became(shop.message(alice, 0), CLICK, 1)
    order = shop.order(alice, 2)
    privacy.erase(profile=alice, requested_by=ErasureSource.STAFF, now=shop.at(3))
    order.refresh_from_db()
    assert (order.profile, followed(order)) == (None, CART)
    assert AttributedOrder.objects.get().message is None
    analytics.review(installation=shop.installation, now=shop.at(4))
    assert followed(order) == CART


def test_b91_the_tasks_look_at_every_active_shop(
    installation: Installation, alice: Profile
) -> None:
    from django.utils import timezone

    shop = Shop(installation, timezone.now() - 2 * HOUR)
    mail = shop.message(alice, 0)
    first, second = shop.order(alice, 1.5), shop.order(alice, 1.6)
    shop.became(mail, CLICK, 1.4, heard=2)
    assert attribute_orders() == 2
    AttributedOrder.objects.filter(order=first).delete()
    assert review_attributions() == 1
    assert followed(first) == followed(second) == CART


# -- in whatever order things come ---------------------------------------------------------------------

_TOUCHES = st.lists(
    st.tuples(
        st.sampled_from(["open", "click", "machine", "shown", "clicked", "other product"]),
        st.integers(-60, 60),
    ),
    max_size=6,
)


class TestInAnyOrder(TestCase):
    """Whatever comes first: touches, orders, the proof that two are one. What is found is the same."""

    @settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.data_too_large])
    @given(
        touches=_TOUCHES,
        orders=st.lists(st.integers(-10, 60), min_size=1, max_size=3),
        seed=st.randoms(use_true_random=False),
    )
    def test_b91_what_is_found_depends_on_nothing_but_what_happened(
        self, touches: list[tuple[str, int]], orders: list[int], seed: Any
    ) -> None:
        shop = Shop(make_installation(f"any-{seed.random()}"), NOW)
        phone = make_profile(shop.installation, anonymous_id=f"phone-{seed.random()}")
        account = make_profile(shop.installation, saleor_user=f"VX{seed.random()}")
        mail = shop.message(account, -100)
        placed: list[Order] = []

        def touch(kind: str, hours: int) -> None:
            heard = 100
            if kind in ("open", "click", "machine"):
                shop.became(
                    mail, OPEN if kind == "open" else CLICK, hours, heard=heard,
                    is_machine=kind == "machine",
                )  # fmt: skip
            else:
                shop.recommended(
                    phone, SHOWN if kind == "shown" else CLICKED,
                    BULB if kind == "other product" else LAMP, hours, heard=heard,
                )  # fmt: skip

        def join() -> None:
            identity.show(
                installation=shop.installation,
                shown={
                    kind: each.identities.get().value
                    for kind, each in (
                        (IdentityKind.ANONYMOUS_ID, phone),
                        (IdentityKind.SALEOR_USER, account),
                    )
                },
                now=shop.at(100),
            )

        acts: list[Any] = [join]
        acts += [lambda kind=kind, hours=hours: touch(kind, hours) for kind, hours in touches]
        acts += [
            lambda hours=hours, who=who: placed.append(shop.order(who, hours, LAMP))
            for hours, who in zip(orders, (account, phone, account), strict=False)
        ]
        seed.shuffle(acts)
        for act in acts:
            act()
        analytics.catch_up(installation=shop.installation, now=shop.at(100.1))
        for order in placed:
            hours = (order.placed_at - NOW) / HOUR
            found = followed(order)
            assert (found and (found[0], found[2])) == _expected(touches, hours)
        assert analytics.review(installation=shop.installation, now=shop.at(100.2)) == 0


def _expected(touches: list[tuple[str, int]], hours: float) -> tuple[str, str] | None:
    """Return kind and touch of what an order follows, by the words of the rule."""
    clicks = [
        (at, kind)
        for kind, at in touches
        if kind in ("click", "clicked") and hours - 168 < at <= hours
    ]
    views = [
        (at, kind) for kind, at in touches if kind in ("open", "shown") and hours - 24 < at <= hours
    ]
    for found, touch in ((clicks, "click"), (views, "view")):
        if found:
            latest = max(at for at, _ in found)
            # Of two at one moment that of a message counts: any rule would do, but one.
            kinds = {kind for at, kind in found if at == latest}
            is_message = kinds & {"click", "open"}
            return ("message" if is_message else "recommendation", touch)
    return None
