"""The base of delivery channels for text messages: SMS, and WhatsApp by the same hands.

There are as many providers as countries, so none is built in: a shop names a plug-in of its own as
`CHANNELS["sms"]`. It says how its provider wants to be asked (`call`), what a yes and a no look like
(`accepted`, `refusal`), how it signs (`check`), and what it reports (`read`). What must never go wrong is
here: a message is handed over in one call that is never repeated, and whatever leaves open whether the
provider has it is told as such.
"""

from __future__ import annotations

import json
import re
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NoReturn
from urllib.parse import parse_qsl, urlencode

import httpx

from saleor_personalize.enums import MessageEventKind, Reply
from saleor_personalize.exceptions import ChannelError
from saleor_personalize.messaging import pace
from saleor_personalize.messaging.channels.base import Channel, OutgoingMessage, SendResult
from saleor_personalize.messaging.channels.faults import never_connected, retry_after

#: Of the address that a provider calls back: which message it is about.
KEY = "message"
#: E.164: what `recipient` is, and what reports have to name.
NUMBER = re.compile(r"\+[1-9]\d{6,14}")

_NUMBERS = re.compile(r"\+?\d[\d ()./-]{5,}\d")
_TOO_MANY, _SERVER_ERROR = 429, 500


@dataclass(frozen=True)
class Call:
    """One request to a provider: a POST with a `form`, or with a `body` that becomes JSON."""

    url: str
    form: Mapping[str, str] | None = field(default=None, repr=False)
    body: Any = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    #: User and password of HTTP basic authentication.
    auth: tuple[str, str] | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Answer:
    """What a provider answered. `data` is its JSON object, empty when it is none."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    data: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True)
class Callback:
    """A request of the provider: `url` is the whole address it called, `headers` have lower-case names."""

    url: str = field(repr=False)
    body: bytes = field(repr=False)
    content_type: str = ""
    query: Mapping[str, str] = field(default_factory=dict, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def form(self) -> dict[str, str]:
        """The fields of a form. Raises ValueError when the body is none."""
        return dict(parse_qsl(self.body.decode(), keep_blank_values=True))

    @property
    def data(self) -> Any:
        """The value of a body of JSON. Raises ValueError when the body is none."""
        return json.loads(self.body)


@dataclass(frozen=True)
class Report:
    """One thing that a provider says became of a message.

    `event_id` is unique among all that a shop is told. `number` is that of the person, in E.164;
    `message_id` what the provider calls the message, `key` what we do (see `callback_url`).
    """

    kind: MessageEventKind
    event_id: str
    number: str = field(default="", repr=False)
    message_id: str = ""
    key: str = ""
    at: datetime | None = None
    #: Of one that came back (BOUNCED): nobody can be reached at this number any more.
    is_hard: bool = False
    #: The provider's code; nothing personal.
    detail: str = ""


@dataclass(frozen=True)
class Written:
    """Somebody wrote back, from a `number` in E.164.

    `reply` is what the provider says that it means; without that the words of the text decide.
    """

    event_id: str
    number: str = field(repr=False)
    text: str = field(repr=False)
    at: datetime | None = None
    reply: Reply | None = None


class TextMessageChannel(Channel):
    """`timeout`: seconds for one call to the provider, to connect and to answer."""

    def __init__(self, *, timeout: float = 10.0) -> None:
        if not isinstance(timeout, int | float) or timeout <= 0:
            raise ValueError(f"`timeout` is {timeout!r}; it takes seconds, more than 0")
        self.timeout = timeout

    # -- what a plug-in says --------------------------------------------------------------------------

    @abstractmethod
    def call(self, message: OutgoingMessage, *, callback_url: str) -> Call:
        """Return the request that hands over a message to `message.recipient` (E.164).

        `callback_url` is where the provider shall report; it holds the message's key, by which a report
        is understood even when the answer to this call was lost. "" where the service has no address.
        """

    @abstractmethod
    def accepted(self, answer: Answer) -> str:
        """Return what the provider calls the message, read from an answer of 2xx; "" if it does not say."""

    @abstractmethod
    def refusal(self, answer: Answer) -> ChannelError:
        """Return the error that an answer below 500 is: `refused` puts it into words."""

    @abstractmethod
    def check(self, callback: Callback) -> None:
        """Raise WebhookRejected unless the provider signed this request."""

    @abstractmethod
    def read(self, callback: Callback) -> list[Report | Written]:
        """Return what a stored request says that concerns us. Raises MalformedPayload, ValueError, KeyError.

        Its `url` and `headers` are not kept, so they are empty here.
        """

    # -- what all of them do alike ----------------------------------------------------------------------

    def send(self, message: OutgoingMessage) -> SendResult:
        if not NUMBER.fullmatch(message.recipient):
            raise ChannelError("The recipient is no phone number in E.164.", is_permanent=True)
        answer = self._post(self.call(message, callback_url=callback_url(message)))
        if answer.status >= _SERVER_ERROR:
            raise ChannelError(
                f"The provider answered {answer.status}.", is_ambiguous=True, retry_after=pace.REST
            )
        if answer.status == _TOO_MANY:
            raise ChannelError(
                "The provider takes no more for now (429).",
                retry_after=retry_after(answer.headers.get("retry-after", "")) or pace.PAUSE,
            )
        if not 200 <= answer.status < 300:
            raise self.refusal(answer)
        name = self.accepted(answer)
        if not name:
            raise ChannelError(
                f"The provider answered {answer.status} and gave no name to the message.",
                is_ambiguous=True,
            )
        return SendResult(provider_message_id=name)

    def refused(
        self,
        answer: Answer,
        said: object = "",
        *,
        is_permanent: bool = True,
        is_address_dead: bool = False,
        has_unsubscribed: bool = False,
    ) -> ChannelError:
        """Return a refusal in words; numbers in what the provider said are cut out."""
        words = _NUMBERS.sub("<number>", " ".join(str(said).split()))[:300]
        return ChannelError(
            f"The provider refused the message ({answer.status}): {words}",
            is_permanent=is_permanent,
            is_address_dead=is_address_dead,
            has_unsubscribed=has_unsubscribed,
        )

    def _post(self, call: Call) -> Answer:
        try:
            # One connection for one message: on a kept one nobody knows whether a call was read.
            with httpx.Client(
                timeout=self.timeout, auth=call.auth, follow_redirects=False
            ) as client:
                response = client.post(
                    call.url,
                    data=None if call.form is None else dict(call.form),
                    json=call.body,
                    headers=dict(call.headers),
                )
        except (httpx.InvalidURL, httpx.UnsupportedProtocol):
            raise ChannelError("The provider's address is none.", is_permanent=True) from None
        except httpx.HTTPError as error:
            _raise_fault(error)
        try:
            data = response.json()
        except ValueError:
            data = {}
        headers = {name.lower(): value for name, value in response.headers.items()}
        return Answer(response.status_code, headers, data if isinstance(data, dict) else {})


def callback_url(message: OutgoingMessage) -> str:
    """Return where a provider shall report of a message, or "" when the service knows no address."""
    return f"{message.callback_url}?{urlencode({KEY: message.key})}" if message.callback_url else ""


def _raise_fault(error: httpx.HTTPError) -> NoReturn:
    # Of a proxy: that it did not lead on. One that breaks later has another name here.
    unmade = (httpx.ConnectError, httpx.ConnectTimeout, httpx.ProxyError)
    if isinstance(error, unmade) or never_connected(error):
        raise ChannelError("No connection to the provider.", retry_after=pace.REST) from None
    raise ChannelError(
        f"The provider did not answer ({type(error).__name__}).",
        is_ambiguous=True,
        retry_after=pace.REST,
    ) from None
