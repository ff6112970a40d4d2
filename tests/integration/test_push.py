"""B68: push by the real firebase-admin to a Firebase on loopback: what devices get, and what goes wrong."""

import json
import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.core.checks import run_checks
from django.db import connection
from django.utils import timezone
from django.utils.http import http_date

from saleor_personalize.conf import build_backend
from saleor_personalize.enums import DeviceGone, DevicePlatform, IdentityKind
from saleor_personalize.exceptions import ChannelError, PushAccountRefused
from saleor_personalize.messaging import push_accounts
from saleor_personalize.messaging.channels import push
from saleor_personalize.messaging.channels.base import OutgoingMessage
from saleor_personalize.models import Device, Installation, Profile, PushAccount
from saleor_personalize.profiles import devices
from saleor_personalize.testing import fcm as fake
from saleor_personalize.testing.fcm import FakeFcm, serving
from saleor_personalize.testing.keys import SigningKey

MESSAGE = OutgoingMessage(
    key="5f18b6a85f18b6a85f18b6a85f18b6a8",
    recipient="",
    sender="",
    subject="",
    text="Your lamp waits for you.",
    html="",
    title="Still in your cart",
    link="https://store.test/checkout?checkout=1&promoCode=ANN10",
    image_url="https://store.test/lamp.webp",
    data={"promo_code": "ANN10"},
)


@pytest.fixture
def fcm() -> Iterator[FakeFcm]:
    with serving() as server:
        yield server


@pytest.fixture
def ready(fcm: FakeFcm, installation: Installation, settings: Any, now: datetime) -> Installation:
    """A shop whose push goes to the Firebase on loopback."""
    point_push_at(settings, fcm.url)
    push_accounts.save(installation=installation, text=fcm.service_account(), now=now)
    return installation


def point_push_at(settings: Any, url: str, timeout: float = 10.0) -> None:
    settings.SALEOR_PERSONALIZE = {
        **settings.SALEOR_PERSONALIZE,
        "CHANNELS": {
            "push": {
                "BACKEND": "saleor_personalize.messaging.channels.push.PushChannel",
                "OPTIONS": {"api_url": url, "timeout": timeout},
            }
        },
    }


def device(
    profile: Profile, token: str, now: datetime, platform: str = "android", **changes: Any
) -> Device:
    return devices.register(
        installation=profile.installation,
        shown={IdentityKind.SALEOR_USER: profile.identities.get(kind="saleor_user").value},
        token=token,
        platform=DevicePlatform(platform),
        is_proven=True,
        now=now,
        **changes,
    )


def send(installation: Installation, *tokens: str, **changes: Any) -> Any:
    message = replace(MESSAGE, recipients=tokens, installation_id=installation.pk, **changes)
    return build_backend("CHANNELS", "push").send(message)


def refused(installation: Installation, *tokens: str, **changes: Any) -> ChannelError:
    with pytest.raises(ChannelError) as caught:
        send(installation, *tokens, **changes)
    for token in tokens:
        assert token not in str(caught.value)
    assert any(word in str(caught.value) for word in ("Firebase", "Google", "device"))
    return caught.value


def kinds(error: ChannelError) -> tuple[bool, bool, bool]:
    return error.is_permanent, error.is_ambiguous, error.is_address_dead


# -- what arrives ------------------------------------------------------------------------------------


