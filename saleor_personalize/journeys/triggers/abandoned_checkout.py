"""A cart that lies still: when its person is reminded, every reason not to, and what the message shows.

Of several open carts of a person the newest one speaks for all: one message with everything in them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, ClassVar

from django.db.models import Count, Q

from saleor_personalize.catalog.queries import sensitive_ids, translations
from saleor_personalize.conf import settings
from saleor_personalize.enums import (
    CheckoutCloseReason,
    EnrollmentStatus,
    IdentityKind,
    NotSentReason,
)
from saleor_personalize.events.operations import close_checkout
from saleor_personalize.events.queries import ordered_since, orders_of
from saleor_personalize.exceptions import TemplateIncomplete
from saleor_personalize.journeys.live import AboutCheckout, LiveCheckout, LiveLine
from saleor_personalize.journeys.queries import RELATED
from saleor_personalize.journeys.triggers.base import (
    About,
    AskSaleor,
    CheckoutChanged,
    Content,
    Entry,
    Fact,
    Go,
    Live,
    Question,
    Sample,
    Stop,
    Subject,
    SubjectGone,
    Trigger,
    Verdict,
    Wait,
)
from saleor_personalize.messaging import guards, links, reach
from saleor_personalize.messaging.queries import REACHED, reached_by
from saleor_personalize.messaging.rendering import format_money
from saleor_personalize.models import (
    Checkout,
    Enrollment,
    Installation,
    OrderLine,
    Product,
    ProductListing,
    ProductVariant,
    Profile,
)
from saleor_personalize.models.held import once

#: Where `Message.content` keeps the carts that were told along: later messages show them again.
_CARTS = "carts"


@dataclass(frozen=True)
class Options:
    """`after`: how long a cart lies still; `expires`: when it is too late. None: as the settings say."""

    after: timedelta | None = None
    expires: timedelta | None = None


@dataclass(frozen=True)
class _Cart:
    """A cart that can be shown: lines that can be bought, and those that cannot."""

    checkout: Checkout
    lines: tuple[LiveLine, ...]
    left_out: tuple[LiveLine, ...]


class AbandonedCheckout(Trigger):
    """Somebody left a cart with a contact in Saleor."""

    key = "abandoned_checkout"
    Options: ClassVar[type] = Options
    facts = (CheckoutChanged,)
    is_subject_personal = True
    family = "abandonment"
    significance = 30
    asks_for_orders = True

    # -- who comes in --

    def candidates(self, fact: Fact) -> Iterable[Entry]:
        if isinstance(fact, CheckoutChanged) and self._can_be_abandoned(fact.checkout):
            checkout = fact.checkout
            yield Entry(
                profile=checkout.profile,
                subject=Subject("checkout", checkout.saleor_id),
                occurred_at=checkout.last_changed_at,
                due_at=self._due_at(checkout),
            )

    def _can_be_abandoned(self, checkout: Checkout) -> bool:
        """Tell whether a checkout is open, holds something, and has somebody to write to."""
        return (
            checkout.closed_at is None
            and checkout.deleted_at is None
            and bool(checkout.lines)
            and self._is_reachable(checkout)
        )

    def _is_reachable(self, checkout: Checkout) -> bool:
        return bool(
            reach.reachable(
                installation=checkout.installation,
                people=[checkout.profile.person_id],
                delivery_channels=self.delivery_channels,
                agreed=False,
            )
        )

    def _due_at(self, checkout: Checkout) -> datetime:
        return checkout.last_changed_at + self._after

    @property
    def _after(self) -> timedelta:
        after: timedelta | None = self.options.after
        return settings.ABANDONED_CHECKOUT_DELAY if after is None else after

    def _expires_at(self, checkout: Checkout) -> datetime:
        expires: timedelta | None = self.options.expires
        kept = settings.ABANDONED_CHECKOUT_EXPIRY if expires is None else expires
        return checkout.last_changed_at + kept

    def example(self, profile: Profile, sample: Sample, now: datetime) -> Entry:
        left = now - self._after
        cart = Checkout.objects.create(
            installation=profile.installation,
            saleor_id="example",
            token="",
            profile=profile,
            channel_slug=sample.channel_slug,
            language_code=profile.language_code,
            currency=sample.currency,
            total=sample.price,
            lines=[
                {
                    "id": "example",
                    "variant_id": sample.variant_id,
                    "product_id": sample.product_id,
                    "quantity": 1,
                    "unit_price": str(sample.price),
                }
            ],
            last_changed_at=left,
        )
        return Entry(profile, Subject("checkout", cart.saleor_id), left, now)

    # -- whether it still holds --

    def about(self, enrollment: Enrollment) -> About:
        checkout = _checkout_of(enrollment)
        ids = (
            (IdentityKind.CHECKOUT.value, checkout.saleor_id),
            (IdentityKind.SALEOR_USER.value, checkout.user_saleor_id),
            (IdentityKind.EMAIL.value, checkout.email_hash),
        )
        return About(
            address_hash=checkout.email_hash,
            language_code=checkout.language_code,
            channel_slug=checkout.channel_slug,
            identities=frozenset((kind, value) for kind, value in ids if value),
            profile=checkout.profile,
            expires_at=self._expires_at(checkout),
        )

    def lock(self, enrollment: Enrollment) -> None:
        rows = Checkout.objects.of(enrollment.installation_id)
        list(rows.filter(saleor_id=enrollment.subject_saleor_id).select_for_update(of=("self",)))

    def has_ordered(self, enrollment: Enrollment) -> bool:
        checkout = _checkout_of(enrollment)
        return checkout.close_reason == CheckoutCloseReason.ORDERED or ordered_since(checkout)

    def judge(self, enrollment: Enrollment, live: Live | None, now: datetime) -> Verdict:
        checkout = _checkout_of(enrollment)
        if checkout.closed_at is not None or checkout.deleted_at is not None:
            return Stop(NotSentReason.CHECKOUT_GONE)
        if self._due_at(checkout) > now:
            return Wait(self._due_at(checkout))
        if not checkout.lines:
            return Stop(NotSentReason.CHECKOUT_EMPTY)
        told_since = min(checkout.last_changed_at, now - self._after)
        if reached_by(enrollment=enrollment, since=told_since):
            return Stop(NotSentReason.ALREADY_SENT)
        newer = self._newer_cart(enrollment, checkout)
        if newer is not None:
            return Wait(max(newer.due_at, now) + _AFTER_NEWER)
        if live is None or checkout.saleor_id not in live:
            carts = [checkout, *(cart for _row, cart in self._others(enrollment, checkout))]
            address = guards.address_of(
                profile=checkout.profile, preferred_hash=checkout.email_hash
            )
            questions = tuple[Question, ...](AboutCheckout(c, address) for c in carts)
            return AskSaleor(questions)
        verdict = self._judge_live(checkout, live[checkout.saleor_id], now)
        return Go() if isinstance(verdict, _Cart) else verdict

    def _judge_live(
        self, checkout: Checkout, live: LiveCheckout, now: datetime
    ) -> Wait | Stop | _Cart:
        return once(
            ("live cart", checkout.pk, live, self._after, now),
            lambda: self._compare(checkout, live, now),
        )

    def _compare(
        self, checkout: Checkout, live: LiveCheckout, now: datetime
    ) -> Wait | Stop | _Cart:
        if live.is_ordered:
            return Stop(NotSentReason.ORDERED)
        if not live.exists:
            return Stop(NotSentReason.CHECKOUT_GONE)
        if live.changed_at is not None and live.differs_from(checkout):
            # The person came back and the webhook has not: their hour starts anew.
            due = live.changed_at + self._after
            if due > now:
                return Wait(due)
        if not live.is_of_same_person(checkout):
            # Whom it belongs to now, and what they allowed, is known when the webhook has come.
            return Wait(now + self._after)
        withdrawn = _withdrawn(
            installation=checkout.installation,
            channel_slug=checkout.channel_slug,
            lines=live.lines,
            now=now,
        )
        bought = _bought(checkout)
        sellable = [line for line in live.lines if line.is_sellable and line not in withdrawn]
        if not sellable:
            return Stop(NotSentReason.CHECKOUT_EMPTY)
        sellable = [line for line in sellable if line.variant_id not in bought]
        if not sellable:
            return Stop(NotSentReason.ORDERED)
        hidden = sensitive_ids(
            installation=checkout.installation, ids={line.product_id for line in sellable}
        )
        lines = tuple(line for line in sellable if line.product_id not in hidden)
        if not lines:
            return Stop(NotSentReason.SENSITIVE)
        return _Cart(checkout, lines, tuple(line for line in live.lines if line not in lines))

    def stopped(self, enrollment: Enrollment, reason: NotSentReason, now: datetime) -> None:
        if reason == NotSentReason.CHECKOUT_GONE:
            close_checkout(
                installation=enrollment.installation,
                checkout_id=enrollment.subject_saleor_id,
                reason=CheckoutCloseReason.GONE,
                at=now,
                now=now,
            )

    # -- the other carts of the person --

    def _others(
        self, enrollment: Enrollment, checkout: Checkout
    ) -> list[tuple[Enrollment | None, Checkout]]:
        """Return the person's other open carts that wait in this journey, or were told along before.

        Not those that were told more often than this one: nobody hears of a cart twice as the first time.
        """
        return once(
            ("other carts", enrollment.pk, checkout.pk),
            lambda: self._read_others(enrollment, checkout),
        )

    def _read_others(
        self, enrollment: Enrollment, checkout: Checkout
    ) -> list[tuple[Enrollment | None, Checkout]]:
        carts = {
            row.saleor_id: row
            for row in Checkout.objects.of(enrollment.installation_id)
            .filter(profile__in=checkout.profile.members(), closed_at=None)
            .exclude(saleor_id=checkout.saleor_id)
            .select_related("installation", "profile__installation")
            .order_by("-last_changed_at", "-pk")
        }
        if not carts:
            return []
        rows = (
            Enrollment.objects.of(enrollment.installation_id)
            .filter(
                journey=enrollment.journey_id,
                subject_saleor_id__in=carts,
                status=EnrollmentStatus.WAITING,
            )
            .annotate(told=Count("messages", filter=Q(messages__status__in=REACHED)))
            .select_related(*RELATED)
        )
        gone = enrollment.messages.filter(status__in=REACHED).values_list("content", flat=True)
        waiting = {row.subject_saleor_id: row for row in rows if row.told <= len(gone)}
        along = {cart["checkout_id"] for content in gone for cart in content.get(_CARTS, ())}
        return [
            (waiting.get(id_), cart)
            for id_, cart in carts.items()
            if id_ in waiting or (id_ in along and not ordered_since(cart))
        ]

    def _newer_cart(self, enrollment: Enrollment, checkout: Checkout) -> Enrollment | None:
        """Return the enrollment of the person's newest other cart, if it is newer than this one."""

        def age(cart: Checkout) -> tuple[datetime, int]:
            return cart.last_changed_at, cart.pk

        newer = [
            (row, cart)
            for row, cart in self._others(enrollment, checkout)
            if row is not None and age(cart) > age(checkout) and self._can_be_abandoned(cart)
        ]
        return max(newer, key=lambda pair: age(pair[1]))[0] if newer else None

    # -- what a message says --

    def content(self, enrollment: Enrollment, live: Live, now: datetime) -> Content:
        checkout = _checkout_of(enrollment)
        own = self._judge_live(checkout, live[checkout.saleor_id], now)
        if not isinstance(own, _Cart):
            raise TemplateIncomplete("lines", "nothing in the cart can be shown.")
        others = self._others(enrollment, checkout)
        shown = [
            found
            for _row, cart in others
            if cart.saleor_id in live
            and now < self._expires_at(cart)
            and isinstance(found := self._judge_live(cart, live[cart.saleor_id], now), _Cart)
        ]
        kept = {"checkout_id": checkout.saleor_id, **_kept(own)}
        if shown:
            kept[_CARTS] = [
                {"checkout_id": cart.checkout.saleor_id, **_kept(cart)} for cart in shown
            ]
        return Content(
            context={
                **_shown(own),
                "other_carts": [_shown(cart) for cart in shown],
            },
            kept=kept,
            along=tuple(row for row, _cart in others if row is not None),
        )


