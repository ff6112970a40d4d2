"""Columns that are encrypted at rest, and the keyed hash that makes an address comparable."""

import base64
import functools
import hashlib
import hmac
import unicodedata
import zlib
from datetime import UTC, date, datetime
from typing import Any

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings as django_settings
from django.core.signals import setting_changed
from django.db import models

from saleor_personalize.conf import settings
from saleor_personalize.exceptions import ConfigurationError


@functools.cache
def _derived_key(label: str) -> bytes:
    return hashlib.sha256(f"{label}:{django_settings.SECRET_KEY}".encode()).digest()


@functools.cache
def _fernet() -> MultiFernet:
    keys = list(settings.ENCRYPTION_KEYS) or [base64.urlsafe_b64encode(_derived_key("fernet"))]
    try:
        return MultiFernet([Fernet(key) for key in keys])
    except ValueError as error:
        raise ConfigurationError(
            "SALEOR_PERSONALIZE['ENCRYPTION_KEYS'] holds a value that is not a Fernet key. "
            "Make one with `saleor-personalize generate-key`."
        ) from error


def _forget_keys(*, setting: str, **_: object) -> None:
    if setting in {"SALEOR_PERSONALIZE", "SECRET_KEY"}:
        _derived_key.cache_clear()
        _fernet.cache_clear()


setting_changed.connect(_forget_keys, dispatch_uid="saleor_personalize.models.fields")


def encrypt(text: str) -> str:
    return encrypt_bytes(text.encode()).decode()


def encrypt_bytes(content: bytes) -> bytes:
    return _fernet().encrypt(content)


def decrypt(token: str) -> str:
    return decrypt_bytes(token.encode()).decode()


def decrypt_bytes(token: bytes) -> bytes:
    try:
        return _fernet().decrypt(token)
    except InvalidToken as error:
        raise ConfigurationError(
            "A stored secret cannot be decrypted: SALEOR_PERSONALIZE['ENCRYPTION_KEYS'] (or SECRET_KEY) "
            "changed. Put the old key back at the end of the list."
        ) from error


def email_hash(address: str) -> str:
    """Return the keyed hash (HMAC-SHA256, hex) by which equal addresses are found.

    Case, surrounding space and how accents are composed do not matter. The key derives from
    SECRET_KEY, so that a leaked table cannot be matched against a list of addresses.
    """
    # Not casefold: it makes "ss" of "ß" and one person of two.
    text = unicodedata.normalize("NFC", address.strip().lower())
    return hmac.digest(_derived_key("email"), text.encode(), "sha256").hex()


def keyed_hash(label: str, text: str) -> str:
    """Return the HMAC-SHA256 (hex) of a text under a key of its own, derived from SECRET_KEY."""
    return hmac.digest(_derived_key(label), text.encode(), "sha256").hex()


class EncryptedTextField(models.TextField):  # type: ignore[type-arg,unused-ignore]
    """Text that the database only ever sees encrypted (Fernet). It cannot be filtered on."""

    def get_prep_value(self, value: Any) -> Any:
        return value if value in (None, "") else encrypt(value)

    def from_db_value(self, value: str | None, *_: object) -> str | None:
        return decrypt(value) if value else value


class EncryptedPageField(models.BinaryField):  # type: ignore[type-arg,unused-ignore]
    """A long text that the database only ever sees compressed and encrypted."""

    def get_prep_value(self, value: Any) -> Any:
        return None if value is None else encrypt_bytes(zlib.compress(value.encode()))

    def from_db_value(self, value: Any, *_: object) -> str | None:
        return None if value is None else zlib.decompress(decrypt_bytes(bytes(value))).decode()


def month_of(moment: datetime) -> date:
    """Return the first day of the month (UTC) in which a moment lies."""
    at = moment.astimezone(UTC)
    return date(at.year, at.month, 1)


class MonthField(models.DateField):  # type: ignore[type-arg,unused-ignore]
    """The month of another field of the row, written along with it: what a table is partitioned by."""

    def __init__(self, *, of: str, **options: Any) -> None:
        super().__init__(editable=False, **options)
        self.of = of

    def deconstruct(self) -> Any:
        name, path, args, options = super().deconstruct()
        del options["editable"]
        return name, path, args, {**options, "of": self.of}

    def pre_save(self, model_instance: models.Model, add: bool) -> date:
        month = month_of(getattr(model_instance, self.of))
        setattr(model_instance, self.attname, month)
        return month
