"""The experiment of a placement: which recommenders answer whom."""

from __future__ import annotations

from datetime import datetime

from saleor_personalize.enums import ExperimentKind
from saleor_personalize.experiments import operations as experiments
from saleor_personalize.experiments.drawing import Arm
from saleor_personalize.experiments.operations import Test
from saleor_personalize.models import Installation, Profile
from saleor_personalize.recommendations.placements import Placement


def in_arm(
    placement: Placement, *, installation: Installation, profile: Profile | None
) -> Placement:
    """Return the placement as somebody gets it; nothing is written down.

    Whoever is not known, or does not want to be looked at, gets the first arm, or the winner.
    """
    if not placement.arms:
        return placement
    test = _test_of(placement)
    return placement.in_arm(
        experiments.arm_of(test=test, installation=installation, profile=profile)
    )


def take_part(placement: Placement, *, profile: Profile, now: datetime) -> None:
    """Write down that somebody is shown what the placement answers them."""
    experiments.take_part(test=_test_of(placement), profile=profile, now=now)


def _test_of(placement: Placement) -> Test:
    arms = tuple(Arm(arm.name, arm.weight) for arm in placement.arms)
    return Test(key=f"placement:{placement.key}", kind=ExperimentKind.PLACEMENT, arms=arms)
