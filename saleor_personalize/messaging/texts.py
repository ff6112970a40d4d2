"""What comes back of text messages: what became of them, and what people answer. STOP ends them, at once.

Who writes from a number holds it. STOP says no to everything over this delivery channel, for whoever is
known by the number; START takes back that no, and no other.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from datetime import datetime
from urllib.parse import parse_qsl
from uuid import UUID

from django.db import transaction

from saleor_personalize.conf import build_backend, settings
from saleor_personalize.enums import (
    ConsentState,
    DeliveryChannel,
    IdentityKind,
    MessageEventKind,
    Purpose,
    Reply,
    SuppressionReason,
)
from saleor_personalize.exceptions import ConfigurationError, MalformedPayload, UnknownAlias
from saleor_personalize.messaging import outcomes
from saleor_personalize.messaging.channels.sms import (
    KEY,
    NUMBER,
    Callback,
    Report,
    TextMessageChannel,
    Written,
)
from saleor_personalize.messaging.feedback import Taken
from saleor_personalize.messaging.queries import REACHED
from saleor_personalize.models import Consent, Installation, Message, Profile
from saleor_personalize.profiles import consent, identity, phones, tombstones
from saleor_personalize.profiles.consent import EVERYTHING, Choice

#: Under this name its provider reports, and so is its delivery channel called.
PROVIDER = DeliveryChannel.SMS.value
#: Where a no or a yes comes from, in the ledger.
SOURCE = "text_message"
#: What STOP is about: a provider that hears it lets nothing through any more.
_PURPOSES = (Purpose.MARKETING, Purpose.TRANSACTIONAL)


def channel() -> TextMessageChannel:
    """Return the plug-in of text messages. Raises UnknownAlias when the service has none that reports."""
    try:
        found = build_backend("CHANNELS", PROVIDER)
    except ConfigurationError as error:
        raise UnknownAlias(str(error)) from None
    if not isinstance(found, TextMessageChannel):
        raise UnknownAlias(
            f"{type(found).__name__} of CHANNELS['sms'] is no TextMessageChannel: nothing it reports can "
            "be read."
        )
    return found


def is_on() -> bool:
    """Tell whether the service has text messages whose provider reports."""
    try:
        channel()
    except UnknownAlias:
        return False
    return True


def glance(*, body: bytes, content_type: str, query: str) -> tuple[bool, bool]:
    """Tell of a body that was not believed yet whether it is urgent, and whether somebody wrote STOP in it.

    Urgent is what people write, and what ends messages to a number; a body that cannot be read may be either.
    """
    callback = Callback(url="", body=body, content_type=content_type, query=dict(parse_qsl(query)))
    try:
        told = channel().read(callback)
        written = [each for each in told if isinstance(each, Written)]
        reports = [each for each in told if isinstance(each, Report)]
        has_stop = any((each.reply or reply_of(each.text)) == Reply.STOP for each in written)
    except Exception:
        # A plug-in may raise anything. It is stored first; what is wrong with it, its worker tells.
        return True, False
    stops = (MessageEventKind.UNSUBSCRIBED, MessageEventKind.COMPLAINED)
    is_stopping = any(each.kind in stops or each.is_hard for each in reports)
    return bool(written) or is_stopping, has_stop


def believe(
    *,
    installation: Installation,
    body: bytes,
    content_type: str,
    query: str,
    received_at: datetime,
    now: datetime,
) -> Taken:
    """Record what the provider reports. Raises MalformedPayload when it cannot be read; safe to repeat.

    `received_at`: an answer that waited for its worker does not overrule one that came after it.
    """
    asked: Mapping[str, str] = dict(parse_qsl(query))
    callback = Callback(url="", body=body, content_type=content_type, query=asked)
    try:
        told = channel().read(callback)
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        # The text may quote the body.
        raise MalformedPayload(
            f"Not what the provider of text messages sends ({type(error).__name__})."
        ) from None
    for each in told:
        if each.number and not NUMBER.fullmatch(each.number):
            raise MalformedPayload("The plug-in of text messages read a number that is not E.164.")
    ids = {
        (IdentityKind.PHONE, phones.number_hash(each.number)): each.at or now
        for each in told
        if each.number
    }
    gone = tombstones.look_up(installation, ids)
    changed = [_take(installation, each, asked.get(KEY, ""), received_at, now) for each in told]
    return Taken(any(changed), any(gone.covers(id_, at) for id_, at in ids.items()), [])


def _take(
    installation: Installation,
    told: Report | Written,
    key: str,
    received_at: datetime,
    now: datetime,
) -> bool:
    hashed = phones.number_hash(told.number) if told.number else ""
    with transaction.atomic():
        if isinstance(told, Report):
            return _take_report(installation, told, told.key or key, hashed, now)
        return _take_written(installation, told, hashed, received_at, now)


# -- what became of a message --------------------------------------------------------------------------


def _take_report(
    installation: Installation, told: Report, key: str, hashed: str, now: datetime
) -> bool:
    message = _message(installation, told, key)
    hashed = hashed or (message.address_hash if message is not None else "")
    if hashed:
        _hold(installation, hashed)
    if message is not None and not _record(message, told, now):
        return False
    if told.kind == MessageEventKind.BOUNCED and told.is_hard and hashed:
        _suppress(installation, hashed, SuppressionReason.HARD_BOUNCE, now)
        return True
    if told.kind == MessageEventKind.COMPLAINED and hashed:
        _suppress(installation, hashed, SuppressionReason.COMPLAINT, now)
        return True
    if told.kind == MessageEventKind.UNSUBSCRIBED and hashed:
        stop(installation=installation, hashed=hashed, now=now)
        return True
    return message is not None


def _message(installation: Installation, told: Report, key: str) -> Message | None:
    """Return the message that it is about: by our own key, else by the provider's name for it."""
    rows = (
        Message.objects.of(installation)
        .filter(delivery_channel=DeliveryChannel.SMS)
        .select_related("installation", "enrollment", "profile__installation")
    )
    try:
        found = rows.filter(public_id=UUID(hex=key)).first()
    except ValueError:
        found = None
    if found is None and told.message_id:
        found = rows.filter(provider_message_id=told.message_id).first()
    return found


