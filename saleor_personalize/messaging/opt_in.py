"""Double opt-in: one message asks the owner of an address whether the yes was theirs.

What waits to be asked is a PENDING line of the ledger that no decision was made about since. Until they
confirm, an address gets this message and nothing else, and not a second one within
CONFIRMATION_INTERVAL, however often somebody types it into a form.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from django.db import transaction
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.utils import formats, translation

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
from saleor_personalize.exceptions import InvalidToken, LinkExpired, TemplateIncomplete
from saleor_personalize.messaging import destinations, guards, links, mail, operations, rendering
from saleor_personalize.messaging.channels.base import OutgoingMessage
from saleor_personalize.messaging.operations import Draft
from saleor_personalize.messaging.queries import REACHED
from saleor_personalize.messaging.rendering import Rendered
from saleor_personalize.models import (
    Consent,
    Identity,
    Installation,
    Message,
    Profile,
    email_hash,
)
from saleor_personalize.profiles import consent, consent_rules, identity, merging
from saleor_personalize.profiles.consent import Choice
from saleor_personalize.profiles.consent_rules import Ruling

#: Name of the template folder.
KEY = "confirm_opt_in"
#: Where a confirmed yes comes from, in the ledger.
SOURCE = "double_opt_in"
#: The wait after a hand-over that failed; each further one is twice as long.
FIRST_RETRY = timedelta(minutes=1)


def subscribe(
    *,
    installation: Installation,
    address: str,
    topics: Sequence[str],
    now: datetime,
    visitor: str = "",
    country_code: str = "",
    language_code: str = "",
    wording_version: str = "",
) -> None:
    """Record what a form of the storefront asks for; a suppressed address is left alone.

    Anybody can send a form, so it returns nothing: neither whether the address is known, nor what it
    allowed. `visitor` is the anonymous id of whoever fills it in: where they are helps to find the rule.
    """
    if consent.is_suppressed(
        installation=installation,
        delivery_channel=DeliveryChannel.EMAIL,
        address_hash=email_hash(address),
    ):
        return
    profile = identity.resolve_profile(
        installation=installation, shown={IdentityKind.EMAIL: address}, now=now
    )
    seen_in = consent_rules.country_of_visitor(installation, visitor)
    with transaction.atomic():
        consent.hold(profile=profile)
        consent.record_yes(
            profile=profile,
            topics=topics,
            source="subscribe",
            now=now,
            country_code=consent_rules.strictest([country_code, seen_in]).country_code,
            language_code=language_code,
            wording_version=wording_version,
            asks_again=True,
        )


# -- asking --------------------------------------------------------------------------------------------


def send_due(*, now: datetime, limit: int = 100) -> int:
    """Decide about the people whose yes waits to be confirmed; return how many were taken up.

    Any number of workers may run this at once: each decision is made under the person's locks.
    """
    _take_up_interrupted(now)
    taken = 0
    for profile in _due(now, limit):
        taken += 1
        leaving = _decide(profile, now)
        if leaving is not None:
            _hand_over(*leaving, now)
    return taken


def _take_up_interrupted(now: datetime) -> None:
    """Let messages be tried again whose worker was killed before it handed them over."""
    with transaction.atomic():
        rows = operations.interrupted_before_hand_over(now=now).filter(template=KEY)
        for message in rows.select_for_update(skip_locked=True, of=("self",)).select_related(
            "installation", "enrollment"
        ):
            is_final = message.attempts >= operations.MAX_ATTEMPTS
            operations.settle_unsent(
                message=message,
                status=MessageStatus.NOT_SENT if is_final else MessageStatus.FAILED,
                reason=NotSentReason.INTERRUPTED,
                is_final=is_final,
                now=now,
            )


def _due(now: datetime, limit: int) -> list[Profile]:
    """Return whose PENDING line was not decided about, and whose message could not be handed over.

    Nobody of a shop that has stopped all sends: they are asked when it goes on.
    """
    decided = Message.objects.filter(
        profile=OuterRef("profile"), template=KEY, decided_at__gte=OuterRef("recorded_at")
    )
    waiting = (
        Consent.objects.filter(
            ~Exists(decided),
            state=ConsentState.PENDING,
            delivery_channel=DeliveryChannel.EMAIL,
            recorded_at__gt=now - settings.CONFIRMATION_EXPIRY,
            installation__sends_stopped_at=None,
        )
        .order_by("recorded_at")
        .values_list("profile", flat=True)[:limit]
    )
    failed = (
        Message.objects.filter(
            Q(retry_at=None) | Q(retry_at__lte=now),
            template=KEY,
            status=MessageStatus.FAILED,
            decided_at__lte=now - FIRST_RETRY,
            installation__sends_stopped_at=None,
        )
        .order_by("decided_at")
        .values_list("profile", flat=True)[:limit]
    )
    # Each person once, in this order.
    ids = list(dict.fromkeys([*waiting, *failed]))
    people = Profile.objects.select_related("installation").in_bulk(ids)
    return [people[id_] for id_ in ids if id_ in people]


def _decide(profile: Profile, now: datetime) -> tuple[Message, OutgoingMessage] | None:
    """Decide under the locks of the person; return what is to be handed over after the commit."""
    with transaction.atomic():
        consent.hold(profile=profile)
        newest = _lines(profile).filter(state=ConsentState.PENDING).order_by("-pk").first()
        failed = (
            Message.objects.of(profile.installation)
            .filter(profile=profile, template=KEY, status=MessageStatus.FAILED)
            .order_by("-pk")
            .first()
        )
        if newest is None:
            if failed is not None:
                # What it asked for is gone.
                _end(failed, NotSentReason.NO_CONSENT)
            return None
        if failed is not None and now < (failed.retry_at or now):
            return None
        draft = Draft(
            key=failed.idempotency_key if failed else f"{KEY}:{newest.pk}",
            profile=profile,
            template=KEY,
            purpose=Purpose.TRANSACTIONAL,
            language_code=newest.language_code or profile.language_code,
        )
        message = operations.prepare(draft=draft)
        if message.pk is not None and message.status != MessageStatus.FAILED:
            return None
        recipient = _recipient(profile)
        asked_for = pending(profile)
        objection = _objection(profile, recipient, asked_for, now)
        if objection is not None or recipient is None:
            reason = objection or NotSentReason.NO_ADDRESS
            operations.record_not_sent(draft=draft, reason=reason, now=now)
            return None
        try:
            rendered = _render(draft, recipient, asked_for, now)
            rendered = mail.finish(message=message, rendered=rendered, ways_out=(), now=now)
        except TemplateIncomplete as error:
            operations.record_not_sent(
                draft=draft, reason=mail.why_incomplete(error), now=now, error=str(error)
            )
            return None
        content = {"topics": [line.topic for line in asked_for]}
        if settings.DRY_RUN:
            operations.record_not_sent(
                draft=draft, reason=NotSentReason.DRY_RUN, now=now, content=content
            )
            return None
        destination = destinations.of_identity(recipient)
        if operations.may_leave(draft=draft, destination=destination, now=now):
            # The provider wants to be left alone: the next run looks again.
            return None
        operations.begin_hand_over(
            message=message,
            content=content,
            now=now,
            destination=destination,
            rendered=rendered,
            came_from={"line": newest.pk},
        )
        return message, operations.address(
            message=message, rendered=rendered, destination=destination
        )


def _recipient(profile: Profile) -> Identity | None:
    """Return the address that was typed; of a yes given in an account, the one that is written to."""
    own = Identity.objects.of(profile.installation).filter(profile=profile, kind=IdentityKind.EMAIL)
    return own.exclude(address="").first() or guards.address_identity(profile=profile)


def _hand_over(message: Message, outgoing: OutgoingMessage, now: datetime) -> None:
    wants_more = operations.hand_over(message=message, outgoing=outgoing, now=now)
    if wants_more:
        wait = FIRST_RETRY * 2 ** (message.attempts - 1)
        _failed(message).update(retry_at=max(now + wait, message.retry_at or now))
    elif message.status == MessageStatus.FAILED:
        _end(message, message.reason)


def _end(message: Message, reason: str) -> None:
    """Try it no more: what is left FAILED would be."""
    _failed(message).update(status=MessageStatus.NOT_SENT, reason=reason)


def _failed(message: Message) -> QuerySet[Message]:
    rows = Message.objects.of(message.installation)
    return rows.filter(pk=message.pk, status=MessageStatus.FAILED)


def _lines(profile: Profile) -> QuerySet[Consent]:
    return Consent.objects.of(profile.installation).filter(
        profile=profile, purpose=Purpose.MARKETING, delivery_channel=DeliveryChannel.EMAIL
    )


def pending(profile: Profile) -> list[Consent]:
    """Return the lines of a profile that wait to be confirmed: the last word on their topic."""
    newest = _lines(profile).order_by("topic", "-pk").distinct("topic")
    ended = _lines(profile).filter(topic=consent.EVERYTHING, state=ConsentState.DENIED)
    last_no = ended.order_by("-pk").values_list("pk", flat=True).first() or 0
    return [line for line in newest if line.state == ConsentState.PENDING and line.pk > last_no]


def _objection(
    profile: Profile, recipient: Identity | None, asked_for: list[Consent], now: datetime
) -> NotSentReason | None:
    """Return the first reason why the address must not be asked, or None."""
    installation = profile.installation
    if not guards.is_active(installation):
        return NotSentReason.INSTALLATION_INACTIVE
    if recipient is None:
        return NotSentReason.NO_ADDRESS
    if consent.is_suppressed(
        installation=installation,
        delivery_channel=DeliveryChannel.EMAIL,
        address_hash=recipient.value,
    ):
        return NotSentReason.SUPPRESSED
    if not asked_for:
        return NotSentReason.NO_CONSENT
    if max(line.recorded_at for line in asked_for) <= now - settings.CONFIRMATION_EXPIRY:
        return NotSentReason.TOO_LATE
    was_asked = (
        Message.objects.of(installation)
        .filter(
            profile=profile,
            template=KEY,
            status__in=REACHED,
            decided_at__gt=now - settings.CONFIRMATION_INTERVAL,
        )
        .exists()
    )
    return NotSentReason.ALREADY_SENT if was_asked else None


def _render(draft: Draft, recipient: Identity, asked_for: list[Consent], now: datetime) -> Rendered:
    expires_at = now + settings.CONFIRMATION_EXPIRY
    with translation.override(rendering.django_language(draft.language_code)):
        topics = [rendering.topic_label(line.topic) for line in asked_for]
        expires_on = formats.date_format(expires_at.astimezone(UTC), "DATE_FORMAT")
    return rendering.render(
        template=KEY,
        language_code=draft.language_code,
        context={
            "shop_name": operations.sender_name(draft.profile.installation),
            "topics": topics,
            "expires_on": expires_on,
            "confirmation_url": links.confirmation_url(
                profile=draft.profile, address_hash=recipient.value, expires_at=expires_at
            ),
        },
    )


# -- the answer ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Question:
    """What a confirmation link asks now: `lines` are pending; none when it was answered before."""

    profile: Profile
    lines: list[Consent]
    is_confirmed: bool
    #: In which they gave it; empty when we do not know.
    language_code: str

    @property
    def up_to(self) -> int:
        """Number of the newest line that is shown; what comes later is not confirmed with it."""
        return max((line.pk for line in self.lines), default=0)


def question(*, claims: links.ConfirmationClaims, now: datetime) -> Question:
    """Return what a link asks. Changes nothing. Raises InvalidToken (LinkExpired when it is too late)."""
    installation = operations.installation_of(claims)
    profile = (
        Profile.objects.of(installation)
        .filter(public_id=claims.profile_id)
        .select_related("installation")
        .first()
    )
    if profile is None or not _is_own(profile, claims.address_hash):
        raise InvalidToken("The person of this link is no longer known.")
    if now.timestamp() >= claims.expires_at:
        raise LinkExpired("This link worked for a limited time, which is over.")
    lines = pending(profile)
    last = _lines(profile).order_by("-pk").first()
    is_confirmed = last is not None and (last.state, last.source) == (ConsentState.GRANTED, SOURCE)
    return Question(
        profile=profile,
        lines=lines,
        is_confirmed=is_confirmed,
        language_code=profile.language_code or (last.language_code if last else ""),
    )


def _is_own(profile: Profile, address_hash: str) -> bool:
    """Tell whether the address that was asked is still the person's: staff may have split them."""
    return (
        Identity.objects.of(profile.installation)
        .filter(
            profile__in=merging.with_own_addresses(profile),
            kind=IdentityKind.EMAIL,
            value=address_hash,
        )
        .exists()
    )


def confirm(*, claims: links.ConfirmationClaims, up_to: int, now: datetime) -> Question:
    """Turn what a person was shown (`Question.up_to`) into GRANTED and the address into a confirmed one.

    Doing it twice is harmless. Returns the question as it is afterwards. Raises as `question`.
    """
    with transaction.atomic():
        profile = question(claims=claims, now=now).profile
        consent.hold(profile=profile, address_hashes=[claims.address_hash])
        shown = [line for line in question(claims=claims, now=now).lines if line.pk <= up_to]
        for line in shown:
            consent.choose(
                profile=profile,
                choices=[Choice(Purpose.MARKETING, DeliveryChannel.EMAIL, line.topic, True)],
                source=SOURCE,
                now=now,
                language_code=line.language_code,
                wording_version=line.wording_version,
                ruling=Ruling(line.country_code, ConsentRule(line.rule)),
            )
        if shown:
            identity.confirm_address(
                installation=profile.installation, address_hash=claims.address_hash, now=now
            )
        return question(claims=claims, now=now)
