"""Offers that do not backfire (B65, B66, C2; the voucher of B55), against a shop over HTTP."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.core import mail
from django.db import connection, transaction
from django.test import override_settings

from saleor_personalize.enums import (
    ErasureSource,
    InstallationStatus,
    MergeProof,
    MessageStatus,
    NotSentReason,
    OfferReason,
    OfferStatus,
)
from saleor_personalize.ingestion import backfill
from saleor_personalize.messaging import operations as messaging
from saleor_personalize.models import (
    Category,
    Installation,
    Message,
    Offer,
    OfferVoucher,
    Order,
    Profile,
    SalesChannel,
)
from saleor_personalize.offers import guard, queries, showing, vouchers
from saleor_personalize.offers import operations as offers
from saleor_personalize.offers.terms import read
from saleor_personalize.profiles import merging, privacy
from saleor_personalize.testing.saleor import FakeSaleor
from tests.conftest import NOW, make_profile
from tests.integration.offering import (
    FIRST_ORDER,
    PERMISSIONS,
    TEN_PERCENT,
    Killed,
    decide,
    decided,
    dies,
    installed,
    order,
    send,
)
from tests.integration.reminders import run_threads

DAY, HOUR, MINUTE = timedelta(days=1), timedelta(hours=1), timedelta(minutes=1)
#: When what an interrupted worker left is looked at: its hand-over has been declared over by then.
LATER = NOW + offers.LEASE + MINUTE


@pytest.fixture
def shop(settings: Any) -> Iterator[FakeSaleor]:
    settings.SALEOR_PERSONALIZE = {
        **settings.SALEOR_PERSONALIZE,
        "ALLOW_PRIVATE_ADDRESSES": True,
        "SALEOR_TIMEOUT": 5.0,
    }
    with FakeSaleor() as shop:
        shop.fill(products=3, customers=0, orders=0, checkouts=0)
        yield shop


@pytest.fixture
def installation(db: None, shop: FakeSaleor) -> Installation:
    return installed(shop)


@pytest.fixture
def alice(installation: Installation) -> Profile:
    return make_profile(installation, saleor_user="VXNlcjox", email="alice@example.com")


def state(offer: Offer) -> tuple[str, str]:
    offer.refresh_from_db()
    return offer.status, offer.reason


def said(message: Message) -> tuple[str, str]:
    message.refresh_from_db()
    return message.status, message.reason


def settle(now: datetime = LATER) -> int:
    """Let the sweeps run that beat wakes."""
    messaging.settle_interrupted(now=now)
    return offers.sweep(now=now)


def is_alive(shop: FakeSaleor, offer: Offer) -> bool:
    return shop.vouchers.codes.get(offer.code, False)


# -- made with the message (B65) ---------------------------------------------------------------------


def test_b65_nothing_is_in_saleor_before_the_decision_is_committed(
    shop: FakeSaleor, alice: Profile
) -> None:
    decision = decided(alice)
    assert shop.vouchers.codes == {}
    assert state(decision.offer) == (OfferStatus.RESERVED, "")
    assert send(decision) is False
    assert shop.vouchers.codes == {decision.offer.code: True}
    assert state(decision.offer) == (OfferStatus.MADE, "")
    assert said(decision.message) == (MessageStatus.SENT, "")
    (sent,) = mail.outbox
    assert decision.offer.code in sent.body
    (voucher,) = shop.vouchers.rows.values()
    assert (voucher["type"], voucher["discountValueType"], voucher["singleUse"]) == (
        "ENTIRE_ORDER",
        "PERCENTAGE",
        True,
    )
    assert [
        (row["channel"]["slug"], row["discountValue"]) for row in voucher["channelListings"]
    ] == [("channel-pln", 10.0), ("default-channel", 10.0)]
    # The whole seventh day, in the zone of the service.
    assert voucher["endDate"] == datetime(2026, 3, 9, 23, 59, 59, tzinfo=UTC).isoformat()


def test_b65_a_decision_that_is_rolled_back_leaves_nothing(
    shop: FakeSaleor, alice: Profile
) -> None:
    with transaction.atomic():
        assert offers.reserve(profile=alice, terms=TEN_PERCENT, key="one", now=NOW)
        transaction.set_rollback(True)
    assert Offer.objects.count() == 0
    with transaction.atomic():
        offer = offers.reserve(profile=alice, terms=TEN_PERCENT, key="one", now=NOW)
        assert isinstance(offer, Offer)
        offers.release(offer=offer)
    assert Offer.objects.count() == 0
    assert shop.vouchers.rows == {}


def test_b65_codes_of_the_same_terms_and_end_share_one_voucher(
    shop: FakeSaleor, installation: Installation, alice: Profile
) -> None:
    bob = make_profile(installation, email="bob@example.com")
    first, second = decided(alice, key="a"), decided(bob, key="b")
    tomorrow = decided(make_profile(installation, email="c@example.com"), key="c", now=NOW + DAY)
    for decision in (first, second, tomorrow):
        send(decision)
    assert sorted(len(row["_codes"]) for row in shop.vouchers.rows.values()) == [1, 2]
    assert OfferVoucher.objects.count() == 2
    assert len({row["name"] for row in shop.vouchers.rows.values()}) == 2
    assert len({each.offer.code for each in (first, second, tomorrow)}) == 3


def test_b65_a_failed_message_takes_its_code_along(
    shop: FakeSaleor, alice: Profile, settings: Any
) -> None:
    other = decided(alice, key="other")
    send(other)
    settings.SALEOR_PERSONALIZE = {**settings.SALEOR_PERSONALIZE, "CHANNELS": {"email": "no.such"}}
    decision = decided(alice)
    send(decision)
    assert said(decision.message) == (MessageStatus.FAILED, NotSentReason.CHANNEL_ERROR)
    assert state(decision.offer) == (OfferStatus.WITHDRAWN, OfferReason.MESSAGE_FAILED)
    assert decision.offer.gone_at == NOW
    assert shop.vouchers.codes == {other.offer.code: True}
    assert guard.given_since(profile=alice, since=NOW - DAY) == 1


def test_b65_a_second_try_draws_another_code(
    shop: FakeSaleor, alice: Profile, settings: Any
) -> None:
    good = settings.SALEOR_PERSONALIZE
    settings.SALEOR_PERSONALIZE = {**good, "CHANNELS": {"email": "no.such"}}
    first = decided(alice)
    assert send(first) is True
    settings.SALEOR_PERSONALIZE = good
    second = decided(alice, now=NOW + HOUR)
    assert second.message == first.message
    send(second, now=NOW + HOUR)
    assert shop.vouchers.codes == {second.offer.code: True}
    assert said(second.message) == (MessageStatus.SENT, "")


def test_b65_saleor_that_refuses_stops_the_message(
    shop: FakeSaleor, installation: Installation, alice: Profile
) -> None:
    decision = decided(alice)
    shop.apps["QXBwOjE="].permissions.remove("MANAGE_DISCOUNTS")
    assert send(decision) is False
    assert said(decision.message) == (MessageStatus.FAILED, NotSentReason.OFFER_NOT_MADE)
    assert mail.outbox == []
    assert state(decision.offer) == (OfferStatus.WITHDRAWN, OfferReason.MESSAGE_FAILED)
    # Whether it is there nobody can see: it is asked again until Saleor says.
    assert decision.offer.gone_at is None
    shop.apps["QXBwOjE="].permissions.append("MANAGE_DISCOUNTS")
    assert settle(NOW + 30 * DAY) == 1
    decision.offer.refresh_from_db()
    assert decision.offer.gone_at == NOW + 30 * DAY


def test_b65_a_withdrawal_is_repeated_ever_later_until_saleor_says_gone(
    shop: FakeSaleor, alice: Profile
) -> None:
    decision = decided(alice)
    send(decision)
    shop.apps["QXBwOjE="].is_active = False
    assert not offers.withdraw(offer=decision.offer, reason=OfferReason.STAFF, now=NOW)
    waits = []
    now = NOW
    for _ in range(12):
        decision.offer.refresh_from_db()
        assert decision.offer.due_at is not None
        waits.append(decision.offer.due_at - now)
        now = decision.offer.due_at
        assert offers.sweep(now=now - MINUTE / 60) == 0
        assert offers.sweep(now=now) == 1
    assert waits[:4] == [MINUTE, 2 * MINUTE, 4 * MINUTE, 8 * MINUTE]
    assert waits[-1] == 6 * HOUR
    assert is_alive(shop, decision.offer)
    shop.apps["QXBwOjE="].is_active = True
    decision.offer.refresh_from_db()
    assert decision.offer.due_at is not None
    assert offers.sweep(now=decision.offer.due_at) == 1
    assert shop.vouchers.codes == {}
    assert offers.sweep(now=now + 99 * DAY) == 0


# -- interrupted anywhere (C2) -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("when", "operation"),
    [
        ("before", "OfferVoucherByCode"),
        ("before", "OfferVoucherCreate"),
        ("after", "OfferVoucherCreate"),
        ("before", "OfferVoucherListings"),
        ("after", "OfferVoucherListings"),
    ],
)
def test_c2_a_worker_killed_while_it_makes_the_first_code_leaves_none(
    shop: FakeSaleor, alice: Profile, when: str, operation: str
) -> None:
    decision = decided(alice)
    with pytest.raises(Killed):
        send(decision, connect=dies(when, operation))
    assert settle(NOW + HOUR / 60) == 0, "its worker may still be at it"
    settle()
    assert said(decision.message) == (MessageStatus.UNCERTAIN, "")
    assert state(decision.offer) == (OfferStatus.WITHDRAWN, OfferReason.INTERRUPTED)
    assert decision.offer.gone_at == LATER
    assert shop.vouchers.rows == {}
    assert mail.outbox == []
    # Whoever was thought dead and wakes up sends nothing.
    send(decision, now=LATER)
    assert shop.vouchers.rows == {}
    assert mail.outbox == []


@pytest.mark.parametrize("when", ["before", "after"])
def test_c2_a_worker_killed_while_it_adds_a_code_leaves_those_of_others(
    shop: FakeSaleor, installation: Installation, alice: Profile, when: str
) -> None:
    bobs = decided(make_profile(installation, email="bob@example.com"), key="bob")
    send(bobs)
    decision = decided(alice)
    with pytest.raises(Killed):
        send(decision, connect=dies(when, "OfferVoucherAddCode"))
    settle()
    assert state(decision.offer) == (OfferStatus.WITHDRAWN, OfferReason.INTERRUPTED)
    assert shop.vouchers.codes == {bobs.offer.code: True}
    assert state(bobs.offer) == (OfferStatus.MADE, "")


def test_c2_a_worker_killed_between_making_and_handing_over_leaves_no_live_code(
    shop: FakeSaleor, alice: Profile
) -> None:
    decision = decided(alice)
    offers.make(offer=decision.offer, now=NOW)
    assert is_alive(shop, decision.offer)
    settle()
    assert state(decision.offer) == (OfferStatus.WITHDRAWN, OfferReason.INTERRUPTED)
    assert shop.vouchers.codes == {}
    assert (
        messaging.hand_over(message=decision.message, outgoing=decision.outgoing, now=LATER)
        is False
    )
    assert mail.outbox == []


def test_c2_a_worker_killed_in_the_hand_over_keeps_the_code_alive(
    shop: FakeSaleor, alice: Profile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The provider may have the message, so the code must work."""
    decision = decided(alice)

    def killed(*_: object, **__: object) -> None:
        raise Killed

    monkeypatch.setattr("django.core.mail.backends.locmem.EmailBackend.send_messages", killed)
    with pytest.raises(Killed):
        send(decision)
    settle()
    assert said(decision.message) == (MessageStatus.UNCERTAIN, "")
    assert state(decision.offer) == (OfferStatus.MADE, "")
    assert is_alive(shop, decision.offer)
    assert queries.usable(profile=alice, now=LATER) == [decision.offer]


