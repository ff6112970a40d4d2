"""What is worked out about a person, in the public graph: for the shop's servers alone."""

from __future__ import annotations

from typing import Any

import graphene

from saleor_personalize.enums import (
    DeliveryChannel,
    DeviceType,
    LifecycleStage,
    PredictionState,
    PredictionTarget,
)
from saleor_personalize.traits import predictions

ProfileStage = graphene.Enum(
    "ProfileStage",
    [(stage.name, stage.value) for stage in LifecycleStage],
    description=lambda value: (
        LifecycleStage(value.value).label if value else "Where a person stands with the shop."
    ),
)
ProfilePredictionState = graphene.Enum(
    "ProfilePredictionState",
    [(state.name, state.value) for state in PredictionState],
    description=lambda value: (
        PredictionState(value.value).label
        if value
        else "Whether something is foretold; else why not."
    ),
)
ProfileDevice = graphene.Enum(
    "ProfileDevice",
    [(device.name, device.value) for device in DeviceType],
    description=lambda value: DeviceType(value.value).label if value else "Kind of device.",
)
ProfileDeliveryChannel = graphene.Enum(
    "ProfileDeliveryChannel",
    [(channel.name, channel.value) for channel in DeliveryChannel],
    description=lambda value: DeliveryChannel(value.value).label if value else "How it travels.",
)


class ProfileSpent(graphene.ObjectType):
    """What was ordered in one currency. Cancelled, expired and returned orders are not in it."""

    currency = graphene.String(required=True)
    order_count = graphene.Int(required=True)
    total = graphene.Float(required=True)
    average = graphene.Float(required=True)


def spent(sums: dict[str, Any]) -> list[dict[str, Any]]:
    """Return `ProfileSpent` of sums as `ComputedTraits.spent` holds them."""
    return [
        {
            "currency": currency,
            "order_count": one["count"],
            "total": float(one["total"]),
            "average": float(one["average"]),
        }
        for currency, one in sums.items()
    ]


class ProfileTop(graphene.ObjectType):
    """A category or brand, and in how many orders it was."""

    id = graphene.ID(required=True, description="Global id of a category; the name of a brand.")
    name = graphene.String(required=True)
    order_count = graphene.Int(required=True)

    @staticmethod
    def resolve_order_count(root: Any, info: Any) -> int:
        return int(root["count"])


class ProfileScores(graphene.ObjectType):
    """A fifth of the shop's buyers per point: 5 is best."""

    recency = graphene.Int()
    frequency = graphene.Int()
    monetary = graphene.Int()

    @staticmethod
    def resolve_recency(root: Any, info: Any) -> int | None:
        return root.recency_score  # type: ignore[no-any-return]

    @staticmethod
    def resolve_frequency(root: Any, info: Any) -> int | None:
        return root.frequency_score  # type: ignore[no-any-return]

    @staticmethod
    def resolve_monetary(root: Any, info: Any) -> int | None:
        return root.monetary_score  # type: ignore[no-any-return]


class ProfileTraits(graphene.ObjectType):
    """What is worked out about the whole person, over all that was joined; daily and on each order."""

    computed_at = graphene.DateTime(required=True)
    order_count = graphene.Int(required=True)
    first_ordered_at = graphene.DateTime()
    last_ordered_at = graphene.DateTime()
    spent = graphene.List(graphene.NonNull(ProfileSpent), required=True)
    top_categories = graphene.List(graphene.NonNull(ProfileTop), required=True)
    top_brands = graphene.List(graphene.NonNull(ProfileTop), required=True)
    preferred_device = graphene.Field(ProfileDevice)
    preferred_hour = graphene.Int(description="Hour of the day where they are, 0 to 23.")
    preferred_delivery_channel = graphene.Field(ProfileDeliveryChannel)
    stage = graphene.Field(ProfileStage, required=True)
    scores = graphene.Field(ProfileScores, required=True)
    next_order_at = graphene.DateTime(description="A day; see nextOrderState when null.")
    next_order_state = graphene.Field(ProfilePredictionState, required=True)
    churn_risk = graphene.Float(description="0 to 1; see churnRiskState when null.")
    churn_risk_state = graphene.Field(ProfilePredictionState, required=True)

    @staticmethod
    def resolve_spent(root: Any, info: Any) -> list[dict[str, Any]]:
        return spent(root.spent)

    @staticmethod
    def resolve_preferred_device(root: Any, info: Any) -> str | None:
        return root.preferred_device or None

    @staticmethod
    def resolve_preferred_delivery_channel(root: Any, info: Any) -> str | None:
        return root.preferred_delivery_channel or None

    @staticmethod
    def resolve_scores(root: Any, info: Any) -> Any:
        return root

    @staticmethod
    def resolve_next_order_state(root: Any, info: Any) -> str:
        return _state(root, PredictionTarget.NEXT_ORDER)

    @staticmethod
    def resolve_churn_risk_state(root: Any, info: Any) -> str:
        return _state(root, PredictionTarget.CHURN)


def _state(root: Any, target: PredictionTarget) -> str:
    state = predictions.state_of(installation=root.installation_id, traits=root, target=target)
    return state.value
