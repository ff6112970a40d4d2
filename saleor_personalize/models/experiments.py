"""Experiments: what is compared, who is on which side, and what came of it."""

from django.db import models

from saleor_personalize.enums import ExperimentKind
from saleor_personalize.models.installation import Scoped
from saleor_personalize.models.profiles import Profile


class Experiment(Scoped):
    """A comparison of arms. It is written down when its first person comes upon it."""

    # "holdout:*", "holdout:abandoned_checkout", "placement:home"; those of journeys as their splits say.
    key = models.CharField(max_length=80)
    kind = models.CharField(max_length=10, choices=ExperimentKind)
    # Names; the first is what the others are measured against.
    arms = models.JSONField(default=list)
    began_at = models.DateTimeField()
    # The arm that everybody gets since `decided_at`; empty: it goes on.
    winner = models.CharField(max_length=60, blank=True)
    decided_at = models.DateTimeField(null=True)
    # Saleor's id of whoever of its staff decided.
    decided_by = models.CharField(max_length=100, blank=True)
    # As `experiments.results` writes it, and when.
    report = models.JSONField(default=dict)
    measured_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["installation", "key"], name="experiment_once")
        ]


class Participation(Scoped):
    """A person on one side of an experiment, since it first made a difference to them.

    It hangs on the profile that was met. Of a person with several the earliest one speaks.
    """

    experiment = models.ForeignKey(
        Experiment, on_delete=models.CASCADE, related_name="participations"
    )
    profile = models.ForeignKey(Profile, on_delete=models.CASCADE, related_name="participations")
    arm = models.CharField(max_length=60)
    since = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["experiment", "profile"], name="participation_once")
        ]
        indexes = [models.Index(fields=["experiment", "since"], name="participation_since")]
