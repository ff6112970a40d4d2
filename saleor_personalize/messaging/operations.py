"""One message to one person: decided in a transaction, handed over once, its outcome kept.

The order of things is the promise: the row is written and committed first, then it is written down that
the provider is called, then it is. A crash before that call leaves a message that surely did not go: it is
decided anew. A crash in it leaves one that becomes UNCERTAIN and is never sent again by itself (at most
once).
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from email.utils import parseaddr
from time import monotonic
from typing import Any
from urllib.parse import urlsplit

from django.db import transaction
from django.db.models import Q, QuerySet

from saleor_personalize import bus
from saleor_personalize.conf import build_backend, settings
from saleor_personalize.enums import (
    BusEvent,
    DeliveryChannel,
    IdentityKind,
    MessageEventKind,
    MessageStatus,
    NotSentReason,
    Purpose,
    SuppressionReason,
)
from saleor_personalize.exceptions import (
    ChannelError,
    ConfigurationError,
    InvalidToken,
    UnknownAlias,
    kind_and_place,
)
from saleor_personalize.messaging import (
    destinations,
    feedback,
    links,
    mail,
    outcomes,
    pace,
    texts,
)
from saleor_personalize.messaging.channels import connections
from saleor_personalize.messaging.channels.base import (
    Channel,
    OutgoingMessage,
    Sending,
    SendResult,
)
from saleor_personalize.messaging.destinations import Destination
from saleor_personalize.messaging.rendering import Rendered
from saleor_personalize.models import Enrollment, Installation, Message, Profile, prepared
from saleor_personalize.profiles import consent, devices, identity
from saleor_personalize.signals import message_not_sent, message_sent

logger = logging.getLogger(__name__)

Claims = links.UnsubscribeClaims | links.PreferencesClaims | links.ConfirmationClaims

#: A hand-over that took longer than this was interrupted.
HAND_OVER_LEASE = timedelta(minutes=10)
#: How often a hand-over is tried when the provider certainly has not got the message.
MAX_ATTEMPTS = 10
#: Seconds for which a delivery channel is kept as it was built.
_BELIEVED = 1.0
#: Seconds from which on it counts that a provider let us wait for its answer.
_SILENCE = 5.0
#: Both are done for every message that goes: planned once.
_CLAIM = f"""
UPDATE {Message._meta.db_table} AS message SET handed_over_at = %(now)s
FROM {Installation._meta.db_table} AS installation
WHERE message.id = %(message)s AND message.installation_id = %(installation)s
  AND installation.id = %(installation)s AND message.status = '{MessageStatus.HANDING_OVER.value}' AND message.attempts = %(attempts)s
  AND message.handed_over_at IS NULL
  -- Whoever presses the switch now has the last word on this one, too.
  AND installation.sends_stopped_at IS NULL
"""  # noqa: S608 (the names of the tables are ours)
#: The same of a push: somebody may have signed out, or in, on a device since the decision.
_CLAIM_PUSH = f"""
WITH {devices.STILL}, claimed AS ({_CLAIM} AND EXISTS (SELECT FROM still) RETURNING message.id)
SELECT EXISTS (SELECT FROM claimed), ARRAY(SELECT token_hash FROM still)
"""  # noqa: S608 (the names of the tables are ours)
_SETTLE = f"""
UPDATE {Message._meta.db_table}
SET status = %(status)s, reason = %(reason)s, error = %(error)s, handed_over_at = %(handed_over_at)s,
  retry_at = %(retry_at)s,
  -- A report may have named it before our answer came.
  provider_message_id = COALESCE(NULLIF(%(provider_message_id)s, ''), provider_message_id)
WHERE installation_id = %(shop)s AND id = %(message)s
"""  # noqa: S608 (the names of the tables are ours)
#: Of messages that went, where nobody is to be told. It does not wait for the disk: should the database crash
#: in the half second before it writes, they were claimed without an outcome, and become UNCERTAIN; they never
#: go again.
#: They are held in the order in which `feedback.believe` holds them: the two never wait for each other.
_SETTLE_UNHEARD = f"""
WITH held AS (
  SELECT id FROM {Message._meta.db_table}
  WHERE installation_id = %(shop)s AND id = ANY (%(messages)s::bigint[])
  ORDER BY public_id FOR NO KEY UPDATE
)
UPDATE {Message._meta.db_table} AS message
SET status = '{MessageStatus.SENT.value}', reason = '', error = '', retry_at = NULL,
  handed_over_at = told.handed_over_at,
  provider_message_id = COALESCE(NULLIF(told.provider_message_id, ''), message.provider_message_id)
