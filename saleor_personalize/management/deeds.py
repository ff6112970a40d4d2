"""Writing into the audit log what was done from a terminal."""

from __future__ import annotations

from django.db import models
from django.utils import timezone

from saleor_personalize.audit import operations as audit
from saleor_personalize.enums import AuditAction
from saleor_personalize.models import Installation


def record(
    installation: Installation,
    action: AuditAction,
    *,
    on: models.Model | None = None,
    **detail: object,
) -> None:
    """Write down what a command did in a shop; see `audit.operations.record`."""
    audit.record(
        installation=installation,
        action=action,
        now=timezone.now(),
        actor=audit.TERMINAL,
        on=on,
        detail=detail,
    )
