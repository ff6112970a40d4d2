"""Recommendations in the public graph: a card per product, why it is shown, and the id that events bring back."""

from __future__ import annotations

import functools
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, ClassVar, Self

import graphene
from django.utils import timezone, translation
from graphql import GraphQLError

from saleor_personalize.catalog import queries as catalog
from saleor_personalize.catalog.cards import Card, cards
from saleor_personalize.conf import settings
from saleor_personalize.events import attribution
from saleor_personalize.events.callers import Caller, profiles_of
from saleor_personalize.exceptions import AccessDenied
from saleor_personalize.graphql import types
from saleor_personalize.ml import ReasonCode
from saleor_personalize.models import Installation
from saleor_personalize.recommendations import service

_LANGUAGE = re.compile(r"[A-Za-z]{2,3}([-_][A-Za-z0-9]{1,8}){0,3}")
#: Blocks of one page.
MAX_BLOCKS = 10
#: A page that tells nothing more about itself.
NO_MORE = service.Question()

RecommendationReasonCode = graphene.Enum(
    "RecommendationReasonCode",
    [(code.name, code.value) for code in ReasonCode],
    description=lambda value: None if value else "Why a product is shown.",
)


# -- what resolvers hand on -------------------------------------------------------------------------


class Cards:
    """The cards of one request. All that are wanted are read at once, when the first is looked at."""

    def __init__(self, installation: Installation, now: datetime) -> None:
        self._installation = installation
        self._now = now
        self._wanted: dict[tuple[str, str], set[str]] = {}
        self._read: dict[tuple[str, str], dict[str, Card]] = {}

    def want(self, where: tuple[str, str], ids: Iterable[str]) -> None:
        """Announce products of a (sales channel, language)."""
        self._wanted.setdefault(where, set()).update(ids)

    def get(self, where: tuple[str, str], product_id: str) -> Card | None:
        if wanted := self._wanted.pop(where, None):
            found = cards(
                installation=self._installation,
                channel_slug=where[0],
                language_code=where[1],
                ids=wanted,
                now=self._now,
            )
            self._read.setdefault(where, {}).update(found)
        return self._read.get(where, {}).get(product_id)


@dataclass
class Asked:
    """What the recommendations of one request share: who asks, and what the page shows already."""

    known: dict[tuple[Any, str], service.Known] = field(default_factory=dict)
    #: (who, sales channel, page) -> placement -> what it shows
    shown: dict[tuple[Any, str, service.Question], dict[str, list[str]]] = field(
        default_factory=dict
    )

    #: Sales channels that are known to exist.
    channels: set[str] = field(default_factory=set)

    def check_channel(self, installation: Installation, slug: str) -> None:
        """Raise UnknownAlias where the shop has no sales channel of that slug.

        Asked when an answer is empty: a slip of the storefront is no empty block, and a good answer costs
        no look.
        """
        if slug not in self.channels:
            catalog.check_channel(installation=installation, slug=slug)
            self.channels.add(slug)

    def known_of_each(
        self, callers: Sequence[Caller], channel_slug: str, now: datetime
    ) -> list[service.Known]:
        """Return what is known of Saleor users, read at once."""
        keys = [(tuple(caller.shown.items()), channel_slug) for caller in callers]
        if missing := [
            each for each in zip(keys, callers, strict=True) if each[0] not in self.known
        ]:
            found = service.known_of_each(
                installation=callers[0].installation,
                channel_slug=channel_slug,
                profiles=profiles_of([caller for _, caller in missing]),
                until=now,
            )
            self.known |= {key: known for (key, _), known in zip(missing, found, strict=True)}
        return [self.known[key] for key in keys]

    def known_of(self, caller: Caller, channel_slug: str, now: datetime) -> service.Known:
        key = (tuple(caller.shown.items()), channel_slug)
        if key not in self.known:
            self.known[key] = service.known_of(
                installation=caller.installation,
                channel_slug=channel_slug,
                profile=caller.profile(),
                until=now,
            )
        return self.known[key]


