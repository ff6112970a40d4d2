"""One person out of many ids (B1 to B4): joined on proof, on the record, and split exactly."""

from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from threading import Barrier
from typing import Any

import pytest
from django.db import connection, transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.django import TestCase

from saleor_personalize.enums import (
    ConsentState,
    DeliveryChannel,
    IdentityKind,
    MergeProof,
    Purpose,
)
from saleor_personalize.models import Identity, Installation, Merge, Profile
from saleor_personalize.models.locks import try_lock
from saleor_personalize.profiles import consent, identity, merging
from tests.conftest import NOW, make_consent, make_installation, make_profile

USER, EMAIL, CART = IdentityKind.SALEOR_USER, IdentityKind.EMAIL, IdentityKind.CHECKOUT
PHONE, LAPTOP = "phone-0000000000", "laptop-000000000"
ALICE, BOB = "VXNlcjox", "VXNlcjoy"


def is_one(*profiles: Profile) -> bool:
    return len({Profile.objects.get(pk=profile.pk).person_id for profile in profiles}) == 1


def shown(installation: Installation, now: datetime, **ids: str) -> identity.Resolved:
    (found,) = identity.resolve(
        installation=installation,
        people=[{IdentityKind(kind): value for kind, value in ids.items()}],
        now=now,
    )
    return found


def profile_of(found: identity.Resolved) -> Profile:
    return Profile.objects.get(pk=found.home.profile_id)


def cart_seen(installation: Installation, cart: str, **ids: str) -> Profile:
    """A checkout arrives from Saleor."""
    with transaction.atomic():
        found = shown(installation, NOW, checkout=cart, **ids)
        identity.join_over_cart(installation=installation, found=found, checkout_id=cart, now=NOW)
    return profile_of(found)


def cart_ordered(installation: Installation, cart: str, **ids: str) -> Profile:
    """An order arrives from Saleor."""
    with transaction.atomic():
        found = shown(installation, NOW, checkout=cart, **ids)
        identity.join_over_order(installation=installation, found=found, checkout_id=cart, now=NOW)
        merging.prove_suspected(installation=installation, checkout_ids=[cart], now=NOW)
    return profile_of(found)


def address_confirmed(installation: Installation, user: str, email: str) -> None:
    """Saleor says that a customer confirmed the address."""
    with transaction.atomic():
        (found,) = identity.resolve(
            installation=installation,
            people=[{USER: user, EMAIL: email}],
            now=NOW,
            confirmed=[email],
        )
        identity.join_over_account(
            installation=installation, found=found, is_confirmed=True, now=NOW
        )


def sign_in(installation: Installation, user: str, anonymous_id: str) -> Profile:
    return identity.show(
        installation=installation,
        shown={USER: user, IdentityKind.ANONYMOUS_ID: anonymous_id},
        now=NOW,
    )


def show_checkout(installation: Installation, anonymous_id: str, checkout_id: str) -> Profile:
    return identity.show(
        installation=installation,
        shown={IdentityKind.ANONYMOUS_ID: anonymous_id, CART: checkout_id},
        now=NOW,
    )


# -- what joins ------------------------------------------------------------------------------------


def test_b1_signing_in_joins_what_the_browser_did(installation: Installation) -> None:
    phone = profile_of(shown(installation, NOW, anonymous_id=PHONE))
    alice = sign_in(installation, ALICE, PHONE)
    assert alice != phone
    assert is_one(alice, phone)
    (merge,) = merging.merges_of(alice)
    assert (merge.proof, merge.proved_at) == (MergeProof.LOGIN, NOW)
    assert merge.evidence == [
        {"kind": "anonymous_id", "value": PHONE},
        {"kind": "saleor_user", "value": ALICE},
    ]
    # Again: nothing new.
    assert sign_in(installation, ALICE, PHONE) == alice
    assert Merge.objects.count() == 1


def test_b1_the_first_name_on_a_browsers_cart_is_the_browsers(installation: Installation) -> None:
    phone = show_checkout(installation, PHONE, "cart")
    guest = cart_seen(installation, "cart", email="guest@example.com")
    assert is_one(phone, guest)
    assert [merge.proof for merge in merging.merges_of(phone)] == [MergeProof.CHECKOUT]


