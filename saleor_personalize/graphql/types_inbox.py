"""A person's inbox and banners in the public graph: the same on all their devices, and nobody else's."""

from __future__ import annotations

from typing import Any, ClassVar, Self

import graphene
from django.utils import timezone
from graphql import GraphQLError

from saleor_personalize.enums import MessageEventKind
from saleor_personalize.events import rates
from saleor_personalize.events.callers import Caller
from saleor_personalize.graphql import types
from saleor_personalize.messaging import inbox as box
from saleor_personalize.models import InboxItem as Row

_WHOSE = {
    "user_id": graphene.ID(description="Server only: on behalf of this Saleor user."),
    "anonymous_id": graphene.String(description="Server only: on behalf of this visitor."),
}


class InboxItem(graphene.ObjectType):
    """A message of the shop to the caller. Its texts are plain text, in the language it was written in."""

    id = graphene.ID(required=True)
    title = graphene.String(required=True, description="May be empty.")
    text = graphene.String(required=True)
    link = graphene.String(description="Where it leads; always http or https.")
    image_url = graphene.String(description="Always https.")
    promo_code = graphene.String(description="A code of the caller's that it speaks of.")
    placement = graphene.String(description="Where it stands as a banner as well.")
    language_code = graphene.String(required=True, description='Such as "DE"; empty: unknown.')
    created_at = graphene.DateTime(required=True)
    expires_at = graphene.DateTime(required=True, description="It is not shown from then on.")
    is_read = graphene.Boolean(required=True)

    @staticmethod
    def resolve_id(root: Row, info: Any) -> str:
        return str(root.public_id)

    @staticmethod
    def resolve_link(root: Row, info: Any) -> str | None:
        return root.link or None

    @staticmethod
    def resolve_image_url(root: Row, info: Any) -> str | None:
        return root.image_url or None

    @staticmethod
    def resolve_promo_code(root: Row, info: Any) -> str | None:
        return root.promo_code or None

    @staticmethod
    def resolve_placement(root: Row, info: Any) -> str | None:
        return root.placement or None

    @staticmethod
    def resolve_language_code(root: Row, info: Any) -> str:
        return root.message.language_code

    @staticmethod
    def resolve_is_read(root: Row, info: Any) -> bool:
        return root.read_at is not None


class Inbox(graphene.ObjectType):
    """One page of the caller's inbox, newest first."""

    items = graphene.List(graphene.NonNull(InboxItem), required=True)
    unread_count = graphene.Int(required=True, description="Of the whole inbox, not of the page.")
    end_cursor = graphene.String(description="`after` of the next page; null on the last one.")

    @staticmethod
    def resolve_end_cursor(root: box.Page, info: Any) -> str | None:
        return root.end_cursor or None


class InboxQueries(graphene.ObjectType):
    """What the shop told the caller, to be read in the shop."""

    inbox = graphene.Field(
        Inbox,
        required=True,
        first=graphene.Int(default_value=types.DEFAULT_PAGE),
        after=graphene.String(),
        **_WHOSE,
        description="What the caller has not put away and has not expired.",
    )
    banners = graphene.List(
        graphene.NonNull(InboxItem),
        required=True,
        placement=graphene.String(required=True, description="Where on your pages."),
        first=graphene.Int(default_value=1),
        **_WHOSE,
        description="Items of the inbox that are meant for one place, newest first.",
    )

    @staticmethod
    def resolve_inbox(
        root: None,
        info: Any,
        first: int | None,
        after: str | None = None,
        user_id: str | None = None,
        anonymous_id: str | None = None,
    ) -> box.Page:
        profile = types.caller_of(info, user_id, anonymous_id).profile()
        if profile is None:
            return box.NOTHING
        return box.page(
            profile=profile,
            first=types.page(first),
            after=types.text(after) or "",
            now=timezone.now(),
        )

    @staticmethod
    def resolve_banners(
        root: None,
        info: Any,
        placement: str,
        first: int | None,
        user_id: str | None = None,
        anonymous_id: str | None = None,
    ) -> list[Row]:
        profile = types.caller_of(info, user_id, anonymous_id).profile()
        if profile is None or not types.text(placement):
            return []
        return box.page(
            profile=profile, first=types.page(first), placement=placement, now=timezone.now()
        ).items


