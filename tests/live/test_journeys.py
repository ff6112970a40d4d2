"""A cart on a live Saleor: begun by nobody in particular, attached to a customer, abandoned, half sold out,
re-priced, and its person buys under another e-mail in the second channel. In every order, it is told what is
true at that moment and never what was bought.

The orders are played side by side: in each round every history does its next event, and the round ends when our
app has heard of it. Time is a parameter: "abandoned" is a look at everybody an hour later. All histories of one
test are abandoned in the same round, so a look is a look at all of them.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import permutations
from pathlib import Path
from typing import Any

import psycopg
import pytest

from saleor_personalize.testing.stack import Stack, wait_until
from tests.live.doors import allow, collect, text_of
from tests.live.inside import inside
from tests.live.shop import CHANNEL, LiveShop

pytestmark = [pytest.mark.live, pytest.mark.timeout(1800)]

SECOND = "channel-pln"
PASSWORD = "A-long-passw0rd"
ATTACHED, SOLD_OUT, PRICED, BOUGHT = "attached", "half sold out", "re-priced", "bought"
ABANDONED = "abandoned"
EVENTS = (ATTACHED, ABANDONED, SOLD_OUT, PRICED, BOUGHT)
FIRST, AGAIN = "abandoned_checkout", "abandoned_checkout_again"
OLD_PRICE, NEW_PRICE = 20.0, 15.0
#: Between the number of pieces and the price of one.
TIMES = "\u00d7"

#: As it comes, but its first hour is an hour whatever the settings of this service say.
JOURNEY = """
journey: abandoned_checkout
topic: reminders
priority: 80
trigger: {type: abandoned_checkout, after: 1 hour}
reentry: {per: object, cool_down: 30 days}
goals: [ordered]
steps:
  - message: {id: first, template: abandoned_checkout}
  - wait: {for: 23 hours}
  - message: {id: second, template: abandoned_checkout_again}
"""
LOOK = """
from datetime import timedelta
from django.utils import timezone
from saleor_personalize.journeys import operations
while operations.advance_due(now=timezone.now() + timedelta(hours={hours}, minutes=1)):
    pass