def test_b68_android_ios_and_web_get_words_picture_link_and_code(
    fcm: FakeFcm, ready: Installation
) -> None:
    tokens = [fcm.device(platform) for platform in ("android", "ios", "web")]
    result = send(ready, *tokens)
    assert (result.accepted, result.dead) == (3, ())
    assert result.provider_message_id.startswith("projects/shop-of-tests/messages/0:")
    assert {message["token"] for message in fcm.sent} == set(tokens)
    got = fcm.sent[0]
    assert got["notification"] == {
        "title": "Still in your cart",
        "body": "Your lamp waits for you.",
        "image": "https://store.test/lamp.webp",
    }
    assert got["data"] == {
        "deep_link": "https://store.test/checkout?checkout=1&promoCode=ANN10",
        "promo_code": "ANN10",
        "message_id": MESSAGE.key,
    }
    # The same key on every platform: a second copy replaces the first on the screen.
    assert got["android"]["notification"]["tag"] == MESSAGE.key
    assert got["android"]["ttl"] == "86400s"
    assert got["apns"]["headers"]["apns-collapse-id"] == MESSAGE.key
    assert got["apns"]["payload"]["aps"]["mutable-content"] == 1
    assert got["apns"]["fcm_options"]["image"] == "https://store.test/lamp.webp"
    assert got["webpush"]["headers"] == {"TTL": "86400", "Topic": MESSAGE.key}
    assert got["webpush"]["notification"]["tag"] == MESSAGE.key
    assert got["webpush"]["fcm_options"]["link"] == MESSAGE.link


def test_b68_a_link_that_a_browser_would_not_follow_goes_as_data_alone(
    fcm: FakeFcm, ready: Installation
) -> None:
    send(ready, fcm.device(), link="shop://cart/1", image_url="", data={})
    (got,) = fcm.sent
    assert got["data"]["deep_link"] == "shop://cart/1"
    assert "fcm_options" not in got["webpush"]
    assert "image" not in got["notification"]


def test_b68_620_devices_are_written_to_in_batches_that_the_library_takes(
    fcm: FakeFcm, ready: Installation
) -> None:
    tokens = [fcm.device() for _ in range(620)]
    assert send(ready, *tokens).accepted == 620
    assert sorted(message["token"] for message in fcm.sent) == sorted(tokens)
    # One sign-in for all of them.
    assert fcm.requests.count("/token") == 1


def test_b68_each_shop_signs_in_by_its_own_account(
    fcm: FakeFcm, ready: Installation, other_installation: Installation, now: datetime
) -> None:
    with serving(FakeFcm(project_id="other-shop", key=SigningKey.generate("other"))) as other:
        push_accounts.save(installation=other_installation, text=other.service_account(), now=now)
        error = refused(other_installation, fcm.device())
        assert kinds(error) == (False, False, False)
        assert "refuses the service account" in str(error)
    send(ready, fcm.device())
    assert len(fcm.sent) == 1
    assert other.sent == []


# -- devices that are gone ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "reason", "is_kept"),
    [
        (fake.unregistered(), DeviceGone.UNREGISTERED, False),
        (fake.sender_id_mismatch(), DeviceGone.OTHER_PROJECT, True),
        (fake.no_token(), DeviceGone.INVALID_TOKEN, False),
        (
            fake.invalid("message.token", "Invalid registration token"),
            DeviceGone.INVALID_TOKEN,
            False,
        ),
    ],
)
def test_b68_dead_tokens_are_removed_and_living_ones_get_it(
    fcm: FakeFcm,
    ready: Installation,
    alice: Profile,
    now: datetime,
    answer: fake.Answer,
    reason: DeviceGone,
    is_kept: bool,
) -> None:
    dead, living = fcm.device(), fcm.device("ios")
    device(alice, dead, now)
    device(alice, living, now, "ios")
    fcm.answer(dead, answer)

    result = send(ready, dead, living)
    assert (result.dead, result.accepted) == ((dead,), 1)
    assert [row.token for row in devices.living(alice)] == [living]
    gone = Device.objects.of(ready).get(token_hash=devices.token_hash(dead))
    assert gone.gone_reason == reason
    assert bool(gone.token) is is_kept

    error = refused(ready, dead)
    assert kinds(error) == (True, False, True)


