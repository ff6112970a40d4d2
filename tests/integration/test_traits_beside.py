"""B11 through the doors, and with several workers at once."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal

import pytest
import time_machine
from django.db import connection, transaction

from saleor_personalize import tasks
from saleor_personalize.enums import IdentityKind, InstallationStatus
from saleor_personalize.events import offline
from saleor_personalize.events import operations as events
from saleor_personalize.models import (
    ChangedProfile,
    ComputedTraits,
    Identity,
    Installation,
    Order,
    Predictor,
    Profile,
    Yardstick,
)
from saleor_personalize.schedule import BEAT_SCHEDULE
from saleor_personalize.segments import operations as segments
from saleor_personalize.segments.rules import TotalSpent
from saleor_personalize.traits import operations
from tests.conftest import make_installation, make_profile
from tests.integration.reminders import order_data, run_threads

USER = "VXNlcjoy"
DAY = timedelta(days=1)


def of_user(installation: Installation) -> ComputedTraits:
    identity = Identity.objects.of(installation).get(kind="saleor_user", value=USER)
    return ComputedTraits.objects.get(profile_id=identity.profile.person_id)


def test_b11_orders_of_saleor_move_the_stage_in_one_look(
    installation: Installation, now: datetime
) -> None:
    order = order_data(user_id=USER, user_email="bob@example.com", at=now)

    def record(*orders: object) -> ComputedTraits:
        events.record_orders(installation=installation, data=list(orders), now=now)  # type: ignore[arg-type]
        segments.evaluate_changed(now=now)
        assert not ChangedProfile.objects.exists()
        return of_user(installation)

    row = record(order)
    assert (row.stage, row.order_count, row.spent["USD"]["total"]) == ("new", 1, "60.00")
    second = replace(order, id="order-2", number="2", total=Decimal("30.00"))
    row = record(second)
    assert (row.stage, row.spent["USD"]["average"]) == ("active", "45.00")
    later = now + timedelta(minutes=1)
    row = record(replace(second, status="CANCELED", updated_at=later))
    assert (row.stage, row.order_count, row.spent["USD"]["total"]) == ("new", 1, "60.00")
    row = record(replace(order, status="RETURNED", updated_at=later))
    assert (row.stage, row.order_count, row.spent) == ("new", 1, {})


def test_b11_a_segment_of_spenders_agrees_with_the_traits(
    installation: Installation, alice: Profile, now: datetime
) -> None:
    spent = segments.create_segment(
        installation=installation,
        key="spent",
        name="Spent",
        definition=TotalSpent(currency="USD", at_least=Decimal(50)),
        now=now,
    )
    events.record_orders(
        installation=installation,
        data=[order_data(user_id="VXNlcjox", user_email="alice@example.com", status="RETURNED")],
        now=now,
    )
    segments.evaluate_full(segment=spent, now=now)
    assert spent.memberships.count() == 0
    operations.compute(installation=installation, profiles=[alice], now=now)
    assert ComputedTraits.objects.get(profile=alice).spent == {}


def test_b9_b10_what_was_bought_in_the_store_counts_at_once(
    installation: Installation, alice: Profile, now: datetime
) -> None:
    purchase = offline.Purchase(
        number="S-1",
        placed_at=now - DAY,
        shown={IdentityKind.EMAIL: "alice@example.com"},
        currency="USD",
        channel_slug="us",
        total=Decimal("12.50"),
    )
    offline.record_purchases(installation=installation, purchases=[purchase], now=now)
    segments.evaluate_changed(now=now)
    row = ComputedTraits.objects.get(profile=alice)
    assert (row.order_count, row.last_ordered_at) == (1, now - DAY)
    assert row.spent == {"USD": {"count": 1, "total": "12.50", "average": "12.50"}}


def test_b11_beat_wakes_what_is_due_in_every_active_shop(
    installation: Installation, alice: Profile, now: datetime
) -> None:
    asleep = make_installation("asleep", status=InstallationStatus.INACTIVE, app_id="QXBwOjU=")
    make_profile(asleep, external_id="x")
    assert BEAT_SCHEDULE["traits: daily"]["task"] == tasks.traits.compute_traits.name
    assert BEAT_SCHEDULE["predictors: nightly"]["task"] == tasks.traits.train_predictors.name
    with time_machine.travel(now, tick=False):
        assert tasks.traits.compute_traits() == 1
        assert tasks.traits.compute_traits() == 0
        assert tasks.traits.train_predictors() == 0
    assert not Yardstick.objects.of(asleep).exists()
    assert {row.target for row in Predictor.objects.of(installation)} == {"churn", "next_order"}
    assert not Predictor.objects.of(asleep).exists()


def test_b11_traits_that_fail_hold_up_no_segment(
    installation: Installation,
    alice: Profile,
    now: datetime,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("saleor_personalize.traits.facts._COUNTS", "SELECT 1/0, 'secret'")
    events.record_orders(
        installation=installation,
        data=[order_data(user_id="VXNlcjox", user_email="alice@example.com")],
        now=now,
    )
    assert segments.evaluate_changed(now=now) > 0
    assert not ChangedProfile.objects.exists()
    assert "could not be worked out (DivisionByZero)" in caplog.text
    assert not ComputedTraits.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_b11_a_row_that_a_merge_holds_is_left_to_it(now: datetime) -> None:
    installation = make_installation()
    held, free = (make_profile(installation, external_id=name) for name in ("held", "free"))
    operations.compute(installation=installation, now=now)
    has_row, may_end = threading.Event(), threading.Event()

    def hold() -> None:
        with transaction.atomic():
            list(ComputedTraits.objects.filter(profile=held).select_for_update())
            has_row.set()
            assert may_end.wait(20)
        connection.close()

    other = threading.Thread(target=hold)
    other.start()
    try:
        assert has_row.wait(20)
        count = operations.compute(
            installation=installation, profiles=[held, free], now=now + timedelta(hours=1)
        )
    finally:
        may_end.set()
        other.join(20)
    assert count == 1
    assert ComputedTraits.objects.get(profile=held).computed_at == now
    assert ComputedTraits.objects.get(profile=free).computed_at == now + timedelta(hours=1)


@pytest.mark.django_db(transaction=True)
def test_b11_workers_beside_each_other_share_the_people(now: datetime) -> None:
    installation = make_installation()
    people = [make_profile(installation, external_id=f"p{n}") for n in range(40)]
    for number, profile in enumerate(people):
        Order.objects.create(
            installation=installation,
            profile=profile,
            saleor_id=f"o{number}",
            status="FULFILLED",
            channel_slug="us",
            currency="USD",
            total="5",
            placed_at=now - DAY,
        )

    def job() -> int:
        return operations.compute_due(installation=installation, now=now)

    assert sum(run_threads(job, job, job)) == 40
    assert set(ComputedTraits.objects.values_list("order_count", "stage")) == {(1, "new")}
    assert ComputedTraits.objects.count() == 40
    assert Yardstick.objects.get().buyer_count == 40
