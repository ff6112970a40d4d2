"""The life of an offer: reserved with the decision, made in Saleor, used, or withdrawn until it is gone.

The order of things is the promise. The row is written in the transaction that decides the message, so
the message can name the code; nothing is in Saleor yet. After the commit the code is made there, and
only then the message is handed over. Whatever is interrupted between is found again by its `due_at`:
no code stays alive without a message, and no message goes with a dead code.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Q

from saleor_personalize.conf import settings
from saleor_personalize.enums import (
    IdentityKind,
    InstallationStatus,
    MessageStatus,
    NotSentReason,
    OfferReason,
    OfferStatus,
)
from saleor_personalize.exceptions import OfferNotMade, SaleorApiError, kind_and_place
from saleor_personalize.messaging import clocks
from saleor_personalize.messaging import operations as messaging
from saleor_personalize.models import (
    Enrollment,
    Identity,
    Installation,
    Message,
    Offer,
    Order,
    Profile,
    SalesChannel,
)
from saleor_personalize.offers import codes, guard, vouchers
from saleor_personalize.offers.terms import Terms

logger = logging.getLogger(__name__)

#: What Saleor asks for before an app may make vouchers.
PERMISSION = "MANAGE_DISCOUNTS"
#: Whoever reserved an offer has this long to make it and to hand its message over.
LEASE = messaging.HAND_OVER_LEASE + timedelta(minutes=1)
#: While one worker looks at a row, the others leave it.
CLAIM = timedelta(minutes=5)
#: How soon a withdrawal that failed is tried again, doubled each time, and the longest wait.
FIRST_RETRY, LONGEST_RETRY = timedelta(minutes=1), timedelta(hours=6)
#: How often it is asked whether a first-order offer outlived the first order in a way that nobody told.
LOOK_AGAIN = timedelta(hours=6)

ALIVE = (OfferStatus.RESERVED, OfferStatus.MADE)


def reserve(
    *,
    profile: Profile,
    terms: Terms,
    key: str,
    now: datetime,
    enrollment: Enrollment | None = None,
    channel_slug: str = "",
) -> Offer | NotSentReason:
    """Draw a code for a person, or say why they get none.

    Must run inside the deciding transaction, under the locks of all identities of the person. `key`
    names the decision (that of its message): a second try draws a new code and gives up the first.
    Nothing is in Saleor before `make` is called after the commit.
    """
    installation = profile.installation
    if not settings.OFFERS or PERMISSION not in installation.permissions:
        return NotSentReason.OFFER_NOT_PERMITTED
    void(installation=installation, key=key, now=now)
    reason = guard.objection(profile=profile, terms=terms, now=now)
    if reason is not None:
        return reason
    listings = _listings(installation, terms)
    if not listings or (channel_slug and channel_slug not in {row["slug"] for row in listings}):
        return NotSentReason.OFFER_NO_CHANNEL
    return Offer.objects.create(
        installation=installation,
        profile=profile,
        enrollment=enrollment,
        key=key,
        code=codes.draw(),
        kind=terms.kind,
        terms=terms.as_json(),
        listings=listings,
        channel_slug=channel_slug,
        is_first_order_only=terms.is_first_order_only,
        expires_at=terms.ends_at(now, clocks.shop_zone()),
        reserved_at=now,
        due_at=now + LEASE,
    )


def working(*, installation: Installation, key: str) -> Offer | None:
    """Return the offer of a decision whose code can be used, or None."""
    return (
        Offer.objects.of(installation)
        .filter(key=key, status=OfferStatus.MADE)
        .select_related("installation", "profile__installation", "message")
        .first()
    )


def release(*, offer: Offer) -> None:
    """Forget an offer in the transaction that reserved it: the message is not sent after all."""
    Offer.objects.of(offer.installation).filter(pk=offer.pk, status=OfferStatus.RESERVED).delete()


def make(*, offer: Offer, now: datetime, connect: vouchers.Connect = vouchers.connect) -> None:
    """Make a reserved code work in Saleor. Raises OfferNotMade; the caller withdraws it then.

    Must run outside any transaction, after the deciding one and before the message is handed over.
    Repeating it is harmless: a try that was interrupted neither makes a second code nor loses the
    first.
    """
    rows = Offer.objects.of(offer.installation).filter(pk=offer.pk)
    if not rows.filter(status=OfferStatus.RESERVED).exists():
        raise _taken_back(offer)
    try:
        with connect(offer.installation) as saleor:
            voucher_id = vouchers.put_in(saleor=saleor, offer=offer, now=now)
    except SaleorApiError as error:
        raise OfferNotMade(str(error), is_retryable=error.is_retryable) from error
    except (KeyError, TypeError) as error:
        raise OfferNotMade(
            f"Saleor answered in another shape than was asked for. {kind_and_place(error)}"
        ) from error
    made = rows.filter(status=OfferStatus.RESERVED).update(
        status=OfferStatus.MADE,
        made_at=now,
        due_at=now + LEASE,
        message=_message_of(offer),
        voucher_saleor_id=voucher_id,
        error="",
    )
    if not made:
        # The person ordered while Saleor was busy. Its code is due to be taken out again.
        rows.filter(status=OfferStatus.WITHDRAWN).update(gone_at=None, due_at=now)
        raise _taken_back(offer)
    offer.refresh_from_db()


def _taken_back(offer: Offer) -> OfferNotMade:
    offer.refresh_from_db()
    return OfferNotMade(
        f"The offer was taken back before it was made: {offer.get_reason_display()}.",
        is_void=offer.reason == OfferReason.ORDERED,
    )


def _message_of(offer: Offer) -> Message | None:
    """Return the message that carries the code, by the decision of both; None after an erasure."""
    messages = Message.objects.of(offer.installation)
    return offer.message or messages.filter(idempotency_key=offer.key).first()


def _may_have_left(message: Message) -> bool:
    """Tell whether somebody may read this message."""
    return message.status == MessageStatus.SENT or (
        message.status == MessageStatus.UNCERTAIN and message.handed_over_at is not None
    )


def _next_look(offer: Offer, now: datetime) -> datetime:
    over = offer.expires_at + timedelta(seconds=1)
    return min(over, now + LOOK_AGAIN) if offer.is_first_order_only else over


def withdraw(
    *,
    offer: Offer,
    reason: OfferReason,
    now: datetime,
    connect: vouchers.Connect = vouchers.connect,
) -> bool:
    """Take an offer back and its code out of Saleor; return whether Saleor no longer has it.

    Must run outside any transaction. What Saleor does not confirm now is tried again by `sweep`.
    """
    with transaction.atomic():
        row = Offer.objects.of(offer.installation).select_for_update().filter(pk=offer.pk).first()
        if row is None:
            return True
        if row.status in ALIVE:
            _void(row, reason, now)
        if row.status != OfferStatus.WITHDRAWN or row.gone_at is not None:
            return row.gone_at is not None
        row.due_at = now + CLAIM
        row.save(update_fields=["due_at"])
    # Whoever calls this made the offer, or waited until its maker must be gone.
    is_gone = _take_out(row, now, connect, is_settled=True)
    offer.refresh_from_db()
    return is_gone


def take_back(*, offer: Offer, now: datetime) -> bool:
    """Take back an offer that its person has, because staff say so; return whether it could be used.

    Its code is taken out of Saleor by the next `sweep`.
    """
    with transaction.atomic():
        row = (
            Offer.objects.of(offer.installation)
            .select_for_update(of=("self",))
            .filter(pk=offer.pk, status=OfferStatus.MADE)
            .first()
        )
        if row is not None:
            _void(row, OfferReason.STAFF, now)
        return row is not None


def void(*, installation: Installation, key: str, now: datetime) -> None:
    """Take back the offer of a decision whose message surely did not go; in the transaction that settles that.

    Its code, if Saleor has it, is taken out by the next `sweep`.
    """
    alive = Offer.objects.of(installation).filter(key=key, status__in=ALIVE)
    for offer in alive.select_for_update():
        _void(offer, OfferReason.MESSAGE_FAILED, now)


def _void(offer: Offer, reason: OfferReason, now: datetime) -> None:
    """Take an offer back in our own tables; `sweep` does the rest at once."""
    offer.status, offer.reason, offer.withdrawn_at = OfferStatus.WITHDRAWN, reason, now
    offer.attempts, offer.due_at = 0, now
    offer.save(update_fields=["status", "reason", "withdrawn_at", "attempts", "due_at"])


def _take_out(offer: Offer, now: datetime, connect: vouchers.Connect, *, is_settled: bool) -> bool:
    """Delete a withdrawn code in Saleor and write down how that went.

    Until it `is_settled`, a worker may still put the code in: then it is looked at once more.
    """
    rows = Offer.objects.of(offer.installation).filter(
        pk=offer.pk, status=OfferStatus.WITHDRAWN, gone_at=None
    )
    try:
        with connect(offer.installation) as saleor:
            vouchers.take_out(saleor=saleor, offer=offer, is_settled=is_settled)
    except (SaleorApiError, KeyError, TypeError) as error:
        said = str(error) if isinstance(error, SaleorApiError) else kind_and_place(error)
        wait = min(FIRST_RETRY * 2 ** min(offer.attempts, 10), LONGEST_RETRY)
        rows.update(error=said, attempts=offer.attempts + 1, due_at=now + wait)
        logger.warning("Offer %s is still in Saleor, tried again in %s: %s", offer.pk, wait, said)
        return False
    if is_settled:
        rows.update(gone_at=now, due_at=None, error="")
    else:
        rows.update(due_at=offer.reserved_at + LEASE, error="")
    return is_settled


def follow_orders(*, installation: Installation, ids: Iterable[int], now: datetime) -> int:
    """Note what new or changed orders mean for offers, such as those of a back-fill or an import."""
    keys = list(ids)
    offers = Offer.objects.of(installation)
    if not keys or not offers.exists():
        return 0
    rows = Order.objects.of(installation).filter(pk__in=keys).select_related("installation")
    if not offers.filter(status__in=ALIVE, is_first_order_only=True).exists():
        rows = rows.exclude(voucher_code="")
    return sum(follow_order(order=order, now=now) for order in rows)


def follow_order(*, order: Order, now: datetime) -> int:
    """Note what an order means for offers: its own is used, and first-order ones are void.

    Also those of people whom only its address or account names. Returns how many offers changed.
    """
    with transaction.atomic():
        return _mark_used(order, now) + _void_first_order_offers(order, now)


def _mark_used(order: Order, now: datetime) -> int:
    """Saleor's word counts, also against ours: who used a code that we just withdrew used it."""
    if not order.voucher_code:
        return 0
    rows = Offer.objects.of(order.installation).filter(code=order.voucher_code)
    return rows.exclude(status=OfferStatus.USED).update(
        status=OfferStatus.USED,
        reason="",
        order=order,
        used_at=order.placed_at,
        due_at=None,
    )


