"""E-mail through any provider that Anymail or Django's SMTP backend speaks to (`EMAIL_BACKEND`)."""

from __future__ import annotations

import logging
import re
import smtplib
from collections.abc import Mapping, Sequence
from datetime import timedelta
from email.utils import parseaddr
from typing import Any, ClassVar

from anymail.exceptions import (
    AnymailAPIError,
    AnymailError,
    AnymailRecipientsRefused,
    AnymailUnsupportedFeature,
)
from anymail.message import AnymailMessage
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.utils import timezone
from django.utils.encoding import punycode

from saleor_personalize.conf import entry_fault
from saleor_personalize.enums import DeliveryChannel
from saleor_personalize.exceptions import ChannelError
from saleor_personalize.messaging import pace
from saleor_personalize.messaging.channels import connections, tracking
from saleor_personalize.messaging.channels.base import (
    Capabilities,
    Channel,
    OutgoingMessage,
    SendResult,
)
from saleor_personalize.messaging.channels.connections import Connection
from saleor_personalize.messaging.channels.faults import never_connected, retry_after

logger = logging.getLogger(__name__)

_ADDRESS = re.compile(r"[^\s<>\"'(,;:]+@[^\s<>\"'),;:]+")
#: Wrong or blocked key, no credit, an unknown domain of the sender, too many requests: nothing of that is about
#: this recipient, and another try, or another provider, can help.
_OUR_FAULT = {401, 402, 403, 404, 408, 429}
_SERVER_ERROR, _REFUSED, _TOO_MANY = 500, 400, 429
_FORBIDDEN = 403
#: Amazon says nearly everything with 400: what is about this message, and what is too much for now; the rest is
#: about the account, such as keys that have expired, or may be.
_SES_REFUSES = {"BadRequestException", "MessageRejected"}
_SES_TOO_MANY = {"LimitExceededException", "Throttling", "ThrottlingException"}
#: So it refuses what is about the account as if it were about the message: a sender that it does not know (in its
#: sandbox a recipient), and an account that may not send, or not now.
_OF_ACCOUNT = re.compile(
    r"not verified|access denied|not authorized|sending (?:is )?(?:paused|suspended)", re.IGNORECASE
)
#: By which a mail server says that it is too much for now (454 is Amazon's); unless it speaks of this one mailbox.
_BUSY = {421, 450, 451, 452, 454}
_HANGS_UP, _MAILBOX_BUSY = 421, 450
_OF_MAILBOX = re.compile(rb"\s*4\.[12]\.")
_ENHANCED = re.compile(rb"\s*4\.\d+\.\d+")


