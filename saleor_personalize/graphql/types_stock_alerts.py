"""Waiting for sold-out variants in the public graph, and what a variant costs and cost."""

from __future__ import annotations

from typing import Any

import graphene
from django.utils import timezone

from saleor_personalize.alerts import operations, queries
from saleor_personalize.alerts.operations import AlertRefused, Words
from saleor_personalize.catalog import prices
from saleor_personalize.conf import settings
from saleor_personalize.enums import IdentityKind, StockAlertStatus
from saleor_personalize.events import rates
from saleor_personalize.events.callers import Caller
from saleor_personalize.exceptions import InvalidToken
from saleor_personalize.graphql import types
from saleor_personalize.graphql.mutations_consent import read_address, read_words
from saleor_personalize.messaging import links
from saleor_personalize.models import StockAlert
from saleor_personalize.tasks.broker import ask_for

StockAlertState = graphene.Enum(
    "StockAlertState",
    [(status.name, status.value) for status in StockAlertStatus],
    description=lambda value: StockAlertStatus(value.value).label if value else "How far it is.",
)
_SERVER_USER = "Server only: of this Saleor user."
#: Tokens in one question.
_MOST_TOKENS = 20


class BackInStockAlert(graphene.ObjectType):
    """Somebody waits for one variant in one sales channel."""

    id = graphene.ID(required=True)
    variant_id = graphene.ID(required=True)
    product_id = graphene.ID(required=True)
    channel = graphene.String(required=True, description="Slug of the sales channel.")
    state = graphene.Field(
        StockAlertState,
        required=True,
        description="By a token PENDING also stands for CONFIRMED: nobody learns what an address allowed.",
    )
    created_at = graphene.DateTime(required=True)
    expires_at = graphene.DateTime(required=True)


class StockAlertError(graphene.ObjectType):
    """Why nothing was changed."""

    code = graphene.String(required=True)
    field = graphene.String(description="The argument to mend.")
    message = graphene.String(required=True)


class VariantPriceNow(graphene.ObjectType):
    """What a variant costs without a voucher, promotions included, as it was entered in Saleor."""

    price = graphene.Field(types.PersonalizeMoney, required=True)
    since = graphene.DateTime(description="When it came to cost that, as far as we know.")
    lowest_price_before = graphene.Field(
        types.PersonalizeMoney,
        description="The lowest price of the 30 days before that: to be shown beside a reduction.",
    )


def _told(alert: StockAlert, *, is_own: bool) -> dict[str, Any]:
    state = queries.status(alert, timezone.now())
    if not is_own and state == StockAlertStatus.CONFIRMED:
        state = StockAlertStatus.PENDING
    return {
        "id": alert.public_id.hex,
        "variant_id": alert.variant_saleor_id,
        "product_id": alert.product_saleor_id,
        "channel": alert.channel_slug,
        "state": state.value,
        "created_at": alert.created_at,
        "expires_at": alert.expires_at,
    }


class StockAlertQueries(graphene.ObjectType):
    """Who waits for what, and what things cost."""

    stock_alerts = graphene.List(
        graphene.NonNull(BackInStockAlert),
        required=True,
        tokens=graphene.List(
            graphene.NonNull(graphene.String),
            description="Of a guest's sign-ups, as `stockAlertRequest` gave them; at most 20.",
        ),
        user_id=graphene.ID(description=_SERVER_USER),
        description="What the caller still waits for, newest first.",
    )
    variant_price = graphene.Field(
        VariantPriceNow,
        variant_id=graphene.ID(required=True),
        channel=graphene.String(required=True),
        description="What a variant costs, and its lowest price before; null when it has no price.",
    )

    @staticmethod
    def resolve_stock_alerts(
        root: None, info: Any, tokens: list[str] | None = None, user_id: str | None = None
    ) -> list[dict[str, Any]]:
        caller, now = types.caller_of(info, user_id), timezone.now()
        found: dict[int, dict[str, Any]] = {}
        profile = caller.profile() if caller.user_id else None
        if profile is not None:
            for alert in queries.mine(profile=profile, now=now):
                found[alert.pk] = _told(alert, is_own=True)
        for token in (tokens or [])[:_MOST_TOKENS]:
            for alert in _of_token(caller, token):
                found.setdefault(alert.pk, _told(alert, is_own=False))
        return list(found.values())

    @staticmethod
    def resolve_variant_price(root: None, info: Any, variant_id: str, channel: str) -> Any:
        found = prices.price_of(
            installation=info.context.caller.installation,
            variant_id=str(types.text(variant_id)),
            channel_slug=str(types.text(channel)),
        )
        if found is None:
            return None
        lowest = found.lowest_before
        return {
            "price": _money(found.amount, found.currency),
            "since": found.since,
            "lowest_price_before": None if lowest is None else _money(lowest, found.currency),
        }


