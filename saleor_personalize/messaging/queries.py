"""What was sent and what was not. No address, no name."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.db.models import Count, Q

from saleor_personalize.enums import MessageStatus
from saleor_personalize.models import Installation, Message, Profile

#: The person has it, or may have it.
REACHED = (MessageStatus.HANDING_OVER, MessageStatus.SENT, MessageStatus.UNCERTAIN)


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
            sent=Count("pk", filter=Q(status=MessageStatus.SENT)),
            not_sent=Count("pk", filter=Q(status=MessageStatus.NOT_SENT)),
            failed=Count("pk", filter=Q(status__in=failed)),
        )
    )
    return MessageCounts(**figures)


def newest_messages(*, installation: Installation, limit: int) -> list[Message]:
    """Return the newest messages, sent or not, newest first; `reason` says why not."""
    return list(Message.objects.of(installation).order_by("-decided_at", "-pk")[:limit])


def reached_since(*, profile: Profile, template: str, since: datetime) -> bool:
    """Tell whether a message of this template went, or may have gone, to a profile since then."""
    return (
        Message.objects.of(profile.installation)
        .filter(profile=profile, template=template, status__in=REACHED, decided_at__gte=since)
        .exists()
    )