"""
DECISIONS = """
import json
from saleor_personalize.models import Message
rows = Message.objects.filter(enrollment__subject_kind="checkout").order_by("pk")
print(json.dumps([
    [row.enrollment.subject_saleor_id, row.template, row.status, row.reason, row.content] for row in rows
]))
"""


@dataclass
class History:
    """One cart and its person. `by` is how the purchase elsewhere is known to be theirs."""

    order: tuple[str, ...]
    by: str
    #: Sold out in the round of this history, and re-priced in it.
    runs_out: dict[str, str]
    is_priced: dict[str, str]
    phone: str = field(default_factory=lambda: f"phone-{uuid.uuid4().hex}")
    email: str = field(default_factory=lambda: f"{uuid.uuid4().hex[:12]}@example.com")
    user_id: str = ""
    cart: str = ""
    order_id: str = ""

    def __str__(self) -> str:
        return f"{', '.join(self.order)} (bought by the {self.by})"


@dataclass(frozen=True)
class Sent:
    template: str
    #: Variant -> price of what is shown.
    lines: dict[str, float]


@dataclass(frozen=True)
class NotSent:
    template: str
    reason: str


def expected(history: History) -> list[Sent | NotSent]:
    """Say what a careful person would do about this cart, from the order of the events alone."""
    order = history.order
    done_at_hour = order[: order.index(ABANDONED)]
    # Whoever is not known cannot be written to: their hour begins when the cart is attached.
    if ATTACHED in done_at_hour:
        looks = [(FIRST, done_at_hour), (AGAIN, order)]
    else:
        looks = [(FIRST, order), (AGAIN, order)]
    told: list[Sent | NotSent] = []
    for template, done in looks:
        outcome = _decide(history, template, done)
        told.append(outcome)
        if isinstance(outcome, NotSent):
            break
    return told


def _decide(history: History, template: str, done: tuple[str, ...]) -> Sent | NotSent:
    # Whether the cart was theirs already when they bought, or only came to them then.
    if BOUGHT in done:
        return NotSent(template, "ordered")
    lines = {}
    if SOLD_OUT not in done:
        lines[history.runs_out["variant"]] = OLD_PRICE
    lines[history.is_priced["variant"]] = NEW_PRICE if PRICED in done else OLD_PRICE
    return Sent(template, lines)


class Play:
    """Several histories side by side on one shop."""

    def __init__(self, shop: LiveShop, stack: Stack, histories: list[History]) -> None:
        self.shop = shop
        self.stack = stack
        self.histories = histories

    def each(self, what: Callable[[History], None], histories: Iterable[History]) -> None:
        with ThreadPoolExecutor(max_workers=4) as pool:
            list(pool.map(what, histories))

    def begin(self, server_key: str) -> None:
        def arrive(one: History) -> None:
            one.user_id = self.shop.register(one.email, PASSWORD)

        def fill(one: History) -> None:
            one.cart = self.shop.checkout(None, [one.runs_out["variant"], one.is_priced["variant"]])
            added = {"type": "CART_ADDED", "productId": one.runs_out["product"]}
            collect(self.stack, self.shop, added, anonymousId=one.phone, checkoutId=one.cart)

        self.each(arrive, self.histories)
        self.heard(
            "SELECT count(*) FROM saleor_personalize_identity WHERE kind = 'saleor_user'"
            " AND value = ANY(%s)",
            [one.user_id for one in self.histories],
        )
        self.each(
            lambda one: allow(self.stack, self.shop, server_key, one.user_id, "reminders"),
            self.histories,
        )
        self.each(fill, self.histories)
        self.heard(
            "SELECT count(*) FROM saleor_personalize_checkout WHERE jsonb_array_length(lines) = 2"
            " AND saleor_id = ANY(%s)",
            [one.cart for one in self.histories],
        )

    def play_round(self, number: int) -> None:
        """Let every history do its event of this round, and wait until the app heard of all of them."""
        doing = {
            event: [one for one in self.histories if one.order[number] == event] for event in EVENTS
        }
        if doing[ABANDONED]:
            assert doing[ABANDONED] == self.histories
            self.look(hours=1)
            return
        self.each(lambda one: self.shop.attach(one.cart, self.token(one)), doing[ATTACHED])
        for variant in {one.runs_out["variant"] for one in doing[SOLD_OUT]}:
            self.shop.stock(variant, 0)
        channel = self.shop.channels()[CHANNEL]
        for variant in {one.is_priced["variant"] for one in doing[PRICED]}:
            self.shop.price(variant, channel, NEW_PRICE)
        self.each(self.buy_elsewhere, doing[BOUGHT])
        self.heard(
            "SELECT count(*) FROM saleor_personalize_checkout WHERE user_saleor_id <> ''"
            " AND saleor_id = ANY(%s)",
            [one.cart for one in doing[ATTACHED]],
        )
        self.heard(
            "SELECT count(*) FROM saleor_personalize_order WHERE saleor_id = ANY(%s)",
            [one.order_id for one in doing[BOUGHT]],
        )

    def buy_elsewhere(self, one: History) -> None:
        """Buy what still can be had in the second channel, under an address that is not the account's."""
        cart = self.shop.checkout(None, [one.is_priced["variant"]], channel=SECOND)
        if one.by == "account":
            self.shop.attach(cart, self.token(one))
        else:
            added = {"type": "CART_ADDED", "productId": one.is_priced["product"]}
            collect(self.stack, self.shop, added, anonymousId=one.phone, checkoutId=cart)
        self.shop.set_email(cart, f"other-{one.email}")
        one.order_id = self.shop.buy(cart)

    def token(self, one: History) -> str:
        """Sign in: a token lives five minutes, a round may take longer."""
        return self.shop.login(one.email, PASSWORD)

    def look(self, *, hours: int) -> None:
        """Decide about everybody as of that many hours from now."""
        self.each(lambda one: self.shop.count_anew(one.cart), self.histories)
        inside(self.stack, LOOK.format(hours=hours))

    def heard(self, query: str, ids: list[str]) -> None:
        """Wait until the app's tables show as many rows."""

        def is_there() -> bool:
            with psycopg.connect(self.stack.environment["DATABASE_URL"]) as connection:
                row = connection.execute(query, [ids]).fetchone()  # type: ignore[arg-type]
            return row is not None and row[0] >= len(ids)

        wait_until(is_there, seconds=240, what=f"{len(ids)} rows: {query}")

    def told(self) -> dict[str, list[tuple[str, str, str, Any]]]:
        """Return what was decided about each cart, oldest first."""
        rows: dict[str, list[tuple[str, str, str, Any]]] = {}
        for cart, *decision in json.loads(inside(self.stack, DECISIONS)):
            rows.setdefault(cart, []).append(tuple(decision))
        return rows


