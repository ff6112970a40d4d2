"""This graph as a subgraph beside Saleor's (Apollo Federation, version 1 as Saleor speaks it).

A gateway asks `_service` once for the schema, and `_entities` for our fields of products, users and
categories that Saleor found. docs/adr/0011 tells why this is code of our own.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from typing import Any, Self

import graphene
from django.utils import timezone
from graphql import (
    ConstArgumentNode,
    ConstDirectiveNode,
    DefinitionNode,
    DirectiveNode,
    FieldDefinitionNode,
    GraphQLError,
    NameNode,
    ObjectTypeDefinitionNode,
    ObjectTypeExtensionNode,
    StringValueNode,
    parse,
    print_ast,
    print_schema,
    value_from_ast_untyped,
)

from saleor_personalize.events.callers import profiles_of
from saleor_personalize.exceptions import SaleorApiError
from saleor_personalize.graphql import types
from saleor_personalize.graphql.types_recommendations import (
    ASKED,
    CHANNEL,
    Product,
    ProductReference,
    Recommendation,
    Reference,
    Shown,
    Together,
    Wish,
)
from saleor_personalize.recommendations.service import Page

#: As many as Saleor takes.
MAX_REPRESENTATIONS = 100
#: Types of Saleor that get fields of ours, and the fields that Saleor finds them by.
KEYS = {"Product": "id channel", "User": "id", "Category": "id"}
#: What a gateway asks and no composed graph shows.
_OF_GATEWAYS = frozenset({"_Any", "_Entity", "_Service"})
_ROOTS = frozenset({"Query", "Mutation"})


class UserReference(Reference):
    """A user of Saleor whom the caller may read."""

    __slots__ = ()

    def profile(self, context: Any) -> Any:
        """Return what we know of this person, or None; read with that of the others."""
        if self.id not in self.together.profiles:
            ids = _once(self._all())
            found = profiles_of([context.caller.reading(id_) for id_ in ids])
            self.together.profiles.update(zip(ids, found, strict=True))
        return self.together.profiles[self.id]

    @classmethod
    def _pages(
        cls, references: Sequence[Self], wish: Wish, channel_slug: str, context: Any
    ) -> Mapping[str, Page]:
        ids = _once(references)
        callers = [context.caller.reading(id_) for id_ in ids]
        known = context.asked.known_of_each(callers, channel_slug, timezone.now())
        return {id_: Page(each, wish.question) for id_, each in zip(ids, known, strict=True)}


def _once(references: Iterable[Reference]) -> list[str]:
    return list(dict.fromkeys(each.id for each in references))


class CategoryReference(Reference):
    """A category of Saleor, with what is sold in it and in those below, and nothing else."""

    __slots__ = ()

    is_strict = True

    @classmethod
    def _pages(
        cls, references: Sequence[Self], wish: Wish, channel_slug: str, context: Any
    ) -> Mapping[str, Page]:
        known = context.asked.known_of(context.caller, channel_slug, timezone.now())
        return {
            each.id: Page(known, replace(wish.question, category_id=each.id)) for each in references
        }


class User(graphene.ObjectType):
    """A customer of Saleor, for the customer and for the shop's servers and staff; null for others."""

    id = graphene.ID(required=True)
    profile = graphene.Field(
        types.Profile, description="What we know of the person; null while that is nothing."
    )
    recommendations = graphene.List(
        graphene.NonNull(Recommendation),
        description="What to show this person.",
        channel=CHANNEL,
        **ASKED,
    )

    @staticmethod
    def resolve_profile(root: UserReference, info: Any) -> Any:
        profile = root.profile(info.context)
        return (profile, root.id) if profile else None

    @staticmethod
    def resolve_recommendations(
        root: UserReference,
        info: Any,
        channel: str,
        placement: str,
        first: int | None,
        language_code: str | None = None,
    ) -> list[Shown]:
        wish = Wish(placement, types.page(first), language_code)
        return root.answer(wish, channel, info.context).items


class Category(graphene.ObjectType):
    """A category of Saleor."""

    id = graphene.ID(required=True)
    top_products = graphene.List(
        graphene.NonNull(Recommendation),
        description="What sells best in it and in the categories below; empty when nothing of it sells.",
        channel=CHANNEL,
        first=ASKED["first"],
        language_code=ASKED["language_code"],
    )

    @staticmethod
    def resolve_top_products(
        root: CategoryReference,
        info: Any,
        channel: str,
        first: int | None,
        language_code: str | None = None,
    ) -> list[Shown]:
        wish = Wish("best_sellers", types.page(first), language_code)
        return root.answer(wish, channel, info.context).items


# -- what a gateway asks ----------------------------------------------------------------------------


class AnyRepresentation(graphene.Scalar):
    """An object of Saleor by its key: {__typename, id, ...}."""

    class Meta:
        name = "_Any"

    @staticmethod
    def parse_value(value: Any) -> Any:
        return value

    @staticmethod
    def parse_literal(node: Any, variables: Any = None) -> Any:
        return value_from_ast_untyped(node, variables)

    serialize = parse_value


class Entity(graphene.Union):
    """What Saleor has and we know more about."""

    class Meta:
        name = "_Entity"
        types = (Product, User, Category)

    @classmethod
    def resolve_type(cls, instance: Any, info: Any) -> Any:
        return _TYPES[type(instance)]


