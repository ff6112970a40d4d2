"""Trained models, per installation and sales channel, and the trainings that make them."""

from django.db import models

from saleor_personalize.enums import HeldBack, TrainingReason, TrainingStatus
from saleor_personalize.models.installation import Scoped


class Training(Scoped):
    """One run over the sales channels of a shop. At most one of a shop waits or runs."""

    status = models.CharField(max_length=10, choices=TrainingStatus, default=TrainingStatus.PENDING)
    reason = models.CharField(max_length=10, choices=TrainingReason)
    asked_at = models.DateTimeField()
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    # How often a process took it up; one that is killed leaves it to the next.
    attempts = models.PositiveSmallIntegerField(default=0)
    # Which process has it; another one's result no longer counts.
    worker = models.CharField(max_length=100, blank=True)
    lease_expires_at = models.DateTimeField(null=True)
    # Share that is done, 0 to 1, and what is under way: the sales channel and the step in it.
    progress = models.FloatField(default=0)
    channel_slug = models.CharField(max_length=255, blank=True)
    step = models.CharField(max_length=60, blank=True)
    published_count = models.PositiveIntegerField(default=0)
    held_back_count = models.PositiveIntegerField(default=0)
    error = models.TextField(blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["installation"],
                condition=models.Q(status__in=[TrainingStatus.PENDING, TrainingStatus.RUNNING]),
                name="one_open_training",
            )
        ]
        indexes = [models.Index(fields=["installation", "-id"], name="training_newest")]


class TrainedModel(Scoped):
    """One version of the engine of a sales channel. At most one of each channel is published.

    Rows outlive their files: they tell how quality went.
    """

    channel_slug = models.CharField(max_length=255)
    version = models.CharField(max_length=40)
    # Folder below MODEL_DIRECTORY; empty once its files are gone.
    path = models.CharField(max_length=500, blank=True)
    training = models.ForeignKey(Training, on_delete=models.SET_NULL, null=True, related_name="+")
    trained_at = models.DateTimeField()
    # How long that took.
    seconds = models.FloatField(default=0)
    interaction_count = models.PositiveIntegerField(default=0)
    product_count = models.PositiveIntegerField(default=0)
    # `Engine.report`
    metrics = models.JSONField(default=dict)
    is_published = models.BooleanField(default=False)
    published_at = models.DateTimeField(null=True)
    held_back = models.CharField(max_length=20, choices=HeldBack, blank=True)
    # Somebody rolled back from it: it is never gone back to by itself.
    rejected_at = models.DateTimeField(null=True)
    # Until then no newer version takes its place.
    kept_until = models.DateTimeField(null=True)
    # What the last server said that could not load it, and when it last said so.
    fault = models.TextField(blank=True)
    fault_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["installation", "channel_slug"],
                condition=models.Q(is_published=True),
                name="one_published_model",
            ),
            models.UniqueConstraint(
                fields=["installation", "channel_slug", "version"], name="model_version_once"
            ),
        ]