def test_c2_a_worker_killed_before_the_withdrawal_of_a_failed_message(
    shop: FakeSaleor, alice: Profile, settings: Any
) -> None:
    settings.SALEOR_PERSONALIZE = {**settings.SALEOR_PERSONALIZE, "CHANNELS": {"email": "no.such"}}
    decision = decided(alice)
    with pytest.raises(Killed):
        send(decision, connect=dies("before", "OfferCodeDelete"))
    assert is_alive(shop, decision.offer)
    settle()
    assert state(decision.offer) == (OfferStatus.WITHDRAWN, OfferReason.MESSAGE_FAILED)
    assert shop.vouchers.codes == {}


@pytest.mark.parametrize("operation", ["OfferVoucherCreate", "OfferVoucherListings"])
def test_c2_making_again_after_an_interruption_makes_no_second_code_and_loses_none(
    shop: FakeSaleor, alice: Profile, operation: str
) -> None:
    decision = decided(alice)
    with pytest.raises(Killed):
        offers.make(offer=decision.offer, now=NOW, connect=dies("after", operation))
    offers.make(offer=decision.offer, now=NOW)
    assert shop.vouchers.codes == {decision.offer.code: True}
    (voucher,) = shop.vouchers.rows.values()
    assert len(voucher["channelListings"]) == 2
    assert OfferVoucher.objects.get().saleor_id == voucher["id"]


