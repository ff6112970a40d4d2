"""Devices that take push, in the public graph: registered by whoever holds one, unbound at sign-out."""

from __future__ import annotations

from typing import Any

import graphene
from django.utils import timezone

from saleor_personalize.enums import DeliveryChannel, DevicePlatform, Purpose
from saleor_personalize.events import rates
from saleor_personalize.events.callers import Caller
from saleor_personalize.exceptions import DeviceRefused
from saleor_personalize.graphql import types, types_consent
from saleor_personalize.graphql.mutations_consent import read_words
from saleor_personalize.messaging import outcomes
from saleor_personalize.models import Device
from saleor_personalize.profiles import consent, devices

#: Devices that one network address may register and unbind in a minute.
MAX_PER_MINUTE = 120
_TOO_FAST = {"code": "RATE_LIMITED", "field": None, "message": "Try again in a minute."}

PushPlatform = graphene.Enum(
    "PushPlatform",
    [(platform.name, platform.value) for platform in DevicePlatform],
    description=lambda value: DevicePlatform(value.value).label if value else "What it runs on.",
)


class PushDevice(graphene.ObjectType):
    """An app or a browser that takes push."""

    id = graphene.ID(required=True)
    platform = graphene.Field(PushPlatform, required=True)
    app = graphene.String(required=True, description="Empty: the shop has one.")
    is_signed_in = graphene.Boolean(
        required=True,
        description="False: it was registered without a customer's token. It gets messages only while "
        "nobody is known to have signed in; register it again after sign-in.",
    )
    registered_at = graphene.DateTime(required=True, description="Since when it is the caller's.")
    last_seen_at = graphene.DateTime(required=True)

    @staticmethod
    def resolve_id(root: Device, info: Any) -> str:
        return root.public_id.hex

    @staticmethod
    def resolve_platform(root: Device, info: Any) -> str:
        return str(root.platform)

    @staticmethod
    def resolve_is_signed_in(root: Device, info: Any) -> bool:
        return root.is_proven


class PushDeviceError(graphene.ObjectType):
    """Why nothing was changed."""

    code = graphene.String(required=True)
    field = graphene.String(description="The argument to mend.")
    message = graphene.String(required=True)


class RegisterDevice(graphene.Mutation):
    """Say that the caller holds this device: at each start of the app, when Firebase gives a new token, and
    after signing in. A device of somebody else becomes the caller's. Twice is harmless.
    """

    class Arguments:
        token = graphene.String(required=True, description="As the Firebase SDK gave it.")
        platform = graphene.Argument(PushPlatform, required=True)
        app = graphene.String(description="Name of the app, where the shop has several.")
        language_code = graphene.String(description='Of the app, e.g. "DE".')
        allows_marketing = graphene.Boolean(
            description="What the person said to offers and reminders by push; left out: nothing new. "
            "The operating system's own question is none of ours."
        )
        wording_version = graphene.String(description="Of the text beside that switch.")
        user_id = graphene.ID(description="Server only: on behalf of this Saleor user.")
        anonymous_id = graphene.String(description="Server only: on behalf of this visitor.")

    device = graphene.Field(PushDevice)
    marketing = graphene.Field(
        types_consent.ConsentAnswer,
        description="What holds for offers and reminders by push; null: never asked. None go without GRANTED.",
    )
    errors = graphene.List(graphene.NonNull(PushDeviceError), required=True)

    @staticmethod
    def mutate(
        root: None,
        info: Any,
        token: str,
        platform: Any,
        app: str | None = None,
        allows_marketing: bool | None = None,
        user_id: str | None = None,
        anonymous_id: str | None = None,
        **given: Any,
    ) -> RegisterDevice:
        caller, now = types.caller_of(info, user_id, anonymous_id), timezone.now()
        words = read_words(given)
        if not caller.shown:
            return _refused(
                "UNAUTHENTICATED",
                "Say whose device this is: send a customer's token or X-Anonymous-Id.",
            )
        if _is_too_fast(info, caller):
            return _refused("RATE_LIMITED", "Too many devices in a minute. Try again later.")
        try:
            device = devices.register(
                installation=caller.installation,
                shown=caller.shown,
                token=token,
                platform=DevicePlatform(platform.value if hasattr(platform, "value") else platform),
                is_proven=bool(caller.user_id) or caller.is_server,
                now=now,
                app=types.text(app) or "",
                language_code=words["language_code"],
            )
        except DeviceRefused as refusal:
            return _refused("INVALID", str(refusal), refusal.field)
        if allows_marketing is not None:
            devices.allow(
                device=device,
                is_allowed=allows_marketing,
                now=now,
                language_code=words["language_code"],
                wording_version=words["wording_version"],
            )
        state = consent.Standing(device.profile).state(Purpose.MARKETING, DeliveryChannel.PUSH)
        return RegisterDevice(
            device=device, marketing=None if state is None else state.value, errors=[]
        )


def _refused(code: str, message: str, field: str = "") -> RegisterDevice:
    error = {"code": code, "field": field or None, "message": message}
    return RegisterDevice(device=None, marketing=None, errors=[error])


def _is_too_fast(info: Any, caller: Caller) -> bool:
    return not caller.is_server and not rates.fits(
        installation=caller.installation,
        counters={f"devices:{rates.network(info.context.address)}": MAX_PER_MINUTE},
        now=timezone.now(),
    )


class UnregisterDevice(graphene.Mutation):
    """Unbind a device, at sign-out: nothing is sent to it until it is registered again.

    Its token is enough, so that it works when the customer's token is gone already.
    """

    class Arguments:
        token = graphene.String(required=True)

    was_registered = graphene.Boolean(required=True)
    errors = graphene.List(graphene.NonNull(PushDeviceError), required=True)

    @staticmethod
    def mutate(root: None, info: Any, token: str) -> UnregisterDevice:
        caller: Caller = info.context.caller
        if _is_too_fast(info, caller):
            return UnregisterDevice(was_registered=False, errors=[_TOO_FAST])
        was = devices.unregister(installation=caller.installation, token=token, now=timezone.now())
        return UnregisterDevice(was_registered=was, errors=[])


class PushOpened(graphene.Mutation):
    """Say that a push was pressed: it was seen, so it is not said again by e-mail.

    The id of the message is enough: only the devices that got it know it. Twice is harmless.
    """

    class Arguments:
        message_id = graphene.ID(required=True, description="`message_id` in the data of the push.")

    is_news = graphene.Boolean(
        required=True, description="False: it was told before, or is no push of this shop."
    )
    errors = graphene.List(graphene.NonNull(PushDeviceError), required=True)

    @staticmethod
    def mutate(root: None, info: Any, message_id: str) -> PushOpened:
        caller: Caller = info.context.caller
        if _is_too_fast(info, caller):
            return PushOpened(is_news=False, errors=[_TOO_FAST])
        is_news = outcomes.push_opened(
            installation=caller.installation, message_id=message_id, now=timezone.now()
        )
        return PushOpened(is_news=is_news, errors=[])


class DeviceMutations(graphene.ObjectType):
    """Which devices take push, whose they are, and what is pressed on them."""

    register_device = RegisterDevice.Field(required=True)
    unregister_device = UnregisterDevice.Field(required=True)
    push_opened = PushOpened.Field(required=True)
