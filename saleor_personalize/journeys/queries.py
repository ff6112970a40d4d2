"""Who waits in a journey."""

from __future__ import annotations

from django.db.models import QuerySet

from saleor_personalize.enums import EnrollmentStatus
from saleor_personalize.models import Enrollment, Installation


def waiting(*, installation: Installation) -> QuerySet[Enrollment]:
    """Return the enrollments that wait, the one due first first."""
    return (
        Enrollment.objects.of(installation)
        .filter(status=EnrollmentStatus.WAITING)
        .select_related("journey")
        .order_by("due_at", "pk")
    )