def test_b2_two_devices_of_one_user_are_one_person(installation: Installation) -> None:
    phone = profile_of(shown(installation, NOW, anonymous_id=PHONE))
    laptop = profile_of(shown(installation, NOW, anonymous_id=LAPTOP))
    sign_in(installation, ALICE, PHONE)
    alice = sign_in(installation, ALICE, LAPTOP)
    assert is_one(phone, laptop, alice)
    assert set(alice.person()) == {phone, laptop, alice}


def test_b2_two_users_of_one_device_stay_two(installation: Installation) -> None:
    phone = profile_of(shown(installation, NOW, anonymous_id=PHONE))
    alice = sign_in(installation, ALICE, PHONE)
    bob = sign_in(installation, BOB, PHONE)
    assert is_one(alice, phone)
    assert not is_one(alice, bob)
    assert Merge.objects.count() == 1


def test_b3_a_guest_and_the_account_that_confirmed_the_address(installation: Installation) -> None:
    guest = cart_ordered(installation, "cart", email="alice@example.com")
    alice = profile_of(shown(installation, NOW, saleor_user=ALICE, email="alice@example.com"))
    assert not is_one(guest, alice)
    address_confirmed(installation, ALICE, "Alice@example.com")
    assert is_one(guest, alice)
    later = cart_ordered(installation, "cart-2", email="alice@example.com")
    assert is_one(later, alice)


def test_b3_whoever_confirms_an_address_takes_it_back_from_whoever_typed_it(
    installation: Installation,
) -> None:
    thief = show_checkout(installation, PHONE, "cart")
    address = cart_seen(installation, "cart", email="alice@example.com")
    bob = sign_in(installation, BOB, PHONE)
    assert is_one(thief, address, bob)
    address_confirmed(installation, ALICE, "alice@example.com")
    alice = profile_of(shown(installation, NOW, saleor_user=ALICE))
    assert is_one(alice, address)
    assert is_one(bob, thief)
    assert not is_one(alice, bob)


def test_b4_who_showed_a_cart_and_who_ordered_it_under_another_address(
    installation: Installation,
) -> None:
    first = cart_seen(installation, "cart", email="typo@example.com")
    phone = show_checkout(installation, PHONE, "cart")
    # A link to a cart can be forwarded: nothing is proved yet.
    assert not is_one(first, phone)
    assert [merge.proved_at for merge in merging.merges_of(phone)] == [None]
    second = cart_ordered(installation, "cart", email="right@example.com")
    assert is_one(first, phone, second)


def test_an_address_others_used_before_is_not_the_browsers(installation: Installation) -> None:
    alice = cart_ordered(installation, "old", email="alice@example.com")
    phone = show_checkout(installation, PHONE, "cart")
    cart_seen(installation, "cart", email="alice@example.com")
    assert not is_one(phone, alice)


def test_a_cart_joins_for_our_care_and_not_for_reading(installation: Installation) -> None:
    phone = show_checkout(installation, PHONE, "cart")
    address = cart_seen(installation, "cart", email="alice@example.com")
    bob = sign_in(installation, BOB, PHONE)
    assert is_one(phone, address, bob)
    assert merging.readable(bob) == {bob.pk, phone.pk}


def test_other_shops_are_other_worlds(
    installation: Installation, other_installation: Installation
) -> None:
    phone = profile_of(shown(installation, NOW, anonymous_id=PHONE))
    sign_in(other_installation, ALICE, PHONE)
    assert Profile.objects.of(installation).get() == phone
    assert not Merge.objects.of(installation).exists()


# -- what splits -----------------------------------------------------------------------------------


def test_b2_a_split_restores_both_and_stays(installation: Installation) -> None:
    phone = profile_of(shown(installation, NOW, anonymous_id=PHONE))
    alice = sign_in(installation, ALICE, PHONE)
    (merge,) = merging.merges_of(alice)
    assert merging.split(merge=merge, now=NOW, decided_by="VXNlcjo3")
    assert not is_one(phone, alice)
    assert set(phone.person()) == {phone}
    merge.refresh_from_db()
    assert (merge.undone_at, merge.decided_by) == (NOW, "VXNlcjo3")
    # The same proof again does not overrule staff. Staff can.
    sign_in(installation, ALICE, PHONE)
    assert not is_one(phone, alice)
    assert merging.prove(
        installation=installation,
        first=alice,
        second=phone,
        proof=MergeProof.STAFF,
        now=NOW,
        decided_by="VXNlcjo3",
    )
    assert is_one(phone, alice)