def _void_first_order_offers(order: Order, now: datetime) -> int:
    alive = Offer.objects.of(order.installation).filter(
        status__in=ALIVE, is_first_order_only=True, profile__in=_people_of(order)
    )
    found = list(alive.order_by("pk").select_for_update(of=("self",)))
    for offer in found:
        _void(offer, OfferReason.ORDERED, now)
    return len(found)


def _people_of(order: Order) -> set[int]:
    """Return the keys of all profiles of whoever an order names, by person, account or address."""
    named = Q(pk=order.profile_id)
    for kind, value in (
        (IdentityKind.SALEOR_USER, order.user_saleor_id),
        (IdentityKind.EMAIL, order.email_hash),
    ):
        if value:
            ids = Identity.objects.of(order.installation).filter(kind=kind, value=value)
            named |= Q(pk__in=ids.values("profile"))
    found = Profile.objects.of(order.installation).filter(named)
    return {pk for profile in found for pk in profile.person().values_list("pk", flat=True)}


def sweep(*, now: datetime, limit: int = 100, connect: vouchers.Connect = vouchers.connect) -> int:
    """Look at the offers that are due; return how many.

    Finishes what a worker that died left: a code whose message never went is taken out of Saleor, a
    withdrawal is repeated until Saleor says gone. Ends what is over, and voids first-order offers of
    people who turned out to have ordered. Any number of workers may run this at once.
    """
    taken = 0
    while taken < limit and (offer := _claim(now)) is not None:
        _look(offer, now, connect)
        taken += 1
    return taken


