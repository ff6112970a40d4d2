"""Back to a message that surely did not go: where somebody stood before it, and how they come to stand there again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import QuerySet

from saleor_personalize.enums import EnrollmentStatus
from saleor_personalize.journeys.definitions import Path
from saleor_personalize.models import Enrollment

#: Who may come back: whoever ordered, was let go or left meanwhile stays out.
MAY_RETURN = (EnrollmentStatus.WAITING, EnrollmentStatus.DONE)


@dataclass(frozen=True)
class Before:
    """Where somebody stood before a message. It is kept with the message (`Message.came_from`)."""

    path: Path
    branches: Mapping[str, str]
    step_since: datetime

    def as_json(self) -> dict[str, Any]:
        return {
            "path": list(self.path),
            "branches": dict(self.branches),
            "step_since": self.step_since.isoformat(),
        }


def of_json(kept: Mapping[str, Any]) -> Before:
    since = datetime.fromisoformat(kept["step_since"])
    return Before(tuple(kept["path"]), kept["branches"], since)


def put_back(rows: QuerySet[Enrollment], before: Before, *, due_at: datetime) -> None:
    """Let somebody stand before the message again; what comes of it is decided anew when they are due."""
    rows.filter(status__in=MAY_RETURN).update(
        status=EnrollmentStatus.WAITING,
        path=list(before.path),
        branches=dict(before.branches),
        waits_for="",
        waits_until=None,
        exit_reason="",
        finished_at=None,
        due_at=due_at,
        step_since=before.step_since,
    )