FROM unnest(%(messages)s::bigint[], %(moments)s::timestamptz[], %(names)s::text[])
  AS told (message_id, handed_over_at, provider_message_id)
WHERE message.installation_id = %(shop)s AND message.id = told.message_id
  AND message.id IN (SELECT id FROM held)
  AND {bus.NOBODY_LISTENS} AND set_config('synchronous_commit', 'off', true) = 'off'
RETURNING message.id
"""  # noqa: S608 (the names of the tables are ours)
_STOPPED_BEFORE = "The worker stopped before the hand-over. The message was not sent."


@dataclass(frozen=True)
class Draft:
    """What is known of a message whether it is sent or not. `key` is the decision's identity."""

    key: str
    profile: Profile
    template: str
    enrollment: Enrollment | None = None
    purpose: Purpose = Purpose.MARKETING
    delivery_channel: DeliveryChannel = DeliveryChannel.EMAIL
    language_code: str = ""


def may_leave(
    *, draft: Draft, destination: Destination, now: datetime, queue: str = ""
) -> pace.Turn | None:
    """Take the message's share of what may leave now; None: it goes, else when to look again.

    `queue` is the one in which it has waited (`pace.Turn`). Must be the last question of the deciding transaction
    that can put the message off.
    """
    return pace.take(
        installation=draft.profile.installation,
        delivery_channel=draft.delivery_channel,
        recipient=destination.value,
        purpose=draft.purpose,
        queue=queue,
        now=now,
    )


def find(draft: Draft) -> Message | None:
    """Return the message that this decision already became."""
    return Message.objects.of(draft.profile.installation).filter(idempotency_key=draft.key).first()


def record_not_sent(
    *,
    draft: Draft,
    reason: NotSentReason,
    now: datetime,
    error: str = "",
    content: Mapping[str, Any] | None = None,
) -> Message:
    """Record that a message is not sent, and why. Must run inside the deciding transaction.

    A message that a provider may have keeps its outcome: it is returned as it is.
    """
    found = find(draft)
    if found is not None and found.status != MessageStatus.FAILED:
        return found
    message = found or _new(draft)
    message.status, message.reason = MessageStatus.NOT_SENT, reason
    message.decided_at, message.error, message.content = now, error, dict(content or {})
    message.save()
    outcomes.publish(message=message, now=now)
    transaction.on_commit(
        lambda: message_not_sent.send_robust(
            Message, installation=message.installation, message=message
        )
    )
    return message


def prepare(*, draft: Draft) -> Message:
    """Return the unsaved message of a draft: a new one, or the one whose hand-over failed before.

    That one certainly did not go, so it may go over another delivery channel now.
    """
    message = find(draft) or _new(draft)
    if message.status == MessageStatus.FAILED:
        message.delivery_channel = draft.delivery_channel
    return message


def begin_hand_over(
    *,
    message: Message,
    content: Mapping[str, Any],
    now: datetime,
    destination: Destination | None = None,
    rendered: Rendered | None = None,
    came_from: Mapping[str, Any] | None = None,
) -> None:
    """Write down that the message is about to leave. Must be the last act of the deciding transaction.

    `came_from` is what the caller needs to decide anew, should its worker be killed now: it then takes the
    message up again (`interrupted_before_hand_over`).

    Of a mail, `destination` says what providers will report about, and `rendered` is kept for whoever
    looks at it in a browser. A second decision of the same key fails on the unique constraint instead of becoming a second
    message.
    """
    message.status, message.reason, message.error = MessageStatus.HANDING_OVER, "", ""
    message.decided_at, message.content, message.retry_at = now, dict(content), None
    message.address_hash = destination.value_hash if destination is not None else ""
    message.attempts, message.came_from = message.attempts + 1, dict(came_from or {})
    message.save()
    if rendered is not None and message.delivery_channel == DeliveryChannel.EMAIL:
        mail.keep_copy(message=message, rendered=rendered, now=now)


