"""What providers of e-mail report of the mail they took: who must not be written to any more, and why.

A dead address and a complaint stop all marketing to it at once, whatever journey it is of. A mailbox that
is full for now does so when it refused SOFT_BOUNCES messages in a row. Who unsubscribes at the provider
has said no.
"""

from __future__ import annotations

import secrets
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import transaction
from django.db.models import Exists, OuterRef
from django.db.models.functions import Coalesce
from django.urls import reverse

from saleor_personalize.conf import settings
from saleor_personalize.enums import (
    DeliveryChannel,
    IdentityKind,
    MessageEventKind,
    SuppressionReason,
)
from saleor_personalize.exceptions import ConfigurationError
from saleor_personalize.messaging import outcomes
from saleor_personalize.messaging.channels import tracking
from saleor_personalize.messaging.channels.tracking import Told
from saleor_personalize.messaging.queries import REACHED
from saleor_personalize.models import (
    Identity,
    Installation,
    Message,
    MessageEvent,
    Profile,
    ProviderWebhook,
    email_hash,
)
from saleor_personalize.models.fields import keyed_hash
from saleor_personalize.profiles import consent, identity, tombstones
from saleor_personalize.profiles.queries import parts_of

#: Where a no comes from, in the ledger.
SOURCE = "provider"
COMPLAINT = "complaint"
_SECRET_BYTES = 24
#: What may end with an address that is not used any more.
#: How exactly it is kept when a provider was heard last: not each of its calls may cost a write.
_HEARD = timedelta(hours=1)


# -- the address of a shop ----------------------------------------------------------------------------


def webhook_of(*, installation: Installation, now: datetime) -> ProviderWebhook:
    """Return where a shop's providers report to; it is made when it is asked for first."""
    found = ProviderWebhook.objects.of(installation).first()
    if found is not None:
        return found
    secret = secrets.token_urlsafe(_SECRET_BYTES)
    made, _is_new = ProviderWebhook.objects.get_or_create(
        installation=installation,
        defaults={"secret": secret, "secret_hash": _hash(secret), "created_at": now},
    )
    return made


def replace_secret(*, installation: Installation, now: datetime) -> ProviderWebhook:
    """Give a shop another address; who calls the former one is refused from now on."""
    webhook = webhook_of(installation=installation, now=now)
    webhook.secret = secrets.token_urlsafe(_SECRET_BYTES)
    webhook.secret_hash, webhook.created_at, webhook.heard = _hash(webhook.secret), now, {}
    webhook.save()
    return webhook


def webhook_url(*, webhook: ProviderWebhook, provider: str) -> str:
    """Return what is typed in at a provider. Raises ConfigurationError without APP_URL."""
    if not settings.APP_URL:
        raise ConfigurationError("Set SALEOR_PERSONALIZE['APP_URL']: providers have to find us.")
    path = reverse(
        "personalize-provider-webhook", kwargs={"provider": provider, "secret": webhook.secret}
    )
    return f"{settings.APP_URL.rstrip('/')}{path}"


def find(*, secret: str) -> ProviderWebhook | None:
    """Return whose address a secret is."""
    rows = ProviderWebhook.objects.select_related("installation")
    return rows.filter(secret_hash=_hash(secret)).first()


def note_heard(*, webhook: ProviderWebhook, provider: str, now: datetime) -> None:
    """Keep that a provider has been heard, to the hour."""
    last = webhook.heard.get(provider)
    if last is not None and datetime.fromisoformat(last) > now - _HEARD:
        return
    with transaction.atomic():
        row = ProviderWebhook.objects.of(webhook.installation_id).select_for_update()
        for kept in row.filter(pk=webhook.pk):
            kept.heard = {**kept.heard, provider: now.isoformat()}
            kept.save(update_fields=["heard"])


def _hash(secret: str) -> str:
    return keyed_hash("provider_webhook", secret)


# -- what is reported ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Taken:
    """What a body did: whether anything is new, and whether it speaks of somebody who was erased."""

    changed: bool
    is_of_erased: bool
    #: Rows of it that are not what the provider sends, as bodies of their own.
    unreadable: list[bytes] = field(repr=False)


def believe(
    *, installation: Installation, provider: str, body: bytes, content_type: str, now: datetime
) -> Taken:
    """Record what a provider reports. Raises MalformedPayload when it cannot be read; safe to repeat."""
    reading = tracking.read(provider, body=body, content_type=content_type)
    ids = {
        (IdentityKind.EMAIL, email_hash(told.recipient)): told.at or now
        for told in reading.told
        if told.recipient
    }
    gone = tombstones.look_up(installation, ids)
    with transaction.atomic():
        # Of one message after the other, in one order: no two bodies wait for each other.
        found = [
            (told, _message(installation, told))
            for told in sorted(reading.told, key=lambda told: (told.key, told.message_id))
        ]
        _hold(
            installation,
            [_address_hash(*each) for each in found if each[0].kind in tracking.STOPPING],
        )
        results = [_take(installation, told, message, now) for told, message in found]
    is_of_erased = any(gone.covers(id_, at) for id_, at in ids.items())
    return Taken(any(results), is_of_erased, reading.unreadable)


