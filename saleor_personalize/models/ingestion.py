"""How far a back-fill has come."""

from django.db import models

from saleor_personalize.enums import BackfillStatus
from saleor_personalize.models.installation import Scoped


class Backfill(Scoped):
    """One run over the shop's history. Stages follow one another; each keeps its cursor."""

    status = models.CharField(max_length=10, choices=BackfillStatus, default=BackfillStatus.PENDING)
    is_pause_requested = models.BooleanField(default=False)
    # A reconciliation asks for what changed since then only; None means everything.
    changed_since = models.DateTimeField(null=True)
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    # Held by the worker that pages; a killed worker's lease runs out.
    lease_expires_at = models.DateTimeField(null=True)
    error = models.TextField(blank=True)
    created_at = models.DateTimeField()


class BackfillStage(Scoped):
    backfill = models.ForeignKey(Backfill, on_delete=models.CASCADE, related_name="stages")
    name = models.CharField(max_length=40)
    position = models.PositiveSmallIntegerField()
    cursor = models.TextField(blank=True)
    is_done = models.BooleanField(default=False)
    row_count = models.PositiveIntegerField(default=0)
    changed_count = models.PositiveIntegerField(default=0)
    total_count = models.PositiveIntegerField(null=True)

    class Meta:
        ordering = ["position"]
        constraints = [
            models.UniqueConstraint(fields=["backfill", "name"], name="backfill_stage_once")
        ]
