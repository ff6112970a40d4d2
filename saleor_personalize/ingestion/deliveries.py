"""Webhook deliveries: stored as they came, then believed one by one.

`store` is the door's; `process_waiting` is the workers'. A delivery that cannot be believed is kept
with its error until somebody replays it; it never holds up the others. Neither do a hundred thousand
reports of a campaign: what became of mail waits in a lane of its own.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from django.db import DatabaseError, connection, transaction
from django.db.models import Q, QuerySet

from saleor_personalize.conf import settings
from saleor_personalize.enums import DeliveryStatus, Lane
from saleor_personalize.exceptions import (
    MalformedPayload,
    PersonalizeError,
    SaleorApiError,
    kind_and_place,
)
from saleor_personalize.ingestion.subscriptions import BY_EVENT, Envelope
from saleor_personalize.messaging import feedback, texts
from saleor_personalize.models import Installation, WebhookDelivery
from saleor_personalize.saleor_api import nodes

logger = logging.getLogger(__name__)

#: A delivery that fails for a passing reason is tried this often, then kept as failed.
MAX_ATTEMPTS = 5
RETRY_AFTER = timedelta(seconds=30)
#: One in so many is taken from the patient lane first, however much waits in the urgent one.
_PATIENT_EVERY = 5

#: What providers of e-mail and of text messages tell is stored under their name with this before it.
PROVIDER = "provider_"

_INSERT = """
INSERT INTO saleor_personalize_webhookdelivery
    (installation_id, event, body, body_hash, received_at, issued_at, status, attempts, error)