@pytest.fixture(scope="module")
def journey(stack: Stack, app_id: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    file: Path = tmp_path_factory.mktemp("journeys") / "abandoned_checkout.yaml"
    file.write_text(JOURNEY)
    before = json.loads(stack.run("journeys", "versions", "abandoned_checkout", "--json"))
    stack.run("journeys", "apply", str(file))
    stack.run("journeys", "go-live", "abandoned_checkout")
    yield
    published = next(row for row in before if row["is_published"])
    stack.run("journeys", "roll-back", "abandoned_checkout", str(published["number"]))


@pytest.mark.parametrize("number", range(len(EVENTS)))
def test_b44_b45_b47_d2_in_every_order(
    shop: LiveShop, stack: Stack, server_key: str, journey: None, number: int
) -> None:
    """All 24 orders in which the cart is abandoned in round `number`; all tests together, all 120."""
    orders = [order for order in permutations(EVENTS) if order[number] == ABANDONED]
    assert len(orders) == 24
    rounds = [r for r in range(len(EVENTS)) if r != number]
    products: dict[tuple[str, int], dict[str, str]] = {}
    try:
        for kind in (SOLD_OUT, PRICED):
            for r in rounds:
                products[kind, r] = shop.product(
                    f"{kind} {r} {uuid.uuid4().hex[:6]}",
                    {CHANNEL: OLD_PRICE, SECOND: 80},
                    pieces=100,
                )
        histories = [
            History(
                order,
                ("account", "phone")[index % 2],
                products[SOLD_OUT, order.index(SOLD_OUT)],
                products[PRICED, order.index(PRICED)],
            )
            for index, order in enumerate(orders)
        ]
        play = Play(shop, stack, histories)
        try:
            play.begin(server_key)
            for r in range(len(EVENTS)):
                play.play_round(r)
            for hours in (1, 25, 49):
                play.look(hours=hours)
            check(play)
        finally:
            play.each(
                lambda one: shop.delete_customer(one.user_id),
                [one for one in histories if one.user_id],
            )
    finally:
        shop.delete_products([row["product"] for row in products.values()])


def check(play: Play) -> None:
    told = play.told()
    wrong = []
    for one in play.histories:
        wanted = expected(one)
        found = [
            Sent(
                template,
                {line["variant_id"]: float(line["unit_price"]) for line in content["lines"]},
            )
            if status == "sent"
            else NotSent(template, reason or status)
            for template, status, reason, content in told.get(one.cart, [])
        ]
        shown = [
            [f"1 {TIMES} {price:.2f} USD" for price in decision.lines.values()]
            for decision in wanted
            if isinstance(decision, Sent)
        ]
        mails = [_prices(text_of(mail)) for mail in play.stack.mailbox.to(one.email)]
        elsewhere = play.stack.mailbox.to(f"other-{one.email}")
        if (found, mails, elsewhere) != (wanted, shown, []):
            wrong.append(f"{one}:\n    {found} {mails} {elsewhere}\n    not\n    {wanted} {shown}")
    assert not wrong, f"{len(wrong)} of {len(play.histories)}:\n" + "\n".join(wrong)


def _prices(text: str) -> list[str]:
    """Return the lines of a mail that tell a price."""
    lines = (" ".join(line.split()) for line in text.splitlines())
    return [line for line in lines if TIMES in line]
