"""Who waits in a journey."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db.models import QuerySet

from saleor_personalize.enums import EnrollmentStatus, MessageStatus, NotSentReason
from saleor_personalize.models import Enrollment, Installation, Journey, Message

#: What is asked of somebody inside whenever they are looked at: have it read with the rows.
RELATED = ("journey", "installation", "version", "profile__installation")


def waiting(*, installation: Installation) -> QuerySet[Enrollment]:
    """Return the enrollments that wait, the one due first first."""
    return (
        Enrollment.objects.of(installation)
        .filter(status=EnrollmentStatus.WAITING)
        .select_related("journey")
        .order_by("due_at", "pk")
    )


def is_under_way(enrollment: Enrollment) -> bool:
    """Tell whether a message of this enrollment is just being handed over."""
    messages = Message.objects.of(enrollment.installation_id)
    return messages.filter(enrollment=enrollment, status=MessageStatus.HANDING_OVER).exists()


def being_left() -> QuerySet[Journey]:
    """Return the journeys that everybody inside is leaving, of every shop."""
    return Journey.objects.exclude(let_go_at=None).order_by("let_go_at", "pk")


def next_place(*, now: datetime, within: timedelta) -> datetime | None:
    """Return when the next of those whom a pace turned away may look again, if that is soon."""
    return (
        Enrollment.objects.filter(
            status=EnrollmentStatus.WAITING,
            held_by=NotSentReason.THROTTLED,
            due_at__lte=now + within,
            journey__is_live=True,
            installation__sends_stopped_at=None,
        )
        .order_by("due_at")
        .values_list("due_at", flat=True)
        .first()
    )
