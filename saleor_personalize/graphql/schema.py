"""The schema: each field calls one operation."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import graphene
from django.utils import timezone
from graphene.utils.str_converters import to_camel_case
from graphql import GraphQLError

from saleor_personalize.conf import settings
from saleor_personalize.enums import EventType
from saleor_personalize.events import rates, refused, sessions, tracking
from saleor_personalize.graphql import (
    federation,
    mutations_consent,
    mutations_favourites,
    types,
    types_devices,
    types_experiments,
    types_groups,
    types_hints,
    types_inbox,
    types_merchandising,
    types_offers,
    types_pages,
    types_privacy,
    types_recommendations,
    types_reports,
    types_segments,
    types_stock_alerts,
)


class Query(
    types_recommendations.RecommendationQueries,
    types_groups.GroupQueries,
    types_hints.HintQueries,
    types_inbox.InboxQueries,
    types_experiments.ExperimentQueries,
    types_reports.ReportQueries,
    types_pages.PageQueries,
    types_segments.SegmentQueries,
    types_merchandising.MerchandisingQueries,
    mutations_favourites.FavouriteQueries,
    types_privacy.PrivacyQueries,
    types_offers.OfferQueries,
    types_stock_alerts.StockAlertQueries,
    federation.FederationQueries,
    graphene.ObjectType,
):
    """Questions of a storefront, and of the shop's servers."""

    profile = graphene.Field(
        types.Profile,
        description="The caller's own profile; null while nothing is known.",
        user_id=graphene.ID(description="Server only: the profile of this Saleor user."),
        anonymous_id=graphene.String(description="Server only: the profile of this visitor."),
    )

    @staticmethod
    def resolve_profile(
        root: None,
        info: graphene.ResolveInfo,
        user_id: str | None = None,
        anonymous_id: str | None = None,
    ) -> Any:
        caller = types.caller_of(info, user_id, anonymous_id)
        profile = caller.profile()
        return (profile, caller.user_id) if profile else None


class TrackEventInput(graphene.InputObjectType):
    """One thing that happened in a storefront."""

    id = graphene.String(required=True, description="Unique per event: sent twice, counted once.")
    type = graphene.Field(types.TrackEventType, required=True)
    occurred_at = graphene.DateTime(description="When; by default now.")
    channel = graphene.String(description="Slug of the sales channel.")
    session_id = graphene.String(description="The visit it belongs to.")
    product_id = graphene.ID(description="Global id of the product.")
    variant_id = graphene.ID(description="Global id of the variant.")
    category_id = graphene.ID(description="Global id of the category.")
    query = graphene.String(description="What was searched for.")
    list_id = graphene.String(description="Which list: a collection's id, or a name of your own.")
    page_id = graphene.ID(
        description="Global id of the content page, where that was recommended instead of a product."
    )
    placement = graphene.String(description="Where the recommendation was shown.")
    slot = graphene.Int(description="Which place of the placement, from 1.")
    attribution_id = graphene.String(
        description="Of the recommendation that led to it; tells placement and channel by itself."
    )
    name = graphene.String(description="Name of a CUSTOM event.")
    properties = graphene.String(
        description="Further values of a CUSTOM event: a flat JSON object, as text."
    )


class TrackUtmInput(graphene.InputObjectType):
    """The campaign that led here."""

    source = graphene.String()
    medium = graphene.String()
    campaign = graphene.String()
    term = graphene.String()
    content = graphene.String()


class TrackSessionInput(graphene.InputObjectType):
    """The visit that all events of a call belong to. What means nothing is left out."""

    id = graphene.String(description="Chosen by the storefront; new after half an hour of rest.")
    device_type = graphene.String(description="mobile, tablet, desktop, app or other.")
    referrer_host = graphene.String(
        description="Where the visitor came from; only the host is kept."
    )
    utm = graphene.Field(TrackUtmInput)
    country_code = graphene.String(description="Two letters.")
    language_code = graphene.String()
    channel = graphene.String(description="Slug of the sales channel.")
    currency = graphene.String(description="Three letters.")
    local_hour = graphene.Int(description="Hour of the day where the visitor is, 0 to 23.")
    time_zone = graphene.String(
        description="Where the device's clock is, such as America/New_York: quiet hours go by it."
    )


class TrackError(graphene.ObjectType):
    """Why an event was rejected."""

    code = graphene.String(required=True)
    field = graphene.String(required=True, description="What to mend, as you sent it.")
    message = graphene.String(required=True)


class TrackResult(graphene.ObjectType):
    """What became of one event, in the order sent."""

    index = graphene.Int(required=True)
    id = graphene.String(required=True)
    status = graphene.Field(types.TrackStatus, required=True)
    error = graphene.Field(TrackError)


