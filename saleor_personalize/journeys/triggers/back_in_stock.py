"""A sold-out variant is back: whoever waited longest is told first, no more people than pieces allow."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import ClassVar
from uuid import UUID

from saleor_personalize.alerts import operations as alerts
from saleor_personalize.alerts import queries
from saleor_personalize.catalog import prices
from saleor_personalize.catalog.queries import sensitive_ids
from saleor_personalize.conf import settings
from saleor_personalize.enums import NotSentReason
from saleor_personalize.exceptions import TemplateIncomplete
from saleor_personalize.journeys.live_variants import AboutVariant, LiveVariant, shown
from saleor_personalize.journeys.triggers.base import (
    About,
    AskSaleor,
    Content,
    Entry,
    Fact,
    Go,
    Live,
    Sample,
    StockChanged,
    Stop,
    Subject,
    SubjectGone,
    Trigger,
    Verdict,
    Wait,
)
from saleor_personalize.messaging import guards, links
from saleor_personalize.models import Enrollment, Installation, Profile, StockAlert

#: How soon somebody is looked at again for whom there are too few pieces by now.
_LOOK_AGAIN = timedelta(minutes=30)


@dataclass(frozen=True)
class Options:
    """`after`: how long it must be back; deliveries that are booked and taken back tell nobody."""

    after: timedelta = timedelta(minutes=5)


class BackInStock(Trigger):
    """A variant that somebody signed up for can be bought again in their sales channel."""

    key = "back_in_stock"
    Options: ClassVar[type] = Options
    facts = (StockChanged,)
    is_subject_personal = True
    # Only an order of this variant counts.
    asks_for_orders = True
    is_asked_for = True

    # -- who comes in --

    def candidates(self, fact: Fact) -> Iterable[Entry]:
        if isinstance(fact, StockChanged):
            yield from self._called(fact.installation, fact.variant_saleor_id, fact.at)

    def due(self, *, installation: Installation, since: datetime, now: datetime) -> Iterable[Entry]:
        yield from self._called(installation, "", now)

    def _called(
        self, installation: Installation, variant_id: str, now: datetime
    ) -> Iterable[Entry]:
        waited_for = queries.waited_for(installation=installation, now=now, variant_id=variant_id)
        for variant, channel_slug in waited_for:
            for alert in alerts.call_up(
                installation=installation,
                variant_id=variant,
                channel_slug=channel_slug,
                over=self.delivery_channels,
                now=now,
            ):
                yield Entry(
                    profile=alert.profile,
                    subject=Subject(alerts.SUBJECT, variant),
                    occurred_at=now,
                    due_at=now + self.options.after,
                    context={alerts.ALERT: alert.public_id.hex, "channel": channel_slug},
                )

    def entry_key(self, entry: Entry) -> str:
        return f"alert/{entry.context[alerts.ALERT]}"

    def example(self, profile: Profile, sample: Sample, now: datetime) -> Entry:
        alert = StockAlert.objects.create(
            installation=profile.installation,
            profile=profile,
            variant_saleor_id=sample.variant_id,
            product_saleor_id=sample.product_id,
            channel_slug=sample.channel_slug,
            language_code=profile.language_code,
            created_at=now,
            expires_at=now + settings.STOCK_ALERT_EXPIRY,
        )
        return Entry(
            profile,
            Subject(alerts.SUBJECT, sample.variant_id),
            now,
            now,
            {alerts.ALERT: alert.public_id.hex, "channel": sample.channel_slug},
        )

    # -- whether it still holds --

    def about(self, enrollment: Enrollment) -> About:
        alert = _alert_of(enrollment)
        return About(
            address_hash=alert.email_hash,
            language_code=alert.language_code or alert.profile.language_code,
            channel_slug=alert.channel_slug,
            identities=alerts.identities(alert),
            profile=alert.profile,
            expires_at=alert.expires_at,
        )

    def lock(self, enrollment: Enrollment) -> None:
        alerts.hold(_alert_of(enrollment))

    def has_ordered(self, enrollment: Enrollment) -> bool:
        return alerts.has_bought(_alert_of(enrollment))

    def judge(self, enrollment: Enrollment, live: Live | None, now: datetime) -> Verdict:
        alert = _alert_of(enrollment)
        installation, channel_slug = alert.installation, alert.channel_slug
        if alert.cancelled_at is not None:
            return Stop(NotSentReason.ALERT_CANCELLED)
        if alerts.was_told(alert, besides=enrollment):
            return Stop(NotSentReason.ALREADY_SENT)
        if sensitive_ids(installation=installation, ids=[alert.product_saleor_id]):
            return Stop(NotSentReason.SENSITIVE)
        if not prices.is_on_sale(
            installation=installation,
            product_id=alert.product_saleor_id,
            channel_slug=channel_slug,
            now=now,
        ):
            return Stop(NotSentReason.NOTHING_TO_SHOW)
        free = prices.pieces(
            installation=installation,
            variant_ids=[alert.variant_saleor_id],
            channel_slug=channel_slug,
        )
        if free == 0:
            return Stop(NotSentReason.SOLD_OUT)
        question = AboutVariant.of(
            profile=alert.profile,
            variant_id=alert.variant_saleor_id,
            channel_slug=channel_slug,
            address=guards.address_of(profile=alert.profile, preferred_hash=alert.email_hash),
            since=alert.created_at,
        )
        if live is None or question.key not in live:
            return AskSaleor((question,))
        return self._judge_live(alert, live[question.key], now)

    @staticmethod
    def _judge_live(alert: StockAlert, live: LiveVariant, now: datetime) -> Verdict:
        if live.is_bought:
            return Stop(NotSentReason.ORDERED)
        if live.exists and live.pieces == 0:
            return Stop(NotSentReason.SOLD_OUT)
        if not live.is_sellable:
            return Stop(NotSentReason.NOTHING_TO_SHOW)
        seats = alerts.room(
            alert.installation, alert.variant_saleor_id, alert.channel_slug, live.pieces, now
        )
        return Go() if seats > 0 else Wait(now + _LOOK_AGAIN)

    def stopped(self, enrollment: Enrollment, reason: NotSentReason, now: datetime) -> None:
        alert = _alert_of(enrollment)
        if reason == NotSentReason.SOLD_OUT:
            alerts.let_wait(alert)
        elif reason == NotSentReason.ORDERED:
            alerts.forget(alert, now=now)

    # -- what a message says --

    def content(self, enrollment: Enrollment, live: Live, now: datetime) -> Content:
        alert = _alert_of(enrollment)
        found: LiveVariant | None = live.get(f"{alert.variant_saleor_id}/{alert.channel_slug}")
        if found is None or not found.is_sellable:
            raise TemplateIncomplete("product", "the variant cannot be shown.")
        language = alert.language_code or alert.profile.language_code
        return Content(
            {
                "product": shown(enrollment.installation, found, alert.channel_slug, language),
                "cancel_url": links.stock_alerts_url(alert=alert),
            },
            {
                "alert_id": alert.public_id.hex,
                "product_id": alert.product_saleor_id,
                "variant_id": alert.variant_saleor_id,
                "channel": alert.channel_slug,
                "price": str(found.gross_price),
                "currency": found.currency,
            },
        )


def _alert_of(enrollment: Enrollment) -> StockAlert:
    """Return the sign-up of an enrollment. Raises SubjectGone after an erasure."""
    found = (
        StockAlert.objects.of(enrollment.installation_id)
        .filter(public_id=UUID(enrollment.context[alerts.ALERT]))
        .select_related("installation", "profile__installation")
        .first()
    )
    if found is None:
        raise SubjectGone(NotSentReason.ALERT_CANCELLED)
    return found
