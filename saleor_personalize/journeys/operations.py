"""The door to journeys: switching them, letting facts in, and deciding about whoever is due."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from django.db import transaction
from django.db.models import Min, Q, QuerySet
from django.db.models.functions import Coalesce

from saleor_personalize.enums import (
    EnrollmentStatus,
    IdentityKind,
    JourneySource,
    NotSentReason,
)
from saleor_personalize.exceptions import UnknownAlias
from saleor_personalize.journeys import asking, cases, definitions
from saleor_personalize.journeys.cases import FIRST_RETRY
from saleor_personalize.journeys.claiming import CLAIM
from saleor_personalize.journeys.definitions import Definition, Fault, InvalidJourney
from saleor_personalize.journeys.entering import enter, enter_due, observe
from saleor_personalize.journeys.handing_over import UnderWay
from saleor_personalize.journeys.queries import RELATED
from saleor_personalize.journeys.resuming import resume_interrupted
from saleor_personalize.journeys.scheduler import advance_due
from saleor_personalize.journeys.triggers import CheckoutChanged, OrderChanged, SubjectGone
from saleor_personalize.journeys.versions import (
    built_in,
    check_segments,
    definition_of,
    ensure_journey,
    journeys_of,
    known,
    publish,
    roll_back,
)
from saleor_personalize.messaging import inbox
from saleor_personalize.models import (
    Checkout,
    Enrollment,
    Identity,
    Installation,
    Journey,
    JourneyVersion,
    Order,
)
from saleor_personalize.profiles import identity

__all__ = [
    "CLAIM",
    "FIRST_RETRY",
    "UnderWay",
    "advance_due",
    "built_in",
    "check_segments",
    "definition_of",
    "ensure_journey",
    "enter",
    "enter_due",
    "exit_for_order",
    "follow_checkout",
    "follow_orders",
    "go_live",
    "is_live",
    "journeys_of",
    "known",
    "let_go",
    "load",
    "looks_back_to",
    "observe",
    "pause",
    "publish",
    "resume",
    "resume_interrupted",
    "resume_sends",
    "roll_back",
    "set_priority",
    "stop_sends",
]

#: So many leave a journey that is paused at once; further ones by a worker.
LEAVE_AT_ONCE = 100


def is_live(*, installation: Installation) -> bool:
    """Tell whether anybody can be enrolled at all."""
    return Journey.objects.of(installation).filter(is_live=True).exists()


def load(*, installation: Installation, text: str, now: datetime) -> JourneyVersion:
    """Publish the definition that a YAML or JSON text holds. Raises InvalidJourney with every fault."""
    definition: Definition = definitions.load(text, known=known(installation))
    return publish(
        installation=installation, definition=definition, source=JourneySource.FILE, now=now
    )


# -- switches -----------------------------------------------------------------------------------------


def go_live(*, journey: Journey, now: datetime) -> Journey:
    """Switch a journey on. What happened before this moment is never written about.

    Raises InvalidJourney when it names a segment that the shop has not.
    """
    if not journey.is_live:
        _check(journey)
        journey.is_live, journey.live_at, journey.looked_at = True, now, None
        journey.save(update_fields=["is_live", "live_at", "looked_at"])
    return journey


def live_on_same_trigger(journey: Journey) -> list[str]:
    """Return the other live journeys of the shop that begin with the very same trigger: people may hear twice."""
    if journey.published is None:
        return []
    trigger = definition_of(journey.published).trigger
    others = Journey.objects.of(journey.installation_id).filter(is_live=True)
    rows = others.exclude(pk=journey.pk).exclude(published=None).select_related("published")
    return sorted(
        other.key
        for other in rows
        if other.published and definition_of(other.published).trigger == trigger
    )


def _check(journey: Journey) -> None:
    if journey.published is not None:
        check_segments(
            installation=journey.installation, definition=definition_of(journey.published)
        )


def resume(*, journey: Journey, now: datetime) -> Journey:
    """Let a paused journey go on where it was held: whoever waits in it is judged anew and goes on.

    A journey that was never live goes live. Raises InvalidJourney as `go_live` does, and while those who were let
    go are still leaving.
    """
    if journey.live_at is None:
        return go_live(journey=journey, now=now)
    if not journey.is_live:
        if journey.let_go_at is not None:
            told = "who was inside is still leaving; go on once nobody is, in a moment"
            raise InvalidJourney([Fault("journey", told, journey.key)])
        _check(journey)
        journey.is_live = True
        journey.save(update_fields=["is_live"])
    return journey


def pause(*, journey: Journey, now: datetime | None = None, on_pause: str = "") -> Journey:
    """Switch a journey off, and drop what somebody asked to be approved of it. `on_pause` ("hold" or "exit") is by default what its definition says.

    Held people wait: after `resume` they go on, after `go_live` they are let go, as from before. With
    "exit" they leave, each with the reason JOURNEY_PAUSED; that needs `now`. Some leave at once, the others by a
    worker (`let_go`): nothing is sent to them meanwhile, for the journey is off.
    """
    journey.is_live = False
    journey.save(update_fields=["is_live"])
    journey.approvals.filter(decided_at=None).delete()
    published = journey.published
    what = on_pause or (definition_of(published).on_pause if published is not None else "hold")
    if what == "exit":
        if now is None:
            raise ValueError("pause(): whoever leaves leaves at a moment; give `now`.")
        journey.let_go_at = now
        journey.save(update_fields=["let_go_at"])
        let_go(journey=journey, now=now, limit=LEAVE_AT_ONCE)
    return journey


def let_go(*, journey: Journey, now: datetime, limit: int) -> int:
    """End the stays of those who were inside at `journey.let_go_at`, at most `limit`; return how many.

    Safe to run beside itself. `journey.let_go_at` is None once nobody is left.
    """
    staying = Enrollment.objects.of(journey.installation_id).filter(
        journey=journey, status=EnrollmentStatus.WAITING, created_at__lte=journey.let_go_at
    )
    found = list(staying.order_by("pk").values_list("pk", flat=True)[:limit])
    for pk in found:
        with transaction.atomic():
            row = _locked(staying.filter(pk=pk)).first()
            if row is not None:
                _end(row, NotSentReason.JOURNEY_PAUSED, now)
    if not staying.exists():
        # Unless it was said anew meanwhile.
        mine = Journey.objects.of(journey.installation_id).filter(pk=journey.pk)
        mine.filter(let_go_at=journey.let_go_at).update(let_go_at=None)
        journey.refresh_from_db(fields=["let_go_at"])
    return len(found)


def set_priority(*, journey: Journey, priority: int | None) -> None:
    """Set how important a journey is, 0 to 100, instead of its definition; None: as that says."""
    journey.priority = priority
    journey.save(update_fields=["priority"])


def stop_sends(*, installation: Installation, now: datetime) -> None:
    """Stop everything that is sent by a shop, whatever it is; people stay where they are."""
    Installation.objects.filter(pk=installation.pk, sends_stopped_at=None).update(
        sends_stopped_at=now
    )
    installation.refresh_from_db(fields=["sends_stopped_at"])


def resume_sends(*, installation: Installation) -> None:
    """Let sends go on. Whatever became due meanwhile is judged anew; much of it is too late by then."""
    Installation.objects.filter(pk=installation.pk).update(sends_stopped_at=None)
    installation.sends_stopped_at = None


# -- facts --------------------------------------------------------------------------------------------


def follow_checkout(*, checkout: Checkout, now: datetime) -> list[Enrollment]:
    """Let a cart that was seen bring its person into journeys, or wait anew from its latest change."""
    return observe(fact=CheckoutChanged(checkout), now=now)


def follow_orders(*, installation: Installation, ids: Iterable[int], now: datetime) -> None:
    """Let new or changed orders end what they make superfluous, and begin what they are the reason of."""
    keys = list(ids)
    rows = Order.objects.of(installation).filter(pk__in=keys)
    waiting = Enrollment.objects.of(installation).filter(status=EnrollmentStatus.WAITING)
    # Nobody waits: nobody has to leave. Whoever starts to wait now is checked again before a send.
    if not keys or not (is_live(installation=installation) or waiting.exists()):
        return
    for order in rows.select_related("installation", "profile__installation"):
        exit_for_order(order=order, now=now)
        observe(fact=OrderChanged(order), now=now)


def looks_back_to(*, installation: Installation) -> datetime | None:
    """Return before when an order can change nothing in any journey; None: no order can."""
    waiting = Enrollment.objects.of(installation).filter(status=EnrollmentStatus.WAITING)
    carts = Checkout.objects.of(installation).filter(
        saleor_id__in=waiting.filter(subject_kind="checkout").values("subject_saleor_id")
    )
    live = Journey.objects.of(installation).filter(is_live=True)
    moments = [
        waiting.aggregate(at=Min("occurred_at"))["at"],
        carts.aggregate(at=Min(Coalesce("filled_at", "last_changed_at")))["at"],
        live.aggregate(at=Min("live_at"))["at"],
    ]
    return min((at for at in moments if at is not None), default=None)


def exit_for_order(*, order: Order, now: datetime) -> int:
    """End every waiting enrollment of the person who ordered, under whatever identity; return how many.

    Those whose journey leaves with an order; each leaves a message NOT_SENT with the reason ORDERED, and
    what it told them in the shop stands there no longer. Whoever waits for an order is due at once.
    """
    ids = [
        (IdentityKind.SALEOR_USER, order.user_saleor_id),
        (IdentityKind.EMAIL, order.email_hash),
        (IdentityKind.CHECKOUT, order.checkout_saleor_id),
    ]
    shown = [(kind, value) for kind, value in ids if value]
    ended = 0
    with transaction.atomic():
        identity.lock_identities(order.installation, shown)
        theirs = _of_buyer(order)
        for row in _locked(theirs.filter(status=EnrollmentStatus.WAITING)):
            try:
                case = cases.case_of(row)
            except (SubjectGone, UnknownAlias, InvalidJourney):
                # Without its object or its trigger it cannot be judged now; it is before each message.
                continue
            if not case.trigger.has_ordered(row):
                continue
            if "ordered" in (*case.definition.goals, *case.definition.exits):
                is_goal = "ordered" in case.definition.goals
                status = EnrollmentStatus.REACHED if is_goal else EnrollmentStatus.EXITED
                cases.end(case, NotSentReason.ORDERED, now, status=status)
                ended += 1
            elif asking.waits_for_order(case):
                row.due_at = min(row.due_at, now)
                row.save(update_fields=["due_at"])
        _take_down(theirs, now)
    return ended


def _take_down(theirs: QuerySet[Enrollment], now: datetime) -> None:
    """Let nothing stand in the shop that asks for what was ordered since, also of journeys that are over."""
    shown = Q(
        messages__inbox_item__dismissed_at=None,
        messages__inbox_item__expires_at__gt=now,
    )
    rows = theirs.filter(shown).select_related(*RELATED)
    for row in rows.distinct():
        try:
            case = cases.case_of(row)
        except (SubjectGone, UnknownAlias, InvalidJourney):
            continue
        is_over = "ordered" in (*case.definition.goals, *case.definition.exits)
        if is_over and case.trigger.has_ordered(row):
            inbox.take_down(enrollment=row, now=now)


def _of_buyer(order: Order) -> QuerySet[Enrollment]:
    """Return whoever may be the one who ordered: by profile, identity or cart."""
    same_person = Q(saleor_id=order.checkout_saleor_id)
    shown = Q(kind=IdentityKind.CHECKOUT, value=order.checkout_saleor_id)
    is_theirs = Q()
    if order.profile is not None:
        same_person |= Q(profile__in=order.profile.person())
        is_theirs |= Q(profile__in=order.profile.person())
    if order.user_saleor_id:
        same_person |= Q(user_saleor_id=order.user_saleor_id)
        shown |= Q(kind=IdentityKind.SALEOR_USER, value=order.user_saleor_id)
    if order.email_hash:
        same_person |= Q(email_hash=order.email_hash)
        shown |= Q(kind=IdentityKind.EMAIL, value=order.email_hash)
    carts = Checkout.objects.of(order.installation_id).filter(same_person)
    known = Identity.objects.of(order.installation_id).filter(shown)
    people = [owner for row in known.select_related("profile") for owner in row.profile.person()]
    return Enrollment.objects.of(order.installation_id).filter(
        is_theirs
        | Q(profile__in=people)
        | Q(
            subject_kind="checkout",
            subject_saleor_id__in=list(carts.values_list("saleor_id", flat=True)),
        )
    )


def _locked(rows: QuerySet[Enrollment]) -> QuerySet[Enrollment]:
    return rows.select_related(*RELATED).order_by("pk").select_for_update(of=("self",))


def _end(row: Enrollment, reason: NotSentReason, now: datetime) -> None:
    try:
        case = cases.case_of(row)
    except (SubjectGone, UnknownAlias, InvalidJourney):
        row.status, row.exit_reason, row.finished_at = EnrollmentStatus.EXITED, reason, now
        row.save()
        return
    cases.end(case, reason, now)
