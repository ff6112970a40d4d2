"""That people were erased: the proof for whoever asks, and what keeps them from coming back."""

import uuid

from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import GinIndex
from django.db import models

from saleor_personalize.enums import ErasureSource
from saleor_personalize.models.installation import Scoped


class Erasure(Scoped):
    """One person who was erased. It holds nothing about them but keyed hashes of their ids (ADR 10)."""

    public_id = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    requested_by = models.CharField(max_length=20, choices=ErasureSource)
    # `profiles.tombstones.fingerprint` of every id that the person had.
    fingerprints = ArrayField(models.CharField(max_length=64))
    # What the person did up to here must not be recorded again.
    facts_until = models.DateTimeField()
    erased_at = models.DateTimeField()
    # {"Event": 12, "Order": 3}: rows that were deleted, or freed of the person.
    counts = models.JSONField(default=dict)
    # When raw deliveries, refused rows and uploads were searched; empty: they wait for it.
    swept_at = models.DateTimeField(null=True)

    class Meta:
        indexes = [
            GinIndex(fields=["fingerprints"], name="erasure_fingerprints"),
            models.Index(fields=["installation", "-erased_at"], name="erasure_newest"),
        ]


class KeptData(Scoped):
    """How much of one kind of data a shop has, as it was last counted: counting it takes longer than a page may."""

    # A key of `profiles.retention.KINDS`.
    kind = models.CharField(max_length=40)
    # Empty: more than is counted, or it took too long.
    count = models.PositiveIntegerField(null=True)
    oldest = models.DateTimeField(null=True)
    is_late = models.BooleanField(default=False)
    counted_at = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["installation", "kind"], name="kept_data_once")
        ]
