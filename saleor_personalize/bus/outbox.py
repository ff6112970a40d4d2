"""Writing down what other apps are to be told, in the transaction of the fact itself.

If the fact is rolled back, so is the delivery; if the process dies after the commit, the row waits.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import islice
from typing import Any

from saleor_personalize.bus.queries import aliases, find
from saleor_personalize.enums import BusEvent
from saleor_personalize.exceptions import UnknownAlias
from saleor_personalize.models import (
    Installation,
    OutgoingDelivery,
    OutgoingWebhook,
    prepared,
)

#: What a step of a journey sends; nobody subscribes to it, the step names the webhook.
STEP = "journey.step"
#: What the button "Send a test" sends.
TEST = "webhook.test"
#: How long a delivery is tried again and again.
PATIENCE = timedelta(hours=24)

_NAMESPACE = uuid.UUID("5f1c8a52-6b0e-4a7e-9d3b-0c1f5a0b7e11")
_CHUNK = 1_000
_WANTED = "webhook.installation_id = %(shop)s AND webhook.is_active AND webhook.events ? %(event)s"
_WEBHOOKS = f"{OutgoingWebhook._meta.db_table} AS webhook"
_LISTENING = (
    f"SELECT {prepared.columns(OutgoingWebhook, 'webhook')} FROM {_WEBHOOKS} WHERE {_WANTED}"  # noqa: S608 (the names of the tables are ours)
)
#: For the WHERE of a statement that writes a fact down: true where no webhook wants %(event)s of %(shop)s, so
#: that nothing has to be published with it.
NOBODY_LISTENS = f"NOT EXISTS (SELECT FROM {_WEBHOOKS} WHERE {_WANTED})"


@dataclass(frozen=True)
class Fact:
    """One thing that happened. `data` holds ids, codes, amounts and times, nothing about who it was.

    `profile_id`: primary key of the profile that it is about. `key`: what makes it one fact; told again
    under the same key it is delivered once.
    """

    data: Mapping[str, Any]
    profile_id: int | None = None
    key: str = ""
    occurred_at: datetime | None = None


@dataclass(frozen=True)
class _Event:
    """A fact with the id that it has for every webhook."""

    fact: Fact
    id: uuid.UUID = field(default_factory=uuid.uuid4)


def publish(
    *,
    installation: Installation,
    event: BusEvent,
    data: Mapping[str, Any],
    now: datetime,
    profile_id: int | None = None,
    key: str = "",
    occurred_at: datetime | None = None,
) -> int:
    """Write a fact down for every webhook that wants it; return for how many.

    Call it inside the transaction of the fact. Costs one query where nobody listens. `data` is what
    `Fact` takes, JSON values with keys in camelCase.
    """
    return publish_each(
        installation=installation,
        event=event,
        facts=[Fact(data, profile_id, key, occurred_at)],
        now=now,
    )


def publish_each(
    *, installation: Installation, event: BusEvent, facts: Iterable[Fact], now: datetime
) -> int:
    """Write down many facts of one kind, as `publish` does; return how many rows were asked for."""
    webhooks = _listening(installation, event)
    if not webhooks:
        return 0
    count = 0
    waiting = iter(facts)
    while some := list(islice(waiting, _CHUNK)):
        events = [_event(installation, event, fact) for fact in some]
        rows = [_row(webhook, event, each, now) for webhook in webhooks for each in events]
        OutgoingDelivery.objects.bulk_create(rows, ignore_conflicts=True)
        count += len(rows)
    return count


def _listening(installation: Installation, event: BusEvent) -> list[OutgoingWebhook]:
    """Return the webhooks that want an event: asked at every message."""
    with prepared.cursor() as cursor:
        cursor.execute(_LISTENING, {"shop": installation.pk, "event": event.value})
        return [prepared.made(OutgoingWebhook, row) for row in cursor.fetchall()]


def send_to(
    *,
    installation: Installation,
    alias: str,
    data: Mapping[str, Any],
    now: datetime,
    profile_id: int | None = None,
    key: str = "",
) -> bool:
    """Write down what a journey's step sends to one webhook, whatever that one subscribed to.

    Returns whether it will be sent: a webhook that is switched off gets nothing. Call it inside the
    deciding transaction, with a `key` of the decision. Raises UnknownAlias.
    """
    webhook = find(installation=installation, alias=alias)
    if webhook is None:
        known = ", ".join(aliases(installation=installation)) or "none yet"
        raise UnknownAlias(f"There is no outgoing webhook {alias!r}. Known: {known}.")
    if not webhook.is_active:
        return False
    event = _event(installation, STEP, Fact(data, profile_id, key))
    OutgoingDelivery.objects.bulk_create([_row(webhook, STEP, event, now)], ignore_conflicts=True)
    return True


def _event(installation: Installation, name: str, fact: Fact) -> _Event:
    if not fact.key:
        return _Event(fact)
    return _Event(fact, uuid.uuid5(_NAMESPACE, f"{installation.pk}:{name}:{fact.key}"))


def _row(webhook: OutgoingWebhook, name: str, event: _Event, now: datetime) -> OutgoingDelivery:
    return OutgoingDelivery(
        installation_id=webhook.installation_id,
        webhook=webhook,
        event_id=event.id,
        event=name,
        profile_id=event.fact.profile_id,
        data=dict(event.fact.data),
        occurred_at=event.fact.occurred_at or now,
        created_at=now,
        due_at=now,
        expires_at=now + PATIENCE,
    )