def is_urgent(provider: str, *, body: bytes, content_type: str) -> bool:
    """Tell whether a body that was not believed yet speaks of an address that nothing must go to any more."""
    return any(
        told.kind in tracking.STOPPING and (told.is_hard or told.kind != MessageEventKind.BOUNCED)
        for told in tracking.glance(provider, body=body, content_type=content_type)
    )


def _hold(installation: Installation, address_hashes: Collection[str]) -> None:
    """Let decisions under way about these addresses finish first; a later one sees what is written.

    All ids of all their owners at once, in the order of every decision: the two never wait for each other.
    """
    ids = {(IdentityKind.EMAIL.value, each) for each in address_hashes if each}
    if not ids:
        return
    owners = Identity.objects.of(installation).filter(
        kind=IdentityKind.EMAIL, value__in=[value for _kind, value in ids]
    )
    people = Profile.objects.of(installation).filter(pk__in=owners.values("profile"))
    speakers = set(people.values_list(Coalesce("merged_into_id", "pk"), flat=True))
    theirs = Identity.objects.of(installation).filter(
        profile__in=parts_of(installation=installation, people=speakers).values("pk")
    )
    identity.lock_identities(installation, ids | set(theirs.values_list("kind", "value")))


def _take(installation: Installation, told: Told, message: Message | None, now: datetime) -> bool:
    """Record one thing that became of a mail, and what follows from it; return whether that is new."""
    if message is not None and not _record(message, told, now):
        return False
    address_hash = _address_hash(told, message)
    has_stopped = bool(address_hash) and _follow(installation, told, message, address_hash, now)
    return has_stopped or message is not None


def _message(installation: Installation, told: Told) -> Message | None:
    """Return the message that it is about: by our own key, else by the provider's name for it."""
    mails = Message.objects.of(installation).filter(delivery_channel=DeliveryChannel.EMAIL)
    rows = mails.select_related("installation", "enrollment", "profile__installation")
    try:
        key = UUID(hex=told.key)
    except ValueError:
        key = None
    if key is not None and (found := rows.filter(public_id=key).first()):
        return found
    if not told.message_id:
        return None
    # Some give it back without its brackets.
    bare = told.message_id.strip("<>")
    return rows.filter(provider_message_id__in={told.message_id, bare, f"<{bare}>"}).first()


def _address_hash(told: Told, message: Message | None) -> str:
    try:
        validate_email(told.recipient)
    except ValidationError:
        return message.address_hash if message is not None else ""
    return email_hash(told.recipient)


def _record(message: Message, told: Told, now: datetime) -> bool:
    return (
        outcomes.record(
            message=message,
            kind=told.kind,
            # A provider's clock may be wrong; nothing becomes of a mail before it went, or later than now.
            at=min(max(told.at or now, message.decided_at), now),
            now=now,
            provider_event_id=told.event_id,
            is_machine=told.is_machine,
            detail=told.detail,
        )
        is not None
    )


def _follow(
    installation: Installation,
    told: Told,
    message: Message | None,
    address_hash: str,
    now: datetime,
) -> bool:
    """Stop what must not go to this address any more; return whether anything was stopped."""
    match told.kind:
        case MessageEventKind.BOUNCED if told.is_hard:
            reason = SuppressionReason.HARD_BOUNCE
        case MessageEventKind.BOUNCED if _bounces_always(installation, message, address_hash):
            reason = SuppressionReason.SOFT_BOUNCES
        case MessageEventKind.COMPLAINED:
            reason = SuppressionReason.COMPLAINT
            _say_no(installation, address_hash, COMPLAINT, now)
        case MessageEventKind.UNSUBSCRIBED:
            reason = SuppressionReason.UNSUBSCRIBED
            _say_no(installation, address_hash, SOURCE, now)
        case _:
            return False
    consent.suppress(
        installation=installation,
        delivery_channel=DeliveryChannel.EMAIL,
        address_hash=address_hash,
        reason=reason,
        now=now,
    )
    return True


def _bounces_always(installation: Installation, message: Message | None, address_hash: str) -> bool:
    """Tell whether the newest SOFT_BOUNCES messages to an address all came back."""
    wanted = settings.SOFT_BOUNCES
    if not wanted or message is None or message.address_hash != address_hash:
        return False
    came_back = MessageEvent.objects.of(installation).filter(
        message=OuterRef("pk"), kind=MessageEventKind.BOUNCED
    )
    newest = (
        Message.objects.of(installation)
        .filter(address_hash=address_hash, status__in=REACHED)
        .order_by("-decided_at", "-pk")
        .annotate(came_back=Exists(came_back))
        .values_list("came_back", flat=True)[:wanted]
    )
    return len(newest) == wanted and all(newest)


def _say_no(installation: Installation, address_hash: str, source: str, now: datetime) -> None:
    """Record the no of whoever the address belongs to."""
    for profile in _owners(installation, address_hash):
        consent.unsubscribe(profile=profile, address_hash=address_hash, source=source, now=now)


def _owners(installation: Installation, address_hash: str) -> Collection[Profile]:
    owned = Identity.objects.of(installation).filter(kind=IdentityKind.EMAIL, value=address_hash)
    return (
        Profile.objects.of(installation)
        .filter(pk__in=owned.values("profile"))
        .select_related("installation")
    )