def test_c2_a_shop_that_answers_late_has_one_code(
    shop: FakeSaleor, installation: Installation, alice: Profile
) -> None:
    """A retry of the HTTP client meets the code that its first try made."""
    bobs = decided(make_profile(installation, email="bob@example.com"), key="bob")
    send(bobs)
    decision = decided(alice)
    (voucher,) = shop.vouchers.rows
    shop.vouchers.update(voucher, {"addCodes": [decision.offer.code]})
    send(decision)
    assert state(decision.offer) == (OfferStatus.MADE, "")
    assert shop.vouchers.codes == {bobs.offer.code: True, decision.offer.code: True}
    assert len(shop.vouchers.rows) == 1


@pytest.mark.parametrize("change", ["deleted", "changed"])
def test_b65_a_voucher_that_staff_deleted_or_changed_is_made_anew(
    shop: FakeSaleor, installation: Installation, alice: Profile, change: str
) -> None:
    bobs = decided(make_profile(installation, email="bob@example.com"), key="bob")
    send(bobs)
    (old,) = shop.vouchers.rows.values()
    if change == "deleted":
        shop.vouchers.delete(old["id"])
    else:
        old["channelListings"][0]["discountValue"] = 5.0
    decision = decided(alice)
    send(decision)
    holder = next(
        row
        for row in shop.vouchers.rows.values()
        if decision.offer.code in {code["code"] for code in row["_codes"]}
    )
    assert holder is not old
    assert {row["discountValue"] for row in holder["channelListings"]} == {10.0}
    assert is_alive(shop, decision.offer)


