"""Every error the app raises on purpose.

A message says what failed, where, which value (never a secret or an address) and what to do next.
"""

import traceback
from datetime import timedelta

from django.core.exceptions import ImproperlyConfigured


def kind_and_place(error: BaseException) -> str:
    """Return for a log what failed and where, without the error's text: it may quote personal data."""
    frames = "".join(traceback.format_tb(error.__traceback__))
    cause = error.__cause__ or error.__context__
    because = f"\nbecause of {kind_and_place(cause)}" if cause is not None else ""
    return f"{type(error).__name__} at\n{frames.rstrip()}{because}"


class PersonalizeError(Exception):
    """Something this app was asked to do could not be done."""


class ConfigurationError(ImproperlyConfigured):
    """A setting is wrong. Apart from `PersonalizeError`, so that nothing swallows it by accident."""


class InstallationRefused(PersonalizeError):
    """The register handshake was turned down. `code` is stable, the text is shown in the Dashboard."""

    def __init__(self, code: str, message: str, *, status: int = 400) -> None:
        super().__init__(message)
        self.code = code
        self.status = status


class WebhookRejected(PersonalizeError):
    """A webhook request was turned down before it was stored. `code` follows Saleor's app-sdk."""

    def __init__(self, code: str, message: str, *, status: int = 400) -> None:
        super().__init__(message)
        self.code = code
        self.status = status


class MalformedPayload(PersonalizeError):
    """A stored delivery or page does not have the shape its subscription query promises."""


class SaleorApiError(PersonalizeError):
    """A call to a shop's Saleor failed. `is_retryable` tells whether time alone may cure it."""

    def __init__(self, message: str, *, is_retryable: bool) -> None:
        super().__init__(message)
        self.is_retryable = is_retryable


class TokenRefused(SaleorApiError):
    """Saleor no longer accepts our app token: the app was deactivated or deleted there."""

    def __init__(self, message: str) -> None:
        super().__init__(message, is_retryable=False)


class InvalidToken(PersonalizeError):
    """A JWT or signed link is malformed, expired, or meant for somebody else."""


class ServerKeyRefused(PersonalizeError):
    """A server key cannot be made: of that name, or (`is_too_many`) beside those that there are."""

    def __init__(self, message: str, *, is_too_many: bool = False) -> None:
        super().__init__(message)
        self.is_too_many = is_too_many


class ExperimentRefused(PersonalizeError):
    """An experiment cannot be ended so. `code`: unknown_arm, holds_out_all or is_over."""

    def __init__(self, message: str, *, code: str) -> None:
        super().__init__(message)
        self.code = code


class KeysUnavailable(PersonalizeError):
    """A signature may be good, but the shop's key to tell cannot be had just now. Time may cure it."""


class LinkExpired(InvalidToken):
    """A signed link is one of ours, but its time is over."""


class CodeRefused(PersonalizeError):
    """A code proves nothing: it is not the one that was sent, or (`is_over`) a new one has to be asked for."""

    def __init__(self, message: str, *, is_over: bool = False) -> None:
        super().__init__(message)
        self.is_over = is_over


class AccessDenied(PersonalizeError):
    """The caller is known but may not do this."""


class PersonErased(PersonalizeError):
    """Facts would be recorded of somebody who was erased and does not come back."""


class UnknownAlias(PersonalizeError):
    """A recommender, placement, delivery channel or trigger of that name is not configured."""


class InvalidCursor(PersonalizeError):
    """A page was asked for after a place that no answer of ours names."""


class ChannelError(PersonalizeError):
    """A delivery channel could not hand a message over.

    `is_permanent`: trying again cannot help (bad address, refused content).
    `is_ambiguous`: the provider may have taken the message; it must not be sent again blindly.
    `retry_after`: how long the provider wants to be left alone.
    `is_address_dead`: nobody can be reached at this address any more; `has_unsubscribed`: its owner told the
    provider that they want nothing more. Both imply `is_permanent`.
    """

    def __init__(
        self,
        message: str,
        *,
        is_permanent: bool = False,
        is_ambiguous: bool = False,
        retry_after: timedelta | None = None,
        is_address_dead: bool = False,
        has_unsubscribed: bool = False,
    ) -> None:
        super().__init__(message)
        self.is_permanent = is_permanent or is_address_dead or has_unsubscribed
        self.is_ambiguous = is_ambiguous
        self.retry_after = retry_after
        self.is_address_dead = is_address_dead
        self.has_unsubscribed = has_unsubscribed


class OutgoingRefused(PersonalizeError):
    """An outgoing webhook cannot be as it was asked for, or cannot be used now. `field` is what to mend."""

    def __init__(self, message: str, *, field: str = "") -> None:
        super().__init__(message)
        self.field = field


class DeviceRefused(PersonalizeError):
    """A device cannot be registered for push as it was asked for. `field` is the argument to mend."""

    def __init__(self, message: str, *, field: str = "") -> None:
        super().__init__(message)
        self.field = field


class PushAccountRefused(PersonalizeError):
    """What was given is no service account of a Firebase project, or cannot be used now."""


class AddressRefused(PersonalizeError):
    """An outgoing webhook's address may not be called: what it is, or what its name resolves to."""


class OfferNotMade(PersonalizeError):
    """Saleor has no working code for an offer. `is_retryable`: time alone may cure it.

    `is_void`: nothing is wrong, the person ordered meanwhile.
    """

    def __init__(self, message: str, *, is_retryable: bool = False, is_void: bool = False) -> None:
        super().__init__(message)
        self.is_retryable = is_retryable
        self.is_void = is_void


class TemplateIncomplete(PersonalizeError):
    """A message lacks a value that its template prints, so it must not be sent."""

    def __init__(self, name: str, hint: str = "") -> None:
        super().__init__(
            f"The message needs {name!r}, which is missing: "
            + (hint or "test it with {% if %} in the template, or provide it.")
        )
        self.name = name


class TemplateBroken(TemplateIncomplete):
    """A template raises, works too long, or is too large, so nothing can be said with it."""

    def __init__(self, name: str, what: str) -> None:
        super().__init__(name)
        self.args = (f"The template {name!r} is broken: {what}",)


class MailTooLarge(TemplateIncomplete):
    """Mail programs would cut the message short, and with it the link that ends messages."""

    def __init__(self, size: int, limit: int) -> None:
        super().__init__("body.html")
        self.args = (
            f"The HTML of the message has {size} bytes; mail programs cut off what is longer than {limit}, "
            "and the unsubscribe link with it. Show fewer products, or a leaner template.",
        )


class NoWayOut(TemplateIncomplete):
    """A mail of marketing does not show how to end such mails."""

    def __init__(self) -> None:
        super().__init__("body.html")
        self.args = (
            "The HTML of the mail has no link to unsubscribe: link {{ unsubscribe_url }} or {{ preferences_url }} "
            "in body.html.",
        )


class TextTooLong(TemplateIncomplete):
    """A text message takes more segments than the shop pays for."""

    def __init__(self, count: int, limit: int, *, is_unicode: bool) -> None:
        super().__init__("sms.txt")
        why = (
            " (a character outside the GSM alphabet halves what fits into one)"
            if is_unicode
            else ""
        )
        self.args = (
            f"The text takes {count} segments{why}; SMS_MAX_SEGMENTS allows {limit}. Say it shorter.",
        )
