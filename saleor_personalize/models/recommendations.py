"""Trained models, per installation and sales channel."""

from django.db import models

from saleor_personalize.models.installation import Scoped


class TrainedModel(Scoped):
    """One fitted recommender on disk. At most one per (channel, recommender) is published."""

    channel_slug = models.CharField(max_length=255)
    recommender = models.CharField(max_length=60)
    # Folder below MODEL_DIRECTORY.
    path = models.CharField(max_length=500)
    trained_at = models.DateTimeField()
    metrics = models.JSONField(default=dict)
    is_published = models.BooleanField(default=False)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["installation", "channel_slug", "recommender"],
                condition=models.Q(is_published=True),
                name="one_published_model",
            )
        ]
