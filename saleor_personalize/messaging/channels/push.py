"""Push to Android, iOS and the web through Firebase Cloud Messaging (HTTP v1), by firebase-admin.

Every shop sends by its own service account (`messaging.push_accounts`). A message goes to all devices of
the person at once; it counts as sent when one of them was taken, and devices that are gone are forgotten.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, ClassVar
from urllib.parse import urlsplit

import firebase_admin
from django.utils import timezone
from firebase_admin import exceptions, messaging
from google.auth.credentials import Credentials
from google.auth.exceptions import GoogleAuthError, RefreshError
from google.auth.transport.requests import Request
from google.oauth2 import service_account as google_accounts
from requests.adapters import HTTPAdapter

from saleor_personalize.enums import DeviceGone
from saleor_personalize.exceptions import ChannelError
from saleor_personalize.messaging import pace
from saleor_personalize.messaging.channels.base import (
    Capabilities,
    Channel,
    OutgoingMessage,
    Sending,
    SendResult,
)
from saleor_personalize.messaging.channels.faults import never_connected, retry_after
from saleor_personalize.models import PushAccount, prepared
from saleor_personalize.profiles import devices

_FCM = "https://fcm.googleapis.com"
#: All that the token of access is good for.
_SCOPE = "https://www.googleapis.com/auth/firebase.messaging"
_TOKEN_URI = "https://oauth2.googleapis.com/token"  # noqa: S105 (an address, not a secret)
#: What firebase-admin takes in one call.
BATCH = 500
_ACCOUNT = f"""
SELECT {prepared.columns(PushAccount, "account")} FROM {PushAccount._meta.db_table} AS account
WHERE installation_id = %(shop)s
"""  # noqa: S608 (the names of the tables are ours)
#: Accounts whose connections are kept.
_MOST_APPS = 50
#: More than any worker has calls under way: none waits for a thread, after it was claimed.
_MOST_THREADS = 500
_TOO_MANY, _SERVER_ERROR, _GATEWAY_TIMEOUT = 429, 500, 504
_VALIDATED = "saleor-personalize-test"


class PushChannel(Channel):
    """`timeout`: seconds for one call. `time_to_live`: seconds for which Firebase keeps a message for a
    device that is off. `api_url`: another server that speaks the same, such as the demo's own; it has to
    be https, or on this machine.
    """

    capabilities: ClassVar[Capabilities] = Capabilities(is_pooled=True, batch_size=BATCH)

    def __init__(
        self, timeout: float = 10.0, time_to_live: int = 86_400, api_url: str = ""
    ) -> None:
        parts = urlsplit(api_url)
        is_here = parts.hostname in {"127.0.0.1", "::1", "localhost"}
        if api_url and not (parts.scheme == "https" or (parts.scheme == "http" and is_here)):
            raise ValueError(f"api_url is {api_url!r}: the shop's key would travel in the clear")
        if timeout <= 0 or not 0 <= time_to_live <= 2_419_200:
            raise ValueError(
                "timeout is above 0, time_to_live between 0 and 2419200 seconds (28 days)"
            )
        self.timeout, self.time_to_live = timeout, time_to_live
        self.api_url = api_url.rstrip("/")
        #: The shops' accounts as they were when this channel was built.
        self._accounts: dict[int, PushAccount | None] = {}

    def can_send(self, installation_id: int) -> bool:
        """Tell whether the shop has saved its service account."""
        return PushAccount.objects.of(installation_id).exists()

    def send(self, message: OutgoingMessage) -> SendResult:
        """Hand one message to Firebase, for all of `recipients`, and wait for its answer."""
        return self.begin(message).outcome()

    def begin(self, message: OutgoingMessage) -> Sending:
        """Call Firebase with one message, for all of `recipients`; its answer is waited for later.

        Taken for one device is sent: those that failed beside it are not tried again. Devices that are
        gone are marked so with the outcome, also when it is an error.
        """
        account = self._account_of(message.installation_id)
        if account is None:
            raise ChannelError(
                "The shop has no service account of Firebase: save one on the page Push in the "
                "Dashboard, or by `saleor-personalize push save`.",
                is_permanent=True,
            )
        tokens = message.recipients or ((message.recipient,) if message.recipient else ())
        if not tokens:
            raise ChannelError("The message names no device.", is_permanent=True)
        app = self._signed_in(account.service_account)
        built = [self._built(message, to) for to in tokens]
        asked = _threads.submit(lambda: _ask(app, built))

        def outcome() -> SendResult:
            told = [_read(answer) for answer in asked.result()]
            gone = {to: each.gone for to, each in zip(tokens, told, strict=True) if each.gone}
            for reason in set(gone.values()):
                devices.mark_gone(
                    installation=account.installation,
                    tokens=[to for to in gone if gone[to] == reason],
                    reason=reason,
                    now=timezone.now(),
                )
            return _summed(told, dead=tuple(gone))

        return Sending(is_over=asked.done, outcome=outcome)

    def _account_of(self, installation_id: int) -> PushAccount | None:
        if installation_id not in self._accounts:
            with prepared.cursor() as cursor:
                cursor.execute(_ACCOUNT, {"shop": installation_id})
                row = cursor.fetchone()
            found = None if row is None else prepared.made(PushAccount, row)
            self._accounts[installation_id] = found
        return self._accounts[installation_id]

    def validate(self, service_account: str, *, token: str = "") -> None:
        """Have Firebase check an account, and a device's token if given. Nothing is delivered.

        Raises ChannelError with what is wrong.
        """
        probe = messaging.Message(
            notification=messaging.Notification(title="Test", body="Nobody gets this."),
            topic=None if token else _VALIDATED,
        )
        probe.token = token or None
        (answer,) = _ask(self._signed_in(service_account), [probe], is_dry_run=True)
        _summed([_read(answer)], dead=())

    def _built(self, message: OutgoingMessage, token: str) -> messaging.Message:
        """Return the message as Firebase takes it, for whichever platform the token is of.

        The key is the name under which a device shows the message: a second copy replaces the first.
        """
        title = message.title or message.subject
        image = message.image_url or None
        link = message.link or message.data.get("deep_link", "")
        data = {**({"deep_link": link} if link else {}), **message.data, "message_id": message.key}
        built = messaging.Message(
            data={name: text for name, text in data.items() if text},
            notification=messaging.Notification(title=title, body=message.text, image=image),
            android=messaging.AndroidConfig(
                ttl=timedelta(seconds=self.time_to_live),
                notification=messaging.AndroidNotification(tag=message.key),
            ),
            apns=messaging.APNSConfig(
                headers={
                    "apns-collapse-id": message.key,
                    "apns-expiration": str(int(timezone.now().timestamp()) + self.time_to_live),
                },
                payload=messaging.APNSPayload(
                    # Lets the app's own extension fetch the picture.
                    aps=messaging.Aps(mutable_content=bool(image), sound="default")
                ),
                fcm_options=messaging.APNSFCMOptions(image=image) if image else None,
            ),
            webpush=messaging.WebpushConfig(
                headers={"TTL": str(self.time_to_live), "Topic": message.key[:32]},
                notification=messaging.WebpushNotification(
                    title=title, body=message.text, image=image, tag=message.key
                ),
                fcm_options=messaging.WebpushFCMOptions(link=link)
                if link.startswith("https://")
                else None,
            ),
        )
        # Not by the constructor: it prefers Firebase's newer ids, which apps do not hand out yet.
        built.token = token
        return built

    def _signed_in(self, service_account: str) -> firebase_admin.App:
        """Return the account's client with a token of access, got before the first message leaves: what
        fails here has sent nothing."""
        app = _apps.get(service_account, self)
        credential = app.credential.get_credential()
        if credential.valid:
            return app
        try:
            credential.refresh(functools.partial(Request(), timeout=self.timeout))
        except RefreshError:
            raise ChannelError(
                "Google refuses the service account: it was deleted, its key was revoked, or this "
                "machine's clock is wrong. Save a new key on the page Push in the Dashboard."
            ) from None
        except GoogleAuthError as error:
            raise ChannelError(
                f"Google's sign-in does not answer: {type(error).__name__}."
            ) from None
        return app


class _Threads:
    """In which Firebase is called while the worker goes on; none is taken through a fork."""

    def __init__(self) -> None:
        self._process = 0
        self._pool: ThreadPoolExecutor | None = None

    def submit(self, call: Callable[[], list[Any]]) -> Future[list[Any]]:
        if self._pool is None or self._process != os.getpid():
            self._process = os.getpid()
            self._pool = ThreadPoolExecutor(_MOST_THREADS, thread_name_prefix="firebase")
        return self._pool.submit(call)


_threads = _Threads()


def _ask(
    app: firebase_admin.App, messages: Sequence[messaging.Message], *, is_dry_run: bool = False
) -> list[Any]:
    """Return what Firebase answers to each message. Runs in a thread without a database."""
    answers: list[Any] = []
    for start in range(0, len(messages), BATCH):
        some = list(messages[start : start + BATCH])
        try:
            answers += _sent(some, is_dry_run=is_dry_run, app=app)
        except ValueError as error:
            # Before anything was sent: what Firebase would refuse as well.
            raise ChannelError(
                f"The message cannot be built: {_brief(error)}", is_permanent=True
            ) from None
        except Exception as error:
            # An answer that it cannot read makes the library stumble, after the message was out.
            cause = getattr(error, "cause", None) or error
            raise ChannelError(
                f"Firebase's client failed with {type(cause).__name__}.",
                is_ambiguous=not is_dry_run,
            ) from None
    return answers


class _SignIn(Credentials):
    """A service account that signs in and does nothing else: Google's own class asks for more behind our
    back, such as the regions that the account may be used in."""

    def __init__(self, given: Mapping[str, str]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._account = google_accounts.Credentials.from_service_account_info(
            given, scopes=[_SCOPE]
        )

    def refresh(self, request: Any) -> None:
        self._account.refresh(request)
        self.token, self.expiry = self._account.token, self._account.expiry


class _Once(HTTPAdapter):
    """Asks once. The library's own would ask again after a broken connection, when the message may be
    out, and sleep in our worker for as long as the server likes."""

    def __init__(self, api_url: str) -> None:
        super().__init__(pool_connections=1, pool_maxsize=100, max_retries=0)
        self._api_url = api_url

    def send(self, request: Any, *args: Any, **options: Any) -> Any:
        if self._api_url:
            request.url = request.url.replace(_FCM, self._api_url, 1)
            options["proxies"] = {}
        return super().send(request, *args, **options)


class _Apps:
    """Clients of Firebase, one for each account: they keep connections and the token of access."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[str, ...], firebase_admin.App] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, service_account: str, channel: PushChannel) -> firebase_admin.App:
        parts = (service_account, channel.api_url, str(channel.timeout))
        with self._lock:
            if parts not in self._known:
                name = f"saleor-personalize-{hashlib.sha256(repr(parts).encode()).hexdigest()}"
                self._known[parts] = self._made(name, service_account, channel)
                if len(self._known) > _MOST_APPS:
                    firebase_admin.delete_app(self._known.popitem(last=False)[1])
            self._known.move_to_end(parts)
            return self._known[parts]

    def _made(self, name: str, service_account: str, channel: PushChannel) -> firebase_admin.App:
        given = json.loads(service_account)
        # Where to sign in is ours to say: the file is uploaded, and its key signs for whoever is named.
        given["token_uri"] = f"{channel.api_url}/token" if channel.api_url else _TOKEN_URI
        try:
            app = firebase_admin.initialize_app(
                _SignIn(given),
                {"projectId": given["project_id"], "httpTimeout": channel.timeout},
                name=name,
            )
        except (KeyError, ValueError) as error:
            raise ChannelError(
                f"The service account cannot be used ({type(error).__name__}): save it again.",
                is_permanent=True,
            ) from None
        # firebase-admin names no other way to the session that its messages go by.
        session = messaging._get_messaging_service(app)._client.session
        session.mount(_FCM, _Once(channel.api_url))
        # What the environment says of proxies and certificates is read once: by itself the session goes
        # through all of it at each call, which takes a third of the call.
        told = session.merge_environment_settings(_FCM, {}, None, None, None)
        session.proxies, session.verify = told["proxies"], told["verify"]
        session.trust_env = False
        return app