class Answer:
    """What one placement answered."""

    def __init__(
        self,
        found: Sequence[service.Recommendation],
        *,
        context: Any,
        placement: str,
        channel_slug: str,
        language_code: str,
        now: datetime,
    ) -> None:
        if not found:
            context.asked.check_channel(context.caller.installation, channel_slug)
        self.placement = placement
        self.channel_slug = channel_slug
        self.items = [Shown(each, self) for each in found]
        self._where = (channel_slug, language_code)
        self._cards: Cards = context.cards
        self._cards.want(self._where, [each.product_id for each in found])
        self.attribution_id = attribution.Signer(
            installation=context.caller.installation,
            placement=placement,
            channel_slug=channel_slug,
            now=now,
        )

    def card(self, product_id: str) -> Card | None:
        return self._cards.get(self._where, product_id)

    @functools.cached_property
    def products(self) -> dict[str, ProductReference]:
        together = Together()
        return {
            id_: ProductReference(id_, self.channel_slug, together)
            for id_ in (each.found.product_id for each in self.items)
        }


class Shown:
    """A recommendation with its card and its attribution id, both made when they are asked for."""

    __slots__ = ("answer", "found")

    def __init__(self, found: service.Recommendation, answer: Answer) -> None:
        self.found = found
        self.answer = answer

    @property
    def card(self) -> Card | None:
        return self.answer.card(self.found.product_id)

    @property
    def attribution_id(self) -> str:
        return self.answer.attribution_id(self.found.strategy)

    @property
    def product(self) -> ProductReference:
        return self.answer.products[self.found.product_id]


@dataclass(frozen=True)
class Wish:
    """What is asked of the recommendations of a product, a person or a category."""

    placement: str
    first: int
    language_code: str | None = None
    checkout_id: str | None = None
    product_id: str | None = None
    category_id: str | None = None
    #: What else the page tells, and the cursor after which its next products come.
    about: service.Question = NO_MORE
    after: str | None = None

    @property
    def question(self) -> service.Question:
        return replace(
            self.about,
            product_id=self.product_id,
            checkout_id=self.checkout_id,
            category_id=self.category_id,
        )


@dataclass
class Together:
    """Objects that came in one request: what is asked of one is asked of all, and answered at once."""

    #: kind -> the objects of that kind
    references: dict[type[Reference], list[Any]] = field(default_factory=dict)
    #: (kind, what is asked, sales channel) -> object -> what is shown there
    answers: dict[tuple[type[Reference], Wish, str], Mapping[str, Answer]] = field(
        default_factory=dict
    )
    #: user -> what we know of the person
    profiles: dict[str, Any] = field(default_factory=dict)
    #: (what is asked, sales channel) -> product -> what shows it
    shown: dict[tuple[Wish, str], Mapping[str, Shown]] = field(default_factory=dict)


class Reference(ABC):
    """An object of Saleor, with the others of the request. We answer without looking whether it exists."""

    __slots__ = ("id", "together")

    #: Whether nothing else is shown where too little is found.
    is_strict: ClassVar[bool] = False

    def __init__(self, id_: str, together: Together) -> None:
        self.id = id_
        self.together = together
        together.references.setdefault(type(self), []).append(self)

    def answer(self, wish: Wish, channel_slug: str, context: Any) -> Answer:
        """Return what is shown with this object; all of its kind are answered at once."""
        answers = self.together.answers
        key = (type(self), wish, channel_slug)
        if key not in answers:
            pages = self._pages(self._all(), wish, channel_slug, context)
            answers[key] = recommend_each(
                context, wish, channel_slug, pages, is_strict=self.is_strict
            )
        return answers[key][self.id]

    def _all(self) -> list[Self]:
        """Return the objects of this kind, this one among them."""
        return self.together.references[type(self)]

    @classmethod
    @abstractmethod
    def _pages(
        cls, references: Sequence[Self], wish: Wish, channel_slug: str, context: Any
    ) -> Mapping[str, service.Page]:
        """Return what is asked of each object, by its id."""


