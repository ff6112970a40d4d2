"""What was sent and what was not. No address, no name."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db.models import QuerySet

from saleor_personalize.enums import MessageStatus, Purpose
from saleor_personalize.models import Enrollment, Installation, Message, Order, Profile

#: The person has it, or may have it.
REACHED = (MessageStatus.HANDING_OVER, MessageStatus.SENT, MessageStatus.UNCERTAIN)


def newest_messages(*, installation: Installation, limit: int) -> list[Message]:
    """Return the newest messages, sent or not, newest first; `reason` says why not."""
    rows = Message.objects.of(installation).select_related("enrollment__journey")
    return list(rows.order_by("-decided_at", "-pk")[:limit])


def uncertain_messages(*, installation: Installation, limit: int) -> list[Message]:
    """Return the messages that may have gone, longest ago first."""
    rows = Message.objects.of(installation).filter(status=MessageStatus.UNCERTAIN)
    return list(
        rows.select_related("installation", "enrollment").order_by("decided_at", "pk")[:limit]
    )


def reached_by(*, enrollment: Enrollment, since: datetime) -> bool:
    """Tell whether the same journey reached this person since then, over whatever other occasion."""
    return (
        Message.objects.of(enrollment.installation_id)
        .filter(
            profile__in=enrollment.profile.members(),
            journey=enrollment.journey_id,
            status__in=REACHED,
            decided_at__gte=since,
        )
        .exclude(enrollment=enrollment)
        .exists()
    )


def told_before(*, order: Order, window: timedelta) -> QuerySet[Message]:
    """Return what whoever ordered was told within `window` before they did, the last first."""
    rows = Message.objects.of(order.installation_id)
    if order.profile is None:
        return rows.none()
    return rows.filter(
        profile__in=order.profile.person(),
        status__in=REACHED,
        decided_at__gt=order.placed_at - window,
        decided_at__lte=order.placed_at,
    ).order_by("-decided_at", "-pk")


def marketing_since(*, profile: Profile, since: datetime) -> int:
    """Count the marketing messages that went, or may have gone, to a person since then."""
    return (
        Message.objects.of(profile.installation)
        .filter(
            profile__in=profile.members(),
            purpose=Purpose.MARKETING,
            status__in=REACHED,
            decided_at__gt=since,
        )
        .count()
    )
