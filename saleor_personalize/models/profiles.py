"""Who a shopper is, what they allowed, and which addresses must not be used."""

import uuid

from django.db import models

from saleor_personalize.enums import (
    ConsentState,
    DeliveryChannel,
    IdentityKind,
    Purpose,
    SuppressionReason,
)
from saleor_personalize.models.fields import EncryptedTextField
from saleor_personalize.models.installation import Scoped


class Profile(Scoped):
    """One person."""

    public_id = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    first_name = EncryptedTextField(blank=True, default="")
    language_code = models.CharField(max_length=35, blank=True)
    country_code = models.CharField(max_length=2, blank=True)
    # Saleor's `updatedAt` of the customer that these come from.
    saleor_updated_at = models.DateTimeField(null=True)
    first_seen_at = models.DateTimeField()


class Identity(Scoped):
    """One id of a person. An e-mail is known by its keyed hash; the address itself is encrypted."""

    profile = models.ForeignKey(Profile, on_delete=models.CASCADE, related_name="identities")
    kind = models.CharField(max_length=20, choices=IdentityKind)
    value = models.CharField(max_length=255)
    address = EncryptedTextField(blank=True, default="")
    first_seen_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["installation", "kind", "value"], name="identity_once")
        ]


class Consent(Scoped):
    """One line of the ledger; the newest per (profile, purpose, delivery channel) counts."""

    profile = models.ForeignKey(Profile, on_delete=models.CASCADE, related_name="consents")
    purpose = models.CharField(max_length=20, choices=Purpose)
    delivery_channel = models.CharField(max_length=20, choices=DeliveryChannel)
    state = models.CharField(max_length=10, choices=ConsentState)
    # Where it was given ("checkout", "unsubscribe_link", "import", ...) and under which wording.
    source = models.CharField(max_length=60)
    wording_version = models.CharField(max_length=60, blank=True)
    language_code = models.CharField(max_length=35, blank=True)
    recorded_at = models.DateTimeField()

    class Meta:
        indexes = [
            models.Index(
                fields=["profile", "purpose", "delivery_channel", "-id"],
                name="consent_newest",
            )
        ]


class Suppression(Scoped):
    """An address (by its keyed hash) that must not be used on a delivery channel."""

    delivery_channel = models.CharField(max_length=20, choices=DeliveryChannel)
    address_hash = models.CharField(max_length=64)
    reason = models.CharField(max_length=20, choices=SuppressionReason)
    created_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["installation", "delivery_channel", "address_hash"],
                name="suppression_once",
            )
        ]
