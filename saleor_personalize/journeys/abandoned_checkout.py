"""The reminder of an abandoned checkout: when it is due, and every reason not to send it.

`judge` is asked twice. First without Saleor's answer, so that Saleor is only asked about people who
may be written to; then with it, inside the transaction and under the locks that decide.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Q

from saleor_personalize.catalog.queries import sensitive_ids
from saleor_personalize.conf import settings
from saleor_personalize.enums import (
    CheckoutCloseReason,
    EnrollmentStatus,
    IdentityKind,
    NotSentReason,
    Purpose,
)
from saleor_personalize.events.queries import ordered_since
from saleor_personalize.journeys.live import LiveCheckout, LiveLine
from saleor_personalize.messaging import guards, links, rendering
from saleor_personalize.messaging import operations as messaging
from saleor_personalize.messaging.operations import Draft
from saleor_personalize.messaging.queries import reached_since
from saleor_personalize.messaging.rendering import Rendered, format_money
from saleor_personalize.models import (
    Checkout,
    Enrollment,
    Identity,
    Installation,
    Journey,
    Product,
    ProductListing,
    ProductVariant,
)

#: Name of the journey, and of its template folder.
KEY = "abandoned_checkout"
#: What it is about, of TOPICS.
TOPIC = "reminders"
#: How long after a newer cart of the same person an older one is looked at again.
_AFTER_NEWER = timedelta(minutes=1)


@dataclass(frozen=True)
class Wait:
    """Too early: ask again at `until`."""

    until: datetime


@dataclass(frozen=True)
class Stop:
    """Never: `reason` says why."""

    reason: NotSentReason


@dataclass(frozen=True)
class AskSaleor:
    """Nothing of ours speaks against it; what does the shop say? `address` would be written to."""

    address: str


@dataclass(frozen=True)
class Send:
    recipient: Identity
    lines: tuple[LiveLine, ...]
    left_out: tuple[LiveLine, ...]


Verdict = Wait | Stop | AskSaleor | Send


def delay_of(journey: Journey) -> timedelta:
    return journey.delay if journey.delay is not None else settings.ABANDONED_CHECKOUT_DELAY


def due_at(journey: Journey, checkout: Checkout) -> datetime:
    return checkout.last_changed_at + delay_of(journey)


def too_late_at(checkout: Checkout) -> datetime:
    return checkout.last_changed_at + settings.ABANDONED_CHECKOUT_EXPIRY  # type: ignore[no-any-return]


def can_be_abandoned(checkout: Checkout) -> bool:
    """Tell whether a checkout is open, holds something, and has somebody to write to."""
    return (
        checkout.closed_at is None
        and checkout.deleted_at is None
        and bool(checkout.lines)
        and _recipient(checkout) is not None
    )


def draft(checkout: Checkout, enrollment: Enrollment) -> Draft:
    """Return the identity of the decision: a checkout is written about once, ever."""
    return Draft(
        key=f"{KEY}:{checkout.saleor_id}",
        profile=checkout.profile,
        enrollment=enrollment,
        template=KEY,
        language_code=checkout.language_code,
    )


def identities(checkout: Checkout) -> set[tuple[str, str]]:
    """Return every identity by which an order of this checkout's person may be known."""
    own = {
        (IdentityKind.CHECKOUT.value, checkout.saleor_id),
        (IdentityKind.SALEOR_USER.value, checkout.user_saleor_id),
        (IdentityKind.EMAIL.value, checkout.email_hash),
    }
    of_profile = (
        Identity.objects.of(checkout.installation)
        .filter(profile__in=checkout.profile.person())
        .values_list("kind", "value")
    )
    return {(kind, value) for kind, value in own | set(of_profile) if value}


def judge(
    *,
    journey: Journey,
    checkout: Checkout,
    enrollment: Enrollment,
    live: LiveCheckout | None,
    now: datetime,
) -> Verdict:
    """Say what is to be done about a checkout now, by our own tables and, if given, Saleor's answer."""
    if journey.live_at is None or checkout.last_changed_at < journey.live_at:
        return Stop(NotSentReason.NOT_LIVE)
    if checkout.close_reason == CheckoutCloseReason.ORDERED or ordered_since(checkout):
        return Stop(NotSentReason.ORDERED)
    if checkout.closed_at is not None or checkout.deleted_at is not None:
        return Stop(NotSentReason.CHECKOUT_GONE)
    if now >= too_late_at(checkout):
        return Stop(NotSentReason.TOO_LATE)
    if due_at(journey, checkout) > now:
        return Wait(due_at(journey, checkout))
    if not checkout.lines:
        return Stop(NotSentReason.CHECKOUT_EMPTY)
    recipient = _recipient(checkout)
    objection = guards.objection(
        profile=checkout.profile,
        purpose=Purpose.MARKETING,
        recipient=recipient,
        topic=TOPIC,
        now=now,
    )
    if objection is not None or recipient is None:
        return Stop(objection or NotSentReason.NO_ADDRESS)
    told_since = min(checkout.last_changed_at, now - delay_of(journey))
    if reached_since(profile=checkout.profile, template=KEY, since=told_since):
        return Stop(NotSentReason.ALREADY_SENT)
    newer = _newer_cart(journey, checkout, enrollment)
    if newer is not None:
        return Wait(max(newer.due_at, now) + _AFTER_NEWER)
    if live is None:
        return AskSaleor(recipient.address)
    return _judge_live(journey, checkout, recipient, live, now)


