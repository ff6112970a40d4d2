"""A signed-in shopper takes their data along, or has it deleted."""

from __future__ import annotations

import json
from typing import Any

import graphene
from django.utils import timezone
from graphql import GraphQLError

from saleor_personalize.conf import settings
from saleor_personalize.enums import ErasureSource
from saleor_personalize.events import rates
from saleor_personalize.exceptions import AccessDenied
from saleor_personalize.models import Profile
from saleor_personalize.profiles import privacy
from saleor_personalize.profiles.privacy.readable import html
from saleor_personalize.tasks.broker import ask_for

_HOUR = 3600


class ProfileExport(graphene.ObjectType):
    """All that is known of the caller and that they proved to be theirs."""

    document = graphene.String(
        required=True, description="JSON, as docs/reference/data.md lists sections and keys."
    )
    html = graphene.String(required=True, description="The same as a page to read or to save.")

    @staticmethod
    def resolve_document(root: Any, info: Any) -> str:
        return json.dumps(root[1], ensure_ascii=False)

    @staticmethod
    def resolve_html(root: Any, info: Any) -> str:
        profile, document = root
        return html(document=document, installation=profile.installation)


class PrivacyQueries(graphene.ObjectType):
    """What a shopper has a right to."""

    profile_export = graphene.Field(
        ProfileExport,
        description="The signed-in caller's data; null while nothing is known. A few times an hour.",
    )

    @staticmethod
    def resolve_profile_export(root: None, info: Any) -> Any:
        profile = _own(info)
        if profile is None:
            return None
        return profile, privacy.export(profile=profile, now=timezone.now(), readable_only=True)


class ProfileErase(graphene.Mutation):
    """Delete what is known of the signed-in caller. It cannot be taken back.

    The account in Saleor stays: what it does afterwards is new. To end that too, delete it there.
    """

    reference = graphene.ID(
        description="Proves the erasure and tells nothing about the person; null: nothing was known."
    )

    @staticmethod
    def mutate(root: None, info: Any) -> ProfileErase:
        profile = _own(info)
        if profile is None:
            return ProfileErase(reference=None)
        done = privacy.erase(
            profile=profile, requested_by=ErasureSource.SHOPPER, now=timezone.now()
        )
        ask_for("personalize.sweep_erasures")
        return ProfileErase(reference=str(done.public_id))


class PrivacyMutations(graphene.ObjectType):
    """What a shopper may demand."""

    profile_erase = ProfileErase.Field(required=True)


def _own(info: Any) -> Profile | None:
    """Return the profile of the signed-in caller. Raises AccessDenied for everybody else."""
    caller = info.context.caller
    if not caller.user_id or caller.is_server:
        raise AccessDenied("Only a signed-in shopper: send their token.")
    if not rates.fits(
        installation=caller.installation,
        counters={f"privacy:{caller.user_id}": settings.PRIVACY_MAX_PER_HOUR},
        now=timezone.now(),
        window=_HOUR,
    ):
        raise GraphQLError(
            "Too many requests of this kind in an hour. Try again later.",
            extensions={"code": "RATE_LIMITED"},
        )
    found: Profile | None = caller.profile()
    return found
