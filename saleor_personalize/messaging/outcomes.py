"""What became of messages: delivered, opened, clicked, bounced ... as providers, links and inboxes tell.

Append-only. What a provider tells twice is kept once, and what says that a message arrived settles one
whose fate was uncertain.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection
from datetime import datetime

from django.db import transaction

from saleor_personalize import bus
from saleor_personalize.enums import (
    BusEvent,
    DeliveryChannel,
    MessageEventKind,
    MessageStatus,
    NotSentReason,
)
from saleor_personalize.models import Installation, Message, MessageEvent

#: The person has seen it.
SEEN = frozenset(
    {
        MessageEventKind.OPENED,
        MessageEventKind.CLICKED,
        MessageEventKind.READ,
        MessageEventKind.DISMISSED,
        MessageEventKind.COMPLAINED,
        MessageEventKind.UNSUBSCRIBED,
    }
)
#: It is where it should be, whether seen or not.
ARRIVED = SEEN | {MessageEventKind.DELIVERED}
#: The provider had it, whatever came of it then.
_TAKEN = ARRIVED | {MessageEventKind.BOUNCED}


def record(
    *,
    message: Message,
    kind: MessageEventKind,
    at: datetime,
    now: datetime,
    provider_event_id: str = "",
    is_machine: bool = False,
    detail: str = "",
) -> MessageEvent | None:
    """Record one thing that became of a message; None when the provider told it before.

    `provider_event_id` is the provider's own name of the event, unique in the shop; without one every
    call is a new event. `is_machine`: a scanner or a mail program did it, not the person. `detail`: of a
    click the link's name, of a bounce the provider's code; nothing personal. `now` is when we heard of
    it. Suppression, consent and devices are the caller's to deal with, in the same transaction.
    """
    values = {
        "message": message,
        "kind": kind,
        "at": at,
        "recorded_at": now,
        "is_machine": is_machine,
        "detail": detail[:200],
    }
    events = MessageEvent.objects.of(message.installation_id)
    known_as = provider_event_id[:300]
    with transaction.atomic():
        if known_as:
            event, is_new = events.get_or_create(
                installation_id=message.installation_id,
                provider_event_id=known_as,
                defaults=values,
            )
            if not is_new:
                return None
        else:
            event = events.create(installation_id=message.installation_id, **values)
        if kind in _TAKEN:
            _settle_uncertain(message, now)
    return event


def push_opened(*, installation: Installation, message_id: str, now: datetime) -> bool:
    """Record that somebody pressed a push, a click; tell whether that was news. Its devices alone know the id."""
    try:
        public_id = uuid.UUID(message_id)
    except ValueError:
        return False
    rows = Message.objects.of(installation).filter(delivery_channel=DeliveryChannel.PUSH)
    message = rows.filter(public_id=public_id).select_related("installation", "enrollment").first()
    return message is not None and bool(
        record(
            message=message,
            kind=MessageEventKind.CLICKED,
            at=now,
            now=now,
            provider_event_id=f"pressed:{public_id.hex}",
        )
    )


def reactions(
    *, installation: Installation, messages: Collection[Message], until: datetime
) -> dict[int, list[MessageEventKind]]:
    """Return what people, never machines, did about messages until then, by the messages' keys."""
    events = MessageEvent.objects.of(installation).filter(
        message__in=messages, kind__in=SEEN, is_machine=False, at__lte=until
    )
    found: dict[int, list[MessageEventKind]] = {}
    for pk, kind in events.order_by("kind").values_list("message", "kind").distinct():
        found.setdefault(pk, []).append(MessageEventKind(kind))
    return found


def has(*, message: Message, kinds: Collection[MessageEventKind]) -> bool:
    """Tell whether any of these became of a message. What a machine opened or clicked, nobody has seen."""
    events = MessageEvent.objects.of(message.installation_id).filter(
        message=message, kind__in=kinds
    )
    return events.exclude(kind__in=SEEN, is_machine=True).exists()


def _settle_uncertain(message: Message, now: datetime) -> None:
    """What arrived, or came back, was sent."""
    rows = Message.objects.of(message.installation_id).filter(
        pk=message.pk, status__in=(MessageStatus.HANDING_OVER, MessageStatus.UNCERTAIN)
    )
    # Held until the event can be seen: whoever is about to call it uncertain asks `was_taken` then.
    held = rows.select_for_update(no_key=True).values_list("status", flat=True).first()
    if held == MessageStatus.UNCERTAIN:
        settle(message=message, is_sent=True, now=now)


def was_taken(*, message: Message) -> bool:
    """Tell whether the provider said that it had the message. Must be asked with its row held."""
    events = MessageEvent.objects.of(message.installation_id)
    return events.filter(message=message, kind__in=_TAKEN).exists()


def settle(*, message: Message, is_sent: bool, now: datetime) -> bool:
    """Settle what became of a message that may have gone; return whether that was still open.

    A provider's report does, or staff who know it from the provider. One that was not sent is not sent
    again: whoever waited for it has gone on.
    """
    status = MessageStatus.SENT if is_sent else MessageStatus.NOT_SENT
    reason = "" if is_sent else NotSentReason.CHANNEL_ERROR
    with transaction.atomic():
        settled = (
            Message.objects.of(message.installation_id)
            .filter(pk=message.pk, status=MessageStatus.UNCERTAIN)
            .update(status=status, reason=reason)
        )
        if settled:
            message.status, message.reason = status, reason
            publish(message=message, now=now)
    return bool(settled)


def publish(*, message: Message, now: datetime) -> None:
    """Tell other apps what became of a message; must run in the transaction that decides it."""
    is_sent = message.status == MessageStatus.SENT
    bus.publish(
        installation=message.installation,
        event=BusEvent.MESSAGE_SENT if is_sent else BusEvent.MESSAGE_NOT_SENT,
        data={
            "messageId": str(message.public_id),
            "template": message.template,
            "purpose": message.purpose,
            "deliveryChannel": message.delivery_channel,
            "status": message.status,
            "reason": message.reason or None,
            "subjectId": message.enrollment.subject_saleor_id if message.enrollment else None,
        },
        profile_id=message.profile_id,
        now=now,
    )