def _new(draft: Draft) -> Message:
    return Message(
        installation=draft.profile.installation,
        idempotency_key=draft.key,
        profile=draft.profile,
        enrollment=draft.enrollment,
        journey_id=draft.enrollment.journey_id if draft.enrollment is not None else None,
        template=draft.template,
        purpose=draft.purpose,
        delivery_channel=draft.delivery_channel,
        language_code=draft.language_code,
    )


def address(
    *,
    message: Message,
    rendered: Rendered,
    destination: Destination,
    unsubscribe_url: str = "",
    link: str = "",
    image_url: str = "",
    promo_code: str = "",
    placement: str = "",
    expires_at: datetime | None = None,
) -> OutgoingMessage:
    """Put a rendered message into its envelope: sender, recipients, and an e-mail's headers of RFC 8058.

    A message that nobody can unsubscribe from (an order needs it, or it was asked for, once) has no
    `unsubscribe_url`. `link` is where a tap on a push or on an item of the inbox leads;
    such an item stands in `placement` as well, until `expires_at`.
    """
    installation = message.installation
    is_mail = message.delivery_channel == DeliveryChannel.EMAIL
    values = tuple(each.value for each in destination.addresses)
    data = {"message_id": message.public_id.hex, "deep_link": link, "promo_code": promo_code}
    if message.delivery_channel == DeliveryChannel.IN_APP:
        until = "" if expires_at is None else expires_at.isoformat()
        data |= {"placement": placement, "expires_at": until}
    return OutgoingMessage(
        key=message.public_id.hex,
        recipient=destination.value,
        sender=sender_of(installation),
        subject=rendered.subject,
        text=rendered.text,
        html=rendered.html,
        headers=_headers(message, unsubscribe_url) if is_mail else {},
        title=rendered.title,
        link=link,
        image_url=image_url,
        data={} if is_mail else {name: value for name, value in data.items() if value},
        recipients=values,
        callback_url=_callback_url(message),
        installation_id=message.installation_id,
    )


def _callback_url(message: Message) -> str:
    """Return where the provider of a text message reports to; "" for others, and without APP_URL."""
    if message.delivery_channel != DeliveryChannel.SMS or not settings.APP_URL:
        return ""
    webhook = feedback.webhook_of(installation=message.installation, now=message.decided_at)
    return feedback.webhook_url(webhook=webhook, provider=texts.PROVIDER)


def _headers(message: Message, unsubscribe_url: str) -> dict[str, str]:
    host = urlsplit(message.installation.saleor_api_url).hostname or "localhost"
    return {
        **(_one_click(unsubscribe_url) if unsubscribe_url else {}),
        "List-Id": f"<{message.template.replace('_', '-')}.{host}>",
        "Auto-Submitted": "auto-generated",
    }


def _one_click(unsubscribe_url: str) -> dict[str, str]:
    return {
        "List-Unsubscribe": f"<{unsubscribe_url}>",
        "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
    }


def sender_of(installation: Installation) -> str:
    """Return the From of an installation's messages, e.g. "Shop <shop@example.com>", or ""."""
    return installation.sender or settings.DEFAULT_SENDER or ""


def sender_name(installation: Installation) -> str:
    """Return the name in the From, by which the shopper knows the shop, or ""."""
    return parseaddr(sender_of(installation))[0]


class Channels:
    """The delivery channels that CHANNELS names, each built anew after a second: what one was built with, such
    as a shop's account, is asked for as seldom."""

    def __init__(self) -> None:
        self._built: dict[str, tuple[float, Channel]] = {}

    def get(self, delivery_channel: str) -> Channel:
        """Raises ConfigurationError or UnknownAlias."""
        built_at, channel = self._built.get(delivery_channel, (0.0, None))
        moment = monotonic()
        if channel is None or moment - built_at > _BELIEVED:
            channel = build_backend("CHANNELS", delivery_channel)
            self._built[delivery_channel] = moment, channel
        return channel


