"""Writing the audit log."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from django.db import models

from saleor_personalize.enums import AuditAction
from saleor_personalize.models import AuditEntry, Installation, Profile

_NAME_LENGTH = 255


@dataclass(frozen=True)
class Actor:
    """Who does something: a staff member by Saleor's global id, a server key by its visible beginning.

    `name` is the address of the one, the name of the other.
    """

    id: str
    name: str = field(default="", repr=False)


#: Whoever runs the service, by a command.
TERMINAL = Actor("terminal")
#: Whoever holds the token that Saleor gave this app.
APP_TOKEN = Actor("app-token")


def record(
    *,
    installation: Installation,
    action: AuditAction,
    now: datetime,
    actor: Actor,
    on: models.Model | None = None,
    detail: Mapping[str, object] | None = None,
) -> AuditEntry:
    """Keep that somebody did something; call it once it is done, in its transaction if it has one.

    `on` is the row that it was done to: its table, its public id (else its key) and its name are kept, of
    a person no name. Record before a row is deleted, which takes its key along. `detail` holds JSON values:
    numbers, codes, names of fields; never a secret, an address or anything else about a person.
    """
    return AuditEntry.objects.create(
        installation=installation,
        at=now,
        action=action,
        actor_id=actor.id,
        actor_name=actor.name,
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
