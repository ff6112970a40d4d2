"""How fast messages leave, as far as it has to be remembered."""

from django.db import models

from saleor_personalize.models.installation import Scoped


class Pace(Scoped):
    """One limit of a shop: of a delivery channel ("email"), of one of its providers ("email/2"), or of the
    recipients of a domain ("email:gmail")."""

    key = models.CharField(max_length=80)
    # When the next message may leave, if they leave evenly.
    free_at = models.DateTimeField()
    # The last place in the queue of those who were turned away.
    queue_at = models.DateTimeField()
    # How many went on that day, by the shop's clock.
    day = models.DateField()
    taken = models.PositiveIntegerField(default=0)
    # Until then the provider wants to be left alone.
    paused_until = models.DateTimeField(null=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["installation", "key"], name="pace_once")]
