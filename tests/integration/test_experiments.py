"""B88, B90, C13: what came of an experiment, and how sure it is."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
import time_machine

from saleor_personalize.enums import ArmVerdict, ExperimentKind, MergeProof
from saleor_personalize.experiments import operations as experiments
from saleor_personalize.experiments import results
from saleor_personalize.experiments.drawing import Arm, draw
from saleor_personalize.models import (
    Experiment,
    Installation,
    Order,
    Participation,
    Profile,
)
from saleor_personalize.profiles import merging
from saleor_personalize.tasks.experiments import measure_experiments
from tests.conftest import NOW, make_profile

DAY = timedelta(days=1)
TEST = experiments.Test(key="words", kind=ExperimentKind.JOURNEY, arms=(Arm("short"), Arm("long")))


def make_experiment(installation: Installation, key: str = "words", **changes: Any) -> Experiment:
    return Experiment.objects.create(
        **{
            "installation": installation,
            "key": key,
            "kind": ExperimentKind.JOURNEY,
            "arms": ["short", "long"],
            "began_at": NOW - 60 * DAY,
            **changes,
        }
    )


def take_part(experiment: Experiment, profile: Profile, arm: str, at: datetime) -> None:
    Participation.objects.create(
        installation=experiment.installation,
        experiment=experiment,
        profile=profile,
        arm=arm,
        since=at,
    )


def buy(profile: Profile, at: datetime, total: str = "50.00", **changes: Any) -> Order:
    return Order.objects.create(
        **{
            "installation": profile.installation,
            "saleor_id": f"order-{Order.objects.count()}",
            "profile": profile,
            "status": "FULFILLED",
            "channel_slug": "default-channel",
            "currency": "USD",
            "total": Decimal(total),
            "placed_at": at,
            "saleor_updated_at": at,
            "seen_at": at,
            **changes,
        }
    )


def figures(experiment: Experiment, currency: str = "USD") -> dict[str, tuple[int, int, int, str]]:
    """Arm -> people, buyers, orders, revenue."""
    experiment.refresh_from_db()
    report = results.report(experiment=experiment)
    assert report is not None
    return {
        row.arm: (row.people, row.buyers, row.orders, f"{row.revenue:.2f}")
        for row in report.currencies[currency]
    }


def test_b90_orders_count_within_the_window_and_only_what_was_not_given_back(
    installation: Installation, other_installation: Installation
) -> None:
    experiment = make_experiment(installation)
    people = [make_profile(installation, anonymous_id=f"person-{n}") for n in range(4)]
    begin = NOW - 40 * DAY
    for profile, arm in zip(people, ("short", "short", "long", "long"), strict=True):
        take_part(experiment, profile, arm, begin)
    ann, ben, cat, _dan = people
    buy(ann, begin - DAY)
    buy(ann, begin)
    buy(ann, begin + 29 * DAY, "20.00", total_refunded=Decimal("5.00"))
    buy(ann, begin + 30 * DAY)
    buy(ann, begin + DAY, "7.00", currency="EUR")
    buy(ben, begin + DAY, status="CANCELED")
    buy(ben, begin + DAY, deleted_at=NOW)
    buy(cat, begin + DAY, status="RETURNED")
    stranger = make_profile(other_installation, anonymous_id="person-0")
    buy(stranger, begin + DAY)
    assert results.report(experiment=experiment) is None
    results.measure(experiment=experiment, now=NOW)
    assert figures(experiment) == {"short": (2, 1, 2, "65.00"), "long": (2, 1, 1, "0.00")}
    assert figures(experiment, "EUR") == {"short": (2, 1, 1, "7.00"), "long": (2, 0, 0, "0.00")}
    report = results.report(experiment=experiment)
    assert report is not None
    short, long = report.currencies["USD"]
    assert (short.per_person, short.comparison) == (32.5, None)
    assert long.comparison is not None
    assert long.comparison.difference == -32.5
    assert long.comparison.verdict == ArmVerdict.TOO_FEW


def test_b90_what_comes_after_now_is_not_known_yet(
    installation: Installation, alice: Profile
) -> None:
    experiment = make_experiment(installation)
    take_part(experiment, alice, "short", NOW - DAY)
    buy(alice, NOW + DAY)
    results.measure(experiment=experiment, now=NOW)
    report = results.report(experiment=experiment)
    assert report is not None
    assert (report.people, report.currencies) == ({"short": 1, "long": 0}, {})


def test_b90_what_is_ordered_after_the_decision_tells_the_arms_apart_no_more(
    installation: Installation, alice: Profile
) -> None:
    experiment = make_experiment(installation, winner="long", decided_at=NOW - DAY)
    take_part(experiment, alice, "short", NOW - 2 * DAY)
    buy(alice, NOW - 1.5 * DAY, "20.00")
    buy(alice, NOW - 0.5 * DAY)
    results.measure(experiment=experiment, now=NOW)
    assert figures(experiment)["short"] == (1, 1, 1, "20.00")


def test_b88_profiles_that_are_one_person_count_once_on_the_earlier_side(
    installation: Installation,
) -> None:
    experiment = make_experiment(installation)
    first, second = (make_profile(installation, anonymous_id=f"browser-{n}") for n in range(2))
    take_part(experiment, second, "long", NOW - 10 * DAY)
    take_part(experiment, first, "short", NOW - 9 * DAY)
    buy(first, NOW - 9.5 * DAY)
    buy(second, NOW - 8 * DAY)
    results.measure(experiment=experiment, now=NOW)
    assert figures(experiment) == {"short": (1, 0, 0, "0.00"), "long": (1, 1, 1, "50.00")}
    merging.prove(
        installation=installation,
        first=first,
        second=second,
        proof=MergeProof.STAFF,
        evidence=[],
        now=NOW,
    )
    assert experiments.arm_of(test=TEST, installation=installation, profile=first) == "long"
    assert experiments.take_part(test=TEST, profile=first, now=NOW) == "long"
    results.measure(experiment=experiment, now=NOW)
    assert figures(experiment) == {"short": (0, 0, 0, "0.00"), "long": (1, 1, 2, "100.00")}


def test_b88_a_person_stays_on_their_side_whatever_the_weights_become(
    installation: Installation,
) -> None:
    people = [make_profile(installation, anonymous_id=f"person-{n}") for n in range(20)]
    sides = [experiments.take_part(test=TEST, profile=each, now=NOW) for each in people]
    assert set(sides) == {"short", "long"}
    other = experiments.Test(
        key="words", kind=ExperimentKind.JOURNEY, arms=(Arm("long"), Arm("short", 99), Arm("late"))
    )
    later = NOW + DAY
    assert [experiments.take_part(test=other, profile=each, now=later) for each in people] == sides
    assert set(Participation.objects.values_list("since", flat=True)) == {NOW}
    # Two versions of a journey may be followed at once: what one has not stays.
    assert Experiment.objects.get().arms == ["short", "long", "late"]
    experiments.take_part(test=TEST, profile=people[0], now=later)
    assert Experiment.objects.get().arms == ["short", "long", "late"]


def test_b88_nobody_takes_part_in_what_is_over_though_the_winner_is_gone_from_the_definition(
    installation: Installation, alice: Profile
) -> None:
    make_experiment(installation, arms=["short", "long", "none"], winner="none", decided_at=NOW)
    assert experiments.take_part(test=TEST, profile=alice, now=NOW) in TEST.names
    assert not Participation.objects.exists()


def test_b88_two_shops_have_each_their_own(
    installation: Installation, other_installation: Installation
) -> None:
    here, there = (
        make_profile(shop, anonymous_id="same") for shop in (installation, other_installation)
    )
    for profile in (here, there):
        experiments.take_part(test=TEST, profile=profile, now=NOW)
    mine = Experiment.objects.of(installation).get()
    experiments.decide(experiment=mine, winner="short", decided_by="VXNlcjo5", now=NOW)
    assert Experiment.objects.of(other_installation).get().winner == ""
    with time_machine.travel(NOW, tick=False):
        assert measure_experiments() == 2
    with time_machine.travel(NOW + 61 * DAY, tick=False):
        # Those who took part before its end have had their window.
        assert measure_experiments() == 1


@pytest.mark.django_db
def test_c13_the_interval_covers_a_known_uplift_in_95_of_100_shops(
    installation: Installation, settings: Any
) -> None:
    """A hold-out that says what messages bring: two of ten buy anyway, three of ten after a message."""
    people = Profile.objects.bulk_create(
        Profile(installation=installation, first_seen_at=NOW) for _ in range(400)
    )
    truth = 0.3 * 60.0 - 0.2 * 60.0
    right = found = 0
    for seed in range(100):
        random = np.random.default_rng(seed)
        test = experiments.holdout(percent=40, journey=f"journey_{seed}")
        row = make_experiment(installation, test.key, kind=ExperimentKind.HOLDOUT, arms=test.names)
        rows, orders = [], []
        for profile in people:
            arm = draw(test.arms, seed=f"experiment:{test.key}:{profile.pk}")
            since = NOW - random.uniform(31, 60) * DAY
            rows.append(
                Participation(
                    installation=installation, experiment=row, profile=profile, arm=arm, since=since
                )
            )
            if random.random() < (0.3 if arm == experiments.WRITTEN_TO else 0.2):
                total = random.gamma(2.0, 30.0)
                orders.append(placed(profile, f"{seed}-{profile.pk}", since + 5 * DAY, total))
        Participation.objects.bulk_create(rows)
        Order.objects.bulk_create(orders)
        results.measure(experiment=row, now=NOW)
        report = results.report(experiment=row)
        assert report is not None
        base, arm_ = report.currencies["USD"]
        assert base.arm == experiments.HELD_OUT
        assert arm_.comparison is not None
        low, high = arm_.comparison.low, arm_.comparison.high
        assert low is not None
        assert high is not None
        right += low <= truth <= high
        found += arm_.comparison.verdict == ArmVerdict.BETTER
        Order.objects.all().delete()
        row.delete()
    assert right >= 95
    # The interval is no empty promise: it does not contain everything.
    assert found < 100


def placed(profile: Profile, id_: str, at: datetime, total: float) -> Order:
    return Order(
        installation=profile.installation,
        saleor_id=id_,
        profile=profile,
        status="FULFILLED",
        channel_slug="default-channel",
        currency="USD",
        total=Decimal(total).quantize(Decimal("0.01")),
        placed_at=at,
        saleor_updated_at=at,
        seen_at=at,
    )


def test_c13_many_people_tell_what_a_message_brings(installation: Installation) -> None:
    """With 6,000 people the same uplift is seen, and the verdict says so."""
    people = Profile.objects.bulk_create(
        Profile(installation=installation, first_seen_at=NOW) for _ in range(6000)
    )
    random = np.random.default_rng(1)
    test = experiments.holdout(percent=40)
    row = make_experiment(installation, test.key, kind=ExperimentKind.HOLDOUT, arms=test.names)
    rows, orders = [], []
    for profile in people:
        arm = draw(test.arms, seed=f"experiment:{test.key}:{profile.pk}")
        rows.append(
            Participation(
                installation=installation, experiment=row, profile=profile, arm=arm, since=NOW - DAY
            )
        )
        if random.random() < (0.3 if arm == experiments.WRITTEN_TO else 0.2):
            orders.append(placed(profile, f"{profile.pk}", NOW - DAY / 2, random.gamma(2.0, 30.0)))
    Participation.objects.bulk_create(rows)
    Order.objects.bulk_create(orders)
    results.measure(experiment=row, now=NOW)
    report = results.report(experiment=row)
    assert report is not None
    comparison = report.currencies["USD"][1].comparison
    assert comparison is not None
    assert comparison.verdict == ArmVerdict.BETTER
    assert comparison.low is not None
    assert comparison.high is not None
    assert 0 < comparison.low < 6.0 < comparison.high < 12.0
