"""Whose profile an id leads to (B106): nobody moves in with somebody else over an address."""

from datetime import datetime

import pytest

from saleor_personalize.enums import IdentityKind
from saleor_personalize.models import Identity, Installation, Profile
from saleor_personalize.profiles.identity import resolve, resolve_profile
from tests.conftest import make_profile

USER, EMAIL, CART = IdentityKind.SALEOR_USER, IdentityKind.EMAIL, IdentityKind.CHECKOUT
ANONYMOUS = IdentityKind.ANONYMOUS_ID
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
    )
    before = set(alice.identities.values_list("kind", "value"))
    stranger = resolve_profile(installation=installation, shown={USER: STRANGER, **shown}, now=now)
    assert stranger != alice
    assert set(alice.identities.values_list("kind", "value")) == before
    again = resolve_profile(installation=installation, shown={USER: STRANGER}, now=now)
    assert again == stranger


def test_b106_an_address_is_nobodys_until_it_is_confirmed(
    installation: Installation, now: datetime
) -> None:
    people = [
        {USER: "VXNlcjox", EMAIL: "alice@example.com"},
        {USER: STRANGER, EMAIL: "alice@example.com"},
        {EMAIL: "alice@example.com"},
    ]
    first, second, third = resolve(installation=installation, people=people, now=now)
    assert len({first.home, second.home, third.home}) == 3
    assert first.owners[EMAIL] == second.owners[EMAIL] == third.home


def test_a_confirmed_address_lives_with_its_user(installation: Installation, now: datetime) -> None:
    people = [{USER: "VXNlcjox", EMAIL: "alice@example.com"}, {EMAIL: "ALICE@example.com"}]
    user, guest = resolve(
        installation=installation, people=people, now=now, confirmed=["alice@example.com"]
    )
    assert user.home == guest.home
    assert Profile.objects.count() == 1
    assert Identity.objects.get(kind=EMAIL).confirmed_at == now


def test_a_guest_who_registers_does_not_read_the_guests_profile(
    installation: Installation, now: datetime
) -> None:
    guest = make_profile(installation, email="guest@example.com")
    shown = {USER: STRANGER, EMAIL: "guest@example.com"}
    found = resolve_profile(installation=installation, shown=shown, now=now)
    assert found != guest
    assert found.person_id != guest.person_id


@pytest.mark.parametrize(
    "name", [{USER: STRANGER}, {EMAIL: "a@example.com"}, {ANONYMOUS: "a" * 16}]
)
def test_a_cart_without_a_name_moves_in_with_the_first_name(
    installation: Installation, now: datetime, name: dict[IdentityKind, str]
) -> None:
    cart = resolve_profile(installation=installation, shown={CART: "cart"}, now=now)
    (found,) = resolve(installation=installation, people=[{**name, CART: "cart"}], now=now)
    assert found.home.profile_id == cart.pk
    assert found.fresh == frozenset(name)
    assert Profile.objects.count() == 1


def test_a_browsers_cart_and_the_address_typed_into_it_are_two_profiles(
    installation: Installation, now: datetime
) -> None:
    browser = resolve_profile(
        installation=installation, shown={ANONYMOUS: "a" * 16, CART: "cart"}, now=now
    )
    (found,) = resolve(
        installation=installation, people=[{EMAIL: "a@example.com", CART: "cart"}], now=now
    )
    assert found.home.profile_id != browser.pk
    assert found.owners[CART].profile_id == browser.pk
