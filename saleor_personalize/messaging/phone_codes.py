"""Codes that prove a phone number: sent once to it, and given back by who typed it.

A number that somebody types belongs to nobody by that (`phones.claim`). One text message takes a code there;
until it comes back nothing else goes to the number, and whoever has it keeps it. Each code is paid for and
reaches a phone that may be a stranger's, so a person, a number and a shop get few of them in an hour, and a
number that was stopped gets none. No answer tells whose a number is.
"""

from __future__ import annotations

import secrets
from datetime import datetime, timedelta
from hmac import compare_digest

from django.db import transaction
from django.db.models import QuerySet

from saleor_personalize.conf import settings
from saleor_personalize.enums import (
    ConsentRule,
    ConsentState,
    DeliveryChannel,
    IdentityKind,
    MessageStatus,
    NotSentReason,
    Purpose,
)
from saleor_personalize.exceptions import CodeRefused, PersonErased, TemplateIncomplete
from saleor_personalize.messaging import guards, mail, operations, rendering, segments
from saleor_personalize.messaging.channels.base import OutgoingMessage
from saleor_personalize.messaging.destinations import Address, Destination
from saleor_personalize.messaging.operations import Draft
from saleor_personalize.messaging.queries import REACHED
from saleor_personalize.models import Consent, Installation, Message, PhoneClaim, Profile
from saleor_personalize.models.fields import keyed_hash
from saleor_personalize.profiles import consent, identity, phones
from saleor_personalize.profiles.consent import EVERYTHING, Choice
from saleor_personalize.profiles.consent_rules import Ruling

#: Name of the template folder.
KEY = "confirm_phone"
#: Where a confirmed yes comes from, in the ledger.
SOURCE = "phone_code"
#: How long a code works, and how long after it was asked for one may still leave.
EXPIRY = timedelta(minutes=10)
MAX_ATTEMPTS = 5
#: The wait after a hand-over that failed; each further one is twice as long.
FIRST_RETRY = timedelta(seconds=20)

_DIGITS = 6
_KEPT = timedelta(hours=1)
_WINDOW = timedelta(hours=1)
_OVER = "No code waits for you, or its time is over: ask for another one."


def had_enough(*, profile: Profile, now: datetime) -> bool:
    """Tell whether a person got as many codes as one gets in an hour."""
    sent = _sent(profile.installation, now).filter(profile__in=profile.person())
    return bool(sent.count() >= settings.PHONE_CODES_PER_HOUR["person"])


# -- sending --------------------------------------------------------------------------------------------


def send_due(*, now: datetime, limit: int = 100) -> int:
    """Decide about the codes that were asked for; return how many were taken up.

    Any number of workers may run this at once. A number that was not proved in an hour is forgotten.
    """
    PhoneClaim.objects.filter(asked_at__lte=now - _KEPT).delete()
    if DeliveryChannel.SMS not in settings.CHANNELS:
        return 0
    due = PhoneClaim.objects.filter(due_at__lte=now, installation__sends_stopped_at=None)
    ids = list(due.order_by("due_at", "pk").values_list("pk", flat=True)[:limit])
    for id_ in ids:
        leaving = _decide(id_, now)
        if leaving is not None:
            _hand_over(id_, *leaving, now)
    return len(ids)


def _decide(id_: int, now: datetime) -> tuple[Message, OutgoingMessage] | None:
    """Decide under the locks of person and number; return what is to be handed over after the commit."""
    with transaction.atomic():
        found = PhoneClaim.objects.filter(pk=id_).select_related("profile__installation").first()
        if found is None:
            return None
        installation, hashed = found.installation, found.number_hash
        consent.hold(profile=found.profile)
        identity.lock_identities(installation, [(IdentityKind.PHONE, hashed)])
        rows = PhoneClaim.objects.of(installation).filter(pk=id_, due_at__lte=now)
        claim = rows.select_related("profile__installation").select_for_update(of=("self",)).first()
        if claim is None:
            return None
        leaving = _decided(claim, now)
        claim.save(update_fields=["due_at", "code_hash", "expires_at"])
        return leaving


def _decided(claim: PhoneClaim, now: datetime) -> tuple[Message, OutgoingMessage] | None:
    profile, claim.due_at = claim.profile, None
    draft = Draft(
        key=f"{KEY}:{claim.pk}",
        profile=profile,
        template=KEY,
        purpose=Purpose.TRANSACTIONAL,
        delivery_channel=DeliveryChannel.SMS,
        language_code=claim.language_code or profile.language_code,
    )
    message = operations.prepare(draft=draft)
    if message.pk is not None and message.status != MessageStatus.FAILED:
        return None
    objection = _objection(claim, now)
    if objection is not None:
        operations.record_not_sent(draft=draft, reason=objection, now=now)
        return None
    code = f"{secrets.randbelow(10**_DIGITS):0{_DIGITS}d}"
    try:
        rendered = segments.finish(
            rendering.render(
                template=KEY,
                language_code=draft.language_code,
                delivery_channel=DeliveryChannel.SMS,
                context={
                    "shop_name": operations.sender_name(profile.installation),
                    "code": code,
                    "minutes": EXPIRY // timedelta(minutes=1),
                },
            )
        )
    except TemplateIncomplete as error:
        operations.record_not_sent(
            draft=draft, reason=mail.why_incomplete(error), now=now, error=str(error)
        )
        return None
    if settings.DRY_RUN:
        operations.record_not_sent(draft=draft, reason=NotSentReason.DRY_RUN, now=now)
        return None
    address = Address(claim.pk, claim.number, IdentityKind.PHONE.value)
    destination = Destination(DeliveryChannel.SMS, claim.number_hash, profile, (address,))
    turn = operations.may_leave(draft=draft, destination=destination, now=now)
    if turn is not None:
        claim.due_at = turn.at
        return None
    claim.code_hash, claim.expires_at = _hash(claim, code), now + EXPIRY
    # A worker that is killed now leaves it uncertain: the code would be too old, the person asks for another.
    operations.begin_hand_over(message=message, content={}, now=now, destination=destination)
    return message, operations.address(message=message, rendered=rendered, destination=destination)


