"""Journeys: who waits in one, who leaves it, and what happens when a moment has come.

Locks are always taken in one order: the identities of a person, then the checkout, then the
enrollment. Recording an order takes the same identity locks, so an order and a decision about the
same person never pass each other unseen.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import Q

from saleor_personalize.conf import settings
from saleor_personalize.enums import (
    CheckoutCloseReason,
    EnrollmentStatus,
    IdentityKind,
    InstallationStatus,
    MessageStatus,
    NotSentReason,
)
from saleor_personalize.events.operations import close_checkout
from saleor_personalize.events.queries import ordered_since
from saleor_personalize.exceptions import (
    MalformedPayload,
    SaleorApiError,
    TemplateIncomplete,
    TokenRefused,
    UnknownAlias,
)
from saleor_personalize.journeys import abandoned_checkout
from saleor_personalize.journeys.abandoned_checkout import AskSaleor, Send, Stop, Verdict, Wait
from saleor_personalize.journeys.live import LiveCheckout, ask_saleor
from saleor_personalize.messaging import operations as messaging
from saleor_personalize.messaging.channels.base import OutgoingMessage
from saleor_personalize.models import Checkout, Enrollment, Installation, Journey, Message, Order
from saleor_personalize.profiles import identity
from saleor_personalize.saleor_api import installations

logger = logging.getLogger(__name__)

#: Every journey there is.
KEYS = (abandoned_checkout.KEY,)
#: How long a claimed enrollment is left alone by other workers.
CLAIM = timedelta(minutes=5)
#: The first wait after a fault; each further one is as long as all before it together.
FIRST_RETRY = timedelta(minutes=1)

#: Returns what the shop says about a checkout now; the second argument is the person's address.
Ask = Callable[[Checkout, str], LiveCheckout]


def ensure_journey(*, installation: Installation, key: str) -> Journey:
    """Return an installation's journey, made on first sight and not live."""
    if key not in KEYS:
        raise UnknownAlias(f"There is no journey {key!r}. Known: {', '.join(KEYS)}.")
    return Journey.objects.get_or_create(installation=installation, key=key)[0]


def is_live(*, installation: Installation) -> bool:
    """Tell whether anybody can be enrolled at all."""
    return Journey.objects.of(installation).filter(is_live=True).exists()


def go_live(*, journey: Journey, now: datetime) -> Journey:
    """Switch a journey on. Carts left before this moment are never written about."""
    if not journey.is_live:
        journey.is_live, journey.live_at = True, now
        journey.save(update_fields=["is_live", "live_at"])
    return journey


def pause(*, journey: Journey) -> Journey:
    """Switch a journey off. Whoever waits in it is held, and let go after the next `go_live`."""
    journey.is_live = False
    journey.save(update_fields=["is_live"])
    return journey


def enroll_abandoned_checkout(*, checkout: Checkout, now: datetime) -> Enrollment | None:
    """Let a checkout wait to become abandoned, or wait anew from its latest change.

    Returns None when there is nothing to wait for: the journey is not live, or was not when the
    checkout last changed; the checkout is closed, empty or without a contact. A checkout that was
    decided about is never enrolled again.
    """
    journey = (
        Journey.objects.of(checkout.installation)
        .filter(key=abandoned_checkout.KEY, is_live=True, live_at__lte=checkout.last_changed_at)
        .first()
    )
    if journey is None or not abandoned_checkout.can_be_abandoned(checkout):
        return None
    due_at = abandoned_checkout.due_at(journey, checkout)
    enrollment, created = Enrollment.objects.get_or_create(
        journey=journey,
        subject_saleor_id=checkout.saleor_id,
        defaults={
            "installation": checkout.installation,
            "profile": checkout.profile,
            "due_at": due_at,
            "created_at": now,
        },
    )
    if not created:
        waiting = Enrollment.objects.of(checkout.installation).filter(
            pk=enrollment.pk, status=EnrollmentStatus.WAITING
        )
        waiting.exclude(profile=checkout.profile).update(profile=checkout.profile)
        # Only ever later: a repeated event must not undo a claim or a retry's wait.
        waiting.filter(due_at__lt=due_at).update(due_at=due_at)
        enrollment.refresh_from_db()
    return enrollment


