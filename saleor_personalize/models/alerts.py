"""Who waits for a sold-out variant. Saleor has no such list."""

import uuid

from django.db import models

from saleor_personalize.models.installation import Scoped
from saleor_personalize.models.profiles import Profile


class StockAlert(Scoped):
    """One sign-up for one variant in one sales channel. It leads to one message at most, ever."""

    public_id = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    profile = models.ForeignKey(Profile, on_delete=models.CASCADE, related_name="stock_alerts")
    variant_saleor_id = models.CharField(max_length=100)
    product_saleor_id = models.CharField(max_length=100)
    channel_slug = models.CharField(max_length=255)
    # Hash of the address that was typed; empty for somebody signed in, who is written to where they are.
    email_hash = models.CharField(max_length=64, blank=True)
    language_code = models.CharField(max_length=35, blank=True)
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    # When there was permission to write: at once, or when the address was confirmed.
    confirmed_at = models.DateTimeField(null=True)
    # When its wave began; empty again if it ended without a message.
    called_at = models.DateTimeField(null=True)
    told_at = models.DateTimeField(null=True)
    cancelled_at = models.DateTimeField(null=True)

    class Meta:
        indexes = [
            # With all that is counted, so that a count over a shop reads nothing else.
            models.Index(
                fields=["installation", "variant_saleor_id", "channel_slug", "created_at"],
                include=["profile", "expires_at", "confirmed_at"],
                name="stock_alert_waiting",
                condition=models.Q(told_at=None, cancelled_at=None),
            ),
            models.Index(
                fields=["installation", "variant_saleor_id", "channel_slug", "told_at"],
                name="stock_alert_told",
                condition=models.Q(told_at__isnull=False),
            ),
        ]
