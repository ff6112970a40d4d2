"""Favourites changed and shared through the public graph: by visitors, the signed-in, the shop's server."""

from __future__ import annotations

import uuid
from typing import Any

import graphene
from django.utils import timezone

from saleor_personalize.conf import settings
from saleor_personalize.enums import EventType
from saleor_personalize.events import favourites, rates, tracking
from saleor_personalize.events.callers import Caller
from saleor_personalize.graphql.types import DEFAULT_PAGE, page, text
from saleor_personalize.graphql.types_favourites import Favourite, FavouriteError, SharedFavourite
from saleor_personalize.models import Product, ProductVariant, SalesChannel
from saleor_personalize.profiles import identity

_WHOSE = {
    "user_id": graphene.ID(description="Server only: on behalf of this Saleor user."),
    "anonymous_id": graphene.String(description="Server only: on behalf of this visitor."),
}


class FavouriteQueries(graphene.ObjectType):
    """Lists that others show."""

    shared_favourites = graphene.List(
        graphene.NonNull(SharedFavourite),
        token=graphene.String(required=True),
        channel=graphene.String(description="Where to buy; else where each was added."),
        first=graphene.Int(default_value=DEFAULT_PAGE),
        description="What somebody shares and can be bought now; null when the link does not work.",
    )

    @staticmethod
    def resolve_shared_favourites(
        root: None, info: Any, token: str, first: int | None, channel: str | None = None
    ) -> Any:
        link = favourites.link_of(str(text(token)), installation=info.context.caller.installation)
        if link is None:
            return None
        return favourites.shared(
            link=link, first=page(first), channel_slug=text(channel) or "", now=timezone.now()
        )


