"""D2, D6: whatever happens in whatever order, three things never do.

No message without permission, none after an order, none twice. What the world looked like is kept
here in plain Python, apart from the code under test.
"""

from copy import deepcopy
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.core import mail
from django.db import transaction
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from saleor_personalize.enums import ConsentState, IdentityKind, MessageStatus
from saleor_personalize.events import operations as events
from saleor_personalize.journeys import operations as journeys
from saleor_personalize.messaging import links
from saleor_personalize.messaging import operations as messaging
from saleor_personalize.models import Enrollment, Identity, Installation, Message, email_hash
from tests.conftest import NOW
from tests.integration.reminders import MoodyMailbox, World, checkout_data, order_data

PEOPLE = ("ann", "ben")
#: Each person has a customer account with one address.
USERS = {"ann": "VXNlcjox", "ben": "VXNlcjoy"}
CARTS = {"ann": ("ann-1", "ann-2"), "ben": ("ben-1",)}
person = st.sampled_from(PEOPLE)
minutes = st.sampled_from([1, 20, 59, 61, 180, 3000])

CART = st.tuples(st.just("cart"), person, st.integers(0, 1), st.integers(0, 3), st.booleans())
WORKERS = st.tuples(st.just("workers"), st.integers(1, 3))
CLOCK = st.tuples(st.just("clock"), minutes)
WAIT = st.just(("clock", 61))
OTHERS = st.one_of(
    st.tuples(st.just("order"), person, st.sampled_from(["user", "email", "checkout", "offline"])),
    st.tuples(st.just("order unannounced"), person, st.sampled_from(["user", "email", "checkout"])),
    st.tuples(st.just("consent"), person, st.booleans()),
    st.tuples(st.just("unsubscribe"), person),
    st.tuples(st.just("live"), st.booleans()),
    st.tuples(st.just("saleor"), st.booleans()),
    st.tuples(st.just("late webhook"), person),
)
#: Carts are filled, something happens, time passes, workers look.
ROUND = st.tuples(
    CART, st.lists(st.one_of(CART, WORKERS, CLOCK, OTHERS, OTHERS), max_size=4), WAIT, WORKERS
)


@dataclass
class Truth:
    """What really happened, by the shop's clock."""

    now: datetime = NOW
    live_at: datetime | None = None
    allowed: dict[str, bool] = field(default_factory=lambda: dict.fromkeys(PEOPLE, False))
    changed: dict[str, datetime] = field(default_factory=dict)
    #: person -> when they ordered; checkout -> bought
    orders: dict[str, list[datetime]] = field(default_factory=lambda: {p: [] for p in PEOPLE})
    bought: set[str] = field(default_factory=set)
    told: dict[str, int] = field(default_factory=dict)


def owner(cart: str) -> str:
    return cart.split("-")[0]


