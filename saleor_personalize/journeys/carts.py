"""Carts that were left: what is done about each, and a staff member's word that one is followed up now.

The word is no permission: consent, orders, caps and quiet hours are asked as always, here to say what
speaks against it, and again when the message is decided.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from django.db import transaction
from django.db.models import Q, QuerySet

from saleor_personalize.conf import settings
from saleor_personalize.enums import CheckoutCloseReason, EnrollmentStatus, NotSentReason
from saleor_personalize.journeys import outlook
from saleor_personalize.journeys.definitions import Definition
from saleor_personalize.journeys.entering import enter, live_journeys
from saleor_personalize.journeys.outlook import Outlook
from saleor_personalize.journeys.queries import RELATED
from saleor_personalize.journeys.triggers import CheckoutChanged, Trigger, known_triggers
from saleor_personalize.journeys.versions import delivery_channels, priority_of
from saleor_personalize.messaging import reach
from saleor_personalize.messaging.queries import REACHED
from saleor_personalize.models import (
    Checkout,
    Enrollment,
    Installation,
    Journey,
    JourneyVersion,
    Message,
)

#: Kind of the subject of those who are in a journey over a cart.
SUBJECT = "checkout"
#: What is done about a cart stands in no index: those of a state are looked for among so many.
LOOKED_THROUGH = 1_000


class CartState(StrEnum):
    """What is done about a cart that was left."""

    #: Its person waits in a journey over it.
    FOLLOWED = "followed"
    #: A message about it went, or may have gone, since it was changed, and none is to come.
    REMINDED = "reminded"
    #: The last journey over it ended without a message, for a reason.
    GIVEN_UP = "given_up"
    NOT_FOLLOWED = "not_followed"


Follower = tuple[Journey, Definition, Trigger]


@dataclass(frozen=True)
class LeftCart:
    """A cart that lies still. `stay` is the last stay of its person in a journey over it, if there was one.

    `told` is the last message about it that went, or may have gone, since it was changed. `is_reachable`:
    there is an address or a device to write to; whether one may is asked of each message.
    """

    checkout: Checkout
    is_reachable: bool
    stay: Enrollment | None
    told: Message | None

    @property
    def state(self) -> CartState:
        stay = self.stay
        return _state(
            is_waiting=stay is not None and stay.status == EnrollmentStatus.WAITING,
            is_told=self.told is not None,
            exit_reason="" if stay is None else stay.exit_reason,
        )

    @property
    def is_followed(self) -> bool:
        return self.state == CartState.FOLLOWED


@dataclass(frozen=True)
class Found:
    """Carts that were looked for, the one left last first, and the cart to go on from; None: there are no more.

    `is_cut`: not all of them were looked at; the others are, from there.
    """

    carts: list[LeftCart]
    older: Checkout | None
    is_cut: bool = False


@dataclass(frozen=True)
class Recovery:
    """What a staff member's word came to. Without an `outlook` nothing has changed, and `reason` says why.

    With one, the message is decided at `outlook.at`; `reason` is what holds it back until then, if anything.
    `delivery_channel` is the one that the reason speaks of; empty: of none.
    """

    reason: NotSentReason | None
    outlook: Outlook | None = None
    delivery_channel: str = ""


def left(
    *,
    installation: Installation,
    now: datetime,
    channel_slug: str = "",
    state: CartState | None = None,
    before: Checkout | None = None,
    limit: int,
) -> Found:
    """Return the carts that lie still, the one left last first; those below `before`, a cart of the list.

    Those of a state are looked for among `LOOKED_THROUGH` carts at a time, so that it takes no longer in a large
    shop; whoever goes on comes to all of them.
    """
    rows = still(installation=installation, now=now)
    if channel_slug:
        rows = rows.filter(channel_slug=channel_slug)
    if before is not None:
        at = before.last_changed_at
        rows = rows.filter(Q(last_changed_at__lt=at) | Q(last_changed_at=at, pk__lt=before.pk))
    newest = rows.order_by("-last_changed_at", "-pk")
    if state is None:
        shown = list(newest.select_related("installation", "profile")[: limit + 1])
        told = described(installation=installation, carts=shown[:limit])
        return Found(told, shown[limit - 1] if len(shown) > limit else None)
    found = list(newest.values_list("pk", "saleor_id", "last_changed_at")[: LOOKED_THROUGH + 1])
    states = _states(installation, {cart: at for _pk, cart, at in found[:LOOKED_THROUGH]})
    wanted = [pk for pk, cart, _at in found[:LOOKED_THROUGH] if states[cart] == state]
    is_cut = len(wanted) <= limit and len(found) > LOOKED_THROUGH
    last = found[LOOKED_THROUGH - 1][0] if is_cut else None
    rows = Checkout.objects.of(installation).select_related("installation", "profile")
    carts = rows.in_bulk({*wanted[:limit], *([last] if last else [])})
    told = described(installation=installation, carts=[carts[pk] for pk in wanted[:limit]])
    if len(wanted) > limit:
        last = wanted[limit - 1]
    return Found(told, carts[last] if last else None, is_cut)


def _states(installation: Installation, changed_at: Mapping[str, datetime]) -> dict[str, CartState]:
    """Return the state of each of these carts, whose last changes are given, by three queries."""
    waiting = _waiting(installation).filter(subject_saleor_id__in=changed_at)
    waits_for = set(waiting.values_list("subject_saleor_id", flat=True))
    ended = (
        _ended(installation)
        .filter(entry_key__in=changed_at)
        .order_by("pk")
        .values_list("pk", "entry_key", "exit_reason")
    )
    over = {pk: cart for pk, cart, _reason in ended}
    reasons = {cart: reason for _pk, cart, reason in ended}
    told = Message.objects.of(installation).filter(enrollment__in=list(over), status__in=REACHED)
    reminded = {
        over[stay]
        for stay, at in told.values_list("enrollment_id", "decided_at")
        if stay is not None and at >= changed_at[over[stay]]
    }
    return {
        cart: _state(
            is_waiting=cart in waits_for,
            is_told=cart in reminded,
            exit_reason=reasons.get(cart, ""),
        )
        for cart in changed_at
    }


def _state(*, is_waiting: bool, is_told: bool, exit_reason: str) -> CartState:
    """Return what is done about a cart, going by its last stay and by whether a message about it went since."""
    if is_waiting:
        return CartState.FOLLOWED
    if is_told:
        return CartState.REMINDED
    return CartState.GIVEN_UP if exit_reason else CartState.NOT_FOLLOWED


def still(*, installation: Installation, now: datetime) -> QuerySet[Checkout]:
    """Return the open carts with something in them that nobody has touched for ABANDONED_CHECKOUT_DELAY."""
    return (
        Checkout.objects.of(installation)
        .filter(
            closed_at=None,
            deleted_at=None,
            last_changed_at__lte=now - settings.ABANDONED_CHECKOUT_DELAY,
        )
        .exclude(lines=[])
    )


def described(*, installation: Installation, carts: Sequence[Checkout]) -> list[LeftCart]:
    """Return what is done about each of these, by a few queries for all of them."""
    reachable = reach.reachable(
        installation=installation,
        people={cart.profile.person_id for cart in carts},
        delivery_channels=delivery_channels(),
        agreed=False,
    )
    ids = [cart.saleor_id for cart in carts]
    stays = _last_stays(installation, ids)
    told = _last_told(installation, [row.pk for rows in stays.values() for row in rows])
    found = []
    for cart in carts:
        mine = stays.get(cart.saleor_id, [])
        messages = [told[row.pk] for row in mine if row.pk in told]
        since = [each for each in messages if each.decided_at >= cart.last_changed_at]
        found.append(
            LeftCart(
                cart,
                cart.profile.person_id in reachable,
                mine[0] if mine else None,
                max(since, key=lambda each: each.decided_at, default=None),
            )
        )
    return found


def _waiting(installation: Installation) -> QuerySet[Enrollment]:
    return Enrollment.objects.of(installation).filter(
        status=EnrollmentStatus.WAITING, subject_kind=SUBJECT
    )


def _ended(installation: Installation) -> QuerySet[Enrollment]:
    """Return the stays that ended; they are found by what was entered once at a time, the cart."""
    rows = Enrollment.objects.of(installation).filter(
        journey__in=Journey.objects.of(installation).values("pk"), subject_kind=SUBJECT
    )
    return rows.exclude(status=EnrollmentStatus.WAITING)


def journeys_over_carts(installation: Installation) -> set[int]:
    """Return the journeys that carts may have brought people into, by any version; one of an unknown trigger, too."""
    versions = JourneyVersion.objects.of(installation).order_by()
    found = versions.values_list("journey_id", "definition__trigger__type").distinct()
    others = {
        alias for alias, each in known_triggers().items() if CheckoutChanged not in each.facts
    }
    return {journey for journey, alias in found if alias not in others}


def _last_stays(installation: Installation, ids: Collection[str]) -> dict[str, list[Enrollment]]:
    """Return who was in a journey over these carts, those who wait first, then the last."""
    rows = [
        *_waiting(installation).filter(subject_saleor_id__in=ids).select_related(*RELATED),
        *_ended(installation).filter(entry_key__in=ids).select_related("journey").order_by("-pk"),
    ]
    found: dict[str, list[Enrollment]] = {}
    for row in rows:
        found.setdefault(row.subject_saleor_id, []).append(row)
    return found


def _last_told(installation: Installation, stays: Collection[int]) -> dict[int, Message]:
    """Return the last message that went, or may have gone, in each of these stays."""
    rows = Message.objects.of(installation).filter(enrollment__in=stays, status__in=REACHED)
    return {row.enrollment_id or 0: row for row in rows.order_by("decided_at", "pk")}


def stays_over(cart: Checkout) -> list[Enrollment]:
    """Return all stays of its person in journeys over a cart."""
    return _last_stays(cart.installation, [cart.saleor_id]).get(cart.saleor_id, [])


# -- a staff member's word ----------------------------------------------------------------------------


def followers(installation: Installation) -> list[Follower]:
    """Return the live journeys that carts bring people into, the most important one first."""
    found = [each for each in live_journeys(installation) if CheckoutChanged in each[2].facts]
    return sorted(found, key=lambda each: -_priority(each[0]))


def _priority(journey: Journey) -> int:
    return 0 if journey.published is None else priority_of(journey, journey.published)


def recover(*, checkout: Checkout, now: datetime) -> Recovery:
    """Have a left cart followed up now: bring its person into a journey, or what is next there forward.

    Nothing is sent here: what goes is decided by whoever takes up the row, which is due at once. Where
    something speaks against it that does not pass by itself, nothing changes. Saying it twice is as
    saying it once: between two messages about one cart lies ARBITRATION_WINDOW at least.
    """
    with transaction.atomic():
        cart = (
            Checkout.objects.of(checkout.installation_id)
            .select_related("installation", "profile__installation")
            .select_for_update(of=("self",))
            .get(pk=checkout.pk)
        )
        if (over := _why_over(cart)) is not None:
            return Recovery(over)
        if _is_just_told(cart, now):
            return Recovery(NotSentReason.ALREADY_SENT)
        found = Recovery(NotSentReason.NOT_LIVE)
        for follower in followers(cart.installation):
            found = _follow_up(cart, follower, now)
            if found.outlook is not None:
                break
        return found


def what_recover_would_do(*, checkout: Checkout, now: datetime) -> Recovery:
    """Return what `recover` would come to; nothing changes."""
    with transaction.atomic():
        found = recover(checkout=checkout, now=now)
        transaction.set_rollback(True)
    return found


def _why_over(cart: Checkout) -> NotSentReason | None:
    if cart.close_reason == CheckoutCloseReason.ORDERED:
        return NotSentReason.ORDERED
    if cart.closed_at is not None or cart.deleted_at is not None:
        return NotSentReason.CHECKOUT_GONE
    return None if cart.lines else NotSentReason.CHECKOUT_EMPTY


def _is_just_told(cart: Checkout, now: datetime) -> bool:
    (known,) = described(installation=cart.installation, carts=[cart])
    window = settings.ARBITRATION_WINDOW
    return known.told is not None and known.told.decided_at > now - window


def _follow_up(cart: Checkout, follower: Follower, now: datetime) -> Recovery:
    """Let the person in, or on, unless something speaks against it for good; then all is as it was."""
    with transaction.atomic():
        row = _brought_forward(cart, follower[0], now) or _let_in(cart, follower, now)
        if row is None:
            return Recovery(NotSentReason.NO_ADDRESS)
        (found,) = outlook.outlooks([row], now=now)
        if found.objection is not None and not found.is_held:
            transaction.set_rollback(True)
            return Recovery(found.objection, delivery_channel=found.delivery_channel)
        return Recovery(found.objection, found, found.delivery_channel)


def _brought_forward(cart: Checkout, journey: Journey, now: datetime) -> Enrollment | None:
    """Make what is next due at once for who waits in a journey over this cart."""
    rows = _waiting(cart.installation).filter(journey=journey, subject_saleor_id=cart.saleor_id)
    row = rows.select_related(*RELATED).select_for_update(of=("self",)).first()
    if row is not None:
        row.due_at = row.step_since = min(row.due_at, now)
        if row.waits_until is not None:
            row.waits_until = min(row.waits_until, now)
        row.save(update_fields=["due_at", "step_since", "waits_until"])
    return row


def _let_in(cart: Checkout, follower: Follower, now: datetime) -> Enrollment | None:
    """Let the person in, whenever they left the cart; None: there is nobody to write to.

    An order since then still counts: only what would be from before the journey went live, begins with it.
    """
    journey, definition, trigger = follower
    for entry in trigger.candidates(CheckoutChanged(cart)):
        return enter(
            journey=journey,
            definition=definition,
            trigger=trigger,
            entry=replace(
                entry,
                occurred_at=max(entry.occurred_at, journey.live_at or now),
                due_at=now,
            ),
            now=now,
            is_asked=True,
        )
    return None
