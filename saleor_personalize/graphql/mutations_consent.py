"""Consent changed through the public graph: by anybody with an address, the signed-in, the shop's server."""

from __future__ import annotations

import re
from typing import Any

import graphene
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.utils import timezone
from graphql import GraphQLError

from saleor_personalize.conf import settings
from saleor_personalize.enums import ConsentState, DeliveryChannel, IdentityKind, Purpose
from saleor_personalize.events import rates
from saleor_personalize.exceptions import AccessDenied, CodeRefused
from saleor_personalize.graphql import types, types_consent
from saleor_personalize.messaging import opt_in, phone_codes, preferences
from saleor_personalize.profiles import consent, identity, phones
from saleor_personalize.tasks.broker import ask_for

_WORD = re.compile(r"[A-Za-z0-9_.:-]{0,60}")
_LANGUAGE = re.compile(r"[A-Za-z]{2,3}([-_][A-Za-z0-9]{1,8}){0,3}")
_ONE_PERSON = "Name one person: userId, anonymousId or email."
_COUNTRY = re.compile(r"[A-Za-z]{2}")


class Subscribe(graphene.Mutation):
    """Ask for messages with a form in the storefront. The answer is the same for every address.

    What it leads to is decided by the rule of the country: mostly a message with a link to confirm.
    """

    class Arguments:
        email = graphene.String(required=True)
        delivery_channel = graphene.Argument(
            types_consent.ConsentDeliveryChannel, default_value=DeliveryChannel.EMAIL.value
        )
        topics = graphene.List(
            graphene.NonNull(graphene.String), description="Keys of TOPICS; left out: all of them."
        )
        wording_version = graphene.String(description="Of the text beside the form.")
        language_code = graphene.String(description='In which to ask, e.g. "DE".')
        country_code = graphene.String(description="Two letters, if the storefront knows.")

    accepted = graphene.Boolean(required=True)

    @staticmethod
    def mutate(root: None, info: Any, email: str, delivery_channel: Any, **given: Any) -> Subscribe:
        address = read_address(email)
        if _value(delivery_channel) != DeliveryChannel.EMAIL:
            raise _refused("NOT_SUPPORTED", "A form can ask for messages by EMAIL only.")
        topics = [_topic(topic) for topic in given.get("topics") or []]
        words = read_words(given)
        caller, now = info.context.caller, timezone.now()
        if not caller.is_server and not rates.fits(
            installation=caller.installation,
            counters={
                f"subscribe:{rates.network(info.context.address)}": settings.SUBSCRIBE_MAX_PER_HOUR
            },
            now=now,
            window=3600,
        ):
            raise _refused("RATE_LIMITED", "Too many forms from this network. Try again later.")
        opt_in.subscribe(
            installation=caller.installation,
            address=address,
            topics=topics,
            visitor=caller.shown.get(IdentityKind.ANONYMOUS_ID, ""),
            now=now,
            **words,
        )
        ask_for("personalize.confirm_opt_ins")
        return Subscribe(accepted=True)


class ConsentUpdate(graphene.Mutation):
    """The signed-in shopper allows or refuses something. It holds for the whole person, at once."""

    class Arguments:
        purpose = graphene.Argument(types_consent.ConsentPurpose, required=True)
        delivery_channel = graphene.Argument(
            types_consent.ConsentDeliveryChannel, description="Left out for PROFILING."
        )
        topic = graphene.String(description="Key of TOPICS; left out: the whole purpose.")
        is_allowed = graphene.Boolean(required=True)
        wording_version = graphene.String(description="Of the text beside the switch.")
        language_code = graphene.String()
        phone = graphene.String(
            description="With a yes to SMS: the number to write to, as the shopper writes it. A code is sent there, "
            "and until `phoneConfirm` gets it nothing else is. Left out: that of their addresses in Saleor."
        )
        country_code = graphene.String(description="Of a number that is written without one.")

    state = graphene.Field(types_consent.ConsentAnswer, required=True)
    awaits_code = graphene.Boolean(
        required=True, description="`phone` has to be proved: `phoneConfirm` takes the code."
    )

    @staticmethod
    def mutate(root: None, info: Any, is_allowed: bool, **given: Any) -> ConsentUpdate:
        caller, now = info.context.caller, timezone.now()
        if not caller.user_id:
            raise AccessDenied("Only a signed-in shopper: send their token.")
        purpose, channel, topic = _subject(given)
        words = read_words(given)
        number = _number(given, channel, words["country_code"], is_allowed=is_allowed)
        profile = identity.resolve_profile(
            installation=caller.installation,
            shown={IdentityKind.SALEOR_USER: caller.user_id},
            now=now,
        )
        awaits_code = bool(number) and not phones.is_theirs(profile=profile, number=number)
        if (
            awaits_code
            and not phones.was_just_claimed(profile=profile, number=number, now=now)
            and phone_codes.had_enough(profile=profile, now=now)
        ):
            raise _refused("RATE_LIMITED", "Too many codes in an hour. Try again later.")
        state = preferences.update(
            profile=profile,
            choice=consent.Choice(purpose, channel, topic, is_allowed),
            now=now,
            language_code=words["language_code"],
            wording_version=words["wording_version"],
            number=number,
        )
        if channel == DeliveryChannel.SMS:
            ask_for("personalize.learn_phones")
        if awaits_code:
            ask_for("personalize.confirm_phones")
        return ConsentUpdate(state=_answer(state), awaits_code=awaits_code)