# -- races with an order -----------------------------------------------------------------------------


def test_b55_a_first_order_code_is_void_once_an_order_exists(
    shop: FakeSaleor, installation: Installation, alice: Profile
) -> None:
    decision = decided(alice, FIRST_ORDER)
    send(decision)
    order(installation, at=NOW + HOUR)
    assert state(decision.offer) == (OfferStatus.WITHDRAWN, OfferReason.ORDERED)
    assert is_alive(shop, decision.offer), "Saleor is asked by the sweep, not by the webhook"
    assert offers.sweep(now=NOW + HOUR) == 1
    assert shop.vouchers.codes == {}
    assert decide(alice, FIRST_ORDER, key="again") == NotSentReason.OFFER_NOT_FIRST


def test_b55_an_order_under_another_address_of_the_same_person_counts(
    shop: FakeSaleor, installation: Installation, alice: Profile
) -> None:
    other = make_profile(installation, email="alice@work.example")
    merging.prove(
        installation=installation,
        first=alice,
        second=other,
        proof=MergeProof.STAFF,
        evidence=[],
        now=NOW,
    )
    alice.refresh_from_db()
    decision = decided(alice, FIRST_ORDER)
    send(decision)
    order(installation, email="alice@work.example", at=NOW + HOUR)
    settle(NOW + HOUR)
    assert shop.vouchers.codes == {}
    assert state(decision.offer) == (OfferStatus.WITHDRAWN, OfferReason.ORDERED)


def test_b55_an_order_that_only_names_the_address_counts(
    shop: FakeSaleor, installation: Installation, alice: Profile
) -> None:
    """A guest typed the address of the account: whose order it is, is not proved."""
    decision = decided(alice, FIRST_ORDER)
    send(decision)
    row = order(installation, at=NOW + HOUR)
    Order.objects.filter(pk=row.pk).update(profile=make_profile(installation))
    row.refresh_from_db()
    Offer.objects.update(status=OfferStatus.MADE, reason="", withdrawn_at=None, due_at=None)
    offers.follow_order(order=row, now=NOW + HOUR)
    assert state(decision.offer) == (OfferStatus.WITHDRAWN, OfferReason.ORDERED)
    assert guard.orders_of(alice).exists()


def test_b55_a_person_who_turns_out_to_have_ordered_loses_the_code_within_hours(
    shop: FakeSaleor, installation: Installation, alice: Profile
) -> None:
    decision = decided(alice, FIRST_ORDER)
    send(decision)
    order(installation, email="alice@work.example", at=NOW - 90 * DAY)
    assert state(decision.offer) == (OfferStatus.MADE, "")
    other = Order.objects.get().profile
    assert other is not None
    merging.prove(
        installation=installation,
        first=alice,
        second=other,
        proof=MergeProof.LOGIN,
        evidence=[],
        now=NOW + HOUR,
    )
    offers.sweep(now=NOW + 6 * HOUR)
    assert state(decision.offer) == (OfferStatus.WITHDRAWN, OfferReason.ORDERED)
    assert shop.vouchers.codes == {}


