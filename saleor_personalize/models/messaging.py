"""One message to one person, sent or not, and why."""

import uuid

from django.db import models

from saleor_personalize.enums import DeliveryChannel, MessageStatus, NotSentReason, Purpose
from saleor_personalize.models.installation import Scoped
from saleor_personalize.models.journeys import Enrollment
from saleor_personalize.models.profiles import Profile


class Message(Scoped):
    """`idempotency_key` is unique: the same decision can never become two messages."""

    public_id = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    idempotency_key = models.CharField(max_length=300)
    profile = models.ForeignKey(Profile, on_delete=models.CASCADE, related_name="messages")
    enrollment = models.ForeignKey(
        Enrollment, on_delete=models.SET_NULL, null=True, related_name="messages"
    )
    template = models.CharField(max_length=100)
    purpose = models.CharField(max_length=20, choices=Purpose)
    delivery_channel = models.CharField(max_length=20, choices=DeliveryChannel)
    language_code = models.CharField(max_length=35, blank=True)
    status = models.CharField(max_length=14, choices=MessageStatus)
    reason = models.CharField(max_length=30, choices=NotSentReason, blank=True)
    # Product ids and prices shown; no personal data.
    content = models.JSONField(default=dict)
    decided_at = models.DateTimeField()
    handed_over_at = models.DateTimeField(null=True)
    # How often a hand-over was started.
    attempts = models.PositiveSmallIntegerField(default=0)
    provider_message_id = models.CharField(max_length=300, blank=True)
    error = models.TextField(blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["installation", "idempotency_key"], name="message_once")
        ]
        indexes = [
            models.Index(fields=["installation", "-decided_at"], name="message_newest"),
            models.Index(fields=["profile", "-decided_at"], name="message_of_profile"),
            models.Index(
                fields=["decided_at"],
                name="message_interrupted",
                condition=models.Q(status="handing_over"),
            ),
        ]