class _Refused(Exception):
    def __init__(self, code: str, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.error = {"code": code, "field": field, "message": message}


def _caller(info: Any, user_id: str | None, anonymous_id: str | None) -> Caller:
    """Return whose favourites these are. Raises AccessDenied for who names somebody else."""
    caller: Caller = info.context.caller.speaking_of(
        user_id=text(user_id), anonymous_id=anonymous_id
    )
    if not caller.shown:
        raise _Refused(
            "UNAUTHENTICATED",
            "Say whose favourites these are: send X-Anonymous-Id or a customer's token.",
        )
    if not caller.is_server and not rates.is_allowed(
        installation=caller.installation,
        shown=caller.shown,
        address=info.context.address,
        count=1,
        now=timezone.now(),
    ):
        raise _Refused("RATE_LIMITED", "Too many changes in a minute. Try again later.")
    return caller


def _check(caller: Caller, product_id: str, variant_id: str | None, channel: str | None) -> None:
    shop = caller.installation
    products = Product.objects.of(shop).filter(saleor_id=text(product_id), deleted_at=None)
    if not products.exists():
        raise _Refused("UNKNOWN_PRODUCT", "The shop has no such product.", "productId")
    variants = ProductVariant.objects.of(shop).filter(
        saleor_id=text(variant_id), product_saleor_id=product_id, deleted_at=None
    )
    if variant_id and not variants.exists():
        raise _Refused("UNKNOWN_VARIANT", "The product has no such variant.", "variantId")
    channels = SalesChannel.objects.of(shop).filter(slug=text(channel), deleted_at=None)
    if channel and not channels.exists():
        raise _Refused("UNKNOWN_CHANNEL", "The shop has no sales channel of that slug.", "channel")


def _change(
    info: Any,
    type_: EventType,
    product_id: str,
    variant_id: str | None,
    channel: str | None,
    user_id: str | None,
    anonymous_id: str | None,
) -> favourites.Shown | None:
    """Change the list, and tell it as an event unless the person refused to be told of."""
    caller = _caller(info, user_id, anonymous_id)
    if type_ is EventType.FAVOURITE_ADDED:
        _check(caller, product_id, variant_id, channel)
    now = timezone.now()
    profile = identity.show(installation=caller.installation, shown=caller.shown, now=now)
    change = favourites.add if type_ is EventType.FAVOURITE_ADDED else favourites.remove
    is_new = change(
        profile=profile,
        product_id=str(text(product_id)),
        variant_id=text(variant_id) or "",
        channel_slug=text(channel) or "",
        now=now,
    )
    if is_new and not info.context.refuses_tracking:
        tracking.track(
            installation=caller.installation,
            shown=caller.shown,
            rows=[
                tracking.Row(
                    event_id=str(uuid.uuid4()),
                    type=type_,
                    channel_slug=channel or "",
                    product_id=product_id,
                    properties={"variant_id": variant_id} if variant_id else {},
                )
            ],
            source=caller.source,
            now=now,
        )
    return favourites.one(
        profile=profile, product_id=product_id, variant_id=variant_id or "", now=now
    )


class _Changed:
    errors = graphene.List(graphene.NonNull(FavouriteError), required=True)


class FavouriteAdd(_Changed, graphene.Mutation):
    """Keep a product for later. Doing it twice is harmless."""

    class Arguments:
        product_id = graphene.ID(required=True)
        variant_id = graphene.ID()
        channel = graphene.String(description="Slug of the sales channel.")
        user_id = _WHOSE["user_id"]
        anonymous_id = _WHOSE["anonymous_id"]

    favourite = graphene.Field(Favourite)

    @staticmethod
    def mutate(root: None, info: Any, product_id: str, **given: Any) -> Any:
        try:
            found = _change(info, EventType.FAVOURITE_ADDED, product_id, **_filled(given))
        except _Refused as refusal:
            return FavouriteAdd(favourite=None, errors=[refusal.error])
        return FavouriteAdd(favourite=found, errors=[])


class FavouriteRemove(_Changed, graphene.Mutation):
    """Keep a product no longer, on whichever device it was added. Doing it twice is harmless."""

    class Arguments:
        product_id = graphene.ID(required=True)
        variant_id = graphene.ID()
        channel = graphene.String(description="Slug of the sales channel.")
        user_id = _WHOSE["user_id"]
        anonymous_id = _WHOSE["anonymous_id"]

    @staticmethod
    def mutate(root: None, info: Any, product_id: str, **given: Any) -> Any:
        try:
            _change(info, EventType.FAVOURITE_REMOVED, product_id, **_filled(given))
        except _Refused as refusal:
            return FavouriteRemove(errors=[refusal.error])
        return FavouriteRemove(errors=[])


def _filled(given: dict[str, Any]) -> dict[str, Any]:
    names = ("variant_id", "channel", "user_id", "anonymous_id")
    return {name: given.get(name) for name in names}


class FavouritesShare(_Changed, graphene.Mutation):
    """Get the link under which others see what the caller keeps; the same one until it is withdrawn."""

    class Arguments:
        user_id = _WHOSE["user_id"]
        anonymous_id = _WHOSE["anonymous_id"]

    token = graphene.String()
    url = graphene.String(description="A page that shows the list; null if APP_URL is not set.")

    @staticmethod
    def mutate(
        root: None, info: Any, user_id: str | None = None, anonymous_id: str | None = None
    ) -> Any:
        try:
            profile = _sharing(info, user_id, anonymous_id)
        except _Refused as refusal:
            return FavouritesShare(errors=[refusal.error])
        link = favourites.share(profile=profile, now=timezone.now())
        base = (settings.APP_URL or "").rstrip("/")
        return FavouritesShare(
            token=str(link.token), url=f"{base}/f/{link.token}" if base else None, errors=[]
        )


class FavouritesWithdraw(_Changed, graphene.Mutation):
    """Let no link of the caller's work any more."""

    class Arguments:
        user_id = _WHOSE["user_id"]
        anonymous_id = _WHOSE["anonymous_id"]

    count = graphene.Int(required=True, description="How many links worked until now.")

    @staticmethod
    def mutate(
        root: None, info: Any, user_id: str | None = None, anonymous_id: str | None = None
    ) -> Any:
        try:
            profile = _sharing(info, user_id, anonymous_id)
        except _Refused as refusal:
            return FavouritesWithdraw(count=0, errors=[refusal.error])
        count = favourites.withdraw(profile=profile, now=timezone.now())
        return FavouritesWithdraw(count=count, errors=[])


def _sharing(info: Any, user_id: str | None, anonymous_id: str | None) -> Any:
    """Return the profile that shares. An anonymous id opens no list of somebody who signed in."""
    profile = _caller(info, user_id, anonymous_id).profile()
    if profile is None:
        raise _Refused("NOTHING_KEPT", "Nothing is kept under this id. Sign in to share your list.")
    return profile


class FavouriteMutations(graphene.ObjectType):
    """What shoppers change in their list."""

    favourite_add = FavouriteAdd.Field(required=True)
    favourite_remove = FavouriteRemove.Field(required=True)
    favourites_share = FavouritesShare.Field(required=True)
    favourites_withdraw = FavouritesWithdraw.Field(required=True)
