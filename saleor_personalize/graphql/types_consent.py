"""Consent in the public graph: what the caller allowed, and when."""

from __future__ import annotations

from typing import Any

import graphene

from saleor_personalize.enums import ConsentRule, ConsentState, DeliveryChannel, Purpose

ConsentPurpose = graphene.Enum(
    "ConsentPurpose",
    [(purpose.name, purpose.value) for purpose in (Purpose.MARKETING, Purpose.PROFILING)],
    description=lambda value: Purpose(value.value).label if value else "What is allowed.",
)
ConsentDeliveryChannel = graphene.Enum(
    "ConsentDeliveryChannel",
    [(channel.name, channel.value) for channel in DeliveryChannel],
    description=lambda value: DeliveryChannel(value.value).label if value else "How it travels.",
)
ConsentAnswer = graphene.Enum(
    "ConsentAnswer",
    [(state.name, state.value) for state in ConsentState],
    description=lambda value: ConsentState(value.value).label if value else "What was said.",
)
ConsentCountryRule = graphene.Enum(
    "ConsentCountryRule",
    [(rule.name, rule.value) for rule in ConsentRule],
    description=lambda value: ConsentRule(value.value).label if value else "What it takes.",
)


class ProfileConsent(graphene.ObjectType):
    """One line of the caller's ledger."""

    purpose = graphene.Field(ConsentPurpose, required=True)
    delivery_channel = graphene.Field(ConsentDeliveryChannel, description="Null for profiling.")
    topic = graphene.String(description="Null: the whole purpose.")
    state = graphene.Field(ConsentAnswer, required=True)
    source = graphene.String(required=True, description="Where it was said.")
    rule = graphene.Field(ConsentCountryRule)
    country_code = graphene.String()
    wording_version = graphene.String()
    language_code = graphene.String()
    recorded_at = graphene.DateTime(required=True)

    @staticmethod
    def resolve_delivery_channel(root: Any, info: Any) -> str | None:
        return root.delivery_channel or None

    @staticmethod
    def resolve_topic(root: Any, info: Any) -> str | None:
        return root.topic or None

    @staticmethod
    def resolve_rule(root: Any, info: Any) -> str | None:
        return root.rule or None

    @staticmethod
    def resolve_country_code(root: Any, info: Any) -> str | None:
        return root.country_code or None

    @staticmethod
    def resolve_wording_version(root: Any, info: Any) -> str | None:
        return root.wording_version or None

    @staticmethod
    def resolve_language_code(root: Any, info: Any) -> str | None:
        return root.language_code or None


class ConsentStanding(graphene.ObjectType):
    """What holds now for one thing that can be allowed."""

    purpose = graphene.Field(ConsentPurpose, required=True)
    delivery_channel = graphene.Field(ConsentDeliveryChannel, description="Null for profiling.")
    topic = graphene.String(description="Key of the topic; null for profiling.")
    label = graphene.String(required=True, description="In the language of the request.")
    state = graphene.Field(
        ConsentAnswer,
        description="Null: never asked. Marketing needs GRANTED; profiling goes on until DENIED.",
    )

    @staticmethod
    def resolve_purpose(root: Any, info: Any) -> str:
        return str(root.purpose.value)

    @staticmethod
    def resolve_state(root: Any, info: Any) -> str | None:
        return None if root.state is None else str(root.state.value)
