"""That the service works for a shop: the trace that beat and a worker leave together."""

from django.db import models

from saleor_personalize.models.installation import Scoped


class Heartbeat(Scoped):
    """When beat last woke a worker, to the half minute: both ran then."""

    at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["installation"], name="heartbeat_once")]
