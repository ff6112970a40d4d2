"""B12: next order and churn risk in the rows of people, or a state that says why not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from saleor_personalize.enums import PredictionState, PredictionTarget
from saleor_personalize.ml import returning
from saleor_personalize.models import ComputedTraits, Installation, Order, Predictor, Profile
from saleor_personalize.traits import operations, predictions
from saleor_personalize.traits.queries import predictors_of, traits_of

DAY = timedelta(days=1)
BOTH = (PredictionTarget.CHURN, PredictionTarget.NEXT_ORDER)


def states(profile: Profile) -> list[PredictionState]:
    installation = profile.installation
    return [
        predictions.state_of(installation=installation, traits=traits_of(profile), target=target)
        for target in BOTH
    ]


def order(profile: Profile, at: datetime, number: int) -> Order:
    return Order(
        installation=profile.installation,
        profile=profile,
        saleor_id=f"{profile.pk}-{number}",
        status="FULFILLED",
        channel_slug="us",
        currency="USD",
        total="10",
        placed_at=at,
    )


@pytest.fixture
def history(installation: Installation, now: datetime) -> list[Profile]:
    """Four hundred people of a year: some buy every few weeks, most once."""
    random = np.random.default_rng(11)
    people = Profile.objects.bulk_create(
        Profile(installation=installation, first_seen_at=now) for _ in range(400)
    )
    orders = []
    for number, profile in enumerate(people):
        day = float(random.uniform(20, 390))
        orders.append(order(profile, now - day * DAY, 0))
        while number < 180:
            day -= random.gamma(6.0, 6.0) + 1
            if day < 0:
                break
            orders.append(order(profile, now - day * DAY, len(orders)))
    Order.objects.bulk_create(orders)
    operations.compute(installation=installation, now=now)
    return people


def test_b12_without_enough_data_there_is_no_number_but_a_reason(
    installation: Installation, alice: Profile, now: datetime
) -> None:
    Order.objects.bulk_create([order(alice, now - 9 * DAY, 1), order(alice, now - DAY, 2)])
    operations.compute(installation=installation, now=now)
    assert states(alice) == [PredictionState.NOT_ENOUGH_DATA] * 2
    assert predictions.train(installation=installation, now=now) == 0
    operations.compute(installation=installation, now=now)
    row = traits_of(alice)
    assert row is not None
    assert (row.churn_risk, row.next_order_at) == (None, None)
    assert states(alice) == [PredictionState.NOT_ENOUGH_DATA] * 2
    kept = predictors_of(installation)[PredictionTarget.CHURN]
    assert (kept.is_published, kept.parameters, kept.trained_at) == (False, {}, now)
    assert kept.figures == {
        "reason": "history",
        "days": 9,
        "needed_days": 270,
        "horizon_days": 90,
    }


def test_b12_what_proved_itself_foretells_everybody_with_orders(
    installation: Installation, history: list[Profile], alice: Profile, now: datetime
) -> None:
    assert predictions.train(installation=installation, now=now) >= 1
    churn = predictors_of(installation)[PredictionTarget.CHURN]
    assert churn.is_published
    assert churn.figures["people"] >= returning.MIN_PEOPLE
    assert churn.figures["brier"] < churn.figures["base_brier"]
    operations.compute(installation=installation, now=now)
    rows = ComputedTraits.objects.filter(profile__in=history)
    assert rows.filter(churn_risk=None).count() == 0
    assert all(0 <= row.churn_risk <= 1 for row in rows if row.churn_risk is not None)
    often, once = history[0], history[399]
    Order.objects.filter(profile__in=[often, once]).update(placed_at=now - 20 * DAY)
    Order.objects.bulk_create(order(often, now - days * DAY, 900 + days) for days in (50, 80, 110))
    operations.compute(installation=installation, profiles=[often, once, alice], now=now)
    risk_often, risk_once = (traits_of(person) for person in (often, once))
    assert risk_often is not None
    assert risk_once is not None
    # By hand from the stored formula: four days, first 110 and last 20 days ago; one day, 20 days ago.
    expected = returning.churn_risk(
        churn.parameters,
        returning.History(np.array([4.0, 1.0]), np.array([110.0, 20.0]), np.array([20.0, 20.0])),
    )
    assert [risk_often.churn_risk, risk_once.churn_risk] == [round(float(r), 4) for r in expected]
    assert expected[0] < expected[1]
    assert states(alice) == [
        PredictionState.NO_ORDERS,
        state_without_orders(installation),
    ]


def state_without_orders(installation: Installation) -> PredictionState:
    is_published = predictors_of(installation)[PredictionTarget.NEXT_ORDER].is_published
    return PredictionState.NO_ORDERS if is_published else PredictionState.NOT_BETTER


def test_b12_a_date_needs_two_orders_and_somebody_who_is_not_lapsed(
    installation: Installation, alice: Profile, bob: Profile, carol: Profile, now: datetime
) -> None:
    Predictor.objects.create(
        installation=installation,
        target=PredictionTarget.NEXT_ORDER,
        is_published=True,
        trained_at=now,
        # Ten days for everybody.
        parameters={"weights": [0.0] * 7, "bias": float(np.log(10)), "gap": 30, "horizon": 60},
    )
    Order.objects.bulk_create(
        [
            order(alice, now - 9 * DAY, 1),
            order(alice, now - DAY, 2),
            order(bob, now - DAY, 1),
            order(carol, now - 500 * DAY, 1),
            order(carol, now - 400 * DAY, 2),
        ]
    )
    operations.compute(installation=installation, now=now)
    row = traits_of(alice)
    assert row is not None
    assert row.next_order_at == datetime(2026, 3, 12, tzinfo=UTC)
    found = [states(profile)[1] for profile in (alice, bob, carol)]
    assert found == [PredictionState.READY, PredictionState.NO_ORDERS, PredictionState.LAPSED]
    assert row.churn_risk is None


def test_b12_what_no_longer_proves_itself_is_withdrawn(
    installation: Installation, alice: Profile, now: datetime
) -> None:
    Predictor.objects.create(
        installation=installation,
        target=PredictionTarget.CHURN,
        is_published=True,
        trained_at=now,
        parameters={"weights": [0.0] * 7, "bias": 0.0, "gap": 30, "horizon": 60},
    )
    Order.objects.bulk_create([order(alice, now - DAY, 1)])
    operations.compute(installation=installation, now=now)
    row = traits_of(alice)
    assert row is not None
    assert row.churn_risk == 0.5
    predictions.train(installation=installation, now=now + DAY)
    operations.compute(installation=installation, now=now + DAY)
    row = traits_of(alice)
    assert row is not None
    assert row.churn_risk is None


def test_b12_a_shop_learns_from_its_own_people_alone(
    installation: Installation,
    other_installation: Installation,
    history: list[Profile],
    now: datetime,
) -> None:
    assert predictions.train(installation=other_installation, now=now) == 0
    figures = predictors_of(other_installation)[PredictionTarget.CHURN].figures
    assert (figures["reason"], figures["days"]) == ("history", 0)
