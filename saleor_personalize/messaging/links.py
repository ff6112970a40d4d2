"""The links of a message: back to the cart, to the preferences, out, and the one that confirms a yes."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote, urlencode, urlsplit, urlunsplit

from django.core import signing
from django.urls import reverse

from saleor_personalize.conf import settings
from saleor_personalize.exceptions import InvalidToken, TemplateIncomplete
from saleor_personalize.models import Installation, Message, Profile, StockAlert

#: Stands in a cart link for the cart.
CHECKOUT_PLACEHOLDER = "{checkout_id}"
_UNSUBSCRIBE = "saleor_personalize.unsubscribe"
_PREFERENCES = "saleor_personalize.preferences"
_CONFIRMATION = "saleor_personalize.confirmation"
_STOCK_ALERT = "saleor_personalize.stock_alert"
_CLICK = "saleor_personalize.click"
_VIEW = "saleor_personalize.view"


@dataclass(frozen=True)
class UnsubscribeClaims:
    """Whom an unsubscribe link is about. It holds no address, and never expires."""

    installation_id: int
    profile_id: str
    address_hash: str


@dataclass(frozen=True)
class PreferencesClaims:
    """Whose preferences a link opens, and the language of the message it stood in. It never expires."""

    installation_id: int
    profile_id: str
    address_hash: str
    language_code: str


@dataclass(frozen=True)
class StockAlertClaims:
    """Which sign-up a link is about. `is_all`: it came by mail, so it speaks for all of the same address."""

    installation_id: int
    alert_id: str
    is_all: bool


@dataclass(frozen=True)
class ConfirmationClaims:
    """Whose yes a link confirms, and until when (seconds since 1970). It holds no address."""

    installation_id: int
    profile_id: str
    address_hash: str
    expires_at: int


@dataclass(frozen=True)
class ClickClaims:
    """Where a link of a mail leads, of which message, and until when (seconds since 1970)."""

    installation_id: int
    message_id: str
    url: str
    expires_at: int


@dataclass(frozen=True)
class ViewClaims:
    """Which mail a browser shows, and until when (seconds since 1970)."""

    installation_id: int
    message_id: str
    expires_at: int


def unsubscribe_url(*, profile: Profile, address_hash: str) -> str:
    """Return the https address that unsubscribes this person here, by button or by one-click POST.

    Raises TemplateIncomplete when the service does not know its own address.
    """
    return _url("unsubscribe", _UNSUBSCRIBE, _whom(profile, address_hash))


def preferences_url(*, profile: Profile, address_hash: str, language_code: str) -> str:
    """Return the https address of a person's preference centre. Raises TemplateIncomplete as above."""
    return _url("preferences", _PREFERENCES, [*_whom(profile, address_hash), language_code])


def confirmation_url(*, profile: Profile, address_hash: str, expires_at: datetime) -> str:
    """Return the https address that confirms a yes until `expires_at`. Raises TemplateIncomplete."""
    claims = [*_whom(profile, address_hash), int(expires_at.timestamp())]
    return _url("confirm", _CONFIRMATION, claims)


def click_url(*, message: Message, url: str, expires_at: datetime) -> str:
    """Return the https address that leads on to `url` and notes that it was followed. TemplateIncomplete."""
    claims = [
        message.installation_id, message.public_id.hex, url, int(expires_at.timestamp())
    ]  # fmt: skip
    return _url("click", _CLICK, claims)


def view_url(*, message: Message, expires_at: datetime) -> str:
    """Return the https address that shows a mail in a browser until then. Raises TemplateIncomplete."""
    claims = [message.installation_id, message.public_id.hex, int(expires_at.timestamp())]
    return _url("view", _VIEW, claims)


def probe_url(*, installation: Installation) -> str:
    """Return an unsubscribe link of nobody: it answers as all do, and changes nothing. TemplateIncomplete."""
    return _url("unsubscribe", _UNSUBSCRIBE, [installation.pk, "", ""])


def stock_alerts_url(*, alert: StockAlert) -> str:
    """Return the https address at which the reader of a message waits no longer. Raises TemplateIncomplete."""
    return _url("stock-alert", _STOCK_ALERT, [alert.installation_id, alert.public_id.hex, True])


def stock_alert_token(alert: StockAlert) -> str:
    """Return what lets whoever filled in a form see and cancel this one sign-up."""
    claims = [alert.installation_id, alert.public_id.hex, False]
    return signing.dumps(claims, salt=_STOCK_ALERT, compress=True)


def read_stock_alert_token(token: str) -> StockAlertClaims:
    """Return what a token of ours says; raise InvalidToken for anything else."""
    return StockAlertClaims(*_read(token, _STOCK_ALERT, (int, str, bool)))


def read_click_token(token: str) -> ClickClaims:
    """Return what a token of ours says, expired or not; raise InvalidToken for anything else."""
    return ClickClaims(*_read(token, _CLICK, (int, str, str, int)))


