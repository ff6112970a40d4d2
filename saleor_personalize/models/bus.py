"""The bus: what other apps are told, written beside the fact and delivered later."""

import uuid

from django.db import models

from saleor_personalize.enums import OutgoingStatus
from saleor_personalize.models.fields import EncryptedTextField
from saleor_personalize.models.installation import Scoped
from saleor_personalize.models.profiles import Profile


class OutgoingWebhook(Scoped):
    """An address of another app that is told when something happens."""

    #: By this name a journey's step calls it, and people speak of it.
    alias = models.CharField(max_length=60)
    # Encrypted: many addresses carry a secret in their path.
    url = EncryptedTextField()
    #: Values of BusEvent.
    events = models.JSONField(default=list)
    has_personal_data = models.BooleanField(default=False)
    secret = EncryptedTextField()
    #: Signs as well for a while after `rotated_at`.
    former_secret = EncryptedTextField(blank=True)
    rotated_at = models.DateTimeField(null=True)
    is_active = models.BooleanField(default=True)
    created_at = models.DateTimeField()
    # Saleor's global id of the staff member; empty when made from a terminal.
    created_by = models.CharField(max_length=100, blank=True)
    # Since when nothing arrived, how often in a row, and until when it is left alone.
    failing_since = models.DateTimeField(null=True)
    failures = models.PositiveIntegerField(default=0)
    rests_until = models.DateTimeField(null=True)
    #: When we switched it off, because nothing had arrived for long.
    disabled_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["installation", "alias"], name="outgoing_webhook_once")
        ]


class OutgoingDelivery(Scoped):
    """One event for one webhook: the outbox while it waits, the log afterwards. Ids only."""

    webhook = models.ForeignKey(
        OutgoingWebhook, on_delete=models.CASCADE, related_name="deliveries"
    )
    #: The same over all tries, replays and webhooks: by it receivers know what they had already.
    event_id = models.UUIDField(default=uuid.uuid4, editable=False)
    event = models.CharField(max_length=40)
    # Whom it is about; who they are is looked up when it is sent.
    profile = models.ForeignKey(
        Profile, on_delete=models.CASCADE, null=True, related_name="outgoing_deliveries"
    )
    data = models.JSONField(default=dict)
    occurred_at = models.DateTimeField()
    created_at = models.DateTimeField()
    status = models.CharField(max_length=10, choices=OutgoingStatus, default=OutgoingStatus.WAITING)
    due_at = models.DateTimeField()
    #: After this no further try is planned.
    expires_at = models.DateTimeField()
    attempts = models.PositiveSmallIntegerField(default=0)
    #: HTTP status of the last answer; None: there was none.
    answer_status = models.PositiveSmallIntegerField(null=True)
    error = models.TextField(blank=True)
    tried_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["webhook", "event_id"], name="outgoing_once")
        ]
        indexes = [
            models.Index(
                fields=["due_at"], name="outgoing_due", condition=models.Q(status="waiting")
            ),
            models.Index(fields=["webhook", "-created_at"], name="outgoing_newest"),
            models.Index(fields=["installation", "created_at"], name="outgoing_oldest"),
        ]
