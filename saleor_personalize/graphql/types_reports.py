"""What came of messages and recommendations, for the shop's own servers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import graphene
from django.utils import timezone

from saleor_personalize.analytics import reports
from saleor_personalize.analytics.reports import JourneyReport, Led, Money, PlacementReport, Report
from saleor_personalize.exceptions import AccessDenied
from saleor_personalize.models import Installation


class PersonalizeReportPeriod(graphene.Enum):
    """Days up to and with today, by the clock of `TIME_ZONE`."""

    WEEK = 7
    MONTH = 30
    QUARTER = 90


class PersonalizeLed(graphene.ObjectType):
    """Orders that followed something, in one currency."""

    currency = graphene.String(required=True)
    orders = graphene.Int(required=True)
    revenue = graphene.Float(required=True, description="Less what was cancelled or paid back.")
    after_view = graphene.Int(
        required=True, description="Of the orders: those before which it was only seen."
    )


class PersonalizeNotSent(graphene.ObjectType):
    """Messages that were not sent for one reason."""

    reason = graphene.String(required=True, description="As in the reference of states.")
    count = graphene.Int(required=True)


class PersonalizeJourneyReport(graphene.ObjectType):
    """What became of one journey: its messages of these days, and the orders of these days that followed one."""

    key = graphene.String(description="Null: messages that belong to no journey.")
    entered = graphene.Int(required=True)
    sent = graphene.Int(required=True)
    failed = graphene.Int(required=True, description="Refused by the provider, or uncertain.")
    not_sent = graphene.List(graphene.NonNull(PersonalizeNotSent), required=True)
    delivered = graphene.Int(required=True)
    opened = graphene.Int(required=True, description="By people; a message counts once.")
    opened_by_machine = graphene.Int(
        required=True, description="By mail programs and scanners; they lead to no order."
    )
    clicked = graphene.Int(required=True)
    led = graphene.List(graphene.NonNull(PersonalizeLed), required=True)

    @staticmethod
    def resolve_key(root: JourneyReport, info: Any) -> str | None:
        return root.key or None

    @staticmethod
    def resolve_not_sent(root: JourneyReport, info: Any) -> list[dict[str, Any]]:
        return [{"reason": reason, "count": count} for reason, count in root.not_sent.items()]

    @staticmethod
    def resolve_led(root: JourneyReport, info: Any) -> list[dict[str, Any]]:
        return _led(root.led)


class PersonalizePlacementReport(graphene.ObjectType):
    """What became of the answers of one placement: of one answer and one person a hundred clicks are one."""

    key = graphene.String(required=True)
    shown = graphene.Int(required=True)
    clicked = graphene.Int(required=True)
    added = graphene.Int(required=True, description="Put into the cart.")
    led = graphene.List(graphene.NonNull(PersonalizeLed), required=True)

    @staticmethod
    def resolve_led(root: PlacementReport, info: Any) -> list[dict[str, Any]]:
        return _led(root.led)


class PersonalizeMoneyReport(graphene.ObjectType):
    """Orders of one currency; what was cancelled or paid back is taken off."""

    currency = graphene.String(required=True)
    orders = graphene.Int(required=True)
    revenue = graphene.Float(required=True)
    after_message = graphene.Field(PersonalizeLed, required=True)
    after_recommendation = graphene.Field(PersonalizeLed, required=True)
    recovered = graphene.Field(
        PersonalizeLed, required=True, description="After a message about a cart."
    )
    per_session = graphene.Float(
        description="Revenue of orders before which a visit was told of, over the visits. Null: none is known."
    )
    lifetime_value = graphene.Float(description="What a buyer has brought so far; null: none did.")

    @staticmethod
    def resolve_after_message(root: Money, info: Any) -> dict[str, Any]:
        return _one(root.currency, root.after_message)

    @staticmethod
    def resolve_after_recommendation(root: Money, info: Any) -> dict[str, Any]:
        return _one(root.currency, root.after_recommendation)

    @staticmethod
    def resolve_recovered(root: Money, info: Any) -> dict[str, Any]:
        return _one(root.currency, root.recovered)


class PersonalizeShopReport(graphene.ObjectType):
    """How the shop as a whole does. Shares lie in 0..1; null: not known yet."""

    sessions = graphene.Int(required=True)
    recommendation_share = graphene.Float(description="Of the visits: used a recommendation.")
    shopper_share = graphene.Float(description="Of the shoppers: used a recommendation.")
    cart_share = graphene.Float(description="Of the visits: put something into the cart.")
    pages_per_session = graphene.Float()
    seconds_per_session = graphene.Float()
    abandonment_share = graphene.Float(description="Of the carts.")
    recovery_share = graphene.Float(description="Of the abandoned carts: ordered after all.")
    churn_share = graphene.Float(description="Of the buyers: have lapsed.")
    recommended_return_share = graphene.Float(description="Of the recommended pieces: sent back.")
    other_return_share = graphene.Float(description="Of the other pieces: sent back.")

    @staticmethod
    def resolve_seconds_per_session(root: reports.Shop, info: Any) -> float | None:
        return None if root.time_per_session is None else root.time_per_session.total_seconds()


class PersonalizeReport(graphene.ObjectType):
    """Some days up to and with today."""

    since = graphene.Date(required=True)
    until = graphene.Date(required=True)
    counted_at = graphene.DateTime(description="Null: nothing was counted yet.")
    shop = graphene.Field(PersonalizeShopReport, required=True)
    money = graphene.List(
        graphene.NonNull(PersonalizeMoneyReport),
        required=True,
        description="By currency, that with most orders first.",
    )
    journeys = graphene.List(graphene.NonNull(PersonalizeJourneyReport), required=True)
    placements = graphene.List(graphene.NonNull(PersonalizePlacementReport), required=True)


def _one(currency: str, led: Led) -> dict[str, Any]:
    return {
        "currency": currency,
        "orders": led.orders,
        "revenue": led.revenue,
        "after_view": led.after_view,
    }


def _led(led: Mapping[str, Led]) -> list[dict[str, Any]]:
    return [_one(currency, each) for currency, each in led.items()]


class ReportQueries(graphene.ObjectType):
    """Mixed into Query."""

    report = graphene.Field(
        PersonalizeReport,
        required=True,
        description="Server only: what came of messages and recommendations.",
        period=PersonalizeReportPeriod(default_value=30),
    )

    @staticmethod
    def resolve_report(root: None, info: Any, period: Any) -> Report:
        caller = info.context.caller
        if not caller.is_server:
            raise AccessDenied("Only a server with a server key reads reports.")
        installation: Installation = caller.installation
        days = getattr(period, "value", period)
        return reports.report(installation=installation, days=days, now=timezone.now())