def exit_for_order(*, order: Order, now: datetime) -> int:
    """End every waiting enrollment of the person who ordered, under whatever identity; return how many.

    Each leaves a message NOT_SENT with the reason ORDERED.
    """
    ids = [
        (IdentityKind.SALEOR_USER, order.user_saleor_id),
        (IdentityKind.EMAIL, order.email_hash),
        (IdentityKind.CHECKOUT, order.checkout_saleor_id),
    ]
    known = [(kind, value) for kind, value in ids if value]
    same_person = Q(saleor_id=order.checkout_saleor_id)
    if order.profile is not None:
        same_person |= Q(profile__in=order.profile.person())
    if order.user_saleor_id:
        same_person |= Q(user_saleor_id=order.user_saleor_id)
    if order.email_hash:
        same_person |= Q(email_hash=order.email_hash)
    ended = 0
    with transaction.atomic():
        identity.lock_identities(order.installation, known)
        checkouts = {
            checkout.saleor_id: checkout
            for checkout in Checkout.objects.of(order.installation)
            .filter(same_person)
            .select_related("installation", "profile")
        }
        waiting = (
            Enrollment.objects.of(order.installation)
            .filter(status=EnrollmentStatus.WAITING, subject_saleor_id__in=checkouts)
            .select_related("journey", "installation")
            .order_by("pk")
            .select_for_update(of=("self",))
        )
        for enrollment in waiting:
            checkout = checkouts[enrollment.subject_saleor_id]
            if ordered_since(checkout):
                _end(enrollment, checkout, NotSentReason.ORDERED, now)
                ended += 1
    return ended


def advance_due(*, now: datetime, limit: int = 100, ask: Ask = ask_saleor) -> int:
    """Decide about the enrollments that are due; return how many were taken up.

    Any number of workers may run this at once: each row is claimed by one of them.
    """
    taken = 0
    while taken < limit and (enrollment := _claim(now)) is not None:
        _advance(enrollment, now, ask)
        taken += 1
    return taken


def _claim(now: datetime) -> Enrollment | None:
    """Take the row that is due longest; its `due_at` moves, and is how the claim is known later."""
    with transaction.atomic():
        enrollment = (
            Enrollment.objects.filter(
                status=EnrollmentStatus.WAITING, due_at__lte=now, journey__is_live=True
            )
            .select_related("journey", "installation")
            .order_by("due_at")
            .select_for_update(skip_locked=True, of=("self",))
            .first()
        )
        if enrollment is not None:
            enrollment.due_at = now + CLAIM
            enrollment.save(update_fields=["due_at"])
        return enrollment


def _advance(enrollment: Enrollment, now: datetime, ask: Ask) -> None:
    """Take a claimed enrollment as far as it can go now."""
    try:
        checkout = _checkout_of(enrollment)
    except Checkout.DoesNotExist:
        # The cart went to somebody else, and then with them: they were erased.
        _finish(enrollment, EnrollmentStatus.EXITED, now, NotSentReason.CHECKOUT_GONE)
        return
    verdict = _judge(enrollment, checkout, None, now)
    live = None
    if isinstance(verdict, AskSaleor):
        try:
            live = ask(checkout, verdict.address)
        except TokenRefused:
            installations.mark_status(
                installation=enrollment.installation,
                status=InstallationStatus.TOKEN_REFUSED,
                now=now,
            )
        except (SaleorApiError, MalformedPayload) as error:
            logger.warning("Enrollment %s waits: Saleor cannot be asked: %s", enrollment.pk, error)
        if live is None:
            _move(enrollment, _retry_at(enrollment, checkout, now))
            return
    leaving = _decide(enrollment, live, now)
    if leaving is None:
        return
    message, outgoing = leaving
    if messaging.hand_over(message=message, outgoing=outgoing, now=now):
        Enrollment.objects.of(enrollment.installation).filter(pk=enrollment.pk).update(
            status=EnrollmentStatus.WAITING,
            finished_at=None,
            due_at=_retry_at(enrollment, checkout, now),
        )


