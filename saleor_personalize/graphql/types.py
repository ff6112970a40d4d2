"""Types of the public graph. Names that Saleor uses too carry a prefix: storefronts stitch both."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import Any

import graphene
from django.utils import timezone, translation
from graphql import GraphQLError

from saleor_personalize.enums import EventType
from saleor_personalize.events import favourites, timeline
from saleor_personalize.events.callers import Caller
from saleor_personalize.events.tracking import TOLD, RowStatus
from saleor_personalize.graphql import types_consent, types_favourites, types_traits
from saleor_personalize.messaging import preferences
from saleor_personalize.profiles import queries
from saleor_personalize.recommendations.service import MAX_IDS
from saleor_personalize.segments import queries as segments
from saleor_personalize.traits import queries as traits
from saleor_personalize.traits.measures import written

#: Size of a list when none is asked for.
DEFAULT_PAGE = 10
#: Longest id, slug or name in an argument.
MAX_TEXT = 255

TrackEventType = graphene.Enum(
    "TrackEventType",
    [(type_.name, type_.value) for type_ in TOLD],
    description=lambda value: EventType(value.value).label if value else "What happened.",
)
TrackStatus = graphene.Enum(
    "TrackStatus",
    [(status.name, status.value) for status in RowStatus],
    description=lambda value: None if value else "What became of an event.",
)


class PersonalizeMoney(graphene.ObjectType):
    """An amount in a currency."""

    amount = graphene.Float(required=True)
    currency = graphene.String(required=True)


class ProfileOrder(graphene.ObjectType):
    """An order of the caller."""

    id = graphene.ID(required=True)
    number = graphene.String(required=True)
    placed_at = graphene.DateTime(required=True)
    total = graphene.Field(PersonalizeMoney, required=True)
    product_ids = graphene.List(graphene.NonNull(graphene.ID), required=True)

    @staticmethod
    def resolve_id(root: Any, info: Any) -> str:
        return str(root.saleor_id)

    @staticmethod
    def resolve_total(root: Any, info: Any) -> dict[str, Any]:
        return {"amount": float(root.total), "currency": root.currency}

    @staticmethod
    def resolve_product_ids(root: Any, info: Any) -> list[str]:
        return [line.product_saleor_id for line in root.lines.all() if line.product_saleor_id]


class ViewedProduct(graphene.ObjectType):
    """A product the caller looked at."""

    product_id = graphene.ID(required=True)
    viewed_at = graphene.DateTime(required=True)

    @staticmethod
    def resolve_product_id(root: Any, info: Any) -> str:
        return str(root["product_saleor_id"])


class OpenCheckoutLine(graphene.ObjectType):
    """A line of an open cart."""

    product_id = graphene.ID(required=True)
    variant_id = graphene.ID(required=True)
    quantity = graphene.Int(required=True)


class OpenCheckout(graphene.ObjectType):
    """The cart the caller can go on with."""

    id = graphene.ID(required=True)
    channel = graphene.String(required=True)
    changed_at = graphene.DateTime(required=True)
    lines = graphene.List(graphene.NonNull(OpenCheckoutLine), required=True)

    @staticmethod
    def resolve_id(root: Any, info: Any) -> str:
        return str(root.saleor_id)

    @staticmethod
    def resolve_channel(root: Any, info: Any) -> str:
        return str(root.channel_slug)

    @staticmethod
    def resolve_changed_at(root: Any, info: Any) -> Any:
        return root.last_changed_at


class ProfileSegment(graphene.ObjectType):
    """A segment that the caller is in. Its name is for staff and is not told."""

    key = graphene.String(required=True)
    entered_at = graphene.DateTime(required=True)

    @staticmethod
    def resolve_key(root: Any, info: Any) -> str:
        return str(root.segment.key)


class Profile(graphene.ObjectType):
    """What we know of the caller, for the caller.

    An anonymous caller reads what that anonymous id did, never what a signed-in person did.
    """

    first_name = graphene.String(description="Of the signed-in caller, as Saleor has it.")
    order_count = graphene.Int(
        required=True, description="Orders of the signed-in caller that were not cancelled."
    )
    spent = graphene.List(
        graphene.NonNull(types_traits.ProfileSpent),
        required=True,
        description="What these orders came to, by currency.",
    )
    traits = graphene.Field(
        types_traits.ProfileTraits,
        description="Server only; null for everybody else, and for who refused profiling.",
    )
    recent_orders = graphene.List(
        graphene.NonNull(ProfileOrder),
        required=True,
        first=graphene.Int(default_value=DEFAULT_PAGE),
    )
    viewed_products = graphene.List(
        graphene.NonNull(ViewedProduct),
        required=True,
        first=graphene.Int(default_value=DEFAULT_PAGE),
    )
    open_checkout = graphene.Field(OpenCheckout)
    segments = graphene.List(
        graphene.NonNull(ProfileSegment),
        required=True,
        description="Segments the caller is in, as last evaluated.",
    )

    consents = graphene.List(
        graphene.NonNull(types_consent.ProfileConsent),
        required=True,
        first=graphene.Int(default_value=DEFAULT_PAGE),
        description="What the signed-in caller allowed and refused, newest first.",
    )
    consent_standings = graphene.List(
        graphene.NonNull(types_consent.ConsentStanding),
        required=True,
        description="What holds now for everything that the signed-in caller can allow.",
    )

    @staticmethod
    def resolve_first_name(root: Any, info: Any) -> str | None:
        profile, user_id = root
        return (profile.first_name or None) if user_id else None

    @staticmethod
    def resolve_order_count(root: Any, info: Any) -> int:
        profile, user_id = root
        return timeline.own_orders(profile, user_id=user_id).count() if user_id else 0

    @staticmethod
    def resolve_spent(root: Any, info: Any) -> list[dict[str, Any]]:
        profile, user_id = root
        sums = timeline.own_spent(profile, user_id=user_id) if user_id else {}
        return types_traits.spent({currency: written(*one) for currency, one in sums.items()})

    @staticmethod
    def resolve_traits(root: Any, info: Any) -> Any:
        return traits.traits_of(root[0]) if info.context.caller.is_server else None

    @staticmethod
    def resolve_consents(root: Any, info: Any, first: int | None) -> Any:
        profile, user_id = root
        count = page(first)
        return queries.history(profile=profile, readable_only=True, first=count) if user_id else []

    @staticmethod
    def resolve_consent_standings(root: Any, info: Any) -> Any:
        profile, user_id = root
        return preferences.standings(profile=profile) if user_id else []

    favourites = graphene.List(
        graphene.NonNull(types_favourites.Favourite),
        required=True,
        first=graphene.Int(default_value=DEFAULT_PAGE),
        channel=graphene.String(description="Where to buy; else where each was added."),
        description="What the caller keeps for later, newest first.",
    )

    @staticmethod
    def resolve_favourites(
        root: Any, info: Any, first: int | None, channel: str | None = None
    ) -> Any:
        return favourites.shown(
            profile=root[0],
            first=page(first),
            channel_slug=text(channel) or "",
            now=timezone.now(),
        )

    @staticmethod
    def resolve_recent_orders(root: Any, info: Any, first: int | None) -> Any:
        profile, user_id = root
        count = page(first)
        return timeline.recent_orders(profile, user_id=user_id, first=count) if user_id else []

    @staticmethod
    def resolve_viewed_products(root: Any, info: Any, first: int | None) -> Any:
        return timeline.viewed_products(root[0], first=page(first))

    @staticmethod
    def resolve_open_checkout(root: Any, info: Any) -> Any:
        profile, user_id = root
        return timeline.open_checkout(profile, user_id=user_id) if user_id else None

    @staticmethod
    def resolve_segments(root: Any, info: Any) -> Any:
        read = segments.segments_of if info.context.caller.is_server else segments.readable_by
        return read(root[0])


def page(first: int | None) -> int:
    """Check the size of a page: 1 to 100, as in Saleor; null is the default."""
    if first is None:
        return DEFAULT_PAGE
    if not 1 <= first <= 100:
        raise GraphQLError("`first` takes 1 to 100.", extensions={"code": "INVALID_PAGE"})
    return first


def text(value: str | None) -> str | None:
    """Check a text of a caller: what the database cannot hold is refused here, with a reason."""
    if value is not None and (
        len(value) > MAX_TEXT or "\x00" in value or any("\ud800" <= c <= "\udfff" for c in value)
    ):
        raise GraphQLError(
            f"A text takes at most {MAX_TEXT} characters, no NUL and no half of a surrogate pair.",
            extensions={"code": "INVALID_TEXT"},
        )
    return value


def few(name: str, ids: Collection[str]) -> None:
    """Check how many ids an argument holds: what the service looks at of a page."""
    if len(ids) > MAX_IDS:
        raise GraphQLError(
            f"`{name}` takes at most {MAX_IDS} ids.", extensions={"code": "TOO_MANY_IDS"}
        )


def aware(moment: datetime) -> datetime:
    """Take a time without a zone for one of the service's zone."""
    return timezone.make_aware(moment) if timezone.is_naive(moment) else moment


def caller_of(
    info: graphene.ResolveInfo, user_id: str | None = None, anonymous_id: str | None = None
) -> Caller:
    """Return who a request speaks of. Raises AccessDenied for all but servers that name somebody."""
    caller: Caller = info.context.caller
    return caller.speaking_of(user_id=text(user_id), anonymous_id=anonymous_id)


def language(code: str | None) -> str | None:
    """Return the language that we have for a code like "DE_AT", else that of the request.

    Django keeps the catalogue of every language it was ever asked for, so it gets known ones only.
    """
    try:
        return translation.get_supported_language_variant((code or "").replace("_", "-").lower())
    except LookupError:
        return translation.get_language()
