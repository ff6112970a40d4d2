"""Content pages in the public graph: what to read, instead of what to buy."""

from __future__ import annotations

from typing import Any

import graphene
from django.utils import timezone, translation

from saleor_personalize.events import attribution
from saleor_personalize.graphql import types
from saleor_personalize.graphql.types_recommendations import (
    ASKED,
    CHANNEL,
    RecommendationReason,
    spoken_in,
)
from saleor_personalize.recommendations.pages import PageRecommendation, Place, recommend_pages


class ShownPage:
    """A page as it is answered."""

    __slots__ = ("_sign", "found")

    def __init__(self, found: PageRecommendation, sign: attribution.Signer) -> None:
        self.found = found
        self._sign = sign

    @property
    def attribution_id(self) -> str:
        return self._sign(self.found.strategy)


class RecommendedPage(graphene.ObjectType):
    """A published page of Saleor that the shopper should like to read."""

    page_id = graphene.ID(
        required=True, description="Global id for Saleor's page(id:), which has its content."
    )
    title = graphene.String(
        required=True, description="In `languageCode` where the shop has translated it."
    )
    slug = graphene.String()
    page_type = graphene.String(description="Slug of its type.")
    published_at = graphene.DateTime()
    slot = graphene.Int(required=True, description="Position, from 1.")
    score = graphene.Float(required=True, description="Comparable within one answer.")
    strategy = graphene.String(
        required=True, description='"subject", or "newest" where nothing else suits.'
    )
    reason = graphene.Field(RecommendationReason, required=True)
    attribution_id = graphene.String(
        required=True,
        description="Send it back, with `pageId`, when the page is shown or clicked.",
    )

    @staticmethod
    def resolve_page_id(root: ShownPage, info: Any) -> str:
        return root.found.page_id

    @staticmethod
    def resolve_title(root: ShownPage, info: Any) -> str:
        return root.found.title

    @staticmethod
    def resolve_slug(root: ShownPage, info: Any) -> str | None:
        return root.found.slug or None

    @staticmethod
    def resolve_page_type(root: ShownPage, info: Any) -> str | None:
        return root.found.page_type or None

    @staticmethod
    def resolve_published_at(root: ShownPage, info: Any) -> Any:
        return root.found.published_at

    @staticmethod
    def resolve_slot(root: ShownPage, info: Any) -> int:
        return root.found.slot

    @staticmethod
    def resolve_score(root: ShownPage, info: Any) -> float:
        return root.found.score

    @staticmethod
    def resolve_strategy(root: ShownPage, info: Any) -> str:
        return root.found.strategy

    @staticmethod
    def resolve_reason(root: ShownPage, info: Any) -> ShownPage:
        return root


class PageQueries(graphene.ObjectType):
    """What to read."""

    recommended_pages = graphene.List(
        graphene.NonNull(RecommendedPage),
        required=True,
        description="Content pages, best first: about the product, category or brand of the page, else for "
        "this shopper.",
        channel=CHANNEL,
        placement=graphene.String(
            default_value="home", description="Whose recommenders judge what the shopper likes."
        ),
        product_id=graphene.ID(description="The product of the page."),
        product_ids=graphene.List(
            graphene.NonNull(graphene.ID), description="Several of them, such as those of an order."
        ),
        category_id=graphene.ID(description="The category of the page."),
        brand=graphene.String(description="The brand of the page."),
        page_id=graphene.ID(description="The content page being read: others like it."),
        hidden=graphene.List(
            graphene.NonNull(graphene.ID), description="Content pages that are shown already."
        ),
        first=ASKED["first"],
        language_code=ASKED["language_code"],
        user_id=graphene.ID(description="Server only: on behalf of this Saleor user."),
        anonymous_id=graphene.String(description="Server only: on behalf of this visitor."),
    )

    @staticmethod
    def resolve_recommended_pages(
        root: None,
        info: graphene.ResolveInfo,
        channel: str,
        placement: str,
        first: int | None,
        product_id: str | None = None,
        product_ids: list[str] | None = None,
        category_id: str | None = None,
        brand: str | None = None,
        page_id: str | None = None,
        hidden: list[str] | None = None,
        language_code: str | None = None,
        user_id: str | None = None,
        anonymous_id: str | None = None,
    ) -> list[ShownPage]:
        caller = types.caller_of(info, user_id, anonymous_id)
        products = tuple(dict.fromkeys(filter(None, [product_id, *(product_ids or ())])))
        for name, ids in (("productIds", products), ("hidden", hidden or ())):
            types.few(name, ids)
        for given in (channel, placement, category_id, brand, page_id, *products, *(hidden or ())):
            types.text(given)
        now = timezone.now()
        with translation.override(types.language(language_code)):
            found = recommend_pages(
                known=info.context.asked.known_of(caller, channel, now),
                placement=placement,
                place=Place(products, category_id or "", brand or "", page_id or ""),
                hidden=hidden or (),
                first=types.page(first),
                language_code=spoken_in(language_code),
                now=now,
            )
        if not found:
            info.context.asked.check_channel(caller.installation, channel)
        sign = attribution.Signer(
            installation=caller.installation, placement=placement, channel_slug=channel, now=now
        )
        return [ShownPage(each, sign) for each in found]