def test_b68_an_app_that_was_removed_is_told_by_google_and_forgotten(
    fcm: FakeFcm, ready: Installation, alice: Profile, now: datetime
) -> None:
    token = fcm.device()
    device(alice, token, now)
    fcm.uninstall(token)
    assert refused(ready, token).is_address_dead
    assert not devices.living(alice).exists()
    # The same app installed again shows a token anew.
    fcm.device("android", token)
    device(alice, token, now + timedelta(days=1))
    assert [row.token for row in devices.living(alice)] == [token]


def test_b68_a_wrong_project_loses_no_device(
    fcm: FakeFcm, ready: Installation, alice: Profile, now: datetime
) -> None:
    """Somebody saves the key of another project: every device is refused, and comes back with the right one."""
    token = fcm.device()
    device(alice, token, now)
    with serving(FakeFcm(project_id="staging")) as staging:
        wrong = staging.service_account()
    push_accounts.save(installation=ready, text=wrong, now=now)
    devices.mark_gone(installation=ready, tokens=[token], reason=DeviceGone.OTHER_PROJECT, now=now)
    assert not devices.living(alice).exists()
    push_accounts.save(installation=ready, text=fcm.service_account(), now=now)
    assert [row.token for row in devices.living(alice)] == [token]
    assert send(ready, token).accepted == 1


# -- what time cures, what it does not, and what nobody knows ------------------------------------------


@pytest.mark.parametrize(
    ("answer", "expected", "pause"),
    [
        (fake.quota_exceeded("120"), (False, False, False), timedelta(seconds=120)),
        (fake.quota_exceeded(), (False, False, False), timedelta(minutes=1)),
        (fake.unavailable("30"), (False, False, False), timedelta(seconds=30)),
        (fake.unavailable(), (False, False, False), None),
        (fake.internal(), (False, False, False), None),
        (fake.bad_gateway(), (False, False, False), None),
        (fake.error(504, "DEADLINE_EXCEEDED", "Deadline exceeded."), (False, True, False), None),
        (fake.third_party_auth_error(), (False, False, False), None),
        (fake.permission_denied(), (False, False, False), None),
        (
            fake.error(404, "NOT_FOUND", "Requested entity was not found."),
            (False, False, False),
            None,
        ),
        (fake.invalid("message.data", "Invalid data payload key"), (True, False, False), None),
        (fake.too_big(), (True, False, False), None),
        (fake.silence(), (False, True, False), timedelta(seconds=15)),
        (fake.Answer(200, b"<html>not FCM</html>"), (False, True, False), timedelta(seconds=15)),
        (fake.Answer(200, {"name": None}), (False, True, False), None),
        (fake.Answer(400, {"error": "not an object"}), (False, True, False), None),
        (
            fake.error(
                400, "INVALID_ARGUMENT", "No.", more=[{"fieldViolations": ["message.data"]}]
            ),
            (True, False, False),
            None,
        ),
        (
            fake.error(400, "INVALID_ARGUMENT", "No.", more=[{"fieldViolations": "message.data"}]),
            (True, False, False),
            None,
        ),
    ],
)
def test_b68_what_firebase_says_is_sorted_and_nothing_is_asked_twice(
    fcm: FakeFcm,
    ready: Installation,
    alice: Profile,
    now: datetime,
    answer: fake.Answer,
    expected: tuple[bool, bool, bool],
    pause: timedelta | None,
) -> None:
    token = fcm.device()
    device(alice, token, now)
    fcm.answer(token, answer)
    error = refused(ready, token)
    assert kinds(error) == expected
    assert error.retry_after == pause
    asked = [path for path in fcm.requests if path != "/token"]
    # Only a refused sign-in is renewed and shown again, by the library itself.
    assert len(asked) == (3 if answer.status == 401 else 1)
    assert devices.living(alice).count() == 1
    assert fcm.sent == []


def test_b68_a_date_to_come_back_at_is_understood(fcm: FakeFcm, ready: Installation) -> None:
    moment = timezone.now() + timedelta(minutes=5)
    fcm.answer("", fake.quota_exceeded(http_date(moment.timestamp())))
    pause = refused(ready, fcm.device()).retry_after
    assert pause is not None
    assert timedelta(minutes=4) < pause <= timedelta(minutes=5)


