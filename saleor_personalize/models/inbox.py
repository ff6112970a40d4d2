"""What stands in a person's inbox in the shop's own pages and apps."""

import uuid

from django.db import models

from saleor_personalize.models.fields import EncryptedTextField
from saleor_personalize.models.installation import Scoped
from saleor_personalize.models.messaging import Message
from saleor_personalize.models.profiles import Profile


class InboxItem(Scoped):
    """A message as it is read in the shop. One message is one item, however often it is handed over.

    The words may hold a name, the link a cart: encrypted at rest.
    """

    public_id = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    profile = models.ForeignKey(Profile, on_delete=models.CASCADE, related_name="inbox_items")
    message = models.OneToOneField(Message, on_delete=models.CASCADE, related_name="inbox_item")
    # Where on the pages it stands as a banner as well; empty: in the inbox alone.
    placement = models.CharField(max_length=60, blank=True)
    title = EncryptedTextField(blank=True, default="")
    text = EncryptedTextField()
    link = EncryptedTextField(blank=True, default="")
    image_url = models.TextField(blank=True)
    promo_code = EncryptedTextField(blank=True, default="")
    created_at = models.DateTimeField()
    expires_at = models.DateTimeField()
    read_at = models.DateTimeField(null=True)
    dismissed_at = models.DateTimeField(null=True)

    class Meta:
        indexes = [
            models.Index(
                fields=["profile", "-created_at", "-id"],
                name="inbox_newest",
                condition=models.Q(dismissed_at=None),
            ),
            models.Index(fields=["installation", "expires_at"], name="inbox_expired"),
        ]
