"""Which way somebody goes at a split; asked again, the answer is the same."""

from __future__ import annotations

from datetime import datetime

from saleor_personalize.conf import settings
from saleor_personalize.enums import ExperimentKind
from saleor_personalize.experiments import operations as experiments
from saleor_personalize.experiments.drawing import Arm, draw
from saleor_personalize.experiments.operations import Test
from saleor_personalize.journeys.definitions import Split
from saleor_personalize.models import Enrollment
from saleor_personalize.segments import definition as segments


def way(step: Split, enrollment: Enrollment, now: datetime) -> str:
    """Return the name of the branch: by rule now; by chance per enrollment; by experiment per person.

    Raises NotBegun.
    """
    if step.by == "rule":
        rule = segments.from_json(step.rule)
        return "then" if segments.matches(rule, enrollment.profile, now) else "otherwise"
    arms = tuple(Arm(branch.name, branch.weight) for branch in step.branches)
    if step.by == "random":
        return draw(arms, seed=f"split:{step.id}:{enrollment.pk}")
    # In every journey of the experiment the same person is on the same side.
    test = Test(key=step.experiment, kind=ExperimentKind.JOURNEY, arms=arms)
    if settings.DRY_RUN:
        return experiments.arm_of(
            test=test, installation=enrollment.installation, profile=enrollment.profile
        )
    return next(experiments.arms_taken(tests=[test], profile=enrollment.profile, now=now))
