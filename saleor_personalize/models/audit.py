"""What staff, servers of the shop and whoever runs the service did here."""

from django.db import models

from saleor_personalize.enums import AuditAction
from saleor_personalize.models.fields import EncryptedTextField
from saleor_personalize.models.installation import Scoped


class AuditEntry(Scoped):
    """One thing that somebody did, and to what. Only ever added; `RETENTION["audit"]` ends it."""

    at = models.DateTimeField()
    action = models.CharField(max_length=40, choices=AuditAction)
    # `audit.operations.Actor`: who it was, and the address or the name as it was then.
    actor_id = models.CharField(max_length=100, blank=True)
    actor_name = EncryptedTextField(blank=True)
    # What it was done to: the name of its table, its id and its name as it was then; a person has no name here.
    object_kind = models.CharField(max_length=40, blank=True)
    object_id = models.CharField(max_length=100, blank=True)
    object_name = models.CharField(max_length=255, blank=True)
    # Numbers, codes and names of fields; no secret and nothing about a person.
    detail = models.JSONField(default=dict)

    class Meta:
        indexes = [
            models.Index(fields=["installation", "-id"], name="audit_newest"),
            models.Index(fields=["installation", "action", "-id"], name="audit_action"),
            models.Index(fields=["installation", "actor_id", "-id"], name="audit_actor"),
            models.Index(fields=["installation", "object_kind", "object_id"], name="audit_object"),
            models.Index(fields=["installation", "at"], name="audit_oldest"),
        ]
