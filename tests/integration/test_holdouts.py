"""B90: some people are left alone on purpose, so that it is known what messages bring."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core import mail
from django.db import connection
from django.test.utils import CaptureQueriesContext

from saleor_personalize.enums import MergeProof, NotSentReason
from saleor_personalize.exceptions import ChannelError, ExperimentRefused
from saleor_personalize.experiments import operations as experiments
from saleor_personalize.journeys import operations as journeys
from saleor_personalize.journeys.definitions import InvalidJourney
from saleor_personalize.journeys.forecast import forecast
from saleor_personalize.journeys.outside import Outside
from saleor_personalize.journeys.versions import definition_of
from saleor_personalize.messaging.channels.base import Channel, OutgoingMessage, SendResult
from saleor_personalize.models import (
    Enrollment,
    Experiment,
    Installation,
    Journey,
    Message,
    Offer,
    Pace,
    Participation,
    Profile,
)
from saleor_personalize.profiles import merging
from tests.conftest import NOW, make_consent, make_profile
from tests.integration.reminders import Saleor
from tests.integration.signal_trigger import MESSAGE, Signal, come_in, message, publish

HOUR = timedelta(hours=1)
HELD = ("not_sent", NotSentReason.HOLDOUT)
SENT = ("sent", "")
SALEOR = Saleor()


class Asked(Signal):
    """People ask for its messages."""

    key = "asked"
    is_asked_for = True


@pytest.fixture(autouse=True)
def shop(installation: Installation, settings: Any, tmp_path: Path) -> None:
    folder = tmp_path / "saleor_personalize" / "messages" / "plain"
    folder.mkdir(parents=True)
    for name in ("subject.txt", "body.txt", "body.html"):
        (folder / name).write_text('As you wished <a href="{{ preferences_url }}">or not</a>')
    settings.TEMPLATES = [{**settings.TEMPLATES[0], "DIRS": [str(tmp_path)]}]
    set_to(
        settings,
        TRIGGERS={
            "signal": "tests.integration.signal_trigger.Signal",
            "asked": "tests.integration.test_holdouts.Asked",
        },
        FREQUENCY_CAPS={"*": None},
    )
    Signal.over, Signal.entries = set(), []
    mail.outbox = []


def set_to(settings: Any, **changes: Any) -> None:
    settings.SALEOR_PERSONALIZE = {**settings.SALEOR_PERSONALIZE, **changes}


def people(installation: Installation, count: int) -> list[Profile]:
    found = []
    for number in range(count):
        profile = make_profile(installation, email=f"person-{number}@example.com")
        make_consent(profile, "granted")  # type: ignore[arg-type]
        found.append(profile)
    return found


def decisions() -> list[tuple[str, str]]:
    return list(Message.objects.order_by("pk").values_list("status", "reason"))


def arms() -> dict[str, dict[int, str]]:
    """Key of the experiment -> person -> arm."""
    found: dict[str, dict[int, str]] = {}
    for row in Participation.objects.select_related("experiment"):
        found.setdefault(row.experiment.key, {})[row.profile_id] = row.arm
    return found


def advance(hours: float = 0) -> None:
    journeys.advance_due(now=NOW + hours * HOUR, ask=SALEOR, limit=1000)


def test_b90_everybody_is_on_one_side_and_only_the_others_are_written_to(
    installation: Installation, settings: Any
) -> None:
    set_to(settings, HOLDOUT_PERCENT=20, JOURNEY_HOLDOUT_PERCENT=20)
    journey = publish(installation, MESSAGE)
    everybody = people(installation, 60)
    for profile in everybody:
        come_in(journey, profile)
    advance()
    found = arms()
    alone = {pk for pk, arm in found["holdout:*"].items() if arm == "held_out"}
    of_journey = {pk for pk, arm in found["holdout:test"].items() if arm == "held_out"}
    # Whoever is left alone by all journeys takes no part in what one of them brings.
    assert set(found["holdout:*"]) == {profile.pk for profile in everybody}
    assert set(found["holdout:test"]) == {profile.pk for profile in everybody} - alone
    assert 4 <= len(alone) <= 20
    assert 3 <= len(of_journey) <= 18
    for row in Message.objects.all():
        held_out = row.profile_id in alone | of_journey
        assert (row.status, row.reason) == (HELD if held_out else SENT)
    assert len(mail.outbox) == 60 - len(alone) - len(of_journey)
    assert {row.since for row in Participation.objects.all()} == {NOW}


def test_b90_who_is_left_alone_goes_on_through_the_journey_and_stays_alone(
    installation: Installation, alice: Profile, settings: Any
) -> None:
    wait = {"wait": {"for": "1 day"}}
    journey = publish(installation, message("first"), wait, message("second"), holdout=50)
    set_to(settings, JOURNEY_HOLDOUT_PERCENT=0)
    draw_as(alice, "held_out", "holdout:test")
    come_in(journey, alice)
    advance()
    row = Enrollment.objects.get()
    assert (row.status, row.path, row.due_at) == ("waiting", [2], NOW + 24 * HOUR)
    advance(24)
    assert decisions() == [HELD, HELD]
    assert Enrollment.objects.get().status == "done"
    assert mail.outbox == []
    assert Participation.objects.count() == 1


def draw_as(profile: Profile, arm: str, key: str) -> None:
    """Let chance have spoken already."""
    row = Experiment.objects.create(
        installation=profile.installation,
        key=key,
        kind="holdout",
        arms=["held_out", "written_to"],
        began_at=NOW,
    )
    Participation.objects.create(
        installation=profile.installation, experiment=row, profile=profile, arm=arm, since=NOW
    )


def test_b90_a_send_reads_its_hold_outs_at_once_and_writes_none_down_under_locks(
    installation: Installation, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All who are decided about beside would wait for an experiment that is made under locks."""
    monkeypatch.setattr(experiments, "draw", lambda _arms, **_: experiments.WRITTEN_TO)
    set_to(settings, HOLDOUT_PERCENT=50, JOURNEY_HOLDOUT_PERCENT=50)
    journey = publish(installation, MESSAGE)
    first, second = people(installation, 2)
    come_in(journey, first)
    with CaptureQueriesContext(connection) as asked:
        advance()
    made = ["experiment" in sql["sql"] and "INSERT" in sql["sql"] for sql in asked]
    locked = ["SELECT" in sql["sql"] and "FOR UPDATE" in sql["sql"] for sql in asked]
    rolled_back = ["ROLLBACK TO SAVEPOINT" in sql["sql"] for sql in asked]
    assert made.count(True) == 2 + 2
    assert any(locked)
    assert rolled_back.index(True) < made.index(True)
    come_in(journey, second)
    with CaptureQueriesContext(connection) as asked:
        advance()
    told = [sql["sql"] for sql in asked if "experiment" in sql["sql"]]
    assert [sql.split()[0] for sql in told] == ["SELECT", "INSERT", "INSERT"]
    assert Participation.objects.filter(profile=second).count() == 2


