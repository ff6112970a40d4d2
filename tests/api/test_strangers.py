"""What strangers, friends and family get out of carts, links, forms and accounts that are not theirs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import time_machine
from django.core.management import call_command
from django.test import Client

from saleor_personalize.enums import (
    ConsentState,
    DeliveryChannel,
    EnrollmentStatus,
    ErasureSource,
    IdentityKind,
    MergeProof,
)
from saleor_personalize.events import operations as events
from saleor_personalize.exceptions import KeysUnavailable
from saleor_personalize.messaging import links
from saleor_personalize.models import (
    Consent,
    Identity,
    Installation,
    Merge,
    Message,
    Profile,
    email_hash,
)
from saleor_personalize.profiles import consent, merging, privacy, retention
from saleor_personalize.saleor_api import auth
from tests.api.conftest import ALICE, BOB, Ask
from tests.api.test_collect import Collect, answers, collect, viewed
from tests.api.test_consent import MAIL, SUBSCRIBE, UPDATE
from tests.api.test_one_person import LAPTOP, PHONE, customer, profile_of, told
from tests.catalogue import Phones
from tests.conftest import make_profile
from tests.integration.reminders import World, checkout_data, mailbox, order_data, use_smtp

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
    collect([viewed("signed-in")], anonymousId=PHONE, token=token_of(ALICE))
    alice = profile_of("saleor_user", ALICE)
    assert told(alice) == {"on-the-phone", "signed-in"}
    assert told(profile_of("saleor_user", BOB)) == set()
    # She may be whoever picked up Bob's phone: what was looked at before she signed in is not shown to her.
    assert merging.readable(alice) == {alice.pk}
    assert is_one(alice, profile_of("anonymous_id", PHONE))
    collect([], anonymousId=LAPTOP, token=token_of(ALICE))
    assert merging.readable(alice) == {alice.pk, profile_of("anonymous_id", LAPTOP).pk}


def test_d2_who_is_freed_of_a_friend_is_not_reminded_of_what_they_bought(
    collect: Collect, world: World, shop: Phones, token_of: Callable[..., str], now: datetime
) -> None:
    """Alice left an address of hers in a cart; the friend who ordered from her phone takes it not along."""
    collect([], anonymousId=PHONE, checkoutId=CART)
    row = world.checkout(CART, email="work@example.com")
    world.allow("work@example.com")
    collect([], anonymousId=PHONE, checkoutId="Q2hlY2tvdXQ6Mg==")
    events.record_orders(
        installation=shop.installation,
        data=[
            order_data(
                "T3JkZXI6Mg==",
                checkout_id="Q2hlY2tvdXQ6Mg==",
                user_id=BOB,
                email="bob@example.com",
                at=now - timedelta(days=1),
            )
        ],
        now=now,
    )
    collect([], anonymousId=PHONE, token=token_of(ALICE))
    alice, phone = profile_of("saleor_user", ALICE), profile_of("anonymous_id", PHONE)
    assert is_one(alice, phone, row.profile)
    assert not is_one(alice, profile_of("saleor_user", BOB))
    events.record_orders(
        installation=shop.installation,
        data=[order_data("T3JkZXI6Mw==", user_id=ALICE, email="alice@example.com")],
        now=now,
    )
    world.advance()
    assert world.mails() == []
    assert [message.reason for message in Message.objects.all()] == ["ordered"]


# -- who bought under another id -----------------------------------------------------------------------


def test_d2_a_card_bought_before_anybody_knew_whose_it_is(
    world: World, shop: Phones, now: datetime, tmp_path: Path
) -> None:
    world.checkout(CART, email="guest@example.com")
    world.allow("guest@example.com")
    bought, at = tmp_path / "bought.csv", (now - timedelta(seconds=1)).isoformat()
    later = (now + timedelta(minutes=5)).isoformat()
    bought.write_text(f"order_number,placed_at,external_id,total,currency\nS-1,{later},K-1,5,USD\n")
    known = tmp_path / "known.csv"
    known.write_text(
        "order_number,placed_at,external_id,email,total,currency\n"
        f"S-0,{at},K-1,guest@example.com,5,USD\n"
    )
    with time_machine.travel(now + timedelta(minutes=10), tick=False):
        call_command("personalize_import", str(bought), "--channel", "us", verbosity=0)
        assert world.enrollment(CART).status == EnrollmentStatus.WAITING
        call_command("personalize_import", str(known), "--channel", "us", verbosity=0)
    world.advance()
    assert world.mails() == []
    assert world.decision() == ("not_sent", "ordered")


def test_d2_an_account_that_bought_and_then_confirms_the_guests_address(
    world: World, shop: Phones, now: datetime
) -> None:
    world.checkout(CART, email="guest@example.com")
    world.allow("guest@example.com")
    world.order(user_id=ALICE, email="alice@example.com")
    assert world.enrollment(CART).status == EnrollmentStatus.WAITING
    events.record_customers(
        installation=shop.installation,
        data=[customer(now, email="guest@example.com", updated_at=now + timedelta(minutes=20))],
        now=now,
    )
    world.advance()
    assert world.mails() == []
    assert world.decision() == ("not_sent", "ordered")


# -- accounts that name an address --------------------------------------------------------------------


def test_b73_an_account_says_no_yes_for_an_address_it_never_confirmed(
    gql: Ask, world: World, shop: Phones, token_of: Callable[..., str], now: datetime, settings: Any
) -> None:
    """Shops may let accounts sign in before anybody answered from their address."""
    settings.SALEOR_PERSONALIZE = {
        **settings.SALEOR_PERSONALIZE,
        "CONSENT_RULES": {"*": "double_opt_in"},
    }
    events.record_customers(
        installation=shop.installation,
        data=[customer(now, id=BOB, email=VICTIM, is_confirmed=False)],
        now=now,
    )
    answer = gql(UPDATE, {**MAIL, "allowed": True}, token=token_of(BOB))
    assert answer.data["consentUpdate"]["state"] == "PENDING"
    world.checkout(user_id=BOB, email=VICTIM, user_email=VICTIM)
    world.advance()
    assert world.mails() == []


# -- links ----------------------------------------------------------------------------------------------


def test_b75_a_link_speaks_for_nobody_who_was_split_off(
    client: Client, installation: Installation, now: datetime
) -> None:
    account = make_profile(installation, saleor_user=BOB)
    wrong = make_profile(installation, email=VICTIM)
    merging.prove(
        installation=installation, first=account, second=wrong, proof=MergeProof.STAFF, now=now
    )
    url = links.preferences_url(
        profile=account, address_hash=email_hash(VICTIM), language_code="EN"
    )
    path = url.removeprefix("https://personalize.test")
    merging.split(merge=Merge.objects.get(), now=now, decided_by="VXNlcjo3")
    client.post(path, {"allow": ["email:news"], "most": "", "profiling": "on"})
    assert not Consent.objects.filter(profile=account).exists()
    assert set(Consent.objects.values_list("profile", "topic", "state")) == {
        (wrong.pk, "news", "granted")
    }


# -- what an export tells --------------------------------------------------------------------------------


def test_b121_nobody_takes_along_the_cart_of_who_mistyped_an_address(
    gql: Ask, world: World, shop: Phones, token_of: Callable[..., str], now: datetime
) -> None:
    """The id of a cart opens it in Saleor, with the delivery address of whoever filled it."""
    events.record_customers(installation=shop.installation, data=[customer(now)], now=now)
    world.checkout(CART, email="alice@example.com")
    assert Identity.objects.filter(kind=IdentityKind.CHECKOUT, value=CART).exists()
    taken = gql("{ profileExport { document html } }", token=token_of(ALICE)).data["profileExport"]
    assert CART not in taken["document"]
    assert CART not in taken["html"]


# -- erasure ----------------------------------------------------------------------------------------------


def test_d3_a_question_of_a_stranger_ends_no_no_of_who_is_erased(
    gql: Ask, shop: Phones, token_of: Callable[..., str], now: datetime
) -> None:
    events.record_customers(installation=shop.installation, data=[customer(now)], now=now)
    gql(UPDATE, {**MAIL, "allowed": False}, token=token_of(ALICE))
    gql(SUBSCRIBE, {"email": "alice@example.com"})
    alice = profile_of("saleor_user", ALICE)
    assert Consent.objects.filter(state=ConsentState.PENDING).count() == 1
    privacy.erase(profile=alice, requested_by=ErasureSource.SHOPPER, now=now)
    assert consent.is_suppressed(
        installation=shop.installation,
        delivery_channel=DeliveryChannel.EMAIL,
        address_hash=email_hash("alice@example.com"),
    )


def test_d10_a_guest_of_whom_only_a_cart_was_known_goes_with_the_cart(
    collect: Collect, shop: Phones, now: datetime
) -> None:
    """Nobody's address is kept for ever because a browser showed the same cart."""
    for browser, cart, address in (
        (PHONE, CART, "guest@example.com"),
        (LAPTOP, "Q2hlY2tvdXQ6Mg==", "buyer@example.com"),
    ):
        collect([], anonymousId=browser, checkoutId=cart)
        events.record_checkouts(
            installation=shop.installation, data=[checkout_data(cart, email=address)], now=now
        )
    events.record_orders(
        installation=shop.installation, data=[order_data(email="buyer@example.com")], now=now
    )
    bought = {
        profile_of("anonymous_id", LAPTOP).pk,
        profile_of("email", email_hash("buyer@example.com")).pk,
    }
    assert Profile.objects.count() == 4
    ended = retention.purge(now=now + timedelta(days=1_000))
    assert (ended["checkouts"], ended["unknown_people"]) == (2, 2)
    assert set(Profile.objects.values_list("pk", flat=True)) == bought
    assert not Identity.objects.filter(value=email_hash("guest@example.com")).exists()
    assert is_one(*Profile.objects.all())


# -- doors ------------------------------------------------------------------------------------------------


def test_b7_keys_that_cannot_be_had_are_no_fault_of_the_sender(
    collect: Collect, token_of: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def unavailable(*_: Any, **__: Any) -> Any:
        raise KeysUnavailable("The shop's keys cannot be had just now.")

    monkeypatch.setattr(auth, "read_customer_token", unavailable)
    answer = collect([viewed()], token=token_of(ALICE))
    assert answer.status_code == 503
    assert answer.json()["error"]["code"] == "JWKS_NOT_AVAILABLE"
    assert int(answer["Retry-After"]) > 0
    assert answer["Access-Control-Allow-Origin"] == "https://store.test"
    assert not Profile.objects.exists()


def test_b15_a_definition_nested_without_end_is_refused(gql: Ask) -> None:
    answer = gql(
        "query($d: JSONString!) { segmentCount(definition: $d) { count } }",
        {"d": "[" * 100_000},
    )
    assert answer.status == 200
    assert answer.codes == ["BAD_REQUEST"]
