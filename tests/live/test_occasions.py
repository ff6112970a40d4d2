"""Back in stock, a lower price and a first-order code on a live Saleor: told once, of what is true, and no more."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import psycopg
import pytest

from saleor_personalize.testing.stack import Stack, wait_until
from tests.live.doors import allow, collect, graph, press, text_of
from tests.live.inside import inside
from tests.live.shop import CHANNEL, LiveShop

pytestmark = [pytest.mark.live, pytest.mark.timeout(1800)]

SECOND = "channel-pln"
PASSWORD = "A-long-passw0rd"
Product = Callable[..., dict[str, str]]
Customer = Callable[[], tuple[str, str]]

LOOK = """
from datetime import timedelta
from django.utils import timezone
from saleor_personalize.journeys import operations
operations.enter_due(now=timezone.now(), every=timedelta(0))
# A busy Saleor may not answer in time: who waits for it is looked at again, as a worker would.
for later in (0, 3, 6):
    while operations.advance_due(now=timezone.now() + timedelta(minutes={minutes} + later)):
        pass
"""
DECISIONS = """
import json
from saleor_personalize.models import Message
rows = Message.objects.filter(enrollment__subject_saleor_id={subject!r}).order_by("pk")
print(json.dumps([[row.template, row.status, row.reason] for row in rows]))
"""


def look(stack: Stack, minutes: int) -> None:
    """Look for whom time alone brings in, then decide about everybody as of so many minutes from now."""
    inside(stack, LOOK.format(minutes=minutes))


def decisions(stack: Stack, subject: str) -> list[list[str]]:
    """Return what was decided about a variant: [template, status, reason], oldest first."""
    found: list[list[str]] = json.loads(inside(stack, DECISIONS.format(subject=subject)))
    return found


def count(stack: Stack, table: str, condition: str, *values: str) -> int:
    query = f"SELECT count(*) FROM saleor_personalize_{table} WHERE {condition}"  # noqa: S608
    with psycopg.connect(stack.environment["DATABASE_URL"]) as connection:
        row = connection.execute(query, values).fetchone()  # type: ignore[arg-type]
    return 0 if row is None else int(row[0])


def address() -> str:
    return f"{uuid.uuid4().hex[:12]}@example.com"


@pytest.fixture
def product(shop: LiveShop) -> Iterator[Product]:
    """Make products; they are deleted afterwards."""
    made: list[str] = []

    def make(**more: Any) -> dict[str, str]:
        found = shop.product(
            f"Occasion {uuid.uuid4().hex[:6]}", {CHANNEL: 20, SECOND: 80}, pieces=9, **more
        )
        made.append(found["product"])
        return found

    yield make
    shop.delete_products(made)


@pytest.fixture
def customer(shop: LiveShop, stack: Stack) -> Iterator[Customer]:
    """Open accounts, as (address, Saleor user); they are deleted afterwards."""
    made: list[str] = []

    def arrive() -> tuple[str, str]:
        email = address()
        user = shop.register(email, PASSWORD)
        made.append(user)
        known = "kind = 'saleor_user' AND value = %s"
        wait_until(lambda: count(stack, "identity", known, user), seconds=120, what="the account")
        return email, user

    yield arrive
    for user in made:
        shop.delete_customer(user)


@pytest.fixture
def live(stack: Stack, app_id: str) -> Iterator[Callable[[str], None]]:
    """Switch journeys on; they are paused afterwards."""
    switched: list[str] = []

    def go(key: str) -> None:
        stack.run("journeys", "go-live", key)
        switched.append(key)

    yield go
    for key in switched:
        stack.run("journeys", "pause", key, "--inside", "exit")


def sign_up(
    stack: Stack, shop: LiveShop, variant: str, *, channel: str = CHANNEL, country: str = "US"
) -> str:
    """Ask to be told, as a guest does, once the app has heard that it is sold out; return the address."""
    email = address()

    def asked() -> bool:
        answer = graph(
            stack,
            shop,
            "mutation($v: ID!, $c: String!, $e: String!, $l: String) { stockAlertRequest("
            "variantId: $v, channel: $c, email: $e, countryCode: $l) { errors { code } } }",
            {"v": variant, "c": channel, "e": email, "l": country},
        )["stockAlertRequest"]
        if answer["errors"]:
            assert answer["errors"] == [{"code": "IN_STOCK"}]
            time.sleep(5)
        return not answer["errors"]

    wait_until(asked, seconds=120, what="the variant to be sold out")
    return email


def called(stack: Stack, variant: str, people: int) -> None:
    """Wait until so many people are in the journey because the variant is back."""
    waiting = "subject_saleor_id = %s AND status = 'waiting'"
    wait_until(
        lambda: count(stack, "enrollment", waiting, variant) == people,
        seconds=120,
        what=f"{people} people to be called",
    )


def heard_of_stock(stack: Stack, variant: str, pieces: int) -> None:
    there = "variant_saleor_id = %s AND quantity = %s"
    wait_until(
        lambda: count(stack, "stock", there, variant, str(pieces)),
        seconds=120,
        what=f"a stock of {pieces} to be known",
    )


def test_b51_d7_told_once_when_it_is_back_in_their_channel(
    shop: LiveShop, stack: Stack, live: Callable[[str], None], product: Product
) -> None:
    live("back_in_stock")
    wanted, other = product(), product()
    for each in (wanted, other):
        shop.stock(each["variant"], 0)
    guest = sign_up(stack, shop, wanted["variant"])
    german = sign_up(stack, shop, wanted["variant"], country="DE")
    silent = sign_up(stack, shop, wanted["variant"], country="DE")
    elsewhere = sign_up(stack, shop, wanted["variant"], channel=SECOND)
    of_other = sign_up(stack, shop, other["variant"])
    # In Germany the owner of the address confirms first; one does, one does not.
    for email in (german, silent):
        wait_until(lambda e=email: stack.mailbox.to(e), seconds=120, what="the question")
    press(stack.mailbox.to(german)[0], "confirm")
    shop.list_product(wanted["product"], shop.channels()[SECOND], is_published=False)
    hidden = "product_saleor_id = %s AND channel_slug = %s AND NOT is_published"
    wait_until(
        lambda: count(stack, "productlisting", hidden, wanted["product"], SECOND),
        seconds=120,
        what="the product to be hidden in the second channel",
    )
    look(stack, 6)
    assert stack.mailbox.to(guest) == []

    shop.stock(wanted["variant"], 3)
    called(stack, wanted["variant"], 3)
    look(stack, 6)
    (mail,) = stack.mailbox.to(guest)
    assert "is back in stock" in str(mail["Subject"])
    assert "20.00" in text_of(mail)
    assert len(stack.mailbox.to(german)) == 2
    for email in (silent, elsewhere, of_other):
        assert [m for m in stack.mailbox.to(email) if "back in stock" in str(m["Subject"])] == []
    assert sorted(decisions(stack, wanted["variant"])) == [
        ["back_in_stock", "not_sent", "nothing_to_show"],
        ["back_in_stock", "sent", ""],
        ["back_in_stock", "sent", ""],
    ]

    # Sold out and back again: whoever was told asked for one message.
    shop.stock(wanted["variant"], 0)
    heard_of_stock(stack, wanted["variant"], 0)
    shop.stock(wanted["variant"], 4)
    heard_of_stock(stack, wanted["variant"], 4)
    look(stack, 12)
    assert len(stack.mailbox.to(guest)) == 1
    assert len(stack.mailbox.to(german)) == 2


def test_d7_sold_out_before_their_turn_they_keep_their_place(
    shop: LiveShop, stack: Stack, live: Callable[[str], None], product: Product
) -> None:
    live("back_in_stock")
    variant = product()["variant"]
    shop.stock(variant, 0)
    guest = sign_up(stack, shop, variant)
    shop.stock(variant, 2)
    called(stack, variant, 1)
    shop.stock(variant, 0)
    decided(stack, variant, [["back_in_stock", "not_sent", "sold_out"]])
    assert stack.mailbox.to(guest) == []
    shop.stock(variant, 2)
    called(stack, variant, 1)
    decided(
        stack,
        variant,
        [["back_in_stock", "not_sent", "sold_out"], ["back_in_stock", "sent", ""]],
    )
    assert len(stack.mailbox.to(guest)) == 1


def decided(stack: Stack, variant: str, wanted: list[list[str]]) -> None:
    """Let the minutes be over for which it must be back, without moving the clock, and wait for the decision."""
    with psycopg.connect(stack.environment["DATABASE_URL"]) as connection:
        connection.execute(
            "UPDATE saleor_personalize_enrollment SET due_at = now()"
            " WHERE subject_saleor_id = %s AND status = 'waiting'",
            [variant],
        )
    wait_until(
        lambda: len(decisions(stack, variant)) == len(wanted), seconds=120, what="the decision"
    )
    assert decisions(stack, variant) == wanted


def test_b53_a_lower_price_is_told_once_to_who_looked(
    shop: LiveShop,
    stack: Stack,
    server_key: str,
    live: Callable[[str], None],
    product: Product,
    customer: Customer,
) -> None:
    live("price_drop")
    looked, idle = customer(), customer()
    for _email, user in (looked, idle):
        allow(stack, shop, server_key, user, "offers")
    found = product()
    variant, channel = found["variant"], shop.channels()[CHANNEL]

    def costs(amount: float) -> None:
        shop.price(variant, channel, amount)
        priced = "variant_saleor_id = %s AND channel_slug = %s AND price = %s"
        wait_until(
            lambda: count(stack, "variantprice", priced, variant, CHANNEL, str(amount)),
            seconds=120,
            what=f"the price of {amount} to be known",
        )

    costs(20)
    collect(
        stack,
        shop,
        {"type": "PRODUCT_VIEWED", "productId": found["product"], "channel": CHANNEL},
        anonymousId=f"phone-{uuid.uuid4().hex}",
        session={"id": uuid.uuid4().hex, "deviceType": "mobile", "channel": CHANNEL},
        token=shop.login(looked[0], PASSWORD),
    )
    costs(15)
    look(stack, 62)
    (mail,) = stack.mailbox.to(looked[0])
    assert "costs less now" in str(mail["Subject"])
    assert "15.00" in text_of(mail)
    assert "20.00" in text_of(mail)
    costs(25)
    costs(15)
    look(stack, 62)
    assert len(stack.mailbox.to(looked[0])) == 1
    assert stack.mailbox.to(idle[0]) == []
    assert decisions(stack, variant)[:1] == [["price_drop", "sent", ""]]


def test_b55_b65_a_code_is_made_used_once_and_withdrawn_from_who_orders_without_it(
    shop: LiveShop,
    stack: Stack,
    server_key: str,
    live: Callable[[str], None],
    product: Product,
    customer: Customer,
) -> None:
    live("welcome")
    variant = product()["variant"]
    uses, orders_without = customer(), customer()
    for _email, user in (uses, orders_without):
        allow(stack, shop, server_key, user, "offers")
    look(stack, 11)
    codes = {}
    for email, _user in (uses, orders_without):
        (mail,) = stack.mailbox.to(email)
        token = shop.login(email, PASSWORD)
        (offer,) = graph(
            stack, shop, "query($c: String) { myOffers(channel: $c) { code percent } }",
            {"c": CHANNEL}, token=token,
        )["myOffers"]  # fmt: skip
        assert offer["percent"] == 10
        assert offer["code"] in text_of(mail)
        codes[email] = offer["code"]

    assert apply(shop, shop.checkout(address(), [variant]), codes[orders_without[0]]) == []
    cart = shop.checkout(uses[0], [variant])
    assert apply(shop, cart, codes[uses[0]]) == []
    order = shop.buy(cart)
    paid = shop.staff(
        "query($id: ID!) { order(id: $id) { voucherCode subtotal { gross { amount } } } }",
        {"id": order},
    )["order"]
    assert paid == {"voucherCode": codes[uses[0]], "subtotal": {"gross": {"amount": 18.0}}}
    shop.buy(shop.checkout(orders_without[0], [variant]))
    status = "code = %s AND status = %s"
    for email, wanted in ((uses[0], "used"), (orders_without[0], "withdrawn")):
        wait_until(
            lambda e=email, w=wanted: count(stack, "offer", status, codes[e], w),
            seconds=180,
            what=f"the code to be {wanted}",
        )
    gone = "code = %s AND gone_at IS NOT NULL"
    wait_until(
        lambda: count(stack, "offer", gone, codes[orders_without[0]]),
        seconds=180,
        what="the code to be gone from Saleor",
    )
    for code in codes.values():
        assert apply(shop, shop.checkout(address(), [variant]), code) == ["INVALID"]


def apply(shop: LiveShop, cart: str, code: str) -> list[str]:
    """Apply a code as a shopper does; return the codes of what Saleor has against it."""
    answer = httpx.post(
        shop.api_url,
        timeout=60,
        json={
            "query": "mutation($id: ID!, $c: String!) { checkoutAddPromoCode(id: $id, promoCode: $c) {"
            " errors { code } } }",
            "variables": {"id": cart, "c": code},
        },
    ).json()
    return [error["code"] for error in answer["data"]["checkoutAddPromoCode"]["errors"]]