def _decide(
    enrollment: Enrollment, live: LiveCheckout | None, now: datetime
) -> tuple[Message, OutgoingMessage] | None:
    """Decide under the locks of the person; return what is to be handed over after the commit."""
    with transaction.atomic():
        held = abandoned_checkout.identities(_checkout_of(enrollment))
        identity.lock_identities(enrollment.installation, held)
        checkout = _checkout_of(enrollment, is_locked=True)
        row = (
            Enrollment.objects.of(enrollment.installation)
            .filter(pk=enrollment.pk, status=EnrollmentStatus.WAITING, due_at=enrollment.due_at)
            .select_related("journey", "installation")
            .select_for_update(of=("self",))
            .first()
        )
        if row is None:
            # Ended, changed or claimed by somebody else since.
            return None
        if not row.journey.is_live or abandoned_checkout.identities(checkout) - held:
            # Switched off, or the person became known under another id: begin again.
            _move(row, now)
            return None
        verdict = _judge(row, checkout, live, now)
        match verdict:
            case AskSaleor():
                _move(row, now)
            case Wait(until):
                _move(row, until)
            case Stop(reason):
                _end(row, checkout, reason, now)
                if reason == NotSentReason.CHECKOUT_GONE:
                    close_checkout(
                        installation=row.installation,
                        checkout_id=checkout.saleor_id,
                        reason=CheckoutCloseReason.GONE,
                        at=now,
                        now=now,
                    )
            case Send():
                return _leave(row, checkout, verdict, now)
        return None


def _leave(
    enrollment: Enrollment, checkout: Checkout, verdict: Send, now: datetime
) -> tuple[Message, OutgoingMessage] | None:
    """Write down the message that is about to go, and end what it makes superfluous."""
    draft = abandoned_checkout.draft(checkout, enrollment)
    message = messaging.prepare(draft=draft)
    if message.pk is not None and message.status != MessageStatus.FAILED:
        # Decided before, by a worker that died before it could say so.
        _finish(enrollment, EnrollmentStatus.DONE, now)
        return None
    try:
        rendered, unsubscribe_url = abandoned_checkout.render(checkout, verdict)
    except TemplateIncomplete as error:
        _end(enrollment, checkout, NotSentReason.TEMPLATE_INCOMPLETE, now, error=str(error))
        return None
    content = abandoned_checkout.content(checkout, verdict)
    if settings.DRY_RUN:
        _end(enrollment, checkout, NotSentReason.DRY_RUN, now, content=content)
        return None
    for other, its_checkout in abandoned_checkout.other_carts(
        enrollment.journey, checkout, enrollment
    ):
        _end(other, its_checkout, NotSentReason.ALREADY_SENT, now)
    messaging.begin_hand_over(message=message, content=content, now=now)
    _finish(enrollment, EnrollmentStatus.DONE, now)
    outgoing = messaging.address(
        message=message,
        rendered=rendered,
        recipient=verdict.recipient,
        unsubscribe_url=unsubscribe_url,
    )
    return message, outgoing


def _judge(
    enrollment: Enrollment, checkout: Checkout, live: LiveCheckout | None, now: datetime
) -> Verdict:
    return abandoned_checkout.judge(
        journey=enrollment.journey, checkout=checkout, enrollment=enrollment, live=live, now=now
    )


def _checkout_of(enrollment: Enrollment, *, is_locked: bool = False) -> Checkout:
    """Return the checkout of an enrollment. Raises Checkout.DoesNotExist after an erasure."""
    checkouts = Checkout.objects.of(enrollment.installation).select_related(
        "installation", "profile"
    )
    if is_locked:
        checkouts = checkouts.select_for_update(of=("self",))
    return checkouts.get(saleor_id=enrollment.subject_saleor_id)


def _retry_at(enrollment: Enrollment, checkout: Checkout, now: datetime) -> datetime:
    """Wait as long as was waited already, but look once more when it becomes too late."""
    waited = now - abandoned_checkout.due_at(enrollment.journey, checkout)
    return min(now + max(FIRST_RETRY, waited), abandoned_checkout.too_late_at(checkout))


def _move(enrollment: Enrollment, due_at: datetime) -> None:
    """Let an enrollment wait until then, unless it ended or moved since we claimed it."""
    Enrollment.objects.of(enrollment.installation).filter(
        pk=enrollment.pk, status=EnrollmentStatus.WAITING, due_at=enrollment.due_at
    ).update(due_at=due_at)


def _end(
    enrollment: Enrollment,
    checkout: Checkout,
    reason: NotSentReason,
    now: datetime,
    *,
    error: str = "",
    content: Mapping[str, Any] | None = None,
) -> None:
    """End an enrollment without a message, and say why."""
    messaging.record_not_sent(
        draft=abandoned_checkout.draft(checkout, enrollment),
        reason=reason,
        now=now,
        error=error,
        content=content,
    )
    _finish(enrollment, EnrollmentStatus.EXITED, now, reason)


def _finish(
    enrollment: Enrollment, status: EnrollmentStatus, now: datetime, reason: str = ""
) -> None:
    enrollment.status, enrollment.exit_reason, enrollment.finished_at = status, reason, now
    enrollment.save(update_fields=["status", "exit_reason", "finished_at"])
