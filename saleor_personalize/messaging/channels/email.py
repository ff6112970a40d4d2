"""E-mail through any provider that Anymail or Django's SMTP backend speaks to (`EMAIL_BACKEND`)."""

from __future__ import annotations

import logging
import re
import smtplib
from collections.abc import Mapping, Sequence
from email.utils import parseaddr
from typing import Any

from anymail.exceptions import (
    AnymailAPIError,
    AnymailError,
    AnymailRecipientsRefused,
    AnymailUnsupportedFeature,
)
from anymail.message import AnymailMessage
from django.core.exceptions import ImproperlyConfigured, ValidationError
from django.core.mail import get_connection
from django.core.validators import validate_email
from django.utils.encoding import punycode

from saleor_personalize.exceptions import ChannelError
from saleor_personalize.messaging.channels import tracking
from saleor_personalize.messaging.channels.base import Channel, OutgoingMessage, SendResult
from saleor_personalize.messaging.channels.faults import never_connected

logger = logging.getLogger(__name__)

_ADDRESS = re.compile(r"[^\s<>\"'(,;:]+@[^\s<>\"'),;:]+")
#: Wrong or blocked key, too many requests: another try, or another provider, can help.
_OUR_FAULT = {401, 403, 429}
_SERVER_ERROR = 500


class EmailChannel(Channel):
    """`tags`: words under which the provider files these messages, where it knows tags.

    `providers`: e-mail backends by dotted path, or {"BACKEND": path, "OPTIONS": its arguments}, first
    choice first; none means Django's `EMAIL_BACKEND`. The next one is tried only when the one before
    certainly has not got the message, and did not refuse it for good.
    """

    def __init__(
        self,
        tags: Sequence[str] = ("saleor-personalize",),
        providers: Sequence[str | Mapping[str, Any]] = (),
    ) -> None:
        self.tags = list(tags)
        self.providers = [
            {"BACKEND": entry} if isinstance(entry, str) else entry for entry in providers
        ] or [{"BACKEND": None}]

    def send(self, message: OutgoingMessage) -> SendResult:
        try:
            # Providers read a list, or a further header, where we mean one address.
            validate_email(message.recipient)
        except ValidationError:
            raise ChannelError("The address is not one mailbox.", is_permanent=True) from None
        *others, last = self.providers
        for provider in others:
            try:
                return self._send(message, provider)
            except ChannelError as error:
                if error.is_permanent or error.is_ambiguous:
                    raise
                logger.warning("%s failed, the next is tried: %s", provider["BACKEND"], error)
        return self._send(message, last)

    def _send(self, message: OutgoingMessage, provider: Mapping[str, Any]) -> SendResult:
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
        # A provider that fails before the first byte of the message is certain not to have it.
        try:
            connection = get_connection(provider["BACKEND"], **provider.get("OPTIONS", {}))
            connection.open()
        except (OSError, smtplib.SMTPException, AnymailError) as error:
            raise ChannelError(f"No connection to the mail server: {_safe(error)}") from None
        except (ImportError, ImproperlyConfigured, TypeError) as error:
            raise ChannelError(f"The mail server's settings are wrong: {_safe(error)}") from None
        mail.connection = connection
        try:
            try:
                mail.send()
            except AnymailUnsupportedFeature:
                # Found before anything was sent: not every provider takes metadata.
                mail.metadata = {}
                mail.send()
        except Exception as error:
            raise _translate(error) from None
        finally:
            _close(connection)
        return SendResult(provider_message_id=mail.anymail_status.message_id or message_id)


def _close(connection: object) -> None:
    """Say goodbye. The message is out or refused by now: a server that hangs up first is no error."""
    try:
        connection.close()  # type: ignore[attr-defined]
    except (OSError, smtplib.SMTPException):
        return


def _translate(error: Exception) -> ChannelError:
    """Sort what a provider says into: certainly not taken (for good or for now), and nobody knows."""
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        codes = [code for code, _ in error.recipients.values()]
        said = "; ".join(_safe(text) for _, text in error.recipients.values())
        return _refused("the recipient", min(codes), said)
    if isinstance(error, smtplib.SMTPSenderRefused):
        return _refused("the sender", error.smtp_code, _safe(error.smtp_error))
    if isinstance(error, smtplib.SMTPResponseException):
        return _refused("the message", error.smtp_code, _safe(error.smtp_error))
    if isinstance(error, smtplib.SMTPNotSupportedError):
        return ChannelError(f"The mail server cannot take it: {_safe(error)}", is_permanent=True)
    if isinstance(error, AnymailRecipientsRefused):
        return ChannelError("The provider refused the recipient.", is_permanent=True)
    if isinstance(error, AnymailAPIError):
        return _translate_api(error)
    if isinstance(error, (AnymailError, ValueError)):
        return ChannelError(f"The message cannot be built: {_safe(error)}", is_permanent=True)
    return ChannelError(
        f"The connection broke while the message was on its way: {_safe(error)}", is_ambiguous=True
    )


def _refused(what: str, code: int, said: str) -> ChannelError:
    return ChannelError(
        f"The mail server refused {what} ({code}): {said}", is_permanent=code >= _SERVER_ERROR
    )


def _translate_api(error: AnymailAPIError) -> ChannelError:
    status = error.status_code
    if status is None:
        if never_connected(error):
            return ChannelError("No connection to the provider's API.")
        return ChannelError("The provider's API did not answer.", is_ambiguous=True)
    text = f"The provider's API answered {status}."
    if status >= _SERVER_ERROR:
        return ChannelError(text, is_ambiguous=True)
    return ChannelError(text, is_permanent=status not in _OUR_FAULT)


def _safe(said: object) -> str:
    """Return what a server said, short and without addresses."""
    text = said.decode(errors="replace") if isinstance(said, bytes) else str(said)
    return _ADDRESS.sub("<address>", text)[:300]


def _domain(sender: str) -> str:
    return punycode(parseaddr(sender)[1].rpartition("@")[2]) or "localhost"
