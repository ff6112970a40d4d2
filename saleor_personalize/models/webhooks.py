"""Inbound webhook requests, stored before they are believed."""

from django.db import models

from saleor_personalize.enums import DeliveryStatus, Lane
from saleor_personalize.models.fields import EncryptedTextField
from saleor_personalize.models.installation import Scoped


class WebhookDelivery(Scoped):
    """One raw request. Unique by content: a retry of Saleor is byte-identical and lands here once."""

    event = models.CharField(max_length=80)
    body = models.BinaryField()
    body_hash = models.BinaryField(max_length=32)
    # Of what a provider of e-mail sent; Saleor's are JSON.
    content_type = models.CharField(max_length=200, blank=True, default="", db_default="")
    # What stood behind the ? of the address that a provider of text messages called.
    query = models.CharField(max_length=500, blank=True, default="", db_default="")
    received_at = models.DateTimeField()
    issued_at = models.DateTimeField(null=True)
    lane = models.PositiveSmallIntegerField(
        choices=Lane, default=Lane.URGENT, db_default=Lane.URGENT.value
    )
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
                fields=["lane", "id"],
                name="delivery_waiting",
                condition=models.Q(status="received"),
            ),
            models.Index(
                fields=["installation"],
                name="delivery_failed",
                condition=models.Q(status="failed"),
            ),
            models.Index(fields=["installation", "received_at"], name="delivery_of_shop"),
            models.Index(fields=["received_at"], name="delivery_recent"),
        ]


class ProviderWebhook(Scoped):
    """Where a shop's providers of e-mail tell what became of its messages: the secret is in the address.

    It can be read again, since whoever sets up a provider has to type it there.
    """

    secret = EncryptedTextField()
    secret_hash = models.CharField(max_length=64, unique=True)
    created_at = models.DateTimeField()
    # {"postmark": "2026-03-02T12:00:00+00:00"}: when each was heard last, to the hour.
    heard = models.JSONField(default=dict)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["installation"], name="provider_webhook_once")
        ]
