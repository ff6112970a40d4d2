"""Placements and merchandising rules in the public graph, for servers with a server key."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import graphene
from django.db import transaction
from django.utils import timezone
from graphql import GraphQLError

from saleor_personalize.enums import AuditAction, RuleEffect
from saleor_personalize.exceptions import AccessDenied
from saleor_personalize.graphql.deeds import record
from saleor_personalize.graphql.types import aware, page, text
from saleor_personalize.graphql.types_segments import SegmentFault
from saleor_personalize.models import Installation
from saleor_personalize.models import MerchandisingRule as RuleRow
from saleor_personalize.recommendations import merchandising
from saleor_personalize.recommendations.placements import Placement, shop_of
from saleor_personalize.recommendations.service import Question
from saleor_personalize.segments.definition import InvalidDefinition

MerchandisingEffect = graphene.Enum(
    "MerchandisingEffect",
    [(effect.name, effect.value) for effect in RuleEffect],
    description=lambda value: RuleEffect(value.value).label if value else "What a rule does.",
)


class MerchandisingRule(graphene.ObjectType):
    """What the shop wants shown or not, and where and when."""

    id = graphene.ID(required=True)
    name = graphene.String(required=True)
    is_active = graphene.Boolean(required=True)
    effect = graphene.Field(MerchandisingEffect, required=True)
    conditions = graphene.JSONString(required=True, description="See the reference of rules.")
    placements = graphene.List(
        graphene.NonNull(graphene.String), required=True, description="Empty: all."
    )
    channels = graphene.List(
        graphene.NonNull(graphene.String), required=True, description="Empty: all."
    )
    factor = graphene.Float(required=True, description="Of BOOST and BURY.")
    slot = graphene.Int(required=True, description="Of PIN.")
    starts_at = graphene.DateTime()
    ends_at = graphene.DateTime()
    position = graphene.Int(required=True, description="The lower one counts first.")
    updated_at = graphene.DateTime(required=True)


class PlacementArm(graphene.ObjectType):
    """One side of a placement's experiment."""

    name = graphene.String(required=True)
    weight = graphene.Int(required=True)
    recommenders = graphene.List(graphene.NonNull(graphene.String), required=True)
    fallback = graphene.List(graphene.NonNull(graphene.String), required=True)


class PlacementDescription(graphene.ObjectType):
    """A placement as it answers now."""

    key = graphene.String(required=True)
    recommenders = graphene.List(graphene.NonNull(graphene.String), required=True)
    fallback = graphene.List(graphene.NonNull(graphene.String), required=True)
    arms = graphene.List(
        graphene.NonNull(PlacementArm),
        required=True,
        description="Of its experiment, if it has one.",
    )


class MerchandisingPlace(graphene.ObjectType):
    """Where a product stands without and with the rules; null: it is not shown."""

    product_id = graphene.ID(required=True)
    name = graphene.String(required=True)
    before = graphene.Int()
    after = graphene.Int()
    rules = graphene.List(graphene.NonNull(MerchandisingRule), required=True)


class MerchandisingEffectCount(graphene.ObjectType):
    """How many products of the two lists a rule speaks of."""

    rule = graphene.Field(MerchandisingRule, required=True)
    count = graphene.Int(required=True)


class MerchandisingPreview(graphene.ObjectType):
    """A list before and after: what is shown in its order, then what went out."""

    places = graphene.List(graphene.NonNull(MerchandisingPlace), required=True)
    effects = graphene.List(graphene.NonNull(MerchandisingEffectCount), required=True)
    faults = graphene.List(graphene.NonNull(SegmentFault), required=True)


class MerchandisingRuleInput(graphene.InputObjectType):
    """What is not given keeps its value, or its default in a new rule."""

    name = graphene.String()
    is_active = graphene.Boolean()
    effect = graphene.Field(MerchandisingEffect)
    conditions = graphene.JSONString()
    placements = graphene.List(graphene.NonNull(graphene.String))
    channels = graphene.List(graphene.NonNull(graphene.String))
    factor = graphene.Float()
    slot = graphene.Int()
    starts_at = graphene.DateTime()
    ends_at = graphene.DateTime()
    position = graphene.Int()