class ProductReference(Reference):
    """A product of Saleor in a sales channel, with what goes with it on its own page."""

    __slots__ = ("channel",)

    def __init__(self, id_: str, channel: str | None, together: Together) -> None:
        super().__init__(id_, together)
        self.channel = channel

    @classmethod
    def _pages(
        cls, references: Sequence[Self], wish: Wish, channel_slug: str, context: Any
    ) -> Mapping[str, service.Page]:
        known = context.asked.known_of(context.caller, channel_slug, timezone.now())
        return {
            each.id: service.Page(known, replace(wish.question, product_id=each.id))
            for each in references
            if each.channel == channel_slug
        }

    def shown(self, wish: Wish, context: Any) -> Shown | None:
        """Return how this product is shown in a placement, or None."""
        channel_slug = self.channel_slug()
        shown = self.together.shown
        key = (wish, channel_slug)
        if key not in shown:
            items = recommend(context, wish, channel_slug).items
            shown[key] = {each.found.product_id: each for each in items}
        return shown[key].get(self.id)

    def channel_slug(self) -> str:
        """Return the sales channel. Raises GraphQLError where the gateway did not say it."""
        if self.channel is None:
            raise GraphQLError(
                "The product has no channel: ask Saleor for it with `channel`.",
                extensions={"code": "CHANNEL_REQUIRED"},
            )
        return self.channel


def recommend(context: Any, wish: Wish, channel_slug: str, caller: Caller | None = None) -> Answer:
    """Ask the service, for the caller of the request or whom they may name."""
    caller = caller or context.caller
    _check_texts(wish, channel_slug)
    now = timezone.now()
    spoken = types.language(wish.language_code)
    with translation.override(spoken):
        found = service.recommend(
            installation=caller.installation,
            placement=wish.placement,
            channel_slug=channel_slug,
            known=None if wish.after else context.asked.known_of(caller, channel_slug, now),
            profile=caller.profile() if wish.after else None,
            after=wish.after,
            first=wish.first,
            now=now,
            language_code=spoken_in(wish.language_code),
            is_shown=True,
            **service.as_keywords(wish.question),
        )
    return Answer(
        found,
        context=context,
        placement=wish.placement,
        channel_slug=channel_slug,
        language_code=spoken_in(wish.language_code),
        now=now,
    )


def recommend_each(
    context: Any,
    wish: Wish,
    channel_slug: str,
    pages: Mapping[str, service.Page],
    *,
    is_strict: bool = False,
) -> dict[str, Answer]:
    """Ask for several pages at once."""
    _check_texts(wish, channel_slug)
    now = timezone.now()
    spoken = types.language(wish.language_code)
    with translation.override(spoken):
        found = service.recommend_each(
            placement=wish.placement,
            pages=pages,
            first=wish.first,
            now=now,
            is_strict=is_strict,
            language_code=spoken_in(wish.language_code),
            is_shown=True,
        )
    return {
        id_: Answer(
            items,
            context=context,
            placement=wish.placement,
            channel_slug=channel_slug,
            language_code=spoken_in(wish.language_code),
            now=now,
        )
        for id_, items in found.items()
    }


def recommend_page(
    context: Any, wishes: Sequence[Wish], channel_slug: str, caller: Caller
) -> list[Answer]:
    """Ask for all blocks of one page: no product stands in two of them."""
    for wish in wishes:
        _check_texts(wish, channel_slug)
    now = timezone.now()
    spoken = types.language(wishes[0].language_code)
    with translation.override(spoken):
        found = service.recommend_page(
            installation=caller.installation,
            placements=[wish.placement for wish in wishes],
            channel_slug=channel_slug,
            profile=caller.profile(),
            question=wishes[0].question,
            first=wishes[0].first,
            now=now,
            language_code=spoken_in(wishes[0].language_code),
            is_shown=True,
        )
    code = wishes[0].language_code
    return [
        Answer(
            items,
            context=context,
            placement=placement,
            channel_slug=channel_slug,
            language_code=spoken_in(code),
            now=now,
        )
        for placement, items in found.items()
    ]


def _check_texts(wish: Wish, channel_slug: str) -> None:
    asked = wish.question
    for given in (
        wish.placement, channel_slug, wish.after, asked.product_id, asked.checkout_id,
        asked.category_id, asked.query, asked.country_code, *asked.product_ids, *asked.hidden,
        *(text for pair in asked.situation for text in pair),
    ):  # fmt: skip
        types.text(given)
    for name, ids in (("productIds", asked.product_ids), ("hidden", asked.hidden)):
        types.few(name, ids)


def spoken_in(code: str | None) -> str:
    """Return the language of names: the one asked for, whether we speak it or not; else the request's."""
    if code is not None and _LANGUAGE.fullmatch(code):
        return code
    return types.language(code) or ""


