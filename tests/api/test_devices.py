"""B68: whose device takes push. One person's at a time, by proof; nobody's after sign-out."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
import time_machine
from django.db import connection
from django.utils import timezone

from saleor_personalize.enums import (
    ConsentState,
    DeliveryChannel,
    DeviceGone,
    ErasureSource,
    MergeProof,
    MessageEventKind,
    MessageStatus,
    Purpose,
)
from saleor_personalize.graphql import types_devices
from saleor_personalize.models import (
    Consent,
    Device,
    Identity,
    Installation,
    Message,
    MessageEvent,
    Profile,
)
from saleor_personalize.profiles import consent, devices, merging, privacy, retention
from saleor_personalize.saleor_api import server_keys
from tests.api.conftest import ALICE, ANONYMOUS, BOB, Ask
from tests.conftest import make_profile

TOKEN = "c1Fz-8dZTq2yH3:APA91b" + "x" * 134
REGISTER = """mutation Register(
  $token: String!, $platform: PushPlatform = ANDROID, $app: String, $language: String,
  $marketing: Boolean, $wording: String, $user: ID, $anonymous: String
) {
  registerDevice(token: $token, platform: $platform, app: $app, languageCode: $language,
    allowsMarketing: $marketing, wordingVersion: $wording, userId: $user, anonymousId: $anonymous) {
    device { id platform app isSignedIn registeredAt lastSeenAt }
    marketing
    errors { code field }
  }
}"""
UNREGISTER = """mutation Unregister($token: String!) {
  unregisterDevice(token: $token) { wasRegistered errors { code } }
}"""
OPENED = """mutation Opened($id: ID!) { pushOpened(messageId: $id) { isNews errors { code } } }"""
OTHER_VISITOR = "3f0d6e0e-4b1c-somebody-else"
Tokens = Callable[..., str]


def register(gql: Ask, device: str = TOKEN, *, variables: Any = None, **caller: Any) -> Any:
    answer = gql(REGISTER, {"token": device, **(variables or {})}, **caller)
    return answer.data["registerDevice"]


def owner(shop: Installation, kind: str, value: str) -> Profile:
    return Identity.objects.of(shop).get(kind=kind, value=value).profile


def reached(shop: Installation, kind: str, value: str) -> list[str]:
    """The tokens that a message to somebody would go to."""
    return [row.token for row in devices.living(owner(shop, kind, value))]


# -- binding -----------------------------------------------------------------------------------------


def test_b68_a_customer_registers_a_phone_and_refreshes_it(
    gql: Ask, installation: Installation, token_of: Tokens, now: datetime
) -> None:
    found = register(
        gql,
        variables={"app": "shop-de", "platform": "IOS", "language": "de"},
        token=token_of(ALICE),
    )
    row = Device.objects.of(installation).get()
    assert found == {
        "device": {
            "id": row.public_id.hex,
            "platform": "IOS",
            "app": "shop-de",
            "isSignedIn": True,
            "registeredAt": now.isoformat(),
            "lastSeenAt": now.isoformat(),
        },
        "marketing": None,
        "errors": [],
    }
    assert (row.token, row.language_code) == (TOKEN, "de")

    later = now + timedelta(minutes=2)
    with time_machine.travel(later, tick=False):
        again = register(gql, variables={"platform": "IOS"}, token=token_of(ALICE))["device"]
    assert (again["id"], again["registeredAt"], again["lastSeenAt"]) == (
        row.public_id.hex,
        now.isoformat(),
        later.isoformat(),
    )
    assert Device.objects.of(installation).count() == 1


def test_b68_a_token_is_stored_encrypted(
    gql: Ask, installation: Installation, token_of: Tokens
) -> None:
    register(gql, token=token_of(ALICE))
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT * FROM {Device._meta.db_table}")  # noqa: S608
        assert TOKEN not in repr(cursor.fetchall())


def test_b68_a_visitor_registers_a_browser_and_takes_it_along_when_signing_in(
    gql: Ask, installation: Installation, token_of: Tokens
) -> None:
    found = register(gql, variables={"platform": "WEB"}, anonymous_id=ANONYMOUS)
    assert found["device"]["isSignedIn"] is False
    assert reached(installation, "anonymous_id", ANONYMOUS) == [TOKEN]
    found = register(
        gql, variables={"platform": "WEB"}, token=token_of(ALICE), anonymous_id=ANONYMOUS
    )
    assert found["device"]["isSignedIn"] is True
    assert reached(installation, "saleor_user", ALICE) == [TOKEN]
    # One person now: what is about the browser's cart goes there as well.
    assert reached(installation, "anonymous_id", ANONYMOUS) == [TOKEN]


def test_b68_an_anonymous_id_opens_no_account(
    gql: Ask, installation: Installation, token_of: Tokens
) -> None:
    """Whoever learns the id of somebody's browser could have their messages sent to a phone of their own."""
    register(gql, token=token_of(ALICE), anonymous_id=ANONYMOUS)
    spy = TOKEN[:-1] + "y"
    found = register(gql, spy, variables={"marketing": True}, anonymous_id=ANONYMOUS)
    assert (found["device"]["isSignedIn"], found["marketing"]) == (False, None)
    assert reached(installation, "saleor_user", ALICE) == [TOKEN]
    assert reached(installation, "anonymous_id", ANONYMOUS) == [TOKEN]
    assert not Consent.objects.of(installation).exists()


