"""What could not be believed is kept with its error, so that it can be replayed."""

from __future__ import annotations

import hashlib
from datetime import datetime

from saleor_personalize.enums import DeliveryStatus
from saleor_personalize.models import Installation, WebhookDelivery


def keep(*, installation: Installation, event: str, body: bytes, error: str, now: datetime) -> None:
    """Store a body as a failed delivery of `event`; the same body is kept once."""
    WebhookDelivery.objects.get_or_create(
        installation=installation,
        event=event,
        body_hash=hashlib.sha256(body).digest(),
        defaults={
            "body": body,
            "received_at": now,
            "status": DeliveryStatus.FAILED,
            "error": error,
            "processed_at": now,
        },
    )
