"""How fast messages leave, as far as it has to be remembered."""

from django.db import models

from saleor_personalize.models.installation import Installation, Scoped


class Pace(Scoped):
    """One limit: of a delivery channel ("email"), of one of its providers ("email/2"), of the recipients of a
    domain ("email:gmail"), or of a shop's day ("email/day").

    Without an installation it is that of an account that all shops share: nobody's data is in it (ADR 18).
    """

    installation = models.ForeignKey(  # type: ignore[assignment]
        Installation, null=True, on_delete=models.CASCADE, related_name="+"
    )
    key = models.CharField(max_length=80)
    # When the next message may leave, if they leave evenly.
    free_at = models.DateTimeField()
    # The last place in the queue of those who were turned away.
    queue_at = models.DateTimeField()
    # From then on it is nobody's, unless one of them comes before.
    queue_ends_at = models.DateTimeField()
    # How many went on that day, by the shop's clock.
    day = models.DateField()
    taken = models.PositiveIntegerField(default=0)
    # Until then the provider wants to be left alone.
    paused_until = models.DateTimeField(null=True)

    class Meta:
        indexes = [models.Index(fields=["key"], name="pace_key")]
        constraints = [
            models.UniqueConstraint(fields=["installation", "key"], name="pace_once"),
            models.UniqueConstraint(
                fields=["key"],
                condition=models.Q(installation__isnull=True),
                name="pace_once_for_all",
            ),
        ]
