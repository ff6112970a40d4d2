"""Server keys: how the shop's own server proves that it speaks for the shop.

Saleor hands an app's token to the app alone, so a shop has nothing to show us; these keys are ours.
A key is `spk_<prefix>_<secret>`: the prefix finds the row, the hash of the whole key decides.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
import secrets
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import F, Q

from saleor_personalize.enums import InstallationStatus
from saleor_personalize.exceptions import AccessDenied, InvalidToken, ServerKeyRefused
from saleor_personalize.models import Installation, ServerKey
from saleor_personalize.saleor_api.auth import may_look_up

logger = logging.getLogger(__name__)

MARK = "spk_"
#: Keys of one shop that work at a time: one per server and one to rotate, not one per request.
MAX_LIVE = 20
MAX_NAME = 100
#: How exactly it is known when a key was last used.
COARSE = timedelta(hours=1)
_PREFIX_BYTES, _SECRET_BYTES = 6, 32
_KEY = re.compile(rf"{MARK}([0-9a-f]{{{2 * _PREFIX_BYTES}}})_[0-9a-f]{{{2 * _SECRET_BYTES}}}")


def create(
    *, installation: Installation, name: str, created_by: str, now: datetime
) -> tuple[ServerKey, str]:
    """Make a key; return it and its text, which cannot be had a second time.

    `created_by` is Saleor's global id of a staff member, or empty. Raises ServerKeyRefused for a name
    that is empty, longer than MAX_NAME or not printable, and beyond MAX_LIVE keys that work.
    """
    name = name.strip()
    if not may_look_up(name) or len(name) > MAX_NAME:
        raise ServerKeyRefused(
            f"A server key takes a name of 1 to {MAX_NAME} printable characters, such as the server "
            "that will use it."
        )
    prefix = secrets.token_hex(_PREFIX_BYTES)
    text = f"{MARK}{prefix}_{secrets.token_hex(_SECRET_BYTES)}"
    with transaction.atomic():
        # The lock makes two that are made at once count each other.
        Installation.objects.select_for_update().get(pk=installation.pk)
        live = ServerKey.objects.of(installation).filter(revoked_at=None).count()
        if live >= MAX_LIVE:
            raise ServerKeyRefused(
                f"{live} server keys of this shop work already. Revoke one that is not used any more.",
                is_too_many=True,
            )
        key = ServerKey.objects.create(
            installation=installation,
            name=name,
            prefix=prefix,
            secret_hash=_hash(text),
            created_at=now,
            created_by=created_by,
        )
    logger.info("Installation %s: server key %s made", installation.pk, prefix)
    return key, text


def revoke(*, key: ServerKey, now: datetime) -> bool:
    """End a key for good, from the next request on; return whether it worked until now."""
    changed = (
        ServerKey.objects.of(key.installation_id)
        .filter(pk=key.pk, revoked_at=None)
        .update(revoked_at=now)
    )
    if changed:
        key.revoked_at = now
        logger.info("Installation %s: server key %s revoked", key.installation_id, key.prefix)
    return bool(changed)


def keys_of(*, installation: Installation) -> list[ServerKey]:
    """Return the keys of a shop, those that work first, then the newest first."""
    rows = ServerKey.objects.of(installation)
    return list(rows.order_by(F("revoked_at").desc(nulls_first=True), "-created_at", "-pk"))


def find(*, installation: Installation, shown: str) -> ServerKey | None:
    """Return the key of a shop by its prefix, with or without what stands around it in the key."""
    prefix = shown.strip().removeprefix(MARK).partition("_")[0]
    if not may_look_up(prefix):
        return None
    return ServerKey.objects.of(installation).filter(prefix=prefix).first()


def is_meant(token: str) -> bool:
    """Tell whether a token means to be a server key: then it is one, or nothing at all."""
    return token.startswith(MARK)


def read(token: str, *, saleor_api_url: str, now: datetime) -> ServerKey:
    """Return the key, with the installation that it opens. `saleor_api_url` may be empty, else must be its own.

    One indexed query, and at most once in COARSE a write. Raises InvalidToken for what is no key or one
    that was revoked, AccessDenied for a key of another shop or of one where the app is not active.
    """
    shaped = _KEY.fullmatch(token)
    if shaped is None:
        raise InvalidToken(
            f"A server key is {MARK}, {2 * _PREFIX_BYTES} and, after a '_', {2 * _SECRET_BYTES} "
            "characters of 0-9 and a-f. Copy it whole, or make a new one in the Dashboard."
        )
    key = ServerKey.objects.filter(prefix=shaped[1]).select_related("installation").first()
    if key is None or not hmac.compare_digest(key.secret_hash, _hash(token)):
        raise InvalidToken(
            "This server key is not known here. Make one in the Dashboard, on the page “Server keys”."
        )
    if key.revoked_at is not None:
        raise InvalidToken(
            f"The server key {MARK}{key.prefix} was revoked. Make a new one in the Dashboard, on the "
            "page “Server keys”."
        )
    if saleor_api_url not in ("", key.installation.saleor_api_url):
        raise AccessDenied(
            f"The server key {MARK}{key.prefix} is of another shop than the one that Saleor-Api-Url "
            "names. A key names its shop: leave the address out, or send its own."
        )
    if key.installation.status != InstallationStatus.ACTIVE:
        raise AccessDenied(
            f"The app is not active in the shop of the server key {MARK}{key.prefix}. Activate it "
            "there under Extensions."
        )
    _note_use(key, now)
    return key


def _note_use(key: ServerKey, now: datetime) -> None:
    if key.last_used_at is not None and key.last_used_at > now - COARSE:
        return
    # Asked again in the row: of many requests at once one writes.
    ServerKey.objects.of(key.installation_id).filter(
        Q(last_used_at=None) | Q(last_used_at__lte=now - COARSE), pk=key.pk
    ).update(last_used_at=now)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