def _money(amount: Any, currency: str) -> dict[str, Any]:
    return {"amount": float(amount), "currency": currency}


def _of_token(caller: Caller, token: str) -> list[StockAlert]:
    try:
        return queries.of_token(
            token=token[:1_000], now=timezone.now(), installation=caller.installation
        )
    except InvalidToken:
        return []


class StockAlertRequest(graphene.Mutation):
    """Ask to be told when a sold-out variant is back: as who is signed in, or with an address.

    The answer is the same for every address. Mostly its owner is asked to confirm first.
    """

    class Arguments:
        variant_id = graphene.ID(required=True)
        channel = graphene.String(required=True, description="Slug of the sales channel.")
        email = graphene.String(description="Of a guest; who is signed in needs none.")
        language_code = graphene.String(description='In which to write, e.g. "DE".')
        country_code = graphene.String(description="Two letters, if the storefront knows.")
        wording_version = graphene.String(description="Of the text beside the form.")
        user_id = graphene.ID(description="Server only: on behalf of this Saleor user.")

    alert = graphene.Field(BackInStockAlert)
    token = graphene.String(description="Keep it: with it a guest sees and cancels the sign-up.")
    errors = graphene.List(graphene.NonNull(StockAlertError), required=True)

    @staticmethod
    def mutate(
        root: None,
        info: Any,
        variant_id: str,
        channel: str,
        email: str | None = None,
        user_id: str | None = None,
        **given: Any,
    ) -> StockAlertRequest:
        caller, now = types.caller_of(info, user_id), timezone.now()
        is_own = bool(caller.user_id) and not email
        if not is_own and not email:
            return _refused("NO_EMAIL", "Sign in, or say which address to write to.", "email")
        address = "" if is_own else read_address(str(email))
        if not caller.is_server and not rates.fits(
            installation=caller.installation,
            counters={
                f"stock_alert:{rates.network(info.context.address)}": settings.STOCK_ALERT_MAX_PER_HOUR
            },
            now=now,
            window=3600,
        ):
            return _refused("RATE_LIMITED", "Too many sign-ups from this network. Try again later.")
        try:
            alert = operations.request(
                installation=caller.installation,
                variant_id=str(types.text(variant_id)),
                channel_slug=str(types.text(channel)),
                user_id=caller.user_id if is_own else "",
                address=address,
                visitor=info.context.caller.shown.get(IdentityKind.ANONYMOUS_ID, ""),
                words=Words(**read_words(given)),
                now=now,
            )
        except AlertRefused as refusal:
            return _refused(refusal.code, str(refusal), refusal.field)
        ask_for("personalize.confirm_opt_ins")
        return StockAlertRequest(
            alert=_told(alert, is_own=is_own), token=links.stock_alert_token(alert), errors=[]
        )


def _refused(code: str, message: str, field: str = "") -> StockAlertRequest:
    error = {"code": code, "field": field or None, "message": message}
    return StockAlertRequest(alert=None, token=None, errors=[error])


class StockAlertCancel(graphene.Mutation):
    """Wait no longer: by the id of one's own sign-up, or by a token. Doing it twice is harmless."""

    class Arguments:
        id = graphene.ID(description="Of a sign-up of the signed-in caller.")
        token = graphene.String(description="Of a guest's sign-up.")
        user_id = graphene.ID(description="Server only: on behalf of this Saleor user.")

    count = graphene.Int(required=True, description="How many sign-ups ended by it.")

    @staticmethod
    def mutate(
        root: None,
        info: Any,
        id: str | None = None,  # noqa: A002 (the argument's name)
        token: str | None = None,
        user_id: str | None = None,
    ) -> StockAlertCancel:
        caller, now = types.caller_of(info, user_id), timezone.now()
        found = _of_token(caller, token) if token else []
        profile = caller.profile() if caller.user_id and id else None
        if profile is not None:
            own = queries.mine(profile=profile, now=now)
            found += [alert for alert in own if alert.public_id.hex == id]
        return StockAlertCancel(count=operations.cancel(alerts=found, now=now))


class StockAlertMutations(graphene.ObjectType):
    """Waiting for sold-out variants."""

    stock_alert_request = StockAlertRequest.Field(required=True)
    stock_alert_cancel = StockAlertCancel.Field(required=True)
