"""Favourites in the public graph: what a shopper keeps, and what others see of it."""

from __future__ import annotations

from typing import Any

import graphene

from saleor_personalize.events import favourites


class SharedFavourite(graphene.ObjectType):
    """A product under a shared link. Nothing tells who shares it."""

    product_id = graphene.ID(required=True)
    variant_id = graphene.ID()
    is_available = graphene.Boolean(required=True, description="Whether it can be bought now.")

    @staticmethod
    def resolve_variant_id(root: favourites.Shown, info: Any) -> str | None:
        return root.variant_id or None


class Favourite(SharedFavourite):
    """A product that the caller keeps for later."""

    channel = graphene.String(description="Sales channel in which it is judged to be available.")
    added_at = graphene.DateTime(required=True)

    @staticmethod
    def resolve_channel(root: favourites.Shown, info: Any) -> str | None:
        return root.channel_slug or None


class FavouriteError(graphene.ObjectType):
    """Why nothing was changed."""

    code = graphene.String(required=True)
    field = graphene.String(description="The argument to mend.")
    message = graphene.String(required=True)
