"""How many messages went out and how many did not: figures for the Dashboard page."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.db.models import Count

from saleor_personalize.enums import MessageStatus
from saleor_personalize.models import Installation, Message


@dataclass(frozen=True)
class MessageCounts:
    sent: int
    not_sent: int
    failed: int


def message_counts(*, installation: Installation, since: datetime) -> MessageCounts:
    """Count the messages decided since then. `failed` includes those whose fate is uncertain."""
    rows = Message.objects.of(installation).filter(decided_at__gte=since)
    counted = rows.order_by().values_list("status").annotate(count=Count("*"))
    by_status = dict(counted.values_list("status", "count"))
    return MessageCounts(
        sent=by_status.get(MessageStatus.SENT, 0),
        not_sent=by_status.get(MessageStatus.NOT_SENT, 0),
        failed=by_status.get(MessageStatus.FAILED, 0) + by_status.get(MessageStatus.UNCERTAIN, 0),
    )
