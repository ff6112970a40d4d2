"""How a receiver knows that a delivery is ours and new: an HMAC over the time and the body."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta

from saleor_personalize.models import OutgoingWebhook

MARK = "spw_"
#: How long the secret of before signs beside the new one.
ROTATION = timedelta(days=7)

SIGNATURE = "Personalize-Signature"


def new_secret() -> str:
    return MARK + secrets.token_hex(32)


def secrets_of(webhook: OutgoingWebhook, now: datetime) -> list[str]:
    """Return the secrets that sign now, the newest first."""
    found = [webhook.secret]
    if webhook.former_secret and webhook.rotated_at and now < webhook.rotated_at + ROTATION:
        found.append(webhook.former_secret)
    return found


def headers(
    *,
    body: bytes,
    event: str,
    event_id: str,
    attempt: int,
    with_secrets: Iterable[str],
    at: datetime,
) -> Mapping[str, str]:
    """Return the headers of a delivery. `t` is when this try was signed, in seconds of Unix time."""
    timestamp = int(at.timestamp())
    signatures = [f"v1={sign(body, secret, timestamp)}" for secret in with_secrets]
    return {
        "Content-Type": "application/json; charset=utf-8",
        "Personalize-Event": event,
        "Personalize-Event-Id": event_id,
        "Personalize-Attempt": str(attempt),
        SIGNATURE: ",".join([f"t={timestamp}", *signatures]),
    }


def sign(body: bytes, secret: str, timestamp: int) -> str:
    """Return the HMAC-SHA256 (hex) of `timestamp.body` under a secret."""
    return hmac.digest(secret.encode(), f"{timestamp}.".encode() + body, "sha256").hex()