def test_b68_a_device_registered_before_its_visitor_signed_in_waits_for_the_customers_token(
    gql: Ask, installation: Installation, token_of: Tokens
) -> None:
    register(gql, anonymous_id=ANONYMOUS)
    other = TOKEN[:-1] + "z"
    register(gql, other, token=token_of(ALICE), anonymous_id=ANONYMOUS)
    assert reached(installation, "saleor_user", ALICE) == [other]


# -- one person's at a time --------------------------------------------------------------------------


def test_b68_a_token_is_one_persons_and_moves_to_who_signs_in_with_it(
    gql: Ask, installation: Installation, token_of: Tokens, now: datetime
) -> None:
    register(gql, token=token_of(ALICE))
    later = now + timedelta(minutes=2)
    with time_machine.travel(later, tick=False):
        found = register(gql, token=token_of(BOB))
    assert found["device"]["registeredAt"] == later.isoformat()
    assert reached(installation, "saleor_user", ALICE) == []
    assert reached(installation, "saleor_user", BOB) == [TOKEN]
    # A phone that was sold makes nobody one person.
    alice = owner(installation, "saleor_user", ALICE)
    assert alice.person().count() == 1


def test_b68_nothing_of_an_account_goes_to_a_device_that_a_stranger_uses(
    gql: Ask, installation: Installation, token_of: Tokens
) -> None:
    """The app forgot to say that the customer signed out; its next visitor shows the same token."""
    register(gql, token=token_of(ALICE))
    register(gql, anonymous_id=OTHER_VISITOR)
    assert reached(installation, "saleor_user", ALICE) == []
    assert reached(installation, "anonymous_id", OTHER_VISITOR) == [TOKEN]


def test_b68_signing_out_unbinds_by_the_token_alone(
    gql: Ask, installation: Installation, token_of: Tokens, now: datetime
) -> None:
    register(gql, token=token_of(ALICE))
    said = [gql(UNREGISTER, {"token": TOKEN}).data["unregisterDevice"] for _ in range(2)]
    assert [answer["wasRegistered"] for answer in said] == [True, False]
    assert reached(installation, "saleor_user", ALICE) == []
    row = Device.objects.of(installation).get()
    assert (row.token, row.gone_at, row.gone_reason) == ("", now, DeviceGone.SIGNED_OUT)
    # And back again.
    register(gql, token=token_of(ALICE))
    assert reached(installation, "saleor_user", ALICE) == [TOKEN]


def test_b68_signing_out_holds_when_the_shops_project_is_mended_later(
    gql: Ask, installation: Installation, token_of: Tokens, now: datetime
) -> None:
    register(gql, token=token_of(ALICE))
    devices.mark_gone(
        installation=installation, tokens=[TOKEN], reason=DeviceGone.OTHER_PROJECT, now=now
    )
    assert gql(UNREGISTER, {"token": TOKEN}).data["unregisterDevice"]["wasRegistered"]
    assert devices.take_back(installation=installation) == 0
    assert reached(installation, "saleor_user", ALICE) == []
    row = Device.objects.of(installation).get()
    assert (row.token, row.gone_reason) == ("", DeviceGone.SIGNED_OUT)


