"""On which side of an experiment somebody is, and ending one by naming the arm that everybody gets.

An arm is drawn by a hash of the person, so that all journeys, placements and workers draw the same. It is
written down (`Participation`) at the moment when it first makes a difference, on every side alike: people
who are compared came equally far. From then on the row speaks, whatever becomes of weights and profiles.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.db import transaction
from django.db.models import OuterRef, Subquery

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


class NotBegun(Exception):
    """Experiments that are not written down yet: `begin` them while no locks are held, and ask again."""

    def __init__(self, tests: Sequence[Test]) -> None:
        super().__init__(", ".join(test.key for test in tests))
        self.tests = tests


def begin(*, tests: Iterable[Test], installation: Installation, now: datetime) -> None:
    """Write experiments down, and the arms that their definitions have got since."""
    for test in tests:
        with transaction.atomic():
            row, is_new = (
                Experiment.objects.of(installation)
                .select_for_update()
                .get_or_create(
                    installation=installation,
                    key=test.key,
                    defaults={"kind": test.kind, "arms": test.names, "began_at": now},
                )
            )
            new = [name for name in test.names if name not in row.arms]
            if not is_new and new:
                # An arm that is gone from the definition stays: people inside may still follow it.
                row.arms = [*row.arms, *new]
                row.save(update_fields=["arms"])


def take_part(*, test: Test, profile: Profile, now: datetime) -> str:
    """Return the arm of a person for whom it makes a difference now; the first time it is written down.

    After the end of an experiment it is the winner for everybody, unless its definition has lost that arm,
    and nobody more takes part.
    """
    try:
        return next(arms_taken(tests=[test], profile=profile, now=now))
    except NotBegun as missing:
        begin(tests=missing.tests, installation=profile.installation, now=now)
        return next(arms_taken(tests=[test], profile=profile, now=now))


def arms_taken(*, tests: Sequence[Test], profile: Profile, now: datetime) -> Iterator[str]:
    """Yield the arm of a person in each experiment, as `take_part` returns it; all are read at once.

    A person takes part in those that are asked for. Raises NotBegun, for whoever holds locks must not
    hold up all others by writing an experiment down.
    """
    standing = _standing(tests, profile.installation_id, profile)
    missing = [test for test in tests if not standing[test.key].has(test)]
    if missing:
        raise NotBegun(missing)
    for test in tests:
        its = standing[test.key]
        if not (its.kept or its.winner):
            Participation.objects.bulk_create(
                [
                    Participation(
                        installation=profile.installation,
                        experiment_id=its.pk,
                        profile=profile,
                        arm=_drawn(test, profile),
                        since=now,
                    )
                ],
                ignore_conflicts=True,
            )
        yield its.arm(test, profile)


def arm_of(*, test: Test, installation: Installation, profile: Profile | None) -> str:
    """Return the arm that a person would get, and write nothing; of nobody we know it is the first one."""
    return _standing([test], installation.pk, profile)[test.key].arm(test, profile)


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


@dataclass(frozen=True)
class _Standing:
    """What is written down of an experiment, and of one person in it; of none it is all empty."""

    #: 0: it is not.
    pk: int = 0
    arms: Sequence[str] = ()
    winner: str = ""
    #: The arm that is kept of the person.
    kept: str = ""

    def has(self, test: Test) -> bool:
        """Tell whether all of the experiment is written down."""
        return bool(self.pk) and set(test.names) <= set(self.arms)

    def arm(self, test: Test, profile: Profile | None) -> str:
        """Return the arm of a person; of nobody we know it is the winner or the first one."""
        if self.winner in test.names:
            return self.winner
        if profile is None:
            return test.names[0]
        # Of an arm that is there no more people are drawn anew; what they were counted for stays.
        return self.kept if self.kept in test.names else _drawn(test, profile)


def _standing(
    tests: Iterable[Test], installation_id: int, profile: Profile | None
) -> Mapping[str, _Standing]:
    """Return how each experiment stands, by key."""
    members = profile.members() if profile is not None else ()
    kept = (
        Participation.objects.of(installation_id)
        .filter(experiment=OuterRef("pk"), profile__in=members)
        .order_by("since", "pk")
    )
    keys = [test.key for test in tests]
    rows = (
        Experiment.objects.of(installation_id)
        .filter(key__in=keys)
        .annotate(kept=Subquery(kept.values("arm")[:1]))
        .values_list("key", "pk", "arms", "winner", "kept")
    )
    found = {key: _Standing(pk, arms, winner, kept or "") for key, pk, arms, winner, kept in rows}
    return {key: found.get(key, _Standing()) for key in keys}


def _drawn(test: Test, profile: Profile) -> str:
    return draw(test.arms, seed=f"experiment:{test.key}:{profile.person_id}")