def _judge_live(
    journey: Journey, checkout: Checkout, recipient: Identity, live: LiveCheckout, now: datetime
) -> Verdict:
    if live.is_ordered:
        return Stop(NotSentReason.ORDERED)
    if not live.exists:
        return Stop(NotSentReason.CHECKOUT_GONE)
    if live.changed_at is not None and live.differs_from(checkout):
        # The person came back and the webhook has not: their hour starts anew.
        due = live.changed_at + delay_of(journey)
        if due > now:
            return Wait(due)
    if not live.is_of_same_person(checkout):
        # Whom it belongs to now, and what they allowed, is known when the webhook has come.
        return Wait(now + delay_of(journey))
    withdrawn = _withdrawn(
        installation=checkout.installation,
        channel_slug=checkout.channel_slug,
        lines=live.lines,
        now=now,
    )
    sellable = [line for line in live.lines if line.is_sellable and line not in withdrawn]
    if not sellable:
        return Stop(NotSentReason.CHECKOUT_EMPTY)
    hidden = sensitive_ids(
        installation=checkout.installation, ids={line.product_id for line in sellable}
    )
    lines = tuple(line for line in sellable if line.product_id not in hidden)
    if not lines:
        return Stop(NotSentReason.SENSITIVE)
    left_out = tuple(line for line in live.lines if line not in lines)
    return Send(recipient=recipient, lines=lines, left_out=left_out)


def other_carts(
    journey: Journey, checkout: Checkout, enrollment: Enrollment
) -> list[tuple[Enrollment, Checkout]]:
    """Return the person's other enrollments that wait in this journey, with their checkouts."""
    checkouts = {
        row.saleor_id: row
        for row in Checkout.objects.of(journey.installation)
        .filter(profile__in=checkout.profile.person(), closed_at=None)
        .select_related("installation", "profile")
    }
    enrollments = (
        Enrollment.objects.of(journey.installation)
        .filter(journey=journey, subject_saleor_id__in=checkouts, status=EnrollmentStatus.WAITING)
        .exclude(pk=enrollment.pk)
    )
    return [(row, checkouts[row.subject_saleor_id]) for row in enrollments]


def _newer_cart(journey: Journey, checkout: Checkout, enrollment: Enrollment) -> Enrollment | None:
    """Return the enrollment of the person's newest other cart, if it is newer than this one."""

    def age(pair: tuple[Enrollment, Checkout]) -> tuple[datetime, int]:
        return pair[1].last_changed_at, pair[1].pk

    others = [
        pair for pair in other_carts(journey, checkout, enrollment) if can_be_abandoned(pair[1])
    ]
    newest = max(others, key=age, default=None)
    if newest is None or age(newest) < (checkout.last_changed_at, checkout.pk):
        return None
    return newest[0]


def _recipient(checkout: Checkout) -> Identity | None:
    return guards.address_identity(profile=checkout.profile, preferred_hash=checkout.email_hash)


def _withdrawn(
    *, installation: Installation, channel_slug: str, lines: Collection[LiveLine], now: datetime
) -> set[LiveLine]:
    """Return the lines that our own tables know to be deleted or no longer for sale.

    Stock is left to Saleor's answer, which is newer than ours. What we do not know is not withdrawn.
    """
    products = {line.product_id for line in lines}
    variants = {line.variant_id for line in lines}
    gone = set(
        Product.objects.of(installation)
        .filter(saleor_id__in=products)
        .exclude(deleted_at=None)
        .values_list("saleor_id", flat=True)
    ) | set(
        ProductVariant.objects.of(installation)
        .filter(saleor_id__in=variants)
        .exclude(deleted_at=None)
        .values_list("saleor_id", flat=True)
    )
    gone |= set(
        ProductListing.objects.of(installation)
        .filter(
            Q(is_published=False) | Q(published_at__gt=now) | Q(available_for_purchase_at__gt=now),
            channel_slug=channel_slug,
            product_saleor_id__in=products,
        )
        .values_list("product_saleor_id", flat=True)
    )
    return {line for line in lines if gone & {line.product_id, line.variant_id}}


def content(checkout: Checkout, verdict: Send) -> dict[str, Any]:
    """Return what the message shows, as it is kept: ids and prices, nothing personal."""
    return {
        "checkout_id": checkout.saleor_id,
        "lines": [
            {
                "product_id": line.product_id,
                "variant_id": line.variant_id,
                "quantity": line.quantity,
                "unit_price": str(line.unit_price),
                "currency": line.currency,
            }
            for line in verdict.lines
        ],
        "left_out": [line.variant_id for line in verdict.left_out],
    }


def render(checkout: Checkout, verdict: Send) -> tuple[Rendered, str]:
    """Return the rendered message and its unsubscribe link. Raises TemplateIncomplete."""
    installation, language = checkout.installation, checkout.language_code
    unsubscribe_url = links.unsubscribe_url(
        profile=checkout.profile, address_hash=verdict.recipient.value
    )
    rendered = rendering.render(
        template=KEY,
        language_code=language,
        context={
            "shop_name": messaging.sender_name(installation),
            "first_name": checkout.profile.first_name,
            "cart_url": links.cart_url(
                installation=installation,
                checkout_id=checkout.saleor_id,
                channel_slug=checkout.channel_slug,
            ),
            "unsubscribe_url": unsubscribe_url,
            "preferences_url": links.preferences_url(
                profile=guards.speaker(profile=checkout.profile, recipient=verdict.recipient),
                address_hash=verdict.recipient.value,
                language_code=language,
            ),
            "lines": [
                {
                    "name": line.product_name,
                    "variant_name": line.variant_name,
                    "quantity": line.quantity,
                    "unit_price": format_money(line.unit_price, line.currency, language),
                    "image_url": line.image_url,
                }
                for line in verdict.lines
            ],
        },
    )
    return rendered, unsubscribe_url
