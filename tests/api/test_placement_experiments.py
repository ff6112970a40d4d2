"""B89: a placement tries other recommenders on some of the people, each of whom stays on their side."""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any

import pytest

from saleor_personalize.enums import ConsentState, Purpose
from saleor_personalize.events import attribution
from saleor_personalize.experiments import operations as experiments
from saleor_personalize.models import Experiment, Installation, Participation, Profile
from saleor_personalize.profiles import consent
from saleor_personalize.recommendations import placements, service
from tests.api.conftest import Ask
from tests.api.test_placements import happen, looked
from tests.catalogue import Phones
from tests.conftest import NOW

QUERY = """query($placement: String!, $first: Int = 3) {
  recommendations(placement: $placement, channel: "us", first: $first) {
    productId strategy arm attributionId } }"""
ARMS = [{"NAME": "usual"}, {"NAME": "fresh", "RECOMMENDERS": ["catalogue"], "FALLBACK": []}]
SPOT = {"RECOMMENDERS": ["best_sellers"], "FALLBACK": ["catalogue"], "ARMS": ARMS}


@pytest.fixture(autouse=True)
def _spot(settings: Any) -> None:
    settings.SALEOR_PERSONALIZE = {**settings.SALEOR_PERSONALIZE, "PLACEMENTS": {"spot": SPOT}}
    service.forget()


def visitor(number: int) -> str:
    return f"visitor-number-{number:04}"


def arms_of(answer: Any) -> set[str | None]:
    rows = answer.data["recommendations"]
    assert rows
    return {row["arm"] for row in rows}


def test_b89_each_visitor_stays_on_one_side_and_both_are_counted(
    gql: Ask, shop: Phones, installation: Installation, now: datetime
) -> None:
    sides: dict[str, set[str | None]] = {}
    for number in range(12):
        happen(installation, now, *looked(shop.phone), anonymous_id=visitor(number))
        answers = [
            gql(QUERY, {"placement": "spot"}, anonymous_id=visitor(number)) for _ in range(2)
        ]
        assert arms_of(answers[0]) == arms_of(answers[1])
        sides[visitor(number)] = arms_of(answers[0])
        if sides[visitor(number)] == {"fresh"}:
            assert {row["strategy"] for row in answers[0].data["recommendations"]} == {"catalogue"}
    assert sorted(map(str, {arm for arms in sides.values() for arm in arms})) == ["fresh", "usual"]
    experiment = Experiment.objects.get()
    assert (experiment.key, experiment.kind, experiment.arms) == (
        "placement:spot",
        "placement",
        ["usual", "fresh"],
    )
    rows = Participation.objects.select_related("profile")
    told = {row.profile.identities.get(kind="anonymous_id").value: {row.arm} for row in rows}
    assert told == sides
    read = attribution.read(
        installation=installation,
        attribution_id=gql(QUERY, {"placement": "spot"}, anonymous_id=visitor(0)).data[
            "recommendations"
        ][0]["attributionId"],
    )
    assert read is not None
    assert read.placement == "spot"


def test_b89_who_is_not_known_or_refused_gets_the_first_arm_and_is_not_counted(
    gql: Ask, shop: Phones, installation: Installation, now: datetime
) -> None:
    assert arms_of(gql(QUERY, {"placement": "spot"}, anonymous_id=visitor(99))) == {"usual"}
    for number in range(8):
        happen(installation, now, *looked(shop.phone), anonymous_id=visitor(number))
    for profile in Profile.objects.of(installation):
        consent.record(
            profile=profile,
            purpose=Purpose.PROFILING,
            delivery_channel="",  # type: ignore[arg-type]
            state=ConsentState.DENIED,
            source="test",
            now=now,
        )
    for number in range(8):
        answer = gql(QUERY, {"placement": "spot"}, anonymous_id=visitor(number))
        assert arms_of(answer) == {"usual"}
    assert not Participation.objects.exists()


def test_b89_looking_from_inside_counts_nobody(
    shop: Phones, installation: Installation, now: datetime
) -> None:
    happen(installation, now, *looked(shop.phone), anonymous_id=visitor(1))
    profile = Profile.objects.of(installation).get()
    found = service.recommend(
        installation=installation, placement="spot", channel_slug="us", profile=profile, now=now
    )
    assert found
    assert {each.arm for each in found} <= {"usual", "fresh"}
    assert not Experiment.objects.exists()


def test_b89_the_winner_answers_everybody(
    gql: Ask, shop: Phones, installation: Installation, now: datetime
) -> None:
    for number in range(8):
        happen(installation, now, *looked(shop.phone), anonymous_id=visitor(number))
        gql(QUERY, {"placement": "spot"}, anonymous_id=visitor(number))
    experiments.decide(
        experiment=Experiment.objects.get(), winner="fresh", decided_by="VXNlcjo5", now=NOW
    )
    happen(installation, now, *looked(shop.phone), anonymous_id=visitor(50))
    for number in (*range(8), 50, 99):
        answer = gql(QUERY, {"placement": "spot"}, anonymous_id=visitor(number))
        assert arms_of(answer) == {"fresh"}
    assert Participation.objects.count() == 8


def test_b89_a_server_sets_arms_and_is_told_what_is_wrong(
    gql: Ask, shop: Phones, installation: Installation
) -> None:
    save = """mutation($key: String!, $arms: JSONString) {
      placementSave(key: $key, recommenders: ["catalogue"], arms: $arms) {
        placement { key arms { name weight recommenders fallback } } faults { path message } } }"""
    token = {"token": installation.auth_token}
    arms = [{"NAME": "usual", "WEIGHT": 3}, {"NAME": "best", "RECOMMENDERS": ["best_sellers"]}]
    saved = gql(save, {"key": "mine", "arms": json.dumps(arms)}, **token).data["placementSave"]
    assert saved == {
        "placement": {
            "key": "mine",
            "arms": [
                {"name": "usual", "weight": 3, "recommenders": ["catalogue"], "fallback": []},
                {"name": "best", "weight": 1, "recommenders": ["best_sellers"], "fallback": []},
            ],
        },
        "faults": [],
    }
    assert arms_of(gql(QUERY, {"placement": "mine"})) == {"usual"}
    for wrong, message in (
        ([{"NAME": "one"}], "ARMS needs two arms or more."),
        ([{"NAME": "a"}, {"NAME": "a"}], "two arms have the same NAME."),
        ([{"NAME": "a"}, {"NAME": "B"}], "each arm needs a NAME"),
        ([{"NAME": "a"}, {"NAME": "b", "WEIGHT": 0}], "the WEIGHT of an arm must be"),
        ([{"NAME": "a"}, {"NAME": "b", "RECOMMENDERS": ["simlar"]}], "Did you mean 'similar'?"),
        ([{"NAME": "a"}, {"NAME": "b", "RECOMMENDERS": []}], "RECOMMENDERS of an arm is empty."),
        ([{"NAME": "a"}, {"NAME": "b", "SIZE": 1}], "'SIZE' of an arm is none of"),
        ({"NAME": "a"}, "ARMS is no list of dicts."),
    ):
        refused = gql(save, {"key": "mine", "arms": json.dumps(wrong)}, **token).data
        assert refused["placementSave"]["placement"] is None
        assert message in str(refused["placementSave"]["faults"]), wrong
    of_mail = gql(save, {"key": "email_more", "arms": json.dumps(arms)}, **token).data
    assert "a placement of messages has no ARMS" in str(of_mail)
    shop_now = placements.shop_of(installation)
    assert [arm.name for arm in shop_now.placement("mine").arms] == ["usual", "best"]
