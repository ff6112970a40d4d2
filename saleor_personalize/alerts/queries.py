"""Reads of sign-ups: for their people, and which variants have somebody waiting."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from django.db.models import Q

from saleor_personalize.alerts.operations import messages_of, waiting
from saleor_personalize.catalog import prices
from saleor_personalize.enums import StockAlertStatus
from saleor_personalize.exceptions import InvalidToken
from saleor_personalize.messaging import links
from saleor_personalize.messaging.queries import REACHED
from saleor_personalize.models import Installation, Profile, StockAlert
from saleor_personalize.profiles import merging


def mine(*, profile: Profile, now: datetime) -> list[StockAlert]:
    """Return what a signed-in person waits for, newest first; only what they may read."""
    return list(
        waiting(profile.installation)
        .filter(profile__in=merging.readable(profile), expires_at__gt=now)
        .select_related("installation", "profile__installation")
        .order_by("-created_at", "-pk")
    )


def of_token(
    *, token: str, now: datetime, installation: Installation | None = None
) -> list[StockAlert]:
    """Return the sign-ups that a link or a token speaks of and that still wait: nobody has the message yet.

    One that came by mail speaks for all of the same address, any other for its own. `installation`: of this
    shop alone. Raises InvalidToken.
    """
    claims = links.read_stock_alert_token(token)
    if installation is not None and claims.installation_id != installation.pk:
        raise InvalidToken("This token is of another shop.")
    rows = StockAlert.objects.of(claims.installation_id).select_related(
        "installation", "profile__installation"
    )
    named = rows.filter(public_id=UUID(claims.alert_id)).first()
    if named is None:
        return []
    if claims.is_all:
        alike = rows.filter(profile=named.profile_id, told_at=None, cancelled_at=None)
    else:
        alike = rows.filter(pk=named.pk, told_at=None, cancelled_at=None)
    found = list(alike.filter(expires_at__gt=now).order_by("-created_at", "-pk"))
    told = set(
        messages_of(claims.installation_id, found)
        .filter(status__in=REACHED)
        .values_list("enrollment__context__alert", flat=True)
    )
    return [alert for alert in found if alert.public_id.hex not in told]


def waited_for(
    *, installation: Installation, now: datetime, variant_id: str = ""
) -> list[tuple[str, str]]:
    """Return the (variant, sales channel) pairs that somebody waits for and of which there may be pieces.

    And those of whom somebody was called: what became of them is to be followed. A shop may have many
    thousands of sold-out variants; of these nothing has to be looked at.
    """
    rows = waiting(installation).filter(expires_at__gt=now)
    if variant_id:
        rows = rows.filter(variant_saleor_id=variant_id)
    counted, uncounted = prices.with_pieces(installation=installation)
    rows = rows.filter(
        Q(called_at__isnull=False)
        | Q(variant_saleor_id__in=counted)
        | Q(variant_saleor_id__in=uncounted)
    )
    return sorted(rows.values_list("variant_saleor_id", "channel_slug").distinct())


def status(alert: StockAlert, now: datetime) -> StockAlertStatus:
    """Return how far a sign-up is."""
    if alert.told_at is not None:
        return StockAlertStatus.TOLD
    if alert.cancelled_at is not None:
        return StockAlertStatus.CANCELLED
    if alert.expires_at <= now:
        return StockAlertStatus.EXPIRED
    return StockAlertStatus.PENDING if alert.confirmed_at is None else StockAlertStatus.CONFIRMED
