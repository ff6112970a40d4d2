"""Devices that take push, and the account by which a shop sends it."""

import uuid

from django.db import models

from saleor_personalize.enums import DeviceGone, DevicePlatform
from saleor_personalize.models.fields import EncryptedTextField
from saleor_personalize.models.installation import Scoped
from saleor_personalize.models.profiles import Profile


class Device(Scoped):
    """An app or a browser that takes push, known by its token. It is one person's at a time.

    The token is what a message is sent to: encrypted, found by its keyed hash.
    """

    public_id = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    profile = models.ForeignKey(Profile, on_delete=models.CASCADE, related_name="devices")
    token = EncryptedTextField(blank=True)
    token_hash = models.CharField(max_length=64)
    # Registered by somebody signed in, or by the shop's server; else by whoever knew an anonymous id.
    is_proven = models.BooleanField(default=False)
    platform = models.CharField(max_length=10, choices=DevicePlatform)
    # Name of the app or the storefront, where a shop has several.
    app = models.CharField(max_length=100, blank=True)
    language_code = models.CharField(max_length=35, blank=True)
    # Since when it is this person's.
    registered_at = models.DateTimeField()
    last_seen_at = models.DateTimeField()
    gone_at = models.DateTimeField(null=True)
    gone_reason = models.CharField(max_length=20, choices=DeviceGone, blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["installation", "token_hash"], name="device_once")
        ]
        indexes = [
            models.Index(
                fields=["profile", "-last_seen_at"],
                name="device_living",
                condition=models.Q(gone_at=None),
            ),
            models.Index(fields=["installation", "last_seen_at"], name="device_last_seen"),
        ]


class PushAccount(Scoped):
    """The service account of a shop's own Firebase project."""

    # The JSON file as Google made it; it holds a private key.
    service_account = EncryptedTextField()
    project_id = models.CharField(max_length=100)
    client_email = models.CharField(max_length=320)
    saved_at = models.DateTimeField()
    # Saleor's global id of the staff member; empty when saved from a terminal.
    created_by = models.CharField(max_length=100, blank=True)
    # The last test, and what was wrong then; empty: nothing.
    tested_at = models.DateTimeField(null=True)
    fault = models.TextField(blank=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["installation"], name="push_account_once")]
