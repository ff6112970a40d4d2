"""Which shops installed the app, and which of their tokens works.

The handshake that hands us a token is not signed: anybody can post one. A token is therefore believed
only when the shop itself, called at its own address, says that it belongs to this app (ADR 1).
"""

from __future__ import annotations

import functools
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import transaction

from saleor_personalize import signals
from saleor_personalize.conf import settings
from saleor_personalize.enums import InstallationStatus
from saleor_personalize.exceptions import InstallationRefused, SaleorApiError, TokenRefused
from saleor_personalize.models import Installation, PendingToken
from saleor_personalize.saleor_api import auth, network
from saleor_personalize.saleor_api.client import AppIdentity, SaleorClient

logger = logging.getLogger(__name__)

#: Handshakes of one shop that may wait for activation. More are refused rather than pushing an
#: earlier one out, since junk must not cost the shop its real token.
MAX_PENDING_TOKENS = 5
#: Saleor waits 18 seconds for the whole handshake, in which we make two calls.
HANDSHAKE_TIMEOUT = 4.0


@dataclass(frozen=True)
class Registration:
    """What became of a handshake: `is_confirmed` when the shop accepted the token already."""

    installation: Installation
    is_confirmed: bool


def find_installation(saleor_api_url: str) -> Installation | None:
    """Return the installation of a shop, whatever its status."""
    if not auth.may_look_up(saleor_api_url):
        return None
    return Installation.objects.filter(saleor_api_url=saleor_api_url).first()


def active_installation(saleor_api_url: str) -> Installation | None:
    """Return the installation of a shop if the app is active there."""
    if not auth.may_look_up(saleor_api_url):
        return None
    return Installation.objects.filter(
        saleor_api_url=saleor_api_url, status=InstallationStatus.ACTIVE
    ).first()


def check_allowed(saleor_api_url: str) -> None:
    """Raise InstallationRefused unless ALLOWED_SALEOR_API_URLS has a pattern that matches it whole."""
    patterns = settings.ALLOWED_SALEOR_API_URLS
    if auth.may_look_up(saleor_api_url) and any(re.fullmatch(p, saleor_api_url) for p in patterns):
        return
    raise InstallationRefused(
        "SALEOR_API_URL_PROHIBITED",
        f"{saleor_api_url[:200]} may not install this app. Whoever runs the app adds it to "
        "ALLOWED_SALEOR_API_URLS.",
        status=403,
    )


def register(
    *, saleor_api_url: str, auth_token: str, saleor_version: str, now: datetime
) -> Registration:
    """Take the token of an install handshake.

    A token that the shop confirms replaces whatever was stored for that shop; everything known about
    its products and people stays. One that the shop does not accept (yet: the app was installed
    inactive) is kept aside and changes nothing until `confirm` finds that it works.

    Raises InstallationRefused with a sentence for the person at the Dashboard.
    """
    check_allowed(saleor_api_url)
    try:
        network.check_url(saleor_api_url)
    except SaleorApiError as error:
        raise InstallationRefused(
            "SALEOR_API_URL_PROHIBITED", str(error), status=503 if error.is_retryable else 403
        ) from error
    try:
        identity = _identify(Installation(saleor_api_url=saleor_api_url), auth_token)
    except SaleorApiError as error:
        raise InstallationRefused("SALEOR_API_UNAVAILABLE", str(error), status=503) from error
    if identity is not None and identity.identifier != settings.APP_ID:
        raise InstallationRefused(
            "UNKNOWN_APP_ID",
            f"The token belongs to the app {identity.identifier!r}, not to {settings.APP_ID!r}.",
            status=403,
        )
    try:
        jwks = auth.fetch_jwks(saleor_api_url)
    except SaleorApiError as error:
        raise InstallationRefused("JWKS_NOT_AVAILABLE", str(error), status=503) from error
    if identity is None:
        return Registration(
            _keep_aside(saleor_api_url, auth_token, saleor_version, jwks, now), is_confirmed=False
        )
    with transaction.atomic():
        installation, _ = Installation.objects.update_or_create(
            saleor_api_url=saleor_api_url,
            defaults={
                "jwks": jwks,
                "jwks_fetched_at": now,
                "installed_at": now,
                **_accepted(auth_token, identity, now),
            },
        )
        _announce(installation)
    logger.info("Installation %s: installed, Saleor %s", installation.pk, identity.saleor_version)
    return Registration(installation, is_confirmed=True)


def confirm(*, installation: Installation, now: datetime) -> InstallationStatus:
    """Ask the shop which of our tokens works, follow the answer and return the status.

    Call it when the app may have been activated, and whenever a token was refused. The token in use is
    tried first, then those of handshakes that wait, newest first. When none works an active
    installation becomes TOKEN_REFUSED; any other status stays.

    Raises SaleorApiError when the shop cannot be asked; then nothing changes.
    """
    tokens = [installation.auth_token] if installation.auth_token else []
    tokens += [p.token for p in PendingToken.objects.of(installation).order_by("-pk")]
    for token in tokens:
        identity = _identify(installation, token)
        if identity is None or identity.identifier != settings.APP_ID:
            continue
        was = (installation.app_id, installation.status)
        accepted = _accepted(token, identity, now)
        if installation.status == InstallationStatus.ACTIVE and was[0] == identity.app_id:
            del accepted["status_changed_at"]
        with transaction.atomic():
            _update(installation, **accepted)
            if was[0] != identity.app_id:
                _update(installation, installed_at=now)
                _announce(installation)
            else:
                PendingToken.objects.of(installation).delete()
        if was != (installation.app_id, installation.status):
            logger.info("Installation %s: its token is accepted", installation.pk)
        return InstallationStatus.ACTIVE
    if installation.status == InstallationStatus.ACTIVE:
        mark_status(installation=installation, status=InstallationStatus.TOKEN_REFUSED, now=now)
    return InstallationStatus(installation.status)


