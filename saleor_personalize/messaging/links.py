"""The two links of a message: back to the cart, and out."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from django.core import signing
from django.urls import reverse

from saleor_personalize.conf import settings
from saleor_personalize.exceptions import InvalidToken, TemplateIncomplete
from saleor_personalize.models import Installation, Profile

_SALT = "saleor_personalize.unsubscribe"


@dataclass(frozen=True)
class UnsubscribeClaims:
    """Whom an unsubscribe link is about. It holds no address, and never expires."""

    installation_id: int
    profile_id: str
    address_hash: str


def unsubscribe_url(*, profile: Profile, address_hash: str) -> str:
    """Return the https address that unsubscribes this person here, by button or by one-click POST.

    Raises TemplateIncomplete when the service does not know its own address.
    """
    if not settings.APP_URL:
        raise TemplateIncomplete("unsubscribe_url", "set SALEOR_PERSONALIZE['APP_URL'].")
    token = signing.dumps(
        [profile.installation_id, profile.public_id.hex, address_hash], salt=_SALT, compress=True
    )
    path = reverse("personalize-unsubscribe", kwargs={"token": token})
    return f"{settings.APP_URL.rstrip('/')}{path}"


def read_unsubscribe_token(token: str) -> UnsubscribeClaims:
    """Return what a token of ours says; raise InvalidToken for anything else."""
    try:
        installation_id, profile_id, address_hash = signing.loads(token, salt=_SALT)
    except (signing.BadSignature, ValueError, TypeError):
        raise InvalidToken("This unsubscribe link is not one of ours, or was cut short.") from None
    return UnsubscribeClaims(
        installation_id=installation_id, profile_id=profile_id, address_hash=address_hash
    )


def cart_url(*, installation: Installation, checkout_id: str, channel_slug: str) -> str:
    """Return the storefront's address of a cart.

    The installation's own pattern, else `CHECKOUT_URL`; `{checkout_id}` and `{channel}` are filled
    in. Raises TemplateIncomplete when there is none, or it is not a web address.
    """
    pattern = installation.checkout_url or settings.CHECKOUT_URL or ""
    url = pattern.replace("{checkout_id}", quote(checkout_id, safe="=")).replace(
        "{channel}", quote(channel_slug, safe="")
    )
    if urlsplit(url).scheme not in {"http", "https"} or "{checkout_id}" not in pattern:
        raise TemplateIncomplete(
            "cart_url",
            "set the cart link on the app's Dashboard page (or SALEOR_PERSONALIZE['CHECKOUT_URL']), "
            "for example https://store.example/checkout?checkout={checkout_id}.",
        )
    return url
