"""Writing into the audit log what a server of the shop changed."""

from __future__ import annotations

from typing import Any

from django.db import models
from django.utils import timezone

from saleor_personalize.audit import operations as audit
from saleor_personalize.enums import AuditAction


def record(
    info: Any, action: AuditAction, *, on: models.Model | None = None, **detail: object
) -> None:
    """Write down what the server behind a request did; see `audit.operations.record`."""
    caller = info.context.caller
    audit.record(
        installation=caller.installation,
        action=action,
        now=timezone.now(),
        actor=caller.server,
        on=on,
        detail=detail,
    )