@pytest.mark.parametrize("state", ["denied", "granted"])
def test_b90_only_who_would_have_got_it_takes_part(
    installation: Installation, settings: Any, state: Any
) -> None:
    """No consent is no hold-out: both sides are people whom nothing else kept from the message."""
    set_to(settings, HOLDOUT_PERCENT=50)
    profile = make_profile(installation, email="eve@example.com")
    make_consent(profile, state)
    come_in(publish(installation, MESSAGE), profile)
    advance()
    assert Participation.objects.count() == (state == "granted")
    if state == "denied":
        assert decisions() == [("not_sent", "no_consent")]
        assert not Experiment.objects.exists()


def test_b90_who_waits_for_the_pace_takes_part_when_it_is_their_turn(
    installation: Installation, settings: Any
) -> None:
    set_to(settings, HOLDOUT_PERCENT=50, PACE={"email": (1, HOUR)})
    first, second = people(installation, 2)
    journey = publish(installation, MESSAGE)
    come_in(journey, first)
    come_in(journey, second)
    advance()
    assert Participation.objects.count() == 1
    assert Pace.objects.exists()
    advance(3)
    assert [row.since for row in Participation.objects.order_by("since")] == [NOW, NOW + 3 * HOUR]


@pytest.mark.parametrize(
    "changes", [{"trigger": "asked"}, {"topic": "orders"}], ids=["asked for", "an order needs it"]
)
def test_b90_nobody_is_held_out_of_what_they_asked_for_or_an_order_needs(
    installation: Installation, alice: Profile, settings: Any, changes: dict[str, str]
) -> None:
    draw_as(alice, "held_out", "holdout:*")
    set_to(settings, HOLDOUT_PERCENT=50, JOURNEY_HOLDOUT_PERCENT=50)
    come_in(publish(installation, message("told", template="plain"), goals=[], **changes), alice)
    advance()
    assert decisions() == [SENT]
    with pytest.raises(InvalidJourney, match="holdout: 10 nobody is held out of what"):
        publish(installation, MESSAGE, goals=[], key="other", holdout=10, **changes)


def test_b90_a_code_is_not_kept_for_who_is_left_alone(
    installation: Installation, alice: Profile, settings: Any
) -> None:
    installation.permissions = [*installation.permissions, "MANAGE_DISCOUNTS"]
    installation.save()
    draw_as(alice, "held_out", "holdout:*")
    set_to(settings, HOLDOUT_PERCENT=50)
    offer = {"offer": {"id": "gift", "percent": 10, "expires": "7 days"}}
    come_in(publish(installation, offer, MESSAGE), alice)
    advance()
    assert decisions() == [HELD]
    assert not Offer.objects.exists()
    assert Enrollment.objects.get().branches == {}