_TYPES: dict[type[Reference], Any] = {
    ProductReference: Product,
    UserReference: User,
    CategoryReference: Category,
}


class Service(graphene.ObjectType):
    """What a gateway composes."""

    class Meta:
        name = "_Service"

    sdl = graphene.String(required=True)


class FederationQueries(graphene.ObjectType):
    """Asked by gateways only."""

    service = graphene.Field(Service, name="_service", required=True)
    entities = graphene.List(
        Entity,
        name="_entities",
        required=True,
        representations=graphene.List(graphene.NonNull(AnyRepresentation), required=True),
    )

    @staticmethod
    def resolve_service(root: None, info: graphene.ResolveInfo) -> Mapping[str, str]:
        from saleor_personalize.graphql.schema import schema

        return {"sdl": sdl(schema)}

    @staticmethod
    def resolve_entities(
        root: None, info: graphene.ResolveInfo, representations: list[Any]
    ) -> list[Any]:
        if len(representations) > MAX_REPRESENTATIONS:
            raise GraphQLError(
                f"{len(representations)} representations at once; {MAX_REPRESENTATIONS} are allowed.",
                extensions={"code": "TOO_MANY_REPRESENTATIONS"},
            )
        together = Together()
        return [_found(given, together, info.context) for given in representations]


def _found(given: Any, together: Together, context: Any) -> Any:
    """Return what a representation stands for: an entity, nothing, or an error in its place."""
    try:
        type_, id_ = _read(given)
        if type_ == "Product":
            channel = given.get("channel")
            if not isinstance(channel, str | None):
                raise _malformed("`channel` takes a slug.")
            return ProductReference(id_, types.text(channel) or None, together)
    except GraphQLError as error:
        return error
    if type_ == "Category":
        return CategoryReference(id_, together)
    try:
        return UserReference(id_, together) if context.caller.may_read(id_) else None
    except SaleorApiError:
        return GraphQLError(
            "The shop cannot be asked at the moment what this staff member may see.",
            extensions={"code": "SALEOR_NOT_AVAILABLE"},
        )


def _read(given: Any) -> tuple[str, str]:
    """Return type and global id of a representation. Raises GraphQLError."""
    if not isinstance(given, dict):
        raise _malformed(
            "A representation is an object with `__typename` and the fields of its key."
        )
    type_, id_ = given.get("__typename"), given.get("id")
    if not isinstance(type_, str) or type_ not in KEYS:
        raise _malformed(f"This graph adds to {', '.join(KEYS)}; `__typename` names none of them.")
    if not isinstance(id_, str) or not types.text(id_):
        raise _malformed("`id` takes a global id of Saleor.")
    try:
        kind, _, key = base64.b64decode(id_, validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        kind = key = ""
    if kind != type_ or not key:
        raise _malformed(f"`id` is no global id of a {type_}.")
    return type_, id_


def _malformed(message: str) -> GraphQLError:
    return GraphQLError(message, extensions={"code": "INVALID_REPRESENTATION"})


# One operation, one field: what Apollo's tools send, whatever they call it.
_ABOUT_SCHEMA = re.compile(r"\s*(query\s*(\w+\s*)?)?\{\s*_service\s*\{\s*sdl\s*\}\s*\}\s*")


def is_about_schema(query: str) -> bool:
    """Tell whether a query asks for the schema and for nothing else."""
    return len(query) <= 200 and _ABOUT_SCHEMA.fullmatch(query) is not None


# -- the schema as a gateway wants it ---------------------------------------------------------------


@cache
def sdl(schema: graphene.Schema) -> str:
    """Return the schema as a federation 1 subgraph.

    Types of Saleor are extended, with `@key`, and the fields of the key are `@external`.
    """
    document = parse(print_schema(schema.graphql_schema))
    document.definitions = tuple(
        _definition(each)
        for each in document.definitions
        if getattr(each, "name", None) is None or each.name.value not in _OF_GATEWAYS  # type: ignore[attr-defined]
    )
    return print_ast(document)


def _definition(node: DefinitionNode) -> DefinitionNode:
    if not isinstance(node, ObjectTypeDefinitionNode):
        return node
    name = node.name.value
    if name not in KEYS and name not in _ROOTS:
        return node
    key = KEYS.get(name, "")
    fields = [each for each in node.fields if not each.name.value.startswith("_")]
    return ObjectTypeExtensionNode(
        name=node.name,
        interfaces=node.interfaces,
        directives=(_directive("key", fields=key),) if key else (),
        fields=tuple(
            _external(each) if each.name.value in key.split() else each for each in fields
        ),
    )


def _external(node: FieldDefinitionNode) -> FieldDefinitionNode:
    return FieldDefinitionNode(
        name=node.name, type=node.type, arguments=(), directives=(_directive("external"),)
    )


def _directive(name: str, **arguments: str) -> DirectiveNode:
    return ConstDirectiveNode(
        name=NameNode(value=name),
        arguments=tuple(
            ConstArgumentNode(name=NameNode(value=each), value=StringValueNode(value=value))
            for each, value in arguments.items()
        ),
    )