class Track(graphene.Mutation):
    """Record what happened in a storefront; every event is answered."""

    class Arguments:
        events = graphene.List(graphene.NonNull(TrackEventInput), required=True)
        consent = graphene.Boolean(
            default_value=True,
            description="False: the visitor refused tracking; nothing is stored.",
        )
        session = graphene.Argument(TrackSessionInput)
        checkout_id = graphene.ID(
            description="The cart in hand: its order tells whose this browser is."
        )
        user_id = graphene.ID(description="Server only: on behalf of this Saleor user.")
        anonymous_id = graphene.String(description="Server only: on behalf of this visitor.")

    results = graphene.List(graphene.NonNull(TrackResult), required=True)

    @staticmethod
    def mutate(
        root: None,
        info: graphene.ResolveInfo,
        events: list[Any],
        consent: bool,
        session: Any = None,
        user_id: str | None = None,
        anonymous_id: str | None = None,
        checkout_id: str | None = None,
    ) -> Track:
        caller = types.caller_of(info, user_id, anonymous_id).showing(types.text(checkout_id) or "")
        if len(events) > settings.TRACK_MAX_EVENTS:
            raise GraphQLError(
                f"{len(events)} events at once; {settings.TRACK_MAX_EVENTS} are allowed.",
                extensions={"code": "TOO_MANY_EVENTS"},
            )
        if not consent or info.context.refuses_tracking:
            return Track(
                results=[
                    {"index": i, "id": event.id[:100], "status": tracking.RowStatus.IGNORED.value}
                    for i, event in enumerate(events)
                ]
            )
        if not caller.shown:
            raise GraphQLError(
                "Say whose events these are: send X-Anonymous-Id or a customer's token.",
                extensions={"code": "UNAUTHENTICATED"},
            )
        now = timezone.now()
        if not caller.is_server and not rates.is_allowed(
            installation=caller.installation,
            shown=caller.shown,
            address=info.context.address,
            # Without events a call still tells whose a cart is.
            count=max(1, len(events)),
            now=now,
        ):
            raise GraphQLError(
                "Too many events in a minute. Send them again later.",
                extensions={"code": "RATE_LIMITED"},
            )
        context, _ = sessions.read(
            {to_camel_case(name): value for name, value in (session or {}).items()},
            user_agent="" if caller.is_server else info.context.user_agent,
            accepted_languages="" if caller.is_server else info.context.accepted_languages,
        )
        rows = [_row(event) for event in events]
        results = tracking.track(
            installation=caller.installation,
            shown=caller.shown,
            rows=rows,
            source=caller.source,
            now=now,
            context=context,
        )
        refused.note(
            installation=caller.installation,
            source=caller.source,
            shown=caller.shown,
            refusals=[
                refused.Refusal(
                    code=result.code,
                    message=result.message,
                    field=result.field,
                    type=row.type.value,
                    sent={to_camel_case(name): value for name, value in event.items()},
                )
                for event, row, result in zip(events, rows, results, strict=True)
                if result.status == tracking.RowStatus.REJECTED
            ],
            now=now,
        )
        return Track(
            results=[
                {
                    "index": index,
                    "id": result.event_id,
                    "status": result.status.value,
                    "error": result if result.code else None,
                }
                for index, result in enumerate(results)
            ]
        )


def _row(event: Any) -> tracking.Row:
    properties = {
        name: value
        for name in tracking.PROPERTIES.values()
        if (value := event.get(name)) not in (None, "")
    }
    if "properties" in properties:
        # What is no JSON stays a text, which `track` rejects.
        with contextlib.suppress(ValueError, RecursionError):
            properties["properties"] = json.loads(properties["properties"])
    return tracking.Row(
        event_id=event.id,
        type=EventType(event.type.value if hasattr(event.type, "value") else event.type),
        occurred_at=types.aware(moment) if (moment := event.get("occurred_at")) else None,
        channel_slug=event.get("channel") or "",
        session_id=event.get("session_id") or "",
        product_id=event.get("product_id") or "",
        properties=properties,
    )


class Mutation(
    types_segments.SegmentMutations,
    types_merchandising.MerchandisingMutations,
    mutations_consent.ConsentMutations,
    mutations_favourites.FavouriteMutations,
    types_privacy.PrivacyMutations,
    types_hints.HintMutations,
    types_inbox.InboxMutations,
    types_devices.DeviceMutations,
    types_stock_alerts.StockAlertMutations,
    graphene.ObjectType,
):
    """What a storefront reports, and what the shop's servers change."""

    track = Track.Field(required=True)


schema = graphene.Schema(query=Query, mutation=Mutation)