def test_b68_a_cart_that_joins_people_shows_nobodys_messages_on_anothers_screen(
    gql: Ask, installation: Installation, token_of: Tokens, now: datetime
) -> None:
    register(gql, token=token_of(ALICE))
    alice = owner(installation, "saleor_user", ALICE)
    friend = make_profile(installation, email="friend@example.com")
    merging.prove(
        installation=installation,
        first=alice,
        second=friend,
        proof=MergeProof.CHECKOUT_COMPLETED,
        now=now,
    )
    assert friend.person().count() == 2
    assert not devices.living(friend).exists()
    assert devices.living(alice).count() == 1


def test_b68_the_same_token_in_two_shops_is_two_devices(
    gql: Ask, installation: Installation, other_installation: Installation, token_of: Tokens
) -> None:
    register(gql, token=token_of(ALICE))
    register(gql, shop=other_installation, anonymous_id=OTHER_VISITOR)
    gql(UNREGISTER, {"token": TOKEN}, shop=other_installation)
    assert reached(installation, "saleor_user", ALICE) == [TOKEN]
    assert reached(other_installation, "anonymous_id", OTHER_VISITOR) == []


def test_b68_somebody_with_very_many_devices_keeps_the_newest(
    gql: Ask, installation: Installation, token_of: Tokens, now: datetime
) -> None:
    tokens = [f"{TOKEN[:-2]}{number:02}" for number in range(devices.MAX_DEVICES + 2)]
    for number, token in enumerate(tokens):
        with time_machine.travel(now + timedelta(seconds=number), tick=False):
            register(gql, token, token=token_of(ALICE))
    assert reached(installation, "saleor_user", ALICE) == tokens[:1:-1]
    gone = Device.objects.of(installation).exclude(gone_at=None)
    assert {row.gone_reason for row in gone} == {DeviceGone.REPLACED}


# -- permission --------------------------------------------------------------------------------------


def test_b68_what_the_person_said_beside_is_in_the_ledger(
    gql: Ask, installation: Installation, token_of: Tokens
) -> None:
    wording = {"marketing": True, "wording": "push-3", "language": "de"}
    found = register(gql, variables=wording, token=token_of(ALICE))
    assert found["marketing"] == "GRANTED"
    line = Consent.objects.of(installation).get()
    assert (line.purpose, line.delivery_channel, line.state, line.source) == (
        Purpose.MARKETING,
        DeliveryChannel.PUSH,
        ConsentState.GRANTED,
        "device",
    )
    assert (line.wording_version, line.language_code) == ("push-3", "de")
    # Left out later, it holds on; a no ends it.
    assert register(gql, token=token_of(ALICE))["marketing"] == "GRANTED"
    found = register(gql, variables={"marketing": False}, token=token_of(ALICE))
    assert found["marketing"] == "DENIED"


def test_b68_a_visitor_says_it_for_themselves(gql: Ask, installation: Installation) -> None:
    found = register(gql, variables={"marketing": True}, anonymous_id=ANONYMOUS)
    assert found["marketing"] == "GRANTED"
    visitor = owner(installation, "anonymous_id", ANONYMOUS)
    answer = consent.Standing(visitor)
    assert answer.state(Purpose.MARKETING, DeliveryChannel.PUSH) == ConsentState.GRANTED
    assert answer.state(Purpose.MARKETING, DeliveryChannel.EMAIL) is None


# -- privacy -----------------------------------------------------------------------------------------


def test_b68_devices_are_exported_without_their_tokens_kept_for_a_time_and_erased(
    gql: Ask, installation: Installation, token_of: Tokens, now: datetime
) -> None:
    register(gql, token=token_of(ALICE))
    register(gql, TOKEN[:-1] + "y", token=token_of(BOB))
    alice = owner(installation, "saleor_user", ALICE)
    document = privacy.export(profile=alice, now=now)
    (row,) = document["devices"]
    assert (row["platform"], row["registered_at"]) == ("android", now.isoformat())
    assert TOKEN[:-1] not in str(document)

    assert retention.purge(now=now + timedelta(days=270))["devices"] == 0
    privacy.erase(profile=alice, requested_by=ErasureSource.SHOPPER, now=now)
    assert [each.profile for each in Device.objects.of(installation)] == [
        owner(installation, "saleor_user", BOB)
    ]
    assert retention.purge(now=now + timedelta(days=270, seconds=1))["devices"] == 1


