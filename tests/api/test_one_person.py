"""B1 to B4 through the doors: phone, laptop, cart and store are one person, with one timeline."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from django.core.management import call_command

from saleor_personalize.enums import MergeProof, OrderOrigin
from saleor_personalize.events import operations as events
from saleor_personalize.events import timeline
from saleor_personalize.models import Merge, Order, Profile
from saleor_personalize.profiles import merging
from saleor_personalize.saleor_api.nodes import CustomerData
from tests.api.conftest import ALICE, BOB
from tests.api.test_collect import ACCEPTED, Collect, answers, collect, viewed
from tests.catalogue import Phones
from tests.integration.reminders import checkout_data, order_data

__all__ = ["collect"]

PHONE, LAPTOP = "phone-0000000000000", "laptop-000000000000"


def profile_of(kind: str, value: str) -> Profile:
    return Profile.objects.get(identities__kind=kind, identities__value=value)


def told(profile: Profile) -> set[str]:
    return {event.event_id for event in timeline.events_of(profile, first=100)}


def customer(now: datetime, **changes: Any) -> CustomerData:
    values = {
        "id": ALICE,
        "email": "alice@example.com",
        "first_name": "Alice",
        "is_active": True,
        "is_confirmed": True,
        "language_code": "EN",
        "country_code": "US",
        "joined_at": now,
        "updated_at": now,
    }
    return CustomerData(**{**values, **changes})


def test_b1_b9_phone_then_laptop_then_the_store_are_one_person(
    collect: Collect,
    shop: Phones,
    token_of: Callable[..., str],
    now: datetime,
    tmp_path: Path,
) -> None:
    # On a phone, nobody in particular.
    assert answers(collect([viewed("on-the-phone")], anonymousId=PHONE)) == [ACCEPTED]
    # The account is known, its address confirmed.
    events.record_customers(installation=shop.installation, data=[customer(now)], now=now)
    alice = profile_of("saleor_user", ALICE)
    assert told(alice) == set()
    # She signs in on the phone; later on a laptop.
    assert answers(collect([], anonymousId=PHONE, token=token_of(ALICE))) == []
    assert told(alice) == {"on-the-phone"}
    assert answers(
        collect([viewed("on-the-laptop")], anonymousId=LAPTOP, token=token_of(ALICE))
    ) == [ACCEPTED]
    # She buys in the store and leaves her address at the till.
    till = tmp_path / "till.csv"
    till.write_text(
        "order_number,placed_at,email,total,currency\n"
        f"S-1,{now.isoformat()},Alice@example.com,49.90,USD\n"
    )
    call_command("personalize_import", str(till), "--channel", "us", verbosity=0)
    order = Order.objects.get(origin=OrderOrigin.OFFLINE)
    phone, laptop = profile_of("anonymous_id", PHONE), profile_of("anonymous_id", LAPTOP)
    everybody = {profile.pk for profile in alice.person()}
    assert everybody >= {alice.pk, phone.pk, laptop.pk, order.profile_id}
    assert everybody == set(Profile.objects.values_list("pk", flat=True))
    assert told(phone) == told(laptop) == told(alice) == {"on-the-phone", "on-the-laptop"}
    assert {merge.proof for merge in merging.merges_of(alice)} == {MergeProof.LOGIN}


def test_b1_a_guests_browser_is_known_by_the_address_on_its_cart(
    collect: Collect, shop: Phones, now: datetime
) -> None:
    collect([viewed("before")], anonymousId=PHONE)
    assert answers(collect([], anonymousId=PHONE, checkoutId="Q2hlY2tvdXQ6MQ==")) == []
    events.record_checkouts(
        installation=shop.installation,
        data=[checkout_data(id="Q2hlY2tvdXQ6MQ==", email="guest@example.com")],
        now=now,
    )
    guest = Profile.objects.get(identities__address__gt="", identities__kind="email")
    assert told(guest) == {"before"}


def test_b4_who_forwards_a_cart_is_not_who_opens_it_until_it_is_ordered(
    collect: Collect, shop: Phones, now: datetime
) -> None:
    cart = checkout_data(id="Q2hlY2tvdXQ6MQ==", email="first@example.com")
    events.record_checkouts(installation=shop.installation, data=[cart], now=now)
    first = Profile.objects.get()
    collect([viewed("a-friend")], anonymousId=PHONE, checkoutId=cart.id)
    assert told(first) == set()
    assert Merge.objects.get().proved_at is None
    events.record_orders(
        installation=shop.installation,
        data=[order_data(checkout_id=cart.id, email="second@example.com")],
        now=now,
    )
    assert told(first) == {"a-friend"}


def test_b106_nobody_joins_a_user_without_the_token(
    collect: Collect, shop: Phones, token_of: Callable[..., str], now: datetime
) -> None:
    collect([viewed("alice")], anonymousId=PHONE, token=token_of(ALICE))
    refused = collect([viewed("bob")], anonymousId=PHONE, userId=BOB)
    assert refused.status_code == 403
    # Another account on the same phone stays another person.
    collect([viewed("bob")], anonymousId=PHONE, token=token_of(BOB))
    assert told(profile_of("saleor_user", ALICE)) == {"alice"}
    assert told(profile_of("saleor_user", BOB)) == {"bob"}


def test_an_id_of_a_cart_that_is_none_is_refused(collect: Collect) -> None:
    refused = collect([viewed()], checkoutId="../../etc")
    assert refused.status_code == 401
    assert refused.json()["error"]["code"] == "INVALID_TOKEN"
    assert not Profile.objects.exists()
