"""Automated sequences. Waiting is a row with `due_at`, never a queued broker message."""

from django.db import models

from saleor_personalize.enums import EnrollmentStatus, NotSentReason
from saleor_personalize.models.installation import Scoped
from saleor_personalize.models.profiles import Profile


class Journey(Scoped):
    """A journey as one installation runs it. Nothing is sent before `live_at`."""

    key = models.CharField(max_length=60)
    is_live = models.BooleanField(default=False)
    live_at = models.DateTimeField(null=True)
    delay = models.DurationField(null=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["installation", "key"], name="journey_once")]


class Enrollment(Scoped):
    """One profile in one journey over one object (for a cart reminder: the checkout)."""

    journey = models.ForeignKey(Journey, on_delete=models.CASCADE, related_name="enrollments")
    profile = models.ForeignKey(Profile, on_delete=models.CASCADE, related_name="enrollments")
    subject_saleor_id = models.CharField(max_length=100)
    status = models.CharField(
        max_length=10, choices=EnrollmentStatus, default=EnrollmentStatus.WAITING
    )
    due_at = models.DateTimeField()
    exit_reason = models.CharField(max_length=30, choices=NotSentReason, blank=True)
    created_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["journey", "subject_saleor_id"], name="enrolled_once_per_object"
            )
        ]
        indexes = [
            models.Index(
                fields=["due_at"], name="enrollment_due", condition=models.Q(status="waiting")
            )
        ]