@dataclass(frozen=True)
class Call:
    """A hand-over that has begun. `settle` must be called once, by the thread that began it."""

    message: Message
    outgoing: OutgoingMessage
    now: datetime
    #: None: it was settled before any provider was called.
    sending: Sending | None
    wants_retry: bool = False
    #: When it began, by a clock that is never set (seconds).
    began: float = field(default_factory=monotonic)

    def is_over(self) -> bool:
        """Tell whether the provider has answered."""
        return self.sending is None or self.sending.is_over()

    def settle(self) -> bool:
        """Wait for what the provider answers and write it down.

        Return whether another try is wanted: it certainly has not got the message, and may take it later.
        """
        answer = self.answer()
        if isinstance(answer, SendResult):
            _write_sent([(self, answer)])
        return self.follow(answer)

    def answer(self) -> SendResult | ChannelError | None:
        """Wait for what the provider answers; None: it was not called."""
        if self.sending is None:
            return None
        try:
            return self.sending.outcome()
        except ChannelError as error:
            return error
        except Exception as error:
            # A fault inside a channel: what the provider has is unknown, and its text may hold an address.
            text = f"The delivery channel failed with {type(error).__name__}."
            return ChannelError(text, is_ambiguous=True)

    def follow(self, answer: SendResult | ChannelError | None) -> bool:
        """Write down what was answered, if `_write_sent` has not; return whether another try is wanted."""
        message, outgoing, now = self.message, self.outgoing, self.now
        if answer is None:
            return self.wants_retry
        if isinstance(answer, ChannelError):
            if answer.is_address_dead:
                _bury(message, outgoing.recipients or (outgoing.recipient,), now)
            if answer.has_unsubscribed and message.delivery_channel == DeliveryChannel.SMS:
                texts.stop(installation=message.installation, hashed=message.address_hash, now=now)
            return _record_failure(message, answer, now, _waited(self.began))
        if message.status != MessageStatus.SENT:
            _settle(
                message,
                MessageStatus.SENT,
                now,
                handed_over_at=now,
                provider=answer.provider_message_id,
            )
        _bury(message, answer.dead, now)
        return False


def settle_each(calls: Sequence[Call]) -> list[bool]:
    """Wait for what providers answer to several calls, and write it down together; as `Call.settle`.

    One that cannot be written down is UNCERTAIN later, and does not hold up the others.
    """
    answers = [one.answer() for one in calls]
    given = zip(calls, answers, strict=True)
    try:
        _write_sent([(one, told) for one, told in given if isinstance(told, SendResult)])
    except Exception as error:
        logger.warning("Outcomes were not written down together. %s", kind_and_place(error))
    return [_followed(one, told) for one, told in zip(calls, answers, strict=True)]


def _followed(one: Call, answer: SendResult | ChannelError | None) -> bool:
    try:
        return one.follow(answer)
    except Exception as error:
        logger.warning(
            "What became of message %s was not written down. %s",
            one.message.public_id,
            kind_and_place(error),
        )
        return False


def _write_sent(told: Sequence[tuple[Call, SendResult]]) -> None:
    """Write down together what went, where nobody is to be told of it, as mostly: one statement is enough."""
    shops = {one.message.installation_id for one, _ in told}
    for shop in shops:
        ours = {
            one.message.pk: (one, result)
            for one, result in told
            if one.message.installation_id == shop
        }
        given: dict[str, Any] = {
            "shop": shop,
            "event": BusEvent.MESSAGE_SENT.value,
            "messages": list(ours),
            "moments": [one.now for one, _ in ours.values()],
            "names": [result.provider_message_id for _, result in ours.values()],
        }
        with prepared.cursor() as cursor:
            cursor.execute(_SETTLE_UNHEARD, given)
            written = [pk for (pk,) in cursor.fetchall()]
        for one, result in map(ours.__getitem__, written):
            _set(
                one.message,
                status=MessageStatus.SENT,
                reason="",
                error="",
                retry_at=None,
                handed_over_at=one.now,
                provider_message_id=result.provider_message_id,
            )
            message_sent.send_robust(
                Message, installation=one.message.installation, message=one.message
            )


