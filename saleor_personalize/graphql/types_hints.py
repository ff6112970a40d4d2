"""What is worth saying on a page, and what became of it."""

from __future__ import annotations

from typing import Any

import graphene
from django.utils import timezone, translation
from graphql import GraphQLError

from saleor_personalize import enums
from saleor_personalize.events import rates
from saleor_personalize.events.callers import Caller
from saleor_personalize.graphql import types
from saleor_personalize.hints import service
from saleor_personalize.hints.base import Hint, Question


def _enum(name: str, members: type[enums.HintKind | enums.HintPage], about: str) -> Any:
    return graphene.Enum(
        name,
        [(member.name, member.value) for member in members],
        description=lambda value: members(value.value).label if value else about,
    )


HintKind = _enum("HintKind", enums.HintKind, "What a hint says.")
HintReasonCode = _enum("HintReasonCode", enums.HintReason, "Why a hint is given.")  # type: ignore[arg-type]
HintPage = _enum("HintPage", enums.HintPage, "The kind of page that asks.")
HintAction = _enum("HintAction", enums.HintAction, "What became of a hint.")  # type: ignore[arg-type]

_WHOSE = {
    "user_id": graphene.ID(description="Server only: on behalf of this Saleor user."),
    "anonymous_id": graphene.String(description="Server only: on behalf of this visitor."),
}


class OnSiteHintReason(graphene.ObjectType):
    """Why a hint is given; true, and without a name."""

    code = graphene.Field(HintReasonCode, required=True)
    text = graphene.String(required=True)


class OnSiteHintLine(graphene.ObjectType):
    """Something in a cart that can be bought now."""

    product_id = graphene.ID(required=True)
    variant_id = graphene.ID(required=True)
    quantity = graphene.Int(required=True)


class OnSiteHint(graphene.ObjectType):
    """Something worth saying on a page. Fields that do not belong to its kind are null or empty."""

    id = graphene.ID(required=True, description="For `hintReport`. The same on every page.")
    kind = graphene.Field(HintKind, required=True)
    text = graphene.String(required=True, description="One sentence in the shopper's language.")
    reason = graphene.Field(OnSiteHintReason, required=True)
    show_after_seconds = graphene.Int(
        required=True, description="How long the page is left alone before; 0: at once."
    )
    show_on_exit = graphene.Boolean(
        required=True, description="Show it earlier when somebody is about to leave."
    )
    checkout_id = graphene.ID(description="The cart that it speaks of.")
    lines = graphene.List(graphene.NonNull(OnSiteHintLine), required=True)
    remaining = graphene.Field(
        types.PersonalizeMoney, description="What is missing until delivery is free."
    )
    threshold = graphene.Field(
        types.PersonalizeMoney, description="The subtotal from which on delivery is free."
    )
    placement = graphene.String(description="Recommendations to show beside it.")
    voucher_code = graphene.String(description="For `checkoutAddPromoCode`, once it was seen.")
    deadline = graphene.DateTime(
        description="When the offer ends, by the server's clock; a reload moves nothing."
    )

    @staticmethod
    def resolve_reason(root: Hint, info: Any) -> dict[str, str]:
        return {"code": root.reason.value, "text": root.reason_text}

    @staticmethod
    def resolve_kind(root: Hint, info: Any) -> str:
        return root.kind.value

    @staticmethod
    def resolve_checkout_id(root: Hint, info: Any) -> str | None:
        return root.checkout_id or None

    @staticmethod
    def resolve_remaining(root: Hint, info: Any) -> Any:
        return _money(root.remaining)

    @staticmethod
    def resolve_threshold(root: Hint, info: Any) -> Any:
        return _money(root.threshold)

    @staticmethod
    def resolve_placement(root: Hint, info: Any) -> str | None:
        return root.placement or None

    @staticmethod
    def resolve_voucher_code(root: Hint, info: Any) -> str | None:
        return root.voucher_code or None


def _money(money: Any) -> dict[str, Any] | None:
    return None if money is None else {"amount": float(money.amount), "currency": money.currency}


class HintQueries(graphene.ObjectType):
    """What to say on a page."""

    hints = graphene.List(
        graphene.NonNull(OnSiteHint),
        required=True,
        channel=graphene.String(required=True, description="Slug of the sales channel."),
        page=graphene.Argument(HintPage, required=True),
        checkout_id=graphene.ID(description="The cart in hand."),
        country_code=graphene.String(description="Where to deliver, as far as known; two letters."),
        language_code=graphene.String(),
        **_WHOSE,
        description="What is worth saying on this page now; at most one that interrupts.",
    )

    @staticmethod
    def resolve_hints(
        root: None,
        info: Any,
        channel: str,
        page: Any,
        checkout_id: str | None = None,
        country_code: str | None = None,
        language_code: str | None = None,
        user_id: str | None = None,
        anonymous_id: str | None = None,
    ) -> list[Hint]:
        caller = types.caller_of(info, user_id, anonymous_id)
        spoken = types.language(language_code)
        question = _question(
            info, caller, channel, page, types.text(checkout_id) or "", country_code, spoken
        )
        with translation.override(spoken):
            return service.hints(question=question)


class HintReport(graphene.Mutation):
    """Tell what became of a hint. An offer of the checkout begins when it is seen: show it as it comes back."""

    class Arguments:
        id = graphene.ID(required=True)
        action = graphene.Argument(HintAction, required=True)
        channel = graphene.String(required=True, description="Slug of the sales channel.")
        language_code = graphene.String()
        user_id = _WHOSE["user_id"]
        anonymous_id = _WHOSE["anonymous_id"]

    is_recorded = graphene.Boolean(
        required=True, description="False: nothing may be kept of the caller, or nothing is meant."
    )
    hint = graphene.Field(OnSiteHint, description="The offer that runs now; null for other hints.")

    @staticmethod
    def mutate(
        root: None,
        info: Any,
        id: str,  # noqa: A002 (the argument's name)
        action: Any,
        channel: str,
        language_code: str | None = None,
        user_id: str | None = None,
        anonymous_id: str | None = None,
    ) -> HintReport:
        caller = types.caller_of(info, user_id, anonymous_id)
        now = timezone.now()
        if not caller.is_server and not rates.is_allowed(
            installation=caller.installation,
            shown=caller.shown,
            address=info.context.address,
            count=1,
            now=now,
        ):
            raise GraphQLError(
                "Too many reports in a minute. Try again later.",
                extensions={"code": "RATE_LIMITED"},
            )
        spoken = types.language(language_code)
        question = _question(info, caller, channel, enums.HintPage.CHECKOUT.value, "", None, spoken)
        with translation.override(spoken):
            is_recorded, hint = service.report(
                question=question,
                hint_id=str(types.text(id)),
                action=enums.HintAction(_value(action)),
            )
        return HintReport(is_recorded=is_recorded, hint=hint)


class HintMutations(graphene.ObjectType):
    """What became of what was said."""

    hint_report = HintReport.Field(required=True)


def _question(
    info: Any,
    caller: Caller,
    channel: str,
    page: Any,
    checkout_id: str,
    country_code: str | None,
    spoken: str | None,
) -> Question:
    shown = caller.showing(checkout_id).shown
    return Question(
        installation=caller.installation,
        channel_slug=types.text(channel) or "",
        page=enums.HintPage(_value(page)),
        now=timezone.now(),
        profile=None if info.context.refuses_tracking else caller.profile(),
        shown=shown,
        checkout_id=checkout_id,
        country_code=(types.text(country_code) or "")[:2],
        language_code=spoken or "",
    )


def _value(member: Any) -> str:
    return str(getattr(member, "value", member))
