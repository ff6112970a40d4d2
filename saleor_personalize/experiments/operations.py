"""On which side of an experiment somebody is, and ending one by naming the arm that everybody gets.

An arm is drawn by a hash of the person, so that all journeys, placements and workers draw the same. It is
written down (`Participation`) at the moment when it first makes a difference, on every side alike: people
who are compared came equally far. From then on the row speaks, whatever becomes of weights and profiles.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from saleor_personalize.enums import ExperimentKind
from saleor_personalize.exceptions import ExperimentRefused
from saleor_personalize.experiments.drawing import Arm, draw
from saleor_personalize.models import Experiment, Installation, Participation, Profile


@dataclass(frozen=True)
class Test:
    """An experiment as whoever runs it describes it; the first arm is what the others are measured against."""

    #: No part of pytest.
    __test__ = False

    key: str
    kind: ExperimentKind
    arms: tuple[Arm, ...]

    @property
    def names(self) -> list[str]:
        return [arm.name for arm in self.arms]


def take_part(*, test: Test, profile: Profile, now: datetime) -> str:
    """Return the arm of a person for whom it makes a difference now; the first time it is written down.

    After the end of an experiment it is the winner for everybody, unless its definition has lost that arm,
    and nobody more takes part.
    """
    row = _row_of(test, profile.installation, now)
    if row.winner in test.names:
        return row.winner
    arm, is_new = _arm(row, test, profile)
    if is_new and not row.winner:
        Participation.objects.bulk_create(
            [
                Participation(
                    installation=profile.installation,
                    experiment=row,
                    profile=profile,
                    arm=arm,
                    since=now,
                )
            ],
            ignore_conflicts=True,
        )
    return arm


def arm_of(*, test: Test, installation: Installation, profile: Profile | None) -> str:
    """Return the arm that a person would get, and write nothing; of nobody we know it is the first one."""
    row = Experiment.objects.of(installation).filter(key=test.key).first()
    if row is not None and row.winner in test.names:
        return row.winner
    if profile is None:
        return test.names[0]
    return _drawn(test, profile) if row is None else _arm(row, test, profile)[0]


def decide(*, experiment: Experiment, winner: str, decided_by: str, now: datetime) -> None:
    """End an experiment: everybody gets the arm `winner` from now on. `decided_by`: Saleor's id of staff.

    Raises ExperimentRefused for an arm that it has not, one that is over, and a hold-out that would hold out
    everybody: that is to pause journeys.
    """
    if winner not in experiment.arms:
        known = ", ".join(experiment.arms)
        raise ExperimentRefused(
            f"{experiment.key} has no arm {winner!r}; it has {known}.", code="unknown_arm"
        )
    if experiment.kind == ExperimentKind.HOLDOUT and winner == HELD_OUT:
        raise ExperimentRefused(
            f"{experiment.key} cannot end with nobody being written to: pause the journeys instead.",
            code="holds_out_all",
        )
    ended = Experiment.objects.of(experiment.installation_id).filter(pk=experiment.pk, winner="")
    if not ended.update(winner=winner, decided_at=now, decided_by=decided_by):
        raise ExperimentRefused(f"{experiment.key} is over already.", code="is_over")
    experiment.refresh_from_db()


#: The arms of every hold-out. Those who are left alone are what the others are measured against.
HELD_OUT, WRITTEN_TO = "held_out", "written_to"
#: Key of the hold-out of all journeys.
ALL_JOURNEYS = "holdout:*"


def holdout(*, percent: int, journey: str = "") -> Test:
    """Return the experiment that leaves `percent` of the people alone: of one journey, or of all."""
    return Test(
        key=f"holdout:{journey}" if journey else ALL_JOURNEYS,
        kind=ExperimentKind.HOLDOUT,
        arms=(Arm(HELD_OUT, percent), Arm(WRITTEN_TO, 100 - percent)),
    )


def _row_of(test: Test, installation: Installation, now: datetime) -> Experiment:
    row, _is_new = Experiment.objects.get_or_create(
        installation=installation,
        key=test.key,
        defaults={"kind": test.kind, "arms": test.names, "began_at": now},
    )
    new = [name for name in test.names if name not in row.arms]
    if new:
        # Its definition has changed since. An arm that is gone stays: people inside may still follow it.
        row.arms = [*row.arms, *new]
        row.save(update_fields=["arms"])
    return row


def _arm(row: Experiment, test: Test, profile: Profile) -> tuple[str, bool]:
    """Return the arm of a person, and whether it is not written down yet."""
    rows = Participation.objects.of(profile.installation_id).filter(
        experiment=row, profile__in=profile.members()
    )
    kept = rows.order_by("since", "pk").values_list("arm", flat=True).first()
    if kept in test.names:
        return str(kept), False
    # Of an arm that is there no more people are drawn anew; what they were counted for stays.
    return _drawn(test, profile), kept is None


def _drawn(test: Test, profile: Profile) -> str:
    return draw(test.arms, seed=f"experiment:{test.key}:{profile.person_id}")