def _of_card(name: str) -> Callable[[Shown, Any], Any]:
    """Return the resolver of a field that a card has; what the shop left empty is null."""

    def resolve(root: Shown, info: Any) -> Any:
        return getattr(root.card, name, None) or None

    return resolve


# -- types ------------------------------------------------------------------------------------------


class RecommendationReason(graphene.ObjectType):
    """Why a product is shown."""

    code = graphene.Field(RecommendationReasonCode, required=True)
    text = graphene.String(required=True, description="A sentence for the shopper.")

    @staticmethod
    def resolve_code(root: Shown, info: Any) -> str:
        return root.found.reason_code

    @staticmethod
    def resolve_text(root: Shown, info: Any) -> str:
        return root.found.reason_text


class Recommendation(graphene.ObjectType):
    """A product that the shopper can see and buy now: one card, with its best available variant."""

    product_id = graphene.ID(
        required=True, description="Global id for Saleor's products(filter: {ids: [...]})."
    )
    variant_id = graphene.ID(description="Its cheapest variant that is in stock in the channel.")
    variant_name = graphene.String()
    sku = graphene.String()
    name = graphene.String(description="In `languageCode` where the shop has translated it.")
    slug = graphene.String()
    thumbnail_url = graphene.String()
    price = graphene.Field(
        types.PersonalizeMoney, description="What a shopper of the channel pays for the variant."
    )
    undiscounted_price = graphene.Field(
        types.PersonalizeMoney, description="Before a promotion; null where that is the same."
    )
    is_available = graphene.Boolean(
        required=True, description="Whether it can be bought in the channel at this moment."
    )
    slot = graphene.Int(required=True, description="Position, from 1.")
    score = graphene.Float(
        required=True, description="Comparable within one strategy of one answer."
    )
    strategy = graphene.String(required=True, description="Alias of the recommender.")
    arm = graphene.String(
        description="Of the placement's experiment: on which side the person is; null without one."
    )
    reason = graphene.Field(RecommendationReason, required=True)
    cursor = graphene.String(
        description="Of a paged placement: `after` for the products that follow this one."
    )
    attribution_id = graphene.String(
        required=True,
        description="Send it back with what the shopper does: impressions, clicks, cart additions.",
    )
    product = graphene.Field(
        lambda: Product, required=True, description="The product in a federated graph."
    )

    resolve_variant_id = _of_card("variant_id")
    resolve_variant_name = _of_card("variant_name")
    resolve_sku = _of_card("sku")
    resolve_name = _of_card("name")
    resolve_slug = _of_card("slug")
    resolve_thumbnail_url = _of_card("thumbnail_url")
    resolve_price = _of_card("price")
    resolve_undiscounted_price = _of_card("undiscounted_price")

    @staticmethod
    def resolve_product_id(root: Shown, info: Any) -> str:
        return root.found.product_id

    @staticmethod
    def resolve_is_available(root: Shown, info: Any) -> bool:
        return root.card is not None and root.card.is_available

    @staticmethod
    def resolve_slot(root: Shown, info: Any) -> int:
        return root.found.slot

    @staticmethod
    def resolve_score(root: Shown, info: Any) -> float:
        return root.found.score

    @staticmethod
    def resolve_strategy(root: Shown, info: Any) -> str:
        return root.found.strategy

    @staticmethod
    def resolve_arm(root: Shown, info: Any) -> str | None:
        return root.found.arm or None

    @staticmethod
    def resolve_reason(root: Shown, info: Any) -> Shown:
        return root

    @staticmethod
    def resolve_cursor(root: Shown, info: Any) -> str | None:
        return root.found.cursor or None


class SituationInput(graphene.InputObjectType):
    """Something that holds at the moment, which merchandising rules may ask for."""

    name = graphene.String(required=True, description='E.g. "weather".')
    value = graphene.String(required=True, description='E.g. "rain".')


#: What a page tells about itself.
_ABOUT = {
    "product_id": graphene.ID(description="The product of the page."),
    "product_ids": graphene.List(
        graphene.NonNull(graphene.ID), description="Several of them, such as those of an order."
    ),
    "checkout_id": graphene.ID(
        description="The cart: its products are complemented and never shown."
    ),
    "category_id": graphene.ID(description="The category of the page, with all below it."),
    "query": graphene.String(description="What was searched for."),
    "country_code": graphene.String(description="Where the shopper is: two letters."),
    "situation": graphene.List(
        graphene.NonNull(SituationInput), description="What else holds, for merchandising rules."
    ),
    "hidden": graphene.List(
        graphene.NonNull(graphene.ID), description="Products that the page shows already."
    ),
    "user_id": graphene.ID(description="Server only: on behalf of this Saleor user."),
    "anonymous_id": graphene.String(description="Server only: on behalf of this visitor."),
}