def _record(message: Message, told: Report, now: datetime) -> bool:
    if told.message_id and not message.provider_message_id:
        # The answer that would have told was lost.
        rows = Message.objects.of(message.installation_id).filter(pk=message.pk)
        rows.update(provider_message_id=told.message_id)
    event = outcomes.record(
        message=message,
        kind=told.kind,
        # A provider's clock may be wrong.
        at=min(max(told.at or now, message.decided_at), now),
        now=now,
        provider_event_id=f"{PROVIDER}:{told.event_id}",
        detail=told.detail,
    )
    return event is not None


# -- what people answer ----------------------------------------------------------------------------------


def reply_of(text: str) -> Reply | None:
    """Return what an answer means: the whole of it has to be one of the words."""
    word = _folded(text)
    if word in map(_folded, settings.SMS_STOP_WORDS):
        return Reply.STOP
    return Reply.START if word in map(_folded, settings.SMS_START_WORDS) else None


def _folded(text: str) -> str:
    plain = unicodedata.normalize("NFKC", text).casefold()
    return "".join(letter for letter in plain if letter.isalnum())


def _take_written(
    installation: Installation, told: Written, hashed: str, received_at: datetime, now: datetime
) -> bool:
    reply = told.reply or reply_of(told.text)
    if reply is None or not hashed:
        return False
    if reply == Reply.START:
        return start(installation=installation, hashed=hashed, now=received_at)
    stop(installation=installation, hashed=hashed, now=received_at)
    last = (
        Message.objects.of(installation)
        .filter(
            delivery_channel=DeliveryChannel.SMS, address_hash=hashed, status__in=REACHED,
            decided_at__lte=now,
        )
        .select_related("installation", "enrollment", "profile__installation")
        .order_by("-decided_at", "-pk")
        .first()
    )  # fmt: skip
    if last is not None:
        report = Report(MessageEventKind.UNSUBSCRIBED, told.event_id, at=told.at)
        _record(last, report, now)
    return True