class EmailChannel(Channel):
    """`tags`: words under which the provider files these messages, where it knows tags.

    `providers`: e-mail backends by dotted path, or {"BACKEND": path, "OPTIONS": its arguments}, first
    choice first; none means Django's `EMAIL_BACKEND`. The next one is tried only when the one before
    certainly has not got the message, and did not refuse it for good; and while the one before wants to be
    left alone. An API that breaks may have the message, so that one is UNCERTAIN; the next ones go elsewhere for
    a moment, or wait.
    """

    capabilities: ClassVar[Capabilities] = Capabilities(is_pooled=True)

    def __init__(
        self,
        tags: Sequence[str] = ("saleor-personalize",),
        providers: Sequence[str | Mapping[str, Any]] = (),
    ) -> None:
        self.tags = list(tags)
        if isinstance(providers, str) or not isinstance(providers, Sequence):
            raise ValueError("`providers` takes a list of e-mail backends")  # noqa: TRY004 (of settings)
        for number, entry in enumerate(providers, 1):
            if fault := entry_fault(entry):
                raise ValueError(f"provider {number} {fault}")
        self.providers: list[Mapping[str, Any]] = [
            {"BACKEND": entry} if isinstance(entry, str) else entry for entry in providers
        ] or [{"BACKEND": None}]

    def send(self, message: OutgoingMessage) -> SendResult:
        try:
            # Providers read a list, or a further header, where we mean one address.
            validate_email(message.recipient)
        except ValidationError:
            raise ChannelError("The address is not one mailbox.", is_permanent=True) from None
        if len(self.providers) == 1:
            return self._send(message, self.providers[0])
        return self._send_by_one_of(message)

    def _send_by_one_of(self, message: OutgoingMessage) -> SendResult:
        now = timezone.now()
        resting = pace.resting(delivery_channel=DeliveryChannel.EMAIL, now=now)
        fault: ChannelError | None = None
        waits: list[timedelta | None] = []
        for number, provider in enumerate(self.providers, 1):
            if str(number) in resting:
                waits.append(resting[str(number)] - now)
                continue
            try:
                return self._send(message, provider)
            except ChannelError as error:
                if error.retry_after is not None:
                    _leave_alone(message, number, error.retry_after)
                if error.is_ambiguous:
                    # Others go on with the next provider.
                    raise ChannelError(str(error), is_ambiguous=True) from None
                if error.is_permanent:
                    raise
                logger.warning("Provider %s of e-mail failed: %s", number, error)
                fault = error
                waits.append(error.retry_after)
        known = [wait for wait in waits if wait is not None]
        # Only when all of them want to be left alone, so does e-mail as a whole.
        raise ChannelError(
            str(fault or "Every provider of e-mail wants to be left alone."),
            retry_after=min(known) if len(known) == len(self.providers) else None,
        )

    def _send(self, message: OutgoingMessage, provider: Mapping[str, Any]) -> SendResult:
        mail, message_id = self._built(message)
        connection = _connected(provider)
        try:
            _deliver(mail, connection)
        except Exception as error:
            connections.drop(connection)
            if not (connection.is_used and _is_worn_out(error, connection)):
                raise _translate(error, is_body_out=connection.is_body_out) from None
            # It had died, or was full, before this message left.
            connection = _connected(provider)
            try:
                _deliver(mail, connection)
            except Exception as again:
                connections.drop(connection)
                raise _translate(again, is_body_out=connection.is_body_out) from None
        return SendResult(provider_message_id=mail.anymail_status.message_id or message_id)

    def _built(self, message: OutgoingMessage) -> tuple[AnymailMessage, str]:
        message_id = f"<{message.key}@{_domain(message.sender)}>"
        mail = AnymailMessage(
            subject=message.subject,
            body=message.text,
            from_email=message.sender,
            to=[message.recipient],
            headers={"Message-ID": message_id, **message.headers},
            tags=self.tags,
        )
        # Comes back with what the provider tells of it, also when its answer to us was lost.
        mail.metadata = {tracking.KEY: message.key}
        mail.attach_alternative(message.html, "text/html")
        return mail, message_id


def _connected(provider: Mapping[str, Any]) -> Connection:
    """Return an open connection. A provider that fails here is certain not to have the message."""
    try:
        connection = connections.get(provider)
    except Exception as error:
        # Whatever a backend that somebody wrote raises while it is made.
        raise ChannelError(f"The mail server's settings are wrong: {_safe(error)}") from None
    try:
        connection.begin()
    except (OSError, smtplib.SMTPException, AnymailError) as error:
        connections.drop(connection)
        raise ChannelError(
            f"No connection to the mail server: {_safe(error)}",
            retry_after=_pause_of(getattr(error, "smtp_code", 0), b"") or pace.REST,
        ) from None
    except Exception as error:
        # Libraries of providers have errors of their own for what they miss.
        connections.drop(connection)
        raise ChannelError(f"The mail server's settings are wrong: {_safe(error)}") from None
    return connection


def _deliver(mail: AnymailMessage, connection: Connection) -> None:
    mail.connection = connection.backend
    try:
        mail.send()
    except AnymailUnsupportedFeature:
        # Found before anything was sent: not every provider takes metadata.
        mail.metadata = {}
        mail.send()


def _is_worn_out(error: Exception, connection: Connection) -> bool:
    """Tell whether a connection that had carried messages broke, or took no more, before this one left."""
    is_full = getattr(error, "smtp_code", 0) == _HANGS_UP
    is_dead = isinstance(error, (OSError, smtplib.SMTPServerDisconnected))
    is_refusal = isinstance(error, (smtplib.SMTPResponseException, smtplib.SMTPRecipientsRefused))
    return not connection.is_body_out and (is_full or (is_dead and not is_refusal))


def _leave_alone(message: OutgoingMessage, number: int, wait: timedelta) -> None:
    """Have everybody use another provider for so long."""
    now = timezone.now()
    pace.pause(
        installation_id=message.installation_id,
        delivery_channel=DeliveryChannel.EMAIL,
        part=str(number),
        until=now + wait,
        now=now,
    )