class MerchandisingQueries(graphene.ObjectType):
    """Questions of the shop's servers."""

    merchandising_rules = graphene.List(
        graphene.NonNull(MerchandisingRule), required=True, description="Server only: all rules."
    )
    placements = graphene.List(
        graphene.NonNull(PlacementDescription),
        required=True,
        description="Server only: all placements, those of the settings included.",
    )
    merchandising_preview = graphene.Field(
        MerchandisingPreview,
        required=True,
        placement=graphene.String(required=True),
        channel=graphene.String(required=True),
        product_id=graphene.ID(description="The product of the page."),
        category_id=graphene.ID(),
        country_code=graphene.String(),
        first=graphene.Int(default_value=10, description="1 to 100."),
        rule_id=graphene.ID(description="The rule that `draft` changes."),
        draft=MerchandisingRuleInput(description="A rule that need not be saved."),
        description="Server only: a list without and with the rules.",
    )

    @staticmethod
    def resolve_merchandising_rules(root: None, info: Any) -> list[RuleRow]:
        return merchandising.rules_of(installation=_server(info))

    @staticmethod
    def resolve_placements(root: None, info: Any) -> list[Placement]:
        found = shop_of(_server(info)).placements
        return [found[key] for key in sorted(found)]

    @staticmethod
    def resolve_merchandising_preview(
        root: None,
        info: Any,
        placement: str,
        channel: str,
        first: int | None,
        product_id: str | None = None,
        category_id: str | None = None,
        country_code: str | None = None,
        rule_id: str | None = None,
        draft: Any = None,
    ) -> Any:
        installation = _server(info)
        for given in (placement, channel, product_id, category_id, country_code):
            text(given)
        now = timezone.now()
        row = _known(installation, rule_id) if rule_id else None
        made = None
        if draft is not None:
            made = merchandising.draft_of(
                installation=installation, now=now, rule=row, **_values(draft)
            )
        try:
            found = merchandising.preview(
                installation=installation,
                placement=placement,
                channel_slug=channel,
                draft=made,
                question=Question(
                    product_id=product_id, category_id=category_id, country_code=country_code
                ),
                first=page(first),
                now=now,
            )
        except InvalidDefinition as error:
            return MerchandisingPreview(places=[], effects=[], faults=error.faults)
        return MerchandisingPreview(
            places=found.places,
            effects=[{"rule": rule, "count": count} for rule, count in found.effects],
            faults=[],
        )


class _RuleAnswer:
    """What a mutation answers."""

    rule = graphene.Field(MerchandisingRule)
    faults = graphene.List(graphene.NonNull(SegmentFault), required=True)


class MerchandisingRuleCreate(_RuleAnswer, graphene.Mutation):
    """Server only: make a rule. It counts within seconds."""

    class Arguments:
        input = MerchandisingRuleInput(required=True)

    @staticmethod
    def mutate(root: None, info: Any, input: Any) -> Any:  # noqa: A002 (the name of the argument)
        installation = _server(info)
        return _answer(
            MerchandisingRuleCreate,
            lambda: _saved(
                info,
                merchandising.create_rule(
                    installation=installation, now=timezone.now(), **_values(input)
                ),
            ),
        )


class MerchandisingRuleUpdate(_RuleAnswer, graphene.Mutation):
    """Server only: change what is given."""

    class Arguments:
        id = graphene.ID(required=True)
        input = MerchandisingRuleInput(required=True)

    @staticmethod
    def mutate(root: None, info: Any, id: str, input: Any) -> Any:  # noqa: A002
        rule = _known(_server(info), id)
        return _answer(
            MerchandisingRuleUpdate,
            lambda: _saved(
                info, merchandising.update_rule(rule=rule, now=timezone.now(), **_values(input))
            ),
        )


class MerchandisingRuleDelete(graphene.Mutation):
    """Server only."""

    class Arguments:
        id = graphene.ID(required=True)

    ok = graphene.Boolean(required=True)

    @staticmethod
    def mutate(root: None, info: Any, id: str) -> Any:  # noqa: A002
        rule = _known(_server(info), id)
        with transaction.atomic():
            record(info, AuditAction.RULE_DELETED, on=rule)
            merchandising.delete_rule(rule=rule)
        return MerchandisingRuleDelete(ok=True)


