"""Inbound webhook requests, stored before they are believed."""

from django.db import models

from saleor_personalize.enums import DeliveryStatus
from saleor_personalize.models.installation import Scoped


class WebhookDelivery(Scoped):
    """One raw request. Unique by content: a retry of Saleor is byte-identical and lands here once."""

    event = models.CharField(max_length=80)
    body = models.BinaryField()
    body_hash = models.BinaryField(max_length=32)
    received_at = models.DateTimeField()
    issued_at = models.DateTimeField(null=True)
    status = models.CharField(
        max_length=12, choices=DeliveryStatus, default=DeliveryStatus.RECEIVED
    )
    attempts = models.PositiveSmallIntegerField(default=0)
    error = models.TextField(blank=True)
    # When it was last tried; while it waits for another try this is in the past.
    processed_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["installation", "event", "body_hash"], name="delivery_once"
            )
        ]
        indexes = [
            models.Index(
                fields=["id"], name="delivery_waiting", condition=models.Q(status="received")
            ),
            models.Index(
                fields=["installation"],
                name="delivery_failed",
                condition=models.Q(status="failed"),
            ),
            models.Index(fields=["installation", "received_at"], name="delivery_of_shop"),
            models.Index(fields=["received_at"], name="delivery_recent"),
        ]