SELECT * FROM unnest(
    %s::bigint[], %s::text[], %s::bytea[], %s::bytea[], %s::timestamptz[], %s::timestamptz[],
    %s::text[], %s::smallint[], %s::text[]
)
ON CONFLICT (installation_id, event, body_hash) DO NOTHING
"""


def row(
    *,
    installation_id: int,
    event: str,
    body: bytes,
    issued_at: datetime | None,
    now: datetime,
    error: str = "",
) -> tuple[Any, ...]:
    """Return the columns of a delivery; with an `error` it is stored as failed from the start."""
    return (
        installation_id,
        event,
        body,
        hashlib.sha256(body).digest(),
        now,
        issued_at,
        (DeliveryStatus.FAILED if error else DeliveryStatus.RECEIVED).value,
        0,
        error,
    )


def store(rows: list[tuple[Any, ...]]) -> None:
    """Store deliveries (see `row`) in one statement. A body stored before is not stored again."""
    with connection.cursor() as cursor:
        cursor.execute(_INSERT, [list(column) for column in zip(*rows, strict=True)])


def store_provider(
    *,
    installation: Installation,
    provider: str,
    body: bytes,
    content_type: str,
    now: datetime,
    query: str = "",
    error: str = "",
) -> None:
    """Store what a provider of e-mail or of text messages tells; with an `error` as failed.

    The same body is stored once. But a STOP always counts: where a provider gives no ids, the second of a
    person looks like the first, and between the two may have been a START. Twice the same is harmless.
    """
    lane, has_stop = _glance(provider, body, content_type, query)
    salt = now.isoformat().encode() if has_stop else b""
    WebhookDelivery.objects.bulk_create(
        [
            WebhookDelivery(
                installation=installation,
                event=f"{PROVIDER}{provider}",
                body=body,
                body_hash=hashlib.sha256(body + salt).digest(),
                content_type=content_type[:200],
                query=query,
                lane=lane,
                received_at=now,
                status=DeliveryStatus.FAILED if error else DeliveryStatus.RECEIVED,
                error=error,
            )
        ],
        ignore_conflicts=True,
    )


def _glance(provider: str, body: bytes, content_type: str, query: str) -> tuple[Lane, bool]:
    """Tell in which lane a body waits, and whether somebody wrote STOP in it."""
    if provider == texts.PROVIDER:
        is_urgent, has_stop = texts.glance(body=body, content_type=content_type, query=query)
    else:
        is_urgent = feedback.is_urgent(provider, body=body, content_type=content_type)
        has_stop = False
    return (Lane.URGENT if is_urgent else Lane.PATIENT), has_stop


def process_waiting(*, now: datetime, limit: int = 100) -> int:
    """Process up to `limit` waiting deliveries, the oldest of the urgent lane first; return how many were taken.

    Of five one is the oldest of the patient lane, so that neither lane waits for the other to be empty. Any number of workers may run this at once: each takes rows that no other holds.
    """
    taken = 0
    while taken < limit:
        is_patients_turn = taken % _PATIENT_EVERY == _PATIENT_EVERY - 1
        lanes = (Lane.PATIENT, Lane.URGENT) if is_patients_turn else (Lane.URGENT, Lane.PATIENT)
        if not _process_next(now=now, lanes=lanes):
            break
        taken += 1
    return taken


def _next(lane: Lane, now: datetime) -> WebhookDelivery | None:
    return (
        WebhookDelivery.objects.select_for_update(skip_locked=True, of=("self",))
        .select_related("installation")
        .filter(
            Q(attempts=0) | Q(processed_at__lte=now - RETRY_AFTER),
            lane=lane,
            status=DeliveryStatus.RECEIVED,
        )
        .order_by("id")
        .first()
    )


def _process_next(*, now: datetime, lanes: tuple[Lane, ...]) -> bool:
    with transaction.atomic():
        waiting = (_next(lane, now) for lane in lanes)
        delivery = next((each for each in waiting if each is not None), None)
        if delivery is None:
            return False
        delivery.attempts += 1
        try:
            with transaction.atomic():
                believed = believe(delivery, now=now)
            if believed.is_of_erased:
                delivery.delete()
                return True
            delivery.status = (
                DeliveryStatus.PROCESSED if believed.changed else DeliveryStatus.IGNORED
            )
            delivery.error = ""
        except MalformedPayload as error:
            _fail(delivery, str(error))
        except SaleorApiError as error:
            _retry_or_fail(delivery, str(error), is_retryable=error.is_retryable)
        except PersonalizeError as error:
            _fail(delivery, str(error))
        except DatabaseError as error:
            # The text of a database error quotes values, which may be personal.
            _retry_or_fail(delivery, type(error).__name__, is_retryable=True)
        except Exception as error:
            _fail(delivery, f"{type(error).__name__}: a fault of this app; see its log.")
            logger.error(  # noqa: TRY400 (the text of an unknown error may quote the payload)
                "Delivery %s (%s): %s", delivery.pk, delivery.event, kind_and_place(error)
            )
        delivery.processed_at = now
        delivery.save(update_fields=["attempts", "status", "error", "processed_at"])
    return True


def _retry_or_fail(delivery: WebhookDelivery, text: str, *, is_retryable: bool) -> None:
    if not is_retryable or delivery.attempts >= MAX_ATTEMPTS:
        _fail(delivery, text)
    else:
        delivery.error = text


def _fail(delivery: WebhookDelivery, text: str) -> None:
    delivery.status = DeliveryStatus.FAILED
    delivery.error = text
    logger.warning("Delivery %s (%s) failed: %s", delivery.pk, delivery.event, text)


class Believed(NamedTuple):
    """What a delivery did, and whether it names somebody who was erased."""

    changed: bool
    is_of_erased: bool


def believe(delivery: WebhookDelivery, *, now: datetime) -> Believed:
    """Read a delivery and record what it says.

    Raises MalformedPayload when it cannot be read.
    """
    if delivery.event.startswith(PROVIDER):
        return _believe_provider(delivery, now)
    subscription = BY_EVENT.get(delivery.event)
    if subscription is None:
        raise MalformedPayload(f"No subscription takes the event {delivery.event!r}.")
    facts = subscription.normalise(read_body(bytes(delivery.body)))
    envelope = Envelope(event=delivery.event, issued_at=delivery.issued_at)
    changed = subscription.apply(
        installation=delivery.installation, facts=facts, envelope=envelope, now=now
    )
    return Believed(
        changed, subscription.is_of_erased(installation=delivery.installation, facts=facts)
    )


def _believe_provider(delivery: WebhookDelivery, now: datetime) -> Believed:
    provider = delivery.event.removeprefix(PROVIDER)
    if provider == texts.PROVIDER:
        told = texts.believe(
            installation=delivery.installation,
            body=bytes(delivery.body),
            content_type=delivery.content_type,
            query=delivery.query,
            received_at=delivery.received_at,
            now=now,
        )
        return Believed(told.changed, told.is_of_erased)
    taken = feedback.believe(
        installation=delivery.installation,
        provider=provider,
        body=bytes(delivery.body),
        content_type=delivery.content_type,
        now=now,
    )
    for row_ in taken.unreadable:
        store_provider(
            installation=delivery.installation,
            provider=provider,
            body=row_,
            content_type=delivery.content_type,
            now=now,
            error=f"This row of delivery {delivery.pk} is not what {provider} sends.",
        )
    return Believed(taken.changed, taken.is_of_erased)


def read_body(body: bytes) -> dict[str, Any]:
    """Parse a webhook body; raise MalformedPayload when it is no JSON object."""
    try:
        payload = json.loads(body)
    except ValueError:
        raise MalformedPayload("The body is not JSON.") from None
    except RecursionError:
        raise MalformedPayload("The body is nested too deeply.") from None
    if not isinstance(payload, dict):
        raise MalformedPayload(f"The body is a JSON {type(payload).__name__}, not an object.")
    return payload


def issued_at_of(payload: dict[str, Any]) -> datetime | None:
    """Return when Saleor rendered the payload, or None when it does not say so readably."""
    return nodes.moment_of(payload.get("issuedAt"))


def failed(*, installation: Installation) -> QuerySet[WebhookDelivery]:
    return (
        WebhookDelivery.objects.of(installation)
        .filter(status=DeliveryStatus.FAILED)
        .order_by("-id")
    )


def replay(*, installation: Installation, ids: Collection[int] | None = None) -> int:
    """Put failed deliveries (all, or those of `ids`) back in line; return how many."""
    rows = failed(installation=installation)
    if ids is not None:
        rows = rows.filter(pk__in=ids)
    return rows.update(status=DeliveryStatus.RECEIVED, attempts=0, error="", processed_at=None)


def purge(*, now: datetime) -> int:
    """Delete raw deliveries past their retention; failed ones have one of their own (`RETENTION`)."""
    count, _ = WebhookDelivery.objects.filter(
        received_at__lt=now - settings.WEBHOOK_RAW_RETENTION,
        status__in=[DeliveryStatus.PROCESSED, DeliveryStatus.IGNORED],
    ).delete()
    return count