def test_b68_a_server_that_never_answers_may_have_it(
    fcm: FakeFcm, ready: Installation, settings: Any
) -> None:
    point_push_at(settings, fcm.url, timeout=0.2)
    send(ready, fcm.device())
    fcm.hang()
    assert kinds(refused(ready, fcm.device())) == (False, True, False)


def test_b68_nobody_there_has_nothing(fcm: FakeFcm, ready: Installation, settings: Any) -> None:
    token = fcm.device()
    send(ready, token)
    with serving() as gone:
        point_push_at(settings, gone.url)
        gone.device("android", token)
        send(ready, token)
    # It was signed in before the server went.
    error = refused(ready, token)
    assert kinds(error) == (False, False, False)
    assert str(error) == "No connection to Firebase."


def test_b68_the_least_certain_device_decides_unless_one_has_it(
    fcm: FakeFcm, ready: Installation
) -> None:
    busy, silent, fine = fcm.device(), fcm.device(), fcm.device()
    fcm.answer(busy, fake.quota_exceeded("7"))
    fcm.answer(silent, fake.silence())
    assert kinds(refused(ready, busy, silent)) == (False, True, False)
    result = send(ready, busy, silent, fine)
    assert (result.accepted, result.dead) == (1, ())


def test_b68_an_account_that_google_refuses_sends_nothing(
    fcm: FakeFcm, ready: Installation, alice: Profile, now: datetime
) -> None:
    token = fcm.device()
    device(alice, token, now)
    fcm.is_account_known = False
    error = refused(ready, token)
    assert kinds(error) == (False, False, False)
    assert "refuses the service account" in str(error)
    assert fcm.requests == ["/token"]
    assert devices.living(alice).count() == 1