def test_b90_profiles_that_become_one_person_keep_the_earlier_side(
    installation: Installation, alice: Profile, settings: Any
) -> None:
    set_to(settings, HOLDOUT_PERCENT=50)
    draw_as(alice, "held_out", "holdout:*")
    other = make_profile(installation, email="alice.work@example.com")
    make_consent(other, "granted")  # type: ignore[arg-type]
    Participation.objects.create(
        installation=installation,
        experiment=Experiment.objects.get(),
        profile=other,
        arm="written_to",
        since=NOW + HOUR,
    )
    merge(installation, alice, other)
    come_in(publish(installation, MESSAGE), other)
    advance(2)
    assert decisions() == [HELD]
    assert mail.outbox == []


def merge(installation: Installation, first: Profile, second: Profile) -> None:
    merging.prove(
        installation=installation,
        first=first,
        second=second,
        proof=MergeProof.STAFF,
        evidence=[],
        now=NOW,
    )


def test_b90_a_dry_run_tells_how_many_are_left_alone_and_keeps_nothing(
    installation: Installation, alice: Profile, settings: Any
) -> None:
    draw_as(alice, "held_out", "holdout:*")
    set_to(settings, HOLDOUT_PERCENT=50, JOURNEY_HOLDOUT_PERCENT=50)
    bob = people(installation, 1)[0]
    journey = publish(installation, MESSAGE)
    for profile in (alice, bob):
        come_in(journey, profile, due=HOUR)
    row = Journey.objects.select_related("published").get()
    assert row.published is not None
    found = forecast(installation=installation, definition=definition_of(row.published), now=NOW)
    day = found.coming[0]
    assert sum(day.sent.values()) + day.not_sent["holdout"] == 2
    assert day.not_sent["holdout"] >= 1
    assert Participation.objects.count() == 1
    assert not Message.objects.exists()


def test_b90_a_message_that_a_provider_refuses_for_now_is_not_drawn_again(
    installation: Installation, alice: Profile, settings: Any
) -> None:
    """Another try is the same decision: the row speaks, whatever the shares are by then."""

    class Moody(Channel):
        is_down = True

        def send(self, message: OutgoingMessage) -> SendResult:
            if self.is_down:
                raise ChannelError("not now")
            return SendResult(provider_message_id="1")

    draw_as(alice, "written_to", "holdout:*")
    set_to(settings, HOLDOUT_PERCENT=50)
    moody = Moody()
    come_in(publish(installation, MESSAGE), alice)
    outside = Outside(ask=SALEOR, channel=moody)
    journeys.advance_due(now=NOW, outside=outside)
    moody.is_down = False
    journeys.advance_due(now=NOW + HOUR, outside=outside)
    assert decisions() == [SENT]
    assert Participation.objects.count() == 1


def test_b90_a_holdout_ends_with_everybody_being_written_to(
    installation: Installation, alice: Profile, settings: Any
) -> None:
    set_to(settings, HOLDOUT_PERCENT=50)
    draw_as(alice, "held_out", "holdout:*")
    experiment = Experiment.objects.get()
    for winner, code in (("held_out", "holds_out_all"), ("both", "unknown_arm")):
        with pytest.raises(ExperimentRefused) as refused:
            experiments.decide(experiment=experiment, winner=winner, decided_by="VXNlcjo5", now=NOW)
        assert refused.value.code == code
    experiments.decide(experiment=experiment, winner="written_to", decided_by="VXNlcjo5", now=NOW)
    come_in(publish(installation, MESSAGE), alice)
    advance()
    assert decisions() == [SENT]
    assert Participation.objects.count() == 1
    with pytest.raises(ExperimentRefused, match="is over already"):
        experiments.decide(
            experiment=experiment, winner="written_to", decided_by="VXNlcjo5", now=NOW
        )


def test_b88_an_experiment_of_a_journey_is_written_down_and_ends_with_its_winner(
    installation: Installation, settings: Any
) -> None:
    split = {
        "split": {
            "by": "experiment",
            "id": "words",
            "experiment": "subject_line",
            "branches": [
                {"name": "short", "steps": [message("short")]},
                {"name": "long", "steps": [message("long")]},
                {"name": "late", "steps": [{"wait": {"for": "1 day"}}, message("late")]},
            ],
        }
    }
    journey = publish(installation, split)
    everybody = people(installation, 12)
    for profile in everybody[:9]:
        come_in(journey, profile)
    advance()
    sides = arms()["subject_line"]
    assert set(sides) == {profile.pk for profile in everybody[:9]}
    assert {row.branches["words"] for row in Enrollment.objects.all()} == set(sides.values())
    experiment = Experiment.objects.get()
    assert (experiment.kind, experiment.arms) == ("journey", ["short", "long", "late"])
    experiments.decide(experiment=experiment, winner="long", decided_by="", now=NOW)
    for profile in everybody[9:]:
        come_in(journey, profile)
    advance(1)
    later = Enrollment.objects.filter(profile__in=everybody[9:])
    assert {row.branches["words"] for row in later} == {"long"}
    assert arms()["subject_line"] == sides
