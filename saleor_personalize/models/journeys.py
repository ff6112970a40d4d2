"""Automated sequences. Waiting is a row with `due_at`, never a queued broker message."""

from django.db import models

from saleor_personalize.enums import (
    DryRunStatus,
    EnrollmentStatus,
    JourneySource,
    NotSentReason,
)
from saleor_personalize.models.installation import Scoped
from saleor_personalize.models.profiles import Profile


class Journey(Scoped):
    """A journey as one installation runs it. Nothing is sent before `live_at`."""

    key = models.CharField(max_length=60)
    is_live = models.BooleanField(default=False)
    live_at = models.DateTimeField(null=True)
    # Instead of the definition's own.
    priority = models.PositiveSmallIntegerField(null=True)
    # What people who come in now follow; those inside keep theirs.
    published = models.ForeignKey(
        "JourneyVersion", on_delete=models.SET_NULL, null=True, related_name="+"
    )
    # Up to when it was looked for what time alone brings (`Trigger.due`).
    looked_at = models.DateTimeField(null=True)
    # Who was inside at this moment is to leave: a worker ends their stays. None: nobody is.
    let_go_at = models.DateTimeField(null=True)
    # When staff last sent one of its messages to themselves.
    tested_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["installation", "key"], name="journey_once")]


class JourneyVersion(Scoped):
    """What a journey does, as it was published. Never changed afterwards."""

    journey = models.ForeignKey(Journey, on_delete=models.CASCADE, related_name="versions")
    number = models.PositiveIntegerField()
    # As `journeys.definitions` writes it.
    definition = models.JSONField()
    source = models.CharField(max_length=10, choices=JourneySource)
    # Empty for a built-in one, which came with the software.
    created_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["journey", "number"], name="journey_version_once")
        ]


class Approval(Scoped):
    """Somebody asked that a version of a journey may go live, and somebody else decides (GO_LIVE_APPROVAL)."""

    journey = models.ForeignKey(Journey, on_delete=models.CASCADE, related_name="approvals")
    version = models.ForeignKey(JourneyVersion, on_delete=models.CASCADE, related_name="approvals")
    # Saleor's global ids of two staff members.
    asked_by = models.CharField(max_length=100, blank=True)
    asked_at = models.DateTimeField()
    decided_by = models.CharField(max_length=100, blank=True)
    decided_at = models.DateTimeField(null=True)
    # It was paused: with a yes, whoever is held inside goes on.
    goes_on = models.BooleanField(default=False)
    # Means something once it is decided.
    is_given = models.BooleanField(default=False)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["journey"],
                name="approval_asked_once_at_a_time",
                condition=models.Q(decided_at=None),
            )
        ]


class DryRun(Scoped):
    """The latest dry run of a journey: asked for on a page, made by a worker."""

    journey = models.OneToOneField(Journey, on_delete=models.CASCADE, related_name="dry_run")
    version = models.ForeignKey(JourneyVersion, on_delete=models.CASCADE, related_name="+")
    status = models.CharField(max_length=10, choices=DryRunStatus, default=DryRunStatus.PENDING)
    asked_at = models.DateTimeField()
    # A worker that was killed leaves it running: after a while another one begins again.
    started_at = models.DateTimeField(null=True)
    attempts = models.PositiveSmallIntegerField(default=0)
    finished_at = models.DateTimeField(null=True)
    # As `Forecast.to_json` writes it: numbers by day, nothing of single people.
    forecast = models.JSONField(default=dict)
    error = models.TextField(blank=True)

    class Meta:
        indexes = [
            models.Index(
                fields=["asked_at"],
                name="dry_run_open",
                condition=models.Q(status__in=["pending", "running"]),
            )
        ]


class Enrollment(Scoped):
    """One profile in one journey over one object (for a cart reminder: the checkout)."""

    journey = models.ForeignKey(Journey, on_delete=models.CASCADE, related_name="enrollments")
    version = models.ForeignKey(JourneyVersion, on_delete=models.CASCADE, related_name="+")
    profile = models.ForeignKey(Profile, on_delete=models.CASCADE, related_name="enrollments")
    subject_kind = models.CharField(max_length=20)
    subject_saleor_id = models.CharField(max_length=100, blank=True)
    # What may be entered once at a time (`Trigger.entry_key`), and the how manieth time this is.
    entry_key = models.CharField(max_length=150)
    entry = models.PositiveIntegerField(default=1)
    # When that happened which brought the person here.
    occurred_at = models.DateTimeField()
    # What the trigger keeps: ids and amounts, nothing personal.
    context = models.JSONField(default=dict)
    # Where the person is: [2, "then", 0]; and which way was taken at splits: {split id: branch}.
    path = models.JSONField(default=list)
    branches = models.JSONField(default=dict)
    # The condition that a `wait_for` waits for, and until when.
    waits_for = models.CharField(max_length=120, blank=True)
    waits_until = models.DateTimeField(null=True)
    # Why the next message was put off last.
    held_by = models.CharField(max_length=30, choices=NotSentReason, blank=True)
    # In whose queue they stand, or stood last, when a pace held them (`Pace.key`).
    queue = models.CharField(max_length=100, blank=True)
    status = models.CharField(
        max_length=10, choices=EnrollmentStatus, default=EnrollmentStatus.WAITING
    )
    # `due_at` moves with every claim and retry; `step_since` is when the step itself became due.
    due_at = models.DateTimeField()
    step_since = models.DateTimeField()
    exit_reason = models.CharField(max_length=30, choices=NotSentReason, blank=True)
    created_at = models.DateTimeField()
    finished_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["journey", "entry_key", "entry"], name="enrolled_once_per_entry"
            ),
            models.UniqueConstraint(
                fields=["journey", "entry_key"],
                condition=models.Q(status="waiting"),
                name="waiting_once_per_object",
            ),
        ]
        indexes = [
            models.Index(fields=["installation", "created_at"], name="enrollment_entered"),
            # Journey by journey: those held in a paused one are long due, and nobody looks at them.
            models.Index(
                fields=["journey", "due_at"],
                name="enrollment_due",
                condition=models.Q(status="waiting"),
            ),
            # The first place that gets free, over all journeys: asked with every look.
            models.Index(
                fields=["due_at"],
                name="enrollment_throttled",
                condition=models.Q(status="waiting", held_by="throttled"),
            ),
            models.Index(
                fields=["installation", "subject_saleor_id"],
                name="enrollment_of_subject",
                condition=models.Q(status="waiting"),
            ),
            # Of a variant there are many, of an order it is asked with every change: also those that ended.
            models.Index(
                fields=["installation", "subject_saleor_id", "profile"],
                name="enrollment_of_object",
                condition=models.Q(subject_kind__in=["variant", "order"]),
            ),
            # Few of all who wait, wait for something to happen; they are looked at every minute.
            models.Index(
                fields=["waits_for"],
                name="enrollment_awaits",
                condition=models.Q(status="waiting") & ~models.Q(waits_for=""),
            ),
        ]
