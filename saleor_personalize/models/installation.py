"""One Saleor shop that installed the app: the key of all data."""

from typing import TypeVar

from django.db import models

from saleor_personalize.enums import FirstStepKey, InstallationStatus
from saleor_personalize.models.fields import EncryptedTextField

_M = TypeVar("_M", bound=models.Model, covariant=True)


class Installation(models.Model):
    saleor_api_url = models.URLField(max_length=500, unique=True)
    app_id = models.CharField(max_length=100)
    auth_token = EncryptedTextField()
    jwks = models.JSONField(default=dict)
    jwks_fetched_at = models.DateTimeField(null=True)
    saleor_version = models.CharField(max_length=40, blank=True)
    permissions = models.JSONField(default=list)
    status = models.CharField(
        max_length=20, choices=InstallationStatus, default=InstallationStatus.ACTIVE
    )
    status_changed_at = models.DateTimeField()
    installed_at = models.DateTimeField()
    updated_at = models.DateTimeField(auto_now=True)

    # What the shop owner sets on our Dashboard page; empty means the app-wide setting.
    sender = models.CharField(max_length=320, blank=True)
    checkout_url = models.CharField(max_length=500, blank=True)
    # ["https://store.example.com", ...]: who may send events from a browser.
    storefront_origins = models.JSONField(default=list)
    # Global ids of categories and collections that no message and no reason ever speaks of.
    sensitive_ids = models.JSONField(default=list)
    # Since when nothing at all is sent; empty: sends go on.
    sends_stopped_at = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return f"Installation {self.pk}"


class ScopedQuerySet(models.QuerySet[_M]):
    def of(self, installation: Installation | int) -> "ScopedQuerySet[_M]":
        """Keep the rows of one installation (or its key): every read of ours starts with this."""
        return self.filter(installation=installation)


ScopedManager = models.Manager.from_queryset(ScopedQuerySet)


class Scoped(models.Model):
    """A row that belongs to exactly one installation and goes with it."""

    installation = models.ForeignKey(Installation, on_delete=models.CASCADE, related_name="+")

    objects = ScopedManager()

    class Meta:
        abstract = True

    def __str__(self) -> str:
        return f"{type(self).__name__} {self.pk}"


class PendingToken(Scoped):
    """A token from a handshake that does not work yet: the app was installed inactive.

    It stays beside the installation's own token until Saleor accepts it (ADR 1).
    """

    token = EncryptedTextField()
    received_at = models.DateTimeField()


class ServerKey(Scoped):
    """What the shop's own server shows, so that it may name people. The secret itself is nowhere.

    A plain SHA-256 is enough: the secret is 256 random bits, so there is no word list to try, and a slow
    hash would only be paid for by every request.
    """

    name = models.CharField(max_length=100)
    #: Stands in the key in plain sight: finds the row, and tells people which key is meant.
    prefix = models.CharField(max_length=12, unique=True)
    secret_hash = models.CharField(max_length=64)
    created_at = models.DateTimeField()
    # Saleor's global id of the staff member; empty when made from a terminal.
    created_by = models.CharField(max_length=100, blank=True)
    # To the hour: the use of a key must not cost a write each time.
    last_used_at = models.DateTimeField(null=True)
    revoked_at = models.DateTimeField(null=True)


class FirstStep(Scoped):
    """A first step that somebody took and no other table tells of (`onboarding`)."""

    key = models.CharField(max_length=20, choices=FirstStepKey)
    done_at = models.DateTimeField()
    # The key of the journey that was chosen; how many things stand in the way of going live.
    detail = models.CharField(max_length=60, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["installation", "key"], name="first_step_once")
        ]