def _translate(error: Exception, *, is_body_out: bool) -> ChannelError:
    """Sort what a provider says into: certainly not taken (for good or for now), and nobody knows.

    `is_body_out`: the server may have had the message in hand when it broke.
    """
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        ((code, said), *_others) = error.recipients.values()
        if code == _MAILBOX_BUSY and not _ENHANCED.match(said):
            # RFC 5321, 4.2.3: without an enhanced code it is about the mailbox.
            return ChannelError(f"The recipient's mailbox is busy ({code}): {_safe(said)}")
        return _refused("the recipient", code, said)
    if isinstance(error, smtplib.SMTPSenderRefused):
        # Whoever it would go to: the account is suspended, or the address not allowed to it.
        return _refused("the sender", error.smtp_code, error.smtp_error, is_permanent=False)
    if isinstance(error, smtplib.SMTPResponseException):
        is_ours = _OF_ACCOUNT.search(_text(error.smtp_error)) is not None
        return _refused(
            "the message",
            error.smtp_code,
            error.smtp_error,
            is_permanent=False if is_ours else None,
        )
    if isinstance(error, smtplib.SMTPNotSupportedError):
        return ChannelError(f"The mail server cannot take it: {_safe(error)}", is_permanent=True)
    if isinstance(error, AnymailRecipientsRefused):
        return ChannelError("The provider refused the recipient.", is_permanent=True)
    if isinstance(error, AnymailAPIError):
        return _translate_api(error)
    if isinstance(error, (AnymailError, ValueError)):
        return ChannelError(f"The message cannot be built: {_safe(error)}", is_permanent=True)
    if not is_body_out:
        return ChannelError(
            f"The connection broke before the message left: {_safe(error)}", retry_after=pace.REST
        )
    return ChannelError(
        f"The connection broke while the message was on its way: {_safe(error)}",
        is_ambiguous=True,
        retry_after=pace.REST,
    )


def _refused(
    what: str, code: int, said: bytes | str, *, is_permanent: bool | None = None
) -> ChannelError:
    return ChannelError(
        f"The mail server refused {what} ({code}): {_safe(said)}",
        is_permanent=code >= _SERVER_ERROR if is_permanent is None else is_permanent,
        retry_after=_pause_of(code, said.encode() if isinstance(said, str) else said),
    )


def _pause_of(code: int, said: bytes) -> timedelta | None:
    """Return how long a mail server is left alone that answered so; None: it speaks of this message."""
    return pace.PAUSE if code in _BUSY and not _OF_MAILBOX.match(said) else None


def _translate_api(error: AnymailAPIError) -> ChannelError:
    status = _status_of(error)
    if status is None:
        if never_connected(error):
            return ChannelError("No connection to the provider's API.", retry_after=pace.REST)
        return ChannelError(
            "The provider's API did not answer.", is_ambiguous=True, retry_after=pace.REST
        )
    code, _said = _told_by_amazon(getattr(error, "response", None))
    text = f"The provider's API answered {code or status}."
    if status >= _SERVER_ERROR:
        return ChannelError(text, is_ambiguous=True, retry_after=pace.REST)
    if status < _REFUSED:
        return ChannelError(f"{text} What else it said cannot be read.", is_ambiguous=True)
    return ChannelError(
        text,
        is_permanent=status not in _OUR_FAULT,
        retry_after=_pause_of_api(error) if status == _TOO_MANY else None,
    )


def _status_of(error: AnymailAPIError) -> int | None:
    """Return the status of HTTP by which an API answered; None: it did not."""
    response = getattr(error, "response", None)
    status: int | None
    if not isinstance(response, Mapping):
        status = error.status_code
        return status
    # boto3 has read the answer already.
    status = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
    code, said = _told_by_amazon(response)
    if status != _REFUSED or (code in _SES_REFUSES and not _OF_ACCOUNT.search(said)):
        return status
    return _TOO_MANY if code in _SES_TOO_MANY else _FORBIDDEN


def _told_by_amazon(response: object) -> tuple[str, str]:
    """Return the name of an error of Amazon's and what it says of it."""
    told = response.get("Error", {}) if isinstance(response, Mapping) else {}
    return str(told.get("Code") or ""), str(told.get("Message") or "")


def _pause_of_api(error: AnymailAPIError) -> timedelta:
    headers = getattr(getattr(error, "response", None), "headers", {})
    return retry_after(headers.get("Retry-After", "")) or pace.PAUSE


def _safe(said: object) -> str:
    """Return what a server said, short and without addresses."""
    return _ADDRESS.sub("<address>", _text(said))[:300]


def _text(said: object) -> str:
    return said.decode(errors="replace") if isinstance(said, bytes) else str(said)


def _domain(sender: str) -> str:
    return punycode(parseaddr(sender)[1].rpartition("@")[2]) or "localhost"