def call(
    *,
    message: Message,
    outgoing: OutgoingMessage,
    now: datetime,
    channel: Channel | None = None,
    channels: Channels | None = None,
) -> Call:
    """Begin to give a committed message to its delivery channel: claim it, and call the provider.

    Must run outside any transaction. `channel` takes it instead of the one that CHANNELS names; `channels`
    keeps those that it names for whoever hands over many. Nothing may come between the decision and this: what
    is recorded of the person meanwhile is not looked at.
    """
    began = monotonic()
    if message.delivery_channel == DeliveryChannel.PUSH:
        is_ours, tokens = _claim_push(message, outgoing.recipients, now)
        if not tokens:
            text = "No device is the person's any more."
            reason = NotSentReason.NO_ADDRESS
            wants_retry = give_up(
                message=message, reason=reason, error=text, is_retryable=True, now=now
            )
            return Call(message, outgoing, now, None, wants_retry)
        outgoing = replace(outgoing, recipient=tokens[0], recipients=tokens)
    else:
        is_ours = _claim(message, now)
    if not is_ours and _is_stopped(message):
        text = "All sends were stopped before the hand-over."
        wants_retry = give_up(
            message=message,
            reason=NotSentReason.SENDS_STOPPED,
            error=text,
            is_retryable=True,
            now=now,
        )
        return Call(message, outgoing, now, None, wants_retry)
    if not is_ours:
        logger.warning("Message %s was settled before its hand-over: not sent", message.public_id)
        return Call(message, outgoing, now, None)
    try:
        if channel is None:
            channel = (channels or Channels()).get(message.delivery_channel)
        if not outgoing.sender and message.delivery_channel == DeliveryChannel.EMAIL:
            raise ConfigurationError(  # noqa: TRY301 (the same outcome as a channel that cannot be built)
                "There is no sender: set one on the app's Dashboard page or "
                "SALEOR_PERSONALIZE['DEFAULT_SENDER']."
            )
    except (ConfigurationError, UnknownAlias) as error:
        return Call(message, outgoing, now, _failed(ChannelError(str(error))))
    try:
        sending = channel.begin(outgoing)
    except Exception as error:
        sending = _failed(error)
    return Call(message, outgoing, now, sending, began=began)


def _failed(error: Exception) -> Sending:
    def outcome() -> SendResult:
        raise error

    return Sending(is_over=lambda: True, outcome=outcome)


def hand_over(
    *,
    message: Message,
    outgoing: OutgoingMessage,
    now: datetime,
    channel: Channel | None = None,
) -> bool:
    """Give a committed message to its delivery channel (`call`), and record the outcome.

    Returns whether another try is wanted: the provider certainly has not got it, and it may take it later.
    """
    return call(message=message, outgoing=outgoing, now=now, channel=channel).settle()


def end_batch() -> None:
    """Close what delivery channels keep open between messages, once no more follows."""
    connections.close_all()


def _bury(message: Message, values: Collection[str], now: datetime) -> None:
    """Never use these addresses of a delivery channel again: the provider says that they are gone."""
    gone = [value for value in values if value]
    destinations.bury(
        installation=message.installation,
        delivery_channel=message.delivery_channel,
        values=gone,
        now=now,
    )
    if gone and message.delivery_channel == DeliveryChannel.PUSH:
        rows = Message.objects.of(message.installation).filter(pk=message.pk)
        with transaction.atomic():
            # Its person may have been erased meanwhile.
            for row in rows.select_for_update():
                outcomes.record(
                    message=row,
                    kind=MessageEventKind.DEAD_TOKEN,
                    at=now,
                    now=now,
                    detail=str(len(gone)),
                )


def give_up(
    *, message: Message, reason: NotSentReason, error: str, is_retryable: bool, now: datetime
) -> bool:
    """Take back a message that was about to leave and certainly has not; return whether to try again."""
    own = Message.objects.of(message.installation).filter(
        pk=message.pk,
        status=MessageStatus.HANDING_OVER,
        attempts=message.attempts,
        handed_over_at=None,
    )
    if not own.exists():
        logger.warning("Message %s was settled before it was given up", message.public_id)
        return False
    logger.warning("Message %s was not handed over: %s", message.public_id, error)
    is_tried_again = is_retryable and message.attempts < MAX_ATTEMPTS
    is_ours = _settle(
        message,
        MessageStatus.FAILED,
        now,
        among=own,
        reason=reason,
        error=error,
        is_final=not is_tried_again,
    )
    # Else it was taken back, and perhaps handed over by another worker, between the question and now.
    return is_ours and is_tried_again


