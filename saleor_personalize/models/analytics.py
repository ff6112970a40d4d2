"""What came of what we did: which touch an order followed, and the figures of each day."""

from django.db import models

from saleor_personalize.enums import DeliveryChannel, Touch, TouchKind
from saleor_personalize.models.events import Order
from saleor_personalize.models.installation import Scoped
from saleor_personalize.models.journeys import Journey
from saleor_personalize.models.messaging import Message


class AttributedOrder(Scoped):
    """The one touch that an order followed: of all messages and recommendations the last.

    An order without a row followed none. Whether it was carried out and what was paid back stands with
    the order: that is subtracted by whoever reads.
    """

    order = models.OneToOneField(Order, on_delete=models.CASCADE, related_name="attribution")
    kind = models.CharField(max_length=14, choices=TouchKind)
    touch = models.CharField(max_length=5, choices=Touch)
    touched_at = models.DateTimeField()
    # Of a message; it and its journey may be gone by now.
    message = models.ForeignKey(Message, on_delete=models.SET_NULL, null=True, related_name="+")
    journey = models.ForeignKey(Journey, on_delete=models.SET_NULL, null=True, related_name="+")
    template = models.CharField(max_length=100, blank=True)
    delivery_channel = models.CharField(max_length=20, choices=DeliveryChannel, blank=True)
    # Of a recommendation: where it stood, who recommended, and in which answer.
    placement = models.CharField(max_length=255, blank=True)
    strategy = models.CharField(max_length=255, blank=True)
    answer = models.CharField(max_length=32, blank=True)


class DailyFigures(Scoped):
    """What happened on one day in one sales channel: counts and sums, nothing of anybody.

    The row without a channel is of the shop as a whole, and tells when the day was counted.
    """

    # By the clock of TIME_ZONE.
    day = models.DateField()
    channel_slug = models.CharField(max_length=255, blank=True)
    currency = models.CharField(max_length=3, blank=True)
    # As `analytics.figures` describes it; amounts are decimal strings.
    figures = models.JSONField(default=dict)
    counted_at = models.DateTimeField()
    # When something of that day changed afterwards, such as an order that was paid back.
    reopened_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["installation", "day", "channel_slug", "currency"], name="figures_of_day"
            )
        ]
