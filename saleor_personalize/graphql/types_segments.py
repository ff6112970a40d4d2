"""Segments in the public graph, for servers with a server key. A shopper reads `profile.segments`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import graphene
from django.db import transaction
from django.utils import timezone
from graphql import GraphQLError

from saleor_personalize.enums import AuditAction
from saleor_personalize.exceptions import AccessDenied
from saleor_personalize.graphql.deeds import record
from saleor_personalize.graphql.types import text
from saleor_personalize.journeys import segment_use
from saleor_personalize.models import Installation
from saleor_personalize.models import Segment as SegmentRow
from saleor_personalize.segments import operations, queries
from saleor_personalize.segments.definition import InvalidDefinition, from_json
from saleor_personalize.tasks.broker import ask_for


class Segment(graphene.ObjectType):
    """People who match a definition, kept up to date by itself."""

    key = graphene.String(required=True)
    name = graphene.String(required=True)
    definition = graphene.JSONString(required=True, description="See the reference of rules.")
    description = graphene.String(required=True, description="The definition as a sentence.")
    is_active = graphene.Boolean(required=True)
    member_count = graphene.Int(required=True)
    updated_at = graphene.DateTime(required=True)
    evaluated_at = graphene.DateTime(description="Null until members were looked for.")

    @staticmethod
    def resolve_description(root: SegmentRow, info: Any) -> str:
        return queries.description(segment=root)

    @staticmethod
    def resolve_member_count(root: SegmentRow, info: Any) -> int:
        counted = getattr(root, "member_count", None)
        return queries.members(segment=root).count() if counted is None else int(counted)


class SegmentFault(graphene.ObjectType):
    """What is wrong with what was sent; nothing was changed then."""

    path = graphene.String(
        required=True, description='Where, e.g. "definition.all[0].days", "key", or "".'
    )
    message = graphene.String(required=True)


class SegmentCount(graphene.ObjectType):
    """How many people match a definition now."""

    count = graphene.Int(description="Null when it takes too long to count, or with faults.")
    faults = graphene.List(graphene.NonNull(SegmentFault), required=True)


class SegmentQueries(graphene.ObjectType):
    """Questions of the shop's servers."""

    segments = graphene.List(
        graphene.NonNull(Segment), required=True, description="Server only: all segments."
    )
    segment = graphene.Field(
        Segment,
        key=graphene.String(required=True),
        description="Server only: one segment; null when there is none.",
    )
    segment_count = graphene.Field(
        SegmentCount,
        required=True,
        definition=graphene.JSONString(required=True),
        description="Server only: how many people match a definition that need not be saved.",
    )

    @staticmethod
    def resolve_segments(root: None, info: Any) -> Any:
        return queries.segments(installation=_server(info))

    @staticmethod
    def resolve_segment(root: None, info: Any, key: str) -> Any:
        return queries.segment_of_key(installation=_server(info), key=str(text(key)))

    @staticmethod
    def resolve_segment_count(root: None, info: Any, definition: Any) -> Any:
        installation = _server(info)
        try:
            found = queries.preview(
                installation=installation,
                definition=from_json(definition),
                now=timezone.now(),
                sample=0,
            )
        except InvalidDefinition as error:
            return SegmentCount(faults=error.faults)
        return SegmentCount(count=found.count, faults=[])


class _Answer:
    """What a mutation answers."""

    segment = graphene.Field(Segment)
    faults = graphene.List(graphene.NonNull(SegmentFault), required=True)


class SegmentCreate(_Answer, graphene.Mutation):
    """Server only: make a segment. Its members are there within a minute."""

    class Arguments:
        key = graphene.String(required=True, description="Small letters, digits, '-', '_'.")
        name = graphene.String(required=True)
        definition = graphene.JSONString(required=True)

    @staticmethod
    def mutate(root: None, info: Any, key: str, name: str, definition: Any) -> Any:
        installation = _server(info)
        return _answer(
            SegmentCreate,
            lambda: _saved(
                info,
                operations.create_segment(
                    installation=installation,
                    key=str(text(key)),
                    name=str(text(name)),
                    definition=definition,
                    now=timezone.now(),
                ),
            ),
        )


class SegmentUpdate(_Answer, graphene.Mutation):
    """Server only: change what is given."""

    class Arguments:
        key = graphene.String(required=True)
        name = graphene.String()
        definition = graphene.JSONString()
        is_active = graphene.Boolean()

    @staticmethod
    def mutate(root: None, info: Any, key: str, **changes: Any) -> Any:
        segment = _known(_server(info), key)
        if changes.get("name") is not None:
            text(changes["name"])
        return _answer(
            SegmentUpdate,
            lambda: _saved(
                info, segment_use.update_segment(segment=segment, now=timezone.now(), **changes)
            ),
        )


class SegmentDelete(_Answer, graphene.Mutation):
    """Server only: delete a segment with its memberships; refused while another builds on it, or a live journey follows it."""

    class Arguments:
        key = graphene.String(required=True)

    @staticmethod
    def mutate(root: None, info: Any, key: str) -> Any:
        segment = _known(_server(info), key)
        return _answer(SegmentDelete, lambda: _delete(info, segment))


class SegmentMutations(graphene.ObjectType):
    """What the shop's servers change."""

    segment_create = SegmentCreate.Field(required=True)
    segment_update = SegmentUpdate.Field(required=True)
    segment_delete = SegmentDelete.Field(required=True)


def _answer(kind: Any, change: Callable[[], SegmentRow | None]) -> Any:
    try:
        segment = change()
    except InvalidDefinition as error:
        return kind(segment=None, faults=error.faults)
    ask_for("personalize.evaluate_segments")
    return kind(segment=segment, faults=[])


def _saved(info: Any, segment: SegmentRow) -> SegmentRow:
    record(info, AuditAction.SEGMENT_SAVED, on=segment)
    return segment


def _delete(info: Any, segment: SegmentRow) -> None:
    with transaction.atomic():
        record(info, AuditAction.SEGMENT_DELETED, on=segment)
        segment_use.delete_segment(segment=segment)


def _server(info: Any) -> Installation:
    caller = info.context.caller
    if not caller.is_server:
        raise AccessDenied("Only a server with a server key reads and changes segments.")
    found: Installation = caller.installation
    return found


def _known(installation: Installation, key: str) -> SegmentRow:
    found = queries.segment_of_key(installation=installation, key=str(text(key)))
    if found is None:
        raise GraphQLError("The shop has no segment of that key.", extensions={"code": "NOT_FOUND"})
    return found
