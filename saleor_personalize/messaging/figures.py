"""How many messages went out and how many did not: figures for the Dashboard page."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.db.models import Count, Q

from saleor_personalize.enums import MessageStatus
from saleor_personalize.models import Installation, Message


@dataclass(frozen=True)
class MessageCounts:
    sent: int
    not_sent: int
    failed: int


def message_counts(*, installation: Installation, since: datetime) -> MessageCounts:
    """Count the messages decided since then. `failed` includes those whose fate is uncertain."""
    failed = [MessageStatus.FAILED, MessageStatus.UNCERTAIN]
    figures = (
        Message.objects.of(installation)
        .filter(decided_at__gte=since)
        .aggregate(
            sent=Count("*", filter=Q(status=MessageStatus.SENT)),
            not_sent=Count("*", filter=Q(status=MessageStatus.NOT_SENT)),
            failed=Count("*", filter=Q(status__in=failed)),
        )
    )
    return MessageCounts(**figures)