def stop(*, installation: Installation, hashed: str, now: datetime) -> None:
    """Let nothing more go to a number (by its hash): a no of whoever holds it, and a suppression.

    `now` is when it was said. Doing it twice is harmless.
    """
    with transaction.atomic():
        _hold(installation, hashed)
        for profile in phones.holders(installation=installation, hashed=hashed):
            consent.choose(
                profile=profile,
                choices=[
                    Choice(purpose, DeliveryChannel.SMS, EVERYTHING, is_allowed=False)
                    for purpose in _PURPOSES
                ],
                source=SOURCE,
                now=now,
            )
        _suppress(installation, hashed, SuppressionReason.UNSUBSCRIBED, now)


def start(*, installation: Installation, hashed: str, now: datetime) -> bool:
    """Take back what STOP said from this number until `now`, when START came; return whether anything was."""
    with transaction.atomic():
        _hold(installation, hashed)
        if _is_stopped_since(installation, hashed, now):
            return False
        is_lifted = consent.lift_suppression(
            installation=installation,
            delivery_channel=DeliveryChannel.SMS,
            address_hashes=[hashed],
        )
        given = [
            _take_back(profile, purpose, now)
            for profile in phones.holders(installation=installation, hashed=hashed)
            for purpose in _PURPOSES
        ]
        return any(given) or is_lifted


def _is_stopped_since(installation: Installation, hashed: str, moment: datetime) -> bool:
    """Tell whether STOP came after a START that is only read now."""
    later = Consent.objects.of(installation).filter(
        profile__in=phones.holders(installation=installation, hashed=hashed),
        delivery_channel=DeliveryChannel.SMS,
        source=SOURCE,
        state=ConsentState.DENIED,
        recorded_at__gt=moment,
    )
    return later.exists()


def _take_back(profile: Profile, purpose: Purpose, now: datetime) -> bool:
    """Say again what held before STOP, if STOP was the last word; what an order needs, nobody had to allow."""
    lines = Consent.objects.of(profile.installation).filter(
        profile__in=profile.person(), purpose=purpose, delivery_channel=DeliveryChannel.SMS
    )
    last = lines.order_by("-pk").first()
    if last is None or (last.source, last.state) != (SOURCE, ConsentState.DENIED):
        return False
    said = lines.exclude(source=SOURCE, recorded_at=last.recorded_at)
    before = consent.Ledger(profile, said)
    held = {
        topic: before.state(purpose, DeliveryChannel.SMS, topic)
        for topic in (EVERYTHING, *settings.TOPICS)
    }
    if purpose == Purpose.TRANSACTIONAL and held[EVERYTHING] is None:
        held[EVERYTHING] = ConsentState.GRANTED
    if held[EVERYTHING] == ConsentState.GRANTED:
        held = {EVERYTHING: ConsentState.GRANTED}
    return bool(
        consent.choose(
            profile=profile,
            choices=[
                Choice(purpose, DeliveryChannel.SMS, topic, is_allowed=True)
                for topic, state in held.items()
                if state == ConsentState.GRANTED
            ],
            source=SOURCE,
            now=now,
        )
    )


def _hold(installation: Installation, hashed: str) -> None:
    """Let a decision under way about whoever has a number finish first; a later one sees what is written.

    All ids of the person at once, in the one order that all take: no two wait for each other.
    """
    for profile in phones.holders(installation=installation, hashed=hashed):
        consent.hold(profile=profile)
    identity.lock_identities(installation, [(IdentityKind.PHONE, hashed)])


def _suppress(
    installation: Installation, hashed: str, reason: SuppressionReason, now: datetime
) -> None:
    consent.suppress(
        installation=installation,
        delivery_channel=DeliveryChannel.SMS,
        address_hash=hashed,
        reason=reason,
        now=now,
    )