def _claim(message: Message, now: datetime) -> bool:
    """Write down that the provider is called now; tell whether this worker may call it."""
    with prepared.cursor() as cursor:
        cursor.execute(_CLAIM, _which(message, now))
        return bool(cursor.rowcount)


def _claim_push(
    message: Message, tokens: Collection[str], now: datetime
) -> tuple[bool, tuple[str, ...]]:
    """Do the same of a push, and return the devices that it may go to; none: it was not claimed."""
    hashes = {devices.token_hash(token): token for token in tokens}
    which = {**_which(message, now), "profile": message.profile_id, "hashes": list(hashes)}
    with prepared.cursor() as cursor:
        cursor.execute(_CLAIM_PUSH, which)
        is_ours, still = cursor.fetchone()
    return is_ours, tuple(token for hashed, token in hashes.items() if hashed in still)


def _which(message: Message, now: datetime) -> dict[str, Any]:
    return {
        "installation": message.installation_id,
        "message": message.pk,
        "attempts": message.attempts,
        "now": now,
    }


def _is_stopped(message: Message) -> bool:
    return (
        Message.objects.of(message.installation)
        .filter(
            pk=message.pk,
            status=MessageStatus.HANDING_OVER,
            attempts=message.attempts,
            installation__sends_stopped_at__isnull=False,
        )
        .exists()
    )


def _waited(began: float) -> timedelta:
    """Return for how long a provider was silent; nothing for one that answered as providers do."""
    seconds = monotonic() - began
    return timedelta(seconds=seconds if seconds > _SILENCE else 0)


def _record_failure(
    message: Message, error: ChannelError, now: datetime, waited: timedelta
) -> bool:
    """`waited`: how long ago `now` is, as the provider wants to be left alone from its answer on."""
    logger.warning("Message %s was not handed over: %s", message.public_id, error)
    wait = error.retry_after and waited + min(error.retry_after, pace.LONGEST_PAUSE)
    if wait is not None:
        pace.pause(
            installation_id=message.installation_id,
            delivery_channel=message.delivery_channel,
            until=now + wait,
            now=now + waited,
        )
    if error.is_ambiguous:
        _settle(message, MessageStatus.UNCERTAIN, now, handed_over_at=now, error=str(error))
        return False
    is_tried_again = not error.is_permanent and message.attempts < MAX_ATTEMPTS
    _settle(
        message,
        MessageStatus.FAILED,
        now,
        reason=NotSentReason.CHANNEL_ERROR,
        error=str(error),
        is_final=not is_tried_again,
        retry_at=now + wait if is_tried_again and wait else None,
    )
    return is_tried_again


def _settle(
    message: Message,
    status: MessageStatus,
    now: datetime,
    *,
    among: QuerySet[Message] | None = None,
    is_final: bool = True,
    handed_over_at: datetime | None = None,
    provider: str = "",
    reason: str = "",
    error: str = "",
    retry_at: datetime | None = None,
) -> bool:
    """Write down what became of a message; return whether it was there, and still `among` these."""
    told = {
        "reason": reason,
        "error": error,
        "handed_over_at": handed_over_at,
        "retry_at": retry_at,
        "provider_message_id": provider,
    }
    with transaction.atomic():
        rows = Message.objects.of(message.installation).filter(pk=message.pk)
        if among is not None and not among.select_for_update().values_list("pk").first():
            return False
        if status == MessageStatus.UNCERTAIN:
            list(rows.select_for_update(no_key=True).values_list("pk"))
            if outcomes.was_taken(message=message):
                status, told["error"] = MessageStatus.SENT, ""
        is_kept = _write(message, status=status, **told)
        if is_kept and is_final:
            outcomes.publish(message=message, now=now)
    signal = message_sent if status == MessageStatus.SENT else message_not_sent
    signal.send_robust(Message, installation=message.installation, message=message)
    return is_kept


