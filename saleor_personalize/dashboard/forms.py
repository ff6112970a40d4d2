"""What a shop owner sets on the page."""

from __future__ import annotations

from email.utils import parseaddr
from urllib.parse import urlsplit

from django import forms
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from saleor_personalize.conf import is_origin
from saleor_personalize.messaging.links import CHECKOUT_PLACEHOLDER

#: Digits of the largest primary key that PostgreSQL has room for, less one.
_ID_DIGITS = 18


def row_id(text: str) -> int | None:
    """Return the primary key that a form or an address hands back; None when it is none."""
    return int(text) if text.isdecimal() and len(text) <= _ID_DIGITS else None


class SettingsForm(forms.Form):
    """Sender, cart link and storefronts of one installation; empty means what the service has set."""

    sender = forms.CharField(
        label=gettext_lazy("Sender"),
        help_text=gettext_lazy(
            "Who the e-mails come from, such as: Example shop <hello@example.com>"
        ),
        max_length=320,
        required=False,
    )
    checkout_url = forms.CharField(
        label=gettext_lazy("Cart link"),
        help_text=gettext_lazy(
            "The page of your storefront that opens a cart. {checkout_id} stands for the cart."
        ),
        max_length=500,
        required=False,
    )
    storefront_origins = forms.CharField(
        label=gettext_lazy("Storefronts"),
        help_text=gettext_lazy(
            "Addresses whose pages may tell what visitors do, with spaces between them, such as: "
            "https://store.example.com"
        ),
        max_length=5_000,
        required=False,
    )

    def clean_sender(self) -> str:
        sender: str = self.cleaned_data["sender"].strip()
        if not sender:
            return ""
        try:
            # A line break would end the header that this becomes.
            validate_email(parseaddr(sender)[1] if sender.isprintable() else "")
        except ValidationError:
            raise ValidationError(
                _("This is no e-mail address. Write: Example shop <hello@example.com>")
            ) from None
        return sender

    def clean_checkout_url(self) -> str:
        url: str = self.cleaned_data["checkout_url"].strip()
        if not url:
            return ""
        try:
            parts = urlsplit(url)
        except ValueError:
            parts = urlsplit("")
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValidationError(_("This is no web address. It starts with https://"))
        if CHECKOUT_PLACEHOLDER not in url:
            raise ValidationError(
                _(
                    "Put {checkout_id} where the cart's id belongs, or every link opens the same page."
                )
            )
        return url

    def clean_storefront_origins(self) -> list[str]:
        # As browsers write an origin: no closing slash, small letters, no port that goes without saying.
        given = self.cleaned_data["storefront_origins"].replace(",", " ").lower().split()
        origins = list(
            dict.fromkeys(
                text.rstrip("/").removesuffix(":443" if text.startswith("https:") else ":80")
                for text in given
            )
        )
        for origin in origins:
            if not is_origin(origin):
                raise ValidationError(
                    _("%(origin)s is no address of a site. Write: https://store.example.com"),
                    params={"origin": origin},
                )
        return origins