def _claim(now: datetime) -> Offer | None:
    with transaction.atomic():
        offer = (
            Offer.objects.filter(due_at__lte=now)
            .exclude(installation__status=InstallationStatus.UNINSTALLED)
            .select_related("installation", "profile__installation", "message")
            .order_by("due_at")
            .select_for_update(skip_locked=True, of=("self",))
            .first()
        )
        if offer is not None:
            offer.due_at = now + CLAIM
            offer.save(update_fields=["due_at"])
        return offer


def _look(offer: Offer, now: datetime, connect: vouchers.Connect) -> None:
    order = (
        Order.objects.of(offer.installation)
        .filter(voucher_code=offer.code)
        .order_by("placed_at")
        .first()
    )
    if order is not None:
        _mark_used(order, now)
    elif offer.status == OfferStatus.WITHDRAWN:
        is_settled = offer.made_at is not None or now >= offer.reserved_at + LEASE
        _take_out(offer, now, connect, is_settled=is_settled)
    elif (reason := _objection(offer)) is not None:
        withdraw(offer=offer, reason=reason, now=now, connect=connect)
    elif offer.status == OfferStatus.RESERVED:
        # Whoever hands its message over is still at it.
        _wait(offer, now + CLAIM)
    elif offer.expires_at < now:
        rows = Offer.objects.of(offer.installation).filter(pk=offer.pk, status=OfferStatus.MADE)
        rows.update(status=OfferStatus.EXPIRED, due_at=None)
    else:
        _wait(offer, _next_look(offer, now))


