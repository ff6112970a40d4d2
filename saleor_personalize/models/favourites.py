"""What people keep for later. Saleor has no wish list."""

import uuid

from django.db import models

from saleor_personalize.models.installation import Scoped
from saleor_personalize.models.profiles import Profile


class Favourite(Scoped):
    """A product that a profile keeps. Removing keeps the row, so that a late "add" cannot return it."""

    profile = models.ForeignKey(Profile, on_delete=models.CASCADE, related_name="favourites")
    product_saleor_id = models.CharField(max_length=100)
    variant_saleor_id = models.CharField(max_length=100, blank=True)
    channel_slug = models.CharField(max_length=255, blank=True)
    added_at = models.DateTimeField()
    removed_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["installation", "profile", "product_saleor_id", "variant_saleor_id"],
                name="favourite_once",
            )
        ]
        indexes = [
            models.Index(fields=["installation", "product_saleor_id"], name="favourite_of_product"),
            models.Index(
                fields=["installation", "product_saleor_id", "profile"],
                name="favourite_kept",
                condition=models.Q(removed_at=None),
            ),
            models.Index(fields=["installation", "added_at"], name="favourite_added"),
        ]


class SharedFavourites(Scoped):
    """A link under which a person shows their favourites to others, until it is withdrawn."""

    profile = models.ForeignKey(Profile, on_delete=models.CASCADE, related_name="shared_favourites")
    token = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    created_at = models.DateTimeField()
    withdrawn_at = models.DateTimeField(null=True)
