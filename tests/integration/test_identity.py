"""Whose profile an id leads to (B106): nobody moves in with somebody else over an address."""

from datetime import datetime

import pytest

from saleor_personalize.enums import IdentityKind
from saleor_personalize.models import Identity, Installation, Profile
from saleor_personalize.profiles.identity import resolve_profile, resolve_profiles
from tests.conftest import make_profile

USER, EMAIL, CART = IdentityKind.SALEOR_USER, IdentityKind.EMAIL, IdentityKind.CHECKOUT
STRANGER = "VXNlcjo5"


@pytest.mark.parametrize(
    "shown",
    [
        {EMAIL: "alice@example.com"},
        {CART: "Q2hlY2tvdXQ6MQ=="},
        {EMAIL: "Alice@Example.com ", CART: "Q2hlY2tvdXQ6MQ=="},
        {EMAIL: "alice@example.com", CART: "new"},
    ],
)
def test_b106_a_new_user_with_alices_address_or_cart_is_not_alice(
    installation: Installation, alice: Profile, now: datetime, shown: dict[IdentityKind, str]
) -> None:
    Identity.objects.create(
        installation=installation,
        profile=alice,
        kind=CART,
        value="Q2hlY2tvdXQ6MQ==",
        first_seen_at=now,
        last_seen_at=now,
    )
    before = set(alice.identities.values_list("kind", "value"))
    stranger = resolve_profile(installation=installation, shown={USER: STRANGER, **shown}, now=now)
    assert stranger != alice
    assert set(alice.identities.values_list("kind", "value")) == before
    again = resolve_profile(installation=installation, shown={USER: STRANGER}, now=now)
    assert again == stranger


def test_b106_nor_within_one_batch(installation: Installation, now: datetime) -> None:
    people = [
        {USER: "VXNlcjox", EMAIL: "alice@example.com"},
        {USER: STRANGER, EMAIL: "alice@example.com"},
        {EMAIL: "alice@example.com"},
    ]
    first, second, third = resolve_profiles(installation=installation, people=people, now=now)
    assert first != second
    assert third == first


def test_a_guest_who_registers_keeps_their_profile(
    installation: Installation, now: datetime
) -> None:
    guest = make_profile(installation, email="guest@example.com")
    shown = {USER: STRANGER, EMAIL: "guest@example.com"}
    assert resolve_profile(installation=installation, shown=shown, now=now) == guest
    assert resolve_profile(installation=installation, shown={USER: STRANGER}, now=now) == guest