def _about(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a page told as a wish has it."""
    return {
        "checkout_id": given.get("checkout_id"),
        "product_id": given.get("product_id"),
        "category_id": given.get("category_id"),
        "about": service.Question(
            product_ids=tuple(given.get("product_ids") or ()),
            query=given.get("query"),
            country_code=given.get("country_code"),
            situation=tuple((each.name, each.value) for each in given.get("situation") or ()),
            hidden=tuple(given.get("hidden") or ()),
        ),
    }


class RecommendationBlock(graphene.ObjectType):
    """What one placement of a page shows."""

    placement = graphene.String(required=True)
    items = graphene.List(graphene.NonNull(Recommendation), required=True)


class RecommendationTouchpoints(graphene.ObjectType):
    """What became of the answers of a placement. Of one answer and one person a hundred clicks are one."""

    placement = graphene.String(required=True)
    strategy = graphene.String(required=True)
    channel = graphene.String(required=True)
    shown = graphene.Int(required=True, description="Answers of which something was seen.")
    clicked = graphene.Int(required=True, description="Answers of which something was clicked.")
    added = graphene.Int(required=True, description="Answers of which something went into a cart.")
    ordered = graphene.Int(
        required=True, description="Orders, each at the last answer that led to it."
    )

    @staticmethod
    def resolve_channel(root: attribution.Touchpoints, info: Any) -> str:
        return root.channel_slug


CHANNEL = graphene.String(required=True, description="Slug of the sales channel.")
ASKED = {
    "placement": graphene.String(required=True, description='E.g. "product_page_related".'),
    "first": graphene.Int(default_value=types.DEFAULT_PAGE, description="1 to 100."),
    "language_code": graphene.String(
        description='Language of names and reasons, e.g. "DE"; else that of the request.'
    ),
}


class Product(graphene.ObjectType):
    """A product of Saleor. With Saleor's graph composed, its other fields are Saleor's."""

    id = graphene.ID(required=True)
    channel = graphene.String(description="Slug of the sales channel in which it was asked for.")
    recommendations = graphene.List(
        graphene.NonNull(Recommendation),
        description="What goes with this product.",
        checkout_id=graphene.ID(description="The cart: its products are never shown."),
        **ASKED,
    )
    reason_for = graphene.Field(
        RecommendationReason,
        description="Why the caller is shown this product in a placement; null when they are not.",
        placement=ASKED["placement"],
        product_id=graphene.ID(description="The product of the page."),
        checkout_id=graphene.ID(description="The cart."),
        language_code=ASKED["language_code"],
    )

    @staticmethod
    def resolve_recommendations(
        root: ProductReference,
        info: Any,
        placement: str,
        first: int | None,
        language_code: str | None = None,
        checkout_id: str | None = None,
    ) -> list[Shown]:
        wish = Wish(placement, types.page(first), language_code, checkout_id)
        return root.answer(wish, root.channel_slug(), info.context).items

    @staticmethod
    def resolve_reason_for(
        root: ProductReference,
        info: Any,
        placement: str,
        language_code: str | None = None,
        product_id: str | None = None,
        checkout_id: str | None = None,
    ) -> Shown | None:
        wish = Wish(placement, settings.MAX_RECOMMENDATIONS, language_code, checkout_id, product_id)
        return root.shown(wish, info.context)


class RecommendationQueries(graphene.ObjectType):
    """What to show."""

    recommendations = graphene.List(
        graphene.NonNull(Recommendation),
        required=True,
        description="Products for a placement, best first.",
        channel=CHANNEL,
        after=graphene.String(
            description="Of a paged placement: the cursor of the last product shown."
        ),
        **_ABOUT,
        **ASKED,
    )
    recommendation_page = graphene.List(
        graphene.NonNull(RecommendationBlock),
        required=True,
        description="All blocks of a page at once: no product stands in two of them.",
        placements=graphene.List(
            graphene.NonNull(graphene.String), required=True, description="Most important first."
        ),
        channel=CHANNEL,
        **_ABOUT,
        **{name: each for name, each in ASKED.items() if name != "placement"},
    )
    recommendation_ranking = graphene.List(
        graphene.NonNull(Recommendation),
        required=True,
        description="A list of your own, what the shopper should like most first; what cannot be bought is left out.",
        product_ids=graphene.List(graphene.NonNull(graphene.ID), required=True),
        channel=CHANNEL,
        placement=graphene.String(default_value="home", description="Whose recommenders judge."),
        language_code=ASKED["language_code"],
        user_id=_ABOUT["user_id"],
        anonymous_id=_ABOUT["anonymous_id"],
    )
    recommendation_touchpoints = graphene.List(
        graphene.NonNull(RecommendationTouchpoints),
        required=True,
        description="Server only: what became of what was shown, by placement, strategy and channel.",
        since=graphene.DateTime(required=True),
        until=graphene.DateTime(description="By default now."),
    )

    @staticmethod
    def resolve_recommendations(
        root: None,
        info: graphene.ResolveInfo,
        placement: str,
        channel: str,
        first: int | None,
        language_code: str | None = None,
        after: str | None = None,
        user_id: str | None = None,
        anonymous_id: str | None = None,
        **about: Any,
    ) -> list[Shown]:
        wish = Wish(placement, types.page(first), language_code, after=after, **_about(about))
        caller = types.caller_of(info, user_id, anonymous_id)
        # Two placements of one page in one request: no product stands in both.
        who = tuple(caller.shown.items())
        page = info.context.asked.shown.setdefault((who, channel, wish.question), {})
        others = [id_ for key, ids in page.items() if key != placement for id_ in ids]
        if others:
            hidden = (*wish.about.hidden, *others)
            wish = replace(wish, about=replace(wish.about, hidden=hidden))
        items = recommend(info.context, wish, channel, caller).items
        page.setdefault(placement, []).extend(each.found.product_id for each in items)
        return items

    @staticmethod
    def resolve_recommendation_page(
        root: None,
        info: graphene.ResolveInfo,
        placements: list[str],
        channel: str,
        first: int | None,
        language_code: str | None = None,
        user_id: str | None = None,
        anonymous_id: str | None = None,
        **about: Any,
    ) -> list[Answer]:
        if not 1 <= len(placements) <= MAX_BLOCKS:
            raise GraphQLError(
                f"A page has 1 to {MAX_BLOCKS} blocks.", extensions={"code": "INVALID_PAGE"}
            )
        wishes = [
            Wish(key, types.page(first), language_code, **_about(about)) for key in placements
        ]
        caller = types.caller_of(info, user_id, anonymous_id)
        return recommend_page(info.context, wishes, channel, caller)

    @staticmethod
    def resolve_recommendation_ranking(
        root: None,
        info: graphene.ResolveInfo,
        product_ids: list[str],
        channel: str,
        placement: str,
        language_code: str | None = None,
        user_id: str | None = None,
        anonymous_id: str | None = None,
    ) -> list[Shown]:
        wish = Wish(placement, 1, about=service.Question(product_ids=tuple(product_ids)))
        _check_texts(wish, channel)
        caller = types.caller_of(info, user_id, anonymous_id)
        now = timezone.now()
        spoken = types.language(language_code)
        with translation.override(spoken):
            found = service.rerank(
                installation=caller.installation,
                channel_slug=channel,
                ids=product_ids,
                placement=placement,
                profile=caller.profile(),
                now=now,
                language_code=spoken_in(language_code),
                is_shown=True,
            )
        return Answer(
            found,
            context=info.context,
            placement=placement,
            channel_slug=channel,
            language_code=spoken_in(language_code),
            now=now,
        ).items

    @staticmethod
    def resolve_recommendation_touchpoints(
        root: None, info: graphene.ResolveInfo, since: datetime, until: datetime | None = None
    ) -> list[attribution.Touchpoints]:
        caller: Caller = info.context.caller
        if not caller.is_server:
            raise AccessDenied("Only a server with a server key reads what became of answers.")
        return attribution.touchpoints(
            installation=caller.installation,
            since=types.aware(since),
            until=types.aware(until) if until else timezone.now(),
        )
