"""Writing the audit log."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from django.db import models

from saleor_personalize.enums import AuditAction
from saleor_personalize.models import AuditEntry, Installation, Profile

_NAME_LENGTH = 255


def record(
    *,
    installation: Installation,
    action: AuditAction,
    now: datetime,
    staff_id: str,
    staff_email: str = "",
    on: models.Model | None = None,
    detail: Mapping[str, object] | None = None,
) -> AuditEntry:
    """Keep that a staff member did something; call it once it is done, in its transaction if it has one.

    `on` is the row that it was done to: its table, its public id (else its key) and its name are kept, of
    a person no name. Record before a row is deleted, which takes its key along. `detail` holds JSON values:
    numbers, codes, names of fields; never a secret, an address or anything else about a person.
    """
    return AuditEntry.objects.create(
        installation=installation,
        at=now,
        action=action,
        staff_id=staff_id,
        staff_email=staff_email,
        object_kind=type(on).__name__ if on is not None else "",
        object_id=_id_of(on),
        object_name=_name_of(on),
        detail=dict(detail or {}),
    )


def _id_of(on: models.Model | None) -> str:
    if on is None:
        return ""
    return str(getattr(on, "public_id", None) or on.pk)


def _name_of(on: models.Model | None) -> str:
    if on is None or isinstance(on, Profile):
        return ""
    names = (
        getattr(on, field, "")
        for field in ("name", "alias", "key", "template", "file_name", "version")
    )
    return str(next(filter(None, names), ""))[:_NAME_LENGTH]
