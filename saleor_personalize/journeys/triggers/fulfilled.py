"""What follows a delivery, not a payment: thanks, what goes with it, the wish for a review.

It stops as soon as anything of the order was cancelled, paid back or sent back; Saleor is asked before
every message.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, ClassVar

from saleor_personalize.enums import IdentityKind, NotSentReason, OrderOrigin
from saleor_personalize.events.queries import carried_out, has_ordered_since, orders_of
from saleor_personalize.journeys import showing
from saleor_personalize.journeys.live_orders import AboutOrder, LiveOrder
from saleor_personalize.journeys.triggers.base import (
    About,
    AskSaleor,
    Content,
    Entry,
    Fact,
    Go,
    Live,
    OrderChanged,
    Sample,
    Stop,
    Subject,
    SubjectGone,
    Verdict,
    Wait,
)
from saleor_personalize.journeys.triggers.people import OfPerson
from saleor_personalize.models import Enrollment, Order, OrderLine, Profile

FULFILLED = "FULFILLED"
#: An older order that comes to our notice only now (a note was added) is no news.
_RECENT = timedelta(days=90)
_SINCE = "fulfilled_at"


@dataclass(frozen=True)
class Options:
    """`after` the last part went out; `nth`: only who has so many fulfilled orders by it; 0: every one."""

    after: timedelta = timedelta(days=1)
    nth: int = 0
    expires: timedelta = timedelta(days=45)


class OrderFulfilled(OfPerson):
    """Everything of an order has gone out."""

    key = "order_fulfilled"
    Options: ClassVar[type] = Options
    facts = (OrderChanged,)
    is_subject_personal = True
    follows_order = True

    # -- who comes in --

    def candidates(self, fact: Fact) -> Iterable[Entry]:
        if not isinstance(fact, OrderChanged) or not self._is_fulfilled(fact.order):
            return
        order = fact.order
        if order.profile is None or not self._is_nth(order):
            return
        at = self._fulfilled_at(order)
        if at - order.placed_at > _RECENT:
            return
        yield Entry(
            profile=order.profile,
            subject=Subject("order", order.saleor_id),
            occurred_at=at,
            due_at=at + self.options.after,
            context={"channel": order.channel_slug, _SINCE: at.isoformat()},
        )

    def example(self, profile: Profile, sample: Sample, now: datetime) -> Entry:
        order = Order.objects.create(
            installation=profile.installation,
            saleor_id="example",
            profile=profile,
            number="1000",
            status=FULFILLED,
            channel_slug=sample.channel_slug,
            currency=sample.currency,
            total=sample.price,
            placed_at=now,
        )
        OrderLine.objects.create(
            installation=profile.installation,
            order=order,
            saleor_id="example",
            product_saleor_id=sample.product_id,
            variant_saleor_id=sample.variant_id,
            quantity=1,
            unit_price=sample.price,
        )
        context = {"channel": sample.channel_slug, _SINCE: now.isoformat()}
        return Entry(profile, Subject("order", order.saleor_id), now, now, context)

    @staticmethod
    def _is_fulfilled(order: Order) -> bool:
        return (
            order.status == FULFILLED
            and order.deleted_at is None
            and order.origin == OrderOrigin.SALEOR
        )

    @staticmethod
    def _fulfilled_at(order: Order) -> datetime:
        """Return when we saw it first: whatever changes later does not make the person wait anew."""
        known = (
            Enrollment.objects.of(order.installation_id)
            .filter(subject_kind="order", subject_saleor_id=order.saleor_id)
            .exclude(**{f"context__{_SINCE}": None})
            .order_by("occurred_at")
            .values_list("occurred_at", flat=True)
            .first()
        )
        return known or order.saleor_updated_at or order.placed_at

    def _is_nth(self, order: Order) -> bool:
        if not self.options.nth or order.profile is None:
            return True
        done = carried_out(orders_of(profile=order.profile)).filter(status=FULFILLED)
        nth: int = self.options.nth
        return done.filter(placed_at__lte=order.placed_at).count() == nth

    # -- whether it still holds --

    def about(self, enrollment: Enrollment) -> About:
        order = _order_of(enrollment)
        general = super().about(enrollment)
        return About(
            address_hash=order.email_hash,
            language_code=general.language_code,
            channel_slug=order.channel_slug,
            identities=frozenset(
                (kind.value, value)
                for kind, value in (
                    (IdentityKind.SALEOR_USER, order.user_saleor_id),
                    (IdentityKind.EMAIL, order.email_hash),
                )
                if value
            ),
            profile=order.profile,
            expires_at=general.expires_at,
        )

    def has_ordered(self, enrollment: Enrollment) -> bool:
        """Tell whether the person has ordered again."""
        return has_ordered_since(
            profile=enrollment.profile,
            since=enrollment.occurred_at,
            identities=self.about(enrollment).identities,
            besides=enrollment.subject_saleor_id,
        )

    def judge(self, enrollment: Enrollment, live: Live | None, now: datetime) -> Verdict:
        order = _order_of(enrollment)
        if not self._is_fulfilled(order):
            return Stop(NotSentReason.CALLED_OFF)
        if not self._lines(enrollment, order, now):
            return Stop(NotSentReason.SENSITIVE)
        if live is None or order.saleor_id not in live:
            return AskSaleor((AboutOrder(order),))
        found: LiveOrder = live[order.saleor_id]
        if found.is_called_off:
            return Stop(NotSentReason.CALLED_OFF)
        if found.fulfilled_at is not None:
            live_at = enrollment.journey.live_at
            if live_at is not None and found.fulfilled_at < live_at:
                # It came to our notice only now: of what went out before, nobody hears.
                return Stop(NotSentReason.NOT_LIVE)
            if found.fulfilled_at + self.options.after > now:
                return Wait(found.fulfilled_at + self.options.after)
            if found.fulfilled_at + self.options.expires <= now:
                return Stop(NotSentReason.TOO_LATE)
        return Go()

    # -- what a message says --

    def _lines(self, enrollment: Enrollment, order: Order, now: datetime) -> list[dict[str, Any]]:
        ids = list(order.lines.order_by("pk").values_list("product_saleor_id", flat=True))
        return self.products(enrollment, [id_ for id_ in ids if id_], now, is_for_sale=False)

    def content(self, enrollment: Enrollment, live: Live, now: datetime) -> Content:
        order = _order_of(enrollment)
        lines = self._lines(enrollment, order, now)
        with_it = self.recommended(
            enrollment,
            "email_complements",
            now,
            only=("curated", "bought_together"),
            product_ids=tuple(showing.kept(lines)),
            hidden=tuple(order.lines.values_list("product_saleor_id", flat=True)),
        )
        return Content(
            {"number": order.number, "lines": lines, "products": with_it},
            {"order_id": order.saleor_id, "product_ids": showing.kept(with_it)},
        )


def _order_of(enrollment: Enrollment) -> Order:
    """Return the order of an enrollment. Raises SubjectGone after an erasure."""
    found = (
        Order.objects.of(enrollment.installation_id)
        .filter(saleor_id=enrollment.subject_saleor_id)
        .exclude(profile=None)
        .select_related("installation", "profile__installation")
        .first()
    )
    if found is None:
        raise SubjectGone(NotSentReason.CALLED_OFF)
    return found