_apps = _Apps()


@dataclass(frozen=True)
class _Told:
    """What Firebase said of one device: its name for the message, that the device is gone, or a fault."""

    name: str = ""
    gone: DeviceGone | None = None
    fault: ChannelError | None = None


def _sent(
    some: list[messaging.Message], *, is_dry_run: bool, app: firebase_admin.App
) -> list[messaging.SendResponse]:
    """Send as `send_each` does, which starts a thread for each message: one alone needs none."""
    if len(some) > 1:
        answers: list[messaging.SendResponse] = messaging.send_each(
            some, dry_run=is_dry_run, app=app
        ).responses
        return answers
    try:
        name = messaging.send(some[0], dry_run=is_dry_run, app=app)
    except exceptions.FirebaseError as error:
        return [messaging.SendResponse(None, error)]
    except KeyError:
        # It takes the name out of the answer unseen.
        return [messaging.SendResponse(None, None)]
    return [messaging.SendResponse({"name": name}, None)]


def _read(answer: Any) -> _Told:
    """Sort what Firebase answered for one device."""
    error = answer.exception
    if error is None and answer.message_id:
        return _Told(name=answer.message_id)
    if error is None:
        return _Told(fault=ChannelError("Firebase gave no name to it.", is_ambiguous=True))
    if isinstance(error, messaging.UnregisteredError):
        return _Told(gone=DeviceGone.UNREGISTERED)
    if isinstance(error, messaging.SenderIdMismatchError):
        return _Told(gone=DeviceGone.OTHER_PROJECT)
    response = error.http_response
    if response is None:
        if never_connected(error.cause or error):
            return _Told(fault=ChannelError("No connection to Firebase.", retry_after=pace.REST))
        return _Told(
            fault=ChannelError(
                "Firebase did not answer.", is_ambiguous=True, retry_after=pace.REST
            ),
        )
    status = response.status_code
    if isinstance(error, exceptions.InvalidArgumentError):
        violations = _violations(response)
        if any(field == "message.token" for field, _ in violations) or _is_no_token(error):
            return _Told(gone=DeviceGone.INVALID_TOKEN)
        what = "; ".join(f"{field}: {text}" for field, text in violations) or str(error)
        return _Told(
            fault=ChannelError(f"Firebase refuses the message: {_brief(what)}", is_permanent=True)
        )
    text = f"Firebase answered {status} ({error.code})."
    if isinstance(error, messaging.ThirdPartyAuthError):
        text = (
            "Firebase may not reach Apple or the browsers' push service: renew the APNs key or the Web "
            "Push certificate in the Firebase console."
        )
    elif isinstance(error, exceptions.PermissionDeniedError):
        text = (
            "The service account may not send: give it the role Firebase Cloud Messaging API Admin, and "
            "enable the Firebase Cloud Messaging API in its project."
        )
    elif isinstance(error, exceptions.NotFoundError):
        text = "Firebase knows no project of that name: save the service account again."
    return _Told(
        fault=ChannelError(
            text,
            is_ambiguous=status == _GATEWAY_TIMEOUT,
            retry_after=_retry_after(response, status),
        )
    )


