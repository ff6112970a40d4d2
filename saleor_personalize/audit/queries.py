"""Reading the audit log."""

from __future__ import annotations

from saleor_personalize.models import AuditEntry, Installation
from saleor_personalize.models.installation import ScopedQuerySet


def entries(
    *, installation: Installation, action: str = "", actor_id: str = ""
) -> ScopedQuerySet[AuditEntry]:
    """Return the log, newest first; all of it, or of one action, of one actor, or both."""
    rows = AuditEntry.objects.of(installation)
    if action:
        rows = rows.filter(action=action)
    if actor_id:
        rows = rows.filter(actor_id=actor_id)
    return rows.order_by("-pk")