def test_c2_an_order_between_the_decision_and_the_making_stops_both(
    shop: FakeSaleor, installation: Installation, alice: Profile
) -> None:
    decision = decided(alice, FIRST_ORDER)
    order(installation, at=NOW + MINUTE)
    assert send(decision, now=NOW + MINUTE) is False
    assert said(decision.message) == (MessageStatus.FAILED, NotSentReason.OFFER_NOT_FIRST)
    assert mail.outbox == []
    settle(NOW + MINUTE)
    assert shop.vouchers.codes == {}
    assert state(decision.offer) == (OfferStatus.WITHDRAWN, OfferReason.ORDERED)


def test_c2_a_code_that_a_slow_worker_put_in_after_its_withdrawal_goes_as_well(
    shop: FakeSaleor, installation: Installation, alice: Profile
) -> None:
    decision = decided(alice, FIRST_ORDER)
    order(installation, at=NOW + MINUTE)
    offers.sweep(now=NOW + MINUTE)
    assert shop.vouchers.codes == {}
    # It asked whether the offer is still wanted before the order came, and is killed after the making.
    Offer.objects.update(status=OfferStatus.RESERVED)
    with pytest.raises(Killed):
        offers.make(
            offer=decision.offer, now=NOW + MINUTE, connect=dies("after", "OfferVoucherCreate")
        )
    Offer.objects.update(status=OfferStatus.WITHDRAWN)
    assert is_alive(shop, decision.offer)
    settle()
    assert shop.vouchers.rows == {}
    decision.offer.refresh_from_db()
    assert decision.offer.gone_at == LATER


@pytest.mark.django_db(transaction=True)
def test_c2_an_order_while_saleor_makes_the_code_stops_the_message(
    shop: FakeSaleor, installation: Installation, alice: Profile
) -> None:
    decision = decided(alice, FIRST_ORDER)

    def bought(what: str) -> None:
        if what == "voucherCreate":
            try:
                order(installation, at=NOW + MINUTE)
            finally:
                connection.close()

    shop.vouchers.interrupt = bought
    send(decision, now=NOW + MINUTE)
    assert said(decision.message) == (MessageStatus.FAILED, NotSentReason.OFFER_NOT_FIRST)
    assert mail.outbox == []
    settle(NOW + HOUR)
    assert shop.vouchers.codes == {}
    assert state(decision.offer) == (OfferStatus.WITHDRAWN, OfferReason.ORDERED)


def test_b65_an_order_with_the_code_marks_it_used_and_another_does_not(
    shop: FakeSaleor, installation: Installation, alice: Profile
) -> None:
    decision = decided(alice, FIRST_ORDER)
    send(decision)
    order(installation, 1, email="stranger@example.com")
    assert state(decision.offer) == (OfferStatus.MADE, "")
    bought = order(installation, 2, at=NOW + DAY, voucher_code=decision.offer.code)
    assert state(decision.offer) == (OfferStatus.USED, "")
    assert (decision.offer.order, decision.offer.used_at) == (bought, NOW + DAY)
    assert offers.sweep(now=NOW + 99 * DAY) == 0
    assert queries.usable(profile=alice, now=NOW + DAY) == []


def test_b65_a_code_used_the_moment_it_was_withdrawn_was_used(
    shop: FakeSaleor, installation: Installation, alice: Profile
) -> None:
    decision = decided(alice)
    send(decision)
    offers.withdraw(offer=decision.offer, reason=OfferReason.STAFF, now=NOW)
    order(installation, voucher_code=decision.offer.code)
    assert state(decision.offer) == (OfferStatus.USED, "")


def test_b65_an_order_that_only_the_back_fill_brought_counts_at_the_next_look(
    shop: FakeSaleor, installation: Installation, alice: Profile
) -> None:
    decision = decided(alice)
    send(decision)
    Order.objects.create(
        installation=installation, saleor_id="late", seen_at=NOW, status="FULFILLED",
        channel_slug="default-channel", currency="USD", total=18, placed_at=NOW + DAY,
        voucher_code=decision.offer.code,
    )  # fmt: skip
    offers.sweep(now=NOW + 10 * DAY)
    assert state(decision.offer) == (OfferStatus.USED, "")


def test_b55_an_order_that_a_back_fill_brings_ends_a_first_order_code(
    shop: FakeSaleor, installation: Installation, alice: Profile
) -> None:
    decision = decided(alice, FIRST_ORDER)
    send(decision)
    variant = next(iter(shop.variants))
    cart = shop.create_checkout(
        channel="default-channel", lines=[(variant, 1)], email="alice@example.com"
    )
    shop.complete_checkout(cart["id"])
    backfill.request(installation=installation, now=NOW)
    run = backfill.claim_next(now=NOW)
    assert run is not None
    backfill.work(run)
    assert state(decision.offer) == (OfferStatus.WITHDRAWN, OfferReason.ORDERED)


