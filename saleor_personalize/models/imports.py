"""Purchases from outside Saleor, brought in by a file."""

from django.db import models

from saleor_personalize.enums import ImportStatus
from saleor_personalize.models.fields import EncryptedTextField
from saleor_personalize.models.installation import Scoped


class Import(Scoped):
    """One file and how far it has come. The file is deleted when the import is done."""

    status = models.CharField(max_length=10, choices=ImportStatus, default=ImportStatus.PENDING)
    is_dry_run = models.BooleanField(default=False)
    file_name = models.CharField(max_length=255)
    # Below the storage that the setting IMPORT_STORAGE names.
    path = models.CharField(max_length=500, blank=True)
    # our column -> column of the file
    mapping = models.JSONField(default=dict)
    row_count = models.PositiveIntegerField(default=0)
    # Rows handled so far: where a killed import goes on.
    position = models.PositiveIntegerField(default=0)
    recorded_count = models.PositiveIntegerField(default=0)
    unchanged_count = models.PositiveIntegerField(default=0)
    rejected_count = models.PositiveIntegerField(default=0)
    error = models.TextField(blank=True)
    created_at = models.DateTimeField()
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    lease_expires_at = models.DateTimeField(null=True)


class ImportReject(Scoped):
    """A row that was not taken, as it stood in the file, and why."""

    source = models.ForeignKey(Import, on_delete=models.CASCADE, related_name="rejects")
    row_number = models.PositiveIntegerField()
    code = models.CharField(max_length=40)
    reason = models.TextField()
    # JSON of the row; it may hold addresses.
    row = EncryptedTextField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["source", "row_number"], name="reject_once_per_row")
        ]
