"""Purchases from outside Saleor, brought in by a file."""

from django.db import models

from saleor_personalize.enums import ImportStatus
from saleor_personalize.models.fields import EncryptedTextField
from saleor_personalize.models.installation import Scoped


class Import(Scoped):
    """One file and how far it has come. What was uploaded is deleted when the import is done."""

    status = models.CharField(max_length=10, choices=ImportStatus, default=ImportStatus.DRAFT)
    is_dry_run = models.BooleanField(default=False)
    file_name = models.CharField(max_length=255)
    # In the storage of the setting IMPORT_STORAGE, encrypted; empty for a file of the command line.
    path = models.CharField(max_length=500, blank=True)
    # sha256 of the file: running a killed import again goes on with the same one.
    digest = models.CharField(max_length=64)
    columns = models.JSONField(default=list)
    # our column -> column of the file
    mapping = models.JSONField(default=dict)
    # How the rest is read: see `ingestion.imports.options`.
    options = models.JSONField(default=dict)
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
    # Held by the process that reads; a killed one's lease runs out.
    lease_expires_at = models.DateTimeField(null=True)

    class Meta:
        indexes = [models.Index(fields=["installation", "-id"], name="import_newest")]


class ImportReject(Scoped):
    """A row that was not taken, as it stood in the file, and why."""

    source = models.ForeignKey(Import, on_delete=models.CASCADE, related_name="rejects")
    row_number = models.PositiveIntegerField()
    code = models.CharField(max_length=40)
    # Both may hold addresses: a reason quotes what could not be read. `row` is a JSON list in the order
    # of `Import.columns`.
    reason = EncryptedTextField()
    row = EncryptedTextField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["source", "row_number"], name="reject_once_per_row")
        ]