def test_b65_an_offer_that_nobody_used_expires(shop: FakeSaleor, alice: Profile) -> None:
    decision = decided(alice)
    send(decision)
    end = datetime(2026, 3, 9, 23, 59, 59, tzinfo=UTC)
    assert settle() == 1
    assert offers.sweep(now=end) == 0
    assert queries.usable(profile=alice, now=end - MINUTE) == [decision.offer]
    assert offers.sweep(now=end + MINUTE) == 1
    assert state(decision.offer) == (OfferStatus.EXPIRED, "")


# -- the incentive guard (B66) -----------------------------------------------------------------------


def guarded(settings: Any, **limits: int | None) -> None:
    settings.SALEOR_PERSONALIZE = {**settings.SALEOR_PERSONALIZE, "INCENTIVE_GUARD": limits}


@pytest.mark.parametrize(
    ("changes", "refusal"),
    [
        ({}, NotSentReason.OFFER_FULL_PRICE),
        ({"undiscounted_total": None}, NotSentReason.OFFER_FULL_PRICE),
        ({"undiscounted_total": Decimal(25)}, None),
        ({"status": "CANCELED"}, None),
        ({"at": NOW - 29 * DAY}, NotSentReason.OFFER_FULL_PRICE),
        ({"at": NOW - 31 * DAY}, None),
        ({"email": "other@example.com"}, None),
        ({"email": "other@example.com", "user_id": "VXNlcjox"}, NotSentReason.OFFER_FULL_PRICE),
    ],
)
def test_b66_nobody_gets_an_offer_soon_after_paying_full_price(
    shop: FakeSaleor,
    installation: Installation,
    alice: Profile,
    changes: dict[str, Any],
    refusal: NotSentReason | None,
) -> None:
    order(installation, **{"at": NOW - DAY, **changes})
    found = decide(alice)
    assert (found if isinstance(found, NotSentReason) else None) == refusal
    assert Offer.objects.count() == (0 if refusal else 1)
    assert shop.vouchers.rows == {}


def test_b66_a_full_price_order_on_another_identity_counts(
    shop: FakeSaleor, installation: Installation, alice: Profile
) -> None:
    other = make_profile(installation, email="alice@work.example")
    order(installation, email="alice@work.example", at=NOW - DAY)
    assert not isinstance(decide(alice, key="one"), NotSentReason)
    merging.prove(
        installation=installation, first=alice, second=other, proof=MergeProof.STAFF,
        evidence=[], now=NOW,
    )  # fmt: skip
    alice.refresh_from_db()
    assert decide(alice, key="two") == NotSentReason.OFFER_FULL_PRICE


def test_b66_a_person_gets_so_many_a_rolling_year(
    shop: FakeSaleor, installation: Installation, alice: Profile, settings: Any
) -> None:
    guarded(settings, offers_per_year=2)
    send(decided(alice, key="1", now=NOW - 364 * DAY), now=NOW - 364 * DAY)
    send(decided(alice, key="2", now=NOW - 100 * DAY), now=NOW - 100 * DAY)
    assert decide(alice, key="3") == NotSentReason.OFFER_LIMIT
    assert not isinstance(decide(alice, key="3", now=NOW + 2 * DAY), NotSentReason)
    bob = make_profile(installation, email="bob@example.com")
    assert not isinstance(decide(bob, key="4"), NotSentReason)


def test_b66_the_limits_can_be_taken_away_and_set_to_never(
    installation: Installation, alice: Profile, settings: Any
) -> None:
    order(installation, at=NOW - DAY)
    guarded(settings, days_after_full_price=None)
    assert not isinstance(decide(alice, key="1"), NotSentReason)
    guarded(settings, days_after_full_price=None, offers_per_year=0)
    assert decide(alice, key="2") == NotSentReason.OFFER_LIMIT


def test_b66_without_permission_nothing_is_promised(
    shop: FakeSaleor, installation: Installation, alice: Profile, settings: Any
) -> None:
    Installation.objects.update(permissions=PERMISSIONS[:-1])
    alice.installation.refresh_from_db()
    assert decide(alice) == NotSentReason.OFFER_NOT_PERMITTED
    alice.installation.permissions = PERMISSIONS
    settings.SALEOR_PERSONALIZE = {**settings.SALEOR_PERSONALIZE, "OFFERS": False}
    assert decide(alice) == NotSentReason.OFFER_NOT_PERMITTED
    assert Offer.objects.count() == 0


# -- worth, limits and channels ----------------------------------------------------------------------