def read_view_token(token: str) -> ViewClaims:
    """Return what a token of ours says, expired or not; raise InvalidToken for anything else."""
    return ViewClaims(*_read(token, _VIEW, (int, str, int)))


def read_unsubscribe_token(token: str) -> UnsubscribeClaims:
    """Return what a token of ours says; raise InvalidToken for anything else."""
    return UnsubscribeClaims(*_read(token, _UNSUBSCRIBE, (int, str, str)))


def read_preferences_token(token: str) -> PreferencesClaims:
    """Return what a token of ours says; raise InvalidToken for anything else."""
    return PreferencesClaims(*_read(token, _PREFERENCES, (int, str, str, str)))


def read_confirmation_token(token: str) -> ConfirmationClaims:
    """Return what a token of ours says, expired or not; raise InvalidToken for anything else."""
    return ConfirmationClaims(*_read(token, _CONFIRMATION, (int, str, str, int)))


def _whom(profile: Profile, address_hash: str) -> list[Any]:
    return [profile.installation_id, profile.public_id.hex, address_hash]


def _url(kind: str, salt: str, claims: list[Any]) -> str:
    if not settings.APP_URL:
        raise TemplateIncomplete(f"{kind}_url", "set SALEOR_PERSONALIZE['APP_URL'].")
    token = signing.dumps(claims, salt=salt, compress=True)
    path = reverse(f"personalize-{kind}", kwargs={"token": token})
    return f"{settings.APP_URL.rstrip('/')}{path}"


def _read(token: str, salt: str, types: tuple[type, ...]) -> list[Any]:
    try:
        claims = signing.loads(token, salt=salt)
    except (signing.BadSignature, ValueError, TypeError):
        raise InvalidToken("This link is not one of ours, or was cut short.") from None
    if not isinstance(claims, list) or [type(claim) for claim in claims] != list(types):
        raise InvalidToken("This link is of another kind.")
    return claims


def cart_url(*, installation: Installation, checkout_id: str, channel_slug: str) -> str:
    """Return the storefront's address of a cart.

    The installation's own pattern, else `CHECKOUT_URL`; `{checkout_id}` and `{channel}` are filled
    in. Raises TemplateIncomplete when there is none, or it is not a web address.
    """
    pattern = installation.checkout_url or settings.CHECKOUT_URL or ""
    url = pattern.replace(CHECKOUT_PLACEHOLDER, quote(checkout_id, safe="=")).replace(
        "{channel}", quote(channel_slug, safe="")
    )
    if urlsplit(url).scheme not in {"http", "https"} or CHECKOUT_PLACEHOLDER not in pattern:
        raise TemplateIncomplete(
            "cart_url",
            "set the cart link on the app's Dashboard page (or SALEOR_PERSONALIZE['CHECKOUT_URL']), "
            "for example https://store.example/checkout?checkout={checkout_id}.",
        )
    return url


def shop_hosts(installation: Installation) -> frozenset[str]:
    """Return the hosts (with their port, if any) of a shop's storefronts, as its settings name them."""
    patterns = (
        installation.checkout_url, settings.CHECKOUT_URL, settings.PRODUCT_URL, settings.OFFER_URL,
        *installation.storefront_origins, *settings.STOREFRONT_ORIGINS,
    )  # fmt: skip
    hosts = (urlsplit(pattern or "").netloc.lower() for pattern in patterns)
    return frozenset(host for host in hosts if host and not set(host) & set("{}@"))


def leads_to_shop(url: str, hosts: Collection[str]) -> bool:
    """Tell whether a link leads to one of these hosts, and nowhere else."""
    # Browsers read backslashes and spaces in their own way.
    if any(char in url for char in "\\\t\r\n") or url != url.strip():
        return False
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and parts.netloc.lower() in hosts


def with_code(*, url: str, code: str) -> str:
    """Return a link of the storefront that carries a voucher's code, as PROMO_CODE_PARAMETER."""
    parts = urlsplit(url)
    query = "&".join(filter(None, (parts.query, urlencode({settings.PROMO_CODE_PARAMETER: code}))))
    return urlunsplit(parts._replace(query=query))


def offer_url(*, code: str, channel_slug: str) -> str:
    """Return the storefront's address that takes a code; "" when OFFER_URL is not set."""
    pattern = settings.OFFER_URL or ""
    return pattern.replace("{code}", quote(code, safe="")).replace(
        "{channel}", quote(channel_slug, safe="")
    )


def product_url(*, slug: str, product_id: str, channel_slug: str) -> str:
    """Return the storefront's page of a product; "" when PRODUCT_URL is not set."""
    url = settings.PRODUCT_URL or ""
    values = {"{slug}": slug, "{product_id}": product_id, "{channel}": channel_slug}
    for place, value in values.items():
        url = url.replace(place, quote(value, safe=""))
    return url