class _Report:
    changed_count = graphene.Int(
        required=True, description="Items with which it was news; those of others are passed by."
    )
    unread_count = graphene.Int(required=True, description="Of the whole inbox, from now on.")


def _report(
    info: Any,
    kind: MessageEventKind,
    ids: list[str] | None,
    user_id: str | None,
    anonymous_id: str | None,
) -> dict[str, int]:
    caller: Caller = types.caller_of(info, user_id, anonymous_id)
    if ids is not None and len(ids) > box.MAX_ITEMS:
        raise GraphQLError(
            f"{len(ids)} items at once; {box.MAX_ITEMS} are allowed.",
            extensions={"code": "TOO_MANY_ITEMS"},
        )
    now = timezone.now()
    if not caller.shown:
        raise GraphQLError(
            "Say whose inbox this is: send X-Anonymous-Id or a customer's token.",
            extensions={"code": "UNAUTHENTICATED"},
        )
    if not caller.is_server and not rates.is_allowed(
        installation=caller.installation,
        shown=caller.shown,
        address=info.context.address,
        count=1,
        now=now,
    ):
        raise GraphQLError(
            "Too many changes in a minute. Try again later.", extensions={"code": "RATE_LIMITED"}
        )
    profile = caller.profile()
    if profile is None:
        return {"changed_count": 0, "unread_count": 0}
    changed = box.report(profile=profile, kind=kind, ids=ids, now=now)
    left = box.page(profile=profile, first=1, now=now).unread_count
    return {"changed_count": changed, "unread_count": left}


class _OfItems:
    ids = graphene.List(graphene.NonNull(graphene.ID), required=True)
    user_id = _WHOSE["user_id"]
    anonymous_id = _WHOSE["anonymous_id"]


class _ReportOfItems(_Report):
    """What the mutations share that name items: each says another thing of them."""

    kind: ClassVar[MessageEventKind]

    @classmethod
    def mutate(
        cls,
        root: None,
        info: Any,
        ids: list[str],
        user_id: str | None = None,
        anonymous_id: str | None = None,
    ) -> Self:
        return cls(**_report(info, cls.kind, ids, user_id, anonymous_id))


class InboxRead(_ReportOfItems, graphene.Mutation):
    """Say that items were read, on all devices. Doing it twice is harmless."""

    kind = MessageEventKind.READ

    class Arguments(_OfItems): ...


class InboxDismiss(_ReportOfItems, graphene.Mutation):
    """Put items away for good, on all devices; a banner goes with its item."""

    kind = MessageEventKind.DISMISSED

    class Arguments(_OfItems): ...


class InboxClick(_ReportOfItems, graphene.Mutation):
    """Say that the link of an item was followed; it is read by that."""

    kind = MessageEventKind.CLICKED

    class Arguments(_OfItems): ...


class InboxReadAll(_Report, graphene.Mutation):
    """Say that everything in the inbox was read."""

    class Arguments:
        user_id = _WHOSE["user_id"]
        anonymous_id = _WHOSE["anonymous_id"]

    @staticmethod
    def mutate(
        root: None, info: Any, user_id: str | None = None, anonymous_id: str | None = None
    ) -> InboxReadAll:
        return InboxReadAll(**_report(info, MessageEventKind.READ, None, user_id, anonymous_id))


class InboxMutations(graphene.ObjectType):
    """What shoppers do with what the shop told them."""

    inbox_read = InboxRead.Field(required=True)
    inbox_read_all = InboxReadAll.Field(required=True)
    inbox_dismiss = InboxDismiss.Field(required=True)
    inbox_click = InboxClick.Field(required=True)