def test_b65_an_amount_counts_where_its_currency_is(shop: FakeSaleor, alice: Profile) -> None:
    terms = read(
        {"amount": {"USD": "5.50"}, "minimum_spend": {"USD": 40}, "expires": timedelta(days=1)}
    )
    assert decide(alice, terms, channel_slug="channel-pln") == NotSentReason.OFFER_NO_CHANNEL
    assert decide(alice, terms, channel_slug="no-such") == NotSentReason.OFFER_NO_CHANNEL
    decision = decided(alice, terms)
    send(decision)
    (voucher,) = shop.vouchers.rows.values()
    (listing,) = voucher["channelListings"]
    assert (listing["discountValue"], listing["minSpent"]["amount"]) == (5.5, 40.0)
    assert (voucher["discountValueType"], voucher["applyOncePerOrder"]) == ("FIXED", False)
    shown = showing.context(offer=decision.offer, language_code="DE")
    assert (shown["text"], shown["minimum"]) == ("5,50\xa0USD", "40,00\xa0USD")


def test_b65_a_category_brings_those_below_and_an_amount_counts_once(
    shop: FakeSaleor, installation: Installation, alice: Profile
) -> None:
    for id_, parent in (("tea", ""), ("green", "tea"), ("sencha", "green"), ("pots", "")):
        Category.objects.create(
            installation=installation, saleor_id=id_, parent_saleor_id=parent, name=id_, seen_at=NOW
        )
    terms = read({"amount": {"USD": 5}, "categories": ["tea"], "expires": timedelta(days=1)})
    send(decided(alice, terms))
    (voucher,) = shop.vouchers.rows.values()
    assert voucher["_limits"] == {
        "categories": ["green", "sencha", "tea"],
        "collections": [],
        "products": [],
    }
    assert (voucher["type"], voucher["applyOncePerOrder"]) == ("SPECIFIC_PRODUCT", True)


def test_b65_free_delivery_is_a_voucher_for_the_whole_delivery(
    shop: FakeSaleor, alice: Profile
) -> None:
    terms = read(
        {"free_shipping": True, "channels": ["channel-pln"], "expires": timedelta(hours=2)}
    )
    decision = decided(alice, terms, channel_slug="channel-pln")
    send(decision)
    (voucher,) = shop.vouchers.rows.values()
    assert (voucher["type"], voucher["discountValueType"]) == ("SHIPPING", "PERCENTAGE")
    assert [
        (row["channel"]["slug"], row["discountValue"]) for row in voucher["channelListings"]
    ] == [("channel-pln", 100.0)]
    # Two hours, and the rest of the hour.
    assert decision.offer.expires_at == datetime(2026, 3, 2, 14, 59, 59, tzinfo=UTC)


def test_b65_a_sales_channel_that_is_switched_off_takes_no_part(
    shop: FakeSaleor, installation: Installation, alice: Profile
) -> None:
    SalesChannel.objects.filter(slug="channel-pln").update(is_active=False)
    send(decided(alice))
    (voucher,) = shop.vouchers.rows.values()
    assert [row["channel"]["slug"] for row in voucher["channelListings"]] == ["default-channel"]


@pytest.mark.parametrize(
    ("language", "percent", "delivery", "expires"),
    [
        ("EN", "10%", "free delivery", "March 9, 2026"),
        ("DE", "10\xa0%", "kostenlose Lieferung", "9. März 2026"),
        ("FR", "10\xa0%", "la livraison gratuite", "9 mars 2026"),
        ("ES", "10\xa0%", "envío gratis", "9 de marzo de 2026"),
        ("PL", "10%", "darmowa dostawa", "9 marca 2026"),
    ],
)
def test_b65_an_offer_is_told_in_the_language_of_the_person(
    alice: Profile, language: str, percent: str, delivery: str, expires: str
) -> None:
    offer = decided(alice).offer
    shown = showing.context(
        offer=offer, language_code=language, cart_url="https://store.test/c?checkout=1#top"
    )
    assert (shown["text"], shown["expires"]) == (percent, expires)
    assert shown["url"] == f"https://store.test/c?checkout=1&promoCode={offer.code}#top"
    free = read({"free_shipping": True, "expires": timedelta(days=7)})
    other = decided(alice, free, key="free").offer
    assert showing.text(offer=other, language_code=language) == delivery


@override_settings(
    SALEOR_PERSONALIZE={"OFFER_URL": "https://store.test/{channel}?code={code}", "OFFERS": True}
)
def test_b65_push_data_and_links_carry_the_code(alice: Profile) -> None:
    offer = decided(alice).offer
    assert showing.push_data(offer=offer) == {
        "offer_code": offer.code,
        "offer_expires_at": "2026-03-09T23:59:59+00:00",
        "offer_url": f"https://store.test/default-channel?code={offer.code}",
    }
    assert offer.code not in str(showing.content(offer=offer))