#: How long after a newer cart of the same person an older one is looked at again.
_AFTER_NEWER = timedelta(minutes=1)


def _checkout_of(enrollment: Enrollment) -> Checkout:
    """Return the checkout of an enrollment. Raises SubjectGone after an erasure."""
    rows = Checkout.objects.of(enrollment.installation_id).filter(
        saleor_id=enrollment.subject_saleor_id
    )
    found = once(
        ("checkout", enrollment.installation_id, enrollment.subject_saleor_id),
        rows.select_related("installation", "profile__installation").first,
    )
    if found is None:
        raise SubjectGone(NotSentReason.CHECKOUT_GONE)
    return found


def _bought(checkout: Checkout) -> set[str]:
    """Return the variants that the person ordered elsewhere since the cart was begun."""
    if checkout.begun_at is None:
        return set()
    orders = orders_of(profile=checkout.profile).filter(placed_at__gte=checkout.begun_at)
    lines = OrderLine.objects.of(checkout.installation).filter(order__in=orders.values("pk"))
    return set(lines.values_list("variant_saleor_id", flat=True))


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


def _kept(cart: _Cart) -> dict[str, Any]:
    """Return what is kept of a cart that was shown: ids and prices, nothing personal."""
    return {
        "lines": [
            {
                "product_id": line.product_id,
                "variant_id": line.variant_id,
                "quantity": line.quantity,
                "unit_price": str(line.unit_price),
                "currency": line.currency,
            }
            for line in cart.lines
        ],
        "left_out": [line.variant_id for line in cart.left_out],
    }


def _shown(cart: _Cart) -> dict[str, Any]:
    """Return what a template sees of a cart. Raises TemplateIncomplete without a cart link."""
    checkout = cart.checkout
    names = translations(
        installation=checkout.installation,
        ids={line.product_id for line in cart.lines},
        language_code=checkout.language_code,
    )
    return {
        "cart_url": links.cart_url(
            installation=checkout.installation,
            checkout_id=checkout.saleor_id,
            channel_slug=checkout.channel_slug,
        ),
        "lines": [
            {
                "name": names.get(line.product_id, line.product_name),
                "variant_name": line.variant_name,
                "quantity": line.quantity,
                "unit_price": format_money(line.unit_price, line.currency, checkout.language_code),
                "image_url": line.image_url,
            }
            for line in cart.lines
        ],
    }