def test_b2_a_third_profile_may_still_hold_them_together(installation: Installation) -> None:
    one, two, three = (make_profile(installation) for _ in range(3))
    for first, second in [(one, two), (two, three), (one, three)]:
        merging.prove(
            installation=installation, first=first, second=second, proof=MergeProof.STAFF, now=NOW
        )
    merge = Merge.objects.get(first=one, second=two)
    assert not merging.split(merge=merge, now=NOW, decided_by="")
    assert is_one(one, two, three)
    merge = Merge.objects.get(first=two, second=three)
    assert merging.split(merge=merge, now=NOW, decided_by="")
    assert is_one(one, three)
    assert not is_one(one, two)


def test_d3_becoming_one_person_never_turns_a_no_into_a_yes(installation: Installation) -> None:
    phone = profile_of(shown(installation, NOW, anonymous_id=PHONE))
    make_consent(phone, ConsentState.DENIED)
    alice = profile_of(shown(installation, NOW, saleor_user=ALICE))
    make_consent(alice, ConsentState.GRANTED)
    may = {"purpose": Purpose.MARKETING, "delivery_channel": DeliveryChannel.EMAIL}
    assert consent.is_granted(profile=alice, **may)
    sign_in(installation, ALICE, PHONE)
    assert not consent.is_granted(profile=alice, **may)
    assert not consent.is_granted(profile=phone, **may)
    (merge,) = merging.merges_of(alice)
    merging.split(merge=merge, now=NOW, decided_by="")
    assert consent.is_granted(profile=alice, **may)
    assert not consent.is_granted(profile=phone, **may)


# -- by chance -------------------------------------------------------------------------------------

_users = st.sampled_from(["user-1", "user-2"])
_emails = st.sampled_from(["a@example.com", "b@example.com"])
_phones = st.sampled_from(["phone-1", "phone-2", "phone-3"])
_carts = st.sampled_from(["cart-1", "cart-2", "cart-3"])
_steps = st.lists(
    st.one_of(
        st.tuples(st.just("sign_in"), _users, _phones),
        st.tuples(st.just("show"), _phones, _carts),
        st.tuples(st.just("guest"), _carts, _emails),
        st.tuples(st.just("user"), _carts, _users),
        st.tuples(st.just("guest_order"), _carts, _emails),
        st.tuples(st.just("user_order"), _carts, _users),
        st.tuples(st.just("confirm"), _users, _emails),
        st.tuples(st.just("split"), st.integers(0, 20), st.none()),
    ),
    max_size=14,
)


def take(installation: Installation, step: tuple[str, Any, Any]) -> None:
    match step:
        case "sign_in", user, phone:
            sign_in(installation, user, phone)
        case "show", phone, cart:
            show_checkout(installation, phone, cart)
        case "guest", cart, email:
            cart_seen(installation, cart, email=email)
        case "user", cart, user:
            cart_seen(installation, cart, saleor_user=user)
        case "guest_order", cart, email:
            cart_ordered(installation, cart, email=email)
        case "user_order", cart, user:
            cart_ordered(installation, cart, saleor_user=user)
        case "confirm", user, email:
            address_confirmed(installation, user, email)
        case "split", number, _:
            merges = list(Merge.objects.order_by("pk"))
            if merges:
                merging.split(merge=merges[number % len(merges)], now=NOW, decided_by="staff")


def groups_by_the_log() -> set[frozenset[int]]:
    """Work out from the log alone who is one person."""
    group = {pk: {pk} for pk in Profile.objects.values_list("pk", flat=True)}
    for merge in Merge.objects.filter(undone_at=None).exclude(proved_at=None):
        joined = group[merge.first_id] | group[merge.second_id]
        for pk in joined:
            group[pk] = joined
    return {frozenset(members) for members in group.values()}


