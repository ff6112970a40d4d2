"""The service account by which a shop sends push: read, kept encrypted, checked, taken away."""

from __future__ import annotations

import json
import re
from datetime import datetime
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from django.db import transaction
from django.utils.translation import gettext as _

from saleor_personalize.conf import build_backend
from saleor_personalize.enums import DeliveryChannel
from saleor_personalize.exceptions import ChannelError, PushAccountRefused
from saleor_personalize.models import Installation, PushAccount
from saleor_personalize.profiles import devices

#: Google's files have 2,400 bytes.
MAX_BYTES = 10_000
_PROJECT = re.compile(r"[a-z0-9:.-]{4,100}")
_EMAIL = re.compile(r"[\w.+-]{1,100}@[\w.-]{1,200}\.gserviceaccount\.com")
#: What is kept of the file. Where to sign in is not: we know that ourselves.
_KEPT = ("type", "project_id", "private_key_id", "private_key", "client_email", "client_id")


def account_of(*, installation: Installation) -> PushAccount | None:
    """Return the shop's service account; None: the shop sends no push."""
    return PushAccount.objects.of(installation).first()


def save(
    *, installation: Installation, text: str, now: datetime, created_by: str = ""
) -> PushAccount:
    """Keep the JSON file of a service account, in place of the one before.

    Devices that the project before did not know live again. Nothing is asked of Google: `check` does.
    Raises PushAccountRefused with what is wrong, never with what the file holds.
    """
    read = _read(text)
    with transaction.atomic():
        # The lock makes two that save at once follow each other.
        Installation.objects.select_for_update().get(pk=installation.pk)
        before = account_of(installation=installation)
        if before is not None and before.project_id != read["project_id"]:
            devices.take_back(installation=installation)
        account, _is_new = PushAccount.objects.update_or_create(
            installation=installation,
            defaults={
                "service_account": json.dumps(read),
                "project_id": read["project_id"],
                "client_email": read["client_email"],
                "saved_at": now,
                "created_by": created_by,
                "tested_at": None,
                "fault": "",
            },
        )
    return account


def _read(text: str) -> dict[str, str]:
    if len(text) > MAX_BYTES:
        raise PushAccountRefused(_("This is larger than any service account."))
    try:
        given: Any = json.loads(text)
    except (ValueError, RecursionError):
        raise PushAccountRefused(
            _("This is no JSON. Paste the whole file as the Firebase console gave it.")
        ) from None
    if not isinstance(given, dict) or given.get("type") != "service_account":
        raise PushAccountRefused(
            _(
                "This is JSON, but no service account. In the Firebase console open Project settings > "
                "Service accounts > Generate new private key."
            )
        )
    read = {name: given[name] for name in _KEPT if isinstance(given.get(name), str)}
    for name, form in (("project_id", _PROJECT), ("client_email", _EMAIL)):
        if not form.fullmatch(read.get(name, "")):
            raise PushAccountRefused(
                _("Its field %(name)s is missing or not of that form.") % {"name": name}
            )
    try:
        key: object = load_pem_private_key(read.get("private_key", "").encode(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, RSAPrivateKey):
        raise PushAccountRefused(
            _("Its private key cannot be read: a line may have been lost while copying.")
        )
    return read


def remove(*, installation: Installation) -> bool:
    """Forget the account; tell whether there was one. Push is not sent any more."""
    deleted, _counts = PushAccount.objects.of(installation).delete()
    return bool(deleted)


def check(*, installation: Installation, now: datetime, token: str = "") -> str:
    """Have Firebase check the account without delivering anything; return what is wrong, or "".

    `token`: of a device that is checked as well. Raises PushAccountRefused when there is no account, or
    push goes another way than through Firebase.
    """
    account = account_of(installation=installation)
    if account is None:
        raise PushAccountRefused(_("There is no service account yet."))
    channel = build_backend("CHANNELS", DeliveryChannel.PUSH)
    if not hasattr(channel, "validate"):
        raise PushAccountRefused(
            _("CHANNELS names another way for push, which has no test of this kind.")
        )
    fault = ""
    try:
        channel.validate(account.service_account, token=token)
    except ChannelError as error:
        fault = str(error)
    if not token:
        PushAccount.objects.of(installation).filter(pk=account.pk).update(
            tested_at=now, fault=fault
        )
    return fault