def test_b68_calls_go_by_the_proxy_that_the_environment_names(
    installation: Installation,
    settings: Any,
    now: datetime,
    fcm: FakeFcm,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As everything else of the service does; one that refuses has sent nothing."""
    asked: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def refuse() -> None:
            caller, _ = server.accept()
            with caller:
                asked.append(caller.recv(4096).decode().split(" HTTP/")[0])
                caller.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")

        proxy = threading.Thread(target=refuse)
        proxy.start()
        monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{server.getsockname()[1]}")
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        point_push_at(settings, "")
        account = PushAccount.objects.create(
            installation=installation,
            service_account=fcm.service_account(),
            project_id="demo",
            saved_at=now,
        )
        channel = build_backend("CHANNELS", "push")
        signed_in = push._apps.get(account.service_account, channel).credential.get_credential()
        signed_in.token, signed_in.expiry = "signed-in", datetime(2100, 1, 1)  # noqa: DTZ001 (as Google's own)
        error = refused(installation, "token-of-a-phone")
        proxy.join()
    assert asked == ["CONNECT fcm.googleapis.com:443"]
    assert kinds(error) == (False, False, False)


def test_b68_a_shop_without_an_account_sends_nothing(installation: Installation) -> None:
    error = refused(installation, "token-of-somebody")
    assert kinds(error) == (True, False, False)
    assert "service account" in str(error)


@pytest.mark.parametrize(
    "options",
    [
        {"api_url": "http://fcm.example.com"},
        {"api_url": "fcm.example.com"},
        {"timeout": 0},
        {"time_to_live": 2_419_201},
        {"unknown": 1},
    ],
)
def test_b68_options_that_cannot_be_used_are_told_at_the_start(
    settings: Any, options: dict[str, Any]
) -> None:
    channel = {
        "BACKEND": "saleor_personalize.messaging.channels.push.PushChannel",
        "OPTIONS": options,
    }
    settings.SALEOR_PERSONALIZE = {**settings.SALEOR_PERSONALIZE, "CHANNELS": {"push": channel}}
    assert "saleor_personalize.E007" in {message.id for message in run_checks()}


# -- the account -------------------------------------------------------------------------------------


def test_b68_the_service_account_is_encrypted_and_holds_only_what_is_needed(
    fcm: FakeFcm, ready: Installation
) -> None:
    given = json.loads(fcm.service_account())
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT service_account FROM {PushAccount._meta.db_table}")  # noqa: S608
        ((stored,),) = cursor.fetchall()
    assert "PRIVATE KEY" not in stored
    account = PushAccount.objects.of(ready).get()
    assert json.loads(account.service_account) == {
        name: given[name]
        for name in (
            "type", "project_id", "private_key_id", "private_key", "client_email", "client_id",
        )
    }  # fmt: skip


def test_b68_the_file_does_not_say_where_its_key_is_shown(
    fcm: FakeFcm, ready: Installation, now: datetime
) -> None:
    """An uploaded file must not have this service sign in at a host of its choice."""
    with serving() as elsewhere:
        given = {**json.loads(fcm.service_account()), "token_uri": f"{elsewhere.url}/token"}
        push_accounts.save(installation=ready, text=json.dumps(given), now=now)
        assert push_accounts.check(installation=ready, now=now) == ""
        assert elsewhere.requests == []


def _broken(**changes: Any) -> str:
    return json.dumps({**json.loads(FakeFcm().service_account()), **changes})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[" * 9_000,
        "x" * 20_000,
        "[]",
        "{}",
        _broken(type="authorized_user"),
        _broken(project_id=None),
        _broken(project_id="../../metadata"),
        _broken(client_email="somebody@example.com"),
        _broken(private_key="-----BEGIN PRIVATE KEY-----\nlost\n-----END PRIVATE KEY-----\n"),
        _broken(private_key=""),
    ],
)
def test_b68_what_is_no_service_account_is_refused_and_changes_nothing(
    ready: Installation, now: datetime, text: str
) -> None:
    before = PushAccount.objects.of(ready).get().service_account
    with pytest.raises(PushAccountRefused) as caught:
        push_accounts.save(installation=ready, text=text, now=now + timedelta(days=1))
    assert "BEGIN" not in str(caught.value)
    assert "somebody" not in str(caught.value)
    assert PushAccount.objects.of(ready).get().service_account == before


def test_b68_a_test_delivers_nothing_and_tells_what_is_wrong(
    fcm: FakeFcm, ready: Installation, now: datetime
) -> None:
    token = fcm.device()
    assert push_accounts.check(installation=ready, now=now) == ""
    assert push_accounts.check(installation=ready, now=now, token=token) == ""
    assert fcm.sent == []
    assert [message.get("token", "no token") for message in fcm.validated] == ["no token", token]
    account = PushAccount.objects.of(ready).get()
    assert (account.tested_at, account.fault) == (now, "")

    fcm.answer("", fake.permission_denied())
    later = now + timedelta(hours=1)
    fault = push_accounts.check(installation=ready, now=later)
    assert "Firebase Cloud Messaging API Admin" in fault
    account = PushAccount.objects.of(ready).get()
    assert (account.tested_at, account.fault) == (later, fault)
    # The device is at fault then, not the account.
    fcm.answer("")
    fcm.uninstall(token)
    assert "gone" in push_accounts.check(installation=ready, now=now, token=token)
    assert PushAccount.objects.of(ready).get().fault == fault


def test_b68_a_removed_account_sends_nothing(
    fcm: FakeFcm, ready: Installation, now: datetime
) -> None:
    assert push_accounts.remove(installation=ready) is True
    assert push_accounts.remove(installation=ready) is False
    assert refused(ready, fcm.device()).is_permanent
    with pytest.raises(PushAccountRefused):
        push_accounts.check(installation=ready, now=now)
    assert fcm.requests == []