def _write(message: Message, **outcome: Any) -> bool:
    """Set what became of a message, on it and in its row; tell whether the row was there.

    Its person may have been erased meanwhile: then there is nothing to write the outcome to.
    """
    _set(message, **outcome)
    which = {"shop": message.installation_id, "message": message.pk}
    with prepared.cursor() as cursor:
        cursor.execute(_SETTLE, {**outcome, **which})
        return bool(cursor.rowcount)


def _set(message: Message, **outcome: Any) -> None:
    for name, value in outcome.items():
        setattr(message, name, value)


def _interrupted(now: datetime) -> QuerySet[Message]:
    """Return messages that never reported back: their worker was killed."""
    return Message.objects.filter(
        status=MessageStatus.HANDING_OVER, decided_at__lte=now - HAND_OVER_LEASE
    )


def interrupted_before_hand_over(*, now: datetime) -> QuerySet[Message]:
    """Return messages that surely did not go, and that whoever decided them decides anew."""
    return _interrupted(now).filter(handed_over_at=None).exclude(came_from={})


def settle_unsent(
    *,
    message: Message,
    status: MessageStatus,
    reason: NotSentReason,
    now: datetime,
    is_final: bool = True,
) -> None:
    """Settle one of `interrupted_before_hand_over`. Must run in the transaction that holds its row.

    A worker that was only slow can no longer hand it over.
    """
    message.status, message.reason, message.error = status, reason, _STOPPED_BEFORE
    message.save(update_fields=["status", "reason", "error"])
    if is_final:
        outcomes.publish(message=message, now=now)
    transaction.on_commit(
        lambda: message_not_sent.send_robust(
            Message, installation=message.installation, message=message
        )
    )


def settle_interrupted(*, now: datetime) -> int:
    """Declare hand-overs that never reported back UNCERTAIN; return how many.

    Their worker was killed. The provider may have the message, so it is not sent again. Those that surely
    did not go and are decided anew are left to whoever does that.
    """
    with transaction.atomic():
        interrupted = list(
            _interrupted(now)
            .exclude(~Q(came_from={}), handed_over_at=None)
            .select_related("installation", "enrollment")
            .select_for_update(skip_locked=True, of=("self",))
        )
        for message in interrupted:
            message.status = MessageStatus.UNCERTAIN
            message.error = (
                _STOPPED_BEFORE
                if message.handed_over_at is None
                else "The worker stopped during the hand-over. The message may have been sent."
            )
            if outcomes.was_taken(message=message):
                message.status, message.error = MessageStatus.SENT, ""
            message.save(update_fields=["status", "error"])
            outcomes.publish(message=message, now=now)
    return len(interrupted)


def installation_of(claims: Claims) -> Installation:
    """Return the shop of a link of ours; raise InvalidToken when it is no longer with us."""
    installation = Installation.objects.filter(pk=claims.installation_id).first()
    if installation is None:
        raise InvalidToken("The shop of this link is no longer with us.")
    return installation


def unsubscribe(*, claims: links.UnsubscribeClaims, now: datetime) -> None:
    """Record NO and suppress the address of an unsubscribe link, in its installation, at once.

    Works for a person who was erased since: then only the address, by its hash, is left to be
    suppressed. Doing it twice is harmless. Raises InvalidToken when the shop is gone.
    """
    installation = installation_of(claims)
    if not claims.address_hash:
        # The go-live check tries the link out, and speaks for nobody.
        return
    with transaction.atomic():
        profile = Profile.objects.of(installation).filter(public_id=claims.profile_id).first()
        if profile is None:
            identity.lock_identities(installation, [(IdentityKind.EMAIL, claims.address_hash)])
            consent.suppress(
                installation=installation,
                delivery_channel=DeliveryChannel.EMAIL,
                address_hash=claims.address_hash,
                reason=SuppressionReason.UNSUBSCRIBED,
                now=now,
            )
            return
        # A decision or an opt-in under way about this person, under whatever id, finishes first; a
        # later one sees the NO.
        consent.hold(profile=profile, address_hashes=[claims.address_hash])
        consent.unsubscribe(
            profile=profile,
            address_hash=claims.address_hash,
            source="unsubscribe_link",
            now=now,
        )