def groups_as_stored() -> set[frozenset[int]]:
    members = defaultdict(set)
    for profile in Profile.objects.all():
        members[profile.person_id].add(profile.pk)
    return {frozenset(group) for group in members.values()}


class AnyOrderOfEvents(TestCase):
    @settings(
        max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
    )
    @given(steps=_steps)
    def test_b2_the_log_explains_every_person(self, steps: list[tuple[str, Any, Any]]) -> None:
        installation = make_installation()
        owners: dict[tuple[str, str], int] = {}
        apart: set[tuple[int, int]] = set()
        for step in steps:
            take(installation, step)
            assert groups_as_stored() == groups_by_the_log()
            # Ids and facts never move.
            now_owned = {
                (row.kind, row.value): row.profile_id for row in Identity.objects.order_by("pk")
            }
            assert now_owned.items() >= owners.items()
            owners = now_owned
            # Two accounts are two people, and staff's word stands.
            for group in groups_as_stored():
                assert Identity.objects.filter(kind=USER, profile__in=group).count() <= 1
            live = {
                (merge.first_id, merge.second_id)
                for merge in Merge.objects.filter(undone_at=None).exclude(proved_at=None)
            }
            assert not apart & live
            apart = set(Merge.objects.exclude(undone_at=None).values_list("first_id", "second_id"))

    @settings(max_examples=40, deadline=None)
    @given(data=st.data())
    def test_b2_the_order_of_proofs_does_not_matter(self, data: st.DataObject) -> None:
        installation = make_installation()
        profiles = [make_profile(installation) for _ in range(5)]
        pairs = data.draw(
            st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), unique=True, max_size=6)
        )
        for first, second in data.draw(st.permutations(pairs)):
            merging.prove(
                installation=installation,
                first=profiles[first],
                second=profiles[second],
                proof=MergeProof.LOGIN,
                now=NOW,
            )
        expected = {profile.pk: {profile.pk} for profile in profiles}
        for first, second in pairs:
            joined = expected[profiles[first].pk] | expected[profiles[second].pk]
            for pk in joined:
                expected[pk] = joined
        assert groups_as_stored() == {frozenset(group) for group in expected.values()}


@pytest.mark.django_db(transaction=True)
def test_b3_a_confirmed_address_holds_the_graph_before_its_ids() -> None:
    """Otherwise two workers would wait for each other: one has the ids, the other the graph."""
    installation = make_installation()
    with transaction.atomic():
        (found,) = identity.resolve(
            installation=installation, people=[{USER: ALICE, EMAIL: "a@example.com"}], now=NOW
        )
        identity.join_over_account(
            installation=installation, found=found, is_confirmed=False, now=NOW
        )

    def is_free() -> bool:
        try:
            with transaction.atomic():
                return try_lock(installation, "identity-graph")
        finally:
            connection.close()

    with transaction.atomic(), ThreadPoolExecutor(1) as pool:
        (found,) = identity.resolve(
            installation=installation,
            people=[{USER: ALICE, EMAIL: "a@example.com"}],
            now=NOW,
            confirmed=["a@example.com"],
        )
        assert not pool.submit(is_free).result()
        identity.join_over_account(
            installation=installation, found=found, is_confirmed=True, now=NOW
        )
    proofs = Merge.objects.values_list("proof", flat=True)
    assert set(proofs) == {MergeProof.ACCOUNT, MergeProof.CONFIRMED_EMAIL}


@pytest.mark.django_db(transaction=True)
def test_b2_many_workers_at_once_end_in_one_person() -> None:
    installation = make_installation()
    phones = [f"phone-{number}" for number in range(8)]
    barrier = Barrier(8)

    def work(number: int) -> None:
        try:
            barrier.wait(timeout=30)
            for step in range(8):
                phone = phones[(number + step) % 8]
                sign_in(installation, ALICE, phone)
                cart_seen(installation, f"cart-{step % 3}", saleor_user=ALICE)
                cart_ordered(installation, f"cart-{number % 3}", email="alice@example.com")
        finally:
            connection.close()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert groups_as_stored() == groups_by_the_log()
    assert len(groups_as_stored()) == 1
    assert Identity.objects.filter(kind=IdentityKind.ANONYMOUS_ID).count() == 8
    assert Identity.objects.filter(kind=USER).count() == 1