class PlacementSave(graphene.Mutation):
    """Server only: make a placement, or override that of the settings."""

    class Arguments:
        key = graphene.String(required=True)
        recommenders = graphene.List(graphene.NonNull(graphene.String), required=True)
        fallback = graphene.List(graphene.NonNull(graphene.String), default_value=[])
        options = graphene.JSONString(description="See the reference of placements.")
        arms = graphene.JSONString(
            description="Of its experiment: a list of NAME, WEIGHT, RECOMMENDERS and FALLBACK."
        )

    placement = graphene.Field(PlacementDescription)
    faults = graphene.List(graphene.NonNull(SegmentFault), required=True)

    @staticmethod
    def mutate(
        root: None,
        info: Any,
        key: str,
        recommenders: list[str],
        fallback: list[str],
        options: Any = None,
        arms: Any = None,
    ) -> Any:
        installation = _server(info)
        entry = {
            "RECOMMENDERS": recommenders,
            "FALLBACK": fallback,
            "OPTIONS": options or {},
            "ARMS": arms or [],
        }
        try:
            row = merchandising.save_placement(
                installation=installation, key=str(text(key)), entry=entry, now=timezone.now()
            )
        except InvalidDefinition as error:
            return PlacementSave(placement=None, faults=error.faults)
        record(info, AuditAction.PLACEMENT_SAVED, on=row)
        return PlacementSave(placement=shop_of(installation).placement(row.key), faults=[])


class PlacementDelete(graphene.Mutation):
    """Server only: delete the shop's own placement; that of the settings answers again."""

    class Arguments:
        key = graphene.String(required=True)

    ok = graphene.Boolean(required=True, description="False: there was none.")

    @staticmethod
    def mutate(root: None, info: Any, key: str) -> Any:
        installation = _server(info)
        key = str(text(key))
        is_gone = merchandising.delete_placement(installation=installation, key=key)
        if is_gone:
            record(info, AuditAction.PLACEMENT_DELETED, placement=key)
        return PlacementDelete(ok=is_gone)


class MerchandisingMutations(graphene.ObjectType):
    """What the shop's servers change."""

    merchandising_rule_create = MerchandisingRuleCreate.Field(required=True)
    merchandising_rule_update = MerchandisingRuleUpdate.Field(required=True)
    merchandising_rule_delete = MerchandisingRuleDelete.Field(required=True)
    placement_save = PlacementSave.Field(required=True)
    placement_delete = PlacementDelete.Field(required=True)


def _values(given: Any) -> dict[str, Any]:
    values = {name: value for name, value in given.items() if value is not None}
    # A schedule can be taken back.
    values |= {name: None for name in ("starts_at", "ends_at") if given.get(name, "") is None}
    for name in ("starts_at", "ends_at"):
        if values.get(name) is not None:
            values[name] = aware(values[name])
    if "effect" in values:
        effect = values["effect"]
        values["effect"] = effect.value if hasattr(effect, "value") else effect
    for each in (values.get("name"), *values.get("placements", ()), *values.get("channels", ())):
        text(each)
    return values


def _answer(kind: Any, change: Callable[[], RuleRow]) -> Any:
    try:
        return kind(rule=change(), faults=[])
    except InvalidDefinition as error:
        return kind(rule=None, faults=error.faults)


def _saved(info: Any, rule: RuleRow) -> RuleRow:
    record(info, AuditAction.RULE_SAVED, on=rule)
    return rule


def _server(info: Any) -> Installation:
    caller = info.context.caller
    if not caller.is_server:
        raise AccessDenied("Only a server with a server key reads and changes rules.")
    found: Installation = caller.installation
    return found


def _known(installation: Installation, given: str) -> RuleRow:
    is_number = given.isascii() and given.isdecimal() and len(given) < 19
    found = merchandising.rule_of(installation=installation, pk=int(given)) if is_number else None
    if found is None:
        raise GraphQLError("The shop has no rule of that id.", extensions={"code": "NOT_FOUND"})
    return found