def _is_no_token(error: Exception) -> bool:
    return "not a valid FCM registration token" in str(error)


def _details(response: Any) -> Iterable[dict[str, Any]]:
    """Return the details of an error of Google's, whatever the server sent instead."""
    try:
        found = response.json()["error"]["details"]
    except (ValueError, KeyError, TypeError):
        return []
    return _dicts_of(found)


def _violations(response: Any) -> list[tuple[str, str]]:
    return [
        (str(each.get("field", "")), str(each.get("description", "")))
        for detail in _details(response)
        for each in _dicts_of(detail.get("fieldViolations"))
    ]


def _dicts_of(found: object) -> list[dict[str, Any]]:
    return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []


def _retry_after(response: Any, status: int) -> timedelta | None:
    """Return how long the server wants to be left alone: by its header, or its RetryInfo."""
    if status != _TOO_MANY and status < _SERVER_ERROR:
        return None
    wait = retry_after(response.headers.get("Retry-After", ""))
    if wait is not None:
        return wait
    for detail in _details(response):
        delay = str(detail.get("retryDelay", "")).removesuffix("s")
        if delay.replace(".", "", 1).isdecimal():
            return timedelta(seconds=min(float(delay), 86_400))
    # As long as Google asks for where it names no time.
    return pace.PAUSE if status == _TOO_MANY else None