# -- people who go, shops that go ---------------------------------------------------------------------


def test_c2_an_erased_person_leaves_no_live_code_behind_a_message_that_never_went(
    shop: FakeSaleor, installation: Installation, alice: Profile
) -> None:
    decision = decided(alice)
    with pytest.raises(Killed):
        send(decision, connect=dies("after", "OfferVoucherListings"))
    privacy.erase(profile=alice, requested_by=ErasureSource.STAFF, now=NOW + MINUTE)
    row = Offer.objects.get()
    assert (row.profile, row.message, row.enrollment, row.order) == (None, None, None, None)
    settle()
    assert shop.vouchers.codes == {}


def test_b65_an_erased_person_keeps_the_code_they_were_sent(
    shop: FakeSaleor, installation: Installation, alice: Profile
) -> None:
    decision = decided(alice)
    send(decision)
    privacy.erase(profile=alice, requested_by=ErasureSource.STAFF, now=NOW + MINUTE)
    settle()
    assert is_alive(shop, decision.offer)
    offers.sweep(now=NOW + 10 * DAY)
    assert state(decision.offer) == (OfferStatus.EXPIRED, "")


def test_b65_the_export_tells_what_was_offered(shop: FakeSaleor, alice: Profile) -> None:
    decision = decided(alice)
    send(decision)
    (told,) = privacy.export(profile=alice, now=NOW)["offers"]
    assert (told["code"], told["status"], told["kind"]) == (decision.offer.code, "made", "percent")


def test_b65_a_shop_that_uninstalled_the_app_is_not_asked(
    shop: FakeSaleor, installation: Installation, alice: Profile
) -> None:
    decision = decided(alice)
    Installation.objects.update(status=InstallationStatus.UNINSTALLED)
    assert settle(NOW + 99 * DAY) == 0
    assert state(decision.offer) == (OfferStatus.RESERVED, "")


# -- many at once --------------------------------------------------------------------------------------


def test_c2_two_workers_that_both_need_the_first_voucher_both_get_a_code(
    shop: FakeSaleor, installation: Installation, alice: Profile
) -> None:
    bobs = decided(make_profile(installation, email="bob@example.com"), key="bob")
    alices = decided(alice)

    @contextmanager
    def overtaken(where: Installation) -> Iterator[vouchers.Saleor]:
        with vouchers.connect(where) as saleor:
            yield Overtaken(saleor)

    class Overtaken:
        def __init__(self, saleor: vouchers.Saleor) -> None:
            self.saleor = saleor

        def execute(self, name: str, variables: Mapping[str, Any] | None = None) -> dict[str, Any]:
            if name == "OfferVoucherCreate":
                send(bobs)
            return self.saleor.execute(name, variables)

    send(alices, connect=overtaken)
    assert shop.vouchers.codes == {alices.offer.code: True, bobs.offer.code: True}
    assert len(shop.vouchers.rows) == 2
    third = decided(make_profile(installation, email="c@example.com"), key="c")
    send(third)
    assert len(shop.vouchers.rows) == 2
    assert is_alive(shop, third.offer)


def test_b65_a_code_is_found_among_hundreds(
    shop: FakeSaleor, installation: Installation, alice: Profile
) -> None:
    decision = decided(alice)
    send(decision)
    (voucher,) = shop.vouchers.rows
    shop.vouchers.update(voucher, {"addCodes": [f"OTHER-{number}" for number in range(250)]})
    assert offers.withdraw(offer=decision.offer, reason=OfferReason.STAFF, now=NOW)
    assert decision.offer.code not in shop.vouchers.codes
    assert len(shop.vouchers.codes) == 250


@pytest.mark.django_db(transaction=True)
def test_c2_sweeps_beside_each_other_take_each_offer_once(
    shop: FakeSaleor, installation: Installation, alice: Profile, settings: Any
) -> None:
    guarded(settings, offers_per_year=None)
    for number in range(6):
        offers.make(offer=decided(alice, key=f"journey:{number}").offer, now=NOW)
    messaging.settle_interrupted(now=LATER)
    taken = run_threads(*[lambda: offers.sweep(now=LATER)] * 3)
    assert sum(taken) == 6
    assert shop.vouchers.codes == {}
    assert Offer.objects.filter(status=OfferStatus.WITHDRAWN, gone_at=LATER).count() == 6
