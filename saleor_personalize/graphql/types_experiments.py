"""What experiments brought, for the shop's own servers."""

from __future__ import annotations

from typing import Any

import graphene

from saleor_personalize import enums
from saleor_personalize.exceptions import AccessDenied
from saleor_personalize.experiments import queries, results
from saleor_personalize.experiments.results import ArmFigures
from saleor_personalize.models import Experiment


def _enum(name: str, members: type[enums.ExperimentKind | enums.ArmVerdict], about: str) -> Any:
    return graphene.Enum(
        name,
        [(member.name, member.value) for member in members],
        description=lambda value: members(value.value).label if value else about,
    )


ExperimentKind = _enum(
    "PersonalizeExperimentKind", enums.ExperimentKind, "What the arms of an experiment differ in."
)
ArmVerdict = _enum(
    "PersonalizeArmVerdict",
    enums.ArmVerdict,
    "What can be said of an arm beside the first one.",
)


class PersonalizeExperimentArm(graphene.ObjectType):
    """One arm in one currency."""

    name = graphene.String(required=True)
    people = graphene.Int(required=True, description="Who take part, whether they bought or not.")
    buyers = graphene.Int(required=True)
    orders = graphene.Int(required=True)
    revenue = graphene.Float(required=True, description="Less what was cancelled or paid back.")
    revenue_per_person = graphene.Float(required=True)
    uplift = graphene.Float(
        description="Of the revenue per person over the first arm; null for that itself."
    )
    uplift_low = graphene.Float(
        description="The uplift lies between this and `upliftHigh`, at whatever moment one looks, in 95 "
        "of 100 experiments; null while there are too few people."
    )
    uplift_high = graphene.Float()
    verdict = graphene.Field(ArmVerdict, description="Null for the first arm.")

    @staticmethod
    def resolve_name(root: ArmFigures, info: Any) -> str:
        return root.arm

    @staticmethod
    def resolve_revenue(root: ArmFigures, info: Any) -> float:
        return float(root.revenue)

    @staticmethod
    def resolve_revenue_per_person(root: ArmFigures, info: Any) -> float:
        return root.per_person

    @staticmethod
    def resolve_uplift(root: ArmFigures, info: Any) -> float | None:
        return root.comparison.difference if root.comparison else None

    @staticmethod
    def resolve_uplift_low(root: ArmFigures, info: Any) -> float | None:
        return root.comparison.low if root.comparison else None

    @staticmethod
    def resolve_uplift_high(root: ArmFigures, info: Any) -> float | None:
        return root.comparison.high if root.comparison else None

    @staticmethod
    def resolve_verdict(root: ArmFigures, info: Any) -> str | None:
        return root.comparison.verdict.value if root.comparison else None


class PersonalizeExperimentCurrency(graphene.ObjectType):
    """What was paid in one currency."""

    currency = graphene.String(required=True)
    arms = graphene.List(
        graphene.NonNull(PersonalizeExperimentArm),
        required=True,
        description="The first is what the others are measured against.",
    )


class PersonalizeExperiment(graphene.ObjectType):
    """A comparison of arms, and what came of it."""

    key = graphene.String(
        required=True,
        description="`holdout:*`, `holdout:<journey>`, `placement:<key>`, or as a split of a journey says.",
    )
    kind = graphene.Field(ExperimentKind, required=True)
    arms = graphene.List(graphene.NonNull(graphene.String), required=True)
    began_at = graphene.DateTime(required=True)
    winner = graphene.String(
        description="What everybody gets since `decidedAt`; null while it runs."
    )
    decided_at = graphene.DateTime()
    measured_at = graphene.DateTime(description="Of the figures; null before the first time.")
    currencies = graphene.List(graphene.NonNull(PersonalizeExperimentCurrency), required=True)

    @staticmethod
    def resolve_winner(root: Experiment, info: Any) -> str | None:
        return root.winner or None

    @staticmethod
    def resolve_currencies(root: Experiment, info: Any) -> list[dict[str, Any]]:
        report = results.report(experiment=root)
        found = report.currencies.items() if report else ()
        return [{"currency": currency, "arms": arms} for currency, arms in found]


class ExperimentQueries(graphene.ObjectType):
    """Mixed into Query."""

    experiments = graphene.List(
        graphene.NonNull(PersonalizeExperiment),
        required=True,
        description="Server only: the experiments of the shop, those that run first; at most 100.",
    )

    @staticmethod
    def resolve_experiments(root: None, info: Any) -> list[Experiment]:
        caller = info.context.caller
        if not caller.is_server:
            raise AccessDenied("Only a server with a server key reads experiments.")
        return queries.newest(installation=caller.installation)
