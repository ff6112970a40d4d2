"""Delivering what waits, at least once: in no promised order, with an id to know repetitions by."""

from __future__ import annotations

import json
import logging
import random
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import Q

from saleor_personalize.bus import client, signing
from saleor_personalize.bus.client import Answer
from saleor_personalize.bus.outbox import TEST
from saleor_personalize.conf import settings
from saleor_personalize.enums import InstallationStatus, OutgoingStatus
from saleor_personalize.models import OutgoingDelivery, OutgoingWebhook, Profile

logger = logging.getLogger(__name__)

#: How long after the first, second, ... failed try the next one comes; all of them fit into a day.
DELAYS = tuple(timedelta(minutes=minutes) for minutes in (0.5, 2, 10, 30, 60, 120, 240, 360, 480))
#: Each wait is longer by up to this share, so that what failed together does not come back together.
JITTER = 0.1
#: How long a claimed delivery is left alone by other workers; longer than any try.
CLAIM = timedelta(minutes=5)
#: After so many failures in a row a webhook rests between two tries, whatever else waits for it.
PATIENT_FAILURES = 3
LONGEST_REST = timedelta(minutes=15)

#: Tells who a profile is, and with True also how to reach them.
Describe = Callable[[Profile, bool], Mapping[str, Any]]
Jitter = Callable[[], float]


def deliver_due(
    *,
    now: datetime,
    describe: Describe,
    limit: int = 100,
    jitter: Jitter = random.random,
) -> int:
    """Try deliveries that are due, the longest waiting first; return how many were tried.

    Any number of workers may run this at once. A crash between a try and its record means one more try.
    """
    tried = 0
    while tried < limit and (delivery := _claim(now)) is not None:
        attempt(delivery=delivery, now=now, describe=describe, jitter=jitter)
        tried += 1
    return tried


def _claim(now: datetime) -> OutgoingDelivery | None:
    with transaction.atomic():
        found = (
            OutgoingDelivery.objects.filter(
                Q(webhook__rests_until=None) | Q(webhook__rests_until__lte=now),
                status=OutgoingStatus.WAITING,
                due_at__lte=now,
                webhook__is_active=True,
                installation__status=InstallationStatus.ACTIVE,
            )
            .select_related("webhook", "installation", "profile__installation")
            .order_by("due_at", "pk")
            .select_for_update(skip_locked=True, of=("self",))
            .first()
        )
        if found is not None:
            found.due_at = now + CLAIM
            found.attempts += 1
            found.save(update_fields=["due_at", "attempts"])
        return found


def attempt(
    *,
    delivery: OutgoingDelivery,
    now: datetime,
    describe: Describe,
    jitter: Jitter = random.random,
) -> Answer:
    """Send a claimed delivery once and record what came of it. Must run outside any transaction."""
    webhook = delivery.webhook
    body = _body(delivery, describe)
    answer = client.post(
        url=webhook.url,
        body=body,
        headers=signing.headers(
            body=body,
            event=delivery.event,
            event_id=str(delivery.event_id),
            attempt=delivery.attempts,
            with_secrets=signing.secrets_of(webhook, now),
            at=now,
        ),
    )
    if answer.error:
        logger.warning("Outgoing delivery %s failed: %s", delivery.pk, answer.error)
    with transaction.atomic():
        _record(delivery, answer, now, jitter)
        if delivery.event != TEST or not answer.error:
            _judge(webhook, answer, now)
    return answer


def _body(delivery: OutgoingDelivery, describe: Describe) -> bytes:
    """Return what is sent. The person is looked up now: the outbox holds nothing but ids."""
    webhook, profile = delivery.webhook, delivery.profile
    content = {
        "id": str(delivery.event_id),
        "event": delivery.event,
        "occurredAt": delivery.occurred_at.isoformat(),
        "saleorApiUrl": delivery.installation.saleor_api_url,
        "person": None if profile is None else describe(profile, webhook.has_personal_data),
        "data": delivery.data,
    }
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode()


def _record(delivery: OutgoingDelivery, answer: Answer, now: datetime, jitter: Jitter) -> None:
    due_at = delivery.due_at
    delivery.tried_at, delivery.answer_status, delivery.error = now, answer.status, answer.error
    if not answer.error:
        delivery.status = OutgoingStatus.DELIVERED
    elif (again := _again_at(delivery, now, jitter)) is None:
        delivery.status = OutgoingStatus.FAILED
    else:
        delivery.due_at = again
    names = ("status", "due_at", "tried_at", "answer_status", "error")
    # Claimed by somebody else since, replayed, or gone with its person: what we know is old.
    OutgoingDelivery.objects.of(delivery.installation_id).filter(
        pk=delivery.pk, status=OutgoingStatus.WAITING, due_at=due_at
    ).update(**{name: getattr(delivery, name) for name in names})


def _again_at(delivery: OutgoingDelivery, now: datetime, jitter: Jitter) -> datetime | None:
    if delivery.attempts > len(DELAYS):
        return None
    again = now + DELAYS[delivery.attempts - 1] * (1 + JITTER * jitter())
    return again if again <= delivery.expires_at else None


def _judge(webhook: OutgoingWebhook, answer: Answer, now: datetime) -> None:
    """Keep how the webhook fares: it rests while nothing arrives, and is switched off in the end."""
    row = (
        OutgoingWebhook.objects.of(webhook.installation_id)
        .select_for_update()
        .filter(pk=webhook.pk)
        .first()
    )
    if row is None or (not answer.error and not row.failures):
        return
    if not answer.error:
        row.failing_since, row.failures, row.rests_until = None, 0, None
    else:
        row.failures += 1
        row.failing_since = row.failing_since or now
        beyond = row.failures - PATIENT_FAILURES
        if beyond >= 0:
            row.rests_until = now + min(timedelta(minutes=2 ** min(beyond, 10)), LONGEST_REST)
        if row.is_active and now - row.failing_since >= settings.BUS_DISABLE_AFTER:
            row.is_active, row.disabled_at = False, now
            give_up(row)
            logger.error("Outgoing webhook %s is switched off: nothing arrived for long", row.pk)
    row.save(update_fields=["failing_since", "failures", "rests_until", "is_active", "disabled_at"])


def give_up(webhook: OutgoingWebhook) -> int:
    """End the tries of what waits for a webhook; return how many. They can be replayed."""
    return (
        OutgoingDelivery.objects.of(webhook.installation_id)
        .filter(webhook=webhook, status=OutgoingStatus.WAITING)
        .update(status=OutgoingStatus.FAILED, error="The webhook was switched off.")
    )