class ConsentRecord(graphene.Mutation):
    """Server only: record what a person said elsewhere. A recorded NO is never turned into a YES."""

    class Arguments:
        user_id = graphene.ID(description="The Saleor user who said it.")
        anonymous_id = graphene.String(description="The visitor who said it.")
        email = graphene.String(description="The address that it is about.")
        purpose = graphene.Argument(types_consent.ConsentPurpose, required=True)
        delivery_channel = graphene.Argument(
            types_consent.ConsentDeliveryChannel, description="Left out for PROFILING."
        )
        topic = graphene.String(description="Key of TOPICS; left out: the whole purpose.")
        is_allowed = graphene.Boolean(required=True)
        is_confirmed = graphene.Boolean(
            default_value=False,
            description="The owner of the address, or of `phone`, confirmed it to you: they are not asked again.",
        )
        source = graphene.String(default_value="server", description='Such as "till" or "hotline".')
        wording_version = graphene.String()
        language_code = graphene.String()
        country_code = graphene.String()
        phone = graphene.String(
            description="With a yes to SMS: the number to write to; without its country one of `countryCode`. Unless "
            "`isConfirmed`, a code is sent there, and nothing else until `phoneConfirm` gets it."
        )

    is_recorded = graphene.Boolean(required=True, description="False: it said so already, or no.")
    state = graphene.Field(types_consent.ConsentAnswer, description="What holds now.")

    @staticmethod
    def mutate(
        root: None,
        info: Any,
        is_allowed: bool,
        is_confirmed: bool,
        source: str,
        user_id: str | None = None,
        anonymous_id: str | None = None,
        email: str | None = None,
        **given: Any,
    ) -> ConsentRecord:
        if not info.context.caller.is_server:
            raise AccessDenied("Only a server with a server key may record for others.")
        caller = info.context.caller.speaking_of(
            user_id=types.text(user_id), anonymous_id=anonymous_id
        )
        shown = dict(caller.shown)
        if email:
            shown[IdentityKind.EMAIL] = read_address(email)
        if len(shown) != 1:
            raise _refused("BAD_REQUEST", _ONE_PERSON)
        purpose, channel, topic = _subject(given)
        if not source or not _WORD.fullmatch(source):
            raise _refused("INVALID_TEXT", "`source` takes 1 to 60 letters, digits, '_', '.', '-'.")
        words = read_words(given)
        is_recorded, state = preferences.record(
            installation=caller.installation,
            shown=shown,
            choice=consent.Choice(purpose, channel, topic, is_allowed),
            is_confirmed=is_confirmed,
            source=source,
            number=_number(given, channel, words["country_code"], is_allowed=is_allowed),
            now=timezone.now(),
            **words,
        )
        if channel == DeliveryChannel.SMS:
            ask_for("personalize.learn_phones")
            ask_for("personalize.confirm_phones")
        ask_for("personalize.confirm_opt_ins")
        return ConsentRecord(is_recorded=is_recorded, state=_answer(state))


