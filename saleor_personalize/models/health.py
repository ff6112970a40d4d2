"""That the service works for a shop: the trace that beat and a worker leave together."""

from django.db import models

from saleor_personalize.models.installation import Scoped


class Heartbeat(Scoped):
    """When beat last woke a worker, to the half minute: both ran then."""

    at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["installation"], name="heartbeat_once")]


class ShownProblem(Scoped):
    """A fault that staff are, or will be, told of where Saleor lists the problems of apps.

    `shown_at` is when Saleor was told; empty: it has not lasted long enough. `well_since`: it is gone since
    then, and has not been for long enough to be taken back.
    """

    key = models.CharField(max_length=100)
    since = models.DateTimeField()
    shown_at = models.DateTimeField(null=True)
    well_since = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["installation", "key"], name="shown_problem_once")
        ]