def _objection(claim: PhoneClaim, now: datetime) -> NotSentReason | None:
    """Return the first reason why the number must not get a code, or None."""
    installation = claim.profile.installation
    if not guards.is_active(installation):
        return NotSentReason.INSTALLATION_INACTIVE
    if _is_suppressed(claim):
        return NotSentReason.SUPPRESSED
    if claim.asked_at <= now - EXPIRY:
        return NotSentReason.TOO_LATE
    if not _is_wanted(claim.profile):
        return NotSentReason.NO_CONSENT
    most, sent = settings.PHONE_CODES_PER_HOUR, _sent(installation, now)
    if (
        had_enough(profile=claim.profile, now=now)
        or sent.filter(address_hash=claim.number_hash).count() >= most["number"]
        or sent.count() >= most["shop"]
    ):
        return NotSentReason.THROTTLED
    return None


def _sent(installation: Installation, now: datetime) -> QuerySet[Message]:
    return Message.objects.of(installation).filter(
        template=KEY, status__in=REACHED, decided_at__gt=now - _WINDOW
    )


def _is_suppressed(claim: PhoneClaim) -> bool:
    return consent.is_suppressed(
        installation=claim.installation,
        delivery_channel=DeliveryChannel.SMS,
        address_hash=claim.number_hash,
    )


def _is_wanted(profile: Profile) -> bool:
    """Tell whether the yes that came with the number still stands, or another one does."""
    return bool(_pending(profile)) or consent.allows_any(
        profile=profile, delivery_channel=DeliveryChannel.SMS
    )


def _hand_over(id_: int, message: Message, outgoing: OutgoingMessage, now: datetime) -> None:
    if operations.hand_over(message=message, outgoing=outgoing, now=now):
        # It certainly did not go: another code will.
        wait = FIRST_RETRY * 2 ** (message.attempts - 1)
        rows = PhoneClaim.objects.of(message.installation).filter(pk=id_)
        rows.update(due_at=max(now + wait, message.retry_at or now))


# -- the answer -----------------------------------------------------------------------------------------


def confirm(*, profile: Profile, code: str, now: datetime) -> None:
    """Let a number be theirs who knows the code that went there, and the yes that waits for it count.

    Raises CodeRefused. Every try is counted, the fifth is the last.
    """
    claim = _proved(profile, code, now)
    try:
        phones.record(profile=profile, number=claim.number, now=now)
    except PersonErased:
        raise CodeRefused(_OVER, is_over=True) from None
    with transaction.atomic():
        consent.hold(profile=profile)
        for line in _pending(profile):
            consent.choose(
                profile=profile,
                choices=[Choice(Purpose(line.purpose), DeliveryChannel.SMS, line.topic, True)],
                source=SOURCE,
                now=now,
                language_code=line.language_code,
                wording_version=line.wording_version,
                ruling=Ruling(line.country_code, ConsentRule(line.rule)) if line.rule else None,
            )
        PhoneClaim.objects.of(profile.installation).filter(
            pk=claim.pk, code_hash=claim.code_hash
        ).delete()


def _proved(profile: Profile, code: str, now: datetime) -> PhoneClaim:
    """Return the claim that a code proves; a try that fails is written down before this raises.

    Where no code went, as to a number that was stopped, every code is wrong: that it did not is not told.
    """
    with transaction.atomic():
        rows = PhoneClaim.objects.of(profile.installation).filter(profile=profile)
        claim = rows.select_for_update().first()
        if (
            claim is None
            or (claim.expires_at or claim.asked_at + EXPIRY) <= now
            or claim.attempts >= MAX_ATTEMPTS
            or not _is_wanted(profile)
        ):
            raise CodeRefused(_OVER, is_over=True)
        is_right = compare_digest(claim.code_hash, _hash(claim, "".join(code.split())))
        if is_right and not _is_suppressed(claim):
            return claim
        claim.attempts += 1
        claim.save(update_fields=["attempts"])
    if claim.attempts >= MAX_ATTEMPTS:
        raise CodeRefused(_OVER, is_over=True)
    raise CodeRefused("This is not the code that was sent.")


def _hash(claim: PhoneClaim, code: str) -> str:
    return keyed_hash("phone_code", f"{claim.pk}:{code}")


def _pending(profile: Profile) -> list[Consent]:
    """Return the lines of a profile that wait for its number: the last word on their topic."""
    lines = Consent.objects.of(profile.installation).filter(
        profile=profile, purpose=Purpose.MARKETING, delivery_channel=DeliveryChannel.SMS
    )
    newest = lines.order_by("topic", "-pk").distinct("topic")
    ended = lines.filter(topic=EVERYTHING, state=ConsentState.DENIED)
    last_no = ended.order_by("-pk").values_list("pk", flat=True).first() or 0
    return [line for line in newest if line.state == ConsentState.PENDING and line.pk > last_no]