class PhoneConfirm(graphene.Mutation):
    """Prove that a number is yours by the code that was sent there; the yes that came with it counts from now on.

    The signed-in shopper, for the number that they gave last; the shop's server names one person.
    """

    class Arguments:
        code = graphene.String(
            required=True, description="Six digits, as they stand in the message."
        )
        user_id = graphene.ID(description="Server only.")
        anonymous_id = graphene.String(description="Server only.")
        email = graphene.String(description="Server only.")

    is_confirmed = graphene.Boolean(required=True, description="True; all else is an error.")

    @staticmethod
    def mutate(
        root: None,
        info: Any,
        code: str,
        user_id: str | None = None,
        anonymous_id: str | None = None,
        email: str | None = None,
    ) -> PhoneConfirm:
        caller, now = info.context.caller, timezone.now()
        if not caller.is_server and (anonymous_id or email or not caller.user_id):
            raise AccessDenied("Only a signed-in shopper, or a server with a server key.")
        shown = {IdentityKind.SALEOR_USER: caller.user_id}
        if caller.is_server or user_id:
            speaking = caller.speaking_of(user_id=types.text(user_id), anonymous_id=anonymous_id)
            shown = dict(speaking.shown)
            if email:
                shown[IdentityKind.EMAIL] = read_address(email)
            if len(shown) != 1:
                raise _refused("BAD_REQUEST", _ONE_PERSON)
        profile = identity.resolve_profile(installation=caller.installation, shown=shown, now=now)
        try:
            phone_codes.confirm(profile=profile, code=str(types.text(code)), now=now)
        except CodeRefused as error:
            raise _refused(
                "CODE_EXPIRED" if error.is_over else "INVALID_CODE", str(error)
            ) from None
        return PhoneConfirm(is_confirmed=True)


class ConsentMutations(graphene.ObjectType):
    """Who may be written to, and observed."""

    subscribe = Subscribe.Field(required=True)
    consent_update = ConsentUpdate.Field(required=True)
    consent_record = ConsentRecord.Field(required=True)
    phone_confirm = PhoneConfirm.Field(required=True)


def _subject(given: dict[str, Any]) -> tuple[Purpose, str, str]:
    purpose = Purpose(_value(given["purpose"]))
    channel = _value(given.get("delivery_channel") or "")
    topic = _topic(given["topic"]) if given.get("topic") else ""
    if purpose == Purpose.PROFILING and (channel or topic):
        raise _refused("BAD_REQUEST", "PROFILING has neither deliveryChannel nor topic.")
    if purpose == Purpose.MARKETING and not channel:
        raise _refused("BAD_REQUEST", "MARKETING needs deliveryChannel.")
    return purpose, channel, topic


def _number(given: dict[str, Any], channel: str, country_code: str, *, is_allowed: bool) -> str:
    """Return the number (E.164) that a yes to text messages names, or ""."""
    text = types.text(given.get("phone") or "")
    if not text:
        return ""
    if channel != DeliveryChannel.SMS or not is_allowed:
        raise _refused("BAD_REQUEST", "`phone` goes with a yes to SMS.")
    number = phones.read(str(text), country_code=country_code)
    if number is None:
        raise _refused(
            "INVALID_PHONE",
            "`phone` is no number that gets text messages: write it with its country (+49...), or send "
            "`countryCode`.",
        )
    return number


def _answer(state: ConsentState | None) -> str | None:
    return None if state is None else str(state.value)


def _value(given: Any) -> str:
    return str(given.value if hasattr(given, "value") else given)


def _topic(topic: str) -> str:
    if topic not in settings.TOPICS:
        raise _refused("UNKNOWN_TOPIC", f"Known topics: {', '.join(settings.TOPICS)}.")
    return topic


def read_address(email: str) -> str:
    address = str(types.text(email)).strip()
    try:
        validate_email(address)
    except ValidationError:
        raise _refused("INVALID_EMAIL", "`email` is no e-mail address.") from None
    return address


def read_words(given: dict[str, Any]) -> dict[str, str]:
    """Read what the storefront tells of the text and the place; what means nothing is refused."""
    words = {
        "wording_version": (_WORD, "wordingVersion"),
        "language_code": (_LANGUAGE, "languageCode"),
        "country_code": (_COUNTRY, "countryCode"),
    }
    read = {}
    for name, (pattern, outside) in words.items():
        value = given.get(name) or ""
        if value and not pattern.fullmatch(value):
            raise _refused("INVALID_TEXT", f"`{outside}` cannot be read.")
        read[name] = value
    return read


def _refused(code: str, message: str) -> GraphQLError:
    return GraphQLError(message, extensions={"code": code})