# -- refused -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "token", ["", "short", "has a space in it", "x" * 4_097, "ünïcode-token", "a\x00bcdefgh"]
)
def test_b68_what_is_no_token_is_refused(
    gql: Ask, installation: Installation, token_of: Tokens, token: str
) -> None:
    found = register(gql, token, token=token_of(ALICE))
    assert found == {
        "device": None,
        "marketing": None,
        "errors": [{"code": "INVALID", "field": "token"}],
    }
    assert gql(UNREGISTER, {"token": token}).data["unregisterDevice"]["wasRegistered"] is False
    assert not Device.objects.of(installation).exists()


def test_b68_nobody_registers_nothing(gql: Ask, installation: Installation) -> None:
    assert register(gql)["errors"] == [{"code": "UNAUTHENTICATED", "field": None}]
    assert not Device.objects.of(installation).exists()


def test_b68_nobody_registers_for_another_but_the_shops_server(
    gql: Ask, installation: Installation, token_of: Tokens, now: datetime
) -> None:
    variables = {"token": TOKEN, "user": BOB}
    assert gql(REGISTER, variables, token=token_of(ALICE)).refusal == (200, "FORBIDDEN")
    assert not Device.objects.of(installation).exists()
    _, key = server_keys.create(installation=installation, name="till", created_by="", now=now)
    found = register(gql, variables={"user": BOB}, token=key)
    assert found["device"]["isSignedIn"] is True
    assert reached(installation, "saleor_user", BOB) == [TOKEN]


def test_b68_nobody_registers_devices_without_end(
    gql: Ask, installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(types_devices, "MAX_PER_MINUTE", 2)
    codes = [
        [error["code"] for error in register(gql, f"{TOKEN}{n}", anonymous_id=ANONYMOUS)["errors"]]
        for n in range(4)
    ]
    assert codes == [[], [], ["RATE_LIMITED"], ["RATE_LIMITED"]]
    assert Device.objects.of(installation).count() == 2


# -- what is pressed ---------------------------------------------------------------------------------


def sent(profile: Profile, delivery_channel: DeliveryChannel = DeliveryChannel.PUSH) -> Message:
    return Message.objects.create(
        installation=profile.installation,
        idempotency_key=f"{delivery_channel}-{profile.pk}",
        profile=profile,
        template="welcome",
        purpose=Purpose.MARKETING,
        delivery_channel=delivery_channel,
        status=MessageStatus.SENT,
        decided_at=timezone.now(),
    )


def test_b68_b71_a_push_that_was_pressed_was_seen_once_however_often_it_is_told(
    gql: Ask, installation: Installation, alice: Profile, now: datetime
) -> None:
    message = sent(alice)
    said = [gql(OPENED, {"id": message.public_id.hex}).data["pushOpened"] for _ in range(2)]
    assert said == [{"isNews": True, "errors": []}, {"isNews": False, "errors": []}]
    event = MessageEvent.objects.of(installation).get()
    assert (event.message, event.kind, event.at, event.is_machine) == (
        message,
        MessageEventKind.CLICKED,
        now,
        False,
    )


@pytest.mark.parametrize("case", ["no id", "unknown", "a mail", "another shop"])
def test_b68_what_is_no_push_of_the_shop_was_not_pressed(
    gql: Ask, alice: Profile, other_installation: Installation, case: str
) -> None:
    ids = {
        "no id": "' OR 1=1",
        "unknown": "5f18b6a85f18b6a85f18b6a85f18b6a8",
        "a mail": sent(alice, DeliveryChannel.EMAIL).public_id.hex,
        "another shop": sent(make_profile(other_installation, saleor_user=ALICE)).public_id.hex,
    }
    said = gql(OPENED, {"id": ids[case]}).data["pushOpened"]
    assert said == {"isNews": False, "errors": []}
    assert not MessageEvent.objects.exists()


def test_b68_nobody_tries_ids_without_end(
    gql: Ask, alice: Profile, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(types_devices, "MAX_PER_MINUTE", 0)
    said = gql(OPENED, {"id": sent(alice).public_id.hex}).data["pushOpened"]
    assert said == {"isNews": False, "errors": [{"code": "RATE_LIMITED"}]}
    assert not MessageEvent.objects.exists()
