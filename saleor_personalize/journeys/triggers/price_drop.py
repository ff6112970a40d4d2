"""What somebody wants costs less than when they last looked, and less than it did in the 30 days before."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import ROUND_UP, Decimal
from typing import ClassVar

from saleor_personalize.catalog import prices
from saleor_personalize.catalog.queries import sensitive_ids
from saleor_personalize.enums import NotSentReason
from saleor_personalize.exceptions import TemplateIncomplete
from saleor_personalize.journeys import showing
from saleor_personalize.journeys.live_variants import AboutVariant, LiveVariant, shown
from saleor_personalize.journeys.triggers.base import (
    AskSaleor,
    Content,
    Entry,
    Go,
    Live,
    Sample,
    Stop,
    Subject,
    Verdict,
)
from saleor_personalize.journeys.triggers.interest import LATE, interested
from saleor_personalize.journeys.triggers.people import OWNED, OfPerson, bought, refuses_profiling
from saleor_personalize.messaging import guards
from saleor_personalize.messaging.queries import REACHED
from saleor_personalize.messaging.rendering import format_money
from saleor_personalize.models import (
    Enrollment,
    Installation,
    Message,
    PriceChange,
    ProductVariant,
    Profile,
)

#: Where `Enrollment.context` keeps the price that the person knows.
_KNOWN = "known"
_AMOUNT = re.compile(r"(\d{1,9}(?:\.\d{1,3})?) ([A-Z]{3})")


@dataclass(frozen=True)
class Options:
    """A drop is one of `percent`, or of one of `amounts` ("5 EUR"), whichever is reached first.

    `within`: how long an interest lasts; `after`: how long a price must hold; `expires`: when it is too late.
    """

    percent: Decimal = Decimal(5)
    amounts: tuple[str, ...] = ()
    within: timedelta = timedelta(days=60)
    after: timedelta = timedelta(hours=1)
    expires: timedelta = timedelta(days=3)

    def __post_init__(self) -> None:
        if not 0 < self.percent < 100:
            raise ValueError("percent must be above 0 and below 100")
        for text in self.amounts:
            if not _AMOUNT.fullmatch(text):
                raise ValueError(
                    f"amounts takes an amount and a currency, as in 5 EUR, not {text!r}"
                )
        if self.expires <= self.after:
            raise ValueError("expires must be longer than after: nothing could ever be sent")

    def is_drop(self, before: Decimal, now: Decimal, currency: str) -> bool:
        """Tell whether a price fell by as much as is worth a message."""
        if now >= before:
            return False
        if (before - now) * 100 >= before * self.percent:
            return True
        found = (_AMOUNT.fullmatch(text) for text in self.amounts)
        return any(
            match is not None and match[2] == currency and before - now >= Decimal(match[1])
            for match in found
        )


class PriceDrop(OfPerson):
    """A variant costs less than when somebody looked at it, kept it, put it into a cart or waited for it."""

    key = "price_drop"
    Options: ClassVar[type] = Options

    # -- who comes in --

    def due(self, *, installation: Installation, since: datetime, now: datetime) -> Iterable[Entry]:
        changes = PriceChange.objects.of(installation).filter(
            changed_at__gt=since - LATE, changed_at__lte=now
        )
        newest = changes.order_by("variant_saleor_id", "channel_slug", "-changed_at", "-pk")
        for change in newest.distinct("variant_saleor_id", "channel_slug"):
            yield from self._entries(installation, change, now)

    def _entries(
        self, installation: Installation, change: PriceChange, now: datetime
    ) -> Iterable[Entry]:
        variant_id, channel_slug = change.variant_saleor_id, change.channel_slug
        variants = ProductVariant.objects.of(installation).filter(deleted_at=None)
        variant = variants.filter(saleor_id=variant_id).first()
        past = prices.history(
            installation=installation,
            variant_id=variant_id,
            channel_slug=channel_slug,
            currency=change.currency,
        )
        price = prices.told(past, change.price, change.currency)
        if variant is None or not _is_lowest(price.amount, price.lowest_before):
            return
        for found in interested(
            installation=installation,
            product_id=variant.product_saleor_id,
            channel_slug=channel_slug,
            since=now - self.options.within,
            now=now,
            over=self.delivery_channels,
            variant_id=variant_id,
        ):
            known = _truthful(past.at(found.at), price.lowest_before)
            if known is None or self._objection(
                found.profile, variant_id, channel_slug, known, price.amount, price.currency
            ):
                continue
            yield Entry(
                profile=found.profile,
                subject=Subject("variant", variant_id),
                occurred_at=change.changed_at,
                due_at=change.changed_at + self.options.after,
                context={
                    "channel": channel_slug,
                    "currency": change.currency,
                    "product": variant.product_saleor_id,
                    _KNOWN: str(known),
                },
            )

    def example(self, profile: Profile, sample: Sample, now: datetime) -> Entry:
        """It came to cost just as much less as is worth a message."""
        known = sample.price * 100 / (100 - self.options.percent)
        known = known.quantize(Decimal("0.01"), ROUND_UP)
        for ago, price in ((prices.LOOK_BACK, known), (self.options.after, sample.price)):
            PriceChange.objects.create(
                installation=profile.installation,
                variant_saleor_id=sample.variant_id,
                channel_slug=sample.channel_slug,
                currency=sample.currency,
                price=price,
                changed_at=now - ago,
            )
        return Entry(
            profile,
            Subject("variant", sample.variant_id),
            now - self.options.after,
            now,
            {
                "channel": sample.channel_slug,
                "currency": sample.currency,
                "product": sample.product_id,
                _KNOWN: str(known),
            },
        )

    def entry_key(self, entry: Entry) -> str:
        return f"{entry.profile.pk}/{entry.subject.id}/{entry.context['channel']}"[:150]

    def _objection(
        self,
        profile: Profile,
        variant_id: str,
        channel_slug: str,
        known: Decimal | None,
        amount: Decimal,
        currency: str,
        besides: Enrollment | None = None,
    ) -> NotSentReason | None:
        """Say why a price is no news to a person; up and down again is none.

        What was told in the enrollment `besides` is no objection to what else is said there.
        """
        if known is None or not self.options.is_drop(known, amount, currency):
            return NotSentReason.PRICE_ROSE
        told = _told(profile, variant_id, channel_slug, currency, besides)
        if told and not self.options.is_drop(min(told), amount, currency):
            return NotSentReason.ALREADY_SENT
        return None

    # -- whether it still holds --

    def judge(self, enrollment: Enrollment, live: Live | None, now: datetime) -> Verdict:
        profile, context = enrollment.profile, enrollment.context
        installation, variant_id = enrollment.installation, enrollment.subject_saleor_id
        if objection := refuses_profiling(profile):
            return objection
        if bought(profile, [context["product"]], now - OWNED):
            return Stop(NotSentReason.ORDERED)
        if sensitive_ids(installation=installation, ids=[context["product"]]):
            return Stop(NotSentReason.SENSITIVE)
        price = prices.price_of(
            installation=installation, variant_id=variant_id, channel_slug=context["channel"]
        )
        if price is None or price.currency != context["currency"]:
            return Stop(NotSentReason.NOTHING_TO_SHOW)
        if reason := self._no_news(enrollment, price.amount, price.lowest_before):
            return Stop(reason)
        question = AboutVariant.of(
            profile=profile,
            variant_id=variant_id,
            channel_slug=context["channel"],
            address=guards.address_of(profile=profile),
            since=now - OWNED,
        )
        if live is None or question.key not in live:
            return AskSaleor((question,))
        return self._judge_live(enrollment, live[question.key], now)

    def _judge_live(self, enrollment: Enrollment, live: LiveVariant, now: datetime) -> Stop | Go:
        if live.is_bought:
            return Stop(NotSentReason.ORDERED)
        if live.pieces == 0:
            return Stop(NotSentReason.SOLD_OUT)
        if (
            not live.is_sellable
            or live.price is None
            or live.currency != enrollment.context["currency"]
        ):
            return Stop(NotSentReason.NOTHING_TO_SHOW)
        before = self._lowest_before(enrollment, live.price, now)
        reason = self._no_news(enrollment, live.price, before)
        return Stop(reason) if reason else Go()

    def _no_news(
        self, enrollment: Enrollment, amount: Decimal, lowest_before: Decimal | None
    ) -> NotSentReason | None:
        if not _is_lowest(amount, lowest_before):
            return NotSentReason.PRICE_ROSE
        context = enrollment.context
        return self._objection(
            enrollment.profile,
            enrollment.subject_saleor_id,
            context["channel"],
            _truthful(Decimal(context[_KNOWN]), lowest_before),
            amount,
            context["currency"],
            besides=enrollment,
        )

    @staticmethod
    def _lowest_before(enrollment: Enrollment, amount: Decimal, now: datetime) -> Decimal | None:
        """Return the lowest price of the 30 days before it came to cost what Saleor says."""
        past = prices.history(
            installation=enrollment.installation,
            variant_id=enrollment.subject_saleor_id,
            channel_slug=enrollment.context["channel"],
            currency=enrollment.context["currency"],
        )
        price = prices.told(past, amount, enrollment.context["currency"])
        if price.since is None:
            # The webhook is still under way: all that we know was before.
            return past.lowest(now - prices.LOOK_BACK, now)
        return price.lowest_before

    # -- what a message says --

    def content(self, enrollment: Enrollment, live: Live, now: datetime) -> Content:
        context = enrollment.context
        found: LiveVariant | None = live.get(f"{enrollment.subject_saleor_id}/{context['channel']}")
        if found is None or found.price is None:
            raise TemplateIncomplete("product", "the variant cannot be shown.")
        language = showing.language_of(enrollment.profile)
        lowest = self._lowest_before(enrollment, found.price, now)
        # Never a higher price than the lowest of the 30 days before is shown as the former one.
        before = _truthful(Decimal(context[_KNOWN]), lowest)
        # Where prices are entered without tax, those of before are not what a shopper would have paid.
        is_shown = found.price == found.gross_price

        def money(amount: Decimal | None) -> str:
            if amount is None or not is_shown:
                return ""
            return format_money(amount, found.currency, language)

        return Content(
            {
                "product": shown(enrollment.installation, found, context["channel"], language),
                "price_before": money(before),
                "lowest_price": money(lowest),
            },
            {
                "product_id": context["product"],
                "variant_id": enrollment.subject_saleor_id,
                "channel": context["channel"],
                "price": str(found.price),
                "price_before": str(before),
                "lowest_price_before": None if lowest is None else str(lowest),
                "currency": found.currency,
            },
        )


def _told(
    profile: Profile,
    variant_id: str,
    channel_slug: str,
    currency: str,
    besides: Enrollment | None,
) -> list[Decimal]:
    """Return what messages told a person of a variant's lower prices; those of one enrollment are left out."""
    messages = Message.objects.of(profile.installation_id).filter(
        status__in=REACHED,
        content__has_key="price",
        content__channel=channel_slug,
        content__currency=currency,
        enrollment__profile__in=profile.person(),
        enrollment__subject_kind="variant",
        enrollment__subject_saleor_id=variant_id,
        enrollment__context__has_key=_KNOWN,
    )
    if besides is not None:
        messages = messages.exclude(enrollment=besides)
    return [Decimal(price) for price in messages.values_list("content__price", flat=True)]


def _truthful(known: Decimal | None, lowest_before: Decimal | None) -> Decimal | None:
    """Return what may be called the price before: never more than the lowest of the 30 days before."""
    if known is None or lowest_before is None:
        return known
    return min(known, lowest_before)


def _is_lowest(amount: Decimal, lowest_before: Decimal | None) -> bool:
    return lowest_before is None or amount < lowest_before