def _objection(offer: Offer) -> OfferReason | None:
    """Return why a code must not live on, or None.

    A code without its message is one that a dead worker left. Only a message whose hand-over began
    can have reached anybody; with its person it is erased, and then the code was settled there.
    """
    message = _message_of(offer)
    if offer.is_first_order_only and offer.profile and guard.orders_of(offer.profile).exists():
        return OfferReason.ORDERED
    if message is None:
        return OfferReason.INTERRUPTED if offer.status == OfferStatus.RESERVED else None
    if message.status == MessageStatus.HANDING_OVER or (
        offer.status == OfferStatus.MADE and _may_have_left(message)
    ):
        return None
    return OfferReason.MESSAGE_FAILED if message.reason else OfferReason.INTERRUPTED


def _wait(offer: Offer, until: datetime | None) -> None:
    Offer.objects.of(offer.installation).filter(pk=offer.pk, status=offer.status).update(
        due_at=until
    )


def _listings(installation: Installation, terms: Terms) -> list[dict[str, str | None]]:
    """Return where an offer counts, and what it is worth there.

    A sales channel without a value, or without a minimum where others have one, is left out.
    """
    channels = SalesChannel.objects.of(installation).filter(is_active=True, deleted_at=None)
    if terms.channels:
        channels = channels.filter(slug__in=terms.channels)
    found: list[dict[str, str | None]] = []
    for channel in channels.order_by("slug"):
        value = terms.value_in(channel.currency)
        minimum = terms.minimum_spend.get(channel.currency)
        if value is None or (terms.minimum_spend and minimum is None):
            continue
        found.append(
            {
                "channel_id": channel.saleor_id,
                "slug": channel.slug,
                "currency": channel.currency,
                "value": str(value),
                "minimum_spend": None if minimum is None else str(minimum),
            }
        )
    return found