def works(*, installation: Installation) -> bool:
    """Ask the shop whether it accepts the token in use. Raises SaleorApiError when it cannot be asked."""
    return _identify(installation, installation.auth_token) is not None


def mark_status(*, installation: Installation, status: InstallationStatus, now: datetime) -> bool:
    """Record what became of the app in the shop; return whether that is news.

    It does not ask the shop: use `works` or `confirm` to find out whether the app is active.
    """
    changed = (
        Installation.objects.filter(pk=installation.pk)
        .exclude(status=status)
        .update(status=status, status_changed_at=now)
    )
    if changed:
        installation.status, installation.status_changed_at = status, now
        logger.info("Installation %s: %s", installation.pk, status.label)
    return bool(changed)


def refresh_permissions(*, installation: Installation) -> bool:
    """Ask the shop what it permits us now, as nobody tells us; return whether that is news.

    Raises SaleorApiError.
    """
    identity = _identify(installation, installation.auth_token)
    if identity is None or identity.permissions == sorted(installation.permissions):
        return False
    _update(installation, permissions=identity.permissions)
    return True


def set_mail(*, installation: Installation, sender: str, checkout_url: str) -> None:
    """Keep who a shop's e-mails come from and its cart link; "" means what the service has set."""
    installation.sender, installation.checkout_url = sender, checkout_url
    installation.save(update_fields=["sender", "checkout_url", "updated_at"])


def set_storefront_origins(*, installation: Installation, origins: Sequence[str]) -> None:
    """Keep which pages may send events to a shop from a browser, beside those of the setting."""
    installation.storefront_origins = list(origins)
    installation.save(update_fields=["storefront_origins", "updated_at"])


def set_sensitive(*, installation: Installation, ids: Sequence[str]) -> None:
    """Keep of which categories and collections no message and no reason speaks, beside the setting."""
    installation.sensitive_ids = sorted(set(ids))
    installation.save(update_fields=["sensitive_ids", "updated_at"])


def storefront_origins() -> frozenset[str]:
    """Return the origins of all active installations."""
    rows = Installation.objects.filter(status=InstallationStatus.ACTIVE)
    return frozenset(
        origin for own in rows.values_list("storefront_origins", flat=True) for origin in own
    )


def _identify(installation: Installation, token: str) -> AppIdentity | None:
    """Return who `token` makes us in the shop, None when the shop does not accept it."""
    with SaleorClient(
        installation, token=token, timeout=HANDSHAKE_TIMEOUT, retry_delays=()
    ) as client:
        try:
            return client.identity()
        except TokenRefused:
            return None


def _accepted(token: str, identity: AppIdentity, now: datetime) -> dict[str, Any]:
    """Return the columns of an installation whose token the shop confirmed."""
    return {
        "app_id": identity.app_id,
        "auth_token": token,
        "permissions": identity.permissions,
        "saleor_version": identity.saleor_version,
        "status": InstallationStatus.ACTIVE,
        "status_changed_at": now,
    }


def _update(installation: Installation, **values: Any) -> None:
    for name, value in values.items():
        setattr(installation, name, value)
    installation.save(update_fields=[*values, "updated_at"])


def _announce(installation: Installation) -> None:
    """Forget handshakes that waited, and tell integrators after the commit."""
    PendingToken.objects.of(installation).delete()
    transaction.on_commit(
        functools.partial(
            signals.app_installed.send_robust, sender=Installation, installation=installation
        )
    )


def _keep_aside(
    saleor_api_url: str, token: str, saleor_version: str, jwks: dict[str, Any], now: datetime
) -> Installation:
    with transaction.atomic():
        Installation.objects.get_or_create(
            saleor_api_url=saleor_api_url,
            defaults={
                "jwks": jwks,
                "jwks_fetched_at": now,
                "saleor_version": saleor_version,
                "status": InstallationStatus.INACTIVE,
                "status_changed_at": now,
                "installed_at": now,
            },
        )
        # The lock makes two handshakes at once count each other.
        installation = Installation.objects.select_for_update().get(saleor_api_url=saleor_api_url)
        waiting = [pending.token for pending in PendingToken.objects.of(installation)]
        if token in waiting:
            return installation
        if len(waiting) >= MAX_PENDING_TOKENS:
            raise InstallationRefused(
                "TOKEN_NOT_ACCEPTED",
                f"{len(waiting)} installs of this shop wait for activation already. Install the app "
                "with activation: then the shop confirms the token at once.",
                status=409,
            )
        PendingToken.objects.create(installation=installation, token=token, received_at=now)
    logger.info("Installation %s: a token waits for activation", installation.pk)
    return installation
