"""What strangers, friends and family get out of carts, links, forms and accounts that are not theirs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import pytest

from saleor_personalize.events import operations as events
from saleor_personalize.models import Profile
from tests.api.conftest import ALICE, BOB
from tests.api.test_collect import Collect, answers, collect, viewed
from tests.api.test_one_person import LAPTOP, PHONE, profile_of, told
from tests.catalogue import Phones
from tests.integration.reminders import World, mailbox, order_data, use_smtp

__all__ = ["collect"]

CART = "Q2hlY2tvdXQ6MQ=="
VICTIM = "victim@example.com"


@pytest.fixture
def world(shop: Phones, settings: Any) -> Iterator[World]:
    settings.SALEOR_PERSONALIZE = {
        **settings.SALEOR_PERSONALIZE,
        "DEFAULT_SENDER": "Sock Shop <shop@example.com>",
    }
    with mailbox() as box:
        use_smtp(settings, box.port)
        made = World(shop.installation, box)
        made.go_live()
        yield made


def is_one(*profiles: Profile) -> bool:
    return len({Profile.objects.get(pk=profile.pk).person_id for profile in profiles}) == 1


# -- carts that are passed on -------------------------------------------------------------------------


def test_b2_who_opens_a_forwarded_cart_keeps_nobody_from_their_own_browser(
    collect: Collect, shop: Phones, token_of: Callable[..., str]
) -> None:
    collect([viewed("on-the-phone")], anonymousId=PHONE, checkoutId=CART)
    # A friend gets the link to the cart, and is signed in.
    collect([viewed("a-friend")], anonymousId=LAPTOP, checkoutId=CART, token=token_of(BOB))
    assert answers(collect([], anonymousId=PHONE, token=token_of(ALICE))) == []
    alice, bob = profile_of("saleor_user", ALICE), profile_of("saleor_user", BOB)
    assert told(alice) == {"on-the-phone"}
    assert told(bob) == {"a-friend"}


def test_b2_who_ordered_for_somebody_keeps_their_own_browser(
    collect: Collect, shop: Phones, token_of: Callable[..., str], now: datetime
) -> None:
    """Saleor gives an order to the account of the address that was typed, whoever typed it."""
    collect([viewed("on-the-phone")], anonymousId=PHONE, checkoutId=CART)
    events.record_orders(
        installation=shop.installation,
        data=[order_data(checkout_id=CART, user_id=BOB, email="bob@example.com")],
        now=now,
    )
    collect([], anonymousId=PHONE, token=token_of(ALICE))
    assert told(profile_of("saleor_user", ALICE)) == {"on-the-phone"}
    assert told(profile_of("saleor_user", BOB)) == set()
