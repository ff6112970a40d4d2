"""Categories and brands in the public graph: where to look, instead of what to buy."""

from __future__ import annotations

from typing import Any

import graphene
from django.utils import timezone, translation

from saleor_personalize.graphql import types
from saleor_personalize.graphql.federation import Category, CategoryReference
from saleor_personalize.graphql.types_recommendations import (
    ASKED,
    CHANNEL,
    Answer,
    Recommendation,
    Shown,
    Together,
    spoken_in,
)
from saleor_personalize.recommendations.groups import Group, Kind, recommend_groups

#: Products that come along with a group.
EACH = 4


class Recommended:
    """A group as it is answered."""

    def __init__(self, group: Group, items: list[Shown], together: Together) -> None:
        self.group = group
        self.items = items
        self.category = CategoryReference(group.id, together)


class RecommendedBrand(graphene.ObjectType):
    """A brand that the shopper should like."""

    name = graphene.String(required=True)
    slot = graphene.Int(required=True, description="Position, from 1.")
    score = graphene.Float(required=True, description="Comparable within one answer.")
    items = graphene.List(
        graphene.NonNull(Recommendation),
        required=True,
        description="What to show of it, best first; at least one, and each can be bought now.",
    )

    @staticmethod
    def resolve_name(root: Recommended, info: Any) -> str:
        return root.group.name

    @staticmethod
    def resolve_slot(root: Recommended, info: Any) -> int:
        return root.group.slot

    @staticmethod
    def resolve_score(root: Recommended, info: Any) -> float:
        return root.group.score


class RecommendedCategory(RecommendedBrand):
    """A category that the shopper should like."""

    category_id = graphene.ID(required=True, description="Saleor's global id.")
    name = graphene.String(
        required=True, description="In `languageCode` where the shop has translated it."
    )
    slug = graphene.String()
    category = graphene.Field(
        Category, required=True, description="The category in a federated graph."
    )

    @staticmethod
    def resolve_category_id(root: Recommended, info: Any) -> str:
        return root.group.id

    @staticmethod
    def resolve_slug(root: Recommended, info: Any) -> str | None:
        return root.group.slug or None

    @staticmethod
    def resolve_category(root: Recommended, info: Any) -> CategoryReference:
        return root.category


_ASKED = {
    "channel": CHANNEL,
    "placement": graphene.String(default_value="home", description="Whose recommenders judge."),
    "first": ASKED["first"],
    "language_code": ASKED["language_code"],
    "user_id": graphene.ID(description="Server only: on behalf of this Saleor user."),
    "anonymous_id": graphene.String(description="Server only: on behalf of this visitor."),
}


class GroupQueries(graphene.ObjectType):
    """Where to look."""

    recommended_categories = graphene.List(
        graphene.NonNull(RecommendedCategory),
        required=True,
        description="Categories for this shopper, best first.",
        **_ASKED,
    )
    recommended_brands = graphene.List(
        graphene.NonNull(RecommendedBrand),
        required=True,
        description="Brands for this shopper, best first.",
        **_ASKED,
    )

    @staticmethod
    def resolve_recommended_categories(
        root: None, info: graphene.ResolveInfo, **asked: Any
    ) -> list[Recommended]:
        return _recommend(info, Kind.CATEGORY, **asked)

    @staticmethod
    def resolve_recommended_brands(
        root: None, info: graphene.ResolveInfo, **asked: Any
    ) -> list[Recommended]:
        return _recommend(info, Kind.BRAND, **asked)


def _recommend(
    info: Any,
    kind: Kind,
    *,
    channel: str,
    placement: str,
    first: int | None,
    language_code: str | None = None,
    user_id: str | None = None,
    anonymous_id: str | None = None,
) -> list[Recommended]:
    caller = types.caller_of(info, user_id, anonymous_id)
    for given in (channel, placement):
        types.text(given)
    now = timezone.now()
    with translation.override(types.language(language_code)):
        groups = recommend_groups(
            known=info.context.asked.known_of(caller, channel, now),
            kind=kind,
            placement=placement,
            first=types.page(first),
            each=EACH,
            now=now,
            language_code=spoken_in(language_code),
        )
    # One answer: a click on any of it is a click on what was asked.
    answer = Answer(
        [each for group in groups for each in group.items],
        context=info.context,
        placement=placement,
        channel_slug=channel,
        language_code=spoken_in(language_code),
        now=now,
    )
    items = iter(answer.items)
    together = Together()
    return [Recommended(group, [next(items) for _ in group.items], together) for group in groups]