def _summed(told: Sequence[_Told], *, dead: tuple[str, ...]) -> SendResult:
    """Return what became of the message on all devices; raise its fault if none of them has it."""
    taken = [each.name for each in told if each.name]
    if taken:
        return SendResult(provider_message_id=taken[0], dead=dead, accepted=len(taken))
    faults = [each.fault for each in told if each.fault]
    if not faults:
        gone = told[0].gone
        what = {
            DeviceGone.OTHER_PROJECT: "Its device belongs to another Firebase project than the account.",
            DeviceGone.INVALID_TOKEN: "What the device registered is no token of Firebase.",
        }.get(gone or DeviceGone.UNREGISTERED, "The app or the permission is gone from the device.")
        raise ChannelError(what, is_address_dead=True)
    # The least certain one decides: nothing is sent again that may be there.
    worst = max(faults, key=lambda fault: (fault.is_ambiguous, not fault.is_permanent))
    pauses = [fault.retry_after for fault in faults if fault.retry_after]
    raise ChannelError(
        str(worst),
        is_permanent=worst.is_permanent,
        is_ambiguous=worst.is_ambiguous,
        retry_after=max(pauses, default=None),
    )


def _brief(said: object) -> str:
    """Return the first words of what was said; a token in it is cut out."""
    words = (word if len(word) < 60 else "<token>" for word in str(said).split())
    return " ".join(words)[:300]
