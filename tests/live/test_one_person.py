"""Phone, laptop and store on a live Saleor: one person with one timeline, nobody else's, and gone at last."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from saleor_personalize.testing.stack import Stack, StackError, wait_until
from tests.live.doors import collect
from tests.live.inside import inside
from tests.live.shop import CHANNEL, LiveShop

pytestmark = [pytest.mark.live, pytest.mark.timeout(600)]

PASSWORD = "A-long-passw0rd"
#: Which of these join on the way depends on which webhook comes first: the account before its address was
#: confirmed or after, the cart before the phone showed it or after.
BY_ARRIVAL = {"account", "confirmed_email", "checkout"}
PROFILE = """
query($u: ID) { profile(userId: $u) { recentOrders { number } viewedProducts { productId } } }
"""


@dataclass
class Customer:
    name: str
    email: str = ""
    user_id: str = ""
    phone: str = field(default_factory=lambda: f"phone-{uuid.uuid4().hex}")
    laptop: str = field(default_factory=lambda: f"laptop-{uuid.uuid4().hex}")


@pytest.fixture
def customers(shop: LiveShop) -> Iterator[tuple[Customer, Customer]]:
    """Alice, and Bob of the same shop."""
    pair = (Customer("alice"), Customer("bob"))
    try:
        for one in pair:
            one.email = f"{one.name}-{uuid.uuid4().hex[:8]}@example.com"
            one.user_id = shop.register(one.email, PASSWORD)
        yield pair
    finally:
        for one in pair:
            if shop.staff("query($e: String!) { user(email: $e) { id } }", {"e": one.email})[
                "user"
            ]:
                shop.delete_customer(one.user_id)


def person(stack: Stack, option: str, value: str) -> dict[str, Any] | None:
    """Return what `saleor-personalize people show` tells; None when it knows nobody."""
    try:
        told: dict[str, Any] = json.loads(
            stack.run("people", "show", f"--{option}", value, "--json")
        )
    except StackError as error:
        if "Nobody in this shop is known" in str(error):
            return None
        raise
    return told


def profile(
    stack: Stack,
    shop: LiveShop,
    *,
    token: str = "",
    user_id: str | None = None,
    anonymous_id: str = "",
) -> Any:
    headers = {"Saleor-Api-Url": shop.api_url}
    if token:
        headers["Authorization"] = f"Bearer {token}"
    if anonymous_id:
        headers["X-Anonymous-Id"] = anonymous_id
    answer = httpx.post(
        f"{stack.url}/graphql/",
        json={"query": PROFILE, "variables": {"u": user_id}},
        headers=headers,
    ).json()
    assert "errors" not in answer, answer
    return answer["data"]["profile"]


def ids(told: dict[str, Any]) -> set[tuple[str, str]]:
    return {(one["kind"], one["value"]) for row in told["profiles"] for one in row["ids"]}


def facts(told: dict[str, Any] | None) -> Any:
    """Return what only changes when something happens; traits are worked out in their own time."""
    return told and (told["profiles"], told["merges"], told["timeline"])


def tables_that_tell(stack: Stack, *words: str) -> set[str]:
    """Return the tables of the app in which any of the words stands, in whatever column."""
    needles = [form for word in words for form in (word, word.encode().hex())]
    with psycopg.connect(stack.environment["DATABASE_URL"]) as connection:
        tables = connection.execute(
            "SELECT quote_ident(tablename) FROM pg_tables WHERE schemaname = 'public'"
        ).fetchall()
        return {
            table
            for (table,) in tables
            if connection.execute(
                f"SELECT EXISTS (SELECT FROM {table} AS row"  # type: ignore[arg-type]  # noqa: S608
                " JOIN unnest(%s::text[]) AS word ON strpos(lower(row::text), lower(word)) > 0)",
                [needles],
            ).fetchone()
            != (False,)
        }


def test_b1_b3_b9_b121_phone_laptop_and_store_are_one_person_until_erased(
    shop: LiveShop,
    stack: Stack,
    server_key: str,
    customers: tuple[Customer, Customer],
    tmp_path: Path,
) -> None:
    alice, bob = customers
    stack.run("journeys", "pause", "abandoned_checkout")
    on_phone, on_laptop, in_store = shop.variants(3)

    # On a phone, nobody in particular: she looks, and fills a cart.
    mobile = {"id": uuid.uuid4().hex, "deviceType": "mobile", "channel": CHANNEL}
    viewed = {"type": "PRODUCT_VIEWED", "productId": on_phone["product"]}
    collect(stack, shop, viewed, anonymousId=alice.phone, session=mobile)
    checkout = shop.checkout(None, [on_phone["id"]])
    added = {"type": "CART_ADDED", "productId": on_phone["product"], "variantId": on_phone["id"]}
    collect(stack, shop, added, anonymousId=alice.phone, session=mobile, checkoutId=checkout)

    # She signs in on a laptop. Nothing ties the phone to her yet.
    token = shop.login(alice.email, PASSWORD)
    desktop = {"id": uuid.uuid4().hex, "deviceType": "desktop", "channel": CHANNEL}
    viewed = {"type": "PRODUCT_VIEWED", "productId": on_laptop["product"]}
    collect(stack, shop, viewed, anonymousId=alice.laptop, session=desktop, token=token)
    told = person(stack, "user", alice.user_id)
    assert told is not None
    assert ("anonymous_id", alice.laptop) in ids(told)
    assert ("anonymous_id", alice.phone) not in ids(told)

    # The phone's cart is ordered as a guest, under the address of her account.
    shop.set_email(checkout, alice.email)
    shop.buy(checkout)
    wait_until(
        lambda: ("anonymous_id", alice.phone) in ids(person(stack, "user", alice.user_id) or {}),
        seconds=60,
        what="the order to prove whose the phone is",
    )

    # And she buys in the store, where she says her address at the till.
    till = tmp_path / "till.csv"
    till.write_text(
        "receipt,date,email,variantid,qty,price,currency,channel\n"
        f"STORE-{uuid.uuid4().hex[:6]},{datetime.now(UTC).isoformat()},{alice.email.upper()},"
        f"{in_store['id']},2,4.50,USD,{CHANNEL}\n"
    )
    imported = json.loads(stack.run("import", str(till), "--json"))
    assert (imported["recorded"], imported["rejected"]) == (1, 0)
    again = json.loads(stack.run("import", str(till), "--json"))
    assert (again["recorded"], again["unchanged"]) == (0, 1)

    # One person, whichever id one asks by; and why.
    told = person(stack, "user", alice.user_id)
    assert told is not None
    for option, value in (
        ("anonymous-id", alice.phone),
        ("anonymous-id", alice.laptop),
        ("checkout", checkout),
        ("email", alice.email),
    ):
        assert facts(person(stack, option, value)) == facts(told)
    assert alice.email not in json.dumps(told).lower()
    proved = {row["proof"]: row["evidence"] for row in told["merges"] if row["proved_at"]}
    assert set(proved) - BY_ARRIVAL == {"login", "checkout_completed"}
    assert {"kind": "anonymous_id", "value": alice.laptop} in proved["login"]
    assert proved["checkout_completed"] == [{"kind": "checkout", "value": checkout}]

    # One timeline.
    carts = [row for row in told["timeline"] if row["kind"] == "cart"]
    assert [(row["checkout_id"], row["what"]) for row in carts] == [(checkout, "ordered")]
    lines = [
        (row["kind"], row["what"], row.get("device", ""), row.get("product_id", ""))
        for row in told["timeline"]
        if row["kind"] in {"event", "order", "merge"} and row["what"] not in BY_ARRIVAL
    ]
    # One cart can prove two joins: of the phone with the account, and with the address on the cart.
    assert [line for line, _ in groupby(lines)] == [
        ("event", "product_viewed", "mobile", on_phone["product"]),
        ("event", "cart_added", "mobile", on_phone["product"]),
        ("event", "product_viewed", "desktop", on_laptop["product"]),
        ("merge", "login", "", ""),
        ("order", "saleor", "", ""),
        ("merge", "checkout_completed", "", ""),
        ("order", "offline", "", ""),
    ]
    online, offline = (row for row in told["timeline"] if row["kind"] == "order")
    assert (offline["total"], offline["currency"]) == ("9.000", "USD")

    # She and the shop's server read the same. A cart proves enough for our care, not for eyes: what the
    # phone looked at is not in it.
    shown = profile(stack, shop, token=shop.login(alice.email, PASSWORD))
    assert shown == profile(stack, shop, token=server_key, user_id=alice.user_id)
    assert shown["recentOrders"] == [{"number": online["number"]}]
    assert shown["viewedProducts"] == [{"productId": on_laptop["product"]}]

    # Nobody else reads anything of it: not Bob, not even with her ids in his browser.
    bobs = shop.login(bob.email, PASSWORD)
    nothing = {"recentOrders": [], "viewedProducts": []}
    assert profile(stack, shop, token=bobs, anonymous_id=alice.phone) in (None, nothing)
    # Her laptop is hers by a login. (A phone known by a cart alone would be his who signs in on it.)
    for browser in (bob.phone, alice.laptop):
        assert profile(stack, shop, token=bobs, anonymous_id=browser) in (None, nothing)
        collect(stack, shop, anonymousId=browser, token=bobs)
        assert profile(stack, shop, token=bobs, anonymous_id=browser) in (None, nothing)
    for browser in (alice.phone, alice.laptop):
        assert profile(stack, shop, anonymous_id=browser) is None
    assert facts(person(stack, "user", alice.user_id)) == facts(told)
    his = person(stack, "user", bob.user_id)
    assert his is not None
    assert not ids(his) & ids(told)
    assert {row["kind"] for row in his["timeline"]} == {"merge"}

    # Staff delete her in Saleor: nobody is known by any of her ids, and Bob is untouched.
    hers = (alice.email, alice.user_id, alice.phone, alice.laptop)
    assert "saleor_personalize_identity" in tables_that_tell(stack, *hers)
    shop.delete_customer(alice.user_id)
    wait_until(lambda: person(stack, "user", alice.user_id) is None, seconds=60, what="the erasure")
    for option, value in (
        ("anonymous-id", alice.phone),
        ("anonymous-id", alice.laptop),
        ("checkout", checkout),
        ("email", alice.email),
    ):
        assert person(stack, option, value) is None, option
    assert profile(stack, shop, token=server_key, user_id=alice.user_id) is None
    assert facts(person(stack, "user", bob.user_id)) == facts(his)
    # What came raw from Saleor is searched afterwards; beat does so every ten minutes.
    inside(stack, "from saleor_personalize.tasks.privacy import sweep_erasures; sweep_erasures()")
    assert tables_that_tell(stack, *hers) == set()
    assert "saleor_personalize_identity" in tables_that_tell(stack, bob.user_id)
