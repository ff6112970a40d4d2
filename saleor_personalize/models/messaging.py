"""One message to one person, sent or not, and why; and what became of it."""

import uuid

from django.contrib.postgres.indexes import BrinIndex
from django.db import models

from saleor_personalize.enums import (
    DeliveryChannel,
    MessageEventKind,
    MessageStatus,
    NotSentReason,
    Purpose,
)
from saleor_personalize.models.fields import EncryptedPageField, EncryptedTextField
from saleor_personalize.models.installation import Scoped
from saleor_personalize.models.journeys import Enrollment, Journey
from saleor_personalize.models.profiles import Profile


class Message(Scoped):
    """`idempotency_key` is unique: the same decision can never become two messages."""

    public_id = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    idempotency_key = models.CharField(max_length=300)
    profile = models.ForeignKey(Profile, on_delete=models.CASCADE, related_name="messages")
    enrollment = models.ForeignKey(
        Enrollment, on_delete=models.SET_NULL, null=True, related_name="messages"
    )
    # Of the enrollment, which is kept for a shorter time; empty: of no journey.
    journey = models.ForeignKey(
        Journey, on_delete=models.SET_NULL, null=True, related_name="messages", db_index=False
    )
    template = models.CharField(max_length=100)
    purpose = models.CharField(max_length=20, choices=Purpose)
    delivery_channel = models.CharField(max_length=20, choices=DeliveryChannel)
    language_code = models.CharField(max_length=35, blank=True)
    # Of the address that it went to: what a provider tells later is about this one.
    address_hash = models.CharField(max_length=64, blank=True)
    status = models.CharField(max_length=14, choices=MessageStatus)
    reason = models.CharField(max_length=30, choices=NotSentReason, blank=True)
    # Product ids and prices shown; no personal data.
    content = models.JSONField(default=dict)
    decided_at = models.DateTimeField()
    handed_over_at = models.DateTimeField(null=True)
    # What it takes to decide it anew, should its worker be killed before the hand-over: of a journey where the
    # person stood before it; empty: nobody does. Nothing personal.
    came_from = models.JSONField(default=dict)
    # How often a hand-over was started.
    attempts = models.PositiveSmallIntegerField(default=0)
    # Until then the provider wants to be left alone.
    retry_at = models.DateTimeField(null=True)
    provider_message_id = models.CharField(max_length=300, blank=True)
    error = models.TextField(blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["installation", "idempotency_key"], name="message_once")
        ]
        indexes = [
            # With the status, so that those of a month are counted without reading them.
            models.Index(
                fields=["installation", "-decided_at"], include=["status"], name="message_newest"
            ),
            models.Index(fields=["profile", "-decided_at"], name="message_of_profile"),
            models.Index(fields=["journey", "-decided_at"], name="message_of_journey"),
            # The page of messages looks for few among many.
            models.Index(
                fields=["installation", "reason", "-decided_at"],
                name="message_by_reason",
                condition=~models.Q(reason=""),
            ),
            models.Index(
                fields=["installation", "status", "-decided_at"],
                name="message_in_trouble",
                condition=models.Q(status__in=["failed", "uncertain"]),
            ),
            models.Index(
                fields=["decided_at"],
                name="message_interrupted",
                condition=models.Q(status="handing_over"),
            ),
            models.Index(
                fields=["installation", "provider_message_id"],
                name="message_at_provider",
                condition=~models.Q(provider_message_id=""),
            ),
            models.Index(
                fields=["installation", "address_hash", "-decided_at"],
                name="message_to_address",
                condition=~models.Q(address_hash=""),
            ),
        ]


class Rhythm(Scoped):
    """How much, and at what hours, the people of a shop react over a delivery channel. Learnt every week."""

    delivery_channel = models.CharField(max_length=20, choices=DeliveryChannel)
    learnt_at = models.DateTimeField()
    # Messages of the last months that people had a day to look at; those that they looked at.
    sent = models.PositiveIntegerField(default=0)
    seen = models.PositiveIntegerField(default=0)
    # Share of each hour of the week, Monday 0:00 first, by the clocks of the people; empty: too little is known.
    curve = models.JSONField(default=list)
    # Whether somebody's own hours foretold better than the curve; and how many reactions of theirs it outweighs.
    is_personal = models.BooleanField(default=False)
    strength = models.FloatField(default=0)
    # What was measured, on weeks that nothing was learnt from.
    figures = models.JSONField(default=dict)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["installation", "delivery_channel"], name="rhythm_once")
        ]


class MessageCopy(Scoped):
    """A mail as it went, for whoever looks at it in a browser, and staff. Encrypted, and gone after VIEW_IN_BROWSER."""

    message = models.OneToOneField(Message, on_delete=models.CASCADE, related_name="copy")
    subject = EncryptedTextField(blank=True, default="")
    html = EncryptedPageField()
    made_at = models.DateTimeField()

    class Meta:
        indexes = [models.Index(fields=["made_at"], name="message_copy_oldest")]


class MessageEvent(Scoped):
    """One thing that became of a message. Append-only; what the provider tells twice is kept once."""

    message = models.ForeignKey(Message, on_delete=models.CASCADE, related_name="events")
    kind = models.CharField(max_length=14, choices=MessageEventKind)
    # When it happened, by the provider's clock; and when we heard of it.
    at = models.DateTimeField()
    recorded_at = models.DateTimeField()
    # A scanner or a mail program opened or clicked, not the person.
    is_machine = models.BooleanField(default=False)
    provider_event_id = models.CharField(max_length=300, blank=True)
    # Of a click the link's name, of a bounce the provider's code; nothing personal.
    detail = models.CharField(max_length=200, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["installation", "provider_event_id"],
                name="message_event_once",
                condition=~models.Q(provider_event_id=""),
            )
        ]
        indexes = [
            models.Index(fields=["message", "kind"], name="message_event_kind"),
            models.Index(fields=["installation", "-at"], name="message_event_newest"),
            # What we heard since then. Rows lie in the order in which they came.
            BrinIndex(fields=["recorded_at"], name="message_event_heard", autosummarize=True),
        ]
