"""The life of a sign-up: requested, confirmed, called when its turn comes, told once; or cancelled, or expired.

Whoever is told of pieces may buy them, so of those who were told within STOCK_ALERT_PAUSE and have not bought
there are never more than pieces times STOCK_ALERT_FACTOR; those who have waited longest are told first.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime

from django.db import transaction
from django.db.models import Q, QuerySet

from saleor_personalize import bus
from saleor_personalize.catalog import prices
from saleor_personalize.conf import settings
from saleor_personalize.enums import (
    BusEvent,
    DeliveryChannel,
    EnrollmentStatus,
    IdentityKind,
    MessageStatus,
    NotSentReason,
    Purpose,
)
from saleor_personalize.events.queries import orders_of
from saleor_personalize.messaging import choosing, destinations, guards, reach
from saleor_personalize.messaging.queries import REACHED
from saleor_personalize.models import (
    Enrollment,
    Installation,
    Message,
    OrderLine,
    ProductVariant,
    Profile,
    SalesChannel,
    StockAlert,
    email_hash,
)
from saleor_personalize.models.locks import lock, try_lock
from saleor_personalize.profiles import consent, consent_rules, identity

#: What people allow by signing up, a key of TOPICS.
TOPIC = "stock_alerts"
#: Where the permission comes from, in the ledger.
SOURCE = "stock_alert"
#: Kind of the subject of an enrollment, and where its context keeps the sign-up.
SUBJECT, ALERT = "variant", "alert"
#: People in one wave where there is no end of pieces.
MOST = 1_000
#: Reasons that pass by themselves: permission is there.
_PASSING = (NotSentReason.PAUSED, NotSentReason.FREQUENCY_LIMIT)


class AlertRefused(Exception):
    """A sign-up that makes no sense: `code` for programs, `field` to mend."""

    def __init__(self, code: str, message: str, field: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.field = field


@dataclass(frozen=True)
class Words:
    """What the storefront tells of the form and its reader."""

    language_code: str = ""
    country_code: str = ""
    wording_version: str = ""


def request(
    *,
    installation: Installation,
    variant_id: str,
    channel_slug: str,
    now: datetime,
    user_id: str = "",
    address: str = "",
    visitor: str = "",
    words: Words | None = None,
) -> StockAlert:
    """Sign somebody up: a Saleor user, or else an address that anybody may have typed.

    A user who waits already goes on waiting in their place. What an address was signed up for before is told
    to nobody: each form makes a sign-up of its own, and of all of one person one message comes. Raises
    AlertRefused.
    """
    words = words or Words()
    product_id = _check(installation, variant_id, channel_slug)
    shown = (
        {IdentityKind.SALEOR_USER: user_id} if user_id else {IdentityKind.EMAIL: address.strip()}
    )
    profile = identity.resolve_profile(installation=installation, shown=shown, now=now)
    if user_id and not _is_reachable(profile):
        raise AlertRefused("NO_EMAIL", "The account has no e-mail address that we know.", "email")
    with transaction.atomic():
        consent.hold(profile=profile)
        _allow(profile, user_id, visitor, words, now)
        mine = waiting(installation).filter(
            profile=profile, variant_saleor_id=variant_id, channel_slug=channel_slug
        )
        known = mine.filter(expires_at__gt=now).order_by("pk").first() if user_id else None
        if known is not None:
            known.expires_at = now + settings.STOCK_ALERT_EXPIRY
            known.save(update_fields=["expires_at"])
            return known
        alert = StockAlert.objects.create(
            installation=installation,
            profile=profile,
            variant_saleor_id=variant_id,
            product_saleor_id=product_id,
            channel_slug=channel_slug,
            email_hash="" if user_id else email_hash(address),
            language_code=words.language_code,
            created_at=now,
            expires_at=now + settings.STOCK_ALERT_EXPIRY,
        )
        list(_allowed([alert], now, destinations.known()))
        bus.publish(
            installation=installation,
            event=BusEvent.STOCK_ALERT_REQUESTED,
            data={"variantId": variant_id, "productId": product_id, "channel": channel_slug},
            profile_id=profile.pk,
            key=alert.public_id.hex,
            now=now,
        )
    return alert


def _is_reachable(profile: Profile) -> bool:
    """Tell whether there is an address, or a device with a yes to push."""
    return bool(
        reach.reachable(
            installation=profile.installation,
            people=[profile.person_id],
            delivery_channels=(DeliveryChannel.EMAIL, DeliveryChannel.PUSH),
            agreed=False,
        )
    )


def _check(installation: Installation, variant_id: str, channel_slug: str) -> str:
    """Return the product of a variant that one can wait for."""
    variants = ProductVariant.objects.of(installation)
    variant = variants.filter(saleor_id=variant_id, deleted_at=None).first()
    if variant is None:
        raise AlertRefused("UNKNOWN_VARIANT", "The shop has no such variant.", "variantId")
    channels = SalesChannel.objects.of(installation)
    if not channels.filter(slug=channel_slug, is_active=True, deleted_at=None).exists():
        raise AlertRefused("UNKNOWN_CHANNEL", "The shop has no such sales channel.", "channel")
    free = prices.pieces(
        installation=installation, variant_ids=[variant_id], channel_slug=channel_slug
    )
    if free is None or free > 0:
        raise AlertRefused("IN_STOCK", "The variant can be bought now.", "variantId")
    return variant.product_saleor_id


def _allow(profile: Profile, user_id: str, visitor: str, words: Words, now: datetime) -> None:
    """Record the permission that is asked for; after a NO, and where the country says so, it waits for a
    confirmation. A suppressed address is left alone."""
    installation = profile.installation
    recipient = guards.address_identity(profile=profile)
    if recipient is None or consent.is_suppressed(
        installation=installation,
        delivery_channel=DeliveryChannel.EMAIL,
        address_hash=recipient.value,
    ):
        return
    seen_in = "" if user_id else consent_rules.country_of_visitor(installation, visitor)
    country = consent_rules.strictest([words.country_code, seen_in]).country_code
    consent.record_yes(
        profile=profile,
        topics=[TOPIC],
        source=SOURCE,
        now=now,
        country_code=country,
        language_code=words.language_code,
        wording_version=words.wording_version,
        asks_again=True,
    )


def cancel(*, alerts: Iterable[StockAlert], now: datetime) -> int:
    """Let people wait no longer; return how many did. Doing it twice is harmless."""
    count = 0
    for alert in alerts:
        with transaction.atomic():
            # A decision under way finishes first; a later one sees it.
            consent.hold(profile=alert.profile)
            rows = waiting(alert.installation).filter(pk=alert.pk)
            count += rows.update(cancelled_at=now)
    return count


def waiting(installation: Installation) -> QuerySet[StockAlert]:
    """Return the sign-ups that may still lead to a message, expired ones too."""
    return StockAlert.objects.of(installation).filter(told_at=None, cancelled_at=None)


# -- waves ---------------------------------------------------------------------------------------------


def hold(alert: StockAlert) -> None:
    """Let nobody else call or tell people of this variant in this sales channel until the transaction ends."""
    lock(alert.installation, [_name(alert.variant_saleor_id, alert.channel_slug)])


def _name(variant_id: str, channel_slug: str) -> str:
    return f"stock_alerts:{variant_id}:{channel_slug}"


def call_up(
    *,
    installation: Installation,
    variant_id: str,
    channel_slug: str,
    now: datetime,
    over: Collection[str] = (DeliveryChannel.EMAIL,),
) -> list[StockAlert]:
    """Call those who have waited longest, as many as the pieces in stock allow; return whom.

    Only whom we may write to `over` one of these delivery channels.

    Nobody, while another worker looks at the same variant: the next look calls them.
    """
    called: list[StockAlert] = []
    with transaction.atomic():
        if not try_lock(installation, _name(variant_id, channel_slug)):
            return []
        rows = waiting(installation).filter(variant_saleor_id=variant_id, channel_slug=channel_slug)
        people = {_person(alert) for alert in _settle(rows.exclude(called_at=None), now)}
        free = prices.pieces(
            installation=installation, variant_ids=[variant_id], channel_slug=channel_slug
        )
        seats = room(installation, variant_id, channel_slug, free, now)
        if free is not None:
            seats -= len(people)
        if seats < 1:
            return []
        queue = rows.filter(called_at=None, expires_at__gt=now).select_related(
            "profile__installation", "installation"
        )
        # Whoever never confirms must not stand in the way of the others, so there is no end to the queue.
        oldest_first = queue.order_by("created_at", "pk").iterator(chunk_size=200)
        for alert in _allowed(oldest_first, now, over):
            if _person(alert) in people:
                # Told along with their first sign-up.
                continue
            if has_bought(alert):
                rows.filter(pk=alert.pk).update(cancelled_at=now)
                continue
            alert.called_at = now
            alert.save(update_fields=["called_at"])
            people.add(_person(alert))
            called.append(alert)
            if len(called) == seats:
                break
    return called


def room(
    installation: Installation,
    variant_id: str,
    channel_slug: str,
    pieces: int | None,
    now: datetime,
) -> int:
    """Return how many more people may be told of so many pieces now; `pieces` None: no end of them.

    Whoever was told within STOCK_ALERT_PAUSE and has not bought yet may still come for one.
    """
    if pieces is None:
        return MOST
    since = now - settings.STOCK_ALERT_PAUSE
    rows = (
        StockAlert.objects.of(installation)
        .filter(variant_saleor_id=variant_id, channel_slug=channel_slug)
        .select_related("profile__installation", "installation")
    )
    most: int = math.floor(pieces * settings.STOCK_ALERT_FACTOR)
    called = list(rows.filter(told_at=None).exclude(called_at=None))
    reached = messages_of(installation, called).filter(status__in=REACHED, decided_at__gt=since)
    just_told = set(reached.values_list("enrollment__context__alert", flat=True))
    told = [alert for alert in called if alert.public_id.hex in just_told]
    told += rows.filter(told_at__gt=since)
    if len({_person(alert) for alert in told}) < most:
        # Who has bought since is of no matter yet.
        return most - len({_person(alert) for alert in told})
    coming = {_person(alert) for alert in told if not has_bought(alert)}
    return max(most - len(coming), 0)


def has_bought(alert: StockAlert) -> bool:
    """Tell whether the person ordered the variant since they signed up, under whatever identity, anywhere."""
    orders = orders_of(profile=alert.profile, identities=identities(alert))
    since = Q(placed_at__gte=alert.created_at) | Q(
        checkout_saleor_id="", saleor_updated_at__gte=alert.created_at
    )
    lines = OrderLine.objects.of(alert.installation_id).filter(
        order__in=orders.filter(since).values("pk"), variant_saleor_id=alert.variant_saleor_id
    )
    return lines.exists()


def identities(alert: StockAlert) -> frozenset[tuple[str, str]]:
    """Return by what, beside their profile, an order is of whoever signed up."""
    return frozenset({(IdentityKind.EMAIL.value, alert.email_hash)} if alert.email_hash else ())


def was_told(alert: StockAlert, *, besides: Enrollment) -> bool:
    """Tell whether the person has, or may have, the message about this sign-up or another one like it, by any
    other way than this enrollment."""
    own = messages_of(alert.installation_id, [alert]).filter(status__in=REACHED, enrollment=besides)
    if alert.told_at is not None and not own.exists():
        return True
    alike = StockAlert.objects.of(alert.installation_id).filter(
        profile__in=alert.profile.person(),
        variant_saleor_id=alert.variant_saleor_id,
        channel_slug=alert.channel_slug,
        told_at=None,
    )
    told = messages_of(alert.installation_id, list(alike)).filter(status__in=REACHED)
    return told.exclude(enrollment=besides).exists()


def _mark_told(alert: StockAlert, now: datetime) -> None:
    """Write down that the message went; it covers all that the person signed up for of this variant."""
    waiting(alert.installation).filter(
        profile__in=alert.profile.person(),
        variant_saleor_id=alert.variant_saleor_id,
        channel_slug=alert.channel_slug,
    ).update(told_at=now)


def let_wait(alert: StockAlert) -> None:
    """Put somebody who was called back into their place."""
    waiting(alert.installation).filter(pk=alert.pk).update(called_at=None)


def forget(alert: StockAlert, *, now: datetime) -> None:
    """End a sign-up whose reason is gone: they bought it."""
    waiting(alert.installation).filter(pk=alert.pk).update(cancelled_at=now)


def messages_of(
    installation: Installation | int, alerts: Collection[StockAlert]
) -> QuerySet[Message]:
    """Return the messages that were decided about sign-ups, told or not."""
    return Message.objects.of(installation).filter(
        enrollment__subject_kind=SUBJECT,
        enrollment__subject_saleor_id__in={alert.variant_saleor_id for alert in alerts},
        enrollment__context__alert__in=[alert.public_id.hex for alert in alerts],
    )


def _settle(rows: QuerySet[StockAlert], now: datetime) -> list[StockAlert]:
    """Follow what became of those who were called: told, or back in their place; return who is under way."""
    under_way = []
    for alert in rows.select_related("profile__installation", "installation").order_by("pk"):
        messages = messages_of(alert.installation_id, [alert])
        reached = messages.filter(status__in=REACHED).order_by("pk").first()
        last = _enrollments(alert).order_by("-pk").first()
        if reached is not None and reached.status == MessageStatus.HANDING_OVER:
            # Whoever hands it over may have been killed: then it is decided anew.
            under_way.append(alert)
        elif reached is not None:
            _mark_told(alert, reached.decided_at)
        elif last is not None and last.status == EnrollmentStatus.WAITING:
            under_way.append(alert)
        elif messages.filter(status=MessageStatus.FAILED).exists():
            # An address that is refused once is refused again.
            forget(alert, now=now)
        elif (last is not None and last.exit_reason == NotSentReason.SOLD_OUT) or (
            alert.called_at is not None and alert.called_at <= now - settings.STOCK_ALERT_PAUSE
        ):
            let_wait(alert)
    return under_way


def _enrollments(alert: StockAlert) -> QuerySet[Enrollment]:
    """Return where the sign-up is, or was, since it was called."""
    return Enrollment.objects.of(alert.installation_id).filter(
        subject_kind=SUBJECT,
        subject_saleor_id=alert.variant_saleor_id,
        context__alert=alert.public_id.hex,
        occurred_at__gte=alert.called_at,
    )


def _allowed(
    alerts: Iterable[StockAlert], now: datetime, over: Collection[str]
) -> Iterator[StockAlert]:
    """Yield those whom we may write to now over a delivery channel; write down since when there is permission."""
    for alert in alerts:
        objection = choosing.best(
            profile=alert.profile,
            among=over,
            purpose=Purpose.MARKETING,
            topic=TOPIC,
            preferred_hash=alert.email_hash,
            now=now,
        ).objection
        if objection is not None and objection not in _PASSING:
            continue
        if alert.confirmed_at is None:
            alert.confirmed_at = now
            alert.save(update_fields=["confirmed_at"])
        if objection is None:
            yield alert


def _person(alert: StockAlert) -> int:
    return alert.profile.merged_into_id or alert.profile_id