class Play:
    """One random story."""

    def __init__(self, installation: Installation) -> None:
        self.world = World(installation, MoodyMailbox())
        self.truth = Truth()
        self.number = 0
        for name in PEOPLE:
            self.world.record_checkout(
                checkout_data(
                    f"{name}-0",
                    variants={},
                    email=f"{name}@example.com",
                    user_id=USERS[name],
                    at=NOW - timedelta(days=9),
                )
            )

    def act(self, action: tuple[Any, ...]) -> None:
        name = action[0].replace(" ", "_")
        getattr(self, name)(*action[1:])
        self.check_mails()

    def cart(self, name: str, which: int, quantity: int, is_guest: bool) -> None:
        cart = CARTS[name][which % len(CARTS[name])]
        if cart in self.truth.bought:
            return
        at = self.truth.now
        self.world.checkout(
            cart,
            at=at,
            email=f"{name}@example.com",
            user_id="" if is_guest else USERS[name],
            variants={"variant-1": quantity} if quantity else {},
        )
        self.truth.changed[cart] = at

    def late_webhook(self, name: str) -> None:
        """A picture of a cart arrives half an hour late, perhaps after newer ones."""
        cart = CARTS[name][0]
        at = self.truth.now - timedelta(minutes=30)
        self.world.checkout(
            cart,
            at=at,
            email=f"{name}@example.com",
            variants={"variant-5": 1},
        )
        self.truth.changed[cart] = max(at, self.truth.changed.get(cart, at))

    def order(self, name: str, how: str, *, is_announced: bool = True) -> None:
        self.number += 1
        at = self.truth.now
        shown: dict[str, Any] = {
            "user": {"user_id": USERS[name], "email": "other@example.com"},
            "email": {"email": f"{name.upper()}@example.com"},
            "offline": {"email": f"{name}@example.com", "status": "CANCELED"},
            "checkout": {"checkout_id": CARTS[name][0], "email": f"{name}@example.com"},
        }[how]
        data = order_data(f"order-{self.number}", at=at, **shown)
        if is_announced:
            self.world.order(id=data.id, at=at, **shown)
        else:
            events.record_orders(installation=self.world.installation, data=[data], now=at)
        self.truth.orders[name].append(at)
        if how == "checkout":
            self.truth.bought.add(CARTS[name][0])

    def order_unannounced(self, name: str, how: str) -> None:
        self.order(name, how, is_announced=False)

    def consent(self, name: str, is_yes: bool) -> None:
        state = ConsentState.GRANTED if is_yes else ConsentState.DENIED
        self.world.allow(f"{name}@example.com", state)
        self.truth.allowed[name] = is_yes

    def unsubscribe(self, name: str) -> None:
        address_hash = email_hash(f"{name}@example.com")
        profile = Identity.objects.get(kind=IdentityKind.EMAIL, value=address_hash).profile
        url = links.unsubscribe_url(profile=profile, address_hash=address_hash)
        claims = links.read_unsubscribe_token(url.rpartition("/")[2])
        messaging.unsubscribe(claims=claims, now=NOW)
        self.truth.allowed[name] = False
        # A later yes does not lift the suppression of an address.
        self.truth.told[f"suppressed:{name}"] = 1

    def live(self, is_live: bool) -> None:
        if is_live:
            if self.truth.live_at is None:
                self.truth.live_at = self.truth.now
            self.world.go_live(self.truth.now)
        else:
            journeys.pause(journey=self.world.journey)
            self.truth.live_at = None

    def saleor(self, is_up: bool) -> None:
        self.world.saleor.is_down = not is_up

    def clock(self, count: int) -> None:
        self.truth.now += timedelta(minutes=count)

    def workers(self, count: int) -> None:
        for _ in range(count):
            self.world.advance(self.truth.now)

    def check_mails(self) -> None:
        """Hold what was sent by this action against the truth at this moment."""
        truth = self.truth
        for message in Message.objects.filter(status=MessageStatus.SENT):
            cart = message.content["checkout_id"]
            if cart in truth.told:
                continue
            truth.told[cart] = 1
            name = owner(cart)
            event("a reminder was sent")
            assert truth.allowed[name], "no permission"
            assert f"suppressed:{name}" not in truth.told, "unsubscribed"
            assert cart not in truth.bought, "bought"
            assert not [at for at in truth.orders[name] if at >= truth.changed[cart]], "ordered"
            assert truth.live_at is not None, "not live"
            assert truth.changed[cart] >= truth.live_at, "left before it was live"
            assert timedelta(hours=1) <= truth.now - truth.changed[cart] < timedelta(days=3)
        carts = [mail_.body.split("checkout=")[1].split()[0] for mail_ in mail.outbox]
        assert len(carts) == len(set(carts)), "twice"
        assert set(carts) == {cart for cart in truth.told if not cart.startswith("suppressed")}


@pytest.fixture
def opening(installation: Installation) -> Play:
    """How every story begins; each is told from a copy, and its rows are rolled back to here."""
    play = Play(installation)
    # Most stories should reach a send: they start live and permitted.
    for name in PEOPLE:
        play.consent(name, True)
    play.live(True)
    return play


@given(rounds=st.lists(ROUND, min_size=1, max_size=5))
@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_d2_d6_no_story_ends_with_a_wrong_message(
    opening: Play, rounds: list[tuple[Any, ...]]
) -> None:
    mail.outbox = []
    with transaction.atomic():
        play = deepcopy(opening)
        for cart, happenings, wait, workers in rounds:
            for action in (cart, *happenings, wait, workers):
                play.act(action)
        assert not Message.objects.exclude(
            status__in=[MessageStatus.SENT, MessageStatus.NOT_SENT]
        ).exists()
        ended = Enrollment.objects.exclude(status="waiting").count()
        assert Message.objects.count() == ended
        transaction.set_rollback(True)
